"""Totals: of all rows, of groups, of several groupings at once, and beside distinct values."""

from questions.parts import Parts
from questions.trees import Expr, Select, listed, over


class Totals(Parts):
    """Questions with aggregates."""

    def grouped(self):
        source, joins, scope, _ = self.sources()
        by = [self.expr(scope, self.any_of(scope), 1) if self.may(0.3) else self.any_column(scope) for _ in range(self.chance.choice([1, 1, 2, 3]))]
        # A number alone would be the place of a column.
        by = tuple(dict.fromkeys(expr if expr.args or expr.form.startswith("t") else self.any_column(scope) for expr in by))
        items = self.named([*by, *(self.aggregate(scope) for _ in range(self.chance.randrange(1, 4)))])
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
