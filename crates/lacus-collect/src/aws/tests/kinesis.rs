//! Streams and shards, and the exact words of errors.

use serde_json::{Value, json};

use super::{Aws, base64, shards};

fn web() -> Value {
    json!({"StreamName": "web"})
}

#[tokio::test]
async fn a_stream_is_described() {
    let aws = Aws::new();
    aws.kinesis("CreateStream", json!({"StreamName": "Web-Clicks", "ShardCount": 2, "Tags": {"team": "shop"}})).await;
    let arn = "arn:aws:kinesis:eu-central-1:000000000000:stream/Web-Clicks";
    insta::assert_snapshot!(aws.kinesis("DescribeStream", json!({"StreamARN": arn})).await, @r#"{"StreamDescription":{"EncryptionType":"NONE","EnhancedMonitoring":[{"ShardLevelMetrics":[]}],"HasMoreShards":false,"RetentionPeriodHours":168,"Shards":[{"HashKeyRange":{"EndingHashKey":"170141183460469231731687303715884105727","StartingHashKey":"0"},"SequenceNumberRange":{"StartingSequenceNumber":"49000000000000000000000000000000000000000000000000000000"},"ShardId":"shardId-000000000000"},{"HashKeyRange":{"EndingHashKey":"340282366920938463463374607431768211455","StartingHashKey":"170141183460469231731687303715884105728"},"SequenceNumberRange":{"StartingSequenceNumber":"49000000000100000000000000000000000000000000000000000000"},"ShardId":"shardId-000000000001"}],"StreamARN":"arn:aws:kinesis:eu-central-1:000000000000:stream/Web-Clicks","StreamCreationTimestamp":1795233600.0,"StreamModeDetails":{"StreamMode":"PROVISIONED"},"StreamName":"Web-Clicks","StreamStatus":"ACTIVE"}}"#);
    insta::assert_snapshot!(aws.kinesis("DescribeStreamSummary", json!({"StreamName": "Web-Clicks"})).await, @r#"{"StreamDescriptionSummary":{"ConsumerCount":0,"EncryptionType":"NONE","EnhancedMonitoring":[{"ShardLevelMetrics":[]}],"OpenShardCount":2,"RetentionPeriodHours":168,"StreamARN":"arn:aws:kinesis:eu-central-1:000000000000:stream/Web-Clicks","StreamCreationTimestamp":1795233600.0,"StreamModeDetails":{"StreamMode":"PROVISIONED"},"StreamName":"Web-Clicks","StreamStatus":"ACTIVE"}}"#);
    insta::assert_snapshot!(aws.kinesis("ListTagsForStream", json!({"StreamName": "Web-Clicks"})).await, @r#"{"HasMoreTags":false,"Tags":[{"Key":"team","Value":"shop"}]}"#);
    insta::assert_snapshot!(aws.kinesis("DescribeLimits", json!({})).await, @r#"{"OnDemandStreamCount":0,"OnDemandStreamCountLimit":10000,"OpenShardCount":2,"ShardLimit":1000000}"#);
    let monitored = json!({"StreamName": "Web-Clicks", "ShardLevelMetrics": ["ALL"]});
    insta::assert_snapshot!(aws.kinesis("EnableEnhancedMonitoring", monitored).await, @r#"{"CurrentShardLevelMetrics":[],"DesiredShardLevelMetrics":[],"StreamARN":"arn:aws:kinesis:eu-central-1:000000000000:stream/Web-Clicks","StreamName":"Web-Clicks"}"#);
}

#[tokio::test]
async fn streams_are_listed_in_pages_whatever_door_made_them() {
    let aws = Aws::new();
    aws.create("b-Stream", 1).await;
    aws.create("c", 1).await;
    aws.door.post("/v1/events?source=posted", "{}").await;
    insta::assert_snapshot!(aws.kinesis("ListStreams", json!({"Limit": 2})).await, @r#"{"HasMoreStreams":true,"NextToken":"c","StreamNames":["b-Stream","c"],"StreamSummaries":[{"StreamARN":"arn:aws:kinesis:eu-central-1:000000000000:stream/b-Stream","StreamCreationTimestamp":1795233600.0,"StreamModeDetails":{"StreamMode":"PROVISIONED"},"StreamName":"b-Stream","StreamStatus":"ACTIVE"},{"StreamARN":"arn:aws:kinesis:eu-central-1:000000000000:stream/c","StreamCreationTimestamp":1795233600.0,"StreamModeDetails":{"StreamMode":"PROVISIONED"},"StreamName":"c","StreamStatus":"ACTIVE"}]}"#);
    let rest = aws.kinesis("ListStreams", json!({"NextToken": "c"})).await;
    assert_eq!(rest["StreamNames"], json!(["posted"]));
    assert_eq!(aws.kinesis("ListStreams", json!({"ExclusiveStartStreamName": "c"})).await, rest);
    aws.kinesis("PutRecord", json!({"StreamName": "posted", "Data": base64("{}"), "PartitionKey": "k"})).await;
    assert_eq!(aws.door.values("posted"), ["{}", "{}"]);
}

#[tokio::test]
async fn a_stream_is_resharded_and_its_shards_are_listed_by_filter() {
    let aws = Aws::new();
    aws.create("web", 1).await;
    aws.put("web", "0", &["a"]).await;
    aws.clock.advance_ms(1_000);
    let told = aws
        .kinesis(
            "UpdateShardCount",
            json!({"StreamName": "web", "TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING"}),
        )
        .await;
    insta::assert_snapshot!(told, @r#"{"CurrentShardCount":1,"StreamARN":"arn:aws:kinesis:eu-central-1:000000000000:stream/web","StreamName":"web","TargetShardCount":2}"#);
    aws.clock.advance_ms(1_000);
    aws.kinesis("MergeShards", json!({"StreamName": "web", "ShardToMerge": "shardId-000000000001", "AdjacentShardToMerge": "shardId-000000000002"})).await;
    insta::assert_snapshot!(aws.kinesis("ListShards", web()).await, @r#"{"Shards":[{"HashKeyRange":{"EndingHashKey":"340282366920938463463374607431768211455","StartingHashKey":"0"},"SequenceNumberRange":{"EndingSequenceNumber":"49000000000000000000000000000000000000000000000000000000","StartingSequenceNumber":"49000000000000000000000000000000000000000000000000000000"},"ShardId":"shardId-000000000000"},{"HashKeyRange":{"EndingHashKey":"170141183460469231731687303715884105727","StartingHashKey":"0"},"ParentShardId":"shardId-000000000000","SequenceNumberRange":{"EndingSequenceNumber":"49000000000100000000000000000000000000000000000000000000","StartingSequenceNumber":"49000000000100000000000000000000000000000000000000000000"},"ShardId":"shardId-000000000001"},{"HashKeyRange":{"EndingHashKey":"340282366920938463463374607431768211455","StartingHashKey":"170141183460469231731687303715884105728"},"ParentShardId":"shardId-000000000000","SequenceNumberRange":{"EndingSequenceNumber":"49000000000200000000000000000000000000000000000000000000","StartingSequenceNumber":"49000000000200000000000000000000000000000000000000000000"},"ShardId":"shardId-000000000002"},{"AdjacentParentShardId":"shardId-000000000002","HashKeyRange":{"EndingHashKey":"340282366920938463463374607431768211455","StartingHashKey":"0"},"ParentShardId":"shardId-000000000001","SequenceNumberRange":{"StartingSequenceNumber":"49000000000300000000000000000000000000000000000000000000"},"ShardId":"shardId-000000000003"}]}"#);
    let (first, second, third) = (1_795_233_600.5, 1_795_233_601.5, 1_795_233_602.5);
    let (never, split) = (1_795_233_599.5, 1_795_233_601);
    for (filter, expected) in [
        (json!({"Type": "AT_TIMESTAMP", "Timestamp": never}), vec![0]),
        (json!({"Type": "AT_TIMESTAMP", "Timestamp": split}), vec![0, 1, 2]),
        (json!({"Type": "AT_LATEST"}), vec![3]),
        (json!({"Type": "FROM_TRIM_HORIZON"}), vec![0, 1, 2, 3]),
        (json!({"Type": "AT_TRIM_HORIZON"}), vec![0]),
        (json!({"Type": "AT_TIMESTAMP", "Timestamp": first}), vec![0]),
        (json!({"Type": "AT_TIMESTAMP", "Timestamp": second}), vec![1, 2]),
        (json!({"Type": "AT_TIMESTAMP", "Timestamp": third}), vec![3]),
        (json!({"Type": "FROM_TIMESTAMP", "Timestamp": second}), vec![1, 2, 3]),
        (json!({"Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000001"}), vec![2, 3]),
    ] {
        let told = aws.kinesis("ListShards", json!({"StreamName": "web", "ShardFilter": filter})).await;
        assert_eq!(shards(&told), expected, "{filter}");
        // A client that asks for the next page says nothing but its token.
        let mut asked = json!({"StreamName": "web", "ShardFilter": filter, "MaxResults": 1});
        let mut listed = Vec::new();
        while !asked["NextToken"].is_null() || listed.is_empty() {
            let page = aws.kinesis("ListShards", asked).await;
            listed.extend(shards(&page));
            asked = json!({"NextToken": page["NextToken"], "MaxResults": 1});
        }
        assert_eq!(listed, expected, "{filter} in pages");
    }
    let page = aws.kinesis("ListShards", json!({"StreamName": "web", "MaxResults": 3})).await;
    let rest = aws.kinesis("ListShards", json!({"NextToken": page["NextToken"]})).await;
    assert_eq!((shards(&page), shards(&rest), rest["NextToken"].is_null()), (vec![0, 1, 2], vec![3], true));
    let page = aws
        .kinesis(
            "DescribeStream",
            json!({"StreamName": "web", "ExclusiveStartShardId": "shardId-000000000000", "Limit": 2}),
        )
        .await;
    assert_eq!(
        (shards(&page["StreamDescription"]), &page["StreamDescription"]["HasMoreShards"]),
        (vec![1, 2], &json!(true))
    );
}

#[tokio::test]
async fn closed_shards_without_records_are_told_until_the_retention_ends() {
    let aws = Aws::with("[stream]\nretention = \"24h\"\n", None);
    aws.create("web", 1).await;
    aws.kinesis(
        "UpdateShardCount",
        json!({"StreamName": "web", "TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING"}),
    )
    .await;
    assert_eq!(shards(&aws.kinesis("ListShards", web()).await), [0, 1, 2]);
    let oldest = json!({"StreamName": "web", "ShardFilter": {"Type": "AT_TRIM_HORIZON"}});
    assert_eq!(shards(&aws.kinesis("ListShards", oldest).await), [1, 2]);
    aws.clock.advance_ms(24 * 3_600_000 + 1);
    assert_eq!(shards(&aws.kinesis("ListShards", web()).await), [1, 2]);
    let filter = json!({"Type": "AT_TIMESTAMP", "Timestamp": 1_795_233_600 - 1});
    let told = aws.kinesis("ListShards", json!({"StreamName": "web", "ShardFilter": filter})).await;
    assert_eq!(shards(&told), [1, 2], "a reader of everything begins with what there still is");
}

#[tokio::test]
async fn retention_mode_and_tags_are_remembered() {
    let aws = Aws::new();
    aws.kinesis("CreateStream", json!({"StreamName": "web", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}})).await;
    aws.kinesis("IncreaseStreamRetentionPeriod", json!({"StreamName": "web", "RetentionPeriodHours": 8760})).await;
    let summary = aws.kinesis("DescribeStreamSummary", web()).await["StreamDescriptionSummary"].clone();
    let of = |summary: &Value| {
        json!([summary["RetentionPeriodHours"], summary["StreamModeDetails"]["StreamMode"], summary["OpenShardCount"]])
    };
    assert_eq!(of(&summary), json!([8760, "ON_DEMAND", 4]));
    aws.kinesis("DecreaseStreamRetentionPeriod", json!({"StreamName": "web", "RetentionPeriodHours": 24})).await;
    let provisioned = json!({"StreamARN": summary["StreamARN"], "StreamModeDetails": {"StreamMode": "PROVISIONED"}});
    aws.kinesis("UpdateStreamMode", provisioned).await;
    let summary = aws.kinesis("DescribeStreamSummary", web()).await["StreamDescriptionSummary"].clone();
    assert_eq!(of(&summary), json!([24, "PROVISIONED", 4]));
    for (operation, hours) in [("Increase", 23), ("Increase", 8761), ("Decrease", 25), ("Decrease", 23)] {
        let asked = json!({"StreamName": "web", "RetentionPeriodHours": hours});
        let told = aws.kinesis_error(&format!("{operation}StreamRetentionPeriod"), asked).await;
        assert!(told.starts_with("400 InvalidArgumentException"), "{told}");
    }
    aws.kinesis("AddTagsToStream", json!({"StreamName": "web", "Tags": {"a": "1", "b": ""}})).await;
    aws.kinesis("TagResource", json!({"ResourceARN": summary["StreamARN"], "Tags": {"c": "3"}})).await;
    aws.kinesis("RemoveTagsFromStream", json!({"StreamName": "web", "TagKeys": ["a", "no"]})).await;
    let told = aws.kinesis("ListTagsForResource", json!({"ResourceARN": summary["StreamARN"]})).await;
    assert_eq!(told, json!({"Tags": [{"Key": "b", "Value": ""}, {"Key": "c", "Value": "3"}]}));
    let many: serde_json::Map<_, _> = (0..49).map(|number| (format!("t{number}"), json!(""))).collect();
    insta::assert_snapshot!(aws.kinesis_error("AddTagsToStream", json!({"StreamName": "web", "Tags": many})).await, @"400 LimitExceededException: a stream has 50 tags at most");
}

#[tokio::test]
async fn consumers_are_remembered() {
    let aws = Aws::new();
    aws.create("web", 1).await;
    let arn = "arn:aws:kinesis:eu-central-1:000000000000:stream/web";
    let app = json!({"StreamARN": arn, "ConsumerName": "app"});
    let told = aws.kinesis("RegisterStreamConsumer", app.clone()).await;
    insta::assert_snapshot!(told, @r#"{"Consumer":{"ConsumerARN":"arn:aws:kinesis:eu-central-1:000000000000:stream/web/consumer/app:1795233600","ConsumerCreationTimestamp":1795233600.0,"ConsumerName":"app","ConsumerStatus":"ACTIVE"}}"#);
    insta::assert_snapshot!(aws.kinesis_error("RegisterStreamConsumer", app.clone()).await, @"400 ResourceInUseException: Consumer app under stream web already exists.");
    let by_arn = json!({"ConsumerARN": told["Consumer"]["ConsumerARN"]});
    let described = aws.kinesis("DescribeStreamConsumer", by_arn.clone()).await;
    assert_eq!(described, aws.kinesis("DescribeStreamConsumer", app.clone()).await);
    assert_eq!(described["ConsumerDescription"]["StreamARN"], arn);
    assert_eq!(aws.kinesis("ListStreamConsumers", json!({"StreamARN": arn})).await["Consumers"][0], told["Consumer"]);
    insta::assert_snapshot!(aws.kinesis_error("DeleteStream", web()).await, @"400 ResourceInUseException: Stream web under account 000000000000 has registered consumers: set EnforceConsumerDeletion.");
    let mut subscribe = by_arn.clone();
    subscribe["ShardId"] = "shardId-000000000000".into();
    insta::assert_snapshot!(aws.kinesis_error("SubscribeToShard", subscribe).await, @"400 InvalidArgumentException: lacus does not push records to consumers (enhanced fan-out): read them with GetShardIterator and GetRecords");
    aws.kinesis("DeregisterStreamConsumer", by_arn).await;
    insta::assert_snapshot!(aws.kinesis_error("DescribeStreamConsumer", app).await, @"400 ResourceNotFoundException: Consumer app under stream web not found.");
    aws.kinesis("DeleteStream", web()).await;
}

#[tokio::test]
async fn names_that_would_be_one_table_are_refused() {
    let aws = Aws::new();
    aws.create("Web-Clicks", 1).await;
    for name in ["Web-Clicks", "web_clicks", "web.clicks"] {
        let asked = json!({"StreamName": name, "ShardCount": 1});
        let told = aws.kinesis_error("CreateStream", asked).await;
        assert!(told.starts_with("400 ResourceInUseException"), "{told}");
    }
    let asked = json!({"StreamName": "web_clicks", "ShardCount": 1});
    insta::assert_snapshot!(aws.kinesis_error("CreateStream", asked).await, @"400 ResourceInUseException: Stream web_clicks would be stream and table web_clicks here, which stream Web-Clicks is already.");
    insta::assert_snapshot!(aws.kinesis_error("DescribeStream", json!({"StreamName": "web_clicks"})).await, @"400 ResourceNotFoundException: Stream web_clicks under account 000000000000 not found.");
    for name in ["", "a b", "é", "---", &"a".repeat(129)] {
        let told = aws.kinesis_error("CreateStream", json!({"StreamName": name, "ShardCount": 1})).await;
        assert!(
            told.starts_with("400 ValidationException") || told.starts_with("400 InvalidArgumentException"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn what_producers_get_wrong_is_said() {
    let aws = Aws::new();
    aws.create("web", 1).await;
    let record = |key: &str| json!({"StreamName": "web", "Data": base64("x"), "PartitionKey": key});
    let mut hashed = record("k");
    hashed["ExplicitHashKey"] = u128::MAX.to_string().into();
    aws.kinesis("PutRecord", hashed.clone()).await;
    hashed["ExplicitHashKey"] = "340282366920938463463374607431768211456".into();
    let mut errors = vec![aws.kinesis_error("PutRecord", hashed).await];
    aws.kinesis("PutRecord", record(&"é".repeat(256))).await;
    errors.push(aws.kinesis_error("PutRecord", record(&"é".repeat(257))).await);
    errors.push(aws.kinesis_error("PutRecord", json!({"StreamName": "web", "Data": "x", "PartitionKey": "k"})).await);
    errors.push(aws.kinesis_error("PutRecord", json!({"StreamName": "web", "Data": "eA=="})).await);
    errors.push(aws.kinesis_error("PutRecord", json!({"Data": "eA==", "PartitionKey": "k"})).await);
    errors.push(aws.kinesis_error("PutRecord", json!({"StreamName": "no", "Data": "eA==", "PartitionKey": "k"})).await);
    errors.push(aws.kinesis_error("PutRecords", json!({"StreamName": "web", "Records": []})).await);
    let many = vec![json!({"Data": "eA==", "PartitionKey": "k"}); 501];
    errors.push(aws.kinesis_error("PutRecords", json!({"StreamName": "web", "Records": many})).await);
    let long = json!({"StreamName": "web", "Data": base64(vec![0; 10 << 20]), "PartitionKey": "k"});
    errors.push(aws.kinesis_error("PutRecord", long).await);
    errors.push(aws.kinesis_error("StartStreamEncryption", json!({"StreamName": "web"})).await);
    errors.push(aws.kinesis_error("Nope", json!({})).await);
    errors.push(aws.error("DynamoDB_20120810.PutItem", json!({})).await);
    let mut dry = record("k");
    dry["DryRun"] = true.into();
    errors.push(aws.kinesis_error("PutRecord", dry).await);
    insta::assert_snapshot!(errors.join("\n"), @r#"
    400 InvalidArgumentException: Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1].
    400 ValidationException: PartitionKey must have 1 to 256 characters.
    400 SerializationException: data is no base64 at line 1 column 11
    400 SerializationException: missing field `PartitionKey` at line 1 column 34
    400 InvalidArgumentException: Either StreamName or StreamARN must be provided.
    400 ResourceNotFoundException: Stream no under account 000000000000 not found.
    400 ValidationException: Records must have 1 to 500 members.
    400 ValidationException: Records must have 1 to 500 members.
    400 ValidationException: The records of a request have 10 MiB of data and keys at most.
    400 InvalidArgumentException: lacus has no KMS keys to encrypt streams with: encrypt the disk it writes to
    400 UnknownOperationException: there is no operation "Nope" here; docs/reference/kinesis.md and firehose.md list those there are
    400 UnknownOperationException: there is no operation "DynamoDB_20120810" here; docs/reference/kinesis.md and firehose.md list those there are
    400 DryRunOperationException: The request would have succeeded, but the DryRun parameter was set.
    "#);
    assert_eq!(aws.door.values("web").len(), 2);
}
