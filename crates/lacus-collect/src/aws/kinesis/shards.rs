//! Shards: listed, split, merged.

use lacus_core::{Offset, Timestamp};
use lacus_stream::{Shard, StreamInfo};
use serde::{Deserialize, Serialize};

use super::super::wire::{AwsError, Time};
use super::super::{Call, aws_name};
use super::numbers::{find_shard, sequence_number, shard_id};
use super::{HashKeyRange, Named, lineage, retention, stream_arn};

/// Shards of one answer of `ListShards`, if the client does not say, and at most.
const LIST_DEFAULT: usize = 1_000;
const LIST_MAX: usize = 10_000;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WireShard {
    shard_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_shard_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adjacent_parent_shard_id: Option<String>,
    hash_key_range: HashKeyRange,
    sequence_number_range: SequenceNumberRange,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SequenceNumberRange {
    starting_sequence_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending_sequence_number: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ChildShard {
    shard_id: String,
    parent_shards: Vec<String>,
    hash_key_range: HashKeyRange,
}

impl ChildShard {
    pub(super) fn of(shard: &Shard) -> Self {
        Self {
            shard_id: shard_id(shard.partition),
            parent_shards: shard.parents.iter().map(|parent| shard_id(*parent)).collect(),
            hash_key_range: range(shard),
        }
    }
}

fn range(shard: &Shard) -> HashKeyRange {
    HashKeyRange { starting_hash_key: shard.hash_start.to_string(), ending_hash_key: shard.hash_end.to_string() }
}

/// How many shards of a stream take records.
pub(super) fn open_count(stream: &StreamInfo) -> usize {
    stream.shards.iter().filter(|shard| shard.is_open()).count()
}

/// A shard as clients see it. A shard may have more than two parents here; two can be told.
pub(super) fn wire_shard(stream: &StreamInfo, shard: &Shard) -> WireShard {
    let listed = |parent: &&lacus_core::Partition| parent.0 >= stream.first_shard;
    let mut parents = shard.parents.iter().filter(listed).map(|parent| shard_id(*parent));
    let last = Offset(stream.end.next(shard.partition).0.saturating_sub(1));
    WireShard {
        shard_id: shard_id(shard.partition),
        parent_shard_id: parents.next(),
        adjacent_parent_shard_id: parents.next(),
        hash_key_range: range(shard),
        sequence_number_range: SequenceNumberRange {
            starting_sequence_number: sequence_number(shard.partition, Offset(0)),
            ending_sequence_number: (!shard.is_open()).then(|| sequence_number(shard.partition, last)),
        },
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListShards {
    #[serde(flatten)]
    stream: Named,
    next_token: Option<String>,
    exclusive_start_shard_id: Option<String>,
    max_results: Option<usize>,
    shard_filter: Option<ShardFilter>,
    /// Known, because what is not known is kept for `stream`, which can't be done with a time in CBOR. A stream that was
    /// made anew has other shards anyway.
    #[serde(default)]
    #[expect(dead_code, reason = "see above")]
    stream_creation_timestamp: Option<Time>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ShardFilter {
    r#type: String,
    shard_id: Option<String>,
    timestamp: Option<Time>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedShards {
    shards: Vec<WireShard>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

pub(super) fn list(call: &Call<'_>, mut asked: ListShards) -> Result<ListedShards, AwsError> {
    if let Some(token) = asked.next_token.take() {
        asked.go_on(&token)?;
    }
    let stream = asked.stream.find(call)?;
    let after = asked.exclusive_start_shard_id.as_deref().map(|id| find_shard(&stream, id)).transpose()?;
    let after = after.map(|shard| shard.partition);
    let shards = lineage::listed(&stream, retention::retention(call, &stream), call.inner.clock.now());
    let mut shards = match &asked.shard_filter {
        Some(filter) => filter.apply(&stream, shards)?,
        None => shards,
    };
    shards.retain(|shard| after < Some(shard.partition));
    let most = asked.max_results.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX);
    let more = shards.len() > most;
    shards.truncate(most);
    let last = shards.last().filter(|_| more);
    Ok(ListedShards {
        next_token: last.map(|last| asked.token(&stream, last)),
        shards: shards.into_iter().map(|shard| wire_shard(&stream, shard)).collect(),
    })
}

impl ListShards {
    /// What asks for the shards after `last`: the name of the stream, that shard, and the filter, as a client that asks for
    /// the next page does not say it again. `orders/shardId-000000000007/AT_TIMESTAMP//1795233600000000`.
    fn token(&self, stream: &StreamInfo, last: &Shard) -> String {
        let page = format!("{}/{}", aws_name(stream), shard_id(last.partition));
        let Some(ShardFilter { r#type, shard_id, timestamp }) = &self.shard_filter else { return page };
        let micros = timestamp.map(|time| time.0.as_micros().to_string());
        format!("{page}/{}/{}/{}", r#type, shard_id.as_deref().unwrap_or_default(), micros.unwrap_or_default())
    }

    /// Asks for what a token says.
    fn go_on(&mut self, token: &str) -> Result<(), AwsError> {
        let wrong = || AwsError::invalid("Invalid NextToken.");
        let mut words = token.split('/');
        let (name, last) = words.next().zip(words.next()).ok_or_else(wrong)?;
        self.stream = Named { name: Some(name.to_owned()), arn: None };
        self.exclusive_start_shard_id = Some(last.to_owned());
        if let Some(r#type) = words.next() {
            let (shard_id, micros) = words.next().zip(words.next()).ok_or_else(wrong)?;
            let shard_id = (!shard_id.is_empty()).then(|| shard_id.to_owned());
            let timestamp = micros.parse().ok().map(|micros| Time(Timestamp::from_micros(micros)));
            self.shard_filter = Some(ShardFilter { r#type: r#type.to_owned(), shard_id, timestamp });
        }
        Ok(())
    }
}

impl ShardFilter {
    /// Of these shards, those that are asked for.
    fn apply<'a>(&self, stream: &'a StreamInfo, mut shards: Vec<&'a Shard>) -> Result<Vec<&'a Shard>, AwsError> {
        let missing = |what| move || AwsError::invalid(format!("{what} must be given with this type of ShardFilter."));
        let time = || self.timestamp.map(|time| time.0).ok_or_else(missing("Timestamp"));
        match self.r#type.as_str() {
            "FROM_TRIM_HORIZON" => {}
            "AT_TRIM_HORIZON" => shards = lineage::oldest(stream, &shards),
            "AT_LATEST" => shards.retain(|shard| shard.is_open()),
            "AT_TIMESTAMP" => shards = lineage::open_at(stream, shards, time()?),
            "FROM_TIMESTAMP" => {
                let time = time()?;
                shards.retain(|shard| !lineage::is_closed_before(shard, time));
            }
            "AFTER_SHARD_ID" => {
                let from = find_shard(stream, self.shard_id.as_deref().ok_or_else(missing("ShardId"))?)?.partition;
                shards.retain(|shard| shard.partition > from);
            }
            _ => return Err(AwsError::validation("there is no such type of ShardFilter")),
        }
        Ok(shards)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SplitShard {
    #[serde(flatten)]
    stream: Named,
    shard_to_split: String,
    new_starting_hash_key: String,
}

pub(super) async fn split(call: &Call<'_>, asked: SplitShard) -> Result<(), AwsError> {
    let stream = asked.stream.find(call)?;
    let shard = find_shard(&stream, &asked.shard_to_split)?.partition;
    let at = asked.new_starting_hash_key.parse();
    let at = at.map_err(|_| AwsError::invalid("NewStartingHashKey must be a number from 0 to 2^128-1."))?;
    call.change(move |log| log.split_shard(&stream.name, shard, at)).await?;
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MergeShards {
    #[serde(flatten)]
    stream: Named,
    shard_to_merge: String,
    adjacent_shard_to_merge: String,
}

pub(super) async fn merge(call: &Call<'_>, asked: MergeShards) -> Result<(), AwsError> {
    let stream = asked.stream.find(call)?;
    let one = find_shard(&stream, &asked.shard_to_merge)?.partition;
    let other = find_shard(&stream, &asked.adjacent_shard_to_merge)?.partition;
    call.change(move |log| log.merge_shards(&stream.name, one, other)).await?;
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateShardCount {
    #[serde(flatten)]
    stream: Named,
    target_shard_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdatedShardCount {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    current_shard_count: usize,
    target_shard_count: u32,
}

pub(super) async fn update_count(call: &Call<'_>, asked: UpdateShardCount) -> Result<UpdatedShardCount, AwsError> {
    let stream = asked.stream.find(call)?;
    let (name, target) = (stream.name.clone(), asked.target_shard_count);
    call.change(move |log| log.set_shard_count(&name, target)).await?;
    Ok(UpdatedShardCount {
        stream_name: aws_name(&stream).to_owned(),
        stream_arn: stream_arn(call, &stream),
        current_shard_count: open_count(&stream),
        target_shard_count: target,
    })
}
