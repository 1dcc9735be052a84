//! Joins that must see nulls: `NOT IN`, `EXCEPT`, `INTERSECT`, `IS NOT DISTINCT FROM`.
//!
//! One null in the question of a `NOT IN`, and no row is certain not to be in it; in set operations a null is the same as
//! another. But the optimizer tells the scans below which values the other side has, and asks of the one side what is asked
//! of the other (DataFusion 54.1); no null comes through such filters. So they are kept from that side.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{NullEquality, Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

/// More rows than there can be.
const ROWS_MAX: usize = i64::MAX as usize;

/// Keeps conditions on the rows of a `NOT IN` from its question: none goes through a limit, and this one cuts nothing.
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
        match plan {
            LogicalPlan::Join(mut join) if join.null_aware && !matches!(*join.right, LogicalPlan::Limit(_)) => {
                let right = LogicalPlanBuilder::from(join.right.as_ref().clone());
                join.right = Arc::new(right.limit(0, Some(ROWS_MAX))?.build()?);
                Ok(Transformed::yes(LogicalPlan::Join(join)))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

/// Keeps filters that are learned while a query runs from the side of these joins that is looked up.
#[derive(Debug)]
pub(crate) struct NullsInJoins;

impl PhysicalOptimizerRule for NullsInJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let sees_nulls =
                |join: &&HashJoinExec| join.null_aware || join.null_equality() == NullEquality::NullEqualsNull;
            let Some(join) = plan.downcast_ref::<HashJoinExec>().filter(sees_nulls) else {
                return Ok(Transformed::no(plan));
            };
            let right: Arc<dyn ExecutionPlan> = Arc::new(AllRows { input: Arc::clone(join.right()) });
            let left = Arc::clone(join.left());
            plan.with_new_children(vec![left, right]).map(Transformed::yes)
        })
        .data()
    }

    fn name(&self) -> &str {
        "nulls_in_joins"
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
