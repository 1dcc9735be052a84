//! Joins that must see nulls: `NOT IN`, `EXCEPT`, `INTERSECT`, `IS NOT DISTINCT FROM`.
//!
//! One null in the question of a `NOT IN`, and no row is certain not to be in it; in set operations a null is the same as
//! another. But the optimizer tells the scans below which values the other side has, and asks of the one side what is asked
//! of the other (DataFusion 54.1); no null comes through such filters. So they are kept from that side.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{NullEquality, Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{ColumnarValue, Expr, ExprSchemable, LogicalPlan, ScalarUDF, Volatility, create_udf};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

/// Keeps conditions on the rows of a `NOT IN` from its question: the optimizer carries them over where both keys are
/// columns, so the key of the question becomes `same(column)`.
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
                let kind = asked.get_type(join.right.schema())?;
                *asked = same(kind).call(vec![asked.clone()]);
                is_changed = true;
            }
        }
        let plan = LogicalPlan::Join(join);
        Ok(if is_changed { Transformed::yes(plan) } else { Transformed::no(plan) })
    }
}

/// A function that gives what it is given.
fn same(kind: DataType) -> ScalarUDF {
    let given = |values: &[ColumnarValue]| match values {
        [value] => Ok(value.clone()),
        _ => internal_err!("one value is the same as itself"),
    };
    create_udf("same", vec![kind.clone()], kind, Volatility::Immutable, Arc::new(given))
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
