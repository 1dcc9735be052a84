//! The door for Segment and RudderStack SDKs: the Tracking API, with the paths that browsers use.
//!
//! An SDK decides by the status whether it keeps an event and sends it again: 200 is "stored", 429 and 5xx are "keep it",
//! any other 4xx is "drop it". So 4xx is answered only to what can never be read. A message that is readable but not right
//! (a `track` without an event) is stored too, and goes to quarantine when it is delivered: nothing is dropped.
//!
//! What is stored is the message as it was sent, with the members that the server adds: see [`message`].

mod message;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use bytes::Bytes;
use lacus_core::units::ByteSize;
use lacus_core::{Error, NewRecord};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use self::message::{Sender, Shared};
use crate::append::{self, Format};
use crate::keys::{Key, presented};
use crate::refusal::Refusal;
use crate::request::Encoding;
use crate::stats::{Reason, SourceStats};
use crate::{Collect, Inner, body, cors};

/// The most bytes of a request, packed and unpacked.
const BODY_BYTES_MAX: ByteSize = ByteSize(500 << 10);
/// The most messages of a request.
const MESSAGES_MAX: usize = 10_000;
/// What every gzip stream begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Paths with one message: as they are spelled out, and as browsers have them.
const SINGLE: [(&str, &str); 12] = [
    ("/v1/identify", "identify"),
    ("/v1/track", "track"),
    ("/v1/page", "page"),
    ("/v1/screen", "screen"),
    ("/v1/group", "group"),
    ("/v1/alias", "alias"),
    ("/v1/i", "identify"),
    ("/v1/t", "track"),
    ("/v1/p", "page"),
    ("/v1/s", "screen"),
    ("/v1/g", "group"),
    ("/v1/a", "alias"),
];
const BATCH: [&str; 3] = ["/v1/batch", "/v1/import", "/v1/b"];

pub(crate) fn router(collect: Collect) -> Router {
    let mut router = Router::new();
    for (path, kind) in SINGLE {
        let answer = move |State(collect): State<Collect>, request: Request| async move {
            answer(&collect.inner, Some(kind), request).await
        };
        router = router.route(path, post(answer));
    }
    for path in BATCH {
        let answer = |State(collect): State<Collect>, request: Request| async move {
            answer(&collect.inner, None, request).await
        };
        router = router.route(path, post(answer));
    }
    router
        // Counts of what happened in the browser's SDK, which nobody here asks for.
        .route("/v1/m", post(async || success()))
        .route("/v1/projects/{key}/settings", get(settings))
        .layer(middleware::from_fn(cors::allow))
        .with_state(collect)
}

/// A body of several messages, and what holds for those that don't say themselves.
#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    batch: Vec<&'a RawValue>,
}

/// What a body says beside its messages.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credentials {
    write_key: Option<String>,
}

#[derive(Serialize)]
struct WireRefusal<'a> {
    code: &'static str,
    message: &'a str,
}

fn success() -> Response {
    (StatusCode::OK, Json(json!({"success": true}))).into_response()
}

async fn answer(inner: &Inner, kind: Option<&'static str>, request: Request) -> Response {
    match receive(inner, kind, request).await {
        Ok(()) => success(),
        Err(refusal) => {
            inner.counters.refuse(refusal.reason, 1);
            let told = WireRefusal { code: refusal.error.kind().as_str(), message: refusal.error.message() };
            let told = serde_json::to_value(told).unwrap_or_default();
            let mut response = refusal.into_response();
            *response.body_mut() = told.to_string().into();
            response.headers_mut().remove(header::CONTENT_LENGTH);
            response
        }
    }
}

async fn receive(inner: &Inner, kind: Option<&'static str>, request: Request) -> Result<(), Refusal> {
    let (head, body) = request.into_parts();
    body::check_length(&body, BODY_BYTES_MAX)?;
    let mut share = inner.budget.share();
    let packed =
        body::read(&mut body.into_data_stream(), BODY_BYTES_MAX, inner.limits.body_wait_max, &mut share).await?;
    // Some SDKs pack their bodies and don't say so.
    let encoding = if packed.starts_with(&GZIP) { Encoding::Gzip } else { Encoding::of(&head.headers)? };
    let text = body::unpack(packed, encoding, BODY_BYTES_MAX, &mut share)?;
    // What is stored is about as long as what was sent, and both are in memory.
    share.cover(3 * text.len())?;
    let key = authenticate(inner, &head.headers, &text)?;
    let source = key.source().ok_or_else(|| denied("this key is no write key"))?.clone();
    let received_at = inner.clock.now();
    let sender = Sender { received_at, client: client(&head) };
    let records = match kind {
        Some(kind) => vec![message::record(&raw(&text)?, Some(kind), &Shared::default(), &sender)],
        None => batch(&text, &sender)?,
    };
    key.admit(records.len() as u64)?;
    let tally = SourceStats {
        requests: 1,
        accepted: records.len() as u64,
        bytes: records.iter().map(|record| record.value.len() as u64).sum(),
        ..SourceStats::default()
    };
    append::store_as(inner, &source, Format::Segment, records, tally).await?;
    Ok(())
}

fn batch(text: &Bytes, sender: &Sender) -> Result<Vec<NewRecord>, Refusal> {
    let Batch { batch } = serde_json::from_slice(text).map_err(|error| malformed(&error))?;
    let shared: Shared<'_> = serde_json::from_slice(text).map_err(|error| malformed(&error))?;
    if batch.len() > MESSAGES_MAX {
        let error = Error::invalid(format!("a batch has {MESSAGES_MAX} messages at most"));
        return Err(Refusal::invalid(Reason::TooLarge, error).with_status(StatusCode::PAYLOAD_TOO_LARGE));
    }
    Ok(batch.into_iter().map(|raw| message::record(raw, None, &shared, sender)).collect())
}

fn raw(text: &Bytes) -> Result<Box<RawValue>, Refusal> {
    serde_json::from_slice(text).map_err(|error| malformed(&error))
}

fn malformed(error: &serde_json::Error) -> Refusal {
    let error = Error::invalid(format!("the body is no JSON as the Tracking API has it: {error}"));
    Refusal::invalid(Reason::Malformed, error)
}

/// The key of a request: in its headers, or as browsers have it, in its body.
fn authenticate(inner: &Inner, headers: &HeaderMap, text: &[u8]) -> Result<Arc<Key>, Refusal> {
    let in_body = || serde_json::from_slice::<Credentials>(text).ok().and_then(|body| body.write_key);
    let presented = presented(headers).or_else(in_body).ok_or_else(|| denied("the request has no write key"))?;
    inner.keyring.find_write_key(&presented).ok_or_else(|| denied("this write key is unknown, or was revoked"))
}

fn denied(message: &str) -> Refusal {
    let error = Error::new(lacus_core::Kind::Denied, message).with_hint("lacus key create --source NAME makes one");
    Refusal { status: StatusCode::UNAUTHORIZED, error, reason: Reason::Denied }
}

/// Where a browser is, as it or its proxy says: its SDK can't know its own address.
fn client(head: &Parts) -> Option<message::Client> {
    let is_browser = head.uri.path().len() == "/v1/x".len();
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let forwarded = text("x-forwarded-for").and_then(|list| list.split(',').next()).map(|ip| ip.trim().to_owned());
    let peer = || head.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_string());
    is_browser
        .then(|| message::Client { ip: forwarded.or_else(peer), user_agent: text("user-agent").map(str::to_owned) })
}

/// What the SDK for browsers asks for before it begins: nothing but where to send to.
async fn settings(Path(key): Path<String>, headers: HeaderMap) -> Json<Value> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text("host").unwrap_or("127.0.0.1");
    let protocol = text("x-forwarded-proto").unwrap_or("http");
    let all = json!({"__default": {"enabled": true, "integrations": {}}});
    Json(json!({
        "integrations": {"Segment.io": {
            "apiKey": key,
            "apiHost": format!("{host}/v1"),
            "protocol": protocol,
            "bundlingStatus": "bundled",
            "type": "server",
            "unbundledIntegrations": [],
            "addBundledMetadata": true,
        }},
        "plan": {"track": all, "identify": all, "group": all},
        "edgeFunction": {},
        "analyticsNextEnabled": true,
        "middlewareSettings": {},
        "enabledMiddleware": {},
        "metrics": {"sampleRate": 0},
        "legacyVideoPluginsEnabled": false,
        "remotePlugins": [],
    }))
}
