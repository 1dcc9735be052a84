//! Streams: made, described, tagged, ended.

use std::collections::BTreeMap;

use lacus_core::units::Millis;
use lacus_core::{Error, Kind, StreamName};
use lacus_stream::{NewStream, StreamInfo};
use serde::{Deserialize, Serialize};

use super::super::wire::{AwsError, Time};
use super::super::{ACCOUNT, Call, NAME, aws_name};
use super::shards::{WireShard, wire_shard};
use super::{Named, stream_arn};
use crate::stats::Reason;

const TAG: &str = "aws.tag.";
const TAGS_MAX: usize = 50;
const HOUR_MS: u64 = 3_600_000;
/// Hours that a retention may have: a day to a year.
const RETENTION_HOURS: std::ops::RangeInclusive<u64> = 24..=8_760;
/// Shards of a stream that leaves their number to us.
const ON_DEMAND_SHARDS: u32 = 4;
const LIST_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in super::super) struct CreateStream {
    stream_name: String,
    shard_count: Option<u32>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

pub(super) async fn create(call: &Call<'_>, asked: CreateStream) -> Result<(), AwsError> {
    let shards = asked.shard_count.unwrap_or(ON_DEMAND_SHARDS);
    let mut attributes = BTreeMap::new();
    tag(&mut attributes, asked.tags)?;
    make(call, &asked.stream_name, shards, attributes).await
}

/// Makes a stream with a name of AWS: its letters are `a-zA-Z0-9_.-`, of which streams have fewer.
pub(in super::super) async fn make(
    call: &Call<'_>,
    name: &str,
    shards: u32,
    mut attributes: BTreeMap<String, String>,
) -> Result<(), AwsError> {
    let letters = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    if !(1..=128).contains(&name.len()) || !name.chars().all(letters) {
        let message = "StreamName must have 1 to 128 letters, digits, underscores, dots and hyphens.";
        return Err(AwsError::new("ValidationException", message, Reason::Parameter));
    }
    let stream = StreamName::nearest(name)?;
    if let Some(taken) = call.inner.log.stream(&stream) {
        let message = match aws_name(&taken) {
            same if same == name => format!("Stream {name} under account {ACCOUNT} already exists."),
            other => format!("Stream {name} would be stream and table {stream} here, which stream {other} is already."),
        };
        return Err(AwsError::new("ResourceInUseException", message, Reason::Parameter));
    }
    if stream.as_str() != name {
        attributes.insert(NAME.to_owned(), name.to_owned());
    }
    let made = call.with_log(move |log| log.create_stream(&stream, &NewStream { shards, attributes })).await;
    made.map(drop).map_err(limit_exceeded)
}

/// Too many streams or shards are a limit here, not a throughput.
fn limit_exceeded(error: AwsError) -> AwsError {
    if error.name == "ProvisionedThroughputExceededException" {
        return AwsError { name: "LimitExceededException", ..error };
    }
    error
}

pub(super) async fn delete(call: &Call<'_>, asked: Named) -> Result<(), AwsError> {
    let stream = asked.find(call)?.name;
    call.with_log(move |log| log.delete_stream(&stream)).await
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DescribeStream {
    #[serde(flatten)]
    stream: Named,
    limit: Option<usize>,
    exclusive_start_shard_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DescribedStream {
    stream_description: StreamDescription,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct StreamDescription {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    stream_status: &'static str,
    stream_mode_details: StreamModeDetails,
    shards: Vec<WireShard>,
    has_more_shards: bool,
    retention_period_hours: u64,
    stream_creation_timestamp: Time,
    enhanced_monitoring: [EnhancedMetrics; 1],
    encryption_type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct StreamModeDetails {
    stream_mode: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EnhancedMetrics {
    shard_level_metrics: [String; 0],
}

const MODE: StreamModeDetails = StreamModeDetails { stream_mode: "PROVISIONED" };
const NO_METRICS: [EnhancedMetrics; 1] = [EnhancedMetrics { shard_level_metrics: [] }];

pub(super) fn describe(call: &Call<'_>, asked: &DescribeStream) -> Result<DescribedStream, AwsError> {
    let stream = asked.stream.find(call)?;
    let after = asked.exclusive_start_shard_id.as_deref().map(|id| super::numbers::find_shard(&stream, id));
    let after = after.transpose()?.map(|shard| shard.partition);
    let most = asked.limit.unwrap_or(LIST_MAX).clamp(1, 10_000);
    let shards: Vec<_> = stream.current_shards().filter(|shard| after < Some(shard.partition)).collect();
    let description = StreamDescription {
        stream_name: aws_name(&stream).to_owned(),
        stream_arn: stream_arn(call, &stream),
        stream_status: "ACTIVE",
        stream_mode_details: MODE,
        has_more_shards: shards.len() > most,
        shards: shards.into_iter().take(most).map(|shard| wire_shard(&stream, shard)).collect(),
        retention_period_hours: retention_hours(call, &stream),
        stream_creation_timestamp: Time(stream.created_at),
        enhanced_monitoring: NO_METRICS,
        encryption_type: "NONE",
    };
    Ok(DescribedStream { stream_description: description })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DescribedSummary {
    stream_description_summary: StreamSummary,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct StreamSummary {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    stream_status: &'static str,
    stream_mode_details: StreamModeDetails,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_period_hours: Option<u64>,
    stream_creation_timestamp: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    enhanced_monitoring: Option<[EnhancedMetrics; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_shard_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer_count: Option<usize>,
}

pub(super) fn describe_summary(call: &Call<'_>, asked: &Named) -> Result<DescribedSummary, AwsError> {
    let stream = asked.find(call)?;
    let summary = StreamSummary {
        retention_period_hours: Some(retention_hours(call, &stream)),
        enhanced_monitoring: Some(NO_METRICS),
        open_shard_count: Some(stream.shards.iter().filter(|shard| shard.is_open()).count()),
        consumer_count: Some(super::consumers::count(&stream)),
        ..short_summary(call, &stream)
    };
    Ok(DescribedSummary { stream_description_summary: summary })
}

fn short_summary(call: &Call<'_>, stream: &StreamInfo) -> StreamSummary {
    StreamSummary {
        stream_name: aws_name(stream).to_owned(),
        stream_arn: stream_arn(call, stream),
        stream_status: "ACTIVE",
        stream_mode_details: MODE,
        retention_period_hours: None,
        stream_creation_timestamp: Time(stream.created_at),
        enhanced_monitoring: None,
        open_shard_count: None,
        consumer_count: None,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListStreams {
    limit: Option<usize>,
    exclusive_start_stream_name: Option<String>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedStreams {
    stream_names: Vec<String>,
    has_more_streams: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    stream_summaries: Vec<StreamSummary>,
}

/// A token is the last name that was told.
pub(super) fn list(call: &Call<'_>, asked: ListStreams) -> Result<ListedStreams, AwsError> {
    let mut streams = call.inner.log.streams();
    streams.retain(|stream| !stream.is_deleted);
    streams.sort_by(|one, other| aws_name(one).cmp(aws_name(other)));
    let after = asked.next_token.or(asked.exclusive_start_stream_name);
    streams.retain(|stream| after.as_deref().is_none_or(|after| aws_name(stream) > after));
    let most = asked.limit.unwrap_or(LIST_MAX).clamp(1, 10_000);
    let has_more_streams = streams.len() > most;
    streams.truncate(most);
    Ok(ListedStreams {
        stream_names: streams.iter().map(|stream| aws_name(stream).to_owned()).collect(),
        has_more_streams,
        next_token: streams.last().filter(|_| has_more_streams).map(|last| aws_name(last).to_owned()),
        stream_summaries: streams.iter().map(|stream| short_summary(call, stream)).collect(),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Limits {
    shard_limit: usize,
    open_shard_count: usize,
    on_demand_stream_count: usize,
    on_demand_stream_count_limit: usize,
}

pub(super) fn limits(call: &Call<'_>) -> Limits {
    let streams = call.inner.log.streams();
    let open = streams.iter().flat_map(|stream| &stream.shards).filter(|shard| shard.is_open());
    Limits {
        shard_limit: lacus_stream::STREAMS_MAX * lacus_core::settings::PARTITIONS_MAX as usize,
        open_shard_count: open.count(),
        on_demand_stream_count: 0,
        on_demand_stream_count_limit: lacus_stream::STREAMS_MAX,
    }
}

fn retention_hours(call: &Call<'_>, stream: &StreamInfo) -> u64 {
    let retention = stream.retention.unwrap_or(call.inner.settings.stream.retention);
    retention.0 / HOUR_MS
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SetRetention {
    #[serde(flatten)]
    stream: Named,
    retention_period_hours: u64,
}

pub(super) async fn set_retention(call: &Call<'_>, asked: SetRetention, is_more: bool) -> Result<(), AwsError> {
    let stream = asked.stream.find(call)?;
    let (before, hours) = (retention_hours(call, &stream), asked.retention_period_hours);
    if !RETENTION_HOURS.contains(&hours) || (is_more && hours < before) || (!is_more && hours > before) {
        let (least, most) = (RETENTION_HOURS.start(), RETENTION_HOURS.end());
        let direction = if is_more { "more" } else { "less" };
        return Err(AwsError::invalid(format!(
            "Requested retention period ({hours} hours) must be from {least} to {most} hours, and {direction} than the {before} hours of now."
        )));
    }
    let retention = Millis(hours * HOUR_MS);
    call.with_log(move |log| log.set_retention(&stream.name, Some(retention))).await?;
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AddTags {
    #[serde(flatten)]
    stream: Named,
    tags: BTreeMap<String, String>,
}

pub(super) async fn add_tags(call: &Call<'_>, asked: AddTags) -> Result<(), AwsError> {
    let stream = asked.stream.find(call)?.name;
    call.with_log(move |log| log.change_attributes(&stream, &mut |attributes| tag(attributes, asked.tags.clone())))
        .await?;
    Ok(())
}

/// Adds tags to the attributes of a stream.
fn tag(attributes: &mut BTreeMap<String, String>, tags: BTreeMap<String, String>) -> lacus_core::Result<()> {
    for (key, value) in tags {
        if !(1..=128).contains(&key.len()) || value.len() > 256 {
            return Err(Error::invalid("a tag has a key of 1 to 128 bytes and a value of 256 at most"));
        }
        attributes.insert(format!("{TAG}{key}"), value);
    }
    if attributes.keys().filter(|name| name.starts_with(TAG)).count() > TAGS_MAX {
        return Err(Error::new(Kind::Invalid, format!("a stream has {TAGS_MAX} tags at most")));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RemoveTags {
    #[serde(flatten)]
    stream: Named,
    tag_keys: Vec<String>,
}

pub(super) async fn remove_tags(call: &Call<'_>, asked: RemoveTags) -> Result<(), AwsError> {
    let stream = asked.stream.find(call)?.name;
    let mut remove = move |attributes: &mut BTreeMap<String, String>| {
        for key in &asked.tag_keys {
            attributes.remove(&format!("{TAG}{key}"));
        }
        Ok(())
    };
    call.with_log(move |log| log.change_attributes(&stream, &mut remove)).await?;
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListTags {
    #[serde(flatten)]
    stream: Named,
    exclusive_start_tag_key: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedTags {
    tags: Vec<Tag>,
    has_more_tags: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

pub(super) fn list_tags(call: &Call<'_>, asked: &ListTags) -> Result<ListedTags, AwsError> {
    let stream = asked.stream.find(call)?;
    let tags = stream.attributes.iter().filter_map(|(name, value)| Some((name.strip_prefix(TAG)?, value)));
    let after = asked.exclusive_start_tag_key.as_deref();
    let mut tags: Vec<Tag> = tags
        .filter(|(key, _)| after.is_none_or(|after| *key > after))
        .map(|(key, value)| Tag { key: key.to_owned(), value: value.clone() })
        .collect();
    let most = asked.limit.unwrap_or(TAGS_MAX).clamp(1, TAGS_MAX);
    let has_more_tags = tags.len() > most;
    tags.truncate(most);
    Ok(ListedTags { tags, has_more_tags })
}
