//! Decimals and whole numbers compared with fractions.
//!
//! DataFusion compares both as decimals of fifteen digits behind the point: smaller differences are lost, and what is too
//! large fails. Here a number that stands in the text is the decimal that was written (`price < 9.99`, exactly, and so that
//! files can be skipped), and a decimal meets a column of fractions as a fraction, as in Trino and PostgreSQL.
//!
//! It makes a `real` of a whole number that is compared with one, which then has seven digits: 16777217 is 16777216. In PostgreSQL both
//! are doubles.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Cast, InList};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{Between, BinaryExpr, Case, Expr, ExprSchemable, Operator, cast};
use datafusion::scalar::ScalarValue;

use crate::math::{DIGITS_MAX, decimal, is_decimal};
use crate::zeros::looks_outside;

/// The most digits of a literal that is compared as a decimal: as many as a double keeps.
const LITERAL_DIGITS_MAX: usize = 17;

/// Decides in which type decimals and floating point numbers are compared.
#[derive(Debug)]
pub(crate) struct Comparisons {
    /// Whether whole numbers meet a `real` as one, as in Trino.
    pub(crate) is_trino: bool,
}

impl FunctionRewrite for Comparisons {
    fn name(&self) -> &str {
        "comparisons"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let mut expr = expr;
        let Some(compared) = compared(&mut expr) else { return Ok(Transformed::no(expr)) };
        let mut is_changed = settle(compared, schema)?;
        if !self.is_trino
            && let Some(compared) = self::compared(&mut expr)
        {
            is_changed |= meet_reals(compared, schema);
        }
        Ok(if is_changed { Transformed::yes(expr) } else { Transformed::no(expr) })
    }
}

/// The values that a comparison, `BETWEEN`, `IN` or `CASE x WHEN y` compares with each other.
pub(crate) fn compared(expr: &mut Expr) -> Option<Vec<&mut Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(*op) => Some(vec![left, right]),
        Expr::Between(Between { expr, low, high, .. }) => Some(vec![expr, low, high]),
        Expr::InList(InList { expr, list, .. }) => Some(std::iter::once(expr.as_mut()).chain(list).collect()),
        Expr::Case(Case { expr: Some(base), when_then_expr, .. }) => {
            let values = when_then_expr.iter_mut().map(|(value, _)| value.as_mut());
            Some(std::iter::once(base.as_mut()).chain(values).collect())
        }
        _ => None,
    }
}

fn compares(operator: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(operator, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// Gives decimals and floating point numbers a common type; whether there were both.
fn settle(compared: Vec<&mut Expr>, schema: &DFSchema) -> Result<bool> {
    // Operands without a type yet, such as parameters, are left to the engine.
    let types: Vec<Option<DataType>> = compared.iter().map(|expr| expr.get_type(schema).ok()).collect();
    let has = |is: &dyn Fn(&DataType) -> bool| types.iter().flatten().any(is);
    if !has(&is_decimal) || !has(&DataType::is_floating) {
        return Ok(false);
    }
    let fractions = || compared.iter().zip(&types).filter(|(_, kind)| kind.as_ref().is_some_and(DataType::is_floating));
    let literals: Option<Vec<ScalarValue>> = fractions().map(|(expr, _)| written(expr)).collect();
    let decimals = types.iter().flatten().filter(|kind| is_decimal(kind)).cloned();
    let is_written =
        literals.is_some_and(|literals| fits_one_decimal(decimals.chain(literals.iter().map(ScalarValue::data_type))));
    for (expr, kind) in compared.into_iter().zip(&types) {
        let Some(kind) = kind else { continue };
        if is_written && kind.is_floating() {
            if let Some(decimal) = written(expr) {
                *expr = Expr::Literal(decimal, None);
            }
        } else if !is_written && is_decimal(kind) {
            *expr = as_fraction(std::mem::take(expr));
        }
    }
    Ok(true)
}

/// Makes doubles of whole numbers beside a `real`, which comes to be one then; whether there were any.
fn meet_reals(compared: Vec<&mut Expr>, schema: &DFSchema) -> bool {
    let types: Vec<Option<DataType>> = compared.iter().map(|expr| expr.get_type(schema).ok()).collect();
    // Conditions on outer rows keep their form, in which they become joins.
    if !types.contains(&Some(DataType::Float32)) || compared.iter().any(|expr| looks_outside(expr)) {
        return false;
    }
    let mut is_changed = false;
    for (expr, kind) in compared.into_iter().zip(&types) {
        if kind.as_ref().is_some_and(DataType::is_integer) && !is_exact_real(expr) {
            *expr = cast(std::mem::take(expr), DataType::Float64);
            is_changed = true;
        }
    }
    is_changed
}

/// Whether it is a constant that a `real` keeps, so that files can still be skipped.
fn is_exact_real(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => match value.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(whole)) => {
                whole.is_none_or(|whole| whole.unsigned_abs() <= 1 << f32::MANTISSA_DIGITS)
            }
            _ => false,
        },
        Expr::Negative(inner) => is_exact_real(inner),
        Expr::Cast(Cast { expr, .. }) => is_exact_real(expr),
        _ => false,
    }
}

/// A decimal as a floating point number. If it is a cast of a text that keeps all digits, the text is cast instead.
fn as_fraction(expr: Expr) -> Expr {
    match expr {
        Expr::Cast(Cast { expr: inner, field }) if keeps_digits(&inner, field.data_type()) => {
            cast(*inner, DataType::Float64)
        }
        other => cast(other, DataType::Float64),
    }
}

fn keeps_digits(text: &Expr, kind: &DataType) -> bool {
    let Expr::Literal(value, _) = text else { return false };
    let behind = |text: &str| text.split_once('.').map_or(0, |(_, behind)| behind.len());
    let is_kept = |text: &str| usize::try_from(decimal(kind).1).is_ok_and(|scale| behind(text) <= scale);
    is_decimal(kind) && value.try_as_str().flatten().is_some_and(is_kept)
}

/// Whether one decimal type can hold all values of these types.
fn fits_one_decimal(types: impl Iterator<Item = DataType>) -> bool {
    let (mut whole, mut behind) = (0, 0);
    for kind in types {
        let (precision, scale) = decimal(&kind);
        whole = whole.max(i16::from(precision) - i16::from(scale));
        behind = behind.max(i16::from(scale));
    }
    whole + behind <= i16::from(DIGITS_MAX)
}

/// A literal as a decimal with exactly its digits.
fn written(expr: &Expr) -> Option<ScalarValue> {
    let value = match expr {
        Expr::Literal(ScalarValue::Float64(Some(value)), _) => *value,
        Expr::Negative(inner) => match inner.as_ref() {
            Expr::Literal(ScalarValue::Float64(Some(value)), _) => -value,
            _ => return None,
        },
        _ => return None,
    };
    let text = value.to_string();
    let (whole, behind) = text.split_once('.').unwrap_or((&text, ""));
    let digits = format!("{whole}{behind}");
    let count = digits.trim_start_matches('-').len();
    let value = digits.parse::<i128>().ok().filter(|_| count <= LITERAL_DIGITS_MAX)?;
    let (precision, scale) = (u8::try_from(count).ok()?, i8::try_from(behind.len()).ok()?);
    Some(ScalarValue::Decimal128(Some(value), precision, scale))
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::lit;

    use super::*;

    #[test]
    fn a_literal_is_the_decimal_that_was_written() {
        let decimal = |value: f64| written(&lit(value));
        assert_eq!(decimal(9.99), Some(ScalarValue::Decimal128(Some(999), 3, 2)));
        assert_eq!(decimal(-0.1), Some(ScalarValue::Decimal128(Some(-1), 2, 1)));
        assert_eq!(decimal(5.0), Some(ScalarValue::Decimal128(Some(5), 1, 0)));
        for other in [1e300, 1e-300, f64::NAN, f64::INFINITY, 0.123_456_789_012_345_68] {
            assert_eq!(decimal(other), None, "{other}");
        }
    }
}
