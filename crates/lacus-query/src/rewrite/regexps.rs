//! Regular expressions as PostgreSQL reads them: `.` matches newlines too, and in `regexp_replace` a group is `\1` and the whole
//! match `\&`, while the engine takes `$1`. `substring(x FROM 'a(.)')` is the first group of a match, or all of it.

use std::iter::Peekable;
use std::str::Chars;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::values::written;
use super::{as_text, binary, call, expression, nested, quoted, replace};
use crate::dialect::Dialect;

/// Functions whose second argument is a pattern.
const WITH_PATTERNS: [&str; 6] =
    ["regexp_replace", "regexp_match", "regexp_like", "regexp_count", "regexp_instr", "regexp_substr"];
/// A group that no pattern has: it stands for an empty text.
const NO_GROUP: &str = "${no_group}";

/// Rewrites patterns and replacements as PostgreSQL reads them. In Redshift, groups are `$1`.
pub(super) fn read(expr: &mut Expr, dialect: Dialect) {
    use BinaryOperator::{PGRegexIMatch, PGRegexMatch, PGRegexNotIMatch, PGRegexNotMatch};
    match expr {
        Expr::BinaryOp {
            op: PGRegexMatch | PGRegexIMatch | PGRegexNotMatch | PGRegexNotIMatch,
            right: pattern,
            ..
        } => **pattern = searched(pattern),
        Expr::Function(function) => {
            let [part] = function.name.0.as_slice() else { return };
            let Some(name) = part.as_ident().map(|name| name.value.to_lowercase()) else { return };
            let FunctionArguments::List(list) = &mut function.args else { return };
            if !WITH_PATTERNS.contains(&name.as_str()) {
                return;
            }
            if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(pattern))) = list.args.get_mut(1) {
                *pattern = if name == "regexp_like" { searched(pattern) } else { over_lines(pattern) };
            }
            if name == "regexp_replace"
                && dialect == Dialect::Lacus
                && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(with))) = list.args.get_mut(2)
            {
                *with = replacement(with);
            }
        }
        Expr::Substring {
            expr: text, substring_from: Some(pattern), substring_for: None, shorthand: false, ..
        } => {
            if let Some(group) = written(pattern).and_then(first_group) {
                *expr = call("regexp_extract", vec![text.as_ref().clone(), over_lines(pattern), expression(group)]);
            }
        }
        _ => {}
    }
}

/// The group that `substring` extracts: the first one, or the whole match. None if the pattern is not known.
fn first_group(pattern: &str) -> Option<&'static str> {
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                letters.next();
            }
            '[' => skip_brackets(&mut letters),
            '(' if letters.peek() != Some(&'?') => return Some("1"),
            '(' => {
                letters.next();
                if letters.next() != Some(':') {
                    return None;
                }
            }
            _ => {}
        }
    }
    Some("0")
}

/// Skips a bracket expression: `[^a]`, `[]a]`, `[[:alpha:]]`.
fn skip_brackets(letters: &mut Peekable<Chars<'_>>) {
    letters.next_if_eq(&'^');
    letters.next_if_eq(&']');
    while let Some(letter) = letters.next() {
        match letter {
            ']' => return,
            '\\' => {
                letters.next();
            }
            '[' if letters.next_if_eq(&':').is_some() => while letters.next().is_some_and(|letter| letter != ']') {},
            _ => {}
        }
    }
}

/// The pattern with dots that match newlines. The flag is set after a leading `^`, which the engine looks for as an
/// optimisation.
fn over_lines(pattern: &Expr) -> Expr {
    match written(pattern) {
        Some(text) if !text.contains('.') => pattern.clone(),
        Some(text) => match text.strip_prefix('^') {
            Some(rest) => quoted(&format!("^(?s){rest}")),
            None => quoted(&format!("(?s){text}")),
        },
        None => binary(quoted("(?s)"), BinaryOperator::StringConcat, nested(pattern.clone())),
    }
}

/// The pattern of a search: behind an empty group if a letter may be a backslash. The engine would search for a plain text with
/// `LIKE`, in which a backslash is not a letter; it leaves groups alone.
fn searched(pattern: &Expr) -> Expr {
    let over_lines = over_lines(pattern);
    match (written(pattern), written(&over_lines)) {
        (Some(text), Some(read)) if [r"\\", r"\x", r"\u"].iter().any(|backslash| text.contains(backslash)) => {
            quoted(&format!("(){read}"))
        }
        (Some(_), _) => over_lines,
        (None, _) => binary(quoted("()"), BinaryOperator::StringConcat, over_lines),
    }
}

fn replacement(with: &Expr) -> Expr {
    match written(with) {
        Some(text) => quoted(&with_groups(text)),
        None => replace(replace(as_text(with), "$", "$$"), "\\&", "${0}"),
    }
}

/// `\1` and `\&` as `${1}` and `${0}`; all else is literal.
fn with_groups(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, letters.peek().copied()) {
            ('$', _) => written.push_str("$$"),
            ('\\', Some('&')) => {
                letters.next();
                written.push_str("${0}");
            }
            ('\\', Some(digit @ '1'..='9')) => {
                letters.next();
                written.extend(['$', '{', digit, '}']);
            }
            ('\\', behind) => {
                if behind == Some('\\') {
                    letters.next();
                }
                written.push('\\');
                // The engine would take both for a group.
                if letters.peek().is_some_and(char::is_ascii_digit) {
                    written.push_str(NO_GROUP);
                }
            }
            (letter, _) => written.push(letter),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::{first_group, with_groups};

    #[test]
    fn the_first_group_is_found() {
        for (pattern, expected) in [
            ("a.c", Some("0")),
            ("a(.)c", Some("1")),
            ("a\\(.c", Some("0")),
            ("[(]+", Some("0")),
            ("[^](]", Some("0")),
            ("[[:alpha:](]", Some("0")),
            ("[0-9]+([a-z])", Some("1")),
            ("(?:ab)+", Some("0")),
            ("(?:ab)+(c)", Some("1")),
            ("(?i)a", None),
        ] {
            assert_eq!(first_group(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn groups_are_written_as_the_engine_reads_them() {
        for (text, expected) in [
            ("x", "x"),
            ("$1", "$$1"),
            ("\\1", "${1}"),
            ("\\12", "${1}2"),
            ("<\\&>", "<${0}>"),
            ("\\\\", "\\"),
            ("\\\\1", "\\${no_group}1"),
            ("\\0", "\\${no_group}0"),
            ("a\\b\\", "a\\b\\"),
        ] {
            assert_eq!(with_groups(text), expected, "{text}");
        }
    }
}
