//! Joins that must see nulls: `NOT IN`, `EXCEPT`, `INTERSECT`, `IS NOT DISTINCT FROM`.
//!
//! One null in the subquery of a `NOT IN` makes the condition unknown for every row that is not found; in set operations nulls
//! equal each other. But the optimizer tells the scans of one side which values the other side has, and copies conditions from
//! one side to the other (DataFusion 54.1), and no null passes such filters. So they are kept from that side: copied conditions
//! here, the others by [`filter_stop`](crate::filter_stop).

use datafusion::common::tree_node::Transformed;
use datafusion::common::{NullEquality, Result};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::physical_plan::joins::HashJoinExec;

use crate::same::same;

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
