//! Regular expressions, with `$1` and `${name}` for groups in replacements.
//!
//! Patterns are those of the `regex` crate: linear in time, therefore without look-around and back-references. Such a
//! pattern is refused.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, ListBuilder, StringBuilder};
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;
use regex::{Regex, RegexBuilder};

use crate::catalog::{Family::RegularExpressions, Function, scalar};
use crate::scalar::{
    BOOL, Body, Bool, Call, INT, Int, Last, Scalar, TEXT, Text, array_of, bad, column, exactly, map2, map3, map4,
};

/// The most memory that one compiled pattern may take, in bytes.
const PATTERN_BYTES_MAX: usize = 4 << 20;

pub(crate) const FUNCTIONS: &[Function] = &[
    scalar(
        RegularExpressions,
        &["regexp_like"],
        "regexp_like(text, pattern) → boolean",
        "Whether the pattern is found",
        Body::new(|g| exactly(g, &[TEXT, TEXT], 2, BOOL), like),
    )
    .in_trino(),
    scalar(
        RegularExpressions,
        &["regexp_extract"],
        "regexp_extract(text, pattern[, group]) → varchar",
        "The first match, or a group of it",
        Body::new(|g| exactly(g, &[TEXT, TEXT, INT], 2, TEXT), extract),
    ),
    scalar(
        RegularExpressions,
        &["regexp_extract_all"],
        "regexp_extract_all(text, pattern[, group]) → array(varchar)",
        "All matches, or a group of each",
        Body::new(|g| exactly(g, &[TEXT, TEXT, INT], 2, array_of(TEXT)), extract_all),
    ),
    scalar(
        RegularExpressions,
        &["regexp_replace"],
        "regexp_replace(text, pattern[, with]) → varchar",
        "All matches replaced, or removed",
        Body::new(|g| exactly(g, &[TEXT, TEXT, TEXT], 2, TEXT), replace),
    )
    .in_trino(),
    scalar(
        RegularExpressions,
        &["regexp_split"],
        "regexp_split(text, pattern) → array(varchar)",
        "What is between the matches",
        Body::new(|g| exactly(g, &[TEXT, TEXT], 2, array_of(TEXT)), split),
    ),
    scalar(
        RegularExpressions,
        &["regexp_count"],
        "regexp_count(text, pattern[, start[, flags]]) → bigint",
        "How many matches there are",
        Body::new(|g| exactly(g, &[TEXT, TEXT, INT, TEXT], 2, INT), count),
    ),
    scalar(
        RegularExpressions,
        &["regexp_position"],
        "regexp_position(text, pattern[, start[, instance]]) → integer",
        "Where a match begins; -1 if there is none",
        Body::new(|g| exactly(g, &[TEXT, TEXT, INT, INT], 2, INT), position),
    ),
];

/// PostgreSQL's `regexp_match`: the groups of the first match, or all of it. DataFusion's (54.1) leaves out groups that took no part, so
/// that those behind them have other places.
pub(crate) fn regexp_match() -> ScalarUDF {
    let body = Body::new(|g| exactly(g, &[TEXT, TEXT, TEXT], 2, array_of(TEXT)), groups);
    ScalarUDF::new_from_impl(Scalar::named(&["regexp_match"], body))
}

fn compile(pattern: &str) -> Result<Regex> {
    RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build().map_err(|error| {
        let looks = ["(?=", "(?!", "(?<=", "(?<!", "(?>"].iter().any(|look| pattern.contains(look));
        match error {
            _ if looks => bad(format!("the pattern '{pattern}' looks around, which is not supported: use a group")),
            regex::Error::CompiledTooBig(_) => bad("the pattern is too large"),
            error => bad(format!("'{pattern}' is no regular expression: {error}")),
        }
    })
}

fn like(call: &Call) -> Result<ArrayRef> {
    let mut last = Last::new(compile);
    map2::<Text, Text, Bool>(call, |text, pattern| Ok(Some(last.get(pattern)?.is_match(text))))
}

fn group(pattern: &Regex, group: i64) -> Result<usize> {
    let count = pattern.captures_len();
    usize::try_from(group)
        .ok()
        .filter(|group| *group < count)
        .ok_or_else(|| bad(format!("the pattern has {} groups, there is no group {group}", count - 1)))
}

fn extract(call: &Call) -> Result<ArrayRef> {
    let mut last = Last::new(compile);
    if call.args.len() == 2 {
        return map2::<Text, Text, Text>(call, |text, pattern| {
            Ok(last.get(pattern)?.find(text).map(|found| found.as_str().to_owned()))
        });
    }
    map3::<Text, Text, Int, Text>(call, |text, pattern, number| {
        let pattern = last.get(pattern)?;
        let number = group(pattern, number)?;
        let captures = pattern.captures(text);
        Ok(captures.and_then(|captures| captures.get(number)).map(|found| found.as_str().to_owned()))
    })
}

fn extract_all(call: &Call) -> Result<ArrayRef> {
    let mut last = Last::new(compile);
    text_lists(call, |row, texts, list| {
        let pattern = last.get(texts.1)?;
        let number = match call.args.len() {
            3 => group(pattern, column::<Int>(call, 2)?.value(row))?,
            _ => 0,
        };
        for captures in pattern.captures_iter(texts.0) {
            list.append_option(captures.get(number).map(|found| found.as_str()));
        }
        Ok(())
    })
}

fn split(call: &Call) -> Result<ArrayRef> {
    let mut last = Last::new(compile);
    text_lists(call, |_, (text, pattern), list| {
        for part in last.get(pattern)?.split(text) {
            list.append_value(part);
        }
        Ok(())
    })
}

/// A list of texts for each row whose arguments are not null.
fn text_lists(
    call: &Call,
    mut f: impl FnMut(usize, (&str, &str), &mut StringBuilder) -> Result<()>,
) -> Result<ArrayRef> {
    let (texts, patterns) = (column::<Text>(call, 0)?, column::<Text>(call, 1)?);
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..call.rows {
        let is_null = call.args.iter().any(|arg| arg.is_null(row));
        if !is_null {
            f(row, (texts.value(row), patterns.value(row)), lists.values())?;
        }
        lists.append(!is_null);
    }
    Ok(Arc::new(lists.finish()))
}

fn groups(call: &Call) -> Result<ArrayRef> {
    let (texts, patterns) = (column::<Text>(call, 0)?, column::<Text>(call, 1)?);
    let flags = if call.args.len() == 3 { Some(column::<Text>(call, 2)?) } else { None };
    let mut last = Last::new(compile);
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..call.rows {
        if call.args.iter().any(|arg| arg.is_null(row)) {
            lists.append(false);
            continue;
        }
        let pattern = match flags.map(|flags| flags.value(row)) {
            None | Some("") => last.get(patterns.value(row))?,
            Some(flags) => last.get(&format!("(?{flags}){}", patterns.value(row)))?,
        };
        let found = pattern.captures(texts.value(row));
        for group in found.iter().flat_map(|found| found.iter().skip(usize::from(found.len() > 1))) {
            lists.values().append_option(group.map(|group| group.as_str()));
        }
        lists.append(found.is_some());
    }
    Ok(Arc::new(lists.finish()))
}

fn replace(call: &Call) -> Result<ArrayRef> {
    let mut last = Last::new(compile);
    if call.args.len() == 2 {
        return map2::<Text, Text, Text>(call, |text, pattern| {
            Ok(Some(last.get(pattern)?.replace_all(text, "").into_owned()))
        });
    }
    let mut replacement = Last::new(java_replacement);
    map3::<Text, Text, Text, Text>(call, |text, pattern, with| {
        let pattern = last.get(pattern)?;
        let with = replacement.get(with)?;
        check_groups(pattern, with)?;
        Ok(Some(pattern.replace_all(text, with.as_str()).into_owned()))
    })
}

/// Writes `$1x`, which is group 1 in Java but a group named `1x` in this crate, as `${1}x`; and `\$` as `$$`.
fn java_replacement(text: &str) -> Result<String> {
    let mut out = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('$') => out.push_str("$$"),
                Some(other) => out.push(other),
                None => return Err(bad("the replacement ends in a backslash")),
            },
            '$' => match letters.peek() {
                Some('{') => out.push('$'),
                Some(digit) if digit.is_ascii_digit() => {
                    out.push_str("${");
                    while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                        out.push(digit);
                    }
                    out.push('}');
                }
                _ => return Err(bad("a $ in the replacement is followed by no group: write \\$")),
            },
            other => out.push(other),
        }
    }
    Ok(out)
}

/// A group that the pattern lacks would be replaced by nothing.
fn check_groups(pattern: &Regex, with: &str) -> Result<()> {
    for part in with.replace("$$", "").split("${").skip(1) {
        let name = part.split('}').next().unwrap_or_default();
        let is_known = match name.parse::<usize>() {
            Ok(number) => number < pattern.captures_len(),
            Err(_) => pattern.capture_names().flatten().any(|known| known == name),
        };
        if !is_known {
            return Err(bad(format!("the pattern has no group {name}")));
        }
    }
    Ok(())
}

fn count(call: &Call) -> Result<ArrayRef> {
    let mut last = Last::new(compile);
    let mut count = |text: &str, pattern: &str, start: i64, flags: &str| {
        if start < 1 {
            return Err(bad("regexp_count: the start must be positive"));
        }
        let from = text.char_indices().nth(start as usize - 1).map_or(text.len(), |(from, _)| from);
        let found = match flags {
            "" => last.get(pattern)?.find_iter(&text[from..]).count(),
            flags => last.get(&format!("(?{flags}){pattern}"))?.find_iter(&text[from..]).count(),
        };
        Ok(Some(found as i64))
    };
    match call.args.len() {
        2 => map2::<Text, Text, Int>(call, |text, pattern| count(text, pattern, 1, "")),
        3 => map3::<Text, Text, Int, Int>(call, |text, pattern, start| count(text, pattern, start, "")),
        _ => map4::<Text, Text, Int, Text, Int>(call, count),
    }
}

fn position(call: &Call) -> Result<ArrayRef> {
    let mut last = Last::new(compile);
    let mut find = |text: &str, pattern: &str, start: i64, instance: i64| {
        if start < 1 || instance < 1 {
            return Err(bad("regexp_position: start and instance must be positive"));
        }
        let Some((from, _)) = text.char_indices().nth(start as usize - 1) else { return Ok(Some(-1)) };
        let found = last.get(pattern)?.find_iter(&text[from..]).nth(instance as usize - 1);
        Ok(Some(found.map_or(-1, |found| start + text[from..from + found.start()].chars().count() as i64)))
    };
    match call.args.len() {
        2 => map2::<Text, Text, Int>(call, |text, pattern| find(text, pattern, 1, 1)),
        3 => map3::<Text, Text, Int, Int>(call, |text, pattern, start| find(text, pattern, start, 1)),
        _ => map4::<Text, Text, Int, Int, Int>(call, find),
    }
}
