//! Streams: made, described, tagged, ended.

use std::collections::BTreeMap;

use lacus_stream::{NewStream, StreamInfo};
use serde::{Deserialize, Serialize};

use super::super::tags::{self, Tag};
use super::super::wire::{AwsError, Time};
use super::super::{ACCOUNT, Call, aws_name, make_stream};
use super::shards::{WireShard, wire_shard};
use super::{Named, numbers, retention, stream_arn};
use crate::stats::Reason;

/// Shards of a stream that leaves their number to us.
const ON_DEMAND_SHARDS: u32 = 4;
/// The attribute that keeps the capacity mode that a client asked for. It changes nothing here.
const MODE: &str = "aws.mode";
const ON_DEMAND: &str = "ON_DEMAND";
const PROVISIONED: &str = "PROVISIONED";
const NAME_CHARS_MAX: usize = 128;
const LIST_DEFAULT: usize = 100;
const LIST_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateStream {
    stream_name: String,
    shard_count: Option<u32>,
    stream_mode_details: Option<ModeAsked>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ModeAsked {
    stream_mode: String,
}

pub(super) async fn create(call: &Call<'_>, asked: CreateStream) -> Result<(), AwsError> {
    let mut attributes = BTreeMap::new();
    tags::add(tags::KINESIS, &mut attributes, &asked.tags)?;
    if let Some(mode) = &asked.stream_mode_details {
        set_mode(&mut attributes, &mode.stream_mode)?;
    }
    let shards = match asked.shard_count {
        Some(count) if !attributes.contains_key(MODE) => count,
        _ => ON_DEMAND_SHARDS,
    };
    make_stream(call, &asked.stream_name, NAME_CHARS_MAX, NewStream { shards, attributes }).await
}

/// Remembers a mode; the absence of one is `PROVISIONED`.
fn set_mode(attributes: &mut BTreeMap<String, String>, mode: &str) -> Result<(), AwsError> {
    match mode {
        ON_DEMAND => attributes.insert(MODE.to_owned(), ON_DEMAND.to_owned()),
        PROVISIONED => attributes.remove(MODE),
        _ => return Err(AwsError::validation("StreamMode is PROVISIONED or ON_DEMAND.")),
    };
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateMode {
    #[serde(flatten)]
    stream: Named,
    stream_mode_details: ModeAsked,
}

pub(super) async fn update_mode(call: &Call<'_>, asked: UpdateMode) -> Result<(), AwsError> {
    let stream = asked.stream.find(call)?;
    let mode = asked.stream_mode_details.stream_mode;
    set_mode(&mut BTreeMap::new(), &mode)?;
    call.remember(&stream, move |attributes| {
        // It was checked above.
        set_mode(attributes, &mode).ok();
        Ok(())
    })
    .await
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeleteStream {
    #[serde(flatten)]
    stream: Named,
    enforce_consumer_deletion: Option<bool>,
}

pub(super) async fn delete(call: &Call<'_>, asked: DeleteStream) -> Result<(), AwsError> {
    let stream = asked.stream.find(call)?;
    if super::consumers::count(&stream) > 0 && asked.enforce_consumer_deletion != Some(true) {
        let name = aws_name(&stream);
        let message =
            format!("Stream {name} under account {ACCOUNT} has registered consumers: set EnforceConsumerDeletion.");
        return Err(AwsError::new("ResourceInUseException", message, Reason::Parameter));
    }
    call.change(move |log| log.delete_stream(&stream.name)).await
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
    #[serde(flatten)]
    stream: Brief,
    #[serde(flatten)]
    settings: StreamSettings,
    shards: Vec<WireShard>,
    has_more_shards: bool,
}

/// What every list and description of streams says.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Brief {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    stream_status: &'static str,
    stream_mode_details: ModeDetails,
    stream_creation_timestamp: Time,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct StreamSettings {
    retention_period_hours: u64,
    enhanced_monitoring: [EnhancedMetrics; 1],
    encryption_type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ModeDetails {
    stream_mode: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EnhancedMetrics {
    shard_level_metrics: [String; 0],
}

fn brief(call: &Call<'_>, stream: &StreamInfo) -> Brief {
    let stream_mode = if stream.attributes.contains_key(MODE) { ON_DEMAND } else { PROVISIONED };
    Brief {
        stream_name: aws_name(stream).to_owned(),
        stream_arn: stream_arn(call, stream),
        stream_status: "ACTIVE",
        stream_mode_details: ModeDetails { stream_mode },
        stream_creation_timestamp: Time(stream.created_at),
    }
}

fn settings(call: &Call<'_>, stream: &StreamInfo) -> StreamSettings {
    StreamSettings {
        retention_period_hours: retention::hours(call, stream),
        enhanced_monitoring: [EnhancedMetrics { shard_level_metrics: [] }],
        encryption_type: "NONE",
    }
}

pub(super) fn describe(call: &Call<'_>, asked: &DescribeStream) -> Result<DescribedStream, AwsError> {
    let stream = asked.stream.find(call)?;
    let after = asked.exclusive_start_shard_id.as_deref().map(|id| numbers::find_shard(&stream, id)).transpose()?;
    let after = after.map(|shard| shard.partition);
    let most = asked.limit.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX);
    let listed = super::lineage::listed(&stream, retention::retention(call, &stream), call.inner.clock.now());
    let shards: Vec<_> = listed.into_iter().filter(|shard| after < Some(shard.partition)).collect();
    let description = StreamDescription {
        stream: brief(call, &stream),
        settings: settings(call, &stream),
        has_more_shards: shards.len() > most,
        shards: shards.into_iter().take(most).map(|shard| wire_shard(&stream, shard)).collect(),
    };
    Ok(DescribedStream { stream_description: description })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DescribedSummary {
    stream_description_summary: Summary,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    #[serde(flatten)]
    stream: Brief,
    #[serde(flatten)]
    settings: StreamSettings,
    open_shard_count: usize,
    consumer_count: usize,
}

pub(super) fn describe_summary(call: &Call<'_>, asked: &Named) -> Result<DescribedSummary, AwsError> {
    let stream = asked.find(call)?;
    let summary = Summary {
        stream: brief(call, &stream),
        settings: settings(call, &stream),
        open_shard_count: super::shards::open_count(&stream),
        consumer_count: super::consumers::count(&stream),
    };
    Ok(DescribedSummary { stream_description_summary: summary })
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
    stream_summaries: Vec<Brief>,
}

/// A token is the last name that was told.
pub(super) fn list(call: &Call<'_>, asked: ListStreams) -> ListedStreams {
    let mut streams = super::super::streams(&call.inner.log);
    let after = asked.next_token.or(asked.exclusive_start_stream_name);
    streams.retain(|stream| after.as_deref().is_none_or(|after| aws_name(stream) > after));
    let most = asked.limit.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX);
    let has_more_streams = streams.len() > most;
    streams.truncate(most);
    ListedStreams {
        stream_names: streams.iter().map(|stream| aws_name(stream).to_owned()).collect(),
        has_more_streams,
        next_token: streams.last().filter(|_| has_more_streams).map(|last| aws_name(last).to_owned()),
        stream_summaries: streams.iter().map(|stream| brief(call, stream)).collect(),
    }
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
    let streams = super::super::streams(&call.inner.log);
    Limits {
        // The largest number that clients' models allow; the limit here is of a stream.
        shard_limit: 1_000_000,
        open_shard_count: streams.iter().map(super::shards::open_count).sum(),
        on_demand_stream_count: streams.iter().filter(|stream| stream.attributes.contains_key(MODE)).count(),
        on_demand_stream_count_limit: lacus_stream::STREAMS_MAX,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Monitoring {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    current_shard_level_metrics: [String; 0],
    desired_shard_level_metrics: [String; 0],
}

/// There is no CloudWatch to send metrics to: none are enabled, whatever was asked for.
pub(super) fn monitoring(call: &Call<'_>, asked: &Named) -> Result<Monitoring, AwsError> {
    let stream = asked.find(call)?;
    Ok(Monitoring {
        stream_name: aws_name(&stream).to_owned(),
        stream_arn: stream_arn(call, &stream),
        current_shard_level_metrics: [],
        desired_shard_level_metrics: [],
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AddTags {
    #[serde(flatten)]
    stream: Named,
    tags: BTreeMap<String, String>,
}

pub(super) async fn add_tags(call: &Call<'_>, asked: AddTags) -> Result<(), AwsError> {
    let stream = asked.stream.find(call)?;
    call.remember(&stream, move |attributes| tags::add(tags::KINESIS, attributes, &asked.tags)).await
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RemoveTags {
    #[serde(flatten)]
    stream: Named,
    tag_keys: Vec<String>,
}

pub(super) async fn remove_tags(call: &Call<'_>, asked: RemoveTags) -> Result<(), AwsError> {
    let stream = asked.stream.find(call)?;
    call.remember(&stream, move |attributes| {
        tags::remove(tags::KINESIS, attributes, &asked.tag_keys);
        Ok(())
    })
    .await
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListTags {
    #[serde(flatten)]
    stream: Named,
    exclusive_start_tag_key: Option<String>,
    limit: Option<usize>,
}

pub(super) fn list_tags(call: &Call<'_>, asked: &ListTags) -> Result<tags::Listed, AwsError> {
    let stream = asked.stream.find(call)?;
    Ok(tags::list(tags::KINESIS, &stream, asked.exclusive_start_tag_key.as_deref(), asked.limit))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ResourceTags {
    tags: Vec<Tag>,
}

pub(super) fn list_tags_of_resource(call: &Call<'_>, asked: &Named) -> Result<ResourceTags, AwsError> {
    Ok(ResourceTags { tags: tags::list(tags::KINESIS, &asked.find(call)?, None, None).tags })
}
