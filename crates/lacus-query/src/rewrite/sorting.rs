//! `ORDER BY 2` and `ORDER BY at` where the answer has a column without a name of its own: `count(*) + 1`, `at::date`.
//!
//! The engine finds such a column by the name it gave it, which it does not find again where rows are grouped, and a cast
//! has the name of what is cast: here the expression itself is put in their place. A name of a cast is PostgreSQL's: for Trino
//! it is that of the column which is cast, and the cast is given a name that the answer does not show.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, OrderBy, OrderByKind, Query, Select, SelectItem, SetExpr, Value, visit_expressions,
};

use super::same_name;

/// Puts expressions in the place of what stands for them in `ORDER BY`.
pub(super) fn by_expressions(query: &mut Query, is_postgres: bool) {
    let Some(OrderBy { kind: OrderByKind::Expressions(sorts), .. }) = &mut query.order_by else { return };
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    for sort in sorts {
        let shown = match &sort.expr {
            Expr::Value(value) => match &value.value {
                Value::Number(place, _) => at_place(place, select).cloned(),
                _ => None,
            },
            Expr::Identifier(name) => match cast_of(name, select) {
                Some((_, cast)) if is_postgres => Some(cast.clone()),
                Some((index, cast)) => {
                    let alias = Ident::with_quote('"', format!("{cast}#{}", index + 1));
                    select.projection[index] = SelectItem::ExprWithAlias { expr: cast.clone(), alias };
                    None
                }
                None => None,
            },
            _ => None,
        };
        if let Some(shown) = shown {
            sort.expr = shown;
        }
    }
}

/// The expression at a place, if rows are grouped and it has no name.
fn at_place<'a>(place: &str, select: &'a Select) -> Option<&'a Expr> {
    let index = place.parse::<usize>().ok()?.checked_sub(1)?;
    let is_grouped = !matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    let items = select.projection.get(..=index)?;
    let has_one_for_each =
        items.iter().all(|item| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }));
    if !is_grouped || select.distinct.is_some() || !has_one_for_each {
        return None;
    }
    match items.last()? {
        SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_)) => None,
        SelectItem::UnnamedExpr(expr) => Some(expr).filter(|expr| !has_query(expr)),
        _ => None,
    }
}

/// The one cast of a column of this name in the answer and its place, if the column itself is not there.
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
            // What is in a wildcard is not known here.
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
