//! What can't be stored now is refused with an error that clients send again; nothing of it is stored.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use lacus_core::{NewRecord, StreamName};
use serde_json::{Value, json};

use super::{Aws, answer, base64};
use crate::BODIES_BYTES_MAX;
use crate::append::store_there;
use crate::stats::SourceStats;

fn records(count: usize) -> Value {
    json!({"StreamName": "web", "Records": vec![json!({"Data": base64("{}"), "PartitionKey": "k"}); count]})
}

fn batch(count: usize) -> Value {
    json!({"DeliveryStreamName": "web", "Records": vec![json!({"Data": base64("{}")}); count]})
}

#[tokio::test]
async fn a_log_that_cannot_write() {
    let aws = Aws::new();
    aws.create("web", 1).await;
    aws.door.log.close().await.unwrap();
    let one = json!({"StreamName": "web", "PartitionKey": "k", "Data": base64("{}")});
    let one_delivered = json!({"DeliveryStreamName": "web", "Record": {"Data": base64("{}")}});
    let errors = [
        aws.kinesis_error("PutRecord", one).await,
        aws.kinesis_error("PutRecords", records(2)).await,
        aws.firehose_error("PutRecord", one_delivered).await,
        aws.firehose_error("PutRecordBatch", batch(2)).await,
    ];
    insta::assert_snapshot!(errors.join("\n"), @"
    503 ServiceUnavailable: the log is closed (nothing was acknowledged: send it again when lacus is back)
    503 ServiceUnavailable: the log is closed (nothing was acknowledged: send it again when lacus is back)
    503 ServiceUnavailableException: the log is closed (nothing was acknowledged: send it again when lacus is back)
    503 ServiceUnavailableException: the log is closed (nothing was acknowledged: send it again when lacus is back)
    ");
    assert!(aws.door.values("web").is_empty());
}

/// A producer found it, and then it was deleted: made again here, it would have neither its name nor its shards.
#[tokio::test]
async fn a_stream_that_was_deleted_just_now() {
    let aws = Aws::new();
    let (inner, gone) = (&aws.door.collect.inner, StreamName::new("gone").unwrap());
    let refused = store_there(inner, &gone, vec![NewRecord::of("{}")], SourceStats::default()).await.unwrap_err();
    assert_eq!((refused.status, refused.error.hint()), (StatusCode::SERVICE_UNAVAILABLE, Some("send again")));
    assert!(aws.door.log.stream(&gone).is_none());
}

#[tokio::test]
async fn a_key_that_sends_too_much() {
    let aws = Aws::with("", Some(10));
    aws.create("web", 1).await;
    // A burst that comes to a rested key is taken whole, and those after it wait for it.
    aws.kinesis("PutRecords", records(500)).await;
    let errors =
        [aws.kinesis_error("PutRecords", records(2)).await, aws.firehose_error("PutRecordBatch", batch(2)).await];
    insta::assert_snapshot!(errors.join("\n").replace(&aws.id, "ID"), @"
    400 ProvisionedThroughputExceededException: key ID may send 10 events per second, these are too many (send it again in 46 s)
    503 ServiceUnavailableException: key ID may send 10 events per second, these are too many (send it again in 46 s)
    ");
    assert_eq!(aws.door.values("web").len(), 500);
    aws.clock.advance_ms(60_000);
    aws.kinesis("PutRecords", records(2)).await;
    assert_eq!(aws.door.values("web").len(), 502);
}

/// A producer of one record after the other, each until it is taken: each is there once, in order, with a larger number.
#[tokio::test]
async fn records_that_are_put_one_by_one_until_they_are_taken() {
    let aws = Aws::with("", Some(1));
    aws.create("web", 2).await;
    let (mut last, mut refused) = (String::new(), 0);
    for number in 0..20 {
        let data = base64(number.to_string());
        let record = json!({"StreamName": "web", "PartitionKey": "k", "Data": data, "SequenceNumberForOrdering": last});
        let told = loop {
            let (status, told) = aws.try_ask("Kinesis_20131202.PutRecord", &record).await;
            if status == StatusCode::OK {
                break told;
            }
            assert_eq!(told["__type"], "ProvisionedThroughputExceededException", "{told}");
            refused += 1;
            aws.clock.advance_ms(1_000);
        };
        let placed = told["SequenceNumber"].as_str().unwrap().to_owned();
        assert!(placed > last, "{placed} after {last}");
        last = placed;
    }
    assert!(refused > 10, "{refused} were refused");
    let sent: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(aws.door.values("web"), sent);
}

#[tokio::test]
async fn no_memory_left() {
    let aws = Aws::new();
    aws.create("web", 1).await;
    let mut others = aws.door.collect.inner.budget.share();
    others.cover(BODIES_BYTES_MAX - (16 << 10)).unwrap();
    let errors =
        [aws.kinesis_error("PutRecords", records(500)).await, aws.firehose_error("PutRecordBatch", batch(500)).await];
    insta::assert_snapshot!(errors.join("\n"), @"
    400 ProvisionedThroughputExceededException: too many requests are being read at once (send it again a little later)
    503 ServiceUnavailableException: too many requests are being read at once (send it again a little later)
    ");
    drop(others);
    aws.kinesis("PutRecords", records(500)).await;
    assert_eq!(aws.door.values("web").len(), 500);
}

/// Small values outgrow their text in memory, and many records can be packed into few bytes.
#[tokio::test]
async fn bodies_that_would_grow() {
    let aws = Aws::new();
    aws.create("web", 1).await;
    let zeros = format!(r#"{{"StreamName":"web","x":[0{}]}}"#, ",0".repeat(200_000));
    let (status, _) =
        aws.send("Kinesis_20131202.DescribeStream", "application/x-amz-json-1.1", zeros.into_bytes()).await;
    assert_eq!(status, 413);
    let events =
        json!({"DeliveryStreamName": "web", "Records": vec![json!({"Data": base64("{} ".repeat(30_000))}); 20]});
    insta::assert_snapshot!(aws.firehose_error("PutRecordBatch", events).await, @"400 InvalidArgumentException: the request has more than 500,000 events (send fewer at once)");
    assert!(aws.door.values("web").is_empty());
}

#[tokio::test]
async fn a_request_that_is_not_signed_or_is_not_for_us() {
    let aws = Aws::new();
    for headers in [&[][..], &[("x-amz-target", "Kinesis_20131202.ListStreams")]] {
        let mut request = Request::post("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (status, told) = answer(&aws.door, request.body(Body::from("{}")).unwrap()).await;
        assert_eq!(status, 400);
        let told: Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(told["__type"], "MissingAuthenticationTokenException");
    }
    let stats = aws.door.collect.stats();
    assert_eq!(stats.refused["denied"], 2);
}

#[tokio::test]
async fn what_happened_is_counted() {
    let aws = Aws::new();
    aws.create("web", 1).await;
    aws.kinesis("PutRecords", records(3)).await;
    aws.firehose("PutRecordBatch", batch(2)).await;
    aws.kinesis_error("PutRecords", records(501)).await;
    let stats = aws.door.collect.stats();
    let web = stats.sources.values().next().unwrap();
    assert_eq!((web.requests, web.accepted, web.bytes), (2, 5, 10));
    assert_eq!(format!("{:?}", stats.refused), r#"{"too_large": 1}"#);
}
