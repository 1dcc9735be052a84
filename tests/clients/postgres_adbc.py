#!/usr/bin/env python3
"""The ADBC driver for PostgreSQL: Arrow tables over binary COPY, to it and from it, and what it tells of the catalog.

Usage: postgres_adbc.py --project DIR
"""

import datetime
import decimal

import adbc_driver_postgresql.dbapi
import pyarrow
from postgres_shop import VALUES, address, fill


UTC = datetime.timezone.utc
LOCAL = datetime.datetime(2026, 11, 21, 20, 30, 0, 123456)
ROWS = 20_000
# A column of each type that it makes a table of: its values, and null.
TYPES = {
    "id": (pyarrow.int64(), 1 << 40),
    "small": (pyarrow.int16(), -7),
    "size": (pyarrow.int32(), 1 << 30),
    "ok": (pyarrow.bool_(), True),
    "part": (pyarrow.float32(), 0.5),
    "ratio": (pyarrow.float64(), 0.1),
    "name": (pyarrow.string(), "Ä\t'x\"\\"),
    "raw": (pyarrow.binary(), b"\x00\xff"),
    "day": (pyarrow.date32(), LOCAL.date()),
    "clock": (pyarrow.time64("us"), LOCAL.time()),
    "local": (pyarrow.timestamp("us"), LOCAL),
    "at": (pyarrow.timestamp("us", "UTC"), LOCAL.replace(tzinfo=UTC)),
}


def ingest(connection):
    """Tables that it makes and fills. It asks for a transaction unless it commits by itself."""
    table = pyarrow.table({name: pyarrow.array([value, None] * (ROWS // 2), kind) for name, (kind, value) in TYPES.items()})
    with connection.cursor() as cursor:
        assert cursor.adbc_ingest("ingested", table, mode="create") == ROWS
        cursor.execute("SELECT * FROM ingested")
        found = cursor.fetch_arrow_table()
        assert found.column_names == table.column_names, found.schema
        order = lambda rows: sorted(rows, key=lambda row: row["id"] is None)
        assert order(found.to_pylist()) == order(table.to_pylist())
        assert cursor.adbc_ingest("ingested", table.slice(0, 3), mode="append") == 3
        assert cursor.adbc_ingest("ingested", table.slice(0, 3), mode="create_append") == 3
        cursor.execute("SELECT count(*), count(id) FROM ingested")
        assert cursor.fetchone() == (ROWS + 6, ROWS // 2 + 4)
        assert cursor.adbc_ingest("ingested", table.slice(0, 5), mode="replace") == 5
        cursor.execute("SELECT count(*) FROM ingested")
        assert cursor.fetchone() == (5,)
        # Lists (text ARRAY) and decimals (numeric, of any size) go to a table that is there.
        cursor.execute("CREATE TABLE lists (tags text[], sizes bigint[], price numeric(12,2))")
        prices = pyarrow.array([decimal.Decimal("1200.50"), None, decimal.Decimal("-0.25")], pyarrow.decimal128(12, 2))
        lists = pyarrow.table({"tags": [["a", None], [], None], "sizes": [[1, 2], None, []], "price": prices})
        assert cursor.adbc_ingest("lists", lists, mode="append") == 3
        cursor.execute("SELECT tags, sizes FROM lists")
        found = cursor.fetch_arrow_table().to_pylist()
        assert sorted(found, key=str) == sorted(lists.select(["tags", "sizes"]).to_pylist(), key=str), found
        cursor.execute("SELECT CAST(sum(price) AS text) FROM lists")
        assert cursor.fetchone() == ("1200.25",)
        cursor.execute("DROP TABLE ingested")
        cursor.execute("DROP TABLE lists")


def main():
    host, port = address()
    fill(host, port)
    with adbc_driver_postgresql.dbapi.connect(f"postgresql://lacus@{host}:{port}/lake") as connection:
        with connection.cursor() as cursor:
            names = ["id", "small", "ok", "ratio", "part", "name", "day", "local", "at", "raw", "tags", "sizes"]
            cursor.execute(f"SELECT {', '.join(names)} FROM things ORDER BY id")
            table = cursor.fetch_arrow_table()
            assert table.num_rows == 2 and table.column_names == names, table.schema
            assert table.to_pylist()[0] == {name: VALUES[name] for name in names}, table.to_pylist()[0]
            assert table.schema.field("id").type == pyarrow.int64() and pyarrow.types.is_timestamp(table.schema.field("at").type)
            cursor.execute("SELECT name FROM things WHERE id = $1", (1,))
            assert cursor.fetchone() == (VALUES["name"],)
        assert sorted(connection.adbc_get_table_schema("things", db_schema_filter="shop").names) == sorted(VALUES)
        objects = connection.adbc_get_objects(depth="db_schemas", catalog_filter="lake").read_all().to_pylist()
        assert {"main", "shop"} <= {schema["db_schema_name"] for schema in objects[0]["catalog_db_schemas"]}, objects
    with adbc_driver_postgresql.dbapi.connect(f"postgresql://lacus@{host}:{port}/lake", autocommit=True) as connection:
        ingest(connection)
    print("ADBC reads and writes Arrow tables")


if __name__ == "__main__":
    main()
