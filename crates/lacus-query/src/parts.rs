//! Groups in parts: `SELECT url, count(*) … GROUP BY url` where there are millions.
//!
//! The engine keeps all groups in one table, and where that does not fit in memory it sorts them to disk and merges them
//! (DataFusion 54.1, `aggregates/row_hash.rs`), which takes several times as long. Here rows are dealt out by the hash of their
//! group first, and each part is grouped when all rows are there: the table of a part is small, close to the processor, and
//! gone when the next begins. Rows that don't fit go to disk as they are and come back with their part (Graefe, "Query
//! evaluation techniques for large databases", 1993, section 4.2). Where the engine would deal them out to partitions before, that
//! is done at once.

mod dealt;
mod part;
mod room;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use datafusion::arrow::array::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DataFusionError, Result, internal_datafusion_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, InputOrderMode, Partitioning, PhysicalExpr,
    PlanProperties,
};
use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt, stream};

use self::dealt::{Dealt, Rows, deal};
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
                let part: Arc<dyn ExecutionPlan> = Arc::new(PartExec::of(aggregate));
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
    /// Rows that are dealt out to all partitions, until each of them was asked for its own.
    running: Mutex<Option<Running>>,
    metrics: ExecutionPlanMetricsSet,
}

/// Rows on their way to all partitions: whoever asks first has them dealt out.
struct Running {
    rows: Shared<BoxFuture<'static, Result<Dealing, Arc<DataFusionError>>>>,
    /// Partitions that did not ask.
    left: usize,
}

/// The rows of each partition, until it takes them.
type Dealing = Arc<Mutex<Vec<Option<Rows>>>>;

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
    /// Of the rows as they are looked at: in the partitions that they are dealt out to.
    properties: Arc<PlanProperties>,
    /// Whether there are others than those of the input.
    is_dealt: bool,
    /// The part that is next, by partition.
    next: Mutex<HashMap<usize, SendableRecordBatchStream>>,
}

impl InPartsExec {
    fn new(aggregate: Arc<dyn ExecutionPlan>) -> Self {
        Self { aggregate, running: Mutex::default(), metrics: ExecutionPlanMetricsSet::new() }
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
        let rows = match part_of(&self.aggregate)?.is_dealt {
            true => self.rows_from_all(partition, &context)?,
            false => self.rows_from(partition..partition + 1, &context)?.map_ok(|mut rows| rows.pop()).boxed(),
        };
        let aggregate = Arc::clone(&self.aggregate);
        let grouped = rows.map(move |rows| {
            let taken = || internal_datafusion_err!("partition {partition} was asked for its rows before");
            let (parts, room) = rows?.ok_or_else(taken)?;
            let context = Room::context(room, &context);
            let group = move |part| part_of(&aggregate)?.run(aggregate.as_ref(), partition, part, &context);
            Ok::<_, DataFusionError>(stream::iter(parts.into_iter().map(group)).try_flatten())
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(grouped).try_flatten())))
    }

    /// The rows of a partition, from all inputs. Whatever was dealt out is let go of when all partitions have theirs.
    fn rows_from_all(
        &self,
        partition: usize,
        context: &Arc<TaskContext>,
    ) -> Result<BoxFuture<'static, Result<Option<Rows>>>> {
        let mut running = locked(&self.running);
        let Running { rows, left } = match running.take() {
            Some(running) => running,
            None => self.begin(context)?,
        };
        if left > 1 {
            *running = Some(Running { rows: rows.clone(), left: left - 1 });
        }
        let own = rows.map(move |rows| -> Result<Option<Rows>> {
            let rows = rows.map_err(|error| DataFusionError::from(&error))?;
            let own = locked(&rows).get_mut(partition).and_then(Option::take);
            Ok(own)
        });
        Ok(own.boxed())
    }

    fn begin(&self, context: &Arc<TaskContext>) -> Result<Running> {
        let inputs = part_of(&self.aggregate)?.input.output_partitioning().partition_count();
        let rows = self.rows_from(0..inputs, context)?.map_ok(|rows| {
            let rows: Vec<Option<Rows>> = rows.into_iter().map(Some).collect();
            Arc::new(Mutex::new(rows))
        });
        let left = self.aggregate.output_partitioning().partition_count();
        Ok(Running { rows: rows.map_err(Arc::new).boxed().shared(), left })
    }

    /// Deals out the rows of these inputs.
    fn rows_from(
        &self,
        inputs: Range<usize>,
        context: &Arc<TaskContext>,
    ) -> Result<BoxFuture<'static, Result<Vec<Rows>>>> {
        let part = part_of(&self.aggregate)?;
        let begun = |input| -> Result<(Dealt, SendableRecordBatchStream)> {
            let dealt = Dealt::new(&self.aggregate, &self.metrics, input, context)?;
            Ok((dealt, part.input.execute(input, Arc::clone(context))?))
        };
        Ok(deal(inputs.map(begun).collect::<Result<Vec<_>>>()?).boxed())
    }
}

impl PartExec {
    /// What such an aggregate looks at. It deals out rows to partitions itself, all at once.
    fn of(aggregate: &AggregateExec) -> Self {
        let rows = aggregate.input();
        let exchange = match aggregate.mode() {
            AggregateMode::FinalPartitioned => rows.downcast_ref::<RepartitionExec>().filter(|rows| is_by_hash(rows)),
            _ => None,
        };
        let input = exchange.map_or(rows, |exchange| exchange.input());
        Self {
            input: Arc::clone(input),
            properties: Arc::clone(rows.properties()),
            is_dealt: exchange.is_some(),
            next: Mutex::default(),
        }
    }

    /// What says to which of how many partitions a row is dealt. None if it is in its partition already.
    fn dealt_by(&self) -> Option<(&[Arc<dyn PhysicalExpr>], usize)> {
        match &self.properties.partitioning {
            Partitioning::Hash(keys, partitions) if self.is_dealt => Some((keys.as_slice(), *partitions)),
            _ => None,
        }
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

/// Whether rows come to partitions by the hash of their keys, in any order.
fn is_by_hash(exchange: &RepartitionExec) -> bool {
    !exchange.preserve_order() && matches!(exchange.partitioning(), Partitioning::Hash(..))
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
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop() else { return internal_err!("a part is of an input") };
        let properties = Arc::clone(if self.is_dealt { &self.properties } else { input.properties() });
        Ok(Arc::new(Self { input, properties, is_dealt: self.is_dealt, next: Mutex::default() }))
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let next = locked(&self.next).remove(&partition);
        next.ok_or_else(|| internal_datafusion_err!("there is no part of partition {partition} to look at"))
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("left", &self.left).finish_non_exhaustive()
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
        match self.is_dealt {
            true => write!(f, "PartExec: dealt out by {}", self.properties.partitioning),
            false => f.write_str("PartExec"),
        }
    }
}
