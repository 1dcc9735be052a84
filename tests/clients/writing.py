#!/usr/bin/env python3
"""psycopg, psql, SQL over HTTP and pyiceberg write and read the same tables.

Usage: writing.py --project DIR

A lacus server must be serving the project.
"""

import argparse
import datetime
import json
import subprocess

import duckdb
import psycopg
from iceberg import Lacus
from pyiceberg.catalog.rest import RestCatalog


FILTER = "write.parquet.bloom-filter-enabled.column.name"


def connect(address, **settings):
    host, port = address.rsplit(":", 1)
    return psycopg.connect(host=host, port=port, user="lacus", dbname="lake", **settings)


def through_psycopg(address):
    with connect(address, autocommit=True) as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE SCHEMA shop")
        cursor.execute(
            "CREATE TABLE shop.orders (id bigint NOT NULL, day date, price numeric(12,2), name text)"
            " PARTITIONED BY (month(day), bucket(4, id))"
        )
        cursor.execute(f"ALTER TABLE shop.orders SET TBLPROPERTIES ('{FILTER}' = 'true')")
        day = datetime.date(2026, 11, 21)
        cursor.execute("INSERT INTO shop.orders VALUES (%s, %s, %s, %s)", (1, day, 1.5, "a"))
        assert (cursor.rowcount, cursor.statusmessage) == (1, "INSERT 0 1"), cursor.statusmessage
        cursor.executemany("INSERT INTO shop.orders (id, name) VALUES (%s, %s)", [(n, f"n{n}") for n in range(2, 6)])
        cursor.execute("UPDATE shop.orders SET price = price * 2, day = %s WHERE id <= %s", (day, 2))
        assert cursor.statusmessage == "UPDATE 2", cursor.statusmessage
        cursor.execute("DELETE FROM shop.orders WHERE name = %s", ("n5",))
        assert cursor.statusmessage == "DELETE 1", cursor.statusmessage
        cursor.execute("CREATE TABLE shop.days AS SELECT day, count(*) AS orders FROM shop.orders GROUP BY day")
        assert cursor.statusmessage == "SELECT 2", cursor.statusmessage
        cursor.execute(
            "MERGE INTO shop.days USING (SELECT CAST('2026-11-22' AS date) AS day) AS s ON days.day = s.day"
            " WHEN NOT MATCHED THEN INSERT VALUES (s.day, 0)"
        )
        assert cursor.statusmessage == "MERGE 1", cursor.statusmessage
        cursor.execute("SELECT id, day, price, name FROM shop.orders ORDER BY id")
        return cursor.fetchall()


def in_a_transaction(address):
    with connect(address) as connection:
        try:
            connection.execute("DELETE FROM shop.orders")
            raise AssertionError("it was done")
        except psycopg.errors.ActiveSqlTransaction as error:
            assert "autocommit" in error.diag.message_hint, error
    with connect(address, autocommit=True, options="-c default_transaction_read_only=on") as connection:
        try:
            connection.execute("DELETE FROM shop.orders")
            raise AssertionError("it was done")
        except psycopg.errors.ReadOnlySqlTransaction:
            pass


def through_psql(address):
    host, port = address.rsplit(":", 1)
    command = ["psql", "-X", "-h", host, "-p", port, "-U", "lacus", "lake", "-c"]
    told = subprocess.run([*command, "INSERT INTO shop.days SELECT day, orders FROM shop.days"], capture_output=True, text=True)
    assert told.stdout == "INSERT 0 3\n", (told.stdout, told.stderr)
    told = subprocess.run([*command, "DELETE FROM shop.days WHERE nope = 1"], capture_output=True, text=True)
    assert 'column "nope" does not exist' in told.stderr and "^" in told.stderr, told.stderr


def bloom_filters(orders):
    """DuckDB finds each name that a file has in its filter, and of others hardly any."""
    assert orders.properties[FILTER] == "true", orders.properties
    probe = "SELECT bloom_filter_excludes FROM parquet_bloom_probe(?, 'name', ?)"
    for task in orders.scan().plan_files():
        path = task.file.file_path.removeprefix("file://")
        excludes = lambda name: [excluded for (excluded,) in duckdb.execute(probe, [path, name]).fetchall()]
        names = duckdb.execute("SELECT name FROM read_parquet(?) WHERE name IS NOT NULL", [path]).fetchall()
        assert not any(all(excludes(name)) for (name,) in names), (path, names)
        others = [all(excludes(f"nobody {number}")) for number in range(20)]
        assert sum(others) > 10, (path, others)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--project", required=True)
    project = arguments.parse_args().project
    lacus = Lacus(project)
    address = json.loads((lacus.data / "server.json").read_text(encoding="utf-8"))["postgres"]
    rows = through_psycopg(address)
    in_a_transaction(address)
    through_psql(address)
    catalog = RestCatalog("lacus", uri=f"{lacus.base}/iceberg")
    orders = catalog.load_table("shop.orders")
    read = orders.scan().to_arrow().sort_by("id").to_pylist()
    assert [tuple(row.values()) for row in read] == rows, (read, rows)
    assert len(rows) == 4 and [str(field.transform) for field in orders.spec().fields] == ["month", "bucket[4]"]
    bloom_filters(orders)
    assert orders.scan(row_filter="name == 'n2'").to_arrow()["id"].to_pylist() == [2]
    orders.delete("id = 3")
    answer = json.loads(lacus.post("/v1/sql", "DELETE FROM shop.orders WHERE id >= 3", "text/plain"))
    assert answer["stats"]["affected_rows"] == 1, answer
    assert lacus.sql("SELECT count(*) AS n FROM shop.orders") == [{"n": 2}]
    lacus.sql("DROP TABLE shop.orders")
    lacus.sql("DROP TABLE shop.days")
    lacus.sql("DROP SCHEMA shop")
    assert ("shop",) not in catalog.list_namespaces()
    print("psycopg, psql, HTTP and pyiceberg agree")


if __name__ == "__main__":
    main()
