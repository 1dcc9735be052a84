//! One connection: statements in, rows out.

mod extended;
mod named;
mod sent;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use datafusion::scalar::ScalarValue;
use futures::{Sink, SinkExt, Stream, StreamExt, stream};
use lacus_flow::Deliveries;
use lacus_query::{Answer, CopyFormat, CopyIn, Dialect, Engine, Prepared, Session, SqlError, Statement};
use pgwire::api::cancel::CancelHandler;
use pgwire::api::portal::Format;
use pgwire::api::query::{SimpleQueryHandler, send_execution_response, send_query_response, send_ready_for_query};
use pgwire::api::results::{FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::stmt::StoredStatement;
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore, DEFAULT_NAME, PgWireConnectionState};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::data::DataRow;
use pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use pgwire::messages::simplequery::Query;
use pgwire::messages::startup::ParameterStatus;
use tokio_util::sync::CancellationToken;

use crate::CATCH_UP_MAX;
use crate::postgres::cancel::{Cancels, Running, RunningQuery};
use crate::postgres::columns::Columns;
use crate::postgres::copying;
use crate::postgres::decoding::decode;
use crate::postgres::errors::{aborted, wire};
use crate::postgres::places::Places;
use crate::postgres::startup::REPORTED;

use self::named::no_statement;

pub(crate) use self::extended::Kept;

/// One connection and its session.
#[derive(Clone)]
pub(crate) struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    session: Session,
    deliveries: Deliveries,
    running: Arc<Running>,
    cancels: Arc<Cancels>,
    /// Places for sessions.
    places: Arc<Places>,
    /// The variables that were reported to the client, with their reported values.
    told: Mutex<HashMap<String, String>>,
    /// The named prepared statements, of the protocol and of `PREPARE`.
    statements: Mutex<BTreeMap<String, Arc<StoredStatement<Kept>>>>,
    /// The bound portals, each with the token that stops it.
    portals: Mutex<HashMap<String, CancellationToken>>,
    /// What the client sends rows for.
    sent: Mutex<Option<CopyIn>>,
}

impl Connection {
    pub(crate) fn new(engine: &Engine, deliveries: Deliveries, cancels: Arc<Cancels>, places: Arc<Places>) -> Self {
        let inner = Inner {
            session: engine.session(Dialect::Lacus),
            deliveries,
            running: Arc::new(Running::new()),
            cancels,
            places,
            told: Mutex::default(),
            statements: Mutex::default(),
            portals: Mutex::default(),
            sent: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn session(&self) -> &Session {
        &self.inner.session
    }

    pub(crate) fn running(&self) -> Arc<Running> {
        Arc::clone(&self.inner.running)
    }

    pub(crate) fn cancels(&self) -> &Cancels {
        &self.inner.cancels
    }

    pub(crate) fn places(&self) -> &Places {
        &self.inner.places
    }

    /// The variables to report to the client, because they changed.
    pub(crate) fn newly_reported(&self) -> HashMap<String, String> {
        let mut told = self.inner.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut news = HashMap::new();
        for name in REPORTED {
            let value = self.session().variable(name).unwrap_or_default();
            if told.get(name) != Some(&value) {
                told.insert(name.to_owned(), value.clone());
                news.insert(name.to_owned(), value);
            }
        }
        news
    }

    /// Waits for what was acknowledged to the streams that a statement reads.
    async fn catch_up(&self, statement: &Statement) {
        let streams = self.session().streams_of(statement);
        self.inner.deliveries.catch_up_within(CATCH_UP_MAX, streams.as_ref()).await;
    }

    /// Runs a statement, or the one that it executes, in a transaction with this status, until its first rows can be sent;
    /// stops when the client cancels.
    async fn run(&self, status: TransactionStatus, what: What<'_>, format: &Format) -> Result<Reply, SqlError> {
        let Some(execution) = what.statement().executes() else { return self.run_itself(status, what, format).await };
        if status == TransactionStatus::Error {
            return Err(aborted());
        }
        let target = self.target(&execution.name)?;
        let query = self.inner.running.begin();
        // Before the statement begins: once one that writes has begun, it is waited for.
        let values = tokio::select! {
            biased;
            () = query.cancelled.cancelled() => return Err(cancelled()),
            values = self.values(&target, execution) => values?,
        };
        self.run_itself(status, What::Prepared(&target.prepared, values), format).await
    }

    async fn run_itself(&self, status: TransactionStatus, what: What<'_>, format: &Format) -> Result<Reply, SqlError> {
        let statement = what.statement();
        if status == TransactionStatus::Error {
            if statement.ends_transaction() {
                self.session().roll_back();
                return Ok(Reply::Done(Tag::new("ROLLBACK")));
            }
            if !statement.mends_transaction() {
                return Err(aborted());
            }
        }
        if let Some(preparation) = statement.prepares() {
            self.keep(preparation).await?;
            return Ok(Reply::Done(Tag::new("PREPARE")));
        }
        let query = self.inner.running.begin();
        if statement.reads() {
            self.catch_up(statement).await;
        }
        if statement.writes() && status != TransactionStatus::Idle {
            return Err(in_transaction(statement));
        }
        if query.cancelled.is_cancelled() {
            return Err(cancelled());
        }
        if let Some(copy) = self.session().begin_copy(statement, decode).await? {
            return Ok(Reply::CopyIn(Box::new(copy)));
        }
        let answer = self.to_its_end(&query, statement.writes(), Box::pin(what.run(self.session()))).await?;
        if !answer.returns_rows() {
            return Ok(Reply::Done(tag(&answer)));
        }
        let copied = statement.copy_format();
        let columns = Columns::new(answer.schema(), copied.map(copying::encoding).as_ref().unwrap_or(format));
        let fields = Arc::clone(&columns.fields);
        let rows = rows(answer, columns, query);
        if let Some(format) = copied {
            return Ok(Reply::Copy(format.clone(), fields, Box::pin(rows)));
        }
        let mut response = QueryResponse::new(fields, rows);
        response.set_command_tag(match statement.command() {
            // A zero for an OID stands between, for historical reasons: see `tag`.
            "INSERT" => "INSERT 0",
            command => command,
        });
        Ok(Reply::Rows(Box::new(response)))
    }

    /// Runs a statement until it answers, or the client cancels.
    async fn to_its_end(
        &self,
        query: &RunningQuery,
        writes: bool,
        mut running: impl Future<Output = Result<Answer, SqlError>> + Unpin,
    ) -> Result<Answer, SqlError> {
        tokio::select! {
            biased;
            answer = &mut running => answer,
            () = query.cancelled.cancelled() => match self.session().stop_writing() || writes {
                // The statement itself tells whether the cancel came in time. What has begun to write is finished.
                true => running.await,
                false => Err(cancelled()),
            },
        }
    }

    /// Forgets the prepared statements that a statement deallocates.
    fn forget(&self, statement: &Statement) -> Result<(), SqlError> {
        match statement.deallocates() {
            None => Ok(()),
            Some(None) => {
                self.statements().clear();
                Ok(())
            }
            Some(Some(name)) => self.statements().remove(name).map(drop).ok_or_else(|| no_statement(name)),
        }
    }

    /// Reports changed variables to the client.
    async fn report<C>(&self, client: &mut C) -> PgWireResult<()>
    where
        C: Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        for (name, value) in self.newly_reported() {
            client.feed(PgWireBackendMessage::ParameterStatus(ParameterStatus::new(name, value))).await?;
        }
        Ok(())
    }

    /// Runs one statement of a simple query, and sends its answer.
    async fn answer<C>(&self, client: &mut C, status: TransactionStatus, statement: &Statement) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let reply = self.run(status, What::Statement(statement), &Format::UnifiedText).await;
        let reply = reply.and_then(|reply| self.forget(statement).map(|()| reply));
        match reply.map_err(|error| wire(&error))? {
            Reply::Rows(response) => send_query_response(client, *response, true).await?,
            Reply::Copy(format, fields, rows) => copying::send(client, &format, &fields, rows).await?,
            Reply::CopyIn(copy) => return self.begin_copy(client, *copy, false).await,
            Reply::Done(tag) => send_execution_response(client, tag).await?,
        }
        self.ended(client, status, statement);
        self.report(client).await
    }

    /// Updates the status after a statement. Portals end with their transaction.
    fn ended<C>(&self, client: &mut C, status: TransactionStatus, statement: &Statement)
    where
        C: ClientInfo + ClientPortalStore,
        C::PortalStore: PortalStore,
    {
        client.set_transaction_status(status_after(statement, status));
        if statement.ends_transaction() {
            self.end_portals(client);
        }
    }

    fn end_portals<C>(&self, client: &C)
    where
        C: ClientPortalStore,
        C::PortalStore: PortalStore,
    {
        self.portals().clear();
        client.portal_store().clear_portals();
    }

    fn end_portal<C>(&self, client: &C, name: &str)
    where
        C: ClientPortalStore,
        C::PortalStore: PortalStore,
    {
        self.portals().remove(name);
        client.portal_store().rm_portal(name);
    }

    fn portals(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.inner.portals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self) -> MutexGuard<'_, Option<CopyIn>> {
        self.inner.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn statements(&self) -> MutexGuard<'_, BTreeMap<String, Arc<StoredStatement<Kept>>>> {
        self.inner.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a statement answers.
enum Reply {
    Rows(Box<QueryResponse>),
    Copy(CopyFormat, Arc<Vec<FieldInfo>>, Pin<Box<dyn Stream<Item = PgWireResult<DataRow>> + Send>>),
    /// Rows are to come.
    CopyIn(Box<CopyIn>),
    Done(Tag),
}

/// The status of the transaction after a statement.
fn status_after(statement: &Statement, status: TransactionStatus) -> TransactionStatus {
    if statement.ends_transaction() {
        TransactionStatus::Idle
    } else if statement.begins_transaction() || statement.mends_transaction() {
        TransactionStatus::Transaction
    } else {
        status
    }
}

/// What is to be run.
enum What<'a> {
    Statement(&'a Statement),
    Prepared(&'a Prepared, Vec<ScalarValue>),
}

impl What<'_> {
    fn statement(&self) -> &Statement {
        match self {
            Self::Statement(statement) => statement,
            Self::Prepared(prepared, _) => prepared.statement(),
        }
    }

    async fn run(&self, session: &Session) -> Result<Answer, SqlError> {
        match self {
            Self::Statement(statement) => session.run(statement, &[]).await,
            Self::Prepared(prepared, parameters) => session.run_prepared(prepared, parameters).await,
        }
    }
}

/// The command tag: `INSERT 0 3`, `DELETE 2`, `SELECT 7` for a table that was made with its rows.
fn tag(answer: &Answer) -> Tag {
    let rows = answer.affected().map(|rows| usize::try_from(rows).unwrap_or(usize::MAX));
    match (answer.command(), rows) {
        (command, None) => Tag::new(command),
        ("INSERT", Some(rows)) => Tag::new("INSERT").with_oid(0).with_rows(rows),
        ("CREATE TABLE AS", Some(rows)) => Tag::new("SELECT").with_rows(rows),
        (command, Some(rows)) => Tag::new(command).with_rows(rows),
    }
}

/// Each statement is committed by itself, and `ROLLBACK` could not undo it: so it is refused in a transaction.
fn in_transaction(statement: &Statement) -> SqlError {
    let message = format!("{} can't run inside a transaction block", statement.command());
    SqlError::invalid("25001", message)
        .with_hint("lacus commits each statement by itself: leave out BEGIN, or connect with autocommit")
}

fn cancelled() -> SqlError {
    SqlError::cancelled("canceling statement due to user request")
}

/// The rows of an answer, one by one, until it ends or is cancelled.
fn rows(answer: Answer, columns: Columns, query: RunningQuery) -> impl Stream<Item = PgWireResult<DataRow>> + Send {
    type Batch = Box<dyn Iterator<Item = PgWireResult<DataRow>> + Send>;
    let nothing: Batch = Box::new(std::iter::empty());
    // What is written can't be cancelled any more.
    let may_cancel = answer.affected().is_none();
    stream::unfold(Some((answer, columns, query, nothing)), move |state| async move {
        let (mut answer, columns, query, mut batch) = state?;
        loop {
            if may_cancel && query.cancelled.is_cancelled() {
                answer.fail();
                return Some((Err(wire(&cancelled())), None));
            }
            match batch.next() {
                Some(Ok(row)) => return Some((Ok(row), Some((answer, columns, query, batch)))),
                Some(Err(error)) => {
                    answer.fail();
                    return Some((Err(error), None));
                }
                None => {}
            }
            let next = tokio::select! {
                () = query.cancelled.cancelled(), if may_cancel => continue,
                next = answer.next() => next?,
            };
            match next.map_err(|error| wire(&error)).and_then(|rows| columns.rows(&rows)) {
                Ok(rows) => batch = Box::new(rows),
                Err(error) => {
                    answer.fail();
                    return Some((Err(error), None));
                }
            }
        }
    })
}

#[async_trait]
impl SimpleQueryHandler for Connection {
    /// Runs each statement after the ones before it are answered; the library would begin all of them first.
    async fn on_query<C>(&self, client: &mut C, query: Query) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        client.set_state(PgWireConnectionState::QueryInProgress);
        self.session().asks(&query.query);
        self.end_portal(client, DEFAULT_NAME);
        let _answering = self.inner.running.answer(CancellationToken::new());
        let statements = self.session().parse(&query.query).map_err(|error| wire(&error))?;
        if statements.is_empty() {
            client.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
        }
        for statement in &statements {
            let status = client.transaction_status();
            self.answer(client, status, statement).await?;
        }
        if self.is_sent_rows() {
            // It is sent alone: there is nothing more to answer.
            return Ok(());
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        let status = client.transaction_status();
        send_ready_for_query(client, status).await
    }

    async fn do_query<C>(&self, _client: &mut C, _sql: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        Err(only_as_they_come())
    }
}

/// The library's method for answers that are complete at once, which is never called here.
fn only_as_they_come() -> PgWireError {
    wire(&SqlError::new(lacus_core::Kind::Internal, "XX000", "statements are answered as they run"))
}

/// A cancel request has a connection of its own, on which no session begins: none arrives here.
#[async_trait]
impl CancelHandler for Connection {
    async fn on_cancel_request(&self, _request: CancelRequest) {}
}
