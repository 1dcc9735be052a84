//! Columns that are the same, or always the same: `SELECT d AS a, d AS b … ORDER BY a, b`.
//!
//! Rows that are sorted by a are sorted by b, too, and that is used. Above a union it is known; once the projection lies
//! below, it isn't, and the plan is refused (DataFusion 54.1, `UnionExec::try_swapping_with_projection`, `calculate_union`).
//! So only projections that pick columns go below a union.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;

use crate::stop::Stop;

/// Puts a [`Stop`] below other projections, before projections are brought down.
#[derive(Debug)]
pub(crate) struct WholeUnion;

impl PhysicalOptimizerRule for WholeUnion {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let Some(projection) = plan.downcast_ref::<ProjectionExec>() else { return Ok(Transformed::no(plan)) };
            if picks_columns(projection) || !may_reach_union(projection.input()) {
                return Ok(Transformed::no(plan));
            }
            let input = Stop::above(Arc::clone(projection.input()), HashSet::new());
            plan.with_new_children(vec![input]).map(Transformed::yes)
        })
        .data()
    }

    fn name(&self) -> &str {
        "whole_union"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether a projection could come to a union: it goes through filters, exchanges and other projections.
fn may_reach_union(plan: &Arc<dyn ExecutionPlan>) -> bool {
    match plan.children()[..] {
        [input] => may_reach_union(input),
        _ => plan.is::<UnionExec>(),
    }
}

/// Whether each column of a projection is another one of its input.
fn picks_columns(projection: &ProjectionExec) -> bool {
    let mut picked = HashSet::new();
    projection.expr().iter().all(|column| {
        let column = column.expr.downcast_ref::<Column>();
        column.is_some_and(|column| picked.insert(column.index()))
    })
}
