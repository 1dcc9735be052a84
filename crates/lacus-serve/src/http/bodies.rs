//! How much memory the bodies of requests take together.
//!
//! The bytes of a body count from when they come until its request is answered. A request whose body finds no room is refused,
//! and nothing of it was done: no handler is given a part of a body.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use futures::{StreamExt, stream};
use lacus_core::{Budget, Error, Result, Share};
use tokio::time::timeout;

/// The most bytes of bodies in memory at once: four of the longest.
pub(super) const BODIES_BYTES_MAX: usize = 64 << 20;
/// Of a body that finds no room this much is still read, so that its sender gets to read why …
const FORGOTTEN_BYTES_MAX: usize = 64 << 20;
/// … for this long at most.
const FORGETTING_MAX: Duration = Duration::from_secs(5);

/// What a request has of the budget.
struct Held {
    share: Share,
    /// Set when there was no more.
    refused: Option<Error>,
}

/// Answers a request whose body fits the budget.
///
/// # Errors
/// `Limited` if it does not.
pub(super) async fn answer<Answering: Future<Output = Response>>(
    budget: &Budget,
    request: Request,
    answer: impl FnOnce(Request) -> Answering,
) -> Result<Response> {
    let held = Arc::new(Mutex::new(Held { share: budget.share(), refused: None }));
    let request = request.map(|body| counted(body, Arc::clone(&held)));
    // Of a body that was refused, the handler says that it can't be read.
    let response = answer(request).await;
    let refused = lock(&held).refused.take();
    refused.map_or(Ok(response), Err)
}

/// A body whose bytes are covered as they come, and which fails when there is no room for them. One without bytes stays known
/// as such.
fn counted(body: Body, held: Arc<Mutex<Held>>) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let begin = (body.into_data_stream(), held, 0_usize);
    Body::from_stream(stream::try_unfold(begin, |(mut pieces, held, read)| async move {
        let Some(piece) = pieces.next().await.transpose()? else { return Ok(None) };
        let read = read + piece.len();
        let covered = lock(&held).share.cover(read);
        if let Err(error) = covered {
            lock(&held).refused = Some(error);
            tokio::spawn(forget(pieces));
            return Err(axum::Error::new("there is no room for the body"));
        }
        Ok(Some((piece, (pieces, held, read))))
    }))
}

/// Reads and discards what a refused sender still sends. A sender that is cut off while it sends sees a broken connection
/// instead of the reason.
async fn forget(mut pieces: BodyDataStream) {
    let reading = async {
        let mut left = FORGOTTEN_BYTES_MAX;
        while let Some(Ok(piece)) = pieces.next().await {
            let Some(fewer) = left.checked_sub(piece.len()) else { return };
            left = fewer;
        }
    };
    // Whether it came to its end does not matter: the answer is on its way.
    timeout(FORGETTING_MAX, reading).await.ok();
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
