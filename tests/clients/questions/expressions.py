"""What expressions and totals are made of."""

from questions import decimals, elements, mixed, texts, times

# Expressions by what they give: template, kinds of the arguments, DuckDB's template.
SIMPLE = {
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
        ("({})[1]", ("ints",), None),
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
        ("({})[2]", ("texts",), None),
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

SUBJECTS = (SIMPLE, times.FORMS, decimals.FORMS, texts.FORMS, elements.FORMS, mixed.FORMS)
FORMS = {kind: [form for forms in SUBJECTS for form in forms.get(kind, ())] for subject in SUBJECTS for kind in subject}

# Totals: what they give ("same": what their argument is), template, kinds of the arguments, DuckDB's template.
AGGREGATES = [
    ("int", "count(*)", (), None),
    ("int", "count({})", ("any",), None),
    ("int", "count(DISTINCT {})", ("plain",), None),
    ("int", "sum({})", ("int",), None),
    ("int", "sum(CAST({} AS bigint))", ("i32",), None),
    ("dbl", "avg({})", ("int",), None),
    ("dbl", "sum({})", ("exact",), None),
    ("dec", "sum({})", ("dec",), None),
    ("bool", "bool_and({})", ("bool",), None),
    ("bool", "bool_or({})", ("bool",), None),
    ("same", "min({})", ("plain",), None),
    ("same", "max({})", ("plain",), None),
    ("int", "sum(DISTINCT {})", ("int",), None),
    ("int", "count(*) FILTER (WHERE {})", ("bool",), None),
    ("int", "sum({}) FILTER (WHERE {})", ("int", "bool"), None),
    ("same", "min({}) FILTER (WHERE {})", ("plain", "bool"), None),
    ("int", "bit_or({})", ("int",), None),
    ("int", "bit_and({})", ("int",), None),
    # No spread of whole numbers is in the middle between two digits then.
    ("dbl", "round(stddev_samp({}) + CAST('0.00314159' AS double precision), 2)", ("int",), None),
    *decimals.AGGREGATES,
]
