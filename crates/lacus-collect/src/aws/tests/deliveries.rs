//! A Firehose in the cloud that delivers to lacus.

use std::io::Write;

use axum::http::Request;
use flate2::Compression;
use flate2::write::GzEncoder;
use lacus_core::{Offset, Partition, StreamName};
use serde_json::{Value, json};

use super::{TestClock, answer, base64};
use crate::tests::Door;

const REQUEST: &str = "ed4acda5-034f-9f42-bba1-f29aea6d7d8f";

fn delivery(blobs: &[&str]) -> String {
    let records: Vec<Value> = blobs.iter().map(|blob| json!({"data": base64(blob)})).collect();
    json!({"requestId": REQUEST, "timestamp": 1_578_090_901_599_i64, "records": records}).to_string()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

/// Delivers as Firehose does, and gives the whole answer.
async fn deliver(door: &Door, key: &str, encoding: Option<&str>, body: impl Into<Vec<u8>>) -> String {
    let mut request = Request::post("/v1/firehose/web")
        .header("content-type", "application/json")
        .header("x-amz-firehose-protocol-version", "1.0")
        .header("x-amz-firehose-request-id", REQUEST)
        .header("x-amz-firehose-access-key", key)
        .header("x-amz-firehose-source-arn", "arn:aws:firehose:us-east-1:123456789012:deliverystream/web")
        .header("x-amz-firehose-common-attributes", r#"{"commonAttributes":{"team":"shop"}}"#);
    if let Some(encoding) = encoding {
        request = request.header("content-encoding", encoding);
    }
    let (status, told) = answer(door, request.body(body.into().into()).unwrap()).await;
    format!("{} {}", status.as_u16(), String::from_utf8(told).unwrap())
}

fn door() -> (Door, String) {
    let door = Door::with_clock("", None, TestClock::new());
    let key = door.write_key("web");
    (door, key)
}

#[tokio::test]
async fn events_are_stored_with_ids_that_know_a_retry() {
    let (door, key) = door();
    let body = delivery(&["{\"a\":1}\n{\"a\":2}\n", "no json"]);
    insta::assert_snapshot!(deliver(&door, &key, None, body.clone()).await, @r#"200 {"requestId":"ed4acda5-034f-9f42-bba1-f29aea6d7d8f","timestamp":1795233600000}"#);
    deliver(&door, &key, Some("gzip"), gzip(&body)).await;
    assert_eq!(door.values("web").len(), 6, "delivery drops what came before, not the door");
    let name = StreamName::new("web").unwrap();
    let stream = door.log.stream(&name).unwrap();
    let mut ids = Vec::new();
    for Partition(shard) in stream.shards.iter().map(|shard| shard.partition) {
        let records = door.log.read(&name, Partition(shard), Offset(0), 1 << 20).unwrap();
        ids.extend(records.into_iter().map(|record| (record.id.unwrap(), shard, record.value)));
    }
    ids.sort();
    assert!(ids.chunks(2).all(|pair| pair[0] == pair[1]), "the same event, the same id, the same shard: {ids:?}");
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn what_is_wrong_is_said_with_the_id_of_the_request() {
    let (door, key) = door();
    let other = door.write_key("other");
    let good = delivery(&["{}"]);
    let answers = [
        deliver(&door, "wk_unknown", None, good.clone()).await,
        deliver(&door, &other, None, good.clone()).await,
        deliver(&door, &key, None, "nonsense").await,
        deliver(&door, &key, None, good.replace("ed4a", "ffff")).await,
        deliver(&door, &key, None, good.replace("e30=", "?")).await,
        deliver(&door, &key, Some("gzip"), good.clone()).await,
        deliver(&door, &key, Some("br"), good.clone()).await,
        deliver(&door, &key, None, vec![b' '; 11 << 20]).await,
        deliver(&door, &key, Some("gzip"), gzip(&"0".repeat(11 << 20))).await,
    ];
    insta::assert_snapshot!(answers.join("\n"), @r#"
    401 {"requestId":"ed4acda5-034f-9f42-bba1-f29aea6d7d8f","timestamp":1795233600000,"errorMessage":"the access key is no write key of source \"web\""}
    401 {"requestId":"ed4acda5-034f-9f42-bba1-f29aea6d7d8f","timestamp":1795233600000,"errorMessage":"the access key is no write key of source \"web\""}
    400 {"requestId":"ed4acda5-034f-9f42-bba1-f29aea6d7d8f","timestamp":1795233600000,"errorMessage":"the body is no delivery of Firehose: expected ident at line 1 column 2"}
    400 {"requestId":"ed4acda5-034f-9f42-bba1-f29aea6d7d8f","timestamp":1795233600000,"errorMessage":"the request id of the body is not the one of the header, or is empty"}
    400 {"requestId":"ed4acda5-034f-9f42-bba1-f29aea6d7d8f","timestamp":1795233600000,"errorMessage":"the body is no delivery of Firehose: data is no base64 at line 1 column 23"}
    400 {"requestId":"ed4acda5-034f-9f42-bba1-f29aea6d7d8f","timestamp":1795233600000,"errorMessage":"the body can't be unpacked: it is no gzip, or damaged: invalid gzip header"}
    415 {"requestId":"ed4acda5-034f-9f42-bba1-f29aea6d7d8f","timestamp":1795233600000,"errorMessage":"content-encoding \"br\" is not understood here"}
    400 {"requestId":"ed4acda5-034f-9f42-bba1-f29aea6d7d8f","timestamp":1795233600000,"errorMessage":"the body has more than 10MB"}
    400 {"requestId":"ed4acda5-034f-9f42-bba1-f29aea6d7d8f","timestamp":1795233600000,"errorMessage":"the unpacked body has more than 10MB"}
    "#);
    assert!(door.values("web").is_empty());
    door.log.close().await.unwrap();
    insta::assert_snapshot!(deliver(&door, &key, None, good).await, @r#"503 {"requestId":"ed4acda5-034f-9f42-bba1-f29aea6d7d8f","timestamp":1795233600000,"errorMessage":"the log is closed"}"#);
}

#[tokio::test]
async fn a_delivery_without_a_record_is_done() {
    let (door, key) = door();
    assert!(deliver(&door, &key, None, delivery(&[])).await.starts_with("200 "));
    assert!(deliver(&door, &key, None, delivery(&["", " \n"])).await.starts_with("200 "));
    assert!(door.values("web").is_empty());
}

/// Events are known by the id: without one, each delivery would be taken for a retry of the one before, and left out.
#[tokio::test]
async fn a_delivery_without_an_id_is_refused() {
    let (door, key) = door();
    let request = Request::post("/v1/firehose/web")
        .header("x-amz-firehose-access-key", key)
        .body(delivery(&["{}"]).replace(REQUEST, "").into())
        .unwrap();
    assert_eq!(answer(&door, request).await.0, 400);
    assert!(door.values("web").is_empty());
}
