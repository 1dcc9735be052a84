//! Windows in the order of values that the engine can't count up and down from: `rank() OVER (ORDER BY ended - started)`, of times of
//! day, UUIDs and bytes.
//!
//! It refuses each frame `RANGE` over them (DataFusion 54.1, `type_coercion.rs`), also that which ends with the rows that are equal to
//! the current one, as it does where nothing else is said. As `GROUPS` that is the same frame.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, WindowFrame, WindowFrameBound, WindowFrameUnits};

/// Says `GROUPS` in such frames.
pub(crate) fn of_peers(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| {
        let LogicalPlan::Window(window) = &plan else { return Ok(Transformed::no(plan)) };
        let schema = Arc::clone(window.input.schema());
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let made = expr.transform_up(|expr| Ok(in_groups(expr, &schema)))?;
            Ok(made.update_data(|expr| name.restore(expr)))
        })
    })
    .data()
}

fn in_groups(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::WindowFunction(mut window) = expr else { return Transformed::no(expr) };
    let first = window.params.order_by.first();
    let is_uncounted = first.is_some_and(|key| key.expr.get_type(schema).is_ok_and(|kind| is_uncounted(&kind)));
    if !is_uncounted || !is_of_peers(&window.params.window_frame) {
        return Transformed::no(Expr::WindowFunction(window));
    }
    window.params.window_frame.units = WindowFrameUnits::Groups;
    Transformed::yes(Expr::WindowFunction(window))
}

fn is_uncounted(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Duration(_)
            | DataType::Interval(_)
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

/// Whether it is a frame `RANGE` whose ends are no distance away.
fn is_of_peers(frame: &WindowFrame) -> bool {
    let is_near = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::CurrentRow => true,
        WindowFrameBound::Preceding(distance) | WindowFrameBound::Following(distance) => distance.is_null(),
    };
    frame.units == WindowFrameUnits::Range && is_near(&frame.start_bound) && is_near(&frame.end_bound)
}
