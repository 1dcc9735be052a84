//! Literals beside arrays: in `tags || '{c,d}'` and `tags = '{}'` the text is an array of the same type, as in PostgreSQL, and so is
//! `NULL`.
//!
//! The engine takes each for an element. A text that is none of an array stays one: `tags || 'c'`.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, cast};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;
use trino_functions::elements_of_text;

/// Gives such literals their type, for the planners after it.
#[derive(Debug)]
pub(crate) struct ArrayTexts;

impl ExprPlanner for ArrayTexts {
    fn plan_binary_op(&self, mut raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq, StringConcat};
        if matches!(raw.op, StringConcat | Eq | NotEq | Lt | LtEq | Gt | GtEq) {
            if let Some(array) = array_beside(&raw.left, &raw.right, schema) {
                raw.right = array;
            } else if let Some(array) = array_beside(&raw.right, &raw.left, schema) {
                raw.left = array;
            }
        }
        Ok(PlannerResult::Original(raw))
    }
}

/// A literal as an array of the type that the other operand has. None where one is no literal or the other no array.
fn array_beside(other: &Expr, literal: &Expr, schema: &DFSchema) -> Option<Expr> {
    let Expr::Literal(value, _) = literal else { return None };
    let is_array = value.try_as_str().flatten().is_some_and(|text| elements_of_text(text).is_some());
    if !is_array && *value != ScalarValue::Null {
        return None;
    }
    let kind = other.get_type(schema).ok().filter(|kind| matches!(kind, DataType::List(_)))?;
    Some(cast(literal.clone(), kind))
}
