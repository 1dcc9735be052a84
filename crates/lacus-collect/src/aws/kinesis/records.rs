//! Records in and out.
//!
//! A request is stored whole or refused whole: `PutRecords` never answers that some records failed, because what could make
//! one fail makes all fail, and an error of the whole request is what every client retries by itself.

use bytes::Bytes;
use lacus_core::{Error, NewRecord, Offset, Partition, Position, Record, StreamName, Timestamp};
use lacus_stream::{Log, RECORD_BYTES_MAX, StreamInfo};
use serde::{Deserialize, Serialize};

use super::super::aggregated::take_apart;
use super::super::wire::{AwsError, Blob, Time};
use super::super::{Call, aws_name};
use super::Named;
use super::numbers::{ShardIterator, find_shard, offset_of, sequence_number, shard_id};
use crate::append;
use crate::stats::{Reason, SourceStats};

/// Records of one `PutRecords`.
const RECORDS_MAX: usize = 500;
/// Bytes of data and keys in one `PutRecords`, and of data in one `GetRecords`.
const BYTES_MAX: usize = 10 << 20;
/// Bytes read from the log at once.
const READ_BYTES: usize = 1 << 20;
/// Records of one `GetRecords`.
const GET_RECORDS_MAX: usize = 10_000;
const PARTITION_KEY_CHARS_MAX: usize = 256;
/// The attribute that says who feeds a stream, if not everybody may.
const FORMAT: &str = crate::FORMAT_ATTRIBUTE;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutRecord {
    #[serde(flatten)]
    stream: Named,
    #[serde(flatten)]
    record: Entry,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutRecords {
    #[serde(flatten)]
    stream: Named,
    records: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    data: Blob,
    partition_key: String,
    explicit_hash_key: Option<String>,
}

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

pub(super) async fn put_record(call: &Call<'_>, asked: PutRecord) -> Result<Placed, AwsError> {
    let placed = put(call, &asked.stream, vec![asked.record]).await?.pop();
    Ok(placed.ok_or_else(|| Error::internal("a record has no place"))?)
}

pub(super) async fn put_records(call: &Call<'_>, asked: PutRecords) -> Result<AllPlaced, AwsError> {
    if !(1..=RECORDS_MAX).contains(&asked.records.len()) {
        return Err(validation(format!("Records must have 1 to {RECORDS_MAX} members.")));
    }
    let records = put(call, &asked.stream, asked.records).await?;
    Ok(AllPlaced { failed_record_count: 0, records })
}

async fn put(call: &Call<'_>, named: &Named, entries: Vec<Entry>) -> Result<Vec<Placed>, AwsError> {
    let stream = named.find(call)?;
    if stream.attributes.contains_key(FORMAT) {
        return Err(AwsError::invalid(format!("stream {} is fed by the Segment API only", aws_name(&stream))));
    }
    let bytes: usize = entries.iter().map(|entry| entry.data.0.len() + entry.partition_key.len()).sum();
    if bytes > BYTES_MAX {
        return Err(validation("The records of a request have 10 MiB of data and keys at most."));
    }
    // Of each entry, the last of its records: an aggregated one has many.
    let (mut records, mut lasts) = (Vec::with_capacity(entries.len()), Vec::with_capacity(entries.len()));
    for entry in entries {
        entry.into_records(&mut records)?;
        lasts.push(records.len() - 1);
    }
    call.key.admit(records.len() as u64)?;
    let tally = SourceStats {
        requests: 1,
        accepted: records.len() as u64,
        bytes: records.iter().map(|record| record.value.len() as u64).sum(),
        ..SourceStats::default()
    };
    let positions = append::store(call.inner, &stream.name, records, tally).await?;
    let placed = |position: &Position| Placed {
        shard_id: shard_id(position.partition),
        sequence_number: sequence_number(position.partition, position.offset),
    };
    Ok(lasts.iter().filter_map(|last| positions.get(*last)).map(placed).collect())
}

impl Entry {
    /// Adds the records of an entry: itself, or those that a producer packed into it.
    fn into_records(self, records: &mut Vec<NewRecord>) -> Result<(), AwsError> {
        let chars = self.partition_key.chars().count();
        if !(1..=PARTITION_KEY_CHARS_MAX).contains(&chars) {
            return Err(validation(format!("PartitionKey must have 1 to {PARTITION_KEY_CHARS_MAX} characters.")));
        }
        if self.data.0.len() + self.partition_key.len() > RECORD_BYTES_MAX {
            return Err(validation("A record has 10 MiB of data and key at most."));
        }
        let hash_key = self.explicit_hash_key.as_deref().map(hash_key).transpose()?;
        let Some(packed) = take_apart(&self.data.0).filter(|packed| !packed.is_empty()) else {
            let key = Some(Bytes::from(self.partition_key));
            records.push(NewRecord { key, hash_key, ..NewRecord::of(self.data.0) });
            return Ok(());
        };
        for record in packed {
            let own = record.explicit_hash_key.as_deref().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
            let value = NewRecord::of(record.data);
            records.push(NewRecord { key: Some(record.partition_key), hash_key: own, ..value });
        }
        Ok(())
    }
}

fn hash_key(text: &str) -> Result<u128, AwsError> {
    text.parse()
        .map_err(|_| AwsError::invalid("Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]."))
}

fn validation(message: impl Into<String>) -> AwsError {
    AwsError::new("ValidationException", message, Reason::TooLarge)
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
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GotShardIterator {
    shard_iterator: String,
}

pub(super) async fn get_shard_iterator(call: &Call<'_>, asked: GetShardIterator) -> Result<GotShardIterator, AwsError> {
    let stream = asked.stream.find(call)?;
    let shard = find_shard(&stream, &asked.shard_id)?.partition;
    let number = || {
        let missing = || AwsError::invalid("StartingSequenceNumber must be given with this ShardIteratorType.");
        offset_of(shard, asked.starting_sequence_number.as_deref().ok_or_else(missing)?)
    };
    let offset = match asked.shard_iterator_type.as_str() {
        "TRIM_HORIZON" => stream.start.next(shard),
        "LATEST" => stream.end.next(shard),
        "AT_SEQUENCE_NUMBER" => number()?,
        "AFTER_SEQUENCE_NUMBER" => Offset(number()?.0.saturating_add(1)),
        "AT_TIMESTAMP" => {
            let time =
                asked.timestamp.ok_or_else(|| AwsError::invalid("Timestamp must be given with AT_TIMESTAMP."))?;
            let name = stream.name.clone();
            call.with_log(move |log| log.find_time(&name, shard, time.0)).await?
        }
        _ => return Err(validation("ShardIteratorType is none of those there are.")),
    };
    if offset > stream.end.next(shard) {
        return Err(AwsError::invalid(format!("StartingSequenceNumber is beyond the end of {}.", shard_id(shard))));
    }
    let stream = aws_name(&stream).to_owned();
    let iterator = ShardIterator { stream, shard, offset, made_at: call.inner.clock.now() };
    Ok(GotShardIterator { shard_iterator: iterator.to_text() })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetRecords {
    shard_iterator: String,
    limit: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GotRecords {
    records: Vec<WireRecord>,
    /// None at the end of a closed shard.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_shard_iterator: Option<String>,
    millis_behind_latest: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    child_shards: Vec<super::shards::ChildShard>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WireRecord {
    sequence_number: String,
    approximate_arrival_timestamp: Time,
    data: Blob,
    partition_key: String,
}

pub(super) async fn get_records(call: &Call<'_>, asked: GetRecords) -> Result<GotRecords, AwsError> {
    let now = call.inner.clock.now();
    let iterator = ShardIterator::parse(&asked.shard_iterator, now)?;
    let limit = asked.limit.unwrap_or(GET_RECORDS_MAX);
    if !(1..=GET_RECORDS_MAX).contains(&limit) {
        return Err(validation(format!("Limit must be from 1 to {GET_RECORDS_MAX}.")));
    }
    let ShardIterator { shard, offset, .. } = iterator;
    let stream = call.find(&iterator.stream)?;
    let (name, from) = (stream.name.clone(), offset.max(stream.start.next(shard)));
    let records = call.with_log(move |log| read(log, &name, shard, from, limit)).await?;
    let next = records.last().map_or(from, |record| record.position.offset.plus(1));
    // Asked once more: what came meanwhile must not make a reader believe that it has all.
    let stream = call.find(&iterator.stream)?;
    let is_closed = stream.shards.iter().any(|found| found.partition == shard && !found.is_open());
    let is_at_end = next >= stream.end.next(shard);
    let iterator = ShardIterator { offset: next, made_at: now, ..iterator };
    Ok(GotRecords {
        millis_behind_latest: behind(&records, is_at_end, now),
        next_shard_iterator: (!(is_closed && is_at_end)).then(|| iterator.to_text()),
        child_shards: if is_closed && is_at_end { children(&stream, shard) } else { Vec::new() },
        records: records.into_iter().map(wire_record).collect(),
    })
}

fn read(
    log: &Log,
    stream: &StreamName,
    shard: Partition,
    mut from: Offset,
    limit: usize,
) -> lacus_core::Result<Vec<Record>> {
    let (mut records, mut bytes_left) = (Vec::new(), BYTES_MAX);
    while records.len() < limit && bytes_left > 0 {
        let read = log.read(stream, shard, from, bytes_left.min(READ_BYTES))?;
        if read.is_empty() {
            break;
        }
        for record in read {
            let bytes = record.value.len();
            if records.len() == limit || (bytes > bytes_left && !records.is_empty()) {
                return Ok(records);
            }
            bytes_left = bytes_left.saturating_sub(bytes);
            from = record.position.offset.plus(1);
            records.push(record);
        }
    }
    Ok(records)
}

fn behind(records: &[Record], is_at_end: bool, now: Timestamp) -> u64 {
    match records.last() {
        Some(last) if !is_at_end => now.millis_since(last.received_at).max(1),
        _ => u64::from(!is_at_end),
    }
}

fn children(stream: &StreamInfo, parent: Partition) -> Vec<super::shards::ChildShard> {
    let children = stream.shards.iter().filter(|shard| shard.parents.contains(&parent));
    children.map(super::shards::ChildShard::of).collect()
}

fn wire_record(record: Record) -> WireRecord {
    let Record { position: Position { partition, offset }, received_at, key, value, .. } = record;
    WireRecord {
        sequence_number: sequence_number(partition, offset),
        approximate_arrival_timestamp: Time(received_at),
        data: Blob(value),
        // Records of other doors need not have a key; clients expect one.
        partition_key: key.map_or_else(|| "-".to_owned(), |key| String::from_utf8_lossy(&key).into_owned()),
    }
}
