#!/usr/bin/env python3
"""pyiceberg reads the lake's tables by AWS Glue, and finds the rows that lacus has.

Usage: glue.py --project DIR --store HOST:PORT --glue HOST:PORT --only NAME

A lacus server must be serving the project, with its lake in a bucket of the store and its mirror in database "lake" of Glue.
"""

import argparse
import json
import time

import boto3
from iceberg import Lacus, clicks, compare, lists_of_structs, null_as_empty, ordered, same_times
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import NoSuchTableError

# The longest that Glue may be behind, in seconds.
BEHIND_SECONDS_MAX = 60
KEYS = {"access-key-id": "tester", "secret-access-key": "secret", "region": "us-east-1"}


class Mirror:
    """What an engine sees that knows Glue and the store, and nothing of lacus."""

    def __init__(self, lacus, store, glue):
        files = {"s3.endpoint": f"http://{store}", **{f"s3.{key}": value for key, value in KEYS.items()}}
        theirs = {"glue.endpoint": f"http://{glue}", **{f"glue.{key}": value for key, value in KEYS.items()}}
        self.lacus = lacus
        self.catalog = GlueCatalog("glue", **theirs, **files)
        self.own = RestCatalog("lacus", uri=f"{lacus.base}/iceberg", **files)
        keys = dict(aws_access_key_id="tester", aws_secret_access_key="secret", region_name="us-east-1")
        self.api = boto3.client("glue", endpoint_url=f"http://{glue}", **keys)

    def find(self, database, table):
        try:
            return self.catalog.load_table(f"{database}.{table}")
        except NoSuchTableError:
            return None

    def caught_up(self, table, database="lake", own="main"):
        """The table as Glue has it, once that is what was committed last."""
        committed = self.own.load_table(f"{own}.{table}").metadata_location

        def found():
            there = self.find(database, table)
            return there if there and there.metadata_location == committed else None

        return until(f"{database}.{table} is at {committed}", found)

    def check(self, table):
        """Every row is the same by Glue and by SQL."""
        ours = [same_times(row) for row in ordered(self.lacus.sql(f"SELECT * FROM {table}"))]
        theirs = self.caught_up(table).scan().to_arrow()
        forgiven = lists_of_structs(theirs.schema)
        compare("Glue", *(null_as_empty(rows, forgiven) for rows in (ours, ordered(theirs.to_pylist()))))
        print(f"{table}: {len(ours)} rows, by Glue and by SQL the same")
        return len(ours)

    def columns(self, table):
        described = self.api.get_table(DatabaseName="lake", Name=table)["Table"]
        assert described["TableType"] == "EXTERNAL_TABLE", described
        columns = described["StorageDescriptor"]["Columns"]
        current = [column for column in columns if column["Parameters"]["iceberg.field.current"] == "true"]
        return {column["Name"]: column["Type"] for column in current}


def until(what, condition):
    deadline = time.monotonic() + BEHIND_SECONDS_MAX
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not after {BEHIND_SECONDS_MAX} s: {what}"
        time.sleep(0.1)
    return answer


def following(lacus, mirror):
    """Commits, new columns, names that change, tables that go."""
    sent = 0
    for lines in clicks():
        lacus.send("clicks", lines)
        lacus.commit("clicks")
        sent += len(lines)
        assert mirror.check("clicks") == sent
    lacus.sql("ALTER TABLE clicks RENAME COLUMN user_ip TO address")
    lacus.send("clicks", [json.dumps({"click_id": "last", "address": "::1", "clicked": {"x": 1, "y": [0.5]}})])
    lacus.commit("clicks")
    assert mirror.check("clicks") == sent + 1
    columns = mirror.columns("clicks")
    assert columns["address"] == "string" and "user_ip" not in columns, columns
    assert columns["clicked"] == "struct<x:bigint,y:array<double>>", columns
    assert columns["_received_at"] == "timestamp", columns

    lacus.sql("CREATE SCHEMA shop")
    lacus.sql("CREATE TABLE shop.orders AS SELECT 7 AS id, 1.50 AS price")
    rows = mirror.caught_up("orders", "lake_shop", "shop").scan().to_arrow().to_pylist()
    assert [(row["id"], float(row["price"])) for row in rows] == [(7, 1.5)], rows
    mirror.own.rename_table("shop.orders", "shop.sales")
    assert mirror.caught_up("sales", "lake_shop", "shop").scan().to_arrow().num_rows == 1
    until("the old name is gone", lambda: mirror.find("lake_shop", "orders") is None)
    lacus.sql("DROP TABLE shop.sales")
    until("a dropped table is gone", lambda: mirror.find("lake_shop", "sales") is None)
    until("nothing is behind", lambda: lacus.number("lacus_glue_behind_tables") == 0)
    print("tables came to Glue, changed, got other names and went there as they did in the lake")


def returning(lacus, mirror):
    """Glue lost everything, and has it again."""
    assert mirror.check("clicks") > 0
    until("nothing is behind", lambda: lacus.number("lacus_glue_behind_tables") == 0)
    assert lacus.number("lacus_glue_failing") == 0


STORIES = {"following": following, "returning": returning}


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--project", required=True)
    arguments.add_argument("--store", required=True)
    arguments.add_argument("--glue", required=True)
    arguments.add_argument("--only", choices=STORIES, required=True)
    arguments = arguments.parse_args()
    lacus = Lacus(arguments.project)
    STORIES[arguments.only](lacus, Mirror(lacus, arguments.store, arguments.glue))


if __name__ == "__main__":
    main()
