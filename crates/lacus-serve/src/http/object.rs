//! What a request asks: a JSON object, with the fields of a type.

use axum::Json;
use axum::extract::{FromRequest, Request};
use lacus_core::Error;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::refusal::Refusal;

/// A body that is a JSON object. Without this, an array of the fields' values would be accepted as well.
pub(super) struct Object<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Object<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let body = Json::<Box<RawValue>>::from_request(request, state).await;
        let Json(body) = body.map_err(|rejection| unreadable(rejection.body_text()))?;
        if !body.get().starts_with('{') {
            return Err(unreadable("the body is no JSON object".to_owned()).into());
        }
        let asked = serde_json::from_str(body.get()).map_err(|error| unreadable(error.to_string()))?;
        Ok(Self(asked))
    }
}

fn unreadable(message: String) -> Error {
    Error::invalid(message).with_hint("send a JSON object with content-type: application/json")
}
