//! Which shards are listed: resharding makes a family tree of them, of which clients want different parts.

use std::collections::HashSet;

use lacus_core::units::Millis;
use lacus_core::{Partition, Timestamp};
use lacus_stream::{Shard, StreamInfo};

/// The shards that clients are told of: all but those that closed before the retention and have no record any more.
pub(super) fn listed(stream: &StreamInfo, retention: Millis, now: Timestamp) -> Vec<&Shard> {
    let is_gone = |shard: &Shard| {
        let closed = shard.closed_at.map(Timestamp::from_micros);
        closed.is_some_and(|closed| now.millis_since(closed) > retention.0) && !has_records(stream, shard)
    };
    stream.current_shards().filter(|shard| !is_gone(shard)).collect()
}

/// Of these shards, where a reader of everything begins: those that are open or have records, and descend from no other
/// such. Their children are told at their end.
pub(super) fn oldest<'a>(stream: &'a StreamInfo, shards: &[&'a Shard]) -> Vec<&'a Shard> {
    let is_readable = |shard: &&&Shard| shard.is_open() || has_records(stream, shard);
    let readable: HashSet<Partition> = shards.iter().filter(is_readable).map(|shard| shard.partition).collect();
    let (mut reached, mut oldest) = (HashSet::new(), Vec::new());
    // Parents have lower numbers, so that one pass in order finds all descendants.
    for shard in stream.current_shards() {
        if shard.parents.iter().any(|parent| reached.contains(parent)) {
            reached.insert(shard.partition);
        } else if readable.contains(&shard.partition) {
            reached.insert(shard.partition);
            oldest.push(shard);
        }
    }
    oldest
}

/// Of these shards, where a reader of everything since a time begins: those that were open then. Before the stream was made,
/// or what is left of it begins, none was, or none that is told: then those that descend from none that is told.
pub(super) fn open_at<'a>(stream: &StreamInfo, mut shards: Vec<&'a Shard>, time: Timestamp) -> Vec<&'a Shard> {
    shards.retain(|shard| !is_closed_before(shard, time));
    let told: HashSet<Partition> = shards.iter().map(|shard| shard.partition).collect();
    let is_first = |shard: &Shard| !shard.parents.iter().any(|parent| told.contains(parent));
    shards.retain(|shard| opened_at(stream, shard) <= time || is_first(shard));
    shards
}

/// Whether a shard was closed before a time: it has no record of then or later.
pub(super) fn is_closed_before(shard: &Shard, time: Timestamp) -> bool {
    shard.closed_at.is_some_and(|closed| Timestamp::from_micros(closed) < time)
}

/// A shard was made when its parents were closed, or with its stream.
fn opened_at(stream: &StreamInfo, shard: &Shard) -> Timestamp {
    let closed = |parent: &Partition| stream.shards.get(usize::try_from(parent.0).ok()?)?.closed_at;
    shard.parents.first().and_then(closed).map_or(stream.created_at, Timestamp::from_micros)
}

fn has_records(stream: &StreamInfo, shard: &Shard) -> bool {
    stream.start.next(shard.partition) < stream.end.next(shard.partition)
}
