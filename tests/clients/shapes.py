#!/usr/bin/env python3
"""pyiceberg and DuckDB read tables that the settings of a source shaped, and agree with lacus row for row.

Usage: shapes.py --project DIR TABLE…

A lacus server must be serving the project, and everything must be committed. A table in a database other than main is
written web.tracks. A table of elements has several rows of one event: they differ in _index.
"""

import argparse

from duckdb_extensions import import_extension
from iceberg import Lacus, compare, lists_of_structs, null_as_empty, plain, same_times, through_duckdb
from pyiceberg.table import StaticTable


def ordered(rows):
    return sorted((plain(row) for row in rows), key=lambda row: (row["_partition"], row["_offset"], row.get("_index", 0)))


def check(lacus, name):
    database, _, table = name.rpartition(".")
    files = (lacus.data / "lake" / (database or "main") / table / "metadata").glob("*.metadata.json")
    metadata = str(max(files, key=lambda file: int(file.name.split("-")[0])))
    ours = [same_times(row) for row in ordered(lacus.sql(f"SELECT * FROM {name}"))]
    iceberg = StaticTable.from_metadata(metadata).scan().to_arrow()
    forgiven = lists_of_structs(iceberg.schema)
    compare("pyiceberg", *(null_as_empty(rows, forgiven) for rows in (ours, ordered(iceberg.to_pylist()))))
    compare("DuckDB", ours, ordered(through_duckdb(lacus, metadata).to_pylist()))
    print(f"{name}: {len(ours)} rows, columns {', '.join(iceberg.column_names)}: all agree")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--project", required=True)
    arguments.add_argument("tables", nargs="+")
    arguments = arguments.parse_args()
    for extension in ("avro", "iceberg"):
        import_extension(extension)
    lacus = Lacus(arguments.project)
    for table in arguments.tables:
        check(lacus, table)


if __name__ == "__main__":
    main()
