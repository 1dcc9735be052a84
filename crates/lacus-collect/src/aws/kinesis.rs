//! Kinesis Data Streams, API version 2013-12-02: a shard is a shard, a sequence number holds an offset.

mod consumers;
mod entries;
mod lineage;
mod numbers;
mod records;
mod retention;
mod shards;
mod streams;

use lacus_stream::StreamInfo;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::wire::AwsError;
use super::{Call, aws_name};
use crate::stats::Reason;

/// What `X-Amz-Target` begins with.
pub(super) const TARGET: &str = "Kinesis_20131202";

/// Runs an operation.
pub(super) async fn answer(call: &Call<'_>, operation: &str) -> Result<Answer, AwsError> {
    match operation {
        "PutRecord" => call.told(&records::put_record(call).await?),
        "PutRecords" => call.told(&records::put_records(call).await?),
        "GetShardIterator" => call.told(&records::get_shard_iterator(call, call.asked()?).await?),
        "GetRecords" => records::get_records(call, call.asked()?).await,
        "CreateStream" => nothing(streams::create(call, call.asked()?).await?),
        "DeleteStream" => nothing(streams::delete(call, call.asked()?).await?),
        "DescribeStream" => call.told(&streams::describe(call, &call.asked()?)?),
        "DescribeStreamSummary" => call.told(&streams::describe_summary(call, &call.asked()?)?),
        "ListStreams" => call.told(&streams::list(call, call.asked()?)),
        "UpdateStreamMode" => nothing(streams::update_mode(call, call.asked()?).await?),
        "DescribeLimits" => call.told(&streams::limits(call)),
        "EnableEnhancedMonitoring" | "DisableEnhancedMonitoring" => {
            call.told(&streams::monitoring(call, &call.asked()?)?)
        }
        "IncreaseStreamRetentionPeriod" => nothing(retention::increase(call, call.asked()?).await?),
        "DecreaseStreamRetentionPeriod" => nothing(retention::decrease(call, call.asked()?).await?),
        "AddTagsToStream" | "TagResource" => nothing(streams::add_tags(call, call.asked()?).await?),
        "RemoveTagsFromStream" | "UntagResource" => nothing(streams::remove_tags(call, call.asked()?).await?),
        "ListTagsForStream" => call.told(&streams::list_tags(call, &call.asked()?)?),
        "ListTagsForResource" => call.told(&streams::list_tags_of_resource(call, &call.asked()?)?),
        "ListShards" => call.told(&shards::list(call, call.asked()?)?),
        "SplitShard" => nothing(shards::split(call, call.asked()?).await?),
        "MergeShards" => nothing(shards::merge(call, call.asked()?).await?),
        "UpdateShardCount" => call.told(&shards::update_count(call, call.asked()?).await?),
        "RegisterStreamConsumer" => call.told(&consumers::register(call, call.asked()?).await?),
        "DeregisterStreamConsumer" => nothing(consumers::deregister(call, call.asked()?).await?),
        "DescribeStreamConsumer" => call.told(&consumers::describe(call, &call.asked()?)?),
        "ListStreamConsumers" => call.told(&consumers::list(call, &call.asked()?)?),
        _ => Err(unsupported(operation)),
    }
}

/// Says plainly what there is not, with the error that clients of the operation know.
fn unsupported(operation: &str) -> AwsError {
    match operation {
        "SubscribeToShard" => AwsError::invalid(
            "lacus does not push records to consumers (enhanced fan-out): read them with GetShardIterator and GetRecords",
        ),
        "StartStreamEncryption" | "StopStreamEncryption" => {
            AwsError::invalid("lacus has no KMS keys to encrypt streams with: encrypt the disk it writes to")
        }
        _ => AwsError::unknown_operation(operation),
    }
}

/// Operations without an answer have an empty body.
#[expect(clippy::unnecessary_wraps, reason = "it stands among those that answer")]
fn nothing((): ()) -> Result<Answer, AwsError> {
    Ok(Answer::empty())
}

/// How a request names its stream: by name or by ARN.
#[derive(Debug, Default, Clone, Deserialize)]
struct Named {
    #[serde(rename = "StreamName")]
    name: Option<String>,
    #[serde(rename = "StreamARN", alias = "ResourceARN")]
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

/// Refuses what the client asked for only to see whether it could.
fn check_dry_run(is_dry_run: Option<bool>) -> Result<(), AwsError> {
    if is_dry_run != Some(true) {
        return Ok(());
    }
    let message = "The request would have succeeded, but the DryRun parameter was set.";
    Err(AwsError::new("DryRunOperationException", message, Reason::Parameter))
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
