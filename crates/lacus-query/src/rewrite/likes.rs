//! `x LIKE ANY (ARRAY['a%', 'b%'])`, `x LIKE ALL (patterns)`. The engine knows `LIKE` with one pattern only.

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, CastKind, DataType, Expr, FunctionArguments, Ident, LambdaFunction,
    LambdaFunctionParameter, LambdaSyntax, OneOrManyWithParens, UnaryOperator, Value, ValueWithSpan,
};

use super::values::array_in;
use super::{binary, call, expression, nested, plain, text_of};

/// The lambda's parameter for a pattern: nobody else gives such a name.
const PATTERN: &str = "pattern#";

/// A match with several patterns, written as a match with each if they are listed, or with the elements of an array.
pub(super) fn of_several(expr: &Expr) -> Option<Expr> {
    let (Expr::Like { any, pattern, escape_char: None, .. } | Expr::ILike { any, pattern, escape_char: None, .. }) =
        expr
    else {
        return None;
    };
    let (array, joined_by) = match any {
        true => (pattern.as_ref(), BinaryOperator::Or),
        false => (all_of(pattern)?, BinaryOperator::And),
    };
    let array = &read(array);
    if let Some(patterns) = patterns(array) {
        let mut matches = patterns.iter().map(|pattern| with_pattern(expr, pattern));
        // Any of none does not match, and all of none do.
        let Some(first) = matches.next() else { return Some(expression(if *any { "false" } else { "true" })) };
        let joined = matches.fold(first, |left, right| binary(left, joined_by.clone(), right));
        return Some(nested(joined));
    }
    if matches!(array, Expr::Subquery(_) | Expr::Tuple(_)) {
        return None;
    }
    let name = Ident::with_quote('"', PATTERN);
    let mut body = with_pattern(expr, &Expr::Identifier(name.clone()));
    if let (true, Expr::Like { negated, .. } | Expr::ILike { negated, .. }) = (*any, &mut body) {
        *negated = !*negated;
    }
    let params = OneOrManyWithParens::One(LambdaFunctionParameter { name, data_type: None });
    let lambda = Expr::Lambda(LambdaFunction { params, body: Box::new(body), syntax: LambdaSyntax::Arrow });
    let all = call("all_match", vec![array.clone(), lambda]);
    // `ANY` is the negation of: all of them do not match.
    Some(if *any { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(all) } } else { all })
}

/// An array of texts, also one that is written as a text, or comes as a parameter: that would have no type.
fn read(array: &Expr) -> Expr {
    match array {
        Expr::Nested(inner) => read(inner),
        Expr::Value(ValueWithSpan { value: Value::Placeholder(_), .. }) => Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(array.clone()),
            data_type: DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(DataType::Text), None)),
            array: false,
            format: None,
        },
        array => text_of(array).and_then(array_in).unwrap_or_else(|| array.clone()),
    }
}

/// What stands in `ALL (…)`: the parser takes it for a function.
fn all_of(pattern: &Expr) -> Option<&Expr> {
    let Expr::Function(called) = pattern else { return None };
    let [name] = called.name.0.as_slice() else { return None };
    let is_all =
        name.as_ident().is_some_and(|name| name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all"));
    let FunctionArguments::List(list) = &called.args else { return None };
    match list.args.as_slice() {
        [array] if is_all => plain(array),
        _ => None,
    }
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
