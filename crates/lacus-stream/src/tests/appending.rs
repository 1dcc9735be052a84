//! What is appended comes back, in order, and shares syncs.

use std::collections::HashMap;

use tokio::task::JoinSet;

use super::*;

#[tokio::test]
async fn records_come_back_as_they_were_sent_also_after_reopening() {
    let sent = vec![
        record(None, "a"),
        record(Some(""), ""),
        record(Some("k"), [0, 255, 10]),
        record(None, ""),
        record(None, vec![b'z'; 2 << 20]),
        record(Some("after a long one"), "z"),
    ];
    let (directory, log) = new_log(1, 64 << 10);
    let positions = log.append(&clicks(), sent.clone()).await.unwrap();
    let offsets: Vec<u64> = positions.iter().map(|position| position.offset.0).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4, 5]);
    let back = |log: &Log| -> Vec<NewRecord> {
        let records = read_all(log).remove(0).into_iter();
        records.map(|record| NewRecord { key: record.key, ..NewRecord::of(record.value) }).collect()
    };
    assert_eq!(back(&log), sent);
    drop(log);
    assert_eq!(back(&open(directory.path())), sent);
}

#[tokio::test]
async fn a_read_gives_about_what_it_was_asked_for_and_one_record_at_least() {
    let (_directory, log) = new_log(1, 64 << 10);
    log.append(&clicks(), vec![record(None, [b'x'; 100]); 10]).await.unwrap();
    let count = |from, bytes_max| log.read(&clicks(), Partition(0), Offset(from), bytes_max).unwrap().len();
    assert_eq!((count(0, 0), count(0, 100), count(0, 250), count(3, usize::MAX), count(10, 100)), (1, 1, 3, 7, 0));
}

#[tokio::test]
async fn a_read_begins_no_frame_for_the_last_few_bytes() {
    let (_directory, log) = new_log(1, 64 << 10);
    for _ in 0..2 {
        log.append(&clicks(), vec![record(None, [b'x'; 100]); 10]).await.unwrap();
    }
    let count = |from, bytes_max| log.read(&clicks(), Partition(0), Offset(from), bytes_max).unwrap().len();
    assert_eq!((count(0, 1_050), count(0, 1_100), count(5, 520), count(5, 600)), (10, 11, 5, 6));
}

#[tokio::test]
async fn short_records_count_as_the_memory_that_they_take() {
    let (_directory, log) = new_log(1, 64 << 10);
    log.append(&clicks(), vec![record(None, ""); 100]).await.unwrap();
    assert_eq!(log.read(&clicks(), Partition(0), Offset(0), 640).unwrap().len(), 10);
}

/// Few bytes to read must not keep many in memory.
#[tokio::test]
async fn records_do_not_keep_what_lies_between_them() {
    let (_directory, log) = new_log(1, 8 << 20);
    let orders = StreamName::new("orders").unwrap();
    log.create_stream(&orders, &NewStream::of_shards(1)).unwrap();
    for _ in 0..20 {
        log.append(&clicks(), vec![record(None, "a click")]).await.unwrap();
        log.append(&orders, vec![record(None, [b'o'; 20_000])]).await.unwrap();
    }
    let are_alone = |records: &[Record]| records.iter().all(|record| record.value.is_unique());
    let records = log.read(&clicks(), Partition(0), Offset(0), 1 << 20).unwrap();
    assert_eq!(values(&records), ["a click"; 20]);
    assert!(are_alone(&records), "each would keep all of the orders");
    let records = log.read(&orders, Partition(0), Offset(0), 1 << 20).unwrap();
    assert!(!are_alone(&records), "they fill what was read, and are not copied");

    // One append is one frame, which is read whole for whatever part of it.
    log.append(&clicks(), vec![record(None, [b'c'; 1_000]); 500]).await.unwrap();
    let records = log.read(&clicks(), Partition(0), Offset(20), 10_000).unwrap();
    assert_eq!(records.len(), 10);
    assert!(are_alone(&records), "ten would keep five hundred");
}

#[tokio::test]
async fn keys_keep_their_order_and_keyless_records_of_one_append_stay_together() {
    let (_directory, log) = new_log(5, 2_000);
    for turn in 0..30_u32 {
        let keyed = (0..7).map(|key| record(Some(&format!("k{key}")), turn.to_string()));
        let keyless = (0..3).map(|index| record(None, format!("{turn}/{index}")));
        let positions = log.append(&clicks(), keyed.chain(keyless).collect()).await.unwrap();
        assert_eq!(positions.len(), 10);
        assert!(positions[7..].iter().all(|position| position.partition == Partition(turn % 5)), "{positions:?}");
    }
    let mut by_key: HashMap<Option<Bytes>, Vec<String>> = HashMap::new();
    for record in read_all(&log).concat() {
        by_key.entry(record.key).or_default().push(String::from_utf8(record.value.to_vec()).unwrap());
    }
    let turns: Vec<String> = (0..30).map(|turn| turn.to_string()).collect();
    for key in 0..7 {
        assert_eq!(by_key[&Some(Bytes::from(format!("k{key}")))], turns);
    }
    assert_eq!(by_key[&None].len(), 90);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_share_syncs_and_each_is_told_where_its_records_are() {
    let (_directory, log) = new_log(3, 64 << 10);
    let mut senders = JoinSet::new();
    for sender in 0..64 {
        let log = log.clone();
        senders.spawn(async move {
            let mut placed = Vec::new();
            for number in 0..20 {
                let value = format!("{sender}/{number}");
                let sent = vec![record(Some(&sender.to_string()), value.clone()), record(None, value.clone())];
                for position in log.append(&clicks(), sent).await.unwrap() {
                    placed.push((position, value.clone()));
                }
            }
            placed
        });
    }
    let placed = senders.join_all().await.concat();
    let all = read_all(&log);
    assert_eq!((placed.len(), all.iter().map(Vec::len).sum::<usize>()), (2_560, 2_560));
    for (position, value) in placed {
        let record = &all[position.partition.0 as usize][usize::try_from(position.offset.0).unwrap()];
        assert_eq!(record.value, value);
    }
    let stats = log.stats();
    assert_eq!((stats.records, stats.in_flight_bytes), (2_560, 0));
    assert!(stats.groups < 1_280, "{stats:?}");
}

#[tokio::test]
async fn stamps_stay_when_the_clock_is_set_back_a_little_and_follow_it_far() {
    let directory = TempDir::new().unwrap();
    let clock = Arc::new(TestClock::default());
    let mut stamps = Vec::new();
    for times in [[50, 40], [30, 60], [9_000_000, 70], [80, 75]] {
        let log = Log::open(directory.path(), &settings(100), Arc::<TestClock>::clone(&clock)).unwrap();
        log.create_stream(&clicks(), &NewStream::of_shards(1)).unwrap();
        for time in times {
            clock.set_ms(time);
            log.append(&clicks(), vec![record(None, "a")]).await.unwrap();
        }
        stamps = read_all(&log)[0].iter().map(|record| record.received_at.as_millis()).collect();
    }
    assert_eq!(stamps, [50, 50, 50, 60, 9_000_000, 70, 80, 80]);
}

#[tokio::test]
async fn waiters_wake_for_records_and_streams() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    let mut changes = log.changes();
    log.create_stream(&clicks(), &NewStream::of_shards(1)).unwrap();
    changes.changed().await.unwrap();
    let clicks = clicks();
    let (appended, changed) = tokio::join!(log.append(&clicks, vec![record(None, "a")]), changes.changed());
    changed.unwrap();
    appended.unwrap();
    assert_eq!(log.stream(&clicks).unwrap().end.total(), 1);
}

#[tokio::test]
async fn streams_are_there_after_reopening_with_their_first_partitions() {
    let (directory, log) = new_log(3, 64 << 10);
    let orders = StreamName::new("orders").unwrap();
    log.create_stream(&orders, &NewStream::of_shards(1)).unwrap();
    assert_eq!(log.create_stream(&clicks(), &NewStream::of_shards(8)).unwrap().shards.len(), 3);
    log.append(&orders, vec![record(None, "order")]).await.unwrap();
    let before = log.streams();
    drop(log);
    let log = open(directory.path());
    assert_eq!(log.streams(), before);
    assert_eq!(log.read(&orders, Partition(0), Offset(0), 1).unwrap()[0].value, "order");
    assert_eq!(log.stream(&clicks()).unwrap().end, Offsets::default());
}

#[tokio::test]
async fn unknown_names_are_not_found() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    assert_eq!(log.append(&clicks(), vec![record(None, "a")]).await.unwrap_err().kind(), Kind::NotFound);
    log.create_stream(&clicks(), &NewStream::of_shards(2)).unwrap();
    assert_eq!(log.read(&clicks(), Partition(2), Offset(0), 1).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(log.read(&clicks(), Partition(1), Offset(0), 1).unwrap(), []);
    assert_eq!(log.append(&clicks(), vec![]).await.unwrap(), []);
}

/// A request that is taken off the queue and forgotten is answered with "the log is closed".
#[tokio::test]
async fn everything_that_is_taken_off_the_queue_is_in_a_group() {
    let (_directory, log) = new_log(1, 64 << 10);
    let shared = Arc::clone(&log.inner.shared);
    let (commands, mut waiting) = mpsc::channel(2);
    let sender = thread::spawn(move || {
        for _ in 0..20_000 {
            let reserved = append::reserve(&shared, &[record(None, "a")], 1 << 20).unwrap();
            let (answer, _) = oneshot::channel();
            let request = Request { frames: Vec::new(), generation: 0, answer, reserved };
            commands.blocking_send(Command::Append(request)).ok().unwrap();
        }
        let (closing, _) = oneshot::channel();
        commands.blocking_send(Command::Close(closing)).ok().unwrap();
    });
    let (mut count, mut closing) = (0, Vec::new());
    while let Some(first) = waiting.recv().await {
        count += writer::gather(first, &mut waiting, &mut closing).len();
    }
    sender.join().unwrap();
    assert_eq!((count, closing.len()), (20_000, 1));
}
