"""Random questions over tables, as trees that can be made smaller.

A tree is written in three ways: for lacus, for lacus as a naive scan (each table behind a limit and a condition that
differs each time, so that nothing of a question reaches it: no file and no row group is skipped, no count is taken from
a manifest), and for DuckDB. Where the two engines call a thing differently, the tree has both words; docs/reference/sql.md
lists where they mean different things by the same word, and no question asks for those.
"""

import dataclasses
import datetime
import decimal
import itertools
import math
import typing

LACUS, NAIVE, DUCK = "lacus", "naive", "duck"

# Kinds of values, and their types in SQL.
TYPES = {
    "int": "bigint",
    "big": "bigint",
    "i32": "integer",
    "dbl": "double precision",
    "f32": "real",
    "dec": "numeric(12,2)",
    "wide": "numeric(30,4)",
    "text": "text",
    "bool": "boolean",
    "date": "date",
    "ts": "timestamp",
    "tz": "timestamptz",
    "ints": "bigint[]",
    "texts": "text[]",
}
NUMBERS = ("int", "big", "i32", "dbl", "f32", "dec", "wide")
PLAIN = (*NUMBERS, "text", "bool", "date", "ts", "tz")
# What may be compared with what.
ALIKE = {**{kind: NUMBERS for kind in NUMBERS}, "date": ("date", "ts"), "ts": ("date", "ts")}

TEXTS = [
    "", " ", "a", "A", "ab", "abc", "abd", "b", "Berlin", "berlin", "Ulm", "日本", "日本語", "é", "éclair", "zzz", "%", "_", "it's",
    "a\nb", "a longer text that is cut 1", "a longer text that is cut 2", "a longer text that", "😀", "😀😀", "\U0010ffff" * 17, "z" * 40,
]
EPOCH = datetime.datetime(1970, 1, 1)
SAFE_BIG = [2**53, 2**53 + 1, -(2**53) - 1, 2**62, 2**62 + 1, -(2**62), 2**63 - 1, -(2**63), 0, 1]


def value(chance, kind, nulls=0.15):
    """A value of a column, or one to look for."""
    if chance.random() < nulls:
        return None
    match kind:
        case "int":
            return chance.choice([0, 1, -1, chance.randrange(-20, 50), chance.randrange(-1000, 1000)])
        case "big":
            return chance.choice(SAFE_BIG)
        case "i32":
            return chance.choice([0, 1, 2**31 - 1, -(2**31), chance.randrange(-20, 20)])
        case "dbl":
            return chance.choice([0.0, 0.5, chance.randrange(-400, 400) / 8, 1e300, -1e-300, 2.0**53])
        case "f32":
            return chance.choice([0.0, 0.5, chance.randrange(-400, 400) / 8, 2.0**24])
        case "dec":
            return decimal.Decimal(chance.choice([0, 1, chance.randrange(-5000, 5000), 10**10])) / 100
        case "wide":
            return decimal.Decimal(chance.choice([0, 1, chance.randrange(-(10**7), 10**7), 10**24 + 1])).scaleb(-4)
        case "text":
            return chance.choice(TEXTS)
        case "bool":
            return chance.random() < 0.5
        case "date":
            return (EPOCH + datetime.timedelta(days=chance.choice([-1, 0, chance.randrange(20450, 20500), 18000]))).date()
        case "ts" | "tz":
            days, second, fraction = chance.choice([-1, 20454, 20455, 20480]), chance.randrange(86400), chance.choice([0, 1, 500_000])
            return EPOCH + datetime.timedelta(days=days, seconds=second, microseconds=fraction)
        case "ints":
            return [value(chance, "int", 0.2) for _ in range(chance.randrange(4))]
        case "texts":
            return [value(chance, "text", 0.2) for _ in range(chance.randrange(4))]
    raise AssertionError(kind)


def literal(given, kind):
    """A value in SQL, of exactly this type in both engines."""
    if given is None:
        return f"CAST(NULL AS {TYPES[kind]})"
    match kind:
        case "int" | "big":
            return str(given) if given > -(2**63) else "(-9223372036854775807 - 1)"
        case "i32":
            return f"CAST({given} AS integer)"
        case "dbl" | "f32":
            return f"CAST('{given!r}' AS {TYPES[kind]})"
        case "dec" | "wide":
            return f"CAST('{given}' AS {TYPES[kind]})"
        case "text":
            return "'" + given.replace("'", "''") + "'"
        case "bool":
            return str(given).upper()
        case "date":
            return f"DATE '{given.isoformat()}'"
        case "ts":
            return f"TIMESTAMP '{given.isoformat(sep=' ')}'"
        case "tz":
            return f"TIMESTAMPTZ '{given.isoformat(sep=' ')}+00'"
        case "ints" | "texts":
            inner = {"ints": "int", "texts": "text"}[kind]
            return f"CAST(ARRAY[{', '.join(literal(one, inner) for one in given)}] AS {TYPES[kind]})"
    raise AssertionError(kind)


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
                yield dataclasses.replace(self, args=self.args[:index] + self.args[index + 1 :])
            for less in arg.smaller():
                yield dataclasses.replace(self, args=(*self.args[:index], less, *self.args[index + 1 :]))


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

    def write(self, dialect):
        return f"({self.query.write(dialect)}) AS {self.alias}"

    def smaller(self):
        for less in self.query.smaller():
            yield Derived(less, self.alias)


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

    def write(self, dialect):
        words = self.own if dialect == DUCK and self.own else self.words
        on = f" ON {self.on.write(dialect)}" if self.on else ""
        return f" {words} {self.source.write(dialect)}{on}"

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
    alias: str
    # How this column is ordered by, once all are.
    order: str = ""

    def write(self, dialect):
        return f"{self.expr.write(dialect)} AS {self.alias}"


@dataclasses.dataclass(frozen=True)
class Select:
    items: tuple
    source: typing.Any
    joins: tuple = ()
    where: Expr | None = None
    groups: tuple = ()
    grouped: str = "{}"
    having: Expr | None = None
    distinct: bool = False
    # Rows are ordered by all columns in this order; equal rows may stand in any.
    ordered: bool = False
    limit: int | None = None
    offset: int | None = None
    withs: tuple = ()

    @property
    def kinds(self):
        return [item.expr.kind for item in self.items]

    def write(self, dialect):
        parts = [f"WITH {', '.join(f'{name} AS ({query.write(dialect)})' for name, query in self.withs)} " if self.withs else ""]
        parts.append("SELECT DISTINCT " if self.distinct else "SELECT ")
        parts.append(", ".join(item.write(dialect) for item in self.items))
        if self.source:
            parts.append(" FROM " + self.source.write(dialect) + "".join(join.write(dialect) for join in self.joins))
        if self.where:
            parts.append(" WHERE " + self.where.write(dialect))
        if self.groups:
            parts.append(" GROUP BY " + self.grouped.format(", ".join(group.write(dialect) for group in self.groups)))
        if self.having:
            parts.append(" HAVING " + self.having.write(dialect))
        return "".join(parts) + end(self, len(self.items))

    def smaller(self):
        change = lambda **what: dataclasses.replace(self, **what)
        for index in range(len(self.withs)):
            yield change(withs=self.withs[:index] + self.withs[index + 1 :])
        for index in reversed(range(len(self.joins))):
            yield change(joins=self.joins[:index] + self.joins[index + 1 :])
        yield from smaller_end(self)
        for name, nothing in (("where", None), ("having", None), ("distinct", False), ("grouped", "{}")):
            if getattr(self, name) != nothing:
                yield change(**{name: nothing})
        for index in range(len(self.groups)):
            yield change(groups=self.groups[:index] + self.groups[index + 1 :])
        for index in range(len(self.items)):
            if len(self.items) > 1:
                yield change(items=self.items[:index] + self.items[index + 1 :])
        for name in ("source", "where", "having"):
            part = getattr(self, name)
            for less in part.smaller() if part else ():
                yield change(**{name: less})
        for name in ("joins", "groups"):
            for index, part in enumerate(getattr(self, name)):
                for less in part.smaller():
                    parts = getattr(self, name)
                    yield change(**{name: (*parts[:index], less, *parts[index + 1 :])})
        for index, (name, query) in enumerate(self.withs):
            for less in query.smaller():
                yield change(withs=(*self.withs[:index], (name, less), *self.withs[index + 1 :]))
        for index, item in enumerate(self.items):
            for less in item.expr.smaller():
                yield change(items=(*self.items[:index], dataclasses.replace(item, expr=less), *self.items[index + 1 :]))


@dataclasses.dataclass(frozen=True)
class Both:
    """Two questions in a set operation."""

    words: str
    left: Select
    right: Select
    orders: tuple = ()
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
        return f"({self.left.write(dialect)}) {self.words} ({self.right.write(dialect)})" + end(self, len(self.items))

    def smaller(self):
        yield self.left
        yield self.right
        yield from smaller_end(self)
        for index in range(len(self.items)):
            if len(self.items) > 1:
                less = [
                    dataclasses.replace(side, items=side.items[:index] + side.items[index + 1 :]) for side in (self.left, self.right)
                ]
                yield dataclasses.replace(self, left=less[0], right=less[1])
        for name in ("left", "right"):
            for less in getattr(self, name).smaller():
                if len(less.items) == len(self.items):
                    yield dataclasses.replace(self, **{name: less})


def end(query, _columns):
    """ORDER BY, LIMIT and OFFSET."""
    text = ""
    if query.ordered:
        text += " ORDER BY " + ", ".join(f"{place}{item.order}" for place, item in enumerate(query.items, 1))
    if query.limit is not None:
        text += f" LIMIT {query.limit}"
    if query.offset is not None:
        text += f" OFFSET {query.offset}"
    return text


def smaller_end(query):
    for name in ("limit", "offset"):
        if getattr(query, name) is not None:
            yield dataclasses.replace(query, **{name: None})
    if query.ordered and query.limit is None and query.offset is None:
        yield dataclasses.replace(query, ordered=False)


def over(kind, form, *args, own=None):
    return Expr(kind, form, tuple(args), own)


def given(chosen, kind):
    text = literal(chosen, kind)
    return Expr(kind, text)


# Expressions by what they give: template, kinds of the arguments, DuckDB's template.
FORMS = {
    "int": [
        ("({} + {})", ("int", "int"), None),
        ("({} - {})", ("int", "int"), None),
        ("(- {})", ("int",), None),
        ("({} / nullif({}, 0))", ("int", "int"), "({} // nullif({}, 0))"),
        ("({} % nullif({}, 0))", ("int", "int"), None),
        ("CAST({} AS bigint)", ("i32",), None),
        ("abs({})", ("int",), None),
        ("length({})", ("text",), None),
        ("strpos({}, {})", ("text", "text"), None),
        ("coalesce({}, {})", ("int", "int"), None),
        ("nullif({}, {})", ("int", "int"), None),
        ("greatest({}, {})", ("int", "int"), None),
        ("least({}, {})", ("int", "int"), None),
        ("CASE WHEN {} THEN {} ELSE {} END", ("bool", "int", "int"), None),
        ("CASE {} WHEN {} THEN {} END", ("text", "text", "int"), None),
        ("CAST(extract(year FROM {}) AS bigint)", ("date",), None),
        ("CAST(extract(month FROM {}) AS bigint)", ("ts",), None),
        ("CAST(extract(hour FROM {}) AS bigint)", ("ts",), None),
        ("cardinality({})", ("ints",), "len({})"),
        ("{}[1]", ("ints",), None),
    ],
    "dbl": [
        ("({} + {})", ("dbl", "dbl"), None),
        ("({} * CAST('0.5' AS double precision))", ("dbl",), None),
        # Adding zero makes 0.0 of -0.0: lacus sorts them apart.
        ("({} / nullif({}, CAST('0' AS double precision)) + CAST('0' AS double precision))", ("dbl", "int"), None),
        ("CAST({} AS double precision)", ("int",), None),
        ("CAST({} AS double precision)", ("dec",), None),
        ("CAST({} AS double precision)", ("f32",), None),
        ("floor({})", ("dbl",), None),
        ("(ceil({}) + CAST('0' AS double precision))", ("dbl",), None),
        ("abs({})", ("dbl",), None),
        ("coalesce({}, {})", ("dbl", "dbl"), None),
        ("CASE WHEN {} THEN {} END", ("bool", "dbl"), None),
    ],
    "dec": [
        ("({} + {})", ("dec", "dec"), None),
        ("({} - {})", ("dec", "dec"), None),
        ("coalesce({}, {})", ("dec", "dec"), None),
        ("CASE WHEN {} THEN {} END", ("bool", "dec"), None),
    ],
    "text": [
        ("({} || {})", ("text", "text"), None),
        ("upper({})", ("text",), None),
        ("lower({})", ("text",), None),
        ("trim({})", ("text",), None),
        ("substr({}, 2, 3)", ("text",), None),
        ("replace({}, 'a', {})", ("text", "text"), None),
        ("coalesce({}, {})", ("text", "text"), None),
        ("nullif({}, {})", ("text", "text"), None),
        ("CAST({} AS text)", ("int",), None),
        ("CAST({} AS text)", ("date",), None),
        ("CASE WHEN {} THEN {} ELSE {} END", ("bool", "text", "text"), None),
        ("{}[2]", ("texts",), None),
    ],
    "date": [
        ("CAST({} AS date)", ("ts",), None),
        ("coalesce({}, {})", ("date", "date"), None),
        ("CASE WHEN {} THEN {} END", ("bool", "date"), None),
    ],
    "ts": [
        ("date_trunc('hour', {})", ("ts",), None),
        ("date_trunc('month', {})", ("ts",), None),
        ("({} + INTERVAL '1 day')", ("ts",), None),
        ("({} - INTERVAL '90 minutes')", ("ts",), None),
        ("CAST({} AS timestamp)", ("date",), None),
        ("greatest({}, {})", ("ts", "ts"), None),
    ],
    "tz": [("date_trunc('day', {})", ("tz",), None), ("coalesce({}, {})", ("tz", "tz"), None)],
}

AGGREGATES = [
    ("int", "count(*)", ()),
    ("int", "count({})", ("any",)),
    ("int", "count(DISTINCT {})", ("plain",)),
    ("int", "sum({})", ("int",)),
    ("int", "sum(CAST({} AS bigint))", ("i32",)),
    ("dbl", "avg({})", ("int",)),
    ("dbl", "sum({})", ("exact",)),
    ("dec", "sum({})", ("dec",)),
    ("bool", "bool_and({})", ("bool",)),
    ("bool", "bool_or({})", ("bool",)),
    ("same", "min({})", ("plain",)),
    ("same", "max({})", ("plain",)),
    ("int", "sum(DISTINCT {})", ("int",)),
    ("int", "count(*) FILTER (WHERE {})", ("bool",)),
    ("int", "sum({}) FILTER (WHERE {})", ("int", "bool")),
]


class Questions:
    """Makes random questions over tables. A table has `name`, `columns` (kinds by path) and `versions`."""

    def __init__(self, chance, tables):
        self.chance, self.tables, self.aliases = chance, tables, 0

    def one(self):
        """A question."""
        make = self.chance.choices(
            [self.plain, self.grouped, self.counted, self.sets, self.windows, self.unnested, self.with_named, self.semi],
            [30, 20, 12, 10, 12, 6, 8, 6],
        )[0]
        return make()

    # Sources

    def alias(self):
        self.aliases += 1
        return f"t{self.aliases}"

    def source(self, outer=False):
        """A table, and its columns as expressions."""
        table = self.chance.choice(self.tables)
        alias = self.alias()
        columns = table.columns
        source = Source(table.name, alias)
        if table.versions and self.chance.random() < 0.15:
            snapshot, copy, columns = self.chance.choice(table.versions)
            source = Source(table.name, alias, snapshot, copy)
        elif not outer and self.chance.random() < 0.1:
            inner = self.plain(deep=False)
            return Derived(inner, alias), [Expr(kind, f"{alias}.{item.alias}") for item, kind in zip(inner.items, inner.kinds)], None
        scope = [Expr(kind, f'{alias}."' + '"."'.join(path) + '"') for path, kind in columns.items()]
        return source, scope, f"{alias}.id"

    def sources(self):
        """Tables that are joined, their columns, and what tells rows of them apart."""
        source, scope, key = self.source()
        keys, joins = [key], []
        while self.chance.random() < (0.3 if not joins else 0.2) and len(joins) < 2:
            words = self.chance.choice(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
            other, more, key = self.source()
            joins.append(Join(words, None, other, self.on(scope, more, words != "FULL JOIN")))
            scope, keys = scope + more, [*keys, key]
        return source, tuple(joins), scope, keys

    def on(self, left, right, more=True):
        """A condition that few pairs of rows meet."""
        pairs = [(a, b) for a in left for b in right if a.kind == b.kind and a.kind in ("int", "text", "date", "big", "i32")]
        ids = [(a, b) for a, b in pairs if a.form.endswith('"id"') and b.form.endswith('"id"')]
        a, b = self.chance.choice(ids if ids and (self.chance.random() < 0.5 or not pairs) else pairs) if pairs else (None, None)
        if a is None:
            return Expr("bool", "FALSE")
        condition = over("bool", "({} = {})", a, b)
        if more and self.chance.random() < 0.3:
            condition = Expr("bool", "({})", (condition, self.condition(left + right, 1)), joined=" AND ")
        return condition

    # Expressions

    def column(self, scope, kind):
        fitting = [column for column in scope if column.kind == kind]
        return self.chance.choice(fitting) if fitting else given(value(self.chance, kind), kind)

    def expr(self, scope, kind, depth=2):
        roll = self.chance.random()
        if depth > 0 and roll < 0.45 and kind in FORMS:
            form, kinds, own = self.chance.choice(FORMS[kind])
            return over(kind, form, *(self.expr(scope, inner, depth - 1) for inner in kinds), own=own)
        if kind == "bool" and depth > 0 and roll < 0.7:
            return self.condition(scope, depth - 1)
        if roll > 0.92:
            return given(value(self.chance, kind), kind)
        return self.column(scope, kind)

    def any_of(self, scope, kinds=PLAIN):
        there = sorted({column.kind for column in scope if column.kind in kinds}) or ["int"]
        return self.chance.choice(there)

    def condition(self, scope, depth=2):
        """A condition, most of them on a column: what files and row groups are skipped by."""
        roll = self.chance.random()
        if depth > 0 and roll < 0.4:
            words = self.chance.choice([" AND ", " OR "])
            count = self.chance.choice([2, 2, 3])
            return Expr("bool", "({})", tuple(self.condition(scope, depth - 1) for _ in range(count)), joined=words)
        if depth > 0 and roll < 0.48:
            return over("bool", "(NOT {})", self.condition(scope, depth - 1))
        if depth > 1 and roll < 0.56:
            return self.subquery(scope)
        return self.comparison(scope, depth)

    def comparison(self, scope, depth):
        kind = self.any_of(scope)
        left = self.column(scope, kind) if self.chance.random() < 0.8 else self.expr(scope, kind, depth)
        operator = self.chance.choice(["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"])
        word = self.chance.choice(["compare", "compare", "other", "in", "between", "null", "like", "bool"])
        look = lambda: given(value(self.chance, kind, 0.04), kind)
        match word:
            case "in":
                count = self.chance.choice([1, 2, 4, 30])
                words = self.chance.choice(["IN", "NOT IN"])
                return Expr("bool", f"({left.form} {words} ({{}}))", tuple(look() for _ in range(count)), joined=", ") if not left.args else over(
                    "bool", f"({{}} {words} ({{}}, {{}}))", left, look(), look()
                )
            case "between":
                words = self.chance.choice(["BETWEEN", "NOT BETWEEN"])
                return over("bool", f"({{}} {words} {{}} AND {{}})", left, look(), look())
            case "null":
                return over("bool", self.chance.choice(["({} IS NULL)", "({} IS NOT NULL)"]), left)
            case "like" if kind == "text":
                pattern = self.chance.choice(["a%", "%b", "%a%", "a longer text%", "_", "__", "日%", "%本%", "", "%", "a_b", "Berlin", "😀%", "b_rl%n"])
                words = self.chance.choice(["LIKE", "NOT LIKE", "ILIKE"])
                return over("bool", f"({{}} {words} '{pattern}')", left)
            case "bool" if kind == "bool":
                return over("bool", self.chance.choice(["({} IS TRUE)", "({} IS NOT TRUE)", "({} IS FALSE)", "({})"]), left)
            case "other":
                # Another type, a column or a value.
                other = self.chance.choice(ALIKE.get(kind, (kind,)))
                right = self.column(scope, other) if self.chance.random() < 0.5 else given(value(self.chance, other, 0.04), other)
                return over("bool", f"({{}} {operator} {{}})", left, right)
        return over("bool", f"({{}} {operator} {{}})", left, look())

    def subquery(self, scope):
        """A condition on another table, often on columns of this one."""
        source, inner, _ = self.source(outer=True)
        words = self.chance.choice(["EXISTS", "NOT EXISTS", "IN", "NOT IN", "count", "max"])
        if words in ("EXISTS", "NOT EXISTS"):
            where = self.on(scope, inner, False)
            if self.chance.random() < 0.5:
                where = Expr("bool", "({})", (where, self.condition(inner, 0)), joined=" AND ")
            one = Select((Item(Expr("int", "1"), "c1"),), source, where=where)
            return over("bool", f"({words} ({{}}))", one)
        kind = self.any_of(scope, ("int", "text", "date"))
        if words in ("IN", "NOT IN"):
            one = Select((Item(self.column(inner, kind), "c1"),), source, where=self.condition(inner, 1))
            return over("bool", f"({{}} {words} ({{}}))", self.column(scope, kind), one)
        of = over("int", "count(*)") if words == "count" else over("int", "max({})", self.column(inner, "int"))
        where = self.on(scope, inner, False) if self.chance.random() < 0.6 else self.condition(inner, 1)
        return over("bool", "({} >= ({}))", self.column(scope, "int"), Select((Item(of, "c1"),), source, where=where))

    # Questions

    def items(self, scope, count, kinds=PLAIN):
        return tuple(self.item(self.expr(scope, self.any_of(scope, kinds)), index) for index in range(count))

    def item(self, expr, index):
        order = self.chance.choice(["", " DESC", " NULLS FIRST", " DESC NULLS LAST", " ASC NULLS LAST", " DESC NULLS FIRST"])
        return Item(expr, f"c{index + 1}", order)

    def maybe_where(self, scope):
        return self.condition(scope) if self.chance.random() < 0.8 else None

    def ends(self, always=False):
        """How an answer is ordered and cut: only what is ordered by all of its columns is cut."""
        if not always and self.chance.random() < 0.5:
            return {}
        limit = self.chance.choice([None, 0, 1, 5, 20, 1000])
        offset = self.chance.choice([None, None, 0, 3])
        return {"ordered": True, "limit": limit, "offset": offset}

    def plain(self, deep=True):
        if deep:
            source, joins, scope, _ = self.sources()
        else:
            source, scope, _ = self.source(outer=True)
            joins = ()
        items = self.items(scope, self.chance.randrange(1, 5))
        distinct = self.chance.random() < 0.15
        return Select(items, source, joins, self.maybe_where(scope), distinct=distinct, **self.ends())

    def aggregate(self, scope):
        kind, form, kinds = self.chance.choice(AGGREGATES)
        args = []
        for wanted in kinds:
            if wanted in ("any", "plain"):
                wanted = self.any_of(scope)
                args.append(self.column(scope, wanted) if self.chance.random() < 0.7 else self.expr(scope, wanted))
            elif wanted == "exact":
                # Sums of fractions that are exact in any order.
                args.append(over("dbl", "CAST({} AS double precision)", self.column(scope, "f32")))
            else:
                args.append(self.expr(scope, wanted, 1))
        if kind == "same":
            kind = args[0].kind
        return over(kind, form, *args)

    def grouped(self):
        source, joins, scope, _ = self.sources()
        by = tuple(self.expr(scope, self.any_of(scope), 1) if self.chance.random() < 0.3 else self.column(scope, self.any_of(scope)) for _ in range(self.chance.choice([1, 1, 2, 3])))
        # A number alone would be the place of a column.
        by = tuple(dict.fromkeys(expr if expr.args or expr.form.startswith("t") else self.column(scope, self.any_of(scope)) for expr in by))
        exprs = [*by, *(self.aggregate(scope) for _ in range(self.chance.randrange(1, 4)))]
        items = tuple(self.item(expr, index) for index, expr in enumerate(exprs))
        form = "{}"
        if all(not expr.args and "." in expr.form for expr in by):
            form = self.chance.choice(["{}", "{}", "ROLLUP ({})", "CUBE ({})", "GROUPING SETS (({}), ())"])
        having = None
        if self.chance.random() < 0.3:
            having = over("bool", f"({{}} {self.chance.choice(['>', '<=', '='])} {{}})", self.aggregate_of_ints(scope), given(self.chance.randrange(5), "int"))
        return Select(items, source, joins, self.maybe_where(scope), by, form, having, **self.ends())

    def aggregate_of_ints(self, scope):
        return self.chance.choice([over("int", "count(*)"), over("int", "count({})", self.column(scope, "text")), over("int", "max({})", self.column(scope, "int"))])

    def counted(self):
        """What may be answered without reading rows."""
        source, scope, _ = self.source()
        exprs = [over("int", "count(*)")] if self.chance.random() < 0.5 else []
        for _ in range(self.chance.randrange(1, 4)):
            kind = self.any_of(scope)
            column = self.column(scope, kind)
            form = self.chance.choice(["min({})", "max({})", "count({})"])
            exprs.append(over("int" if form.startswith("count") else kind, form, column))
        items = tuple(self.item(expr, index) for index, expr in enumerate(exprs))
        where = self.comparison(scope, 0) if self.chance.random() < 0.5 else None
        return Select(items, source, where=where)

    def sets(self):
        words = self.chance.choice(["UNION", "UNION ALL", "INTERSECT", "EXCEPT"])
        count = self.chance.randrange(1, 4)
        kinds = [self.chance.choice(PLAIN) for _ in range(count)]
        sides = []
        for _ in range(2):
            source, scope, _ = self.source()
            items = tuple(self.item(self.expr(scope, kind, 1), index) for index, kind in enumerate(kinds))
            sides.append(Select(items, source, where=self.maybe_where(scope)))
        return Both(words, *sides, **self.ends())

    def windows(self):
        source, scope, key = self.source(outer=True)
        part = self.column(scope, self.any_of(scope, ("text", "bool", "int", "date")))
        by = self.column(scope, self.any_of(scope, ("int", "dbl", "text", "date", "ts", "dec")))
        direction = self.chance.choice(["", " DESC", " NULLS FIRST", " DESC NULLS LAST"])
        window = f"PARTITION BY {{}} ORDER BY {{}}{direction}, {key}"
        frame = self.chance.choice(["", " ROWS BETWEEN 2 PRECEDING AND CURRENT ROW", " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING", " ROWS BETWEEN 1 FOLLOWING AND 3 FOLLOWING"])
        ints = self.column(scope, "int")
        anything = self.column(scope, self.any_of(scope))
        exprs = [
            over("int", f"row_number() OVER ({window})", part, by),
            over("int", f"rank() OVER (PARTITION BY {{}} ORDER BY {{}}{direction})", part, by),
            over("int", f"dense_rank() OVER (ORDER BY {{}}{direction})", by),
            over("int", f"sum({{}}) OVER ({window}{frame})", ints, part, by),
            over("int", "count(*) OVER (PARTITION BY {})", part),
            over("int", f"sum({{}}) OVER (PARTITION BY {{}} ORDER BY {{}}{direction})", ints, part, by),
            over(anything.kind, f"lag({{}}) OVER ({window})", anything, part, by),
            over(anything.kind, f"lead({{}}, 2) OVER ({window})", anything, part, by),
            over(anything.kind, f"first_value({{}}) OVER ({window}{frame})", anything, part, by),
            over(anything.kind, f"last_value({{}}) OVER ({window}{frame})", anything, part, by),
            over(anything.kind, f"max({{}}) OVER ({window}{frame})", anything, part, by),
            over("int", f"ntile(3) OVER ({window})", part, by),
        ]
        chosen = [Expr("int", key), *self.chance.sample(exprs, self.chance.randrange(1, 4))]
        items = tuple(self.item(expr, index) for index, expr in enumerate(chosen))
        inner = Select(items, source, where=self.maybe_where(scope))
        if self.chance.random() < 0.4:
            # The first rows of each part.
            alias = self.alias()
            outer = [Expr(kind, f"{alias}.{item.alias}") for item, kind in zip(inner.items, inner.kinds)]
            items = tuple(self.item(expr, index) for index, expr in enumerate(outer))
            return Select(items, Derived(inner, alias), where=self.comparison(outer, 0), **self.ends())
        return dataclasses.replace(inner, **self.ends())

    def unnested(self):
        table = self.chance.choice([table for table in self.tables if any(kind in ("ints", "texts") for kind in table.columns.values())] or [None])
        if table is None:
            return self.plain()
        alias, other = self.alias(), self.alias()
        scope = [Expr(kind, f'{alias}."' + '"."'.join(path) + '"') for path, kind in table.columns.items()]
        column = self.chance.choice([column for column in scope if column.kind in ("ints", "texts")])
        kind = {"ints": "int", "texts": "text"}[column.kind]
        scope.append(Expr(kind, f"{other}.x"))
        unnest = Join("CROSS JOIN", None, Expr("table", f"UNNEST({column.form}) AS {other}(x)"), None)
        items = (self.item(Expr(kind, f"{other}.x"), 0), *self.items(scope, self.chance.randrange(0, 3)))
        items = tuple(dataclasses.replace(item, alias=f"c{index + 1}") for index, item in enumerate(items))
        where = self.condition(scope, 1) if self.chance.random() < 0.6 else None
        if self.chance.random() < 0.4:
            items = (items[0], self.item(over("int", "count(*)"), 1))
            return Select(items, Source(table.name, alias), (unnest,), where, (items[0].expr,), **self.ends())
        return Select(items, Source(table.name, alias), (unnest,), where, **self.ends())

    def with_named(self):
        inner = self.chance.choice([self.plain, self.grouped, self.sets])()
        alias, name = self.alias(), "q"
        scope = [Expr(kind, f"{alias}.{item.alias}") for item, kind in zip(inner.items, inner.kinds)]
        joins = ()
        if self.chance.random() < 0.5:
            # The same one once more, or a table.
            if self.chance.random() < 0.5:
                again = self.alias()
                more = [Expr(kind, f"{again}.{item.alias}") for item, kind in zip(inner.items, inner.kinds)]
                other = Named(name, again)
            else:
                other, more, _ = self.source(outer=True)
            joins = (Join(self.chance.choice(["JOIN", "LEFT JOIN"]), None, other, self.on(scope, more)),)
            scope += more
        items = self.items(scope, self.chance.randrange(1, 4))
        return Select(items, Named(name, alias), joins, self.maybe_where(scope), withs=((name, inner),), **self.ends())

    def semi(self):
        source, scope, _ = self.source()
        other, more, _ = self.source()
        words = self.chance.choice(["SEMI", "ANTI"])
        join = Join(f"LEFT {words} JOIN", f"{words} JOIN", other, self.on(scope, more))
        items = self.items(scope, self.chance.randrange(1, 4))
        return Select(items, source, (join,), self.maybe_where(scope), **self.ends())


# Answers


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
        key = lambda row: tuple(sort_key(one, place in has_fractions) for place, one in enumerate(row))
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
