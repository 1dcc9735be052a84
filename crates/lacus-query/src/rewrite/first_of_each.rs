//! `SELECT DISTINCT ON (payload.user) …`: the first row of each, where the engine has no plan for that.
//!
//! What stands there it looks for among the columns of the answer, and finds no field of an object; of groups and windows it
//! knows no first rows (DataFusion 54.1, `select.rs`). Then rows have numbers, and the first of each are those with number one.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Distinct, Expr, OrderBy, OrderByExpr, OrderByKind, OrderByOptions, Query, SetExpr, VisitMut,
    VisitorMut, WindowType,
};

use super::expression;
use super::ties::of_rows;

/// Asks for numbers of rows where the first row of each is asked for; whether there is such a question.
pub(crate) fn number_first_of_each(statement: &mut Parsed) -> bool {
    match statement {
        Parsed::Statement(ast) => {
            let mut numbering = Numbering { has_numbered: false };
            // The visitor never breaks off.
            let _done: ControlFlow<()> = ast.visit(&mut numbering);
            numbering.has_numbered
        }
        Parsed::Explain(explain) => number_first_of_each(&mut explain.statement),
        _ => false,
    }
}

struct Numbering {
    has_numbered: bool,
}

impl VisitorMut for Numbering {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.has_numbered |= number(query).is_some();
        ControlFlow::Continue(())
    }
}

/// None if it does not ask for the first of each, or not in an order that says which one that is.
fn number(query: &mut Query) -> Option<()> {
    let Query { body, order_by, .. } = query;
    let sorts = match order_by {
        Some(OrderBy { kind: OrderByKind::Expressions(sorts), .. }) => sorts.as_slice(),
        Some(_) => return None,
        None => &[],
    };
    let SetExpr::Select(select) = body.as_mut() else { return None };
    let Some(Distinct::On(each)) = &select.distinct else { return None };
    let is_in_order = sorts.len() >= each.len() && sorts.iter().take(each.len()).all(|sort| each.contains(&sort.expr));
    if select.qualify.is_some() || !(sorts.is_empty() || is_in_order) {
        return None;
    }
    let options = OrderByOptions { asc: None, nulls_first: None };
    let each = each.iter().map(|expr| OrderByExpr { expr: expr.clone(), options, with_fill: None });
    let each: Vec<Expr> = each.map(|sort| Some(of_rows(&sort, select)?.expr)).collect::<Option<_>>()?;
    let order: Vec<OrderByExpr> = sorts.iter().map(|sort| of_rows(sort, select)).collect::<Option<_>>()?;
    let mut place = expression("row_number() OVER ()");
    if let Expr::Function(function) = &mut place
        && let Some(WindowType::WindowSpec(window)) = &mut function.over
    {
        window.partition_by = each;
        window.order_by = order;
    }
    select.distinct = None;
    select.qualify =
        Some(Expr::BinaryOp { left: Box::new(place), op: BinaryOperator::Eq, right: Box::new(expression("1")) });
    Some(())
}
