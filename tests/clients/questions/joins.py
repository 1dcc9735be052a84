"""Joins: of columns that both sides share, of columns of one name, and of rows that are only looked for."""

import dataclasses

from questions.parts import KEYS, Parts, columns_of, scope_of
from questions.trees import Derived, Expr, Item, Join, Select, Source, over
from questions.values import PLAIN, literal, value


class Joins(Parts):
    """Questions about several tables."""

    def semi(self):
        source, scope, _ = self.source()
        other, more, _ = self.source()
        words = self.chance.choice(["SEMI", "ANTI"])
        join = Join(f"LEFT {words} JOIN", f"{words} JOIN", other, self.on(scope, more))
        items = self.items(scope, self.chance.randrange(1, 4))
        return Select(items, source, (join,), self.maybe_where(scope), **self.ends())

    def shared(self):
        """USING: a column that two tables share, or three, is one."""
        left, right = (self.chance.choice(self.tables) for _ in range(2))
        common = self.common(left, right)
        using = self.chance.sample(common, 1)
        if len(common) > 1 and self.may(0.3):
            using = self.chance.sample(common, 2)
        words = self.chance.choice(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
        one, other = self.alias(), self.alias()
        source = Source(left.name, one)
        join = Join(words, None, Source(right.name, other), None, tuple(f'"{name}"' for name in using))
        ones = [Expr(left.columns[(name,)], f'"{name}"') for name in using]
        scope = ones + scope_of(one, left.columns) + scope_of(other, right.columns)
        joins, is_stream = (join,), left.is_stream or right.is_stream
        # Of ids alone: other columns are shared by too many rows of three tables.
        if using == ["id"] and words in ("JOIN", "LEFT JOIN") and self.may(0.4):
            third, again = self.chance.choice(self.tables), self.alias()
            joins = (join, Join(self.chance.choice(["JOIN", "LEFT JOIN"]), None, Source(third.name, again), None, ('"id"',)))
            scope, is_stream = scope + scope_of(again, third.columns), is_stream or third.is_stream
        # One without subqueries: they would take a column without a table's name for their own.
        where = self.condition(scope, 1) if self.may(0.6) else None
        if self.may(0.3):
            items = self.named([*ones, *(self.aggregate_beside(scope) for _ in range(2))])
            return Select(items, source, joins, where, tuple(ones), **self.ends())
        if using == ["id"] and not is_stream and self.may(0.3):
            return Select((Item(Expr("all", "*"), ""),), source, joins, where)
        exprs = [*ones, *(self.any_column(scope) for _ in range(self.chance.randrange(1, 4)))]
        return Select(self.named(exprs), source, joins, where, **self.ends())

    def common(self, left, right):
        """Columns that both have, of one kind; of large tables only what few rows share."""
        both = [path[0] for path, kind in left.columns.items() if len(path) == 1 and kind in KEYS and right.columns.get(path) == kind]
        return ["id"] if left.name == right.name == "large" or self.may(0.4) else sorted(both)

    def aggregate_beside(self, scope):
        return self.chance.choice([over("int", "count(*)"), over("int", "sum({})", self.column(scope, "int")), over("text", "max({})", self.column(scope, "text"))])

    def natural(self):
        """NATURAL JOIN of two questions that share one column, or two."""
        sides = [self.source(outer=True) for _ in range(2)]
        count = self.chance.choice([1, 1, 2])
        kinds = [self.chance.choice(self.kinds_of_both(sides)) for _ in range(count)]
        derived, scope = [], []
        for own_name, (source, inner, _) in zip("xy", sides):
            items = [Item(self.key(inner, kind), f"k{index}") for index, kind in enumerate(kinds)]
            items.append(Item(self.any_column(inner), own_name))
            one = Select(tuple(items), source, where=self.condition(inner, 1))
            derived.append(Derived(one, self.alias()))
            scope += columns_of(one, derived[-1].alias)[count:]
        join = Join(self.chance.choice(["NATURAL JOIN", "NATURAL LEFT JOIN"]), None, derived[1], None)
        if self.may(0.4):
            return Select((Item(Expr("all", "*"), ""),), derived[0], (join,))
        keys = [Expr(kind, f"k{index}") for index, kind in enumerate(kinds)]
        return Select(self.named([*keys, *scope]), derived[0], (join,), self.comparison(keys + scope, 0) if self.may(0.5) else None, **self.ends())

    def kinds_of_both(self, sides):
        kinds = [{column.kind for column in inner if column.kind in KEYS} for _, inner, _ in sides]
        return sorted(kinds[0] & kinds[1])

    def key(self, scope, kind):
        """A column to join by: where there are many rows, one that tells them apart."""
        ids = [column for column in scope if column.kind == kind and column.form.endswith('."id"')]
        return ids[0] if ids else self.column(scope, kind)

    def beside_values(self):
        """A table beside rows that stand in the question."""
        source, scope, _ = self.source(outer=True)
        other = self.alias()
        kind = self.any_of(scope, (*KEYS, "dec", "ts"))
        kinds = [kind, self.chance.choice(["int", "text"])]
        rows = [[literal(value(self.chance, one), one) for one in kinds] for _ in range(self.chance.randrange(1, 6))]
        rows = ", ".join(f"({', '.join(row)})" for row in rows)
        join = Join(self.chance.choice(["JOIN", "LEFT JOIN"]), None, Expr("table", f"(VALUES {rows}) AS {other}(k, v)"), None)
        more = [Expr(one, f"{other}.{name}") for one, name in zip(kinds, "kv")]
        join = dataclasses.replace(join, on=over("bool", "({} = {})", self.column(scope, kind), more[0]))
        scope = scope + more
        exprs = [*more, *(self.any_column(scope) for _ in range(self.chance.randrange(1, 3)))]
        return Select(self.named(exprs), source, (join,), self.maybe_where(scope, 0.4), **self.ends())

    def of_one_name(self):
        """The first rows of a join, in the order of columns that are called alike."""
        source, scope, _ = self.source(outer=True)
        other, more, _ = self.source(outer=True)
        words = self.chance.choice(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
        join = Join(words, None, other, self.on(scope, more, words != "FULL JOIN"))
        name = lambda column: column.form.partition(".")[2]
        alike = [(a, b) for a in scope for b in more if name(a) == name(b) and a.kind in PLAIN]
        pairs = self.chance.sample(alike, min(len(alike), 2))
        chosen = list(dict.fromkeys([*sum(pairs, ()), self.any_column(scope + more)]))
        self.chance.shuffle(chosen)
        items = tuple(Item(item.expr, "", item.order) for item in self.named(chosen))
        ends = {**self.ends(always=True), "limit": self.chance.choice([1, 3, 10, None])}
        return Select(items, source, (join,), self.maybe_where(scope + more, 0.4), by_words=True, **ends)
