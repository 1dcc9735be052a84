//! How much a reader has in memory at once, and what it is told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lacus_core::units::ByteSize;
use lacus_core::{NewRecord, Position, StreamName, SystemClock, settings};
use lacus_stream::NewStream;
use serde_json::Value;
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
    let mut tail = Some(Tail::new(log, Room::new(), stream, everything()).unwrap());
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

#[tokio::test]
async fn readers_have_a_bound_together_whether_they_want_what_they_read_or_not() {
    const BYTES: usize = 4 << 20;
    let directory = tempfile::tempdir().unwrap();
    let (log, stream) = filled(&directory).await;
    let room = Room { budget: Budget::new(BYTES), ..Room::new() };
    let budget = room.budget.clone();
    let tail = |r#where: Option<&str>| {
        let asked = Asked { r#where: r#where.map(str::to_owned), ..everything() };
        Tail::new(log.clone(), room.clone(), stream.clone(), asked).unwrap()
    };
    let mut others = budget.share();
    others.cover(BYTES).unwrap();
    let (all, none) = tokio::join!(tail(None).advance(), tail(Some("text=y")).advance());
    for refused in [all, none] {
        let Err(error) = refused else { panic!("there is no room") };
        assert_eq!(error.kind(), Kind::Limited, "{}", error.chain());
    }
    // Who waits is given what others give back, and has it until its lines are sent.
    let given_back = async {
        tokio::time::sleep(ROOM_PAUSE).await;
        drop(others);
    };
    let (read, ()) = tokio::join!(tail(None).advance(), given_back);
    let (lines, next) = read.unwrap();
    assert!(lines.is_some_and(|lines| budget.share().cover(BYTES).is_err() && !lines.is_empty()));
    budget.share().cover(BYTES).expect("a reader between two turns holds nothing");
    let (lines, next) = next.unwrap().advance().await.unwrap();
    drop((lines, next));
    let (lines, _) = tail(Some("text=y")).advance().await.unwrap();
    assert!(lines.is_none(), "nobody wants these");
    budget.share().cover(BYTES).expect("all is given back");
}

/// What was read counts only then, so few read at once. Who waits for room, or for records, is none of them.
#[tokio::test]
async fn a_reader_waits_until_there_are_fewer_who_read() {
    let directory = tempfile::tempdir().unwrap();
    let (log, stream) = filled(&directory).await;
    let room = Room::new();
    let tail = || Tail::new(log.clone(), room.clone(), stream.clone(), everything()).unwrap();
    let others = Arc::clone(&room.reads).acquire_many_owned(u32::try_from(READS_MAX).unwrap()).await.unwrap();
    let mut advance = Box::pin(tail().advance());
    assert!(tokio::time::timeout(ROOM_PAUSE, &mut advance).await.is_err(), "it reads beside all the others");
    drop(others);
    let (lines, _) = advance.await.unwrap();
    assert!(lines.is_some_and(|lines| !lines.is_empty()));
    assert_eq!(room.reads.available_permits(), READS_MAX, "a reader between two turns holds nothing");
    let mut all = room.budget.share();
    all.cover(RECORDS_BYTES_MAX).unwrap();
    let Err(error) = tail().advance().await else { panic!("there is no room") };
    assert_eq!((error.kind(), room.reads.available_permits()), (Kind::Limited, READS_MAX));
}

/// Almost all of their memory is what stands around them.
#[tokio::test]
async fn lines_of_short_records_count_as_long_as_they_live() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(directory.path(), &settings::Stream::default(), Arc::new(SystemClock)).unwrap();
    let name = StreamName::new("clicks").unwrap();
    log.create_stream(&name, &NewStream::of_shards(1)).unwrap();
    log.append(&name, (0..4_096).map(|_| NewRecord::of("{}")).collect()).await.unwrap();
    let room = Room::new();
    let mut tail = Tail::new(log.clone(), room.clone(), log.stream(&name).unwrap(), everything()).unwrap();
    let (lines, _) = tail.read().unwrap();
    assert!(lines.text.capacity() > 100_000, "{} bytes of lines", lines.text.capacity());
    let all_but_lines = RECORDS_BYTES_MAX - lines.text.capacity();
    assert!(room.budget.share().cover(all_but_lines + 1).is_err(), "others can have what lines take");
    drop(lines);
    room.budget.share().cover(RECORDS_BYTES_MAX).expect("all is given back");
}

#[tokio::test]
async fn a_long_line_takes_no_more_room_than_it_needs() {
    const BYTES: usize = 3 << 20;
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(directory.path(), &settings::Stream::default(), Arc::new(SystemClock)).unwrap();
    let name = StreamName::new("clicks").unwrap();
    log.create_stream(&name, &NewStream::of_shards(1)).unwrap();
    log.append(&name, vec![NewRecord::of(format!("\"{}\"", "x".repeat(BYTES)))]).await.unwrap();
    let room = Room::new();
    let tail = Tail::new(log.clone(), room.clone(), log.stream(&name).unwrap(), everything()).unwrap();
    let (lines, _) = tail.advance().await.unwrap();
    let lines = lines.unwrap();
    assert!(lines.len() > BYTES);
    let others = RECORDS_BYTES_MAX - BYTES - BYTES / 2;
    room.budget.share().cover(others).expect("others can have what the line does not take");
    drop(lines);
}

#[tokio::test]
async fn what_is_missing_is_told_and_not_looked_for_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    // Some records a file, and more files than stay open.
    let settings = settings::Stream { segment_bytes_max: ByteSize(4_096), ..settings::Stream::default() };
    let log = Log::open(directory.path(), &settings, Arc::new(SystemClock)).unwrap();
    let name = StreamName::new("clicks").unwrap();
    log.create_stream(&name, &NewStream::of_shards(1)).unwrap();
    for _ in 0..100 {
        log.append(&name, vec![NewRecord::of("x".repeat(1_000))]).await.unwrap();
    }
    std::fs::remove_file(directory.path().join("segments/00000000000000000001.log")).unwrap();
    for follow in [false, true] {
        let asked = Asked { follow, ..everything() };
        let tail = Tail::new(log.clone(), Room::new(), log.stream(&name).unwrap(), asked).unwrap();
        let told = tokio::time::timeout(Duration::from_secs(20), tail.advance()).await.expect("it ends");
        let Err(error) = told else { panic!("nothing is missing") };
        assert!(error.chain().contains("00000000000000000001.log"), "{}", error.chain());
    }
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
