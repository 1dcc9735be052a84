//! `INTERSECT` and `EXCEPT` of columns of different types: `SELECT 3 INTERSECT SELECT 3.0::numeric`.
//!
//! The engine compares them as values of one type, but gives those of the first question as they were (DataFusion 54.1,
//! `builder.rs`, `intersect_or_except`): 3, half of which is 1. In SQL they are of the type in which they are compared, as in a
//! `UNION`. That type is known once the plan is analyzed.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder};

/// Gives the rows of such a question the types in which they are compared. What is above it has to be analyzed again.
pub(crate) fn in_common_types(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut has_changed = false;
    plan.transform_up_with_subqueries(|plan| {
        let changed = match plan {
            LogicalPlan::Join(join) if is_of_sets(&join) && widened(&join).any(|is_widened| is_widened) => {
                Transformed::yes(LogicalPlan::Join(with_types(join)?))
            }
            plan => Transformed::no(plan),
        };
        has_changed |= changed.transformed;
        // What is above it has its columns.
        if has_changed { changed.map_data(LogicalPlan::recompute_schema) } else { Ok(changed) }
    })
}

/// Whether it is `INTERSECT` or `EXCEPT`: only there are nulls the same, and all columns compared.
pub(crate) fn is_of_sets(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.on.len() == join.left.schema().fields().len()
}

/// Of each column, whether the first question has another type than it is compared in.
fn widened(join: &Join) -> impl Iterator<Item = bool> {
    let right = join.right.schema().fields().iter().map(|field| field.data_type());
    join.on.iter().zip(join.left.schema().iter()).zip(right).map(|(((key, _), (table, field)), right)| match key {
        Expr::Cast(cast) if *cast.expr == Expr::Column(Column::from((table, field))) => {
            is_of_both(cast.field.data_type(), field.data_type(), right)
        }
        _ => false,
    })
}

/// Whether SQL has this type for values of these two.
fn is_of_both(kind: &DataType, left: &DataType, right: &DataType) -> bool {
    match kind {
        DataType::Date32 | DataType::Timestamp(..) => true,
        // A double beside a decimal is a number of the text.
        kind if kind.is_decimal() => [left, right].iter().all(|one| one.is_decimal() || one.is_signed_integer()),
        kind => kind.is_numeric() && ![left, right].iter().any(|one| one.is_unsigned_integer()),
    }
}

fn with_types(join: Join) -> Result<Join> {
    let are_widened: Vec<bool> = widened(&join).collect();
    let Join { left, right, mut on, filter, join_type, join_constraint, null_equality, null_aware, .. } = join;
    let mut columns = Vec::with_capacity(on.len());
    for (((key, _), (table, field)), is_widened) in on.iter_mut().zip(left.schema().iter()).zip(are_widened) {
        let column = Expr::Column(Column::from((table, field)));
        columns.push(if is_widened {
            std::mem::replace(key, column).alias_qualified(table.cloned(), field.name())
        } else {
            column
        });
    }
    // Values that were not the same may be one of the other type.
    let left = LogicalPlanBuilder::from(Arc::unwrap_or_clone(left)).project(columns)?.distinct()?.build()?;
    Join::try_new(Arc::new(left), right, on, filter, join_type, join_constraint, null_equality, null_aware)
}
