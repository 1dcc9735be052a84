//! Number literals of which every digit counts: `1.005::numeric(10, 2)`, `SET price = 1.005`, `n > 4.9999999999999999`, `1.50::text`.
//!
//! The engine reads a number with a point, or with many digits, as a double of some 16 digits: 1.005 would be a little less.
//! Where the literal becomes a decimal or a text at once, it is read as a text. So is a compared literal with more digits than a
//! double holds.

use datafusion::arrow::datatypes::DataType as Kind;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, ExactNumberInfo, Expr, FunctionArg, FunctionArgExpr, FunctionArguments,
    UnaryOperator, Value, ValueWithSpan,
};

use super::{is_called, quoted};

/// Integers with this many digits are certainly kept by the engine.
const WHOLE_DIGITS: usize = 18;
/// The most digits of a text that becomes a decimal. Further digits don't change how it is rounded.
const READ_DIGITS: usize = 76;
/// The digits that a double certainly keeps.
const FRACTION_DIGITS: usize = 15;
/// The most digits of a decimal.
const DECIMAL_DIGITS: usize = 38;
/// The most digits after the point of a decimal that is compared with integers, which need twenty before it.
const BEHIND_DIGITS: usize = 18;

/// Makes the literal in a cast to a decimal or a text itself a text: `'1.005'::numeric(10, 2)`.
pub(super) fn cast_as_written(expr: &mut Expr) {
    let Expr::Cast { expr: value, data_type, .. } = expr else { return };
    let Some(text) = number(value) else { return };
    match data_type {
        DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_) => **value = quoted(&text),
        DataType::Text | DataType::Varchar(_) | DataType::CharacterVarying(_) => {
            let (sign, whole, behind) = digits(&text);
            let point = if behind.is_empty() { "" } else { "." };
            **value = quoted(&format!("{sign}{}{point}{behind}", if whole.is_empty() { "0" } else { whole }));
        }
        _ => {}
    }
}

/// Makes literals with more digits than a double keeps decimals, where they are compared.
pub(super) fn compare_as_written(expr: &mut Expr) {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    match expr {
        Expr::BinaryOp { left, op: Eq | NotEq | Lt | LtEq | Gt | GtEq, right } => {
            read_whole(left);
            read_whole(right);
        }
        Expr::Between { low, high, .. } => {
            read_whole(low);
            read_whole(high);
        }
        _ => {}
    }
}

/// Lets `div(7.5, 0.1)` see what is written: it is of decimals.
pub(super) fn divide_as_written(expr: &mut Expr) {
    let Expr::Function(function) = expr else { return };
    if !is_called(function, "div") {
        return;
    }
    let FunctionArguments::List(list) = &mut function.args else { return };
    for argument in &mut list.args {
        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = argument
            && let Some(text) = number(value)
        {
            let (_, whole, behind) = digits(&text);
            let count = (whole.len() + behind.len()).max(1);
            if count <= DECIMAL_DIGITS {
                *value = as_decimal(&text, count as u64, behind.len() as i64);
            }
        }
    }
}

fn read_whole(value: &mut Expr) {
    let Some(text) = number(value) else { return };
    let (_, whole, behind) = digits(&text);
    let count = whole.len() + behind.len();
    let counting = if whole.is_empty() { behind.trim_start_matches('0').len() } else { count };
    if counting > FRACTION_DIGITS && !behind.is_empty() && behind.len() <= BEHIND_DIGITS && count <= DECIMAL_DIGITS {
        *value = as_decimal(&text, count as u64, behind.len() as i64);
    }
}

/// The sign of a number (none for zero), its digits before the point without leading zeros, and those after it.
fn digits(text: &str) -> (&str, &str, &str) {
    let unsigned = text.trim_start_matches('-');
    let (whole, behind) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let is_zero = unsigned.bytes().all(|digit| matches!(digit, b'0' | b'.'));
    let sign = if is_zero { "" } else { &text[..text.len() - unsigned.len()] };
    (sign, whole.trim_start_matches('0'), behind)
}

fn as_decimal(text: &str, digits: u64, scale: i64) -> Expr {
    let data_type = DataType::Numeric(ExactNumberInfo::PrecisionAndScale(digits, scale));
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(quoted(text)), data_type, array: false, format: None }
}

/// Makes a literal a text if its column is decimal.
pub(crate) fn keep_digits(value: &mut Expr, column: &Kind) {
    let Kind::Decimal128(digits, scale) = *column else { return };
    if let Some(text) = number(value) {
        *value = as_decimal(&text, digits.into(), scale.into());
    }
}

/// A number literal that would lose digits.
fn number(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) | Expr::UnaryOp { op: UnaryOperator::Plus, expr: inner } => number(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } => {
            let digits = number(inner)?;
            Some(digits.strip_prefix('-').map_or_else(|| format!("-{digits}"), str::to_owned))
        }
        Expr::Value(ValueWithSpan { value: Value::Number(text, _), .. }) => {
            let is_plain = text.bytes().all(|letter| letter.is_ascii_digit() || letter == b'.');
            let is_long = text.contains('.') || text.len() > WHOLE_DIGITS;
            (is_plain && is_long && text.len() <= READ_DIGITS).then(|| text.clone())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::expression;

    #[test]
    fn numbers_are_cast_as_they_are_written() {
        for (sql, expected) in [
            ("1.005::numeric(10, 2)", "'1.005'::NUMERIC(10,2)"),
            ("CAST(-1.005 AS decimal(10, 2))", "CAST('-1.005' AS DECIMAL(10,2))"),
            ("-1.005::numeric(10, 2)", "-'1.005'::NUMERIC(10,2)"),
            ("(- -.5)::numeric", "'.5'::NUMERIC"),
            ("TRY_CAST(+1.5 AS numeric)", "TRY_CAST('1.5' AS NUMERIC)"),
            ("123456789012345678901234567890::numeric(38, 0)", "'123456789012345678901234567890'::NUMERIC(38,0)"),
            ("5::numeric(10, 2)", "5::NUMERIC(10,2)"),
            ("1.5e3::numeric(10, 2)", "1.5e3::NUMERIC(10,2)"),
            ("1.005::real", "1.005::REAL"),
            ("1.50::text", "'1.50'::TEXT"),
            ("CAST(-00.5 AS varchar(10))", "CAST('-0.5' AS VARCHAR(10))"),
            ("(-.0)::text", "'0.0'::TEXT"),
            ("5::text", "5::TEXT"),
            ("(1.5 + 1)::numeric", "(1.5 + 1)::NUMERIC"),
        ] {
            let mut expr = expression(sql);
            match &mut expr {
                Expr::UnaryOp { expr, .. } => cast_as_written(expr),
                expr => cast_as_written(expr),
            }
            assert_eq!(expr.to_string(), expected, "{sql}");
        }
    }

    #[test]
    fn numbers_are_compared_as_they_are_written() {
        for (sql, expected) in [
            ("x > 4.9999999999999999", "x > CAST('4.9999999999999999' AS NUMERIC(17,16))"),
            ("-0.1234567890123456 = x", "CAST('-0.1234567890123456' AS NUMERIC(16,16)) = x"),
            ("x BETWEEN 1.5 AND 12345678901234567.5", "x BETWEEN 1.5 AND CAST('12345678901234567.5' AS NUMERIC(18,1))"),
            ("x > 0.000000000000000005", "x > 0.000000000000000005"),
            ("x > 0.1234567890123456789", "x > 0.1234567890123456789"),
            ("x > 12345678901234567890", "x > 12345678901234567890"),
            ("x + 4.9999999999999999", "x + 4.9999999999999999"),
        ] {
            let mut expr = expression(sql);
            compare_as_written(&mut expr);
            assert_eq!(expr.to_string(), expected, "{sql}");
        }
    }

    #[test]
    fn columns_of_decimals_see_all_digits() {
        for (sql, expected) in [
            ("1.005", "CAST('1.005' AS NUMERIC(10,2))"),
            ("-1.005", "CAST('-1.005' AS NUMERIC(10,2))"),
            ("1", "1"),
            ("x + 1.005", "x + 1.005"),
        ] {
            let mut expr = expression(sql);
            keep_digits(&mut expr, &Kind::Decimal128(10, 2));
            assert_eq!(expr.to_string(), expected, "{sql}");
        }
        let mut expr = expression("1.005");
        keep_digits(&mut expr, &Kind::Float64);
        assert_eq!(expr.to_string(), "1.005");
    }
}
