"""Window functions: ranks, neighbours, and totals over frames that move along."""

import dataclasses

from questions.parts import Parts, columns_of
from questions.trees import Derived, Expr, Select, over

DIRECTIONS = ["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]
FRAMES = [
    "", " ROWS BETWEEN 2 PRECEDING AND CURRENT ROW", " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING",
    " ROWS BETWEEN 1 FOLLOWING AND 3 FOLLOWING",
]  # fmt: skip
# From the first to the last row.
BOUNDS = ["UNBOUNDED PRECEDING", "3 PRECEDING", "1 PRECEDING", "CURRENT ROW", "1 FOLLOWING", "2 FOLLOWING", "UNBOUNDED FOLLOWING"]
# How far away a value of a RANGE may be.
DISTANCES = {"int": ["0", "5", "100"], "date": ["INTERVAL '2 days'", "INTERVAL '1 month'"], "ts": ["INTERVAL '3 hours'", "INTERVAL '1 day'"]}


class Windows(Parts):
    """Questions with OVER."""

    def windows(self):
        source, scope, key = self.source(outer=True)
        part = self.column(scope, self.any_of(scope, ("text", "bool", "int", "date")))
        by = self.column(scope, self.any_of(scope, ("int", "dbl", "text", "date", "ts", "dec")))
        direction = self.chance.choice(DIRECTIONS)
        window = f"PARTITION BY {{}} ORDER BY {{}}{direction}, {key}"
        frame = self.chance.choice(FRAMES)
        ints, anything = self.column(scope, "int"), self.any_column(scope)
        exprs = [
            over("int", f"row_number() OVER ({window})", part, by),
            over("int", f"rank() OVER (PARTITION BY {{}} ORDER BY {{}}{direction})", part, by),
            over("int", f"dense_rank() OVER (ORDER BY {{}}{direction})", by),
            over("dbl", f"percent_rank() OVER (PARTITION BY {{}} ORDER BY {{}}{direction})", part, by),
            over("dbl", f"cume_dist() OVER (ORDER BY {{}}{direction})", by),
            over("int", f"sum({{}}) OVER ({window}{frame})", ints, part, by),
            over("int", "count(*) OVER (PARTITION BY {})", part),
            over("int", f"sum({{}}) OVER (PARTITION BY {{}} ORDER BY {{}}{direction})", ints, part, by),
            over(anything.kind, f"lag({{}}) OVER ({window})", anything, part, by),
            over(anything.kind, f"lead({{}}, 2) OVER ({window})", anything, part, by),
            over(anything.kind, f"lag({{}}) IGNORE NULLS OVER ({window})", anything, part, by, own=f"lag({{}} IGNORE NULLS) OVER ({window})"),
            over(anything.kind, f"first_value({{}}) OVER ({window}{frame})", anything, part, by),
            over(anything.kind, f"last_value({{}}) OVER ({window}{frame})", anything, part, by),
            over(anything.kind, f"nth_value({{}}, 2) OVER ({window}{frame})", anything, part, by),
            over(anything.kind, f"max({{}}) OVER ({window}{frame})", anything, part, by),
            over("int", f"ntile(3) OVER ({window})", part, by),
        ]
        chosen = [Expr("int", key), *self.chance.sample(exprs, self.chance.randrange(1, 4))]
        inner = Select(self.named(chosen), source, where=self.maybe_where(scope, 0.4))
        if self.may(0.4):
            # The first rows of each part.
            alias = self.alias()
            outer = columns_of(inner, alias)
            return Select(self.named(outer), Derived(inner, alias), where=self.comparison(outer, 0), **self.ends())
        return dataclasses.replace(inner, **self.ends())

    def moving(self):
        """Totals over frames whose rows come and go, some of them null, some infinite."""
        source, scope, key = self.source(outer=True)
        part = self.column(scope, self.any_of(scope, ("text", "bool", "i32", "date")))
        exprs = [Expr("int", key), *(self.over_frame(scope, key, part) for _ in range(self.chance.randrange(1, 4)))]
        return Select(self.named(exprs), source, where=self.maybe_where(scope, 0.4), **self.ends())

    def named_window(self):
        """Several of one window that has a name, of which some take other rows, and how many rows there are in all."""
        source, scope, key = self.source(outer=True)
        part = self.column(scope, self.any_of(scope, ("text", "bool", "int", "date")))
        by, anything, ints = self.any_column(scope), self.any_column(scope), self.column(scope, "int")
        window = over("window", f"w AS (PARTITION BY {{}} ORDER BY {{}}{self.chance.choice(DIRECTIONS)}, {key})", part, by)
        exprs = [
            over("int", "row_number() OVER w"), over("int", "sum({}) OVER w", ints), over(anything.kind, "lag({}) OVER w", anything),
            over(anything.kind, "first_value({}) OVER w", anything), over("int", "count(*) OVER ()"),
            over("int", "count({}) OVER (w ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)", anything),
        ]  # fmt: skip
        chosen = [Expr("int", key), *self.chance.sample(exprs, self.chance.randrange(1, 4))]
        return Select(self.named(chosen), source, where=self.maybe_where(scope, 0.4), window=window, **self.ends())

    def over_frame(self, scope, key, part):
        total = self.total_of_frame(scope)
        direction = self.chance.choice(DIRECTIONS)
        units = self.chance.choice(["ROWS", "RANGE", "GROUPS"])
        if units == "RANGE":
            by = self.column(scope, self.any_of(scope, tuple(DISTANCES)))
            frame = self.range_around(by.kind)
            order = f"{{}}{direction}"
        else:
            by = self.column(scope, self.any_of(scope, ("int", "dbl", "text", "date", "ts", "dec")))
            first, last = sorted(self.chance.sample(range(len(BOUNDS)), 2))
            frame = f"BETWEEN {BOUNDS[first]} AND {BOUNDS[last]}"
            # Which rows are before this one has to be known.
            order = f"{{}}{direction}, {key}" if units == "ROWS" else f"{{}}{direction}"
        parted = "PARTITION BY {} " if self.may(0.7) else ""
        window = over("window", f"{parted}ORDER BY {order} {units} {frame}", *([part] if parted else []), by)
        rounded = total.kind == "spread"
        # No spread of whole numbers is in the middle between two digits then.
        form = "round({} OVER ({}) + CAST('0.00314159' AS double precision), 2)" if rounded else "{} OVER ({})"
        return over("dbl" if rounded else total.kind, form, total, window)

    def range_around(self, kind):
        distance = lambda: self.chance.choice(DISTANCES[kind])
        first = self.chance.choice(["UNBOUNDED PRECEDING", f"{distance()} PRECEDING", "CURRENT ROW"])
        last = self.chance.choice(["CURRENT ROW", f"{distance()} FOLLOWING", "UNBOUNDED FOLLOWING"])
        return f"BETWEEN {first} AND {last}"

    def total_of_frame(self, scope):
        ints, anything, exact = self.column(scope, "int"), self.any_column(scope), self.exact(scope)
        infinite = over("dbl", "CASE WHEN {} THEN CAST('Infinity' AS double precision) ELSE {} END", self.comparison(scope, 0), exact)
        condition = self.comparison(scope, 0)
        return self.chance.choice([
            over(anything.kind, "min({})", anything), over(anything.kind, "max({})", anything), over("int", "count({})", anything),
            over("int", "sum({})", ints), over("dbl", "avg({})", ints), over("dbl", "sum({})", exact), over("dbl", "avg({})", exact),
            over("dbl", "sum({})", infinite), over("dbl", "avg({})", infinite), over("dbl", "min({})", infinite),
            over("spread", "var_samp({})", ints), over("spread", "stddev_samp({})", ints), over("spread", "var_pop({})", ints), over("spread", "covar_pop({}, {})", ints, ints),
            over("bool", "bool_and({})", self.column(scope, "bool")), over("dec", "sum({})", self.column(scope, "dec")),
            over("int", "count(*) FILTER (WHERE {})", condition), over("int", "sum({}) FILTER (WHERE {})", ints, condition),
            over("int", "bit_xor({})", ints),
        ])  # fmt: skip

    def of_totals(self):
        """Ranks and sums of totals of groups."""
        source, joins, scope, _ = self.sources()
        by = self.any_column(scope)
        total = self.chance.choice([over("int", "count(*)"), over("int", "sum({})", self.column(scope, "int")), over("int", "max({})", self.column(scope, "int"))])
        direction = self.chance.choice(DIRECTIONS)
        exprs = [
            over("int", f"rank() OVER (ORDER BY {{}}{direction})", total),
            over("int", f"row_number() OVER (ORDER BY {{}}{direction}, {{}})", total, by),
            over("int", f"sum({{}}) OVER (ORDER BY {{}}{direction})", total, by),
            over("int", "sum({}) OVER ()", total),
            over("int", f"lag({{}}) OVER (ORDER BY {{}}{direction})", total, by),
        ]
        chosen = [by, total, *self.chance.sample(exprs, self.chance.randrange(1, 3))]
        having = self.having(scope) if self.may(0.3) else None
        return Select(self.named(chosen), source, joins, self.maybe_where(scope, 0.4), (by,), having, **self.ends())
