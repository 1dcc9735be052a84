"""Values of several types in one expression: the wider one is what comes of it."""

# How expressions are made, as in `expressions`.
FORMS = {
    "int": [
        ("coalesce({}, {})", ("i32", "int"), None),
        ("CASE WHEN {} THEN {} ELSE {} END", ("bool", "i32", "int"), None),
        ("greatest({}, {})", ("int", "i32"), None),
    ],
    "dbl": [
        # As a text, a real has fewer digits than it is made of.
        ("CAST(coalesce({}, {}) AS double precision)", ("f32", "i32"), None),
        ("CASE WHEN {} THEN {} ELSE {} END", ("bool", "dbl", "int"), None),
        ("CASE WHEN {} THEN {} WHEN {} THEN {} END", ("bool", "i32", "bool", "dbl"), None),
        ("coalesce({}, {})", ("dbl", "dec"), None),
        ("coalesce({}, {})", ("dbl", "f32"), None),
        ("greatest({}, {})", ("int", "dbl"), None),
    ],
    "num": [
        ("CASE WHEN {} THEN {} ELSE {} END", ("bool", "int", "dec"), None),
        ("CASE WHEN {} THEN {} WHEN {} THEN {} ELSE {} END", ("bool", "i32", "bool", "dec", "wide"), None),
        ("CASE {} WHEN {} THEN {} ELSE {} END", ("int", "i32", "dec", "int"), None),
        ("coalesce({}, {})", ("dec", "int"), None),
        ("coalesce({}, {})", ("i32", "wide"), None),
        ("greatest({}, {})", ("int", "dec"), None),
    ],
    "ts": [
        ("CASE WHEN {} THEN {} ELSE {} END", ("bool", "ts", "date"), None),
        ("coalesce({}, {})", ("date", "ts"), None),
        ("least({}, {})", ("ts", "date"), None),
    ],
    "tz": [
        ("CASE WHEN {} THEN {} ELSE {} END", ("bool", "ts", "tz"), None),
        ("coalesce({}, {})", ("tz", "ts"), None),
    ],
    "bool": [
        ("({} IN ({}, {}))", ("int", "dec", "i32"), None),
        ("({} BETWEEN {} AND {})", ("int", "dbl", "dec"), None),
        ("(CASE WHEN {} THEN {} ELSE {} END > {})", ("bool", "int", "dec", "int"), None),
        ("({} = {})", ("tz", "ts"), None),
        ("({} < {})", ("date", "tz"), None),
    ],
}
