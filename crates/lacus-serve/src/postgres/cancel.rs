//! Stopping a query from outside: by the client's cancel request, by another session, or because the client is gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use lacus_query::Signal;
use pgwire::api::RandomPidSecretKeyGenerator;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What one connection is doing.
pub(crate) struct Running {
    /// Cancelled to stop the current statement; none while there is none.
    now: Mutex<Option<CancellationToken>>,
    /// Queries that run, including suspended ones.
    count: watch::Sender<usize>,
    /// Cancelled when another session ends this one.
    terminated: CancellationToken,
}

/// A running query, until this is dropped.
pub(crate) struct RunningQuery {
    pub(crate) cancelled: CancellationToken,
    running: Arc<Running>,
}

/// A statement that a cancel request stops, until this is dropped.
pub(crate) struct Answering(Arc<Running>);

impl Drop for Answering {
    fn drop(&mut self) {
        *self.0.now() = None;
    }
}

impl Running {
    pub(crate) fn new() -> Self {
        Self { now: Mutex::default(), count: watch::Sender::new(0), terminated: CancellationToken::new() }
    }

    /// Makes this token stop the current statement.
    pub(crate) fn answer(self: &Arc<Self>, cancelled: CancellationToken) -> Answering {
        *self.now() = Some(cancelled);
        Answering(Arc::clone(self))
    }

    /// Counts a query that begins as part of the current statement.
    pub(crate) fn begin(self: &Arc<Self>) -> RunningQuery {
        let cancelled = self.now().clone().unwrap_or_default();
        self.count.send_modify(|count| *count += 1);
        RunningQuery { cancelled, running: Arc::clone(self) }
    }

    /// Stops the current statement, if there is one.
    pub(crate) fn cancel(&self) {
        if let Some(cancelled) = &*self.now() {
            cancelled.cancel();
        }
    }

    /// Does what another session says.
    pub(crate) fn obey(&self, signal: Signal) {
        if signal == Signal::Terminate {
            self.terminated.cancel();
        }
        self.cancel();
    }

    /// Waits until another session terminates this one.
    pub(crate) async fn terminated(&self) {
        self.terminated.cancelled().await;
    }

    fn now(&self) -> MutexGuard<'_, Option<CancellationToken>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a query runs.
    pub(crate) async fn busy(&self) {
        let mut count = self.count.subscribe();
        // The sender lives in `self`, so this can't fail.
        let _changed = count.wait_for(|count| *count > 0).await;
    }

    /// Waits until no query runs.
    pub(crate) async fn idle(&self) {
        let mut count = self.count.subscribe();
        let _changed = count.wait_for(|count| *count == 0).await;
    }
}

impl Drop for RunningQuery {
    fn drop(&mut self) {
        self.running.count.send_modify(|count| *count -= 1);
    }
}

/// Connections by the keys that cancel requests use.
#[derive(Default)]
pub(crate) struct Cancels {
    /// Makes the keys.
    pub(crate) keys: RandomPidSecretKeyGenerator,
    connections: Mutex<HashMap<(i32, Bytes), Weak<Running>>>,
}

impl Cancels {
    pub(crate) fn add(&self, key: (i32, Bytes), running: &Arc<Running>) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        // Connections that are gone are removed when a new one comes.
        connections.retain(|_, running| running.strong_count() > 0);
        connections.insert(key, Arc::downgrade(running));
    }

    /// Stops the query of a connection. A wrong key has no effect and no answer.
    pub(crate) fn cancel(&self, key: &(i32, Bytes)) {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = connections.get(key).and_then(Weak::upgrade) {
            running.cancel();
        }
    }
}
