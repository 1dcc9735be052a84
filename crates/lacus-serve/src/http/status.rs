//! `GET /v1/status`: how far each stream is, and what the lake holds.

use axum::Json;
use axum::extract::State;
use lacus_flow::DeliveryStatus;
use lacus_lake::Lake;
use serde::Serialize;

use super::Routes;

/// The whole of it.
#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    streams: Vec<StreamStatus>,
    lake: LakeStatus,
}

/// One stream and its table. Counts are events since the stream was made.
#[derive(Serialize)]
struct StreamStatus {
    stream: String,
    acknowledged: u64,
    visible: u64,
    committed: u64,
    tail_bytes: u64,
    freshness_p50_ms: f64,
    freshness_p99_ms: f64,
    files: u64,
    file_bytes: u64,
    metadata_location: Option<String>,
    error: Option<String>,
}

/// All tables together.
#[derive(Serialize)]
struct LakeStatus {
    tables: u64,
    files: u64,
    rows: u64,
    bytes: u64,
    raw_files: u64,
    raw_bytes: u64,
    raw_records: u64,
}

pub(super) async fn answer(State(routes): State<Routes>) -> Json<Status> {
    let stats = routes.lake.stats();
    let streams = routes.deliveries.status().into_iter().map(|status| with_files(status, &routes.lake)).collect();
    let lake = LakeStatus {
        tables: stats.tables,
        files: stats.files,
        rows: stats.rows,
        bytes: stats.bytes,
        raw_files: stats.raw_files,
        raw_bytes: stats.raw_bytes,
        raw_records: stats.raw_records,
    };
    Json(Status { version: env!("CARGO_PKG_VERSION"), streams, lake })
}

fn with_files(status: DeliveryStatus, lake: &Lake) -> StreamStatus {
    let state = lake.table(&status.stream.table()).map(|table| table.state());
    let files = state.iter().flat_map(|state| state.files.iter());
    let (count, bytes) = files.fold((0, 0), |(count, bytes), file| (count + 1, bytes + file.bytes));
    StreamStatus {
        stream: status.stream.to_string(),
        acknowledged: status.acknowledged,
        visible: status.visible,
        committed: status.committed,
        tail_bytes: status.tail_bytes,
        freshness_p50_ms: status.freshness_p50_ms,
        freshness_p99_ms: status.freshness_p99_ms,
        files: count,
        file_bytes: bytes,
        metadata_location: state.map(|state| state.metadata_location.clone()),
        error: status.error,
    }
}
