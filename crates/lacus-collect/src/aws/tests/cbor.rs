//! Bodies in CBOR, written as the Java clients write them: objects and lists without a length, times with tag 1 in ms.

use ciborium::Value as Cbor;
use serde_json::json;

use super::Aws;
use crate::hex::hex;

const TYPE: &str = "application/x-amz-cbor-1.1";

fn head(kind: u8, length: usize) -> Vec<u8> {
    match u8::try_from(length) {
        Ok(short @ 0..24) => vec![kind << 5 | short],
        Ok(byte) => vec![kind << 5 | 24, byte],
        Err(_) => [vec![kind << 5 | 26], u32::try_from(length).unwrap().to_be_bytes().to_vec()].concat(),
    }
}

fn text(value: &str) -> Vec<u8> {
    [head(3, value.len()), value.as_bytes().to_vec()].concat()
}

fn blob(value: &[u8]) -> Vec<u8> {
    [head(2, value.len()), value.to_vec()].concat()
}

fn number(value: usize) -> Vec<u8> {
    head(0, value)
}

fn time(millis: u64) -> Vec<u8> {
    [vec![0xc1, 0x1b], millis.to_be_bytes().to_vec()].concat()
}

fn map(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let members = members.iter().flat_map(|(name, value)| [text(name), value.clone()].concat());
    [vec![0xbf], members.collect(), vec![0xff]].concat()
}

fn list(values: &[Vec<u8>]) -> Vec<u8> {
    [vec![0x9f], values.concat(), vec![0xff]].concat()
}

/// A string in two chunks, as Jackson writes long ones.
fn chunked(kind: u8, one: &[u8], other: &[u8]) -> Vec<u8> {
    let chunk = |bytes: &[u8]| [head(kind, bytes.len()), bytes.to_vec()].concat();
    [vec![kind << 5 | 31], chunk(one), chunk(other), vec![0xff]].concat()
}

impl Aws {
    async fn cbor(&self, operation: &str, body: Vec<u8>) -> Cbor {
        let told = self.must(&format!("Kinesis_20131202.{operation}"), TYPE, body).await;
        if told.is_empty() { Cbor::Null } else { ciborium::from_reader(&told[..]).unwrap() }
    }
}

fn member<'a>(value: &'a Cbor, name: &str) -> &'a Cbor {
    let members = value.as_map().unwrap();
    &members.iter().find(|(key, _)| key.as_text() == Some(name)).unwrap_or_else(|| panic!("{name} in {value:?}")).1
}

async fn with_two_records() -> Aws {
    let aws = Aws::new();
    aws.cbor("CreateStream", map(&[("StreamName", text("web")), ("ShardCount", number(1))])).await;
    let one = map(&[("Data", blob(b"\x00\xff")), ("PartitionKey", text("k"))]);
    let other = map(&[("Data", chunked(2, b"{\"a\"", b":1}")), ("PartitionKey", chunked(3, b"a", b"b"))]);
    let told = aws.cbor("PutRecords", map(&[("Records", list(&[one, other])), ("StreamName", text("web"))])).await;
    assert_eq!(member(&told, "FailedRecordCount"), &Cbor::from(0));
    aws
}

#[tokio::test]
async fn a_java_producer_and_consumer_are_understood() {
    let aws = with_two_records().await;
    // The clock stands at 04:00.
    let at = map(&[
        ("StreamName", text("web")),
        ("ShardId", text("shardId-000000000000")),
        ("ShardIteratorType", text("AT_TIMESTAMP")),
        ("Timestamp", time(1_795_233_600_000)),
    ]);
    let told = aws.cbor("GetShardIterator", at.clone()).await;
    let iterator = member(&told, "ShardIterator").as_text().unwrap();
    let told = aws.cbor("GetRecords", map(&[("ShardIterator", text(iterator)), ("Limit", number(10))])).await;
    let records = member(&told, "Records").as_array().unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(member(&records[0], "Data"), &Cbor::Bytes(vec![0, 0xff]));
    assert_eq!(member(&records[1], "PartitionKey"), &Cbor::from("ab"));
    let arrived = Cbor::Tag(1, Box::new(Cbor::from(1_795_233_600_000_u64)));
    assert_eq!(member(&records[1], "ApproximateArrivalTimestamp"), &arrived);
    assert_eq!(member(&told, "MillisBehindLatest"), &Cbor::from(0));
    let later = [&at[..at.len() - 9], &1_795_233_600_001_u64.to_be_bytes(), &[0xff]].concat();
    let told = aws.cbor("GetShardIterator", later).await;
    let told = aws
        .cbor("GetRecords", map(&[("ShardIterator", member(&told, "ShardIterator").as_text().map(text).unwrap())]))
        .await;
    assert_eq!(member(&told, "Records"), &Cbor::Array(Vec::new()));
}

#[tokio::test]
async fn descriptions_have_tagged_times_and_what_is_not_known_is_passed_over() {
    let aws = with_two_records().await;
    let told = aws.cbor("DescribeStreamSummary", map(&[("StreamName", text("web"))])).await;
    let summary = member(&told, "StreamDescriptionSummary");
    assert_eq!(member(summary, "StreamCreationTimestamp"), &Cbor::Tag(1, Box::new(Cbor::from(1_795_233_600_000_u64))));
    assert_eq!(member(summary, "OpenShardCount"), &Cbor::from(1));
    let asked = map(&[
        ("StreamCreationTimestamp", time(1)),
        ("StreamName", text("web")),
        ("Unknown", list(&[number(1), map(&[("a", blob(b"b"))])])),
    ]);
    assert_eq!(member(&aws.cbor("ListShards", asked).await, "Shards").as_array().unwrap().len(), 1);
    assert_eq!(
        member(&aws.cbor("ListStreams", Vec::new()).await, "StreamNames"),
        &Cbor::Array(vec![Cbor::from("web")])
    );
}

/// Fixed: clients that are installed somewhere read these bytes.
#[tokio::test]
async fn answers_stay_byte_for_byte() {
    let aws = with_two_records().await;
    let record = map(&[("Data", blob(b"x")), ("PartitionKey", text("k")), ("StreamName", text("web"))]);
    let told = aws.must("Kinesis_20131202.PutRecord", TYPE, record).await;
    insta::assert_snapshot!(hex(&told), @"a2675368617264496474736861726449642d3030303030303030303030306e53657175656e63654e756d62657278383439303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303032");
    let (status, told) = aws.send("Kinesis_20131202.DescribeStream", TYPE, map(&[("StreamName", text("no"))])).await;
    insta::assert_snapshot!(format!("{status} {}", hex(&told)), @"400 Bad Request a2665f5f7479706578195265736f757263654e6f74466f756e64457863657074696f6e676d657373616765782f53747265616d206e6f20756e646572206163636f756e7420303030303030303030303030206e6f7420666f756e642e");
}

#[tokio::test]
async fn what_is_no_cbor_is_refused() {
    let aws = Aws::new();
    aws.create("web", 1).await;
    let deep = |opening: &[u8]| {
        [map(&[("StreamName", text("web"))])[..15].to_vec(), text("x"), opening.repeat(20_000)].concat()
    };
    let good = map(&[("StreamName", text("web"))]);
    for body in [
        vec![0xff],
        good[..good.len() - 1].to_vec(),
        [&good[..], &[0]].concat(),
        json!({"StreamName": "web"}).to_string().into_bytes(),
        map(&[("StreamName", number(1))]),
        deep(&[0x81]),
        deep(&[0xc1]),
        deep(&[0xbf, 0x61, b'a']),
        [vec![0xbf], text("StreamName"), vec![0x7b], vec![0xff; 8]].concat(),
        [vec![0xbb], vec![0xff; 8]].concat(),
    ] {
        let (status, told) = aws.send("Kinesis_20131202.DescribeStream", TYPE, body.clone()).await;
        let told: Cbor = ciborium::from_reader(&told[..]).unwrap();
        let name = member(&told, "__type").as_text().unwrap();
        assert_eq!((status.as_u16(), name), (400, "SerializationException"), "{}", hex(&body[..body.len().min(40)]));
    }
}
