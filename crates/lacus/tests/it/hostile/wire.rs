//! Bytes on sockets, with a limit to every wait.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The longest a single read or write blocks: then it is seen what time it is.
const TURN: Duration = Duration::from_millis(200);
/// The longest a server may refuse to take bytes that it should take.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// As much of what is told is kept.
const KEPT_BYTES_MAX: usize = 1 << 20;

pub(super) fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect_timeout(&address, WRITE_MAX).expect("connect");
    socket.set_nodelay(true).expect("set an option");
    socket.set_read_timeout(Some(TURN)).expect("set an option");
    socket.set_write_timeout(Some(WRITE_MAX)).expect("set an option");
    socket
}

/// Sends, as far as the server wants to hear it: it may hang up before the end.
pub(super) fn send(socket: &mut TcpStream, bytes: &[u8]) {
    match socket.write_all(bytes) {
        Err(error) if is_waiting(&error) => panic!("the server neither takes bytes nor hangs up"),
        _ => {}
    }
}

/// What the server tells until the connection ends, the time is up, or it is `enough`.
pub(super) fn told(socket: &mut TcpStream, within: Duration, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let (deadline, mut said, mut piece) = (Instant::now() + within, Vec::new(), vec![0; 64 << 10]);
    while Instant::now() < deadline && !enough(&said) {
        match socket.read(&mut piece) {
            Ok(0) => break,
            Ok(count) if said.len() < KEPT_BYTES_MAX => said.extend_from_slice(&piece[..count]),
            Ok(_) => {}
            Err(error) if is_waiting(&error) => {}
            Err(_) => break,
        }
    }
    said
}

/// Whether the server ended this connection. What it still says is thrown away.
pub(super) fn is_over(socket: &mut TcpStream) -> bool {
    let mut piece = [0; 4096];
    loop {
        match socket.read(&mut piece) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return !is_waiting(&error),
        }
    }
}

pub(super) fn is_waiting(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

pub(super) fn has(said: &[u8], text: &str) -> bool {
    text.is_empty() || said.windows(text.len()).any(|window| window == text.as_bytes())
}

/// An HTTP/1.1 request; after its answer the connection ends.
pub(super) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: lacus\r\n").into_bytes();
    for (name, value) in headers {
        request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if !headers.iter().any(|(name, _)| ["content-length", "transfer-encoding"].contains(name)) {
        request.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
    request
}
