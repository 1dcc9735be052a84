//! `JOIN … USING (id)` and `NATURAL JOIN`: what `id` and `*` mean.
//!
//! The engine finds such a column in `SELECT`, but not in `WHERE` and `ON`, nor where three tables share it, and can't plan a join
//! of four. For `*` it takes the column of the table whose name is first in the alphabet, which may have no row in a `LEFT JOIN`,
//! and leaves it at its place, while in SQL shared columns come first (DataFusion 54.1). Which columns tables share is known only
//! from a plan: so the joins are planned by themselves, without conditions, and expressions replace the names of their columns.
//!
//! Joins that have no such plan, because they refer to outer rows or to the `WITH RECURSIVE` around them, stay as they are.

use std::ops::ControlFlow;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{JoinType, TableReference};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Cte, ExcludeSelectItem, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, Query, Select,
    SelectItem, SetExpr, Statement as Ast, TableFactor, TableWithJoins, Visit, VisitMut, Visitor, VisitorMut,
    WildcardAdditionalOptions, With,
};

use super::shared_columns::{Put, Shared, constraint_of, constraint_to_change, last_word, put_in, put_in_order_of};
use super::{binary, call, expression, template};
use crate::ast::{ast_mut, ast_of};
use crate::identifiers::folded;

/// The number of queries in a statement whose joins share columns.
pub(crate) fn sharing(statement: &Parsed) -> usize {
    let mut count = Count(0);
    if let Some(ast) = ast_of(statement) {
        // The visitor never breaks off.
        let _done: ControlFlow<()> = Visit::visit(ast, &mut count);
    }
    count.0
}

/// The joins of one of these queries, by themselves; none if their columns are known only with the rest.
pub(crate) fn joins_at(statement: &Parsed, place: usize) -> Option<Parsed> {
    let mut finding = Finding { place, scopes: Vec::new(), found: None };
    let _done: ControlFlow<()> = Visit::visit(ast_of(statement)?, &mut finding);
    finding.found
}

/// Replaces the names of shared columns in one of these queries, by the plan of its joins.
pub(crate) fn put_columns(statement: &mut Parsed, place: usize, joins: &LogicalPlan) {
    let mut putting = Putting { place, joins, depth: 0, shared: None };
    if let Some(ast) = ast_mut(statement) {
        let _done: ControlFlow<()> = VisitMut::visit(ast, &mut putting);
    }
}

struct Count(usize);

impl Visitor for Count {
    type Break = ();

    fn post_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.0 += usize::from(share(&select.from));
        ControlFlow::Continue(())
    }
}

/// Whether joins share columns.
fn share(from: &[TableWithJoins]) -> bool {
    let shares = |join: &Join| {
        matches!(constraint_of(&join.join_operator), Some(JoinConstraint::Using(_) | JoinConstraint::Natural))
            || share_in(&join.relation)
    };
    from.iter().any(|table| share_in(&table.relation) || table.joins.iter().any(shares))
}

fn share_in(table: &TableFactor) -> bool {
    matches!(table, TableFactor::NestedJoin { table_with_joins, alias: None }
        if share(std::slice::from_ref(table_with_joins)))
}

/// Finds the query at a place.
struct Finding {
    place: usize,
    scopes: Vec<Scope>,
    found: Option<Parsed>,
}

/// The `WITH` of a query.
struct Scope {
    tables: Vec<Cte>,
    is_recursive: bool,
    /// How many of its queries were visited.
    done: usize,
}

impl Visitor for Finding {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let tables = query.with.as_ref().map(|with| with.cte_tables.clone()).unwrap_or_default();
        let is_recursive = query.with.as_ref().is_some_and(|with| with.recursive);
        self.scopes.push(Scope { tables, is_recursive, done: 0 });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.scopes.pop();
        // The queries of its `WITH` are visited before all others in it.
        if let Some(around) = self.scopes.last_mut() {
            around.done = (around.done + 1).min(around.tables.len());
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        if !share(&select.from) {
            return ControlFlow::Continue(());
        }
        if self.place > 0 {
            self.place -= 1;
            return ControlFlow::Continue(());
        }
        self.found = alone(&select.from, &self.scopes);
        ControlFlow::Break(())
    }
}

/// The joins without conditions, with the `WITH` around them.
fn alone(from: &[TableWithJoins], scopes: &[Scope]) -> Option<Parsed> {
    // A query that reads itself can't be planned in parts.
    if scopes.iter().any(|scope| scope.is_recursive && scope.done < scope.tables.len()) {
        return None;
    }
    let mut query = template("SELECT 1");
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    select.from = from.to_vec();
    select.from.iter_mut().for_each(without_conditions);
    let cte_tables: Vec<Cte> = scopes.iter().flat_map(|scope| &scope.tables[..scope.done]).cloned().collect();
    if !cte_tables.is_empty() {
        let recursive = scopes.iter().any(|scope| scope.is_recursive);
        query.with = Some(With { with_token: AttachedToken::empty(), recursive, cte_tables });
    }
    Some(Parsed::Statement(Box::new(Ast::Query(Box::new(query)))))
}

fn without_conditions(table: &mut TableWithJoins) {
    let in_parentheses = |table: &mut TableFactor| {
        if let TableFactor::NestedJoin { table_with_joins, alias: None } = table {
            without_conditions(table_with_joins);
        }
    };
    in_parentheses(&mut table.relation);
    for join in &mut table.joins {
        in_parentheses(&mut join.relation);
        if let Some(constraint) = constraint_to_change(&mut join.join_operator)
            && !matches!(constraint, JoinConstraint::None)
        {
            *constraint = JoinConstraint::On(expression("true"));
        }
    }
}

/// Replaces names in the query at a place.
struct Putting<'a> {
    place: usize,
    joins: &'a LogicalPlan,
    depth: usize,
    /// The depth of the query, and the columns that its joins share.
    shared: Option<(usize, Vec<Shared>)>,
}

impl VisitorMut for Putting<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some((depth, shared)) = &self.shared
            && *depth == self.depth
        {
            put_in_order_of(query, shared);
            return ControlFlow::Break(());
        }
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if self.shared.is_some() || !share(&select.from) {
            return ControlFlow::Continue(());
        }
        if self.place > 0 {
            self.place -= 1;
            return ControlFlow::Continue(());
        }
        match put_in_query(select, self.joins) {
            Some(shared) => {
                self.shared = Some((self.depth, shared));
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        }
    }
}

/// Replaces names in a query; none if its columns are not known.
fn put_in_query(select: &mut Select, joins: &LogicalPlan) -> Option<Vec<Shared>> {
    let LogicalPlan::Projection(one) = joins else { return None };
    let mut reading = Reading { kinds: kinds_of(&select.from).into_iter(), joins: Vec::new() };
    let columns = reading.columns(&one.input)?;
    if reading.kinds.next().is_some() {
        return None;
    }
    let items: Vec<Vec<SelectItem>> =
        select.projection.iter().map(|item| expanded(item, &columns)).collect::<Option<_>>()?;
    select.projection = items.concat();
    let mut joins = reading.joins.into_iter();
    for (index, table) in select.from.iter_mut().enumerate() {
        put_in_joins(table, &mut joins);
        // That of the comma.
        if index > 0 {
            joins.next();
        }
    }
    let shared = shared(&columns);
    put_in(select, &shared);
    Some(shared)
}

/// `*` as a list of columns; none if it is something else.
fn expanded(item: &SelectItem, columns: &[Visible]) -> Option<Vec<SelectItem>> {
    let SelectItem::Wildcard(options) = item else { return Some(vec![item.clone()]) };
    let left_out = left_out(options)?;
    if left_out.iter().any(|name| only(columns, name).is_none()) {
        return None;
    }
    let replaced = options.opt_replace.as_ref().map(|replace| replace.items.as_slice()).unwrap_or_default();
    let items = columns.iter().filter(|column| !left_out.contains(&column.name)).map(|column| {
        let other = replaced.iter().find(|item| folded(&item.column_name) == column.name);
        let expr = other.map_or_else(|| column.value.clone(), |item| item.expr.clone());
        if other.is_some() || column.is_shared {
            SelectItem::ExprWithAlias { expr, alias: column.ident() }
        } else {
            SelectItem::UnnamedExpr(expr)
        }
    });
    Some(items.collect())
}

/// The columns that `*` excludes by name; none if it excludes them otherwise.
fn left_out(options: &WildcardAdditionalOptions) -> Option<Vec<String>> {
    let WildcardAdditionalOptions { opt_ilike, opt_exclude, opt_except, opt_rename, opt_alias, .. } = options;
    if opt_ilike.is_some() || opt_rename.is_some() || opt_alias.is_some() {
        return None;
    }
    let word = |name: &ObjectName| if name.0.len() == 1 { last_word(name).map(folded) } else { None };
    let mut names: Vec<String> = match opt_exclude {
        Some(ExcludeSelectItem::Single(name)) => vec![word(name)?],
        Some(ExcludeSelectItem::Multiple(names)) => names.iter().map(word).collect::<Option<_>>()?,
        None => Vec::new(),
    };
    if let Some(except) = opt_except {
        names.extend(std::iter::once(&except.first_element).chain(&except.additional_elements).map(folded));
    }
    Some(names)
}

/// A condition may name the columns of both sides.
fn put_in_joins(table: &mut TableWithJoins, joins: &mut impl Iterator<Item = Joined>) {
    put_in_parentheses(&mut table.relation, joins);
    for join in &mut table.joins {
        put_in_parentheses(&mut join.relation, joins);
        let Some(Joined { columns, condition }) = joins.next() else { return };
        let _done: ControlFlow<()> = VisitMut::visit(&mut join.join_operator, &mut Put::new(&shared(&columns)));
        if let (Some(condition), Some(constraint)) = (condition, constraint_to_change(&mut join.join_operator)) {
            *constraint = JoinConstraint::On(condition);
        }
    }
}

fn put_in_parentheses(table: &mut TableFactor, joins: &mut impl Iterator<Item = Joined>) {
    if let TableFactor::NestedJoin { table_with_joins, alias: None } = table {
        put_in_joins(table_with_joins, joins);
    }
}

/// How a join compares rows.
enum Kind {
    Using(Vec<String>),
    Natural,
    Other,
}

/// The kinds of all joins in the order in which they are planned: a comma is a join.
fn kinds_of(from: &[TableWithJoins]) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for (index, table) in from.iter().enumerate() {
        push_kinds(table, &mut kinds);
        if index > 0 {
            kinds.push(Kind::Other);
        }
    }
    kinds
}

fn push_kinds(table: &TableWithJoins, kinds: &mut Vec<Kind>) {
    let in_parentheses = |table: &TableFactor, kinds: &mut Vec<Kind>| {
        if let TableFactor::NestedJoin { table_with_joins, alias: None } = table {
            push_kinds(table_with_joins, kinds);
        }
    };
    in_parentheses(&table.relation, kinds);
    for join in &table.joins {
        in_parentheses(&join.relation, kinds);
        kinds.push(kind_of(&join.join_operator));
    }
}

fn kind_of(join: &JoinOperator) -> Kind {
    match constraint_of(join) {
        Some(JoinConstraint::Using(names)) => Kind::Using(names.iter().filter_map(last_word).map(folded).collect()),
        Some(JoinConstraint::Natural) => Kind::Natural,
        _ => Kind::Other,
    }
}

/// A column that a name may mean.
#[derive(Clone)]
struct Visible {
    name: String,
    value: Expr,
    kind: DataType,
    is_shared: bool,
}

impl Visible {
    fn ident(&self) -> Ident {
        Ident::with_quote('"', &self.name)
    }

    /// Two columns as one: that of the side whose rows are all kept. If only one of them is a double, the result is one.
    fn with(&self, right: &Self, join: JoinType) -> Self {
        let coalesced = |first: &Self, second: &Self| call("coalesce", vec![first.value.clone(), second.value.clone()]);
        let are_numbers = self.kind.is_numeric() && right.kind.is_numeric();
        let is_widened = are_numbers && self.kind.is_floating() != right.kind.is_floating();
        let kind = if is_widened && right.kind.is_floating() { &right.kind } else { &self.kind };
        let value = match join {
            JoinType::Full => coalesced(self, right),
            JoinType::Right if is_widened => coalesced(right, self),
            JoinType::Right => right.value.clone(),
            _ if is_widened => coalesced(self, right),
            _ => self.value.clone(),
        };
        Self { name: self.name.clone(), value, kind: kind.clone(), is_shared: true }
    }
}

/// The shared columns, except for those whose name is ambiguous.
fn shared(columns: &[Visible]) -> Vec<Shared> {
    let shared = columns.iter().filter(|column| column.is_shared && only(columns, &column.name).is_some());
    shared.map(|column| Shared { name: column.ident(), value: column.value.clone() }).collect()
}

/// The one column of a name.
fn only<'a>(columns: &'a [Visible], name: &str) -> Option<&'a Visible> {
    let mut found = columns.iter().filter(|column| column.name == name);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// What is known at a join.
struct Joined {
    /// The columns of both sides.
    columns: Vec<Visible>,
    /// The comparison, if a side is itself a join that shares the column.
    condition: Option<Expr>,
}

/// Walks over the plan of joins, each after its sides.
struct Reading {
    kinds: std::vec::IntoIter<Kind>,
    joins: Vec<Joined>,
}

impl Reading {
    /// The columns of a plan in the order of `*`; none if the plan does not match the text.
    fn columns(&mut self, plan: &LogicalPlan) -> Option<Vec<Visible>> {
        let LogicalPlan::Join(join) = plan else { return columns_of_table(plan) };
        let left = self.columns(&join.left)?;
        let right = self.columns(&join.right)?;
        let names = match self.kinds.next()? {
            Kind::Using(names) => names,
            Kind::Natural => {
                let is_common = |name: &&String| right.iter().any(|column| column.name == **name);
                left.iter().map(|column| &column.name).filter(is_common).cloned().collect()
            }
            Kind::Other => Vec::new(),
        };
        let mut columns = Vec::with_capacity(left.len() + right.len());
        let mut compared = Vec::with_capacity(names.len());
        let mut is_shared_before = false;
        for name in &names {
            let (of_left, of_right) = (only(&left, name)?, only(&right, name)?);
            is_shared_before |= of_left.is_shared || of_right.is_shared;
            compared.push(binary(of_left.value.clone(), BinaryOperator::Eq, of_right.value.clone()));
            columns.push(of_left.with(of_right, join.join_type));
        }
        let condition = compared.into_iter().reduce(|all, one| binary(all, BinaryOperator::And, one));
        self.joins.push(Joined {
            columns: left.iter().chain(&right).cloned().collect(),
            condition: condition.filter(|_| is_shared_before),
        });
        match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => return Some(left),
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => return Some(right),
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {}
        }
        columns.extend(left.into_iter().chain(right).filter(|column| !names.contains(&column.name)));
        Some(columns)
    }
}

/// The columns of a table; none for a table without a name.
fn columns_of_table(plan: &LogicalPlan) -> Option<Vec<Visible>> {
    let columns = plan.schema().iter().map(|(table, field)| {
        let words = words_of(table?).chain([field.name().as_str()]);
        let value = Expr::CompoundIdentifier(words.map(|word| Ident::with_quote('"', word)).collect());
        Some(Visible { name: field.name().clone(), value, kind: field.data_type().clone(), is_shared: false })
    });
    columns.collect()
}

fn words_of(table: &TableReference) -> impl Iterator<Item = &str> {
    [table.catalog(), table.schema(), Some(table.table())].into_iter().flatten()
}
