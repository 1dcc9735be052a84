"""Conditions on other tables, totals of what belongs to a row, and rows that are compared."""

from questions.parts import COMPARED, KEYS, Parts, at_the_top, columns_of
from questions.trees import Derived, Expr, Item, Join, Select, given, listed, over
from questions.values import PLAIN, value

# How rows are compared value by value: DuckDB takes two nulls for the same.
ROWS = {
    "=": "({0} = {2} AND {1} = {3})",
    "<>": "({0} <> {2} OR {1} <> {3})",
    "<": "({0} < {2} OR ({0} = {2} AND {1} < {3}))",
    "<=": "({0} < {2} OR ({0} = {2} AND {1} <= {3}))",
    ">": "({0} > {2} OR ({0} = {2} AND {1} > {3}))",
    ">=": "({0} > {2} OR ({0} = {2} AND {1} >= {3}))",
}
ROW_IS_THERE = (
    "(SELECT CASE WHEN count(*) FILTER (WHERE {0} = {2} AND {1} = {3}) > 0 THEN TRUE"
    " WHEN count(*) FILTER (WHERE ({0} = {2} AND {1} = {3}) IS NULL) > 0 THEN NULL ELSE FALSE END FROM {4} WHERE {5})"
)


class Subqueries(Parts):
    """Questions within questions."""

    def subquery(self, scope):
        """A condition on another table, often on columns of this one."""
        makes = [self.exists, self.within, self.quantified, self.beside_total, self.of_groups, self.row_within]
        return self.of(makes, [30, 25, 12, 15, 15, 12], scope)

    def of(self, makes, shares, scope):
        source, inner, _ = self.source(outer=True)
        return self.chance.choices(makes, shares)[0](at_the_top(scope), source, inner)

    def exists(self, scope, source, inner):
        where = self.on(scope, inner, False)
        if self.may(0.5):
            where = listed("bool", "({})", (where, self.condition(inner, 0)), " AND ")
        words = self.chance.choice(["EXISTS", "NOT EXISTS"])
        return over("bool", f"({words} ({{}}))", Select((Item(Expr("int", "1"), "c1"),), source, where=where))

    def within(self, scope, source, inner):
        kind = self.any_of(scope, ("int", "text", "date"))
        words = self.chance.choice(["IN", "NOT IN"])
        one = Select((Item(self.column(inner, kind), "c1"),), source, where=self.of_others(scope, inner))
        return over("bool", f"({{}} {words} ({{}}))", self.column(scope, kind), one)

    def quantified(self, scope, source, inner):
        kind = self.any_of(scope, ("int", "text", "date", "dec", "ts"))
        one = Select((Item(self.column(inner, kind), "c1"),), source, where=self.of_others(scope, inner))
        return over("bool", f"({{}} {self.chance.choice(COMPARED)} {self.chance.choice(['ANY', 'ALL'])} ({{}}))", self.column(scope, kind), one)

    def of_others(self, scope, inner):
        """Which rows of the other table: of all, or of those that belong to this row."""
        condition = self.condition(inner, 1)
        return condition if self.may(0.7) else listed("bool", "({})", (self.on(scope, inner, False), condition), " AND ")

    def beside_total(self, scope, source, inner):
        return over("bool", f"({{}} {self.chance.choice(COMPARED)} ({{}}))", self.column(scope, "int"), self.total(scope, source, inner))

    def total(self, scope, source, inner):
        """A total of all rows, or of those that belong to this row."""
        of = self.chance.choice([over("int", "count(*)"), over("int", "max({})", self.column(inner, "int")), over("int", "sum({})", self.column(inner, "int"))])
        is_of_row = self.may(0.6)
        where = self.on(scope, inner, False) if is_of_row else self.condition(inner, 1)
        return Select((Item(of, "c1"),), source, where=where, having=self.having(inner) if self.may(0.3) else None)

    def of_groups(self, scope, source, inner):
        """Whether there is a group of rows that belong to this one."""
        kind = self.any_of(inner, KEYS)
        group = self.column(inner, kind)
        where = self.on(scope, inner, False) if self.may(0.7) else self.condition(inner, 1)
        one = Select((Item(group, "c1"),), source, where=where, groups=(group,), having=self.having(inner))
        if self.may(0.5):
            return over("bool", f"({self.chance.choice(['EXISTS', 'NOT EXISTS'])} ({{}}))", one)
        return over("bool", f"({{}} {self.chance.choice(['IN', 'NOT IN'])} ({{}}))", self.column(scope, kind), one)

    # Rows

    def row_comparison(self, scope):
        """Two values compared with two others."""
        kinds = [self.any_of(scope) for _ in range(2)]
        left = [self.column(scope, kind) for kind in kinds]
        look = lambda kind: self.column(scope, kind) if self.may(0.3) else given(value(self.chance, kind), kind)
        if self.may(0.6):
            operator = self.chance.choice(COMPARED)
            return over("bool", f"(({{}}, {{}}) {operator} ({{}}, {{}}))", *left, *map(look, kinds), own=ROWS[operator])
        pairs = [[look(kind) for kind in kinds] for _ in range(self.chance.randrange(1, 4))]
        places = range(2, 2 + 2 * len(pairs), 2)
        form = ", ".join(f"({{{place}}}, {{{place + 1}}})" for place in places)
        own = " OR ".join(f"({{0}} = {{{place}}} AND {{1}} = {{{place + 1}}})" for place in places)
        no = self.chance.choice(["", "NOT "])
        return over("bool", f"(({{0}}, {{1}}) {no}IN ({form}))", *left, *sum(pairs, []), own=f"({no}({own}))")

    def row_within(self, scope, source, inner):
        there = {column.kind for column in inner}
        both = [column for column in scope if column.kind in PLAIN and column.kind in there]
        if not both:
            return self.exists(scope, source, inner)
        left = [self.chance.choice(both) for _ in range(2)]
        right = [self.column(inner, column.kind) for column in left]
        no = self.chance.choice(["", "NOT "])
        form = f"(({{0}}, {{1}}) {no}IN (SELECT {{2}}, {{3}} FROM {{4}} WHERE {{5}}))"
        return over("bool", form, *left, *right, source, self.of_others(scope, inner), own=f"({no}{ROW_IS_THERE})")

    # Questions

    def beside_subqueries(self):
        """Totals of other tables, and conditions on them, as columns."""
        source, scope, key = self.source(outer=True)
        exprs = [Expr("int", key), *(self.beside(scope) for _ in range(self.chance.randrange(1, 3)))]
        return Select(self.named(exprs), source, where=self.maybe_where(scope), **self.ends())

    def beside(self, scope):
        if self.may(0.5):
            # Of groups that belong to this row only a condition can be asked.
            return self.of([self.exists, self.within, self.quantified, self.beside_total, self.row_within], [30, 25, 12, 15, 12], scope)
        other, inner, _ = self.source(outer=True)
        return over("int", "({})", self.total(at_the_top(scope), other, inner))

    def lateral(self):
        """Rows of another table for each row."""
        source, scope, _ = self.source(outer=True)
        other, inner, _ = self.source(outer=True)
        where = self.on(at_the_top(scope), at_the_top(inner), False)
        if self.may(0.5):
            where = listed("bool", "({})", (where, self.comparison(inner, 0)), " AND ")
        one = self.chance.choice([self.all_of, self.totals_of, self.groups_of, self.first_of])(scope, other, inner, where)
        alias = self.alias()
        words, on = self.chance.choice([("CROSS JOIN", None), ("LEFT JOIN", "TRUE"), ("JOIN", "TRUE")])
        join = Join(words, None, Derived(one, alias, lateral=True), on and Expr("bool", on))
        scope = scope + columns_of(one, alias)
        exprs = [self.chance.choice(columns_of(one, alias)), *(self.any_column(scope) for _ in range(self.chance.randrange(1, 4)))]
        return Select(self.named(exprs), source, (join,), self.comparison(scope, 0) if self.may(0.5) else None, **self.ends())

    def all_of(self, scope, source, inner, where):
        exprs = [self.any_column(inner), self.expr(at_the_top(scope) + inner, self.any_of(inner), 1)]
        return Select(self.named(exprs), source, where=where)

    def totals_of(self, _scope, source, inner, where):
        exprs = [self.chance.choice([over("int", "count(*)"), over("int", "max({})", self.column(inner, "int")), over("int", "sum({})", self.column(inner, "int"))]) for _ in range(2)]
        return Select(self.named(dict.fromkeys(exprs)), source, where=where, having=self.having(inner) if self.may(0.3) else None)

    def groups_of(self, _scope, source, inner, where):
        group = self.any_column(inner)
        having = self.having(inner) if self.may(0.3) else None
        if self.may(0.3):
            return Select(self.named([group]), source, where=where, distinct=True)
        return Select(self.named([group, over("int", "count(*)")]), source, where=where, groups=(group,), having=having)

    def first_of(self, _scope, source, inner, where):
        exprs = [self.any_column(inner) for _ in range(self.chance.randrange(1, 3))]
        return Select(self.named(exprs), source, where=where, ordered=True, limit=self.chance.randrange(1, 4))
