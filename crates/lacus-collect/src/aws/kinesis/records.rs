//! Records in and out.
//!
//! A request is stored whole or refused whole: `PutRecords` never answers that some records failed, because what could make
//! one fail makes all fail. An error of the whole request is what boto3, the JavaScript and Java SDKs and the KPL send again
//! by themselves (`ProvisionedThroughputExceededException`, 5xx), and in the end raise; entries that failed inside a 200
//! are lost to every producer that does not look at `FailedRecordCount`.

use std::sync::{Mutex, PoisonError};

use lacus_core::{Error, Kind, Offset, Partition, Position, Record, RejectedEvent, Share, StreamName, Timestamp};
use lacus_stream::{FORMAT_ATTRIBUTE, Log, StreamInfo};
use serde::{Deserialize, Serialize};

use super::super::answer::Answer;
use super::super::wire::{AwsError, Blob, Protocol, Time};
use super::super::{Call, aws_name, find};
use super::entries::Batch;
use super::numbers::{ShardIterator, find_shard, offset_of, sequence_number, shard_id};
use super::shards::ChildShard;
use super::{Named, check_dry_run};
use crate::append;
use crate::stats::SourceStats;

/// Bytes of data in one `GetRecords`.
const GET_BYTES_MAX: usize = 10 << 20;
/// Bytes read from the log at first, as most readers are near the end, and then at once.
const FIRST_READ_BYTES: usize = 64 << 10;
const READ_BYTES: usize = 1 << 20;
/// Records of one `GetRecords`.
const GET_RECORDS_MAX: usize = 10_000;
/// Records of other doors need not have a key; clients expect one.
const NO_KEY: &str = "-";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Placed {
    shard_id: String,
    sequence_number: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AllPlaced {
    failed_record_count: u32,
    records: Vec<Placed>,
}

pub(super) async fn put_record(call: &Call<'_>) -> Result<Placed, AwsError> {
    let placed = put(call, call.take(Batch::of_one).await?).await?.pop();
    Ok(placed.ok_or_else(|| Error::internal("a record has no place"))?)
}

pub(super) async fn put_records(call: &Call<'_>) -> Result<AllPlaced, AwsError> {
    let records = put(call, call.take(Batch::of_many).await?).await?;
    Ok(AllPlaced { failed_record_count: 0, records })
}

async fn put(call: &Call<'_>, batch: Batch) -> Result<Vec<Placed>, AwsError> {
    let Batch { stream, is_dry_run, records, lasts, bytes } = batch;
    let stream = stream.find(call)?;
    if stream.attributes.contains_key(FORMAT_ATTRIBUTE) {
        return Err(AwsError::invalid(format!("stream {} is fed by the Segment API only", aws_name(&stream))));
    }
    check_dry_run(is_dry_run)?;
    call.admit(records.len(), bytes)?;
    let records = call.identified(&stream.name, records, bytes).await?;
    let tally = SourceStats::of_request(&records);
    let positions = append::store_there(call.inner, &stream.name, records, tally).await?;
    let placed = |position: &Position| Placed {
        shard_id: shard_id(position.partition),
        sequence_number: sequence_number(position.partition, position.offset),
    };
    Ok(lasts.iter().filter_map(|last| positions.get(*last)).map(placed).collect())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetShardIterator {
    #[serde(flatten)]
    stream: Named,
    shard_id: String,
    shard_iterator_type: String,
    starting_sequence_number: Option<String>,
    timestamp: Option<Time>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GotShardIterator {
    shard_iterator: String,
}

pub(super) async fn get_shard_iterator(call: &Call<'_>, asked: GetShardIterator) -> Result<GotShardIterator, AwsError> {
    let stream = asked.stream.find(call)?;
    let shard = find_shard(&stream, &asked.shard_id)?.partition;
    let end = stream.end.next(shard);
    let number = || {
        let missing = || AwsError::invalid("StartingSequenceNumber must be given with this ShardIteratorType.");
        let number = offset_of(shard, asked.starting_sequence_number.as_deref().ok_or_else(missing)?)?;
        let beyond = || AwsError::invalid(format!("StartingSequenceNumber is beyond the end of {}.", shard_id(shard)));
        if number <= end { Ok(number) } else { Err(beyond()) }
    };
    let offset = match asked.shard_iterator_type.as_str() {
        "TRIM_HORIZON" => stream.start.next(shard),
        "LATEST" => end,
        "AT_SEQUENCE_NUMBER" => number()?,
        // The last number of a shard that never had a record is told as its first: there is nothing after it either.
        "AFTER_SEQUENCE_NUMBER" => number()?.plus(1).min(end),
        "AT_TIMESTAMP" => {
            let missing = || AwsError::invalid("Timestamp must be given with AT_TIMESTAMP.");
            let (name, time) = (stream.name.clone(), asked.timestamp.ok_or_else(missing)?.0);
            call.with_log(move |log| log.find_time(&name, shard, time)).await?
        }
        _ => return Err(AwsError::validation("there is no such ShardIteratorType")),
    };
    check_dry_run(asked.dry_run)?;
    let stream = aws_name(&stream).to_owned();
    let iterator = ShardIterator { stream, shard, offset, made_at: call.inner.clock.now() };
    Ok(GotShardIterator { shard_iterator: iterator.to_text() })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetRecords {
    shard_iterator: String,
    limit: Option<usize>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GotRecords {
    records: Vec<WireRecord>,
    /// None at the end of a closed shard.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_shard_iterator: Option<String>,
    millis_behind_latest: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    child_shards: Vec<ChildShard>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WireRecord {
    sequence_number: String,
    approximate_arrival_timestamp: Time,
    data: Blob,
    partition_key: String,
}

/// A reader's turn: what it is to read, and until when.
struct Turn {
    iterator: ShardIterator,
    limit: usize,
    now: Timestamp,
    protocol: Protocol,
}

pub(super) async fn get_records(call: &Call<'_>, asked: GetRecords) -> Result<Answer, AwsError> {
    let now = call.inner.clock.now();
    let iterator = ShardIterator::parse(&asked.shard_iterator, now)?;
    let limit = asked.limit.unwrap_or(GET_RECORDS_MAX);
    if !(1..=GET_RECORDS_MAX).contains(&limit) {
        return Err(AwsError::validation(format!("Limit must be from 1 to {GET_RECORDS_MAX}.")));
    }
    let stream = call.find(&iterator.stream)?;
    find_shard(&stream, &shard_id(iterator.shard))?;
    if iterator.offset > stream.end.next(iterator.shard) {
        return Err(AwsError::invalid("Invalid ShardIterator."));
    }
    check_dry_run(asked.dry_run)?;
    let turn = Turn { iterator, limit, now, protocol: call.protocol };
    let share = call.share.clone();
    // Reading waits for the disk, and writing megabytes of base64 takes its time: neither is for the async threads.
    let answer = call.with_log(move |log| Ok(turn.take(log, &share))).await??;
    Ok(Answer::covered(answer, &call.share))
}

impl Turn {
    fn take(self, log: &Log, share: &Mutex<Share>) -> Result<Vec<u8>, AwsError> {
        let Self { iterator, limit, now, protocol } = self;
        let ShardIterator { shard, offset, .. } = iterator;
        let gone = || AwsError::not_found(format!("Stream {} was deleted.", iterator.stream));
        let stream = find(log, &iterator.stream).ok_or_else(gone)?;
        let mut share = share.lock().unwrap_or_else(PoisonError::into_inner);
        let (from, records) = read(log, &stream.name, shard, offset, limit, &mut share)?;
        let next = records.last().map_or(from, |record| record.position.offset.plus(1));
        // Asked once more: what came meanwhile must not make a reader believe that it has all.
        let stream = find(log, &iterator.stream).ok_or_else(gone)?;
        let is_closed = stream.shards.iter().any(|found| found.partition == shard && !found.is_open());
        let is_at_end = next >= stream.end.next(shard);
        let is_over = is_closed && is_at_end;
        let iterator = ShardIterator { offset: next, made_at: now, ..iterator };
        protocol.write(&GotRecords {
            millis_behind_latest: behind(&records, is_at_end, now),
            next_shard_iterator: (!is_over).then(|| iterator.to_text()),
            child_shards: if is_over { children(&stream, shard) } else { Vec::new() },
            records: records.into_iter().map(wire_record).collect(),
        })
    }
}

/// Reads from `from` on, or from the first record that retention left; says from where. Ends early rather than take memory
/// that other requests have.
fn read(
    log: &Log,
    stream: &StreamName,
    shard: Partition,
    mut from: Offset,
    limit: usize,
    share: &mut Share,
) -> Result<(Offset, Vec<Record>), AwsError> {
    let (mut records, mut bytes_left, mut step) = (Vec::new(), GET_BYTES_MAX, FIRST_READ_BYTES);
    while records.len() < limit && bytes_left > 0 {
        // The records, and as much as half again when they are written as base64.
        let covered = share.cover(5 * (GET_BYTES_MAX - bytes_left + step.min(bytes_left)) / 2);
        if let Err(error) = covered {
            if records.is_empty() { return Err(error.into()) } else { break }
        }
        let read = match log.read(stream, shard, from, step.min(bytes_left)) {
            Err(error) if error.kind() == Kind::NotFound && records.is_empty() => {
                from = left_by_retention(log, stream, shard, from)?;
                continue;
            }
            Err(error) if error.kind() == Kind::NotFound => break,
            read => read?,
        };
        if read.is_empty() {
            break;
        }
        for record in read {
            let bytes = record.value.len();
            if records.len() == limit || (bytes > bytes_left && !records.is_empty()) {
                return Ok((from, records));
            }
            bytes_left = bytes_left.saturating_sub(bytes);
            from = record.position.offset.plus(1);
            records.push(record);
        }
        step = READ_BYTES;
    }
    Ok((from, records))
}

/// The first record there still is. To say that the shard is not found would tell a reader that it has all of it.
fn left_by_retention(log: &Log, stream: &StreamName, shard: Partition, from: Offset) -> Result<Offset, AwsError> {
    let start = log.stream(stream).map(|stream| stream.start.next(shard));
    let start = start.ok_or_else(|| AwsError::unavailable("the stream was deleted just now"))?;
    if start > from { Ok(start) } else { Err(AwsError::unavailable("the records can't be read now")) }
}

fn behind(records: &[Record], is_at_end: bool, now: Timestamp) -> u64 {
    match records.last() {
        Some(last) if !is_at_end => now.millis_since(last.received_at).max(1),
        _ => u64::from(!is_at_end),
    }
}

fn children(stream: &StreamInfo, parent: Partition) -> Vec<ChildShard> {
    stream.shards.iter().filter(|shard| shard.parents.contains(&parent)).map(ChildShard::of).collect()
}

fn wire_record(record: Record) -> WireRecord {
    let Record { position: Position { partition, offset }, received_at, key, value, .. } = record;
    WireRecord {
        sequence_number: sequence_number(partition, offset),
        approximate_arrival_timestamp: Time(received_at),
        data: Blob(RejectedEvent::sent(value)),
        partition_key: key.map_or_else(|| NO_KEY.to_owned(), |key| String::from_utf8_lossy(&key).into_owned()),
    }
}
