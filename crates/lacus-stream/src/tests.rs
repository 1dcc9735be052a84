//! The log as its users see it, on real files.

use std::sync::Arc;

use bytes::Bytes;
use lacus_core::units::ByteSize;
use lacus_core::{Kind, SystemClock};
use tempfile::TempDir;

use super::*;

fn name(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn settings() -> settings::Stream {
    settings::Stream { segment_bytes_max: ByteSize(64 << 10), ..settings::Stream::default() }
}

fn open(directory: &Path) -> Log {
    Log::open(directory, &settings(), Arc::new(SystemClock)).unwrap()
}

fn record(key: Option<&str>, value: impl Into<Vec<u8>>) -> NewRecord {
    NewRecord { key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())), value: Bytes::from(value.into()) }
}

fn read_all(log: &Log, stream: &StreamName) -> Vec<Vec<Record>> {
    let info = log.stream(stream).unwrap();
    (0..info.partitions).map(|partition| read_partition(log, &info, Partition(partition))).collect()
}

fn read_partition(log: &Log, info: &StreamInfo, partition: Partition) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    let mut next = info.start.next(partition);
    loop {
        let batch = log.read(&info.name, partition, next, 10_000).unwrap();
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

#[tokio::test]
async fn records_come_back_as_they_were_sent_also_after_reopening() {
    let directory = TempDir::new().unwrap();
    let clicks = name("clicks");
    let sent = vec![
        record(None, "a"),
        record(Some(""), ""),
        record(Some("k"), [0, 255, 10]),
        record(None, ""),
        record(None, "z"),
    ];
    let log = open(directory.path());
    log.create_stream(&clicks, 1).unwrap();
    let positions = log.append(&clicks, sent.clone()).await.unwrap();
    let offsets: Vec<u64> = positions.iter().map(|position| position.offset.0).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
    for log in [log, open(directory.path())] {
        let back: Vec<NewRecord> = read_all(&log, &clicks)
            .remove(0)
            .into_iter()
            .map(|record| NewRecord { key: record.key, value: record.value })
            .collect();
        assert_eq!(back, sent);
    }
}

#[tokio::test]
async fn unknown_names_are_not_found() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    let clicks = name("clicks");
    assert_eq!(log.append(&clicks, vec![record(None, "a")]).await.unwrap_err().kind(), Kind::NotFound);
    log.create_stream(&clicks, 2).unwrap();
    assert_eq!(log.read(&clicks, Partition(2), Offset(0), 1).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(log.read(&clicks, Partition(1), Offset(0), 1).unwrap(), []);
}
