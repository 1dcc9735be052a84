//! Which columns follow from which: after `SELECT n % 2 AS p, n FROM t GROUP BY n`, p from n, and not n from p.
//!
//! A projection takes over what its rows are grouped by, but counts places without the columns that are computed before
//! (DataFusion 54.1, `calc_func_dependencies_for_project`): the first one was taken for the key, and others were left out of
//! `ORDER BY`, `GROUP BY` and `DISTINCT`. Here projections take nothing over.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{FunctionalDependencies, Result};
use datafusion::logical_expr::{LogicalPlan, Projection};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// Forgets what projections took over. It has to come before each rule that leaves out what follows from something else.
#[derive(Debug)]
pub(crate) struct NoDependencies;

impl OptimizerRule for NoDependencies {
    fn name(&self) -> &str {
        "no_dependencies"
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        plan.transform_up_with_subqueries(without)
    }
}

fn without(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if plan.schema().functional_dependencies().is_empty() {
        return Ok(Transformed::no(plan));
    }
    match plan {
        LogicalPlan::Projection(Projection { expr, input, schema, .. }) => {
            let schema = Arc::unwrap_or_clone(schema).with_functional_dependencies(FunctionalDependencies::empty())?;
            Projection::try_new_with_schema(expr, input, Arc::new(schema))
                .map(LogicalPlan::Projection)
                .map(Transformed::yes)
        }
        // They have what their inputs have, and those have changed.
        LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Window(_) => plan.recompute_schema().map(Transformed::yes),
        plan => Ok(Transformed::no(plan)),
    }
}
