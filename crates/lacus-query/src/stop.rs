//! A barrier in a plan, which projections and filters are not pushed past while a rule is at work.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::filter_pushdown::{ChildFilterDescription, FilterDescription, FilterPushdownPhase};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

/// Passes its input through. Projections stay above; filters pass only if they use nothing but the `open` columns, and of these no
/// lists.
#[derive(Debug)]
pub(crate) struct Stop {
    input: Arc<dyn ExecutionPlan>,
    open: HashSet<usize>,
}

impl Stop {
    pub(crate) fn above(input: Arc<dyn ExecutionPlan>, open: HashSet<usize>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { input, open })
    }
}

impl DisplayAs for Stop {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stop")
    }
}

impl ExecutionPlan for Stop {
    fn name(&self) -> &str {
        "Stop"
    }

    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Self::above(input, self.open.clone())),
            _ => internal_err!("a stop has one input"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        self.input.partition_statistics(partition)
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        let schema = self.input.schema();
        let mut open = self.open.clone();
        for filter in &filters {
            listed_columns(filter, &schema)?.iter().for_each(|column| _ = open.remove(column));
        }
        let below = ChildFilterDescription::from_child_with_allowed_indices(&filters, open, &self.input)?;
        Ok(FilterDescription::new().with_child(below))
    }
}

/// The columns that a filter takes lists or maps from.
fn listed_columns(filter: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<HashSet<usize>> {
    let mut columns = HashSet::new();
    filter.apply(|part| {
        if part.data_type(schema).is_ok_and(|kind| is_list(&kind)) {
            columns.extend(collect_columns(part).iter().map(Column::index));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(columns)
}

/// Whether values of this type are lists or maps, or have some in them.
pub(crate) fn has_lists(kind: &DataType) -> bool {
    match kind {
        DataType::Struct(fields) => fields.iter().any(|field| has_lists(field.data_type())),
        kind => is_list(kind),
    }
}

fn is_list(kind: &DataType) -> bool {
    use DataType::{FixedSizeList, LargeList, LargeListView, List, ListView, Map};
    matches!(kind, List(_) | LargeList(_) | ListView(_) | LargeListView(_) | FixedSizeList(..) | Map(..))
}

/// Removes the stops, before the rules that run between the static and the dynamic filters.
#[derive(Debug)]
pub(crate) struct NoStops;

impl PhysicalOptimizerRule for NoStops {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| match plan.downcast_ref::<Stop>() {
            Some(stop) => Ok(Transformed::yes(Arc::clone(&stop.input))),
            None => Ok(Transformed::no(plan)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "no_stops"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
