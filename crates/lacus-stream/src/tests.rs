//! The log as its users see it, on real files.

mod appending;
mod backup;
mod cursors;
mod damage;
mod formats;
mod fuzz;
mod model;
mod refusals;
mod resharding;
mod retaining;
mod tails;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicI64;

use bytes::Bytes;
use lacus_core::units::{ByteSize, Millis};
use lacus_core::{Kind, SystemClock};
use tempfile::TempDir;

use super::*;

/// A clock that stands still until a test moves it.
#[derive(Default)]
struct TestClock(AtomicI64);

impl TestClock {
    fn set_ms(&self, ms: i64) {
        self.0.store(ms * 1_000, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

fn clicks() -> StreamName {
    StreamName::new("clicks").unwrap()
}

/// Files of this many bytes, so that they roll soon.
fn settings(segment_bytes_max: u64) -> settings::Stream {
    settings::Stream {
        segment_bytes_max: ByteSize(segment_bytes_max),
        retention: Millis(1_000),
        ..settings::Stream::default()
    }
}

fn try_open(directory: &Path, segment_bytes_max: u64) -> Result<Log> {
    Log::open(directory, &settings(segment_bytes_max), Arc::new(SystemClock))
}

fn open(directory: &Path) -> Log {
    try_open(directory, 64 << 10).unwrap()
}

/// A log in a directory of its own, with stream `clicks`.
fn new_log(partitions: u32, segment_bytes_max: u64) -> (TempDir, Log) {
    let directory = TempDir::new().unwrap();
    let log = try_open(directory.path(), segment_bytes_max).unwrap();
    log.create_stream(&clicks(), &NewStream::of_shards(partitions)).unwrap();
    (directory, log)
}

fn record(key: Option<&str>, value: impl Into<Vec<u8>>) -> NewRecord {
    NewRecord { key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())), ..NewRecord::of(value.into()) }
}

/// Everything in stream `clicks`, by partition, read in small batches. Offsets must be dense.
fn read_all(log: &Log) -> Vec<Vec<Record>> {
    let info = log.stream(&clicks()).unwrap();
    info.shards.iter().map(|shard| read_partition(log, &info, shard.partition)).collect()
}

fn read_partition(log: &Log, info: &StreamInfo, partition: Partition) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    let mut next = info.start.next(partition);
    loop {
        let batch = log.read(&info.name, partition, next, 1_000).unwrap();
        for record in &batch {
            assert_eq!(record.position, Position { partition, offset: next });
            next = next.plus(1);
        }
        if batch.is_empty() {
            assert_eq!(next, info.end.next(partition));
            return records;
        }
        records.extend(batch);
    }
}

fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.value).into_owned()).collect()
}

/// The log files in order, or their indexes.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = directory.join("segments").read_dir().unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    files
}

fn last_file(directory: &Path) -> PathBuf {
    files(directory, "log").pop().unwrap()
}

fn copy(directory: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    copy_into(directory, to.path());
    to
}

fn copy_into(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("segments")).unwrap();
    fs::create_dir_all(to.join("cursors")).unwrap();
    for folder in ["", "segments", "cursors"] {
        let Ok(entries) = from.join(folder).read_dir() else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), to.join(folder).join(entry.file_name())).unwrap();
            }
        }
    }
}

fn flip(file: &Path, at: u64) {
    let mut bytes = fs::read(file).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 0x40;
    fs::write(file, bytes).unwrap();
}

#[track_caller]
fn check_corrupt<T>(result: Result<T>, file: &Path, position: u64) {
    let Err(error) = result else { panic!("damage was not noticed") };
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    let expected = format!("{} is damaged at byte {position}:", file.file_name().unwrap().to_str().unwrap());
    assert!(error.message().contains(&expected), "{error} should have: {expected}");
}
