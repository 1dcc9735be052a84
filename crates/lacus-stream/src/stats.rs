//! What the log did since it was opened, for status pages and metrics.

use std::collections::VecDeque;
use std::time::Duration;

/// How many syncs the percentiles look back.
const SYNCS_REMEMBERED: usize = 1024;

/// What a log did since it was opened, and how fast its disk is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records acknowledged.
    pub records: u64,
    /// Bytes of log written for them.
    pub bytes: u64,
    /// Groups written: each is one write and one sync, whatever the number of senders that shared it.
    pub groups: u64,
    /// Groups that the disk refused. Nothing of them was acknowledged.
    pub refused_groups: u64,
    /// Bytes waiting for the disk now.
    pub in_flight_bytes: u64,
    /// Log files there now.
    pub segments: u64,
    /// Their bytes.
    pub disk_bytes: u64,
    /// Time of a recent sync in microseconds: median.
    pub sync_micros_p50: u64,
    /// The same, 99th percentile.
    pub sync_micros_p99: u64,
}

/// Counts what the writer does.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) groups: u64,
    pub(crate) refused_groups: u64,
    sync_micros: VecDeque<u64>,
}

impl Counters {
    /// Records how long a sync took.
    pub(crate) fn synced(&mut self, took: Duration) {
        if self.sync_micros.len() == SYNCS_REMEMBERED {
            self.sync_micros.pop_front();
        }
        self.sync_micros.push_back(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// The counts and percentiles as they are now.
    pub(crate) fn stats(&self) -> Stats {
        let mut sorted: Vec<u64> = self.sync_micros.iter().copied().collect();
        sorted.sort_unstable();
        let percentile = |percent: usize| sorted.get(sorted.len() * percent / 100).copied().unwrap_or(0);
        Stats {
            records: self.records,
            bytes: self.bytes,
            groups: self.groups,
            refused_groups: self.refused_groups,
            sync_micros_p50: percentile(50),
            sync_micros_p99: percentile(99),
            ..Stats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_last_syncs_only() {
        let mut counters = Counters::default();
        assert_eq!(counters.stats(), Stats::default());
        for micros in (0..1_000).chain((0..SYNCS_REMEMBERED as u64).map(|_| 7)) {
            counters.synced(Duration::from_micros(micros));
        }
        assert_eq!((counters.stats().sync_micros_p50, counters.stats().sync_micros_p99), (7, 7));
        for micros in 0..100 {
            counters.synced(Duration::from_micros(1_000 + micros));
        }
        assert_eq!(counters.stats().sync_micros_p50, 7);
        assert!(counters.stats().sync_micros_p99 > 1_000);
    }
}
