//! Firehose, API version 2015-08-04: a delivery stream is a stream that a table is delivered from.
//!
//! Where a client says its delivery stream should go (a bucket, a warehouse) is kept and told back; what comes goes to the
//! stream's own table. Of the destination, the buffering hints count: they say when the table is committed.

mod destination;
mod records;
mod streams;

use axum::http::StatusCode;
use lacus_stream::{FORMAT_ATTRIBUTE, StreamInfo};
use serde::Serialize;

use super::answer::Answer;
use super::wire::{AwsError, shortened};
use super::{ACCOUNT, Call};
use crate::stats::Reason;

/// What `X-Amz-Target` begins with.
pub(super) const TARGET: &str = "Firehose_20150804";

/// Runs an operation.
pub(super) async fn answer(call: &Call<'_>, operation: &str) -> Result<Answer, AwsError> {
    match operation {
        "PutRecord" => call.told(&records::put_record(call).await?),
        "PutRecordBatch" => call.told(&records::put_record_batch(call).await?),
        "CreateDeliveryStream" => call.told(&streams::create(call, call.asked()?).await?),
        "DescribeDeliveryStream" => call.told(&streams::describe(call, &call.asked()?)?),
        "ListDeliveryStreams" => call.told(&streams::list(call, &call.asked()?)),
        "DeleteDeliveryStream" => call.told(&streams::delete(call, &call.asked()?).await?),
        "UpdateDestination" => call.told(&streams::update(call, call.asked()?).await?),
        "TagDeliveryStream" => call.told(&streams::tag(call, call.asked()?).await?),
        "UntagDeliveryStream" => call.told(&streams::untag(call, call.asked()?).await?),
        "ListTagsForDeliveryStream" => call.told(&streams::list_tags(call, &call.asked()?)?),
        "StartDeliveryStreamEncryption" | "StopDeliveryStreamEncryption" => {
            Err(invalid("lacus has no KMS keys to encrypt streams with: encrypt the disk it writes to"))
        }
        _ => Err(AwsError::unknown_operation(operation)),
    }
}

/// An error in the terms of Firehose, which has one name for "slow down" and "wait".
pub(super) fn in_its_terms(error: AwsError) -> AwsError {
    match error.name {
        "ProvisionedThroughputExceededException" | "ServiceUnavailable" => {
            AwsError { status: StatusCode::SERVICE_UNAVAILABLE, name: "ServiceUnavailableException", ..error }
        }
        "ValidationException" => AwsError { name: "InvalidArgumentException", ..error },
        _ => error,
    }
}

/// The answer of operations that have nothing to tell.
#[derive(Serialize)]
struct Nothing {}

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::invalid(message)
}

fn not_found(name: &str) -> AwsError {
    let name = shortened(name);
    AwsError::not_found(format!("Firehose {name} under account {ACCOUNT} not found."))
}

/// Refuses a stream that Firehose can't put into.
fn check_format(stream: &StreamInfo) -> Result<(), AwsError> {
    if !stream.attributes.contains_key(FORMAT_ATTRIBUTE) {
        return Ok(());
    }
    let message = format!("stream {} is fed by the Segment API only", stream.name);
    Err(AwsError::new("InvalidArgumentException", message, Reason::Parameter))
}
