//! The door on a real socket, and what no proper client does with one.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Door;

/// Every answer comes within this time, or the test fails.
const ANSWER_MAX: Duration = Duration::from_secs(20);

const POST: &str = "POST /v1/events?source=clicks HTTP/1.1\r\nhost: lacus\r\n";

pub(crate) async fn serve(door: &Door) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = crate::router(door.collect.clone()).fallback(crate::not_found);
    tokio::spawn(axum::serve(listener, router).into_future());
    address
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(ANSWER_MAX, work).await.expect("no answer in time")
}

/// Reads until `text` has come, or to the end.
async fn read_until(socket: &mut TcpStream, text: &str) -> String {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(text) {
        match within(socket.read_buf(&mut read)).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => break,
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// The status line and the body of an answer; both empty if the connection ended without one.
async fn answer(socket: &mut TcpStream) -> (String, String) {
    let head = read_until(socket, "\r\n\r\n").await;
    let (head, body) = head.split_once("\r\n\r\n").unwrap_or_default();
    let mut body = body.as_bytes().to_vec();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |text| text.parse().unwrap());
    while body.len() < length {
        assert!(within(socket.read_buf(&mut body)).await.unwrap() > 0, "the answer breaks off");
    }
    (head.lines().next().unwrap_or_default().to_owned(), String::from_utf8(body).unwrap())
}

/// Posts one good event on a new connection.
async fn check_open(address: SocketAddr) {
    let mut socket = connect(address).await;
    socket
        .write_all(format!("{POST}connection: close\r\ncontent-length: 10\r\n\r\n{{\"good\":1}}").as_bytes())
        .await
        .unwrap();
    assert_eq!(answer(&mut socket).await, ("HTTP/1.1 200 OK".to_owned(), r#"{"accepted":1}"#.to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_is_answered() {
    let door = Door::new();
    let address = serve(&door).await;
    let mut socket = connect(address).await;
    socket.write_all(b"POST /v1/events?source=clicks HTTP/1.0\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
    assert_eq!(answer(&mut socket).await, ("HTTP/1.0 200 OK".to_owned(), r#"{"accepted":1}"#.to_owned()));
    assert_eq!(door.values("clicks"), ["{}"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_waits_to_continue_is_told_to_or_told_why_not() {
    let door = Door::new();
    let address = serve(&door).await;
    let mut socket = connect(address).await;
    socket
        .write_all(format!("{POST}expect: 100-continue\r\nconnection: close\r\ncontent-length: 2\r\n\r\n").as_bytes())
        .await
        .unwrap();
    assert_eq!(read_until(&mut socket, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(b"{}").await.unwrap();
    assert_eq!(answer(&mut socket).await.0, "HTTP/1.1 200 OK");

    let mut socket = connect(address).await;
    socket
        .write_all(format!("{POST}expect: 100-continue\r\ncontent-length: 11000000\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let (status, body) = answer(&mut socket).await;
    assert_eq!(status, "HTTP/1.1 413 Payload Too Large");
    assert!(body.contains("the body has more than 10MB"), "{body}");
    check_open(address).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_of_too_much_gets_to_read_why() {
    let door = Door::new();
    let address = serve(&door).await;
    let body = vec![b' '; 11 << 20];
    for head in ["content-length: 11534336\r\n\r\n", "transfer-encoding: chunked\r\n\r\nB00000\r\n"] {
        let mut socket = connect(address).await;
        socket.write_all(format!("{POST}{head}").as_bytes()).await.unwrap();
        socket.write_all(&body).await.unwrap();
        socket.write_all(b"\r\n0\r\n\r\n").await.unwrap();
        let (status, text) = answer(&mut socket).await;
        assert_eq!(status, "HTTP/1.1 413 Payload Too Large");
        assert!(text.contains("the body has more than 10MB"), "{text}");
    }
    check_open(address).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_sender_is_told_and_cut_off() {
    let door = Door::new();
    let address = serve(&door).await;
    let mut socket = connect(address).await;
    socket.write_all(format!("{POST}content-length: 100\r\n\r\n{{\"a\":").as_bytes()).await.unwrap();
    let (status, body) = answer(&mut socket).await;
    assert_eq!(status, "HTTP/1.1 408 Request Timeout");
    assert_eq!(
        body,
        r#"{"error":{"kind":"unavailable","message":"the body did not arrive within 1 seconds","hint":"send fewer events at once"}}"#
    );
    assert!(door.log.streams().is_empty());
    check_open(address).await;
}

/// At any other 4xx than 429 SDKs drop what they have.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_sdk_is_told_to_keep_its_messages() {
    let door = Door::new();
    let address = serve(&door).await;
    let mut socket = connect(address).await;
    let head = "POST /v1/batch HTTP/1.1\r\nhost: lacus\r\ncontent-length: 100\r\n\r\n";
    socket.write_all(format!("{head}{{\"batch\":").as_bytes()).await.unwrap();
    let (status, body) = answer(&mut socket).await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(body.contains("the body did not arrive within 1 seconds"), "{body}");
    check_open(address).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_is_too_long_acknowledges_nothing() {
    let door = Door::new();
    let address = serve(&door).await;
    let mut socket = connect(address).await;
    socket.write_all(format!("{POST}content-length: 100\r\n\r\n{{\"a\":1}}").as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    let (status, _) = answer(&mut socket).await;
    assert!(status.is_empty() || status.starts_with("HTTP/1.1 400"), "{status}");
    assert!(door.log.streams().is_empty());
    check_open(address).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_is_too_short_refuses_the_event_and_the_rest() {
    let door = Door::new();
    let address = serve(&door).await;
    let mut socket = connect(address).await;
    socket.write_all(format!("{POST}content-length: 5\r\n\r\n{{\"a\":1}}\r\n\r\n").as_bytes()).await.unwrap();
    let answers = read_until(&mut socket, "nothing that comes: read to the end").await;
    assert!(answers.contains("line 1 column 6: a value is missing at the end"), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 400 Bad Request").count(), 2, "{answers}");
    assert!(door.log.streams().is_empty());
    check_open(address).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_chunks_are_refused() {
    let door = Door::new();
    let address = serve(&door).await;
    let mut socket = connect(address).await;
    socket
        .write_all(format!("{POST}transfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\nnope\r\n").as_bytes())
        .await
        .unwrap();
    let (status, body) = answer(&mut socket).await;
    assert_eq!(status, "HTTP/1.1 400 Bad Request");
    assert!(body.contains("the body breaks off"), "{body}");
    assert!(door.log.streams().is_empty());
    check_open(address).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_only_closed_its_half_is_answered_or_cut_off_but_never_told_a_lie() {
    let door = Door::new();
    let address = serve(&door).await;
    let mut socket = connect(address).await;
    socket.write_all(format!("{POST}content-length: 2\r\n\r\n{{}}").as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    // Whether a half-closed connection is kept is for the server around the door to say.
    let (status, _) = answer(&mut socket).await;
    assert!(status.is_empty() || status == "HTTP/1.1 200 OK", "{status}");
    if !status.is_empty() {
        assert_eq!(door.values("clicks"), ["{}"]);
    }
    check_open(address).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_that_vanish_do_no_harm() {
    let door = Door::new();
    let address = serve(&door).await;
    for turn in 0..50 {
        let mut socket = connect(address).await;
        let whole = format!("{POST}content-length: 12\r\n\r\n{{\"turn\":1000}}");
        let sent = whole.len() - turn % 30;
        socket.write_all(&whole.as_bytes()[..sent]).await.unwrap();
        drop(socket);
    }
    check_open(address).await;
    // What arrived whole may be there; half an event never is.
    assert!(door.values("clicks").iter().all(|value| value.starts_with('{') && value.ends_with('}')));
}
