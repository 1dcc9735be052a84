//! Delivery streams.

use lacus_core::StreamName;
use serde_json::{Value, json};

use super::{Aws, base64};

const STREAM: &str = "arn:aws:kinesis:eu-central-1:000000000000:stream/web";

fn named() -> Value {
    json!({"DeliveryStreamName": "to-lake"})
}

fn direct(hints: &Value) -> Value {
    let destination = json!({"RoleARN": "role", "BucketARN": "bucket", "BufferingHints": hints});
    json!({"DeliveryStreamName": "to-lake", "ExtendedS3DestinationConfiguration": destination, "Tags": [{"Key": "a", "Value": "1"}]})
}

fn fed(name: &str) -> Value {
    json!({
        "DeliveryStreamName": name,
        "DeliveryStreamType": "KinesisStreamAsSource",
        "KinesisStreamSourceConfiguration": {"KinesisStreamARN": STREAM, "RoleARN": "role"},
        "S3DestinationConfiguration": {"RoleARN": "role", "BucketARN": "bucket"},
    })
}

fn attribute(aws: &Aws, stream: &str, name: &str) -> Option<String> {
    let stream = aws.door.log.stream(&StreamName::new(stream).unwrap()).unwrap();
    stream.attributes.get(name).cloned()
}

#[tokio::test]
async fn a_delivery_stream_is_made_described_and_changed() {
    let aws = Aws::new();
    let hints = json!({"SizeInMBs": 2, "IntervalInSeconds": 60});
    insta::assert_snapshot!(aws.firehose("CreateDeliveryStream", direct(&hints)).await, @r#"{"DeliveryStreamARN":"arn:aws:firehose:eu-central-1:000000000000:deliverystream/to-lake"}"#);
    insta::assert_snapshot!(aws.firehose("DescribeDeliveryStream", named()).await, @r#"{"DeliveryStreamDescription":{"CreateTimestamp":1795233600.0,"DeliveryStreamARN":"arn:aws:firehose:eu-central-1:000000000000:deliverystream/to-lake","DeliveryStreamEncryptionConfiguration":{"Status":"DISABLED"},"DeliveryStreamName":"to-lake","DeliveryStreamStatus":"ACTIVE","DeliveryStreamType":"DirectPut","Destinations":[{"DestinationId":"destinationId-000000000001","ExtendedS3DestinationDescription":{"BucketARN":"bucket","BufferingHints":{"IntervalInSeconds":60,"SizeInMBs":2},"CompressionFormat":"UNCOMPRESSED","EncryptionConfiguration":{"NoEncryptionConfig":"NoEncryption"},"RoleARN":"role"}}],"HasMoreDestinations":false,"VersionId":"1"}}"#);
    let committed =
        |aws: &Aws| (attribute(aws, "to_lake", "commit_bytes"), attribute(aws, "to_lake", "commit_after_ms"));
    assert_eq!(committed(&aws), (Some("2097152".to_owned()), Some("60000".to_owned())));
    aws.clock.advance_ms(1_000);
    let update = |version: &str| {
        json!({
            "DeliveryStreamName": "to-lake",
            "CurrentDeliveryStreamVersionId": version,
            "DestinationId": "destinationId-000000000001",
            "ExtendedS3DestinationUpdate": {"Prefix": "p/", "BufferingHints": {"IntervalInSeconds": 0}},
        })
    };
    aws.firehose("UpdateDestination", update("1")).await;
    assert_eq!(committed(&aws), (Some("2097152".to_owned()), Some("1000".to_owned())));
    insta::assert_snapshot!(aws.firehose("DescribeDeliveryStream", named()).await, @r#"{"DeliveryStreamDescription":{"CreateTimestamp":1795233600.0,"DeliveryStreamARN":"arn:aws:firehose:eu-central-1:000000000000:deliverystream/to-lake","DeliveryStreamEncryptionConfiguration":{"Status":"DISABLED"},"DeliveryStreamName":"to-lake","DeliveryStreamStatus":"ACTIVE","DeliveryStreamType":"DirectPut","Destinations":[{"DestinationId":"destinationId-000000000001","ExtendedS3DestinationDescription":{"BucketARN":"bucket","BufferingHints":{"IntervalInSeconds":0,"SizeInMBs":2},"CompressionFormat":"UNCOMPRESSED","EncryptionConfiguration":{"NoEncryptionConfig":"NoEncryption"},"Prefix":"p/","RoleARN":"role"}}],"HasMoreDestinations":false,"LastUpdateTimestamp":1795233601.0,"VersionId":"2"}}"#);
    insta::assert_snapshot!(aws.firehose_error("UpdateDestination", update("1")).await, @"400 ConcurrentModificationException: the delivery stream has version 2 by now");
    aws.firehose("TagDeliveryStream", json!({"DeliveryStreamName": "to-lake", "Tags": [{"Key": "b"}]})).await;
    aws.firehose("UntagDeliveryStream", json!({"DeliveryStreamName": "to-lake", "TagKeys": ["a"]})).await;
    insta::assert_snapshot!(aws.firehose("ListTagsForDeliveryStream", named()).await, @r#"{"HasMoreTags":false,"Tags":[{"Key":"b","Value":""}]}"#);
    aws.firehose("DeleteDeliveryStream", named()).await;
    insta::assert_snapshot!(aws.firehose_error("DescribeDeliveryStream", named()).await, @"400 ResourceNotFoundException: Firehose to-lake under account 000000000000 not found.");
}

#[tokio::test]
async fn one_that_a_stream_feeds_is_remembered_beside_it() {
    let aws = Aws::new();
    aws.create("web", 1).await;
    aws.firehose("CreateDeliveryStream", fed("to-lake")).await;
    aws.firehose("TagDeliveryStream", json!({"DeliveryStreamName": "to-lake", "Tags": [{"Key": "b"}]})).await;
    assert_eq!(aws.kinesis("ListTagsForStream", json!({"StreamName": "web"})).await["Tags"], json!([]));
    let told = aws.firehose("DescribeDeliveryStream", named()).await;
    let told = &told["DeliveryStreamDescription"];
    insta::assert_snapshot!(json!([told["DeliveryStreamType"], told["Source"]]), @r#"["KinesisStreamAsSource",{"KinesisStreamSourceDescription":{"KinesisStreamARN":"arn:aws:kinesis:eu-central-1:000000000000:stream/web","RoleARN":"role"}}]"#);
    assert_eq!(attribute(&aws, "web", "commit_after_ms").as_deref(), Some("300000"));
    for (type_, expected) in [("DirectPut", json!([])), ("KinesisStreamAsSource", json!(["to-lake"]))] {
        let told = aws.firehose("ListDeliveryStreams", json!({"DeliveryStreamType": type_})).await;
        assert_eq!(told["DeliveryStreamNames"], expected);
    }
    let put = json!({"DeliveryStreamName": "to-lake", "Record": {"Data": "eA=="}});
    let errors = [
        aws.firehose_error("PutRecord", put).await,
        aws.firehose_error("CreateDeliveryStream", fed("to-lake")).await,
        aws.firehose_error("CreateDeliveryStream", fed("other")).await,
    ];
    insta::assert_snapshot!(errors.join("\n"), @"
    400 InvalidArgumentException: This operation is not permitted on KinesisStreamAsSource delivery stream type.
    400 ResourceInUseException: Firehose to-lake is stream web already.
    400 ResourceInUseException: a stream has one delivery stream at most, as it has one table
    ");
    aws.firehose("DeleteDeliveryStream", named()).await;
    assert!(aws.kinesis("DescribeStream", json!({"StreamName": "web"})).await.is_object());
    assert_eq!((attribute(&aws, "web", "firehose"), attribute(&aws, "web", "commit_bytes")), (None, None));
    aws.firehose("CreateDeliveryStream", fed("web")).await;
    aws.firehose("DeleteDeliveryStream", json!({"DeliveryStreamName": "web"})).await;
    aws.firehose_error("DeleteDeliveryStream", json!({"DeliveryStreamName": "web"})).await;
}

#[tokio::test]
async fn blobs_are_taken_apart_and_none_is_dropped() {
    let aws = Aws::new();
    aws.firehose("CreateDeliveryStream", direct(&json!({}))).await;
    let blobs = [
        "{\"a\":1}",
        "{\"b\":1}\n{\"b\":2}\n",
        "[{\"c\":1},{\"c\":2}]",
        "no json\n",
        "",
        "{\"d\":1}{\"d\":",
        "\u{0}\u{ff}",
    ];
    let records: Vec<Value> = blobs.iter().map(|blob| json!({"Data": base64(blob)})).collect();
    let told = aws.firehose("PutRecordBatch", json!({"DeliveryStreamName": "to-lake", "Records": records})).await;
    insta::assert_snapshot!(told, @r#"{"Encrypted":false,"FailedPutCount":0,"RequestResponses":[{"RecordId":"000000000000-00000000000000000000"},{"RecordId":"000000000000-00000000000000000002"},{"RecordId":"000000000000-00000000000000000004"},{"RecordId":"000000000000-00000000000000000005"},{"RecordId":"empty"},{"RecordId":"000000000000-00000000000000000006"},{"RecordId":"000000000000-00000000000000000007"}]}"#);
    insta::assert_snapshot!(format!("{:?}", aws.door.values("to_lake")), @r#"["{\"a\":1}", "{\"b\":1}", "{\"b\":2}", "{\"c\":1}", "{\"c\":2}", "no json", "{\"d\":1}{\"d\":", "\0ÿ"]"#);
    let told =
        aws.firehose("PutRecord", json!({"DeliveryStreamName": "to-lake", "Record": {"Data": base64("{}")}})).await;
    insta::assert_snapshot!(told, @r#"{"Encrypted":false,"RecordId":"000000000000-00000000000000000008"}"#);
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let aws = Aws::new();
    aws.door.post("/v1/events?source=posted", "{}").await;
    aws.firehose("PutRecord", json!({"DeliveryStreamName": "posted", "Record": {"Data": base64("{}")}})).await;
    let put = |bytes: usize, count: usize| json!({"DeliveryStreamName": "posted", "Records": vec![json!({"Data": base64(vec![b'x'; bytes])}); count]});
    aws.firehose("PutRecordBatch", put(1_024_000, 4)).await;
    let mut typed = direct(&json!({}));
    typed["DeliveryStreamType"] = "MSKAsSource".into();
    let mut unfed = fed("to-lake");
    unfed["KinesisStreamSourceConfiguration"] = Value::Null;
    let mut long = direct(&json!({}));
    long["DeliveryStreamName"] = "a".repeat(65).into();
    let errors = [
        aws.firehose_error("PutRecordBatch", put(1_024_001, 1)).await,
        aws.firehose_error("PutRecordBatch", put(1_000_000, 5)).await,
        aws.firehose_error("PutRecordBatch", put(1, 501)).await,
        aws.firehose_error("PutRecord", json!({"DeliveryStreamName": "no", "Record": {"Data": ""}})).await,
        aws.firehose_error("CreateDeliveryStream", named()).await,
        aws.firehose_error("CreateDeliveryStream", direct(&json!({"SizeInMBs": 0}))).await,
        aws.firehose_error("CreateDeliveryStream", typed).await,
        aws.firehose_error("CreateDeliveryStream", unfed).await,
        aws.firehose_error("CreateDeliveryStream", fed("to-lake")).await,
        aws.firehose_error("CreateDeliveryStream", long).await,
        aws.firehose_error("StartDeliveryStreamEncryption", named()).await,
        aws.firehose_error("Nope", json!({})).await,
        aws.firehose_error("DeleteDeliveryStream", json!({"DeliveryStreamName": "posted"})).await,
    ];
    insta::assert_snapshot!(errors.join("\n"), @r#"
    400 InvalidArgumentException: A record has 1,000 KiB of data at most, and all of a request 4 MiB.
    400 InvalidArgumentException: A record has 1,000 KiB of data at most, and all of a request 4 MiB.
    400 InvalidArgumentException: Records must have 1 to 500 members.
    400 ResourceNotFoundException: Firehose no under account 000000000000 not found.
    400 InvalidArgumentException: the request must have one destination, such as ExtendedS3DestinationConfiguration
    400 InvalidArgumentException: BufferingHints have 1 to 128 SizeInMBs and 0 to 900 IntervalInSeconds
    400 InvalidArgumentException: lacus takes delivery streams of type DirectPut and KinesisStreamAsSource only
    400 InvalidArgumentException: KinesisStreamSourceConfiguration must be given with this DeliveryStreamType
    400 ResourceNotFoundException: Stream web under account 000000000000 not found.
    400 InvalidArgumentException: The name of a stream must have 1 to 64 letters, digits, underscores, dots and hyphens.
    400 InvalidArgumentException: lacus has no KMS keys to encrypt streams with: encrypt the disk it writes to
    400 UnknownOperationException: there is no operation "Nope" here; docs/reference/kinesis.md and firehose.md list those there are
    400 ResourceNotFoundException: Firehose posted under account 000000000000 not found.
    "#);
}
