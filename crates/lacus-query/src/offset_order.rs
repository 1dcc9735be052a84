//! The sort below an `OFFSET`: `SELECT … FROM (SELECT a FROM t ORDER BY b OFFSET 3) AS s JOIN u ON …`.
//!
//! The engine removes sorts that nothing above needs. It knows that a `LIMIT` needs its sort, but removes the sort below an
//! `OFFSET` without a `LIMIT`, which then skipped arbitrary rows (DataFusion 54.1, `EnforceSorting`). Here the sort is marked as
//! required.
//!
//! It also moves a sort from above such an `OFFSET` to below it, where it picks other rows: `SELECT a FROM (SELECT a FROM t ORDER BY b
//! OFFSET 3) AS s ORDER BY a`. It moves none through a projection: here is one of all columns, which is removed later.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexRequirement, OrderingRequirements};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::output_requirements::OutputRequirementExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{Distribution, ExecutionPlan, PhysicalExpr};

/// Marks the sort below an `OFFSET` as required, and keeps others from it. It has to come before the rules that move sorts.
#[derive(Debug)]
pub(crate) struct OffsetOrder;

impl PhysicalOptimizerRule for OffsetOrder {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| match plan.downcast_ref::<GlobalLimitExec>() {
            Some(limit) if limit.fetch().is_none() => {
                let rows = with_needed_sort(limit.input())?;
                behind_all_columns(plan.with_new_children(vec![rows])?).map(Transformed::yes)
            }
            _ => Ok(Transformed::no(plan)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "offset_order"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The plan behind a projection of all of its columns.
fn behind_all_columns(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = plan.schema();
    if schema.fields().is_empty() {
        // Nothing can be sorted.
        return Ok(plan);
    }
    let columns = schema.fields().iter().enumerate().map(|(place, field)| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), place));
        (column, field.name().clone())
    });
    Ok(Arc::new(ProjectionExec::try_new(columns, plan)?))
}

/// The plan with the sort that its order comes from marked as required, if there is one.
fn with_needed_sort(plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(sort) = plan.downcast_ref::<SortExec>() {
        let order = OrderingRequirements::new(LexRequirement::from(sort.expr().clone()));
        let needed = OutputRequirementExec::new(Arc::clone(plan), Some(order), Distribution::SinglePartition, None);
        return Ok(Arc::new(needed));
    }
    match (plan.children().as_slice(), plan.maintains_input_order().as_slice()) {
        ([rows], [true]) => Arc::clone(plan).with_new_children(vec![with_needed_sort(rows)?]),
        _ => Ok(Arc::clone(plan)),
    }
}
