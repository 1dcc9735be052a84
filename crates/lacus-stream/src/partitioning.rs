//! Which shard a record goes to.
//!
//! Every open shard of a stream owns a range of hash keys; the ranges cover 0 to 2¹²⁸ − 1 without gaps. A record goes
//! to the shard that owns its hash key: the one it was given, else the MD5 of its partition key as a big-endian number
//! (as Kinesis does it, so that producers may compute it), else its message id. This is a promise kept across versions
//! and restarts: a key that moved to another shard without a reshard would lose its order. Records with none of these
//! go to one shard together, another one for each append.

use std::sync::atomic::{AtomicU32, Ordering};

use lacus_core::{NewRecord, Partition};
use md5::{Digest, Md5};

use crate::shards::Shard;

/// The shard, among the open ones in order of their ranges, that owns the hash key of a record; none if it has none.
pub(crate) fn of_record(open: &[Shard], record: &NewRecord) -> Option<Partition> {
    match open {
        // It owns all hash keys, and MD5 is a good part of what an append costs.
        [only] => Some(only.partition),
        open => hash_key(record).map(|hash_key| owner(open, hash_key)),
    }
}

/// The hash key of a record, if it has one.
fn hash_key(record: &NewRecord) -> Option<u128> {
    let of_key = |key: &[u8]| u128::from_be_bytes(Md5::digest(key).into());
    record.hash_key.or_else(|| record.key.as_deref().map(of_key)).or_else(|| record.id.map(|id| id.0))
}

fn owner(open: &[Shard], hash_key: u128) -> Partition {
    let after = open.partition_point(|shard| shard.hash_start <= hash_key);
    open[after - 1].partition
}

/// The shard for those records of one append that have no hash key.
pub(crate) fn of_turn(turn: &AtomicU32, open: &[Shard]) -> Partition {
    open[turn.fetch_add(1, Ordering::Relaxed) as usize % open.len()].partition
}

/// The first and the last hash key of the `index`-th of `count` equal ranges.
pub(crate) fn even_range(index: u32, count: u32) -> (u128, u128) {
    // 2¹²⁸ itself does not fit.
    let (count, index) = (u128::from(count), u128::from(index));
    let (width, rest) = (u128::MAX / count, u128::MAX % count + 1);
    let start_of = |index: u128| width * index + rest * index / count;
    let end = if index + 1 == count { u128::MAX } else { start_of(index + 1) - 1 };
    (start_of(index), end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(count: u32) -> Vec<Shard> {
        (0..count).map(|index| Shard::new(Partition(index), even_range(index, count))).collect()
    }

    fn of_key(key: &str, count: u32) -> u32 {
        let record = NewRecord::of("").with_key(key.to_owned());
        of_record(&shards(count), &record).unwrap().0
    }

    /// Must never change: a key that moves loses its order.
    #[test]
    fn keys_stay_in_their_shard() {
        for (key, expected) in [("", 828), ("a", 49), ("user-1", 839), ("user-2", 239), ("Zürich", 63)] {
            assert_eq!(of_key(key, 1000), expected, "{key}");
        }
    }

    #[test]
    fn one_shard_has_all_records() {
        let records = [NewRecord::of("").with_key("user-1"), NewRecord::of("")];
        assert_eq!(records.map(|record| of_record(&shards(1), &record)), [Some(Partition(0)); 2]);
        assert_eq!(of_record(&shards(2), &NewRecord::of("")), None, "they take turns");
    }

    #[test]
    fn keys_and_turns_spread_evenly() {
        for count in [2, 3, 8] {
            let mut counts = vec![0; count as usize];
            (0..8_000).for_each(|key: u32| counts[of_key(&key.to_string(), count) as usize] += 1);
            let fair = 8_000 / count;
            assert!(counts.iter().all(|count| (fair * 9 / 10..fair * 11 / 10).contains(count)), "{counts:?}");
        }
        let turn = AtomicU32::new(0);
        let turns: Vec<u32> = (0..5).map(|_| of_turn(&turn, &shards(3)).0).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1]);
    }

    /// The ranges of Kinesis: going from two shards to four halves each.
    #[test]
    fn equal_ranges_end_where_those_of_kinesis_do() {
        assert_eq!(even_range(0, 2).1, 170_141_183_460_469_231_731_687_303_715_884_105_727);
        assert_eq!(even_range(0, 3).1, 113_427_455_640_312_821_154_458_202_477_256_070_484);
        assert_eq!(even_range(1, 3).1, 226_854_911_280_625_642_308_916_404_954_512_140_969);
        assert_eq!(even_range(1, 4).1, even_range(0, 2).1);
    }

    #[test]
    fn ranges_have_no_gaps() {
        for count in [1, 2, 3, 7, 1024] {
            let ranges: Vec<_> = (0..count).map(|index| even_range(index, count)).collect();
            assert_eq!((ranges[0].0, ranges[count as usize - 1].1), (0, u128::MAX));
            assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "{count}");
        }
    }
}
