//! `docs/reference/functions.md` says what there is.

use std::fmt::Write;

use trino_functions::{Family, Function, functions};

const INTRODUCTION: &str = "# SQL functions

Sessions speak one of three dialects: `lacus` (the default), `athena` and `redshift`. `SET dialect = 'athena'` changes it
for a session, `options='-c dialect=athena'` for a Postgres connection, `\"dialect\": \"athena\"` for a question over HTTP.

In `athena` functions, operators and casts do as Amazon Athena's engine version 3 (Trino) does. In `lacus` and `redshift`
the functions below are there too, except those marked *athena*: DataFusion has another one of that name, which stays.
Beside these there are all functions of [DataFusion](https://datafusion.apache.org/user-guide/sql/scalar_functions.html).

A sum, difference or product of whole numbers that is too large is an error, in each dialect. [What else is otherwise than in
PostgreSQL and DuckDB](sql.md). A function that is not supported says so, and what to use. Regular expressions have no look-around and no
back-references. JSON paths have no wildcards.

What is still otherwise than in Athena: whole numbers are `bigint`, not `integer`; comparing a number with a text is no error; `nan()` equals
itself, and `max` takes it for the greatest number; `approx_distinct` and `approx_percentile` estimate differently. `VALUES 1, 2` without
parentheses, `LATERAL` subqueries other than `UNNEST`, `INTERVAL … YEAR TO MONTH`, `JSON_VALUE(… RETURNING …)` and `MATCH_RECOGNIZE` are errors.
";

#[test]
fn the_reference_lists_every_function() {
    let file = super::root().join("docs/reference/functions.md");
    let text = text();
    if super::is_blessing() {
        std::fs::write(&file, &text).unwrap();
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(there == text, "docs/reference/functions.md is not up to date: BLESS=1 writes it");
}

#[test]
fn no_name_is_there_twice() {
    let mut names: Vec<&str> = functions().flat_map(|function| function.names).copied().collect();
    names.sort_unstable();
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

fn text() -> String {
    let mut text = INTRODUCTION.to_owned();
    let mut families: Vec<Family> = functions().map(|function| function.family).collect();
    families.sort_unstable();
    families.dedup();
    for family in families {
        writeln!(text, "\n## {}\n\n| function | what it does |\n|---|---|", family.title()).unwrap();
        let of_family = || functions().filter(|function| function.family == family);
        for function in of_family().filter(|function| function.refused().is_none()) {
            row(&mut text, function);
        }
        let refused: Vec<String> = of_family()
            .filter_map(|function| Some((function.names.join("`, `"), function.refused()?)))
            .map(|(names, hint)| format!("`{names}` (use {hint})"))
            .collect();
        if !refused.is_empty() {
            writeln!(text, "\nNot supported: {}.", refused.join("; ")).unwrap();
        }
    }
    text
}

fn row(text: &mut String, function: &Function) {
    let usage = function.usage.replace('|', "\\|");
    let others: Vec<&str> =
        function.names.iter().copied().filter(|name| !usage.contains(&format!("{name}("))).collect();
    let also = match others.as_slice() {
        [] => String::new(),
        others => format!(" Also `{}`.", others.join("`, `")),
    };
    let mark = if function.trino_only { " *athena*" } else { "" };
    writeln!(text, "| `{usage}`{mark} | {}.{also} |", function.summary).unwrap();
}
