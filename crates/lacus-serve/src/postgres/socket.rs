//! The socket of a client, plain or over TLS, that gives no more bytes than one message may have.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pgwire::tokio::server::PgWireMessageServerCodec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::codec::Framed;
use tokio_util::either::Either;

/// The most bytes of a message: a statement, or the values of its parameters.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A plain socket, or one with TLS.
pub(crate) type Socket = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// A socket as messages of the protocol. `S` is what is kept of a prepared statement.
pub(crate) type Wire<S> = Framed<Bounded, PgWireMessageServerCodec<S>>;

/// A socket that gives no more bytes than one message may have.
pub(crate) struct Bounded {
    socket: Socket,
    /// Bytes that were read since the last message was complete.
    unparsed: usize,
}

impl Bounded {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, unparsed: 0 }
    }

    /// Whether a message has more bytes than it may have.
    pub(crate) fn is_full(&self) -> bool {
        self.unparsed > MESSAGE_BYTES_MAX
    }

    /// A message was complete.
    pub(crate) fn begin_message(&mut self) {
        self.unparsed = 0;
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
