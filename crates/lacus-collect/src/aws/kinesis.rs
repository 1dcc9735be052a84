//! Kinesis Data Streams, API version 2013-12-02: a shard is a shard, a sequence number holds an offset.

mod consumers;
mod numbers;
mod records;
mod shards;
mod streams;

use serde::{Deserialize, Serialize};

use super::wire::AwsError;
use super::{Call, aws_name};
use lacus_stream::StreamInfo;

pub(super) use self::streams::make;

/// Runs an operation.
pub(super) async fn answer(call: &Call<'_>, operation: &str) -> Result<Vec<u8>, AwsError> {
    match operation {
        "PutRecord" => call.told(&records::put_record(call, call.asked()?).await?),
        "PutRecords" => call.told(&records::put_records(call, call.asked()?).await?),
        "GetShardIterator" => call.told(&records::get_shard_iterator(call, call.asked()?).await?),
        "GetRecords" => call.told(&records::get_records(call, call.asked()?).await?),
        "CreateStream" => nothing(streams::create(call, call.asked()?).await?),
        "DeleteStream" => nothing(streams::delete(call, call.asked()?).await?),
        "DescribeStream" => call.told(&streams::describe(call, &call.asked()?)?),
        "DescribeStreamSummary" => call.told(&streams::describe_summary(call, &call.asked()?)?),
        "ListStreams" => call.told(&streams::list(call, call.asked()?)?),
        "DescribeLimits" => call.told(&streams::limits(call)),
        "IncreaseStreamRetentionPeriod" => nothing(streams::set_retention(call, call.asked()?, true).await?),
        "DecreaseStreamRetentionPeriod" => nothing(streams::set_retention(call, call.asked()?, false).await?),
        "AddTagsToStream" => nothing(streams::add_tags(call, call.asked()?).await?),
        "RemoveTagsFromStream" => nothing(streams::remove_tags(call, call.asked()?).await?),
        "ListTagsForStream" => call.told(&streams::list_tags(call, &call.asked()?)?),
        "ListShards" => call.told(&shards::list(call, call.asked()?)?),
        "SplitShard" => nothing(shards::split(call, call.asked()?).await?),
        "MergeShards" => nothing(shards::merge(call, call.asked()?).await?),
        "UpdateShardCount" => call.told(&shards::update_count(call, call.asked()?).await?),
        "RegisterStreamConsumer" => call.told(&consumers::register(call, call.asked()?).await?),
        "DeregisterStreamConsumer" => nothing(consumers::deregister(call, call.asked()?).await?),
        "DescribeStreamConsumer" => call.told(&consumers::describe(call, &call.asked()?)?),
        "ListStreamConsumers" => call.told(&consumers::list(call, &call.asked()?)?),
        "SubscribeToShard" => Err(AwsError::invalid(
            "lacus does not push records to consumers (enhanced fan-out); read them with GetShardIterator and GetRecords",
        )),
        _ => Err(AwsError::unknown_operation(operation)),
    }
}

/// Operations without an answer have an empty body.
#[expect(clippy::unnecessary_wraps, reason = "it stands among those that answer")]
fn nothing((): ()) -> Result<Vec<u8>, AwsError> {
    Ok(Vec::new())
}

/// How a request names its stream: by name or by ARN.
#[derive(Debug, Default, Clone, Deserialize)]
struct Named {
    #[serde(rename = "StreamName")]
    name: Option<String>,
    #[serde(rename = "StreamARN")]
    arn: Option<String>,
}

impl Named {
    fn name(&self) -> Result<&str, AwsError> {
        let by_arn = self.arn.as_deref().and_then(|arn| arn.split_once(":stream/")).map(|(_, name)| name);
        let name = self.name.as_deref().or(by_arn);
        name.ok_or_else(|| AwsError::invalid("Either StreamName or StreamARN must be provided."))
    }

    fn find(&self, call: &Call<'_>) -> Result<StreamInfo, AwsError> {
        call.find(self.name()?)
    }
}

fn stream_arn(call: &Call<'_>, stream: &StreamInfo) -> String {
    call.arn("kinesis", "stream", aws_name(stream))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HashKeyRange {
    starting_hash_key: String,
    ending_hash_key: String,
}
