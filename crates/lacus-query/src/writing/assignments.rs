//! `SET (a, b) = (1, 2)` and `SET (a, b) = (SELECT x, y FROM …)`: as `SET a = …, b = …`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, CaseWhen, Expr, GroupByExpr, MergeAction, Query, Select, SelectItem, SetExpr,
    Statement as Ast, Visit, Visitor, visit_expressions,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::error::SqlError;

/// Whether a function of this name is an aggregate.
type IsAggregate<'a> = &'a dyn Fn(&str) -> bool;

/// The statement with a value for each column.
///
/// # Errors
/// If there are more columns or fewer than values, and for queries that can't be taken apart.
pub(super) fn one_by_one(mut statement: Ast, is_aggregate: IsAggregate<'_>) -> Result<Ast, SqlError> {
    match &mut statement {
        Ast::Update(update) => take_apart(&mut update.assignments, is_aggregate)?,
        Ast::Merge(merge) => {
            for clause in &mut merge.clauses {
                if let MergeAction::Update(update) = &mut clause.action {
                    take_apart(&mut update.assignments, is_aggregate)?;
                }
            }
        }
        _ => {}
    }
    Ok(statement)
}

fn take_apart(assignments: &mut Vec<Assignment>, is_aggregate: IsAggregate<'_>) -> Result<(), SqlError> {
    for Assignment { target, value } in std::mem::take(assignments) {
        let AssignmentTarget::Tuple(names) = target else {
            assignments.push(Assignment { target, value });
            continue;
        };
        let values = match value {
            Expr::Tuple(values) => values,
            Expr::Subquery(query) => columns(&query, is_aggregate)?,
            one => vec![one],
        };
        if values.len() != names.len() {
            let message = format!("{} columns are set to {} values", names.len(), values.len());
            return Err(SqlError::invalid("42601", message));
        }
        let each = names.into_iter().map(AssignmentTarget::ColumnName).zip(values);
        assignments.extend(each.map(|(target, value)| Assignment { target, value }));
    }
    Ok(())
}

/// One query for each column of a query that gives at most one row.
fn columns(query: &Query, is_aggregate: IsAggregate<'_>) -> Result<Vec<Expr>, SqlError> {
    let SetExpr::Select(select) = query.body.as_ref() else { return Err(refused()) };
    let is_place = |expr: &Expr| matches!(expr, Expr::Value(_));
    let (is_grouped, is_by_place) = match &select.group_by {
        GroupByExpr::Expressions(exprs, _) => (!exprs.is_empty(), exprs.iter().any(is_place)),
        GroupByExpr::All(_) => (true, true),
    };
    let is_cut = query.limit_clause.is_some() || query.fetch.is_some() || select.top.is_some();
    let calls_unnest = calls(select, &|name| name == "unnest");
    if is_cut || is_by_place || calls_unnest || select.distinct.is_some() || differs_each_time(query) {
        return Err(refused());
    }
    let is_total = !is_grouped && (select.having.is_some() || calls(select, is_aggregate));
    let mut columns = Vec::with_capacity(select.projection.len());
    for item in &select.projection {
        let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
            return Err(refused());
        };
        let mut only = Select { projection: vec![SelectItem::UnnamedExpr(expr.clone())], ..Select::clone(select) };
        if is_total && !calls(&only, is_aggregate) {
            only.projection = vec![SelectItem::UnnamedExpr(of_all_rows(expr.clone()))];
        }
        // One row has no order.
        let body = Box::new(SetExpr::Select(Box::new(only)));
        columns.push(Expr::Subquery(Box::new(Query { body, order_by: None, ..query.clone() })));
    }
    Ok(columns)
}

/// Whether it calls a volatile function: the columns would not be of one row.
fn differs_each_time(query: &Query) -> bool {
    const FUNCTIONS: [&str; 6] = ["random", "rand", "uuid", "gen_random_uuid", "shuffle", "array_shuffle"];
    let differs = |expr: &Expr| match expr {
        Expr::Function(call) => FUNCTIONS.iter().any(|name| call.name.to_string().eq_ignore_ascii_case(name)),
        _ => false,
    };
    let found =
        visit_expressions(query, |expr| if differs(expr) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
    found.is_break()
}

fn refused() -> SqlError {
    SqlError::invalid(
        "0A000",
        "SET (a, b) = (SELECT …) is for a SELECT without *, LIMIT, DISTINCT, UNION, unnest and random()",
    )
    .with_hint("UPDATE t SET a = s.a, b = s.b FROM (SELECT …) AS s WHERE …")
}

/// The value in a query with an aggregate, which has a row even for no rows.
fn of_all_rows(value: Expr) -> Expr {
    let counted = Parser::new(&GenericDialect).try_with_sql("count(*) >= 0").and_then(|mut parser| parser.parse_expr());
    let condition = counted.expect("it is our own SQL");
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result: value }],
        else_result: None,
    }
}

/// Whether the columns of a query call such a function, not counting windows and subqueries.
fn calls(select: &Select, is_such: IsAggregate<'_>) -> bool {
    select.projection.visit(&mut Calls { is_such, depth: 0 }).is_break()
}

struct Calls<'a> {
    is_such: IsAggregate<'a>,
    depth: usize,
}

impl Visitor for Calls<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let Expr::Function(call) = expr else { return ControlFlow::Continue(()) };
        let name = call.name.0.last().and_then(|part| part.as_ident()).map(|name| name.value.to_lowercase());
        let is_such = self.depth == 0 && call.over.is_none() && name.is_some_and(|name| (self.is_such)(&name));
        if is_such { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
