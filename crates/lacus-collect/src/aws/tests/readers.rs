//! Iterators and reading: from where, to where, and how much.

use bytes::Bytes;
use lacus_core::{NewRecord, Offset, Offsets, Partition, StreamName};
use serde_json::{Value, json};

use super::{Aws, base64, data};
use crate::BODIES_BYTES_MAX;

fn web() -> StreamName {
    StreamName::new("web").unwrap()
}

async fn from(aws: &Aws, more: Value) -> Vec<String> {
    data(&aws.get(&aws.iterator("web", 0, more).await).await)
}

#[tokio::test]
async fn a_reader_begins_where_it_says() {
    let aws = Aws::new();
    aws.create("web", 1).await;
    let one = aws.put("web", "0", &["a"]).await;
    aws.clock.advance_ms(1_000);
    let two = aws.put("web", "0", &["b", "c"]).await;
    assert!(one[0]["SequenceNumber"].as_str() < two[0]["SequenceNumber"].as_str());
    assert_eq!(from(&aws, json!({"ShardIteratorType": "TRIM_HORIZON"})).await, ["a", "b", "c"]);
    assert!(from(&aws, json!({"ShardIteratorType": "LATEST"})).await.is_empty());
    let number = &two[0]["SequenceNumber"];
    let at = |kind: &str| json!({"ShardIteratorType": kind, "StartingSequenceNumber": number});
    assert_eq!(from(&aws, at("AT_SEQUENCE_NUMBER")).await, ["b", "c"]);
    assert_eq!(from(&aws, at("AFTER_SEQUENCE_NUMBER")).await, ["c"]);
    // The clock stood at 04:00:00, then at 04:00:01.
    for (time, expected) in [(1_795_233_600.0, "abc"), (1_795_233_600.001, "bc"), (1_795_233_601.0, "bc"), (2e9, "")] {
        let found = from(&aws, json!({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": time})).await;
        assert_eq!(found.concat(), expected, "{time}");
    }
}

#[tokio::test]
async fn what_looks_like_a_rejected_event_is_read_as_it_was_sent() {
    let aws = Aws::new();
    aws.create("web", 1).await;
    let forged = "\0rejected by nobody\nnope";
    aws.put("web", "0", &[forged]).await;
    let batch = json!({"DeliveryStreamName": "web", "Records": [{"Data": base64(forged)}]});
    aws.firehose("PutRecordBatch", batch).await;
    assert_eq!(aws.door.values("web"), [format!("\0rejected \n{forged}"), format!("\0rejected \n{forged}")]);
    assert_eq!(from(&aws, json!({"ShardIteratorType": "TRIM_HORIZON"})).await, [forged, forged]);
}

#[tokio::test]
async fn a_reader_goes_on_where_it_was_and_ends_with_the_children_of_a_closed_shard() {
    let aws = Aws::new();
    aws.create("web", 1).await;
    aws.put("web", "0", &["a", "b", "c"]).await;
    let iterator = aws.iterator("web", 0, json!({"ShardIteratorType": "TRIM_HORIZON"})).await;
    let told = aws.kinesis("GetRecords", json!({"ShardIterator": iterator, "Limit": 2})).await;
    assert_eq!((data(&told), told["MillisBehindLatest"].as_u64()), (vec!["a".to_owned(), "b".to_owned()], Some(1)));
    let half = (1_u128 << 127).to_string();
    aws.kinesis(
        "SplitShard",
        json!({"StreamName": "web", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": half}),
    )
    .await;
    let told = aws.get(told["NextShardIterator"].as_str().unwrap()).await;
    assert_eq!(data(&told), ["c"]);
    insta::assert_snapshot!(json!([told["NextShardIterator"], told["MillisBehindLatest"], told["ChildShards"]]), @r#"[null,0,[{"HashKeyRange":{"EndingHashKey":"170141183460469231731687303715884105727","StartingHashKey":"0"},"ParentShards":["shardId-000000000000"],"ShardId":"shardId-000000000001"},{"HashKeyRange":{"EndingHashKey":"340282366920938463463374607431768211455","StartingHashKey":"170141183460469231731687303715884105728"},"ParentShards":["shardId-000000000000"],"ShardId":"shardId-000000000002"}]]"#);
    aws.put("web", &half, &["d"]).await;
    assert_eq!(
        data(&aws.get(&aws.iterator("web", 2, json!({"ShardIteratorType": "TRIM_HORIZON"})).await).await),
        ["d"]
    );
    // A shard that never had a record: its last number is told as its first.
    aws.kinesis(
        "UpdateShardCount",
        json!({"StreamName": "web", "TargetShardCount": 1, "ScalingType": "UNIFORM_SCALING"}),
    )
    .await;
    let told = aws.kinesis("DescribeStream", json!({"StreamName": "web"})).await;
    let last = &told["StreamDescription"]["Shards"][1]["SequenceNumberRange"]["EndingSequenceNumber"];
    let after = json!({"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": last});
    let told = aws.get(&aws.iterator("web", 1, after).await).await;
    assert!(told["NextShardIterator"].is_null() && data(&told).is_empty(), "{told}");
}

#[tokio::test]
async fn an_iterator_is_good_for_five_minutes_and_for_its_stream() {
    let aws = Aws::new();
    aws.create("web", 1).await;
    let iterator = aws.iterator("web", 0, json!({"ShardIteratorType": "LATEST"})).await;
    aws.clock.advance_ms(300_000);
    let next = aws.get(&iterator).await["NextShardIterator"].as_str().unwrap().to_owned();
    aws.clock.advance_ms(1);
    let asked = json!({"ShardIterator": iterator});
    insta::assert_snapshot!(aws.kinesis_error("GetRecords", asked).await, @"400 ExpiredIteratorException: Iterator expired. The iterator was created more than 5 minutes ago; get a new one.");
    aws.get(&next).await;
    aws.kinesis("DeleteStream", json!({"StreamName": "web"})).await;
    let asked = json!({"ShardIterator": next});
    insta::assert_snapshot!(aws.kinesis_error("GetRecords", asked.clone()).await, @"400 ResourceNotFoundException: Stream web under account 000000000000 not found.");
    aws.create("web", 1).await;
    insta::assert_snapshot!(aws.kinesis_error("GetRecords", asked).await, @"400 ResourceNotFoundException: Shard shardId-000000000000 in stream web does not exist.");
}

#[tokio::test]
async fn what_cannot_be_an_iterator_is_refused() {
    let aws = Aws::new();
    aws.create("web", 1).await;
    let now = 1_795_233_600_000_000_i64;
    let url_safe = |text: String| base64(text).replace('+', "-").replace('/', "_").replace('=', "");
    for forged in [
        String::new(),
        "nonsense".to_owned(),
        url_safe(format!("1 0 1 {now} web")),
        url_safe(format!("1 0 {} {now} web", u64::MAX)),
        url_safe(format!("1 {} 0 {now} web", u32::MAX)),
        url_safe(format!("1 0 0 {} web", i64::MIN)),
        url_safe(format!("1 0 0 {now} no such")),
        url_safe(format!("2 0 0 {now} web")),
    ] {
        let told = aws.kinesis_error("GetRecords", json!({"ShardIterator": forged})).await;
        let names = ["400 InvalidArgumentException", "400 ResourceNotFoundException", "400 ExpiredIteratorException"];
        assert!(names.iter().any(|name| told.starts_with(name)), "{forged}: {told}");
    }
    assert_eq!(aws.get(&url_safe(format!("1 0 0 {now} web"))).await["Records"], json!([]));
}

#[tokio::test]
async fn a_reader_that_retention_overtook_goes_on_with_the_first_record_there_is() {
    let aws = Aws::with("[stream]\nsegment_bytes_max = \"64KB\"\nretention = \"1s\"\n", None);
    aws.create("web", 1).await;
    let begin = aws.iterator("web", 0, json!({"ShardIteratorType": "TRIM_HORIZON"})).await;
    for _ in 0..5 {
        let record = NewRecord::of(Bytes::from(vec![b'x'; 40_000])).with_key("k");
        aws.door.log.append(&web(), vec![record]).await.unwrap();
        aws.clock.advance_ms(1_000);
    }
    aws.door.log.retain(&|_| [(Partition(0), Offset(5))].into_iter().collect::<Offsets>()).unwrap();
    let start = aws.door.log.stream(&web()).unwrap().start.next(Partition(0));
    assert!(start > Offset(0));
    // Not "there is no such shard": a consumer would believe that it has all of it.
    let told = aws.get(&begin).await;
    assert_eq!(told["Records"].as_array().unwrap().len() as u64, 5 - start.0);
    assert_eq!(told["Records"][0]["SequenceNumber"], format!("49{:010}{:044}", 0, start.0));
}

#[tokio::test]
async fn an_answer_has_ten_mebibytes_at_most_and_fewer_when_memory_is_short() {
    let aws = Aws::new();
    aws.create("web", 1).await;
    let record = || NewRecord::of(Bytes::from(vec![b'x'; 3 << 20])).with_key("k");
    for _ in 0..5 {
        aws.door.log.append(&web(), vec![record()]).await.unwrap();
    }
    let iterator = aws.iterator("web", 0, json!({"ShardIteratorType": "TRIM_HORIZON"})).await;
    let told = aws.get(&iterator).await;
    assert_eq!((told["Records"].as_array().unwrap().len(), told["MillisBehindLatest"].as_u64()), (3, Some(1)));
    let told = aws.get(told["NextShardIterator"].as_str().unwrap()).await;
    assert_eq!((told["Records"].as_array().unwrap().len(), told["MillisBehindLatest"].as_u64()), (2, Some(0)));
    let mut others = aws.door.collect.inner.budget.share();
    others.cover(BODIES_BYTES_MAX - (9 << 20)).unwrap();
    assert_eq!(aws.get(&iterator).await["Records"].as_array().unwrap().len(), 1);
    others.cover(BODIES_BYTES_MAX - (64 << 10)).unwrap();
    let told = aws.kinesis_error("GetRecords", json!({"ShardIterator": iterator})).await;
    insta::assert_snapshot!(told, @"400 ProvisionedThroughputExceededException: too many requests are being read at once (send it again a little later)");
    drop(others);
    aws.get(&iterator).await;
}
