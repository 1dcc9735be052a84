//! Ids that come again, in one run and over crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use fjall::{AbstractTree, Keyspace};
use lacus_core::{Kind, Offset, Partition};
use proptest::prelude::*;
use tempfile::TempDir;

use super::store::{BUCKET_MICROS, FILES_WAITING_MAX, PARTS_WAITING_MAX};
use super::*;

const DAY: i64 = BUCKET_MICROS;

fn clicks() -> StreamName {
    StreamName::new("clicks").unwrap()
}

fn seen(id: u128, partition: u32, offset: u64, at: i64) -> Seen {
    let position = Position { partition: Partition(partition), offset: Offset(offset) };
    Seen { id: MessageId(id), position, received_at: Timestamp::from_micros(at) }
}

/// For who does not look at how far the index comes.
fn judge(ids: &MessageIds, records: &[Seen]) -> Vec<bool> {
    let covered = ids.covered(&clicks()).unwrap();
    judge_after(ids, records, &covered, &Offsets::default()).unwrap().unwrap()
}

/// Of a stream that let go of nothing.
fn judge_after(ids: &MessageIds, records: &[Seen], after: &Offsets, covered: &Offsets) -> Result<Option<Vec<bool>>> {
    ids.judge(&clicks(), records, after, covered, &Offsets::default())
}

fn to(offset: u64) -> Offsets {
    [(Partition(0), Offset(offset))].into_iter().collect()
}

/// Parts of so few bytes that there are many soon.
const SMALL_PART: u64 = 64 << 10;
/// Records of a batch that is more than a small part.
const BATCH: u64 = 1_000;

/// Records of ids that are spread as digests are.
fn batch(number: u64) -> Vec<Seen> {
    let id = |offset: u64| u128::from(offset + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    (number * BATCH..(number + 1) * BATCH).map(|offset| seen(id(offset), 0, offset, 0)).collect()
}

/// The same ids in other records.
fn elsewhere(records: &[Seen]) -> Vec<Seen> {
    let position = Position { partition: Partition(9), offset: Offset(9) };
    records.iter().map(|seen| Seen { position, ..*seen }).collect()
}

/// What holds the ids that came on a day.
fn bucket(ids: &MessageIds, day: i64) -> Keyspace {
    match &*ids.state() {
        State::Open(store) => store.bucket(day).unwrap(),
        _ => panic!("the index is not open"),
    }
}

fn days(ids: &MessageIds) -> BTreeSet<i64> {
    match &*ids.state() {
        State::Open(store) => store.days().into_iter().collect(),
        _ => panic!("the index is not open"),
    }
}

/// Bytes of ids that are in no file.
fn in_memory(ids: &MessageIds) -> u64 {
    match &*ids.state() {
        State::Open(store) => store.database.write_buffer_size(),
        _ => panic!("the index is not open"),
    }
}

/// Whether nothing more is written before ids are sorted into files.
fn is_full(bucket: &Keyspace) -> bool {
    bucket.sealed_memtable_count() >= PARTS_WAITING_MAX && bucket.tree.active_memtable().size() >= SMALL_PART
}

/// Makes half of the ids in each file unreadable.
fn damage(directory: &Path) {
    let is_of_ids = |path: &PathBuf| {
        let folders: Vec<_> = path.components().rev().map(|part| part.as_os_str().to_owned()).collect();
        // The first is the store's own.
        folders[1] == "tables" && folders[2] != "0"
    };
    let files: Vec<PathBuf> = walk(&directory.join("keyspaces")).into_iter().filter(is_of_ids).collect();
    assert!(!files.is_empty(), "no ids were sorted into files");
    for path in files {
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        let half = usize::try_from(file.metadata().unwrap().len() / 2).unwrap();
        file.write_all_at(&vec![0; half], 0).unwrap();
    }
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
    let none = Offsets::default();
    let verdicts = ids.judge(&other, &again[..1], &none, &none, &none).unwrap();
    assert_eq!(verdicts.unwrap(), [false], "streams are apart");
}

/// The rows of the first life of a stream are dropped with its tables: what is sent again in the second one is no duplicate.
#[test]
fn what_was_let_go_of_is_no_first_one_but_what_comes_after_it_is() {
    let directory = TempDir::new().unwrap();
    let ids = MessageIds::open(directory.path()).unwrap();
    judge(&ids, &[seen(1, 0, 0, DAY), seen(2, 0, 1, 2 * DAY), seen(3, 0, 2, 3 * DAY)]);
    let judge = |records: &[Seen]| {
        let none = Offsets::default();
        ids.judge(&clicks(), records, &none, &none, &to(3)).unwrap().unwrap()
    };
    // On a day before, on the same day, and after a clock was set back.
    let again = [seen(1, 1, 0, 2 * DAY), seen(2, 1, 1, 2 * DAY), seen(3, 1, 2, 2 * DAY), seen(3, 1, 3, 2 * DAY)];
    for _ in 0..2 {
        assert_eq!(judge(&again), [false, false, false, true]);
    }
    let retries = [1, 2, 3].map(|id| seen(id, 1, 9, 3 * DAY));
    assert_eq!(judge(&retries), [true; 3]);
}

#[test]
fn ids_and_how_far_they_go_are_there_after_reopening() {
    let directory = TempDir::new().unwrap();
    let covered = to(1);
    let ids = MessageIds::open(directory.path()).unwrap();
    judge_after(&ids, &[seen(1, 0, 0, 0)], &Offsets::default(), &covered).unwrap().unwrap();
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
    assert!(days(&ids).iter().all(|day| *day >= 3), "{:?}", days(&ids));
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
    judge_after(&ids, &[seen(1, 0, 0, 0), seen(2, 0, 1, 0)], &Offsets::default(), &to(2)).unwrap().unwrap();
    ids.fit(|_| to(2)).unwrap();
    assert_eq!(judge(&ids, &[seen(2, 0, 1, 0)]), [false], "it fits, and stays");
    judge_after(&ids, &[], &Offsets::default(), &to(2)).unwrap().unwrap();
    ids.fit(|stream| if stream == "clicks" { to(1) } else { Offsets::default() }).unwrap();
    assert_eq!(ids.covered(&clicks()).unwrap(), Offsets::default());
    assert_eq!(judge(&ids, &[seen(1, 0, 0, 0), seen(3, 0, 1, 0), seen(2, 0, 2, 0)]), [false; 3]);
}

#[test]
fn who_relies_on_an_index_that_was_begun_anew_is_told() {
    let directory = TempDir::new().unwrap();
    let ids = MessageIds::open(directory.path()).unwrap();
    judge_after(&ids, &[seen(1, 0, 0, 0)], &Offsets::default(), &to(1)).unwrap().unwrap();
    // Another delivery came upon damage, say.
    ids.fit(|_| Offsets::default()).unwrap();
    let again = [seen(1, 0, 1, 0)];
    assert_eq!(judge_after(&ids, &again, &to(1), &to(2)).unwrap(), None, "it does not know the first");
    assert_eq!(ids.covered(&clicks()).unwrap(), Offsets::default(), "nothing was remembered");
    judge(&ids, &[seen(1, 0, 0, 0)]);
    assert_eq!(judge(&ids, &again), [true]);
}

#[test]
fn an_index_whose_removal_was_cut_short_is_empty() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("ids");
    judge(&MessageIds::open(&path).unwrap(), &[seen(1, 0, 0, 0)]);
    // Half of it is gone, under another name.
    let gone = directory.path().join("ids.gone");
    fs::rename(&path, &gone).unwrap();
    fs::remove_file(gone.join("version")).unwrap();
    let ids = MessageIds::open(&path).unwrap();
    assert_eq!(judge(&ids, &[seen(1, 0, 1, 0)]), [false]);
    assert!(!gone.try_exists().unwrap());
}

/// The disk takes its time with a file: ids do not gather in memory, their judge waits.
#[test]
fn ids_that_wait_for_a_slow_disk_are_bounded() {
    let directory = TempDir::new().unwrap();
    let ids = MessageIds::with_parts(directory.path(), SMALL_PART).unwrap();
    judge(&ids, &[seen(0, 0, 0, 0)]);
    let bucket = bucket(&ids, 0);
    let slow = bucket.tree.get_flush_lock();
    let most = thread::scope(|scope| {
        let judging = scope.spawn(|| {
            let batches = (0..30).map(|number| {
                judge(&ids, &batch(number));
                in_memory(&ids)
            });
            batches.max().unwrap()
        });
        while !judging.is_finished() && !is_full(&bucket) {
            thread::sleep(Duration::from_millis(1));
        }
        drop(slow);
        judging.join().unwrap()
    });
    assert!(most < 1 << 20, "{most} bytes of ids were in memory");
    assert_eq!(judge(&ids, &elsewhere(&batch(7))), [true; BATCH as usize]);
}

/// The thread that makes room fails, on a full disk for example: nobody waits for it any more.
#[test]
fn who_waits_for_a_disk_that_fails_is_told_and_may_ask_again() {
    let directory = TempDir::new().unwrap();
    let ids = MessageIds::with_parts(directory.path(), SMALL_PART).unwrap();
    judge(&ids, &[seen(0, 0, 0, 0)]);
    let bucket = bucket(&ids, 0);
    let slow = bucket.tree.get_flush_lock();
    let error = thread::scope(|scope| {
        let judging = scope.spawn(|| {
            let none = Offsets::default();
            (0..30).find_map(|number| judge_after(&ids, &batch(number), &none, &none).err())
        });
        while !judging.is_finished() && !is_full(&bucket) {
            thread::sleep(Duration::from_millis(1));
        }
        fs::remove_dir_all(bucket.path().join("tables")).unwrap();
        drop(slow);
        judging.join().unwrap()
    });
    assert_eq!(error.expect("it waited, and was told").kind(), Kind::Unavailable);
    // Who holds a part of the store keeps it from being opened again.
    drop(bucket);
    assert_eq!(judge(&ids, &batch(0)), [false; BATCH as usize], "they are where they were");
    assert_eq!(judge(&ids, &elsewhere(&batch(0))), [true; BATCH as usize]);
}

/// The store would wait for ever for files to be merged that nobody merges.
#[test]
fn files_that_nobody_merged_are_merged() {
    let directory = TempDir::new().unwrap();
    let ids = MessageIds::open(directory.path()).unwrap();
    for number in 0..40 {
        judge(&ids, &batch(number)[..10]);
        bucket(&ids, 0).tree.flush_active_memtable(0).unwrap();
    }
    let waiting = bucket(&ids, 0).l0_table_count();
    assert!(waiting <= FILES_WAITING_MAX, "{waiting} files");
    for number in 0..40 {
        assert_eq!(judge(&ids, &elsewhere(&batch(number)[..10])), [true; 10], "batch {number}");
    }
}

#[test]
fn days_that_are_over_leave_the_disk() {
    let directory = TempDir::new().unwrap();
    let ids = MessageIds::with_parts(directory.path(), SMALL_PART).unwrap();
    for day in 0..12 {
        let records = batch(day).into_iter().map(|seen| {
            let received_at = Timestamp::from_micros(i64::try_from(day).unwrap() * DAY);
            Seen { received_at, ..seen }
        });
        judge(&ids, &records.collect::<Vec<_>>());
    }
    assert_eq!(days(&ids), BTreeSet::from([9, 10, 11]));
    // With the store's own, and how far streams were judged.
    let folders = || fs::read_dir(directory.path().join("keyspaces")).unwrap().count();
    let begun = Instant::now();
    while folders() > 5 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{} folders", folders());
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn damage_that_a_look_comes_upon_is_no_verdict() {
    let directory = TempDir::new().unwrap();
    let ids = MessageIds::open(directory.path()).unwrap();
    let records: Vec<Seen> = (0..5).flat_map(batch).collect();
    judge_after(&ids, &records, &Offsets::default(), &to(5_000)).unwrap().unwrap();
    bucket(&ids, 0).rotate_memtable_and_wait().unwrap();
    drop(ids);
    damage(directory.path());
    let ids = MessageIds::open(directory.path()).unwrap();
    assert_eq!(judge_after(&ids, &records, &to(5_000), &to(10_000)).unwrap(), None);
    assert_eq!(ids.covered(&clicks()).unwrap(), Offsets::default(), "it is to be filled again");
    assert_eq!(judge_after(&ids, &records, &Offsets::default(), &to(5_000)).unwrap(), Some(vec![false; 5_000]));
}

#[test]
fn damage_that_a_merge_comes_upon_does_not_stay() {
    let directory = TempDir::new().unwrap();
    let ids = MessageIds::with_parts(directory.path(), SMALL_PART).unwrap();
    let mut covered = Offsets::default();
    for number in 0..10 {
        let next = to((number + 1) * BATCH);
        judge_after(&ids, &batch(number), &covered, &next).unwrap().unwrap();
        covered = next;
    }
    bucket(&ids, 0).rotate_memtable_and_wait().unwrap();
    drop(ids);
    damage(directory.path());
    let ids = MessageIds::with_parts(directory.path(), SMALL_PART).unwrap();
    let mut is_anew = false;
    for number in 10..100 {
        let next = to((number + 1) * BATCH);
        match judge_after(&ids, &batch(number), &covered, &next) {
            Ok(Some(verdicts)) => {
                assert_eq!(verdicts, [false; BATCH as usize]);
                covered = next;
            }
            Ok(None) => {
                is_anew = true;
                break;
            }
            // The same may be asked again, and so it is with the next.
            Err(error) => assert_eq!(error.kind(), Kind::Unavailable),
        }
    }
    assert!(is_anew, "it was merged, or has not been noticed");
    assert_eq!(ids.covered(&clicks()).unwrap(), Offsets::default());
}

fn unreadable(_: &Store) -> fjall::Result<()> {
    Err(io::Error::from(rustix::io::Errno::IO).into())
}

#[test]
fn an_index_that_the_disk_fails_to_read_for_long_is_begun_anew() {
    let directory = TempDir::new().unwrap();
    let mut ids = MessageIds::open(directory.path()).unwrap();
    ids.patience = Duration::ZERO;
    judge_after(&ids, &[seen(1, 0, 0, 0)], &Offsets::default(), &to(1)).unwrap().unwrap();
    for _ in 1..DISK_ERRORS_MAX {
        let error = ids.with(unreadable).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.hint().unwrap_or_default().contains("the disk fails"), "{error:?}");
        assert_eq!(ids.covered(&clicks()).unwrap(), to(1), "it is tried again");
    }
    ids.with(unreadable).unwrap_err();
    assert_eq!(ids.covered(&clicks()).unwrap(), Offsets::default(), "it is to be filled again");
    assert_eq!(ids.begun_anew(), 1);
    ids.with(unreadable).unwrap_err();
    assert_eq!(ids.begun_anew(), 1, "the new one has the same patience");
}

#[test]
fn a_disk_that_fails_for_a_moment_costs_no_index() {
    let directory = TempDir::new().unwrap();
    let ids = MessageIds::open(directory.path()).unwrap();
    judge_after(&ids, &[seen(1, 0, 0, 0)], &Offsets::default(), &to(1)).unwrap().unwrap();
    for _ in 0..3 * DISK_ERRORS_MAX {
        ids.with(unreadable).unwrap_err();
    }
    assert_eq!((ids.covered(&clicks()).unwrap(), ids.begun_anew()), (to(1), 0));
}

/// Batches that are on disk, how far they go in a file if `covered_in_file`, the ids in the store's own log alone.
fn logged(directory: &Path, covered_in_file: bool) {
    let ids = MessageIds::open(directory).unwrap();
    let mut covered = Offsets::default();
    for number in 0..6 {
        let next = to((number + 1) * BATCH);
        judge_after(&ids, &batch(number), &covered, &next).unwrap().unwrap();
        covered = next;
    }
    ids.sync().unwrap();
    if covered_in_file {
        let meta = match &*ids.state() {
            State::Open(store) => store.meta.clone(),
            _ => panic!("the index is not open"),
        };
        meta.rotate_memtable_and_wait().unwrap();
    }
}

/// Has the store's own log begin its fourth batch with what is no beginning: the store drops that and all behind it.
fn damage_log(directory: &Path) {
    /// What a batch ends with.
    const END: &[u8] = b"FJL\x03";
    let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "jnl");
    let path = walk(directory).into_iter().find(is_log).unwrap();
    let bytes = fs::read(&path).unwrap();
    let mut ends = bytes.windows(END.len()).enumerate().filter(|(_, bytes)| *bytes == END);
    let (third, _) = ends.nth(2).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[9], (third + END.len()) as u64).unwrap();
}

#[test]
fn ids_that_are_gone_from_the_log_of_the_index_are_missed() {
    let directory = TempDir::new().unwrap();
    logged(directory.path(), true);
    let ids = MessageIds::open(directory.path()).unwrap();
    assert_eq!(ids.covered(&clicks()).unwrap(), to(6 * BATCH), "it is whole");
    drop(ids);
    damage_log(directory.path());
    let ids = MessageIds::open(directory.path()).unwrap();
    assert_eq!(ids.covered(&clicks()).unwrap(), Offsets::default(), "it is to be filled again");
    assert_eq!(judge_after(&ids, &elsewhere(&batch(5)), &to(6 * BATCH), &to(7 * BATCH)).unwrap(), None);
}

#[test]
fn what_is_gone_together_with_how_far_it_went_is_not_relied_on() {
    let directory = TempDir::new().unwrap();
    logged(directory.path(), false);
    damage_log(directory.path());
    let ids = MessageIds::open(directory.path()).unwrap();
    assert_eq!(ids.covered(&clicks()).unwrap(), to(3 * BATCH));
    let rest = judge_after(&ids, &elsewhere(&batch(2)), &to(3 * BATCH), &to(3 * BATCH)).unwrap();
    assert_eq!(rest, Some(vec![true; BATCH as usize]), "what is left is right");
}

/// An id that is told again by another record is there once, and counts once.
#[test]
fn an_index_that_is_whole_is_not_taken_for_damaged() {
    let directory = TempDir::new().unwrap();
    let records: Vec<Seen> = batch(0).into_iter().chain(batch(0)).collect();
    for round in 0..3 {
        let ids = MessageIds::with_parts(directory.path(), SMALL_PART).unwrap();
        let none = Offsets::default();
        // Of the first round's, nothing counts later on.
        let let_go = if round == 0 { none.clone() } else { to(BATCH) };
        ids.judge(&clicks(), &records, &none, &none, &let_go).unwrap().unwrap();
        let again = elsewhere(&records);
        ids.judge(&clicks(), &again, &none, &none, &let_go).unwrap().unwrap();
        bucket(&ids, 0).rotate_memtable_and_wait().unwrap();
        ids.sync().unwrap();
        // What was written again is still there twice when it is opened, and is not later on.
        drop(ids);
        let ids = MessageIds::with_parts(directory.path(), SMALL_PART).unwrap();
        ids.sync().unwrap();
        bucket(&ids, 0).major_compact().unwrap();
        ids.sync().unwrap();
    }
    let ids = MessageIds::with_parts(directory.path(), SMALL_PART).unwrap();
    assert_eq!(judge(&ids, &[seen(batch(0)[0].id.0, 3, 3, 0)]), [true], "it was not begun anew");
    assert_eq!(ids.begun_anew(), 0);
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
