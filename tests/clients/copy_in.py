#!/usr/bin/env python3
"""Clients send rows with COPY … FROM STDIN: psycopg 3 and 2, asyncpg, psql; and rows that don't fit load nothing.

Usage: copy_in.py --project DIR [--without-room]

A lacus server must be serving the project; without room, one whose stream.disk_reserve is more than any disk has.
"""

import argparse
import asyncio
import datetime
import decimal
import io
import json
import pathlib
import socket
import struct
import subprocess
import tempfile
import uuid

import asyncpg
import psycopg
import psycopg2

ROWS = 100_000
COLUMNS = (
    "id bigint, ok boolean, price numeric(12,2), ratio double precision, name text, day date, local timestamp, at timestamptz,"
    " raw varbinary, ref uuid"
)
# What psycopg sends them as in the binary format.
TYPES = ["int8", "bool", "numeric", "float8", "text", "date", "timestamp", "timestamptz", "bytea", "uuid"]
BINARY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
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


def tuples(*rows):
    """Rows in the binary format, of the bytes of their values."""
    text = BINARY_HEADER
    for values in rows:
        text += struct.pack(">h", len(values))
        for value in values:
            text += struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value
    return text + struct.pack(">h", -1)


def in_binary(cursor):
    cursor.execute(f"CREATE TABLE tuples ({COLUMNS})")
    with cursor.copy("COPY tuples FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(TYPES)
        for number in range(ROWS):
            *values, ref = row(number)
            copy.write_row((*values, ref and uuid.UUID(ref)))
    assert cursor.statusmessage == f"COPY {ROWS}", cursor.statusmessage
    lost = "SELECT * FROM things WHERE id >= 0 EXCEPT SELECT * FROM tuples"
    assert answers(cursor, f"SELECT count(*) FROM ({lost}) AS lost") == [(0,)]
    assert answers(cursor, "SELECT count(*) FROM tuples") == [(ROWS,)]

    # What COPY wrote is read again, wherever its pieces end.
    with cursor.copy("COPY (SELECT * FROM tuples WHERE id < 2000) TO STDOUT (FORMAT binary)") as copy:
        text = b"".join(bytes(piece) for piece in copy)
    cursor.execute(f"CREATE TABLE again ({COLUMNS})")
    with cursor.copy("COPY again FROM STDIN WITH BINARY") as copy:
        for at in range(0, len(text), 1009):
            copy.write(text[at : at + 1009])
    assert cursor.statusmessage == "COPY 2000", cursor.statusmessage
    lost = "SELECT * FROM tuples WHERE id < 2000 EXCEPT SELECT * FROM again"
    assert answers(cursor, f"SELECT count(*) FROM ({lost}) AS lost") == [(0,)]

    # Columns in another order, types that are narrower, arrays; and a struct, which has no place in it.
    cursor.execute(
        "CREATE TABLE lists (who struct<name text>, small smallint, size int, part real, clock time, tags text[], sizes int[],"
        " longs bigint[], oks boolean[], days date[], ats timestamptz[], raws bytea[])"
    )
    names = "tags, small, size, part, clock, sizes, longs, oks, days, ats, raws"
    day, at = datetime.date(2026, 11, 21), datetime.datetime(2026, 11, 21, 10, 0, 0, 5, datetime.timezone.utc)
    rows = [
        (["a", None, "b,c"], -7, 1 << 30, 0.5, datetime.time(12, 34, 56, 789000), [1, None, -3], [1 << 40], [True, False], [day],
         [at, None], [b"\0\xff", b""]),
        ([], 7, None, None, None, [], [None], None, None, [], None),
        (None,) * 11,
    ]
    with cursor.copy(f"COPY lists ({names}) FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(["text[]", "int2", "int4", "float4", "time", "int4[]", "int8[]", "bool[]", "date[]", "timestamptz[]", "bytea[]"])
        for values in rows:
            copy.write_row(values)
    assert sorted(answers(cursor, f"SELECT {names} FROM lists"), key=str) == sorted(rows, key=str)
    with cursor.copy("COPY lists (small) FROM STDIN (FORMAT binary)"):
        pass

    before = answers(cursor, "SELECT count(*) FROM tuples"), answers(cursor, "SELECT count(*) FROM lists")
    into = "COPY tuples (id, price) FROM STDIN (FORMAT binary)"
    one = (1).to_bytes(8, "big")
    large = struct.pack(">hhhhh", 1, 5, 0, 0, 1)
    for text, sqlstate, *said in (
        (tuples((one, None), (one[4:], None)), "22P03", "row 2 of STDIN", 'column "id": the value is no int8', "nothing was loaded"),
        (tuples((one, large)), "22P02", "row 1 of STDIN", 'column "price"', "100000000000000000000", "nothing was loaded"),
        (tuples((one, None), (one,)), "22P04", "row 2 of STDIN: it has 1 fields, and there are 2 columns"),
        (tuples((one, None))[:-3], "22P04", 'row 1 of STDIN: column "price": the rows end within it'),
        (tuples((one, None)) + b"x", "22P04", "row 2 of STDIN: more comes behind the end"),
        (BINARY_HEADER + b"\0\2\x7f\xff\xff\xff", "22P04", 'row 1 of STDIN: column "id"', "bytes"),
        (BINARY_HEADER[:15], "22P04", "the beginning of STDIN: the rows end within it"),
        (b"PGCOPY\n\xff\r\n\0\0\1\0\0" + bytes(4), "22P04", "the beginning of STDIN", "flags"),
        (b"1\t2.5\n", "22P04", "the beginning of STDIN: this is not how the binary format begins"),
        (b"", "22P04", "the beginning of STDIN"),
    ):
        refused(cursor, into, text, sqlstate, *said)
    refused(cursor, "COPY lists (sizes) FROM STDIN (FORMAT binary)", tuples((b"\0" * 11,)), "22P03", "row 1 of STDIN", '"sizes"')
    refused(cursor, "COPY lists FROM STDIN (FORMAT binary)", b"", "0A000", '"who"', "not read in binary", "JSON")
    refused(cursor, "COPY tuples FROM STDIN (FORMAT binary, HEADER)", b"", "42601", "options for text")
    refused(cursor, "COPY tuples FROM STDIN (FORMAT binary, DELIMITER ',')", b"", "42601", "options for text")
    after = answers(cursor, "SELECT count(*) FROM tuples"), answers(cursor, "SELECT count(*) FROM lists")
    assert before == after, "nothing was loaded"


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
    done = await connection.copy_records_to_table("three", records=[(3, "c"), (4, None)])
    assert done == "COPY 2", done
    done = await connection.copy_records_to_table("three", records=[("é", 5)], columns=["name", "id"])
    assert done == "COPY 1", done
    found = await connection.fetch("SELECT id, name FROM three ORDER BY id")
    assert [tuple(row) for row in found] == [(1, "a"), (2, None), (3, "c"), (4, None), (5, "é")]

    await connection.execute(f"CREATE TABLE records ({COLUMNS})")
    rows = [(*values, ref and uuid.UUID(ref)) for *values, ref in map(row, range(1000))]
    done = await connection.copy_records_to_table("records", records=rows)
    assert done == "COPY 1000", done
    found = await connection.fetch("SELECT * FROM records ORDER BY id")
    assert [tuple(row) for row in found] == rows
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


def by_hand(address):
    """A client that asks something while it should send rows."""
    with socket.create_connection((address["host"], address["port"]), timeout=60) as server:
        pieces = server.makefile("rb")

        def send(kind, body=b""):
            server.sendall(kind + struct.pack(">i", len(body) + 4) + body)

        def until(last):
            """What the server says until a message of this kind."""
            said = []
            while not said or said[-1][0] != last:
                kind, length = pieces.read(1), struct.unpack(">i", pieces.read(4))[0]
                assert kind, "the server has gone"
                said.append((kind, pieces.read(length - 4)))
            return said

        send(b"", struct.pack(">i", 196608) + b"user\0lacus\0database\0lake\0\0")
        until(b"Z")
        for instead in ((b"Q", b"SELECT 1\0"), (b"D", b"S\0")):
            send(b"Q", b"COPY four (id) FROM STDIN (FORMAT binary)\0")
            assert until(b"G")[-1][1] == b"\1\0\1\0\1", "one column, all of it binary"
            send(b"d", tuples(((6).to_bytes(8, "big"),)))
            # Nothing to say while rows come.
            send(b"H")
            send(b"S")
            send(*instead)
            said = until(b"Z")
            assert [kind for kind, _ in said] == [b"E", b"Z"] and b"C08P01\0" in said[0][1], said
            # What was on its way is passed over.
            send(b"d", b"7\n")
            send(b"c")
            send(b"Q", b"SELECT count(*) FROM four\0")
            said = until(b"Z")
            assert (b"D", b"\0\1\0\0\0\1" + b"4") in said, said


def without_room(connection):
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE five (name text)")
    with cursor.copy("COPY five FROM STDIN") as copy:
        copy.write("little\n")
    assert cursor.statusmessage == "COPY 1", cursor.statusmessage
    lines = (b"x" * 1023 + b"\n") * (66 << 10)
    refused(cursor, "COPY five FROM STDIN", lines, "53100", "would leave less than", "stream.disk_reserve")
    assert answers(cursor, "SELECT count(*) FROM five") == [(1,)]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--project", type=pathlib.Path, required=True)
    arguments.add_argument("--without-room", action="store_true")
    given = arguments.parse_args()
    project = given.project
    host, port = json.loads((project / ".lacus" / "server.json").read_text())["postgres"].rsplit(":", 1)
    address = {"host": host, "port": int(port), "user": "lacus", "dbname": "lake"}
    with psycopg.connect(**address, autocommit=True) as connection:
        if given.without_room:
            return without_room(connection)
        with_psycopg(connection)
        in_binary(connection.cursor())
    with_psycopg2(address)
    asyncio.run(with_asyncpg(address))
    with_psql(address)
    by_hand(address)


if __name__ == "__main__":
    main()
