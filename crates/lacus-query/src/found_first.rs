//! Filters that a question finds while it runs, before those that it names: `WHERE url LIKE '%shop%' ORDER BY at LIMIT 10`.
//!
//! The Parquet source asks filters one after the other, and reads what one needs only for rows that those before it let
//! through. What a sort has found, that no later time is among the first ten, comes last there (DataFusion 54.1), when all texts
//! are read and searched. Here such a filter comes before the first one that reads more than numbers and times, if it reads
//! nothing else itself. It compares columns with values and can't fail; the others keep their order.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, FileSource, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::expressions::DynamicFilterPhysicalExpr;
use datafusion::physical_expr::utils::{collect_columns, conjunction, split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

/// Reorders the filters of scans: after they were brought down.
#[derive(Debug)]
pub(crate) struct FoundFirst;

impl PhysicalOptimizerRule for FoundFirst {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            Ok(match with_found_first(&plan) {
                Some(scan) => Transformed::yes(scan),
                None => Transformed::no(plan),
            })
        })
        .data()
    }

    fn name(&self) -> &str {
        "found_first"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The scan with its filters in another order. None where that changes nothing.
fn with_found_first(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let (config, source) = plan.downcast_ref::<DataSourceExec>()?.downcast_to_file_source::<ParquetSource>()?;
    let filter = source.filter()?;
    let schema = source.table_schema().table_schema();
    let filters = split_conjunction(&filter).into_iter().map(Arc::clone);
    let is_first = |filter: &Arc<dyn PhysicalExpr>| {
        filter.downcast_ref::<DynamicFilterPhysicalExpr>().is_some() && is_narrow(filter, schema)
    };
    let (found, mut named): (Vec<_>, Vec<_>) = filters.partition(is_first);
    let wide = named.iter().position(|filter| !is_narrow(filter, schema))?;
    if found.is_empty() {
        return None;
    }
    named.splice(wide..wide, found);
    let source = source.with_predicate(conjunction(named));
    let config = FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source)).build();
    Some(DataSourceExec::from_data_source(config))
}

/// Whether an expression reads only columns whose values have one small size.
fn is_narrow(filter: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    let is_narrow = |name: &str| schema.field_with_name(name).is_ok_and(|field| field.data_type().is_primitive());
    collect_columns(filter).iter().all(|column| is_narrow(column.name()))
}
