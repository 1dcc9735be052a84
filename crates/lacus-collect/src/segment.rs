//! The door for Segment and RudderStack SDKs: the Tracking API, with the paths that browsers use.
//!
//! An SDK decides by the status whether it keeps an event and sends it again: 200 is "stored", 429 and 5xx are "keep it",
//! any other 4xx is "drop it". So 4xx is answered only to what can never be read, and to keys that are not good. A message that
//! is readable but not right (a `track` without an event) is stored too, and goes to quarantine when it is delivered: nothing
//! is dropped.
//!
//! What is stored is the message as it was sent, with the members that the server adds: see [`message`]. `pixel` has the paths
//! for images.

mod message;
mod pixel;

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use bytes::Bytes;
use lacus_core::units::{ByteSize, human_count};
use lacus_core::{Error, Kind, NewRecord, Share, StreamName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use self::message::{Client, Sender, Shared};
use crate::append::{self, Format};
use crate::at_most::AtMost;
use crate::keys::{Key, Keyring, presented};
use crate::pixel::{address, user_agent};
use crate::refusal::{Refusal, WireError};
use crate::request::{Encoding, header_text};
use crate::stats::{Reason, SourceStats};
use crate::{Collect, Inner, body, cors, http};

/// The most bytes of a request, packed and unpacked. SDKs send half a megabyte; one that is refused drops its messages.
const BODY_BYTES_MAX: ByteSize = ByteSize::mb(4);
/// The most bytes that a batch states for all of its messages, multiplied by their number.
const SHARED_BYTES_MAX: usize = 8 << 20;
/// The most messages of a request.
const MESSAGES_MAX: usize = 10_000;
/// About how much longer a message becomes as a record.
const ADDED_BYTES: usize = 512;
/// Bodies up to this size that are not compressed are parsed on the async thread.
const LIGHT_BODY_BYTES_MAX: usize = 64 << 10;
/// What every gzip stream begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Types of messages; and the path that browsers have for each.
const TYPES: [(&str, &str); 6] =
    [("identify", "i"), ("track", "t"), ("page", "p"), ("screen", "s"), ("group", "g"), ("alias", "a")];
const BATCH: [&str; 3] = ["/v1/batch", "/v1/import", "/v1/b"];

pub(crate) fn router(collect: Collect) -> Router {
    let mut router = Router::new();
    for (kind, short) in TYPES {
        let answer = move |State(collect): State<Collect>, request: Request| async move {
            answer(&collect.inner, Some(kind), request).await
        };
        router = router.route(&format!("/v1/{kind}"), post(answer)).route(&format!("/v1/{short}"), post(answer));
    }
    for path in BATCH {
        let answer = |State(collect): State<Collect>, request: Request| async move {
            answer(&collect.inner, None, request).await
        };
        router = router.route(path, post(answer));
    }
    router
        // Statistics of the browser SDK, which nobody needs here.
        .route("/v1/m", post(async || success()))
        .route("/v1/projects/{key}/settings", get(settings))
        .merge(pixel::routes())
        .method_not_allowed_fallback(http::wrong_method)
        .layer(middleware::from_fn(cors::allow))
        .with_state(collect)
}

/// A request that was read.
struct Sent {
    /// The message type in its path; none for a batch.
    kind: Option<&'static str>,
    /// The key that it presents, if that is not in the body.
    key: Option<String>,
    sender: Sender,
    packed: Bytes,
    encoding: Encoding,
}

/// The records of a request, and the key that allows them.
struct Accepted {
    key: Arc<Key>,
    records: Vec<NewRecord>,
    _share: Share,
}

/// A body of several messages, with defaults for those that don't state something themselves.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch<'a> {
    #[serde(borrow)]
    batch: AtMost<&'a RawValue, MESSAGES_MAX>,
    #[serde(borrow)]
    sent_at: Option<&'a RawValue>,
    #[serde(borrow)]
    context: Option<&'a RawValue>,
    #[serde(borrow)]
    integrations: Option<&'a RawValue>,
}

/// The key in a body, where browsers put it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credentials {
    write_key: Option<String>,
}

#[derive(Serialize)]
struct WireRefusal<'a> {
    code: &'static str,
    message: &'a str,
    error: WireError<'a>,
}

fn success() -> Response {
    (StatusCode::OK, Json(json!({"success": true}))).into_response()
}

/// SDKs read `code` and `message`, others `error`, as everywhere here.
fn refuse(inner: &Inner, refusal: Refusal) -> Response {
    inner.counters.refuse(refusal.reason, 1);
    refusal.report();
    let error = &refusal.error;
    let told = WireRefusal { code: error.kind().as_str(), message: error.message(), error: error.into() };
    let told = serde_json::to_vec(&told).unwrap_or_default();
    let mut response = refusal.into_response();
    response.headers_mut().remove(CONTENT_LENGTH);
    *response.body_mut() = told.into();
    response
}

async fn answer(inner: &Inner, kind: Option<&'static str>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let mut share = inner.budget.share();
    let received = match receive(inner, &head, body, &mut share).await {
        Ok((packed, encoding)) => {
            // Only the paths of browsers are so short.
            let is_browser = head.uri.path().len() == "/v1/x".len();
            let client = is_browser.then(|| Client::of(&head));
            let sender = Sender { received_at: inner.clock.now(), client };
            let sent = Sent { kind, key: presented(&head.headers), sender, packed, encoding };
            store(inner, sent, share).await
        }
        Err(refusal) => Err(refusal),
    };
    match received {
        Ok(()) => success(),
        Err(refusal) => refuse(inner, refusal),
    }
}

async fn receive(inner: &Inner, head: &Parts, body: Body, share: &mut Share) -> Result<(Bytes, Encoding), Refusal> {
    let checked = body::check_length(&body, BODY_BYTES_MAX);
    let mut body = body.into_data_stream();
    let read = match checked {
        Ok(()) => body::read(&mut body, BODY_BYTES_MAX, inner.limits.body_wait_max, share).await,
        Err(refusal) => Err(refusal),
    };
    match read {
        // Some SDKs compress their bodies without saying so.
        Ok(packed) if packed.starts_with(&GZIP) => Ok((packed, Encoding::Gzip)),
        Ok(packed) => Ok((packed, Encoding::of(&head.headers)?)),
        Err(refusal) => {
            body::dismiss(head, body, &refusal);
            Err(as_told_here(refusal))
        }
    }
}

/// The size of a request is no setting here; and who is slow, or was cut off on the way, has all messages still, which an SDK
/// drops at 400 and 408.
fn as_told_here(refusal: Refusal) -> Refusal {
    match refusal.reason {
        Reason::Slow | Reason::BrokenOff => refusal.for_later(),
        Reason::TooLarge => Refusal { error: refusal.error.with_hint("send fewer messages at once"), ..refusal },
        _ => refusal,
    }
}

async fn store(inner: &Inner, sent: Sent, share: Share) -> Result<(), Refusal> {
    let is_light = sent.encoding == Encoding::Identity && sent.packed.len() <= LIGHT_BODY_BYTES_MAX;
    let keyring = Arc::clone(&inner.keyring);
    let Accepted { key, records, _share } = inner.work(is_light, move || sent.accept(&keyring, share)).await??;
    let source = key.source().ok_or_else(|| denied("this key is no write key"))?;
    key.admit(records.len() as u64)?;
    let tally = SourceStats::of_request(&records);
    append::ready_stream(inner, source, Format::Segment).await.map_err(|refusal| unready(inner, source, refusal))?;
    append::store_there(inner, source, records, tally).await?;
    Ok(())
}

/// That its source can't have messages as things are is no fault of a message. SDKs keep it while somebody mends that; after 400
/// they would drop it.
fn unready(inner: &Inner, source: &StreamName, refusal: Refusal) -> Refusal {
    if refusal.reason != Reason::Parameter {
        return refusal;
    }
    if inner.unready_told.is_due(source, Instant::now()) {
        let error = &refusal.error;
        tracing::warn!(%source, error = %error.chain(), hint = error.hint(), "messages can't be stored; SDKs are told to keep them");
    }
    refusal.for_later()
}

impl Sent {
    /// Decompresses, and makes a record of each message. CPU-bound.
    fn accept(self, keyring: &Keyring, mut share: Share) -> Result<Accepted, Refusal> {
        let packed_bytes = self.packed.len();
        let text = body::unpack(self.packed, self.encoding, BODY_BYTES_MAX, &mut share).map_err(as_told_here)?;
        let key = authenticate(keyring, self.key, &text)?;
        // The records are about as long as the body, and both are in memory.
        let bytes = packed_bytes + 2 * text.len();
        let records = match self.kind {
            Some(kind) => {
                share.cover(bytes + ADDED_BYTES + message::members_bytes(text.len()))?;
                let message: &RawValue = serde_json::from_slice(&text).map_err(|error| malformed(&error))?;
                vec![message::record(message, Some(kind), &Shared::default(), &self.sender)]
            }
            None => {
                let batch: Batch<'_> = serde_json::from_slice(&text).map_err(|error| malformed(&error))?;
                let Batch { batch, sent_at, context, integrations } = batch;
                let messages = batch.all().ok_or_else(|| {
                    too_much(format!("a batch has {} messages at most", human_count(MESSAGES_MAX as u64)))
                })?;
                let added = added_bytes([sent_at, context, integrations], messages.len())?;
                // Messages are read one after the other.
                let longest = messages.iter().map(|message| message.get().len()).max().unwrap_or_default();
                let read_at_once = longest + context.map_or(0, |context| context.get().len());
                share.cover(bytes + added + message::members_bytes(read_at_once))?;
                let shared = Shared::of(sent_at, context, integrations);
                messages.into_iter().map(|raw| message::record(raw, None, &shared, &self.sender)).collect()
            }
        };
        Ok(Accepted { key, records, _share: share })
    }
}

/// How much longer the messages of a batch become.
///
/// # Errors
/// For too much that is said for all of them.
fn added_bytes(shared: [Option<&RawValue>; 3], messages: usize) -> Result<usize, Refusal> {
    let shared: usize = shared.iter().flatten().map(|raw| raw.get().len()).sum();
    if shared * messages > SHARED_BYTES_MAX {
        let most = ByteSize(SHARED_BYTES_MAX as u64);
        return Err(too_much(format!("what the batch says for all of its messages makes them {most} longer")));
    }
    Ok((shared + ADDED_BYTES) * messages)
}

fn too_much(what: String) -> Refusal {
    let error = Error::invalid(what).with_hint("send fewer messages at once");
    Refusal::invalid(Reason::TooLarge, error).with_status(StatusCode::PAYLOAD_TOO_LARGE)
}

fn malformed(error: &serde_json::Error) -> Refusal {
    let error = Error::invalid(format!("the body is no JSON as the Tracking API has it: {error}"));
    Refusal::invalid(Reason::Malformed, error)
}

/// The key of a request: the one it presents or, from browsers, the one in its body.
fn authenticate(keyring: &Keyring, key: Option<String>, text: &[u8]) -> Result<Arc<Key>, Refusal> {
    let in_body = || serde_json::from_slice::<Credentials>(text).ok().and_then(|body| body.write_key);
    let key = key.filter(|key| !key.is_empty()).or_else(in_body);
    let key = key.ok_or_else(|| denied("the request has no write key"))?;
    keyring.find_write_key(&key).ok_or_else(|| denied("this write key is unknown, or was revoked"))
}

fn denied(message: &str) -> Refusal {
    let error = Error::new(Kind::Denied, message).with_hint("lacus key create --source NAME makes one");
    Refusal { status: StatusCode::UNAUTHORIZED, error, reason: Reason::Denied }
}

impl Client {
    /// The address of a browser, as its proxy or its connection says: the SDK can't know it.
    fn of(head: &Parts) -> Self {
        Self { ip: address(head), user_agent: user_agent(head) }
    }
}

/// What the browser SDK asks for before it begins: only where to send to.
async fn settings(
    State(collect): State<Collect>,
    key: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<Value>, Response> {
    let Path(key) = key.map_err(|error| {
        let error = Error::invalid("the write key can't be read").with_source(error);
        refuse(&collect.inner, Refusal::invalid(Reason::Parameter, error))
    })?;
    let host = header_text(&headers, "host").unwrap_or("127.0.0.1");
    let protocol = header_text(&headers, "x-forwarded-proto").filter(|protocol| *protocol == "https").unwrap_or("http");
    let all = json!({"__default": {"enabled": true, "integrations": {}}});
    Ok(Json(json!({
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
    })))
}
