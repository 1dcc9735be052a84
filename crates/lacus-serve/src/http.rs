//! Asking over HTTP: SQL, status, flush, health.
//!
//! Rows are streamed as they come, so an answer costs no more memory than a few batches. Nothing here authenticates:
//! the settings let lacus listen on loopback only.

mod sql;
mod status;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use lacus_core::{Error, TableName};
use lacus_flow::Deliveries;
use lacus_lake::Lake;
use lacus_query::{Engine, SqlError};
use serde::Serialize;
use tokio::sync::Semaphore;

/// The longest SQL request, in bytes.
pub(crate) const SQL_BYTES_MAX: usize = 1 << 20;
/// The most queries that run at once over HTTP; more are asked to come back.
const QUERIES_MAX: usize = 64;

/// What the routes answer from.
#[derive(Clone)]
struct Routes {
    engine: Engine,
    deliveries: Deliveries,
    lake: Arc<Lake>,
    queries: Arc<Semaphore>,
}

/// The routes for those who ask: `/v1/sql`, `/v1/status`, `/v1/tables/{table}/flush`, `/livez`, `/readyz`.
#[must_use]
pub fn router(engine: Engine, deliveries: Deliveries, lake: Arc<Lake>) -> Router {
    let routes = Routes { engine, deliveries, lake, queries: Arc::new(Semaphore::new(QUERIES_MAX)) };
    Router::new()
        .route("/v1/sql", post(sql::answer).layer(DefaultBodyLimit::max(SQL_BYTES_MAX)))
        .route("/v1/status", get(status::answer))
        .route("/v1/tables/{table}/flush", post(flush))
        .route("/livez", get(|| async { Json(Health { status: "live" }) }))
        .route("/readyz", get(ready))
        .with_state(routes)
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

/// Ready means: what is acknowledged becomes visible. A delivery that fails is retried, and told here meanwhile.
async fn ready(State(routes): State<Routes>) -> Response {
    let failing = routes.deliveries.status().into_iter().find_map(|status| Some((status.stream, status.error?)));
    match failing {
        None => Json(Health { status: "ready" }).into_response(),
        Some((stream, error)) => {
            refused(&Error::unavailable(format!("stream \"{stream}\" is not delivered: {error}")).into())
        }
    }
}

#[derive(Serialize)]
struct Flushed {
    rows: u64,
    parquet_bytes: u64,
    raw_bytes: u64,
}

async fn flush(State(routes): State<Routes>, Path(table): Path<String>) -> Response {
    let flushed = match TableName::new(&table) {
        Ok(table) => routes.deliveries.flush(&table).await,
        Err(error) => Err(error),
    };
    match flushed {
        Ok(report) => Json(Flushed {
            rows: report.rows,
            parquet_bytes: report.parquet_bytes,
            raw_bytes: report.raw_bytes,
        })
        .into_response(),
        Err(error) => refused(&error.into()),
    }
}

#[derive(Serialize)]
struct Refusal<'a> {
    error: RefusalBody<'a>,
}

#[derive(Serialize)]
struct RefusalBody<'a> {
    kind: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    sqlstate: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
}

/// An error as JSON: `{"error":{"kind","message","hint","sqlstate","position"}}`.
fn refusal_json(error: &SqlError) -> String {
    let body = RefusalBody {
        kind: error.kind().as_str(),
        message: error.message(),
        hint: error.hint(),
        sqlstate: error.sqlstate(),
        position: error.position(),
    };
    serde_json::to_string(&Refusal { error: body }).expect("text and numbers are JSON")
}

/// The answer to a request that can't be met: the status of the error's kind, and when to retry.
fn refused(error: &SqlError) -> Response {
    let status = StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], refusal_json(error)).into_response();
    if error.kind().is_retryable() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
