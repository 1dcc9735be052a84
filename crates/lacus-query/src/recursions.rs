//! `WITH RECURSIVE` over tables: `SELECT id, name AS path FROM parts … UNION ALL SELECT p.id, r.path || '/' || p.name FROM r JOIN parts p …`.
//!
//! Columns of tables have the numbers that they have in their files, and what is computed has none. The engine wants both parts of
//! a recursion to have the same ones in the same places, and refuses it else (DataFusion 54.1, `recursive_query.rs`). Here columns
//! of both parts lose them.

use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::Column;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, RecursiveQuery};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::same::same;

/// Takes the numbers off the columns of recursions.
pub(crate) fn without_numbers(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !has_recursion(&plan)? {
        return Ok(plan);
    }
    plan.transform_up_with_subqueries(|plan| {
        let plan = match plan {
            LogicalPlan::RecursiveQuery(RecursiveQuery { name, static_term, recursive_term, is_distinct, .. }) => {
                let (begin, step) = (bare(static_term)?, bare(recursive_term)?);
                LogicalPlan::RecursiveQuery(RecursiveQuery::try_new(name, begin, step, is_distinct)?)
            }
            // What is above it has its columns.
            plan => plan.recompute_schema()?,
        };
        Ok(Transformed::yes(plan))
    })
    .data()
}

fn has_recursion(plan: &LogicalPlan) -> Result<bool> {
    let mut is_found = false;
    plan.apply_with_subqueries(|plan| {
        is_found |= matches!(plan, LogicalPlan::RecursiveQuery(_));
        Ok(if is_found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(is_found)
}

/// Rows whose columns have no numbers. What else is said of a column stays, such as that it has UUIDs.
fn bare(rows: Arc<LogicalPlan>) -> Result<Arc<LogicalPlan>> {
    let is_numbered = |field: &FieldRef| field.metadata().contains_key(PARQUET_FIELD_ID_META_KEY);
    if !rows.schema().fields().iter().any(is_numbered) {
        return Ok(rows);
    }
    let columns = rows.schema().iter().map(|(table, field)| {
        let column = Expr::Column(Column::from((table, field)));
        if !is_numbered(field) {
            return column;
        }
        let mut said = field.metadata().clone();
        said.remove(PARQUET_FIELD_ID_META_KEY);
        same(column).alias_qualified_with_metadata(table.cloned(), field.name(), Some(FieldMetadata::from(said)))
    });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::from(Arc::unwrap_or_clone(rows)).project(columns)?.build().map(Arc::new)
}
