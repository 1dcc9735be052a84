//! `FULL JOIN … USING (id)` and `RIGHT JOIN … USING (id)`: `id` is that of whichever side has a row.
//!
//! The engine takes the left table's, which may have no row. Here `coalesce`, or the column of the right table, replaces the name
//! wherever it stands alone, and in `*`. What has to know the columns of tables is done later, in [`super::joined`].

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, OrderBy, OrderByKind, Query,
    ReplaceSelectElement, ReplaceSelectItem, Select, SelectItem, SetExpr, TableWithJoins, VisitMut, VisitorMut,
    WildcardAdditionalOptions,
};

use super::{call, name_of, subqueries};
use crate::error::SqlError;
use crate::identifiers::same_name;

/// A column that two tables share, and the expression for it.
pub(super) struct Shared {
    pub(super) name: Ident,
    pub(super) value: Expr,
}

/// Replaces the names of shared columns.
pub(super) fn put(select: &mut Select) {
    let shared = shared(&select.from);
    if shared.is_empty() {
        return;
    }
    // The visitor never breaks off.
    for table in &mut select.from {
        put_in_conditions(table);
    }
    put_in(select, &shared);
}

/// The same, except in the conditions of the joins.
pub(super) fn put_in(select: &mut Select, shared: &[Shared]) {
    let mut put = Put::new(shared);
    let Select { distinct, projection, selection, group_by, having, named_window, qualify, .. } = select;
    let _done: ControlFlow<()> = distinct.visit(&mut put);
    let _done: ControlFlow<()> = selection.visit(&mut put);
    let _done: ControlFlow<()> = group_by.visit(&mut put);
    let _done: ControlFlow<()> = having.visit(&mut put);
    let _done: ControlFlow<()> = named_window.visit(&mut put);
    let _done: ControlFlow<()> = qualify.visit(&mut put);
    for item in projection {
        if !put_item(item, shared) {
            let _done: ControlFlow<()> = item.visit(&mut put);
        }
    }
}

/// The condition of a join may use what the joins before it share.
fn put_in_conditions(table: &mut TableWithJoins) {
    let mut shared: Vec<Shared> = Vec::new();
    let mut left = name_of(&table.relation);
    for join in &mut table.joins {
        let _done: ControlFlow<()> = join.join_operator.visit(&mut Put::new(&shared));
        push_shared(&mut shared, left.take().as_ref(), join);
    }
}

/// The same in `ORDER BY`.
pub(super) fn put_in_order(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    let shared = shared(&select.from);
    put_in_order_of(query, &shared);
}

/// The same for known columns.
pub(super) fn put_in_order_of(query: &mut Query, shared: &[Shared]) {
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    let Some(OrderBy { kind: OrderByKind::Expressions(sorts), .. }) = &mut query.order_by else { return };
    if shared.is_empty() {
        return;
    }
    let mut put = Put::new(shared);
    let is_distinct_on = matches!(select.distinct, Some(Distinct::On(_)));
    for sort in sorts {
        // A plain name means the column of the answer, if there is one.
        let is_column = matches!(&sort.expr, Expr::Identifier(name) if is_in_answer(name, select));
        if !is_column || is_distinct_on {
            let _done: ControlFlow<()> = sort.expr.visit(&mut put);
        }
    }
}

/// Whether the answer may have a column of this name.
fn is_in_answer(name: &Ident, select: &Select) -> bool {
    select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(Expr::Identifier(word)) | SelectItem::ExprWithAlias { alias: word, .. } => {
            same_name(word, name)
        }
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(words)) => {
            words.last().is_some_and(|word| same_name(word, name))
        }
        SelectItem::UnnamedExpr(_) => false,
        _ => true,
    })
}

fn shared(from: &[TableWithJoins]) -> Vec<Shared> {
    let mut shared = Vec::new();
    for table in from {
        let mut left = name_of(&table.relation);
        for join in &table.joins {
            push_shared(&mut shared, left.take().as_ref(), join);
        }
    }
    shared
}

/// Adds the columns that a join shares. If several tables come before it, it is not known which of them has the column.
fn push_shared(shared: &mut Vec<Shared>, left: Option<&Ident>, join: &Join) {
    let (Some((columns, is_full)), Some(right)) = (shared_by(&join.join_operator), name_of(&join.relation)) else {
        return;
    };
    for name in columns.iter().filter_map(last_word) {
        let of = |table: &Ident| Expr::CompoundIdentifier(vec![table.clone(), name.clone()]);
        let of_left = left.map_or_else(|| Expr::Identifier(name.clone()), of);
        let value = if is_full { call("coalesce", vec![of_left, of(&right)]) } else { of(&right) };
        shared.push(Shared { name: name.clone(), value });
    }
}

/// The columns that a join shares, unless the left table's are right anyway; and whether both sides count.
fn shared_by(join: &JoinOperator) -> Option<(&[ObjectName], bool)> {
    match join {
        JoinOperator::FullOuter(JoinConstraint::Using(columns)) => Some((columns, true)),
        JoinOperator::Right(JoinConstraint::Using(columns))
        | JoinOperator::RightOuter(JoinConstraint::Using(columns)) => Some((columns, false)),
        _ => None,
    }
}

pub(super) fn last_word(name: &ObjectName) -> Option<&Ident> {
    name.0.last()?.as_ident()
}

/// Refuses joins that share such a column again, which the engine would compare with the left table's only, and joins of
/// unnamed tables.
pub(super) fn must_share_once(from: &[TableWithJoins]) -> Result<(), SqlError> {
    from.iter().try_for_each(|table| must_share_once_in(&table.joins))
}

/// The same for the joins of one item of `FROM`: what follows a comma is another one.
fn must_share_once_in(joins: &[Join]) -> Result<(), SqlError> {
    let mut seen: Vec<&Ident> = Vec::new();
    for Join { relation, join_operator, .. } in joins {
        let columns = match constraint_of(join_operator) {
            Some(JoinConstraint::Using(columns)) => columns.as_slice(),
            Some(JoinConstraint::Natural) if !seen.is_empty() => {
                return Err(refused("NATURAL JOIN after a FULL or RIGHT JOIN with USING"));
            }
            _ => &[],
        };
        if let Some(twice) =
            columns.iter().filter_map(last_word).find(|name| seen.iter().any(|one| same_name(one, name)))
        {
            return Err(refused(&format!("USING ({twice}) once more after a FULL or RIGHT JOIN")));
        }
        if let Some((columns, _)) = shared_by(join_operator) {
            if name_of(relation).is_none() {
                return Err(refused("FULL or RIGHT JOIN with USING, of a table without a name,"));
            }
            seen.extend(columns.iter().filter_map(last_word));
        }
    }
    Ok(())
}

/// Refuses such joins in places where names are not replaced.
pub(super) fn must_not_share(from: &[TableWithJoins], place: &str) -> Result<(), SqlError> {
    let mut joins = from.iter().flat_map(|table| &table.joins);
    if joins.any(|join| shared_by(&join.join_operator).is_some()) {
        return Err(refused(&format!("FULL or RIGHT JOIN with USING {place}")));
    }
    Ok(())
}

fn refused(what: &str) -> SqlError {
    SqlError::invalid("0A000", format!("{what} is not supported")).with_hint("compare the columns: ON a.id = b.id")
}

/// The constraint of a join, borrowed as the join is.
macro_rules! constraint {
    ($join:expr) => {
        match $join {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint)
            | JoinOperator::CrossJoin(constraint)
            | JoinOperator::Semi(constraint)
            | JoinOperator::LeftSemi(constraint)
            | JoinOperator::RightSemi(constraint)
            | JoinOperator::Anti(constraint)
            | JoinOperator::LeftAnti(constraint)
            | JoinOperator::RightAnti(constraint)
            | JoinOperator::StraightJoin(constraint) => Some(constraint),
            _ => None,
        }
    };
}

pub(super) fn constraint_of(join: &JoinOperator) -> Option<&JoinConstraint> {
    constraint!(join)
}

pub(super) fn constraint_to_change(join: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    constraint!(join)
}

/// The expression for a name; none if two shared columns have it, which the engine reports.
fn value_of<'a>(name: &Ident, shared: &'a [Shared]) -> Option<&'a Expr> {
    let mut found = shared.iter().filter(|shared| same_name(&shared.name, name));
    let Shared { value, .. } = found.next()?;
    found.next().is_none().then_some(value)
}

/// Replaces an item that is just such a name, or `*`; whether it was one.
fn put_item(item: &mut SelectItem, shared: &[Shared]) -> bool {
    match item {
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => {
            let Some(value) = value_of(name, shared) else { return false };
            *item = SelectItem::ExprWithAlias { expr: value.clone(), alias: name.clone() };
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

/// Replaces names by expressions, except in subqueries, and where a lambda has a parameter of the name.
pub(super) struct Put<'a> {
    shared: &'a [Shared],
    depth: usize,
    parameters: Vec<Ident>,
}

impl<'a> Put<'a> {
    pub(super) fn new(shared: &'a [Shared]) -> Self {
        Self { shared, depth: 0, parameters: Vec::new() }
    }
}

impl VisitorMut for Put<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        // In a query of ours, the compared value belongs to this query.
        if self.depth == 0 {
            let (shared, parameters) = (self.shared, self.parameters.clone());
            let mut put = Put { shared, depth: 0, parameters };
            subqueries::for_compared(query, &mut |value: &mut Expr| {
                let _done: ControlFlow<()> = value.visit(&mut put);
            });
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Lambda(lambda) = expr {
            self.parameters.extend(lambda.params.iter().map(|parameter| parameter.name.clone()));
        }
        ControlFlow::Continue(())
    }

    // After its parts were visited: the name inside of `coalesce` must stay.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Lambda(lambda) => self.parameters.truncate(self.parameters.len() - lambda.params.len()),
            Expr::Identifier(name) if self.depth == 0 && !self.parameters.iter().any(|one| same_name(one, name)) => {
                if let Some(value) = value_of(name, self.shared) {
                    *expr = value.clone();
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
