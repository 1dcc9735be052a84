//! Any bytes as a body, in both forms, to every operation: refused or answered, never a panic or an error of ours.

use ciborium::Value as Cbor;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Aws;

const OPERATIONS: [&str; 34] = [
    "Kinesis_20131202.PutRecord",
    "Kinesis_20131202.PutRecords",
    "Kinesis_20131202.GetShardIterator",
    "Kinesis_20131202.GetRecords",
    "Kinesis_20131202.CreateStream",
    "Kinesis_20131202.DeleteStream",
    "Kinesis_20131202.DescribeStream",
    "Kinesis_20131202.DescribeStreamSummary",
    "Kinesis_20131202.ListStreams",
    "Kinesis_20131202.UpdateStreamMode",
    "Kinesis_20131202.EnableEnhancedMonitoring",
    "Kinesis_20131202.IncreaseStreamRetentionPeriod",
    "Kinesis_20131202.AddTagsToStream",
    "Kinesis_20131202.RemoveTagsFromStream",
    "Kinesis_20131202.ListTagsForStream",
    "Kinesis_20131202.ListShards",
    "Kinesis_20131202.SplitShard",
    "Kinesis_20131202.MergeShards",
    "Kinesis_20131202.UpdateShardCount",
    "Kinesis_20131202.RegisterStreamConsumer",
    "Kinesis_20131202.DeregisterStreamConsumer",
    "Kinesis_20131202.DescribeStreamConsumer",
    "Kinesis_20131202.ListStreamConsumers",
    "Kinesis_20131202.SubscribeToShard",
    "Firehose_20150804.PutRecord",
    "Firehose_20150804.PutRecordBatch",
    "Firehose_20150804.CreateDeliveryStream",
    "Firehose_20150804.DescribeDeliveryStream",
    "Firehose_20150804.ListDeliveryStreams",
    "Firehose_20150804.DeleteDeliveryStream",
    "Firehose_20150804.UpdateDestination",
    "Firehose_20150804.TagDeliveryStream",
    "Firehose_20150804.UntagDeliveryStream",
    "Firehose_20150804.ListTagsForDeliveryStream",
];

const NAMES: [&str; 24] = [
    "StreamName",
    "StreamARN",
    "DeliveryStreamName",
    "ShardId",
    "ShardToSplit",
    "NewStartingHashKey",
    "ShardToMerge",
    "AdjacentShardToMerge",
    "TargetShardCount",
    "ShardCount",
    "RetentionPeriodHours",
    "Records",
    "Record",
    "Data",
    "PartitionKey",
    "ExplicitHashKey",
    "ShardIterator",
    "ShardIteratorType",
    "StartingSequenceNumber",
    "Timestamp",
    "ConsumerName",
    "Tags",
    "Limit",
    "S3DestinationConfiguration",
];

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0_u64..3_000).prop_map(Value::from),
        "[ -~]{0,20}".prop_map(Value::from),
        "[0-9]{0,60}".prop_map(Value::from),
        prop::sample::select(
            &["web", "shardId-000000000000", "arn:aws:kinesis:x:0:stream/web", "AT_SEQUENCE_NUMBER", "e30="][..]
        )
        .prop_map(Value::from),
    ]
}

fn asked() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(&NAMES[..]).prop_map(str::to_owned);
    let member = leaf().prop_recursive(3, 24, 6, move |inner| {
        let name = prop::sample::select(&NAMES[..]).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..4).prop_map(|members| json!(members)),
        ]
    });
    prop::collection::btree_map(name, member, 0..8).prop_map(|members| json!(members))
}

/// A body: right in form, with something cut out, or nothing but bytes.
fn body() -> impl Strategy<Value = (bool, Vec<u8>)> {
    let written = (asked(), any::<bool>())
        .prop_map(|(asked, is_cbor)| {
            let mut cbor = Vec::new();
            ciborium::into_writer(&Cbor::serialized(&asked).unwrap(), &mut cbor).unwrap();
            (is_cbor, if is_cbor { cbor } else { asked.to_string().into_bytes() })
        })
        .boxed();
    let broken =
        (written.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|((is_cbor, mut body), at, byte)| {
            let at = at.index(body.len());
            body[at] = byte;
            (is_cbor, body)
        });
    prop_oneof![4 => written, 2 => broken, 1 => (any::<bool>(), prop::collection::vec(any::<u8>(), 0..60))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_body_is_answered(bodies in prop::collection::vec((prop::sample::select(&OPERATIONS[..]), body()), 20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let aws = Aws::new();
            aws.create("web", 1).await;
            for (target, (is_cbor, body)) in bodies {
                let form = if is_cbor { "application/x-amz-cbor-1.1" } else { "application/x-amz-json-1.1" };
                let (status, told) = aws.send(target, form, body.clone()).await;
                let told = String::from_utf8_lossy(&told);
                prop_assert!(matches!(status.as_u16(), 200 | 400), "{target} {} {status} {told}", String::from_utf8_lossy(&body));
            }
            aws.door.post("/v1/events?source=after", "{}").await;
            prop_assert_eq!(aws.door.values("after").len(), 1);
            Ok(())
        })?;
    }
}
