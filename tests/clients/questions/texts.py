"""Texts: what is cut out of them and put into them, and patterns, of which any or all match."""

MACROS = [
    "CREATE MACRO like_any(x, patterns) AS CASE WHEN len(list_filter(patterns, lambda p: x LIKE p)) > 0 THEN TRUE"
    " WHEN patterns IS NULL OR len(list_filter(patterns, lambda p: (x LIKE p) IS NULL)) > 0 THEN NULL ELSE FALSE END",
]

# How expressions are made, as in `expressions`.
FORMS = {
    "text": [
        ("left({}, 3)", ("text",), None),
        ("right({}, 2)", ("text",), None),
        ("lpad({}, 6, '*')", ("text",), None),
        ("rpad({}, 4, 'xy')", ("text",), None),
        ("split_part({}, 'a', 1)", ("text",), None),
        ("split_part({}, 'b', 2)", ("text",), None),
        ("concat({}, {})", ("text", "text"), None),
        ("concat({}, '-', {})", ("int", "text"), None),
        ("concat_ws('/', {}, {})", ("text", "text"), None),
        ("translate({}, 'ab', 'xy')", ("text",), None),
        ("regexp_replace({}, '[ab]+', '-', 'g')", ("text",), None),
        ("ltrim({}, 'a')", ("text",), None),
        ("rtrim({}, 'b')", ("text",), None),
        ("repeat({}, 2)", ("text",), None),
        ("reverse({})", ("text",), None),
        ("md5({})", ("text",), None),
        ("substring({} FROM 2 FOR 3)", ("text",), None),
        ("CAST({} AS text)", ("bool",), None),
        ("to_char({}, 'YYYY-MM-DD')", ("ts",), "strftime({}, '%Y-%m-%d')"),
    ],
    "int": [
        ("position({} IN {})", ("text", "text"), None),
        ("ascii({})", ("text",), None),
        ("octet_length({})", ("text",), "octet_length(encode({}))"),
    ],
    "bool": [
        ("starts_with({}, {})", ("text", "text"), None),
        ("({} ~ '^[a-b]')", ("text",), "regexp_matches({}, '^[a-b]')"),
        ("({} !~ 'b')", ("text",), "(NOT regexp_matches({}, 'b'))"),
        ("({} ~* 'BER')", ("text",), "regexp_matches({}, 'BER', 'i')"),
        ("({} LIKE ANY (ARRAY['a%', '%b', '_']))", ("text",), "({0} LIKE 'a%' OR {0} LIKE '%b' OR {0} LIKE '_')"),
        ("({} LIKE ALL (ARRAY['%a%', '%b%']))", ("text",), "({0} LIKE '%a%' AND {0} LIKE '%b%')"),
        ("({} NOT LIKE ANY (ARRAY['a%', 'b%']))", ("text",), "({0} NOT LIKE 'a%' OR {0} NOT LIKE 'b%')"),
        ("({} NOT LIKE ALL (ARRAY['a%', '%n']))", ("text",), "({0} NOT LIKE 'a%' AND {0} NOT LIKE '%n')"),
        ("({} ILIKE ANY (ARRAY['B%', NULL]))", ("text",), "({0} ILIKE 'B%' OR CAST(NULL AS boolean))"),
        ("({} LIKE ANY ({}))", ("text", "texts"), "like_any({}, {})"),
        ("({} NOT LIKE ALL ({}))", ("text", "texts"), "(NOT like_any({}, {}))"),
    ],
}
