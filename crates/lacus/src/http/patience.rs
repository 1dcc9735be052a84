//! How long a connection waits for its client.
//!
//! A connection waits for its client while none of its requests waits for us: before the first request, between
//! requests, in the middle of a head, and while nobody takes the answers. One rule for both versions of HTTP. The body of
//! a request has the same time to arrive.
//!
//! Over HTTP/2 a client may take some answers and leave others. One that it leaves for as long ends alone, so that what stands
//! behind it (a query and its turn, a file) is free again.
//!
//! It never ends a request that we work on, however long that takes.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;
use tracing::info;

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
    /// Its answers that come in pieces.
    answers: Mutex<Vec<Weak<Pieces>>>,
}

impl Patience {
    /// Waits for the client `most`, and up to a quarter longer.
    pub(super) fn new(most: Duration) -> Self {
        Self { most, asked: AtomicU64::new(0), given: AtomicU64::new(0), answers: Mutex::default() }
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
            self.look();
            let asked = self.asked.load(Ordering::Relaxed);
            let is_quiet = asked == seen && !self.is_our_turn();
            quiet_looks = if is_quiet { quiet_looks + 1 } else { 0 };
            seen = asked;
        }
    }

    /// Ends answers that were left for longer than they may be.
    fn look(&self) {
        for answer in self.answers().iter().filter_map(Weak::upgrade) {
            if answer.look() {
                let seconds = self.most.as_secs();
                info!(seconds, "an answer ends because its client took nothing of it for so long");
            }
        }
    }

    fn watch(&self, answer: &Arc<Pieces>) {
        let mut answers = self.answers();
        answers.retain(|answer| answer.strong_count() > 0);
        answers.push(Arc::downgrade(answer));
    }

    fn answers(&self) -> MutexGuard<'_, Vec<Weak<Pieces>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
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
pub(super) struct Answered {
    answer: Answer,
    patience: Arc<Patience>,
    /// Set while a piece was asked for and is not there yet.
    turn: Option<Turn>,
}

enum Answer {
    /// It is in memory, and handed out at once: nothing stands behind it.
    Whole(axum::body::Body),
    Pieces(Arc<Pieces>),
}

/// An answer that is made piece by piece.
#[derive(Debug)]
struct Pieces(Mutex<Taken>);

/// How the client takes an answer.
#[derive(Debug)]
struct Taken {
    /// None once the client left it for too long.
    body: Option<axum::body::Body>,
    /// Whether the client waits for a piece.
    is_asked: bool,
    /// How often in a row it was seen that the client does not.
    quiet_looks: u32,
}

impl Answered {
    pub(super) fn new(body: axum::body::Body, patience: Arc<Patience>) -> Self {
        let answer = if body.size_hint().exact().is_some() {
            Answer::Whole(body)
        } else {
            let pieces = Pieces(Mutex::new(Taken { body: Some(body), is_asked: false, quiet_looks: 0 }));
            let pieces = Arc::new(pieces);
            patience.watch(&pieces);
            Answer::Pieces(pieces)
        };
        Self { answer, patience, turn: None }
    }
}

impl Pieces {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut taken = self.taken();
        let Some(body) = &mut taken.body else {
            let left = axum::Error::new("the client took nothing of the answer for too long");
            return Poll::Ready(Some(Err(left)));
        };
        let frame = Pin::new(body).poll_frame(cx);
        taken.is_asked = frame.is_pending();
        taken.quiet_looks = 0;
        frame
    }

    /// Ends the answer if the client left it for too long: whether that is now.
    fn look(&self) -> bool {
        let mut taken = self.taken();
        if taken.is_asked || taken.body.is_none() {
            return false;
        }
        // The first look may be just after the client took a piece.
        taken.quiet_looks += 1;
        let is_left = taken.quiet_looks > LOOKS;
        if is_left {
            taken.body = None;
        }
        is_left
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.turn.is_none() {
            self.turn = Some(self.patience.turn());
        }
        let frame = ready!(match &mut self.answer {
            Answer::Whole(body) => Pin::new(body).poll_frame(cx),
            Answer::Pieces(pieces) => pieces.poll_frame(cx),
        });
        self.turn = None;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.answer {
            Answer::Whole(body) => body.is_end_stream(),
            Answer::Pieces(pieces) => pieces.taken().body.as_ref().is_some_and(Body::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.answer {
            Answer::Whole(body) => body.size_hint(),
            Answer::Pieces(pieces) => pieces.taken().body.as_ref().map_or_else(SizeHint::default, Body::size_hint),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::poll_fn;

    use futures::{StreamExt, stream};
    use tokio::sync::mpsc;

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

    /// An answer of one piece, after which `more` comes; and what tells when nothing stands behind it any more.
    fn answer(
        patience: &Arc<Patience>,
        more: impl stream::Stream<Item = Bytes> + Send + 'static,
    ) -> (Answered, mpsc::Receiver<()>) {
        let (held, is_free) = mpsc::channel(1);
        let pieces = stream::iter([Bytes::from_static(b"first")]).chain(more).map(move |piece| {
            let _held = &held;
            Ok::<_, Infallible>(piece)
        });
        (Answered::new(axum::body::Body::from_stream(pieces), Arc::clone(patience)), is_free)
    }

    async fn next(answer: &mut Answered) -> Option<Result<Bytes, axum::Error>> {
        let frame = poll_fn(|cx| Pin::new(&mut *answer).poll_frame(cx)).await;
        frame.map(|frame| frame.map(|frame| frame.into_data().expect("only bytes come")))
    }

    /// Requests that come and are answered all the time.
    async fn others(patience: &Arc<Patience>) {
        loop {
            tokio::time::sleep(MOST / 20).await;
            drop(patience.turn());
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_left_ends_while_others_are_taken() {
        let patience = Arc::new(Patience::new(MOST));
        for takes_one in [false, true] {
            let (mut answer, mut is_free) = answer(&patience, stream::repeat(Bytes::from_static(b"more")));
            if takes_one {
                assert_eq!(next(&mut answer).await.unwrap().unwrap(), "first");
            }
            tokio::select! {
                () = patience.ends() => panic!("the client asked all the time"),
                () = others(&patience) => {}
                told = is_free.recv() => assert_eq!(told, None),
            }
            assert!(next(&mut answer).await.unwrap().is_err(), "what is missing must not look like the end");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_taken_slowly_or_made_slowly_goes_on() {
        let patience = Arc::new(Patience::new(MOST));
        let (mut slow, _held) = answer(&patience, stream::repeat(Bytes::from_static(b"more")));
        let (mut made, _held) = answer(&patience, stream::pending());
        next(&mut made).await.unwrap().unwrap();
        let taking = async {
            for _ in 0..16 {
                tokio::time::sleep(MOST / 4).await;
                next(&mut slow).await.unwrap().unwrap();
            }
        };
        tokio::select! {
            () = patience.ends() => panic!("the client takes the answers"),
            _ = next(&mut made) => panic!("it is not there yet"),
            () = taking => {}
        }
    }
}
