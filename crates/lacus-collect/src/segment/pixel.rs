//! The Tracking API for mails: `GET /v1/pixel/track?data=…`, which answers with an image.
//!
//! The message is JSON in `data`, as base64 of either alphabet; or the parameters are its members, with names such as
//! `properties.subject`. Unlike the original, which answers with the image whatever happens, this one says when nothing was
//! stored.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use bytes::Bytes;
use lacus_core::Error;
use serde_json::Value;

use super::message::{Client, Sender};
use super::{Sent, TYPES, refuse, store};
use crate::keys::presented;
use crate::pixel::{gif, no_gif};
use crate::refusal::Refusal;
use crate::request::{Encoding, parameters};
use crate::stats::Reason;
use crate::{Collect, Inner, form};

pub(super) fn routes() -> Router<Collect> {
    let mut router = Router::new();
    for (kind, _) in TYPES {
        let answer = move |State(collect): State<Collect>, request: Request| async move {
            match receive(&collect.inner, kind, request).await {
                Ok(()) => gif().await,
                Err(refusal) => no_gif(refuse(&collect.inner, refusal)),
            }
        };
        // A look at the headers is no event.
        router = router.route(&format!("/v1/pixel/{kind}"), get(answer).head(gif));
    }
    router
}

async fn receive(inner: &Inner, kind: &'static str, request: Request) -> Result<(), Refusal> {
    let (head, _) = request.into_parts();
    let (key, packed) = message(&head.uri)?;
    let sender = Sender { received_at: inner.clock.now(), client: Some(Client::of(&head)) };
    let key = presented(&head.headers).or(key);
    let sent = Sent { kind: Some(kind), key, sender, packed, encoding: Encoding::Identity };
    store(inner, sent, inner.budget.share()).await
}

/// The message of an address, and the key beside it.
fn message(uri: &Uri) -> Result<(Option<String>, Bytes), Refusal> {
    let fields = parameters(uri)?;
    let value = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone());
    let key = value("writeKey");
    let Some(data) = value("data") else {
        return Ok((key, Value::Object(form::object(fields)?).to_string().into()));
    };
    // A plus sign that was not escaped came as a space.
    let plain = data.trim_end_matches('=').replace('-', "+").replace('_', "/").replace(' ', "+");
    let decoded = BASE64.decode(plain).map_err(|error| {
        let error = Error::invalid("parameter \"data\" is no base64").with_source(error);
        Refusal::invalid(Reason::Malformed, error)
    })?;
    Ok((key, decoded.into()))
}
