//! Delivery streams: made, described, changed, tagged, ended.
//!
//! One of type `DirectPut` is a stream of its own. One of type `KinesisStreamAsSource` is what is remembered about the
//! delivery of a stream that there is already.

use std::collections::BTreeMap;

use lacus_core::attributes::{COMMIT_AFTER_MS, COMMIT_BYTES};
use lacus_core::{Error, Kind, Result as LogResult, Timestamp};
use lacus_stream::{Log, NewStream, StreamInfo};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::tags::{self, Tag};
use super::super::wire::{AwsError, Time};
use super::super::{Call, make_stream};
use super::{Nothing, check_format, destination, invalid, not_found};

/// The attribute with the configuration of a delivery stream, as JSON.
const CONFIGURATION: &str = "firehose";

const NAME_CHARS_MAX: usize = 64;
const LIST_DEFAULT: usize = 10;
const LIST_MAX: usize = 10_000;
const CONFIGURATION_BYTES_MAX: usize = 64 << 10;
/// A delivery stream has one destination.
const DESTINATION_ID: &str = "destinationId-000000000001";

/// What is remembered about a delivery stream.
#[derive(Serialize, Deserialize)]
pub(super) struct Configuration {
    /// The name, as the client wrote it.
    name: String,
    /// The Kinesis stream that feeds it, as the client described it; none for one that is put into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<Value>,
    /// Such as `ExtendedS3Destination`.
    kind: String,
    /// The description of the destination.
    destination: Value,
    /// Grows with each update.
    version: u64,
    /// µs since the epoch.
    created_at: i64,
    updated_at: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Named {
    delivery_stream_name: String,
}

/// What is remembered about the delivery stream of a stream, if it has one.
pub(super) fn configuration(stream: &StreamInfo) -> Option<Configuration> {
    serde_json::from_str(stream.attributes.get(CONFIGURATION)?).ok()
}

/// The delivery stream of this name, and its stream.
pub(super) fn find(log: &Log, name: &str) -> Option<(StreamInfo, Configuration)> {
    let configured = |stream: StreamInfo| {
        let told = configuration(&stream).filter(|told| told.name == name)?;
        Some((stream, told))
    };
    // Most are called as their stream; one that is fed by a stream may have a name of its own.
    let same = super::super::find(log, name).and_then(configured);
    same.or_else(|| super::super::streams(log).into_iter().find_map(configured))
}

fn found(call: &Call<'_>, name: &str) -> Result<(StreamInfo, Configuration), AwsError> {
    find(&call.inner.log, name).ok_or_else(|| not_found(name))
}

impl Configuration {
    /// Whether this is the delivery stream `name`, and a Kinesis stream feeds it.
    pub(super) fn is_fed_by_stream(&self, name: &str) -> bool {
        self.name == name && self.source.is_some()
    }

    /// Keeps it among the attributes of its stream, and what of it counts here.
    fn keep(&self, attributes: &mut BTreeMap<String, String>) -> Result<(), AwsError> {
        let (megabytes, seconds) = destination::hints(&self.destination)?;
        let text = serde_json::to_string(self).map_err(|error| AwsError::from(Error::internal(error.to_string())))?;
        if text.len() > CONFIGURATION_BYTES_MAX {
            return Err(invalid("the configuration of the destination is too long"));
        }
        attributes.insert(CONFIGURATION.to_owned(), text);
        attributes.insert(COMMIT_BYTES.to_owned(), (megabytes << 20).to_string());
        // Each commit is a file: more than one a second helps nobody, as queries see what is not committed too.
        attributes.insert(COMMIT_AFTER_MS.to_owned(), (seconds.max(1) * 1_000).to_string());
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    delivery_stream_name: String,
    delivery_stream_type: Option<String>,
    kinesis_stream_source_configuration: Option<Value>,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

pub(super) async fn create(call: &Call<'_>, asked: Create) -> Result<Value, AwsError> {
    let (kind, mut destination) = destination::of(&asked.others, "Configuration")?;
    destination::complete(&kind, &mut destination);
    let source =
        match asked.delivery_stream_type.as_deref() {
            None | Some("DirectPut") => None,
            Some("KinesisStreamAsSource") => Some(asked.kinesis_stream_source_configuration.ok_or_else(|| {
                invalid("KinesisStreamSourceConfiguration must be given with this DeliveryStreamType")
            })?),
            Some(_) => {
                return Err(invalid("lacus takes delivery streams of type DirectPut and KinesisStreamAsSource only"));
            }
        };
    let (name, created_at) = (asked.delivery_stream_name, call.inner.clock.now().as_micros());
    let told = Configuration { name, source, kind, destination, version: 1, created_at, updated_at: created_at };
    let mut attributes = BTreeMap::new();
    told.keep(&mut attributes)?;
    tags::add(tags::FIREHOSE, &mut attributes, &pairs(asked.tags))?;
    let name = told.name.clone();
    match &told.source {
        None => make_stream(call, &name, NAME_CHARS_MAX, NewStream { shards: 1, attributes }).await?,
        Some(source) => attach(call, &told, source, attributes).await?,
    }
    Ok(json!({"DeliveryStreamARN": arn(call, &name)}))
}

/// Remembers a delivery stream at the stream that feeds it.
async fn attach(
    call: &Call<'_>,
    told: &Configuration,
    source: &Value,
    new: BTreeMap<String, String>,
) -> Result<(), AwsError> {
    let source = source.get("KinesisStreamARN").and_then(Value::as_str).and_then(|arn| arn.split_once(":stream/"));
    let (_, source) = source.ok_or_else(|| invalid("KinesisStreamARN must be given: arn:aws:kinesis:…:stream/NAME"))?;
    let stream = call.find(source)?;
    check_format(&stream)?;
    // Puts go to the stream of their name: a delivery stream that is fed by another can't have it too.
    let other = super::super::find(&call.inner.log, &told.name).filter(|other| other.name != stream.name);
    if let Some(other) = other.or_else(|| find(&call.inner.log, &told.name).map(|(other, _)| other)) {
        return Err(
            Error::new(Kind::Exists, format!("Firehose {} is stream {} already.", told.name, other.name)).into()
        );
    }
    call.remember(&stream, move |attributes| {
        if attributes.contains_key(CONFIGURATION) {
            return Err(Error::new(Kind::Exists, "a stream has one delivery stream at most, as it has one table"));
        }
        attributes.extend(new.clone());
        Ok(())
    })
    .await
}

/// Stops to remember a delivery stream.
fn detach(attributes: &mut BTreeMap<String, String>) {
    for name in [CONFIGURATION, COMMIT_BYTES, COMMIT_AFTER_MS] {
        attributes.remove(name);
    }
    tags::remove_all(tags::FIREHOSE, attributes);
}

pub(super) fn describe(call: &Call<'_>, asked: &Named) -> Result<Value, AwsError> {
    let (_, told) = found(call, &asked.delivery_stream_name)?;
    let Configuration { name, source, kind, destination, version, created_at, updated_at } = told;
    let mut described = json!({
        "DeliveryStreamName": name,
        "DeliveryStreamARN": arn(call, &name),
        "DeliveryStreamStatus": "ACTIVE",
        "DeliveryStreamEncryptionConfiguration": {"Status": "DISABLED"},
        "DeliveryStreamType": type_of(source.as_ref()),
        "VersionId": version.to_string(),
        "CreateTimestamp": time(created_at),
        "Destinations": [{"DestinationId": DESTINATION_ID, format!("{kind}Description"): destination}],
        "HasMoreDestinations": false,
    });
    if updated_at > created_at {
        described["LastUpdateTimestamp"] = time(updated_at);
    }
    if let Some(source) = source {
        described["Source"] = json!({"KinesisStreamSourceDescription": source});
    }
    Ok(json!({"DeliveryStreamDescription": described}))
}

fn type_of(source: Option<&Value>) -> &'static str {
    if source.is_some() { "KinesisStreamAsSource" } else { "DirectPut" }
}

fn time(micros: i64) -> Value {
    serde_json::to_value(Time(Timestamp::from_micros(micros))).unwrap_or_default()
}

fn arn(call: &Call<'_>, name: &str) -> String {
    call.arn("firehose", "deliverystream", name)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct List {
    limit: Option<usize>,
    delivery_stream_type: Option<String>,
    exclusive_start_delivery_stream_name: Option<String>,
}

pub(super) fn list(call: &Call<'_>, asked: &List) -> Value {
    let wanted = asked.delivery_stream_type.as_deref();
    let after = asked.exclusive_start_delivery_stream_name.as_deref();
    let mut names: Vec<String> = super::super::streams(&call.inner.log)
        .iter()
        .filter_map(configuration)
        .filter(|told| wanted.is_none_or(|wanted| wanted == type_of(told.source.as_ref())))
        .map(|told| told.name)
        .filter(|name| after.is_none_or(|after| name.as_str() > after))
        .collect();
    names.sort();
    let most = asked.limit.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX);
    let has_more = names.len() > most;
    names.truncate(most);
    json!({"DeliveryStreamNames": names, "HasMoreDeliveryStreams": has_more})
}

/// Ends a delivery stream. A stream that feeds it stays.
pub(super) async fn delete(call: &Call<'_>, asked: &Named) -> Result<Nothing, AwsError> {
    let (stream, told) = found(call, &asked.delivery_stream_name)?;
    if told.source.is_none() {
        call.change(move |log| log.delete_stream(&stream.name)).await?;
        return Ok(Nothing {});
    }
    call.remember(&stream, |attributes| {
        detach(attributes);
        Ok(())
    })
    .await?;
    Ok(Nothing {})
}

pub(super) async fn update(call: &Call<'_>, asked: Map<String, Value>) -> Result<Nothing, AwsError> {
    let text = |name: &str| asked.get(name).and_then(Value::as_str).unwrap_or_default();
    let (stream, mut told) = found(call, text("DeliveryStreamName"))?;
    if text("DestinationId") != DESTINATION_ID {
        return Err(invalid(format!("the DestinationId is {DESTINATION_ID}")));
    }
    check_version(told.version, text("CurrentDeliveryStreamVersionId"))?;
    let (kind, change) = destination::of(&asked, "Update")?;
    destination::merge(&mut told.destination, change);
    destination::complete(&kind, &mut told.destination);
    let before = told.version;
    told = Configuration { kind, version: before + 1, updated_at: call.inner.clock.now().as_micros(), ..told };
    let mut changed = BTreeMap::new();
    told.keep(&mut changed)?;
    let is_same = move |attributes: &BTreeMap<String, String>| -> LogResult<()> {
        let now: Option<Configuration> = attributes.get(CONFIGURATION).and_then(|text| serde_json::from_str(text).ok());
        if now.is_some_and(|now| now.version == before) {
            return Ok(());
        }
        Err(Error::new(Kind::Conflict, "the delivery stream was changed meanwhile"))
    };
    call.remember(&stream, move |attributes| {
        is_same(attributes)?;
        attributes.extend(changed.clone());
        Ok(())
    })
    .await?;
    Ok(Nothing {})
}

fn check_version(version: u64, asked: &str) -> Result<(), AwsError> {
    if version.to_string() == asked {
        return Ok(());
    }
    Err(Error::new(Kind::Conflict, format!("the delivery stream has version {version} by now")).into())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AddTags {
    delivery_stream_name: String,
    tags: Vec<Tag>,
}

pub(super) async fn tag(call: &Call<'_>, asked: AddTags) -> Result<Nothing, AwsError> {
    let (stream, _) = found(call, &asked.delivery_stream_name)?;
    let tags = pairs(asked.tags);
    call.remember(&stream, move |attributes| tags::add(tags::FIREHOSE, attributes, &tags)).await?;
    Ok(Nothing {})
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RemoveTags {
    delivery_stream_name: String,
    tag_keys: Vec<String>,
}

pub(super) async fn untag(call: &Call<'_>, asked: RemoveTags) -> Result<Nothing, AwsError> {
    let (stream, _) = found(call, &asked.delivery_stream_name)?;
    call.remember(&stream, move |attributes| {
        tags::remove(tags::FIREHOSE, attributes, &asked.tag_keys);
        Ok(())
    })
    .await?;
    Ok(Nothing {})
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListTags {
    delivery_stream_name: String,
    exclusive_start_tag_key: Option<String>,
    limit: Option<usize>,
}

pub(super) fn list_tags(call: &Call<'_>, asked: &ListTags) -> Result<tags::Listed, AwsError> {
    let (stream, _) = found(call, &asked.delivery_stream_name)?;
    let after = asked.exclusive_start_tag_key.as_deref();
    Ok(tags::list(tags::FIREHOSE, &stream, after, asked.limit))
}

fn pairs(tags: Vec<Tag>) -> BTreeMap<String, String> {
    tags.into_iter().map(|tag| (tag.key, tag.value)).collect()
}
