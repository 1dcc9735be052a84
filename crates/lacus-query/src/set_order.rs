//! Several sets of groups of rows that come in an order: `GROUP BY g, ROLLUP (d)` above a window that is partitioned by `g`.
//!
//! The engine takes all groups for sorted as the rows are (DataFusion 54.1, `aggregates/mod.rs`, `input_order_mode`): it gives them once the
//! next ones begin, and an `ORDER BY` does not sort them. But of each batch the sets come one after the other, and what is in no set is
//! null in it. Here the order of the rows is hidden.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder};

use crate::same::same;

/// Hides the order of rows from such groups.
pub(crate) fn in_no_order(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Aggregate(aggregate) => {
            let columns = of_sets(&aggregate.group_expr);
            if columns.is_empty() {
                return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
            }
            hidden(aggregate, &columns).map(Transformed::yes)
        }
        plan => Ok(Transformed::no(plan)),
    })
    .data()
}

/// The columns of several sets; none if there are no sets.
fn of_sets(groups: &[Expr]) -> HashSet<Column> {
    let mut values: Vec<&Expr> = Vec::new();
    let mut has_sets = false;
    for group in groups {
        match group {
            Expr::GroupingSet(sets) => {
                has_sets = true;
                values.extend(sets.distinct_expr());
            }
            value => values.push(value),
        }
    }
    if !has_sets {
        return HashSet::new();
    }
    values.into_iter().flat_map(Expr::column_refs).cloned().collect()
}

fn hidden(aggregate: Aggregate, columns: &HashSet<Column>) -> Result<LogicalPlan> {
    let Aggregate { input, group_expr, aggr_expr, .. } = aggregate;
    let values = input.schema().iter().map(|(table, field)| {
        let column = Column::from((table, field));
        let is_hidden = columns.contains(&column);
        let value = Expr::Column(column);
        if !is_hidden {
            return value;
        }
        let metadata = FieldMetadata::from(field.as_ref());
        same(value).alias_qualified_with_metadata(table.cloned(), field.name(), Some(metadata))
    });
    let values: Vec<Expr> = values.collect();
    let rows = LogicalPlanBuilder::from(Arc::unwrap_or_clone(input)).project(values)?.build()?;
    Aggregate::try_new(Arc::new(rows), group_expr, aggr_expr).map(LogicalPlan::Aggregate)
}
