"""Produces and consumes with boto3, aws-kinesis-agg and awscli; Firehose with boto3. Endpoint and keys come from the environment."""

import json
import os
import subprocess
import sys

import aws_kinesis_agg.aggregator
import boto3

prefix, count = os.environ["PREFIX"], int(os.environ["COUNT"])
stream = "Client-Stream"
kinesis = boto3.client("kinesis")


def event(name):
    return json.dumps({"id": f"{prefix}-{name}"}).encode()


def read_all():
    """Every record, shard by shard, to the end of each."""
    data = []
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator:
            answer = kinesis.get_records(ShardIterator=iterator)
            data += [json.loads(record["Data"])["id"] for record in answer["Records"]]
            iterator = answer.get("NextShardIterator") if answer["Records"] else None
    return data


kinesis.create_stream(StreamName=stream, ShardCount=2)
kinesis.get_waiter("stream_exists").wait(StreamName=stream)
for first in range(0, count, 500):
    records = [{"Data": event(n), "PartitionKey": f"user-{n % 7}"} for n in range(first, min(first + 500, count))]
    answer = kinesis.put_records(StreamName=stream, Records=records)
    assert answer["FailedRecordCount"] == 0, answer

kinesis.update_shard_count(StreamName=stream, TargetShardCount=3, ScalingType="UNIFORM_SCALING")
assert len(kinesis.list_shards(StreamName=stream)["Shards"]) == 5
kinesis.put_record(StreamName=stream, Data=event("single"), PartitionKey="user-1")

aggregator = aws_kinesis_agg.aggregator.RecordAggregator()
for number in range(10):
    aggregator.add_user_record(f"user-{number % 7}", event(f"packed-{number}"))
key, _, data = aggregator.clear_and_get().get_contents()
kinesis.put_record(StreamName=stream, Data=data, PartitionKey=key)

command = [
    os.path.join(os.path.dirname(sys.executable), "aws"), "kinesis", "put-record", "--stream-name", stream,
    "--partition-key", "user-1", "--data", event("cli").decode(),
]
told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
assert told["ShardId"].startswith("shardId-"), told

found = read_all()
assert len(found) == len(set(found)) == count + 12, (len(found), len(set(found)))

try:
    boto3.client("kinesis", aws_secret_access_key="wrong", aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"]).list_streams()
    sys.exit("a wrong secret was accepted")
except kinesis.exceptions.ClientError as error:
    assert error.response["Error"]["Code"] == "InvalidSignatureException", error

firehose = boto3.client("firehose")
firehose.create_delivery_stream(
    DeliveryStreamName="client-delivery",
    ExtendedS3DestinationConfiguration={
        "RoleARN": "arn:aws:iam::000000000000:role/any",
        "BucketARN": "arn:aws:s3:::any",
        "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 60},
    },
)
told = firehose.describe_delivery_stream(DeliveryStreamName="client-delivery")["DeliveryStreamDescription"]
assert told["DeliveryStreamStatus"] == "ACTIVE", told
firehose.put_record(DeliveryStreamName="client-delivery", Record={"Data": event("f1") + b"\n" + event("f2") + b"\n"})
batch = [{"Data": event(f"b{number}") + b"\n"} for number in range(20)]
assert firehose.put_record_batch(DeliveryStreamName="client-delivery", Records=batch)["FailedPutCount"] == 0
