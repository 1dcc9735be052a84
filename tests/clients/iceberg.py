#!/usr/bin/env python3
"""pyiceberg and DuckDB read a lacus table from its metadata, and agree with lacus row for row.

Usage: iceberg.py --project DIR [--events FILE] [--location s3://BUCKET/PREFIX --endpoint HOST:PORT]

A lacus server must be serving the project. Without --events, clickstream events are sent to one table, and to another
made-up events in three commits, each of which brings new columns at the top and inside structs and lists, and then in so
many small ones that their files are merged. A third table is partitioned and sorted as its settings say, by a column that only
its second commit brings, and a fourth has its columns changed meanwhile. With --events, the JSON lines of FILE are sent instead. As many rows must come out. Every value of every column is compared, nested ones
included, in three answers: lacus over HTTP, pyiceberg's StaticTable, and DuckDB's iceberg_scan.
"""

import argparse
import datetime
import decimal
import json
import pathlib
import random
import sys
import time
import urllib.error
import urllib.request
import uuid

import boto3
import duckdb
import pyarrow
from duckdb_extensions import import_extension
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.table import StaticTable

EXTENSIONS = ("avro", "iceberg", "httpfs")
BATCH_LINES = 200
# Commits whose files are merged, and the longest that may take, in seconds.
SMALL_COMMITS = 8
MERGE_SECONDS_MAX = 60


class Lacus:
    """A server, over HTTP."""

    def __init__(self, project, location=None, endpoint=None):
        self.data = pathlib.Path(project).resolve() / ".lacus"
        self.location, self.endpoint = location, endpoint
        server = json.loads((self.data / "server.json").read_text(encoding="utf-8"))
        self.base = f"http://{server['http']}"

    def post(self, path, body, content_type):
        request = urllib.request.Request(self.base + path, body.encode(), {"content-type": content_type})
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                return reply.read().decode()
        except urllib.error.HTTPError as error:
            sys.exit(f"POST {path}: {error.code} {error.read().decode()}")

    def send(self, table, lines):
        acknowledged = 0
        for start in range(0, len(lines), BATCH_LINES):
            body = "".join(line + "\n" for line in lines[start : start + BATCH_LINES])
            reply = json.loads(self.post(f"/v1/events?source={table}", body, "application/x-ndjson"))
            acknowledged += reply["accepted"]
        assert acknowledged == len(lines), f"{acknowledged} of {len(lines)} events were acknowledged"

    def commit(self, table):
        return json.loads(self.post(f"/v1/tables/{table}/flush", "", "application/json"))

    def sql(self, query):
        answer = json.loads(self.post("/v1/sql", query, "text/plain"))
        names = [column["name"] for column in answer["columns"]]
        return [dict(zip(names, row)) for row in answer["rows"]]

    def number(self, name):
        """A number of /metrics."""
        with urllib.request.urlopen(self.base + "/metrics", timeout=120) as reply:
            lines = reply.read().decode().splitlines()
        return float(next(line for line in lines if line.startswith(name + " ")).split()[1])

    def metadata(self, table):
        """The newest metadata file: its name begins with its number."""
        place = f"main/{table}/metadata/"
        if self.location:
            bucket, prefix = self.location.removeprefix("s3://").split("/", 1)
            keys = dict(aws_access_key_id="tester", aws_secret_access_key="secret", region_name="us-east-1")
            store = boto3.client("s3", endpoint_url=f"http://{self.endpoint}", **keys)
            pages = store.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/{place}")
            names = [f"s3://{bucket}/{file['Key']}" for page in pages for file in page.get("Contents", [])]
        else:
            names = [str(file) for file in (self.data / "lake" / place).iterdir()]
        names = [name for name in names if name.endswith(".metadata.json")]
        return max(names, key=lambda name: int(name.rsplit("/", 1)[1].split("-")[0]))

    def table(self, name):
        """The table as pyiceberg has it."""
        properties = {
            "s3.endpoint": f"http://{self.endpoint}",
            "s3.access-key-id": "tester",
            "s3.secret-access-key": "secret",
            "s3.region": "us-east-1",
        }
        return StaticTable.from_metadata(self.metadata(name), properties if self.location else {})


def clicks():
    """Two commits of clickstream events."""
    chance = random.Random(17)
    names = ["Search", "ViewContent", "AddToCart", "Purchase"]
    lines = []
    for number in range(1000):
        time = f"2021-07-12 12:{number // 60 % 60:02}:{number % 60:02}.{chance.randrange(10**6):06}"
        event = {
            "timestamp": time,
            "user_id": str(chance.randrange(50)),
            "pixel_id": "wjgao4w1oi",
            "click_id": f"{chance.getrandbits(128):032x}",
            "event_name": chance.choice(names),
            "user_ip": ".".join(str(chance.randrange(1, 255)) for _ in range(4)),
            "additional_data": {
                "time_on_data": chance.randrange(100),
                "percent_viewed": round(chance.random() * 100, 1),
                "product_id": chance.randrange(100000, 999999),
                "price": round(chance.random() * 1000, 2),
            },
        }
        lines.append(json.dumps(event))
    return [lines[:400], lines[400:]]


def growing():
    """Three commits, each with columns that the ones before did not have."""
    first = [{"id": n, "name": f"n{n}", "data": {"price": n + 0.25, "list": [n, n + 1]}} for n in range(300)]
    second = [
        {"id": 300 + n, "ok": n % 2 == 0, "data": {"list": [], "deep": {"er": {"x": n}}}, "who": [{"a": n}, {"a": None}]}
        for n in range(300)
    ]
    third = [
        {
            "id": 600 + n,
            "name": None if n % 3 else "日本 \"quoted\" \n line",
            "data": {"price": "misfit" if n % 7 == 0 else 1e-3 * n, "deep": {"er": {"y": [[n], []]}, "z": 2**62 + n}},
            "who": [{"a": 1, "b": {"c": f"c{n}"}}],
            "big": 123456789012345678901234567890 + n,
            "empty": {},
        }
        for n in range(300)
    ]
    return [[json.dumps(event) for event in commit] for commit in (first, second, third)]


# What a person makes of the columns of a table, and an event after each change.
CHANGES = [
    (None, {"id": 1, "usr": "a", "o": {"n": 1}, "debug": "x"}),
    ("RENAME COLUMN usr TO user_id, RENAME COLUMN \"o.n\" TO number, DROP COLUMN debug", {"id": 2, "usr": "b", "o": {"n": 2}}),
    (
        "ADD COLUMN i integer, ADD COLUMN f real, ADD COLUMN d numeric(9,2), ADD COLUMN wide numeric(30,4), ADD COLUMN day date, "
        "ADD COLUMN at time, ADD COLUMN ts timestamp, ADD COLUMN tz timestamptz, ADD COLUMN uid uuid, "
        "ADD COLUMN m map(text, bigint), ADD COLUMN l integer[], ADD COLUMN \"o.deep\" struct<a date>",
        {
            "id": 3, "user_id": "c", "o": {"number": 3, "deep": {"a": "2026-11-20"}}, "i": 7, "f": 0.5, "d": "12.50",
            "wide": "-99999999999999999999999999.5", "day": "1969-12-31", "at": "19:30:00", "ts": "2026-11-20T19:30:00",
            "tz": "2026-11-20T19:30:00+01:00", "uid": "0db3e2a8-9d1d-42b9-aa7b-74ebe558dceb", "m": {"x": 1, "y": 2}, "l": [1],
        },
    ),
    (
        "ALTER COLUMN i TYPE bigint, ALTER COLUMN f TYPE double precision, ALTER COLUMN d TYPE numeric(18,2), "
        "ALTER COLUMN \"l.element\" TYPE bigint, MODIFY COLUMN day date FIRST, ADD COLUMN debug bigint",
        {"id": 4, "i": 2**40, "f": 0.1, "d": 1234567890123456.78, "l": [2**40], "debug": 4, "day": "not a day"},
    ),
]


def evolve_and_check(lacus):
    for sent, (change, event) in enumerate(CHANGES, 1):
        if change:
            lacus.sql(f"ALTER TABLE evolved {change}")
        lacus.send("evolved", [json.dumps(event)])
        lacus.commit("evolved")
        rows, _ = check(lacus, "evolved")
        assert rows == sent, f"{sent} events went in, {rows} rows came out"


def plain(value):
    """A value as JSON has it: the three answers differ in how they write times, and in writing nulls of structs."""
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            return value.isoformat()
        return value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bytes) and len(value) == 16:
        return str(uuid.UUID(bytes=value))
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return dict(value)
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value


def same_times(row):
    """lacus may write fewer digits of a second."""
    times = {name: row[name] for name in ("_received_at", "tz") if row.get(name)}
    return {**row, **{name: plain(datetime.datetime.fromisoformat(time.replace("Z", "+00:00"))) for name, time in times.items()}}


def ordered(rows):
    return sorted((plain(row) for row in rows), key=lambda row: (row["_partition"], row["_offset"]))


def through_duckdb(lacus, metadata):
    connection = duckdb.connect()
    for extension in EXTENSIONS if lacus.location else EXTENSIONS[:2]:
        connection.load_extension(extension)
    connection.execute("SET TimeZone = 'UTC'")
    if lacus.location:
        place = f"ENDPOINT '{lacus.endpoint}', URL_STYLE 'path', USE_SSL false, REGION 'us-east-1'"
        connection.execute(f"CREATE SECRET (TYPE s3, KEY_ID 'tester', SECRET 'secret', {place})")
    return connection.execute("SELECT * FROM iceberg_scan(?)", [str(metadata)]).to_arrow_table()


def compare(name, ours, theirs):
    assert len(ours) == len(theirs), f"lacus has {len(ours)} rows, {name} {len(theirs)}"
    for mine, other in zip(ours, theirs):
        for column in sorted(mine.keys() | other.keys()):
            if mine.get(column) != other.get(column):
                place = f"row {mine['_partition']}/{mine['_offset']}, column {column}"
                sys.exit(f"{place}: lacus has {mine.get(column)!r}, {name} {other.get(column)!r}")


def lists_of_structs(schema):
    """Columns whose nulls pyiceberg (0.12) reads as empty lists. pyarrow and DuckDB read the same files as null."""
    types = pyarrow.types
    is_list = lambda kind: types.is_list(kind) or types.is_large_list(kind)
    return [field.name for field in schema if is_list(field.type) and types.is_struct(field.type.value_type)]


def null_as_empty(rows, columns):
    return [{**row, **{column: row.get(column) or [] for column in columns}} for row in rows]


def check(lacus, table):
    ours = [same_times(row) for row in ordered(lacus.sql(f"SELECT * FROM {table}"))]
    iceberg = lacus.table(table).scan().to_arrow()
    forgiven = lists_of_structs(iceberg.schema)
    compare("pyiceberg", *(null_as_empty(rows, forgiven) for rows in (ours, ordered(iceberg.to_pylist()))))
    compare("DuckDB", ours, ordered(through_duckdb(lacus, lacus.metadata(table)).to_pylist()))
    leaves = sum(1 for _ in leaf_fields(iceberg.schema))
    print(f"{table}: {len(ours)} rows, {leaves} leaf columns: lacus, pyiceberg and DuckDB agree")
    return len(ours), iceberg.schema


def leaf_fields(fields, path=()):
    for field in fields:
        if pyarrow.types.is_struct(field.type):
            yield from leaf_fields(field.type, (*path, field.name))
        else:
            yield (*path, field.name)


def check_paths(lacus, table, schema):
    """Every leaf that structs lead to can be asked for by its path."""
    for path in leaf_fields(schema):
        column = "".join(f"['{name}']" for name in path[1:])
        lacus.sql(f"SELECT count(\"{path[0]}\"{column}) AS n FROM {table}")


def send_and_check(lacus, table, commits):
    sent = 0
    for lines in commits:
        lacus.send(table, lines)
        lacus.commit(table)
        sent += len(lines)
        rows, schema = check(lacus, table)
        assert rows == sent, f"{sent} events went in, {rows} rows came out"
    check_paths(lacus, table, schema)


def merge_and_check(lacus, table, sent):
    """Many small commits: their files are merged, and the rows stay."""
    merged = lacus.number("lacus_lake_merged_files_total")
    for number in range(SMALL_COMMITS):
        lacus.send(table, [json.dumps({"id": sent + number, "name": "late", "data": {"price": number / 8}})])
        lacus.commit(table)
    deadline = time.monotonic() + MERGE_SECONDS_MAX
    while lacus.number("lacus_lake_merged_files_total") < merged + SMALL_COMMITS:
        assert time.monotonic() < deadline, f"no files were merged in {MERGE_SECONDS_MAX} s"
        time.sleep(0.1)
    rows, _ = check(lacus, table)
    assert rows == sent + SMALL_COMMITS, f"{sent + SMALL_COMMITS} events went in, {rows} rows came out after merging"
    summary = lacus.table(table).current_snapshot().summary
    assert summary.operation.value == "replace", f"{summary}"
    print(f"{table}: {summary['deleted-data-files']} files were merged, {summary['total-data-files']} are left")


def check_layout(lacus, table):
    """pyiceberg finds the partitions and the sort order, and by them the same rows in fewer files."""
    read = lacus.table(table)
    fields = [(str(field.transform), read.schema().find_column_name(field.source_id)) for field in read.spec().fields]
    assert fields == [("truncate[100]", "id"), ("bucket[4]", "name"), ("identity", "ok")], f"{fields}"
    assert len(read.specs()) > 2, f"the spec did not evolve: {read.specs()}"
    order = [(read.schema().find_column_name(field.source_id), field.direction.name) for field in read.sort_order().fields]
    assert order == [("name", "DESC"), ("id", "ASC")], f"{order}"
    everything = len(list(read.scan().plan_files()))
    for condition in ("id = 250", "id < 0", "name = 'late'", "ok = true and id > 500", "name is null and id >= 600"):
        scan = read.scan(row_filter=condition)
        theirs = sorted(scan.to_arrow()["id"].to_pylist())
        ours = sorted(row["id"] for row in lacus.sql(f"SELECT id FROM {table} WHERE {condition}"))
        assert ours == theirs, f"{condition}: lacus has {ours}, pyiceberg {theirs}"
        files = len(list(scan.plan_files()))
        assert files < everything, f"{condition}: pyiceberg reads {files} of {everything} files"
        print(f"{table}: {condition}: {len(ours)} rows, pyiceberg reads {files} of {everything} files")


def read_by_rest(lacus, table):
    """With the credentials alone: where the store is, the catalog says."""
    keys = {"s3.access-key-id": "tester", "s3.secret-access-key": "secret"}
    catalog = RestCatalog("lacus", uri=f"{lacus.base}/iceberg", **keys)
    assert catalog.properties["s3.endpoint"] == f"http://{lacus.endpoint}", catalog.properties
    rows = catalog.load_table(f"main.{table}").scan().to_arrow().num_rows
    assert rows == lacus.sql(f"SELECT count(*) AS n FROM {table}")[0]["n"], f"pyiceberg read {rows} rows by REST"
    print(f"{table}: {rows} rows by the REST catalog, which says where the store is")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--project", required=True)
    arguments.add_argument("--events")
    arguments.add_argument("--location")
    arguments.add_argument("--endpoint")
    arguments = arguments.parse_args()
    for extension in EXTENSIONS:
        import_extension(extension)
    lacus = Lacus(arguments.project, arguments.location, arguments.endpoint)
    if arguments.events:
        lines = pathlib.Path(arguments.events).read_text(encoding="utf-8").splitlines()
        send_and_check(lacus, "given", [lines])
    else:
        send_and_check(lacus, "clicks", clicks())
        send_and_check(lacus, "growing", growing())
        merge_and_check(lacus, "growing", 900)
        evolve_and_check(lacus)
        send_and_check(lacus, "laid_out", growing())
        merge_and_check(lacus, "laid_out", 900)
        check_layout(lacus, "laid_out")
    if lacus.location:
        read_by_rest(lacus, "clicks")


if __name__ == "__main__":
    main()
