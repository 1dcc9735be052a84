#!/usr/bin/env python3
"""Other engines read and write the lake's tables through its Iceberg REST catalog, and agree with lacus row for row.

Usage: rest.py --project DIR [--only NAME]

A lacus server must be serving the project. Clients are told the URI and nothing else.
"""

import argparse
import json
import sys

import daft
import duckdb
import polars
from duckdb_extensions import import_extension
from iceberg import Lacus, clicks, compare, growing, lists_of_structs, null_as_empty, ordered, same_times
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

EXTENSIONS = ("avro", "httpfs", "iceberg")


def catalog_of(lacus):
    return RestCatalog("lacus", uri=f"{lacus.base}/iceberg")


def duckdb_of(lacus):
    connection = duckdb.connect()
    for extension in EXTENSIONS:
        connection.load_extension(extension)
    connection.execute("SET TimeZone = 'UTC'")
    # Names are the lake's, not those of this script's variables.
    connection.execute("SET python_enable_replacements = false")
    endpoint = f"{lacus.base}/iceberg"
    connection.execute(f"ATTACH '' AS lake (TYPE iceberg, ENDPOINT '{endpoint}', AUTHORIZATION_TYPE 'none', DEFAULT_SCHEMA 'main')")
    return connection


def reading(lacus):
    """What lacus delivers is read by pyiceberg, DuckDB, Polars and Daft."""
    for table, commits in (("clicks", clicks()), ("growing", growing())):
        for lines in commits:
            lacus.send(table, lines)
            lacus.commit(table)
    catalog, engine = catalog_of(lacus), duckdb_of(lacus)
    assert ("main",) in catalog.list_namespaces(), catalog.list_namespaces()
    assert ("main", "clicks") in catalog.list_tables("main"), catalog.list_tables("main")
    assert catalog.table_exists("main.clicks") and not catalog.table_exists("main.nothing")
    assert catalog.load_namespace_properties("main") is not None
    for missing, error in (("main.nothing", NoSuchTableError), ("nowhere.clicks", NoSuchTableError)):
        try:
            catalog.load_table(missing)
            sys.exit(f"{missing} was loaded")
        except error:
            pass
    try:
        catalog.list_tables("nowhere")
        sys.exit("a namespace that is not there has tables")
    except NoSuchNamespaceError:
        pass
    for table in ("clicks", "growing"):
        ours = [same_times(row) for row in ordered(lacus.sql(f"SELECT * FROM {table}"))]
        loaded = catalog.load_table(("main", table))
        iceberg = loaded.scan().to_arrow()
        forgiven = lists_of_structs(iceberg.schema)
        empty = null_as_empty(ours, forgiven)
        compare("pyiceberg", empty, null_as_empty(ordered(iceberg.to_pylist()), forgiven))
        compare("DuckDB", ours, ordered(engine.execute(f"SELECT * FROM lake.main.{table}").to_arrow_table().to_pylist()))
        compare("Polars", ours, ordered(polars.scan_iceberg(loaded).collect().to_arrow().to_pylist()))
        compare("Daft", empty, null_as_empty(ordered(daft.read_iceberg(loaded).to_arrow().to_pylist()), forgiven))
        print(f"{table}: {len(ours)} rows: lacus, pyiceberg, DuckDB, Polars and Daft agree")


STORIES = [reading]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--project", required=True)
    arguments.add_argument("--only", choices=[story.__name__ for story in STORIES])
    arguments = arguments.parse_args()
    for extension in EXTENSIONS:
        import_extension(extension)
    lacus = Lacus(arguments.project)
    for story in STORIES:
        if arguments.only in (None, story.__name__):
            story(lacus)


if __name__ == "__main__":
    main()
