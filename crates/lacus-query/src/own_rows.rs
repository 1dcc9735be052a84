//! Rows that joins keep: `SELECT … FROM (SELECT DISTINCT …) AS a JOIN b ON …`.
//!
//! A hash join keeps the rows of one side, and counts with each batch of them all buffers that its rows are in, however few they
//! are (DataFusion 54.1, `collect_left_input`). Groups come as slices of one large batch: that was counted once for each slice, no
//! memory was left where most was free, and the question began anew with sorted joins ([`crate::large_joins`]). Here rows that
//! are kept have buffers of their own.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, UInt32Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;

use crate::parts::{bytes_shown, without_waste};

/// Rows are copied if their buffers take more than so many times what they show.
const WASTE_MAX: usize = 2;

/// Gives joins such rows. It comes after the engine's rules: they look for joins and their inputs.
#[derive(Debug)]
pub(crate) struct OwnRows;

impl PhysicalOptimizerRule for OwnRows {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            if !keeps_left(&plan) {
                return Ok(Transformed::no(plan));
            }
            let inputs = plan.children().into_iter().enumerate().map(|(place, input)| match place {
                0 => OwnRowsExec::above(input),
                _ => Arc::clone(input),
            });
            let inputs = inputs.collect();
            plan.with_new_children(inputs).map(Transformed::yes)
        })
        .data()
    }

    fn name(&self) -> &str {
        "own_rows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether it is a join that keeps its left side.
fn keeps_left(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<HashJoinExec>() || plan.is::<NestedLoopJoinExec>() || plan.is::<CrossJoinExec>()
}

/// Passes its input through, with buffers of its own.
#[derive(Debug)]
struct OwnRowsExec {
    input: Arc<dyn ExecutionPlan>,
}

impl OwnRowsExec {
    fn above(input: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { input: Arc::clone(input) })
    }
}

/// The same rows; copied, if most of what their buffers hold is of other rows.
fn with_own_buffers(batch: RecordBatch) -> Result<RecordBatch> {
    if get_record_batch_memory_size(&batch) <= WASTE_MAX * bytes_shown(&batch) {
        return Ok(batch);
    }
    let all = UInt32Array::from_iter_values((0..).take(batch.num_rows()));
    without_waste(&take_record_batch(&batch, &all)?)
}

impl ExecutionPlan for OwnRowsExec {
    fn name(&self) -> &str {
        "OwnRowsExec"
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
            _ => internal_err!("rows that are kept have one input"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context)?.map(|batch| with_own_buffers(batch?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

impl DisplayAs for OwnRowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnRowsExec")
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, StringViewArray};

    use super::*;

    #[test]
    fn a_slice_takes_no_more_than_its_rows() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter((0..10_000_i64).map(|n| (n % 7 > 0).then_some(n))));
        let texts = (0..10_000).map(|n| format!("a text that is longer than a view, {n}"));
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
        let whole = RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap();
        let slice = whole.slice(3000, 1000);
        assert!(get_record_batch_memory_size(&slice) > 9 * bytes_shown(&slice), "{}", bytes_shown(&slice));
        let own = with_own_buffers(slice.clone()).unwrap();
        assert_eq!(own, slice);
        assert!(get_record_batch_memory_size(&own) <= WASTE_MAX * bytes_shown(&slice));
        // What has nearly all of its buffers stays in them.
        let most = whole.slice(10, 9990);
        let same = with_own_buffers(most.clone()).unwrap();
        let views = |batch: &RecordBatch| batch.column(1).as_string_view().views().as_ptr();
        assert_eq!(views(&same), views(&most));
        assert_eq!(with_own_buffers(whole.slice(0, 0)).unwrap().num_rows(), 0);
    }
}
