#!/usr/bin/env python3
"""The ADBC driver for PostgreSQL: Arrow tables over binary COPY, and what it tells of the catalog.

Usage: postgres_adbc.py --project DIR
"""

import adbc_driver_postgresql.dbapi
import pyarrow
from postgres_shop import VALUES, address, fill


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
    print("ADBC reads Arrow tables")


if __name__ == "__main__":
    main()
