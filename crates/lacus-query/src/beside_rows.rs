//! Columns that `LATERAL` makes of the row beside it: `FROM orders o, LATERAL (SELECT o.price * l.count AS total FROM lines l WHERE …)`.
//!
//! The engine makes a join of such a subquery: it lifts conditions on the row outside out of it, and no columns (DataFusion 54.1,
//! `decorrelate.rs`). Here they are computed above the join, of what the subquery has for them.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, JoinType, TableReference};
use datafusion::error::Result;
use datafusion::logical_expr::{
    Expr, Join, LogicalPlan, LogicalPlanBuilder, Projection, Subquery, SubqueryAlias, lit, when,
};

/// What the columns are called, with their numbers: names that nobody gives.
const NEEDED: &str = "needed#";
/// A column that is null where the row outside has no row beside it.
const IS_THERE: &str = "found#";

/// Computes columns of subqueries in `LATERAL` above their joins, where they look at the row outside.
pub(crate) fn beside_rows(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Join(join) => Ok(match above(&join)? {
            Some(computed) => Transformed::yes(computed),
            None => Transformed::no(LogicalPlan::Join(join)),
        }),
        plan => Ok(Transformed::no(plan)),
    })
    .data()
}

/// A join with the columns that its right side makes of rows on its left. None: it makes none, or they have to be computed there.
fn above(join: &Join) -> Result<Option<LogicalPlan>> {
    let Some((subquery, projection, alias)) = selected(join) else { return Ok(None) };
    let mut needed = Vec::new();
    let mut inside = Vec::new();
    let mut computed = Vec::with_capacity(projection.expr.len());
    for value in &projection.expr {
        if value.contains_outer() {
            computed.push(Some(of_both(value.clone(), alias, &mut needed)?));
        } else {
            inside.push(value.clone());
            computed.push(None);
        }
    }
    let needed = needed.into_iter().enumerate();
    inside.extend(needed.map(|(place, column)| Expr::Column(column).alias(format!("{NEEDED}{place}"))));
    inside.push(lit(true).alias(IS_THERE));

    let of_right = |part: Expr| -> Result<Transformed<Expr>> {
        let Expr::Column(column) = part else { return Ok(Transformed::no(part)) };
        let is_of_right = column.relation.as_ref() == Some(alias);
        let place = join.right.schema().maybe_index_of_column(&column).filter(|_| is_of_right);
        Ok(match place.and_then(|place| computed[place].clone()) {
            Some(value) => Transformed::yes(value),
            None => Transformed::no(Expr::Column(column)),
        })
    };
    let filter = join.filter.clone().map(|filter| filter.transform(of_right).data()).transpose()?;
    let with_needed = Join::try_new(
        Arc::clone(&join.left),
        Arc::new(rows(subquery, projection, inside, alias)?),
        Vec::new(),
        filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;

    let before = join.left.schema().fields().len();
    let mut columns = Vec::with_capacity(join.schema.fields().len());
    for (place, (table, field)) in join.schema.iter().enumerate() {
        let value = place.checked_sub(before).and_then(|place| computed[place].clone());
        columns.push(match value {
            Some(value) if join.join_type == JoinType::Left => {
                let is_there = Expr::Column(Column::new(Some(alias.clone()), IS_THERE));
                when(is_there, value).end()?.alias_qualified(table.cloned(), field.name())
            }
            Some(value) => value.alias_qualified(table.cloned(), field.name()),
            None => Expr::Column(Column::from((table, field))),
        });
    }
    LogicalPlanBuilder::from(LogicalPlan::Join(with_needed)).project(columns)?.build().map(Some)
}

/// What a subquery on the right of a join selects of rows on its left, and what it is called.
fn selected(join: &Join) -> Option<(&Subquery, &Projection, &TableReference)> {
    let LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) = join.right.as_ref() else { return None };
    let LogicalPlan::Subquery(subquery) = input.as_ref() else { return None };
    let LogicalPlan::Projection(projection) = subquery.subquery.as_ref() else { return None };
    let outside: Vec<&Expr> = projection.expr.iter().filter(|value| value.contains_outer()).collect();
    let is_joined = matches!(join.join_type, JoinType::Inner | JoinType::Left) && join.on.is_empty();
    let is_lifted = is_joined && !outside.is_empty() && outside.into_iter().all(|value| is_of(value, join));
    (is_lifted && !has_total(&projection.input)).then_some((subquery, projection, alias))
}

/// Whether a value is one of a row on the left of the join, and of one on its right.
fn is_of(value: &Expr, join: &Join) -> bool {
    let is_elsewhere = value.exists(|part| {
        Ok(match part {
            Expr::OuterReferenceColumn(_, column) => !join.left.schema().has_column(column),
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_) => true,
            _ => false,
        })
    });
    // What is looked at never fails.
    !is_elsewhere.unwrap_or(true)
}

/// Whether there is a total of all rows: it has a row for none, too.
fn has_total(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Subquery(_) => false,
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => true,
        plan => plan.inputs().into_iter().any(has_total),
    }
}

/// A value above the join, and the columns that the subquery has to have for it.
fn of_both(value: Expr, alias: &TableReference, needed: &mut Vec<Column>) -> Result<Expr> {
    let moved = value.unalias().transform(|part| match part {
        Expr::OuterReferenceColumn(_, column) => Ok(Transformed::yes(Expr::Column(column))),
        Expr::Column(column) => {
            let known = needed.iter().position(|known| *known == column);
            let place = known.unwrap_or(needed.len());
            if known.is_none() {
                needed.push(column);
            }
            Ok(Transformed::yes(Expr::Column(Column::new(Some(alias.clone()), format!("{NEEDED}{place}")))))
        }
        part => Ok(Transformed::no(part)),
    });
    moved.data()
}

/// The rows of the subquery with these columns. They may look at nothing outside any more.
fn rows(
    subquery: &Subquery,
    projection: &Projection,
    columns: Vec<Expr>,
    alias: &TableReference,
) -> Result<LogicalPlan> {
    let rows = LogicalPlan::Projection(Projection::try_new(columns, Arc::clone(&projection.input))?);
    let outer_ref_columns = rows.all_out_ref_exprs();
    let rows = if outer_ref_columns.is_empty() {
        rows
    } else {
        LogicalPlan::Subquery(Subquery { subquery: Arc::new(rows), outer_ref_columns, spans: subquery.spans.clone() })
    };
    LogicalPlanBuilder::from(rows).alias(alias.clone())?.build()
}
