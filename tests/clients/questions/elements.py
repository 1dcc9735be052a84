"""Arrays: what is compared with their elements, and what they are made of."""


def compared(operator, words):
    """Whether any or each element compares so: DuckDB looks for one that does, or that does not, and then for nulls."""
    opposite = "NOT " if words == "ALL" else ""
    found, otherwise = ("FALSE", "TRUE") if words == "ALL" else ("TRUE", "FALSE")
    return (
        f"({{}} {operator} {words} ({{}}))",
        f"CASE WHEN len(list_filter({{1}}, lambda y: {opposite}({{0}} {operator} y))) > 0 THEN {found}"
        f" WHEN {{1}} IS NULL OR len(list_filter({{1}}, lambda y: ({{0}} {operator} y) IS NULL)) > 0 THEN NULL ELSE {otherwise} END",
    )


def of_elements(kinds, operator, words):
    form, own = compared(operator, words)
    return form, kinds, own


# How expressions are made, as in `expressions`.
FORMS = {
    "bool": [
        of_elements(("int", "ints"), "=", "ANY"),
        of_elements(("text", "texts"), "=", "ANY"),
        of_elements(("text", "texts"), "<>", "ALL"),
        of_elements(("int", "ints"), "<", "ANY"),
        of_elements(("int", "ints"), ">=", "ALL"),
        of_elements(("i32", "ints"), "<>", "ANY"),
        ("({} = {})", ("ints", "ints"), None),
        ("({} <> {})", ("texts", "texts"), None),
        ("({} IS NOT DISTINCT FROM {})", ("ints", "ints"), None),
        ("({} IN ({}, {}))", ("texts", "texts", "texts"), None),
        ("({} IS NULL)", ("ints",), None),
        ("({} @> CAST(ARRAY['a'] AS text[]))", ("texts",), "list_contains({}, 'a')"),
        ("({} @> CAST(ARRAY[0, 1] AS bigint[]))", ("ints",), "(list_contains({0}, 0) AND list_contains({0}, 1))"),
        ("({} && CAST(ARRAY[0, 1] AS bigint[]))", ("ints",), "(list_contains({0}, 0) OR list_contains({0}, 1))"),
        ("(cardinality({}) > {})", ("texts", "int"), "(len({}) > {})"),
    ],
    "int": [
        ("array_position({}, coalesce({}, 0))", ("ints", "int"), "nullif(list_position({}, coalesce({}, 0)), 0)"),
        ("({})[3]", ("ints",), None),
    ],
    "text": [("array_to_string({}, ',')", ("texts",), "CASE WHEN {0} IS NOT NULL THEN coalesce(array_to_string({0}, ','), '') END")],
    "ints": [
        ("CAST(ARRAY[{}, {}] AS bigint[])", ("int", "int"), None),
        ("array_remove({}, {})", ("ints", "int"), "list_filter({0}, lambda y: y IS DISTINCT FROM {1})"),
        ("({})[2:3]", ("ints",), None),
        ("coalesce({}, {})", ("ints", "ints"), None),
        ("CASE WHEN {} THEN {} END", ("bool", "ints"), None),
    ],
    "texts": [
        ("CAST(ARRAY[{}, {}] AS text[])", ("text", "text"), None),
        ("coalesce({}, {})", ("texts", "texts"), None),
    ],
}
