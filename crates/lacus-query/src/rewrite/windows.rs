//! Named windows: `sum(x) OVER (w ROWS 1 PRECEDING) … WINDOW w AS (PARTITION BY k ORDER BY day)`.
//!
//! The engine knows `OVER w`, but ignores `w` in `OVER (w …)` and in `WINDOW v AS (w …)`. It also takes `lag(x, NULL)` for `lag(x)`, and
//! no column for the value of `lag(x, 1, y)` where there is no row.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, NamedWindowDefinition, NamedWindowExpr,
    Query, Select, SetExpr, Value, WindowSpec, WindowType, visit_expressions_mut,
};

use super::{case, expression, is_called, plain};
use crate::identifiers::same_name;

/// How deep windows may be built on each other.
const DEPTH_MAX: usize = 16;

/// Writes out windows that are built on others.
pub(super) fn write_out(select: &mut Select) {
    let Select { distinct, projection, qualify, named_window, .. } = select;
    if named_window.is_empty() {
        return;
    }
    let mut put = |expr: &mut Expr| put(expr, named_window);
    // The visitor never breaks off.
    let _done = visit_expressions_mut(distinct, &mut put);
    let _done = visit_expressions_mut(projection, &mut put);
    let _done = visit_expressions_mut(qualify, &mut put);
}

/// The same in `ORDER BY`.
pub(super) fn write_out_order(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    // The visitor never breaks off.
    let _done = visit_expressions_mut(&mut query.order_by, |expr| put(expr, &select.named_window));
}

/// `lag(x, NULL)`: null for every row, with the type of `lag(x)`.
pub(super) fn of_no_row(expr: &Expr) -> Option<Expr> {
    let (call, args) = shifted(expr)?;
    args.get(1).and_then(plain).filter(|offset| is_null(offset))?;
    Some(case(vec![(expression("true"), expression("NULL"))], with_args(call, args[..1].to_vec())))
}

/// `lag(x, 1, y)`: where there is no such row, `y` of this one. The engine knows only a literal there, of the type of `x`.
pub(super) fn of_missing_rows(expr: &Expr) -> Option<Expr> {
    let (call, args) = shifted(expr)?;
    let default = args.get(2).and_then(plain).filter(|default| !is_kept(default))?;
    if call.null_treatment.is_some() || plain(&args[1]).is_some_and(is_null) {
        return None;
    }
    let is_there = FunctionArg::Unnamed(FunctionArgExpr::Expr(expression("true")));
    let is_there = with_args(call, vec![is_there, args[1].clone()]);
    Some(case(vec![(is_there, with_args(call, args[..2].to_vec()))], default.clone()))
}

/// A call of `lag` or `lead`, and what it is given.
fn shifted(expr: &Expr) -> Option<(&Function, &[FunctionArg])> {
    let Expr::Function(call) = expr else { return None };
    let FunctionArguments::List(list) = &call.args else { return None };
    let is_shift =
        call.over.is_some() && (is_called(call, "lag") || is_called(call, "lead")) && list.clauses.is_empty();
    is_shift.then_some((call, list.args.as_slice()))
}

fn with_args(call: &Function, args: Vec<FunctionArg>) -> Expr {
    let mut call = call.clone();
    if let FunctionArguments::List(list) = &mut call.args {
        list.args = args;
    }
    Expr::Function(call)
}

/// Whether it is of any type: a whole number, or a text in quotes.
fn is_kept(default: &Expr) -> bool {
    match default {
        Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => is_kept(inner),
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.bytes().all(|digit| digit.is_ascii_digit()),
            _ => true,
        },
        _ => false,
    }
}

fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => is_null(inner),
        Expr::Value(value) => value.value == Value::Null,
        _ => false,
    }
}

fn put(expr: &mut Expr, named: &[NamedWindowDefinition]) -> ControlFlow<()> {
    if let Expr::Function(call) = expr
        && let Some(over) = &mut call.over
        && let Some(spec) = whole(over, named, DEPTH_MAX)
    {
        *over = WindowType::WindowSpec(spec);
    }
    ControlFlow::Continue(())
}

/// A window with everything that it is built on; none if it names one that does not exist.
fn whole(window: &WindowType, named: &[NamedWindowDefinition], depth: usize) -> Option<WindowSpec> {
    let depth = depth.checked_sub(1)?;
    match window {
        WindowType::NamedWindow(name) => definition(name, named, depth),
        WindowType::WindowSpec(spec) => {
            let Some(name) = &spec.window_name else { return Some(spec.clone()) };
            let base = definition(name, named, depth)?;
            // As in PostgreSQL, only what the base leaves open may be added.
            if !spec.partition_by.is_empty() || !base.order_by.is_empty() && !spec.order_by.is_empty() {
                return None;
            }
            let order_by = if base.order_by.is_empty() { spec.order_by.clone() } else { base.order_by };
            Some(WindowSpec { order_by, window_frame: spec.window_frame.clone(), ..base })
        }
    }
}

fn definition(name: &Ident, named: &[NamedWindowDefinition], depth: usize) -> Option<WindowSpec> {
    let NamedWindowDefinition(_, window) = named.iter().find(|defined| same_name(&defined.0, name))?;
    match window {
        NamedWindowExpr::NamedWindow(other) => whole(&WindowType::NamedWindow(other.clone()), named, depth),
        NamedWindowExpr::WindowSpec(spec) => whole(&WindowType::WindowSpec(spec.clone()), named, depth),
    }
}
