//! The messages of one client, one after the other, none longer than a bound.

use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::StreamExt;
use pgwire::api::{ClientInfo, NoopHandler, PgWireConnectionState};
use pgwire::error::PgWireError;
use pgwire::messages::PgWireFrontendMessage;
use pgwire::tokio::server::{MaybeTls, PgWireMessageServerCodec, negotiate_tls, process_error, process_message};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::codec::{Framed, FramedParts};

use crate::postgres::connection::{Connection, Kept};
use crate::postgres::errors::fatal;

/// A client begins its session within this time.
const STARTUP_MAX: Duration = Duration::from_secs(60);

/// The most bytes of a message: a statement, or the values of its parameters.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// SQLSTATE `program_limit_exceeded`.
const LIMIT_EXCEEDED: &str = "54000";

/// Answers a client until it goes, or breaks the protocol.
///
/// # Errors
/// If the socket can't be read or written.
pub(crate) async fn converse(socket: TcpStream, connection: Connection) -> io::Result<()> {
    let deadline = Instant::now() + STARTUP_MAX;
    let Ok(negotiated) = timeout_at(deadline, negotiate_tls(socket, None)).await else { return Ok(()) };
    let Some(negotiated) = negotiated? else { return Ok(()) };
    let mut socket = bounded(negotiated);
    let connection = Arc::new(connection);
    loop {
        let begins = matches!(
            socket.state(),
            PgWireConnectionState::AwaitingStartup | PgWireConnectionState::AuthenticationInProgress
        );
        let next = if begins { timeout_at(deadline, socket.next()).await.ok().flatten() } else { socket.next().await };
        let message = match next {
            None | Some(Ok(PgWireFrontendMessage::Terminate(_))) => return Ok(()),
            Some(Ok(message)) => message,
            Some(Err(_)) if socket.get_ref().is_full() => {
                let megabytes = MESSAGE_BYTES_MAX >> 20;
                let message = format!("a message is longer than {megabytes} MiB");
                return process_error(&mut socket, fatal(LIMIT_EXCEEDED, &message, "send it in parts"), false).await;
            }
            Some(Err(error)) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        };
        socket.get_mut().unparsed = 0;
        // It has a connection of its own.
        let is_last = matches!(message, PgWireFrontendMessage::CancelRequest(_));
        if answer(&mut socket, &connection, message).await?.is_break() || is_last {
            return Ok(());
        }
    }
}

/// Answers one message; breaks off when the session is over.
async fn answer(
    socket: &mut Framed<Bounded, PgWireMessageServerCodec<Kept>>,
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

fn bounded<S>(socket: Framed<MaybeTls, PgWireMessageServerCodec<S>>) -> Framed<Bounded, PgWireMessageServerCodec<S>> {
    let old = socket.into_parts();
    let mut parts = FramedParts::new(Bounded { socket: old.io, unparsed: old.read_buf.len() }, old.codec);
    parts.read_buf = old.read_buf;
    parts.write_buf = old.write_buf;
    Framed::from_parts(parts)
}

/// A socket that gives no more bytes than one message may have.
struct Bounded {
    socket: MaybeTls,
    /// Bytes that were read since the last message was complete.
    unparsed: usize,
}

impl Bounded {
    fn is_full(&self) -> bool {
        self.unparsed > MESSAGE_BYTES_MAX
    }
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_full() {
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        self.unparsed += buffer.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
