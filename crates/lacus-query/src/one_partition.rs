//! Operators that need their input in one partition: `FROM (SELECT 1 AS a FROM u ORDER BY 1 OFFSET 0) JOIN t ON … ORDER BY …`.
//!
//! To sort in parallel, the engine removes the operators below the sort that merge partitions. Where both sides of a join have
//! one, it removes the wrong one and then rejects its own plan (DataFusion 54.1, `remove_bottleneck_in_subplan`). Here partitions
//! are merged again for each operator that needs one.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{Distribution, ExecutionPlan, ExecutionPlanProperties};

/// Merges partitions for operators that need one. It has to come after the rule that sorts in parallel.
#[derive(Debug)]
pub(crate) struct OnePartition;

impl PhysicalOptimizerRule for OnePartition {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let wanted = plan.required_input_distribution();
            let has_many = |(child, wanted): (&&Arc<dyn ExecutionPlan>, &Distribution)| {
                matches!(wanted, Distribution::SinglePartition) && child.output_partitioning().partition_count() > 1
            };
            let children = plan.children();
            if !children.iter().zip(&wanted).any(has_many) {
                return Ok(Transformed::no(plan));
            }
            let children = children.iter().zip(&wanted).map(|pair| match has_many(pair) {
                true => together(pair.0),
                false => Arc::clone(pair.0),
            });
            let children = children.collect();
            plan.with_new_children(children).map(Transformed::yes)
        })
        .data()
    }

    fn name(&self) -> &str {
        "one_partition"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// All partitions as one, keeping their order if they have one: an `OFFSET` counts in it.
fn together(plan: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    match plan.output_ordering() {
        Some(order) => Arc::new(SortPreservingMergeExec::new(order.clone(), Arc::clone(plan))),
        None => Arc::new(CoalescePartitionsExec::new(Arc::clone(plan))),
    }
}
