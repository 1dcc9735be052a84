"""Set operations, the first row of each kind, questions with a name, and elements of arrays."""

import dataclasses

from questions.parts import Parts, columns_of, scope_of
from questions.trees import Both, Derived, Expr, Join, Named, Select, Source, over
from questions.values import PLAIN


class Others(Parts):
    """Questions of no other file."""

    def sets(self):
        """Set operations, also of set operations, whose parts may be cut."""
        kinds = [self.chance.choice(PLAIN) for _ in range(self.chance.randrange(1, 4))]
        return dataclasses.replace(self.set_of(kinds, 2), **self.ends())

    def set_of(self, kinds, depth):
        words = self.chance.choice(["UNION", "UNION ALL", "INTERSECT", "EXCEPT"])
        return Both(words, self.side(kinds, depth - 1), self.side(kinds, depth - 1), is_bare=self.may(0.3))

    def side(self, kinds, depth):
        ends = self.ends() if self.may(0.3) else {}
        if depth > 0 and self.may(0.3):
            return dataclasses.replace(self.set_of(kinds, depth), **ends)
        source, scope, _ = self.source()
        items = self.named(self.expr(scope, kind, 1) for kind in kinds)
        return Select(items, source, where=self.maybe_where(scope), **ends)

    def first_of_each(self):
        """DISTINCT ON: ordered by all columns, so that it is known which row is the first."""
        source, joins, scope, _ = self.sources()
        of = tuple(dict.fromkeys(self.any_column(scope) for _ in range(self.chance.choice([1, 1, 2]))))
        exprs = [*of, *(self.any_column(scope) for _ in range(self.chance.randrange(1, 4)))]
        limit = self.chance.choice([None, None, 1, 5])
        items = self.named(dict.fromkeys(exprs))
        return Select(items, source, joins, self.maybe_where(scope, 0.4), distinct_on=of, ordered=True, by_words=True, limit=limit)

    def unnested(self):
        with_arrays = [table for table in self.tables if any(kind in ("ints", "texts") for kind in table.columns.values())]
        if not with_arrays:
            return self.plain()
        table = self.chance.choice(with_arrays)
        alias, other = self.alias(), self.alias()
        scope = scope_of(alias, table.columns)
        column = self.chance.choice([column for column in scope if column.kind in ("ints", "texts")])
        element = Expr({"ints": "int", "texts": "text"}[column.kind], f"{other}.x")
        scope.append(element)
        unnest = Join("CROSS JOIN", None, Expr("table", f"UNNEST({column.form}) AS {other}(x)"), None)
        exprs = [element, *(item.expr for item in self.items(scope, self.chance.randrange(0, 3)))]
        where = self.condition(scope, 1) if self.may(0.6) else None
        if self.may(0.4):
            return Select(self.named([element, over("int", "count(*)")]), Source(table.name, alias), (unnest,), where, (element,), **self.ends())
        return Select(self.named(exprs), Source(table.name, alias), (unnest,), where, **self.ends())

    def with_named(self):
        inner = self.chance.choice([self.plain, self.grouped, self.sets])()
        alias, name = self.alias(), "q"
        scope = columns_of(inner, alias)
        joins = ()
        if self.may(0.5):
            # The same one once more, or a table.
            if self.may(0.5):
                again = self.alias()
                other, more = Named(name, again), columns_of(inner, again)
            else:
                other, more, _ = self.source(outer=True)
            joins = (Join(self.chance.choice(["JOIN", "LEFT JOIN"]), None, other, self.on(scope, more)),)
            scope += more
        items = self.items(scope, self.chance.randrange(1, 4))
        return Select(items, Named(name, alias), joins, self.maybe_where(scope), withs=((name, inner),), **self.ends())

    def total_of(self):
        """How many rows a question has."""
        inner = self.chance.choice([self.plain, self.sets, self.first_of_each, self.shared, self.windows])()
        return Select(self.named([over("int", "count(*)")]), Derived(inner, self.alias()))
