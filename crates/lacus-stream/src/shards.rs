//! Shards: the ranges of hash keys that a stream's open partitions own, and where they came from.
//!
//! The open shards of a stream own every hash key, each of them once. Shards are numbered in the order in which they were
//! made, so that a parent has a smaller number than its children.

use lacus_core::{Partition, Timestamp};
use serde::{Deserialize, Serialize};

use crate::partitioning;

/// A shard of a stream: a partition that owns a range of hash keys while it is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Its number in the stream, which is the partition of its records. Never used twice.
    pub partition: Partition,
    /// The first hash key it owns.
    #[serde(with = "hash_key_text")]
    pub hash_start: u128,
    /// The last hash key it owns.
    #[serde(with = "hash_key_text")]
    pub hash_end: u128,
    /// The shards it was split or merged from: their records come before its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<Partition>,
    /// When it was closed by a reshard, µs since the epoch; an open one takes records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<i64>,
}

impl Shard {
    /// An open shard that owns this range.
    pub(crate) fn new(partition: Partition, (hash_start, hash_end): (u128, u128)) -> Self {
        Self { partition, hash_start, hash_end, parents: Vec::new(), closed_at: None }
    }

    /// Whether it takes records.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }

    /// Closes it: it takes no more records.
    pub(crate) fn close(&mut self, now: Timestamp) {
        self.closed_at = Some(now.as_micros());
    }
}

/// Adds `count` shards with equal ranges. Their parents are those of `before` that they overlap.
pub(crate) fn add_even(shards: &mut Vec<Shard>, count: u32, before: &[Shard]) {
    for index in 0..count {
        let (start, end) = partitioning::even_range(index, count);
        let overlaps = |shard: &&Shard| shard.hash_start <= end && start <= shard.hash_end;
        let parents = before.iter().filter(overlaps).map(|shard| shard.partition).collect();
        let partition = Partition(number_of(shards.len()));
        shards.push(Shard { parents, ..Shard::new(partition, (start, end)) });
    }
}

/// The number of the next shard.
pub(crate) fn number_of(shards: usize) -> u32 {
    u32::try_from(shards).expect("the number of shards is bounded")
}

/// Whether these shards, in order of their ranges, own every hash key once.
pub(crate) fn own_all(open: &[Shard]) -> bool {
    let follows = |pair: &[Shard]| pair[0].hash_end.checked_add(1) == Some(pair[1].hash_start);
    let (Some(first), Some(last)) = (open.first(), open.last()) else { return false };
    let ends = (first.hash_start, last.hash_end) == (0, u128::MAX);
    ends && open.iter().all(|shard| shard.hash_start <= shard.hash_end) && open.windows(2).all(follows)
}

/// Hash keys as decimal text: JSON readers lose digits of such large numbers.
mod hash_key_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(key: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(key)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<u128, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
