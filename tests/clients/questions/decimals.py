"""`numeric`: what it adds up to, how many digits are left and which of them is rounded.

"num" is a number of any digits: it is in answers, and nothing else is made of it.
"""

# lacus divides to four digits more than what is divided has, the last one rounded; DuckDB divides doubles. This is of two digits.
MACROS = [
    "CREATE MACRO six_digits(a, b) AS CAST(CASE WHEN (a < 0) = (b < 0) THEN 1 ELSE -1 END * ((abs(a) * 2 + abs(b)) // (abs(b) * 2))"
    " AS decimal(30, 0)) * CAST('0.000001' AS decimal(6, 6))",
    "CREATE MACRO divided(a, b) AS six_digits(CAST(a * 100 AS hugeint) * 1000000, CAST(b * 100 AS hugeint))",
]

# DuckDB multiplies in 18 digits what has fewer.
PRODUCT = "CAST({} AS decimal(19,2)) * CAST({} AS decimal(19,2))"

# How expressions are made, as in `expressions`.
FORMS = {
    "int": [
        ("CAST({} AS bigint)", ("dec",), None),
        ("CAST(sign({}) AS bigint)", ("dec",), None),
    ],
    "dec": [
        ("abs({})", ("dec",), None),
        ("(- {})", ("dec",), None),
        ("greatest({}, {})", ("dec", "dec"), None),
        ("nullif({}, {})", ("dec", "dec"), None),
    ],
    "text": [("CAST({} AS text)", ("dec",), None), ("CAST({} AS text)", ("wide",), None)],
    "bool": [
        ("({} * {} > {})", ("dec", "dec", "dec"), f"({PRODUCT} > {{}})"),
        ("({} + {} <= {})", ("wide", "dec", "int"), None),
        ("(round({}, 1) = {})", ("dec", "dec"), None),
    ],
    "num": [
        ("({} * {})", ("dec", "dec"), f"({PRODUCT})"),
        ("({} * {})", ("dec", "i32"), "(CAST({} AS decimal(19,2)) * {})"),
        ("({} * {})", ("wide", "i32"), None),
        ("({} + {})", ("dec", "int"), None),
        ("({} + {})", ("wide", "wide"), None),
        ("({} - {})", ("wide", "dec"), None),
        ("({} - {})", ("int", "wide"), None),
        ("({} / nullif({}, 0))", ("dec", "dec"), "divided({}, nullif({}, 0))"),
        ("({} / nullif({}, 0))", ("dec", "int"), "divided({}, nullif({}, 0))"),
        ("({} % nullif({}, 0))", ("dec", "dec"), None),
        ("round({}, 1)", ("dec",), None),
        ("round({})", ("wide",), None),
        ("floor({})", ("dec",), None),
        ("ceil({})", ("dec",), None),
        ("trunc({})", ("dec",), None),
        ("CAST({} AS numeric(16,1))", ("dec",), None),
        ("CAST({} AS numeric(38,6))", ("wide",), None),
        ("CAST({} AS numeric(30,0))", ("wide",), None),
        # A real has six digits.
        ("CAST({} AS numeric(20,2))", ("f32",), "CAST(CAST(printf('%.6g', CAST({} AS double precision)) AS double precision) AS numeric(20,2))"),
        ("CAST({} AS numeric(30,3))", ("int",), None),
        ("coalesce({}, {})", ("dec", "wide"), None),
        ("least({}, {})", ("wide", "dec"), None),
        ("CASE WHEN {} THEN {} ELSE {} END", ("bool", "wide", "dec"), None),
    ],
}

# How totals are made, as in `expressions`.
AGGREGATES = [
    ("num", "sum({})", ("wide",), None),
    ("num", "sum({} * {})", ("dec", "dec"), f"sum({PRODUCT})"),
    ("num", "sum(DISTINCT {})", ("dec",), None),
    ("num", "avg({})", ("dec",), "divided(sum({0}), count({0}))"),
    ("num", "max({} - {})", ("wide", "dec"), None),
]
