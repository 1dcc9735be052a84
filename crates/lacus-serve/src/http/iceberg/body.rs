//! Bodies of requests: JSON, whatever the content type says, if there is memory for them.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use super::error::Refused;
use crate::http::{Shared, bodies};

/// A body that could be read.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Shared> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Refused> {
        let bytes = Bytes::from_request(request, shared).await;
        let bytes = bytes.map_err(|error| Refused::bad_request(error.body_text()))?;
        let body = serde_json::from_slice(&bytes);
        body.map(Self).map_err(|error| Refused::bad_request(format!("the body can't be read: {error}")))
    }
}

/// Answers a request if there is memory for its body.
pub(super) async fn within_budget(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let answered = bodies::answer(&shared.bodies, request, |request| next.run(request)).await;
    answered.unwrap_or_else(|error| Refused::busy(&error).into_response())
}
