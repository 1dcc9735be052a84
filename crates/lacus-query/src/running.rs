//! The rows of a plan as they come. Whatever a statement does with them, its plan runs here, within what it may take.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::physical_plan::streaming::StreamingTableExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use tokio::time::timeout;

use crate::allowance::Allowance;
use crate::answer::QueryStats;
use crate::cost::{LOOK_EVERY, add_scanned};
use crate::error::SqlError;
use crate::large_joins::OrSorted;
use crate::memory::{StatementMemory, fit_sorts};
use crate::pieces::rows_at_once;

/// A plan that runs.
pub(crate) struct RunningPlan {
    plan: Arc<dyn ExecutionPlan>,
    stream: SendableRecordBatchStream,
    allowance: Allowance,
    /// Rows that came.
    rows: u64,
    /// Those that came and wait until others are taken.
    waiting: Option<RecordBatch>,
}

impl RunningPlan {
    /// Begins to run a plan.
    ///
    /// # Errors
    /// Why it can't.
    pub(crate) fn begin(
        plan: Arc<dyn ExecutionPlan>,
        state: &SessionState,
        allowance: &Allowance,
    ) -> Result<Self, DataFusionError> {
        let context = context_of(&plan, state)?;
        let context = match allowance.memory() {
            Some(bytes) => with_memory(context, bytes),
            None => context,
        };
        let stream = execute_stream(Arc::clone(&plan), Arc::new(context))?;
        Ok(Self { plan, stream, allowance: allowance.clone(), rows: 0, waiting: None })
    }

    /// The next rows, no more than can be held; none after the last. Those that may be there come before the refusal of what is
    /// too many.
    ///
    /// # Errors
    /// `53400` for too many rows or bytes, `53200` if the statement has no more memory, `54000` for a row that is too large; or
    /// what `explained` says.
    pub(crate) async fn next(
        &mut self,
        explained: impl Fn(DataFusionError) -> SqlError,
    ) -> Result<Option<RecordBatch>, SqlError> {
        let batch = match self.waiting.take() {
            Some(batch) => batch,
            None => match self.next_batch(explained).await? {
                Some(batch) => batch,
                None => return Ok(None),
            },
        };
        let count = rows_at_once(&batch)?;
        if count == batch.num_rows() {
            return Ok(Some(batch));
        }
        self.waiting = Some(batch.slice(count, batch.num_rows() - count));
        Ok(Some(batch.slice(0, count)))
    }

    async fn next_batch(
        &mut self,
        explained: impl Fn(DataFusionError) -> SqlError,
    ) -> Result<Option<RecordBatch>, SqlError> {
        self.allowance.must_have_rows(self.rows)?;
        loop {
            // While nothing comes, the limits are checked.
            let next = timeout(LOOK_EVERY, self.stream.next()).await;
            // What was read last counts, too.
            self.must_have_read()?;
            match next {
                Err(_) => {}
                Ok(None) => return Ok(None),
                Ok(Some(Ok(batch))) => return self.within(batch).map(Some),
                Ok(Some(Err(error))) => {
                    return Err(match self.allowance.memory_refused(&error) {
                        Some(refused) => refused.with_source(error),
                        None => explained(error),
                    });
                }
            }
        }
    }

    fn must_have_read(&self) -> Result<(), SqlError> {
        if !self.allowance.limits_scan() {
            return Ok(());
        }
        let mut stats = QueryStats::default();
        add_scanned(&self.plan, &mut stats);
        self.allowance.must_have_read(stats.bytes_scanned)
    }

    /// The rows of a batch that are within the limit.
    fn within(&mut self, batch: RecordBatch) -> Result<RecordBatch, SqlError> {
        let left = self.allowance.rows_left(self.rows);
        self.rows += batch.num_rows() as u64;
        if left == 0 {
            self.allowance.must_have_rows(self.rows)?;
        }
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(batch.num_rows());
        Ok(if count < batch.num_rows() { batch.slice(0, count) } else { batch })
    }
}

/// The context to run a plan in. Plans have their functions themselves, and only `information_schema.routines` asks for all that
/// there are: to copy them takes longer than to run a small question.
fn context_of(plan: &Arc<dyn ExecutionPlan>, state: &SessionState) -> Result<TaskContext, DataFusionError> {
    // The plan inside of the latter is not its child.
    if plan.exists(|plan| Ok(plan.is::<StreamingTableExec>() || plan.is::<OrSorted>()))? {
        return Ok(TaskContext::from(state));
    }
    Ok(TaskContext::new(
        None,
        state.session_id().to_owned(),
        state.config().clone(),
        HashMap::new(),
        HashMap::new(),
        HashMap::new(),
        HashMap::new(),
        Arc::clone(state.runtime_env()),
    ))
}

/// The context to run a plan in, with no more memory than this.
fn with_memory(context: TaskContext, bytes: usize) -> TaskContext {
    let mut config = context.session_config().clone();
    fit_sorts(&mut config, bytes);
    let mut runtime = RuntimeEnv::clone(&context.runtime_env());
    runtime.memory_pool = Arc::new(StatementMemory::new(bytes, Arc::clone(&runtime.memory_pool)));
    context.with_session_config(config).with_runtime(Arc::new(runtime))
}
