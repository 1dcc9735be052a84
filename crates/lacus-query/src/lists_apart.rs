//! Conditions on one value by two lists: `x IN (1, a) AND x IN (1, b)`.
//!
//! The optimizer makes one list of them: of what stands in both, or in one and not in the other (DataFusion 54.1,
//! `expr_simplifier.rs`, `inlist_intersection`, `inlist_except`). That is right where both are of constants and nothing is null. But
//! `a` may be equal to `b`, a list with a null is never false, and `x NOT IN (1) OR x NOT IN (2)` is not true of a null. So the second
//! list is wrapped in [`same`]. `OR` of two lists, and `AND` of two `NOT IN`, become the list of all, as they should.

use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::utils::{split_binary, split_binary_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, binary_expr};

use crate::same::same;

/// Keeps the lists in both parts of an `AND` or an `OR` apart.
pub(crate) fn lists_apart(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right })
            if split_binary(&right, op).into_iter().any(|part| is_joined(part, &left, op)) =>
        {
            let parts = split_binary_owned(*right, op).into_iter();
            let parts = parts.map(|part| if is_joined(&part, &left, op) { same(part) } else { part });
            let parts: Vec<Expr> = parts.collect();
            Transformed::yes(parts.into_iter().fold(*left, |before, part| binary_expr(before, op, part)))
        }
        expr => Transformed::no(expr),
    }
}

/// Whether the optimizer would make one list of this condition and one of those before it, and not the list of all.
fn is_joined(part: &Expr, before: &Expr, op: Operator) -> bool {
    let Some(list) = List::of(part) else { return false };
    split_binary(before, op).into_iter().filter_map(List::of).any(|other| {
        let is_of_all = list.is_negated == other.is_negated && list.is_negated == (op == Operator::And);
        list.value == other.value && !is_of_all
    })
}

/// A condition that is a list, or becomes one.
struct List<'a> {
    value: &'a Expr,
    /// Whether it is `NOT IN`.
    is_negated: bool,
}

impl<'a> List<'a> {
    fn of(condition: &'a Expr) -> Option<Self> {
        match condition {
            Expr::InList(list) => Some(Self { value: &list.expr, is_negated: list.negated }),
            Expr::Not(condition) => Self::of(condition).map(|list| Self { is_negated: !list.is_negated, ..list }),
            Expr::BinaryExpr(BinaryExpr { op: op @ (Operator::And | Operator::Or), .. }) => {
                Self::of_all(split_binary(condition, *op), *op == Operator::And)
            }
            _ => None,
        }
    }

    /// `x = 1 OR x IN (2, 3)`, or `x NOT IN (1) AND x NOT IN (2, 3)`.
    fn of_all(conditions: Vec<&'a Expr>, is_negated: bool) -> Option<Self> {
        let mut lists = conditions.into_iter().map(|condition| match column_of(condition) {
            Some(value) => Some(Self { value, is_negated: false }),
            None => Self::of(condition),
        });
        let first = lists.next().flatten().filter(|first| first.is_negated == is_negated)?;
        let are_alike =
            |list: Option<Self>| list.is_some_and(|list| list.value == first.value && list.is_negated == is_negated);
        lists.all(are_alike).then_some(first)
    }
}

/// The column that has to be equal to something.
fn column_of(condition: &Expr) -> Option<&Expr> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            [left, right].into_iter().map(|side| &**side).find(|side| matches!(side, Expr::Column(_)))
        }
        _ => None,
    }
}
