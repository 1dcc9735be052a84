//! What the doors counted since the start, by source and by reason.
//!
//! Sources are bounded by the streams of the log: one is counted once its stream exists, so that names that senders
//! invent leave no trace. Names of reasons are the labels of metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use lacus_core::{NewRecord, StreamName};

use crate::json::Flaw;

/// What the doors counted since the start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CollectStats {
    /// By source, once its stream exists.
    pub sources: BTreeMap<StreamName, SourceStats>,
    /// Events and whole requests that were refused, by reason. Reasons without any are absent.
    pub refused: BTreeMap<&'static str, u64>,
}

/// What one source sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceStats {
    /// Requests of which at least one event was accepted.
    pub requests: u64,
    /// Events that are on disk.
    pub accepted: u64,
    /// Those of them that are no JSON objects, or against the schema, kept because the source says `invalid = "quarantine"`.
    pub quarantined: u64,
    /// Events that were refused in the same requests.
    pub refused: u64,
    /// Bytes of the accepted events.
    pub bytes: u64,
}

impl SourceStats {
    /// One request with these events, all of which were accepted.
    pub(crate) fn of_request(records: &[NewRecord]) -> Self {
        Self {
            requests: 1,
            accepted: records.len() as u64,
            bytes: records.iter().map(|record| record.value.len() as u64).sum(),
            ..Self::default()
        }
    }
}

/// Why an event or a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Bytes that are no event.
    Malformed,
    /// JSON, but no object.
    NotAnObject,
    /// Against the schema of its source.
    Schema,
    /// Nested too deep.
    TooDeep,
    /// An event, a body or a request that is too large.
    TooLarge,
    /// A source, key or parameter that can't be.
    Parameter,
    /// A form the door does not understand, or a body that can't be unpacked.
    Encoding,
    /// A body without an event.
    Empty,
    /// A body that did not arrive in time.
    Slow,
    /// A body that broke off.
    BrokenOff,
    /// No key, a wrong one, or a wrong signature.
    Denied,
    /// More than can be taken now.
    Overloaded,
    /// The log can't write.
    Unavailable,
}

const REASONS: [(Reason, &str); 13] = [
    (Reason::Malformed, "malformed"),
    (Reason::NotAnObject, "not_an_object"),
    (Reason::Schema, "schema"),
    (Reason::TooDeep, "too_deep"),
    (Reason::TooLarge, "too_large"),
    (Reason::Parameter, "parameter"),
    (Reason::Encoding, "encoding"),
    (Reason::Empty, "empty"),
    (Reason::Slow, "slow"),
    (Reason::BrokenOff, "broken_off"),
    (Reason::Denied, "denied"),
    (Reason::Overloaded, "overloaded"),
    (Reason::Unavailable, "unavailable"),
];

impl From<Flaw> for Reason {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Syntax(_) | Flaw::NotUtf8 => Self::Malformed,
            Flaw::NotAnObject(_) => Self::NotAnObject,
            Flaw::TooDeep => Self::TooDeep,
            Flaw::TooLong => Self::TooLarge,
        }
    }
}

/// The counters behind [`CollectStats`].
#[derive(Default)]
pub(crate) struct Counters {
    sources: RwLock<BTreeMap<StreamName, Arc<SourceCounters>>>,
    refused: [AtomicU64; REASONS.len()],
}

#[derive(Default)]
pub(crate) struct SourceCounters {
    requests: AtomicU64,
    accepted: AtomicU64,
    quarantined: AtomicU64,
    refused: AtomicU64,
    bytes: AtomicU64,
}

impl Counters {
    /// Counts what was refused.
    pub(crate) fn refuse(&self, reason: Reason, count: u64) {
        self.refused[reason as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// The counters of a source.
    pub(crate) fn of(&self, source: &StreamName) -> Arc<SourceCounters> {
        if let Some(known) = self.sources.read().unwrap_or_else(PoisonError::into_inner).get(source) {
            return Arc::clone(known);
        }
        Arc::clone(self.sources.write().unwrap_or_else(PoisonError::into_inner).entry(source.clone()).or_default())
    }

    pub(crate) fn stats(&self) -> CollectStats {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        let refused =
            REASONS.iter().map(|(reason, name)| (*name, self.refused[*reason as usize].load(Ordering::Relaxed)));
        CollectStats {
            sources: sources.iter().map(|(name, counters)| (name.clone(), counters.stats())).collect(),
            refused: refused.filter(|(_, count)| *count > 0).collect(),
        }
    }
}

impl SourceCounters {
    /// Counts one request of which something is on disk.
    pub(crate) fn count(&self, request: SourceStats) {
        self.requests.fetch_add(request.requests, Ordering::Relaxed);
        self.accepted.fetch_add(request.accepted, Ordering::Relaxed);
        self.quarantined.fetch_add(request.quarantined, Ordering::Relaxed);
        self.refused.fetch_add(request.refused, Ordering::Relaxed);
        self.bytes.fetch_add(request.bytes, Ordering::Relaxed);
    }

    fn stats(&self) -> SourceStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SourceStats {
            requests: read(&self.requests),
            accepted: read(&self.accepted),
            quarantined: read(&self.quarantined),
            refused: read(&self.refused),
            bytes: read(&self.bytes),
        }
    }
}
