"""What tables go through between questions: rows come, files are flushed and merged, columns and views come and go."""

import dataclasses

from differential_tables import COLUMNS, View
from differential_outside import Outside
from questions.every import Questions
from questions.trees import DUCK, LACUS
from questions.values import TYPES, value

ROWS_MAX = 350
VIEWS_MAX = 3


class Changes(Outside):
    """Changes one table at a time."""

    def step(self):
        """Changes one table, and compares all of it."""
        if self.chance.random() < 0.1:
            if self.streams:
                self.tables.append(self.stream(self.streams.pop()))
            elif self.made < 2:
                self.new_table()
        if self.chance.random() < 0.1:
            self.view()
        if self.chance.random() < 0.1:
            self.files_come()
        table = self.chance.choice(self.tables)
        acts = [
            (self.insert, 8), (self.insert_select, 4), (self.delete, 8), (self.delete_using, 5), (self.update, 8), (self.update_from, 8),
            (self.merge, 10), (self.alter, 12), (self.flush, 8),
        ]  # fmt: skip
        if table.is_stream:
            acts += [(self.events, 22), (self.commits, 5), (self.drift, 10)]
        elif table.name != "large":
            acts += [(self.insert, 12), (self.replace, 6), (self.overwrite, 8)]
        act = self.chance.choices([act for act, _ in acts], [weight for _, weight in acts])[0]
        act(table)
        if table in self.tables:
            self.shrink(table)
            self.check(table)

    def shrink(self, table):
        count = self.duckdb.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0]
        if count > ROWS_MAX and table.name != "large":
            self.change(f"DELETE FROM {table.name} WHERE id % 2 = {self.chance.randrange(2)}")

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

    def drift(self, table):
        """Events with a field that no column is there for yet."""
        new = [name for name in ("x1", "x2", "x3", "Mixed Case") if name not in table.shape]
        inside = "o" in table.shape and "x" not in table.shape["o"]
        if not new and not inside:
            return
        rows = [self.row(table) for _ in range(self.chance.randrange(1, 20))]
        self.forget_views()
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
        make = self.chance.choice([self.widen, self.rename, self.drop_column, self.add_column])
        made = make(table, dict(table.shape))
        if not made:
            return
        sql, shape = made
        self.say(sql)
        self.forget_views()
        self.lacus.sql(sql)
        self.duckdb.execute(sql)
        table.shape = shape

    def may_change(self, table):
        """Columns of a table made by SQL that it is not partitioned by; of others, those that no event and no layout names."""
        if table.name.startswith("made"):
            return [name for name in table.shape if name != "id" and name not in table.partitioned]
        return [name for name in ("x1", "x2", "added") if name in table.shape]

    def may_be_there(self, table):
        """Names for columns. One that another column had may be used again."""
        names = ("added", *COLUMNS) if table.name.startswith("made") else ("added",)
        return [name for name in names if name not in table.shape]

    def widen(self, table, shape):
        wider = {"i32": "bigint", "f32": "double precision"}
        names = [name for name in ("n", "f") if shape.get(name) in wider and name not in table.partitioned]
        if not names:
            return None
        name = self.chance.choice(names)
        kind = shape[name]
        shape[name] = {"i32": "big", "f32": "dbl"}[kind]
        return f"ALTER TABLE {table.name} ALTER COLUMN {name} TYPE {wider[kind]}", shape

    def rename(self, table, shape):
        if table.name.startswith("made"):
            old, new = (self.chance.choice(names or [None]) for names in (self.may_change(table), self.may_be_there(table)))
        else:
            old, new = "j", "renamed"
        if new is None or old not in shape or new in shape:
            return None
        shape = {(new if name == old else name): kind for name, kind in shape.items()}
        return f'ALTER TABLE {table.name} RENAME COLUMN "{old}" TO "{new}"', shape

    def drop_column(self, table, shape):
        names = self.may_change(table)
        if not names or len(shape) < 4:
            return None
        name = self.chance.choice(names)
        del shape[name]
        return f'ALTER TABLE {table.name} DROP COLUMN "{name}"', shape

    def add_column(self, table, shape):
        """Of another type, too, than a column that had this name once."""
        names = self.may_be_there(table)
        if not names:
            return None
        name = self.chance.choice(names)
        shape[name] = self.chance.choice(["int", "text", "date", "dec", "dbl", "ts", "texts"])
        return f'ALTER TABLE {table.name} ADD COLUMN "{name}" {TYPES[shape[name]]}', shape

    def replace(self, table):
        """A table goes, another one comes."""
        self.forget_views()
        self.change(f"DROP TABLE {table.name}")
        self.tables.remove(table)
        self.new_table()

    # Views

    def view(self):
        """A question gets a name; it may be one about views."""
        if len(self.views) >= VIEWS_MAX:
            return
        tables = [dataclasses.replace(table, versions=[]) for table in self.tables]
        questions = Questions(self.chance, tables, self.only_read)
        make = self.chance.choice([questions.plain, questions.grouped, questions.windows, questions.sets, questions.shared, questions.lateral])
        query = make()
        if not all(item.alias for item in query.items) or self.agreed(query) is None:
            return
        name = f"view{len(self.changes)}"
        self.change(f"CREATE VIEW {name} AS {query.write(LACUS)}", f"CREATE VIEW {name} AS {query.write(DUCK)}")
        self.views.append(View(name, query.kinds))

    def forget_views(self):
        """Before columns of their tables change."""
        for view in reversed(self.views):
            self.change(f"DROP VIEW {view.name}")
        self.views.clear()
