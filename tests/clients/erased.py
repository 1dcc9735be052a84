#!/usr/bin/env python3
"""Somebody who was erased is in no snapshot of table clicks, and in no file that its metadata names.

Usage: erased.py --project DIR USER_ID

A lacus server must be serving the project.
"""

import argparse

from iceberg import Lacus
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.io.pyarrow import PyArrowFileIO


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--project", required=True)
    arguments.add_argument("user_id")
    arguments = arguments.parse_args()
    lacus = Lacus(arguments.project)
    table = RestCatalog("lacus", uri=f"{lacus.base}/iceberg").load_table("main.clicks")
    io, named = PyArrowFileIO(), {table.metadata_location}
    for snapshot in table.snapshots():
        rows = table.scan(snapshot_id=snapshot.snapshot_id).to_arrow()
        assert arguments.user_id not in rows["user_id"].to_pylist(), snapshot
        assert rows.num_rows > 0, "nobody is left"
        named.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(io):
            named.add(manifest.manifest_path)
            for entry in manifest.fetch_manifest_entry(io, discard_deleted=False):
                named.add(entry.data_file.file_path)
                bounds = [*(entry.data_file.lower_bounds or {}).values(), *(entry.data_file.upper_bounds or {}).values()]
                assert arguments.user_id.encode() not in bounds, f"{entry.data_file.file_path} is told by a value"
    for path in named:
        # A file that was removed is named until its entry goes; it need not be there any more.
        if not path.endswith(".parquet"):
            with open(path.removeprefix("file://"), "rb") as file:
                assert arguments.user_id.encode() not in file.read(), path
    print(f"{arguments.user_id} is in none of {len(table.snapshots())} snapshots and {len(named)} files")


if __name__ == "__main__":
    main()
