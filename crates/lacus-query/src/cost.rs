//! What a query costs: what its scans found to read when it was planned, and what they have read so far.
//!
//! A statement's session state carries a [`Scans`]; every scan of a table adds to it. `EXPLAIN COST` answers with that
//! and reads no rows. While a query runs, it is looked now and then what it has read ([`running`](crate::running)).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::SessionState;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricValue;
use lacus_core::Kind;
use lacus_core::settings::Price;

use crate::answer::QueryStats;
use crate::error::SqlError;
use crate::large_joins::OrSorted;

/// The metric of a plan's sources that counts bytes read.
pub(crate) const BYTES_SCANNED: &str = "bytes_scanned";
/// How often we look how much a query has read.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the scans of a statement found to read.
#[derive(Debug, Default)]
pub(crate) struct Scans {
    /// Whether bytes are counted by column, which needs the footers, and not by whole file.
    pub(crate) by_column: bool,
    files: AtomicU64,
    files_skipped: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
}

/// What one scan found to read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scan {
    pub(crate) files: u64,
    pub(crate) files_skipped: u64,
    /// Rows of files and of the hot tail.
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Scans {
    /// Makes a new one, to which the scans of the statement add.
    pub(crate) fn begin(state: &mut SessionState, by_column: bool) -> Arc<Self> {
        let scans = Arc::new(Self { by_column, ..Self::default() });
        state.config_mut().set_extension(Arc::clone(&scans));
        scans
    }

    pub(crate) fn add(&self, scan: Scan) {
        self.files.fetch_add(scan.files, Ordering::Relaxed);
        self.files_skipped.fetch_add(scan.files_skipped, Ordering::Relaxed);
        self.rows.fetch_add(scan.rows, Ordering::Relaxed);
        self.bytes.fetch_add(scan.bytes, Ordering::Relaxed);
    }

    /// Forgets what was counted, before a plan is made again.
    pub(crate) fn forget(&self) {
        for count in [&self.files, &self.files_skipped, &self.rows, &self.bytes] {
            count.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn files_skipped(&self) -> u64 {
        self.files_skipped.load(Ordering::Relaxed)
    }

    /// The answer to `EXPLAIN COST`.
    pub(crate) fn answer(&self, price: Price) -> Result<RecordBatch, SqlError> {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let whole = |number: &AtomicU64| -> ArrayRef {
            let number = i64::try_from(number.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
            Arc::new(Int64Array::from(vec![number]))
        };
        let dollars: ArrayRef = Arc::new(Float64Array::from(vec![price.of(bytes)]));
        let columns =
            vec![whole(&self.files), whole(&self.files_skipped), whole(&self.rows), whole(&self.bytes), dollars];
        RecordBatch::try_new(answer_schema(), columns)
            .map_err(|error| SqlError::new(Kind::Internal, "XX000", "tell what it costs").with_source(error))
    }
}

/// What `EXPLAIN COST` answers with.
pub(crate) fn answer_schema() -> SchemaRef {
    let whole = |name: &str| Field::new(name, DataType::Int64, false);
    let mut fields = ["files", "files_skipped", "rows", "bytes"].map(whole).to_vec();
    fields.push(Field::new("dollars", DataType::Float64, false));
    Arc::new(Schema::new(fields))
}

/// Adds what a plan has read by now.
pub(crate) fn add_scanned(plan: &Arc<dyn ExecutionPlan>, stats: &mut QueryStats) {
    let mut files = BTreeSet::new();
    add_scans(plan, stats, &mut files);
    stats.files_scanned = files.len() as u64;
}

fn add_scans(plan: &Arc<dyn ExecutionPlan>, stats: &mut QueryStats, files: &mut BTreeSet<String>) {
    if let Some(either) = plan.downcast_ref::<OrSorted>() {
        stats.bytes_scanned += either.bytes_before();
        return add_scans(&either.running(), stats, files);
    }
    let metrics = plan.metrics().unwrap_or_default();
    for metric in metrics.iter() {
        match metric.value() {
            value if value.name() == BYTES_SCANNED => {
                let bytes = value.as_usize() as u64;
                stats.bytes_scanned += bytes;
                let file = metric.labels().iter().find(|label| label.name() == "filename");
                if let Some(file) = file.filter(|_| bytes > 0) {
                    files.insert(file.value().to_owned());
                }
            }
            MetricValue::PruningMetrics { name, pruning_metrics } if ROW_GROUPS.contains(&name.as_ref()) => {
                stats.row_groups_skipped += pruning_metrics.pruned() as u64;
            }
            _ => {}
        }
    }
    for child in plan.children() {
        add_scans(child, stats, files);
    }
}

/// The metrics that count pruned row groups.
const ROW_GROUPS: [&str; 3] =
    ["row_groups_pruned_statistics", "row_groups_pruned_bloom_filter", "limit_pruned_row_groups"];
