//! Errors as JSON: `{"error":{"kind","message","hint","sqlstate","position"}}`, with the status of their kind.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lacus_core::{Error, Kind};
use lacus_query::SqlError;
use serde::Serialize;

/// Seconds after which a refused client may try again.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// An error on its way out.
#[derive(Debug)]
pub(super) struct Refusal(SqlError);

#[derive(Serialize)]
struct WireRefusal<'a> {
    error: WireError<'a>,
}

#[derive(Serialize)]
struct WireError<'a> {
    kind: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    sqlstate: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
}

/// The error as JSON text.
pub(super) fn json(error: &SqlError) -> String {
    serde_json::to_string(&wire(error)).unwrap_or_else(|_| "{\"error\":{\"kind\":\"internal\"}}".to_owned())
}

fn wire(error: &SqlError) -> WireRefusal<'_> {
    WireRefusal {
        error: WireError {
            kind: error.kind().as_str(),
            message: error.message(),
            hint: error.hint(),
            sqlstate: error.sqlstate(),
            position: error.position(),
        },
    }
}

impl From<SqlError> for Refusal {
    fn from(error: SqlError) -> Self {
        Self(error)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let kind = self.0.kind();
        if matches!(kind, Kind::Internal | Kind::Corrupt) {
            tracing::error!(error = ?self.0, "a request failed");
        }
        let status = StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(wire(&self.0))).into_response();
        if kind.is_retryable() {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}
