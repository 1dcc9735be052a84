//! Groups by a column and by a cast of it: `GROUP BY ts, CAST(ts AS date)`.
//!
//! A cast is called as what it casts. The rule that leaves out groups which follow from others refuses two of one name, and
//! with them the question (DataFusion 54.1, `EliminateGroupByConstant`). Such groups stay as they are.

use std::collections::HashSet;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::eliminate_group_by_constant::EliminateGroupByConstant;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// Leaves out groups that follow from others, where names tell them apart.
#[derive(Debug, Default)]
pub(crate) struct FewestGroups(EliminateGroupByConstant);

impl OptimizerRule for FewestGroups {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match &plan {
            LogicalPlan::Aggregate(aggregate) if share_a_name(&aggregate.group_expr) => Ok(Transformed::no(plan)),
            _ => self.0.rewrite(plan, config),
        }
    }
}

fn share_a_name(groups: &[Expr]) -> bool {
    let mut names = HashSet::new();
    !groups.iter().all(|group| names.insert(group.schema_name().to_string()))
}
