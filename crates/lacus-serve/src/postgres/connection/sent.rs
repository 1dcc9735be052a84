//! `COPY … FROM STDIN`: the client sends rows, message by message, until it says that they are all.

use std::fmt::Debug;

use async_trait::async_trait;
use futures::Sink;
use lacus_query::{CopyIn, SqlError};
use pgwire::api::copy::CopyHandler;
use pgwire::api::query::send_execution_response;
use pgwire::api::{ClientInfo, PgWireConnectionState};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::copy::{CopyData, CopyDone, CopyFail};
use tokio_util::sync::CancellationToken;

use super::{Connection, tag};
use crate::postgres::copying;
use crate::postgres::errors::wire;

impl Connection {
    /// Tells the client to send rows; the next messages are expected to be rows.
    pub(super) async fn begin_copy<C>(&self, client: &mut C, copy: CopyIn, is_extended: bool) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        copying::ask_for_rows(client, &copy).await?;
        client.set_state(PgWireConnectionState::CopyInProgress(is_extended));
        self.put(Some(copy));
        Ok(())
    }

    /// Whether the client sends rows.
    pub(super) fn is_sent_rows(&self) -> bool {
        self.sent().is_some()
    }

    /// Discards the rows that were sent, because another message came that does not belong to a `COPY`.
    pub(crate) fn break_off_copy(&self) -> PgWireError {
        self.put(None);
        wire(&SqlError::invalid("08P01", "unexpected message while COPY FROM STDIN takes rows: nothing was loaded"))
    }

    fn take(&self) -> PgWireResult<CopyIn> {
        let nothing = || wire(&SqlError::invalid("08P01", "no rows are asked for: there is no COPY"));
        self.sent().take().ok_or_else(nothing)
    }

    fn put(&self, copy: Option<CopyIn>) {
        *self.sent() = copy;
    }
}

#[async_trait]
impl CopyHandler for Connection {
    async fn on_copy_data<C>(&self, _client: &mut C, data: CopyData) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let mut copy = self.take()?;
        copy.add(data.data).await.map_err(|error| wire(&error))?;
        self.put(Some(copy));
        Ok(())
    }

    async fn on_copy_done<C>(&self, client: &mut C, _done: CopyDone) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let copy = self.take()?;
        let _answering = self.inner.running.answer(CancellationToken::new());
        let query = self.inner.running.begin();
        let loaded = self.to_its_end(&query, true, Box::pin(self.session().end_copy(copy))).await;
        let loaded = loaded.map_err(|error| wire(&error))?;
        send_execution_response(client, tag(&loaded)).await?;
        // The library restores the state only after a simple query.
        client.set_state(PgWireConnectionState::ReadyForQuery);
        Ok(())
    }

    async fn on_copy_fail<C>(&self, _client: &mut C, fail: CopyFail) -> PgWireError
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        self.put(None);
        wire(&SqlError::cancelled(format!("COPY from stdin failed: {}", fail.message)))
    }
}
