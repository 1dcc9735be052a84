//! What boto3 1.44 sent over a socket, byte for byte, and the answers, byte for byte.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::TestClock;
use crate::Keyring;
use crate::tests::Door;
use crate::tests::sockets::serve;

const ID: &str = "LACUAAAAAAAAAAAAAAAA";
const SECRET: &str = "secretsecretsecretsecretsecretsecret1234";

/// Sends recorded bytes, and gives the answer without the headers that say nothing about it.
async fn replay(door: &Door, request: &[u8]) -> String {
    let mut socket = TcpStream::connect(serve(door).await).await.unwrap();
    socket.write_all(request).await.unwrap();
    let (mut answer, mut is_whole) = (String::new(), false);
    while !is_whole {
        let mut piece = [0; 4096];
        let count = socket.read(&mut piece).await.unwrap();
        assert!(count > 0, "the answer breaks off: {answer}");
        answer.push_str(std::str::from_utf8(&piece[..count]).unwrap());
        is_whole = answer
            .split_once("\r\n\r\n")
            .is_some_and(|(head, body)| head.lines().any(|line| line == format!("content-length: {}", body.len())));
    }
    answer.lines().filter(|line| !line.starts_with("date: ")).collect::<Vec<_>>().join("\n")
}

fn door() -> Door {
    Door::with_clock("", Some(Keyring::with_access_key(ID, SECRET)), TestClock::new() as Arc<_>)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_and_a_consumer_of_kinesis() {
    let door = door();
    insta::assert_snapshot!(replay(&door, include_bytes!("boto3/create-stream.http")).await, @"
    HTTP/1.1 200 OK
    content-type: application/x-amz-json-1.1
    x-amzn-requestid: 000660c165045000-000000000000
    content-length: 0
    ");
    insta::assert_snapshot!(replay(&door, include_bytes!("boto3/put-records.http")).await, @r#"
    HTTP/1.1 200 OK
    content-type: application/x-amz-json-1.1
    x-amzn-requestid: 000660c165045000-000000000001
    content-length: 257

    {"FailedRecordCount":0,"Records":[{"ShardId":"shardId-000000000001","SequenceNumber":"49000000000100000000000000000000000000000000000000000000"},{"ShardId":"shardId-000000000001","SequenceNumber":"49000000000100000000000000000000000000000000000000000001"}]}
    "#);
    insta::assert_snapshot!(replay(&door, include_bytes!("boto3/describe-stream.http")).await, @r#"
    HTTP/1.1 200 OK
    content-type: application/x-amz-json-1.1
    x-amzn-requestid: 000660c165045000-000000000002
    content-length: 885

    {"StreamDescription":{"StreamName":"Web-Clicks","StreamARN":"arn:aws:kinesis:eu-central-1:000000000000:stream/Web-Clicks","StreamStatus":"ACTIVE","StreamModeDetails":{"StreamMode":"PROVISIONED"},"StreamCreationTimestamp":1795233600.0,"RetentionPeriodHours":168,"EnhancedMonitoring":[{"ShardLevelMetrics":[]}],"EncryptionType":"NONE","Shards":[{"ShardId":"shardId-000000000000","HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"170141183460469231731687303715884105727"},"SequenceNumberRange":{"StartingSequenceNumber":"49000000000000000000000000000000000000000000000000000000"}},{"ShardId":"shardId-000000000001","HashKeyRange":{"StartingHashKey":"170141183460469231731687303715884105728","EndingHashKey":"340282366920938463463374607431768211455"},"SequenceNumberRange":{"StartingSequenceNumber":"49000000000100000000000000000000000000000000000000000000"}}],"HasMoreShards":false}}
    "#);
    insta::assert_snapshot!(replay(&door, include_bytes!("boto3/list-shards.http")).await, @r#"
    HTTP/1.1 200 OK
    content-type: application/x-amz-json-1.1
    x-amzn-requestid: 000660c165045000-000000000003
    content-length: 530

    {"Shards":[{"ShardId":"shardId-000000000000","HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"170141183460469231731687303715884105727"},"SequenceNumberRange":{"StartingSequenceNumber":"49000000000000000000000000000000000000000000000000000000"}},{"ShardId":"shardId-000000000001","HashKeyRange":{"StartingHashKey":"170141183460469231731687303715884105728","EndingHashKey":"340282366920938463463374607431768211455"},"SequenceNumberRange":{"StartingSequenceNumber":"49000000000100000000000000000000000000000000000000000000"}}]}
    "#);
    insta::assert_snapshot!(replay(&door, include_bytes!("boto3/get-shard-iterator.http")).await, @r#"
    HTTP/1.1 200 OK
    content-type: application/x-amz-json-1.1
    x-amzn-requestid: 000660c165045000-000000000004
    content-length: 64

    {"ShardIterator":"MSAxIDAgMTc5NTIzMzYwMDAwMDAwMCBXZWItQ2xpY2tz"}
    "#);
    insta::assert_snapshot!(replay(&door, include_bytes!("boto3/get-records.http")).await, @r#"
    HTTP/1.1 200 OK
    content-type: application/x-amz-json-1.1
    x-amzn-requestid: 000660c165045000-000000000005
    content-length: 442

    {"Records":[{"SequenceNumber":"49000000000100000000000000000000000000000000000000000000","ApproximateArrivalTimestamp":1795233600.0,"Data":"eyJldmVudCI6InZpZXcifQ==","PartitionKey":"user-1"},{"SequenceNumber":"49000000000100000000000000000000000000000000000000000001","ApproximateArrivalTimestamp":1795233600.0,"Data":"AP/+","PartitionKey":"Zürich"}],"NextShardIterator":"MSAxIDIgMTc5NTIzMzYwMDAwMDAwMCBXZWItQ2xpY2tz","MillisBehindLatest":0}
    "#);
    let records = door.records("web_clicks");
    assert_eq!(records[0], (Some("user-1".to_owned()), r#"{"event":"view"}"#.to_owned()));
    assert_eq!(records[1].0.as_deref(), Some("Zürich"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_of_firehose() {
    let door = door();
    insta::assert_snapshot!(replay(&door, include_bytes!("boto3/create-delivery-stream.http")).await, @r#"
    HTTP/1.1 200 OK
    content-type: application/x-amz-json-1.1
    x-amzn-requestid: 000660c165045000-000000000000
    content-length: 97

    {"DeliveryStreamARN":"arn:aws:firehose:eu-central-1:000000000000:deliverystream/clicks-delivery"}
    "#);
    insta::assert_snapshot!(replay(&door, include_bytes!("boto3/put-record-batch.http")).await, @r#"
    HTTP/1.1 200 OK
    content-type: application/x-amz-json-1.1
    x-amzn-requestid: 000660c165045000-000000000001
    content-length: 157

    {"FailedPutCount":0,"Encrypted":false,"RequestResponses":[{"RecordId":"000000000000-00000000000000000001"},{"RecordId":"000000000000-00000000000000000002"}]}
    "#);
    insta::assert_snapshot!(replay(&door, include_bytes!("boto3/describe-delivery-stream.http")).await, @r#"
    HTTP/1.1 200 OK
    content-type: application/x-amz-json-1.1
    x-amzn-requestid: 000660c165045000-000000000002
    content-length: 702

    {"DeliveryStreamDescription":{"CreateTimestamp":1795233600.0,"DeliveryStreamARN":"arn:aws:firehose:eu-central-1:000000000000:deliverystream/clicks-delivery","DeliveryStreamEncryptionConfiguration":{"Status":"DISABLED"},"DeliveryStreamName":"clicks-delivery","DeliveryStreamStatus":"ACTIVE","DeliveryStreamType":"DirectPut","Destinations":[{"DestinationId":"destinationId-000000000001","ExtendedS3DestinationDescription":{"BucketARN":"arn:aws:s3:::any","BufferingHints":{"IntervalInSeconds":60,"SizeInMBs":1},"CompressionFormat":"UNCOMPRESSED","EncryptionConfiguration":{"NoEncryptionConfig":"NoEncryption"},"RoleARN":"arn:aws:iam::000000000000:role/any"}}],"HasMoreDestinations":false,"VersionId":"1"}}
    "#);
    assert_eq!(door.values("clicks_delivery"), [r#"{"event":"view"}"#, r#"{"event":"buy"}"#, "no json"]);
}
