//! The routes of the native door and what they answer. See docs/reference/http.md.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router, middleware};
use lacus_core::{Error, settings};
use serde::Serialize;

use crate::append::receive;
use crate::check::{Identity, Order, Receipt};
use crate::refusal::{Refusal, WireError};
use crate::request::{Encoding, Target, idempotency_key, says_lines};
use crate::stats::Reason;
use crate::{Collect, Inner, body, cors};

/// The most characters of a host name that are repeated to a sender.
const HOST_CHARS_MAX: usize = 100;
/// So much of a path is.
const PATH_CHARS_MAX: usize = 200;
/// So much of a method is.
const METHOD_CHARS_MAX: usize = 20;

pub(crate) fn router(collect: Collect) -> Router {
    Router::new()
        .route("/v1/events", post(post_events))
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(cors::allow))
        .with_state(collect)
}

/// Answers a request for a path that no route has: 404 and where to look. For the router that has all routes.
pub async fn not_found(uri: Uri) -> Response {
    let error = Error::not_found(format!("there is no \"{}\" here", shown(&uri)))
        .with_hint("post events to /v1/events?source=clicks");
    Refusal { status: StatusCode::NOT_FOUND, error, reason: Reason::Parameter }.into_response()
}

async fn post_events(State(collect): State<Collect>, request: Request) -> Response {
    let inner = &*collect.inner;
    let (head, body) = request.into_parts();
    let order = order(&head, inner);
    answer(inner, &head, body, order).await
}

/// Handles a request whose events go where `order` says, unless that is refused.
pub(crate) async fn answer(inner: &Inner, head: &Parts, body: Body, order: Result<Order, Refusal>) -> Response {
    let order = order.and_then(|order| {
        body::check_length(&body, inner.settings.server.body_bytes_max)?;
        Ok(order)
    });
    let mut body = body.into_data_stream();
    let received = match order {
        Ok(order) => receive(inner, order, &mut body).await,
        Err(refusal) => Err(refusal),
    };
    match received {
        Ok(receipt) => reply(receipt),
        Err(refusal) => {
            inner.counters.refuse(refusal.reason, 1);
            body::dismiss(head, body, &refusal);
            refusal.report();
            refusal.into_response()
        }
    }
}

fn order(head: &Parts, inner: &Inner) -> Result<Order, Refusal> {
    Ok(Order {
        target: Target::of(head, &inner.keyring, inner.settings.server.require_key)?,
        identity: idempotency_key(&head.headers)?.map(Identity::IdempotencyKey),
        encoding: Encoding::of(&head.headers)?,
        says_lines: says_lines(&head.headers),
        // Senders mark JSON as a form without meaning it: curl does.
        says_form: false,
        signature: None,
    })
}

#[derive(Serialize)]
struct WireReply<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<WireError<'a>>,
    accepted: u64,
    #[serde(skip_serializing_if = "is_zero")]
    quarantined: u64,
    #[serde(skip_serializing_if = "is_zero")]
    refused: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<WireVerdict>,
}

#[derive(Serialize)]
struct WireVerdict {
    index: usize,
    message: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// 200: all accepted. 207: some. 400: none.
pub(crate) fn reply(receipt: Receipt) -> Response {
    let tally = receipt.tally;
    let status = match (tally.accepted, tally.refused) {
        (_, 0) => StatusCode::OK,
        (0, _) => StatusCode::BAD_REQUEST,
        _ => StatusCode::MULTI_STATUS,
    };
    let error = (tally.accepted == 0).then(|| none_accepted(&receipt));
    let reply = WireReply {
        error: error.as_ref().map(Into::into),
        accepted: tally.accepted,
        quarantined: tally.quarantined,
        refused: tally.refused,
        errors: receipt.refused.into_iter().map(|(index, message)| WireVerdict { index, message }).collect(),
    };
    (status, Json(reply)).into_response()
}

fn none_accepted(receipt: &Receipt) -> Error {
    let first = receipt.refused.first().map_or("", |(_, message)| message);
    match receipt.tally.refused {
        1 => Error::invalid(format!("the event was refused: {first}")),
        count => Error::invalid(format!("all {count} events were refused, the first because of {first}")),
    }
}

/// Answers a request with a method that its path does not have: 405, and what it has in the header `allow`, which the
/// router adds. For every router, before its layers.
pub async fn wrong_method(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let address: String = match headers.get(header::HOST).and_then(|host| host.to_str().ok()) {
        Some(host) => host.chars().take(HOST_CHARS_MAX).collect(),
        None => settings::Server::default().http.to_string(),
    };
    let (path, method) = (shown(&uri), method.as_str().chars().take(METHOD_CHARS_MAX).collect::<String>());
    let (message, hint) = match path.as_str() {
        "/v1/events" => (
            format!("{path} takes POST, not {method}"),
            format!("curl 'http://{address}/v1/events?source=clicks' -d '{{\"event_name\":\"Search\"}}'"),
        ),
        "/v1/pixel.gif" => (
            format!("{path} takes GET, not {method}"),
            format!("curl 'http://{address}/v1/pixel.gif?source=mails&event_name=Opened'"),
        ),
        "/" => (
            format!("there is no page to {method} here"),
            "send events to /v1/events?source=clicks, ask with POST /v1/sql; /openapi.json has all paths".to_owned(),
        ),
        _ => (
            format!("{path} does not take {method}"),
            "the header allow of this answer says what it takes; /openapi.json has all paths".to_owned(),
        ),
    };
    let error = Error::invalid(message).with_hint(hint);
    Refusal { status: StatusCode::METHOD_NOT_ALLOWED, error, reason: Reason::Parameter }.into_response()
}

/// The part of a path that is repeated to a sender.
fn shown(uri: &Uri) -> String {
    uri.path().chars().take(PATH_CHARS_MAX).collect()
}
