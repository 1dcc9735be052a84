//! Ids that come again, in one run and over crashes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const DAY: i64 = BUCKET_MICROS;

fn clicks() -> StreamName {
    StreamName::new("clicks").unwrap()
}

fn seen(id: u128, partition: u32, offset: u64, at: i64) -> Seen {
    let position = Position { partition: Partition(partition), offset: Offset(offset) };
    Seen { id: MessageId(id), position, received_at: Timestamp::from_micros(at) }
}

fn judge(ids: &MessageIds, records: &[Seen]) -> Vec<bool> {
    ids.judge(&clicks(), records, &Offsets::default()).unwrap()
}

#[test]
fn the_first_one_stays_and_the_others_are_duplicates() {
    let directory = TempDir::new().unwrap();
    let ids = MessageIds::open(directory.path()).unwrap();
    assert_eq!(judge(&ids, &[seen(1, 0, 0, 0), seen(2, 0, 1, 0), seen(1, 0, 2, 0)]), [false, false, true]);
    assert_eq!(judge(&ids, &[seen(1, 0, 3, 0), seen(3, 0, 4, 0)]), [true, false]);
    let again = [seen(1, 0, 0, 0), seen(2, 0, 1, 0), seen(1, 0, 2, 0), seen(1, 0, 3, 0), seen(3, 0, 4, 0)];
    assert_eq!(judge(&ids, &again), [false, false, true, true, false], "the same records, the same verdicts");
    let other = StreamName::new("other").unwrap();
    assert_eq!(ids.judge(&other, &again[..1], &Offsets::default()).unwrap(), [false], "streams are apart");
}

#[test]
fn ids_and_how_far_they_go_are_there_after_reopening() {
    let directory = TempDir::new().unwrap();
    let covered: Offsets = [(Partition(0), Offset(1))].into_iter().collect();
    let ids = MessageIds::open(directory.path()).unwrap();
    ids.judge(&clicks(), &[seen(1, 0, 0, 0)], &covered).unwrap();
    ids.sync().unwrap();
    drop(ids);
    let ids = MessageIds::open(directory.path()).unwrap();
    assert_eq!(ids.covered(&clicks()).unwrap(), covered);
    assert_eq!(judge(&ids, &[seen(1, 0, 5, 0)]), [true]);
}

#[test]
fn a_day_is_remembered_and_three_are_forgotten() {
    let directory = TempDir::new().unwrap();
    let ids = MessageIds::open(directory.path()).unwrap();
    judge(&ids, &[seen(1, 0, 0, DAY - 1)]);
    assert_eq!(judge(&ids, &[seen(1, 0, 1, DAY), seen(1, 0, 2, 2 * DAY - 1)]), [true, true]);
    assert_eq!(judge(&ids, &[seen(1, 0, 3, 5 * DAY)]), [false]);
    let ids = ids.open.read().unwrap();
    let names = ids.as_ref().unwrap().database.list_keyspace_names();
    let days: BTreeSet<i64> = names.iter().filter_map(|name| number(name)).collect();
    assert!(days.iter().all(|day| *day >= 3), "{days:?}");
}

#[test]
fn a_clock_that_is_set_back_to_the_day_before_forgets_nothing() {
    let directory = TempDir::new().unwrap();
    let ids = MessageIds::open(directory.path()).unwrap();
    assert_eq!(judge(&ids, &[seen(1, 0, 0, DAY), seen(2, 0, 1, 3 * DAY)]), [false, false]);
    for _ in 0..2 {
        assert_eq!(judge(&ids, &[seen(2, 0, 2, DAY), seen(3, 0, 3, DAY), seen(1, 0, 4, 0)]), [true, false, true]);
    }
}

#[test]
fn what_a_clock_that_was_far_ahead_left_takes_nothing_away() {
    let directory = TempDir::new().unwrap();
    let ids = MessageIds::open(directory.path()).unwrap();
    judge(&ids, &[seen(1, 0, 0, 90 * DAY), seen(2, 0, 1, DAY)]);
    drop(ids);
    let ids = MessageIds::open(directory.path()).unwrap();
    assert_eq!(judge(&ids, &[seen(3, 0, 2, DAY), seen(2, 0, 3, DAY), seen(1, 0, 4, DAY)]), [false, true, true]);
}

#[test]
fn an_index_that_is_no_index_is_begun_anew() {
    let directory = TempDir::new().unwrap();
    judge(&MessageIds::open(directory.path()).unwrap(), &[seen(1, 0, 0, 0)]);
    for entry in walk(directory.path()) {
        fs::write(&entry, b"nonsense").unwrap();
    }
    let ids = MessageIds::open(directory.path()).unwrap();
    assert_eq!(ids.covered(&clicks()).unwrap(), Offsets::default());
    assert_eq!(judge(&ids, &[seen(1, 0, 0, 0), seen(1, 0, 1, 0)]), [false, true]);
}

/// The log was restored from a backup, and the index stayed: what is sent again is no duplicate of what is gone.
#[test]
fn an_index_of_records_that_the_log_does_not_have_is_begun_anew() {
    let directory = TempDir::new().unwrap();
    let ids = MessageIds::open(directory.path()).unwrap();
    let to = |offset: u64| -> Offsets { [(Partition(0), Offset(offset))].into_iter().collect() };
    ids.judge(&clicks(), &[seen(1, 0, 0, 0), seen(2, 0, 1, 0)], &to(2)).unwrap();
    ids.fit(|_| to(2)).unwrap();
    assert_eq!(judge(&ids, &[seen(2, 0, 1, 0)]), [false], "it fits, and stays");
    ids.judge(&clicks(), &[], &to(2)).unwrap();
    ids.fit(|stream| if stream == "clicks" { to(1) } else { Offsets::default() }).unwrap();
    assert_eq!(ids.covered(&clicks()).unwrap(), Offsets::default());
    assert_eq!(judge(&ids, &[seen(1, 0, 0, 0), seen(3, 0, 1, 0), seen(2, 0, 2, 0)]), [false; 3]);
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let entries = directory.read_dir().unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// A delivery that reads shards in some order, commits now and then, and crashes: what it had not committed is read and
/// judged again.
fn deliver(ids: &MessageIds, shards: &[Vec<u128>], choices: &[(u8, u8)]) -> Vec<u128> {
    let (mut committed, mut kept): (Vec<usize>, Vec<u128>) = (vec![0; shards.len()], Vec::new());
    let (mut next, mut pending) = (committed.clone(), Vec::new());
    let rounds = choices.iter().copied().chain((0..shards.len() as u8).map(|shard| (shard, 200)));
    for (shard, act) in rounds {
        let shard = usize::from(shard) % shards.len();
        let until = if act >= 200 {
            shards[shard].len()
        } else {
            (next[shard] + usize::from(act % 4)).min(shards[shard].len())
        };
        let records: Vec<Seen> =
            (next[shard]..until).map(|offset| seen(shards[shard][offset], shard as u32, offset as u64, 0)).collect();
        let verdicts = judge(ids, &records);
        pending
            .extend(records.iter().zip(verdicts).filter(|(_, is_duplicate)| !is_duplicate).map(|(seen, _)| seen.id.0));
        next[shard] = until;
        match act % 3 {
            0 => {
                kept.append(&mut pending);
                committed.clone_from(&next);
            }
            1 if act < 200 => {
                pending.clear();
                next.clone_from(&committed);
            }
            _ => {}
        }
    }
    kept.append(&mut pending);
    kept
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn each_id_is_kept_once_whatever_crashes(
        shards in prop::collection::vec(prop::collection::vec(0_u128..12, 0..20), 1..4),
        choices in prop::collection::vec((0_u8..4, 0_u8..200), 0..40),
    ) {
        let directory = TempDir::new().unwrap();
        let ids = MessageIds::open(directory.path()).unwrap();
        let mut kept = deliver(&ids, &shards, &choices);
        kept.sort_unstable();
        let expected: BTreeMap<u128, ()> = shards.iter().flatten().map(|id| (*id, ())).collect();
        let expected: Vec<u128> = expected.into_keys().collect();
        prop_assert_eq!(kept, expected);
    }
}
