//! Every way in: HTTP today, more doors to come.
//!
//! A door checks what a sender posts, event by event, and appends the bytes as they came to the log. It answers "yes"
//! when the log has them on disk, and never before. It knows wire formats and no tables; it must never panic on, or
//! grow without bound with, what comes from the network.
//!
//! `http` has the routes and answers, `request` reads where to and in what form, `body` brings the bytes in within
//! `budget`, `split` and `json` take them apart, `append` hands them to the log, `stats` counts.

mod append;
mod body;
mod budget;
mod http;
mod json;
mod keys;
mod refusal;
mod request;
mod sigv4;
mod split;
mod stats;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use lacus_core::{Clock, Settings};
use lacus_stream::Log;
use tokio::sync::Semaphore;

use crate::budget::Budget;
use crate::stats::Counters;

pub use crate::http::not_found;
pub use crate::keys::{CreatedKey, Grant, KEYS_MAX, Key, KeyInfo, Keyring, MasterKey, NewKey};
pub use crate::stats::{CollectStats, SourceStats};

/// The most bytes of bodies in memory at once, over all requests. Senders beyond it are asked to slow down.
pub const BODIES_BYTES_MAX: usize = 128 << 20;

/// The bounds of what senders may ask for that no setting names.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// A body arrives within this time, or its sender is told that it is too slow.
    body_wait_max: Duration,
    /// Requests may make streams until the log has this many; more only for sources that the settings name.
    streams_by_request_max: usize,
}

const LIMITS: Limits = Limits { body_wait_max: Duration::from_secs(30), streams_by_request_max: 1_000 };

/// What all doors share. Cheap to clone.
#[derive(Clone)]
pub struct Collect {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    log: Log,
    settings: Arc<Settings>,
    keyring: Arc<Keyring>,
    clock: Arc<dyn Clock>,
    counters: Counters,
    budget: Budget,
    /// Large bodies are unpacked and checked on this many threads at once.
    heavy: Arc<Semaphore>,
    limits: Limits,
}

impl Collect {
    /// Doors to `log`.
    #[must_use]
    pub fn new(log: Log, settings: Arc<Settings>, keyring: Arc<Keyring>, clock: Arc<dyn Clock>) -> Self {
        Self::with_limits(log, settings, keyring, clock, LIMITS)
    }

    fn with_limits(
        log: Log,
        settings: Arc<Settings>,
        keyring: Arc<Keyring>,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let inner = Inner {
            log,
            settings,
            keyring,
            clock,
            counters: Counters::default(),
            budget: Budget::new(BODIES_BYTES_MAX),
            heavy: Arc::new(Semaphore::new(threads)),
            limits,
        };
        Self { inner: Arc::new(inner) }
    }

    /// What was accepted and refused since the start.
    #[must_use]
    pub fn stats(&self) -> CollectStats {
        self.inner.counters.stats()
    }
}

/// The routes of the native door: `POST /v1/events`.
pub fn router(collect: Collect) -> Router {
    http::router(collect)
}
