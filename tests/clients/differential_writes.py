"""Statements that change rows: lacus and DuckDB have to change the same ones to the same values.

What a statement is made of is asked for first. What is answered differently is a wrong answer and no wrong change: it can be
made smaller.
"""

import dataclasses

from differential_tables import Tables, Wrong
from questions.answers import same_rows
from questions.every import Questions
from questions.parts import at_the_top, columns_of, scope_of
from questions.trees import DUCK, LACUS, Derived, Expr, Item, Join, Select, Source, given, listed, over
from questions.values import PLAIN, literal

# The name of what a statement reads beside the table that it changes.
OTHER = "s"
# Rows of another table that are read, at most one in so many of a large one.
LARGE_SHARE = 100


@dataclasses.dataclass
class Others:
    """Rows of which each has an id and a key of its own, and whose they are."""

    source: object
    scope: list
    on: Expr
    next_id: int


class Writes(Tables):
    """Statements, each of which is asked of both."""

    def agreed(self, query):
        """The rows of a question, once both engines agree about them. None if both refuse."""
        answers = [self.ask(query, dialect) for dialect in (LACUS, DUCK)]
        failed = [isinstance(answer, Exception) for answer in answers]
        if all(failed):
            return None
        if any(failed) or not same_rows(*answers, query.ordered):
            raise Wrong(query)
        return answers[0]

    def questions(self):
        return Questions(self.chance, self.tables, self.views)

    def scope(self, table):
        return scope_of(table.name, table.columns)

    def id_of(self, table):
        return Expr("int", f"{table.name}.id")

    def one_in(self, table, count):
        """Not too many rows at once."""
        return Expr("bool", f"{table.name}.id % {count} = {self.chance.randrange(count)}")

    # One table

    def condition(self, table, few, exprs=()):
        """A condition, once both engines agree about the rows it is true for, and about what is computed of them."""
        condition = listed("bool", "({})", (self.questions().condition(self.scope(table)), self.one_in(table, few)), " AND ")
        items = tuple(Item(expr, f"c{place}") for place, expr in enumerate([self.id_of(table), *exprs], 1))
        return None if self.agreed(Select(items, Source(table.name, table.name), where=condition)) is None else condition

    def delete(self, table):
        condition = self.condition(table, 3)
        if condition:
            self.both(table, lambda dialect: f"DELETE FROM {table.name} WHERE {condition.write(dialect)}")

    def update(self, table):
        sets = self.sets(table, self.scope(table))
        condition = self.condition(table, 2, [expr for _, expr in sets])
        if condition and sets:
            self.both(table, lambda dialect: f"UPDATE {table.name} SET {assigned(sets, dialect)} WHERE {condition.write(dialect)}")

    def sets(self, table, scope):
        """Columns and what they are set to."""
        kinds = {name: kind for name, kind in table.shape.items() if kind in ("int", "text", "bool", "date", "ts") and name != "id"}
        names = self.chance.sample(sorted(kinds), min(len(kinds), self.chance.choice([1, 1, 2])))
        return [(name, self.kept_small(self.questions().expr(scope, kinds[name], 1))) for name in names]

    def kept_small(self, expr):
        """Numbers stay small, and texts short."""
        match expr.kind:
            case "int":
                return over("int", "({} % 1000)", expr)
            case "text":
                return over("text", "substr({}, 1, 60)", expr)
        return expr

    # Beside another table

    def others(self, table):
        """Rows of a table, the same one or another, none of which has the key of another row."""
        other = self.chance.choice(self.tables)
        questions = self.questions()
        alias = questions.alias()
        inner = scope_of(alias, other.columns)
        where = questions.condition(inner, 1)
        if other.name == "large":
            where = listed("bool", "({})", (where, Expr("bool", f"{alias}.id % {LARGE_SHARE} = 0")), " AND ")
        plain = [column for column in inner if column.kind in PLAIN]
        keys = [column for column in inner if column.kind in ("int", "text", "date") and any(kind == column.kind for kind in table.shape.values())]
        if self.chance.random() < 0.5:
            key = Expr("int", f"{alias}.id")
            values = self.chance.sample(plain, min(len(plain), 4))
            groups = ()
        else:
            key = self.chance.choice(keys)
            values = [over(column.kind, "max({})", column) for column in self.chance.sample(plain, min(len(plain), 3))]
            groups = (key,)
        row = Expr("int", f"{alias}.id")
        exprs = {"id": over("int", "min({})", row) if groups else row, "k": key, **{f"v{place}": expr for place, expr in enumerate(values)}}
        query = Select(tuple(Item(expr, name) for name, expr in exprs.items()), Source(other.name, alias), where=where, groups=groups)
        scope = columns_of(query, OTHER)
        mine = questions.column(at_the_top(self.scope(table)), key.kind)
        return Others(Derived(query, OTHER), scope, over("bool", "({} = {})", mine, scope[1]), other.next_id)

    def update_from(self, table):
        others = self.others(table)
        scope = self.scope(table) + others.scope
        sets = self.sets(table, scope)
        on = self.narrowed(others.on, scope, self.one_in(table, 2))
        if sets and self.joined(table, "JOIN", others, on, [expr for _, expr in sets]):
            self.both(
                table,
                lambda dialect: f"UPDATE {table.name} SET {assigned(sets, dialect)} FROM {others.source.write(dialect)} WHERE {on.write(dialect)}",
            )

    def delete_using(self, table):
        others = self.others(table)
        on = self.narrowed(others.on, self.scope(table) + others.scope, self.one_in(table, 3))
        if self.joined(table, "JOIN", others, on, []):
            self.both(table, lambda dialect: f"DELETE FROM {table.name} USING {others.source.write(dialect)} WHERE {on.write(dialect)}")

    def narrowed(self, on, scope, few):
        """A condition on rows of both, which few rows meet."""
        more = [self.questions().condition(scope, 1)] if self.chance.random() < 0.5 else []
        return listed("bool", "({})", (on, few, *more), " AND ")

    def joined(self, table, words, others, on, exprs):
        """Whether both engines agree which rows come together, and about what is computed of them."""
        exprs = [self.id_of(table), others.scope[0], *exprs]
        items = tuple(Item(expr, f"c{place}") for place, expr in enumerate(exprs, 1))
        return self.agreed(Select(items, Source(table.name, table.name), (Join(words, None, others.source, on),))) is not None

    def merge(self, table):
        """Rows are changed, deleted and inserted by one statement; the first clause that is true decides."""
        others = self.others(table)
        both = self.scope(table) + others.scope
        clauses = []
        for _ in range(self.chance.choice([0, 1, 1, 2])):
            clauses.append(self.clause("MATCHED", both, self.changed(table, both), self.one_in(table, 3)))
        if self.chance.random() < 0.7:
            clauses.append(self.clause("NOT MATCHED", others.scope, self.inserted(table, others), Expr("bool", f"{OTHER}.id % 3 = 0")))
        if self.chance.random() < 0.4:
            clauses.append(self.clause("NOT MATCHED BY SOURCE", self.scope(table), self.changed(table, self.scope(table)), self.one_in(table, 5)))
        clauses = [clause for clause in clauses if clause.act]
        exprs = [expr for clause in clauses for expr in (clause.condition, *(expr for _, expr in clause.sets))]
        if not clauses or not self.joined(table, "FULL JOIN", others, others.on, exprs):
            return
        write = lambda dialect: f"MERGE INTO {table.name} USING {others.source.write(dialect)} ON {others.on.write(dialect)} " + " ".join(
            clause.write(dialect) for clause in clauses
        )
        self.change(write(LACUS), write(DUCK))
        table.next_id += others.next_id

    def clause(self, when, scope, act, few):
        act, sets = act
        condition = listed("bool", "({})", (few, self.questions().condition(scope, 1)), " AND ") if self.chance.random() < 0.7 else few
        return Clause(when, condition, act, sets)

    def changed(self, table, scope):
        if self.chance.random() < 0.35:
            return "DELETE", []
        sets = self.sets(table, scope)
        return "UPDATE" if sets else None, sets

    def inserted(self, table, others):
        return "INSERT", [("id", self.new_id(table)), *self.values(table, others.scope)]

    def new_id(self, table):
        return Expr("int", f"({OTHER}.id + {table.next_id})")

    def values(self, table, scope):
        """Columns of a table and what comes into them."""
        kinds = {name: kind for name, kind in table.shape.items() if kind in PLAIN and name != "id"}
        names = self.chance.sample(sorted(kinds), self.chance.randrange(len(kinds) + 1))
        return [(name, self.kept_small(self.questions().expr(scope, kinds[name], 1))) for name in names]

    def insert_select(self, table):
        others = self.others(table)
        values = [("id", self.new_id(table)), *self.values(table, others.scope)]
        query = Select(tuple(Item(expr, f"c{place}") for place, (_, expr) in enumerate(values, 1)), others.source)
        if self.agreed(query) is None:
            return
        names = ", ".join(f'"{name}"' for name, _ in values)
        self.both(table, lambda dialect: f"INSERT INTO {table.name} ({names}) {query.write(dialect)}")
        table.next_id += others.next_id

    def overwrite(self, table):
        """All rows of a table or of a partition go, others come: of the table as it was, or of another one."""
        # Only tables that SQL made: there are no structs in them.
        others, fixed = self.others(table), self.fixed(table)
        values = {"id": self.new_id(table), **dict(self.values(table, others.scope))}
        exprs = [values.get(name) or given(None, kind) for name, kind in table.shape.items() if name not in fixed]
        query = Select(tuple(Item(expr, f"c{place}") for place, expr in enumerate(exprs, 1)), others.source)
        if not self.agreed(query):
            return
        partition = "".join(f' PARTITION ("{name}" = {value})' for name, value in fixed.items())
        condition = "".join(f' WHERE "{name}" IS NOT DISTINCT FROM {value}' for name, value in fixed.items())
        names = ", ".join(f'"{name}"' for name in [*(name for name in table.shape if name not in fixed), *fixed])
        self.change(
            f"INSERT OVERWRITE {table.name}{partition} {query.write(LACUS)}",
            f"CREATE OR REPLACE TEMP TABLE fresh AS {query.write(DUCK)}",
            f"DELETE FROM {table.name}{condition}",
            f"INSERT INTO {table.name} ({names}) SELECT {', '.join(['*', *fixed.values()])} FROM fresh",
        )
        table.next_id += others.next_id

    def fixed(self, table):
        """A column that the table is partitioned by, and the value of one of its partitions. Nothing: all of them."""
        names = [name for name, by in table.partitioned.items() if by == name]
        if not names or self.chance.random() < 0.3:
            return {}
        name = self.chance.choice(names)
        found = [row[0] for row in self.duckdb.execute(f'SELECT DISTINCT "{name}" FROM {table.name} ORDER BY 1').fetchall()]
        return {name: literal(self.chance.choice(found), table.shape[name])} if found else {}


@dataclasses.dataclass(frozen=True)
class Clause:
    """WHEN … THEN … of a MERGE."""

    when: str
    condition: Expr
    act: str | None
    sets: list

    def write(self, dialect):
        match self.act:
            case "UPDATE":
                act = f"UPDATE SET {assigned(self.sets, dialect)}"
            case "INSERT":
                names = ", ".join(f'"{name}"' for name, _ in self.sets)
                act = f"INSERT ({names}) VALUES ({', '.join(expr.write(dialect) for _, expr in self.sets)})"
            case _:
                act = self.act
        return f"WHEN {self.when} AND {self.condition.write(dialect)} THEN {act}"


def assigned(sets, dialect):
    return ", ".join(f'"{name}" = {expr.write(dialect)}' for name, expr in sets)
