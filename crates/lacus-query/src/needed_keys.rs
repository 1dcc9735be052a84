//! The order in which values are put together: `last_value(price ORDER BY day DESC, day)`, `max(price ORDER BY day)`, and
//! `SELECT DISTINCT ON (city) … ORDER BY city, day, city`, which is made of them.
//!
//! In groups the engine panics where a key comes twice, because it counts it once (DataFusion 54.1, `first_last.rs`), and where an
//! order means nothing, because it gives the keys to a function that wants values only (`row_hash.rs`). Here such keys are left out.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr::{AggregateFunction, Sort};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{AggregateUDF, Expr, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// What is the same in each order.
const IN_ANY_ORDER: [&str; 13] = [
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "count",
    "max",
    "median",
    "min",
    "stddev",
    "stddev_pop",
    "sum",
    "var",
    "var_pop",
];

/// Leaves out the keys that nothing depends on.
#[derive(Debug)]
pub(crate) struct NeededKeys;

impl OptimizerRule for NeededKeys {
    fn name(&self) -> &str {
        "needed_keys"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if !matches!(plan, LogicalPlan::Aggregate(_)) {
            return Ok(Transformed::no(plan));
        }
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let made = expr.transform_up(|expr| Ok(with_needed_keys(expr)))?;
            Ok(made.update_data(|expr| name.restore(expr)))
        })
    }
}

fn with_needed_keys(expr: Expr) -> Transformed<Expr> {
    let Expr::AggregateFunction(AggregateFunction { func, mut params }) = expr else { return Transformed::no(expr) };
    let asked = params.order_by.len();
    params.order_by = needed(&func, params.order_by);
    let is_changed = params.order_by.len() < asked;
    let expr = Expr::AggregateFunction(AggregateFunction { func, params });
    if is_changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}

fn needed(function: &AggregateUDF, keys: Vec<Sort>) -> Vec<Sort> {
    let mut needed: Vec<Sort> = Vec::new();
    if IN_ANY_ORDER.contains(&function.name()) {
        return needed;
    }
    for key in keys {
        if needed.iter().all(|other| other.expr != key.expr) {
            needed.push(key);
        }
    }
    needed
}
