//! JSON: text whose field says so. Numbers keep the digits they were written with, members are in the order of their
//! names.

mod convert;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::error::Result;
use serde_json::value::RawValue;

pub(crate) use convert::{check_writable, read, write};

use crate::catalog::{Family::Json, Function, refused, scalar};
use crate::scalar::{
    BOOL, Body, Bool, Call, DOUBLE, Given, INT, Int, Last, TEXT, Text, Types, bad, column, each, exactly, is_text,
    map1, map2,
};

/// How deep values may be nested.
const DEPTH_MAX: usize = 100;

pub(crate) const FUNCTIONS: &[Function] = &[
    scalar(
        Json,
        &["json_extract"],
        "json_extract(json, path) → json",
        "What is at a path: `$.store.book[0]`",
        Body::new(
            |g| path_types(g, TEXT).map(Types::json),
            |call| at_path::<Text>(call, |raw| canonical(raw).map(Some)),
        ),
    ),
    scalar(
        Json,
        &["json_extract_scalar"],
        "json_extract_scalar(json, path) → varchar",
        "The text, number or truth value at a path",
        Body::new(|g| path_types(g, TEXT), |call| at_path::<Text>(call, |raw| Ok(scalar_text(raw)))),
    ),
    scalar(
        Json,
        &["json_value"],
        "json_value(json, path) → varchar",
        "As json_extract_scalar; the path may begin with `lax`",
        Body::new(|g| path_types(g, TEXT), |call| at_path::<Text>(call, |raw| Ok(scalar_text(raw)))),
    ),
    scalar(
        Json,
        &["json_query"],
        "json_query(json, path) → varchar",
        "What is at a path as text, if it is an object or array",
        Body::new(
            |g| path_types(g, TEXT),
            |call| {
                at_path::<Text>(
                    call,
                    |raw| if raw.starts_with(['{', '[']) { canonical(raw).map(Some) } else { Ok(None) },
                )
            },
        ),
    ),
    scalar(
        Json,
        &["json_exists"],
        "json_exists(json, path) → boolean",
        "Whether there is anything at a path",
        Body::new(|g| path_types(g, BOOL), exists),
    ),
    scalar(
        Json,
        &["json_size"],
        "json_size(json, path) → bigint",
        "How many members or elements are at a path",
        Body::new(|g| path_types(g, INT), |call| at_path::<Int>(call, |raw| Ok(Some(size(raw))))),
    ),
    scalar(
        Json,
        &["json_parse"],
        "json_parse(text) → json",
        "Text as JSON; an error if it is none",
        Body::new(|g| exactly(g, &[TEXT], 1, TEXT).map(Types::json), |call| parsed(&call.args[0])),
    ),
    scalar(
        Json,
        &["json_format"],
        "json_format(json) → varchar",
        "JSON as text",
        Body::new(|g| exactly(g, &[TEXT], 1, TEXT), |call| map1::<Text, Text>(call, |text| canonical(text).map(Some))),
    ),
    scalar(
        Json,
        &["json_array_length"],
        "json_array_length(json) → bigint",
        "How many elements an array has; null if it is none",
        Body::new(
            |g| exactly(g, &[TEXT], 1, INT),
            |call| map1::<Text, Int>(call, |text| Ok(elements(text).map(|all| all.len() as i64))),
        ),
    ),
    scalar(
        Json,
        &["json_array_get"],
        "json_array_get(json, n) → json",
        "An element, counted from zero, or from the end if negative",
        Body::new(|g| exactly(g, &[TEXT, INT], 2, TEXT).map(Types::json), array_get),
    ),
    scalar(
        Json,
        &["json_array_contains"],
        "json_array_contains(json, value) → boolean",
        "Whether an array has a value",
        Body::new(contains_types, array_contains),
    ),
    scalar(
        Json,
        &["is_json_scalar"],
        "is_json_scalar(json) → boolean",
        "Whether it is neither object nor array",
        Body::new(
            |g| exactly(g, &[TEXT], 1, BOOL),
            |call| map1::<Text, Bool>(call, |text| Ok(Some(!canonical(text)?.starts_with(['{', '['])))),
        ),
    ),
    refused(Json, &["json_object", "json_array"], "CAST(map(ARRAY[…], ARRAY[…]) AS JSON)"),
];

/// Texts as JSON.
pub(crate) fn parsed(texts: &ArrayRef) -> Result<ArrayRef> {
    let texts = cast(texts, &TEXT)?;
    let parse = |text: &str| canonical(text).map_err(|_| bad(format!("'{}' is not JSON", start(text))));
    let values = texts.as_string::<i32>().iter().map(|text| text.map(parse).transpose());
    Ok(Arc::new(values.collect::<Result<StringArray>>()?))
}

fn start(text: &str) -> String {
    text.chars().take(60).collect()
}

fn not_json(error: &serde_json::Error) -> datafusion::error::DataFusionError {
    bad(format!("not JSON: {error}"))
}

pub(crate) fn object(text: &str) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(text).ok()
}

pub(crate) fn elements(text: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(text).ok()
}

/// The value without white space, members sorted by name.
pub(crate) fn canonical(text: &str) -> Result<String> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    let mut out = String::with_capacity(text.len());
    put(raw.get(), &mut out, 0)?;
    Ok(out)
}

fn put(raw: &str, out: &mut String, depth: usize) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(bad(format!("the JSON is nested deeper than {DEPTH_MAX}")));
    }
    match raw.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(raw).map_err(|error| not_json(&error))?;
            for (index, (name, value)) in members.iter().enumerate() {
                out.push(if index == 0 { '{' } else { ',' });
                out.push_str(&quoted(name));
                out.push(':');
                put(value.get(), out, depth + 1)?;
            }
            out.push_str(if members.is_empty() { "{}" } else { "}" });
        }
        Some(b'[') => {
            let values: Vec<&RawValue> = serde_json::from_str(raw).map_err(|error| not_json(&error))?;
            for (index, value) in values.iter().enumerate() {
                out.push(if index == 0 { '[' } else { ',' });
                put(value.get(), out, depth + 1)?;
            }
            out.push_str(if values.is_empty() { "[]" } else { "]" });
        }
        Some(b'"') => {
            let text: String = serde_json::from_str(raw).map_err(|error| not_json(&error))?;
            out.push_str(&quoted(&text));
        }
        _ => out.push_str(raw),
    }
    Ok(())
}

pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A string without quotes, a number or boolean as it is; none for null, objects and arrays.
pub(crate) fn scalar_text(raw: &str) -> Option<String> {
    match raw.as_bytes().first()? {
        b'{' | b'[' | b'n' => None,
        b'"' => serde_json::from_str(raw).ok(),
        _ => Some(raw.to_owned()),
    }
}

fn size(raw: &str) -> i64 {
    match raw.as_bytes().first() {
        Some(b'{') => object(raw).map_or(0, |members| members.len() as i64),
        Some(b'[') => elements(raw).map_or(0, |all| all.len() as i64),
        _ => 0,
    }
}

fn path_types(given: &Given, returns: DataType) -> Result<Types> {
    exactly(given, &[TEXT, TEXT], 2, returns)
}

/// One step of a path.
#[derive(Debug, PartialEq)]
enum Step {
    Member(String),
    Element(usize),
}

/// Compiles `$.name["other name"][0]`.
fn path(text: &str) -> Result<Vec<Step>> {
    let wrong = || bad(format!("'{text}' is no JSON path: write it as $.name[0]"));
    let rest = text.trim().strip_prefix("lax ").or_else(|| text.trim().strip_prefix("strict ")).unwrap_or(text).trim();
    let mut rest = rest.strip_prefix('$').ok_or_else(wrong)?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if rest.starts_with("..") || rest.starts_with(".*") || rest.starts_with("[*") || rest.starts_with("[?") {
            return Err(bad(format!(
                "the JSON path '{text}' has a wildcard or filter, which is not supported: CAST to array and use filter or UNNEST"
            )));
        }
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let name = after[..end].trim_matches('"');
            if name.is_empty() {
                return Err(wrong());
            }
            steps.push(Step::Member(name.to_owned()));
            rest = &after[end..];
            continue;
        }
        let after = rest.strip_prefix('[').ok_or_else(wrong)?.trim_start();
        let quote = after.chars().next().filter(|letter| matches!(letter, '"' | '\''));
        let (step, after) = match quote {
            Some(quote) => {
                let (name, after) = after[1..].split_once(quote).ok_or_else(wrong)?;
                (Step::Member(name.to_owned()), after)
            }
            None => {
                let end = after.find(']').ok_or_else(wrong)?;
                match after[..end].trim().parse() {
                    Ok(index) => (Step::Element(index), &after[end..]),
                    Err(_) => (Step::Member(after[..end].trim().to_owned()), &after[end..]),
                }
            }
        };
        steps.push(step);
        rest = after.trim_start().strip_prefix(']').ok_or_else(wrong)?;
    }
    Ok(steps)
}

/// The value at the end of a path. Invalid JSON has none.
fn walk<'a>(text: &'a str, steps: &[Step]) -> Option<&'a str> {
    let mut raw: &RawValue = serde_json::from_str(text).ok()?;
    for step in steps {
        raw = match (step, raw.get().as_bytes().first()?) {
            (Step::Member(name), b'{') => object(raw.get())?.remove(name)?,
            (Step::Element(index), b'[') => elements(raw.get())?.get(*index)?,
            _ => return None,
        };
    }
    Some(raw.get())
}

fn at_path<K: crate::scalar::Kind>(call: &Call, f: impl Fn(&str) -> Result<Option<K::Owned>>) -> Result<ArrayRef> {
    let mut last = Last::new(path);
    map2::<Text, Text, K>(call, |text, steps| match walk(text, last.get(steps)?) {
        Some(raw) => f(raw),
        None => Ok(None),
    })
}

fn exists(call: &Call) -> Result<ArrayRef> {
    let mut last = Last::new(path);
    map2::<Text, Text, Bool>(call, |text, steps| Ok(Some(walk(text, last.get(steps)?).is_some())))
}

fn array_get(call: &Call) -> Result<ArrayRef> {
    map2::<Text, Int, Text>(call, |text, index| {
        let Some(all) = elements(text) else { return Ok(None) };
        let index = if index < 0 { all.len() as i64 + index } else { index };
        let found = usize::try_from(index).ok().and_then(|index| all.get(index));
        found.map(|raw| canonical(raw.get())).transpose()
    })
}

fn contains_types(given: &Given) -> Result<Types> {
    match given.types {
        [json, value] if is_text(json) || json.is_null() => {
            let value = match value {
                kind if is_text(kind) => TEXT,
                DataType::Boolean => BOOL,
                kind if kind.is_numeric() => DOUBLE,
                _ => return given.refuse(),
            };
            Ok(Types::new(vec![TEXT, value], BOOL))
        }
        _ => given.refuse(),
    }
}

fn array_contains(call: &Call) -> Result<ArrayRef> {
    let texts = column::<Text>(call, 0)?;
    let value = &call.args[1];
    let wanted = cast(value, &TEXT)?;
    let wanted = wanted.as_string::<i32>();
    each::<Bool>(call.rows, |row| {
        if texts.is_null(row) || value.is_null(row) {
            return Ok(None);
        }
        let Some(all) = elements(texts.value(row)) else { return Ok(None) };
        let is_wanted = |raw: &&RawValue| match value.data_type() {
            DataType::Float64 => raw.get().parse() == Ok(value.as_primitive::<Float64Type>().value(row)),
            DataType::Boolean => raw.get() == wanted.value(row),
            _ => raw.get().starts_with('"') && scalar_text(raw.get()).as_deref() == Some(wanted.value(row)),
        };
        Ok(Some(all.iter().any(is_wanted)))
    })
}
