#!/usr/bin/env python3
"""DuckDB and pyarrow read what UNLOAD wrote, COPY reads what they wrote, over psycopg and psql's protocol.

Usage: files.py --project DIR [--endpoint HOST:PORT --place s3://BUCKET/PREFIX]

A lacus server must be serving the project. With an endpoint, files are in a bucket there.
"""

import argparse
import datetime
import json
import pathlib

import duckdb
import psycopg
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet

ROWS = 300_000
# More than one part of an upload, and more than one file of the least size that may be asked for.
TEXT = "md5(CAST(n AS text)) || md5(CAST(n + 1 AS text))"


def connect(project):
    address = json.loads((project / ".lacus" / "server.json").read_text())["postgres"]
    host, port = address.rsplit(":", 1)
    return psycopg.connect(host=host, port=port, user="lacus", dbname="lake", autocommit=True)


class Place:
    """Where files are: a folder, or a part of a bucket."""

    def __init__(self, project, endpoint, place):
        self.name = place or "unload"
        if place:
            self.root = place.removeprefix("s3://")
            self.files = pyarrow.fs.S3FileSystem(
                access_key="tester", secret_key="correct-horse", endpoint_override=f"http://{endpoint}", region="us-east-1"
            )
        else:
            self.root = str(project / "unload")
            self.files = pyarrow.fs.LocalFileSystem()

    def list(self, folder):
        selector = pyarrow.fs.FileSelector(f"{self.root}/{folder}", recursive=True, allow_not_found=True)
        found = [info for info in self.files.get_file_info(selector) if info.is_file]
        return sorted(info.path.removeprefix(f"{self.root}/{folder}/") for info in found)

    def read(self, path):
        with self.files.open_input_stream(f"{self.root}/{path}", compression=None) as file:
            return file.read()

    def dataset(self, folder, **how):
        return pyarrow.dataset.dataset(f"{self.root}/{folder}", filesystem=self.files, **how)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--project", type=pathlib.Path, required=True)
    arguments.add_argument("--endpoint")
    arguments.add_argument("--place")
    arguments = arguments.parse_args()
    place = Place(arguments.project, arguments.endpoint, arguments.place)
    with connect(arguments.project) as connection:
        cursor = connection.cursor()
        cursor.execute(
            f"CREATE TABLE numbers AS SELECT n, n % 3 AS part, CAST(n AS numeric(12,2)) / 4 AS price, {TEXT} AS text,"
            f" CAST('2026-11-21 10:00:00' AS timestamp) AS came FROM generate_series(1, {ROWS}) AS s (n)"
        )
        cursor.execute(f"UNLOAD ('SELECT * FROM numbers') TO '{place.name}/parquet/' FORMAT PARQUET PARTITION BY (part)")
        assert cursor.statusmessage == "UNLOAD 3", cursor.statusmessage
        files = cursor.fetchall()
        assert sum(rows for _, rows, _ in files) == ROWS, files
        assert place.list("parquet") == [f"part={part}/0000_part_00.parquet" for part in range(3)], place.list("parquet")
        unloaded = place.dataset("parquet", format="parquet", partitioning="hive").to_table()
        assert unloaded.num_rows == ROWS and set(unloaded["part"].to_pylist()) == {0, 1, 2}
        found = duckdb.sql("SELECT count(*), sum(n), count(DISTINCT text), sum(price), max(came) FROM unloaded").fetchone()
        cursor.execute("SELECT count(*), sum(n), count(DISTINCT text), sum(price), max(came) FROM numbers")
        expected = cursor.fetchone()
        assert found == expected, (found, expected)

        cursor.execute(f"UNLOAD ('SELECT n, text FROM numbers ORDER BY n') TO '{place.name}/csv/n_' CSV HEADER PARALLEL OFF MAXFILESIZE 5 MB")
        names = place.list("csv")
        assert names == [f"n_{part:03}" for part in range(len(names))] and len(names) > 3, names
        texts = [place.read(f"csv/{name}") for name in names]
        assert all(len(text) < 6 << 20 and text.startswith(b"n,text\n") for text in texts), [len(text) for text in texts]
        lines = [line for text in texts for line in text.splitlines()[1:]]
        assert [int(line.split(b",")[0]) for line in lines] == list(range(1, ROWS + 1))
        if not arguments.place:
            path = f"{place.root}/csv/n_*"
            found = duckdb.sql(f"SELECT count(*), sum(n) FROM read_csv('{path}', header = true)").fetchone()
            assert found == (ROWS, ROWS * (ROWS + 1) // 2), found

        cursor.execute("CREATE TABLE back (n bigint, text text)")
        cursor.execute(f"COPY back FROM '{place.name}/csv/' CSV IGNOREHEADER 1 IAM_ROLE DEFAULT")
        assert cursor.statusmessage == f"COPY {ROWS}", cursor.statusmessage
        cursor.execute("SELECT count(*) FROM (SELECT n, text FROM back EXCEPT SELECT n, text FROM numbers) AS d")
        assert cursor.fetchone() == (0,)

        # What others wrote.
        written = pyarrow.table({"n": [1, 2, None], "text": ["a", "é", None]})
        place.files.create_dir(f"{place.root}/theirs")
        with place.files.open_output_stream(f"{place.root}/theirs/a.parquet") as file:
            pyarrow.parquet.write_table(written, file)
        with place.files.open_output_stream(f"{place.root}/theirs.json.gz", compression="gzip") as file:
            file.write(b'{"n":3,"text":"x"}\n{"text":"y"}\n')
        cursor.execute(f"COPY back FROM '{place.name}/theirs/' FORMAT PARQUET")
        assert cursor.statusmessage == "COPY 3", cursor.statusmessage
        cursor.execute(f"COPY back FROM '{place.name}/theirs.json' JSON 'auto'")
        assert cursor.statusmessage == "COPY 2", cursor.statusmessage
        try:
            cursor.execute(f"COPY back FROM '{place.name}/theirs.json.gz' CSV")
            raise AssertionError("it was loaded")
        except psycopg.Error as error:
            assert error.sqlstate in ("22P02", "22P04") and "line 1 of " in str(error), error
        cursor.execute("SELECT count(*) FROM back")
        assert cursor.fetchone() == (ROWS + 5,)

        # And as a table, where it is. Folders of buckets have empty files.
        came = pyarrow.array([0, 1_000, None], pyarrow.timestamp("ns"))
        days = ["2026-11-21", "2026-11-22", "2026-11-22"]
        written = pyarrow.table({"n": pyarrow.array([1, 2, None], pyarrow.int32()), "came": came, "dt": days, "extra": days})
        day, midnight = datetime.date(2026, 11, 22), datetime.datetime(1970, 1, 1)
        expected = [(1, midnight, day.replace(day=21)), (2, midnight.replace(microsecond=1), day), (None, None, day)]
        for folder, how in (("nanoseconds", {}), ("wide", {"use_deprecated_int96_timestamps": True})):
            root = f"{place.root}/{folder}"
            pyarrow.parquet.write_to_dataset(written, root, partition_cols=["dt"], filesystem=place.files, **how)
            cursor.execute(
                f"CREATE EXTERNAL TABLE {folder} (n bigint, came timestamp) PARTITIONED BY (dt date)"
                f" STORED AS PARQUET LOCATION '{place.name}/{folder}/'"
            )
            cursor.execute(f"SELECT * FROM {folder} ORDER BY n")
            found = cursor.fetchall()
            assert found == expected, (folder, found)
            cursor.execute(f"SELECT count(*) FROM {folder} WHERE dt = '2026-11-22'")
            assert cursor.fetchone() == (2,), folder
        cursor.execute(f"CREATE EXTERNAL TABLE texts (n bigint, text string) STORED AS JSON LOCATION '{place.name}/lines/'")
        place.files.create_dir(f"{place.root}/lines")
        with place.files.open_output_stream(f"{place.root}/lines/a.json.gz", compression="gzip") as file:
            file.write(b'{"N":3,"text":"x"}\n{"text":"y","more":1}\n')
        cursor.execute("SELECT * FROM texts ORDER BY text")
        assert cursor.fetchall() == [(3, "x"), (None, "y")]

        for twice in ("CSV", "JSON"):
            try:
                cursor.execute(f"UNLOAD ('SELECT 1 AS a') TO '{place.name}/csv/n_' {twice}")
                raise AssertionError("it was written")
            except psycopg.errors.DuplicateFile as error:
                assert "ALLOWOVERWRITE" in error.diag.message_hint, error
        cursor.execute(f"UNLOAD ('SELECT 1 AS a') TO '{place.name}/csv/n_' CSV CLEANPATH PARALLEL OFF")
        assert place.list("csv") == ["n_000"] and place.read("csv/n_000") == b"1\n"
        for path in ("/tmp/lacus_", "s3://elsewhere/x", f"{place.name}/../x"):
            try:
                cursor.execute(f"UNLOAD ('SELECT 1 AS a') TO '{path}' CSV")
                raise AssertionError(f"it was written to {path}")
            except psycopg.Error as error:
                assert error.sqlstate in ("42501", "22023"), error
    print("ok")


if __name__ == "__main__":
    main()
