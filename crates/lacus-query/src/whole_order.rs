//! Sorts with a limit below a merge: `ORDER BY a, b LIMIT 5` of a `UNION ALL` whose parts have one `a` each.
//!
//! Where a partition has a constant `a`, its rows are sorted by `b` alone, and the `b` of its fifth row becomes a filter for all
//! partitions: one with a smaller `a` loses rows (DataFusion 54.1). So each partition is sorted by the whole order of the merge.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;

/// Sorts merged partitions by the whole order, where there is a limit.
#[derive(Debug)]
pub(crate) struct WholeOrder;

impl PhysicalOptimizerRule for WholeOrder {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| match with_whole_order(&plan) {
            Some(sort) => plan.with_new_children(vec![Arc::new(sort)]).map(Transformed::yes),
            None => Ok(Transformed::no(plan)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "whole_order"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn with_whole_order(plan: &Arc<dyn ExecutionPlan>) -> Option<SortExec> {
    let merge = plan.downcast_ref::<SortPreservingMergeExec>()?;
    let sort = merge.input().downcast_ref::<SortExec>()?;
    if sort.fetch().is_none() || sort.expr() == merge.expr() {
        return None;
    }
    let whole = SortExec::new(merge.expr().clone(), Arc::clone(sort.input()));
    Some(whole.with_preserve_partitioning(sort.preserve_partitioning()).with_fetch(sort.fetch()))
}
