//! One query on its way through the engine's threads.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SessionState;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{timeout, timeout_at};

use super::{must_be_as_prepared, plan};
use crate::answer::took_too_long;
use crate::cost::{LOOK_EVERY, must_be_within};
use crate::engine::Shared;
use crate::error::{SqlError, explain};
use crate::leaves::physical_plan;
use crate::parameters;
use crate::statement::Statement;

/// What a query needs.
pub(super) struct Job {
    pub(super) shared: Arc<Shared>,
    pub(super) state: SessionState,
    pub(super) statement: Statement,
    pub(super) parameters: Vec<ScalarValue>,
    pub(super) expected: Option<SchemaRef>,
    pub(super) deadline: tokio::time::Instant,
}

/// Where its rows go.
type Batches = mpsc::Sender<Result<RecordBatch, SqlError>>;

impl Job {
    /// Plans it, tells `begin` of the plan, and sends its rows.
    pub(super) async fn run(self, begin: oneshot::Sender<Result<Arc<dyn ExecutionPlan>, SqlError>>, send: Batches) {
        let plan = match timeout_at(self.deadline, self.plan()).await {
            Ok(Ok(plan)) => plan,
            Ok(Err(error)) => return tell(begin, Err(error)),
            Err(_) => return tell(begin, Err(took_too_long())),
        };
        tell(begin, Ok(Arc::clone(&plan)));
        let failure = match timeout_at(self.deadline, self.execute(plan, &send)).await {
            Ok(ended) => ended.err(),
            Err(_) => Some(took_too_long()),
        };
        if let Some(error) = failure {
            // Nobody listens once the answer is dropped.
            let _gone = send.send(Err(error)).await;
        }
    }

    /// How it is answered.
    pub(super) async fn plan(&self) -> Result<Arc<dyn ExecutionPlan>, SqlError> {
        let explained = |error| explain(error, &self.statement.sql, &*self.shared);
        let plan = plan(&self.state, &self.statement).await.map_err(explained)?;
        must_be_as_prepared(self.expected.as_ref(), &self.statement.names.apply(plan.schema().inner()))?;
        let plan = parameters::fill(plan, &self.parameters).map_err(explained)??;
        physical_plan(&self.state, &plan).await.map_err(explained)
    }

    async fn execute(&self, plan: Arc<dyn ExecutionPlan>, send: &Batches) -> Result<(), SqlError> {
        let explained = |error| explain(error, &self.statement.sql, &*self.shared);
        let most = self.shared.bytes_scanned_max;
        let mut rows = execute_stream(Arc::clone(&plan), self.state.task_ctx()).map_err(explained)?;
        loop {
            // A query that answers late is looked at meanwhile.
            let Ok(next) = timeout(LOOK_EVERY, rows.next()).await else {
                must_be_within(&plan, most)?;
                continue;
            };
            let Some(batch) = next.transpose().map_err(explained)? else {
                // What was read last counts, too.
                return must_be_within(&plan, most);
            };
            must_be_within(&plan, most)?;
            if batch.num_rows() > 0 && send.send(Ok(batch)).await.is_err() {
                return Ok(());
            }
        }
    }
}

fn tell<T>(begin: oneshot::Sender<T>, what: T) {
    // Nobody listens once the answer is dropped.
    let _gone = begin.send(what);
}
