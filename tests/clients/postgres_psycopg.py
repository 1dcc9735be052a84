#!/usr/bin/env python3
"""psycopg 3 and 2: types in text and binary, parameters, cursors, transactions, COPY, cancelling.

Usage: postgres_psycopg.py --project DIR
"""

import datetime
import decimal
import io
import threading
import time
import uuid

import psycopg
import psycopg.rows
import psycopg2
import psycopg2.extras
from postgres_shop import VALUES, address, connect, fill, refuses

ENDLESS = (
    "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b WHERE a.value % 7 = b.value % 5"
)
# Rows without end, the first of them at once.
LONG = "SELECT a.value FROM generate_series(1, 100000000) a"


def types(host, port):
    with connect(host, port) as connection:
        for binary in (False, True):
            with connection.cursor(binary=binary, row_factory=psycopg.rows.dict_row) as cursor:
                rows = cursor.execute("SELECT * FROM things ORDER BY id").fetchall()
                assert rows[0] == VALUES, (binary, rows[0])
                assert rows[1] == {name: None for name in VALUES} | {"id": 2}, rows[1]
                names = [column.type_display for column in cursor.description]
                assert names == [
                    "int8", "int4", "bool", "numeric(12,2)", "float8", "float4", "text", "date", "time", "timestamp",
                    "timestamptz", "bytea", "uuid", "text[]", "int4[]", "json",
                ], names  # fmt: skip
            # Columns have the types that all their values fit in, also where they are told before the rows come.
            with connection.cursor(binary=binary) as cursor:
                for sql, values, kind, expected in [
                    ("SELECT 1 AS x UNION ALL SELECT 3000000000 ORDER BY x", (), "int8", [1, 3000000000]),
                    ("SELECT length(%s::text) AS x UNION SELECT 3000000000 ORDER BY x", ("abc",), "int8", [3, 3000000000]),
                    ("SELECT CASE WHEN x > 1 THEN x ELSE x::float8 / 2 END FROM (VALUES (1), (2)) AS t (x) ORDER BY x", (), "float8", [0.5, 2]),
                    ("SELECT CASE WHEN x > %s THEN x ELSE x::float8 / 2 END FROM (VALUES (1), (2)) AS t (x) ORDER BY x", (1,), "float8", [0.5, 2]),
                    ("SELECT row_number() OVER (ORDER BY x) FROM (VALUES (1), (2)) AS t (x) ORDER BY 1", (), "int8", [1, 2]),
                    ("SELECT cardinality(ARRAY[1, %s])", (5,), "int8", [2]),
                    ("SELECT x + 1 AS x FROM (SELECT 1::int2 AS x UNION SELECT 2.5::float8) AS t ORDER BY x", (), "float8", [2, 3.5]),
                ]:  # fmt: skip
                    cursor.execute(sql, values)
                    found = (cursor.description[0].type_display, [row[0] for row in cursor.fetchall()])
                    assert found == (kind, expected), (sql, binary, found)


def parameters(host, port):
    with connect(host, port) as connection:
        for name, value in VALUES.items():
            # These are compared with no parameter.
            if name in ("who", "ref", "tags", "sizes"):
                continue
            for binary in ("%t", "%b"):
                query = f"SELECT id FROM things WHERE {name} = {binary}"
                found = connection.execute(query, (value,)).fetchall()
                assert found == [(1,)], (name, binary, found)
        for binary in ("%t", "%b"):
            query = f"SELECT {binary}::text[] = ARRAY['a', 'b,c']"
            assert connection.execute(query, (["a", "b,c"],)).fetchone() == (True,), binary
        found = connection.execute("SELECT id FROM things WHERE id = ANY(%s) ORDER BY 1", ([1, 2, 3],)).fetchall()
        assert found == [(1,), (2,)], found
        asked = "SELECT 5 > ANY(%s), 5 >= ALL(%s), ARRAY['a', 'b'] @> %s, %s && ARRAY['c']"
        found = connection.execute(asked, ([5, None], [5, 1], ["b"], ["d"])).fetchone()
        assert found == (None, True, True, False), found
        asked = "SELECT 'abc' LIKE ANY(%s), 'abc' ILIKE ANY(%s), 'abc' LIKE ALL(%s), 'abc' NOT LIKE ALL(%s)"
        found = connection.execute(asked, (["a%", "x"], ["A%"], ["a%", "x"], ["x"])).fetchone()
        assert found == (True, True, False, True), found
        # The same statement again and again is prepared by itself.
        for number in range(8):
            assert connection.execute("SELECT %s + 1", (number,)).fetchone() == (number + 1,)
        connection.execute("CREATE TABLE many (n bigint, t text)")
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO many VALUES (%s, %s)", [(n, f"t{n}") for n in range(5)])
            assert cursor.execute("SELECT sum(n), max(t) FROM many").fetchone() == (10, "t4")
        # A null among the values: nobody knows whether 11 is one of them.
        unknown = "%s NOT IN (SELECT n FROM (VALUES (1::bigint), (NULL)) AS v(n))"
        for value in (11, None):
            found = connection.execute(f"SELECT count(*) FROM many WHERE {unknown}", (value,)).fetchone()
            assert found == (0,), (value, found)
            assert connection.execute(f"DELETE FROM many WHERE {unknown}", (value,)).rowcount == 0, value
        with connection.pipeline():
            cursors = [connection.execute("SELECT n FROM many WHERE n = %s", (n,)) for n in range(5)]
            assert [cursor.fetchone() for cursor in cursors] == [(n,) for n in range(5)]
        connection.execute("DROP TABLE many")


def declared_types(host, port):
    """Values keep their type: nothing is cut to what stands beside it."""
    one_third = decimal.Decimal("0.333333333333333")
    with connect(host, port) as connection:
        connection.execute("CREATE TABLE nn (a int, d numeric(30, 15), f real)")

        def fill_again():
            connection.execute("DELETE FROM nn")
            connection.execute("INSERT INTO nn VALUES (1, 1.5, 0.1), (2, 0.333333333333333, 0.5)")

        for binary in ("%t", "%b"):

            def ask(sql, *values, binary=binary):
                return connection.execute(sql.replace("%s", binary), values).fetchall()

            fill_again()
            for sql, values, expected in (
                ("SELECT a FROM nn WHERE a IN (%s, %s)", (1.2, 2.4), []),
                ("SELECT a FROM nn WHERE a >= %s", (2.2,), []),
                ("SELECT a FROM nn WHERE a >= %s ORDER BY a", (0.5,), [(1,), (2,)]),
                ("SELECT a FROM nn WHERE a = %s", (decimal.Decimal("2.5"),), []),
                ("SELECT a FROM nn WHERE a = %s", (decimal.Decimal("2.0"),), [(2,)]),
                ("SELECT a FROM nn WHERE a = %s", (3000000000,), []),
                ("SELECT a FROM nn WHERE a = %s", (2,), [(2,)]),
                ("SELECT a FROM nn WHERE a = %s", ("2",), [(2,)]),
                ("SELECT a FROM nn WHERE d = %s", (one_third,), [(2,)]),
                ("SELECT a FROM nn WHERE d = %s", (decimal.Decimal("0.3333333333333331"),), []),
                ("SELECT a FROM nn WHERE f = %s", (0.5,), [(2,)]),
                ("SELECT a FROM nn WHERE d = ANY(%s) ORDER BY a", ([decimal.Decimal("1.5"), one_third],), [(1,), (2,)]),
                ("SELECT ARRAY[%s, %s]", (decimal.Decimal("1.5"), decimal.Decimal("1.5")), [([decimal.Decimal("1.5")] * 2,)]),
                ("SELECT a + %s FROM nn ORDER BY a", (0.5,), [(1.5,), (2.5,)]),
                ("SELECT %s * 2", (1.5,), [(3.0,)]),
                ("SELECT %s * 2", (decimal.Decimal("1.5"),), [(3,)]),
                ("SELECT %s + %s", (30000, 30000), [(60000,)]),
                ("SELECT %s + 1", (datetime.date(2021, 1, 1),), [(datetime.date(2021, 1, 2),)]),
                ("SELECT %s", (one_third,), [(one_third,)]),
                ("SELECT %s", (b"\x00\xff",), [(b"\x00\xff",)]),
                ("SELECT TIMESTAMP '2021-07-31 10:00:00' + %s", (datetime.timedelta(days=1, hours=2, microseconds=5),), [(datetime.datetime(2021, 8, 1, 12, 0, 0, 5),)]),
                ("SELECT TIMESTAMP '2021-07-31 10:00:00' - %s", (datetime.timedelta(days=-1, seconds=3),), [(datetime.datetime(2021, 8, 1, 9, 59, 57),)]),
                ("SELECT a FROM nn WHERE now() > now() - %s ORDER BY a", (datetime.timedelta(days=400),), [(1,), (2,)]),
                ("SELECT a FROM nn WHERE TIMESTAMP '2021-07-31 10:00:00' - TIMESTAMP '2021-07-31 08:00:00' > %s", (datetime.timedelta(hours=3),), []),
                ("SELECT %s < %s", (datetime.timedelta(hours=1), datetime.timedelta(hours=2)), [(True,)]),
                ("SELECT a FROM nn ORDER BY a LIMIT %s OFFSET %s", (1, 1), [(2,)]),
                ("SELECT a FROM nn WHERE a = %s", (None,), []),
            ):
                found = ask(sql, *values)
                assert found == expected, (sql, values, binary, found)
            for value in (2.5, decimal.Decimal("2.5")):
                assert connection.execute(f"DELETE FROM nn WHERE a = {binary}", (value,)).rowcount == 0, (value, binary)
            assert connection.execute(f"UPDATE nn SET d = {binary} WHERE a = 1", (2.5,)).rowcount == 1
            assert ask("SELECT d FROM nn WHERE a = 1") == [(decimal.Decimal("2.5"),)]
            # A column of whole numbers gets the nearest.
            for value in (1.7, decimal.Decimal("1.7")):
                connection.execute("DELETE FROM nn")
                connection.execute(f"INSERT INTO nn (a) VALUES ({binary})", (value,))
                assert ask("SELECT a FROM nn") == [(2,)], (value, binary)
        # What is declared for many is not looked at one by one: nothing of it is cut.
        error = refuses(psycopg.Error, lambda: connection.execute("SELECT a FROM nn WHERE a = ANY(%s)", ([1.2, 2.4],)))
        assert error.sqlstate == "22P02", error
        connection.execute("DROP TABLE nn")


def named_cursors(host, port):
    with connect(host, port, autocommit=False) as connection:
        with connection.cursor("mine") as cursor:
            cursor.itersize = 100
            cursor.execute("SELECT a.value FROM generate_series(1, 1000) a WHERE a.value > %s ORDER BY 1", (10,))
            assert [column.name for column in cursor.description] == ["value"]
            assert cursor.fetchone() == (11,)
            assert cursor.fetchmany(3) == [(12,), (13,), (14,)]
            assert sum(1 for _ in cursor) == 986
        with connection.cursor("endless") as cursor:
            cursor.execute(LONG)
            assert cursor.fetchone() == (1,)
        connection.execute("DECLARE c CURSOR FOR SELECT * FROM things ORDER BY id")
        fetched = connection.execute("FETCH 1 FROM c")
        assert fetched.statusmessage == "FETCH 1" and fetched.fetchone()[0] == 1
        assert connection.execute("FETCH FORWARD ALL FROM c").fetchone()[0] == 2
        assert connection.execute("FETCH NEXT FROM c").fetchall() == []
        assert connection.execute("CLOSE c").statusmessage == "CLOSE CURSOR"
        error = refuses(psycopg.Error, lambda: connection.execute("FETCH 1 FROM c"))
        assert error.sqlstate == "34000", error
        connection.rollback()
    with connect(host, port) as connection:
        error = refuses(psycopg.Error, lambda: connection.execute("DECLARE c CURSOR FOR SELECT 1"))
        assert error.sqlstate == "25P01", error


def transactions(host, port):
    status = psycopg.pq.TransactionStatus
    with connect(host, port, autocommit=False) as connection:
        connection.execute("SELECT 1")
        assert connection.info.transaction_status == status.INTRANS
        error = refuses(psycopg.Error, lambda: connection.execute("SELECT nothing"))
        assert error.sqlstate == "42703", error
        assert connection.info.transaction_status == status.INERROR
        error = refuses(psycopg.Error, lambda: connection.execute("SELECT 1"))
        assert error.sqlstate == "25P02", error
        connection.rollback()
        assert connection.info.transaction_status == status.IDLE
        with connection.transaction():
            connection.execute("SELECT 1")
        error = refuses(psycopg.Error, lambda: connection.execute("DELETE FROM things"))
        assert error.sqlstate == "25001" and "autocommit" in error.diag.message_hint, error
        connection.rollback()
        # What is set in a transaction that fails is as it was before.
        connection.execute("SET application_name = 'kept'")
        connection.commit()
        connection.execute("SET application_name = 'lost'")
        connection.rollback()
        assert connection.execute("SHOW application_name").fetchone() == ("kept",)
        connection.execute("SET LOCAL application_name = 'local'")
        assert connection.execute("SHOW application_name").fetchone() == ("local",)
        connection.commit()
        assert connection.execute("SHOW application_name").fetchone() == ("kept",)
        error = refuses(psycopg.Error, lambda: connection.execute("SAVEPOINT a") and connection.execute("ROLLBACK TO b"))
        assert error.sqlstate == "3B001", error
        connection.rollback()
    with connect(host, port, autocommit=False) as connection:
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT 1")
        error = refuses(psycopg.Error, lambda: connection.execute("DELETE FROM things"))
        assert error.sqlstate in ("25001", "25006"), error
        connection.rollback()
        with connection.transaction() as outer:
            try:
                with connection.transaction():
                    connection.execute("SELECT nothing")
            except psycopg.errors.UndefinedColumn:
                pass
            assert connection.execute("SELECT 2").fetchone() == (2,)
            assert outer is not None


def prepared_by_sql(host, port):
    with connect(host, port) as connection:
        connection.execute("PREPARE find (bigint) AS SELECT name FROM things WHERE id = $1")
        assert connection.execute("EXECUTE find (1)").fetchone() == (VALUES["name"],)
        assert connection.execute("EXECUTE find (1 + 1)").fetchone() == (None,)
        connection.execute("CREATE TABLE written (n bigint, t text)")
        connection.execute("PREPARE put AS INSERT INTO written VALUES ($1, $2)")
        for number in (1, 2):
            assert connection.execute(f"EXECUTE put ({number}, 'x')").statusmessage == "INSERT 0 1"
        assert connection.execute("SELECT n, t FROM written ORDER BY n").fetchall() == [(1, "x"), (2, "x")]
        # What PREPARE declares is not cut to what stands beside it.
        connection.execute("PREPARE gone (double precision) AS DELETE FROM written WHERE n = $1")
        assert connection.execute("EXECUTE gone (2.5)").rowcount == 0
        connection.execute("PREPARE half (numeric) AS SELECT $1 / 2")
        assert connection.execute("EXECUTE half (3)").fetchone() == (1.5,)
        connection.execute("PREPARE joined (text) AS SELECT $1 || 1")
        assert connection.execute("EXECUTE joined ('a')").fetchone() == ("a1",)
        connection.execute("PREPARE later (timestamp) AS SELECT $1 + interval '1 day'")
        later = connection.execute("EXECUTE later (timestamp '2021-01-01 10:00:00')").fetchone()
        assert later == (datetime.datetime(2021, 1, 2, 10),), later
        # Values are cast as CAST does it.
        connection.execute("DELETE FROM written")
        connection.execute("PREPARE twice (int) AS INSERT INTO written VALUES ($1, CAST($1 AS text))")
        connection.execute("EXECUTE twice (90.7)")
        connection.execute("EXECUTE put (1.7, 5)")
        assert connection.execute("SELECT n, t FROM written ORDER BY n").fetchall() == [(2, "5"), (91, "91")]
        connection.execute("PREPARE items (text, int[]) AS SELECT $1, $2")
        assert connection.execute("EXECUTE items ('a', '{1,2}')").fetchone() == ("a", [1, 2])
        assert connection.execute("EXECUTE items (1, ARRAY[3])").fetchone() == ("1", [3])
        for values, sqlstate in (("'a', '{1'", "22P02"), ("'a', '{1}', 'c'", "42601"), ("'a'", "42601")):
            error = refuses(psycopg.Error, lambda values=values: connection.execute(f"EXECUTE items ({values})"))
            assert error.sqlstate == sqlstate, (values, error)
        connection.execute("DROP TABLE written")
        error = refuses(psycopg.Error, lambda: connection.execute("EXECUTE find (1, 2)"))
        assert error.sqlstate == "42601", error
        # The protocol names others, too: EXECUTE runs none that the client's transaction or names depend on.
        for name, sql in (("begins", "BEGIN"), ("ends", "COMMIT"), ("forgets", "DEALLOCATE ALL"), ("shows", "SHOW dialect")):
            result = connection.pgconn.prepare(name.encode(), sql.encode())
            assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, (name, result.error_message)
            error = refuses(psycopg.Error, lambda name=name: connection.execute(f"EXECUTE {name}"))
            assert error.sqlstate == "0A000", (name, error)
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        connection.pgconn.prepare(b"asks", b"SELECT 7")
        assert connection.execute("EXECUTE asks").fetchone() == (7,)
        connection.execute("DEALLOCATE find")
        error = refuses(psycopg.Error, lambda: connection.execute("EXECUTE find (1)"))
        assert error.sqlstate == "26000", error


def copies(host, port):
    with connect(host, port) as connection, connection.cursor() as cursor:
        with cursor.copy("COPY (SELECT id, name, tags, ok FROM things ORDER BY id) TO STDOUT") as copy:
            text = b"".join(copy)
        assert text.decode() == "1\tÄ\\t'x\"\\\\\t{a,\"b,c\",NULL}\tt\n2\t\\N\t\\N\t\\N\n", text
        with cursor.copy("COPY (SELECT id, name FROM things ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER)") as copy:
            text = b"".join(copy)
        assert text.decode() == "id,name\n1,\"Ä\t'x\"\"\\\"\n2,\n", text
        with cursor.copy("COPY things (id, small) TO STDOUT CSV DELIMITER ';' NULL 'none'") as copy:
            assert sorted(b"".join(copy).decode().split()) == ["1;7", "2;none"]
        names = [name for name in VALUES if name != "who"]
        kinds = ["int8", "int4", "bool", "numeric", "float8", "float4", "text", "date", "time", "timestamp", "timestamptz"]
        kinds += ["bytea", "uuid", "text[]", "int4[]"]
        with cursor.copy(f"COPY (SELECT {', '.join(names)} FROM things ORDER BY id) TO STDOUT (FORMAT BINARY)") as copy:
            copy.set_types(kinds)
            rows = list(copy.rows())
        assert rows[0] == tuple(VALUES[name] for name in names), rows[0]
        assert rows[1] == (2, *[None] * (len(names) - 1)), rows[1]
        error = refuses(psycopg.Error, lambda: list(cursor.copy("COPY (SELECT nothing) TO STDOUT").__enter__()))
        assert error.sqlstate == "42703", error
        assert cursor.execute("SELECT 1").fetchone() == (1,)


def stopping(host, port):
    with connect(host, port) as connection:
        connection.execute("SET statement_timeout = '300ms'")
        for query in (ENDLESS, LONG, f"COPY ({LONG}) TO STDOUT"):
            began = time.monotonic()

            def run(query=query):
                if query.startswith("COPY"):
                    with connection.cursor().copy(query) as copy:
                        for _ in copy:
                            pass
                else:
                    connection.execute(query)

            error = refuses(psycopg.Error, run)
            assert error.sqlstate == "57014" and time.monotonic() - began < 10, (query, error)
        connection.execute("SET statement_timeout = 0")
        connection.execute("CREATE TABLE stopped (n bigint)")
        connection.execute("PREPARE put (bigint) AS INSERT INTO stopped VALUES ($1)")
        for query in (ENDLESS, LONG, f"EXECUTE put (({ENDLESS}))"):
            timer = threading.Timer(0.3, connection.cancel_safe)
            timer.start()
            error = refuses(psycopg.Error, lambda query=query: connection.execute(query))
            assert isinstance(error, psycopg.errors.QueryCanceled), error
            timer.join()
        assert connection.execute("SELECT count(*) FROM stopped").fetchone() == (0,)
        connection.execute("DROP TABLE stopped")


def settings(host, port):
    with connect(host, port, options="-c statement_timeout=5s -c application_name=mine") as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("5s",)
        assert connection.info.parameter_status("application_name") == "mine"
        assert connection.execute("SELECT current_setting('application_name')").fetchone() == ("mine",)
        assert connection.execute("SELECT set_config('application_name', 'other', false)").fetchone() == ("other",)
        assert connection.info.parameter_status("application_name") == "other"
        assert connection.execute("SELECT current_setting('no.such', true)").fetchone() == (None,)
        connection.execute("DISCARD ALL")
        assert connection.execute("SHOW statement_timeout").fetchone() == ("5s",)
        about = "SELECT current_user, session_user, current_database(), current_schema(), pg_backend_pid()"
        assert connection.execute(about).fetchone() == ("lacus", "lacus", "lake", "main", connection.info.backend_pid)
        error = refuses(psycopg.Error, lambda: connection.execute("SELEC 1"))
        assert error.sqlstate == "42601" and error.diag.statement_position, error.diag
        error = refuses(psycopg.Error, lambda: connection.execute("SELECT 1/0"))
        assert error.sqlstate == "22012", error


def time_zones(host, port):
    noon = datetime.datetime(2024, 7, 1, 12, tzinfo=datetime.timezone.utc)
    with connect(host, port, options="-c TimeZone=Europe/Berlin") as connection:
        connection.execute("CREATE TABLE moments (at timestamptz)")
        connection.execute("INSERT INTO moments VALUES (%t)", ("2024-07-01 14:00",))
        connection.execute("INSERT INTO moments VALUES (%b)", (noon,))

        def count(value, placeholder="%t"):
            return connection.execute(f"SELECT count(*) FROM moments WHERE at = {placeholder}", (value,)).fetchone()[0]

        for placeholder in ("%t", "%b"):
            assert count(noon, placeholder) == 2, placeholder
        for written, expected in (("2024-07-01 14:00", 2), ("2024-07-01 12:00+00", 2), ("2024-07-01 12:00", 0)):
            assert count(written) == expected, written
        connection.execute("SET TimeZone = '+02'")
        assert count("2024-07-01 12:00Z") == 2
        error = refuses(psycopg.Error, lambda: count("2024-07-01 14:00"))
        assert error.sqlstate == "22023" and "TimeZone" in str(error), error
        connection.execute("DROP TABLE moments")


def returning(host, port):
    with connect(host, port) as connection:
        connection.execute("CREATE TABLE handed (n bigint, t text)")
        for binary in (False, True):
            with connection.cursor(binary=binary) as cursor:
                cursor.execute("INSERT INTO handed VALUES (%s, 'a'), (2, 'b') RETURNING n, t", (1,))
                assert sorted(cursor.fetchall()) == [(1, "a"), (2, "b")], binary
                assert (cursor.rowcount, cursor.statusmessage) == (2, "INSERT 0 2"), cursor.statusmessage
                cursor.execute("UPDATE handed SET t = 'c' WHERE n = 2 RETURNING t")
                assert cursor.fetchall() == [("c",)] and cursor.statusmessage == "UPDATE 1", cursor.statusmessage
                cursor.execute("DELETE FROM handed RETURNING n AS was")
                assert sorted(cursor.fetchall()) == [(1,), (2,)] and cursor.description[0].name == "was", binary
                cursor.execute("DELETE FROM handed RETURNING n")
                assert cursor.fetchall() == [] and cursor.statusmessage == "DELETE 0", cursor.statusmessage
        connection.execute("DROP TABLE handed")


def searched(host, port):
    with connect(host, port, options="-c search_path=shop") as connection:
        connection.execute("CREATE TABLE searched (n bigint)")
        with connection.cursor() as cursor:
            with cursor.copy("COPY searched FROM STDIN") as copy:
                copy.write_row((1,))
            cursor.executemany("INSERT INTO searched VALUES (%s)", [(2,), (3,)])
        assert connection.execute("SELECT sum(n) FROM shop.searched").fetchone() == (6,)
        connection.execute("DROP TABLE searched")


def sessions(host, port):
    with connect(host, port, options="-c application_name=one") as one, connect(host, port) as two:
        pid = one.info.backend_pid
        one.execute("SELECT %s::int", (7,))
        about = "SELECT application_name, usename, query, query_start >= backend_start FROM pg_stat_activity WHERE pid = %s"
        assert two.execute(about, (pid,)).fetchone() == ("one", "lacus", "SELECT $1::int", True)
        assert two.execute("SELECT pg_terminate_backend(%s)", (pid,)).fetchone() == (True,)
        error = refuses(psycopg.OperationalError, lambda: one.execute("SELECT 1"))
        assert "terminating connection" in str(error) or one.closed, error
        deadline = time.monotonic() + 10
        while two.execute(about, (pid,)).fetchone() is not None:
            assert time.monotonic() < deadline, "the session is still listed"


def psycopg_2(host, port):
    connection = psycopg2.connect(host=host, port=port, user="lacus", dbname="lake")
    try:
        with connection.cursor(cursor_factory=psycopg2.extras.DictCursor) as cursor:
            cursor.execute("SELECT * FROM things ORDER BY id")
            row = dict(cursor.fetchone())
            row["raw"] = bytes(row["raw"])
            row["ref"] = uuid.UUID(row["ref"])
            assert row == VALUES, row
            cursor.execute("SELECT id FROM things WHERE name = %s AND day = %s", (VALUES["name"], VALUES["day"]))
            assert cursor.fetchall() == [[1]]
        with connection.cursor("mine") as cursor:
            cursor.execute("SELECT a.value FROM generate_series(1, 5000) a")
            assert sum(1 for _ in cursor) == 5000
        text = io.StringIO()
        with connection.cursor() as cursor:
            cursor.copy_expert("COPY (SELECT id, small FROM things ORDER BY id) TO STDOUT", text)
            assert text.getvalue() == "1\t7\n2\t\\N\n", text.getvalue()
        connection.rollback()
        connection.set_session(autocommit=True, readonly=True)
        with connection.cursor() as cursor:
            error = refuses(psycopg2.Error, lambda: cursor.execute("DELETE FROM things"))
            assert error.pgcode == "25006", error
        connection.reset()
    finally:
        connection.close()


def main():
    host, port = address()
    fill(host, port)
    parts = (types, parameters, declared_types, named_cursors, transactions, prepared_by_sql, copies, settings, time_zones, returning, searched, sessions, psycopg_2, stopping)
    for part in parts:
        part(host, port)
    print("psycopg 3 and 2 do what they do")


if __name__ == "__main__":
    main()
