//! Conditions that are asked of rows once they were read: `SELECT phrase, count(*) FROM hits WHERE phrase <> '' GROUP BY phrase`.
//!
//! The Parquet source asks a condition of all rows of a row group before it reads other columns, and reads those only where it is
//! true. That saves much where few rows are left. Where many are, here and there, all columns are unpacked all the same; and what
//! was read for the condition is kept, put together and taken apart once more (parquet 58.4, `cached_array_reader.rs`).
//!
//! That a column is not something leaves most rows, as a rule. Such conditions are asked of each batch once it was read, where
//! rows are grouped and the other columns are numbers and times, which cost little to read. So is what the only column is. Files,
//! row groups and pages that have no such row are left out all the same.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::utils::split_conjunction;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

/// Keeps such conditions from the Parquet source, before conditions are brought down.
#[derive(Debug)]
pub(crate) struct AskedAfter;

impl PhysicalOptimizerRule for AskedAfter {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        // What a join finds is worth to be asked while files are read.
        if plan.exists(|plan| Ok(plan.is::<HashJoinExec>()))? {
            return Ok(plan);
        }
        plan.transform_up(|plan| {
            let rows = if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
                read_first(aggregate.input())?
            } else if let Some(filter) = plan.downcast_ref::<FilterExec>().filter(|filter| is_of_all(filter)) {
                without_conditions(filter.input())?
            } else {
                None
            };
            match rows {
                Some(rows) => plan.with_new_children(vec![rows]).map(Transformed::yes),
                None => Ok(Transformed::no(plan)),
            }
        })
        .data()
    }

    fn name(&self) -> &str {
        "asked_after"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The same rows, with their condition asked when they were read. None where it should be asked before, or there is none.
fn read_first(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let below = if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        read_first(projection.input())?
    } else if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        if is_met_by_most(filter) { without_conditions(filter.input())? } else { None }
    } else {
        None
    };
    below.map(|below| Arc::clone(plan).with_new_children(vec![below])).transpose()
}

/// Whether it asks only that columns are not something, and nothing else is read that costs much.
fn is_met_by_most(filter: &FilterExec) -> bool {
    let conditions = split_conjunction(filter.predicate());
    let unlike = |condition| compared(condition, Operator::NotEq);
    let Some(asked) = conditions.into_iter().map(unlike).collect::<Option<Vec<_>>>() else { return false };
    let is_cheap = |field: &Field| field.data_type().is_primitive() || *field.data_type() == DataType::Boolean;
    let schema = filter.input().schema();
    schema.fields().iter().enumerate().all(|(place, field)| asked.contains(&place) || is_cheap(field))
}

/// Whether it asks what the only column is that is read: nothing else is saved by it.
fn is_of_all(filter: &FilterExec) -> bool {
    filter.input().schema().fields().len() == 1 && compared(filter.predicate(), Operator::Eq).is_some()
}

/// The column that a condition compares with a value in this way.
fn compared(condition: &Arc<dyn PhysicalExpr>, operator: Operator) -> Option<usize> {
    let condition = condition.downcast_ref::<BinaryExpr>().filter(|condition| *condition.op() == operator)?;
    condition.right().downcast_ref::<Literal>()?;
    Some(condition.left().downcast_ref::<Column>()?.index())
}

/// The same files, asked no conditions while they are read. None where there are none.
fn without_conditions(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(union) = plan.downcast_ref::<UnionExec>() {
        let mut inputs = union.inputs().clone();
        for input in &mut inputs {
            if let Some(files) = without_conditions(input)? {
                *input = files;
            }
        }
        return Arc::clone(plan).with_new_children(inputs).map(Some);
    }
    let files = plan.downcast_ref::<DataSourceExec>().and_then(|scan| scan.downcast_to_file_source::<ParquetSource>());
    let Some((config, source)) = files else { return Ok(None) };
    let source = source.clone().with_pushdown_filters(false);
    let config = FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source)).build();
    Ok(Some(DataSourceExec::from_data_source(config)))
}
