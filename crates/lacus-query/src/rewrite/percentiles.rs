//! `percentile_disc(0.5) WITHIN GROUP (ORDER BY x)`: the first value that such a share of all does not come behind. The engine has
//! the values in their order, and the one at a place.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArgumentClause, FunctionArguments, OrderByExpr,
};

use super::{call, expression, plain};

/// A call of it as the value at its place.
pub(super) fn at_place(expr: &Expr) -> Option<Expr> {
    let Expr::Function(function) = expr else { return None };
    let (share, sort) = asked_for(function)?;
    let value = || vec![sort.expr.clone()];
    let is_there = Expr::IsNotNull(Box::new(sort.expr.clone()));
    let counted = match function.filter.as_deref() {
        Some(filter) => both(Expr::Nested(Box::new(filter.clone())), BinaryOperator::And, is_there),
        None => is_there,
    };
    let mut values = call("array_agg", value());
    let mut count = call("count", value());
    for called in [&mut values, &mut count] {
        if let Expr::Function(called) = called {
            called.filter = Some(Box::new(counted.clone()));
        }
    }
    if let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = &mut values {
        list.clauses.push(FunctionArgumentClause::OrderBy(vec![sort.clone()]));
    }
    let share =
        both(Expr::Nested(Box::new(share.clone())), BinaryOperator::Multiply, cast(count, DataType::DoublePrecision));
    let place = call("greatest", vec![cast(call("ceil", vec![share]), DataType::BigInt(None)), expression("1")]);
    Some(call("array_element", vec![values, place]))
}

/// The share, and the values with their order.
fn asked_for(function: &Function) -> Option<(&Expr, &OrderByExpr)> {
    let [name] = function.name.0.as_slice() else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    let ([share], [sort]) = (list.args.as_slice(), function.within_group.as_slice()) else { return None };
    let is_called = name.as_ident().is_some_and(|name| name.value.eq_ignore_ascii_case("percentile_disc"));
    let share = plain(share)?;
    (is_called && function.over.is_none() && !matches!(share, Expr::Array(_))).then_some((share, sort))
}

fn both(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}
