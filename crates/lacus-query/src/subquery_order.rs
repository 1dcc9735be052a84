//! The order of an answer with scalar subqueries: `SELECT a, (SELECT max(b) FROM u) FROM t ORDER BY a`.
//!
//! The engine puts such subqueries beside the main plan, under one operator, and looks for the required order no deeper than that
//! (DataFusion 54.1): the sort was removed as unneeded. Here the order is required of the main plan below that operator.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::output_requirements::OutputRequirements;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;

/// Requires the order of the main plan. It has to be the first rule.
#[derive(Debug)]
pub(crate) struct OrderBesideSubqueries;

impl PhysicalOptimizerRule for OrderBesideSubqueries {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, options: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        if plan.downcast_ref::<ScalarSubqueryExec>().is_none() {
            return Ok(plan);
        }
        let mut children: Vec<_> = plan.children().into_iter().map(Arc::clone).collect();
        // The first child is the main plan, all others are subqueries.
        if let Some(question) = children.first_mut() {
            *question = OutputRequirements::new_add_mode().optimize(Arc::clone(question), options)?;
        }
        plan.with_new_children(children)
    }

    fn name(&self) -> &str {
        "order_beside_subqueries"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
