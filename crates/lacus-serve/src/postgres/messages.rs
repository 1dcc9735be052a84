//! The messages of one client, one after the other.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use lacus_query::Waiting;
use pgwire::api::{ClientInfo, PgWireConnectionState};
use pgwire::error::PgWireError;
use pgwire::messages::PgWireFrontendMessage;
use pgwire::messages::response::TransactionStatus;
use pgwire::tokio::server::{process_error, process_message};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::postgres::arrivals::Arrived;
use crate::postgres::connection::{Connection, Kept};
use crate::postgres::door::Door;
use crate::postgres::errors::fatal;
use crate::postgres::incoming::read_message;
use crate::postgres::socket::Wire;
use crate::postgres::startup;

/// The time in which a client has to prove that it may have a session, including TLS and password, and to begin it.
const STARTUP_MAX: Duration = Duration::from_secs(60);

/// Serves a client until it leaves or breaks the protocol, or is displaced before it has a session.
///
/// # Errors
/// If the socket can't be read or written.
pub(crate) async fn converse(
    socket: TcpStream,
    connection: Connection,
    door: &Door,
    arrived: Arrived,
) -> io::Result<()> {
    let admitted = timeout(STARTUP_MAX, startup::admit(socket, &connection, door));
    let Some(Ok(admitted)) = arrived.displaced.run_until_cancelled(admitted).await else { return Ok(()) };
    // From here on the client is not displaced any more.
    drop(arrived);
    let Some(socket) = admitted? else { return Ok(()) };
    let Ok(begun) = timeout(STARTUP_MAX, startup::begin(socket, &connection, door)).await else { return Ok(()) };
    let Some((mut socket, _place)) = begun? else { return Ok(()) };
    let connection = Arc::new(connection);
    let running = connection.running();
    loop {
        let read = tokio::select! {
            biased;
            () = running.terminated() => return process_error(&mut socket, terminated(), true).await,
            read = read_message(socket.get_mut()) => read,
        };
        let message = match read {
            Ok(None | Some(PgWireFrontendMessage::Terminate(_))) => return Ok(()),
            Ok(Some(message)) => message,
            Err(PgWireError::IoError(error)) => return Err(error),
            Err(error) => return process_error(&mut socket, error, false).await,
        };
        if answer(&mut socket, &connection, message).await?.is_break() {
            return Ok(());
        }
    }
}

/// Answers one message; breaks when the session is over.
async fn answer(
    socket: &mut Wire<Kept>,
    connection: &Arc<Connection>,
    message: PgWireFrontendMessage,
) -> io::Result<ControlFlow<()>> {
    if let PgWireConnectionState::CopyInProgress(is_extended) = socket.state()
        && !may_come_in_copy(&message)
    {
        process_error(socket, connection.break_off_copy(), is_extended).await?;
        return Ok(ControlFlow::Continue(()));
    }
    let is_copied = matches!(socket.state(), PgWireConnectionState::CopyInProgress(true));
    let is_extended = message.is_extended_query() || is_copied;
    let ends_turn = ends_turn(&message);
    let handler = || Arc::clone(connection);
    let answered = process_message(message, socket, handler(), handler(), handler(), handler(), handler()).await;
    let mut is_over = false;
    if let Err(error) = answered {
        is_over = matches!(&error, PgWireError::UserError(info) if info.is_fatal());
        process_error(socket, error, is_extended).await?;
    }
    if ends_turn && !matches!(socket.state(), PgWireConnectionState::CopyInProgress(_)) {
        connection.session().waits(waiting(socket.transaction_status()));
    }
    Ok(if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
}

/// Whether a client waits for nothing more after the answer to this.
fn ends_turn(message: &PgWireFrontendMessage) -> bool {
    use PgWireFrontendMessage::{CopyDone, CopyFail, Query, Sync};
    matches!(message, Query(_) | Sync(_) | CopyDone(_) | CopyFail(_))
}

/// How a session with this transaction status waits.
fn waiting(status: TransactionStatus) -> Waiting {
    match status {
        TransactionStatus::Idle => Waiting::Idle,
        TransactionStatus::Transaction => Waiting::InBlock,
        TransactionStatus::Error => Waiting::InFailedBlock,
    }
}

/// The error for a client whose session was terminated by another one.
fn terminated() -> PgWireError {
    fatal("57P01", "terminating connection due to administrator command", None)
}

/// Whether a client may send this while rows are expected. Messages without meaning then are ignored.
fn may_come_in_copy(message: &PgWireFrontendMessage) -> bool {
    use PgWireFrontendMessage::{CopyData, CopyDone, CopyFail, Flush, Sync};
    matches!(message, CopyData(_) | CopyDone(_) | CopyFail(_) | Flush(_) | Sync(_))
}
