//! What can't be appended is refused with the reason, and the log goes on.

use std::process::Command;
use std::task::{Context as Waking, Waker};

use super::*;

#[tokio::test]
async fn too_long_and_too_many_are_refused() {
    let directory = TempDir::new().unwrap();
    let small = settings::Stream { in_flight_bytes_max: ByteSize(1_000), ..settings(64 << 10) };
    let log = Log::open(directory.path(), &small, Arc::new(SystemClock)).unwrap();
    log.create_stream(&clicks(), &NewStream::of_shards(1)).unwrap();

    let error = log.append(&clicks(), vec![record(None, vec![b'x'; RECORD_BYTES_MAX + 1])]).await.unwrap_err();
    assert_eq!(error.message(), "a record of 10,485,761 bytes is too long: 10,485,760 are the most");
    let error = log.append(&clicks(), vec![record(None, [b'x'; 500]); 2]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "it can never fit: {error}");

    let half = [record(None, [b'x'; 492])];
    let waiting = append::reserve(&log.inner.shared, &half, 1_000).unwrap();
    log.append(&clicks(), half.to_vec()).await.unwrap();
    let waiting_too = append::reserve(&log.inner.shared, &half, 1_000).unwrap();
    let error = log.append(&clicks(), vec![record(None, "a")]).await.unwrap_err();
    assert_eq!((error.kind(), error.hint()), (Kind::Limited, Some("send it again a little later")));
    drop((waiting, waiting_too));
    log.append(&clicks(), half.to_vec()).await.unwrap();
    assert_eq!(log.stats().in_flight_bytes, 0);
}

#[tokio::test]
async fn the_longest_record_comes_back() {
    let (_directory, log) = new_log(1, 64 << 10);
    let longest = record(Some("key"), vec![b'x'; RECORD_BYTES_MAX - 3]);
    log.append(&clicks(), vec![record(None, "a"), longest.clone(), record(None, "b")]).await.unwrap();
    let records = read_all(&log).remove(0);
    assert_eq!(records.len(), 3);
    assert_eq!((&records[1].key, &records[1].value), (&longest.key, &longest.value));
}

#[tokio::test]
async fn partitions_that_cannot_be_are_refused() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    for partitions in [0, 1_025] {
        assert_eq!(log.create_stream(&clicks(), &NewStream::of_shards(partitions)).unwrap_err().kind(), Kind::Invalid);
    }
    assert_eq!(log.streams(), []);
}

#[tokio::test]
async fn a_sender_that_goes_away_breaks_nothing() {
    let (_directory, log) = new_log(1, 64 << 10);
    let clicks_name = clicks();
    for number in 0..50 {
        let mut append = Box::pin(log.append(&clicks_name, vec![record(None, number.to_string())]));
        // Handed to the writer, then dropped before the answer.
        drop(append.as_mut().poll(&mut Waking::from_waker(Waker::noop())));
    }
    log.append(&clicks(), vec![record(None, "last")]).await.unwrap();
    let expected: Vec<String> = (0..50).map(|number: u32| number.to_string()).chain(["last".to_owned()]).collect();
    assert_eq!(values(&read_all(&log)[0]), expected);
    log.close().await.unwrap();
    assert_eq!(log.stats().in_flight_bytes, 0);
}

#[tokio::test]
async fn closing_writes_what_waits_and_refuses_what_comes() {
    let (directory, log) = new_log(1, 64 << 10);
    let sent: Vec<_> = (0..50)
        .map(|number| {
            let log = log.clone();
            tokio::spawn(async move { log.append(&clicks(), vec![record(None, number.to_string())]).await })
        })
        .collect();
    tokio::task::yield_now().await;
    assert!(!log.is_closed());
    log.close().await.unwrap();
    log.close().await.unwrap();
    assert!(log.is_closed());
    let mut acknowledged = 0;
    for append in sent {
        match append.await.unwrap() {
            Ok(_) => acknowledged += 1,
            Err(error) => assert_eq!(error.kind(), Kind::Unavailable),
        }
    }
    assert_eq!(log.append(&clicks(), vec![record(None, "late")]).await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(read_all(&log)[0].len(), acknowledged);
    drop(log);
    assert_eq!(read_all(&open(directory.path()))[0].len(), acknowledged);
}

#[tokio::test]
async fn when_no_file_can_be_begun_appends_are_refused_until_one_can() {
    let (directory, log) = new_log(1, 100);
    log.append(&clicks(), vec![record(None, "before")]).await.unwrap();
    let (segments, away) = (directory.path().join("segments"), directory.path().join("away"));
    fs::rename(&segments, &away).unwrap();
    for _ in 0..3 {
        let error = log.append(&clicks(), vec![record(None, "refused")]).await.unwrap_err();
        assert_eq!((error.kind(), error.hint()), (Kind::Unavailable, Some("nothing was acknowledged: send it again")));
        assert_eq!(values(&read_all(&log)[0]), ["before"]);
    }
    fs::rename(&away, &segments).unwrap();
    log.append(&clicks(), vec![record(None, "after")]).await.unwrap();
    assert_eq!(values(&read_all(&log)[0]), ["before", "after"]);
    assert_eq!((log.stats().refused_groups, log.stats().segments), (3, 2));
    drop(log);
    assert_eq!(values(&read_all(&open(directory.path()))[0]), ["before", "after"]);
}

const FULL_DISK_DIRECTORY: &str = "LACUS_TEST_FULL_DISK_DIRECTORY";

/// The kernel refuses to let files grow beyond a limit, half way through a write, as it does on a full disk.
#[test]
fn a_write_that_fails_half_way_is_refused_and_never_seen() {
    let directory = TempDir::new().unwrap();
    let limited = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "tests::refusals::child_with_a_full_disk", "--nocapture"])
        .env(FULL_DISK_DIRECTORY, directory.path())
        .output()
        .unwrap();
    assert!(limited.status.success(), "{}", String::from_utf8_lossy(&limited.stderr));
    let acknowledged = fs::read_to_string(directory.path().join("acknowledged")).unwrap();
    let log = try_open(directory.path(), 1 << 20).unwrap();
    assert_eq!(values(&read_all(&log)[0]), acknowledged.lines().map(padded).collect::<Vec<_>>());
}

fn padded(number: &str) -> String {
    format!("{number} {}", "x".repeat(700))
}

/// Does nothing unless the test above runs it.
#[tokio::test]
async fn child_with_a_full_disk() {
    let Some(directory) = std::env::var_os(FULL_DISK_DIRECTORY).map(PathBuf::from) else { return };
    let log = try_open(&directory, 1 << 20).unwrap();
    log.create_stream(&clicks(), &NewStream::of_shards(1)).unwrap();
    let mut acknowledged = String::new();
    let mut refused = 0;
    for number in 0..300 {
        match log.append(&clicks(), vec![record(None, padded(&number.to_string()))]).await {
            Ok(_) => acknowledged.push_str(&format!("{number}\n")),
            Err(error) => {
                assert_eq!(error.kind(), Kind::Unavailable);
                refused += 1;
            }
        }
    }
    assert!(refused >= 2, "only {refused} refused");
    assert_eq!(log.stats().segments, refused + 1);
    assert_eq!(read_all(&log)[0].len(), acknowledged.lines().count());
    fs::write(directory.join("acknowledged"), acknowledged).unwrap();
}
