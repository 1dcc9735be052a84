//! Subqueries for which the engine has no plan, or whose names it confuses.
//!
//! - `x > ALL (SELECT x FROM t)`: it takes both `x` for one if they are of the same table, and fails on others.
//! - `SELECT EXISTS (…)`, `SELECT x IN (SELECT …)`: outside of conditions it knows only scalar subqueries.
//! - `JOIN … ON a OR x NOT IN (SELECT …)`: an `IN` that is unknown becomes false there (DataFusion 54.1).

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Distinct, Expr, FunctionArguments, GroupByExpr, Ident, JoinConstraint, JoinOperator, Query, Select,
    SelectItem, SetExpr, Statement, UnaryOperator, VisitMut, VisitorMut, visit_expressions,
};

use super::{binary, call, case, expression, is_called, nested, rows, within};
use crate::array_of_rows::ARRAY_OF_ROWS;

/// `ARRAY(SELECT …)` as a function of a subquery.
pub(super) fn as_array(expr: &Expr) -> Option<Expr> {
    let Expr::Function(function) = expr else { return None };
    match &function.args {
        FunctionArguments::Subquery(query) if is_called(function, "array") => {
            Some(call(ARRAY_OF_ROWS, vec![Expr::Subquery(query.clone())]))
        }
        _ => None,
    }
}

/// `x > ALL (SELECT …)`, written out: whether `x` is greater than the maximum, with regard to empty results and nulls.
pub(super) fn compared(expr: &Expr) -> Option<Expr> {
    let (left, op, right, is_all) = match expr {
        Expr::AnyOp { left, compare_op, right, .. } => (left, compare_op, right, false),
        Expr::AllOp { left, compare_op, right } => (left, compare_op, right, true),
        _ => return None,
    };
    let Expr::Subquery(query) = right.as_ref() else { return None };
    let of_rows = |what: &str| {
        let question = format!("SELECT {what} FROM (SELECT 1) AS \"rows#\"(\"compared#\")");
        Box::new(Expr::Subquery(Box::new(asked(&question, query.as_ref().clone()))))
    };
    let compared = |op: &BinaryOperator, what: &str| Expr::BinaryOp {
        left: left.clone(),
        op: op.clone(),
        right: of_rows(&format!("{what}(\"compared#\")")),
    };
    // The row that decides.
    let decides = match (op, is_all) {
        (BinaryOperator::Gt | BinaryOperator::GtEq, true) | (BinaryOperator::Lt | BinaryOperator::LtEq, false) => {
            compared(op, "max")
        }
        (BinaryOperator::Gt | BinaryOperator::GtEq, false) | (BinaryOperator::Lt | BinaryOperator::LtEq, true) => {
            compared(op, "min")
        }
        (BinaryOperator::Eq, true) => binary(compared(op, "min"), BinaryOperator::And, compared(op, "max")),
        (BinaryOperator::NotEq, false) => binary(compared(op, "min"), BinaryOperator::Or, compared(op, "max")),
        _ => return None,
    };
    let decides =
        if is_all { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(nested(decides)) } } else { decides };
    let (if_decided, otherwise) = if is_all { ("false", "true") } else { ("true", "false") };
    let null = || expression("CAST(NULL AS boolean)");
    Some(case(
        vec![
            (Expr::IsTrue(of_rows("count(*) = 0")), expression(otherwise)),
            (Expr::IsNull(left.clone()), null()),
            (decides, expression(if_decided)),
            (Expr::IsTrue(of_rows("count(*) > count(\"compared#\")")), null()),
        ],
        expression(otherwise),
    ))
}

/// Turns `EXISTS` and `IN (SELECT …)` among the columns of a query into scalar subqueries.
pub(super) fn as_values(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            // The visitor never breaks off.
            let _done: ControlFlow<()> = expr.visit(&mut AsValues { depth: 0, are_asked_whether: true });
        }
    }
}

/// The same for `IN (SELECT …)` in conditions of joins where false and unknown differ.
pub(super) fn as_values_in_joins(select: &mut Select) {
    for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
        if let Some(condition) = condition_of(&mut join.join_operator) {
            in_condition(condition);
        }
    }
}

/// The same in the values of assignments.
pub(super) fn as_values_in_assignments(statement: &mut Statement) {
    let update = match statement {
        Statement::Update(update) => update,
        Statement::Query(query) => match query.body.as_mut() {
            SetExpr::Update(Statement::Update(update)) => update,
            _ => return,
        },
        _ => return,
    };
    for assignment in &mut update.assignments {
        // The visitor never breaks off.
        let _done: ControlFlow<()> = assignment.value.visit(&mut AsValues { depth: 0, are_asked_whether: true });
    }
}

fn condition_of(join: &mut JoinOperator) -> Option<&mut Expr> {
    use JoinOperator::{FullOuter, Inner, Join, Left, LeftOuter, Right, RightOuter};
    match join {
        Join(how) | Inner(how) | Left(how) | LeftOuter(how) | Right(how) | RightOuter(how) | FullOuter(how) => {
            match how {
                JoinConstraint::On(condition) => Some(condition),
                _ => None,
            }
        }
        _ => None,
    }
}

/// A condition, or a part of one for which false and unknown are the same.
fn in_condition(condition: &mut Expr) {
    match condition {
        Expr::Nested(inner) => in_condition(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And | BinaryOperator::Or, right } => {
            in_condition(left);
            in_condition(right);
        }
        Expr::InSubquery { negated: false, .. } => {}
        other => {
            // The visitor never breaks off.
            let _done: ControlFlow<()> = other.visit(&mut AsValues { depth: 0, are_asked_whether: false });
        }
    }
}

struct AsValues {
    depth: usize,
    /// Whether `EXISTS` is replaced, too.
    are_asked_whether: bool,
}

impl VisitorMut for AsValues {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        let value = match expr {
            Expr::Exists { subquery, negated } if self.are_asked_whether => {
                Some((is_there(subquery.as_ref().clone()), *negated))
            }
            Expr::InSubquery { expr, subquery, negated } => match rows::asked(expr, subquery) {
                // Row comparisons in joins are moved above them.
                Some(_) if !self.are_asked_whether => None,
                Some(row) => rows::is_in(&row, subquery).map(|found| (found, *negated)),
                None => Some((is_in(expr, subquery), *negated)),
            },
            _ => None,
        };
        if let Some((value, negated)) = value {
            *expr = if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(value) } } else { value };
        }
        ControlFlow::Continue(())
    }
}

/// Whether a query has rows.
fn is_there(mut query: Query) -> Expr {
    let counted = expression("count(*) > 0");
    if let SetExpr::Select(select) = query.body.as_mut()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && has_row_for_each(select)
    {
        // The order does not matter, and its columns would not exist any more.
        query.order_by = None;
        select.distinct = None;
        select.projection = vec![SelectItem::UnnamedExpr(counted)];
        return Expr::Subquery(Box::new(query));
    }
    Expr::Subquery(Box::new(asked("SELECT count(*) > 0 FROM (SELECT 1) AS \"rows#\"", query)))
}

/// A query of ours over the rows of another one, whose column may be renamed.
fn asked(question: &str, mut query: Query) -> Query {
    leave_out_order(&mut query);
    let mut asked = within(question, &[], query);
    rows::without_name(&mut asked);
    asked
}

/// Removes what does not matter here: the order of a query's rows, and the name of its column.
fn leave_out_order(query: &mut Query) {
    let is_cut = query.limit_clause.is_some() || query.fetch.is_some();
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    if is_cut || !is_plain(select) || matches!(select.distinct, Some(Distinct::On(_))) {
        return;
    }
    query.order_by = None;
    if let [SelectItem::ExprWithAlias { expr, .. }] = select.projection.as_slice() {
        select.projection = vec![SelectItem::UnnamedExpr(expr.clone())];
    }
}

/// Whether it has one row for each row that meets its conditions.
fn has_row_for_each(select: &Select) -> bool {
    let has_call = |item: &SelectItem| {
        let found = visit_expressions(item, |expr| match expr {
            Expr::Function(_) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        found.is_break()
    };
    is_plain(select) && !select.projection.iter().any(has_call)
}

/// Whether there is nothing but conditions and `DISTINCT` between its tables and its columns.
fn is_plain(select: &Select) -> bool {
    matches!(&select.group_by, GroupByExpr::Expressions(exprs, modifiers) if exprs.is_empty() && modifiers.is_empty())
        && select.having.is_none()
        && select.qualify.is_none()
        && select.top.is_none()
}

/// `x IN (SELECT …)` as one of SQL's three truth values.
fn is_in(value: &Expr, query: &Query) -> Expr {
    let among = || Box::new(Expr::Identifier(Ident::with_quote('"', "among#")));
    let rows = |condition: Option<Expr>| {
        let counted = "SELECT count(*) > 0 FROM (SELECT 1) AS \"rows#\"(\"among#\")";
        let mut counted = asked(counted, query.clone());
        if let SetExpr::Select(select) = counted.body.as_mut() {
            select.selection = condition;
        }
        Expr::Subquery(Box::new(counted))
    };
    let value = Box::new(value.clone());
    let same = rows(Some(Expr::BinaryOp { left: among(), op: BinaryOperator::Eq, right: value.clone() }));
    let nothing = Expr::IsNull(value);
    let of_nothing = binary(nothing, BinaryOperator::And, rows(None));
    let unknown = rows(Some(Expr::IsNull(among())));
    let null = || expression("CAST(NULL AS boolean)");
    case(vec![(same, expression("true")), (of_nothing, null()), (unknown, null())], expression("false"))
}

/// Visits the values that [`is_in`] or [`rows::is_in`] compares with the rows of a query: they belong to the outer query.
pub(super) fn for_compared(query: &mut Query, look: &mut dyn FnMut(&mut Expr)) {
    if let SetExpr::Select(select) = query.body.as_mut()
        && let Some(condition) = &mut select.selection
    {
        for_compared_in(condition, look);
    }
}

fn for_compared_in(condition: &mut Expr, look: &mut dyn FnMut(&mut Expr)) {
    match condition {
        Expr::Nested(inner) => for_compared_in(inner, look),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            for_compared_in(left, look);
            for_compared_in(right, look);
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } if is_ours(left) => look(right.as_mut()),
        _ => {}
    }
}

fn is_ours(column: &Expr) -> bool {
    matches!(column, Expr::Identifier(name) if name.value.starts_with("among#"))
}
