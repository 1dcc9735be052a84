//! Statements that the engine would answer wrongly: refused, with what to write instead.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    Expr, JoinConstraint, JoinOperator, Query, Select, SetExpr, SetOperator, SetQuantifier, Statement as Ast,
    TableFactor, UnaryOperator, Update, UpdateTableFromKind, Visit, Visitor, visit_expressions,
};

use super::rows::{asks_for_rows, must_be_comparable};
use super::shared_columns::{must_not_share, must_share_once};
use super::values::{is_known_pattern, is_power, must_be_array};
use crate::ast::ast_of;
use crate::error::SqlError;

/// Refuses statements that would be answered wrongly.
pub(crate) fn must_be_understood(statement: &Parsed) -> Result<(), SqlError> {
    match ast_of(statement).map(|ast| ast.visit(&mut Refusing::default())) {
        Some(ControlFlow::Break(error)) => Err(error),
        Some(ControlFlow::Continue(())) | None => Ok(()),
    }
}

/// How deep `IN` with rows may be nested: each is evaluated several times.
const ROWS_DEPTH_MAX: usize = 3;

#[derive(Default)]
struct Refusing {
    /// How deep in such questions a place is.
    rows_depth: usize,
}

impl Visitor for Refusing {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<SqlError> {
        must_not_count_rows(&query.body)
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<SqlError> {
        for join in select.from.iter().flat_map(|table| &table.joins) {
            if let JoinOperator::Right(JoinConstraint::Natural)
            | JoinOperator::RightOuter(JoinConstraint::Natural)
            | JoinOperator::FullOuter(JoinConstraint::Natural) = &join.join_operator
            {
                let error = SqlError::invalid("0A000", "NATURAL RIGHT JOIN and NATURAL FULL JOIN are not supported");
                return ControlFlow::Break(error.with_hint("name the columns: USING (id)"));
            }
        }
        flow(must_share_once(&select.from))
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<SqlError> {
        match table {
            TableFactor::NestedJoin { table_with_joins, .. } => {
                flow(must_not_share(std::slice::from_ref(table_with_joins), "in parentheses"))
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_statement(&mut self, statement: &Ast) -> ControlFlow<SqlError> {
        flow(match statement {
            Ast::Delete(delete) => must_not_share(delete.using.as_deref().unwrap_or_default(), "in a DELETE"),
            Ast::Update(Update { from: Some(from), .. }) => {
                let (UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) = from;
                must_not_share(from, "in an UPDATE")
            }
            _ => Ok(()),
        })
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<SqlError> {
        flow(must_be_comparable(expr))?;
        flow(must_not_multiply(expr))?;
        if asks_for_rows(expr) {
            self.rows_depth += 1;
            if self.rows_depth > ROWS_DEPTH_MAX {
                let error = SqlError::invalid("54001", "(a, b) IN (SELECT …) is nested too deeply");
                return ControlFlow::Break(error.with_hint("join the tables"));
            }
        }
        match expr {
            Expr::SimilarTo { pattern, escape_char, .. } if !is_known_pattern(pattern, escape_char.as_ref()) => {
                let message = format!("SIMILAR TO {pattern} is not supported: its pattern must be a plain text");
                let hint = "write the pattern in quotes, or match a regular expression: x ~ '^a.*$'";
                ControlFlow::Break(SqlError::invalid("0A000", message).with_hint(hint))
            }
            // The parser takes it for -(a ^ b), while it means (-a) ^ b.
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } if is_power(expr) => {
                let error = SqlError::invalid("0A000", "-a ^ b is not supported without parentheses");
                ControlFlow::Break(error.with_hint("write (-a) ^ b, or -(a ^ b)"))
            }
            Expr::Cast { kind, expr: text, data_type, .. } => flow(must_be_array(kind, text, data_type)),
            _ => ControlFlow::Continue(()),
        }
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<SqlError> {
        if asks_for_rows(expr) {
            self.rows_depth -= 1;
        }
        ControlFlow::Continue(())
    }
}

/// The most comparisons with subqueries inside of the value of another one: each is repeated there several times.
const COMPARISONS_MAX: usize = 6;

/// Refuses comparisons with subqueries that are nested too deeply in each other.
fn must_not_multiply(expr: &Expr) -> Result<(), SqlError> {
    let Some(value) = value_of_comparison(expr) else { return Ok(()) };
    let mut count = 0;
    let counted = visit_expressions(value, |part| {
        count += usize::from(value_of_comparison(part).is_some());
        if count > COMPARISONS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if counted.is_break() {
        return Err(SqlError::invalid("54001", "comparisons with subqueries are nested too deeply"));
    }
    Ok(())
}

/// The value that is compared with the rows of a subquery.
fn value_of_comparison(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::InSubquery { expr, .. } => Some(expr.as_ref()),
        Expr::AnyOp { left, right, .. } | Expr::AllOp { left, right, .. } => {
            matches!(right.as_ref(), Expr::Subquery(_)).then_some(left.as_ref())
        }
        _ => None,
    }
}

fn flow(checked: Result<(), SqlError>) -> ControlFlow<SqlError> {
    match checked {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

/// The engine ignores how often a row occurs on each side.
fn must_not_count_rows(body: &SetExpr) -> ControlFlow<SqlError> {
    let SetExpr::SetOperation { op, set_quantifier, left, right } = body else { return ControlFlow::Continue(()) };
    if matches!(op, SetOperator::Except | SetOperator::Intersect | SetOperator::Minus)
        && matches!(set_quantifier, SetQuantifier::All | SetQuantifier::AllByName)
    {
        let error = SqlError::invalid("0A000", format!("{op} ALL is not supported"));
        let hint = "number equal rows with row_number() OVER (PARTITION BY …) on both sides, and leave out ALL";
        return ControlFlow::Break(error.with_hint(hint));
    }
    must_not_count_rows(left)?;
    must_not_count_rows(right)
}
