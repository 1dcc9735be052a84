"""Questions as trees that can be made smaller.

A tree is written in three ways: for lacus, for lacus as a naive scan (each table behind a limit and a condition that
differs each time, so that nothing of a question reaches it: no file and no row group is skipped, no count is taken from
a manifest), and for DuckDB. Where the two engines call a thing differently, the tree has both words.
"""

import dataclasses
import typing

from questions.values import PLAIN, literal

LACUS, NAIVE, DUCK = "lacus", "naive", "duck"


@dataclasses.dataclass(frozen=True)
class Expr:
    """A template with places for other expressions or questions. `own` is the template for DuckDB, if it is another."""

    kind: str
    form: str
    args: tuple = ()
    own: str | None = None
    # Between any number of arguments, instead of a template.
    joined: str | None = None

    def write(self, dialect):
        written = [arg.write(dialect) for arg in self.args]
        form = self.own if dialect == DUCK and self.own is not None else self.form
        if self.joined is not None:
            return form.format(self.joined.join(written))
        return form.format(*written) if written else form

    def smaller(self):
        for arg in self.args:
            if isinstance(arg, Expr) and arg.kind == self.kind:
                yield arg
        if self.args and self.kind in PLAIN:
            for simple in {"bool": ("TRUE", "FALSE"), "int": ("1",), "text": ("'a'",)}.get(self.kind, ()):
                yield Expr(self.kind, simple)
        for index, arg in enumerate(self.args):
            if self.joined is not None and len(self.args) > 1:
                yield dataclasses.replace(self, args=without(self.args, index))
            for less in arg.smaller():
                yield dataclasses.replace(self, args=instead(self.args, index, less))


def over(kind, form, *args, own=None):
    return Expr(kind, form, tuple(args), own)


def listed(kind, form, args, between=", "):
    """Any number of expressions."""
    return Expr(kind, form, tuple(args), joined=between)


def given(chosen, kind):
    return Expr(kind, literal(chosen, kind))


def without(parts, index):
    return parts[:index] + parts[index + 1 :]


def instead(parts, index, part):
    return (*parts[:index], part, *parts[index + 1 :])


@dataclasses.dataclass(frozen=True)
class Source:
    """A table, as it is or as it was, under a name of its own."""

    table: str
    alias: str
    snapshot: int | None = None
    # What DuckDB calls the table as it was.
    copy: str | None = None

    def write(self, dialect):
        if dialect == DUCK:
            return f"{self.copy or self.table} AS {self.alias}"
        name = self.table if self.snapshot is None else f"{self.table} FOR VERSION AS OF {self.snapshot}"
        if dialect == NAIVE:
            return f"(SELECT * FROM {name} WHERE random() >= 0 LIMIT 1000000000) AS {self.alias}"
        return f"{name} AS {self.alias}"

    def smaller(self):
        if self.snapshot is not None:
            yield Source(self.table, self.alias)


@dataclasses.dataclass(frozen=True)
class Derived:
    """A question in the place of a table."""

    query: typing.Any
    alias: str
    lateral: bool = False

    def write(self, dialect):
        return f"{'LATERAL ' if self.lateral else ''}({self.query.write(dialect)}) AS {self.alias}"

    def smaller(self):
        for less in self.query.smaller():
            yield dataclasses.replace(self, query=less)


@dataclasses.dataclass(frozen=True)
class Named:
    """A question of the WITH clause in the place of a table."""

    name: str
    alias: str

    def write(self, _dialect):
        return f"{self.name} AS {self.alias}"

    def smaller(self):
        return ()


@dataclasses.dataclass(frozen=True)
class Join:
    words: str
    own: str | None
    source: typing.Any
    on: Expr | None
    # The columns that both sides share.
    using: tuple = ()

    def write(self, dialect):
        words = self.own if dialect == DUCK and self.own else self.words
        on = f" ON {self.on.write(dialect)}" if self.on else ""
        using = f" USING ({', '.join(self.using)})" if self.using else ""
        return f" {words} {self.source.write(dialect)}{on}{using}"

    def smaller(self):
        for less in self.source.smaller():
            yield dataclasses.replace(self, source=less)
        if self.on:
            for less in self.on.smaller():
                # Never all pairs.
                if less.args:
                    yield dataclasses.replace(self, on=less)


@dataclasses.dataclass(frozen=True)
class Item:
    expr: Expr
    # What the column is called; nothing: as the expression is.
    alias: str
    # How this column is ordered by, once all are.
    order: str = ""

    def write(self, dialect):
        return f"{self.expr.write(dialect)} AS {self.alias}" if self.alias else self.expr.write(dialect)


@dataclasses.dataclass(frozen=True)
class Select:
    items: tuple
    source: typing.Any
    joins: tuple = ()
    where: Expr | None = None
    groups: tuple = ()
    having: Expr | None = None
    distinct: bool = False
    # Of rows that have the same in these, only the first one.
    distinct_on: tuple = ()
    # A window with a name, and a condition on what windows give.
    window: Expr | None = None
    qualify: Expr | None = None
    # Rows are ordered by all columns in this order; equal rows may stand in any.
    ordered: bool = False
    # Ordered by what the columns are made of, and not by their places.
    by_words: bool = False
    # Ordered by these instead, which tell rows apart, or which the columns are made of.
    by: tuple = ()
    limit: int | None = None
    # How many of the first rows by these are there, with all that are sorted as the last of them is. They are in no order.
    ties: int | None = None
    offset: int | None = None
    withs: tuple = ()
    recursive: bool = False

    @property
    def kinds(self):
        return [item.expr.kind for item in self.items]

    def write(self, dialect):
        words = "WITH RECURSIVE" if self.recursive else "WITH"
        parts = [f"{words} {', '.join(f'{name} AS ({query.write(dialect)})' for name, query in self.withs)} " if self.withs else ""]
        parts.append("SELECT DISTINCT " if self.distinct else "SELECT ")
        if self.distinct_on:
            parts.append(f"DISTINCT ON ({', '.join(expr.write(dialect) for expr in self.distinct_on)}) ")
        parts.append(", ".join(item.write(dialect) for item in self.items))
        if self.source:
            parts.append(" FROM " + self.source.write(dialect) + "".join(join.write(dialect) for join in self.joins))
        if self.where:
            parts.append(" WHERE " + self.where.write(dialect))
        if self.groups:
            parts.append(" GROUP BY " + ", ".join(group.write(dialect) for group in self.groups))
        if self.having:
            parts.append(" HAVING " + self.having.write(dialect))
        if self.window:
            parts.append(" WINDOW " + self.window.write(dialect))
        if self.qualify:
            parts.append(" QUALIFY " + self.qualify.write(dialect))
        if self.ties is not None:
            parts.append(self.first_with_ties(dialect))
        return "".join(parts) + end(self, self.sorts(dialect))

    def sorts(self, dialect):
        if self.by:
            return [f"{item.expr.write(dialect)}{item.order}" for item in self.by]
        columns = [item.expr.write(dialect) if self.by_words else place for place, item in enumerate(self.items, 1)]
        return [f"{column}{item.order}" for column, item in zip(columns, self.items)]

    def first_with_ties(self, dialect):
        sorts = ", ".join(self.sorts(dialect))
        if dialect == DUCK:
            return f" QUALIFY rank() OVER (ORDER BY {sorts}) <= {self.ties}"
        return f" ORDER BY {sorts} FETCH FIRST {self.ties} ROWS WITH TIES"

    def less_items(self, index):
        """Without one of its columns."""
        return dataclasses.replace(self, items=without(self.items, index))

    def smaller(self):
        change = lambda **what: dataclasses.replace(self, **what)
        for index in range(len(self.withs)):
            yield change(withs=without(self.withs, index))
        for index in reversed(range(len(self.joins))):
            yield change(joins=without(self.joins, index))
        yield from smaller_end(self)
        for name, nothing in (("where", None), ("having", None), ("distinct", False), ("distinct_on", ()), ("qualify", None), ("ties", None)):
            if getattr(self, name) != nothing:
                yield change(**{name: nothing})
        for index in range(len(self.groups)):
            yield change(groups=without(self.groups, index))
        # What is ordered first tells which rows are the first.
        for index in range(len(self.distinct_on), len(self.items)):
            if len(self.items) > 1:
                yield self.less_items(index)
        for name in ("source", "where", "having", "window", "qualify"):
            part = getattr(self, name)
            for less in part.smaller() if part else ():
                yield change(**{name: less})
        for name in ("joins", "groups"):
            for index, part in enumerate(getattr(self, name)):
                for less in part.smaller():
                    yield change(**{name: instead(getattr(self, name), index, less)})
        # The last ones tell rows apart: an id, or what groups are made by.
        for index in range(len(self.by) - max(1, len(self.groups))):
            yield change(by=without(self.by, index))
        for index, (name, query) in enumerate(self.withs):
            for less in query.smaller_first() if self.recursive else query.smaller():
                yield change(withs=instead(self.withs, index, (name, less)))
        for index, item in enumerate(self.items):
            for less in item.expr.smaller():
                yield change(items=instead(self.items, index, dataclasses.replace(item, expr=less)))


@dataclasses.dataclass(frozen=True)
class Both:
    """Two questions in a set operation; each of them may be one itself."""

    words: str
    left: typing.Any
    right: typing.Any
    # Without parentheses: INTERSECT comes before UNION and EXCEPT.
    is_bare: bool = False
    ordered: bool = False
    limit: int | None = None
    offset: int | None = None

    @property
    def items(self):
        return self.left.items

    @property
    def kinds(self):
        return self.left.kinds

    def write(self, dialect):
        return f"{self.side(self.left, dialect)} {self.words} {self.side(self.right, dialect)}" + end(self, self.sorts())

    def sorts(self):
        return [f"{place}{item.order}" for place, item in enumerate(self.items, 1)]

    def side(self, query, dialect):
        written = query.write(dialect)
        return written if self.is_bare and not query.ordered else f"({written})"

    def less_items(self, index):
        return dataclasses.replace(self, left=self.left.less_items(index), right=self.right.less_items(index))

    def smaller_first(self):
        """What begins; the step that follows would never end."""
        for less in self.left.smaller():
            if len(less.items) == len(self.items):
                yield dataclasses.replace(self, left=less)

    def smaller(self):
        yield self.left
        yield self.right
        yield from smaller_end(self)
        for index in range(len(self.items)):
            if len(self.items) > 1:
                yield self.less_items(index)
        for name in ("left", "right"):
            for less in getattr(self, name).smaller():
                if len(less.items) == len(self.items):
                    yield dataclasses.replace(self, **{name: less})


def end(query, sorts):
    """ORDER BY, LIMIT and OFFSET."""
    text = ""
    if query.ordered:
        text += " ORDER BY " + ", ".join(sorts)
    if query.limit is not None:
        text += f" LIMIT {query.limit}"
    if query.offset is not None:
        text += f" OFFSET {query.offset}"
    return text


def smaller_end(query):
    for name in ("limit", "offset"):
        if getattr(query, name) is not None:
            yield dataclasses.replace(query, **{name: None})
    # What is cut or taken first depends on the order.
    is_cut = query.limit is not None or query.offset is not None or getattr(query, "distinct_on", ())
    if query.ordered and not is_cut:
        yield dataclasses.replace(query, ordered=False)
