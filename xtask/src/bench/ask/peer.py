#!/usr/bin/env python3
"""Questions asked of DuckDB or chDB over Parquet files, timed: a line of JSON for each question.

Usage: peer.py duckdb|chdb TABLE QUESTIONS.sql RUNS MEMORY_MB FILE...

Each question runs once more before it is timed; with RUNS 0 it is timed at once, as the first of the process. Two threads.
"""

import json
import os
import resource
import statistics
import sys
import time

THREADS = 2


def duckdb_engine(table, memory, files):
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"SET threads = {THREADS}; SET memory_limit = '{memory}MB'; SET enable_object_cache = true")
    connection.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet({files})")
    return lambda sql: len(connection.execute(sql).fetchall())


def chdb_engine(table, memory, files):
    import chdb.session

    session = chdb.session.Session()
    common = os.path.commonpath([os.path.dirname(file) for file in files]) + "/"
    names = ",".join(file.removeprefix(common) for file in files)
    session.query(f"SET max_threads = {THREADS}, max_memory_usage = {memory}000000, output_format_json_quote_64bit_integers = 0")
    session.query(f"SET max_bytes_before_external_group_by = {memory // 2}000000, max_bytes_before_external_sort = {memory // 2}000000")
    session.query("CREATE DATABASE IF NOT EXISTS lake ENGINE = Atomic")
    session.query(f"CREATE VIEW lake.{table} AS SELECT * FROM file('{common}{{{names}}}', Parquet)")
    session.query("USE lake")
    return lambda sql: len(session.query(sql, "JSONCompactEachRow").bytes().splitlines())


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def timed(ask, sql):
    wall_before, cpu_before = time.perf_counter(), cpu()
    rows = ask(sql)
    return time.perf_counter() - wall_before, cpu() - cpu_before, rows


def answer(ask, sql, runs):
    """Median seconds of the clock and of the processor."""
    try:
        if runs:
            ask(sql)
        times = [timed(ask, sql) for _ in range(max(runs, 1))]
    except Exception as error:  # an engine that can't answer is a result
        return {"error": str(error).splitlines()[0][:200]}
    return {"wall": statistics.median(t[0] for t in times), "cpu": statistics.median(t[1] for t in times), "rows": times[0][2]}


def main(engine, table, questions, runs, memory, *files):
    ask = {"duckdb": duckdb_engine, "chdb": chdb_engine}[engine](table, int(memory), list(files))
    with open(questions, encoding="utf-8") as text:
        statements = [sql for sql in text.read().split(";\n") if sql.strip()]
    answers = [answer(ask, sql, int(runs)) for sql in statements]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"answers": answers, "peak_mb": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
