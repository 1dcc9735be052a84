//! A disk that is full, and then is not: senders are told to try again, readers go on, and the log heals by itself.
//!
//! The disk is a small tmpfs in a mount namespace of the test's own (`unshare`), so it needs no root and leaves nothing
//! behind. Where the kernel gives no such namespace, the tests say so and end.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacus_core::units::{ByteSize, Millis};
use lacus_core::{Kind, NewRecord, Offset, Offsets, Partition, Result, StreamName, SystemClock, settings};
use lacus_stream::{Log, NewStream};
use tempfile::TempDir;

const DISK: &str = "LACUS_TEST_DISK";
const DISK_BYTES: u64 = 2 << 20;
/// How long a disk may take to be seen as it is.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Runs one of the tests below, which do nothing otherwise, on a small disk of its own.
#[expect(clippy::print_stderr, reason = "a test that can't be run here must not look like one that was")]
fn on_a_small_disk(child: &str) {
    let unshared = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        command
    };
    let directory = TempDir::new().expect("make a directory");
    let mount = format!("mount -t tmpfs -o size={DISK_BYTES} tmpfs \"${DISK}\"");
    let can_mount = unshared(&mount).env(DISK, directory.path()).status().is_ok_and(|status| status.success());
    if !can_mount {
        eprintln!("{child} was not run: nothing can be mounted here");
        return;
    }
    let done = unshared(&format!("{mount} && exec \"$@\""))
        .arg(std::env::current_exe().expect("a test knows its own path"))
        .args(["--exact", child, "--nocapture"])
        .env(DISK, directory.path())
        .output()
        .expect("it ran above");
    let (stdout, stderr) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
}

fn disk() -> Option<PathBuf> {
    std::env::var_os(DISK).map(PathBuf::from)
}

fn clicks() -> StreamName {
    StreamName::new("clicks").expect("it is a name")
}

fn open(directory: &Path, disk_reserve: u64) -> Result<Log> {
    let settings = settings::Stream {
        segment_bytes_max: ByteSize(64 << 10),
        retention: Millis(0),
        disk_reserve: ByteSize(disk_reserve),
        ..settings::Stream::default()
    };
    Log::open(directory, &settings, Arc::new(SystemClock))
}

fn record(number: u64, length: usize) -> NewRecord {
    NewRecord::of(format!("{number} {}", "x".repeat(length))).with_key((number % 7).to_string())
}

/// The numbers that are there.
fn numbers(log: &Log) -> Vec<u64> {
    let info = log.stream(&clicks()).expect("it was made");
    let mut numbers = Vec::new();
    for partition in info.shards.iter().map(|shard| shard.partition) {
        let mut next = info.start.next(partition);
        while next < info.end.next(partition) {
            for record in log.read(&clicks(), partition, next, 1 << 20).expect("readers go on") {
                let value = String::from_utf8_lossy(&record.value).into_owned();
                numbers.push(value.split(' ').next().and_then(|number| number.parse().ok()).expect("it has a number"));
                next = Offset(record.position.offset.0 + 1);
            }
        }
    }
    numbers.sort_unstable();
    numbers
}

/// Records that were acknowledged, with where they are.
#[derive(Default)]
struct Acknowledged(BTreeMap<u64, (Partition, Offset)>);

impl Acknowledged {
    /// Checks that each is there once, but for those that retention let go, and nothing else is.
    fn check(&self, log: &Log) {
        let start = log.stream(&clicks()).expect("it was made").start;
        let kept = self.0.iter().filter(|(_, (partition, offset))| *offset >= start.next(*partition));
        assert_eq!(numbers(log), kept.map(|(number, _)| *number).collect::<Vec<_>>());
    }

    async fn append(&mut self, log: &Log, number: u64, length: usize) -> Result<()> {
        let positions = log.append(&clicks(), vec![record(number, length)]).await?;
        self.0.insert(number, (positions[0].partition, positions[0].offset));
        Ok(())
    }
}

#[test]
fn a_full_disk_refuses_and_heals_wherever_it_fills() {
    on_a_small_disk("child_fills_the_disk");
}

#[tokio::test]
async fn child_fills_the_disk() {
    let Some(disk) = disk() else { return };
    let (directory, ballast) = (disk.join("log"), disk.join("ballast"));
    let mut log = open(&directory, 0).expect("open");
    log.create_stream(&clicks(), &NewStream::of_shards(2)).expect("make the stream");
    let mut acknowledged = Acknowledged::default();
    let mut number = 0;
    for round in 0..60_u64 {
        // Another size each time, so that the disk is full now in a write, now when a file is begun.
        let left = usize::try_from(60_000 + round * 1_777).expect("it is small");
        fill(&ballast, left);
        let before = log.cursor(&clicks(), "reader").expect("the stream is there");
        let mut refused = 0;
        while refused < 4 {
            number += 1;
            // The last ones are small: they may fit where a long one did not.
            let length = if refused < 2 { 3_000 } else { 10 };
            if let Err(error) = acknowledged.append(&log, number, length).await {
                assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
                assert_eq!(error.hint(), Some("nothing was acknowledged: send it again"));
                refused += 1;
            } else {
                refused = 0;
            }
        }
        acknowledged.check(&log);
        check_changes(&log, round, &before);
        fs::remove_file(&ballast).expect("remove the ballast");
        number += 1;
        acknowledged.append(&log, number, 3_000).await.expect("there is room again");
        acknowledged.check(&log);
        if round % 10 == 9 {
            drop(log);
            log = open(&directory, 0).expect("open again");
            acknowledged.check(&log);
        }
        let end = log.stream(&clicks()).expect("it was made").end;
        assert!(log.retain(&|_| end.clone()).expect("what is delivered goes") > 0);
    }
    log.close().await.expect("close");
    drop(log);
    acknowledged.check(&open(&directory, 0).expect("open again"));
}

/// Fills the disk but for about `left` bytes.
fn fill(ballast: &Path, left: usize) {
    let length = usize::try_from(DISK_BYTES).expect("it is small");
    // What fits of it is written.
    fs::write(ballast, vec![1; length]).ok();
    let written = fs::metadata(ballast).expect("it was begun").len();
    let file = fs::File::options().write(true).open(ballast).expect("it was begun");
    file.set_len(written.saturating_sub(left as u64)).expect("make it shorter");
}

/// On a full disk a change is done or refused, and refused means not done.
fn check_changes(log: &Log, round: u64, before: &Offsets) {
    let shards = log.stream(&clicks()).expect("it was made").shards;
    if let Err(error) = log.set_shard_count(&clicks(), 1 + u32::try_from(round % 3).expect("it is small")) {
        assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
        assert_eq!(log.stream(&clicks()).expect("it was made").shards, shards);
    }
    let moved = [(Partition(0), Offset(round))].into_iter().collect();
    match log.set_cursor(&clicks(), "reader", Some(&moved)) {
        Ok(()) => assert_eq!(log.cursor(&clicks(), "reader").expect("the stream is there"), moved),
        Err(error) => {
            assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
            assert_eq!(log.cursor(&clicks(), "reader").expect("the stream is there"), *before);
        }
    }
}

#[test]
fn the_reserve_is_left_free_and_retention_makes_room() {
    on_a_small_disk("child_keeps_the_reserve");
}

#[tokio::test]
async fn child_keeps_the_reserve() {
    let Some(disk) = disk() else { return };
    let reserve = 1 << 20;
    let log = open(&disk.join("log"), reserve).expect("open");
    log.create_stream(&clicks(), &NewStream::of_shards(1)).expect("make the stream");
    let mut acknowledged = Acknowledged::default();
    let (mut number, begun) = (0, Instant::now());
    let refusal = loop {
        number += 1;
        if let Err(error) = acknowledged.append(&log, number, 20_000).await {
            break error;
        }
        assert!(begun.elapsed() < TIME_MAX, "it was never refused");
    };
    assert_eq!(refusal.kind(), Kind::Unavailable);
    let free = free(&disk);
    assert!((reserve - 100_000..reserve + 100_000).contains(&free), "{free} bytes are free");
    let message = refusal.message();
    assert!(message.contains("stream.disk_reserve leaves 1.0 MB to the lake"), "{message}");
    acknowledged.check(&log);
    // What the reserve is for: the records are delivered, and their files go.
    let end = log.stream(&clicks()).expect("it was made").end;
    log.set_cursor(&clicks(), "delivery", Some(&end)).expect("there is room for that");
    assert!(log.retain(&|_| end.clone()).expect("what is delivered goes") > 500_000);
    let begun = Instant::now();
    while let Err(error) = acknowledged.append(&log, number, 20_000).await {
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(begun.elapsed() < TIME_MAX, "it never heals: {error}");
        tokio::task::yield_now().await;
    }
    acknowledged.check(&log);
}

/// The bytes that `df` says are free.
fn free(disk: &Path) -> u64 {
    let told = Command::new("df").args(["--output=avail", "-B1"]).arg(disk).output().expect("run df");
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    text.lines().last().and_then(|line| line.trim().parse().ok()).expect("df tells a number")
}

#[test]
fn a_log_on_a_read_only_disk_is_not_opened_and_not_harmed() {
    on_a_small_disk("child_is_read_only");
}

#[tokio::test]
async fn child_is_read_only() {
    let Some(disk) = disk() else { return };
    let directory = disk.join("log");
    let log = open(&directory, 0).expect("open");
    log.create_stream(&clicks(), &NewStream::of_shards(1)).expect("make the stream");
    let mut acknowledged = Acknowledged::default();
    acknowledged.append(&log, 1, 100).await.expect("append");
    drop(log);
    remount(&disk, "ro");
    let Err(error) = open(&directory, 0) else { panic!("it opened") };
    assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
    assert!(error.message().contains(".log"), "{error:?}");
    remount(&disk, "rw");
    let log = open(&directory, 0).expect("open again");
    acknowledged.check(&log);
    acknowledged.append(&log, 2, 100).await.expect("append");
}

fn remount(disk: &Path, how: &str) {
    let status = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(disk).status().expect("run mount");
    assert!(status.success());
}
