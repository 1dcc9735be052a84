//! Files go when they are old and delivered, not before; offsets are never used again.

use super::*;

/// One record in each of five files, received at second 10, 20, 30, 40 and 50. It is second 60.
async fn five_files(clock: &Arc<TestClock>) -> (TempDir, Log) {
    let directory = TempDir::new().unwrap();
    let log = Log::open(directory.path(), &settings(100), Arc::<TestClock>::clone(clock)).unwrap();
    log.create_stream(&clicks(), &NewStream::of_shards(1)).unwrap();
    for second in [10, 20, 30, 40, 50] {
        clock.set_ms(second * 1_000);
        log.append(&clicks(), vec![record(None, format!("at {second}"))]).await.unwrap();
    }
    clock.set_ms(60_000);
    (directory, log)
}

fn delivered(count: u64) -> impl Fn(&StreamName) -> Offsets {
    move |_| [(Partition(0), Offset(count))].into_iter().collect()
}

#[tokio::test]
async fn only_old_and_delivered_files_go() {
    let clock = Arc::new(TestClock::default());
    let (directory, log) = five_files(&clock).await;
    clock.set_ms(31_000);
    assert_eq!(log.retain(&|_| Offsets::default()).unwrap(), 0);
    let before = log.stats().disk_bytes;
    let freed = log.retain(&delivered(5)).unwrap();
    assert_eq!((log.stats().segments, log.stats().disk_bytes), (3, before - freed), "at 10, 20 < 31 - 1; 30 is not");
    assert_eq!(values(&read_all(&log)[0]), ["at 30", "at 40", "at 50"]);
    assert_eq!((files(directory.path(), "log").len(), files(directory.path(), "index").len()), (3, 2));

    let error = log.read(&clicks(), Partition(0), Offset(1), 100).unwrap_err();
    assert_eq!((error.kind(), error.hint()), (Kind::NotFound, Some("the first one still there has offset 2")));
    clock.set_ms(60_000);
    log.retain(&delivered(3)).unwrap();
    assert_eq!(values(&read_all(&log)[0]), ["at 40", "at 50"]);
    log.retain(&delivered(5)).unwrap();
    assert_eq!(values(&read_all(&log)[0]), ["at 50"], "the file being written to stays");
    drop(log);
    assert_eq!(values(&read_all(&open(directory.path()))[0]), ["at 50"]);
}

/// To say that the records are gone would tell a reader that it has all of the shard.
#[tokio::test]
async fn a_time_is_found_though_retention_takes_files_meanwhile() {
    let clock = Arc::new(TestClock::default());
    let (_directory, log) = five_files(&clock).await;
    log.retain(&delivered(3)).unwrap();
    let id = log.partition_id(&clicks(), Partition(0)).unwrap();
    let at = |ms: i64| Timestamp::from_micros(ms * 1_000);
    for (ms, expected) in [(0, 3), (45_000, 4), (60_000, 5)] {
        let found = reading::first_since(&log.inner.shared, id, Offset(0)..Offset(5), at(ms)).unwrap();
        assert_eq!(found, Offset(expected), "{ms}");
    }
}

#[tokio::test]
async fn a_partition_whose_records_are_all_gone_goes_on_counting() {
    let clock = Arc::new(TestClock::default());
    let (directory, log) = five_files(&clock).await;
    let orders = StreamName::new("orders").unwrap();
    log.create_stream(&orders, &NewStream::of_shards(1)).unwrap();
    log.append(&orders, vec![record(None, "order")]).await.unwrap();
    log.retain(&delivered(5)).unwrap();
    let info = log.stream(&clicks()).unwrap();
    assert_eq!((info.start.total(), info.end.total()), (5, 5));
    drop(log);
    let log = open(directory.path());
    assert_eq!(log.stream(&clicks()), Some(info));
    assert_eq!(log.append(&clicks(), vec![record(None, "next")]).await.unwrap()[0].offset, Offset(5));
    assert_eq!(values(&read_all(&log)[0]), ["next"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_go_on_while_files_roll_and_go() {
    let (_directory, log) = new_log(1, 2_000);
    let reader = {
        let log = log.clone();
        thread::spawn(move || {
            let mut next = Offset(0);
            while next < Offset(500) {
                match log.read(&clicks(), Partition(0), next, 300) {
                    Ok(records) => {
                        for record in records {
                            assert_eq!((record.position.offset, record.value), (next, next.0.to_string().into()));
                            next = next.plus(1);
                        }
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), Kind::NotFound, "{error}");
                        next = log.stream(&clicks()).unwrap().start.next(Partition(0));
                    }
                }
            }
        })
    };
    for number in 0..500_u64 {
        log.append(&clicks(), vec![record(None, number.to_string())]).await.unwrap();
        if number % 50 == 49 {
            // As if all were old: the retention of the tests is a second, which nobody wants to wait for.
            let limits = Limits { now: Timestamp::from_micros(i64::MAX), retention: Millis(1_000), bytes_max: None };
            retention::retain(&log.inner.shared, &limits, &delivered(number)).unwrap();
        }
    }
    tokio::task::spawn_blocking(|| reader.join().unwrap()).await.unwrap();
}

#[tokio::test]
async fn files_written_while_the_clock_was_ahead_go_too() {
    let directory = TempDir::new().unwrap();
    let clock = Arc::new(TestClock::default());
    let log = Log::open(directory.path(), &settings(100), Arc::<TestClock>::clone(&clock)).unwrap();
    log.create_stream(&clicks(), &NewStream::of_shards(1)).unwrap();
    for second in [10, 4_000_000_000, 20, 30] {
        clock.set_ms(second * 1_000);
        log.append(&clicks(), vec![record(None, format!("at {second}"))]).await.unwrap();
    }
    clock.set_ms(60_000);
    log.retain(&delivered(4)).unwrap();
    assert_eq!(values(&read_all(&log)[0]), ["at 30"]);
}

/// A machine whose clock begins at its epoch until it is told the time.
#[tokio::test]
async fn files_from_before_the_clock_was_behind_are_no_older_for_it() {
    let directory = TempDir::new().unwrap();
    let clock = Arc::new(TestClock::default());
    let settings = settings::Stream { retention: Millis(50_000), ..settings(100) };
    let log = Log::open(directory.path(), &settings, Arc::<TestClock>::clone(&clock)).unwrap();
    log.create_stream(&clicks(), &NewStream::of_shards(1)).unwrap();
    for second in [100, 2, 101, 102] {
        clock.set_ms(second * 1_000);
        log.append(&clicks(), vec![record(None, format!("at {second}"))]).await.unwrap();
    }
    clock.set_ms(110_000);
    assert_eq!(log.retain(&delivered(4)).unwrap(), 0);
    assert_eq!(values(&read_all(&log)[0]), ["at 100", "at 2", "at 101", "at 102"]);
    clock.set_ms(155_000);
    log.retain(&delivered(4)).unwrap();
    assert_eq!(values(&read_all(&log)[0]), ["at 102"], "101 is older than 155 - 50");
}
