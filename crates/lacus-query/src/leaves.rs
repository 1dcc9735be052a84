//! Fields of objects that the optimizer can't push down to the scan.
//!
//! It pushes `t.o.a` down, so that only that leaf is read. At an `UNNEST`, and above some joins with subqueries, that rule fails
//! where it should stop (DataFusion 54.1). A plan that failed is planned again without the rule, and reads whole objects.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;

use crate::cost::Scans;

/// Plans a query.
///
/// # Errors
/// Why it can't be.
pub(crate) async fn physical_plan(state: &SessionState, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    let planned = state.create_physical_plan(plan).await;
    if planned.is_ok() {
        return planned;
    }
    if let Some(scans) = state.config().get_extension::<Scans>() {
        scans.forget();
    }
    let mut whole = state.clone();
    whole.config_mut().options_mut().optimizer.enable_leaf_expression_pushdown = false;
    // If both fail, the error is that of the query as it stands.
    whole.create_physical_plan(plan).await.or(planned)
}
