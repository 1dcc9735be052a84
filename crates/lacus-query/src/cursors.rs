//! Cursors: answers that a client reads piece by piece, `DECLARE`, `FETCH`, `MOVE`, `CLOSE`; `COPY (…) TO STDOUT`; and what
//! `PREPARE`, `EXECUTE` and `DEALLOCATE` ask of whoever keeps prepared statements.
//!
//! A cursor is a query that runs as far ahead as any answer, and goes on when somebody fetches. It only goes forward, and ends with
//! its transaction unless it is declared `WITH HOLD`; the time limit of queries counts from its beginning.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use futures::{Stream, StreamExt, stream};
use lacus_core::Kind;

use crate::answer::Answer;
use crate::declared::Declared;
use crate::error::SqlError;
use crate::statement::Statement;

mod parse;

pub(crate) use self::parse::{Read, parse};

/// Cursors that a session may have at once.
const CURSORS_MAX: usize = 64;

/// The longest name of a cursor, a savepoint, a prepared statement or a portal, in bytes.
const NAME_BYTES_MAX: usize = 1024;

/// Refuses a name of what a session keeps that is too long: it would only take memory.
///
/// # Errors
/// 42622.
pub fn must_be_short(name: &str) -> Result<(), SqlError> {
    if name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(SqlError::invalid("42622", format!("the name is too long: it has more than {NAME_BYTES_MAX} bytes")))
}

/// A statement about a cursor, or around a query.
#[derive(Debug, Clone)]
pub(crate) enum Around {
    /// `DECLARE name CURSOR FOR …`.
    Declare { name: String, hold: bool, query: Box<Statement> },
    /// `FETCH`, `MOVE`: this many rows, or all.
    Fetch {
        name: String,
        rows: Option<u64>,
        /// Whether they are only passed over.
        is_move: bool,
    },
    /// `CLOSE name`, `CLOSE ALL`.
    Close(Option<String>),
    /// `COPY (…) TO STDOUT`.
    Copy { format: CopyFormat, query: Box<Statement> },
    /// `PREPARE name AS …`: whoever keeps prepared statements does it.
    Prepare(Preparation),
    /// `EXECUTE name (…)`: the same.
    Execute(Execution),
    /// `DEALLOCATE name`, `DEALLOCATE ALL`: the same.
    Deallocate(Option<String>),
}

/// `PREPARE name (types) AS statement`.
#[derive(Debug, Clone)]
pub struct Preparation {
    /// What it is to be called.
    pub name: String,
    /// A query for one null of each type declared for `$1`, `$2` …; none if none is declared.
    pub types: Option<Box<Statement>>,
    /// The statement.
    pub statement: Box<Statement>,
}

impl Preparation {
    /// The types that are declared for `$1`, `$2` ….
    #[must_use]
    pub fn declared(&self) -> Declared {
        let question = self.types.as_ref().and_then(|types| types.question());
        question.map(Declared::by_question).unwrap_or_default()
    }
}

/// `EXECUTE name (values)`.
#[derive(Debug, Clone)]
pub struct Execution {
    /// The prepared statement.
    pub name: String,
    /// A query for one row, the values of `$1`, `$2` …; none if there are no values.
    pub values: Option<Box<Statement>>,
}

/// How rows are written by `COPY … TO STDOUT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFormat {
    /// Text, CSV or binary.
    pub kind: CopyKind,
    /// Whether the first line has the names of the columns.
    pub header: bool,
    /// Between values.
    pub delimiter: char,
    /// What stands for null.
    pub null: String,
    /// Around values of CSV that need it.
    pub quote: char,
    /// The character before a quote inside of such a value.
    pub escape: char,
    /// Whether all values except null are quoted.
    pub force_quote: bool,
}

/// The formats of `COPY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyKind {
    /// Lines of values with tabs between.
    Text,
    /// Lines as spreadsheets have them.
    Csv,
    /// Postgres' own.
    Binary,
}

impl Around {
    pub(crate) fn command(&self) -> &'static str {
        match self {
            Self::Declare { .. } => "DECLARE CURSOR",
            Self::Fetch { is_move: false, .. } => "FETCH",
            Self::Fetch { is_move: true, .. } => "MOVE",
            Self::Close(Some(_)) => "CLOSE CURSOR",
            Self::Close(None) => "CLOSE CURSOR ALL",
            Self::Copy { .. } => "COPY",
            Self::Prepare(_) => "PREPARE",
            Self::Execute(_) => "EXECUTE",
            Self::Deallocate(Some(_)) => "DEALLOCATE",
            Self::Deallocate(None) => "DEALLOCATE ALL",
        }
    }

    /// The query inside.
    pub(crate) fn query(&self) -> Option<&Statement> {
        match self {
            Self::Declare { query, .. } | Self::Copy { query, .. } => Some(query),
            _ => None,
        }
    }
}

/// The cursors of a session.
#[derive(Default)]
pub(crate) struct Cursors(Mutex<BTreeMap<String, Arc<Cursor>>>);

struct Cursor {
    schema: SchemaRef,
    hold: bool,
    /// Whether the transaction that declared it has not ended.
    is_new: AtomicBool,
    /// Whether rows of it are lost: what comes next must not be taken for what should have followed.
    has_failed: AtomicBool,
    rows: tokio::sync::Mutex<Rows>,
}

struct Rows {
    answer: Answer,
    /// What was read and not fetched.
    left: Option<RecordBatch>,
}

impl Cursors {
    /// Keeps an answer as a cursor, which is new until the transaction ends if it `is_new`.
    pub(crate) fn declare(&self, name: &str, hold: bool, is_new: bool, answer: Answer) -> Result<(), SqlError> {
        let mut cursors = self.all();
        if cursors.contains_key(name) {
            return Err(SqlError::invalid("42P03", format!("cursor \"{name}\" already exists")));
        }
        if cursors.len() >= CURSORS_MAX {
            let message = format!("this session has {CURSORS_MAX} cursors");
            return Err(SqlError::new(Kind::Limited, "53400", message).with_hint("close some"));
        }
        let schema = Arc::clone(answer.schema());
        let rows = tokio::sync::Mutex::new(Rows { answer, left: None });
        let (is_new, has_failed) = (AtomicBool::new(is_new), AtomicBool::new(false));
        cursors.insert(name.to_owned(), Arc::new(Cursor { schema, hold, is_new, has_failed, rows }));
        Ok(())
    }

    /// The columns of a cursor.
    pub(crate) fn schema(&self, name: &str) -> Result<SchemaRef, SqlError> {
        Ok(Arc::clone(&self.named(name)?.schema))
    }

    /// The next rows of a cursor: this many, or all.
    pub(crate) fn fetch(&self, name: &str, rows: Option<u64>) -> Result<Answer, SqlError> {
        let cursor = self.usable(name)?;
        let schema = Arc::clone(&cursor.schema);
        let rows = Box::pin(next_rows(Arc::clone(&cursor), rows));
        Ok(Answer::fetched("FETCH", schema, Fetched { cursor, rows }))
    }

    /// Skips the next rows of a cursor.
    pub(crate) async fn pass(&self, name: &str, rows: Option<u64>) -> Result<Answer, SqlError> {
        let mut passed = 0;
        let mut batches = Box::pin(next_rows(self.usable(name)?, rows));
        while let Some(batch) = batches.next().await {
            passed += batch?.num_rows() as u64;
        }
        Ok(Answer::wrote("MOVE", passed))
    }

    /// Ends a cursor, or all.
    pub(crate) fn close(&self, name: Option<&str>) -> Result<(), SqlError> {
        match name {
            None => self.all().clear(),
            Some(name) => drop(self.all().remove(name).ok_or_else(|| missing(name))?),
        }
        Ok(())
    }

    /// Closes the cursors that end with their transaction, and keeps those `WITH HOLD`.
    pub(crate) fn commit(&self) {
        let mut cursors = self.all();
        cursors.retain(|_, cursor| cursor.hold);
        cursors.values().for_each(|cursor| cursor.is_new.store(false, Ordering::Relaxed));
    }

    /// Closes all cursors that the transaction declared.
    pub(crate) fn roll_back(&self) {
        self.all().retain(|_, cursor| cursor.hold && !cursor.is_new.load(Ordering::Relaxed));
    }

    /// A cursor of which no rows are lost.
    fn usable(&self, name: &str) -> Result<Arc<Cursor>, SqlError> {
        let cursor = self.named(name)?;
        if cursor.has_failed() { Err(broken()) } else { Ok(cursor) }
    }

    fn named(&self, name: &str) -> Result<Arc<Cursor>, SqlError> {
        self.all().get(name).cloned().ok_or_else(|| missing(name))
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Cursor>>> {
        // Every change is one call: a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing(name: &str) -> SqlError {
    SqlError::invalid("34000", format!("cursor \"{name}\" does not exist"))
        .with_hint("a cursor ends with its transaction, unless it is declared WITH HOLD")
}

/// What is said of a cursor after it failed.
fn broken() -> SqlError {
    SqlError::invalid("55000", "the cursor failed: reading it was cancelled or met an error")
        .with_hint("CLOSE it and DECLARE it again")
}

impl Cursor {
    /// Rows of it are lost.
    fn fail(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
    }

    fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }
}

/// Rows of a cursor as they come.
fn next_rows(cursor: Arc<Cursor>, rows: Option<u64>) -> impl Stream<Item = Result<RecordBatch, SqlError>> + Send {
    let wanted = rows.unwrap_or(u64::MAX);
    stream::unfold(Fetching { cursor, wanted }, |mut fetching| async move {
        let batch = fetching.next().await?;
        Some((batch, fetching))
    })
}

/// A cursor that is being read. If this is dropped before all wanted rows were read, the cursor has failed.
struct Fetching {
    cursor: Arc<Cursor>,
    /// So many more rows, unless it ends.
    wanted: u64,
}

impl Fetching {
    async fn next(&mut self) -> Option<Result<RecordBatch, SqlError>> {
        if self.wanted == 0 {
            return None;
        }
        let mut rows = self.cursor.rows.lock().await;
        if self.cursor.has_failed() {
            self.wanted = 0;
            return Some(Err(broken()));
        }
        let next = match rows.left.take() {
            Some(batch) => Some(Ok(batch)),
            None => rows.answer.next().await,
        };
        let batch = match next {
            Some(Ok(batch)) => batch,
            Some(Err(error)) => {
                self.cursor.fail();
                self.wanted = 0;
                return Some(Err(error));
            }
            None => {
                self.wanted = 0;
                return None;
            }
        };
        let count = batch.num_rows().min(usize::try_from(self.wanted).unwrap_or(usize::MAX));
        if count < batch.num_rows() {
            rows.left = Some(batch.slice(count, batch.num_rows() - count));
        }
        self.wanted -= count as u64;
        Some(Ok(batch.slice(0, count)))
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        if self.wanted > 0 {
            self.cursor.fail();
        }
    }
}

/// Rows that are fetched.
pub(crate) struct Fetched {
    cursor: Arc<Cursor>,
    rows: Pin<Box<dyn Stream<Item = Result<RecordBatch, SqlError>> + Send>>,
}

impl Fetched {
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch, SqlError>>> {
        self.rows.as_mut().poll_next(context)
    }

    /// What was read got lost.
    pub(crate) fn fail(&self) {
        self.cursor.fail();
    }
}
