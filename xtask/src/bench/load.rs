//! A load generator that costs little: prebuilt requests over raw sockets, kept connections, one request at a time each.
//!
//! It is bounded in connections, time and requests. A reply that is no success is counted, never hidden.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// The longest reply, in bytes.
const REPLY_BYTES_MAX: usize = 1 << 20;

/// Rest after a reply that asks to slow down.
const SLOW_DOWN: Duration = Duration::from_millis(5);

/// How a server tells the end of its reply, and whether it took what was sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wire {
    /// HTTP/1.1, with `content-length`.
    Http,
    /// RESP2, replies of one bulk string: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.
    Redis,
}

/// What to send.
#[derive(Clone)]
pub(super) struct Load {
    pub(super) address: SocketAddr,
    pub(super) wire: Wire,
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
    /// The last number that an event's `click_id` was made of, if none may come twice.
    pub(super) ids: Option<Arc<AtomicU64>>,
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
        let mut request = Cow::Borrowed(&*load.requests[index % load.requests.len()]);
        if let Some(ids) = &load.ids {
            renumber(request.to_mut(), ids);
        }
        loop {
            let sent = Instant::now();
            stream.write_all(&request).await?;
            if is_success(&mut stream, load.wire, &mut reply).await? {
                seen.ack_us.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
                break;
            }
            seen.refused += 1;
            tokio::time::sleep(SLOW_DOWN).await;
        }
    }
    Ok(seen)
}

/// Gives each event of a request an id of its own: 16 digits in place of the first 16.
fn renumber(request: &mut [u8], ids: &AtomicU64) {
    const FIELD: &[u8] = b"\"click_id\":\"";
    let mut at = 0;
    while let Some(found) = request[at..].windows(FIELD.len()).position(|window| window == FIELD) {
        at += found + FIELD.len();
        let id = format!("{:016x}", ids.fetch_add(1, Ordering::Relaxed) + 1);
        request[at..at + id.len()].copy_from_slice(id.as_bytes());
    }
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
async fn is_success(stream: &mut TcpStream, wire: Wire, reply: &mut [u8]) -> std::io::Result<bool> {
    let mut have = 0;
    loop {
        let read = stream.read(&mut reply[have..]).await?;
        have += read;
        if read == 0 {
            return Err(std::io::Error::other("the server hung up"));
        }
        let judged = match wire {
            Wire::Http => http_success(&reply[..have]),
            Wire::Redis => redis_success(&reply[..have]),
        };
        let refusal = |text: &[u8]| std::io::Error::other(String::from_utf8_lossy(text).into_owned());
        match judged {
            Some(Ok(is_success)) => return Ok(is_success),
            Some(Err(())) => return Err(refusal(&reply[..have])),
            None => {}
        }
    }
}

/// Whether a whole reply is a success or, with false, a request to slow down; none while it is not complete.
fn http_success(reply: &[u8]) -> Option<Result<bool, ()>> {
    reply_length(reply).filter(|length| *length <= reply.len())?;
    Some(match &reply[9..12] {
        b"200" | b"204" => Ok(true),
        b"429" | b"503" => Ok(false),
        _ => Err(()),
    })
}

/// The same for Redis, which never asks to slow down: `$15\r\n1795233600000-0\r\n`.
fn redis_success(reply: &[u8]) -> Option<Result<bool, ()>> {
    let is_whole = reply.ends_with(b"\r\n");
    match reply.first()? {
        b'$' => (is_whole && reply.iter().filter(|byte| **byte == b'\n').count() == 2).then_some(Ok(true)),
        _ => is_whole.then_some(Err(())),
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
            wire: Wire::Http,
            connections: 3,
            requests: requests(0, 50, 7).into(),
            events_per_request: 7,
            time: Duration::from_secs(60),
            once: true,
            rate: None,
            ids: None,
        };
        let outcome = run(&load).await.expect("load");
        assert_eq!((outcome.events, received.load(Ordering::SeqCst)), (350, 350));
        assert!(outcome.refused > 0 && outcome.ack_p50_ms > 0.0, "{outcome:?}");
        server.abort();
    }

    #[test]
    fn each_event_gets_an_id_of_its_own() {
        let mut request = requests(0, 1, 2).remove(0);
        renumber(&mut request, &AtomicU64::new(9));
        let text = String::from_utf8(request).expect("text");
        let ids: Vec<_> = text.split("\"click_id\":\"").skip(1).map(|rest| &rest[..16]).collect();
        assert_eq!(ids, ["000000000000000a", "000000000000000b"]);
    }

    #[test]
    fn replies_of_redis_are_told_apart() {
        assert_eq!(redis_success(b"$15\r\n17952336"), None);
        assert_eq!(redis_success(b"$15\r\n1795233600000-0\r\n"), Some(Ok(true)));
        assert_eq!(redis_success(b"-OOM command not allowed\r\n"), Some(Err(())));
    }
}
