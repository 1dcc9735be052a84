"""External tables: folders of files that DuckDB writes and lacus asks where they are."""

import dataclasses

from differential_tables import COLUMNS, Table, in_duckdb, with_content
from differential_writes import Writes
from questions.values import TYPES

OUTSIDE_MAX = 3
# Columns that may be names of folders, and what Hive calls their types.
FOLDERS = {"day": "date", "n": "int", "b": "boolean", "j": "bigint", "g": "string"}
# How DuckDB writes files.
FORMATS = {"parquet": "FORMAT parquet", "json": "FORMAT json", "csv": "FORMAT csv, HEADER false, NULLSTR '\\N'"}


@dataclasses.dataclass
class Folder(Table):
    """A table whose rows are in files of its own."""

    format: str = ""


class Outside(Writes):
    """Tables that are only read, beside those that change."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.outside = []

    @property
    def only_read(self):
        """Views, and tables outside."""
        return [*self.views, *self.outside]

    def files_come(self):
        """A new table, or new files of one that is there: no statement tells lacus of them."""
        if len(self.outside) < OUTSIDE_MAX and self.chance.random() < 0.5 or not self.outside:
            table = self.external()
        else:
            table = self.chance.choice(self.outside)
            self.files(table)
        self.check(table)

    def external(self):
        """A folder of files becomes a table."""
        stored = self.chance.choice(sorted(FORMATS))
        has_arrays = stored != "csv"
        kinds = {name: kind for name, kind in COLUMNS.items() if name != "id" and isinstance(kind, str) and (has_arrays or kind not in ("ints", "texts"))}
        names = self.chance.sample(sorted(kinds), self.chance.randrange(4, 10))
        folders = [name for name in FOLDERS if name in names][: self.chance.choice([0, 1, 1, 2])]
        # What folders are called is no part of the files, and comes last.
        shape = {"id": "int", **{name: kinds[name] for name in names if name not in folders}, **{name: kinds[name] for name in folders}}
        table = Folder(f"outside{len(self.outside) + 1}", shape, False, partitioned={name: name for name in folders}, format=stored)
        self.folder(table).mkdir(parents=True)
        columns = {name: f'"{name}" {TYPES[kind]}' for name, kind in shape.items()}
        self.duckdb.execute(f"CREATE TABLE {table.name} ({', '.join(columns.values())})")
        self.files(table)
        inside = ", ".join(column for name, column in columns.items() if name not in folders)
        partitioned = "PARTITIONED BY (" + ", ".join(f'"{name}" {FOLDERS[name]}' for name in folders) + ") " if folders else ""
        sql = f"CREATE EXTERNAL TABLE {table.name} ({inside}) {partitioned}STORED AS {stored.upper()} LOCATION 'import/{table.name}/'"
        self.say(sql)
        with self.postgres.cursor() as cursor:
            cursor.execute(sql.encode())
        self.outside.append(table)
        return table

    def folder(self, table):
        return self.lacus.data.parent / "import" / table.name

    def files(self, table):
        """More rows, in a new file, or in one for each folder that some of them are in."""
        rows = [with_content(self.row(table)) for _ in range(self.chance.choice([1, 5, 40, 40]))]
        for row in rows:
            # No text at all is null in the name of a folder.
            row.update({name: None for name in table.partitioned if row[name] == ""})
        self.say(f"{len(rows)} rows in new files of {table.name}, ids {rows[0]['id']} to {rows[-1]['id']}")
        values = ", ".join("(" + ", ".join(in_duckdb(row[name], kind) for name, kind in table.shape.items()) + ")" for row in rows)
        self.duckdb.execute(f"INSERT INTO {table.name} VALUES {values}")
        for folder, some in self.by_folder(table, rows).items():
            place = self.folder(table) / folder
            place.mkdir(parents=True, exist_ok=True)
            self.write(table, place / f"rows_{rows[0]['id']}", some)

    def by_folder(self, table, rows):
        """Rows by the names of the folders that they are in."""
        found = {}
        for row in rows:
            folder = "/".join(f"{name}={in_name(row[name])}" for name in table.partitioned)
            found.setdefault(folder, []).append(row)
        return found

    def write(self, table, path, rows):
        ids = ", ".join(str(row["id"]) for row in rows)
        columns = ", ".join(written(name, kind, table.format) for name, kind in table.shape.items() if name not in table.partitioned)
        selected = f"SELECT {columns} FROM {table.name} WHERE id IN ({ids})"
        self.duckdb.execute(f"COPY ({selected}) TO '{path}.{table.format}' ({FORMATS[table.format]})")


def written(name, kind, written_as):
    """A column as it is written. In JSON, DuckDB's offset of hours alone is none to lacus."""
    if kind == "tz" and written_as == "json":
        return f"strftime(\"{name}\", '%Y-%m-%dT%H:%M:%S.%fZ') AS \"{name}\""
    return f'"{name}"'


def in_name(given):
    """A value as Hive has it in the name of a folder."""
    match given:
        case None:
            return "__HIVE_DEFAULT_PARTITION__"
        case bool():
            return str(given).lower()
    return str(given)
