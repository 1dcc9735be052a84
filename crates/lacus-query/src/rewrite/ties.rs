//! `ORDER BY x FETCH FIRST 3 ROWS WITH TIES`: the first rows, and those that tie with the last of them; written with `rank()`.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, OrderBy, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, Value, WindowType,
};

use super::sorting::has_alias;
use super::{binary, expression};
use crate::identifiers::same_name;

/// Replaces `WITH TIES` by a condition on ranks. With an `OFFSET` it is left to the planner, which refuses it.
pub(super) fn by_ranks(query: &mut Query) {
    let Query { body, order_by: Some(order_by), limit_clause: None, fetch, .. } = query else { return };
    let OrderBy { kind: OrderByKind::Expressions(sorts), .. } = order_by else { return };
    let SetExpr::Select(select) = body.as_mut() else { return };
    if select.distinct.is_some() || select.qualify.is_some() {
        return;
    }
    let Some(order) = sorts.iter().map(|sort| of_rows(sort, select)).collect::<Option<Vec<_>>>() else { return };
    let Some(fetch) = fetch.take_if(|fetch| fetch.with_ties && !fetch.percent) else { return };
    let mut rank = expression("rank() OVER ()");
    if let Expr::Function(function) = &mut rank
        && let Some(WindowType::WindowSpec(window)) = &mut function.over
    {
        window.order_by = order;
    }
    let count = fetch.quantity.unwrap_or_else(|| expression("1"));
    select.qualify = Some(binary(rank, BinaryOperator::LtEq, count));
}

/// The sort key with places resolved, where the columns of the answer are not in scope. None if that is not possible.
pub(super) fn of_rows(sort: &OrderByExpr, select: &Select) -> Option<OrderByExpr> {
    let expr = match &sort.expr {
        Expr::Value(value) => match &value.value {
            Value::Number(place, _) => at_place(place.parse().ok()?, select)?,
            _ => &sort.expr,
        },
        Expr::Identifier(word) => {
            let named = select.projection.iter().find_map(|item| match item {
                SelectItem::ExprWithAlias { expr, alias } if same_name(alias, word) => Some(expr),
                _ => None,
            });
            named.unwrap_or(&sort.expr)
        }
        expr if has_alias(expr, select) => return None,
        expr => expr,
    };
    Some(OrderByExpr { expr: expr.clone(), ..sort.clone() })
}

fn at_place(place: usize, select: &Select) -> Option<&Expr> {
    let items = select.projection.get(..place)?;
    let exprs = items.iter().map(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    });
    exprs.collect::<Option<Vec<_>>>()?.pop()
}
