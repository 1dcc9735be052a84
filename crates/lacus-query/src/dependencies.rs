//! Which columns follow from which: after `SELECT n % 2 AS p, n FROM t GROUP BY n`, p from n, and not n from p.
//!
//! A projection takes over what its rows are grouped by, but counts places without the columns that are computed before
//! (DataFusion 54.1, `calc_func_dependencies_for_project`): the first one was taken for the key, and others were left out of
//! `ORDER BY`, `GROUP BY` and `DISTINCT`, or put into them. Here projections take nothing over: neither before the optimizer's rules
//! that count on it, nor when the query around one is planned.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{FunctionalDependencies, Result};
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{LogicalPlan, Projection};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::sql::sqlparser::ast::{Ident, TableAlias, TableFactor};

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

/// What the planner calls a relation while it is planned alone: a name that nobody gives.
const ALONE: &str = "alone#";

impl RelationPlanner for NoDependencies {
    /// Derived tables and common tables are planned as ever, and then forget what they took over.
    fn plan_relation(
        &self,
        mut relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let (TableFactor::Derived { alias, .. } | TableFactor::Table { alias, args: None, .. }) = &mut relation else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        if alias.as_ref().is_some_and(|alias| alias.name.value == ALONE) {
            *alias = None;
            return Ok(RelationPlanning::Original(Box::new(relation)));
        }
        let given = alias.replace(TableAlias {
            explicit: true,
            name: Ident::with_quote('"', ALONE),
            columns: Vec::new(),
            at: None,
        });
        let plan = context.plan(relation)?;
        let plan = if plan.schema().functional_dependencies().is_empty() {
            plan
        } else {
            plan.transform_up_with_subqueries(without).data()?
        };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, given))))
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
