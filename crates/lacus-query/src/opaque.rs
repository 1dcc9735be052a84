//! Expressions about which the optimizer draws wrong conclusions (DataFusion 54.1).
//!
//! - `CAST(price AS numeric(10,1)) = 40.5`, `CAST(ts AS timestamp(0)) = …`: the cast is removed if the literal fits the column's
//!   type, although the cast drops digits (`unwrap_cast.rs`).
//! - `CAST(ts AS time)`, `ts + INTERVAL '1 month'`: rows sorted by `ts` are taken to be sorted by these (`cast.rs`,
//!   `sort_properties.rs`).
//! - `day - DATE '2021-07-31' > 1`: its bounds are computed as durations, which can't be compared with a number
//!   (`interval_arithmetic.rs`).
//! - `ts::date = day`: the bounds of `day` are also taken for those of `ts`, which lie within them, and the share of rows that are left
//!   is more than all (`analysis.rs`).
//!
//! They are wrapped in [`same`]. Values that differ each time are hidden, too (see [`crate::drawn`]), and so are lists beside lists
//! (see [`crate::lists_apart`]).

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{Cast, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::scalar::ScalarValue;

use crate::drawn::drawn_once;
use crate::lists_apart::lists_apart;
use crate::same::{is_same, same};

/// Hides such expressions from the optimizer. It has to come before the rules that look into them.
#[derive(Debug)]
pub(crate) struct OpaqueValues;

impl OptimizerRule for OpaqueValues {
    fn name(&self) -> &str {
        "opaque_values"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if matches!(&plan, LogicalPlan::TableScan(scan) if scan.filters.is_empty()) {
            return Ok(Transformed::no(plan));
        }
        let mut schema = merge_schema(&plan.inputs());
        if let LogicalPlan::TableScan(scan) = &plan {
            schema.merge(&scan.projected_schema);
        }
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let made = expr.transform_up(|expr| Ok(opaque(expr, &schema)))?;
            Ok(made.update_data(|expr| name.restore(expr)))
        })
    }
}

fn opaque(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        // This rule was here before.
        expr if is_same(&expr) && matches!(&expr, Expr::ScalarFunction(call) if call.args.iter().all(is_same)) => {
            let Expr::ScalarFunction(ScalarFunction { mut args, .. }) = expr else { return Transformed::no(expr) };
            Transformed::no(args.remove(0))
        }
        expr if is_believed_wrongly(&expr, schema) => Transformed::yes(same(expr)),
        Expr::BinaryExpr(BinaryExpr { op: Operator::And | Operator::Or, .. }) => lists_apart(expr),
        Expr::BinaryExpr(compared) if compares_days(&compared, schema) => {
            let hide = |side: Box<Expr>| if is_day_of_moment(&side, schema) { Box::new(same(*side)) } else { side };
            let BinaryExpr { left, op, right } = compared;
            Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(hide(left), op, hide(right))))
        }
        expr => drawn_once(expr),
    }
}

fn is_believed_wrongly(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::Cast(Cast { expr, field }) => {
            expr.get_type(schema).is_ok_and(|kind| loses_digits_or_order(&kind, field.data_type()))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus | Operator::Minus, right }) => {
            has_months(left, schema) || has_months(right, schema) || is_date(left, schema) && is_date(right, schema)
        }
        _ => false,
    }
}

fn loses_digits_or_order(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (
            DataType::Decimal128(_, from) | DataType::Decimal256(_, from),
            DataType::Decimal128(_, to) | DataType::Decimal256(_, to),
        ) => to < from,
        (DataType::Timestamp(from, _), DataType::Timestamp(to, _)) => fineness(*to) < fineness(*from),
        (DataType::Timestamp(..), DataType::Time32(_) | DataType::Time64(_)) => true,
        _ => false,
    }
}

fn fineness(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    }
}

/// Whether the day of a moment is compared with something that is no literal.
fn compares_days(BinaryExpr { left, op, right }: &BinaryExpr, schema: &DFSchema) -> bool {
    let is_comparison = matches!(op, Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq);
    let has_day = is_day_of_moment(left, schema) || is_day_of_moment(right, schema);
    is_comparison && has_day && left.any_column_refs() && right.any_column_refs()
}

fn is_day_of_moment(value: &Expr, schema: &DFSchema) -> bool {
    let Expr::Cast(Cast { expr, field }) = value else { return false };
    *field.data_type() == DataType::Date32 && matches!(expr.get_type(schema), Ok(DataType::Timestamp(..)))
}

fn is_date(value: &Expr, schema: &DFSchema) -> bool {
    matches!(value.get_type(schema), Ok(DataType::Date32 | DataType::Date64))
}

/// Whether it is an interval that may contain months, whose length varies.
fn has_months(value: &Expr, schema: &DFSchema) -> bool {
    match value {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) => interval.months != 0,
        Expr::Literal(ScalarValue::IntervalDayTime(_), _) => false,
        value => matches!(value.get_type(schema), Ok(DataType::Interval(_))),
    }
}
