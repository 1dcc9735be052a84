//! Files that are counted and not read: `SELECT event_name, count(*) … GROUP BY event_name` where files are partitioned by `event_name`.
//!
//! All rows of such a file are the same in the columns that are asked for, and their number stands in the manifest. So it gives one
//! row with the number of those that it stands for, and what was counted is summed. Other rows stand for themselves: those of
//! the hot tail, of files with deleted rows, and of files that are partitioned otherwise.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DataFusionError, Result, Statistics, internal_datafusion_err};
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{
    Aggregate, Expr, Filter, LogicalPlan, Projection, SubqueryAlias, TableProviderFilterPushDown, TableScan, TableType,
    lit, when,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::physical_expr::expressions::{Literal, col};
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, Partitioning};
use datafusion::scalar::ScalarValue;
use futures::stream;
use lacus_lake::{LiveFile, TableState};

use crate::beside_distinct::{named, place_of};
use crate::cost::{Scan, Scans};
use crate::pruning::{files_to_read, only_value};
use crate::table::{LakeTable, projected};

/// What the column is called that says how many rows a row stands for: a name that nobody gives.
const ROWS: &str = "rows#";

/// Has aggregates count files. It has to come last: then plans have no more columns than they need.
#[derive(Debug)]
pub(crate) struct CountedFiles;

impl OptimizerRule for CountedFiles {
    fn name(&self) -> &str {
        "counted_files"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else { return Ok(Transformed::no(plan)) };
        match with_sums(aggregate)? {
            Some(sums) => Ok(Transformed::yes(sums)),
            None => Ok(Transformed::no(plan)),
        }
    }
}

/// The same groups of rows that stand for others. None if there are no such rows, or if more is asked of them than their number.
fn with_sums(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let mut exprs = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
    if !exprs.all(is_of_its_row) || !aggregate.aggr_expr.iter().all(is_of_alike) {
        return Ok(None);
    }
    let Some(input) = with_rows(&aggregate.input)? else { return Ok(None) };
    let rows = last_column(&input);
    let (mut needed, mut places) = (Vec::new(), Vec::with_capacity(aggregate.aggr_expr.len()));
    for expr in &aggregate.aggr_expr {
        let needs = match counted(expr) {
            Some(counted) => sum(rows_with(counted, &rows)?),
            None => expr.clone(),
        };
        let Some(place) = place_of(needs, &mut needed) else { return Ok(None) };
        places.push(place);
    }
    let summed = Aggregate::try_new(Arc::new(input), aggregate.group_expr.clone(), needed)?;
    let (groups, summed) = (aggregate.group_expr.len(), LogicalPlan::Aggregate(summed));
    let column = |place: usize| Expr::Column(Column::from(summed.schema().qualified_field(place)));
    let mut values: Vec<Expr> = (0..groups).map(column).collect();
    for (place, expr) in places.into_iter().zip(&aggregate.aggr_expr) {
        let value = column(groups + place);
        values.push(match counted(expr) {
            // Of no rows there is no sum.
            Some(_) => when(value.clone().is_not_null(), value).otherwise(lit(0_i64))?,
            None => value,
        });
    }
    named(summed, values, &aggregate.schema).map(Some)
}

/// Whether a value follows from the columns of its row alone: rows that are alike have the same.
fn is_of_its_row(expr: &Expr) -> bool {
    let is_of_more = |expr: &Expr| {
        Ok(matches!(
            expr,
            Expr::OuterReferenceColumn(..)
                | Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::GroupingSet(_)
                | Expr::WindowFunction(_)
                | Expr::Unnest(_)
        ))
    };
    !expr.is_volatile() && !expr.exists(is_of_more).unwrap_or(true)
}

/// Whether an aggregate is the same of rows that are alike and of one that stands for them, once its number is looked at.
fn is_of_alike(expr: &Expr) -> bool {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = expr else { return false };
    let is_plain = params.filter.is_none() && params.order_by.is_empty() && params.args.len() == 1;
    is_plain && matches!(func.name(), "count" | "min" | "max")
}

/// What an aggregate counts, if it counts rows.
fn counted(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::AggregateFunction(AggregateFunction { func, params }) if func.name() == "count" && !params.distinct => {
            params.args.first()
        }
        _ => None,
    }
}

/// How many of the rows that a row stands for have such a value.
fn rows_with(counted: &Expr, rows: &Expr) -> Result<Expr> {
    match counted {
        Expr::Literal(value, _) if !value.is_null() => Ok(rows.clone()),
        counted => when(counted.clone().is_null(), lit(0_i64)).otherwise(rows.clone()),
    }
}

fn last_column(plan: &LogicalPlan) -> Expr {
    let schema = plan.schema();
    Expr::Column(Column::from(schema.qualified_field(schema.fields().len() - 1)))
}

/// The rows of a plan with one column more, the last: how many rows of the table each stands for. None if no file is counted, or if
/// the plan looks at more than one row.
fn with_rows(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let input = match plan {
        LogicalPlan::TableScan(scan) => return scan_of_counted(scan),
        LogicalPlan::Projection(Projection { input, .. })
        | LogicalPlan::Filter(Filter { input, .. })
        | LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => input,
        _ => return Ok(None),
    };
    let mut exprs = plan.expressions();
    if !exprs.iter().all(is_of_its_row) {
        return Ok(None);
    }
    let Some(input) = with_rows(input)? else { return Ok(None) };
    if matches!(plan, LogicalPlan::Projection(_)) {
        exprs.push(last_column(&input));
    }
    plan.with_new_exprs(exprs, vec![input]).map(Some)
}

/// A scan of no columns is left as it is: the engine knows how many rows there are.
fn scan_of_counted(scan: &TableScan) -> Result<Option<LogicalPlan>> {
    let columns = scan.projection.as_ref().filter(|columns| !columns.is_empty() && scan.fetch.is_none());
    let Some((columns, provider)) = columns.zip(source_as_provider(&scan.source).ok()) else { return Ok(None) };
    let counted = provider.downcast_ref::<LakeTable>().and_then(|table| CountedTable::new(table, columns));
    let Some(counted) = counted else { return Ok(None) };
    let columns = columns.iter().copied().chain([counted.rows_place()]).collect();
    let source = provider_as_source(Arc::new(counted));
    let scan = TableScan::try_new(scan.table_name.clone(), source, Some(columns), scan.filters.clone(), None)?;
    Ok(Some(LogicalPlan::TableScan(scan)))
}

/// A table, some of whose files are counted.
#[derive(Debug)]
struct CountedTable {
    counted: Vec<LiveFile>,
    /// The table with the other files.
    rest: LakeTable,
    /// The columns of the table, and [`ROWS`].
    schema: SchemaRef,
}

impl CountedTable {
    /// Counts the files of a table that have one value in each of these columns. None if it has none.
    fn new(table: &LakeTable, columns: &[usize]) -> Option<Self> {
        let (state, schema) = (table.state(), table.schema());
        if schema.field_with_name(ROWS).is_ok() {
            return None;
        }
        let columns: Vec<&FieldRef> = columns.iter().filter_map(|column| schema.fields().get(*column)).collect();
        let is_counted = |file: &LiveFile| {
            file.deleted.is_empty() && columns.iter().all(|column| only_value(file, column).is_some())
        };
        if !state.files.iter().any(is_counted) {
            return None;
        }
        let (mut counted, read): (Vec<_>, Vec<_>) = state.files.iter().cloned().partition(is_counted);
        // Nothing is a group of no rows.
        counted.retain(|file| file.rows > 0);
        let rest = LakeTable::new(Arc::new(TableState { files: read.into(), ..state.clone() }));
        let rows = Arc::new(Field::new(ROWS, DataType::Int64, false));
        let fields: Vec<FieldRef> = schema.fields().iter().cloned().chain([rows]).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
        Some(Self { counted, rest, schema })
    }

    fn rows_place(&self) -> usize {
        self.schema.fields().len() - 1
    }
}

#[async_trait]
impl TableProvider for CountedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// As of the table itself.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.rest.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = projected(&self.schema, projection)?;
        let counted = files_to_read(&self.counted, &self.rest.state().arrow_schema, filters, session)?;
        if let Some(scans) = session.config().get_extension::<Scans>() {
            scans.add(Scan { files_skipped: self.counted.len() as u64, ..Scan::default() });
        }
        let counts = Counts { files: counted.len(), rows: rows_of(&counted, &schema)? };
        let counts: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(counts);
        let is_own = |column: &usize| *column != self.rows_place();
        let columns: Option<Vec<usize>> = projection.map(|columns| columns.iter().copied().filter(is_own).collect());
        let rest = self.rest.scan(session, columns.as_ref(), filters, None).await?;
        if rest.is::<EmptyExec>() {
            return Ok(counts);
        }
        UnionExec::try_new(vec![counts, one_by_one(rest, &schema)?])
    }
}

/// Rows that stand for themselves.
fn one_by_one(rows: Arc<dyn ExecutionPlan>, schema: &Schema) -> Result<Arc<dyn ExecutionPlan>> {
    let own = rows.schema();
    let columns = schema.fields().iter().map(|field| -> Result<(Arc<dyn PhysicalExpr>, String)> {
        let value: Arc<dyn PhysicalExpr> = match field.name() == ROWS {
            true => Arc::new(Literal::new(ScalarValue::Int64(Some(1)))),
            false => col(field.name(), &own)?,
        };
        Ok((value, field.name().clone()))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(ProjectionExec::try_new(columns, rows)?))
}

/// A row for each of these files.
fn rows_of(files: &[&LiveFile], schema: &SchemaRef) -> Result<RecordBatch> {
    if files.is_empty() {
        return Ok(RecordBatch::new_empty(Arc::clone(schema)));
    }
    let columns = schema.fields().iter().map(|column| -> Result<ArrayRef> {
        let values = files.iter().map(|file| value_of(file, column));
        ScalarValue::iter_to_array(values.collect::<Result<Vec<_>>>()?)
    });
    let options = RecordBatchOptions::new().with_row_count(Some(files.len()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns.collect::<Result<_>>()?, &options)?)
}

/// What the row of a file has in a column.
fn value_of(file: &LiveFile, column: &Field) -> Result<ScalarValue> {
    if column.name() == ROWS {
        let rows = i64::try_from(file.rows).map_err(|error| DataFusionError::External(error.into()))?;
        return Ok(ScalarValue::Int64(Some(rows)));
    }
    only_value(file, column)
        .ok_or_else(|| internal_datafusion_err!("the rows of {} differ in column {}", file.path, column.name()))
}

/// The rows of files that are counted.
#[derive(Debug, Clone)]
struct Counts {
    files: usize,
    rows: RecordBatch,
}

impl DataSource for Counts {
    fn open(&self, _partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = stream::iter([Ok(self.rows.clone())]);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.rows.schema(), rows)))
    }

    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "counts of rows in {} files", self.files)
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(1)
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        EquivalenceProperties::new(self.rows.schema())
    }

    fn partition_statistics(&self, _partition: Option<usize>) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.rows.schema());
        statistics.num_rows = Precision::Exact(self.rows.num_rows());
        Ok(Arc::new(statistics))
    }

    fn with_fetch(&self, _limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        None
    }

    fn fetch(&self) -> Option<usize> {
        None
    }

    fn try_swapping_with_projection(&self, _projection: &ProjectionExprs) -> Result<Option<Arc<dyn DataSource>>> {
        Ok(None)
    }
}
