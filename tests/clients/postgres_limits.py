#!/usr/bin/env python3
"""The limits of a user, as psycopg meets them: in each way to ask, shown, and told when they are reached.

Usage: postgres_limits.py --project DIR --lacus PROGRAM --user USER:PASSWORD
"""

import argparse
import pathlib
import subprocess

import psycopg
from postgres_shop import address, refuses

ENDLESS = (
    "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b WHERE a.value % 7 = b.value % 5"
)
MANY = "SELECT n FROM many"


class Ada:
    """A user whose limits an administrator changes."""

    def __init__(self, asked):
        self.project, self.lacus = asked.project, asked.lacus
        self.user, self.password = asked.user.split(":")
        self.host, self.port = address()

    def limit(self, *limits):
        command = [self.lacus, "-p", self.project, "user", "limit", self.user, *limits]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def connect(self, **settings):
        settings = {"user": self.user, "password": self.password, "dbname": "lake", "autocommit": True, **settings}
        return psycopg.connect(host=self.host, port=self.port, **settings)

    def refused(self, connection, sqlstate, limit, work):
        """The work ends at a limit, and the session goes on."""
        error = refuses(psycopg.Error, work)
        assert error.sqlstate == sqlstate, error
        assert f'{limit} of user "{self.user}" allows' in error.diag.message_primary, error
        flag = limit.replace("_", "-")
        assert error.diag.message_hint.endswith(f"lacus user limit {self.user} --{flag}"), error.diag.message_hint
        assert connection.execute("SELECT 1").fetchone() == (1,)


def rows(ada):
    with ada.connect() as connection:
        connection.execute("CREATE TABLE many AS SELECT value AS n, md5(CAST(value AS text)) AS text FROM generate_series(1, 50000)")
    ada.limit("--rows-max", "1000")
    with ada.connect() as connection:
        assert connection.execute("SHOW rows_max").fetchone() == ("1000",)
        assert len(connection.execute(f"{MANY} LIMIT 1000").fetchall()) == 1000

        def execute(query, values=None, **how):
            return lambda: connection.execute(query, values, **how).fetchall()

        def copy():
            with connection.cursor().copy(f"COPY ({MANY}) TO STDOUT") as out:
                for _ in out:
                    pass

        def fetch():
            with connection.transaction():
                with connection.cursor(name="piecewise") as cursor:
                    cursor.execute(MANY)
                    # It is counted over all that is fetched.
                    assert len(cursor.fetchmany(900)) == 900
                    cursor.fetchall()

        def stream():
            for count, _ in enumerate(connection.cursor().stream(MANY)):
                assert count < 1000

        for work in (
            execute(MANY),
            execute(f"{MANY} WHERE n > %s", (0,)),
            execute(f"{MANY} WHERE n > %s", (0,), prepare=True, binary=True),
            copy,
            fetch,
            stream,
            lambda: connection.execute(f"CREATE TABLE copied AS {MANY}"),
            lambda: connection.execute(f"INSERT INTO many (n) {MANY}"),
            lambda: connection.execute("DELETE FROM many"),
            lambda: connection.execute(f"UNLOAD ('{MANY}') TO 'unload/many/'"),
        ):
            ada.refused(connection, "53400", "rows_max", work)
        # Nothing of what was refused is there, nor in the answers that are kept.
        assert connection.execute("SELECT count(*), max(n) FROM many").fetchone() == (50000, 50000)
        assert connection.execute("SELECT count(*) FROM information_schema.tables WHERE table_name = 'copied'").fetchone() == (0,)
    assert not list(pathlib.Path(ada.project).glob("unload/many/*"))


def kept_answers(ada):
    """What somebody else was answered with is not for who may have less."""
    ada.limit("--rows-max", "none")
    with ada.connect() as connection:
        assert len(connection.execute(MANY).fetchall()) == 50000
        ada.limit("--rows-max", "10")
        # This session has what it began with.
        assert len(connection.execute(MANY).fetchall()) == 50000
    with ada.connect() as connection:
        ada.refused(connection, "53400", "rows_max", lambda: connection.execute(MANY).fetchall())
    ada.limit("--rows-max", "none")


def scan(ada):
    ada.limit("--scan-max", "64KB")
    with ada.connect() as connection:
        for query in ("SELECT max(text), min(text) FROM many", "CREATE TABLE copied AS SELECT text FROM many"):
            ada.refused(connection, "53400", "scan_max", lambda query=query: connection.execute(query))
        # What the metadata answer reads nothing.
        assert connection.execute("SELECT count(*) FROM many").fetchone() == (50000,)
    ada.limit("--scan-max", "none")


def memory(ada):
    ada.limit("--memory-max", "16MB")
    with ada.connect() as connection:
        large = "SELECT array_agg(value) FROM generate_series(1, 5000000)"
        ada.refused(connection, "53200", "memory_max", lambda: connection.execute(large))
    ada.limit("--memory-max", "none")


def time(ada):
    ada.limit("--time-max", "300ms")
    # What the client asks for when it connects is no way around it.
    with ada.connect(options="-c statement_timeout=1h") as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("300ms",)
        for setting in ("0", "'2h'", "DEFAULT"):
            connection.execute(f"SET statement_timeout = {setting}")
            assert connection.execute("SHOW statement_timeout").fetchone() == ("300ms",), setting
            ada.refused(connection, "57014", "time_max", lambda: connection.execute(ENDLESS))
        connection.execute("SET statement_timeout = 100")
        assert connection.execute("SHOW statement_timeout").fetchone() == ("100",)
        error = refuses(psycopg.errors.QueryCanceled, lambda: connection.execute(ENDLESS))
        assert error.diag.message_primary.endswith("statement_timeout allows: 100ms"), error
        error = refuses(psycopg.Error, lambda: connection.execute("SET time_max = '1h'"))
        assert error.sqlstate == "55P02", error
    ada.limit("--time-max", "none")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--project", required=True)
    arguments.add_argument("--lacus", required=True)
    arguments.add_argument("--user", required=True)
    ada = Ada(arguments.parse_args())
    rows(ada)
    kept_answers(ada)
    scan(ada)
    memory(ada)
    time(ada)
    with ada.connect() as connection:
        connection.execute("DROP TABLE many")
    print("limits hold")


if __name__ == "__main__":
    main()
