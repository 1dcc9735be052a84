//! Records that the Kinesis Producer Library packs into one.

use bytes::Bytes;
use md5::{Digest as _, Md5};
use proptest::prelude::*;
use serde_json::json;

use super::{Aws, base64, data};
use crate::aws::aggregated::{UserRecord, take_apart};

/// Four records of three keys, one with an explicit hash key, one empty: packed by aws-kinesis-agg 1.2.3.
const PACKED: &str = "f3899ac20a06757365722d310a06757365722d320a06757365722d33\
    1227333430323832333636393230393338343633343633333734363037343331373638323131343535\
    1a0b08001a077b226e223a317d1a0d080110001a077b226e223a327d1a0b08001a077b226e223a337d1a0408021a00\
    d2470ebd1280772827ba39a5c40afe14";

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// A protobuf message as an aggregated record.
fn sealed(message: &[u8]) -> Vec<u8> {
    [&[0xf3, 0x89, 0x9a, 0xc2], message, &Md5::digest(message)[..]].concat()
}

fn parts(data: &[u8], most: usize) -> Option<Vec<UserRecord>> {
    take_apart(&Bytes::copy_from_slice(data), most)
}

#[tokio::test]
async fn they_become_records_with_their_own_keys() {
    let aws = Aws::new();
    aws.create("web", 2).await;
    aws.kinesis("PutRecord", json!({"StreamName": "web", "PartitionKey": "user-1", "Data": base64(bytes(PACKED))}))
        .await;
    // The second has the last hash key there is; the others go where their keys do.
    let mut found = Vec::new();
    for shard in [0, 1] {
        let told = aws.get(&aws.iterator("web", shard, json!({"ShardIteratorType": "TRIM_HORIZON"})).await).await;
        let keys = told["Records"].as_array().unwrap().iter().map(|record| record["PartitionKey"].clone());
        found.push(
            keys.zip(data(&told)).map(|(key, data)| format!("{}={data}", key.as_str().unwrap())).collect::<Vec<_>>(),
        );
    }
    insta::assert_snapshot!(format!("{found:?}"), @r#"[["user-3="], ["user-1={\"n\":1}", "user-2={\"n\":2}", "user-1={\"n\":3}"]]"#);
}

/// Those that are packed, those that are not, and those of other doors.
#[tokio::test]
async fn each_has_the_identity_that_its_source_says_it_has() {
    let aws = Aws::with("[sources.web]\nid = \"n\"", None);
    aws.create("web", 1).await;
    let mut blobs = vec![bytes(PACKED)];
    // All but the first have none: it would keep the event that they look like from its table.
    let others = [
        " {\"n\":1,\"again\":1}\n",
        "{\"n\":1} {\"n\":1}",
        "[{\"n\":1}]",
        "{\"n\":1",
        "{\"m\":{\"n\":1}}",
        "{\"n\":\"\",\"m\":1}",
        "{\"n\":\"\",\"m\":2}",
    ];
    blobs.extend(others.map(|text| text.as_bytes().to_vec()));
    for data in blobs {
        aws.kinesis("PutRecord", json!({"StreamName": "web", "PartitionKey": "k", "Data": base64(data)})).await;
    }
    let blob = json!({"Data": base64("{\"n\":1}{\"n\":2}")});
    aws.firehose("PutRecordBatch", json!({"DeliveryStreamName": "web", "Records": [blob]})).await;
    assert_eq!(aws.door.post("/v1/events?source=web", "{\"n\":1}").await.status, 200);
    let ids = aws.door.ids("web");
    let (one, two, three) = (ids[0], ids[1], ids[2]);
    assert!(one.is_some() && two.is_some() && three.is_some() && one != two && two != three, "{ids:?}");
    assert_eq!(ids[3..], [None, one, None, None, None, None, None, None, one, two, one]);
}

#[tokio::test]
async fn what_is_broken_or_too_much_stays_one_record() {
    let aws = Aws::new();
    aws.create("web", 1).await;
    let good = bytes(PACKED);
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    let outside = sealed(&bytes("1a0408051a00"));
    for data in [&bad[..], &good[..good.len() - 1], &good[..3], &outside, &sealed(b""), &sealed(&[0xff; 30])] {
        aws.kinesis("PutRecord", json!({"StreamName": "web", "PartitionKey": "k", "Data": base64(data)})).await;
    }
    let told = aws.get(&aws.iterator("web", 0, json!({"ShardIteratorType": "TRIM_HORIZON"})).await).await;
    assert_eq!(told["Records"].as_array().unwrap().len(), 6);
    assert_eq!(told["Records"][0]["Data"], base64(&bad));
    assert_eq!((parts(&good, 4).unwrap().len(), parts(&good, 3)), (4, None));
}

/// A number of protobuf.
fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2], &varint(bytes.len())[..], bytes].concat()
}

/// Packs records as the library does.
fn pack(keys: &[String], records: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let mut message: Vec<u8> = keys.iter().flat_map(|key| field(1, key.as_bytes())).collect();
    for (key, data) in records {
        let record = [vec![1 << 3], varint(*key), field(3, data)].concat();
        message.extend(field(3, &record));
    }
    sealed(&message)
}

proptest! {
    #[test]
    fn what_was_packed_comes_out(
        keys in prop::collection::vec("[a-z]{0,300}", 1..5),
        records in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..300)), 5..40),
    ) {
        let records: Vec<_> = records.into_iter().map(|(key, data)| (key.index(keys.len()), data)).collect();
        let found = parts(&pack(&keys, &records), 1_000).unwrap();
        let found: Vec<_> = found.iter().map(|record| (&record.partition_key[..], &record.data[..])).collect();
        let expected: Vec<_> = records.iter().map(|(key, data)| (keys[*key].as_bytes(), &data[..])).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn any_bytes_are_taken_apart_or_left(
        message in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        parts(&sealed(&message), 50);
        let good = bytes(PACKED);
        let mut message = good[4..good.len() - 16].to_vec();
        let at = at.index(message.len());
        message[at] = byte;
        if let Some(records) = parts(&sealed(&message), 50) {
            prop_assert!(records.len() <= 50);
        }
    }
}
