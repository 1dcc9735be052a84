//! A load generator that costs little: prebuilt requests over raw sockets, kept connections, one request at a time each.
//!
//! It is bounded in connections, time and requests. A reply that is no success is counted, never hidden.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// The longest reply, in bytes.
const REPLY_BYTES_MAX: usize = 1 << 20;

/// Rest after a reply that asks to slow down.
const SLOW_DOWN: Duration = Duration::from_millis(5);

/// What to send.
#[derive(Clone)]
pub(super) struct Load {
    pub(super) address: SocketAddr,
    pub(super) connections: usize,
    /// Sent by turns, each connection beginning elsewhere; or each once, with `once`.
    pub(super) requests: Arc<[Vec<u8>]>,
    pub(super) events_per_request: u64,
    /// The longest it goes on.
    pub(super) time: Duration,
    /// Send each request once, then end.
    pub(super) once: bool,
    /// Events per second over all connections; as fast as replies come when none.
    pub(super) rate: Option<u64>,
}

/// What became of it.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) events: u64,
    pub(super) seconds: f64,
    /// Replies that asked to slow down.
    pub(super) refused: u64,
    pub(super) ack_p50_ms: f64,
    pub(super) ack_p99_ms: f64,
}

impl Outcome {
    pub(super) fn events_per_second(&self) -> f64 {
        self.events as f64 / self.seconds
    }
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    /// From the first byte of a request to the last of its reply, in microseconds.
    ack_us: Vec<u32>,
    refused: u64,
}

/// Sends it all.
///
/// # Errors
/// If a connection fails, or a reply is neither a success nor a request to slow down.
pub(super) async fn run(load: &Load) -> std::io::Result<Outcome> {
    let started = Instant::now();
    let mut connections = JoinSet::new();
    for number in 0..load.connections {
        connections.spawn(connection(load.clone(), number, started));
    }
    let mut seen = Seen::default();
    while let Some(one) = connections.join_next().await {
        let one = one??;
        seen.ack_us.extend(one.ack_us);
        seen.refused += one.refused;
    }
    seen.ack_us.sort_unstable();
    Ok(Outcome {
        events: seen.ack_us.len() as u64 * load.events_per_request,
        seconds: started.elapsed().as_secs_f64(),
        refused: seen.refused,
        ack_p50_ms: percentile(&seen.ack_us, 50),
        ack_p99_ms: percentile(&seen.ack_us, 99),
    })
}

fn percentile(sorted_us: &[u32], percent: usize) -> f64 {
    let index = sorted_us.len().saturating_sub(1) * percent / 100;
    sorted_us.get(index).map_or(0.0, |us| f64::from(*us) / 1000.0)
}

async fn connection(load: Load, number: usize, started: Instant) -> std::io::Result<Seen> {
    let mut stream = TcpStream::connect(load.address).await?;
    stream.set_nodelay(true)?;
    let mut reply = vec![0; REPLY_BYTES_MAX];
    let mut seen = Seen::default();
    let mut ticks = load.rate.map(|rate| ticks(&load, rate, number));
    let step = if load.once { load.connections } else { 1 };
    let first = if load.once { number } else { number * load.requests.len() / load.connections };
    for turn in 0.. {
        let index = first + turn * step;
        if load.once && index >= load.requests.len() {
            break;
        }
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        if started.elapsed() >= load.time {
            break;
        }
        let request = &load.requests[index % load.requests.len()];
        loop {
            let sent = Instant::now();
            stream.write_all(request).await?;
            if is_success(&mut stream, &mut reply).await? {
                seen.ack_us.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
                break;
            }
            seen.refused += 1;
            tokio::time::sleep(SLOW_DOWN).await;
        }
    }
    Ok(seen)
}

/// The instants at which one of the connections sends.
fn ticks(load: &Load, rate: u64, number: usize) -> tokio::time::Interval {
    let between = Duration::from_secs_f64((load.events_per_request * load.connections as u64) as f64 / rate as f64);
    let first = tokio::time::Instant::now() + between.mul_f64(number as f64 / load.connections as f64);
    let mut ticks = tokio::time::interval_at(first, between);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    ticks
}

/// Reads one reply; false when it asks to slow down.
async fn is_success(stream: &mut TcpStream, reply: &mut [u8]) -> std::io::Result<bool> {
    let mut have = 0;
    let length = loop {
        let read = stream.read(&mut reply[have..]).await?;
        have += read;
        if read == 0 {
            return Err(std::io::Error::other("the server hung up"));
        }
        match reply_length(&reply[..have]) {
            Some(length) if length <= have => break length,
            _ => {}
        }
    };
    match &reply[9..12] {
        b"200" | b"204" => Ok(true),
        b"429" | b"503" => Ok(false),
        _ => Err(std::io::Error::other(String::from_utf8_lossy(&reply[..length]).into_owned())),
    }
}

/// How long the reply is that begins here; none while its head is not complete.
fn reply_length(bytes: &[u8]) -> Option<usize> {
    let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_end]).ok()?;
    let name = "content-length:";
    let line = head.lines().find(|line| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
    let body: usize = line.map_or(0, |line| line[name.len()..].trim().parse().unwrap_or(0));
    Some(head_end + body)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;

    use super::*;
    use crate::bench::events::requests;

    #[tokio::test]
    async fn every_request_is_sent_once_and_again_when_it_was_refused() {
        let (received, turn) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let count = Arc::clone(&received);
        let answer = move |body: String| async move {
            if turn.fetch_add(1, Ordering::SeqCst) % 5 == 4 {
                return StatusCode::TOO_MANY_REQUESTS;
            }
            count.fetch_add(body.lines().count() as u64, Ordering::SeqCst);
            StatusCode::NO_CONTENT
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("it is bound");
        let router = Router::new().route("/v1/events", post(answer));
        let server = tokio::spawn(async { axum::serve(listener, router).await });
        let load = Load {
            address,
            connections: 3,
            requests: requests(0, 50, 7).into(),
            events_per_request: 7,
            time: Duration::from_secs(60),
            once: true,
            rate: None,
        };
        let outcome = run(&load).await.expect("load");
        assert_eq!((outcome.events, received.load(Ordering::SeqCst)), (350, 350));
        assert!(outcome.refused > 0 && outcome.ack_p50_ms > 0.0, "{outcome:?}");
        server.abort();
    }
}
