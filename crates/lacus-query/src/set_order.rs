//! Several sets of groups: `GROUP BY g, ROLLUP (d)`.
//!
//! What is in no set is null in it, but the engine takes the groups for what the rows are:
//!
//! - for sorted as they are, such as above a window that is partitioned by `g` (DataFusion 54.1, `aggregates/mod.rs`,
//!   `input_order_mode`). It gives them once the next ones begin, and an `ORDER BY` does not sort them. But of each batch the sets come
//!   one after the other.
//! - for one value where it is one in all rows, such as that of `SELECT 'web' AS channel` (`compute_properties`). Then nothing is sorted
//!   or partitioned by it.
//!
//! Here both are hidden. What is computed becomes a column below: inside of sets, the optimizer may change no expression.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet, LogicalPlan, LogicalPlanBuilder};

use crate::same::unknown;

/// Hides from such groups what is known of the rows.
pub(crate) fn in_no_order(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Aggregate(aggregate) => {
            let hidden = Hidden::of(&aggregate);
            if hidden.columns.is_empty() && hidden.computed.is_empty() {
                return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
            }
            hidden.below(aggregate).map(Transformed::yes)
        }
        plan => Ok(Transformed::no(plan)),
    })
    .data()
}

/// What several sets are made of; nothing if there are no sets.
#[derive(Default)]
struct Hidden {
    columns: HashSet<Column>,
    /// Computed values, and the columns that they become.
    computed: Vec<(Expr, Column)>,
}

impl Hidden {
    fn of(aggregate: &Aggregate) -> Self {
        let mut values: Vec<&Expr> = Vec::new();
        let mut has_sets = false;
        for group in &aggregate.group_expr {
            match group {
                Expr::GroupingSet(sets) => {
                    has_sets = true;
                    values.extend(sets.distinct_expr());
                }
                value => values.push(value),
            }
        }
        if !has_sets {
            return Self::default();
        }
        let mut hidden = Self::default();
        for value in values {
            let (table, name) = value.qualified_name();
            let is_taken = aggregate.input.schema().fields().iter().any(|field| *field.name() == name)
                || hidden.computed.iter().any(|(_, column)| column.name == name);
            if is_taken || !is_of_the_row(value) {
                hidden.columns.extend(value.column_refs().into_iter().cloned());
            } else {
                hidden.computed.push((value.clone(), Column::new(table, name)));
            }
        }
        hidden
    }

    fn below(&self, aggregate: Aggregate) -> Result<LogicalPlan> {
        let Aggregate { input, group_expr, aggr_expr, .. } = aggregate;
        let columns = input.schema().iter().map(|(table, field)| {
            let column = Column::from((table, field));
            let is_hidden = self.columns.contains(&column);
            let value = Expr::Column(column);
            if !is_hidden {
                return value;
            }
            let metadata = FieldMetadata::from(field.as_ref());
            unknown(value).alias_qualified_with_metadata(table.cloned(), field.name(), Some(metadata))
        });
        let computed = self.computed.iter().map(|(value, column)| {
            unknown(value.clone()).alias_qualified(column.relation.clone(), column.name.as_str())
        });
        let values: Vec<Expr> = columns.chain(computed).collect();
        let rows = LogicalPlanBuilder::from(Arc::unwrap_or_clone(input)).project(values)?.build()?;
        let groups = group_expr.into_iter().map(|group| self.group(group)).collect();
        let totals = aggr_expr.into_iter().map(|total| self.total(total)).collect::<Result<_>>()?;
        Aggregate::try_new(Arc::new(rows), groups, totals).map(LogicalPlan::Aggregate)
    }

    fn group(&self, group: Expr) -> Expr {
        let values = |values: Vec<Expr>| -> Vec<Expr> { values.into_iter().map(|value| self.value(value)).collect() };
        match group {
            Expr::GroupingSet(GroupingSet::Rollup(parts)) => Expr::GroupingSet(GroupingSet::Rollup(values(parts))),
            Expr::GroupingSet(GroupingSet::Cube(parts)) => Expr::GroupingSet(GroupingSet::Cube(values(parts))),
            Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => {
                Expr::GroupingSet(GroupingSet::GroupingSets(sets.into_iter().map(values).collect()))
            }
            value => self.value(value),
        }
    }

    /// `grouping(upper(city))` asks for a group, and is called as before.
    fn total(&self, total: Expr) -> Result<Expr> {
        total
            .transform_up(|expr| match expr {
                Expr::AggregateFunction(AggregateFunction { func, mut params }) if func.name() == "grouping" => {
                    params.args = params.args.into_iter().map(|value| self.value(value)).collect();
                    Ok(Transformed::yes(Expr::AggregateFunction(AggregateFunction { func, params })))
                }
                expr => Ok(Transformed::no(expr)),
            })
            .data()
    }

    fn value(&self, value: Expr) -> Expr {
        match self.computed.iter().find(|(computed, _)| *computed == value) {
            Some((_, column)) => Expr::Column(column.clone()),
            None => value,
        }
    }
}

/// Whether nothing but the row says what it is.
fn is_of_the_row(value: &Expr) -> bool {
    let is_of_more = value.exists(|part| {
        Ok(part.is_volatile_node()
            || matches!(
                part,
                Expr::OuterReferenceColumn(..)
                    | Expr::ScalarSubquery(_)
                    | Expr::Exists(_)
                    | Expr::InSubquery(_)
                    | Expr::SetComparison(_)
                    | Expr::Placeholder(_)
            ))
    });
    is_of_more.is_ok_and(|is_of_more| !is_of_more)
}
