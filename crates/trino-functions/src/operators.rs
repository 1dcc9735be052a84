//! Operators where Trino differs: whole numbers overflow with an error, decimals divide to Trino's scale, a subscript
//! outside of its array is an error, `EXTRACT` counts days as ISO does.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use datafusion::arrow::compute::kernels::numeric::{add, mul, sub};
use datafusion::arrow::datatypes::{DataType, Decimal128Type};
use datafusion::common::{DFSchema, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, ScalarUDF, lit};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;

use crate::catalog::{self, Kind};
use crate::lists;
use crate::math::{DIGITS_MAX, cut, decimal, fits_decimal, is_decimal, power};
use crate::scalar::{Body, Call, Given, INT, Scalar, Types, bad};

/// Plans operators.
#[derive(Debug)]
pub(crate) struct Operators;

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        // Operands without a type yet, such as parameters, are left to the engine.
        let (Ok(left), Ok(right)) = (raw.left.get_type(schema), raw.right.get_type(schema)) else {
            return Ok(PlannerResult::Original(raw));
        };
        let names: Option<(&'static [&'static str], Body)> = match raw.op {
            _ if left.is_null() || right.is_null() => None,
            BinaryOperator::Plus if both_whole(&left, &right) => {
                Some((&["add"], Body::new(whole, |call| checked(call, add))))
            }
            BinaryOperator::Minus if both_whole(&left, &right) => {
                Some((&["subtract"], Body::new(whole, |call| checked(call, sub))))
            }
            BinaryOperator::Multiply if both_whole(&left, &right) => {
                Some((&["multiply"], Body::new(whole, |call| checked(call, mul))))
            }
            BinaryOperator::Divide if one_decimal(&left, &right) => Some((&["divide"], Body::new(quotient, divide))),
            _ => None,
        };
        Ok(match names {
            Some((names, body)) => PlannerResult::Planned(
                ScalarUDF::new_from_impl(Scalar::named(names, body)).call(vec![raw.left, raw.right]),
            ),
            None => PlannerResult::Original(raw),
        })
    }

    fn plan_field_access(
        &self,
        raw: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let kind = raw.expr.get_type(schema)?;
        let key = match &raw.field_access {
            GetFieldAccess::ListIndex { key } if lists::is_list(&kind) || matches!(kind, DataType::Map(..)) => {
                key.as_ref().clone()
            }
            GetFieldAccess::NamedStructField { name } if matches!(kind, DataType::Map(..)) => lit(name.clone()),
            _ => return Ok(PlannerResult::Original(raw)),
        };
        let body = Body::new(crate::maps::at_types, |call| crate::maps::at(call, true));
        let subscript = ScalarUDF::new_from_impl(Scalar::named(&["subscript"], body));
        Ok(PlannerResult::Planned(subscript.call(vec![raw.expr, key])))
    }

    fn plan_substring(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        call("substr", args)
    }

    fn plan_position(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        call("strpos", args)
    }

    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        let [Expr::Literal(ScalarValue::Utf8(Some(part)), _), value] = args.as_slice() else {
            return Ok(PlannerResult::Original(args));
        };
        let part = part.to_lowercase();
        if !crate::dates::PARTS.contains(&part.as_str()) {
            return plan_err!("EXTRACT({part} FROM …) is not supported: parts are {}", crate::dates::PARTS.join(", "));
        }
        call(&part, vec![value.clone()])
    }
}

fn call(name: &str, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
    Ok(match function(name) {
        Some(function) => PlannerResult::Planned(function.call(args)),
        None => PlannerResult::Original(args),
    })
}

/// A scalar function of the catalog.
pub(crate) fn function(name: &str) -> Option<ScalarUDF> {
    let found = catalog::functions().find(|function| function.names.contains(&name))?;
    match found.kind {
        Kind::Scalar(body) => Some(ScalarUDF::new_from_impl(Scalar::new(found, body))),
        _ => None,
    }
}

fn both_whole(left: &DataType, right: &DataType) -> bool {
    left.is_integer() && right.is_integer()
}

fn one_decimal(left: &DataType, right: &DataType) -> bool {
    (is_decimal(left) && (is_decimal(right) || right.is_integer())) || (is_decimal(right) && left.is_integer())
}

fn whole(given: &Given) -> Result<Types> {
    match given.types {
        [a, b] if both_whole(a, b) => {
            // Two small types stay small; all else is bigint.
            let is_small = |kind: &DataType| matches!(kind, DataType::Int8 | DataType::Int16 | DataType::Int32);
            let kind = match (a, b) {
                (a, b) if is_small(a) && is_small(b) => {
                    if a.size() > b.size() {
                        a.clone()
                    } else {
                        b.clone()
                    }
                }
                _ => INT,
            };
            Ok(Types::new(vec![kind.clone(), kind.clone()], kind))
        }
        _ => given.refuse(),
    }
}

type Kernel = fn(
    &dyn datafusion::arrow::array::Datum,
    &dyn datafusion::arrow::array::Datum,
) -> std::result::Result<ArrayRef, datafusion::arrow::error::ArrowError>;

fn checked(call: &Call, kernel: Kernel) -> Result<ArrayRef> {
    kernel(&call.args[0], &call.args[1])
        .map_err(|_| bad(format!("{} overflow", crate::types::name(call.returns.data_type()))))
}

fn quotient(given: &Given) -> Result<Types> {
    let [left, right] = given.types else { return given.refuse() };
    let ((p, s), (q, t)) = (decimal(left), decimal(right));
    let digits = i16::from(p) + i16::from(t) + i16::from(t - s).max(0);
    let returns = DataType::Decimal128(digits.clamp(1, DIGITS_MAX.into()) as u8, s.max(t));
    Ok(Types::new(vec![DataType::Decimal128(p, s), DataType::Decimal128(q, t)], returns))
}

/// Divides to the larger scale of both, rounding half away from zero.
fn divide(call: &Call) -> Result<ArrayRef> {
    let (left, right) = (call.args[0].as_primitive::<Decimal128Type>(), call.args[1].as_primitive::<Decimal128Type>());
    let scale = left.scale().max(right.scale());
    let factor = power(scale - left.scale() + right.scale())?;
    let mut values = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        if left.is_null(row) || right.is_null(row) {
            values.push(None);
            continue;
        }
        if right.value(row) == 0 {
            return Err(bad("division by zero"));
        }
        let scaled = left.value(row).checked_mul(factor);
        let quotient = scaled.map(|scaled| cut(scaled, right.value(row), true)).filter(|value| fits_decimal(*value));
        values.push(Some(quotient.ok_or_else(|| bad("decimal overflow"))?));
    }
    Ok(Arc::new(Decimal128Array::from_iter(values).with_data_type(call.returns.data_type().clone())))
}
