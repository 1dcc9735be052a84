#!/usr/bin/env python3
"""DuckDB and pyiceberg on the same data, timed: wall and CPU seconds as one line of JSON.

Usage: beside.py convert EVENTS.ndjson OUT.parquet
       beside.py partition EVENTS.ndjson FOLDER COLUMN
       beside.py rewrite FOLDER OUT.parquet
       beside.py query SQL_FILE RUNS PARQUET...
       beside.py commits EVENTS.ndjson ROWS FOLDER
       beside.py scan REST_URI FOLDER
"""

import io
import itertools
import json
import pathlib
import resource
import statistics
import sys
import time

import duckdb
import pyarrow.json
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import SqlCatalog

SCANS = 5


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def timed(action):
    wall_before, cpu_before = time.perf_counter(), cpu()
    action()
    return time.perf_counter() - wall_before, cpu() - cpu_before


def convert(events, out):
    connection = duckdb.connect()
    sql = f"COPY (SELECT * FROM read_ndjson('{events}')) TO '{out}' (FORMAT parquet, COMPRESSION zstd)"
    wall, spent = timed(lambda: connection.execute(sql))
    return {"wall": wall, "cpu": spent}


def partition(events, folder, column):
    connection = duckdb.connect()
    sql = (
        f"COPY (SELECT * FROM read_ndjson('{events}')) TO '{folder}' "
        f"(FORMAT parquet, COMPRESSION zstd, PARTITION_BY ({column}), WRITE_PARTITION_COLUMNS true)"
    )
    wall, spent = timed(lambda: connection.execute(sql))
    return {"wall": wall, "cpu": spent}


def rewrite(folder, out):
    connection = duckdb.connect()
    sql = f"COPY (SELECT * FROM read_parquet('{folder}/*.parquet')) TO '{out}' (FORMAT parquet, COMPRESSION zstd)"
    wall, spent = timed(lambda: connection.execute(sql))
    return {"wall": wall, "cpu": spent}


def catalog_in(folder):
    folder = pathlib.Path(folder)
    folder.mkdir()
    catalog = SqlCatalog("beside", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    catalog.create_namespace("main")
    return catalog


def commits(events, rows, folder):
    with open(events, "rb") as file:
        chunks = iter(lambda: b"".join(itertools.islice(file, int(rows))), b"")
        batches = [pyarrow.json.read_json(io.BytesIO(chunk)) for chunk in chunks]
    table = catalog_in(folder).create_table("main.clicks", batches[0].schema)

    def append_all():
        for batch in batches:
            table.append(batch)

    wall, spent = timed(append_all)
    count = {kind: sum(1 for _ in pathlib.Path(folder).glob(f"**/{kind}/*")) for kind in ("data", "metadata")}
    return {"wall": wall, "cpu": spent, "data_files": count["data"], "metadata_files": count["metadata"]}


def scan(uri, folder):
    def read(catalog):
        return catalog.load_table("main.clicks").scan().to_arrow()

    ours = RestCatalog("lacus", uri=uri)
    rows = read(ours)
    single = catalog_in(folder)
    single.create_table("main.clicks", rows.schema).append(rows)
    walls = {"lacus": [], "single": []}
    for _ in range(SCANS):
        for name, catalog in (("lacus", ours), ("single", single)):
            walls[name].append(timed(lambda catalog=catalog: read(catalog))[0])
    return {"rows": rows.num_rows} | {name: statistics.median(times) for name, times in walls.items()}


def query(sql_file, runs, files):
    connection = duckdb.connect()
    connection.execute("SET enable_object_cache = true")
    connection.execute(f"CREATE VIEW clicks AS SELECT * FROM read_parquet({files})")
    with open(sql_file, encoding="utf-8") as text:
        sql = text.read()
    connection.execute(sql).fetchall()
    walls, cpus, rows = [], [], 0
    for _ in range(runs):
        wall, spent = timed(lambda: connection.execute(sql).fetchall())
        walls.append(wall)
        cpus.append(spent)
    rows = [[str(value) for value in row] for row in connection.execute(sql).fetchall()]
    return {"wall": statistics.median(walls), "cpu": statistics.fmean(cpus), "rows": rows}


COMMANDS = {
    "convert": convert,
    "partition": partition,
    "rewrite": rewrite,
    "commits": commits,
    "scan": scan,
    "query": lambda sql_file, runs, *files: query(sql_file, int(runs), list(files)),
}

if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    print(json.dumps(COMMANDS[command](*rest)))
