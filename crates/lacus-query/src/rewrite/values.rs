//! Literals and operators that PostgreSQL reads differently from the engine: `'\x00ff'::bytea`, `'{a,b}'::text[]`, `SIMILAR TO`,
//! `AT TIME ZONE`, timestamps, intervals.

use std::iter::Peekable;
use std::str::Chars;

use datafusion::sql::sqlparser::ast::{
    Array, ArrayElemTypeDef, BinaryOperator, CastKind, DataType, ExactNumberInfo, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, Ident, ObjectName, TypedString, UnaryOperator, Value, ValueWithSpan,
};
use trino_functions::elements_of_text;

use super::{call, expression, intervals, is_called, quoted, text_of};
use crate::error::SqlError;
use crate::uuids::{TO_UUID, TRY_TO_UUID};

/// Rewrites an expression as PostgreSQL reads it.
pub(super) fn read(expr: &mut Expr) {
    match expr {
        Expr::Cast { expr: value, data_type, .. } => {
            with_known_name(data_type);
            let Some(text) = text_of(value) else { return };
            if let Some(new) = literal(text, data_type) {
                **value = new;
            }
        }
        Expr::Interval(interval) if interval.leading_field.is_none() => {
            if let Some(text) = text_of(&interval.value).and_then(intervals::in_units) {
                *interval.value = quoted(&text);
            }
        }
        Expr::AtTimeZone { timestamp, time_zone } => {
            *expr = call("at_time_zone", vec![timestamp.as_ref().clone(), time_zone.as_ref().clone()]);
        }
        Expr::Function(function) => {
            if let Some(name) = as_postgres(function) {
                function.name = ObjectName::from(vec![Ident::new(name)]);
            }
            let is_age = is_called(function, "age");
            if let FunctionArguments::List(list) = &mut function.args
                && is_age
                && list.args.len() == 1
            {
                let today = FunctionArg::Unnamed(FunctionArgExpr::Expr(expression("current_date")));
                list.args.insert(0, today);
            }
        }
        _ => {}
    }
}

/// `- INTERVAL '1 month 2 days'`: the engine takes the sign for that of the first number alone, but not where parentheses are.
pub(super) fn negated(expr: &mut Expr) {
    if let Expr::UnaryOp { op: UnaryOperator::Minus, expr: value } = expr
        && matches!(**value, Expr::Interval(_))
    {
        **value = Expr::Nested(value.clone());
    }
}

/// `x::uuid`, `UUID '…'` and `gen_random_uuid()` as calls of our functions for UUIDs.
pub(super) fn uuid(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Cast { kind, expr: value, data_type: DataType::Uuid, .. } => {
            let is_tried = matches!(kind, CastKind::TryCast | CastKind::SafeCast);
            Some(call(if is_tried { TRY_TO_UUID } else { TO_UUID }, vec![value.as_ref().clone()]))
        }
        Expr::TypedString(TypedString { data_type: DataType::Uuid, value, .. }) => {
            Some(call(TO_UUID, vec![Expr::Value(value.clone())]))
        }
        Expr::Function(function) if is_random_uuid(function) => Some(call(TO_UUID, vec![call("uuid", Vec::new())])),
        _ => None,
    }
}

fn is_random_uuid(function: &Function) -> bool {
    let is_without = match &function.args {
        FunctionArguments::None => true,
        FunctionArguments::List(list) => list.args.is_empty(),
        FunctionArguments::Subquery(_) => false,
    };
    let is_called = |name: &Ident| name.value.eq_ignore_ascii_case("gen_random_uuid");
    is_without && function.name.0.len() == 1 && function.name.0[0].as_ident().is_some_and(is_called)
}

/// `a ^ b` is a power of doubles. The engine takes it for XOR.
pub(super) fn power(expr: &Expr) -> Option<Expr> {
    let Expr::BinaryOp { left, right, .. } = expr else { return None };
    let double = |value: &Expr| Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(value.clone()),
        data_type: DataType::DoublePrecision,
        array: false,
        format: None,
    };
    is_power(expr).then(|| call("power", vec![double(left), double(right)]))
}

pub(super) fn is_power(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryOp { op: BinaryOperator::BitwiseXor | BinaryOperator::PGExp, .. })
}

/// `x SIMILAR TO 'a%'` as a match with a regular expression.
pub(super) fn similar(expr: &mut Expr) {
    if let Expr::SimilarTo { negated, expr: value, pattern, escape_char } = expr
        && let Some(pattern) = written(pattern).and_then(|text| regular(text, escape_of(escape_char.as_ref())))
    {
        let op = if *negated { BinaryOperator::PGRegexNotMatch } else { BinaryOperator::PGRegexMatch };
        *expr = Expr::BinaryOp { left: value.clone(), op, right: Box::new(quoted(&pattern)) };
    }
}

/// `TRY_CAST('x' AS int[])` is null: the text is not that of an array.
pub(super) fn tried(expr: &mut Expr) {
    if let Expr::Cast { kind: CastKind::TryCast | CastKind::SafeCast, expr: value, data_type, .. } = expr
        && is_array(data_type)
        && text_of(value).is_some_and(|text| elements_of_text(text).is_none())
    {
        **value = null();
    }
}

/// Our function that does what PostgreSQL's of this name does.
fn as_postgres(function: &Function) -> Option<&'static str> {
    let [part] = function.name.0.as_slice() else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    match (part.as_ident()?.value.to_lowercase().as_str(), list.args.len()) {
        ("log", 1) => Some("log10"),
        ("array_remove", 2) => Some("array_without"),
        ("array_replace", 3) => Some("array_replace_all"),
        ("replace", 3) => Some("replace_all"),
        ("regexp_substr", 2) => Some("regexp_extract"),
        _ => None,
    }
}

/// The most bits of a `float(n)` that is a `real`.
const REAL_BITS: u64 = 24;

/// The engine's name of a type. `float` has 53 bits unless fewer are given; to the engine it has 24.
fn with_known_name(data_type: &mut DataType) {
    *data_type = match data_type {
        DataType::Dec(digits) => DataType::Decimal(*digits),
        DataType::CharacterVarying(length) => DataType::Varchar(*length),
        DataType::Character(length) => DataType::Char(*length),
        DataType::Float(ExactNumberInfo::Precision(bits)) if *bits <= REAL_BITS => DataType::Real,
        DataType::Float(_) => DataType::DoublePrecision,
        _ => return,
    };
}

/// Literals of bytes, intervals and arrays, and numbers and times with blanks around them.
fn literal(text: &str, data_type: &DataType) -> Option<Expr> {
    match data_type {
        DataType::Bytea => {
            let digits = text.strip_prefix("\\x")?;
            let is_hex = digits.len() % 2 == 0 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            is_hex.then(|| Expr::Value(Value::HexStringLiteral(digits.to_owned()).with_empty_span()))
        }
        DataType::Interval { .. } => intervals::in_units(text).map(|text| quoted(&text)),
        data_type if is_without_blanks(data_type) => {
            let inside = text.trim_matches(|letter: char| letter.is_ascii_whitespace() || letter == '\u{b}');
            (inside.len() < text.len()).then(|| quoted(inside))
        }
        data_type if is_array(data_type) => array_in(text),
        _ => None,
    }
}

/// The text of an array, as an array of texts.
pub(super) fn array_in(text: &str) -> Option<Expr> {
    let element = |text: Option<String>| text.map_or_else(null, |text| quoted(&text));
    Some(Expr::Array(Array { elem: elements_of_text(text)?.into_iter().map(element).collect(), named: true }))
}

/// Whether blanks around a text are ignored for this type.
fn is_without_blanks(data_type: &DataType) -> bool {
    use DataType::{
        BigInt, Bool, Boolean, Date, Decimal, Double, DoublePrecision, Float4, Float8, Int, Int2, Int4, Int8, Integer,
        Numeric, Real, SmallInt, Time, Timestamp,
    };
    matches!(
        data_type,
        SmallInt(_)
            | Int2(_)
            | Int(_)
            | Integer(_)
            | Int4(_)
            | BigInt(_)
            | Int8(_)
            | Real
            | Float4
            | Double(_)
            | DoublePrecision
            | Float8
            | Numeric(_)
            | Decimal(_)
            | Boolean
            | Bool
            | Date
            | Time(..)
            | Timestamp(..)
    )
}

/// Refuses a text that is not that of an array: the engine would make an array of this one text.
pub(super) fn must_be_array(kind: &CastKind, text: &Expr, data_type: &DataType) -> Result<(), SqlError> {
    let Some(text) = text_of(text).filter(|text| is_array(data_type) && elements_of_text(text).is_none()) else {
        return Ok(());
    };
    if text.trim_start().starts_with("{{") {
        let error = SqlError::invalid("0A000", "arrays in arrays are not read from a text");
        return Err(error.with_hint("write ARRAY[ARRAY[1, 2], ARRAY[3, 4]]"));
    }
    match kind {
        CastKind::Cast | CastKind::DoubleColon => {
            let error = SqlError::invalid("22P02", format!("malformed array literal: \"{text}\""));
            Err(error.with_hint("write '{a,\"b c\",NULL}'"))
        }
        CastKind::TryCast | CastKind::SafeCast => Ok(()),
    }
}

fn is_array(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Array(ArrayElemTypeDef::SquareBracket(..) | ArrayElemTypeDef::AngleBracket(_)))
}

/// Whether a pattern of `SIMILAR TO` is a literal, so that it can be rewritten.
pub(super) fn is_known_pattern(pattern: &Expr, escape: Option<&ValueWithSpan>) -> bool {
    written(pattern).is_some_and(|pattern| regular(pattern, escape_of(escape)).is_some())
}

/// The text of a literal: also in parentheses, as `E'…'` or `$$…$$`, and with its type.
pub(super) fn written(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Nested(inner) => written(inner),
        Expr::Cast {
            expr: inner,
            data_type: DataType::Text | DataType::Varchar(None) | DataType::CharacterVarying(None),
            ..
        } => written(inner),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            Value::DollarQuotedString(text) => Some(&text.value),
            _ => None,
        },
        _ => None,
    }
}

/// The escape character; none for `ESCAPE ''`.
fn escape_of(escape: Option<&ValueWithSpan>) -> Option<char> {
    match escape {
        None => Some('\\'),
        Some(escape) => text_in(escape).and_then(|text| text.chars().next()),
    }
}

/// A pattern of `SIMILAR TO` as a regular expression that has to match the whole text.
fn regular(pattern: &str, escape: Option<char>) -> Option<String> {
    let mut letters = pattern.chars().peekable();
    let mut regular = String::from("^(?s:");
    while let Some(letter) = letters.next() {
        match letter {
            letter if Some(letter) == escape => push_escaped(&mut regular, letters.next()?)?,
            '%' => regular.push_str(".*"),
            '_' => regular.push('.'),
            '(' => regular.push_str("(?:"),
            '[' => push_bracket(&mut regular, &mut letters, escape)?,
            ')' | '|' | '*' | '+' | '?' | '{' | '}' => regular.push(letter),
            letter => push_itself(&mut regular, letter),
        }
    }
    regular.push_str(")$");
    Some(regular)
}

/// A bracket expression: except for a leading `^`, ranges and classes such as `[:digit:]`, each character is literal.
fn push_bracket(regular: &mut String, letters: &mut Peekable<Chars<'_>>, escape: Option<char>) -> Option<()> {
    regular.push('[');
    regular.extend(letters.next_if_eq(&'^'));
    if letters.next_if_eq(&']').is_some() {
        push_itself(regular, ']');
    }
    while let Some(letter) = letters.next() {
        match letter {
            letter if Some(letter) == escape => push_escaped(regular, letters.next()?)?,
            ']' => {
                regular.push(']');
                return Some(());
            }
            '[' if letters.peek() == Some(&':') => {
                regular.push('[');
                regular.extend(letters.by_ref().take_while(|letter| *letter != ']'));
                regular.push(']');
            }
            // Two of them would be a set difference.
            '-' if !regular.ends_with('-') => regular.push('-'),
            letter => push_itself(regular, letter),
        }
    }
    None
}

/// The escaped character: a class, or a literal. Other letters have meanings that only PostgreSQL knows.
fn push_escaped(regular: &mut String, letter: char) -> Option<()> {
    match letter {
        'd' | 'D' | 's' | 'S' | 'w' | 'W' => regular.extend(['\\', letter]),
        '"' => return None,
        letter if letter.is_alphanumeric() => return None,
        letter => push_itself(regular, letter),
    }
    Some(())
}

fn push_itself(regular: &mut String, letter: char) {
    regular.push_str(&regex::escape(letter.encode_utf8(&mut [0; 4])));
}

fn text_in(value: &ValueWithSpan) -> Option<&str> {
    match &value.value {
        Value::SingleQuotedString(text) => Some(text),
        _ => None,
    }
}

fn null() -> Expr {
    Expr::Value(Value::Null.with_empty_span())
}

#[cfg(test)]
mod tests {
    use super::regular;

    #[test]
    fn patterns_are_regular_expressions_of_the_whole_text() {
        for (pattern, expected) in [
            ("h%o", Some("h.*o")),
            ("(a|b)_.", Some("(?:a|b).\\.")),
            ("50\\%", Some("50%")),
            ("[^a]%", Some("[^a].*")),
            ("[a%_.^$]", Some("[a%_\\.\\^\\$]")),
            ("[]a-z[:digit:]]", Some("[\\]a-z[:digit:]]")),
            ("[a&&b[-]", Some("[a\\&\\&b\\[-]")),
            ("[\\]\\d]<é>", Some("[\\]\\d]<é>")),
            ("a{2,3}+?", Some("a{2,3}+?")),
            ("[a", None),
            ("\\m", None),
            ("a\\", None),
        ] {
            let whole = expected.map(|expected| format!("^(?s:{expected})$"));
            assert_eq!(regular(pattern, Some('\\')), whole, "{pattern}");
            assert!(whole.is_none_or(|whole| regex::Regex::new(&whole).is_ok()), "{pattern}");
        }
        assert_eq!(regular("\\_", None).as_deref(), Some("^(?s:\\\\.)$"));
    }
}
