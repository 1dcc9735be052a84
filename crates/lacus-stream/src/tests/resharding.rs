//! Shards that split and merge while records come and go.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use lacus_testkit::environment::Random;
use tokio::task::{JoinSet, spawn_blocking};

use super::*;

/// All records of `clicks`, the shards in an order in which parents come before their children.
fn read_in_order(log: &Log) -> Vec<Record> {
    read_all(log).concat()
}

/// The numbers that each key sent, in the order in which a reader meets them.
fn by_key(log: &Log) -> BTreeMap<String, Vec<u64>> {
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in read_in_order(log) {
        let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
        found.entry(key).or_default().push(String::from_utf8(record.value.to_vec()).unwrap().parse().unwrap());
    }
    found
}

fn open_shards(log: &Log) -> Vec<u32> {
    let info = log.stream(&clicks()).unwrap();
    info.shards.iter().filter(|shard| shard.is_open()).map(|shard| shard.partition.0).collect()
}

#[test]
fn a_split_and_a_merge_close_parents_and_open_children() {
    let (_directory, log) = new_log(2, 64 << 10);
    let half = 1 << 127;
    let info = log.split_shard(&clicks(), Partition(0), half / 2).unwrap();
    let shown: Vec<_> = info.shards.iter().map(|shard| (shard.partition.0, shard.is_open(), &shard.parents)).collect();
    let parent = vec![Partition(0)];
    let none = Vec::new();
    assert_eq!(shown, [(0, false, &none), (1, true, &none), (2, true, &parent), (3, true, &parent)]);
    assert_eq!((info.shards[2].hash_end, info.shards[3].hash_start), (half / 2 - 1, half / 2));

    let info = log.merge_shards(&clicks(), Partition(1), Partition(3)).unwrap();
    let merged = info.shards.last().unwrap();
    assert_eq!((merged.hash_start, merged.hash_end), (half / 2, u128::MAX));
    assert_eq!(merged.parents, [Partition(3), Partition(1)]);
    assert_eq!(open_shards(&log), [2, 4]);
}

#[test]
fn new_ranges_come_of_all_shards_that_they_overlap() {
    let (_directory, log) = new_log(2, 64 << 10);
    let shards = log.set_shard_count(&clicks(), 3).unwrap().shards;
    let shown: Vec<Vec<u32>> =
        shards[2..].iter().map(|shard| shard.parents.iter().map(|parent| parent.0).collect()).collect();
    assert_eq!(shown, [vec![0], vec![0, 1], vec![1]]);
    let shards = log.set_shard_count(&clicks(), 1).unwrap().shards;
    assert_eq!(shards[5].parents, [2, 3, 4].map(Partition));
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let (_directory, log) = new_log(3, 64 << 10);
    let before = log.stream(&clicks()).unwrap();
    let shard = &before.shards[1];
    let orders = StreamName::new("orders").unwrap();
    for (refused, kind) in [
        (log.split_shard(&clicks(), Partition(1), shard.hash_start), Kind::Invalid),
        (log.split_shard(&clicks(), Partition(1), shard.hash_end + 1), Kind::Invalid),
        (log.split_shard(&clicks(), Partition(9), 1), Kind::NotFound),
        (log.merge_shards(&clicks(), Partition(0), Partition(2)), Kind::Invalid),
        (log.merge_shards(&clicks(), Partition(0), Partition(0)), Kind::Invalid),
        (log.set_shard_count(&clicks(), 0), Kind::Invalid),
        (log.set_shard_count(&clicks(), 1_025), Kind::Invalid),
        (log.set_shard_count(&orders, 2), Kind::NotFound),
    ] {
        assert_eq!(refused.unwrap_err().kind(), kind);
    }
    assert_eq!(log.stream(&clicks()).unwrap(), before);
    assert_eq!(log.set_shard_count(&clicks(), 3).unwrap(), before, "it has three equal shards already");
}

#[test]
fn a_stream_has_so_many_shards_in_its_life() {
    let (_directory, log) = new_log(1024, 64 << 10);
    let full = (0..20).find_map(|turn| log.set_shard_count(&clicks(), 1024 - turn % 2).err()).unwrap();
    assert_eq!(full.kind(), Kind::Limited);
    let shards = log.stream(&clicks()).unwrap().shards;
    assert!(shards.iter().filter(|shard| shard.is_open()).count() >= 1023 && shards.len() <= SHARDS_EVER_MAX);
}

/// Reads as a delivery does: a shard only when its parents are closed and read to their end. Gives the numbers by key.
fn follow(log: &Log, is_over: &AtomicBool) -> BTreeMap<String, Vec<u64>> {
    let (mut seen, mut found) = (Offsets::default(), BTreeMap::<String, Vec<u64>>::new());
    loop {
        // Before the stream is described: what is sent until it is over is in the description.
        let was_over = is_over.load(Ordering::Acquire);
        let info = log.stream(&clicks()).unwrap();
        let is_read = |seen: &Offsets, shard: Partition| {
            !info.shards[shard.0 as usize].is_open() && seen.next(shard) == info.end.next(shard)
        };
        for shard in &info.shards {
            while shard.parents.iter().all(|parent| is_read(&seen, *parent)) {
                let records = log.read(&clicks(), shard.partition, seen.next(shard.partition), 10_000).unwrap();
                let Some(last) = records.last() else { break };
                seen.advance(shard.partition, last.position.offset.plus(1));
                for record in records {
                    let number = values(std::slice::from_ref(&record))[0].parse().unwrap();
                    let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
                    found.entry(key).or_default().push(number);
                }
            }
        }
        if was_over && info.end == seen {
            return found;
        }
    }
}

/// Splits, merges and spreads shards until it is over. Gives where each closed shard ended when it was closed.
fn keep_resharding(log: &Log, is_over: &AtomicBool, seed: u64) -> BTreeMap<Partition, Offset> {
    let mut random = Random::new(seed);
    let mut ends = BTreeMap::new();
    while !is_over.load(Ordering::Acquire) && log.stream(&clicks()).unwrap().shards.len() < 500 {
        let mut open = log.stream(&clicks()).unwrap().shards;
        open.retain(Shard::is_open);
        open.sort_by_key(|shard| shard.hash_start);
        let at = usize::try_from(random.below(open.len() as u64)).unwrap();
        let info = match (random.below(3), open.get(at + 1)) {
            (0, _) => log.set_shard_count(&clicks(), 1 + u32::try_from(random.below(8)).unwrap()),
            (1, Some(next)) => log.merge_shards(&clicks(), open[at].partition, next.partition),
            _ => log.split_shard(&clicks(), open[at].partition, open[at].hash_start / 2 + open[at].hash_end / 2),
        };
        let info = info.unwrap();
        for shard in info.shards.iter().filter(|shard| !shard.is_open()) {
            let end = info.end.next(shard.partition);
            assert_eq!(*ends.entry(shard.partition).or_insert(end), end, "seed {seed}: shard {shard:?} grew");
        }
    }
    ends
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keys_keep_their_order_while_shards_split_and_merge() {
    let seed = lacus_testkit::environment::seed();
    let (directory, log) = new_log(1, 64 << 10);
    let is_over = Arc::new(AtomicBool::new(false));
    let aside = || (log.clone(), Arc::clone(&is_over));
    let (follower_log, follower_over) = aside();
    let follower = spawn_blocking(move || follow(&follower_log, &follower_over));
    let (resharder_log, resharder_over) = aside();
    let resharder = spawn_blocking(move || keep_resharding(&resharder_log, &resharder_over, seed));
    let mut senders = JoinSet::new();
    for sender in 0..8 {
        let log = log.clone();
        senders.spawn(async move {
            for number in 0..150_u64 {
                let records = (0..3).map(|key| record(Some(&format!("{sender}-{key}")), number.to_string()));
                log.append(&clicks(), records.collect()).await.unwrap();
            }
        });
    }
    senders.join_all().await;
    is_over.store(true, Ordering::Release);
    let (ends, followed) = (resharder.await.unwrap(), follower.await.unwrap());

    let expected: Vec<u64> = (0..150).collect();
    assert_eq!(followed.len(), 24);
    assert!(followed.values().all(|numbers| *numbers == expected), "seed {seed}: {followed:?}");
    assert!(ends.len() > 3, "there should have been more reshards: {ends:?}");
    let before = log.stream(&clicks()).unwrap();
    drop(log);
    let log = open(directory.path());
    let info = log.stream(&clicks()).unwrap();
    assert_eq!(info, before);
    assert!(ends.iter().all(|(shard, end)| info.end.next(*shard) == *end), "seed {seed}: a closed shard grew");
    assert_eq!(by_key(&log), followed);
}

/// An append that chose its shards before they were closed, and comes to the writer after.
#[tokio::test]
async fn what_was_meant_for_a_closed_shard_is_sent_back_whole() {
    let (_directory, log) = new_log(2, 64 << 10);
    let shared = &log.inner.shared;
    let generation = shared.streams().generation();
    let stream = Arc::clone(shared.streams().live(&clicks()).unwrap());
    log.split_shard(&clicks(), Partition(0), 1000).unwrap();
    let at = |hash_key| NewRecord { hash_key: Some(hash_key), ..NewRecord::of("x") };
    for (records, is_written) in
        [(vec![at(u128::MAX)], true), (vec![at(0)], false), (vec![at(u128::MAX), at(0)], false)]
    {
        let reserved = append::reserve(shared, &records, 1_000).unwrap();
        let (answer, answered) = oneshot::channel();
        let frames = append::encode(&stream, &records).frames;
        let request = Request { frames, generation, answer, reserved };
        log.inner.commands.as_ref().unwrap().send(Command::Append(request)).await.ok();
        match answered.await.unwrap() {
            Ok(_) => assert!(is_written, "{records:?}"),
            Err(refusal) => assert!(matches!(refusal, Refusal::Resharded) && !is_written),
        }
    }
    assert_eq!(log.stream(&clicks()).unwrap().end, [(Partition(1), Offset(1))].into_iter().collect());
}

#[tokio::test]
async fn nothing_goes_to_a_closed_shard_and_hash_keys_choose_their_owner() {
    let (_directory, log) = new_log(1, 64 << 10);
    let at = |hash_key| NewRecord { hash_key: Some(hash_key), ..NewRecord::of("x") };
    assert_eq!(log.append(&clicks(), vec![at(0), at(u128::MAX)]).await.unwrap()[1].to_string(), "0/1");
    log.split_shard(&clicks(), Partition(0), 1000).unwrap();
    let positions = log.append(&clicks(), vec![at(999), at(1000), at(u128::MAX)]).await.unwrap();
    let shown: Vec<String> = positions.iter().map(Position::to_string).collect();
    assert_eq!(shown, ["1/0", "2/0", "2/1"]);
    let keyed = NewRecord { id: Some(lacus_core::MessageId(999)), ..NewRecord::of("by its id") };
    assert_eq!(log.append(&clicks(), vec![keyed]).await.unwrap()[0].to_string(), "1/1");
    assert_eq!(log.stream(&clicks()).unwrap().end.next(Partition(0)), Offset(2));
}

#[tokio::test]
async fn a_deleted_stream_takes_nothing_and_one_of_its_name_goes_on_with_new_shards() {
    let (directory, log) = new_log(2, 64 << 10);
    log.append(&clicks(), vec![record(Some("a"), "old"); 3]).await.unwrap();
    log.set_cursor(&clicks(), "me", Some(&[(Partition(0), Offset(1))].into_iter().collect())).unwrap();
    log.delete_stream(&clicks()).unwrap();
    assert_eq!(log.stream(&clicks()), None);
    assert_eq!(log.append(&clicks(), vec![record(None, "x")]).await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(log.delete_stream(&clicks()).unwrap_err().kind(), Kind::NotFound);
    drop(log);

    let log = open(directory.path());
    let deleted = log.streams().pop().unwrap();
    assert!(deleted.is_deleted);
    assert_eq!(deleted.end.total(), 3, "deliveries still find its records");
    let old: usize = (0..2).map(|shard| log.read(&clicks(), Partition(shard), Offset(0), 1 << 20).unwrap().len()).sum();
    assert_eq!(old, 3);

    let again = log.create_stream(&clicks(), &NewStream::of_shards(1)).unwrap();
    let current: Vec<u32> = again.current_shards().map(|shard| shard.partition.0).collect();
    assert_eq!((current, again.shards.len(), again.end.total()), (vec![2], 3, 3));
    assert_eq!(log.cursor(&clicks(), "me").unwrap(), Offsets::default());
    assert_eq!(log.append(&clicks(), vec![record(Some("a"), "new")]).await.unwrap()[0].to_string(), "2/0");
}

#[tokio::test]
async fn what_a_deleted_stream_had_is_let_go_of_and_stays_so() {
    let (directory, log) = new_log(2, 64 << 10);
    log.append(&clicks(), vec![record(Some("a"), "old"); 3]).await.unwrap();
    let all = log.stream(&clicks()).unwrap().end;
    assert_eq!(log.let_go(&clicks(), &all).unwrap_err().kind(), Kind::Conflict, "it is there");
    log.delete_stream(&clicks()).unwrap();
    assert_eq!(log.let_go(&clicks(), &Offsets::default()).unwrap_err().kind(), Kind::Conflict, "not all is delivered");
    assert!(!log.streams()[0].is_over());
    log.let_go(&clicks(), &all).unwrap();
    assert!(log.streams()[0].is_over());
    drop(log);

    let log = open(directory.path());
    assert!(log.streams()[0].is_over());
    log.create_stream(&clicks(), &NewStream::of_shards(1)).unwrap();
    log.append(&clicks(), vec![record(Some("a"), "new")]).await.unwrap();
    let again = log.stream(&clicks()).unwrap();
    assert_eq!((again.is_over(), &again.let_go), (false, &all));
    log.delete_stream(&clicks()).unwrap();
    assert!(!log.streams()[0].is_over(), "what came later is needed");
}

#[tokio::test]
async fn attributes_retention_and_cursors_are_there_after_reopening() {
    let (directory, log) = new_log(1, 64 << 10);
    let day = Some(Millis(86_400_000));
    log.change_attributes(&clicks(), &mut |attributes| {
        attributes.insert("team".to_owned(), "web".to_owned());
        Ok(())
    })
    .unwrap();
    let refused = log.change_attributes(&clicks(), &mut |attributes| {
        attributes.clear();
        Err(Error::invalid("no"))
    });
    assert_eq!(refused.unwrap_err().kind(), Kind::Invalid);
    log.set_retention(&clicks(), day).unwrap();
    let offsets: Offsets = [(Partition(0), Offset(7))].into_iter().collect();
    log.set_cursor(&clicks(), "warehouse", Some(&offsets)).unwrap();
    log.set_cursor(&clicks(), "gone", Some(&offsets)).unwrap();
    log.set_cursor(&clicks(), "gone", None).unwrap();
    drop(log);
    let log = open(directory.path());
    let info = log.stream(&clicks()).unwrap();
    assert_eq!((info.attributes["team"].as_str(), info.retention), ("web", day));
    assert_eq!(log.cursor(&clicks(), "warehouse").unwrap(), offsets);
    assert_eq!(log.cursor(&clicks(), "gone").unwrap(), Offsets::default());
}

#[tokio::test]
async fn a_time_is_found_across_files() {
    let directory = TempDir::new().unwrap();
    let clock = Arc::new(TestClock::default());
    let shared_clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&clock);
    let log = Log::open(directory.path(), &settings(200), shared_clock).unwrap();
    log.create_stream(&clicks(), &NewStream::of_shards(1)).unwrap();
    for number in 0..20 {
        clock.set_ms(1_000_000 + number * 100);
        log.append(&clicks(), vec![record(None, number.to_string())]).await.unwrap();
    }
    assert!(files(directory.path(), "log").len() > 3);
    let find = |ms: i64| log.find_time(&clicks(), Partition(0), Timestamp::from_micros(ms * 1_000)).unwrap().0;
    assert_eq!([find(0), find(1_000_000), find(1_000_001), find(1_001_000), find(1_001_900)], [0, 0, 1, 10, 19]);
    assert_eq!(find(1_001_901), 20);
}

#[test]
fn two_processes_never_share_a_log() {
    let (directory, log) = new_log(1, 64 << 10);
    let files = directory.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(files.filter(|name| name.to_string_lossy().contains("lock")).count(), 0, "it could be removed");
    let Err(error) = try_open(directory.path(), 64 << 10) else { panic!("it opened twice") };
    assert_eq!(error.kind(), Kind::Unavailable);
    drop(log);
    assert!(try_open(directory.path(), 64 << 10).is_ok());
}

#[tokio::test]
async fn damage_after_a_clean_close_is_damage_and_never_cut_off() {
    let (directory, log) = new_log(1, 64 << 10);
    log.append(&clicks(), vec![record(None, "acknowledged")]).await.unwrap();
    let file = last_file(directory.path());
    log.close().await.unwrap();
    drop(log);
    let last = fs::metadata(&file).unwrap().len() - 1;
    flip(&file, last);
    let log = open(directory.path());
    let error = log.read(&clicks(), Partition(0), Offset(0), 1).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
}

#[tokio::test]
async fn appends_wait_for_room_on_the_disk_and_readers_do_not() {
    let directory = TempDir::new().unwrap();
    let full = settings::Stream { disk_reserve: ByteSize(u64::MAX), ..settings(64 << 10) };
    let log = Log::open(directory.path(), &full, Arc::new(SystemClock)).unwrap();
    log.create_stream(&clicks(), &NewStream::of_shards(1)).unwrap();
    let error = log.append(&clicks(), vec![record(None, "x")]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.message().contains("stream.disk_reserve"), "{error}");
    assert_eq!(log.read(&clicks(), Partition(0), Offset(0), 1).unwrap(), []);
    drop(log);
    let log = open(directory.path());
    log.append(&clicks(), vec![record(None, "x")]).await.unwrap();
}

#[tokio::test]
async fn a_log_that_is_too_large_lets_young_delivered_files_go() {
    let directory = TempDir::new().unwrap();
    let small = settings::Stream {
        retention: Millis::seconds(86_400),
        retention_bytes: Some(ByteSize(3_000)),
        ..settings(1_000)
    };
    let log = Log::open(directory.path(), &small, Arc::new(SystemClock)).unwrap();
    log.create_stream(&clicks(), &NewStream::of_shards(1)).unwrap();
    for number in 0..40 {
        log.append(&clicks(), vec![record(None, format!("{number:0>200}"))]).await.unwrap();
    }
    assert_eq!(log.retain(&|_| Offsets::default()).unwrap(), 0, "nothing is delivered yet");
    let delivered: Offsets = [(Partition(0), Offset(20))].into_iter().collect();
    assert!(log.retain(&|_| delivered.clone()).unwrap() > 0);
    let start = log.stream(&clicks()).unwrap().start.next(Partition(0));
    assert!((10..=20).contains(&start.0), "{start:?}");
    let all = log.stream(&clicks()).unwrap().end;
    log.retain(&|_| all.clone()).unwrap();
    assert!(log.stats().disk_bytes <= 3_000);
}
