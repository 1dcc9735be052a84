//! Two columns of one name: `SELECT 1 AS a, 2 AS a`.
//!
//! The engine requires different names. When it has refused a query for this, columns are renamed with their places (`a#2`) where
//! that can't change what a name means; the answer does not show it: see [`crate::naming`].
//! The same is done where rows are sorted by the column of a table whose name another column of the answer has:
//! `SELECT upper(t.a) AS a FROM t ORDER BY t.a`. Where the query is in `FROM` or `WITH` and somebody asks for that other column, a query
//! around it gives the name back.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, JoinConstraint, Query, Select, SelectItem, SetExpr, SetQuantifier, Statement as Ast, TableAlias,
    TableFactor, TableWithJoins, Visit, VisitMut, Visitor, VisitorMut, visit_expressions,
};

use super::shared_columns::constraint_of;
use super::within;
use crate::identifiers::folded;
use crate::naming::is_wildcard;

/// Gives names to unnamed columns, and other names to those of the same name.
pub(crate) fn tell_columns_apart(statement: &mut Parsed) {
    let Parsed::Statement(ast) = statement else { return };
    let whole = Mentions::of(ast);
    // The visitor never breaks off.
    let _done: ControlFlow<()> = VisitMut::visit(ast.as_mut(), &mut Inside { whole });
    match ast.as_mut() {
        Ast::Query(query) => tell_apart(query, true, &|_| false),
        Ast::Insert(insert) => insert.source.iter_mut().for_each(|query| tell_apart(query, true, &|_| false)),
        _ => {}
    }
}

/// Renames columns of queries in `FROM` and `WITH` that nobody refers to, as in `SELECT count(*) FROM (SELECT x, x FROM t)`,
/// or that are named after the query, as in `(SELECT x, x FROM t) AS q(a, b)`.
struct Inside {
    whole: Mentions,
}

impl Inside {
    fn tell_apart(&self, query: &mut Query, alias: Option<&TableAlias>) {
        if alias.is_some_and(|alias| !alias.columns.is_empty()) {
            tell_apart(query, true, &|_| false);
        } else {
            let inside = Mentions::of(query);
            let is_asked_for = |name: &str| self.whole.is_asked_for(name, &inside);
            tell_apart(query, false, &is_asked_for);
            name_sorted(query, &is_asked_for);
        }
    }
}

impl VisitorMut for Inside {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for with in query.with.iter_mut().filter(|with| !with.recursive) {
            with.cte_tables.iter_mut().for_each(|table| self.tell_apart(&mut table.query, Some(&table.alias)));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Derived { subquery, alias, .. } = table {
            self.tell_apart(subquery, alias.as_ref());
        }
        ControlFlow::Continue(())
    }
}

/// The names that occur in a part of a statement.
#[derive(Default)]
struct Mentions {
    words: HashMap<String, usize>,
    wildcards: usize,
    /// Whether joins share columns: those are named in no expression, or not at all.
    has_shared: bool,
}

impl Mentions {
    fn of(part: &impl Visit) -> Self {
        let mut mentions = Self::default();
        // The visitor never breaks off.
        let _done: ControlFlow<()> = part.visit(&mut mentions);
        mentions
    }

    /// Whether a name may refer to a column from outside of the part that `inside` is of.
    fn is_asked_for(&self, name: &str, inside: &Self) -> bool {
        let count = |mentions: &Self| mentions.words.get(name).copied().unwrap_or(0);
        self.has_shared || self.wildcards > inside.wildcards || count(self) > count(inside)
    }

    fn see_joins(&mut self, table: &TableWithJoins) {
        let mut constraints = table.joins.iter().filter_map(|join| constraint_of(&join.join_operator));
        self.has_shared |=
            constraints.any(|constraint| matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural));
    }
}

impl Visitor for Mentions {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.wildcards += select.projection.iter().filter(|item| is_wildcard(item)).count();
        select.from.iter().for_each(|table| self.see_joins(table));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = table {
            self.see_joins(table_with_joins);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let words = match expr {
            Expr::Identifier(word) => std::slice::from_ref(word),
            Expr::CompoundIdentifier(words) => words.as_slice(),
            _ => &[],
        };
        for word in words {
            *self.words.entry(folded(word)).or_default() += 1;
        }
        ControlFlow::Continue(())
    }
}

/// Renames all columns of a query, or only those whose name is not unique. A name that is referred to is kept, since it is
/// not known which column is meant.
fn tell_apart(query: &mut Query, all: bool, is_asked_for: &dyn Fn(&str) -> bool) {
    let Query { body, order_by, .. } = query;
    let order_by = &*order_by;
    let is_asked_for = |name: &str| is_asked_for(name) || has_word(order_by, name);
    match body.as_mut() {
        SetExpr::Select(select) => tell_items_apart(select, all, &is_asked_for, &|name| has_column(order_by, name)),
        body => tell_apart_in(body, all, &is_asked_for),
    }
}

fn tell_apart_in(body: &mut SetExpr, all: bool, is_asked_for: &dyn Fn(&str) -> bool) {
    match body {
        SetExpr::Select(select) => tell_items_apart(select, all, is_asked_for, &|_| false),
        SetExpr::Query(query) => tell_apart(query, all, is_asked_for),
        SetExpr::SetOperation { left, right, set_quantifier, .. } => {
            tell_apart_in(left, all, is_asked_for);
            let is_by_name = matches!(
                set_quantifier,
                SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName
            );
            // The columns have the names of the left side.
            if !is_by_name {
                tell_apart_in(right, all, &|_| false);
            }
        }
        _ => {}
    }
}

/// Renames columns whose names are those of columns that rows are sorted by, and names them again in a query around this one.
fn name_sorted(query: &mut Query, is_asked_for: &dyn Fn(&str) -> bool) {
    let Query { body, order_by, .. } = query;
    let order_by = &*order_by;
    let SetExpr::Select(select) = body.as_mut() else { return };
    let Some(names) = select.projection.iter().map(name_of).collect::<Option<Vec<String>>>() else { return };
    let is_unique = |name: &String| names.iter().filter(|other| *other == name).count() == 1;
    if !names.iter().all(is_unique) {
        return;
    }
    let is_mistaken = |name: &str| is_asked_for(name) && has_column(order_by, name) && !has_word(order_by, name);
    tell_items_apart(select, false, &|name| !is_mistaken(name), &is_mistaken);
    let inner: Vec<Option<String>> = select.projection.iter().map(name_of).collect();
    if inner.iter().flatten().eq(&names) {
        return;
    }
    let quoted = |name: &String| Ident::with_quote('"', name);
    let columns = inner
        .iter()
        .flatten()
        .zip(&names)
        .map(|(inner, name)| SelectItem::ExprWithAlias { expr: Expr::Identifier(quoted(inner)), alias: quoted(name) });
    let columns = columns.collect();
    let mut outer = within("SELECT 1 FROM (SELECT 1) AS \"sorted#\"", &[], query.clone());
    if let SetExpr::Select(select) = outer.body.as_mut() {
        select.projection = columns;
    }
    *query = outer;
}

fn tell_items_apart(
    select: &mut Select,
    all: bool,
    is_asked_for: &dyn Fn(&str) -> bool,
    is_of_table: &dyn Fn(&str) -> bool,
) {
    let Select { projection, distinct, group_by, having, named_window, qualify, .. } = select;
    let is_asked_for = |name: &str| {
        is_asked_for(name)
            || has_word(distinct, name)
            || has_word(group_by, name)
            || has_word(having, name)
            || has_word(named_window, name)
            || has_word(qualify, name)
    };
    let names: Vec<Option<String>> = projection.iter().map(name_of).collect();
    // With several wildcards it is not known which column of the answer is which.
    let wildcards = projection.iter().filter(|item| is_wildcard(item)).count();
    for (index, item) in projection.iter_mut().enumerate() {
        let with_place = |name: &str| Ident::with_quote('"', format!("{name}#{}", index + 1));
        let is_twice = names[index].is_some() && names[..index].contains(&names[index]);
        match item {
            SelectItem::UnnamedExpr(expr) if index > 0 && all => {
                let alias = match &*expr {
                    Expr::Identifier(word) => with_place(&folded(word)),
                    other => with_place(&other.to_string()),
                };
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
            SelectItem::UnnamedExpr(expr) => {
                if let Some(name) = names[index].as_ref().filter(|name| is_twice && !is_asked_for(name)) {
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: with_place(name) };
                }
            }
            SelectItem::ExprWithAlias { alias, .. } => {
                let name = folded(alias);
                let may_be_meant = is_twice || wildcards == 1 || is_of_table(&name);
                if wildcards < 2 && may_be_meant && !is_asked_for(&name) {
                    *alias = with_place(&name);
                }
            }
            _ => {}
        }
    }
}

/// The name of a column, if it has one.
fn name_of(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(Expr::Identifier(word)) | SelectItem::ExprWithAlias { alias: word, .. } => {
            Some(folded(word))
        }
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(words)) => words.last().map(folded),
        _ => None,
    }
}

/// Whether a part of a query contains the name by itself.
fn has_word(part: &impl Visit, name: &str) -> bool {
    let found = visit_expressions(part, |expr| match expr {
        Expr::Identifier(word) if folded(word) == name => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// Whether a part of a query has a column of a table in it that is called so.
fn has_column(part: &impl Visit, name: &str) -> bool {
    let found = visit_expressions(part, |expr| match expr {
        Expr::CompoundIdentifier(words) if words.last().is_some_and(|word| folded(word) == name) => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}
