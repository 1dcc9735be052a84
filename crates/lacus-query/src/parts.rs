//! Groups in parts: `SELECT url, count(*) … GROUP BY url` where there are millions.
//!
//! The engine keeps all groups in one table, and where that does not fit in memory it sorts them to disk and merges them
//! (DataFusion 54.1, `aggregates/row_hash.rs`), which takes several times as long. Here rows are dealt out by the hash of their
//! group first, and each part is grouped when all rows are there: the table of a part is small, close to the processor, and
//! gone when the next begins. Rows that don't fit go to disk as they are and come back with their part (Graefe, "Query
//! evaluation techniques for large databases", 1993, section 4.2).

mod dealt;
mod part;
mod room;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use datafusion::arrow::array::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PlanProperties};
use futures::{StreamExt, TryFutureExt, TryStreamExt, stream};

use self::dealt::Dealt;
pub(crate) use self::part::{bytes_shown, without_waste};
use self::room::Room;

/// Rows of a turn. It takes no more than as many groups of memory, and rows of a few groups become fewer all the same.
const TURN_ROWS: usize = 2_000_000;

/// Has aggregates look at their groups in parts. It comes last: other rules look for aggregates and their inputs.
#[derive(Debug)]
pub(crate) struct GroupsInParts;

impl PhysicalOptimizerRule for GroupsInParts {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| match plan.downcast_ref::<AggregateExec>() {
            Some(aggregate) if can_be_in_parts(aggregate) => {
                let part: Arc<dyn ExecutionPlan> = Arc::new(PartExec::new(Arc::clone(aggregate.input())));
                let aggregate = plan.with_new_children(vec![part])?;
                Ok(Transformed::yes(Arc::new(InPartsExec::new(aggregate))))
            }
            _ => Ok(Transformed::no(plan)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "groups_in_parts"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether an aggregate is one of two that share the work, and wants its rows in no order, and all of them.
fn can_be_in_parts(aggregate: &AggregateExec) -> bool {
    matches!(aggregate.mode(), AggregateMode::Partial | AggregateMode::Final | AggregateMode::FinalPartitioned)
        && !aggregate.group_expr().is_true_no_grouping()
        && aggregate.group_expr().is_single()
        && *aggregate.input_order_mode() == InputOrderMode::Linear
        && aggregate.limit_options().is_none()
        && aggregate.required_input_ordering().iter().all(Option::is_none)
}

/// Runs an aggregate once for each part of its input: a partial one in turns, one that ends the work for rows that were dealt out.
#[derive(Debug)]
struct InPartsExec {
    /// It reads from a [`PartExec`].
    aggregate: Arc<dyn ExecutionPlan>,
    metrics: ExecutionPlanMetricsSet,
}

/// The rows that turns are of.
struct Turns {
    rows: SendableRecordBatchStream,
    /// Rows that are left of this turn.
    left: usize,
    /// No more will come.
    ended: bool,
}

impl Turns {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let next = ready!(self.rows.poll_next_unpin(context));
        match &next {
            Some(Ok(batch)) => self.left = self.left.saturating_sub(batch.num_rows()),
            _ => self.ended = true,
        }
        Poll::Ready(next)
    }
}

/// The part of its input that is looked at.
struct PartExec {
    input: Arc<dyn ExecutionPlan>,
    /// The part that is next, by partition.
    next: Mutex<HashMap<usize, SendableRecordBatchStream>>,
}

impl InPartsExec {
    fn new(aggregate: Arc<dyn ExecutionPlan>) -> Self {
        Self { aggregate, metrics: ExecutionPlanMetricsSet::new() }
    }

    /// What a partial aggregate makes of so many rows, and of the next, as they come: what it keeps is never more.
    fn in_turns(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = part_of(&self.aggregate)?.input.execute(partition, Arc::clone(&context))?;
        let schema = rows.schema();
        let turns = Arc::new(Mutex::new(Turns { rows, left: 0, ended: false }));
        let aggregate = Arc::clone(&self.aggregate);
        let next = move || {
            {
                let mut turns = locked(&turns);
                if turns.ended {
                    return None;
                }
                turns.left = TURN_ROWS;
            }
            let turns = Arc::clone(&turns);
            let turn = stream::poll_fn(move |context| locked(&turns).poll(context));
            let turn = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), turn));
            Some(part_of(&aggregate).and_then(|part| part.run(aggregate.as_ref(), partition, turn, &context)))
        };
        let grouped = stream::iter(std::iter::from_fn(next)).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), grouped)))
    }

    /// The groups of one part after the other, once all rows were dealt out.
    fn dealt_out(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let dealt = Dealt::new(&self.aggregate, &self.metrics, partition, &context)?;
        let rows = part_of(&self.aggregate)?.input.execute(partition, Arc::clone(&context))?;
        let aggregate = Arc::clone(&self.aggregate);
        let grouped = dealt.deal(rows).map_ok(move |(parts, room)| {
            let context = Room::context(room, &context);
            let group = move |part| part_of(&aggregate)?.run(aggregate.as_ref(), partition, part, &context);
            stream::iter(parts.into_iter().map(group)).try_flatten()
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(grouped).try_flatten())))
    }
}

impl PartExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        Self { input, next: Mutex::default() }
    }

    /// What `aggregate`, which reads from here, makes of a part.
    fn run(
        &self,
        aggregate: &dyn ExecutionPlan,
        partition: usize,
        part: SendableRecordBatchStream,
        context: &Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        locked(&self.next).insert(partition, part);
        aggregate.execute(partition, Arc::clone(context))
    }
}

/// Every change is one step.
fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The aggregate that is run for each part.
fn aggregate_of(aggregate: &Arc<dyn ExecutionPlan>) -> Result<&AggregateExec> {
    let aggregate = aggregate.downcast_ref::<AggregateExec>();
    aggregate.ok_or_else(|| internal_datafusion_err!("what is run in parts is no aggregate"))
}

/// The operator that an aggregate in parts reads from.
fn part_of(aggregate: &Arc<dyn ExecutionPlan>) -> Result<&PartExec> {
    let part = aggregate.children().first().and_then(|part| part.downcast_ref::<PartExec>());
    part.ok_or_else(|| internal_datafusion_err!("an aggregate in parts reads from something else"))
}

impl ExecutionPlan for InPartsExec {
    fn name(&self) -> &str {
        "InPartsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.aggregate.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.aggregate]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(aggregate) = children.pop() else { return internal_err!("groups are of an aggregate") };
        Ok(Arc::new(Self::new(aggregate)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        match aggregate_of(&self.aggregate)?.mode() {
            AggregateMode::Partial => self.in_turns(partition, context),
            _ => self.dealt_out(partition, context),
        }
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

impl ExecutionPlan for PartExec {
    fn name(&self) -> &str {
        "PartExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop() else { return internal_err!("a part is of an input") };
        Ok(Arc::new(Self::new(input)))
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let next = locked(&self.next).remove(&partition);
        next.ok_or_else(|| internal_datafusion_err!("there is no part of partition {partition} to look at"))
    }
}

impl fmt::Debug for PartExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartExec").field("input", &self.input).finish_non_exhaustive()
    }
}

impl DisplayAs for InPartsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InPartsExec")
    }
}

impl DisplayAs for PartExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PartExec")
    }
}
