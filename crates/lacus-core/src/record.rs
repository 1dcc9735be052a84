//! What a stream holds: records, and where each one is.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// A partition of a stream, counted from zero. Order is kept within a partition, not across.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub u32);

/// The sequence number of a record in its partition: counted from zero, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl Offset {
    /// The offset `count` records later.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

/// Where a record is in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The partition.
    pub partition: Partition,
    /// The sequence number in it.
    pub offset: Offset,
}

/// For each partition of one stream, the offset of the next record: everything before it is included.
/// A partition that is absent is at zero.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offsets(BTreeMap<Partition, Offset>);

impl Offsets {
    /// The next offset of `partition`.
    #[must_use]
    pub fn next(&self, partition: Partition) -> Offset {
        self.0.get(&partition).copied().unwrap_or_default()
    }

    /// Moves `partition` forward to `next`; never back.
    pub fn advance(&mut self, partition: Partition, next: Offset) {
        let entry = self.0.entry(partition).or_default();
        *entry = (*entry).max(next);
    }

    /// Whether the record at `position` comes before these offsets.
    #[must_use]
    pub fn include(&self, position: Position) -> bool {
        position.offset < self.next(position.partition)
    }

    /// The partitions with an offset, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Partition, Offset)> + '_ {
        self.0.iter().map(|(&partition, &offset)| (partition, offset))
    }

    /// How many records lie before these offsets, over all partitions.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().map(|offset| offset.0).sum()
    }
}

impl FromIterator<(Partition, Offset)> for Offsets {
    fn from_iter<I: IntoIterator<Item = (Partition, Offset)>>(offsets: I) -> Self {
        Self(offsets.into_iter().collect())
    }
}

/// The identity that a sender gave a message, as a 128-bit digest of its text. Of records with the same id, tables keep
/// the first one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u128);

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({:032x})", self.0)
    }
}

/// A record on its way into a stream: the bytes as the sender gave them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewRecord {
    /// Records of one key go to one partition and stay in order. Without a key any partition will do.
    pub key: Option<Bytes>,
    /// The hash key that decides its shard, in place of its partition key. Not stored.
    pub hash_key: Option<u128>,
    /// Its identity, if its sender gave one. Without a key, records with the same id go to one partition.
    pub id: Option<MessageId>,
    /// The bytes. The stream does not look inside.
    pub value: Bytes,
}

impl NewRecord {
    /// A record of these bytes, with neither key nor id.
    #[must_use]
    pub fn of(value: impl Into<Bytes>) -> Self {
        Self { value: value.into(), ..Self::default() }
    }

    /// The same with a partition key.
    #[must_use]
    pub fn with_key(self, key: impl Into<Bytes>) -> Self {
        Self { key: Some(key.into()), ..self }
    }
}

/// A record of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it is.
    pub position: Position,
    /// When its group was written to disk.
    pub received_at: Timestamp,
    /// The key it was sent with.
    pub key: Option<Bytes>,
    /// Its identity, if its sender gave one.
    pub id: Option<MessageId>,
    /// The bytes as the sender gave them.
    pub value: Bytes,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition.0, self.offset.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_only_move_forward() {
        let mut offsets = Offsets::default();
        offsets.advance(Partition(1), Offset(7));
        offsets.advance(Partition(1), Offset(3));
        assert_eq!(offsets.next(Partition(1)), Offset(7));
        assert_eq!(offsets.next(Partition(0)), Offset(0));
        assert!(offsets.include(Position { partition: Partition(1), offset: Offset(6) }));
        assert!(!offsets.include(Position { partition: Partition(1), offset: Offset(7) }));
        assert_eq!(offsets.total(), 7);
    }
}
