//! Fields of objects, where the optimizer can't bring them down to the scan.
//!
//! It brings `t.o.a` down, so that only that leaf is read. At an `UNNEST`, and above some joins with subqueries, it fails
//! instead of stopping (DataFusion 54.1). What fails is planned once more without, and reads whole objects.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;

use crate::cost::Scans;

/// Plans how a question is answered.
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
    // The first error is that of the question as it stands.
    whole.create_physical_plan(plan).await.or(planned)
}
