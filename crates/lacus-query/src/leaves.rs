//! Fields of objects above `UNNEST`.
//!
//! The optimizer brings `t.o.a` down to the scan, so that only that leaf is read. At an `UNNEST` it fails instead of stopping
//! (DataFusion 54.1), so it is kept from questions with one; there whole objects are read.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::extract_leaf_expressions::PushDownLeafProjections;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// The optimizer's rule, where there is no `UNNEST` below.
#[derive(Debug, Default)]
pub(crate) struct LeavesAboveUnnest {
    inner: PushDownLeafProjections,
}

impl OptimizerRule for LeavesAboveUnnest {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.inner.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if plan.exists(|node| Ok(matches!(node, LogicalPlan::Unnest(_))))? {
            return Ok(Transformed::no(plan));
        }
        self.inner.rewrite(plan, config)
    }
}
