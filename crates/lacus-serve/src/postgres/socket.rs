//! The socket of a client, plain or over TLS.

use pgwire::tokio::server::PgWireMessageServerCodec;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::codec::Framed;
use tokio_util::either::Either;

/// A plain socket, or one with TLS.
pub(crate) type Socket = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// A socket for messages of the protocol. We read it ourselves (see [`incoming`](super::incoming)), as the library would read
/// beyond the end of a message. `S` is what is kept of a prepared statement.
pub(crate) type Wire<S> = Framed<BufReader<Socket>, PgWireMessageServerCodec<S>>;
