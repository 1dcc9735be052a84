//! Records in: blobs of bytes, each with one event or several.

use std::sync::PoisonError;

use lacus_core::{NewRecord, Position};
use lacus_stream::StreamInfo;
use serde::{Deserialize, Serialize};

use super::super::wire::{AwsError, Blob};
use super::super::{Call, find, pieces};
use super::{check_format, invalid, not_found, streams};
use crate::LIGHT_BYTES_MAX;
use crate::append;
use crate::at_most::AtMost;
use crate::stats::SourceStats;

const ENTRIES_MAX: usize = 500;
const RECORD_BYTES_MAX: usize = 1_000 << 10;
const BATCH_BYTES_MAX: usize = 4 << 20;
/// The id of a record without a byte, of which nothing is kept.
const EMPTY: &str = "empty";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecord {
    delivery_stream_name: String,
    record: Entry,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordBatch {
    delivery_stream_name: String,
    records: AtMost<Entry, ENTRIES_MAX>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    data: Blob,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Placed {
    record_id: String,
    encrypted: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AllPlaced {
    failed_put_count: u32,
    encrypted: bool,
    request_responses: Vec<PlacedInBatch>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PlacedInBatch {
    record_id: String,
}

/// The events of a request, and of each entry where its last one is: none if it has none.
struct Batch {
    records: Vec<NewRecord>,
    lasts: Vec<Option<usize>>,
}

pub(super) async fn put_record(call: &Call<'_>) -> Result<Placed, AwsError> {
    let asked: PutRecord = call.take(|protocol, body| protocol.read(body)).await?;
    let placed = put(call, &asked.delivery_stream_name, vec![asked.record]).await?.pop();
    Ok(Placed { record_id: placed.unwrap_or_default(), encrypted: false })
}

/// Stores all or nothing, as `PutRecords` of Kinesis does, and for the same reasons.
pub(super) async fn put_record_batch(call: &Call<'_>) -> Result<AllPlaced, AwsError> {
    let asked: PutRecordBatch = call.take(|protocol, body| protocol.read(body)).await?;
    let placed = put(call, &asked.delivery_stream_name, asked.records.members("Records")?).await?;
    let request_responses = placed.into_iter().map(|record_id| PlacedInBatch { record_id }).collect();
    Ok(AllPlaced { failed_put_count: 0, encrypted: false, request_responses })
}

async fn put(call: &Call<'_>, name: &str, entries: Vec<Entry>) -> Result<Vec<String>, AwsError> {
    let stream = find_to_put(call, name)?;
    let bytes: usize = entries.iter().map(|entry| entry.data.0.len()).sum();
    if bytes > BATCH_BYTES_MAX || entries.iter().any(|entry| entry.data.0.len() > RECORD_BYTES_MAX) {
        return Err(AwsError::validation("A record has 1,000 KiB of data at most, and all of a request 4 MiB."));
    }
    let (covered, share) = (2 * call.body.len(), call.share.clone());
    let batch = call.inner.work(bytes <= LIGHT_BYTES_MAX, move || {
        let mut share = share.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Batch { records: Vec::with_capacity(entries.len()), lasts: Vec::with_capacity(entries.len()) };
        for Entry { data } in entries {
            let before = batch.records.len();
            pieces::take_apart(&data.0, &mut batch.records, covered, &mut share)?;
            batch.lasts.push(batch.records.len().checked_sub(1).filter(|last| *last >= before));
        }
        Ok::<_, AwsError>(batch)
    });
    let Batch { records, lasts } = batch.await??;
    call.admit(records.len(), bytes)?;
    let records = call.identified(&stream.name, records, bytes).await?;
    let tally =
        SourceStats { requests: 1, accepted: records.len() as u64, bytes: bytes as u64, ..SourceStats::default() };
    let positions = append::store_there(call.inner, &stream.name, records, tally).await?;
    let id =
        |last: &Option<usize>| last.and_then(|last| positions.get(last)).map_or_else(|| EMPTY.to_owned(), record_id);
    Ok(lasts.iter().map(id).collect())
}

/// Where records for a delivery stream go. Any stream takes them that is called so: who made it does not matter.
fn find_to_put(call: &Call<'_>, name: &str) -> Result<StreamInfo, AwsError> {
    let log = &call.inner.log;
    let is_fed = |stream: &StreamInfo| streams::configuration(stream).is_some_and(|told| told.is_fed_by_stream(name));
    match find(log, name) {
        Some(stream) if !is_fed(&stream) => check_format(&stream).map(|()| stream),
        None if streams::find(log, name).is_none() => Err(not_found(name)),
        _ => Err(invalid("This operation is not permitted on KinesisStreamAsSource delivery stream type.")),
    }
}

fn record_id(position: &Position) -> String {
    format!("{:012}-{:020}", position.partition.0, position.offset.0)
}
