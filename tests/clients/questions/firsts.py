"""The first rows: of wide tables, of groups, of each part, and with those that are sorted as the last of them is."""

from questions.parts import Parts, at_the_top, scope_of
from questions.trees import Expr, Item, Select, Source, given, over
from questions.values import PLAIN, value

DIRECTIONS = ["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]


class Firsts(Parts):
    """Questions whose answers are cut, and ordered by other things than their columns."""

    def first_rows(self):
        """All columns of few rows. An id tells apart what is sorted alike."""
        table = self.chance.choice(self.tables)
        alias = self.alias()
        source, columns = Source(table.name, alias), table.columns
        if table.versions and self.may(0.15):
            snapshot, copy, columns = self.chance.choice(table.versions)
            source = Source(table.name, alias, snapshot, copy)
        scope = scope_of(alias, columns)
        # Streams have columns of their own: * has them, and DuckDB has not.
        is_all = not table.is_stream and self.may(0.6)
        items = (Item(Expr("all", "*"), ""),) if is_all else self.named(scope)
        by = dict.fromkeys(self.any_column(scope) for _ in range(self.chance.choice([1, 1, 2])))
        by[Expr("int", f'{alias}."id"')] = None
        return Select(items, source, where=self.maybe_where(scope), by=self.sorted_by(by), **self.cut())

    def first_groups(self):
        """The groups with the largest totals, or these totals alone."""
        source, joins, scope, _ = self.sources()
        groups = tuple(dict.fromkeys(self.any_column(scope) for _ in range(self.chance.choice([1, 1, 2]))))
        column = self.any_column(scope)
        total = self.chance.choice([
            over("int", "count(*)"), over("int", "sum({})", self.column(scope, "int")), over(column.kind, "max({})", column),
            over(column.kind, "min({})", column), self.aggregate(scope),
        ])  # fmt: skip
        where, having = self.maybe_where(scope, 0.5), self.having(scope) if self.may(0.2) else None
        if self.may(0.3):
            # Which groups are the last ones makes no difference.
            return Select(self.named([total]), source, joins, where, groups, having, by=self.sorted_by([total]), **self.cut())
        exprs = [*groups, total] if self.may(0.6) else groups
        return Select(self.named(exprs), source, joins, where, groups, having, by=self.sorted_by([total, *groups]), **self.cut())

    def called_alike(self):
        """What is made of columns and called as they are, in the order of the columns."""
        source, scope, key = self.source(outer=True)
        columns = [column for column in at_the_top(scope) if column.kind in PLAIN]
        chosen = self.chance.sample(columns, self.chance.choice([1, 2, 3]))
        made = [over(column.kind, "coalesce({}, {})", column, given(value(self.chance, column.kind, 0), column.kind)) for column in chosen]
        items = tuple(Item(expr, column.form.partition(".")[2]) for expr, column in zip(made, chosen))
        where = self.maybe_where(scope, 0.4)
        if self.may(0.3):
            items = (*items, Item(over("int", "count(*)"), "count"))
            return Select(items, source, where=where, groups=tuple(chosen), by=self.sorted_by(chosen), **self.cut())
        return Select(items, source, where=where, by=self.sorted_by([*chosen, Expr("int", key)]), **self.cut())

    def with_ties(self):
        source, joins, scope, _ = self.sources()
        where, count = self.maybe_where(scope, 0.5), self.chance.choice([1, 1, 3, 10])
        if self.may(0.4):
            group, total = self.any_column(scope), self.chance.choice([over("int", "count(*)"), over("int", "max({})", self.column(scope, "int"))])
            return Select(self.named([group, total]), source, joins, where, (group,), by=self.sorted_by([total]), ties=count)
        by = tuple(dict.fromkeys(self.any_column(scope) for _ in range(self.chance.choice([1, 1, 2]))))
        return Select(self.items(scope, self.chance.randrange(1, 4)), source, joins, where, by=self.sorted_by(by), ties=count)

    def qualified(self):
        """QUALIFY: the first rows of each part, or those that a total over a window is asked of."""
        source, scope, key = self.source(outer=True)
        part, by = self.any_column(scope), self.any_column(scope)
        direction = self.chance.choice(DIRECTIONS)
        count = self.chance.randrange(1, 4)
        qualify = self.chance.choice([
            over("bool", f"(row_number() OVER (PARTITION BY {{}} ORDER BY {{}}{direction}, {key}) <= {count})", part, by),
            over("bool", f"(rank() OVER (PARTITION BY {{}} ORDER BY {{}}{direction}) = {count})", part, by),
            over("bool", f"(count(*) OVER (PARTITION BY {{}}) > {count})", part),
            over("bool", "({0} = max({0}) OVER (PARTITION BY {1}))", self.column(scope, "int"), part),
        ])  # fmt: skip
        items = self.items(scope, self.chance.randrange(1, 4))
        return Select(items, source, where=self.maybe_where(scope, 0.5), qualify=qualify, **self.ends())

    def sorted_by(self, exprs):
        return tuple(Item(expr, "", self.chance.choice(DIRECTIONS)) for expr in exprs)

    def cut(self):
        return {"ordered": True, "limit": self.chance.choice([1, 3, 10, 100, None]), "offset": self.chance.choice([None, None, None, 2])}
