//! How long a connection waits for its client.
//!
//! A connection waits for its client while none of its requests waits for us: before the first request, between
//! requests, in the middle of a head, and while nobody takes the answers. One rule for both versions of HTTP. The body of
//! a request has the same time to arrive.
//!
//! It never ends a request that we work on, however long that takes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

/// A client has to do what we wait for within this time.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How often within that time the client is checked: a request between two checks costs nothing.
const LOOKS: u32 = 4;

/// What happens on one connection.
#[derive(Debug)]
pub(super) struct Patience {
    most: Duration,
    /// Requests and pieces of answers that the client asked for.
    asked: AtomicU64,
    /// How many of them it was given.
    given: AtomicU64,
}

impl Patience {
    /// Waits for the client `most`, and up to a quarter longer.
    pub(super) fn new(most: Duration) -> Self {
        Self { most, asked: AtomicU64::new(0), given: AtomicU64::new(0) }
    }

    /// Marks a request, or a piece of an answer, as ours to deliver, until this is dropped.
    pub(super) fn turn(self: &Arc<Self>) -> Turn {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Turn(Arc::clone(self))
    }

    /// Whether the client waits for a request, or for a piece of an answer.
    pub(super) fn is_our_turn(&self) -> bool {
        let given = self.given.load(Ordering::Relaxed);
        self.asked.load(Ordering::Relaxed) != given
    }

    /// Ends when the client has done nothing for longer than it may.
    pub(super) async fn ends(&self) {
        let (mut seen, mut quiet_looks) = (self.asked.load(Ordering::Relaxed), 0);
        while quiet_looks < LOOKS {
            tokio::time::sleep(self.most / LOOKS).await;
            let asked = self.asked.load(Ordering::Relaxed);
            let is_quiet = asked == seen && !self.is_our_turn();
            quiet_looks = if is_quiet { quiet_looks + 1 } else { 0 };
            seen = asked;
        }
    }
}

/// The client waits for us.
#[derive(Debug)]
pub(super) struct Turn(Arc<Patience>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.given.fetch_add(1, Ordering::Relaxed);
    }
}

/// The body of a request, which breaks off if it does not arrive in time. A large one has more time.
pub(super) struct Asked {
    body: Incoming,
    /// Set when we first have to wait.
    late: Option<Pin<Box<Sleep>>>,
    /// Bytes received since the time was last extended.
    bytes: u64,
}

/// A body has one more second for this many bytes received.
const BYTES_A_SECOND: u64 = 64 << 10;

impl Asked {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, late: None, bytes: 0 }
    }

    /// Extends the time for bytes received.
    fn came(&mut self, bytes: u64) {
        self.bytes += bytes;
        if let Some(late) = &mut self.late {
            let deadline = late.deadline() + Duration::from_secs(self.bytes / BYTES_A_SECOND);
            late.as_mut().reset(deadline);
            self.bytes %= BYTES_A_SECOND;
        }
    }
}

impl Body for Asked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            if let Some(Ok(data)) = frame.as_ref().map(|frame| frame.as_ref().map(|frame| frame.data_ref())) {
                self.came(data.map_or(0, |data| data.len() as u64));
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let late = self.late.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        ready!(late.as_mut().poll(cx));
        let text = format!("the body did not arrive within {} seconds, and one for each 64 KiB", PATIENCE.as_secs());
        Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, text).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, whose pieces are polled when there is room on the wire.
pub(super) struct Answered<B> {
    body: B,
    patience: Arc<Patience>,
    /// Set while a piece was asked for and is not there yet.
    turn: Option<Turn>,
}

impl<B> Answered<B> {
    pub(super) fn new(body: B, patience: Arc<Patience>) -> Self {
        Self { body, patience, turn: None }
    }
}

impl<B: Body + Unpin> Body for Answered<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if self.turn.is_none() {
            self.turn = Some(self.patience.turn());
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.turn = None;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_millis(400);

    async fn ends_within(patience: &Patience, time: Duration) -> bool {
        tokio::time::timeout(time, patience.ends()).await.is_ok()
    }

    #[tokio::test]
    async fn a_client_that_does_nothing_has_its_time_and_no_more() {
        let patience = Patience::new(MOST);
        assert!(!ends_within(&patience, MOST / 2).await);
        assert!(ends_within(&patience, 10 * MOST).await);
    }

    #[tokio::test]
    async fn our_own_work_is_not_held_against_it() {
        let patience = Arc::new(Patience::new(MOST));
        let turn = patience.turn();
        assert!(!ends_within(&patience, 3 * MOST).await);
        drop(turn);
        assert!(ends_within(&patience, 10 * MOST).await);
    }

    #[tokio::test]
    async fn each_request_begins_the_time_anew() {
        let patience = Arc::new(Patience::new(MOST));
        let asking = async {
            for _ in 0..60 {
                tokio::time::sleep(MOST / 20).await;
                drop(patience.turn());
            }
        };
        tokio::select! {
            () = patience.ends() => panic!("the client asked all the time"),
            () = asking => {}
        }
    }
}
