#!/usr/bin/env python3
"""Asks lacus and DuckDB the same random questions about the same random tables, until they disagree or time is over.

Usage: differential.py --project DIR --seed N --seconds S [--keep-going]

A lacus server with the settings of differential.toml must be serving the project. Tables change between questions: events
come (the hot tail), are flushed and merged, bring columns; columns are added, widened, renamed and dropped; SQL inserts,
updates and deletes. DuckDB has tables of its own that go through the same. Each question is asked of lacus twice, the
second time so that no file can be skipped and nothing is answered from manifests.

A disagreement is made smaller as long as it stays one, and printed with all three answers.
"""

import argparse
import dataclasses
import datetime
import decimal
import itertools
import json
import pathlib
import random
import re
import sys
import time

import duckdb
import psycopg
from differential_queries import DUCK, LACUS, NAIVE, TYPES, Expr, Item, Questions, Select, Source, differing, literal, same_rows, value
from iceberg import Lacus

STREAMS = ["by_bucket", "by_day", "by_text", "by_value", "as_it_comes"]
# Columns that every stream's table has from the start.
COLUMNS = {
    "id": "int", "i": "int", "j": "int", "big": "big", "n": "i32", "d": "dbl", "f": "f32", "m": "dec", "w": "wide", "s": "text",
    "g": "text", "b": "bool", "day": "date", "ts": "ts", "tz": "tz", "l": "ints", "lt": "texts",
    "o": {"a": "int", "b": "text", "c": {"d": "dbl", "day": "date"}},
}  # fmt: skip
# How tables that SQL makes are partitioned, by the columns that it takes.
PARTITIONS = {
    "s": ["s", "bucket(3, s)", "truncate(2, s)"], "i": ["i", "bucket(4, i)", "truncate(10, i)"], "day": ["day", "month(day)", "year(day)"],
    "ts": ["day(ts)", "month(ts)", "hour(ts)"], "b": ["b"], "n": ["n", "bucket(2, n)"], "m": ["m", "truncate(500, m)"], "tz": ["day(tz)"],
    "big": ["big", "bucket(3, big)", "truncate(1000, big)"], "w": ["bucket(2, w)"],
}  # fmt: skip
ROWS_MAX = 350
LARGE_ROWS = 6_000
VERSIONS_MAX = 4
ROWS_SHOWN = 5
REDUCE_SECONDS_MAX = 40
STATEMENT_SECONDS_MAX = 60
# Both engines may refuse a question, such as one whose numbers overflow. If it were many, little would be tested.
REFUSED_SHARE_MAX = 0.1

# Disagreements that are none: docs/reference/sql.md says what each is about.
DOCUMENTED = [r"nested identifiers are not yet supported for OuterReferenceColumn"]


class Disagreement(Exception):
    """That a table is not what it should be: nothing asked of it afterwards would tell anything."""


@dataclasses.dataclass
class Table:
    name: str
    shape: dict
    is_stream: bool
    versions: list = dataclasses.field(default_factory=list)
    next_id: int = 0

    @property
    def columns(self):
        return {path: kind for path, kind in leaves(self.shape)}


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


class Both:
    """lacus, and DuckDB with the same tables."""

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
        self.tables = []
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
                return self.duckdb.execute(sql).fetchall()
            with self.postgres.cursor(binary=self.chance.random() < 0.5) as cursor:
                return cursor.execute(sql.encode()).fetchall()
        except (duckdb.Error, psycopg.Error) as error:
            if self.postgres.closed:
                raise
            return error

    def change(self, sql, own=None):
        """A statement that changes something, and how many rows of both it changed."""
        self.say(sql if len(sql) < 2000 else sql[:2000] + " …")
        try:
            with self.postgres.cursor() as cursor:
                cursor.execute(sql.encode())
                ours = cursor.rowcount
        except psycopg.Error as error:
            raise Disagreement(f"lacus refused what changes a table: {error}\n{sql}") from error
        rows = self.duckdb.execute(own or sql).fetchall()
        theirs = rows[0][0] if rows else ours
        if ours not in (theirs, -1):
            raise Disagreement(f"lacus changed {ours} rows, DuckDB {theirs}:\n{sql}")

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
        table = Table(name, dict(COLUMNS), True)
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
        table = Table(f"made{self.made}", shape, False)
        columns = ", ".join(f'"{name}" {TYPES[kind]}' for name, kind in shape.items())
        partitions = [self.chance.choice(PARTITIONS[name]) for name in names if name in PARTITIONS and self.chance.random() < 0.35][:2]
        partitioned = f" PARTITIONED BY ({', '.join(partitions)})" if partitions else ""
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

    # Changes

    def step(self):
        """Changes one table, and compares all of it."""
        if self.chance.random() < 0.1:
            if self.streams:
                self.tables.append(self.stream(self.streams.pop()))
            elif self.made < 2:
                self.new_table()
        table = self.chance.choice(self.tables)
        if table.is_stream:
            acts = [(self.events, 30), (self.flush, 14), (self.commits, 6), (self.drift, 12), (self.alter, 12), (self.delete, 10), (self.update, 10), (self.insert, 8)]
        else:
            acts = [(self.insert, 25), (self.delete, 15), (self.update, 15), (self.alter, 10), (self.flush, 10), (self.replace, 10)]
        act = self.chance.choices([act for act, _ in acts], [weight for _, weight in acts])[0]
        act(table)
        if table in self.tables:
            self.shrink(table)
            self.check(table)

    def shrink(self, table):
        count = self.duckdb.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0]
        if count > ROWS_MAX and table.name != "large":
            self.change(f"DELETE FROM {table.name} WHERE id % 2 = {self.chance.randrange(2)}")

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

    def row(self, table):
        row = {"id": table.next_id}
        table.next_id += 1
        for name, kind in table.shape.items():
            if name != "id":
                row[name] = self.filled(kind)
        if "g" in row and row["g"] is not None:
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

    def flush(self, table):
        if table.is_stream:
            self.say(f"flush {table.name}")
            self.lacus.commit(table.name)
        self.snapshot(table)

    def commits(self, table):
        """So many small files that they are merged."""
        for _ in range(8):
            self.events(table, 2)
            self.lacus.commit(table.name)

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
        self.change(f"INSERT INTO {table.name} ({listed}) VALUES {values}")

    def drift(self, table):
        """Events with a field that no column is there for yet."""
        new = [name for name in ("x1", "x2", "x3", "Mixed Case") if name not in table.shape]
        inside = "o" in table.shape and "x" not in table.shape["o"]
        if not new and not inside:
            return
        rows = [self.row(table) for _ in range(self.chance.randrange(1, 20))]
        kind = self.chance.choice(["int", "dbl", "text", "bool", "ints"])
        first = {"int": 7, "dbl": 0.5, "text": "first", "bool": True, "ints": [7]}[kind]
        if new and (not inside or self.chance.random() < 0.7):
            name = self.chance.choice(new)
            self.say(f"{table.name} gets {name}, {kind}, from an event")
            self.duckdb.execute(f'ALTER TABLE {table.name} ADD COLUMN "{name}" {TYPES[kind]}')
            table.shape = {**table.shape, name: kind}
            for row in rows:
                row[name] = first if row is rows[0] else value(self.chance, kind)
        else:
            self.say(f"{table.name} gets o.x, {kind}, from an event")
            self.duckdb.execute(f"ALTER TABLE {table.name} ADD COLUMN o.x {TYPES[kind]}")
            table.shape = {**table.shape, "o": {**table.shape["o"], "x": kind}}
            for row in rows:
                if row is rows[0] or row["o"] is not None:
                    row["o"] = {**(row["o"] or {}), "x": first if row is rows[0] else value(self.chance, kind)}
        self.send(table, rows)

    def alter(self, table):
        shape, name = dict(table.shape), table.name
        wider = {"n": ("i32", "big", "bigint"), "f": ("f32", "dbl", "double precision")}
        can_widen = [column for column, (kind, _, _) in wider.items() if shape.get(column) == kind and self.free(table, column)]
        roll = self.chance.random()
        if roll < 0.3 and can_widen:
            column = self.chance.choice(can_widen)
            _, shape[column], to = wider[column]
            sql = f"ALTER TABLE {name} ALTER COLUMN {column} TYPE {to}"
        elif roll < 0.55 and "j" in shape:
            shape = {("renamed" if column == "j" else column): kind for column, kind in shape.items()}
            sql = f"ALTER TABLE {name} RENAME COLUMN j TO renamed"
        elif roll < 0.75 and any(column in shape for column in ("x1", "x2", "added")):
            column = self.chance.choice([column for column in ("x1", "x2", "added") if column in shape])
            del shape[column]
            sql = f"ALTER TABLE {name} DROP COLUMN {column}"
        elif "added" not in shape:
            shape["added"] = self.chance.choice(["int", "text", "date", "dec", "dbl", "ts", "texts"])
            sql = f"ALTER TABLE {name} ADD COLUMN added {TYPES[shape['added']]}"
        else:
            return
        self.say(sql)
        self.lacus.sql(sql)
        self.duckdb.execute(sql)
        table.shape = shape

    def free(self, table, column):
        """Whether nothing partitions by a column."""
        return not (table.name == "by_day" and column == "n") and not table.name.startswith("made")

    def replace(self, table):
        """A table goes, another one comes."""
        if table.name == "large":
            return
        self.change(f"DROP TABLE {table.name}")
        self.tables.remove(table)
        self.new_table()

    def where(self, table):
        """A condition, once both engines agree about the rows it is true for."""
        questions = Questions(self.chance, self.tables)
        scope = [Expr(kind, '"' + '"."'.join((table.name, *path)) + '"') for path, kind in table.columns.items()]
        condition = questions.condition(scope)
        select = Select((Item(Expr("int", f"{table.name}.id"), "c1"),), Source(table.name, table.name), where=condition)
        answers = [self.ask(select, dialect) for dialect in (LACUS, DUCK)]
        if any(isinstance(answer, Exception) for answer in answers):
            return None, questions, scope
        if not same_rows(*answers, False):
            raise Wrong(select)
        return condition, questions, scope

    def delete(self, table):
        condition, _, _ = self.where(table)
        if condition is None:
            return
        # Not too many at once.
        few = f" AND id % 3 = {self.chance.randrange(3)}"
        self.change(f"DELETE FROM {table.name} WHERE {condition.write(LACUS)}{few}", f"DELETE FROM {table.name} WHERE {condition.write(DUCK)}{few}")

    def update(self, table):
        condition, questions, scope = self.where(table)
        kinds = {name: kind for name, kind in table.shape.items() if kind in ("int", "text", "bool", "date", "ts") and name != "id"}
        if condition is None or not kinds:
            return
        names = self.chance.sample(sorted(kinds), min(len(kinds), self.chance.choice([1, 1, 2])))
        sets = [(name, questions.expr(scope, kinds[name], 1)) for name in names]
        # Numbers stay small, and texts short.
        sets = [
            (name, Expr("int", "({} % 1000)", (expr,)) if kinds[name] == "int" else Expr("text", "substr({}, 1, 60)", (expr,)) if kinds[name] == "text" else expr)
            for name, expr in sets
        ]
        few = f" AND id % 2 = {self.chance.randrange(2)}"
        write = lambda dialect: (
            f"UPDATE {table.name} SET " + ", ".join(f'"{name}" = {expr.write(dialect)}' for name, expr in sets)
            + f" WHERE {condition.write(dialect)}{few}"
        )  # fmt: skip
        self.change(write(LACUS), write(DUCK))


class Wrong(Exception):
    """That a question is answered differently."""

    def __init__(self, query):
        super().__init__(query)
        self.query = query


def words_of(error):
    """An error without the names and numbers in it."""
    return re.sub(r"[\"'].*?[\"']|\d+", "…", str(error).splitlines()[0])[:60]


def verdict(both, query):
    """Nothing, or how the answers differ in a few words, and the answers."""
    ours, naive, theirs = (both.ask(query, dialect) for dialect in (LACUS, NAIVE, DUCK))
    answers = {LACUS: ours, NAIVE: naive, DUCK: theirs}
    failed = [isinstance(answer, Exception) for answer in (ours, naive, theirs)]
    if all(failed):
        return "refused", answers
    if failed[0] != failed[2] and any(re.search(known, str(ours if failed[0] else theirs)) for known in DOCUMENTED):
        return None, answers
    for name, failure, other in (("lacus", ours, theirs), ("naive", naive, theirs), ("DuckDB", theirs, ours)):
        if isinstance(failure, Exception):
            return f"{name} refuses: {words_of(failure)}", answers
    if not same_rows(ours, theirs, query.ordered):
        return "other rows than DuckDB", answers
    if not same_rows(ours, naive, query.ordered):
        return "other rows than the naive scan", answers
    return None, answers


def reduce(both, query, told):
    """The smallest question that fails in the same way."""
    deadline = time.monotonic() + REDUCE_SECONDS_MAX
    is_done = False
    while not is_done:
        is_done = True
        for less in query.smaller():
            if time.monotonic() > deadline:
                return query
            if verdict(both, less)[0] == told:
                query, is_done = less, False
                break
    return query


def shown(answers, is_ordered):
    """Each answer, and where those that have rows differ."""
    for name, answer in answers.items():
        if isinstance(answer, Exception):
            yield f"\n{name}:\n  error: {str(answer)[:400]}"
        else:
            rows = "".join(f"\n  {row}" for row in answer[:ROWS_SHOWN])
            yield f"\n{name}: {len(answer)} rows{', the first of them' if len(answer) > ROWS_SHOWN else ''}{rows}"
    theirs = answers[DUCK]
    for name, answer in answers.items():
        if not isinstance(answer, Exception) and not isinstance(theirs, Exception):
            pairs = itertools.islice(differing(answer, theirs, is_ordered), ROWS_SHOWN)
            yield from (f"\n{name} has {ours}\nDuckDB has {other}" for ours, other in pairs)


def report(both, query, told, seed):
    small = reduce(both, query, told)
    _, answers = verdict(both, small)
    lines = [f"\nseed {seed}: {told}", f"\nasked of lacus:\n  {small.write(LACUS)}", f"\nasked of DuckDB:\n  {small.write(DUCK)}"]
    lines += shown(answers, small.ordered)
    if small != query:
        lines.append(f"\nas it was asked first:\n  {query.write(LACUS)}")
    return "\n".join(lines) + latest(both, seed)


def latest(both, seed):
    """What was done before, and how to do it again."""
    changes = "\n".join(f"  {change[:200]}" for change in both.changes[:-6:-1])
    again = f"LACUS_SEED={seed} cargo nextest run --workspace -E 'test(random_questions)'"
    return f"\n\nwhat was done before, the last first:\n{changes}\n\nagain: {again}"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--project", required=True)
    arguments.add_argument("--seed", type=int, required=True)
    arguments.add_argument("--seconds", type=float, default=20)
    arguments.add_argument("--keep-going", action="store_true")
    arguments = arguments.parse_args()
    chance = random.Random(arguments.seed)
    both = Both(arguments.project, chance)
    deadline = time.monotonic() + arguments.seconds
    asked = refused = steps = 0
    found = {}

    def wrong(query, told):
        if told in found:
            found[told] += 1
            return
        found[told] = 1
        print(report(both, query, told, arguments.seed), flush=True)
        if not arguments.keep_going:
            sys.exit("they disagree: see above")

    try:
        both.begin()
        while time.monotonic() < deadline:
            try:
                both.step()
            except Wrong as error:
                told, _ = verdict(both, error.query)
                wrong(error.query, told or "only once")
            steps += 1
            for _ in range(8):
                query = Questions(chance, both.tables).one()
                told, _ = verdict(both, query)
                asked += 1
                if told == "refused":
                    refused += 1
                elif told:
                    wrong(query, told)
    except Disagreement as error:
        sys.exit(f"seed {arguments.seed}: {error}\n" + latest(both, arguments.seed))
    print(f"seed {arguments.seed}: {asked} questions, {refused} refused by all, {steps} changes of {len(both.tables)} tables")
    if found:
        sys.exit("\n".join(f"{count} times: {told}" for told, count in found.items()))
    assert refused <= max(3, asked * REFUSED_SHARE_MAX), f"{refused} of {asked} questions were refused by all"


if __name__ == "__main__":
    main()
