//! The Postgres protocol.
//!
//! Each connection has a session of its own. Rows are sent as the engine gives them, never collected. Cancel requests,
//! a client that goes away, and shutdown stop the query itself. Nothing of a session exists before its client may have it
//! (see [`startup`]): over TLS where that is required, with a password once there are users.

mod arrivals;
mod cancel;
mod columns;
mod connection;
mod copying;
mod decoding;
mod door;
mod errors;
mod incoming;
mod login;
mod messages;
mod moments;
mod negotiation;
mod numeric;
mod parameters;
mod places;
mod socket;
mod startup;
mod texts;
mod tls;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use lacus_core::Result;
use lacus_flow::Deliveries;
use lacus_query::Engine;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::postgres::arrivals::{Arrivals, Arrived};
use crate::postgres::cancel::{Cancels, Running};
use crate::postgres::connection::Connection;
use crate::postgres::places::Places;

pub use crate::postgres::door::Door;

/// How long queries may go on after shutdown was requested.
const GRACE: Duration = Duration::from_secs(5);

/// How often to check whether the client of a running query is still there.
const CLIENT_CHECK_EVERY: Duration = Duration::from_millis(500);

/// Pause after the system refused to accept a connection (no file handles left), before trying again.
const ACCEPT_RETRY_AFTER: Duration = Duration::from_millis(100);

/// Serves clients until `shutdown` is cancelled; then accepts no new ones and gives running queries some seconds to end. At
/// most `connections_max` clients have a session at the same time; those without one have a bound of their own.
///
/// # Errors
/// Never today: a connection that fails concerns nobody else.
pub async fn serve(
    listener: TcpListener,
    engine: Engine,
    deliveries: Deliveries,
    door: Arc<Door>,
    connections_max: u32,
    shutdown: CancellationToken,
) -> Result<()> {
    let places = Arc::new(Places::new(connections_max as usize));
    let arrivals = Arc::new(Arrivals::default());
    let cancels = Arc::new(Cancels::default());
    let connections = TaskTracker::new();
    if let Some(tls) = &door.tls {
        let (tls, shutdown) = (Arc::clone(tls), shutdown.clone());
        connections.spawn(async move { shutdown.run_until_cancelled(tls.follow()).await });
    }
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, from)) => {
                let arrived = shutdown.run_until_cancelled(arrivals.arrive(from.ip())).await;
                let Some(arrived) = arrived else { break };
                let connection =
                    Connection::new(&engine, deliveries.clone(), Arc::clone(&cancels), Arc::clone(&places));
                let (door, shutdown) = (Arc::clone(&door), shutdown.clone());
                connections.spawn(async move { converse(socket, connection, &door, arrived, shutdown).await });
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept a postgres connection");
                tokio::time::sleep(ACCEPT_RETRY_AFTER).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn converse(
    socket: TcpStream,
    connection: Connection,
    door: &Door,
    arrived: Arrived,
    shutdown: CancellationToken,
) {
    let running = connection.running();
    let (socket, watched) = match watched(socket) {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "a postgres client went away"),
    };
    tokio::select! {
        ended = messages::converse(socket, connection, door, arrived) => {
            match ended {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    tracing::info!(%error, "a postgres connection ends");
                }
                Err(error) => tracing::debug!(%error, "a postgres connection broke"),
            }
        }
        () = cancel_when_client_leaves(watched, Arc::clone(&running)) => {}
        () = end_after_termination(Arc::clone(&running)) => {}
        () = end_after_shutdown(shutdown, running) => {}
    }
}

/// The socket, and a second handle to check whether the client still holds the other end.
fn watched(socket: TcpStream) -> std::io::Result<(TcpStream, TcpStream)> {
    let socket = socket.into_std()?;
    let second = socket.try_clone()?;
    Ok((TcpStream::from_std(socket)?, TcpStream::from_std(second)?))
}

/// While a query runs nobody reads the socket: here we notice that the client is gone. Never ends by itself.
async fn cancel_when_client_leaves(socket: TcpStream, running: Arc<Running>) {
    loop {
        running.busy().await;
        tokio::time::sleep(CLIENT_CHECK_EVERY).await;
        if has_left(&socket).await {
            running.cancel();
        }
    }
}

/// Whether the client closed its end, even if there are unread bytes before that, such as the end of TLS.
async fn has_left(socket: &TcpStream) -> bool {
    let ready = tokio::time::timeout(Duration::ZERO, socket.ready(Interest::READABLE)).await;
    if matches!(ready, Ok(Ok(ready)) if ready.is_read_closed()) {
        return true;
    }
    let mut byte = [0];
    let seen = tokio::time::timeout(Duration::ZERO, socket.peek(&mut byte)).await;
    matches!(seen, Ok(Ok(0) | Err(_)))
}

async fn end_after_shutdown(shutdown: CancellationToken, running: Arc<Running>) {
    shutdown.cancelled().await;
    // Whether they ended or not, time is up.
    let _ended = tokio::time::timeout(GRACE, running.idle()).await;
}

/// A session that another one terminates gets the same time, even if nobody takes its answer.
async fn end_after_termination(running: Arc<Running>) {
    running.terminated().await;
    tokio::time::sleep(GRACE).await;
}

#[cfg(test)]
mod tests;
