//! The hot tail as a source of rows: batches in memory, read as columns of the table as it is now.
//!
//! Batches decoded before a column was found lack it; they are brought to the table's schema one by one while they are
//! read, and only in the columns that are asked for.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::datasource::source::DataSource;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, Partitioning};
use futures::stream;
use lacus_lake::conform::conform;
use lacus_lake::{TableState, TailBatch};

use crate::cost::BYTES_SCANNED;
use crate::runs::runs_of;
use crate::table::projected;

/// The tail of a table's state, in some of its columns.
#[derive(Debug, Clone)]
pub(crate) struct TailSource {
    /// Contiguous runs of the tail, one for each partition of the plan.
    runs: Arc<[Vec<Arc<TailBatch>>]>,
    table: SchemaRef,
    projection: Option<Vec<usize>>,
    schema: SchemaRef,
    rows: usize,
    fetch: Option<usize>,
    metrics: ExecutionPlanMetricsSet,
}

impl TailSource {
    /// The tail of a state, in these columns of `schema`.
    pub(crate) fn new(
        state: &TableState,
        schema: &SchemaRef,
        projection: Option<&Vec<usize>>,
        partitions: usize,
        fetch: Option<usize>,
    ) -> Result<Self> {
        Ok(Self {
            runs: runs_of(&state.tail, partitions),
            table: Arc::clone(schema),
            projection: projection.cloned(),
            schema: projected(schema, projection)?,
            rows: state.tail.iter().map(|batch| batch.rows.num_rows()).sum(),
            fetch,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// The batch in the requested columns.
    fn read(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        if self.schema.fields().is_empty() {
            let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            return Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), Vec::new(), &rows)?);
        }
        match &self.projection {
            Some(columns) if batch.schema_ref() == &self.table => Ok(batch.project(columns)?),
            None if batch.schema_ref() == &self.table => Ok(batch.clone()),
            _ => conform(batch, &self.schema).map_err(|error| DataFusionError::External(error.into())),
        }
    }
}

impl DataSource for TailSource {
    fn open(&self, partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let source = self.clone();
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let bytes: Count = MetricBuilder::new(&self.metrics).counter(BYTES_SCANNED, partition);
        let mut left = self.fetch.unwrap_or(usize::MAX);
        let mut next = 0;
        let batches = stream::iter(std::iter::from_fn(move || {
            let batch = source.runs[partition].get(next).filter(|_| left > 0)?;
            next += 1;
            let timer = baseline.elapsed_compute().timer();
            let rows = source.read(&batch.rows).map(|rows| rows.slice(0, rows.num_rows().min(left)));
            timer.done();
            if let Ok(rows) = &rows {
                left -= rows.num_rows();
                baseline.record_output(rows.num_rows());
                bytes.add(rows.columns().iter().map(|column| used_bytes(column)).sum());
            }
            Some(rows)
        }));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)))
    }

    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hot tail: {} rows in {} partitions", self.rows, self.runs.len())
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(self.runs.len())
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        EquivalenceProperties::new(Arc::clone(&self.schema))
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let rows = match partition {
            Some(partition) => self.runs[partition].iter().map(|batch| batch.rows.num_rows()).sum(),
            None => self.rows,
        };
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = match self.fetch {
            Some(fetch) if fetch < rows => Precision::Inexact(fetch),
            _ => Precision::Exact(rows),
        };
        Ok(Arc::new(statistics))
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        Some(Arc::new(Self { fetch: limit, ..self.clone() }))
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn metrics(&self) -> ExecutionPlanMetricsSet {
        self.metrics.clone()
    }

    fn try_swapping_with_projection(&self, _projection: &ProjectionExprs) -> Result<Option<Arc<dyn DataSource>>> {
        Ok(None)
    }
}

/// The bytes of a column's rows, not counting memory that it shares with other slices.
pub(crate) fn used_bytes(column: &dyn Array) -> usize {
    column.to_data().get_slice_memory_size().unwrap_or(0)
}
