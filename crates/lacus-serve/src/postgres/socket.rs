//! The socket of a client, plain or over TLS, which the client has to read from now and then.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pgwire::tokio::server::PgWireMessageServerCodec;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tokio_util::codec::Framed;
use tokio_util::either::Either;

/// A client that takes nothing of what it is sent for so long is disconnected. TCP gives up one that is gone after about the
/// same time.
const UNTAKEN_MAX: Duration = Duration::from_secs(15 * 60);

/// A plain socket, or one with TLS.
pub(crate) type Socket = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// A socket for messages of the protocol. We read it ourselves (see [`incoming`](super::incoming)), as the library would read
/// beyond the end of a message. `S` is what is kept of a prepared statement.
pub(crate) type Wire<S> = Framed<BufReader<Taken<Socket>>, PgWireMessageServerCodec<S>>;

/// A socket on which writing fails once the client took nothing for too long: an answer that nobody takes would keep its
/// statement, and its memory, for ever.
pub(crate) struct Taken<S> {
    socket: S,
    most: Duration,
    /// Set while we wait for the client to take something.
    late: Option<Pin<Box<Sleep>>>,
}

impl<S> Taken<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self { socket, most: UNTAKEN_MAX, late: None }
    }

    /// What came of a write, unless the client let it wait for too long.
    fn in_time<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.late = None;
            return written;
        }
        let most = self.most;
        let late = self.late.get_or_insert_with(|| Box::pin(tokio::time::sleep(most)));
        ready!(late.as_mut().poll(cx));
        let text = format!("the client took nothing of what it was sent for {} seconds", most.as_secs());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Taken<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Taken<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.in_time(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.in_time(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.socket).poll_shutdown(cx);
        self.in_time(closed, cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const MOST: Duration = Duration::from_millis(400);

    /// A socket that takes 64 bytes, and the client's end of it.
    fn connected() -> (Taken<DuplexStream>, DuplexStream) {
        let (socket, client) = duplex(64);
        (Taken { most: MOST, ..Taken::new(socket) }, client)
    }

    #[tokio::test]
    async fn who_takes_nothing_is_not_waited_for() {
        let (mut socket, _client) = connected();
        for _ in 0..2 {
            let sent = tokio::time::timeout(10 * MOST, socket.write_all(&[b'x'; 100])).await.expect("it ends");
            assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
    }

    #[tokio::test]
    async fn who_takes_little_is_waited_for() {
        let (mut socket, mut client) = connected();
        let taking = async {
            for _ in 0..16 {
                tokio::time::sleep(MOST / 4).await;
                client.read_exact(&mut [0; 8]).await.unwrap();
            }
            client
        };
        let (sent, _client) = tokio::join!(socket.write_all(&[b'x'; 64 + 16 * 8]), taking);
        sent.unwrap();
    }
}
