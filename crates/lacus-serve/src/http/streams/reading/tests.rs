//! How much a reader has in memory at once, and what it is told.

use std::collections::BTreeSet;
use std::sync::Arc;

use lacus_core::{NewRecord, Position, StreamName, SystemClock, settings};
use lacus_stream::NewStream;
use tempfile::TempDir;

use super::*;

const SHARDS: usize = 16;
/// More than a shard gives at once, in each of them.
const RECORDS: usize = SHARDS * 600;

async fn filled(directory: &TempDir) -> (Log, StreamInfo) {
    let log = Log::open(directory.path(), &settings::Stream::default(), Arc::new(SystemClock)).unwrap();
    let name = StreamName::new("clicks").unwrap();
    log.create_stream(&name, &NewStream::of_shards(u32::try_from(SHARDS).unwrap())).unwrap();
    let value = format!("{{\"text\":\"{}\"}}", "x".repeat(1_000));
    let records = (0..RECORDS).map(|number| NewRecord::of(value.clone()).with_key(number.to_string()));
    log.append(&name, records.collect()).await.unwrap();
    let stream = log.stream(&name).unwrap();
    (log, stream)
}

fn everything() -> Asked {
    Asked { from: None, reader: None, shard: None, limit: None, follow: false, r#where: None, contains: None }
}

fn shards_of(lines: &Bytes) -> Vec<u64> {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice::<Value>(line).unwrap()["shard"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_turn_over_many_shards_is_bounded_and_each_has_its_turn() {
    let directory = tempfile::tempdir().unwrap();
    let (log, stream) = filled(&directory).await;
    let mut tail = Some(Tail::new(log, stream, everything()).unwrap());
    let mut shards = Vec::new();
    while let Some(reader) = tail.take() {
        let (lines, next) = reader.advance().await.unwrap();
        if let Some(lines) = lines {
            assert!(lines.len() < LINES_BYTES_ENOUGH + 2 * READ_BYTES_MAX, "{} bytes at once", lines.len());
            shards.extend(shards_of(&lines));
            tail = next;
        }
    }
    assert_eq!(shards.len(), RECORDS);
    shards.dedup();
    let first: BTreeSet<_> = shards.iter().take(SHARDS).collect();
    assert_eq!(first.len(), SHARDS, "each is read once before one is read again: {shards:?}");
}

#[test]
fn an_event_of_several_lines_is_one_line_and_what_it_was() {
    let value = "{\"price\":\r\n 1.50,\n \"big\": 12345678901234567890123,\n\"text\":\"a\\n\",\"x\":1,\"x\":2}\n";
    let record = Record {
        position: Position { partition: Partition(0), offset: Offset(7) },
        received_at: "2026-11-20T12:00:00Z".parse().unwrap(),
        key: None,
        id: None,
        value: Bytes::from(value),
    };
    let mut lines = Vec::new();
    write_line(&record, &mut lines);
    assert_eq!(
        String::from_utf8(lines).unwrap(),
        "{\"shard\":0,\"offset\":7,\"received_at\":\"2026-11-20T12:00:00.000000Z\",\"event\":{\"price\":   1.50,  \"big\": 12345678901234567890123, \"text\":\"a\\n\",\"x\":1,\"x\":2}}\n"
    );
}
