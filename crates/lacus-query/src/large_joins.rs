//! Joins that don't fit in memory.
//!
//! A hash join keeps one side in memory and can't go to disk (DataFusion 54.1); a sort-merge join can, and takes longer. So
//! a question begins with hash joins. If memory runs out before the first row is there, it begins anew with sort-merge joins.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DataFusionError, JoinType, Result, internal_err};
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::joins::{HashJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, execute_stream,
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::time::sleep;

use crate::answer::QueryStats;
use crate::cost::{Scans, add_scanned};
use crate::leaves;

/// How long to wait for stopped operators to give their memory back; other queries may take it, too.
const ROOM_TIME_MAX: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Plans a query twice: with hash joins, and with joins that can go to disk.
///
/// # Errors
/// Why it can't be.
pub(crate) async fn physical_plan(state: &SessionState, question: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = leaves::physical_plan(state, question).await?;
    if !plan.exists(|plan| Ok(plan.is::<HashJoinExec>()))? {
        return Ok(plan);
    }
    Ok(Arc::new(OrSorted::new(plan, question.clone(), state.clone())))
}

/// A plan with hash joins that falls back to one with sort-merge joins.
#[derive(Debug)]
pub(crate) struct OrSorted {
    running: Arc<Running>,
    question: Arc<LogicalPlan>,
    state: Arc<SessionState>,
    properties: Arc<PlanProperties>,
}

/// The running plan. It is not a child: operators keep rows and tasks as long as their plan exists, and the first plan has to
/// be gone before the second one begins.
#[derive(Debug)]
struct Running {
    plan: Mutex<Arc<dyn ExecutionPlan>>,
    /// What the plan before it has read.
    bytes_before: AtomicU64,
}

impl OrSorted {
    fn new(hashed: Arc<dyn ExecutionPlan>, question: LogicalPlan, state: SessionState) -> Self {
        let rows = EquivalenceProperties::new(hashed.schema());
        let of_plan = hashed.properties();
        let (emission, boundedness) = (of_plan.emission_type, of_plan.boundedness);
        let properties = PlanProperties::new(rows, Partitioning::UnknownPartitioning(1), emission, boundedness);
        let running = Running { plan: Mutex::new(hashed), bytes_before: AtomicU64::new(0) };
        Self { running: running.into(), question: question.into(), state: state.into(), properties: properties.into() }
    }

    /// The plan that runs.
    pub(crate) fn running(&self) -> Arc<dyn ExecutionPlan> {
        self.running.plan()
    }

    /// The bytes that were read for a plan that ran out of memory.
    pub(crate) fn bytes_before(&self) -> u64 {
        self.running.bytes_before.load(Ordering::Relaxed)
    }
}

impl Running {
    fn plan(&self) -> Arc<dyn ExecutionPlan> {
        Arc::clone(&self.locked())
    }

    /// Replaces the plan that ran out of memory.
    fn replace(&self, plan: Arc<dyn ExecutionPlan>) {
        let mut read = QueryStats::default();
        add_scanned(&self.plan(), &mut read);
        self.bytes_before.store(read.bytes_scanned, Ordering::Relaxed);
        *self.locked() = plan;
    }

    fn locked(&self) -> MutexGuard<'_, Arc<dyn ExecutionPlan>> {
        // Every change is one assignment.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ExecutionPlan for OrSorted {
    fn name(&self) -> &str {
        "OrSorted"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("there is one partition, and no {partition}");
        }
        let mut rows = execute_stream(self.running(), Arc::clone(&context))?;
        let schema = self.schema();
        let (question, state) = (Arc::clone(&self.question), Arc::clone(&self.state));
        let (running, same_schema) = (Arc::clone(&self.running), Arc::clone(&schema));
        let begun = async move {
            let first = loop {
                match rows.next().await {
                    Some(Ok(batch)) if batch.num_rows() == 0 => {}
                    first => break first,
                }
            };
            let error = match first {
                Some(Err(error)) if is_out_of_memory(&error) => error,
                first => return Ok(with_schema(same_schema, stream::iter(first).chain(rows))),
            };
            drop(rows);
            let plan = sorted_plan(&state, &question).await?;
            if plan.exists(|plan| Ok(fails_sorted(plan)))? {
                return Err(error);
            }
            running.replace(Arc::clone(&plan));
            until_there_is_room(&context).await;
            execute_stream(plan, context)
        };
        Ok(with_schema(schema, stream::once(begun).try_flatten()))
    }
}

impl DisplayAs for OrSorted {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OrSorted")
    }
}

async fn sorted_plan(state: &SessionState, question: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(scans) = state.config().get_extension::<Scans>() {
        scans.forget();
    }
    let mut state = state.clone();
    state.config_mut().options_mut().optimizer.prefer_hash_join = false;
    leaves::physical_plan(&state, question).await
}

/// An outer join with an extra condition fails if a column of the optional side can't be null (DataFusion 54.1).
fn fails_sorted(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let join = plan.downcast_ref::<SortMergeJoinExec>();
    let is_outer = |kind| matches!(kind, JoinType::Left | JoinType::Right | JoinType::Full);
    join.is_some_and(|join| is_outer(join.join_type()) && join.filter().is_some())
}

/// Waits until stopped operators have given their memory back, which they do when they are polled next.
async fn until_there_is_room(context: &TaskContext) {
    let pool = context.memory_pool();
    let MemoryLimit::Finite(size) = pool.memory_limit() else { return };
    let until = Instant::now() + ROOM_TIME_MAX;
    while pool.reserved() > size / 2 && Instant::now() < until {
        sleep(LOOK_EVERY).await;
    }
}

/// Whether an error says that there is no more memory.
pub(crate) fn is_out_of_memory(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

fn with_schema(
    schema: SchemaRef,
    rows: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}
