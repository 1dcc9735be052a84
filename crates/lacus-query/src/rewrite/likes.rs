//! `x LIKE ANY (ARRAY['a%', 'b%'])`: whether any of these patterns matches. The engine knows one.

use datafusion::sql::sqlparser::ast::{BinaryOperator, DataType, Expr};

/// A match with any pattern of an array as matches with each of them; nothing if the patterns do not stand there.
pub(super) fn any_of(expr: &Expr) -> Option<Expr> {
    let (Expr::Like { any: true, pattern, escape_char: None, .. }
    | Expr::ILike { any: true, pattern, escape_char: None, .. }) = expr
    else {
        return None;
    };
    let mut matches = patterns(pattern)?.iter().map(|pattern| with_pattern(expr, pattern));
    let first = matches.next()?;
    let any = matches.fold(first, |left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::Or,
        right: Box::new(right),
    });
    Some(Expr::Nested(Box::new(any)))
}

fn patterns(array: &Expr) -> Option<&[Expr]> {
    match array {
        Expr::Nested(inner) | Expr::Cast { expr: inner, data_type: DataType::Array(_), .. } => patterns(inner),
        Expr::Array(array) => Some(&array.elem),
        _ => None,
    }
}

fn with_pattern(expr: &Expr, only: &Expr) -> Expr {
    let mut one = expr.clone();
    if let Expr::Like { any, pattern, .. } | Expr::ILike { any, pattern, .. } = &mut one {
        *any = false;
        **pattern = only.clone();
    }
    one
}
