//! Every way in: doors for events over HTTP, from Segment SDKs, Kinesis and Firehose clients, webhooks and pixels.
//!
//! A door checks what a sender posts, event by event, and appends the bytes as they came to the log. It answers "yes"
//! when the log has them on disk, and never before. It knows wire formats and no tables; it must never panic on, or
//! grow without bound with, what comes from the network.
//!
//! `http`, `webhook`, `pixel`, `segment` and `aws` have the routes and answers, `request` reads where to and in what form,
//! `body` brings the bytes in within the budget, `split`, `json` and `check` take them apart, `append` hands them to the log,
//! `stats` counts.

mod append;
mod at_most;
mod aws;
mod body;
mod check;
mod cors;
mod form;
mod hex;
mod http;
mod json;
mod keys;
mod keys_http;
mod message_id;
mod pixel;
mod refusal;
mod request;
mod schemas;
mod segment;
mod sigv4;
mod split;
mod stats;
mod told;
mod webhook;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use lacus_core::{Budget, Clock, Error, Result, Settings};
use lacus_stream::Log;
use tokio::sync::Semaphore;

use crate::stats::Counters;
use crate::told::Told;

pub use crate::http::{not_found, wrong_method};
pub use crate::keys::{CreatedKey, Grant, KEYS_MAX, Key, KeyInfo, Keyring, MasterKey, NewKey};
pub use crate::schemas::Schemas;
pub use crate::stats::{CollectStats, SourceStats};

/// The most bytes of bodies in memory at once, over all requests. Senders beyond it are asked to slow down.
pub(crate) const BODIES_BYTES_MAX: usize = 128 << 20;

/// Work on inputs up to this size is done on the async thread: it takes a quarter of a millisecond.
const LIGHT_BYTES_MAX: usize = 256 << 10;

/// Bounds on senders that no setting changes.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// A body has to arrive within this time.
    body_wait_max: Duration,
    /// Requests may make streams until the log has this many; beyond that only for sources that the settings name.
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
    schemas: Schemas,
    keyring: Arc<Keyring>,
    clock: Arc<dyn Clock>,
    counters: Counters,
    budget: Budget,
    /// Permits for CPU-heavy work: one for each thread that may do such work.
    heavy: Arc<Semaphore>,
    limits: Limits,
    requests: AtomicU64,
    /// Of sources that can't have the messages that are sent to them.
    unready_told: Told,
}

impl Inner {
    /// Works on the bytes of a request: here if that is quick, else on a blocking thread.
    async fn work<T: Send + 'static>(&self, is_light: bool, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        if is_light {
            return Ok(work());
        }
        let turn = Arc::clone(&self.heavy).acquire_owned().await;
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        task.await.map_err(|error| Error::internal("work on a request ended early").with_source(error))
    }

    /// An id that the sender is told, to find the request in logs on both sides.
    fn request_id(&self) -> String {
        let count = self.requests.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}-{count:012x}", self.clock.now().as_micros())
    }
}

impl Collect {
    /// Doors to `log`. `schemas` are those that `settings` name.
    #[must_use]
    pub fn new(
        log: Log,
        settings: Arc<Settings>,
        schemas: Schemas,
        keyring: Arc<Keyring>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self::with_limits(log, settings, schemas, keyring, clock, LIMITS)
    }

    fn with_limits(
        log: Log,
        settings: Arc<Settings>,
        schemas: Schemas,
        keyring: Arc<Keyring>,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let inner = Inner {
            log,
            settings,
            schemas,
            keyring,
            clock,
            counters: Counters::default(),
            budget: Budget::new(BODIES_BYTES_MAX),
            heavy: Arc::new(Semaphore::new(threads)),
            limits,
            requests: AtomicU64::new(0),
            unready_told: Told::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What was accepted and refused since the start.
    #[must_use]
    pub fn stats(&self) -> CollectStats {
        self.inner.counters.stats()
    }
}

/// The routes of all doors.
pub fn router(collect: Collect) -> Router {
    http::router(collect.clone())
        .merge(segment::router(collect.clone()))
        .merge(aws::router(collect.clone()))
        .merge(webhook::router(collect.clone()))
        .merge(pixel::router(collect.clone()))
        .merge(keys_http::router(collect))
        .method_not_allowed_fallback(wrong_method)
}
