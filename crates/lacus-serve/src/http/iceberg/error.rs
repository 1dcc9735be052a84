//! Errors as the REST specification has them: `{"error":{"message","type","code"}}`.
//!
//! The type tells a client what to do: it retries a `CommitFailedException` on the newest metadata, and never one after
//! which nobody knows whether the commit happened.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lacus_core::{Error, Kind};
use serde::Serialize;

/// The type of an error after which the same request may be sent again a little later.
const SLOW_DOWN: &str = "SlowDownException";
/// Seconds after which it may.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// An error on its way out.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

/// What a request is about: it decides what is reported as missing, and what a failure means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum About {
    Namespace,
    Table,
    View,
    /// A change of a view: failures are as for a commit of tables.
    ViewCommit,
    /// A commit of tables: after a failure that is not the client's, it is unknown whether it happened.
    Commit,
}

#[derive(Serialize)]
struct Wire<'a> {
    error: WireError<'a>,
}

#[derive(Serialize)]
struct WireError<'a> {
    message: &'a str,
    r#type: &'static str,
    code: u16,
}

impl Refused {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into() }
    }

    /// The request can't be read, or asks for what can't be.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequestException", message)
    }

    /// The client has not proved who it is.
    pub(super) fn unauthorized() -> Self {
        let message = "sign in with a lake key as client id and secret: credential = \"<access key id>:<secret access key>\"; lacus key create --lake makes one";
        Self::new(StatusCode::UNAUTHORIZED, "NotAuthorizedException", message)
    }

    pub(super) fn no_namespace(name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NoSuchNamespaceException", format!("namespace \"{name}\" does not exist"))
    }

    pub(super) fn no_table(namespace: &str, table: &str) -> Self {
        let message = format!("table \"{namespace}.{table}\" does not exist");
        Self::new(StatusCode::NOT_FOUND, "NoSuchTableException", message)
    }

    pub(super) fn no_view(namespace: &str, view: &str) -> Self {
        let message = format!("view \"{namespace}.{view}\" does not exist");
        Self::new(StatusCode::NOT_FOUND, "NoSuchViewException", message)
    }

    /// There is no memory for the body of a request now: nothing of it was done.
    pub(super) fn busy(error: &Error) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, SLOW_DOWN, said(error))
    }

    /// A property is to be set and removed at once.
    pub(super) fn both(key: &str) -> Self {
        let message = format!("property \"{key}\" is to be set and removed at once");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "UnprocessableEntityException", message)
    }

    /// A path of the specification that this catalog lacks.
    pub(super) fn unknown_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFoundException", "this catalog has no such path; see /iceberg/v1/config")
    }

    /// A method that a path does not have.
    pub(super) fn unsupported() -> Self {
        let message = "this path has other methods; see /iceberg/v1/config";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedOperationException", message)
    }

    /// An error of the lake.
    pub(super) fn of(error: &Error, about: About) -> Self {
        let kind = error.kind();
        let name = match kind {
            Kind::NotFound if about == About::Namespace => "NoSuchNamespaceException",
            Kind::NotFound if matches!(about, About::View | About::ViewCommit) => "NoSuchViewException",
            Kind::NotFound => "NoSuchTableException",
            Kind::Exists => "AlreadyExistsException",
            Kind::Conflict if about == About::Namespace => "NamespaceNotEmptyException",
            Kind::Conflict => "CommitFailedException",
            Kind::Invalid => "BadRequestException",
            Kind::Denied => "ForbiddenException",
            Kind::Limited => SLOW_DOWN,
            Kind::Unavailable => "ServiceUnavailableException",
            Kind::Internal if matches!(about, About::Commit | About::ViewCommit) => "CommitStateUnknownException",
            Kind::Corrupt | Kind::Internal => "InternalServerError",
        };
        let status = StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::error!(error = %error.chain(), "a request to the Iceberg catalog failed");
        }
        Self::new(status, name, said(error))
    }
}

/// The message, and what to do about it.
fn said(error: &Error) -> String {
    let message = error.chain();
    error.hint().map_or_else(|| message.clone(), |hint| format!("{message}; {hint}"))
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let wire = WireError { message: &self.message, r#type: self.kind, code: self.status.as_u16() };
        let mut response = (self.status, Json(Wire { error: wire })).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.kind == SLOW_DOWN {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}
