#!/usr/bin/env python3
"""DuckDB on the same data, timed: wall and CPU seconds as one line of JSON.

Usage: beside.py convert EVENTS.ndjson OUT.parquet
       beside.py query SQL_FILE RUNS PARQUET...
"""

import json
import resource
import statistics
import sys
import time

import duckdb


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


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    print(json.dumps(convert(*rest) if command == "convert" else query(rest[0], int(rest[1]), rest[2:])))
