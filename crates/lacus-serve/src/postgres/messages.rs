//! The messages of one client, one after the other, none longer than a bound.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use pgwire::api::NoopHandler;
use pgwire::error::PgWireError;
use pgwire::messages::PgWireFrontendMessage;
use pgwire::tokio::server::{process_error, process_message};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::postgres::connection::{Connection, Kept};
use crate::postgres::door::Door;
use crate::postgres::errors::fatal;
use crate::postgres::socket::{MESSAGE_BYTES_MAX, Wire};
use crate::postgres::startup;

/// A client begins its session within this time: TLS, password and all.
const STARTUP_MAX: Duration = Duration::from_secs(60);

/// SQLSTATE `program_limit_exceeded`.
const LIMIT_EXCEEDED: &str = "54000";

/// Answers a client until it goes, or breaks the protocol.
///
/// # Errors
/// If the socket can't be read or written.
pub(crate) async fn converse(socket: TcpStream, connection: Connection, door: &Door) -> io::Result<()> {
    let begun = timeout(STARTUP_MAX, startup::begin(socket, &connection, door));
    let Ok(begun) = begun.await else { return Ok(()) };
    let Some(mut socket) = begun? else { return Ok(()) };
    let connection = Arc::new(connection);
    loop {
        socket.get_mut().begin_message();
        let message = match socket.next().await {
            None | Some(Ok(PgWireFrontendMessage::Terminate(_))) => return Ok(()),
            Some(Ok(message)) => message,
            Some(Err(_)) if socket.get_ref().is_full() => {
                let megabytes = MESSAGE_BYTES_MAX >> 20;
                let message = format!("a message is longer than {megabytes} MiB");
                let error = fatal(LIMIT_EXCEEDED, &message, Some("send it in parts"));
                return process_error(&mut socket, error, false).await;
            }
            Some(Err(error)) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        };
        if answer(&mut socket, &connection, message).await?.is_break() {
            return Ok(());
        }
    }
}

/// Answers one message; breaks off when the session is over.
async fn answer(
    socket: &mut Wire<Kept>,
    connection: &Arc<Connection>,
    message: PgWireFrontendMessage,
) -> io::Result<ControlFlow<()>> {
    let is_extended = message.is_extended_query();
    let handler = || Arc::clone(connection);
    let no_copy = Arc::new(NoopHandler);
    let answered = process_message(message, socket, handler(), handler(), handler(), no_copy, handler()).await;
    let Err(error) = answered else { return Ok(ControlFlow::Continue(())) };
    let is_over = matches!(&error, PgWireError::UserError(info) if info.is_fatal());
    process_error(socket, error, is_extended).await?;
    Ok(if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
}
