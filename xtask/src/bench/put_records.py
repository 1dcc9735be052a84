#!/usr/bin/env python3
"""Puts records into a Kinesis stream with boto3 for a while; prints what was put and what it cost as one line of JSON.

Usage: put_records.py ENDPOINT SECONDS; the keys come from the environment.
"""

import json
import sys
import time

import boto3

endpoint, seconds = sys.argv[1], float(sys.argv[2])
kinesis = boto3.client("kinesis", endpoint_url=endpoint, region_name="us-east-1")
try:
    kinesis.create_stream(StreamName="clicks", ShardCount=4)
except kinesis.exceptions.ResourceInUseException:
    pass
kinesis.get_waiter("stream_exists").wait(StreamName="clicks")
events = [json.loads(line) for line in sys.stdin]
records = [{"Data": json.dumps(event).encode(), "PartitionKey": event["user_id"]} for event in events]

put, times = 0, []
began, cpu_before = time.perf_counter(), time.process_time()
while (sent := time.perf_counter()) - began < seconds:
    answer = kinesis.put_records(StreamName="clicks", Records=records)
    times.append(time.perf_counter() - sent)
    put += len(records) - answer["FailedRecordCount"]
wall, cpu = time.perf_counter() - began, time.process_time() - cpu_before
print(json.dumps({"records": put, "wall": wall, "cpu": cpu, "p50_ms": sorted(times)[len(times) // 2] * 1000}))
