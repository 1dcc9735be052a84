//! What comes before a session: whether it is over TLS, and the packet in which a client says what it wants.
//!
//! Not a byte beyond these packets is read: what somebody put between a plain request and the TLS after it is never taken for
//! something that was said within TLS.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::either::Either;

use crate::postgres::socket::Socket;
use crate::postgres::tls::Loaded;

/// The length of a packet: as in PostgreSQL.
const PACKET_BYTES: RangeInclusive<usize> = 8..=10_000;
/// The packet that asks for TLS.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// The packet that requests encryption by Kerberos.
const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
/// The first byte of TLS without a request before it.
const TLS_HANDSHAKE: u8 = 0x16;

/// A client, and what it wants.
pub(crate) struct Arrival {
    pub(crate) socket: Socket,
    /// The first packet that is not about encryption: a startup message or a cancel request.
    pub(crate) packet: BytesMut,
    /// The certificate that the client was shown.
    pub(crate) tls: Option<Arc<Loaded>>,
}

/// Begins TLS if the client requests it and there is a certificate, and reads the client's first other packet.
///
/// # Errors
/// If the client goes, or sends what is no packet.
pub(crate) async fn negotiate(mut socket: TcpStream, tls: Option<Arc<Loaded>>) -> io::Result<Arrival> {
    let mut first = [0];
    if socket.peek(&mut first).await? == 1 && first == [TLS_HANDSHAKE] {
        let tls = tls.ok_or_else(|| no_packet("TLS, and there is no certificate"))?;
        let stream = tls.accept_direct(socket).await?;
        return encrypted(Either::Right(Box::new(stream)), tls).await;
    }
    let (mut asked_tls, mut asked_gss) = (false, false);
    loop {
        let packet = read_packet(&mut socket).await?;
        if packet == TLS_REQUEST[..] && !asked_tls {
            asked_tls = true;
            if let Some(tls) = tls {
                socket.write_all(b"S").await?;
                let stream = tls.accept(socket).await?;
                return encrypted(Either::Right(Box::new(stream)), tls).await;
            }
            socket.write_all(b"N").await?;
        } else if packet == GSS_REQUEST[..] && !asked_gss {
            asked_gss = true;
            socket.write_all(b"N").await?;
        } else {
            return Ok(Arrival { socket: Either::Left(socket), packet, tls: None });
        }
    }
}

async fn encrypted(mut socket: Socket, tls: Arc<Loaded>) -> io::Result<Arrival> {
    let packet = read_packet(&mut socket).await?;
    Ok(Arrival { socket, packet, tls: Some(tls) })
}

/// Reads a packet, including the length that it begins with.
async fn read_packet(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<BytesMut> {
    let mut length = [0; 4];
    socket.read_exact(&mut length).await?;
    let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if !PACKET_BYTES.contains(&bytes) {
        return Err(no_packet("it is no Postgres client"));
    }
    let mut packet = BytesMut::zeroed(bytes);
    let (head, body) = packet.split_at_mut(length.len());
    head.copy_from_slice(&length);
    socket.read_exact(body).await?;
    Ok(packet)
}

fn no_packet(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
