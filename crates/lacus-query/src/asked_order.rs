//! Sorts that operators ask for but the plan no longer proves: `… INTERSECT … UNION ALL SELECT day AS a, day AS b … ORDER BY 1, 2`.
//!
//! Where two columns are equal, the engine drops the second one from the order. Above a union it has forgotten that they are
//! equal, and rejects its own plan (DataFusion 54.1, `calculate_union_binary`). Here the rows are sorted once more.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::{LexOrdering, OrderingRequirements};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// Adds sorts where rows are not known to be in the required order. It has to come before the plan is checked.
#[derive(Debug)]
pub(crate) struct AskedOrder;

impl PhysicalOptimizerRule for AskedOrder {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let asked = plan.required_input_ordering();
            let mut inputs = Vec::with_capacity(asked.len());
            let mut is_changed = false;
            for (input, asked) in plan.children().into_iter().zip(asked) {
                let made = asked.map(|asked| sorted(input, asked)).transpose()?.flatten();
                is_changed |= made.is_some();
                inputs.push(made.unwrap_or_else(|| Arc::clone(input)));
            }
            if !is_changed {
                return Ok(Transformed::no(plan));
            }
            plan.with_new_children(inputs).map(Transformed::yes)
        })
        .data()
    }

    fn name(&self) -> &str {
        "asked_order"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The rows of each partition, sorted as required; none if they are known to be.
fn sorted(rows: &Arc<dyn ExecutionPlan>, asked: OrderingRequirements) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let asked = asked.into_single();
    if rows.equivalence_properties().ordering_satisfy_requirement(asked.clone())? {
        return Ok(None);
    }
    let sort = SortExec::new(LexOrdering::from(asked), Arc::clone(rows)).with_preserve_partitioning(true);
    Ok(Some(Arc::new(sort)))
}
