"""What schemathesis is told to speak with lacus: NDJSON is events, rows or records, one on each line."""

import json

import schemathesis

NDJSON = "application/x-ndjson"


@schemathesis.serializer(NDJSON)
def write(ctx, value):
    # What is no list of lines is an array on a line, which is no event.
    lines = value if isinstance(value, list) else [[value]]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@schemathesis.deserializer(NDJSON)
def read(ctx, response):
    return [json.loads(line) for line in response.content.splitlines()]
