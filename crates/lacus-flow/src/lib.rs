//! What must keep happening: deliveries from the log to tables.
//!
//! A delivery is a function of (log, last commit): kill it anywhere, start it again, and the tables hold the same rows.

use std::sync::Arc;

use lacus_core::{Clock, Result, StreamName, TableName, settings};
use lacus_lake::{CommitReport, Lake};
use lacus_stream::Log;

/// One delivery per stream, running. Cheap to clone.
#[derive(Clone)]
pub struct Deliveries {}

/// How far one delivery is. Counts are records over all partitions since the stream was made.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryStatus {
    /// The stream, and the name of its table.
    pub stream: StreamName,
    /// Records on disk in the log.
    pub acknowledged: u64,
    /// Records that SQL sees (or that are in quarantine).
    pub visible: u64,
    /// Records in committed files.
    pub committed: u64,
    /// Memory that visible, uncommitted rows take.
    pub tail_bytes: u64,
    /// Time from acknowledgement to visibility of recent records: median, in milliseconds.
    pub freshness_p50_ms: f64,
    /// The same, 99th percentile.
    pub freshness_p99_ms: f64,
    /// Why the last attempt failed, while it is being retried.
    pub error: Option<String>,
}

#[expect(clippy::todo, clippy::unused_async, clippy::needless_pass_by_value, reason = "skeleton")]
impl Deliveries {
    /// Starts a delivery for every stream of the log, and for each one made later.
    ///
    /// # Errors
    /// If a table can't be made.
    pub async fn start(log: Log, lake: Arc<Lake>, settings: settings::Delivery, clock: Arc<dyn Clock>) -> Result<Self> {
        let _ = (log, lake, settings, clock);
        todo!()
    }

    /// Waits until every record acknowledged before this call is visible to SQL.
    ///
    /// # Errors
    /// Why a delivery can't go on.
    pub async fn caught_up(&self) -> Result<()> {
        todo!()
    }

    /// Commits everything of `table` that was acknowledged before this call.
    ///
    /// # Errors
    /// `NotFound` for a table that no stream feeds; why the commit failed.
    pub async fn flush(&self, table: &TableName) -> Result<CommitReport> {
        let _ = table;
        todo!()
    }

    /// How far each delivery is, by stream name.
    #[must_use]
    pub fn status(&self) -> Vec<DeliveryStatus> {
        todo!()
    }

    /// Commits nothing more and ends: what is visible but not committed is delivered again from the log at next start.
    pub async fn stop(&self) {
        todo!()
    }
}
