//! `NOT IN` of a question that may have nulls.
//!
//! One null in it, and no row is certain not to be in it. The join for it must see every row of the question; but the
//! optimizer tells the scans below which values the other side has (DataFusion 54.1), and a null is none of them. So nothing
//! that is learned above such a join goes below it on that side.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

/// Keeps filters from the questions of `NOT IN`.
#[derive(Debug)]
pub(crate) struct WholeNotIn;

impl PhysicalOptimizerRule for WholeNotIn {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let Some(join) = plan.downcast_ref::<HashJoinExec>().filter(|join| join.null_aware) else {
                return Ok(Transformed::no(plan));
            };
            let right: Arc<dyn ExecutionPlan> = Arc::new(AllRows { input: Arc::clone(join.right()) });
            let left = Arc::clone(join.left());
            plan.with_new_children(vec![left, right]).map(Transformed::yes)
        })
        .data()
    }

    fn name(&self) -> &str {
        "whole_not_in"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// All rows of its input: a plan lets no filter through unless it says so.
#[derive(Debug)]
struct AllRows {
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for AllRows {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AllRows")
    }
}

impl ExecutionPlan for AllRows {
    fn name(&self) -> &str {
        "AllRows"
    }

    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self { input })),
            _ => internal_err!("all rows of one input"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        self.input.partition_statistics(partition)
    }
}
