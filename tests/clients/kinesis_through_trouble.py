"""Puts COUNT records into an existing stream, again and again until each request was answered. Kinesis knows no
ids; the settings say that events have one."""

import json
import os

import boto3
from botocore.config import Config

prefix, count = os.environ["PREFIX"], int(os.environ["COUNT"])
kinesis = boto3.client("kinesis", config=Config(retries={"max_attempts": 50, "mode": "standard"}))
for first in range(0, count, 50):
    numbers = range(first, min(first + 50, count))
    records = [{"Data": json.dumps({"id": f"{prefix}-{n}"}).encode(), "PartitionKey": str(n)} for n in numbers]
    assert kinesis.put_records(StreamName="drops", Records=records)["FailedRecordCount"] == 0
