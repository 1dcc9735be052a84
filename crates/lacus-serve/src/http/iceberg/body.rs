//! Bodies of requests: JSON, whatever the content type says.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::error::Refused;
use crate::http::Shared;

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
