//! Joins that must see nulls: `NOT IN`, `EXCEPT`, `INTERSECT`, `IS NOT DISTINCT FROM`.
//!
//! One null in the subquery of a `NOT IN` makes the condition unknown for every row that is not found; in set operations nulls
//! equal each other. But the optimizer tells the scans of one side which values the other side has, and copies conditions from
//! one side to the other (DataFusion 54.1), and no null passes such filters. So they are kept from that side: copied conditions
//! here, the others by [`filter_stop`](crate::filter_stop).

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{DFSchema, NullEquality, Result};
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, ident, lit};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::physical_plan::joins::HashJoinExec;

use crate::rows;
use crate::same::same;

/// Names of the added columns, followed by numbers: nobody else gives such names.
const VALUE: &str = "value#";

/// Makes columns of computed values that a `NOT IN` looks for. The optimizer may find such a value to be the same for all rows, as
/// `coalesce(11, id)` is, and a join by no column knows no nulls.
pub(crate) fn with_columns(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut values = 0;
    plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Filter(filter) => {
            let schema = filter.input.schema();
            let is_any = split_conjunction(&filter.predicate).into_iter().any(|part| is_of_computed(part, schema));
            if is_any {
                above_columns(filter, &mut values).map(Transformed::yes)
            } else {
                Ok(Transformed::no(LogicalPlan::Filter(filter)))
            }
        }
        plan => Ok(Transformed::no(plan)),
    })
    .data()
}

/// The filter above columns that have its values. Its other conditions come first, as they may keep values from being computed; those
/// on the row outside are lifted from above.
fn above_columns(filter: Filter, values: &mut usize) -> Result<LogicalPlan> {
    let Filter { predicate, input, .. } = filter;
    let schema = Arc::clone(input.schema());
    let (mut above, before): (Vec<Expr>, Vec<Expr>) = split_conjunction_owned(predicate)
        .into_iter()
        .partition(|part| part.contains_outer() || is_of_computed(part, &schema));
    let columns: Vec<Expr> = schema.iter().map(Expr::from).collect();
    let mut computed = Vec::with_capacity(above.len());
    for condition in &mut above {
        if is_of_computed(condition, &schema)
            && let Some(list) = not_in_mut(condition)
        {
            *values += 1;
            let name = format!("{VALUE}{values}");
            computed.push(std::mem::replace(&mut *list.expr, ident(name.clone())).alias(name));
        }
    }
    let rows = LogicalPlanBuilder::from(Arc::unwrap_or_clone(input));
    let rows = match conjunction(before) {
        Some(before) => rows.filter(before)?,
        None => rows,
    };
    let above = conjunction(above).unwrap_or_else(|| lit(true));
    rows.project(columns.iter().cloned().chain(computed))?.filter(above)?.project(columns)?.build()
}

/// Whether a `NOT IN` looks for a value that is computed of the row. Where its subquery depends on the row, and where its value
/// does not, it is no such join.
fn is_of_computed(condition: &Expr, schema: &DFSchema) -> bool {
    let Some(list) = not_in(condition) else { return false };
    let value = &list.expr;
    let is_of_row = (value.any_column_refs() || value.is_volatile()) && !value.contains_outer();
    let is_row = matches!(condition, Expr::Not(list) if rows::is_asked(list)) || rows::is_asked(condition);
    is_of_row
        && !is_column(value)
        && !is_row
        && list.subquery.outer_ref_columns.is_empty()
        && value.get_type(schema).is_ok()
}

fn is_column(value: &Expr) -> bool {
    match value {
        Expr::Column(_) => true,
        Expr::Cast(cast) => is_column(&cast.expr),
        _ => false,
    }
}

fn not_in(condition: &Expr) -> Option<&InSubquery> {
    match condition {
        Expr::Not(inner) => match inner.as_ref() {
            Expr::InSubquery(list) if !list.negated => Some(list),
            _ => None,
        },
        Expr::InSubquery(list) if list.negated => Some(list),
        _ => None,
    }
}

fn not_in_mut(condition: &mut Expr) -> Option<&mut InSubquery> {
    match condition {
        Expr::Not(inner) => match inner.as_mut() {
            Expr::InSubquery(list) => Some(list),
            _ => None,
        },
        Expr::InSubquery(list) => Some(list),
        _ => None,
    }
}

/// Keeps conditions on the rows of a `NOT IN` from its subquery. The optimizer copies them where both keys are columns, so
/// the key of the subquery becomes `same(column)`.
#[derive(Debug)]
pub(crate) struct WholeNotIn;

impl OptimizerRule for WholeNotIn {
    fn name(&self) -> &str {
        "whole_not_in"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let mut join = match plan {
            LogicalPlan::Join(join) if join.null_aware => join,
            other => return Ok(Transformed::no(other)),
        };
        let mut is_changed = false;
        for (_, asked) in &mut join.on {
            if matches!(asked, Expr::Column(_)) {
                *asked = same(asked.clone());
                is_changed = true;
            }
        }
        let plan = LogicalPlan::Join(join);
        Ok(if is_changed { Transformed::yes(plan) } else { Transformed::no(plan) })
    }
}

/// Whether a join matches nulls.
pub(crate) fn sees_nulls(join: &HashJoinExec) -> bool {
    join.null_aware || join.null_equality() == NullEquality::NullEqualsNull
}
