//! Why a request was refused: a status, an error for a person, a reason to count it by.
//!
//! The one place where this crate maps errors to HTTP. Every refusal is JSON: `{"error":{"kind","message","hint"}}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lacus_core::{Error, Kind};
use serde::Serialize;

use crate::stats::Reason;

/// Seconds after which a refused sender may try again.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Why a request was refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) error: Error,
    pub(crate) reason: Reason,
}

/// An error as JSON.
#[derive(Serialize)]
pub(crate) struct WireError<'a> {
    kind: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

#[derive(Serialize)]
struct WireRefusal<'a> {
    error: WireError<'a>,
}

impl Refusal {
    /// A request that can't succeed as it is.
    pub(crate) fn invalid(reason: Reason, error: Error) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error, reason }
    }

    /// Only failures of lacus are logged.
    pub(crate) fn report(&self) {
        if matches!(self.error.kind(), Kind::Corrupt | Kind::Internal) {
            tracing::error!(error = %self.error.chain(), "could not append events");
        }
    }

    /// The same as what may succeed later, because what was sent is not at fault.
    pub(crate) fn for_later(self) -> Self {
        let error = Error::unavailable(self.error.message());
        let error = match self.error.hint() {
            Some(hint) => error.with_hint(hint),
            None => error,
        };
        let error = error.with_source(self.error);
        Self { status: StatusCode::SERVICE_UNAVAILABLE, error, reason: self.reason }
    }

    /// The same with another status.
    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }
}

/// An error of the log or of the budget: not the sender's to fix, unless it says so.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let reason = match error.kind() {
            Kind::Invalid => Reason::TooLarge,
            Kind::Limited => Reason::Overloaded,
            _ => Reason::Unavailable,
        };
        // "Not found" or "denied" by the disk of this server must not tell a sender to give up.
        let error = match error.kind() {
            Kind::Invalid | Kind::Limited | Kind::Unavailable | Kind::Corrupt | Kind::Internal => error,
            _ => Error::unavailable(error.message()).with_source(error),
        };
        let status = StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, error, reason }
    }
}

impl<'a> From<&'a Error> for WireError<'a> {
    fn from(error: &'a Error) -> Self {
        Self { kind: error.kind().as_str(), message: error.message(), hint: error.hint() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(WireRefusal { error: (&self.error).into() })).into_response();
        if self.error.kind().is_retryable() && self.status != StatusCode::REQUEST_TIMEOUT {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}
