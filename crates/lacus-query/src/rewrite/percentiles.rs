//! `percentile_disc(0.5) WITHIN GROUP (ORDER BY x)`: the first value that such a share of all does not come behind.
//! `mode() WITHIN GROUP (ORDER BY x)`: the first of those that come most often. The engine has the values in their order, and the
//! one at a place.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArgumentClause, FunctionArguments, OrderByExpr,
};

use super::{binary, call, case, expression, is_called, nested, plain};

/// A call of one of them as a value of an array.
pub(super) fn at_place(expr: &Expr) -> Option<Expr> {
    let Expr::Function(function) = expr else { return None };
    let ([sort], None, FunctionArguments::List(list)) =
        (function.within_group.as_slice(), &function.over, &function.args)
    else {
        return None;
    };
    match list.args.as_slice() {
        [] if is_called(function, "mode") => Some(call("array_mode", vec![sorted(function, sort)])),
        [share] if is_called(function, "percentile_disc") => {
            let share = plain(share).filter(|share| !matches!(share, Expr::Array(_)))?;
            Some(call("array_element", vec![sorted(function, sort), place(function, sort, share)]))
        }
        _ => None,
    }
}

/// The values in their order.
fn sorted(function: &Function, sort: &OrderByExpr) -> Expr {
    let mut values = of_some(function, sort, "array_agg");
    if let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = &mut values {
        list.clauses.push(FunctionArgumentClause::OrderBy(vec![sort.clone()]));
    }
    values
}

/// The place of the one that is asked for. No share is at no place.
fn place(function: &Function, sort: &OrderByExpr, share: &Expr) -> Expr {
    let count = cast(of_some(function, sort, "count"), DataType::DoublePrecision);
    let share = call("fraction", vec![cast(share.clone(), DataType::DoublePrecision)]);
    let place = binary(share, BinaryOperator::Multiply, count);
    let place = cast(call("ceil", vec![place]), DataType::BigInt(None));
    case(vec![(binary(place.clone(), BinaryOperator::Lt, expression("1")), expression("1"))], place)
}

/// An aggregate of the values that are there.
fn of_some(function: &Function, sort: &OrderByExpr, aggregate: &str) -> Expr {
    let is_there = Expr::IsNotNull(Box::new(sort.expr.clone()));
    let counted = match function.filter.as_deref() {
        Some(filter) => binary(nested(filter.clone()), BinaryOperator::And, is_there),
        None => is_there,
    };
    let mut values = call(aggregate, vec![sort.expr.clone()]);
    if let Expr::Function(called) = &mut values {
        called.filter = Some(Box::new(counted));
    }
    values
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}
