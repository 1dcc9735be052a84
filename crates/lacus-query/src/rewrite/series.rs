//! `SELECT generate_series(1, 3)`: one row for each number. The engine gives one array.

use datafusion::sql::sqlparser::ast::{Expr, Select, SelectItem};

use super::call;

/// Turns series among the columns of a query into rows.
pub(super) fn as_rows(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
            && is_series(expr)
        {
            *expr = call("unnest", vec![expr.clone()]);
        }
    }
}

fn is_series(expr: &Expr) -> bool {
    let Expr::Function(call) = expr else { return false };
    let name = call.name.0.last().and_then(|part| part.as_ident());
    name.is_some_and(|name| name.value.eq_ignore_ascii_case("generate_series"))
}
