"""The tables that differential.py asks about: lacus's, and DuckDB's, which go through the same."""

import contextlib
import dataclasses
import datetime
import decimal
import itertools
import json
import threading
import time

import duckdb
import psycopg
from iceberg import Lacus
from questions.answers import differing, same_rows
from questions.decimals import MACROS
from questions.trees import DUCK, LACUS, Expr, Item, Select, Source
from questions.values import TYPES, literal, value

STREAMS = ["by_bucket", "by_day", "by_text", "by_value", "as_it_comes"]
# Columns that every stream's table has from the start.
COLUMNS = {
    "id": "int", "i": "int", "j": "int", "big": "big", "n": "i32", "d": "dbl", "f": "f32", "m": "dec", "w": "wide", "s": "text",
    "g": "text", "b": "bool", "day": "date", "ts": "ts", "tz": "tz", "l": "ints", "lt": "texts",
    "o": {"a": "int", "b": "text", "c": {"d": "dbl", "day": "date"}},
}  # fmt: skip
# By which columns themselves differential.toml partitions the tables of streams.
PARTITIONED = {"by_bucket": {"b": "b"}, "by_day": {"n": "n"}, "by_value": {"g": "g", "day": "day"}}
# How tables that SQL makes are partitioned, by the columns that it takes.
PARTITIONS = {
    "s": ["s", "bucket(3, s)", "truncate(2, s)"], "i": ["i", "bucket(4, i)", "truncate(10, i)"], "day": ["day", "month(day)", "year(day)"],
    "ts": ["day(ts)", "month(ts)", "hour(ts)"], "b": ["b"], "n": ["n", "bucket(2, n)"], "m": ["m", "truncate(500, m)"], "tz": ["day(tz)"],
    "big": ["big", "bucket(3, big)", "truncate(1000, big)"], "w": ["bucket(2, w)"],
}  # fmt: skip
VERSIONS_MAX = 4
LARGE_ROWS = 6_000
STATEMENT_SECONDS_MAX = 60


class Wrong(Exception):
    """That a question is answered differently."""

    def __init__(self, query):
        super().__init__(query)
        self.query = query


class Disagreement(Exception):
    """That a table is not what it should be: nothing asked of it afterwards would tell anything."""


@dataclasses.dataclass
class Table:
    name: str
    shape: dict
    is_stream: bool
    versions: list = dataclasses.field(default_factory=list)
    next_id: int = 0
    # What it is partitioned by, by column.
    partitioned: dict = dataclasses.field(default_factory=dict)

    @property
    def columns(self):
        return {path: kind for path, kind in leaves(self.shape)}


@dataclasses.dataclass
class View:
    """A question with a name."""

    name: str
    kinds: list
    # There are none: it is what its tables are.
    versions: tuple = ()

    @property
    def columns(self):
        return {(f"c{place}",): kind for place, kind in enumerate(self.kinds, 1)}


def leaves(shape, path=()):
    for name, kind in shape.items():
        if isinstance(kind, dict):
            yield from leaves(kind, (*path, name))
        else:
            yield (*path, name), kind


def type_of(kind, of_duckdb):
    if not isinstance(kind, dict):
        return TYPES[kind]
    if of_duckdb:
        return "STRUCT(" + ", ".join(f'"{name}" {type_of(inner, True)}' for name, inner in kind.items()) + ")"
    return "struct<" + ", ".join(f"{name} {type_of(inner, False)}" for name, inner in kind.items()) + ">"


def in_duckdb(given, kind):
    """A value as DuckDB reads it."""
    if given is None:
        return "NULL"
    if not isinstance(kind, dict):
        return literal(given, kind)
    fields = ", ".join(f"'{name}': {in_duckdb(given.get(name), inner)}" for name, inner in kind.items())
    return f"CAST({{{fields}}} AS {type_of(kind, True)})"


def in_json(given, kind):
    match given:
        case dict():
            return {name: in_json(inner, kind[name]) for name, inner in given.items()}
        case datetime.datetime() if kind == "tz":
            return given.isoformat() + "Z"
        case decimal.Decimal():
            return str(given)
        case datetime.datetime() | datetime.date():
            return given.isoformat()
    return given


def with_content(given):
    """What is stored of a value of an event: an array without anything in it is null."""
    if isinstance(given, dict):
        return {name: with_content(inner) for name, inner in given.items()}
    return None if isinstance(given, list) and all(inner is None for inner in given) else given


class Tables:
    """lacus, and DuckDB with the same tables and rows."""

    def __init__(self, project, chance):
        self.chance = chance
        self.lacus = Lacus(project)
        address = json.loads((self.lacus.data / "server.json").read_text(encoding="utf-8"))["postgres"]
        host, port = address.rsplit(":", 1)
        self.postgres = psycopg.connect(host=host, port=port, user="lacus", dbname="lake", autocommit=True)
        self.postgres.execute(f"SET statement_timeout = '{STATEMENT_SECONDS_MAX}s'")
        self.duckdb = duckdb.connect()
        self.duckdb.execute("SET TimeZone = 'UTC'")
        self.duckdb.execute("SET default_null_order = 'nulls_last_on_asc_first_on_desc'")
        for macro in MACROS:
            self.duckdb.execute(macro)
        self.tables = []
        self.views = []
        self.made = 0
        self.changes = []

    def say(self, what):
        self.changes.append(what)

    # The same statement for both, or what comes nearest.

    def ask(self, query, dialect):
        """The rows of an answer, or the error."""
        sql = query.write(dialect)
        try:
            if dialect == DUCK:
                with self.bounded():
                    return self.duckdb.execute(sql).fetchall()
            with self.postgres.cursor(binary=self.chance.random() < 0.5) as cursor:
                return cursor.execute(sql.encode()).fetchall()
        except (duckdb.Error, psycopg.Error) as error:
            if self.postgres.closed:
                raise
            return error

    @contextlib.contextmanager
    def bounded(self):
        """DuckDB has no timeout of its own."""
        timer = threading.Timer(STATEMENT_SECONDS_MAX, self.duckdb.interrupt)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def change(self, sql, *own):
        """A statement that changes something, and how many rows of both it changed. DuckDB may need several, or another one."""
        self.say(sql if len(sql) < 2000 else sql[:2000] + " …")
        try:
            with self.postgres.cursor() as cursor:
                cursor.execute(sql.encode())
                ours = cursor.rowcount
        except psycopg.Error as error:
            raise Disagreement(f"lacus refused what changes a table: {error}\n{sql}") from error
        for statement in own or (sql,):
            rows = self.duckdb.execute(statement).fetchall()
        theirs = rows[0][0] if rows else ours
        if ours not in (theirs, -1):
            raise Disagreement(f"lacus changed {ours} rows, DuckDB {theirs}:\n{sql}")

    def both(self, table, write):
        """A statement that changes rows, in the words of each engine. Now and then it returns the rows."""
        if self.chance.random() < 0.4:
            self.returned(table, write)
        else:
            self.change(write(LACUS), write(DUCK))

    def returned(self, table, write):
        """Both return the same of the rows that came or went."""
        names = [name for name, kind in table.shape.items() if isinstance(kind, str)]
        chosen = self.chance.sample(names, self.chance.randrange(1, len(names) + 1))
        returning = " RETURNING " + ", ".join(f'{table.name}."{name}"' for name in chosen)
        sql, own = write(LACUS) + returning, write(DUCK) + returning
        self.say(sql[:2000])
        try:
            with self.postgres.cursor(binary=self.chance.random() < 0.5) as cursor:
                ours = cursor.execute(sql.encode()).fetchall()
        except psycopg.Error as error:
            raise Disagreement(f"lacus refused what changes a table: {error}\n{sql}") from error
        theirs = self.duckdb.execute(own).fetchall()
        for one, other in differing(ours, theirs, False):
            raise Disagreement(f"other rows are returned\nlacus has {one}\nDuckDB has {other}:\n{sql}")

    # Tables

    def begin(self):
        """Few tables at first; more come."""
        self.streams = self.chance.sample(STREAMS, len(STREAMS))
        self.tables.append(self.stream(self.streams.pop()))
        self.tables.append(self.stream(self.streams.pop()))
        self.tables.append(self.large())
        self.new_table()

    def stream(self, name):
        """A table of a stream: its first event makes it, and its columns are added with their types."""
        table = Table(name, dict(COLUMNS), True, partitioned=PARTITIONED.get(name, {}))
        self.lacus.send(name, [json.dumps({"id": 0})])
        self.wait(name, 1)
        added = ", ".join(f"ADD COLUMN {column} {type_of(kind, False)}" for column, kind in COLUMNS.items() if column != "id")
        self.lacus.sql(f"ALTER TABLE {name} {added}")
        self.duckdb.execute(f"CREATE TABLE {name} (" + ", ".join(f'"{column}" {type_of(kind, True)}' for column, kind in COLUMNS.items()) + ")")
        self.duckdb.execute(f"INSERT INTO {name} (id) VALUES (0)")
        table.next_id = 1
        self.events(table, 40)
        return table

    def large(self):
        """A table whose files have many pages."""
        columns = (
            "value AS id, value % 97 - 40 AS i, value * 7919 % 20011 AS j, 'u' || CAST(value % 1000 AS text) AS s,"
            " CAST(value AS double precision) / 8 AS d, CAST(to_timestamp(1767225600 + value) AS timestamp) AS ts,"
            " CASE WHEN value % 5 > 0 THEN value END AS big"
        )
        self.change(
            f"CREATE TABLE large WITH (sorted_by = ARRAY['s']) AS SELECT {columns} FROM generate_series(1, {LARGE_ROWS})",
            f"CREATE TABLE large AS SELECT {columns} FROM generate_series(1, {LARGE_ROWS}) AS t(value)",
        )
        return Table("large", {"id": "int", "i": "int", "j": "int", "s": "text", "d": "dbl", "ts": "ts", "big": "big"}, False, next_id=LARGE_ROWS + 1)

    def new_table(self):
        """A table that SQL makes."""
        self.made += 1
        names = self.chance.sample([name for name, kind in COLUMNS.items() if name != "id" and isinstance(kind, str)], self.chance.randrange(4, 9))
        shape = {"id": "int", **{name: COLUMNS[name] for name in names}}
        by = [name for name in names if name in PARTITIONS and self.chance.random() < 0.35][:2]
        table = Table(f"made{self.made}", shape, False, partitioned={name: self.chance.choice(PARTITIONS[name]) for name in by})
        columns = ", ".join(f'"{name}" {TYPES[kind]}' for name, kind in shape.items())
        partitioned = f" PARTITIONED BY ({', '.join(table.partitioned.values())})" if by else ""
        self.change(f"CREATE TABLE {table.name} ({columns}){partitioned}", f"CREATE TABLE {table.name} ({columns})")
        self.tables.append(table)
        for _ in range(self.chance.randrange(1, 3)):
            self.insert(table, self.chance.randrange(1, 40))

    def snapshot(self, table):
        """What a table is now can be asked for later."""
        found = self.lacus.sql(f"SELECT snapshot_id FROM \"{table.name}$refs\" WHERE name = 'main'")
        copy = f"{table.name}_{len(self.changes)}"
        self.duckdb.execute(f"CREATE OR REPLACE TABLE {copy} AS SELECT * FROM {table.name}")
        table.versions.append((int(found[0]["snapshot_id"]), copy, table.columns))
        for _, old, _ in table.versions[:-VERSIONS_MAX]:
            self.duckdb.execute(f"DROP TABLE {old}")
        del table.versions[:-VERSIONS_MAX]

    # Rows

    def row(self, table):
        row = {"id": table.next_id}
        table.next_id += 1
        for name, kind in table.shape.items():
            if name != "id":
                row[name] = self.filled(kind)
        # Another column may have been given the name.
        if row.get("g") is not None and table.shape["g"] == "text":
            row["g"] = self.chance.choice(["x", "y", ""])
        return row

    def filled(self, kind):
        if isinstance(kind, dict):
            return None if self.chance.random() < 0.1 else {name: self.filled(inner) for name, inner in kind.items()}
        return value(self.chance, kind)

    def events(self, table, count=None):
        rows = [self.row(table) for _ in range(count or self.chance.randrange(1, 60))]
        self.send(table, rows)

    def send(self, table, rows):
        self.say(f"{len(rows)} events for {table.name}, ids {rows[0]['id']} to {rows[-1]['id']}")
        # A null may be said or left out.
        said = [{name: inner for name, inner in row.items() if inner is not None or self.chance.random() < 0.5} for row in rows]
        self.lacus.send(table.name, [json.dumps(in_json(row, table.shape)) for row in said])
        self.into_duckdb(table, [with_content(row) for row in rows])

    def wait(self, name, rows):
        """Until so many rows are there: on a busy machine an answer does not wait that long."""
        deadline = time.monotonic() + STATEMENT_SECONDS_MAX
        while True:
            try:
                found = self.postgres.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            except psycopg.errors.UndefinedTable:
                found = 0
            if found == rows:
                return
            if time.monotonic() > deadline:
                raise Disagreement(f"{rows} rows were acknowledged, table {name} has {found}")

    def into_duckdb(self, table, rows):
        values = ", ".join("(" + ", ".join(in_duckdb(row[name], kind) for name, kind in table.shape.items()) + ")" for row in rows)
        names = ", ".join(f'"{name}"' for name in table.shape)
        self.duckdb.execute(f"INSERT INTO {table.name} ({names}) VALUES {values}")
        self.wait(table.name, self.duckdb.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0])

    def insert(self, table, count=None):
        """Rows from SQL: only these may have what JSON has no word for."""
        rows = [self.row(table) for _ in range(count or self.chance.randrange(1, 30))]
        names = [name for name, kind in table.shape.items() if isinstance(kind, str)]
        for row in rows:
            for name in table.shape:
                if name not in names:
                    row[name] = None
                elif table.shape[name] == "dbl" and self.chance.random() < 0.1:
                    row[name] = self.chance.choice([float("nan"), float("inf"), float("-inf")])
        values = ", ".join("(" + ", ".join(literal(row[name], table.shape[name]) for name in names) + ")" for row in rows)
        listed = ", ".join(f'"{name}"' for name in names)
        self.both(table, lambda _: f"INSERT INTO {table.name} ({listed}) VALUES {values}")

    def check(self, table):
        """All rows of a table, with each value of each column."""
        items = tuple(Item(Expr(kind, '"' + '"."'.join((table.name, *path)) + '"'), f"c{place}") for place, (path, kind) in enumerate(table.columns.items()))
        everything = Select(items, Source(table.name, table.name))
        ours, theirs = self.ask(everything, LACUS), self.ask(everything, DUCK)
        if isinstance(ours, Exception) or isinstance(theirs, Exception):
            raise Disagreement(f"all of {table.name}: {ours if isinstance(ours, Exception) else theirs}")
        if not same_rows(ours, theirs, False):
            pairs = itertools.islice(differing(ours, theirs, False), 2)
            found = "".join(f"\nlacus has {ours}\nDuckDB has {other}" for ours, other in pairs)
            raise Disagreement(f"all of {table.name} {list(table.columns)}: {found}")

