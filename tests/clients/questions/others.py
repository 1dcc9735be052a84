"""Set operations, the first row of each kind, questions with a name, also of themselves, and what stands beside each row."""

import dataclasses

from questions.parts import Parts, columns_of, scope_of
from questions.trees import Both, Derived, Expr, Join, Named, Select, Source, given, over
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
        elements = [Expr({"ints": "int", "texts": "text"}[column.kind], f"{other}.x")]
        if self.may(0.3):
            elements.append(Expr("int", f"{other}.place"))
            own = f"LATERAL (SELECT unnest({{0}}) AS x, unnest(range(1, len({{0}}) + 1)) AS place) AS {other}"
            function = over("table", f"UNNEST({{}}) WITH ORDINALITY AS {other}(x, place)", column, own=own)
        else:
            function = over("table", f"UNNEST({{}}) AS {other}(x)", column, own=f"LATERAL (SELECT unnest({{}}) AS x) AS {other}")
        return self.beside_each(Source(table.name, alias), scope, function, elements)

    def numbers(self):
        """generate_series of values of each row."""
        source, scope, _ = self.source(outer=True)
        other = self.alias()
        last = over("int", "({} % 5)", self.column(scope, "int"))
        own = f"LATERAL (SELECT unnest(generate_series(1, {{}})) AS x) AS {other}"
        function = over("table", f"generate_series(1, {{}}) AS {other}(x)", last, own=own)
        return self.beside_each(source, scope, function, [Expr("int", f"{other}.x")])

    def beside_each(self, source, scope, function, elements):
        """Rows beside what a function makes of each."""
        words = self.chance.choice(["CROSS JOIN", "CROSS JOIN LATERAL", ",", "LEFT JOIN", "LEFT JOIN LATERAL"])
        on = "TRUE" if words.startswith("LEFT") else None
        join = Join(words, words.removesuffix(" LATERAL"), function, on and Expr("bool", on))
        scope = scope + elements
        where = self.condition(scope, 1) if self.may(0.6) else None
        if self.may(0.4):
            items = self.named([elements[0], over("int", "count(*)"), over(elements[-1].kind, "max({})", elements[-1])])
            return Select(items, source, (join,), where, (elements[0],), **self.ends())
        exprs = [*elements, *(item.expr for item in self.items(scope, self.chance.randrange(0, 3)))]
        return Select(self.named(exprs), source, (join,), where, **self.ends())

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

    def with_two_named(self):
        """The second one is a question of the first."""
        first = self.chance.choice([self.plain, self.grouped])()
        alias, again = self.alias(), self.alias()
        scope = columns_of(first, alias)
        group = self.any_column(scope)
        second = Select(self.named([group, self.aggregate(scope)]), Named("q", alias), where=self.maybe_where(scope, 0.5), groups=(group,))
        scope = columns_of(second, again)
        items = self.items(scope, self.chance.randrange(1, 3))
        return Select(items, Named("r", again), where=self.maybe_where(scope, 0.5), withs=(("q", first), ("r", second)), **self.ends())

    def recursive(self):
        """Rows that lead to others, a few steps far, or as far as there are new ones."""
        source, scope, key = self.source(outer=True)
        other, more, other_key = self.source(outer=True)
        alias, name = self.alias(), "q"
        kept = self.chance.choice([column for column in scope if column.kind in PLAIN])
        link, next_link = self.column(scope, "int"), self.column(more, "int")
        begin = [Expr("int", "CAST(0 AS bigint)"), Expr("int", key), link, kept]
        step = [over("int", "({} + 1)", Expr("int", f"{alias}.c1")), Expr("int", other_key), next_link, Expr(kept.kind, f"{alias}.c4")]
        far = over("bool", f"({alias}.c1 < {{}})", given(self.chance.randrange(1, 5), "int"))
        words = self.chance.choice(["UNION ALL", "UNION"])
        if words == "UNION" and self.may(0.5):
            # Without the depth, it ends where nothing is new.
            step, far = [Expr("int", f"{alias}.c1"), *step[1:]], None
        first = Select(self.named(begin), source, where=self.condition(scope, 1))
        join = Join("JOIN", None, other, over("bool", f"({other_key} = {alias}.c3)"))
        then = Select(self.named(step), Named(name, alias), (join,), far)
        outer = self.alias()
        scope = [Expr(expr.kind, f"{outer}.c{place}") for place, expr in enumerate(begin, 1)]
        by = (self.chance.choice(scope),)
        withs = ((name, Both(words, first, then, is_bare=True)),)
        exprs, groups = ([*by, over("int", "count(*)"), over("int", "max({})", scope[0])], by) if self.may(0.5) else (scope, ())
        where = self.maybe_where(scope, 0.3)
        return Select(self.named(exprs), Named(name, outer), where=where, groups=groups, withs=withs, recursive=True, **self.ends())

    def total_of(self):
        """How many rows a question has."""
        inner = self.chance.choice([self.plain, self.sets, self.first_of_each, self.shared, self.windows, self.with_ties])()
        if self.may(0.3) and not (isinstance(inner, Select) and (inner.distinct_on or inner.ties)):
            # Any of the rows, but so many.
            inner = dataclasses.replace(inner, ordered=False, limit=self.chance.choice([0, 1, 7, 500]), offset=self.chance.choice([None, 2]))
        return Select(self.named([over("int", "count(*)")]), Derived(inner, self.alias()))
