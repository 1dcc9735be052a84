//! `LATERAL` that no longer depends on the other side: `… LATERAL (SELECT count(*) FROM u WHERE u.id = t.id AND false)`.
//!
//! The engine turns correlated subqueries into joins. Where a condition was folded to a constant, the subquery is not correlated
//! any more; the engine leaves it as it is and can't plan it (DataFusion 54.1, `decorrelate_lateral_join.rs`). Here the join takes
//! its rows directly.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::logical_expr::{LogicalPlan, SubqueryAlias};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// Joins with the rows of such subqueries directly. It has to come before the rule for correlated ones.
#[derive(Debug)]
pub(crate) struct LoneLaterals;

impl OptimizerRule for LoneLaterals {
    fn name(&self) -> &str {
        "lone_laterals"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let mut join = match plan {
            LogicalPlan::Join(join) => join,
            other => return Ok(Transformed::no(other)),
        };
        let Some(rows) = lone_rows(&join.right)? else { return Ok(Transformed::no(LogicalPlan::Join(join))) };
        join.right = Arc::new(rows);
        Ok(Transformed::yes(LogicalPlan::Join(join)))
    }
}

/// The rows of an uncorrelated subquery. None if the plan is something else.
fn lone_rows(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => {
            let Some(rows) = lone_rows(input)? else { return Ok(None) };
            let rows = SubqueryAlias::try_new(Arc::new(rows), alias.clone())?;
            Ok(Some(LogicalPlan::SubqueryAlias(rows)))
        }
        LogicalPlan::Subquery(subquery) if !looks_outside(&subquery.subquery)? => {
            Ok(Some(subquery.subquery.as_ref().clone()))
        }
        _ => Ok(None),
    }
}

fn looks_outside(plan: &LogicalPlan) -> Result<bool> {
    let mut is_found = false;
    plan.apply_with_subqueries(|plan| {
        is_found |= plan.contains_outer_reference();
        Ok(if is_found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(is_found)
}
