//! Reads the engine's errors and says them in words of SQL, with SQLSTATE, hint and position.
//!
//! What the engine has as a variant is matched as one; the rest is known by its text only, and the table of texts
//! below is tested with real statements. A text that nothing here knows is passed on without the engine's prefix.

use std::collections::HashSet;

use datafusion::arrow::error::ArrowError;
use datafusion::common::{Column, SchemaError, Span};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use lacus_core::{Error, Kind, MAIN_DATABASE};

use super::{SqlError, nearest};
use crate::metadata::Metadata;
use crate::numbered::is_place;
use crate::rows::ROWS;
use crate::search_path;

/// The longest message of the engine that is passed on.
const MESSAGE_CHARACTERS_MAX: usize = 1000;

/// Names that exist, for "did you mean".
pub(crate) trait Names {
    /// Tables, with their database unless that is `main`.
    fn tables(&self) -> Vec<String>;
    /// Functions.
    fn functions(&self) -> Vec<String>;
}

/// Says what is wrong with `sql`.
pub(crate) fn explain(error: DataFusionError, sql: &str, names: &dyn Names) -> SqlError {
    let mut span = None;
    let explained = root(&error, sql, names, &mut span);
    let position = explained.position().or_else(|| span.and_then(|span| position_of(span, sql)));
    explained.with_position(position).with_source(error)
}

fn root(error: &DataFusionError, sql: &str, names: &dyn Names, span: &mut Option<Span>) -> SqlError {
    match error {
        DataFusionError::Diagnostic(diagnostic, inner) => {
            *span = span.or(diagnostic.span);
            root(inner, sql, names, span)
        }
        DataFusionError::Context(_, inner) => root(inner, sql, names, span),
        DataFusionError::Shared(inner) => root(inner, sql, names, span),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => root(first, sql, names, span),
            None => internal("the query ended with no reason"),
        },
        DataFusionError::SQL(parser, _) => syntax(parser, sql),
        DataFusionError::SchemaError(schema, _) => schema_error(schema, sql),
        DataFusionError::Plan(text) => planning(text, sql, names),
        DataFusionError::Execution(text) | DataFusionError::Configuration(text) => running(text),
        DataFusionError::NotImplemented(text) => not_supported(text),
        DataFusionError::ResourcesExhausted(_) => out_of_memory(),
        DataFusionError::ArrowError(arrow, _) => arrow_error(arrow, sql, names, span),
        DataFusionError::ParquetError(parquet) => damaged(&parquet.to_string()),
        DataFusionError::ObjectStore(store) => unreadable(&store.to_string()),
        DataFusionError::IoError(io) => unreadable(&io.to_string()),
        DataFusionError::External(other) => external(other.as_ref(), sql, names, span),
        DataFusionError::ExecutionJoin(join) => internal(&join.to_string()),
        other => internal(&other.strip_backtrace()),
    }
}

fn external(
    error: &(dyn std::error::Error + Send + Sync + 'static),
    sql: &str,
    names: &dyn Names,
    span: &mut Option<Span>,
) -> SqlError {
    if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        return root(inner, sql, names, span);
    }
    if let Some(inner) = error.downcast_ref::<SqlError>() {
        return with_hint_of(inner.hint(), SqlError::new(inner.kind(), inner.sqlstate(), inner.message()));
    }
    if let Some(inner) = error.downcast_ref::<Error>() {
        return with_hint_of(inner.hint(), SqlError::new(inner.kind(), inner.kind().sqlstate(), inner.message()));
    }
    internal(&error.to_string())
}

fn with_hint_of(hint: Option<&str>, error: SqlError) -> SqlError {
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn syntax(error: &ParserError, sql: &str) -> SqlError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => {
            return SqlError::invalid("54001", "the statement is nested too deeply");
        }
    };
    let (text, position) = split_location(text, sql);
    let text = text.replace("Expected: ", "expected ").replace(", found: ", ", found ");
    let at_end = text.ends_with("found EOF");
    let text = text.replace("found EOF", "found the end of the statement");
    let position = position.or_else(|| at_end.then(|| sql.trim_end().chars().count() + 1));
    SqlError::invalid("42601", format!("syntax error: {}", lowercase_first(&text))).with_position(position)
}

fn schema_error(error: &SchemaError, sql: &str) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => unknown_column(field, valid_fields, sql),
        SchemaError::AmbiguousReference { field } => {
            let error = SqlError::invalid("42702", format!("column \"{}\" is ambiguous", field.name));
            error.with_hint("say which table it is of, as in table.column")
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            SqlError::invalid("42701", format!("there are two columns \"{name}\"")).with_hint("rename one with AS")
        }
    }
}

fn unknown_column(field: &Column, valid: &[Column], sql: &str) -> SqlError {
    // The columns of rows' places are columns, too, but nobody asks for them.
    let is_ours = |name: &str| is_place(name) || name.starts_with("among#") || name == "compared#";
    let valid: Vec<Column> = valid.iter().filter(|column| !is_ours(&column.name)).cloned().collect();
    let valid = valid.as_slice();
    // The engine can't take what is compared with the outer row from under a name of ours.
    if field.relation.as_ref().is_some_and(|relation| relation.table() == ROWS) {
        return not_joined();
    }
    let shown = match &field.relation {
        Some(relation) => format!("{}.{}", relation.table(), field.name),
        None => field.name.clone(),
    };
    let error = SqlError::invalid("42703", format!("column \"{shown}\" does not exist"));
    let same_name = valid.iter().find(|column| column.name.eq_ignore_ascii_case(&field.name));
    if let Some(column) = same_name.filter(|column| column.name != field.name) {
        return error.with_hint(format!("did you mean \"{0}\"? write it in double quotes: \"{0}\"", column.name));
    }
    match nearest(&field.name, valid.iter().map(|column| column.name.as_str())) {
        Some(name) => error.with_hint(format!("did you mean \"{name}\"?")),
        None if valid.is_empty() => error.with_hint("text goes in single quotes: 'text'"),
        None if field.relation.is_none() && sql.contains(&format!("\"{}\"", field.name)) => {
            error.with_hint(format!("text goes in single quotes: '{}'; columns here: {}", field.name, listed(valid)))
        }
        None => error.with_hint(format!("columns here: {}", listed(valid))),
    }
}

/// The first of their names, each once: what is sorted by may be any of two rows of columns.
fn listed(columns: &[Column]) -> String {
    const SHOWN_MAX: usize = 12;
    let mut seen = HashSet::new();
    let names: Vec<&str> =
        columns.iter().map(|column| column.name.as_str()).filter(|name| seen.insert(*name)).collect();
    let shown = names[..names.len().min(SHOWN_MAX)].join(", ");
    if names.len() > SHOWN_MAX { format!("{shown}, …") } else { shown }
}

fn planning(text: &str, sql: &str, names: &dyn Names) -> SqlError {
    if let Some(name) = between(text, "table '", "' not found") {
        return unknown_table(name, &names.tables());
    }
    if let Some(name) = between(text, "table function '", "' not found") {
        return SqlError::invalid("42883", format!("table function \"{name}\" does not exist"));
    }
    if let Some(name) = between(text, "Invalid function '", "'") {
        return unknown_function(name, sql, names);
    }
    if let Some(rest) = text.strip_prefix("Error during planning: ") {
        return planning(rest, sql, names);
    }
    if let Some(column) = between(text, "column \"", "\" must appear in the GROUP BY") {
        let column = column.rsplit('.').next().unwrap_or(column);
        let message = format!("column \"{column}\" must appear in GROUP BY or be used in an aggregate function");
        return SqlError::invalid("42803", message).with_position(word(column, sql));
    }
    if let Some((function, kind)) = between(text, "Function '", "'").zip(between(text, "but received ", " (DataType")) {
        let message = format!("function {function}() does not take {}", kind.to_lowercase().replace("string", "text"));
        return SqlError::invalid("42883", message).with_hint("cast it, as in x::double precision");
    }
    if let Some(operation) = between(text, "Cannot coerce arithmetic expression ", " to valid types") {
        let error = SqlError::invalid("42883", format!("there is no {}", readable(operation)));
        return error.with_hint("cast one of them, as in x::bigint");
    }
    if let Some((_, reason)) = text.split_once("user-defined coercion failed with: ") {
        return SqlError::invalid("42883", cleaned(reason));
    }
    if let Some(field) = between(text, "Field ", " not found in struct") {
        let error = SqlError::invalid("42703", format!("there is no field \"{field}\" in this column"));
        return error.with_position(word(field, sql));
    }
    if let Some((_, kind)) =
        text.split_once("non-boolean predicate ").and_then(|(_, rest)| rest.split_once(" returning "))
    {
        return SqlError::invalid("42804", format!("WHERE needs a condition, not a value of type {}", readable(kind)));
    }
    // Of subqueries, or of the outer row: the engine's columns know where they are from.
    if text.contains("Inconsistent metadata across values list") {
        return SqlError::invalid("0A000", "not supported: VALUES of columns")
            .with_hint("write a SELECT for each row, and UNION ALL between them");
    }
    let known = PLANNING.iter().find(|(part, _)| text.contains(part));
    let code = if let Some((_, code)) = known {
        code
    } else if ["coerce", "coercion", "Cannot infer common", "No function matches", "automatically convert"]
        .iter()
        .any(|part| text.contains(part))
    {
        "42883"
    } else if text.contains("not supported") || text.contains("Unsupported") || text.contains("not implemented") {
        "0A000"
    } else {
        "42601"
    };
    SqlError::invalid(code, cleaned(text))
}

/// What is said of statements, and the SQLSTATE for it.
const PLANNING: [(&str, &str); 13] = [
    ("ggregate functions are not allowed", "42803"),
    ("rder by column out of bounds", "42P10"),
    ("annot find column with position", "42P10"),
    ("or SELECT DISTINCT, ORDER BY expressions", "42P10"),
    ("names given as column alias", "42P10"),
    ("LIMIT must be >= 0", "2201W"),
    ("OFFSET must be >=0", "2201X"),
    ("specified more than once", "42712"),
    ("require unique expression names", "42702"),
    ("ncompatible inputs for", "42804"),
    ("is not defined!", "42704"),
    ("nsupported CAST", "42846"),
    ("ercentile value must be between", "22003"),
];

fn unknown_table(name: &str, tables: &[String]) -> SqlError {
    let parts: Vec<&str> = name.split('.').collect();
    // What follows the mark is the version of the table that was asked for.
    let table = parts.last().copied().unwrap_or(name);
    let table = table.split_once('@').map_or(table, |(table, _)| table);
    let is_known = |table: &str| tables.iter().any(|name| name.rsplit('.').next() == Some(table));
    // A table that is not there has no metadata either.
    let missing = Metadata::named(table).map(|(table, _)| table).filter(|&table| !is_known(table));
    let table = missing.unwrap_or(table);
    let schema = if parts.len() > 1 { parts[parts.len() - 2] } else { MAIN_DATABASE };
    let (schema, whole) = match search_path::apart(schema) {
        Some(databases) => (databases.collect::<Vec<_>>().join("\" or \""), table.to_owned()),
        None if schema == MAIN_DATABASE => (schema.to_owned(), table.to_owned()),
        None => (schema.to_owned(), format!("{schema}.{table}")),
    };
    let error =
        SqlError::new(Kind::NotFound, "42P01", format!("there is no table \"{table}\" in database \"{schema}\""));
    if let Some((known, _)) = whole.rsplit_once('$')
        && tables.iter().any(|table| table == known)
    {
        return error.with_hint(
            "behind $ there are snapshots, history, refs, files, partitions, manifests, columns and layout of a table",
        );
    }
    if let Some(of_it) = tables.iter().find(|name| name.split_once('.').is_some_and(|(database, _)| database == whole))
    {
        return error.with_hint(format!("\"{whole}\" is a database, with tables such as {of_it}"));
    }
    let elsewhere = || tables.iter().find(|name| name.rsplit('.').next() == Some(table)).map(String::as_str);
    match nearest(&whole, tables.iter().map(String::as_str)).or_else(elsewhere) {
        Some(nearest) => error.with_hint(format!("did you mean \"{nearest}\"?")),
        None if tables.is_empty() => error.with_hint("there are no tables yet: a source's first event makes its table"),
        None => error.with_hint("SHOW TABLES lists them"),
    }
}

fn unknown_function(name: &str, sql: &str, names: &dyn Names) -> SqlError {
    let error = SqlError::invalid("42883", format!("function {name}() does not exist")).with_position(word(name, sql));
    let functions = names.functions();
    if functions.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        let error =
            SqlError::invalid("42809", format!("function {name}() is one of windows")).with_position(word(name, sql));
        return error.with_hint(format!("say which: {name}() OVER (ORDER BY …)"));
    }
    match nearest(name, functions.iter().map(String::as_str)) {
        Some(nearest) => error.with_hint(format!("did you mean {nearest}()?")),
        None => error,
    }
}

fn running(text: &str) -> SqlError {
    if let Some(error) = bad_text(text) {
        return error;
    }
    let lower = text.to_lowercase();
    if lower.contains("divide by zero") || lower.contains("division by zero") {
        return division_by_zero();
    }
    let code = match known_of_values(&lower) {
        Some(code) => code,
        None if ["cast", "error parsing", "cannot parse"].iter().any(|part| lower.contains(part)) => "22P02",
        None => "22000",
    };
    SqlError::invalid(code, cleaned(text))
}

/// What is said of values, in lowercase, and the SQLSTATE for it.
const RUNNING: [(&str, &str); 22] = [
    ("more than one row", "21000"),
    ("error parsing timestamp", "22007"),
    ("error parsing date", "22007"),
    ("month value", "22008"),
    ("day value", "22008"),
    ("interval out of range", "22008"),
    ("timestamp out of range", "22008"),
    ("date arithmetic overflow", "22008"),
    ("represented as nanoseconds", "22008"),
    ("time zone", "22023"),
    ("timezone", "22023"),
    ("granularity", "22023"),
    ("field position must not be zero", "22023"),
    ("negative count not allowed", "22011"),
    ("more than 2 gb at once", "54000"),
    ("malformed array literal", "22P02"),
    // Numbers that have no place in their type.
    ("too large to store", "22003"),
    ("too small to store", "22003"),
    ("out of range", "22003"),
    ("overflow", "22003"),
    ("can't cast value", "22003"),
    ("is not between 0 and 1", "22003"),
];

/// The SQLSTATE of a message in lowercase, if it is known.
fn known_of_values(lower: &str) -> Option<&'static str> {
    RUNNING.iter().find(|(part, _)| lower.contains(part)).map(|(_, code)| *code)
}

fn arrow_error(error: &ArrowError, sql: &str, names: &dyn Names, span: &mut Option<Span>) -> SqlError {
    match error {
        ArrowError::DivideByZero => division_by_zero(),
        ArrowError::CastError(text) | ArrowError::ParseError(text) => {
            let code = known_of_values(&text.to_lowercase()).unwrap_or("22P02");
            bad_text(text).unwrap_or_else(|| SqlError::invalid(code, cleaned(text)))
        }
        ArrowError::ArithmeticOverflow(text) => SqlError::invalid("22003", cleaned(text)),
        ArrowError::ExternalError(other) => external(other.as_ref(), sql, names, span),
        ArrowError::ParquetError(text) => damaged(text),
        ArrowError::IoError(text, _) => unreadable(text),
        ArrowError::NotYetImplemented(text) => not_supported(text),
        other => running(&other.to_string()),
    }
}

/// A text that is no number, date, …
fn bad_text(text: &str) -> Option<SqlError> {
    let value = between(text, "Cannot cast string '", "' to value of ")?;
    let kind = between(text, "' to value of ", " type")?;
    let kind = readable(kind);
    let has_digits_only = |marks: &str| value.bytes().all(|byte| byte.is_ascii_digit() || marks.contains(byte as char));
    let (code, is) = match kind.as_str() {
        "bigint" | "integer" if value.parse::<i128>().is_ok() => ("22003", "out of range for type"),
        "numeric" if has_digits_only("+-.") && value.parse::<f64>().is_ok() => ("22003", "out of range for type"),
        "date" | "time" | "timestamp" if has_digits_only("-:. ") => ("22008", "no"),
        "date" | "time" | "timestamp" => ("22007", "no"),
        _ => ("22P02", "no"),
    };
    let message = format!("\"{value}\" is {is} {kind}");
    Some(SqlError::invalid(code, message).with_hint("try_cast(x as …) makes it null instead"))
}

fn division_by_zero() -> SqlError {
    SqlError::invalid("22012", "division by zero").with_hint("nullif(x, 0) makes the result null instead")
}

/// The error of a question for which there is no more memory.
pub(crate) fn out_of_memory() -> SqlError {
    SqlError::new(Kind::Limited, "53200", "the query needs more memory than query.memory_max allows")
        .with_hint("read fewer columns or rows, group by less, or raise query.memory_max in lacus.toml")
}

fn not_supported(text: &str) -> SqlError {
    if let Some(kind) = text.split_once("Unsupported SQL type ").map(|(_, kind)| kind) {
        return SqlError::invalid("42704", format!("there is no type {}", kind.to_lowercase()));
    }
    if text.contains("nsupported CAST") {
        return SqlError::invalid("42846", cleaned(text));
    }
    // The engine names the whole expression, in its own notation.
    if let Some((_, expression)) = text.split_once("does not support logical expression ") {
        return if expression.starts_with("AggregateFunction") {
            SqlError::invalid("42803", "aggregate function calls cannot be nested, and have no place here")
        } else if expression.starts_with("WindowFunction") {
            SqlError::invalid("42P20", "window functions are not allowed here")
                .with_hint("put the query in a subquery, or use QUALIFY")
        } else {
            not_joined()
        };
    }
    let error = SqlError::invalid("0A000", format!("not supported: {}", cleaned(text)));
    if text.contains("perator ->") {
        return error
            .with_hint("a field of an object is data.field; of JSON text it is json_extract_scalar(data, '$.field')");
    }
    error
}

fn not_joined() -> SqlError {
    SqlError::invalid("0A000", "not supported: a subquery like this in this place")
        .with_hint("join its table, or move it to WHERE")
}

fn damaged(text: &str) -> SqlError {
    // Conditions are evaluated while a file is read: their errors are reported as the file's.
    for (error, code) in [("CastError(\"", "22P02"), ("ArithmeticOverflow(\"", "22003")] {
        if let Some((_, said)) = text.split_once(error) {
            let said = said.split_once("\")").map_or(said, |(said, _)| said);
            return bad_text(said).unwrap_or_else(|| SqlError::invalid(code, cleaned(said)));
        }
    }
    if text.contains("DivideByZero") || text.contains("ivide by zero") {
        return division_by_zero();
    }
    if let Some((_, said)) = text.split_once("filter predicate: Execution(\"") {
        return running(said.split_once("\")").map_or(said, |(said, _)| said));
    }
    SqlError::new(Kind::Corrupt, "XX001", format!("a data file can't be read: {}", cleaned(text)))
        .with_hint("lacus doctor checks every file")
}

fn unreadable(text: &str) -> SqlError {
    SqlError::new(Kind::Unavailable, "58030", format!("the lake can't be read: {}", cleaned(text)))
}

fn internal(text: &str) -> SqlError {
    SqlError::new(Kind::Internal, "XX000", cleaned(text))
}

/// What the engine puts before or after its messages.
const PREFIXES: [&str; 10] = [
    "DataFusion error: ",
    "Error during planning: ",
    "Execution error: ",
    "This feature is not implemented: ",
    "SQL error: ",
    "Arrow error: ",
    "Optimizer rule 'simplify_expressions' failed\ncaused by\n",
    "Cast error: ",
    "Parser error: ",
    "Internal error: ",
];

/// The message for a user: without prefixes, without advice for the engine's developers, beginning in lowercase.
fn cleaned(text: &str) -> String {
    let mut text = text.trim();
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = rest.trim_start();
    }
    let end = [
        "\nThis issue was likely caused by",
        ".\nThis issue was",
        " No function matches",
        "\n\tCandidate functions",
        "\nbacktrace:",
    ]
    .iter()
    .filter_map(|marker| text.find(marker))
    .filter(|at| *at > 0)
    .min();
    let text = end.map_or(text, |end| &text[..end]).trim_end_matches(['.', ' ', '\n']);
    readable(&lowercase_first(shortened(text)))
}

/// The message without the plan that some internal errors end with.
fn shortened(text: &str) -> &str {
    let end = text.char_indices().nth(MESSAGE_CHARACTERS_MAX).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

/// Types by their SQL names.
fn readable(text: &str) -> String {
    const TYPES: [(&str, &str); 13] = [
        ("Date32", "date"),
        ("Time64(µs)", "time"),
        ("Time64(Microsecond)", "time"),
        ("Time64(ns)", "time"),
        ("Time64(Nanosecond)", "time"),
        ("Int64", "bigint"),
        ("Int32", "integer"),
        ("Float64", "double precision"),
        ("Decimal128(38, 10)", "numeric"),
        ("Utf8View", "text"),
        ("Utf8", "text"),
        ("Boolean", "boolean"),
        ("Interval(MonthDayNano)", "interval"),
    ];
    TYPES.iter().fold(text.to_owned(), |text, (engine, sql)| text.replace(engine, sql))
}

/// Lowercases the first letter, unless the word is all capitals.
fn lowercase_first(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_owned(),
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let start = text.find(before)? + before.len();
    let length = text[start..].find(after)?;
    Some(&text[start..start + length])
}

/// Takes ` at Line: 1, Column: 8` off the end of a parser's message.
fn split_location(text: &str, sql: &str) -> (String, Option<usize>) {
    let Some(at) = text.find(" at Line: ") else {
        return (text.to_owned(), None);
    };
    let mut numbers = text[at..].split(|letter: char| !letter.is_ascii_digit()).filter(|part| !part.is_empty());
    let line = numbers.next().and_then(|number| number.parse().ok());
    let column = numbers.next().and_then(|number| number.parse().ok());
    let position = line.zip(column).and_then(|(line, column)| characters_before(line, column, sql));
    (text[..at].to_owned(), position)
}

fn position_of(span: Span, sql: &str) -> Option<usize> {
    characters_before(span.start.line, span.start.column, sql)
}

/// A line and column as one position; all are counted from 1.
pub(crate) fn characters_before(line: u64, column: u64, sql: &str) -> Option<usize> {
    let (line, column) = (usize::try_from(line).ok()?, usize::try_from(column).ok()?);
    if line == 0 || column == 0 {
        return None;
    }
    let before: usize = sql.split_inclusive('\n').take(line - 1).map(|line| line.chars().count()).sum();
    Some(before + column)
}

/// Where `name` is in the statement, if it is there once.
fn word(name: &str, sql: &str) -> Option<usize> {
    let (sql, name) = (sql.to_ascii_lowercase(), name.to_ascii_lowercase());
    let mut found = sql.match_indices(&name);
    let (at, _) = found.next()?;
    found.next().is_none().then(|| sql[..at].chars().count() + 1)
}
