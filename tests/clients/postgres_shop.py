"""The tables that the tests of Postgres clients ask about, and where the server is."""

import argparse
import datetime
import decimal
import json
import pathlib
import uuid

import psycopg

UTC = datetime.timezone.utc

# One row with a value of every type, and one of nulls.
COLUMNS = (
    "id bigint NOT NULL, small int, ok boolean, price numeric(12,2), ratio double precision, part real, name text,"
    " day date, clock time, local timestamp, at timestamptz, raw varbinary, ref uuid, tags array<text>, sizes array<int>,"
    " who struct<name text, born date>"
)
VALUES = {
    "id": 1,
    "small": 7,
    "ok": True,
    "price": decimal.Decimal("19.90"),
    "ratio": 0.1,
    "part": 0.5,
    "name": "Ä\t'x\"\\",
    "day": datetime.date(2026, 11, 21),
    "clock": datetime.time(12, 34, 56, 789000),
    "local": datetime.datetime(2026, 11, 21, 20, 30, 0, 123456),
    "at": datetime.datetime(2026, 11, 21, 20, 30, 0, 123456, UTC),
    "raw": b"\x00\xff",
    "ref": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "tags": ["a", "b,c", None],
    "sizes": [1, 2],
    "who": {"name": "Ana", "born": "1990-05-17"},
}
ROW = (
    "(1, 7, true, 19.90, 0.1, 0.5, 'Ä\t''x\"\\', DATE '2026-11-21', TIME '12:34:56.789', TIMESTAMP '2026-11-21 20:30:00.123456',"
    " TIMESTAMPTZ '2026-11-21 20:30:00.123456+00:00', X'00ff', X'12345678123456781234567812345678', ARRAY['a', 'b,c', NULL],"
    " ARRAY[1, 2], named_struct('name', 'Ana', 'born', DATE '1990-05-17'))"
)


def address():
    """The server of the project that the test names."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--project", required=True)
    project = pathlib.Path(arguments.parse_known_args()[0].project)
    server = json.loads((project / ".lacus" / "server.json").read_text(encoding="utf-8"))
    host, port = server["postgres"].rsplit(":", 1)
    return host, int(port)


def connect(host, port, **settings):
    settings = {"user": "lacus", "dbname": "lake", "autocommit": True, **settings}
    return psycopg.connect(host=host, port=port, **settings)


def fill(host, port):
    """Makes the tables, if they are not there."""
    with connect(host, port) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS shop")
        for database in ("main", "shop"):
            connection.execute(f"CREATE TABLE IF NOT EXISTS {database}.things ({COLUMNS})")
            if not connection.execute(f"SELECT count(*) FROM {database}.things").fetchone()[0]:
                connection.execute(f"INSERT INTO {database}.things VALUES {ROW}")
                connection.execute(f"INSERT INTO {database}.things (id) VALUES (2)")
        connection.execute("CREATE OR REPLACE VIEW cheap AS SELECT id, price FROM things WHERE price < 100")


def refuses(error, work):
    """The error that the work ends with."""
    try:
        work()
    except error as raised:
        return raised
    raise AssertionError("it was done")


if __name__ == "__main__":
    fill(*address())
