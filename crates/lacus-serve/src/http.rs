//! Asking over HTTP: SQL, status, flush, health.
//!
//! | | |
//! |---|---|
//! | `POST /v1/sql` | a statement, and its answer as it comes (see [`sql`]) |
//! | `POST /v1/tables/{table}/flush` | commits what was acknowledged, and says what was written |
//! | `/v1/tables/{table}/tags`, `…/rollback` | names for snapshots, and the way back to one (see [`tables`]) |
//! | `POST /v1/erase` | what is known of somebody leaves the lake (see [`erase`]) |
//! | `/v1/tables/{table}/proposals`, `…/replay` | what did not fit, and what becomes of it (see [`misfits`]) |
//! | `GET /v1/status` | deliveries, lake and log |
//! | `/v1/users/…` | who may ask over the Postgres protocol (see [`users`]) |
//! | `/v1/streams/…` | streams: make, reshard, read, follow (see [`streams`]) |
//! | `/iceberg/v1/…` | the Iceberg REST catalog (see [`iceberg`]) |
//! | `/{bucket}/…` | the files of a lake that is served (see [`files`]) |
//! | `GET /livez` | the process answers |
//! | `GET /readyz` | it takes events, and answers questions: what the log had at start is visible |

mod bodies;
mod erase;
mod files;
mod iceberg;
mod misfits;
mod object;
mod pass;
mod refusal;
mod sql;
mod streams;
mod tables;
mod users;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use lacus_core::{Budget, Clock, Error, StreamName, TableName, Timestamp};
use lacus_flow::{Deliveries, DeliveryStatus};
use lacus_lake::{CommitReport, GlueStatus, Lake, LakeStats};
use lacus_query::{Engine, SQL_BYTES_MAX};
use lacus_stream::Log;
use serde::Serialize;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};

use crate::engines::Engines;
use crate::http::bodies::BODIES_BYTES_MAX;
use crate::http::refusal::Refusal;
use crate::http::streams::Room;
use crate::users::Users;

pub use self::files::{is_in_bucket, is_signed_for_files, with_files};
pub use self::pass::Pass;

/// The most queries over HTTP that run at the same time; others wait a while for their turn.
const QUERIES_MAX: usize = 64;

/// What is asked about.
pub struct Served {
    /// Answers SQL.
    pub engine: Engine,
    /// Bring events to tables.
    pub deliveries: Deliveries,
    /// The tables.
    pub lake: Arc<Lake>,
    /// The log.
    pub log: Log,
    /// Who may ask over the Postgres protocol.
    pub users: Arc<Users>,
    /// The keys of engines on other machines.
    pub engines: Arc<Engines>,
    /// The address at which engines find the files; without it, the one at which they reached us.
    pub address: Option<String>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Marks a request that comes from another machine.
#[derive(Debug, Clone, Copy)]
pub struct Elsewhere;

struct Inner {
    served: Served,
    started: Timestamp,
    queries: Arc<Semaphore>,
    /// The memory for bodies of requests.
    bodies: Budget,
    /// The memory for records that are read.
    records: Room,
    /// Held while events are erased: one erasure at a time.
    erasing: AsyncMutex<()>,
    /// Set once everything that was in the log at start is visible.
    was_ready: AtomicBool,
}

type Shared = Arc<Inner>;

/// The routes of this module.
pub fn router(served: Served) -> Router {
    let inner = Inner {
        started: served.clock.now(),
        served,
        queries: Arc::new(Semaphore::new(QUERIES_MAX)),
        bodies: Budget::new(BODIES_BYTES_MAX),
        records: Room::new(),
        erasing: AsyncMutex::default(),
        was_ready: AtomicBool::new(false),
    };
    let shared = Arc::new(inner);
    Router::new()
        // The JSON around a statement may take as much as the statement itself.
        .route("/v1/sql", post(sql::answer).layer(DefaultBodyLimit::max(2 * SQL_BYTES_MAX)))
        .route("/v1/tables/{table}/flush", post(flush))
        .route("/v1/status", get(status))
        .route("/v1/erase", post(erase::erase))
        .merge(streams::routes())
        .merge(tables::routes())
        .merge(misfits::routes())
        .merge(users::routes())
        .route("/livez", get(|| async { Json(Health { status: "alive" }) }))
        .route("/readyz", get(ready))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), within_budget))
        .merge(iceberg::routes(&shared))
        .with_state(shared)
}

/// Answers a request if there is memory for its body.
async fn within_budget(State(inner): State<Shared>, request: Request, next: Next) -> Response {
    let answered = bodies::answer(&inner.bodies, request, |request| next.run(request)).await;
    answered.unwrap_or_else(|error| Refusal::from(error).into_response())
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

async fn ready(State(inner): State<Shared>) -> Result<Json<Health>, Refusal> {
    if inner.served.log.is_closed() {
        return Err(Error::unavailable("the log is closed: no event is taken")
            .with_hint("restart lacus: everything acknowledged is in the log")
            .into());
    }
    if !inner.was_ready.load(Ordering::Relaxed) {
        let behind: u64 = inner
            .served
            .deliveries
            .status()
            .iter()
            // A stuck delivery does not stop queries about other streams; the status tells of it.
            .filter(|delivery| delivery.error.is_none())
            .map(|delivery| delivery.acknowledged.saturating_sub(delivery.visible))
            .sum();
        if behind > 0 {
            return Err(Error::unavailable(format!("{behind} events of the log are not visible yet")).into());
        }
        inner.was_ready.store(true, Ordering::Relaxed);
    }
    Ok(Json(Health { status: "ready" }))
}

#[derive(Serialize)]
struct Flushed {
    table: String,
    rows: u64,
    parquet_bytes: u64,
    raw_bytes: u64,
}

async fn flush(
    State(inner): State<Shared>,
    table: Result<Path<String>, PathRejection>,
) -> Result<Json<Flushed>, Refusal> {
    let Path(table) = table.map_err(|error| Error::invalid(error.body_text()))?;
    let table = TableName::new(&table)?;
    let CommitReport { rows, parquet_bytes, raw_bytes } = inner.served.deliveries.flush(&table).await?;
    Ok(Json(Flushed { table: table.to_string(), rows, parquet_bytes, raw_bytes }))
}

#[derive(Serialize)]
struct Status {
    version: &'static str,
    uptime_ms: u64,
    streams: Vec<StreamStatus>,
    lake: LakeStatus,
    /// The mirror in AWS Glue, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    glue: Option<MirrorStatus>,
    log: LogStatus,
}

#[derive(Serialize)]
struct StreamStatus {
    stream: String,
    acknowledged: u64,
    visible: u64,
    committed: u64,
    duplicates: u64,
    freshness_p50_ms: f64,
    freshness_p99_ms: f64,
    files: u64,
    file_bytes: u64,
    tail_bytes: u64,
    shards: Vec<ShardStatus>,
    error: Option<String>,
}

#[derive(Serialize)]
struct ShardStatus {
    shard: u32,
    open: bool,
    acknowledged: u64,
    visible: u64,
    committed: u64,
}

#[derive(Serialize)]
struct LakeStatus {
    tables: u64,
    files: u64,
    rows: u64,
    bytes: u64,
    raw_files: u64,
    raw_bytes: u64,
    raw_records: u64,
    merged_files: u64,
    merged_bytes: u64,
}

#[derive(Serialize)]
struct MirrorStatus {
    current: u64,
    behind: u64,
    changes: u64,
    failures: u64,
    error: Option<String>,
}

#[derive(Serialize)]
struct LogStatus {
    records: u64,
    bytes: u64,
    groups: u64,
    refused_groups: u64,
    in_flight_bytes: u64,
    segments: u64,
    disk_bytes: u64,
    sync_micros_p50: u64,
    sync_micros_p99: u64,
}

async fn status(State(inner): State<Shared>) -> Json<Status> {
    let Served { deliveries, lake, log, clock, .. } = &inner.served;
    let files = files_by_stream(lake);
    let streams = deliveries.status().into_iter().map(|delivery| {
        let (files, file_bytes) = files.get(&delivery.stream).copied().unwrap_or_default();
        stream_status(delivery, files, file_bytes)
    });
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_ms: clock.now().millis_since(inner.started),
        streams: streams.collect(),
        lake: lake.stats().into(),
        glue: lake.glue().and_then(|glue| glue.status()).map(MirrorStatus::from),
        log: log.stats().into(),
    })
}

/// The number of files and their bytes, over all tables of each stream.
fn files_by_stream(lake: &Lake) -> BTreeMap<StreamName, (u64, u64)> {
    let mut by_stream: BTreeMap<StreamName, (u64, u64)> = BTreeMap::new();
    for table in lake.tables() {
        let state = table.state();
        let (files, bytes) = by_stream.entry(table.name().stream()).or_default();
        *files += state.files.len() as u64;
        *bytes += state.files.iter().map(|file| file.bytes).sum::<u64>();
    }
    by_stream
}

fn stream_status(delivery: DeliveryStatus, files: u64, file_bytes: u64) -> StreamStatus {
    StreamStatus {
        stream: delivery.stream.to_string(),
        acknowledged: delivery.acknowledged,
        visible: delivery.visible,
        committed: delivery.committed,
        duplicates: delivery.duplicates,
        freshness_p50_ms: delivery.freshness_p50_ms,
        freshness_p99_ms: delivery.freshness_p99_ms,
        files,
        file_bytes,
        tail_bytes: delivery.tail_bytes,
        shards: delivery.shards.into_iter().map(ShardStatus::from).collect(),
        error: delivery.error,
    }
}

impl From<lacus_flow::ShardStatus> for ShardStatus {
    fn from(status: lacus_flow::ShardStatus) -> Self {
        let lacus_flow::ShardStatus { shard, is_open, acknowledged, visible, committed } = status;
        Self { shard: shard.0, open: is_open, acknowledged, visible, committed }
    }
}

impl From<LakeStats> for LakeStatus {
    fn from(stats: LakeStats) -> Self {
        let LakeStats { tables, files, rows, bytes, raw_files, raw_bytes, raw_records, merged_files, merged_bytes } =
            stats;
        Self { tables, files, rows, bytes, raw_files, raw_bytes, raw_records, merged_files, merged_bytes }
    }
}

impl From<GlueStatus> for MirrorStatus {
    fn from(status: GlueStatus) -> Self {
        let GlueStatus { current, behind, changes, failures, error } = status;
        Self { current, behind, changes, failures, error }
    }
}

impl From<lacus_stream::Stats> for LogStatus {
    fn from(stats: lacus_stream::Stats) -> Self {
        Self {
            records: stats.records,
            bytes: stats.bytes,
            groups: stats.groups,
            refused_groups: stats.refused_groups,
            in_flight_bytes: stats.in_flight_bytes,
            segments: stats.segments,
            disk_bytes: stats.disk_bytes,
            sync_micros_p50: stats.sync_micros_p50,
            sync_micros_p99: stats.sync_micros_p99,
        }
    }
}

#[cfg(test)]
mod tests;
