//! The order of an answer whose question has subqueries that are values: `SELECT a, (SELECT max(b) FROM u) FROM t ORDER BY a`.
//!
//! The engine runs such subqueries beside the plan, and looks for the order that is asked for no deeper than that place
//! (DataFusion 54.1): the sort was taken for one that nobody needs. Here it is said below that place.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::output_requirements::OutputRequirements;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;

/// Keeps the order of what is beside subqueries. It has to be the first rule.
#[derive(Debug)]
pub(crate) struct OrderBesideSubqueries;

impl PhysicalOptimizerRule for OrderBesideSubqueries {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, options: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        if plan.downcast_ref::<ScalarSubqueryExec>().is_none() {
            return Ok(plan);
        }
        let mut children: Vec<_> = plan.children().into_iter().map(Arc::clone).collect();
        // The first one is the question, all others are subqueries.
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
