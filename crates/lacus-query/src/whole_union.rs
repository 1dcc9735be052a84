//! Projections above a union with equal or constant columns: `SELECT d AS a, d AS b … ORDER BY a, b`.
//!
//! Rows sorted by `a` are also sorted by `b`, and the plan relies on it. The equality is known above a union; once the projection
//! is pushed below, it isn't, and the plan is rejected (DataFusion 54.1, `UnionExec::try_swapping_with_projection`,
//! `calculate_union`). So only projections that pick columns are pushed below a union.
//!
//! And `random() AS r` stays above the scan: in it, a filter on `r` that comes down later would be asked of other numbers.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;

use crate::stop::Stop;

/// Puts a [`Stop`] below other projections, before projections are pushed down.
#[derive(Debug)]
pub(crate) struct WholeUnion;

impl PhysicalOptimizerRule for WholeUnion {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let Some(projection) = plan.downcast_ref::<ProjectionExec>() else { return Ok(Transformed::no(plan)) };
            let differs = projection.expr().iter().any(|column| is_volatile(&column.expr));
            if !differs && (picks_columns(projection) || !may_reach_union(projection.input())) {
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

/// Whether a projection could be pushed to a union: through filters, exchanges and other projections.
fn may_reach_union(plan: &Arc<dyn ExecutionPlan>) -> bool {
    match plan.children()[..] {
        [input] => may_reach_union(input),
        _ => plan.is::<UnionExec>(),
    }
}

/// Whether a projection only picks columns, each of them once.
fn picks_columns(projection: &ProjectionExec) -> bool {
    let mut picked = HashSet::new();
    projection.expr().iter().all(|column| {
        let column = column.expr.downcast_ref::<Column>();
        column.is_some_and(|column| picked.insert(column.index()))
    })
}
