"""Dates, timestamps and intervals: what is added to them, what is between them, and parts of them.

An interval is in no answer: a client makes months of 30 days of it. It is compared, added, or a part of it is taken.
"""

# How expressions are made, as in `expressions`. An interval may be one that stands in the question, or one between two times.
FORMS = {
    "int": [
        ("({} - {})", ("date", "date"), None),
        ("CAST(extract(dow FROM {}) AS bigint)", ("ts",), None),
        ("CAST(extract(isodow FROM {}) AS bigint)", ("date",), None),
        ("CAST(extract(doy FROM {}) AS bigint)", ("ts",), None),
        ("CAST(extract(week FROM {}) AS bigint)", ("date",), None),
        ("CAST(extract(isoyear FROM {}) AS bigint)", ("date",), None),
        ("CAST(extract(quarter FROM {}) AS bigint)", ("tz",), None),
        ("CAST(extract(minute FROM {}) AS bigint)", ("tz",), None),
        ("CAST(extract(microseconds FROM {}) AS bigint)", ("ts",), None),
        ("CAST(extract(day FROM {}) AS bigint)", ("span",), None),
        ("CAST(extract(hour FROM {}) AS bigint)", ("span",), None),
        ("CAST(extract(minute FROM {}) AS bigint)", ("span",), None),
        ("CAST(extract(microseconds FROM {}) AS bigint)", ("span",), None),
    ],
    "dbl": [
        ("date_part('epoch', {})", ("ts",), None),
        ("date_part('epoch', {})", ("tz",), None),
        ("date_part('epoch', {})", ("span",), None),
    ],
    "bool": [
        ("({} - {} > {})", ("ts", "ts", "span"), None),
        ("({} - {} BETWEEN {} AND {})", ("ts", "ts", "span", "span"), None),
        ("({} IS DISTINCT FROM {} - {})", ("span", "tz", "tz"), None),
        ("({} - {} IN ({}, {}))", ("ts", "date", "span", "span"), None),
        ("({} < {} - {})", ("int", "date", "date"), None),
        ("({} < {} + {})", ("ts", "ts", "span"), None),
        ("({} >= {} - {})", ("date", "ts", "span"), None),
        ("({} > {} + {})", ("tz", "tz", "span"), None),
    ],
    "date": [
        ("({} + CAST({} % 1000 AS integer))", ("date", "int"), None),
        ("({} - CAST({} % 1000 AS integer))", ("date", "int"), None),
        ("CAST({} AS date)", ("tz",), None),
        ("CAST({} + {} AS date)", ("date", "span"), None),
    ],
    "ts": [
        ("({} + {})", ("ts", "span"), None),
        ("({} - {})", ("ts", "span"), None),
        ("({} + {})", ("date", "span"), None),
        ("({} - {})", ("date", "span"), None),
        ("date_trunc('week', {})", ("ts",), None),
        ("date_trunc('quarter', {})", ("ts",), None),
        ("date_trunc('second', {})", ("ts",), None),
        ("CAST({} AS timestamp)", ("tz",), None),
        ("({} AT TIME ZONE 'America/New_York')", ("tz",), None),
    ],
    "tz": [
        ("({} + {})", ("tz", "span"), None),
        ("({} - {})", ("tz", "span"), None),
        ("date_trunc('month', {})", ("tz",), None),
        ("CAST({} AS timestamptz)", ("ts",), None),
        ("({} AT TIME ZONE 'Asia/Tokyo')", ("ts",), None),
    ],
    "span": [
        ("({} - {})", ("ts", "ts"), None),
        ("({} - {})", ("ts", "ts"), None),
        ("({} - {})", ("tz", "tz"), None),
        ("({} - {})", ("ts", "date"), None),
        ("({} + {})", ("span", "span"), None),
        ("(- {})", ("span",), None),
        ("(INTERVAL '1 hour' * {})", ("int",), None),
        ("coalesce({}, {})", ("span", "span"), None),
        ("greatest({}, {})", ("span", "span"), None),
    ],
}
