//! Columns that an outer join fills with nulls: `SELECT … FROM users u LEFT JOIN (SELECT * FROM clicks WHERE kind = 'buy') c ON …
//! ORDER BY c.kind, u.id`.
//!
//! What has one value in all rows below the join is taken for the same above it (DataFusion 54.1, `EquivalenceGroup::join`), where it is
//! that value or null: nothing was sorted or partitioned by it. Here that is hidden from the join.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, PhysicalExpr};

use crate::same::unknown_column;

/// Hides such values. It has to come before the rules that sort and partition.
#[derive(Debug)]
pub(crate) struct OuterNulls;

impl PhysicalOptimizerRule for OuterNulls {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let config = Arc::new(config.clone());
        plan.transform_up(|plan| {
            let Some(are_filled) = filled_sides(&plan) else { return Ok(Transformed::no(plan)) };
            let mut sides = Vec::with_capacity(are_filled.len());
            let mut is_changed = false;
            for (side, is_filled) in plan.children().into_iter().zip(are_filled) {
                let hidden = if is_filled { without_constants(side, &config)? } else { None };
                is_changed |= hidden.is_some();
                sides.push(hidden.unwrap_or_else(|| Arc::clone(side)));
            }
            if is_changed { plan.with_new_children(sides).map(Transformed::yes) } else { Ok(Transformed::no(plan)) }
        })
        .data()
    }

    fn name(&self) -> &str {
        "outer_nulls"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether the left and the right side of an outer join are filled with nulls; none if it is no outer join.
fn filled_sides(plan: &Arc<dyn ExecutionPlan>) -> Option<[bool; 2]> {
    let kind = if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        *join.join_type()
    } else if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        *join.join_type()
    } else {
        plan.downcast_ref::<SortMergeJoinExec>()?.join_type()
    };
    match kind {
        JoinType::Left => Some([false, true]),
        JoinType::Right => Some([true, false]),
        JoinType::Full => Some([true, true]),
        _ => None,
    }
}

/// The same rows, of which nobody knows that a column has one value; none if there is no such column.
fn without_constants(
    rows: &Arc<dyn ExecutionPlan>,
    config: &Arc<ConfigOptions>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let schema = rows.schema();
    let known = rows.equivalence_properties();
    let mut has_constants = false;
    let columns: Vec<(Arc<dyn PhysicalExpr>, String)> = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(place, field)| {
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), place));
            if known.is_expr_constant(&column).is_none() {
                return (column, field.name().clone());
            }
            has_constants = true;
            (unknown_column(column, field, config), field.name().clone())
        })
        .collect();
    if !has_constants {
        return Ok(None);
    }
    Ok(Some(Arc::new(ProjectionExec::try_new(columns, Arc::clone(rows))?)))
}
