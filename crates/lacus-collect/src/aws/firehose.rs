//! Firehose, API version 2015-08-04: a delivery stream is a stream that a table is delivered from.
//!
//! Where a client says its delivery stream should go (a bucket, a warehouse) is kept and told back; what comes goes to the
//! stream's own table. Of the destination, the buffering hints count: they say when the table is committed.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use lacus_core::{NewRecord, Position};
use lacus_stream::StreamInfo;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::kinesis;
use super::wire::{AwsError, Blob, Time};
use super::{Call, aws_name};
use crate::append;
use crate::stats::{Reason, SourceStats};

/// The attribute with the configuration of a delivery stream, as JSON.
const CONFIGURATION: &str = "firehose";
/// The attributes that say when a stream's table is committed.
const COMMIT_BYTES: &str = "commit_bytes";
const COMMIT_AFTER_MS: &str = "commit_after_ms";

const RECORDS_MAX: usize = 500;
const RECORD_BYTES_MAX: usize = 1_000 << 10;
const BATCH_BYTES_MAX: usize = 4 << 20;
const LIST_MAX: usize = 10;
const CONFIGURATION_BYTES_MAX: usize = 64 << 10;
/// What a destination without hints has.
const HINT_MB: u64 = 5;
const HINT_SECONDS: u64 = 300;

/// Runs an operation.
pub(super) async fn answer(call: &Call<'_>, operation: &str) -> Result<Vec<u8>, AwsError> {
    match operation {
        "PutRecord" => call.told(&put_record(call, call.asked()?).await?),
        "PutRecordBatch" => call.told(&put_record_batch(call, call.asked()?).await?),
        "CreateDeliveryStream" => call.told(&create(call, call.asked()?).await?),
        "DescribeDeliveryStream" => call.told(&describe(call, &call.asked()?)?),
        "ListDeliveryStreams" => call.told(&list(call, call.asked()?)),
        "DeleteDeliveryStream" => call.told(&delete(call, call.asked()?).await?),
        "UpdateDestination" => call.told(&update(call, call.asked()?).await?),
        _ => Err(AwsError::unknown_operation(operation)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    delivery_stream_name: String,
}

#[derive(Serialize)]
struct Nothing {}

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
    records: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    data: Blob,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Placed {
    record_id: String,
    encrypted: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AllPlaced {
    failed_put_count: u32,
    encrypted: bool,
    request_responses: Vec<PlacedInBatch>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PlacedInBatch {
    record_id: String,
}

async fn put_record(call: &Call<'_>, asked: PutRecord) -> Result<Placed, AwsError> {
    let placed = put(call, &asked.delivery_stream_name, vec![asked.record]).await?.pop();
    Ok(Placed { record_id: placed.unwrap_or_default(), encrypted: false })
}

async fn put_record_batch(call: &Call<'_>, asked: PutRecordBatch) -> Result<AllPlaced, AwsError> {
    if !(1..=RECORDS_MAX).contains(&asked.records.len()) {
        return Err(invalid(format!("Records must have 1 to {RECORDS_MAX} members.")));
    }
    let placed = put(call, &asked.delivery_stream_name, asked.records).await?;
    let request_responses = placed.into_iter().map(|record_id| PlacedInBatch { record_id }).collect();
    Ok(AllPlaced { failed_put_count: 0, encrypted: false, request_responses })
}

/// Stores all or nothing; gives the id of each record.
async fn put(call: &Call<'_>, name: &str, entries: Vec<Entry>) -> Result<Vec<String>, AwsError> {
    let stream = find(call, name)?;
    let bytes: usize = entries.iter().map(|entry| entry.data.0.len()).sum();
    if bytes > BATCH_BYTES_MAX || entries.iter().any(|entry| entry.data.0.len() > RECORD_BYTES_MAX) {
        return Err(invalid("a record has 1,000 KiB at most, and all of a request 4 MiB"));
    }
    let (mut records, mut lasts): (Vec<NewRecord>, Vec<usize>) = (Vec::new(), Vec::new());
    for entry in entries {
        // An empty record stands for nothing, as it would in a file.
        records.extend(append::pieces_of(&entry.data.0).into_iter().map(NewRecord::of));
        lasts.push(records.len());
    }
    call.key.admit(records.len() as u64).map_err(|error| throttled(error.into()))?;
    let tally =
        SourceStats { requests: 1, accepted: records.len() as u64, bytes: bytes as u64, ..SourceStats::default() };
    let positions =
        append::store(call.inner, &stream.name, records, tally).await.map_err(|refusal| throttled(refusal.into()))?;
    let id = |last: &usize| last.checked_sub(1).and_then(|last| positions.get(last)).map(record_id).unwrap_or_default();
    Ok(lasts.iter().map(id).collect())
}

/// Unlike Kinesis, Firehose has one name for "slow down" and "wait".
fn throttled(error: AwsError) -> AwsError {
    match error.name {
        "ProvisionedThroughputExceededException" | "ServiceUnavailable" => {
            AwsError { status: StatusCode::SERVICE_UNAVAILABLE, name: "ServiceUnavailableException", ..error }
        }
        _ => error,
    }
}

fn record_id(position: &Position) -> String {
    format!("{:012}-{:020}", position.partition.0, position.offset.0)
}

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidArgumentException", message, Reason::TooLarge)
}

/// The stream of a delivery stream: any stream whose configuration says so.
fn find(call: &Call<'_>, name: &str) -> Result<StreamInfo, AwsError> {
    let not_found = |error: AwsError| AwsError {
        message: format!("Firehose {} under account {} not found.", super::wire::shortened(name), super::ACCOUNT),
        ..error
    };
    let stream = call.find(name).map_err(not_found)?;
    if stream.attributes.contains_key(crate::FORMAT_ATTRIBUTE) {
        return Err(invalid(format!("stream {name} is fed by the Segment API only")));
    }
    Ok(stream)
}

async fn create(call: &Call<'_>, asked: Map<String, Value>) -> Result<Value, AwsError> {
    let name = asked.get("DeliveryStreamName").and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_from_stream = asked.get("DeliveryStreamType").and_then(Value::as_str) == Some("KinesisStreamAsSource");
    if is_from_stream {
        return Err(invalid(
            "every Kinesis stream is delivered to a table of its name already: no delivery stream is needed for it",
        ));
    }
    let Some((kind, destination)) = destination(&asked, "Configuration") else {
        return Err(invalid("a delivery stream needs the configuration of one destination"));
    };
    let mut attributes = BTreeMap::new();
    configure(&mut attributes, &kind, destination, 1)?;
    kinesis::make(call, &name, 1, attributes).await.map_err(|error| match error.name {
        "ValidationException" => AwsError { name: "InvalidArgumentException", ..error },
        _ => error,
    })?;
    Ok(json!({"DeliveryStreamARN": call.arn("firehose", "deliverystream", &name)}))
}

/// The one destination of a request: its kind, and what it says.
fn destination<'a>(asked: &'a Map<String, Value>, ending: &str) -> Option<(String, &'a Value)> {
    let kind = |name: &str| name.strip_suffix(ending).filter(|kind| kind.ends_with("Destination")).map(str::to_owned);
    asked.iter().find_map(|(name, value)| Some((kind(name)?, value)))
}

/// Keeps a destination, and what of it counts here.
fn configure(
    attributes: &mut BTreeMap<String, String>,
    kind: &str,
    destination: &Value,
    version: u64,
) -> Result<(), AwsError> {
    let hints = destination.get("BufferingHints").or_else(|| destination.pointer("/S3Configuration/BufferingHints"));
    let hint = |name, default| hints.and_then(|hints| hints.get(name)).map_or(Some(default), Value::as_u64);
    let (megabytes, seconds) = (hint("SizeInMBs", HINT_MB), hint("IntervalInSeconds", HINT_SECONDS));
    let (Some(megabytes @ 1..=128), Some(seconds @ 0..=900)) = (megabytes, seconds) else {
        return Err(invalid("BufferingHints have 1 to 128 SizeInMBs and 0 to 900 IntervalInSeconds"));
    };
    let configuration = json!({"kind": kind, "destination": destination, "version": version}).to_string();
    if configuration.len() > CONFIGURATION_BYTES_MAX {
        return Err(invalid("the configuration of the destination is too long"));
    }
    attributes.insert(CONFIGURATION.to_owned(), configuration);
    attributes.insert(COMMIT_BYTES.to_owned(), (megabytes << 20).to_string());
    // Each commit is a file: more than one a second helps nobody, as queries see what is not committed too.
    attributes.insert(COMMIT_AFTER_MS.to_owned(), (seconds.max(1) * 1_000).to_string());
    Ok(())
}

fn describe(call: &Call<'_>, asked: &Named) -> Result<Value, AwsError> {
    let stream = find(call, &asked.delivery_stream_name)?;
    let configuration = configuration(&stream);
    let version = configuration.get("version").and_then(Value::as_u64).unwrap_or(1);
    let kind = configuration.get("kind").and_then(Value::as_str).unwrap_or("ExtendedS3Destination");
    let mut destination = Map::new();
    destination.insert("DestinationId".to_owned(), "destinationId-000000000001".into());
    if let Some(told) = configuration.get("destination") {
        destination.insert(format!("{kind}Description"), told.clone());
    }
    let name = aws_name(&stream);
    let created = serde_json::to_value(Time(stream.created_at)).unwrap_or_default();
    Ok(json!({"DeliveryStreamDescription": {
        "DeliveryStreamName": name,
        "DeliveryStreamARN": call.arn("firehose", "deliverystream", name),
        "DeliveryStreamStatus": "ACTIVE",
        "DeliveryStreamType": "DirectPut",
        "VersionId": version.to_string(),
        "CreateTimestamp": created,
        "Destinations": [destination],
        "HasMoreDestinations": false,
    }}))
}

fn configuration(stream: &StreamInfo) -> Value {
    let text = stream.attributes.get(CONFIGURATION).map(String::as_str).unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListAsked {
    limit: Option<usize>,
    exclusive_start_delivery_stream_name: Option<String>,
}

fn list(call: &Call<'_>, asked: ListAsked) -> Value {
    let after = asked.exclusive_start_delivery_stream_name;
    let mut names: Vec<String> = call
        .inner
        .log
        .streams()
        .iter()
        .filter(|stream| !stream.is_deleted && stream.attributes.contains_key(CONFIGURATION))
        .map(|stream| aws_name(stream).to_owned())
        .filter(|name| after.as_ref().is_none_or(|after| name > after))
        .collect();
    names.sort();
    let most = asked.limit.unwrap_or(LIST_MAX).clamp(1, 10_000);
    let has_more = names.len() > most;
    names.truncate(most);
    json!({"DeliveryStreamNames": names, "HasMoreDeliveryStreams": has_more})
}

async fn delete(call: &Call<'_>, asked: Named) -> Result<Nothing, AwsError> {
    let stream = find(call, &asked.delivery_stream_name)?.name;
    call.with_log(move |log| log.delete_stream(&stream)).await?;
    Ok(Nothing {})
}

async fn update(call: &Call<'_>, asked: Map<String, Value>) -> Result<Nothing, AwsError> {
    let text = |name: &str| asked.get(name).and_then(Value::as_str).unwrap_or_default();
    let stream = find(call, text("DeliveryStreamName"))?;
    let before = configuration(&stream);
    let version = before.get("version").and_then(Value::as_u64).unwrap_or(1);
    if text("CurrentDeliveryStreamVersionId") != version.to_string() {
        let message = format!("the delivery stream has version {version} by now");
        return Err(AwsError::new("ConcurrentModificationException", message, Reason::Parameter));
    }
    let Some((kind, change)) = destination(&asked, "Update") else {
        return Err(invalid("the request has no update of a destination"));
    };
    let mut merged = before.get("destination").cloned().unwrap_or_default();
    if let (Some(merged), Some(change)) = (merged.as_object_mut(), change.as_object()) {
        merged.extend(change.clone());
    }
    let mut configured = BTreeMap::new();
    configure(&mut configured, &kind, &merged, version + 1)?;
    call.with_log(move |log| {
        log.change_attributes(&stream.name, &mut |attributes| {
            attributes.extend(configured.clone());
            Ok(())
        })
    })
    .await?;
    Ok(Nothing {})
}
