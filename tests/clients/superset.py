#!/usr/bin/env python3
"""Apache Superset as it is installed: connects, looks around, asks in SQL Lab, draws charts.

Usage: superset.py --project DIR

Superset runs beside, with a folder of its own for what it knows, and is asked over HTTP, as its pages do.
"""

import calendar
import contextlib
import os
import pathlib
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import uuid

import prison
import requests
from postgres_shop import address, connect

SETTINGS = """
import os

SECRET_KEY = os.environ["SUPERSET_SECRET_KEY"]
SQLALCHEMY_DATABASE_URI = "sqlite:///" + os.path.join(os.path.dirname(__file__), "superset.db")
"""
# Seconds that Superset may take: to make its tables, and to answer.
START_MAX, ANSWER_MAX = 400, 60

COLUMNS = (
    "id bigint NOT NULL, at timestamptz, seen timestamp, day date, page text, country text, ok boolean,"
    " price decimal(12,2), seconds double, tags array<text>, who struct<name text>"
)
ROWS = (
    ("2026-03-01 10:00:07", "'/a', 'DE', true, 10.50, 1.5, ARRAY['x', 'y'], named_struct('name', 'Ana')"),
    ("2026-03-01 11:07:42", "'/a', 'FR', true, 20.25, 2.5, ARRAY['x'], named_struct('name', 'Bob')"),
    ("2026-03-02 12:31:00", "'/b', 'DE', false, 5.00, 3.5, NULL, NULL"),
    ("2026-03-09 23:59:59", "'/b', NULL, NULL, NULL, NULL, NULL, NULL"),
    ("2026-05-20 00:00:00", "'/c%', 'AT', true, 100.00, 0.5, ARRAY['z'], named_struct('name', 'Eve')"),
)
# What each time grain makes of the five times.
GRAINS = {
    "PT1S": ("03-01 10:00:07", "03-01 11:07:42", "03-02 12:31:00", "03-09 23:59:59", "05-20 00:00:00"),
    "PT5S": ("03-01 10:00:05", "03-01 11:07:40", "03-02 12:31:00", "03-09 23:59:55", "05-20 00:00:00"),
    "PT30S": ("03-01 10:00:00", "03-01 11:07:30", "03-02 12:31:00", "03-09 23:59:30", "05-20 00:00:00"),
    "PT1M": ("03-01 10:00:00", "03-01 11:07:00", "03-02 12:31:00", "03-09 23:59:00", "05-20 00:00:00"),
    "PT5M": ("03-01 10:00:00", "03-01 11:05:00", "03-02 12:30:00", "03-09 23:55:00", "05-20 00:00:00"),
    "PT10M": ("03-01 10:00:00", "03-01 11:00:00", "03-02 12:30:00", "03-09 23:50:00", "05-20 00:00:00"),
    "PT15M": ("03-01 10:00:00", "03-01 11:00:00", "03-02 12:30:00", "03-09 23:45:00", "05-20 00:00:00"),
    "PT30M": ("03-01 10:00:00", "03-01 11:00:00", "03-02 12:30:00", "03-09 23:30:00", "05-20 00:00:00"),
    "PT1H": ("03-01 10:00:00", "03-01 11:00:00", "03-02 12:00:00", "03-09 23:00:00", "05-20 00:00:00"),
    "P1D": ("03-01 00:00:00", "03-01 00:00:00", "03-02 00:00:00", "03-09 00:00:00", "05-20 00:00:00"),
    "P1W": ("02-23 00:00:00", "02-23 00:00:00", "03-02 00:00:00", "03-09 00:00:00", "05-18 00:00:00"),
    "P1M": ("03-01 00:00:00", "03-01 00:00:00", "03-01 00:00:00", "03-01 00:00:00", "05-01 00:00:00"),
    "P3M": ("01-01 00:00:00", "01-01 00:00:00", "01-01 00:00:00", "01-01 00:00:00", "04-01 00:00:00"),
    "P1Y": ("01-01 00:00:00", "01-01 00:00:00", "01-01 00:00:00", "01-01 00:00:00", "01-01 00:00:00"),
}


def fill():
    with connect(*address()) as connection:
        connection.execute("CREATE SCHEMA web")
        connection.execute(f"CREATE TABLE web.visits ({COLUMNS})")
        rows = (
            f"({number}, TIMESTAMPTZ '{at}+00:00', TIMESTAMP '{at}', DATE '{at[:10]}', {rest})"
            for number, (at, rest) in enumerate(ROWS, 1)
        )
        connection.execute(f"INSERT INTO web.visits VALUES {', '.join(rows)}")
        connection.execute("CREATE VIEW web.paid AS SELECT id, price, country FROM web.visits WHERE price > 6")
        connection.execute('CREATE TABLE "2026-odd" ("A b" int, "select" text)')


def same(found, expected):
    assert found == expected, f"\nfound    {found}\nexpected {expected}"


def milliseconds(moment):
    return calendar.timegm(time.strptime(f"2026-{moment}", "%Y-%m-%d %H:%M:%S")) * 1000


class Superset:
    """A Superset that runs, and somebody who is logged in."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        settings = self.folder / "superset_config.py"
        settings.write_text(SETTINGS, encoding="utf-8")
        key = secrets.token_urlsafe(42)
        own = {"SUPERSET_HOME": folder, "SUPERSET_CONFIG_PATH": str(settings), "SUPERSET_SECRET_KEY": key, "FLASK_APP": "superset"}
        self.environment = {**os.environ, **own, "TZ": "UTC"}
        self.program = str(pathlib.Path(sys.executable).with_name("superset"))
        self.session = requests.Session()

    def do(self, *arguments):
        done = subprocess.run(
            [self.program, *arguments], env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=START_MAX
        )
        assert done.returncode == 0, f"superset {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-4000:]}"

    @contextlib.contextmanager
    def serving(self):
        password = secrets.token_urlsafe(12)
        self.do("db", "upgrade")
        name = ("--username", "ada", "--firstname", "Ada", "--lastname", "L", "--email", "ada@example.com")
        self.do("fab", "create-admin", *name, "--password", password)
        self.do("init")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.base = f"http://127.0.0.1:{port}"
        log = self.folder / "log"
        with open(log, "wb") as out:
            command = [self.program, "run", "--host", "127.0.0.1", "--port", str(port), "--with-threads"]
            server = subprocess.Popen(command, env=self.environment, cwd=self.folder, stdout=out, stderr=out)
        try:
            self.log_in(server, password)
            yield self
        except BaseException:
            print(log.read_text(encoding="utf-8", errors="replace")[-10_000:], file=sys.stderr)
            raise
        finally:
            server.terminate()
            server.wait(30)

    def log_in(self, server, password):
        until = time.monotonic() + START_MAX
        while True:
            assert server.poll() is None and time.monotonic() < until, "Superset does not start"
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"{self.base}/health", timeout=ANSWER_MAX).ok:
                    break
            time.sleep(0.5)
        who = {"username": "ada", "password": password, "provider": "db", "refresh": False}
        token = self.post("security/login", who)["access_token"]
        self.session.headers.update({"Authorization": f"Bearer {token}", "Referer": self.base})
        self.session.headers["X-CSRFToken"] = self.get("security/csrf_token/")["result"]

    def call(self, method, path, **more):
        answer = self.session.request(method, f"{self.base}/api/v1/{path}", timeout=ANSWER_MAX, **more)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        return answer.json()

    def get(self, path, query=None):
        return self.call("GET", path, params={"q": prison.dumps(query)} if query else None)

    def post(self, path, body):
        return self.call("POST", path, json=body)

    def fails(self, path, body):
        """What is told of what can't be done."""
        answer = self.session.post(f"{self.base}/api/v1/{path}", json=body, timeout=ANSWER_MAX)
        assert not answer.ok, f"{path}: it was done: {answer.text[:500]}"
        told = answer.json()
        return told["errors"][0]["message"] if "errors" in told else told["message"]


class Lab:
    """SQL Lab, with a database of Superset."""

    def __init__(self, superset, database):
        self.superset, self.database = superset, database

    def body(self, sql, schema="main", limit=1000, **more):
        asked = {"database_id": self.database, "sql": sql, "schema": schema, "queryLimit": limit, "runAsync": False}
        return {**asked, "client_id": uuid.uuid4().hex[:11], **more}

    def ask(self, sql, **more):
        return self.superset.post("sqllab/execute/", self.body(sql, **more))

    def rows(self, sql, **more):
        return [tuple(row.values()) for row in self.ask(sql, **more)["data"]]

    def fails(self, sql, **more):
        return self.superset.fails("sqllab/execute/", self.body(sql, **more))


def connects(superset, uri):
    same(superset.post("database/test_connection/", {"database_name": "lake", "sqlalchemy_uri": uri}), {"message": "OK"})
    other = {"database_name": "lake", "sqlalchemy_uri": uri.removesuffix("lake") + "shop"}
    same(superset.fails("database/test_connection/", other), 'Unable to connect to database "shop".')
    switches = ("expose_in_sqllab", "allow_dml", "allow_ctas", "allow_cvas", "allow_file_upload")
    made = {"sqlalchemy_uri": uri, **{switch: True for switch in switches}}
    plain = superset.post("database/", {**made, "database_name": "lake"})["id"]
    extra = '{"engine_params": {"isolation_level": "AUTOCOMMIT"}, "schemas_allowed_for_file_upload": ["main", "web"]}'
    writing = superset.post("database/", {**made, "database_name": "lake, to write", "extra": extra})["id"]
    return plain, writing


def looks_around(superset, database):
    base = f"database/{database}"
    same(superset.get(f"{base}/catalogs/", {"force": True})["result"], ["lake"])
    same(sorted(superset.get(f"{base}/schemas/", {"force": True})["result"]), ["information_schema", "main", "web"])

    def tables(schema):
        listed = superset.get(f"{base}/tables/", {"force": True, "schema_name": schema})["result"]
        return {(table["value"], table["type"]) for table in listed}

    same(tables("main"), {("2026-odd", "table")})
    same(tables("web"), {("visits", "table"), ("paid", "view")})
    assert ("tables", "view") in tables("information_schema")
    visits = superset.get(f"{base}/table_metadata/?name=visits&schema=web")
    kinds = {column["name"]: column["longType"] for column in visits["columns"]}
    long_types = {"id": "BIGINT", "at": "TIMESTAMP", "seen": "TIMESTAMP", "day": "DATE", "page": "TEXT", "country": "TEXT"}
    long_types |= {"ok": "BOOLEAN", "price": "NUMERIC(12, 2)", "seconds": "DOUBLE_PRECISION", "tags": "ARRAY", "who": "JSON"}
    same(kinds, long_types)
    same((visits["indexes"], visits["foreignKeys"], visits["comment"]), ([], [], None))
    assert "FROM web.visits" in visits["selectStar"]
    odd = superset.get(f"{base}/table_metadata/?name=2026-odd&schema=main")
    same([column["name"] for column in odd["columns"]], ["A b", "select"])
    superset.get(f"{base}/table_metadata/extra/?name=visits&schema=web")


def asks_in_sql_lab(lab):
    answer = lab.ask("SELECT * FROM web.visits ORDER BY id")
    told = {column["column_name"]: column["type"] for column in answer["columns"]}
    kinds = {"id": "LONGINTEGER", "at": "DATETIMETZ", "seen": "DATETIME", "day": "DATE", "page": "STRING", "country": "STRING"}
    kinds |= {"ok": "BOOLEAN", "price": "DECIMAL", "seconds": "FLOAT", "tags": "STRINGARRAY", "who": "JSON"}
    same(told, kinds)
    first = {"id": 1, "at": "2026-03-01T10:00:07+00:00", "seen": "2026-03-01T10:00:07", "day": "2026-03-01", "page": "/a"}
    first |= {"country": "DE", "ok": True, "price": 10.5, "seconds": 1.5, "tags": '["x", "y"]', "who": "{'name': 'Ana'}"}
    same(answer["data"][0], first)
    same({value for name, value in answer["data"][3].items() if name in ("ok", "price", "seconds", "tags", "who")}, {None})
    totals = "WITH sums AS (SELECT country, sum(price) AS total FROM web.visits GROUP BY 1)"
    same(lab.rows(f"{totals} SELECT * FROM sums WHERE total > 16 ORDER BY total DESC"), [("AT", 100.0), ("FR", 20.25)])
    same(lab.rows("SELECT id FROM web.visits ORDER BY id", limit=2), [(1,), (2,)])
    same(lab.rows("SELECT 1 AS a; SELECT 2 AS b"), [(2,)])
    same(lab.rows("-- a comment\nSELECT page FROM web.visits WHERE page LIKE '%c\\%'"), [("/c%",)])
    same(lab.rows("SELECT count(*) FROM web.paid"), [(3,)])
    # It writes functions in capitals, and names a schema by search_path.
    same(lab.rows("SELECT value FROM generate_series(1, 5000)", limit=3), [(1,), (2,), (3,)])
    same(lab.rows("SELECT id FROM visits WHERE price > 50", schema="web"), [(5,)])
    same(lab.rows('SELECT * FROM "2026-odd"', schema="web"), [])
    same(lab.fails("SELECT nothing FROM web.visits"), 'We can\'t seem to resolve the column "nothing" at line 2.')
    assert 'there is no table "nothing" in database "web"' in lab.fails("SELECT * FROM web.nothing")
    assert "division by zero" in lab.fails("SELECT 1/0")
    assert "connect with autocommit" in lab.fails('INSERT INTO "2026-odd" VALUES (1, \'x\')')


def writes_in_sql_lab(superset, lab):
    lab.ask('INSERT INTO "2026-odd" VALUES (1, \'x\')')
    lab.ask('UPDATE "2026-odd" SET "select" = \'y\'')
    same(lab.rows('SELECT * FROM "2026-odd"'), [(1, "y")])
    for method in ("TABLE", "VIEW"):
        made = f"made_{method.lower()}"
        lab.ask("SELECT id, price FROM web.visits", select_as_cta=True, ctas_method=method, tmp_table_name=made)
        same(lab.rows(f"SELECT count(*), sum(price) FROM {made}"), [(5, 135.75)])
        lab.ask(f"DROP {method} {made}")
    rows = b"id,at,name,price\n1,2026-01-01 10:00:00,Ana,1.5\n2,2026-01-02 10:00:00,Bob,\n"
    for times, exists in enumerate(("fail", "append"), 1):
        form = {"type": "csv", "table_name": "uploaded", "schema": "main", "delimiter": ",", "already_exists": exists, "column_dates": "at"}
        superset.call("POST", f"database/{lab.database}/upload/", files={"file": ("a.csv", rows, "text/csv")}, data=form)
        same(lab.rows("SELECT count(*), max(at), sum(price) FROM uploaded"), [(2 * times, "2026-01-02T10:00:00", 1.5 * times)])


class Charts:
    """Charts of a dataset."""

    def __init__(self, superset, database, name, sql=None):
        made = {"database": database, "schema": "web", "table_name": name, **({"sql": sql} if sql else {})}
        self.superset, self.dataset = superset, superset.post("dataset/", made)["id"]

    def body(self, **query):
        asked = {"datasource": {"id": self.dataset, "type": "table"}, "force": True, "result_format": "json", "result_type": "full"}
        return {**asked, "queries": [{"row_limit": 1000, **query}]}

    def draw(self, **query):
        """The rows of a chart, as tuples, in an order of their own."""
        result = self.superset.post("chart/data", self.body(**query))["result"][0]
        assert not result["error"], result
        return sorted((tuple(row.values()) for row in result["data"]), key=str)

    def ids(self, **query):
        return [number for (number,) in self.draw(columns=["id"], metrics=[], **query)]


def metric(aggregate, column):
    return {"expressionType": "SIMPLE", "column": {"column_name": column}, "aggregate": aggregate, "label": f"{aggregate} of {column} %"}


def by_time(column, grain):
    return {"timeGrain": grain, "columnType": "BASE_AXIS", "sqlExpression": column, "label": column, "expressionType": "SQL"}


def draws_time(charts):
    for grain, moments in GRAINS.items():
        for column in ("at", "seen"):
            expected = {}
            for number, moment in enumerate(moments, 1):
                expected.setdefault(milliseconds(moment), []).append(number)
            expected = {(float(moment), len(numbers), sum(numbers)) for moment, numbers in expected.items()}
            found = charts.draw(columns=[by_time(column, grain)], metrics=[metric("COUNT", "id"), metric("SUM", "id")])
            same(set(found), expected)
    days = charts.draw(columns=[by_time("day", "P1M")], metrics=["count"])
    same(days, [(float(milliseconds("03-01 00:00:00")), 4), (float(milliseconds("05-01 00:00:00")), 1)])
    for column in ("at", "seen", "day"):
        between = {"col": column, "op": "TEMPORAL_RANGE", "val": "2026-03-01T00:00:00 : 2026-03-09T23:59:59"}
        same(charts.ids(filters=[between]), [1, 2, 3])
    compared = charts.draw(
        columns=[by_time("at", "P1M")],
        metrics=[metric("SUM", "price")],
        time_offsets=["2 months ago"],
        granularity="at",
        time_range="2026-05-01 : 2026-06-01",
        filters=[{"col": "at", "op": "TEMPORAL_RANGE", "val": "2026-05-01 : 2026-06-01"}],
    )
    same(compared, [(float(milliseconds("05-01 00:00:00")), 100.0, 35.75)])


def draws_groups(charts):
    price = metric("SUM", "price")
    same(charts.draw(columns=["country"], metrics=[price]), [("AT", 100.0), ("DE", 15.5), ("FR", 20.25), (None, None)])
    for aggregate, expected in (("AVG", 33.9375), ("MIN", 5.0), ("MAX", 100.0), ("COUNT", 4), ("COUNT_DISTINCT", 4)):
        same(charts.draw(columns=[], metrics=[metric(aggregate, "price")]), [(expected,)])
    kept = {"having": "SUM(price) > 18", "where": "page <> '/b'"}
    same(charts.draw(columns=["country"], metrics=[price], extras=kept), [("AT", 100.0), ("FR", 20.25)])
    rate = "SUM(CASE WHEN ok THEN price ELSE 0 END) / NULLIF(COUNT(*), 0)"
    rate = {"expressionType": "SQL", "sqlExpression": rate, "label": "rate"}
    same(charts.draw(columns=["page"], metrics=[rate]), [("/a", 15.375), ("/b", 0.0), ("/c%", 100.0)])
    # The series that are largest only: a join with a question of its own.
    at = by_time("at", "P1D")
    largest = {"series_columns": ["country"], "series_limit": 2, "series_limit_metric": metric("COUNT", "id")}
    series = charts.draw(columns=[at, "country"], metrics=[price], filters=[{"col": "price", "op": "<", "val": 50}], **largest)
    same({country for _, country, _ in series}, {"DE", "FR"})
    paged = charts.superset.post("chart/data", charts.body(columns=["id"], metrics=[], row_limit=2, row_offset=2, orderby=[["id", True]]))
    same(paged["result"][0]["data"], [{"id": 3}, {"id": 4}])


def filters(charts):
    for column, operator, value, expected in (
        ("country", "==", "DE", [1, 3]),
        ("country", "!=", "DE", [2, 5]),
        ("country", "IN", ["DE", "FR"], [1, 2, 3]),
        ("country", "IN", ["DE", None], [1, 3, 4]),
        ("country", "NOT IN", ["DE"], [2, 5]),
        ("country", "IS NULL", None, [4]),
        ("country", "LIKE", "%D%", [1, 3]),
        ("country", "ILIKE", "%d%", [1, 3]),
        ("ok", "IS TRUE", None, [1, 2, 5]),
        ("ok", "==", True, [1, 2, 5]),
        ("price", ">", "5.5", [1, 2, 5]),
        ("price", "<=", 20.25, [1, 2, 3]),
        ("id", "ILIKE", "%1%", [1]),
        ("day", "==", "2026-03-01", [1, 2]),
        ("at", ">=", "2026-03-02", [3, 4, 5]),
        ("seen", "IN", ["2026-03-01 10:00:07"], [1]),
        ("at", "==", milliseconds("03-01 10:00:07"), [1]),
        ("page", "==", "/c%", [5]),
        ("tags", "IS NOT NULL", None, [1, 2, 5]),
    ):
        found = charts.ids(filters=[{"col": column, "op": operator, "val": value}])
        assert found == expected, f"{column} {operator} {value}: {found}"


def draws(superset, database):
    visits = Charts(superset, database, "visits")
    known = superset.get(f"dataset/{visits.dataset}")["result"]
    same([column["column_name"] for column in known["columns"] if column["is_dttm"]], ["at", "seen", "day"])
    superset.call("PUT", f"dataset/{visits.dataset}/refresh")
    draws_time(visits)
    draws_groups(visits)
    filters(visits)
    wrong = superset.fails("chart/data", visits.body(columns=["id"], metrics=[], extras={"where": "nothing = 1"}))
    assert 'column "nothing" does not exist' in wrong, wrong
    values = superset.get(f"datasource/table/{visits.dataset}/column/country/values/")["result"]
    same(sorted(values, key=str), ["AT", "DE", "FR", None])
    paid = Charts(superset, database, "paid").draw(columns=["country"], metrics=["count"])
    same(paid, [("AT", 1), ("DE", 1), ("FR", 1)])
    sql = "WITH bought AS (SELECT country, price, at FROM web.visits) SELECT * FROM bought WHERE price IS NOT NULL"
    bought = Charts(superset, database, "bought", sql).draw(columns=[by_time("at", "P1M")], metrics=[metric("SUM", "price")])
    same(bought, [(float(milliseconds("03-01 00:00:00")), 35.75), (float(milliseconds("05-01 00:00:00")), 100.0)])


def main():
    fill()
    host, port = address()
    with tempfile.TemporaryDirectory() as folder, Superset(folder).serving() as superset:
        plain, writing = connects(superset, f"postgresql+psycopg2://lacus@{host}:{port}/lake")
        looks_around(superset, plain)
        asks_in_sql_lab(Lab(superset, plain))
        draws(superset, plain)
        writes_in_sql_lab(superset, Lab(superset, writing))
    print("Superset finds, asks and draws")


if __name__ == "__main__":
    main()
