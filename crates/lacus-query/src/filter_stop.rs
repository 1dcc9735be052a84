//! Filters that must reach the right column: `b RIGHT JOIN a … WHERE b.id IS NULL`.
//!
//! On its way down to the scans, a filter looks its column up by name and takes the first match (DataFusion 54.1,
//! `FilterRemapper`, `ProjectionExec::collect_reverse_alias`). Where a join has two columns `id`, the filter on one was applied to
//! the other, and rows were lost. So a [`Stop`] is put above each operator with ambiguous columns: it lets through only those
//! filters whose columns have unique names.
//!
//! And filters that ask lists must not reach files: `a IS NULL OR cardinality(tags) > 3`. The Parquet source takes a filter on lists that
//! asks for nulls, too. In a file that has none it becomes `cardinality(tags) > 3`, which the source can't ask, and does not ask (DataFusion
//! 54.1, `supported_predicates.rs`, `row_filter.rs`): each row was found.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;

use crate::null_joins::sees_nulls;
use crate::stop::{Stop, has_lists};

/// Puts the stops in, each time before filters are pushed down.
#[derive(Debug)]
pub(crate) struct StopFilters;

impl PhysicalOptimizerRule for StopFilters {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let open = plain_columns(&plan);
            let has_lists =
                plan.is::<DataSourceExec>() && plan.schema().fields().iter().any(|field| has_lists(field.data_type()));
            let is_open = open.len() == plan.schema().fields().len() && !has_lists;
            let plan = with_all_nulls(plan)?;
            Ok(if is_open { plan } else { Transformed::yes(Stop::above(plan.data, open)) })
        })
        .data()
    }

    fn name(&self) -> &str {
        "stop_filters"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Keeps all filters from the probed side of a join that matches nulls.
fn with_all_nulls(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(join) = plan.downcast_ref::<HashJoinExec>().filter(|join| sees_nulls(join)) else {
        return Ok(Transformed::no(plan));
    };
    let (left, right) = (Arc::clone(join.left()), Stop::above(Arc::clone(join.right()), HashSet::new()));
    plan.with_new_children(vec![left, right]).map(Transformed::yes)
}

/// The columns of a plan whose name its inputs know for the same column, and for no other.
fn plain_columns(plan: &Arc<dyn ExecutionPlan>) -> HashSet<usize> {
    let schema = plan.schema();
    let is_plain =
        |(place, name): (usize, &str)| (times(&schema, name) == 1 && is_told_below(plan, place, name)).then_some(place);
    names(&schema).enumerate().filter_map(is_plain).collect()
}

fn is_told_below(plan: &Arc<dyn ExecutionPlan>, place: usize, name: &str) -> bool {
    let inputs = || plan.children().into_iter().map(|input| input.schema());
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        // A volatile expression would be computed twice.
        return projection.expr().get(place).is_some_and(|column| !is_volatile(&column.expr));
    }
    if plan.is::<UnionExec>() {
        return inputs().all(|input| times(&input, name) == 1 && names(&input).nth(place) == Some(name));
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        let group = aggregate.group_expr().expr().get(place).and_then(|(group, _)| group.downcast_ref::<Column>());
        return group.is_some_and(|group| group.name() == name) && inputs().all(|input| times(&input, name) == 1);
    }
    let most = match plan.downcast_ref::<HashJoinExec>() {
        Some(join) if is_one_sided(*join.join_type()) => inputs().map(|input| times(&input, name)).sum(),
        _ => inputs().map(|input| times(&input, name)).max().unwrap_or(0),
    };
    most <= 1
}

/// Whether a join returns the columns of one side, while filters on its keys go to both.
pub(crate) fn is_one_sided(kind: JoinType) -> bool {
    !matches!(kind, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full)
}

fn names(schema: &Schema) -> impl Iterator<Item = &str> {
    schema.fields().iter().map(|field| field.name().as_str())
}

fn times(schema: &Schema, name: &str) -> usize {
    names(schema).filter(|other| *other == name).count()
}
