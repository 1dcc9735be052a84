//! Subqueries that are found by what is computed of their rows: `(SELECT max(o.day) FROM orders o WHERE lower(o.city) = c.city)`.
//!
//! Below an aggregate the engine joins such a subquery by its columns only (DataFusion 54.1, `can_pullup_over_aggregation`), and
//! has no plan where it is a field of an object or a function that the row outside is compared with. Here that value becomes a
//! column.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::error::Result;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, ident};

/// What the columns are called, with their numbers: names that nobody gives.
const KEY: &str = "key#";

/// Makes columns of what rows outside are compared with.
pub(crate) fn compute_keys(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut keys = 0;
    plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Filter(filter) if filter.predicate.contains_outer() => with_keys(filter, &mut keys),
        plan => Ok(Transformed::no(plan)),
    })
    .data()
}

fn with_keys(filter: Filter, keys: &mut usize) -> Result<Transformed<LogicalPlan>> {
    let mut computed = Vec::new();
    let mut as_column = |value: Box<Expr>| {
        *keys += 1;
        let name = format!("{KEY}{keys}");
        computed.push(value.alias(&name));
        Box::new(ident(name))
    };
    let conditions = split_conjunction_owned(filter.predicate.clone()).into_iter().map(|condition| match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if is_computed(&left) && is_outside(&right) => {
            Expr::BinaryExpr(BinaryExpr { left: as_column(left), op: Operator::Eq, right })
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if is_outside(&left) && is_computed(&right) => {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right: as_column(right) })
        }
        condition => condition,
    });
    let Some(predicate) = conjunction(conditions.collect::<Vec<_>>()).filter(|_| !computed.is_empty()) else {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    };
    let columns: Vec<Expr> = filter.input.schema().iter().map(Expr::from).collect();
    let plan = LogicalPlanBuilder::from(Arc::unwrap_or_clone(filter.input))
        .project(columns.iter().cloned().chain(computed))?
        .filter(predicate)?
        .project(columns)?;
    plan.build().map(Transformed::yes)
}

/// Whether it is a value of the rows inside, and more than one of their columns.
fn is_computed(value: &Expr) -> bool {
    let is_column = match value {
        Expr::Column(_) => true,
        Expr::Cast(Cast { expr, .. }) => matches!(expr.as_ref(), Expr::Column(_)),
        _ => false,
    };
    !is_column && value.any_column_refs() && !value.contains_outer() && !value.is_volatile()
}

/// Whether it is a value of the row outside alone.
fn is_outside(value: &Expr) -> bool {
    value.contains_outer() && !value.any_column_refs()
}
