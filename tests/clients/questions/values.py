"""Values of columns and of conditions, and how both engines read them."""

import datetime
import decimal

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
    "span": "interval",
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
SPANS = [
    "1 day", "24 hours", "1 month", "30 days", "31 days", "1 year", "90 minutes", "-1 day", "-1 month", "1 month 2 days 1 hour",
    "0 days", "36 hours", "1 second", "0.5 seconds",
]  # fmt: skip
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
        case "span":
            return chance.choice(SPANS)
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
        case "span":
            return f"INTERVAL '{given}'"
        case "ints" | "texts":
            inner = {"ints": "int", "texts": "text"}[kind]
            return f"CAST(ARRAY[{', '.join(literal(one, inner) for one in given)}] AS {TYPES[kind]})"
    raise AssertionError(kind)
