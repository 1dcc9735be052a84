//! Which partition a record goes to.
//!
//! With a key: `hash(key) mod partitions`, where `hash` is 64-bit FNV-1a over the bytes of the key, its bits then mixed
//! by the finaliser of MurmurHash3 (`fmix64`). This is a promise kept across versions and restarts: a key that moved to
//! another partition would lose its order. Without a key: all such records of one append go to one partition, in order,
//! and the next append takes the next partition.

use std::sync::atomic::{AtomicU32, Ordering};

use lacus_core::Partition;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// The partition, of `partitions`, that records with `key` go to.
pub(crate) fn of_key(key: &[u8], partitions: u32) -> Partition {
    let remainder = hash(key) % u64::from(partitions.max(1));
    Partition(u32::try_from(remainder).expect("less than a u32"))
}

/// The partition for the records of one append that have no key.
pub(crate) fn of_turn(turn: &AtomicU32, partitions: u32) -> Partition {
    Partition(turn.fetch_add(1, Ordering::Relaxed) % partitions.max(1))
}

fn hash(key: &[u8]) -> u64 {
    let mut hash = key.iter().fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME));
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fixed for ever: a key that moves loses its order.
    #[test]
    fn keys_stay_in_their_partition() {
        for (key, expected) in [("", 342), ("a", 315), ("user-1", 477), ("user-2", 635), ("Zürich", 776)] {
            assert_eq!(of_key(key.as_bytes(), 1000), Partition(expected), "{key}");
        }
    }

    #[test]
    fn keys_and_turns_spread_evenly() {
        for partitions in [2, 3, 8] {
            let mut counts = vec![0; partitions as usize];
            (0..8_000).for_each(|key: u32| counts[of_key(key.to_string().as_bytes(), partitions).0 as usize] += 1);
            let fair = 8_000 / partitions;
            assert!(counts.iter().all(|count| (fair * 9 / 10..fair * 11 / 10).contains(count)), "{counts:?}");
        }
        let turn = AtomicU32::new(0);
        let turns: Vec<u32> = (0..5).map(|_| of_turn(&turn, 3).0).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1]);
    }
}
