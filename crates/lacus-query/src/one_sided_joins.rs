//! Joins that return the columns of one side: semi and anti joins, for `IN`, `EXISTS` and their opposites.
//!
//! When the engine pushes a projection below a join, it assumes that the left side's columns come first. It assumes the same of a
//! join that returns its right side alone (DataFusion 54.1, `try_pushdown_through_join`): the plan is rejected where the names
//! differ, and otherwise the wrong column would be read. So projections stay above these joins, or become part of them.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::projection::{ProjectionExec, try_embed_projection};

use crate::filter_stop::is_one_sided;
use crate::stop::Stop;

/// Puts a [`Stop`] above such joins, before projections are pushed down.
#[derive(Debug)]
pub(crate) struct OneSidedJoins;

impl PhysicalOptimizerRule for OneSidedJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(with_projection).data()?;
        plan.transform_up(|plan| {
            Ok(if may_be_passed(&plan) {
                Transformed::yes(Stop::above(plan, HashSet::new()))
            } else {
                Transformed::no(plan)
            })
        })
        .data()
    }

    fn name(&self) -> &str {
        "one_sided_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A hash join that takes over the projection above it: that is done by the columns which the join returns.
fn with_projection(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(projection) = plan.downcast_ref::<ProjectionExec>() else { return Ok(Transformed::no(plan)) };
    let input = projection.input();
    let Some(join) = input.downcast_ref::<HashJoinExec>().filter(|_| may_be_passed(input)) else {
        return Ok(Transformed::no(plan));
    };
    match try_embed_projection(projection, join)? {
        Some(made) => Ok(Transformed::yes(made)),
        None => Ok(Transformed::no(plan)),
    }
}

/// Whether it is such a join, without a projection of its own that would keep others above.
fn may_be_passed(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return is_one_sided(*join.join_type()) && !join.contains_projection();
    }
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        return is_one_sided(*join.join_type()) && !join.contains_projection();
    }
    plan.downcast_ref::<SortMergeJoinExec>().is_some_and(|join| is_one_sided(join.join_type()))
}
