"""Totals: of all rows, of groups, of several groupings at once, beside distinct values, and what has a place in an order."""

from questions.parts import Parts, scope_of
from questions.trees import Expr, Select, Source, listed, over
from questions.values import PLAIN


class Totals(Parts):
    """Questions with aggregates."""

    def grouped(self):
        source, joins, scope, _ = self.sources()
        by = [self.expr(scope, self.any_of(scope), 1) if self.may(0.3) else self.any_column(scope) for _ in range(self.chance.choice([1, 1, 2, 3]))]
        # A number alone would be the place of a column.
        by = tuple(dict.fromkeys(expr if expr.args or expr.form.startswith("t") else self.any_column(scope) for expr in by))
        totals = [self.aggregate(scope) for _ in range(self.chance.randrange(1, 4))]
        items = self.named([*by, *totals] if self.may(0.85) else totals)
        having = self.having(scope) if self.may(0.3) else None
        return Select(items, source, joins, self.maybe_where(scope), by, having, **self.ends())

    def several_groupings(self):
        """GROUPING SETS, ROLLUP and CUBE; a total may be of some rows only."""
        source, joins, scope, _ = self.sources()
        by = list(dict.fromkeys(self.any_column(scope) for _ in range(3)))
        which = [over("int", "CAST(grouping({}) AS bigint)", self.chance.choice(by))] if self.may(0.6) else []
        totals = [self.filtered(scope) if self.may(0.4) else self.aggregate(scope) for _ in range(self.chance.randrange(1, 4))]
        having = None
        if self.may(0.3):
            having = over("bool", "({} = 0)", which[0]) if which and self.may(0.4) else self.having(scope)
        return Select(self.named([*by, *which, *totals]), source, joins, self.maybe_where(scope, 0.4), self.groupings(by), having, **self.ends())

    def groupings(self, by):
        match self.chance.choice(["ROLLUP", "CUBE", "SETS", "SETS", "beside"]):
            case "beside" if len(by) > 1:
                return (by[0], listed("groups", f"{self.chance.choice(['ROLLUP', 'CUBE'])} ({{}})", by[1:]))
            case "SETS":
                count = self.chance.randrange(2, 4)
                sets = [listed("group", "({})", self.chance.sample(by, self.chance.randrange(1, len(by) + 1))) for _ in range(count)]
                # Each column is in one of them.
                sets = [listed("group", "({})", by), *sets, *([Expr("group", "()")] if self.may(0.6) else [])]
                return (listed("groups", "GROUPING SETS ({})", sets),)
            case "CUBE":
                return (listed("groups", "CUBE ({})", by),)
        return (listed("groups", "ROLLUP ({})", by),)

    def filtered(self, scope):
        condition = self.condition(scope, 1)
        form, kind, wanted = self.chance.choice([
            ("count({}) FILTER (WHERE {})", "int", "text"), ("avg({}) FILTER (WHERE {})", "dbl", "int"),
            ("count(DISTINCT {}) FILTER (WHERE {})", "int", "int"), ("max({}) FILTER (WHERE {})", "date", "date"),
            ("sum({}) FILTER (WHERE {})", "num", "wide"), ("bool_or({}) FILTER (WHERE {})", "bool", "bool"),
        ])  # fmt: skip
        return over(kind, form, self.column(scope, wanted), condition)

    def beside_distinct(self):
        """Totals beside those of distinct values, of groups or of all rows."""
        source, joins, scope, _ = self.sources()
        by = tuple(dict.fromkeys(self.any_column(scope) for _ in range(self.chance.choice([0, 0, 1, 1, 2]))))
        one = self.any_column(scope)
        totals = [over("int", "count(DISTINCT {})", one)]
        if one.kind == "int" and self.may(0.3):
            totals.append(over("int", "sum(DISTINCT {})", one))
        whole = self.column(scope, "int")
        others = [
            over("int", "count(*)"), over("int", "count({})", self.any_column(scope)), over("int", "count({})", one),
            over("dbl", "avg({})", whole), over("int", "sum({})", whole), over("int", "sum({})", self.expr(scope, "int", 1)),
            over("dbl", "avg({})", self.exact(scope)), over("dbl", "sum({})", self.exact(scope)),
            over("num", "sum({})", self.column(scope, "wide")), over("dec", "sum({})", self.column(scope, "dec")),
            over("num", "avg({})", self.column(scope, "dec"), own="divided(sum({0}), count({0}))"),
            over("date", "min({})", self.column(scope, "date")), over("text", "max({})", self.column(scope, "text")),
        ]  # fmt: skip
        totals += self.chance.sample(others, self.chance.randrange(1, 5))
        self.chance.shuffle(totals)
        having = self.having(scope) if self.may(0.2) else None
        return Select(self.named([*by, *totals]), source, joins, self.maybe_where(scope, 0.4), by, having, **self.ends())

    def in_order(self):
        """Values that such a share of all does not come behind, and values one after the other."""
        source, joins, scope, _ = self.sources()
        by = tuple(dict.fromkeys(self.any_column(scope) for _ in range(self.chance.choice([0, 1, 1, 2]))))
        # Two of them may be in different orders. DuckDB takes the last one for the first that no share comes before, where they are
        # in descending order.
        directions = self.chance.choice([[""], [" DESC"], ["", " DESC"], ["", ""]])
        share = self.chance.choice(["0.25", "0.5", "0.75", "1", *([] if " DESC" in directions else ["0"])])
        columns = [column for column in scope if column.kind in ("int", "i32", "big", "text", "date", "dec", "ts")]
        if not columns:
            return self.grouped()
        column = self.chance.choice(columns)
        ordered = [self.one_in_order(scope, column, share, direction) for direction in directions]
        within = f"WITHIN GROUP (ORDER BY {{}}{directions[0]})"
        whole = self.chance.choice([self.column(scope, "int"), self.exact(scope)])
        others = [
            over("dbl", f"percentile_cont({share}) {within}", whole), over("dbl", "median({})", whole), over("int", "count(*)"),
            over("int", "count(DISTINCT {})", column), over("int", "sum({})", self.column(scope, "int")),
        ]  # fmt: skip
        totals = [*ordered, *self.chance.sample(others, self.chance.randrange(3))]
        return Select(self.named([*by, *totals]), source, joins, self.maybe_where(scope, 0.5), by, **self.ends())

    def one_in_order(self, scope, column, share, direction):
        within = f"WITHIN GROUP (ORDER BY {{}}{direction})"
        disc = over(column.kind, f"percentile_disc({share}) {within}", column)
        if self.may(0.3):
            disc = over(column.kind, f"percentile_disc({share}) {within} FILTER (WHERE {{}})", column, self.comparison(scope, 0))
        ordered = [disc, disc]
        if column.kind in ("int", "text"):
            ordered.append(over(f"{column.kind}s", f"array_agg({{0}} ORDER BY {{0}}{direction})", column))
        if column.kind == "text":
            ordered.append(over("text", f"string_agg({{0}}, ',' ORDER BY {{0}}{direction})", column))
        return self.chance.choice(ordered)

    def group_counts(self):
        """How many rows each value has: files need not be read where all of their rows have one."""
        table = self.chance.choice(self.tables)
        alias = self.alias()
        scope = scope_of(alias, table.columns)
        parted = [column for column in scope for name in table.partitioned if column.form == f'{alias}."{name}"' and column.kind in PLAIN]
        column = self.chance.choice(parted) if parted and self.may(0.8) else self.any_column(scope)
        where = self.comparison([column], 0) if self.may(0.4) else self.maybe_where(scope, 0.2)
        of = Source(table.name, alias)
        count = over("int", "count(*)")
        match self.chance.choice(["counts", "counts", "counts", "values", "distinct", "having"]):
            case "values":
                return Select(self.named([column]), of, where=where, distinct=True, **self.ends())
            case "distinct":
                return Select(self.named([over("int", "count(DISTINCT {})", column), count]), of, where=where)
            case "having":
                return Select(self.named([column, count]), of, where=where, groups=(column,), having=self.having(scope), **self.ends())
        return Select(self.named([column, count]), of, where=where, groups=(column,), **self.ends())

    def counted(self):
        """What may be answered without reading rows."""
        source, scope, _ = self.source()
        exprs = [over("int", "count(*)")] if self.may(0.5) else []
        for _ in range(self.chance.randrange(1, 4)):
            column = self.any_column(scope)
            form = self.chance.choice(["min({})", "max({})", "count({})"])
            exprs.append(over("int" if form.startswith("count") else column.kind, form, column))
        where = self.comparison(scope, 0) if self.may(0.5) else None
        return Select(self.named(exprs), source, where=where)
