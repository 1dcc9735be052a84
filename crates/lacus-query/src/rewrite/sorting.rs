//! `ORDER BY` a column of the answer that has no name of its own: `ORDER BY 2` for `count(*) + 1`, `ORDER BY at` for `at::date`; and
//! `ORDER BY max(v)` beside `max(v) AS v`.
//!
//! The engine finds such a column by the name it gave it. It does not find it again where rows are grouped, and a cast has the
//! name of what is cast. So the expression itself is put into `ORDER BY`. Only PostgreSQL names a cast after its column: in Trino
//! that name is the column's, and the cast is `_col0`, by its place, as any column without a name.
//!
//! That a query without `GROUP BY` has aggregates, as `SELECT sum(v) + 1 FROM t ORDER BY 1`, is known only when the engine misses
//! the column. Then the column gets a name, which the answer does not show.
//!
//! In `ORDER BY max(v)` the engine takes `v` for the column of the answer, as Trino does. In PostgreSQL it is the table's.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, OrderBy, OrderByExpr, OrderByKind, OrderByOptions, Query, Select, SelectItem,
    SetExpr, Value, VisitMut, VisitorMut, visit_expressions,
};

use crate::ast::ast_mut;
use crate::identifiers::same_name;

/// Replaces places and names in `ORDER BY` by the expressions that they stand for.
pub(super) fn by_expressions(query: &mut Query, is_postgres: bool) {
    let Some(OrderBy { kind: OrderByKind::Expressions(sorts), .. }) = &mut query.order_by else { return };
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    let mut casts = Vec::new();
    for sort in sorts {
        let shown = match &sort.expr {
            Expr::Value(value) => match &value.value {
                Value::Number(place, _) => at_place(place, select).cloned(),
                _ => None,
            },
            Expr::Identifier(name) => match cast_of(name, select) {
                Some((_, cast)) if is_postgres => Some(cast.clone()),
                Some((index, _)) => {
                    casts.push(index);
                    None
                }
                None => None,
            },
            Expr::CompoundIdentifier(_) => None,
            // With `DISTINCT ON`, `ORDER BY` repeats its expressions.
            _ if !is_postgres || matches!(select.distinct, Some(Distinct::On(_))) => None,
            expr => column_of(expr, select).map(|alias| Expr::Identifier(alias.clone())),
        };
        if let Some(shown) = shown {
            sort.expr = shown;
        }
    }
    for index in casts {
        name_cast(query, index);
    }
}

/// `DISTINCT ON (a, b) … ORDER BY b, a`: the engine requires the same order in both, and all of them in `ORDER BY`.
pub(super) fn as_distinct(query: &mut Query) {
    let Query { body, order_by: Some(OrderBy { kind: OrderByKind::Expressions(sorts), .. }), .. } = query else {
        return;
    };
    let SetExpr::Select(select) = body.as_mut() else { return };
    let Some(Distinct::On(distinct)) = &mut select.distinct else { return };
    let count = sorts.len().min(distinct.len());
    let is_sorted = |expr: &Expr| sorts[..count].iter().any(|sort| sort.expr == *expr);
    let (sorted, others): (Vec<Expr>, Vec<Expr>) = distinct.iter().cloned().partition(is_sorted);
    if sorted.len() != count || !sorts[..count].iter().all(|sort| sorted.contains(&sort.expr)) {
        return;
    }
    *distinct = sorts[..count].iter().map(|sort| sort.expr.clone()).chain(others.iter().cloned()).collect();
    let options = OrderByOptions { asc: None, nulls_first: None };
    sorts.extend(others.into_iter().map(|expr| OrderByExpr { expr, options, with_fill: None }));
}

/// Names the unnamed columns that rows are sorted by; whether there are any.
pub(crate) fn name_sorted_columns(statement: &mut Parsed) -> bool {
    let mut naming = Naming { has_named: false };
    if let Some(ast) = ast_mut(statement) {
        // The visitor never breaks off.
        let _done: ControlFlow<()> = ast.visit(&mut naming);
    }
    naming.has_named
}

struct Naming {
    has_named: bool,
}

impl VisitorMut for Naming {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let Query { body, order_by: Some(OrderBy { kind: OrderByKind::Expressions(sorts), .. }), .. } = query else {
            return ControlFlow::Continue(());
        };
        let SetExpr::Select(select) = body.as_mut() else { return ControlFlow::Continue(()) };
        for sort in sorts {
            if let Expr::Value(value) = &sort.expr
                && let Value::Number(place, _) = &value.value
            {
                self.has_named |= name_column(place, select);
            }
        }
        ControlFlow::Continue(())
    }
}

/// Names the column at a place if it is unnamed; whether it is.
fn name_column(place: &str, select: &mut Select) -> bool {
    let items = place.parse::<usize>().ok().and_then(|place| select.projection.get_mut(..place)).unwrap_or_default();
    let has_one_for_each = items.iter().all(has_one_column);
    let Some(item) = items.last_mut().filter(|_| has_one_for_each) else { return false };
    match item {
        SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => false,
        SelectItem::UnnamedExpr(expr) => {
            let alias = Ident::with_quote('"', format!("{expr}#{place}"));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            true
        }
        _ => false,
    }
}

fn has_one_column(item: &SelectItem) -> bool {
    matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. })
}

/// Names a cast after its place, unless the query uses that name already.
fn name_cast(query: &mut Query, index: usize) {
    let by_place = format!("_col{index}");
    let is_taken = has_name(query, &by_place);
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let Some(SelectItem::UnnamedExpr(cast)) = select.projection.get(index) else { return };
    let name = if is_taken { format!("{cast}#{}", index + 1) } else { by_place };
    let alias = Ident::with_quote('"', name);
    select.projection[index] = SelectItem::ExprWithAlias { expr: cast.clone(), alias };
}

fn has_name(query: &Query, name: &str) -> bool {
    let is_name = |word: &Ident| word.value.eq_ignore_ascii_case(name);
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let is_alias = |item: &SelectItem| matches!(item, SelectItem::ExprWithAlias { alias, .. } if is_name(alias));
    let is_asked_for = |expr: &Expr| match expr {
        Expr::Identifier(word) if is_name(word) => ControlFlow::Break(()),
        Expr::CompoundIdentifier(words) if words.iter().any(is_name) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    select.projection.iter().any(is_alias) || visit_expressions(query, is_asked_for).is_break()
}

/// The expression at a place, if rows are grouped and the column is unnamed.
fn at_place<'a>(place: &str, select: &'a Select) -> Option<&'a Expr> {
    let index = place.parse::<usize>().ok()?.checked_sub(1)?;
    let is_grouped = !matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    let items = select.projection.get(..=index)?;
    if !is_grouped || select.distinct.is_some() || !items.iter().all(has_one_column) {
        return None;
    }
    match items.last()? {
        SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_)) => None,
        SelectItem::UnnamedExpr(expr) => Some(expr).filter(|expr| !has_query(expr) && !has_alias(expr, select)),
        _ => None,
    }
}

/// Whether a name in an expression would be taken for an alias in the answer.
pub(super) fn has_alias(expr: &Expr, select: &Select) -> bool {
    let aliases = select.projection.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias),
        _ => None,
    });
    let aliases: Vec<&Ident> = aliases.collect();
    visit_expressions(expr, |part| match part {
        Expr::Identifier(word) if aliases.iter().any(|alias| same_name(alias, word)) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

/// The alias of an expression in the answer, if no other column has it.
fn column_of<'a>(expr: &Expr, select: &'a Select) -> Option<&'a Ident> {
    let found = select.projection.iter().find_map(|item| match item {
        SelectItem::ExprWithAlias { expr: shown, alias } if shown == expr => Some(alias),
        _ => None,
    })?;
    let may_be_called_so = |item: &&SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } => same_name(alias, found),
        SelectItem::UnnamedExpr(Expr::Identifier(word)) => same_name(word, found),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(words)) => {
            words.last().is_some_and(|word| same_name(word, found))
        }
        SelectItem::UnnamedExpr(_) => false,
        _ => true,
    };
    (select.projection.iter().filter(may_be_called_so).count() == 1).then_some(found)
}

/// The only cast of this column in the answer, and its place, if the column itself is not there.
fn cast_of<'a>(name: &Ident, select: &'a Select) -> Option<(usize, &'a Expr)> {
    let mut found = None;
    for (index, item) in select.projection.iter().enumerate() {
        match item {
            SelectItem::UnnamedExpr(expr @ Expr::Cast { .. }) if is_cast_of(name, expr) => match found {
                None => found = Some((index, expr)),
                Some(_) => return None,
            },
            SelectItem::UnnamedExpr(Expr::Identifier(word)) if same_name(word, name) => return None,
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(words))
                if words.last().is_some_and(|word| same_name(word, name)) =>
            {
                return None;
            }
            SelectItem::ExprWithAlias { alias, .. } if same_name(alias, name) => return None,
            SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. } => {}
            // The columns of a wildcard are not known here.
            _ => return None,
        }
    }
    found
}

fn is_cast_of(name: &Ident, expr: &Expr) -> bool {
    match expr {
        Expr::Cast { expr, .. } => is_cast_of(name, expr),
        Expr::Identifier(word) => same_name(word, name),
        Expr::CompoundIdentifier(words) => words.last().is_some_and(|word| same_name(word, name)),
        _ => false,
    }
}

fn has_query(expr: &Expr) -> bool {
    visit_expressions(expr, |expr| match expr {
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}
