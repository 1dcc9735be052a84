//! Aggregates and windows that differ only in a cast: `sum(x), sum(x::numeric)`.
//!
//! The engine names both `sum(x)`, because casts don't show in names, and refuses two columns of one name (DataFusion 54.1,
//! `expr.rs`, `SchemaDisplay`). Here an expression with a cast gets a name that shows the cast. Nobody sees it: the columns of an
//! answer are named as they were asked for.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::TreeNode;
use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawAggregateExpr, RawWindowExpr};

/// A copy of the state that gives expressions with casts names of their own.
pub(crate) fn naming_casts(state: &SessionState) -> SessionState {
    let mut planners = state.expr_planners().to_vec();
    // In front of those that plan a call completely.
    planners.insert(0, Arc::new(NamedCasts));
    SessionStateBuilder::new_from_existing(state.clone()).with_expr_planners(planners).build()
}

#[derive(Debug)]
struct NamedCasts;

impl ExprPlanner for NamedCasts {
    fn plan_aggregate(&self, raw: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        let (args, order_by) = (all_named(raw.args)?, sorts_named(raw.order_by)?);
        Ok(PlannerResult::Original(RawAggregateExpr { args, order_by, ..raw }))
    }

    fn plan_window(&self, raw: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        let (args, order_by) = (all_named(raw.args)?, sorts_named(raw.order_by)?);
        let partition_by = all_named(raw.partition_by)?;
        Ok(PlannerResult::Original(RawWindowExpr { args, partition_by, order_by, ..raw }))
    }
}

fn all_named(exprs: Vec<Expr>) -> Result<Vec<Expr>> {
    exprs.into_iter().map(named).collect()
}

fn sorts_named(mut sorts: Vec<Sort>) -> Result<Vec<Sort>> {
    for sort in &mut sorts {
        sort.expr = named(sort.expr.clone())?;
    }
    Ok(sorts)
}

/// The expression under a name that shows it whole, if there is a cast in it.
fn named(expr: Expr) -> Result<Expr> {
    let has_cast = expr.exists(|part| Ok(matches!(part, Expr::Cast(_) | Expr::TryCast(_))))?;
    if !has_cast {
        return Ok(expr);
    }
    let name = expr.to_string();
    Ok(expr.alias(name))
}
