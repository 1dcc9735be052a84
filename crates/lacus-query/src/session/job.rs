//! One query on its way through the engine's threads.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::scalar::ScalarValue;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;

use super::told::must_be_as_prepared;
use super::{filled, plan};
use crate::allowance::{Allowance, Deadline};
use crate::engine::Shared;
use crate::error::{SqlError, explain};
use crate::large_joins::physical_plan;
use crate::reuse::{Given, Question};
use crate::running::RunningPlan;
use crate::statement::Statement;

/// What a query needs.
pub(super) struct Job {
    pub(super) shared: Arc<Shared>,
    pub(super) state: SessionState,
    pub(super) statement: Statement,
    pub(super) parameters: Vec<ScalarValue>,
    pub(super) expected: Option<SchemaRef>,
    pub(super) allowance: Allowance,
    pub(super) deadline: Deadline,
}

/// How a query begins.
pub(super) enum Begun {
    /// Its plan runs.
    Running(Arc<dyn ExecutionPlan>),
    /// It was asked before.
    Given(Given),
}

/// Where its rows go.
type Batches = mpsc::Sender<Result<RecordBatch, SqlError>>;

impl Job {
    /// Plans the statement, tells `begin` of the plan, and sends its rows; or tells an earlier answer.
    pub(super) async fn run(self, begin: oneshot::Sender<Result<Begun, SqlError>>, send: Batches) {
        let (plan, question) = match timeout_at(self.deadline.at, self.begin()).await {
            Ok(Ok((Begun::Running(plan), question))) => (plan, question),
            Ok(begun) => return tell(begin, begun.map(|(begun, _)| begun)),
            Err(_) => return tell(begin, Err(self.deadline.passed())),
        };
        tell(begin, Ok(Begun::Running(Arc::clone(&plan))));
        let failure = match timeout_at(self.deadline.at, self.execute(plan, question, &send)).await {
            Ok(ended) => ended.err(),
            Err(_) => Some(self.deadline.passed()),
        };
        if let Some(error) = failure {
            // Nobody listens once the answer is dropped.
            let _gone = send.send(Err(error)).await;
        }
    }

    /// How it is answered.
    pub(super) async fn plan(&self) -> Result<Arc<dyn ExecutionPlan>, SqlError> {
        let plan = self.logical_plan().await?;
        physical_plan(&self.state, &plan).await.map_err(|error| self.explained(error))
    }

    /// An earlier answer; or the plan, and the question under which to keep its answer.
    async fn begin(&self) -> Result<(Begun, Option<Question>), SqlError> {
        let plan = self.logical_plan().await?;
        let question = Question::of(&plan, &self.statement, &self.state);
        if let Some(given) = question.as_ref().and_then(|question| self.shared.answers.find(question)) {
            self.must_have_columns(&given.schema)?;
            // An earlier answer reads nothing, but may have more rows than this user is allowed.
            self.allowance.must_have_rows(given.rows())?;
            return Ok((Begun::Given(given), None));
        }
        let plan = physical_plan(&self.state, &plan).await.map_err(|error| self.explained(error))?;
        self.must_have_columns(&plan.schema())?;
        Ok((Begun::Running(plan), question))
    }

    async fn logical_plan(&self) -> Result<LogicalPlan, SqlError> {
        let explained = |error| self.explained(error);
        let plan = plan(&self.state, &self.statement).await.map_err(explained)?;
        filled(&self.state, plan, &self.parameters).map_err(explained)?
    }

    /// A client decodes values with the types that it was told.
    fn must_have_columns(&self, schema: &SchemaRef) -> Result<(), SqlError> {
        must_be_as_prepared(self.expected.as_ref(), &self.statement.names.apply(schema))
    }

    fn explained(&self, error: DataFusionError) -> SqlError {
        explain(error, &self.statement.sql, &*self.shared)
    }

    async fn execute(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        question: Option<Question>,
        send: &Batches,
    ) -> Result<(), SqlError> {
        let explained = |error| self.explained(error);
        let mut growing = question.and_then(|question| self.shared.answers.gather(question, plan.schema()));
        let mut rows = RunningPlan::begin(plan, &self.state, &self.allowance).map_err(explained)?;
        while let Some(batch) = rows.next(explained).await? {
            growing = growing.and_then(|growing| growing.with(&batch));
            if batch.num_rows() > 0 && send.send(Ok(batch)).await.is_err() {
                return Ok(());
            }
        }
        if let Some(whole) = growing {
            self.shared.answers.keep(whole);
        }
        Ok(())
    }
}

fn tell<T>(begin: oneshot::Sender<T>, what: T) {
    // Nobody listens once the answer is dropped.
    let _gone = begin.send(what);
}
