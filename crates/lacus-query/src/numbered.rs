//! A table's committed rows with their places (which file, and which row of it), for statements that delete or replace rows.
//!
//! It is found under the table's name followed by [`NUMBERED`], and has two more columns. The lake reads the files, in order and
//! without deleted rows, so that a place means the same to it as here.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, Partitioning};
use futures::stream;
use lacus_lake::{FileRows, Lake, LiveFile, TableState};

use crate::cost::BYTES_SCANNED;
use crate::error::external;
use crate::pruning::files_to_read;
use crate::runs::runs_of;
use crate::table::projected;
use crate::writing::without_ids;

/// After the name of a table: its committed rows, with their places.
pub(crate) const NUMBERED: &str = "@w";
/// The column with the file's number among those of the state. No column of events has this name.
pub(crate) const FILE: &str = "_lacus_file";
/// The column with the row's number among those of the file that are not deleted.
pub(crate) const ROW: &str = "_lacus_row";

/// Whether a column is one of these.
pub(crate) fn is_place(name: &str) -> bool {
    name == FILE || name == ROW
}

/// After the name of a table: its columns and no rows, for those who plan rows for it.
pub(crate) const COLUMNS_ONLY: &str = "@c";

/// A table's columns with the types that the engine produces: without field ids inside.
pub(crate) struct ColumnsOnly {
    state: Arc<TableState>,
    schema: SchemaRef,
}

impl ColumnsOnly {
    pub(crate) fn new(state: Arc<TableState>) -> Self {
        let fields = state.arrow_schema.fields().iter();
        let fields: Vec<_> =
            fields.map(|field| field.as_ref().clone().with_data_type(without_ids(field.data_type()))).collect();
        Self { state, schema: Arc::new(Schema::new(fields)) }
    }

    /// The state that the columns are of.
    pub(crate) fn state(&self) -> &Arc<TableState> {
        &self.state
    }
}

impl fmt::Debug for ColumnsOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ColumnsOnly")
    }
}

#[async_trait]
impl TableProvider for ColumnsOnly {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(EmptyExec::new(projected(&self.schema, projection)?)))
    }
}

/// A table's committed rows with their places.
pub(crate) struct NumberedTable {
    lake: Arc<Lake>,
    state: Arc<TableState>,
    schema: SchemaRef,
}

impl NumberedTable {
    pub(crate) fn new(lake: Arc<Lake>, state: Arc<TableState>) -> Self {
        let places = [FILE, ROW].map(|name| Arc::new(Field::new(name, DataType::Int64, true)));
        let fields: Vec<_> = state.arrow_schema.fields().iter().cloned().chain(places).collect();
        Self { lake, state, schema: Arc::new(Schema::new(fields)) }
    }
}

impl fmt::Debug for NumberedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NumberedTable")
    }
}

#[async_trait]
impl TableProvider for NumberedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters say which files to read; rows are filtered above.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted = files_to_read(&self.state.files, &self.state.arrow_schema, filters, session)?;
        let wanted: HashSet<&str> = wanted.iter().map(|file| file.path.as_str()).collect();
        let numbered = (0..).zip(self.state.files.iter()).filter(|(_, file)| wanted.contains(file.path.as_str()));
        let files: Vec<(i64, LiveFile)> = numbered.map(|(number, file)| (number, file.clone())).collect();
        let schema = projected(&self.schema, projection)?;
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let is_read = |field: &&Arc<Field>| self.state.arrow_schema.fields().iter().any(|own| own == *field);
        let read = Schema::new(schema.fields().iter().filter(is_read).cloned().collect::<Vec<_>>());
        Ok(DataSourceExec::from_data_source(FilesSource {
            lake: Arc::clone(&self.lake),
            runs: runs_of(&files, session.config().target_partitions()),
            schema,
            read: Arc::new(read),
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }
}

/// Some files of a state, with their numbers.
#[derive(Clone)]
struct FilesSource {
    lake: Arc<Lake>,
    /// Runs of files, one for each partition of the plan.
    runs: Arc<[Vec<(i64, LiveFile)>]>,
    schema: SchemaRef,
    /// The columns that files have, among these.
    read: SchemaRef,
    metrics: ExecutionPlanMetricsSet,
}

/// A run of files that is being read.
struct Reading {
    source: FilesSource,
    partition: usize,
    left: std::vec::IntoIter<(i64, LiveFile)>,
    /// The open file, its number, and the number of its next row.
    open: Option<(FileRows, i64, i64)>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some((rows, file, first)) = &mut self.open
                && let Some(batch) = rows.next().await.map_err(external)?
            {
                let numbered = self.source.numbered(&batch, *file, *first)?;
                *first += i64::try_from(batch.num_rows()).map_err(external)?;
                return Ok(Some(numbered));
            }
            let Some((number, file)) = self.left.next() else { return Ok(None) };
            let rows = self.source.lake.file_rows(&file, &self.source.read).await.map_err(external)?;
            let metric = MetricBuilder::new(&self.source.metrics).with_new_label("filename", file.path.clone());
            metric.counter(BYTES_SCANNED, self.partition).add(usize::try_from(rows.bytes()).unwrap_or(usize::MAX));
            self.open = Some((rows, number, 0));
        }
    }
}

impl FilesSource {
    /// The rows with their places, as far as those are asked for.
    fn numbered(&self, rows: &RecordBatch, file: i64, first: i64) -> Result<RecordBatch> {
        let count = rows.num_rows();
        let mut read = rows.columns().iter();
        let columns = self.schema.fields().iter().map(|field| match field.name().as_str() {
            FILE => Some(Arc::new(Int64Array::from_value(file, count)) as ArrayRef),
            ROW => Some(Arc::new((first..).take(count).collect::<Int64Array>()) as ArrayRef),
            _ => read.next().cloned(),
        });
        let columns = columns.collect::<Option<Vec<_>>>();
        let columns = columns.ok_or_else(|| DataFusionError::Internal("a file lacks a column".to_owned()))?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

impl DataSource for FilesSource {
    fn open(&self, partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let left = self.runs.get(partition).cloned().unwrap_or_default().into_iter();
        let reading = Reading { source: self.clone(), partition, left, open: None };
        let batches = stream::try_unfold(reading, |mut reading| async move {
            Ok(reading.next().await?.map(|batch| (batch, reading)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)))
    }

    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "places of rows in {} files", self.runs.iter().map(Vec::len).sum::<usize>())
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(self.runs.len())
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        EquivalenceProperties::new(Arc::clone(&self.schema))
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let rows = |run: &Vec<(i64, LiveFile)>| run.iter().map(|(_, file)| file.live_rows()).sum::<u64>();
        let rows = match partition {
            Some(partition) => self.runs.get(partition).map_or(0, rows),
            None => self.runs.iter().map(rows).sum(),
        };
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Exact(usize::try_from(rows).unwrap_or(usize::MAX));
        Ok(Arc::new(statistics))
    }

    fn with_fetch(&self, _limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        None
    }

    fn fetch(&self) -> Option<usize> {
        None
    }

    fn metrics(&self) -> ExecutionPlanMetricsSet {
        self.metrics.clone()
    }

    fn try_swapping_with_projection(&self, _projection: &ProjectionExprs) -> Result<Option<Arc<dyn DataSource>>> {
        Ok(None)
    }
}

impl fmt::Debug for FilesSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FilesSource")
    }
}
