//! Numbers in the text that become decimals: `1.005::numeric(10, 2)`, `SET price = 1.005`.
//!
//! The engine takes a number with a point, or with many digits, for a fraction of some 16 digits: 1.005 would be a little less.
//! Where it becomes a decimal at once, it is read as a text, of which every digit counts.

use datafusion::arrow::datatypes::DataType as Kind;
use datafusion::sql::sqlparser::ast::{CastKind, DataType, ExactNumberInfo, Expr, UnaryOperator, Value, ValueWithSpan};

use super::quoted;

/// The digits of a whole number that the engine certainly keeps.
const WHOLE_DIGITS: usize = 18;
/// The most digits of a text that becomes a decimal. More than these don't change how it is rounded.
const READ_DIGITS: usize = 76;

/// Lets a cast to a decimal see what is written: `'1.005'::numeric(10, 2)`.
pub(super) fn cast_as_written(expr: &mut Expr) {
    if let Expr::Cast { expr: value, data_type: DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_), .. } =
        expr
        && let Some(text) = number(value)
    {
        **value = quoted(&text);
    }
}

/// Lets a column see what is written, if it has decimals.
pub(crate) fn keep_digits(value: &mut Expr, column: &Kind) {
    let Kind::Decimal128(digits, scale) = *column else { return };
    if let Some(text) = number(value) {
        let data_type = DataType::Numeric(ExactNumberInfo::PrecisionAndScale(digits.into(), scale.into()));
        let expr = Box::new(quoted(&text));
        *value = Expr::Cast { kind: CastKind::Cast, expr, data_type, array: false, format: None };
    }
}

/// A number that stands there and would lose digits.
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
