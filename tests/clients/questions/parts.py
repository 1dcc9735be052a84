"""What questions are made of: tables, joins, columns, expressions and conditions."""

from questions.expressions import AGGREGATES, FORMS
from questions.trees import Derived, Expr, Item, Join, Select, Source, given, listed, over
from questions.values import ALIKE, PLAIN, value

# What tables are joined by: few pairs of rows have the same.
KEYS = ("int", "text", "date", "big", "i32")
COMPARED = ["=", "<>", "<", "<=", ">", ">="]
PATTERNS = ["a%", "%b", "%a%", "a longer text%", "_", "__", "日%", "%本%", "", "%", "a_b", "Berlin", "😀%", "b_rl%n"]


class Parts:
    """Makes parts of random questions. A table has `name`, `columns` (kinds by path) and `versions`; so has a view."""

    def __init__(self, chance, tables, views=()):
        self.chance, self.tables, self.views, self.aliases = chance, tables, views, 0

    def may(self, share):
        return self.chance.random() < share

    # Tables

    def alias(self):
        self.aliases += 1
        return f"t{self.aliases}"

    def source(self, outer=False):
        """A table, and its columns as expressions."""
        table = self.chance.choice(self.views if self.views and not outer and self.may(0.12) else self.tables)
        alias = self.alias()
        columns = table.columns
        source = Source(table.name, alias)
        if table.versions and self.may(0.15):
            snapshot, copy, columns = self.chance.choice(table.versions)
            source = Source(table.name, alias, snapshot, copy)
        elif not outer and self.may(0.1):
            inner = self.plain(deep=False)
            while not any(kind in PLAIN for kind in inner.kinds):
                # What is grouped or sorted by would be a number, and mean the place of a column.
                inner = self.plain(deep=False)
            return Derived(inner, alias), columns_of(inner, alias), None
        return source, scope_of(alias, columns), f"{alias}.id"

    def sources(self):
        """Tables that are joined, their columns, and what tells rows of them apart."""
        source, scope, key = self.source()
        keys, joins = [key], []
        while self.may(0.3 if not joins else 0.2) and len(joins) < 2:
            words = self.chance.choice(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
            other, more, key = self.source()
            joins.append(Join(words, None, other, self.on(scope, more, words != "FULL JOIN")))
            scope, keys = scope + more, [*keys, key]
        return source, tuple(joins), scope, keys

    def on(self, left, right, more=True):
        """A condition that few pairs of rows meet."""
        pairs = [(a, b) for a in left for b in right if a.kind == b.kind and a.kind in KEYS]
        ids = [(a, b) for a, b in pairs if a.form.endswith('"id"') and b.form.endswith('"id"')]
        if not pairs:
            return Expr("bool", "FALSE")
        condition = over("bool", "({} = {})", *self.chance.choice(ids if ids and self.may(0.5) else pairs))
        if more and self.may(0.3):
            condition = listed("bool", "({})", (condition, self.condition(left + right, 1)), " AND ")
        return condition

    # Expressions

    def column(self, scope, kind):
        fitting = [column for column in scope if column.kind == kind]
        return self.chance.choice(fitting) if fitting else given(value(self.chance, kind), kind)

    def expr(self, scope, kind, depth=2):
        roll = self.chance.random()
        if kind == "bool" and depth > 0 and roll < 0.7:
            return self.condition(scope, depth - 1)
        if depth > 0 and roll < 0.45 and kind in FORMS or kind == "span" and roll < 0.6:
            return self.formed(scope, kind, depth)
        if roll > 0.92:
            return given(value(self.chance, kind), kind)
        return self.column(scope, kind)

    def formed(self, scope, kind, depth=1):
        """An expression of others: of columns, if there are such."""
        there = {column.kind for column in scope}
        if "ts" in there:
            there.add("span")
        fitting = [form for form in FORMS[kind] if there.intersection(form[1])]
        form, kinds, own = self.chance.choice(fitting or FORMS[kind][:1])
        return over(kind, form, *(self.expr(scope, inner, depth - 1) for inner in kinds), own=own)

    def any_of(self, scope, kinds=PLAIN):
        there = sorted({column.kind for column in scope if column.kind in kinds}) or ["int"]
        return self.chance.choice(there)

    def any_column(self, scope):
        return self.column(scope, self.any_of(scope))

    # Conditions

    def condition(self, scope, depth=2):
        """A condition, most of them on a column: what files and row groups are skipped by."""
        roll = self.chance.random()
        if depth > 0 and roll < 0.4:
            words = self.chance.choice([" AND ", " OR "])
            count = self.chance.choice([2, 2, 3])
            return listed("bool", "({})", [self.condition(scope, depth - 1) for _ in range(count)], words)
        if depth > 0 and roll < 0.46:
            return over("bool", "(NOT {})", self.condition(scope, depth - 1))
        if depth > 1 and 0.46 <= roll < 0.58:
            return self.about_others(scope)
        if depth > 0 and 0.58 <= roll < 0.66:
            return self.formed(scope, "bool")
        if 0.66 <= roll < 0.69:
            return self.row_comparison(scope)
        return self.comparison(scope, depth)

    def about_others(self, scope):
        """A condition on another table, also where null is not as false is."""
        found = self.subquery(scope)
        if self.may(0.75):
            return found
        return self.chance.choice([
            lambda: over("bool", "(CASE WHEN {} THEN {} ELSE {} END)", found, self.comparison(scope, 0), self.comparison(scope, 0)),
            lambda: over("bool", "({} OR {})", found, self.comparison(scope, 0)),
            lambda: over("bool", "({} IS NULL)", found),
            lambda: over("bool", "(NOT ({} AND {}))", self.comparison(scope, 0), found),
        ])()  # fmt: skip

    def comparison(self, scope, depth):
        kind = self.any_of(scope)
        left = self.column(scope, kind) if self.may(0.8) else self.expr(scope, kind, depth)
        operator = self.chance.choice([*COMPARED, "IS DISTINCT FROM", "IS NOT DISTINCT FROM"])
        word = self.chance.choice(["compare", "compare", "other", "in", "between", "null", "like", "bool"])
        look = lambda: given(value(self.chance, kind, 0.04), kind)
        match word:
            case "in":
                words = self.chance.choice(["IN", "NOT IN"])
                if left.args:
                    return over("bool", f"({{}} {words} ({{}}, {{}}))", left, look(), look())
                count = self.chance.choice([1, 2, 4, 30])
                return listed("bool", f"({left.form} {words} ({{}}))", [look() for _ in range(count)])
            case "between":
                words = self.chance.choice(["BETWEEN", "NOT BETWEEN"])
                return over("bool", f"({{}} {words} {{}} AND {{}})", left, look(), look())
            case "null":
                return over("bool", self.chance.choice(["({} IS NULL)", "({} IS NOT NULL)"]), left)
            case "like" if kind == "text":
                words = self.chance.choice(["LIKE", "NOT LIKE", "ILIKE"])
                return over("bool", f"({{}} {words} '{self.chance.choice(PATTERNS)}')", left)
            case "bool" if kind == "bool":
                return over("bool", self.chance.choice(["({} IS TRUE)", "({} IS NOT TRUE)", "({} IS FALSE)", "({})"]), left)
            case "other":
                # Another type, a column or a value.
                other = self.chance.choice(ALIKE.get(kind, (kind,)))
                right = self.column(scope, other) if self.may(0.5) else given(value(self.chance, other, 0.04), other)
                return over("bool", f"({{}} {operator} {{}})", left, right)
        return over("bool", f"({{}} {operator} {{}})", left, look())

    # Totals

    def aggregate(self, scope):
        kind, form, kinds, own = self.chance.choice(AGGREGATES)
        args = []
        for wanted in kinds:
            if wanted in ("any", "plain"):
                wanted = self.any_of(scope)
                args.append(self.column(scope, wanted) if self.may(0.7) else self.expr(scope, wanted))
            elif wanted == "exact":
                args.append(self.exact(scope))
            else:
                args.append(self.expr(scope, wanted, 1))
        if kind == "same":
            kind = args[0].kind
        return over(kind, form, *args, own=own)

    def exact(self, scope):
        """Fractions whose sums are exact in any order."""
        return over("dbl", "CAST({} AS double precision)", self.column(scope, "f32"))

    def having(self, scope):
        total = self.chance.choice([
            over("int", "count(*)"), over("int", "count({})", self.column(scope, "text")), over("int", "max({})", self.column(scope, "int")),
        ])  # fmt: skip
        return over("bool", f"({{}} {self.chance.choice(['>', '<=', '='])} {{}})", total, given(self.chance.randrange(5), "int"))

    # Columns of an answer, and its end

    def items(self, scope, count, kinds=PLAIN):
        return self.named(
            self.formed(scope, "num") if self.may(0.08) else self.expr(scope, self.any_of(scope, kinds)) for _ in range(count)
        )

    def named(self, exprs):
        return tuple(self.item(expr, index) for index, expr in enumerate(exprs))

    def item(self, expr, index):
        order = self.chance.choice(["", " DESC", " NULLS FIRST", " DESC NULLS LAST", " ASC NULLS LAST", " DESC NULLS FIRST"])
        return Item(expr, f"c{index + 1}", order)

    def maybe_where(self, scope, share=0.8):
        return self.condition(scope) if self.may(share) else None

    def ends(self, always=False):
        """How an answer is ordered and cut: only what is ordered by all of its columns is cut."""
        if not always and self.may(0.5):
            return {}
        limit = self.chance.choice([None, 0, 1, 5, 20, 1000])
        offset = self.chance.choice([None, None, 0, 3])
        return {"ordered": True, "limit": limit, "offset": offset}

    def plain(self, deep=True):
        """Columns of rows."""
        if deep:
            source, joins, scope, _ = self.sources()
        else:
            source, scope, _ = self.source(outer=True)
            joins = ()
        items = self.items(scope, self.chance.randrange(1, 5))
        return Select(items, source, joins, self.maybe_where(scope), distinct=self.may(0.15), **self.ends())


def scope_of(alias, columns):
    return [Expr(kind, f'{alias}."' + '"."'.join(path) + '"') for path, kind in columns.items()]


def columns_of(query, alias):
    """The columns of a question that stands in the place of a table."""
    return [Expr(kind, f"{alias}.{item.alias}") for item, kind in zip(query.items, query.kinds)]


def at_the_top(scope):
    """Columns that no struct is around: a subquery finds only these of the row outside."""
    return [column for column in scope if column.form.count('"') <= 2]
