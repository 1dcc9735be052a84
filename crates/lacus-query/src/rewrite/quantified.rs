//! `x = ANY (array)`, `x > ALL (array)`, `a @> b` and `a && b`: comparisons with the elements of arrays.
//!
//! The engine ignores nulls among the elements, or takes them as equal. An array literal is a list: `x = ANY (ARRAY[1, 2])` becomes
//! `x IN (1, 2)`.

use datafusion::logical_expr::Operator;
use datafusion::sql::sqlparser::ast::{Array, BinaryOperator, Expr};
use trino_functions::quantified;

use super::values::array_in;
use super::{call, text_of};

/// A comparison with the elements of an array, rewritten so that nulls count as in SQL.
pub(super) fn asked(expr: &Expr) -> Option<Expr> {
    let (left, op, right, is_all) = match expr {
        Expr::AnyOp { left, compare_op, right, .. } => (left, compare_op, right, false),
        Expr::AllOp { left, compare_op, right } => (left, compare_op, right, true),
        Expr::BinaryOp { left, op, right } => return of_arrays(left, op, right),
        _ => return None,
    };
    // Rows are compared elsewhere.
    if matches!(right.as_ref(), Expr::Subquery(_)) || matches!(left.as_ref(), Expr::Tuple(_)) {
        return None;
    }
    let right = read(right);
    let is_in_list = matches!((op, is_all), (BinaryOperator::Eq, false) | (BinaryOperator::NotEq, true));
    if let Some(list) = elements(&right).filter(|_| is_in_list) {
        return Some(Expr::InList { expr: left.clone(), list: list.to_vec(), negated: is_all });
    }
    let name = quantified(operator(op)?, is_all)?;
    Some(call(name, vec![left.as_ref().clone(), right]))
}

fn of_arrays(left: &Expr, op: &BinaryOperator, right: &Expr) -> Option<Expr> {
    let (name, left, right) = match op {
        BinaryOperator::AtArrow => ("array_holds", left, right),
        BinaryOperator::ArrowAt => ("array_holds", right, left),
        BinaryOperator::PGOverlap => ("array_shares", left, right),
        _ => return None,
    };
    Some(call(name, vec![read(left), read(right)]))
}

/// An array, which may be written as a text.
fn read(array: &Expr) -> Expr {
    text_of(array).and_then(array_in).unwrap_or_else(|| array.clone())
}

/// The elements of an array that is written out, if there are any and none is an array itself.
fn elements(array: &Expr) -> Option<&[Expr]> {
    match array {
        Expr::Nested(inner) => elements(inner),
        Expr::Array(Array { elem, .. }) if !elem.is_empty() => {
            elem.iter().all(|element| !matches!(element, Expr::Array(_))).then_some(elem.as_slice())
        }
        _ => None,
    }
}

fn operator(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::asked;
    use crate::rewrite::expression;

    #[test]
    fn questions_to_arrays_are_answered_as_sql_has_it() {
        for (sql, expected) in [
            ("x = ANY (ARRAY[1, NULL])", Some("x IN (1, NULL)")),
            ("x <> ALL ('{a,b}')", Some("x NOT IN ('a', 'b')")),
            ("x = ANY (ARRAY[])", Some("any_equal(x, ARRAY[])")),
            ("x = ANY (a)", Some("any_equal(x, a)")),
            ("x >= ALL (ARRAY[1, 2])", Some("all_greater_or_equal(x, ARRAY[1, 2])")),
            ("x = ANY (SELECT 1)", None),
            ("a @> '{b}'", Some("array_holds(a, ARRAY['b'])")),
            ("a <@ b", Some("array_holds(b, a)")),
            ("a && b", Some("array_shares(a, b)")),
            ("a = b", None),
        ] {
            let found = asked(&expression(sql)).map(|found| found.to_string());
            assert_eq!(found.as_deref(), expected, "{sql}");
        }
    }
}
