#!/usr/bin/env python3
"""Other engines read and write the lake's tables through its Iceberg REST catalog, and agree with lacus row for row.

Usage: rest.py --project DIR [--only NAME]

A lacus server must be serving the project. Clients are told the URI and nothing else.
"""

import argparse
import datetime
import decimal
import json
import sys

import daft
import duckdb
import polars
import pyarrow
from duckdb_extensions import import_extension
from iceberg import Lacus, clicks, compare, growing, lists_of_structs, null_as_empty, ordered, same_times
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import (
    ForbiddenError,
    NamespaceAlreadyExistsError,
    NamespaceNotEmptyError,
    NoSuchNamespaceError,
    NoSuchTableError,
    NoSuchViewError,
    TableAlreadyExistsError,
    ViewAlreadyExistsError,
)
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform
from pyiceberg.types import LongType, NestedField, StringType
from pyiceberg.view.metadata import SQLViewRepresentation, ViewRepresentation, ViewVersion

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


def orders(first, count):
    """Rows of every type that a table of theirs has."""
    day = datetime.date(2026, 1, 1)
    numbers = range(first, first + count)
    return pyarrow.table(
        {
            "id": pyarrow.array(numbers, pyarrow.int64()),
            "small": pyarrow.array(numbers, pyarrow.int32()),
            "name": pyarrow.array([None if n % 7 == 0 else f"order {n}" for n in numbers], pyarrow.string()),
            "price": pyarrow.array([decimal.Decimal(n * 25).scaleb(-2) for n in numbers], pyarrow.decimal128(12, 2)),
            "day": pyarrow.array([day + datetime.timedelta(days=n % 3) for n in numbers], pyarrow.date32()),
            "ratio": pyarrow.array([n / 8 for n in numbers], pyarrow.float32()),
            "tags": pyarrow.array([[str(n), "x"] for n in numbers], pyarrow.list_(pyarrow.string())),
            "who": pyarrow.array([{"n": n} for n in numbers], pyarrow.struct([("n", pyarrow.int64())])),
        }
    )


def text(value):
    """A value as text that all answers agree on: JSON has no dates and decimals."""
    if isinstance(value, dict):
        return {name: text(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [text(inner) for inner in value]
    if isinstance(value, decimal.Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, datetime.date) else value


def same(lacus, table, theirs):
    """lacus has the rows of an arrow table: as rows, as a count, and as the first few of them."""
    found = [text({**row, "price": float(row["price"])}) for row in lacus.sql(f"SELECT * FROM {table} ORDER BY id")]
    wanted = [text(row) for row in sorted(theirs.to_pylist(), key=lambda row: row["id"])]
    found = [{name: value for name, value in row.items() if value is not None} for row in found]
    assert found == wanted, f"{table}: lacus has {found}, they have {wanted}"
    counted = lacus.sql(f"SELECT count(*) AS n FROM {table}")[0]["n"]
    assert counted == len(wanted), f"{table}: lacus counts {counted} rows of {len(wanted)}"
    some = lacus.sql(f"SELECT id FROM {table} WHERE id >= 0 LIMIT 3")
    assert {row["id"] for row in some} <= {row["id"] for row in wanted} and len(some) == min(3, len(wanted)), some


def refused(error, act):
    try:
        act()
    except error as raised:
        return str(raised)
    sys.exit(f"{act} was not refused with {error}")


def writing(lacus):
    """pyiceberg makes a table, changes it in every way it has, and drops it; lacus sees each change at once."""
    catalog = catalog_of(lacus)
    catalog.create_namespace("shop", {"owner": "them"})
    refused(NamespaceAlreadyExistsError, lambda: catalog.create_namespace("shop"))
    catalog.update_namespace_properties("shop", removals={"owner"}, updates={"city": "Basel"})
    assert catalog.load_namespace_properties("shop") == {"city": "Basel"}
    table = catalog.create_table("shop.orders", orders(0, 1).schema)
    refused(TableAlreadyExistsError, lambda: catalog.create_table("shop.orders", orders(0, 1).schema))
    same(lacus, "shop.orders", table.scan().to_arrow())
    for first in (0, 10, 20):
        table.append(orders(first, 10))
        same(lacus, "shop.orders", table.scan().to_arrow())
    table.delete("id < 3 or id = 15")
    same(lacus, "shop.orders", table.scan().to_arrow())
    table.overwrite(orders(100, 5), overwrite_filter="id >= 20")
    same(lacus, "shop.orders", table.scan().to_arrow())
    with table.update_schema() as schema:
        schema.add_column("note", StringType())
        schema.rename_column("name", "title")
        schema.update_column("small", LongType())
        schema.delete_column("ratio")
    table.refresh()
    same(lacus, "shop.orders", table.scan().to_arrow())
    table.append(table.scan(row_filter="id = 100").to_arrow().set_column(0, "id", pyarrow.array([500], pyarrow.int64())))
    same(lacus, "shop.orders", table.scan().to_arrow())
    with table.transaction() as transaction:
        transaction.set_properties({"owner": "them"})
    stale = catalog.load_table("shop.orders")
    table.delete("id = 500")
    # What it loaded is old by now: it is told so, loads the table again, and deletes.
    stale.delete("id = 4")
    table.refresh()
    same(lacus, "shop.orders", table.scan().to_arrow())
    refused(ForbiddenError, lambda: table.transaction().set_properties({"lacus.offsets": "{}"}).commit_transaction())
    with table.update_spec() as spec:
        spec.add_field("day", DayTransform(), "by_day")
    table.append(table.scan(row_filter="id < 6").to_arrow())
    rows = table.scan().to_arrow()
    assert lacus.sql("SELECT count(*) AS n FROM shop.orders")[0]["n"] == rows.num_rows
    assert lacus.sql("SELECT sum(id) AS n FROM shop.orders")[0]["n"] == sum(rows["id"].to_pylist())
    catalog.rename_table("shop.orders", "shop.sales")
    refused(NoSuchTableError, lambda: catalog.load_table("shop.orders"))
    assert lacus.sql("SELECT count(*) AS n FROM shop.sales")[0]["n"] == rows.num_rows
    location = catalog.load_table("shop.sales").metadata_location
    catalog.drop_table("shop.sales")
    assert catalog.list_tables("shop") == []
    catalog.register_table("shop.again", location)
    assert lacus.sql("SELECT count(*) AS n FROM shop.again")[0]["n"] == rows.num_rows
    refused(NamespaceNotEmptyError, lambda: catalog.drop_namespace("shop"))
    catalog.purge_table("shop.again")
    catalog.drop_namespace("shop")
    print("pyiceberg made, changed, renamed, dropped and registered a table; lacus saw every change")


def deleting(lacus):
    """DuckDB makes tables and deletes rows by position, which lacus and pyiceberg leave out."""
    catalog, engine = catalog_of(lacus), duckdb_of(lacus)
    catalog.create_namespace("duck")
    engine.execute("CREATE TABLE lake.duck.pets (id BIGINT, name VARCHAR)")
    engine.execute("INSERT INTO lake.duck.pets SELECT n, 'pet ' || n FROM range(1000) t(n)")
    engine.execute("DELETE FROM lake.duck.pets WHERE id % 10 = 3")
    engine.execute("UPDATE lake.duck.pets SET name = 'old' WHERE id < 20")
    engine.execute("CREATE TABLE lake.duck.copy AS SELECT * FROM lake.duck.pets WHERE id < 50")
    for table in ("pets", "copy"):
        theirs = engine.execute(f"SELECT id, name FROM lake.duck.{table} ORDER BY id").fetchall()
        ours = [(row["id"], row["name"]) for row in lacus.sql(f"SELECT id, name FROM duck.{table} ORDER BY id")]
        iceberg = sorted((row["id"], row["name"]) for row in catalog.load_table(f"duck.{table}").scan().to_arrow().to_pylist())
        assert ours == theirs == iceberg, f"{table}: {len(ours)}, {len(theirs)} and {len(iceberg)} rows"
    assert lacus.sql("SELECT count(*) AS n FROM duck.pets")[0]["n"] == 900
    some = lacus.sql("SELECT id FROM duck.pets WHERE id >= 0 LIMIT 900")
    assert len({row["id"] for row in some}) == 900 and all(row["id"] % 10 != 3 for row in some), "deleted rows came back"
    kinds = lacus.sql('SELECT content, count(*) AS n FROM duck."pets$files" GROUP BY content ORDER BY content')
    assert [row["content"] for row in kinds] == [0, 1], f"DuckDB wrote no position deletes: {kinds}"
    print(f"DuckDB deleted by position; lacus, pyiceberg and DuckDB agree: {kinds}")


def sharing(lacus):
    """Others change a table that lacus delivers to, while it delivers."""
    catalog = catalog_of(lacus)
    lacus.send("shared", [json.dumps({"id": n, "name": f"n{n}"}) for n in range(50)])
    lacus.commit("shared")
    table = catalog.load_table("main.shared")
    rows = table.scan(limit=2).to_arrow()
    lacus.send("shared", [json.dumps({"id": n, "name": f"n{n}"}) for n in range(50, 80)])
    lacus.commit("shared")
    # What it loaded is older than the delivery.
    table.append(rows.set_column(rows.schema.get_field_index("id"), "id", pyarrow.array([1000, 1001], pyarrow.int64())))
    table.delete("id = 7")
    with table.transaction() as transaction:
        transaction.set_properties({"owner": "them"})
    lacus.send("shared", [json.dumps({"id": 80, "name": "n80"})])
    lacus.commit("shared")
    found = sorted(row["id"] for row in lacus.sql("SELECT id FROM shared"))
    assert found == [n for n in range(81) if n != 7] + [1000, 1001], found
    table.refresh()
    assert table.properties["owner"] == "them" and table.scan().to_arrow().num_rows == 82
    for change in (
        lambda: table.update_schema().delete_column("_offset").commit(),
        lambda: table.transaction().remove_properties("lacus.offsets").commit_transaction(),
        lambda: catalog.drop_table("main.shared"),
        lambda: catalog.rename_table("main.shared", "main.other"),
    ):
        assert "lacus" in refused(ForbiddenError, change)
    print("pyiceberg appended to and deleted from a table between deliveries; no row was lost")


def viewing(lacus):
    """Views that pyiceberg and lacus make are the same to both, and are read in the dialect they were written in."""
    catalog = catalog_of(lacus)
    catalog.create_namespace("shop")
    rows = pyarrow.table({"id": [1, 2, 3, 4], "city": ["Ulm", "Rom", None, "Ulm"], "price": [7, 8, 9, 10]})
    catalog.create_table("shop.orders", rows.schema).append(rows)

    def version(*statements):
        sql = [ViewRepresentation(SQLViewRepresentation(type="sql", sql=sql, dialect=dialect)) for dialect, sql in statements]
        return ViewVersion(schema_id=0, representations=sql, default_namespace=("shop",))

    schema = Schema(NestedField(1, "city", StringType()), NestedField(2, "half", LongType()))
    # Trino sorts nulls last and concat of a null is null: neither is so in lacus's own dialect.
    trino = "SELECT concat(city, '!') AS c, sum(price) / 2 FROM orders GROUP BY city ORDER BY 1 DESC LIMIT 2"
    made = catalog.create_view("shop.cities", schema, version(("spark", "SELECT nothing"), ("trino", trino)), properties={"owner": "them"})
    assert made.metadata.properties == {"owner": "them"} and made.current_version().version_id == 1
    assert lacus.sql("SELECT * FROM shop.cities ORDER BY city") == [{"city": "Rom!", "half": 4}, {"city": "Ulm!", "half": 8}]
    assert lacus.sql("SELECT half FROM shop.cities WHERE city LIKE 'U%'") == [{"half": 8}]
    refused(ViewAlreadyExistsError, lambda: catalog.create_view("shop.cities", schema, version(("trino", trino))))
    refused(ViewAlreadyExistsError, lambda: catalog.create_view("shop.orders", schema, version(("trino", trino))))
    refused(TableAlreadyExistsError, lambda: catalog.create_table("shop.cities", rows.schema))
    catalog.create_view("shop.theirs", schema, version(("spark", "SELECT city, price FROM orders")))
    assert "spark" in refused(SystemExit, lambda: lacus.sql("SELECT * FROM shop.theirs"))
    assert lacus.sql("CREATE VIEW shop.dear AS SELECT id, city FROM shop.orders WHERE price > 8") == []
    dear = catalog.load_view("shop.dear")
    assert [field.name for field in dear.schema().fields] == ["id", "city"]
    assert dear.current_version().representations[0].root.sql == "SELECT id, city FROM shop.orders WHERE price > 8"
    lacus.sql("CREATE OR REPLACE VIEW shop.dear (number) AS SELECT count(*) FROM shop.orders WHERE price > 8")
    assert catalog.load_view("shop.dear").current_version().version_id == 2
    assert lacus.sql("SELECT number FROM shop.dear") == [{"number": 2}]
    catalog.load_table("shop.orders").append(rows)
    assert lacus.sql("SELECT number FROM shop.dear") == [{"number": 4}]
    assert sorted(catalog.list_views("shop")) == [("shop", "cities"), ("shop", "dear"), ("shop", "theirs")]
    assert catalog.list_tables("shop") == [("shop", "orders")]
    assert catalog.view_exists("shop.dear") and not catalog.view_exists("shop.nothing")
    listed = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop' AND table_type = 'VIEW' ORDER BY 1"
    assert [row["table_name"] for row in lacus.sql(listed)] == ["cities", "dear", "theirs"]
    catalog.drop_view("shop.dear")
    refused(NoSuchViewError, lambda: catalog.load_view("shop.dear"))
    refused(NoSuchViewError, lambda: catalog.drop_view("shop.dear"))
    refused(NamespaceNotEmptyError, lambda: catalog.drop_namespace("shop"))
    lacus.sql("DROP VIEW shop.cities, shop.theirs")
    assert catalog.list_views("shop") == []
    print("pyiceberg and lacus made, read, replaced and dropped each other's views")


STORIES = [reading, writing, deleting, sharing, viewing]


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
