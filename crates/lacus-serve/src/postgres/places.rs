//! Places for sessions, and for clients that wait for one.
//!
//! Who waits has proved who it is, so it is told when there is no place: it is none of those who may be sent away without a word
//! (see [`arrivals`](super::arrivals)).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// As many clients wait at once.
const WAITING_MAX: usize = 256;
/// So long each of them waits.
const WAIT_MAX: Duration = Duration::from_secs(10);

pub(crate) struct Places {
    sessions: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Places {
    /// Places for so many sessions.
    pub(crate) fn new(sessions_max: usize) -> Self {
        Self { sessions: Arc::new(Semaphore::new(sessions_max)), waiting: Semaphore::new(WAITING_MAX) }
    }

    /// A place for a session. If there is none, it waits, unless too many do; none if none became free in time.
    pub(crate) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.sessions).try_acquire_owned() {
            return Some(place);
        }
        let _waiting = self.waiting.try_acquire().ok()?;
        timeout(WAIT_MAX, Arc::clone(&self.sessions).acquire_owned()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn so_many_wait_and_others_are_told_at_once() {
        let places = Places::new(1);
        let first = places.take().await.unwrap();
        let crowd = join_all((0..WAITING_MAX).map(|_| async { places.take().await.is_some() }));
        let one_more = async {
            tokio::task::yield_now().await;
            assert!(places.take().await.is_none(), "as many wait as may");
            drop(first);
        };
        // Each gives its place to the next.
        let (found, ()) = tokio::join!(crowd, one_more);
        assert!(found.into_iter().all(|found| found));
    }
}
