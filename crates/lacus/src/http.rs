//! The HTTP socket: accepts connections, speaks HTTP/1.1 and HTTP/2 without TLS on one port, and stops cleanly.
//!
//! Every wait has a bound, so that a slow or silent client holds a connection, and nothing else, for a limited time.

mod elsewhere;
mod patience;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Version, header};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use lacus_serve::http::Elsewhere;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{ServiceExt, service_fn};
use tracing::{debug, warn};

use crate::http::patience::{Answered, Asked, PATIENCE, Patience};

pub(crate) use self::elsewhere::open_to_others;

/// Requests that run when the server stops have this long to finish.
pub(crate) const STOP_MAX: Duration = Duration::from_secs(10);
/// A client that is disconnected is told so, and has this long to hear it.
const FAREWELL_MAX: Duration = Duration::from_secs(5);
/// The most requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// The most bytes of the head of an HTTP/2 request; HTTP/1.1 has the limit of its buffer.
const HEAD_BYTES_MAX: u32 = 64 << 10;
/// The most bytes buffered for an HTTP/1.1 connection.
const BUFFER_BYTES_MAX: usize = 256 << 10;
/// Rest after a refused accept: the process is out of file handles, and asking at once again would not help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` on `listener` until `stop`, then lets running requests finish.
pub(crate) async fn serve(listener: TcpListener, router: Router, connections_max: u32, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(connections_max as usize));
    let connections = TaskTracker::new();
    let server = Arc::new(server());
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (server, router, stop) = (Arc::clone(&server), router.clone(), stop.clone());
        connections.spawn(async move {
            converse(socket, peer, &server, router, stop).await;
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(STOP_MAX, connections.wait()).await.is_err() {
        warn!("stopped while requests were still running");
    }
}

fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().half_close(true).max_buf_size(BUFFER_BYTES_MAX);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PATIENCE)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX);
    server
}

/// Answers one client until it goes, makes us wait too long, or the server stops.
async fn converse(
    socket: TcpStream,
    peer: SocketAddr,
    server: &auto::Builder<TokioExecutor>,
    router: Router,
    stop: CancellationToken,
) {
    if let Err(error) = socket.set_nodelay(true) {
        debug!(%error, "could not set TCP_NODELAY");
    }
    let is_from_elsewhere = elsewhere::is_from_elsewhere(peer, socket.local_addr().ok());
    let patience = Arc::new(Patience::new(PATIENCE));
    let answering = Arc::clone(&patience);
    let service = service_fn(move |request: hyper::Request<_>| {
        let (router, patience, turn) = (router.clone(), Arc::clone(&answering), answering.turn());
        let mut request = request.map(Asked::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        if is_from_elsewhere {
            request.extensions_mut().insert(Elsewhere);
        }
        let may_keep_body = request.version() == Version::HTTP_11 && request.headers().contains_key(header::EXPECT);
        async move {
            let response = router.oneshot(request).await;
            drop(turn);
            response.map(|mut response| {
                // Refused before it was asked for its body, a client may go on with its next request: nobody could tell where
                // the body ends that may never come.
                if may_keep_body && !response.status().is_success() {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                response.map(|body| Answered::new(body, patience))
            })
        }
    });
    let mut connection = pin!(server.serve_connection(TokioIo::new(socket), TowerToHyperService::new(service)));
    let leave_max = tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                debug!(%error, "connection ended early");
            }
            return;
        }
        () = patience.ends() => FAREWELL_MAX,
        // Whoever stops the server waits for requests that run, no longer than it likes.
        () = stop.cancelled() => if patience.is_our_turn() { Duration::MAX } else { FAREWELL_MAX },
    };
    connection.as_mut().graceful_shutdown();
    if tokio::time::timeout(leave_max, connection).await.is_err() {
        debug!("a client had to be cut off");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: lacus\r\n\r\n";

    struct Running {
        address: SocketAddr,
        stop: CancellationToken,
        task: JoinHandle<()>,
    }

    impl Running {
        async fn start(router: Router) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
            Self { address, stop: stop.clone(), task: tokio::spawn(serve(listener, router, 2, stop)) }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        /// Stops, and fails if that takes longer than clients that do nothing can make it.
        async fn stop(self) {
            self.stop.cancel();
            tokio::time::timeout(PATIENCE, self.task).await.expect("the server stops").unwrap();
        }
    }

    async fn read(socket: &mut TcpStream) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        let count = tokio::time::timeout(PATIENCE, socket.read(&mut bytes)).await.expect("an answer").unwrap();
        bytes.truncate(count);
        bytes
    }

    #[tokio::test]
    async fn one_port_speaks_both_versions() {
        let running = Running::start(Router::new().route("/", get(async || "hello"))).await;
        let mut first = running.connect().await;
        first.write_all(REQUEST).await.unwrap();
        assert!(read(&mut first).await.starts_with(b"HTTP/1.1 200 OK"));
        let mut second = running.connect().await;
        second.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let settings = read(&mut second).await;
        assert_eq!(settings[3], 4, "an HTTP/2 server begins with its settings: {settings:?}");
        // A real client answers the server's farewell; this one hangs up.
        drop(second);
        running.stop().await;
    }

    #[tokio::test]
    async fn who_was_refused_before_its_body_begins_anew() {
        let refuse = async || axum::http::StatusCode::FORBIDDEN;
        let running = Running::start(Router::new().route("/", get(refuse).put(refuse))).await;
        let mut client = running.connect().await;
        let expecting = b"PUT / HTTP/1.1\r\nhost: lacus\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n";
        client.write_all(expecting).await.unwrap();
        let answer = String::from_utf8(read(&mut client).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("connection: close\r\n"), "{answer}");
        // Others keep their connection.
        let mut client = running.connect().await;
        for _ in 0..2 {
            client.write_all(REQUEST).await.unwrap();
            let answer = String::from_utf8(read(&mut client).await).unwrap();
            assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.contains("connection: close"), "{answer}");
        }
        drop(client);
        running.stop().await;
    }

    #[tokio::test]
    async fn a_running_request_is_finished_and_a_silent_client_is_not_waited_for() {
        let go_on = Arc::new(Notify::new());
        let (waiting, arrived) = (Arc::clone(&go_on), Arc::new(Notify::new()));
        let tell = Arc::clone(&arrived);
        let slow = async move || {
            tell.notify_one();
            waiting.notified().await;
            "done"
        };
        let running = Running::start(Router::new().route("/", get(slow))).await;
        let _silent = running.connect().await;
        let mut busy = running.connect().await;
        busy.write_all(REQUEST).await.unwrap();
        arrived.notified().await;
        running.stop.cancel();
        go_on.notify_one();
        let answer = read(&mut busy).await;
        assert!(answer.ends_with(b"done"), "{}", String::from_utf8_lossy(&answer));
        running.stop().await;
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait() {
        let running = Running::start(Router::new().route("/", get(async || "hello"))).await;
        let (first, _second) = (running.connect().await, running.connect().await);
        let mut third = running.connect().await;
        third.write_all(REQUEST).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(100), third.read_u8()).await;
        assert!(early.is_err(), "two silent connections are all that is served");
        drop(first);
        assert!(read(&mut third).await.starts_with(b"HTTP/1.1 200 OK"));
        running.stop().await;
    }
}
