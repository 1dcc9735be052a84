//! Functional dependencies: after `SELECT n % 2 AS p, n FROM t GROUP BY n`, `p` follows from `n`, and `n` does not follow from `p`.
//!
//! A projection inherits what its rows are grouped by, but computes the places of those columns wrongly
//! (DataFusion 54.1, `calc_func_dependencies_for_project`): the wrong column was taken for the key, and others were dropped from
//! `ORDER BY`, `GROUP BY` and `DISTINCT`, or added to them. So projections inherit nothing here, neither before the optimizer's
//! rules that rely on it nor while the query around them is planned.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{FunctionalDependencies, Result};
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{LogicalPlan, Projection};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::sql::sqlparser::ast::{Ident, TableAlias, TableFactor};

/// Removes the dependencies that projections inherited. It has to come before each rule that drops dependent columns.
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

/// The alias of a relation while it is planned alone: nobody else gives such a name.
const ALONE: &str = "alone#";

impl RelationPlanner for NoDependencies {
    /// Derived tables and common tables are planned as usual, and then lose the dependencies that they inherited.
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
        // Their dependencies are those of their inputs, which have changed.
        LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Window(_) => plan.recompute_schema().map(Transformed::yes),
        plan => Ok(Transformed::no(plan)),
    }
}
