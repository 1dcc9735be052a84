//! The extended protocol: statements that are parsed, bound to portals and run, their rows sent as they come.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{Sink, SinkExt, stream};
use lacus_query::{Declared, Prepared, SqlError, must_be_short};
use pgwire::api::portal::{Format, Portal, PortalExecutionState};
use pgwire::api::query::{
    ExtendedQueryHandler, send_describe_response, send_execution_response, send_partial_query_response,
    send_ready_for_query,
};
use pgwire::api::results::{DescribePortalResponse, FieldInfo, QueryResponse, Response};
use pgwire::api::stmt::{QueryParser, StoredStatement};
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore, DEFAULT_NAME, PgWireConnectionState, Type};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete, Sync as PgSync,
    TARGET_TYPE_BYTE_STATEMENT,
};
use pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use tokio_util::sync::CancellationToken;

use super::{Connection, Reply, What, only_as_they_come};
use crate::postgres::columns::Columns;
use crate::postgres::copying;
use crate::postgres::errors::{aborted, wire};
use crate::postgres::parameters;

/// Prepared statements that one connection may keep.
const STATEMENTS_MAX: usize = 4096;
/// Portals with a name that one connection may have at once.
const PORTALS_MAX: usize = 64;

/// A statement that the client prepared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    /// None if its text was empty.
    pub(super) prepared: Option<Arc<Prepared>>,
    /// The parameter types that `PREPARE` declared.
    pub(super) declared: Declared,
}

#[async_trait]
impl QueryParser for Connection {
    type Statement = Kept;

    async fn parse_sql<C>(&self, client: &C, sql: &str, types: &[Option<Type>]) -> PgWireResult<Kept>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let mut statements = self.session().parse(sql).map_err(|error| wire(&error))?;
        let Some(statement) = statements.pop() else {
            return Ok(Kept::default());
        };
        if !statements.is_empty() {
            return Err(wire(&SqlError::invalid("42601", "cannot insert multiple commands into a prepared statement")));
        }
        let may_run = statement.ends_transaction() || statement.mends_transaction();
        if client.transaction_status() == TransactionStatus::Error && !may_run {
            return Err(wire(&aborted()));
        }
        if statement.reads() {
            self.catch_up(&statement).await;
        }
        let prepared = self.session().prepare_declared(statement, &parameters::declared(types)).await;
        let prepared = prepared.map_err(|error| wire(&error))?;
        Ok(Kept { prepared: Some(Arc::new(prepared)), ..Kept::default() })
    }

    fn get_parameter_types(&self, kept: &Kept) -> PgWireResult<Vec<Type>> {
        Ok(kept.parameter_types())
    }

    fn get_result_schema(&self, kept: &Kept, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        let Some(prepared) = &kept.prepared else { return Ok(Vec::new()) };
        if let Some(execution) = prepared.statement().executes() {
            let target = self.target(&execution.name).map_err(|error| wire(&error))?;
            let columns = Columns::new(target.prepared.schema(), format.unwrap_or(&Format::UnifiedText));
            return Ok(columns.fields.to_vec());
        }
        let columns = Columns::new(prepared.schema(), format.unwrap_or(&Format::UnifiedText));
        Ok(columns.fields.to_vec())
    }
}

impl Kept {
    fn parameter_types(&self) -> Vec<Type> {
        let parameters = self.prepared.as_ref().map(|prepared| prepared.parameters()).unwrap_or_default();
        let kinds = parameters.iter().map(|kind| match kind {
            Some(kind) => arrow_pg::datatypes::into_pg_type(kind).unwrap_or(Type::TEXT),
            None => Type::TEXT,
        });
        kinds.collect()
    }
}

#[async_trait]
impl ExtendedQueryHandler for Connection {
    type Statement = Kept;
    type QueryParser = Self;

    fn query_parser(&self) -> Arc<Self> {
        Arc::new(self.clone())
    }

    async fn on_parse<C>(&self, client: &mut C, message: Parse) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Kept>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        self.session().asks(&message.query);
        self.must_have_room(message.name.as_deref()).map_err(|error| wire(&error))?;
        let statement = StoredStatement::parse(client, &message, self.query_parser()).await?;
        match message.name {
            Some(name) => drop(self.statements().insert(name, Arc::new(statement))),
            None => client.portal_store().put_statement(Arc::new(statement)),
        }
        client.send(PgWireBackendMessage::ParseComplete(ParseComplete::new())).await?;
        Ok(())
    }

    /// As in the library, with bounds.
    async fn on_bind<C>(&self, client: &mut C, message: Bind) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Kept>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        self.must_have_room_for_portal(message.portal_name.as_deref()).map_err(|error| wire(&error))?;
        let statement = self.stored(client, message.statement_name.as_deref()).map_err(|error| wire(&error))?;
        let portal = Portal::try_new(&message, statement)?;
        self.portals().insert(portal.name.clone(), CancellationToken::new());
        client.portal_store().put_portal(Arc::new(portal));
        client.send(PgWireBackendMessage::BindComplete(BindComplete::new())).await?;
        Ok(())
    }

    async fn on_close<C>(&self, client: &mut C, message: Close) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Kept>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match (message.target_type, message.name) {
            (TARGET_TYPE_BYTE_STATEMENT, Some(name)) => drop(self.statements().remove(&name)),
            (TARGET_TYPE_BYTE_STATEMENT, None) => client.portal_store().rm_statement(DEFAULT_NAME),
            (_, name) => self.end_portal(client, name.as_deref().unwrap_or(DEFAULT_NAME)),
        }
        client.send(PgWireBackendMessage::CloseComplete(CloseComplete::new())).await?;
        Ok(())
    }

    /// Sends rows as they come; the library would collect them first.
    async fn on_execute<C>(&self, client: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Kept>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        client.set_state(PgWireConnectionState::QueryInProgress);
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        let portal = client.portal_store().get_portal(name).ok_or_else(|| wire(&no_portal(name)))?;
        let has_begun = !matches!(*portal.state().lock().await, PortalExecutionState::Initial);
        if has_begun && client.transaction_status() == TransactionStatus::Error {
            return Err(wire(&aborted()));
        }
        let rows_max = usize::try_from(message.max_rows).unwrap_or(0);
        let cancelled = self.portals().get(name).cloned().unwrap_or_default();
        let _answering = self.inner.running.answer(cancelled);
        let executed = self.execute(client, &portal, rows_max).await;
        if executed.is_err() {
            // Its rows are lost: asked for more, it must not seem to be at the end.
            self.end_portal(client, name);
        }
        if !self.is_sent_rows() {
            client.set_state(PgWireConnectionState::ReadyForQuery);
        }
        executed
    }

    /// A cursor declared by a statement is a portal, too.
    async fn on_describe<C>(&self, client: &mut C, message: Describe) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Kept>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if message.target_type == TARGET_TYPE_BYTE_STATEMENT {
            let statement = self.stored(client, message.name.as_deref()).map_err(|error| wire(&error))?;
            let described = self.do_describe_statement(client, &statement).await?;
            return send_describe_response(client, &described).await;
        }
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        if client.portal_store().get_portal(name).is_none() {
            let schema = self.session().cursor(name).map_err(|_| wire(&no_portal(name)))?;
            let fields = Columns::new(&schema, &Format::UnifiedText).fields.to_vec();
            return send_describe_response(client, &DescribePortalResponse::new(fields)).await;
        }
        self._on_describe(client, message).await
    }

    /// Portals live as long as their transaction. Outside of a block that ends here, and so do all portals. Within a block
    /// they stay, including the unnamed one.
    async fn on_sync<C>(&self, client: &mut C, _message: PgSync) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Kept>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let status = client.transaction_status();
        if status == TransactionStatus::Idle {
            self.end_portals(client);
        }
        send_ready_for_query(client, status).await
    }

    async fn do_query<C>(&self, _client: &mut C, _portal: &Portal<Kept>, _rows_max: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Kept>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        Err(only_as_they_come())
    }
}

/// An answer that has no more rows.
fn ended_rows(response: &QueryResponse) -> QueryResponse {
    let mut ended = QueryResponse::new(response.row_schema(), stream::empty());
    ended.set_command_tag(response.command_tag());
    ended
}

fn no_portal(name: &str) -> SqlError {
    let name = if name == DEFAULT_NAME { "" } else { name };
    SqlError::invalid("34000", format!("portal \"{name}\" does not exist"))
}

fn ran_before() -> SqlError {
    SqlError::invalid("55000", "the portal cannot be run again: its statement returned no rows and is done")
}

impl Connection {
    /// Runs a portal or resumes it, and sends its next rows: this many, or all if 0.
    async fn execute<C>(&self, client: &mut C, portal: &Portal<Kept>, rows_max: usize) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Kept>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let Some(prepared) = &portal.statement.statement.prepared else {
            client.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
            return Ok(());
        };
        self.session().asks(prepared.statement().text());
        let state = portal.state();
        let mut state = state.lock().await;
        if matches!(*state, PortalExecutionState::Initial) {
            match self.begin(client, portal, prepared).await? {
                Some(response) => *state = PortalExecutionState::Suspended(response),
                None => {
                    *state = PortalExecutionState::Finished;
                    return Ok(());
                }
            }
        }
        let PortalExecutionState::Suspended(response) = &mut *state else { return Err(wire(&ran_before())) };
        if !send_partial_query_response(client, response, rows_max).await? {
            *response = ended_rows(response);
        }
        self.report(client).await
    }

    /// Runs the statement of a portal. If it returns no rows it is answered; rows wait for the client to ask for them.
    async fn begin<C>(
        &self,
        client: &mut C,
        portal: &Portal<Kept>,
        prepared: &Prepared,
    ) -> PgWireResult<Option<QueryResponse>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Kept>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statement = prepared.statement();
        let types = portal.statement.statement.parameter_types();
        let zone = self.session().variable("timezone").map_err(|error| wire(&error))?;
        let parameters = parameters::values(portal, &types, &zone).map_err(|error| wire(&error))?;
        let what = What::Prepared(prepared, parameters);
        let status = client.transaction_status();
        let reply = self.run(status, what, &portal.result_column_format).await;
        let reply = reply.and_then(|reply| self.forget(statement).map(|()| reply));
        match reply.map_err(|error| wire(&error))? {
            Reply::Rows(response) => return Ok(Some(*response)),
            Reply::Copy(format, fields, rows) => copying::send(client, &format, &fields, rows).await?,
            Reply::CopyIn(copy) => return self.begin_copy(client, *copy, true).await.map(|()| None),
            Reply::Done(tag) => send_execution_response(client, tag).await?,
        }
        self.ended(client, status, statement);
        self.report(client).await?;
        Ok(None)
    }

    /// Refuses another portal if there are too many.
    fn must_have_room_for_portal(&self, name: Option<&str>) -> Result<(), SqlError> {
        let Some(name) = name else { return Ok(()) };
        must_be_short(name)?;
        let portals = self.portals();
        let named = portals.keys().filter(|portal| *portal != DEFAULT_NAME).count();
        if named >= PORTALS_MAX && !portals.contains_key(name) {
            let message = format!("this connection has {PORTALS_MAX} portals");
            return Err(SqlError::new(lacus_core::Kind::Limited, "53400", message).with_hint("close some"));
        }
        Ok(())
    }

    /// Refuses another prepared statement if there are too many.
    pub(super) fn must_have_room(&self, name: Option<&str>) -> Result<(), SqlError> {
        let Some(name) = name else { return Ok(()) };
        must_be_short(name)?;
        let statements = self.statements();
        if statements.len() >= STATEMENTS_MAX && !statements.contains_key(name) {
            let message = format!("this connection has {STATEMENTS_MAX} prepared statements");
            return Err(SqlError::new(lacus_core::Kind::Limited, "53400", message).with_hint("close some"));
        }
        Ok(())
    }
}
