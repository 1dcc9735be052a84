//! How far deliveries are: shared with whoever asks, never with the disk.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lacus_core::units::ByteSize;
use lacus_core::{Offsets, Partition, StreamName};
use lacus_stream::StreamInfo;

/// The number of recent samples from which freshness is computed.
const SAMPLES_MAX: usize = 1024;

/// The progress of one delivery. Counts are records over all partitions since the stream was made.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryStatus {
    /// The stream, and the name of its table.
    pub stream: StreamName,
    /// Records on disk in the log.
    pub acknowledged: u64,
    /// Records that SQL sees (or that are in quarantine).
    pub visible: u64,
    /// Records in committed files.
    pub committed: u64,
    /// Records that were left out since the process started, because the stream had one with their id already.
    pub duplicates: u64,
    /// Memory that visible, uncommitted rows take.
    pub tail_bytes: u64,
    /// Time from acknowledgement to visibility of recent records: median, in milliseconds.
    pub freshness_p50_ms: f64,
    /// The same, 99th percentile.
    pub freshness_p99_ms: f64,
    /// The same counts for each shard that is open or has something to commit, by number.
    pub shards: Vec<ShardStatus>,
    /// Why the last attempt failed, while it is being retried.
    pub error: Option<String>,
}

/// The progress of one shard, in records since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardStatus {
    /// Its number.
    pub shard: Partition,
    /// Whether it takes records: a reshard or a deletion closes it.
    pub is_open: bool,
    /// Records on disk in the log.
    pub acknowledged: u64,
    /// Records that SQL sees, or that were left out or are in quarantine.
    pub visible: u64,
    /// Records in committed files.
    pub committed: u64,
}

/// The progress of one delivery, written by its loop.
#[derive(Default)]
pub(crate) struct Progress(Mutex<Numbers>);

#[derive(Default)]
struct Numbers {
    visible: Offsets,
    committed: Offsets,
    duplicates: u64,
    tail_bytes: u64,
    freshness_micros: VecDeque<u64>,
    error: Option<String>,
    /// Whether a query asked for rows since this was last told.
    was_asked: bool,
}

impl Progress {
    pub(crate) fn moved(&self, visible: Offsets, committed: Offsets, tail_bytes: u64) {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (numbers.visible, numbers.committed, numbers.tail_bytes) = (visible, committed, tail_bytes);
    }

    pub(crate) fn had_duplicates(&self, more: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).duplicates += more;
    }

    pub(crate) fn became_visible_after(&self, micros: &[u64]) {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for &sample in micros {
            if numbers.freshness_micros.len() == SAMPLES_MAX {
                numbers.freshness_micros.pop_front();
            }
            numbers.freshness_micros.push_back(sample);
        }
    }

    pub(crate) fn set_error(&self, error: Option<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).error = error;
    }

    /// Whether everything before `end` is visible, or will not be soon because the last attempt failed. That a query asked
    /// is remembered.
    pub(crate) fn shows_or_fails(&self, end: &Offsets) -> bool {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.was_asked = true;
        numbers.error.is_some() || end.iter().all(|(partition, next)| numbers.visible.next(partition) >= next)
    }

    /// Whether a query asked for rows since this was last called.
    pub(crate) fn was_asked(&self) -> bool {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).was_asked)
    }

    pub(crate) fn status(&self, stream: &StreamInfo) -> DeliveryStatus {
        let numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut samples: Vec<u64> = numbers.freshness_micros.iter().copied().collect();
        samples.sort_unstable();
        DeliveryStatus {
            stream: stream.name.clone(),
            acknowledged: stream.end.total(),
            visible: numbers.visible.total(),
            committed: numbers.committed.total(),
            duplicates: numbers.duplicates,
            tail_bytes: numbers.tail_bytes,
            freshness_p50_ms: percentile_ms(&samples, 50),
            freshness_p99_ms: percentile_ms(&samples, 99),
            shards: numbers.shards(stream),
            error: numbers.error.clone(),
        }
    }
}

impl Numbers {
    fn shards(&self, stream: &StreamInfo) -> Vec<ShardStatus> {
        let shards = stream.shards.iter().map(|shard| ShardStatus {
            shard: shard.partition,
            is_open: shard.is_open(),
            acknowledged: stream.end.next(shard.partition).0,
            visible: self.visible.next(shard.partition).0,
            committed: self.committed.next(shard.partition).0,
        });
        shards.filter(|shard| shard.is_open || shard.committed < shard.acknowledged).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of seconds at most")]
fn percentile_ms(sorted_micros: &[u64], percent: usize) -> f64 {
    let Some(last) = sorted_micros.len().checked_sub(1) else { return 0.0 };
    sorted_micros[last * percent / 100] as f64 / 1_000.0
}

/// The memory that the tails of all tables, and the raw files beside them, may take together.
pub(crate) struct TailBudget {
    bytes_max: u64,
    bytes: AtomicU64,
    shares: AtomicU64,
}

/// One delivery's part of the budget, released when dropped.
pub(crate) struct TailShare {
    budget: Arc<TailBudget>,
    bytes: u64,
}

impl TailBudget {
    pub(crate) fn new(bytes_max: ByteSize) -> Self {
        Self { bytes_max: bytes_max.0, bytes: AtomicU64::new(0), shares: AtomicU64::new(0) }
    }

    pub(crate) fn share(self: &Arc<Self>) -> TailShare {
        self.shares.fetch_add(1, Ordering::Relaxed);
        TailShare { budget: Arc::clone(self), bytes: 0 }
    }

    /// Whether deliveries hold so much that other work should wait.
    pub(crate) fn is_half_used(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= self.bytes_max / 2
    }
}

impl TailShare {
    pub(crate) fn set(&mut self, bytes: u64) {
        self.budget.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }

    /// Whether this delivery should commit early: half of the budget is used, and this one holds at least its fair share.
    pub(crate) fn is_pressing(&self) -> bool {
        let total = self.budget.bytes.load(Ordering::Relaxed);
        self.budget.is_half_used() && self.bytes * self.budget.shares.load(Ordering::Relaxed) >= total
    }

    /// Whether this delivery alone holds its fair share.
    pub(crate) fn has_its_part(&self) -> bool {
        self.bytes * self.budget.shares.load(Ordering::Relaxed).max(1) >= self.budget.bytes_max
    }

    /// Whether decoding has to wait until commits make room. The log keeps what waits.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.budget.bytes.load(Ordering::Relaxed) >= self.budget.bytes_max
    }
}

impl Drop for TailShare {
    fn drop(&mut self) {
        self.set(0);
        self.budget.shares.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_biggest_tail_commits_first_and_all_wait_when_memory_is_full() {
        let budget = Arc::new(TailBudget::new(ByteSize(100)));
        let (mut small, mut big) = (budget.share(), budget.share());
        small.set(10);
        big.set(30);
        assert!(!big.is_pressing() && !budget.is_half_used());
        big.set(45);
        assert!(big.is_pressing() && budget.is_half_used() && !small.is_pressing() && !small.is_exhausted());
        big.set(95);
        assert!(small.is_exhausted());
        assert!(big.has_its_part() && !small.has_its_part());
        drop(big);
        assert!(!small.is_exhausted());
    }

    #[test]
    fn a_query_is_remembered_once() {
        let progress = Progress::default();
        assert!(!progress.was_asked());
        assert!(progress.shows_or_fails(&Offsets::default()));
        assert!(progress.was_asked());
        assert!(!progress.was_asked());
    }

    #[test]
    fn freshness_is_told_over_recent_samples() {
        let progress = Progress::default();
        progress.became_visible_after(&(1..=5_000).collect::<Vec<_>>());
        let numbers = progress.0.lock().unwrap();
        let mut samples: Vec<u64> = numbers.freshness_micros.iter().copied().collect();
        samples.sort_unstable();
        assert_eq!([50, 99].map(|percent| percentile_ms(&samples, percent)), [4.488, 4.989]);
    }
}
