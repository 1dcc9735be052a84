#!/usr/bin/env python3
"""Clients send rows with COPY … FROM STDIN: psycopg 3 and 2, asyncpg, psql; and rows that don't fit load nothing.

Usage: copy_in.py --project DIR

A lacus server must be serving the project.
"""

import argparse
import asyncio
import datetime
import decimal
import io
import json
import pathlib
import subprocess
import tempfile

import asyncpg
import psycopg
import psycopg2

ROWS = 100_000
COLUMNS = (
    "id bigint, ok boolean, price numeric(12,2), ratio double precision, name text, day date, local timestamp, at timestamptz,"
    " raw varbinary, ref uuid"
)
AWKWARD = ["", "\\N", "a\tb", "line\nbreak", 'quote"d', "back\\slash", "\\.", "a,b", " blank ", "cr\rx", "😀", "é"]


def row(number):
    """Values that a text format has to escape, and nulls."""
    local = datetime.datetime(2026, 11, 21, 10, 0, number % 60, number % 1_000_000)
    values = (
        number,
        number % 2 == 0,
        decimal.Decimal(number) / 100,
        number / 8,
        AWKWARD[number % len(AWKWARD)],
        local.date(),
        local,
        local.replace(tzinfo=datetime.timezone.utc),
        bytes([number % 256, 0, 10]),
        f"00000000-0000-0000-0000-{number:012d}",
    )
    return tuple(None if place and (number + place) % 7 == 0 else value for place, value in enumerate(values))


def answers(cursor, sql):
    cursor.execute(sql)
    return cursor.fetchall()


def refused(cursor, sql, rows, sqlstate, *said):
    """What the server says of rows that it does not take."""
    try:
        with cursor.copy(sql) as copy:
            copy.write(rows)
    except psycopg.Error as error:
        message = f"{error.diag.message_primary} {error.diag.message_hint}"
        assert error.sqlstate == sqlstate, (error.sqlstate, message)
        assert all(text in message for text in said), message
    else:
        raise AssertionError(f"{sql} was taken")
    assert answers(cursor, "SELECT 1") == [(1,)], "the connection goes on"


def with_psycopg(connection):
    cursor = connection.cursor()
    cursor.execute(f"CREATE TABLE things ({COLUMNS})")
    with cursor.copy("COPY things FROM STDIN") as copy:
        for number in range(ROWS):
            copy.write_row(row(number))
    assert cursor.statusmessage == f"COPY {ROWS}", cursor.statusmessage
    assert answers(cursor, "SELECT count(*), count(DISTINCT id), sum(id) FROM things") == [(ROWS, ROWS, ROWS * (ROWS - 1) // 2)]
    found = answers(cursor, "SELECT * FROM things WHERE id < 1000 ORDER BY id")
    for number, values in enumerate(found):
        values = tuple(str(value) if place == 9 and value is not None else value for place, value in enumerate(values))
        assert values == row(number), (values, row(number))

    # What COPY wrote is read again, whole.
    for form in ("", "WITH (FORMAT csv)", "CSV HEADER DELIMITER AS ';' QUOTE '''' ESCAPE ''''", "(DELIMITER '|', NULL 'nothing')"):
        cursor.execute("CREATE TABLE again AS SELECT * FROM things WHERE id < 0")
        text = b""
        with cursor.copy(f"COPY (SELECT * FROM things WHERE id < 2000 ORDER BY id) TO STDOUT {form}") as copy:
            text = b"".join(bytes(piece) for piece in copy)
        with cursor.copy(f"COPY again FROM STDIN {form}") as copy:
            for at in range(0, len(text), 1009):
                copy.write(text[at : at + 1009])
        assert cursor.statusmessage == "COPY 2000", cursor.statusmessage
        same = "SELECT * FROM things WHERE id < 2000 EXCEPT SELECT * FROM again"
        assert answers(cursor, f"SELECT count(*) FROM ({same}) AS lost") == [(0,)], form
        cursor.execute("DROP TABLE again")

    # Columns that are not named are null.
    with cursor.copy("COPY things (name, id) FROM STDIN WITH (FORMAT csv, HEADER true, NULL '-')") as copy:
        copy.write('name,id\n"a,b",-1\n-,-2\n"-",-3\n,-4\n')
    assert answers(cursor, "SELECT id, name, price FROM things WHERE id < 0 ORDER BY id DESC") == [
        (-1, "a,b", None), (-2, None, None), (-3, "-", None), (-4, "", None)
    ]
    with cursor.copy("COPY things (id) FROM STDIN") as copy:
        copy.write("-5\n\\.\nwhat follows is no row\n")
    assert cursor.statusmessage == "COPY 1", cursor.statusmessage
    with cursor.copy("COPY things FROM STDIN"):
        pass
    assert cursor.statusmessage == "COPY 0", cursor.statusmessage

    before = answers(cursor, "SELECT count(*) FROM things")
    refused(cursor, "COPY things (id, price) FROM STDIN", "1\t2.5\n2\tmuch\n", "22P02", "line 2 of STDIN", '"much"', "nothing was loaded")
    refused(cursor, "COPY things (id) FROM STDIN", "1\t2\n", "22P04", "line 1 of STDIN: it has 2 fields, and there are 1 columns")
    refused(cursor, "COPY things (id, nmae) FROM STDIN", "", "42703", '"nmae"')
    refused(cursor, "COPY thinsg FROM STDIN", "", "42P01", "thinsg")
    refused(cursor, "COPY things FROM STDIN WITH (FORMAT binary)", "", "0A000", "FORMAT csv")
    refused(cursor, "COPY things FROM STDIN GZIP", "", "0A000", "STDIN")
    refused(cursor, "COPY things (name) FROM STDIN", "\\x41\n", "22P04", "line 1 of STDIN", "by their numbers")
    refused(cursor, "COPY things (id, name) FROM STDIN CSV", '1,"open\n', "22P04", "within a value")
    try:
        with cursor.copy("COPY things (id) FROM STDIN") as copy:
            copy.write("1\n")
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    refused_in_block(cursor)
    assert answers(cursor, "SELECT count(*) FROM things") == before, "nothing was loaded"


def refused_in_block(cursor):
    try:
        with cursor.connection.transaction():
            with cursor.copy("COPY things (id) FROM STDIN") as copy:
                copy.write("1\n")
    except psycopg.Error as error:
        assert error.sqlstate == "25001", error
    else:
        raise AssertionError("nothing could roll it back")


def with_psycopg2(address):
    connection = psycopg2.connect(**address)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE two (id bigint, name text)")
    cursor.copy_from(io.StringIO("1\ta\n2\t\\N\n"), "two", columns=("id", "name"))
    cursor.copy_expert("COPY two FROM STDIN WITH CSV HEADER", io.StringIO("id,name\n3,c\n4,\n"))
    assert cursor.rowcount == 2
    cursor.execute("SELECT * FROM two ORDER BY id")
    assert cursor.fetchall() == [(1, "a"), (2, None), (3, "c"), (4, None)]


async def with_asyncpg(address):
    connection = await asyncpg.connect(host=address["host"], port=address["port"], user="lacus", database="lake")
    await connection.execute("CREATE TABLE three (id bigint, name text)")
    done = await connection.copy_to_table("three", source=io.BytesIO(b"id,name\n1,a\n2,\n"), format="csv", header=True)
    assert done == "COPY 2", done
    try:
        await connection.copy_records_to_table("three", records=[(3, "c")])
    except asyncpg.FeatureNotSupportedError as error:
        assert "binary" in str(error), error
    else:
        raise AssertionError("the binary format was taken")
    found = await connection.fetch("SELECT id, name FROM three ORDER BY id")
    assert [tuple(row) for row in found] == [(1, "a"), (2, None)]
    await connection.close()


def with_psql(address):
    psql = ["psql", "-X", "-q", "-h", address["host"], "-p", str(address["port"]), "-U", "lacus", "-d", "lake", "-v", "ON_ERROR_STOP=1", "-At"]
    run = lambda *more, **how: subprocess.run([*psql, *more], capture_output=True, text=True, timeout=60, **how)
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        file.write("id,name\n1,a\n2,\"b\nb\"\n")
        file.flush()
        made = run("-c", "CREATE TABLE four (id bigint, name text)", "-c", f"\\copy four FROM '{file.name}' CSV HEADER")
        assert made.returncode == 0, made.stderr
    typed = run(input="COPY four FROM STDIN;\n3\tc\n4\t\\N\n\\.\nSELECT count(*), count(name) FROM four;\n")
    assert typed.returncode == 0 and typed.stdout == "4|3\n", (typed.stdout, typed.stderr)
    wrong = run(input="COPY four FROM STDIN;\n5\td\nx\te\n\\.\n")
    assert wrong.returncode != 0 and 'line 2 of STDIN: column "id": "x" is no bigint' in wrong.stderr, wrong.stderr
    assert run("-c", "SELECT count(*) FROM four").stdout == "4\n"


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--project", type=pathlib.Path, required=True)
    project = arguments.parse_args().project
    host, port = json.loads((project / ".lacus" / "server.json").read_text())["postgres"].rsplit(":", 1)
    address = {"host": host, "port": int(port), "user": "lacus", "dbname": "lake"}
    with psycopg.connect(**address, autocommit=True) as connection:
        with_psycopg(connection)
    with_psycopg2(address)
    asyncio.run(with_asyncpg(address))
    with_psql(address)


if __name__ == "__main__":
    main()
