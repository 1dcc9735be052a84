#!/usr/bin/env python3
"""psqlODBC: tables, columns, values, parameters; with cursors, too.

Usage: postgres_odbc.py --project DIR
"""

import pyodbc
from postgres_shop import VALUES, address, fill


def connect(host, port, more=""):
    driver = "DRIVER={PostgreSQL Unicode};"
    return pyodbc.connect(f"{driver}SERVER={host};PORT={port};DATABASE=lake;UID=lacus;{more}", autocommit=True)


def main():
    host, port = address()
    fill(host, port)
    with connect(host, port) as connection:
        cursor = connection.cursor()
        assert [row.table_name for row in cursor.tables(schema="shop")] == ["things"]
        columns = {row.column_name: row.type_name for row in cursor.columns(schema="shop", table="things")}
        assert list(columns) == list(VALUES) and (columns["id"], columns["price"]) == ("int8", "numeric"), columns
        names = ["id", "small", "price", "ratio", "name", "day", "local", "raw"]
        row = cursor.execute(f"SELECT {', '.join(names)} FROM things WHERE id = ?", 1).fetchone()
        assert list(row) == [VALUES[name] for name in names], row
        assert cursor.execute("SELECT id FROM things WHERE name = ?", VALUES["name"]).fetchval() == 1
        assert not list(cursor.primaryKeys("things", schema="shop"))
    with connect(host, port, "UseDeclareFetch=1;Fetch=100;") as connection:
        rows = connection.cursor().execute("SELECT value FROM generate_series(1, 1000)").fetchall()
        assert [row[0] for row in rows] == list(range(1, 1001))
    print("psqlODBC does what it does")


if __name__ == "__main__":
    main()
