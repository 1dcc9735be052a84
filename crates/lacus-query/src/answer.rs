//! The answer to one statement: Arrow batches as they come, and what they cost.
//!
//! The work runs on the engine's own threads and stays at most [`BATCHES_AHEAD`] batches ahead of the reader. It stops
//! when the answer is dropped, and at the deadline of the query.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::physical_plan::ExecutionPlan;
use futures::{Stream, StreamExt};
use lacus_core::Kind;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep_until};

use crate::allowance::Deadline;
use crate::cost::{Scans, add_scanned};
use crate::cursors::Fetched;
use crate::error::SqlError;

/// Batches that wait for the reader.
pub(crate) const BATCHES_AHEAD: usize = 2;

/// What an answer cost so far; the whole cost once the stream has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueryStats {
    /// Rows in the answer.
    pub rows: u64,
    /// Bytes read from files (compressed) and from the hot tail.
    pub bytes_scanned: u64,
    /// Files that something was read of.
    pub files_scanned: u64,
    /// Files of which nothing was read: their partitions or bounds show that no row of the answer is in them.
    pub files_skipped: u64,
    /// Row groups that were passed over in the files that were read.
    pub row_groups_skipped: u64,
    /// Time until the plan was there.
    pub planning: Duration,
    /// Time since the statement arrived.
    pub elapsed: Duration,
}

/// The answer to one statement: a stream of batches, all in [`schema`](Self::schema).
pub struct Answer {
    command: &'static str,
    affected: Option<u64>,
    schema: SchemaRef,
    rows: Rows,
    count: u64,
    started: Instant,
    elapsed: Option<Duration>,
}

enum Rows {
    /// They are here.
    Ready(std::vec::IntoIter<RecordBatch>),
    /// They come from a plan that runs.
    Running(Running),
    /// They come from a cursor.
    Fetched(Fetched),
}

/// A plan that runs in a task; dropping it stops the task.
pub(crate) struct Running {
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    /// What its scans found to read.
    pub(crate) scans: Arc<Scans>,
    pub(crate) planning: Duration,
    pub(crate) batches: mpsc::Receiver<Result<RecordBatch, SqlError>>,
    pub(crate) task: StopOnDrop,
    /// The task also stops by itself, but only where its operators yield, which can be much later.
    pub(crate) end: End,
}

/// When a plan must have ended.
pub(crate) struct End {
    deadline: Deadline,
    sleep: Pin<Box<Sleep>>,
}

impl End {
    pub(crate) fn at(deadline: Deadline) -> Self {
        Self { sleep: Box::pin(sleep_until(deadline.at)), deadline }
    }
}

/// A task that ends with its owner.
pub(crate) struct StopOnDrop(pub(crate) JoinHandle<()>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Answer {
    /// The answer to a statement that returns no rows, such as `SET`.
    pub(crate) fn done(command: &'static str) -> Self {
        Self::ready(command, Arc::new(Schema::empty()), Vec::new())
    }

    pub(crate) fn ready(command: &'static str, schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        let rows = Rows::Ready(batches.into_iter());
        Self { command, affected: None, schema, rows, count: 0, started: Instant::now(), elapsed: None }
    }

    /// The answer to a statement that wrote or removed this many rows.
    pub(crate) fn wrote(command: &'static str, rows: u64) -> Self {
        Self { affected: Some(rows), ..Self::done(command) }
    }

    /// The same, with the rows of `RETURNING`.
    pub(crate) fn returned(command: &'static str, rows: u64, schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { affected: Some(rows), ..Self::ready(command, schema, batches) }
    }

    /// The answer to `UNLOAD`: the files, and how many rows they have in all.
    pub(crate) fn unloaded(schema: SchemaRef, files: Vec<RecordBatch>, rows: u64) -> Self {
        Self { affected: Some(rows), ..Self::ready("UNLOAD", schema, files) }
    }

    /// The answer of a plan that runs, with the columns named as in `schema`.
    pub(crate) fn running(command: &'static str, schema: SchemaRef, started: Instant, running: Running) -> Self {
        Self { command, affected: None, schema, rows: Rows::Running(running), count: 0, started, elapsed: None }
    }

    /// An answer that was given before.
    pub(crate) fn given(command: &'static str, schema: SchemaRef, started: Instant, batches: Vec<RecordBatch>) -> Self {
        Self { started, ..Self::ready(command, schema, batches) }
    }

    /// Rows of a cursor.
    pub(crate) fn fetched(command: &'static str, schema: SchemaRef, rows: Fetched) -> Self {
        let rows = Rows::Fetched(rows);
        Self { command, affected: None, schema, rows, count: 0, started: Instant::now(), elapsed: None }
    }

    /// The same, timed from when its statement came: one that writes has done its work before there is an answer.
    pub(crate) fn since(self, started: Instant) -> Self {
        Self { started, ..self }
    }

    /// What was done, in Postgres' words: `SELECT`, `EXPLAIN`, `SHOW`, `SET`, `BEGIN`, `INSERT` …
    #[must_use]
    pub fn command(&self) -> &'static str {
        self.command
    }

    /// How many rows it inserted, changed or deleted, if it is a statement that does.
    #[must_use]
    pub fn affected(&self) -> Option<u64> {
        self.affected
    }

    /// Whether it is a statement that returns rows, though there may be none.
    #[must_use]
    pub fn returns_rows(&self) -> bool {
        match self.command {
            "SELECT" | "SHOW" | "EXPLAIN" | "FETCH" | "UNLOAD" => true,
            // To the client, not from files.
            "COPY" => self.affected.is_none(),
            // With RETURNING.
            "INSERT" | "UPDATE" | "DELETE" => !self.schema.fields().is_empty(),
            _ => false,
        }
    }

    /// The columns. None for a statement that returns no rows.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What it cost so far.
    #[must_use]
    pub fn stats(&self) -> QueryStats {
        let mut stats = QueryStats { rows: self.count, ..QueryStats::default() };
        stats.elapsed = self.elapsed.unwrap_or_else(|| self.started.elapsed());
        if let Rows::Running(running) = &self.rows {
            add_scanned(&running.plan, &mut stats);
            stats.files_skipped = running.scans.files_skipped();
            stats.planning = running.planning;
        }
        stats
    }

    /// The batch with the names of the answer's columns. Its types are its own: the engine is not exact about what may
    /// be null.
    fn named(&self, batch: &RecordBatch) -> Result<RecordBatch, SqlError> {
        let have = batch.schema();
        let fields = have.fields().iter().zip(self.schema.fields());
        let fields: Vec<Field> =
            fields.map(|(field, named)| field.as_ref().clone().with_name(named.name()).with_nullable(true)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), batch.columns().to_vec(), &options).map_err(
            |error| SqlError::new(Kind::Internal, "XX000", "the rows are not what was planned").with_source(error),
        )
    }

    /// Records that rows were taken which did not reach the reader: the cursor they came from can't go on.
    pub fn fail(&self) {
        if let Rows::Fetched(rows) = &self.rows {
            rows.fail();
        }
    }

    /// All batches at once: for answers known to be small.
    ///
    /// # Errors
    /// Why the query failed.
    pub async fn read_all(&mut self) -> Result<Vec<RecordBatch>, SqlError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

impl Stream for Answer {
    type Item = Result<RecordBatch, SqlError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.elapsed.is_some() {
            return Poll::Ready(None);
        }
        let next = match &mut self.rows {
            Rows::Ready(batches) => batches.next().map(Ok),
            Rows::Running(running) => ready!(running.next(context)),
            Rows::Fetched(rows) => ready!(rows.poll(context)),
        };
        let next = next.map(|batch| batch.and_then(|batch| self.named(&batch)));
        match &next {
            Some(Ok(batch)) => self.count += batch.num_rows() as u64,
            Some(Err(_)) | None => self.elapsed = Some(self.started.elapsed()),
        }
        if matches!(next, Some(Err(_))) {
            self.fail();
        }
        Poll::Ready(next)
    }
}

impl Running {
    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch, SqlError>>> {
        match self.batches.poll_recv(context) {
            Poll::Ready(Some(batch)) => Poll::Ready(Some(batch)),
            Poll::Ready(None) => self.ended(context),
            Poll::Pending => self.end.sleep.as_mut().poll(context).map(|()| {
                self.task.0.abort();
                Some(Err(self.end.deadline.passed()))
            }),
        }
    }

    /// Looks how the task ended: a panic must not look like the end of the rows.
    fn ended(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch, SqlError>>> {
        Pin::new(&mut self.task.0).poll(context).map(|ended| ended.err().map(|error| Err(crashed(error))))
    }
}

/// The error of a query whose task did not end by itself.
pub(crate) fn crashed(error: tokio::task::JoinError) -> SqlError {
    if error.is_cancelled() {
        return SqlError::cancelled("the query was stopped: lacus is shutting down");
    }
    SqlError::new(Kind::Internal, "XX000", "the query ended unexpectedly").with_source(error)
}
