//! `FULL JOIN … USING (id)` and `RIGHT JOIN … USING (id)`: `id` is that of the row that is there.
//!
//! For the engine it is that of the left table, which may have no row. Here `coalesce` is put in its place, or the column of
//! the right table, wherever the name stands alone; `*` has it, too.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Join, JoinConstraint, JoinOperator, OrderBy, OrderByKind, Query, ReplaceSelectElement,
    ReplaceSelectItem, Select, SelectItem, SetExpr, TableFactor, VisitMut, VisitorMut, WildcardAdditionalOptions,
};

use super::{call, same_name};

/// A column that two tables share, and what it is.
struct Shared {
    name: Ident,
    value: Expr,
}

/// Puts the columns that joins share in the place of their names.
pub(super) fn put(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let shared = shared(select);
    if shared.is_empty() {
        return;
    }
    let Select { projection, selection, group_by, having, qualify, .. } = select.as_mut();
    let mut put = Put { shared: &shared, depth: 0 };
    // The visitor never breaks off.
    let _done: ControlFlow<()> = selection.visit(&mut put);
    let _done: ControlFlow<()> = group_by.visit(&mut put);
    let _done: ControlFlow<()> = having.visit(&mut put);
    let _done: ControlFlow<()> = qualify.visit(&mut put);
    for item in projection {
        if !put_item(item, &shared) {
            let _done: ControlFlow<()> = item.visit(&mut put);
        }
    }
    let Some(OrderBy { kind: OrderByKind::Expressions(sorts), .. }) = &mut query.order_by else { return };
    for sort in sorts {
        // A name alone is that of a column of the answer.
        if !matches!(sort.expr, Expr::Identifier(_)) {
            let _done: ControlFlow<()> = sort.expr.visit(&mut put);
        }
    }
}

fn shared(select: &Select) -> Vec<Shared> {
    let mut shared = Vec::new();
    for Join { relation, join_operator, .. } in select.from.iter().flat_map(|table| &table.joins) {
        let (constraint, is_full) = match join_operator {
            JoinOperator::FullOuter(constraint) => (constraint, true),
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => (constraint, false),
            _ => continue,
        };
        let (JoinConstraint::Using(columns), Some(right)) = (constraint, name_of(relation)) else { continue };
        for column in columns {
            let Some(name) = column.0.last().and_then(|part| part.as_ident()) else { continue };
            add(&mut shared, name, &right, is_full);
        }
    }
    shared
}

fn add(shared: &mut Vec<Shared>, name: &Ident, right: &Ident, is_full: bool) {
    let of_right = Expr::CompoundIdentifier(vec![right.clone(), name.clone()]);
    let known = shared.iter().position(|shared| same_name(&shared.name, name));
    let of_left = match known {
        Some(index) => shared.swap_remove(index).value,
        None => Expr::Identifier(name.clone()),
    };
    let value = if is_full { call("coalesce", vec![of_left, of_right]) } else { of_right };
    shared.push(Shared { name: name.clone(), value });
}

/// What a table is called in its query.
fn name_of(table: &TableFactor) -> Option<Ident> {
    match table {
        TableFactor::Table { name, alias, .. } => match alias {
            Some(alias) => Some(alias.name.clone()),
            None => name.0.last()?.as_ident().cloned(),
        },
        TableFactor::Derived { alias, .. } => Some(alias.as_ref()?.name.clone()),
        _ => None,
    }
}

/// Whether the whole of it is such a column, or all.
fn put_item(item: &mut SelectItem, shared: &[Shared]) -> bool {
    match item {
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => {
            let Some(found) = shared.iter().find(|shared| same_name(&shared.name, name)) else { return false };
            *item = SelectItem::ExprWithAlias { expr: found.value.clone(), alias: name.clone() };
            true
        }
        SelectItem::Wildcard(WildcardAdditionalOptions { opt_replace: replace @ None, .. }) => {
            let items = shared.iter().map(|Shared { name, value }| {
                let column_name = name.clone();
                Box::new(ReplaceSelectElement { expr: value.clone(), column_name, as_keyword: true })
            });
            *replace = Some(ReplaceSelectItem { items: items.collect() });
            true
        }
        _ => false,
    }
}

/// Puts values in the place of names, not in queries that are in this one.
struct Put<'a> {
    shared: &'a [Shared],
    depth: usize,
}

impl VisitorMut for Put<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    // After what is in it was visited: the name in `coalesce` stays.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = expr
            && self.depth == 0
            && let Some(found) = self.shared.iter().find(|shared| same_name(&shared.name, name))
        {
            *expr = found.value.clone();
        }
        ControlFlow::Continue(())
    }
}
