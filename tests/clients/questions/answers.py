"""Whether two answers are the same."""

import datetime
import decimal
import itertools
import math


def plain_value(given_value):
    """A value that can be compared, whatever a client makes of it."""
    match given_value:
        case bool() | None | str():
            return given_value
        case int() | decimal.Decimal():
            return decimal.Decimal(given_value).normalize()
        case float():
            return given_value
        case datetime.datetime():
            if given_value.tzinfo is not None:
                given_value = given_value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
            return given_value
        case datetime.date():
            return datetime.datetime(given_value.year, given_value.month, given_value.day)
        case list() | tuple():
            return tuple(plain_value(one) for one in given_value)
    return str(given_value)


def sort_key(given_value, is_rounded):
    """A key that puts fractions that are nearly the same beside each other."""
    if given_value is None:
        return (0, 0)
    if isinstance(given_value, (float, decimal.Decimal)):
        if math.isnan(given_value):
            return (3, 0)
        return (2, float(f"{given_value:.7g}") + 0.0 if is_rounded else given_value)
    return (1, str(given_value))


def is_same(a, b):
    if isinstance(a, float) or isinstance(b, float):
        if not isinstance(a, (float, decimal.Decimal)) or not isinstance(b, (float, decimal.Decimal)):
            return False
        a, b = float(a), float(b)
        return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-300)
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def side_by_side(ours, theirs, is_ordered):
    """Rows of two answers in pairs, in their order or in one that both have."""
    ours, theirs = ([tuple(plain_value(one) for one in row) for row in rows] for rows in (ours, theirs))
    if not is_ordered:
        has_fractions = {place for row in (*ours, *theirs) for place, one in enumerate(row) if isinstance(one, float)}
        keys = lambda row, is_rounded: tuple(sort_key(one, is_rounded and place in has_fractions) for place, one in enumerate(row))
        # What is nearly the same in all columns is told apart by all digits.
        key = lambda row: (keys(row, True), keys(row, False))
        ours, theirs = sorted(ours, key=key), sorted(theirs, key=key)
    return itertools.zip_longest(ours, theirs)


def differing(ours, theirs, is_ordered):
    """Pairs of rows that are not the same."""
    for a, b in side_by_side(ours, theirs, is_ordered):
        if a is None or b is None or len(a) != len(b) or not all(map(is_same, a, b)):
            yield a, b


def same_rows(ours, theirs, is_ordered):
    """Whether two answers have the same rows, in the same order if there is one."""
    return len(ours) == len(theirs) and next(differing(ours, theirs, is_ordered), None) is None
