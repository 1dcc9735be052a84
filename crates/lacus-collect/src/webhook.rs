//! `POST /v1/webhooks/{source}`: events from senders that sign them with a secret, in place of a write key.
//!
//! The signature is an HMAC with SHA-256 over the body as it came, or over a text that the settings describe, such as
//! `{timestamp}.{body}`. It is compared in constant time, and before anything of the body is looked into. What is signed is
//! taken as `/v1/events` takes it.

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use lacus_core::settings::{SignatureEncoding, Webhook};
use lacus_core::{Error, Kind, StreamName, Timestamp};
use sha2::Sha256;

use crate::check::{Identity, Order};
use crate::hex::from_hex;
use crate::refusal::Refusal;
use crate::request::{Encoding, Target, header_text, says_form, says_lines};
use crate::stats::Reason;
use crate::{Collect, Inner, http};

/// How old a webhook's signature may be; and how far in the future, as clocks differ.
const AGE_SECONDS_MAX: u64 = 5 * 60;
/// The longest identity of a delivery.
const ID_BYTES_MAX: usize = 1024;

pub(crate) fn router(collect: Collect) -> Router {
    Router::new().route("/v1/webhooks/{source}", post(take)).with_state(collect)
}

/// The signature that a request claims, to be compared with its body.
pub(crate) struct Signature {
    webhook: Webhook,
    /// The header with the signature.
    header: String,
    timestamp: Option<String>,
}

async fn take(
    State(collect): State<Collect>,
    source: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let inner = &*collect.inner;
    let (head, body) = request.into_parts();
    let order = order(inner, source.ok().map(|Path(source)| source), &head);
    http::answer(inner, &head, body, order).await
}

fn order(inner: &Inner, source: Option<String>, head: &Parts) -> Result<Order, Refusal> {
    let source = source.and_then(|source| StreamName::new(&source).ok());
    let found = source.and_then(|source| Some((inner.settings.source(&source).webhook?, source)));
    let (webhook, source) = found.ok_or_else(|| {
        let error = Error::not_found("there is no source with webhooks of this name")
            .with_hint("add [sources.NAME.webhook] to lacus.toml and start lacus again");
        Refusal::invalid(Reason::Parameter, error).with_status(StatusCode::NOT_FOUND)
    })?;
    let id = webhook.id_header.as_ref().and_then(|name| head.headers.get(name));
    let identity = id.map(|id| Identity::Delivery(Bytes::copy_from_slice(id.as_bytes())));
    if id.is_some_and(|id| id.is_empty() || id.len() > ID_BYTES_MAX) {
        let error = Error::invalid(format!("the identity of a delivery has 1 to {ID_BYTES_MAX} bytes"));
        return Err(Refusal::invalid(Reason::Parameter, error));
    }
    Ok(Order {
        target: Target { source, key: None, write_key: None },
        identity,
        encoding: Encoding::of(&head.headers)?,
        says_lines: says_lines(&head.headers),
        says_form: says_form(&head.headers),
        signature: Some(Signature::of(webhook, &head.headers, inner.clock.now())?),
    })
}

impl Signature {
    /// Reads the headers.
    ///
    /// # Errors
    /// 401 if a header is missing, or the time that is signed is not about now.
    fn of(webhook: Webhook, headers: &HeaderMap, now: Timestamp) -> Result<Self, Refusal> {
        let header = header_text(headers, &webhook.header)
            .ok_or_else(|| denied(&format!("the webhook is not signed: it has no header {}", webhook.header)))?
            .to_owned();
        let mut timestamp = None;
        if webhook.signed.as_ref().is_some_and(|signed| signed.contains("{timestamp}")) {
            let found = match &webhook.timestamp_header {
                Some(name) => header_text(headers, name),
                None => parts(&header).find_map(|part| part.strip_prefix("t=")),
            };
            let found = found.ok_or_else(|| denied("the webhook does not say when it was signed"))?;
            let is_now =
                found.parse().is_ok_and(|seconds: i64| (now.as_millis() / 1_000).abs_diff(seconds) <= AGE_SECONDS_MAX);
            if !is_now {
                return Err(denied("the webhook was not signed within the last five minutes"));
            }
            timestamp = Some(found.to_owned());
        }
        Ok(Self { webhook, header, timestamp })
    }

    /// Verifies the body as it came.
    ///
    /// # Errors
    /// 401 if another body was signed, or with another secret.
    pub(crate) fn verify(&self, body: &[u8]) -> Result<(), Refusal> {
        let hmac = Hmac::<Sha256>::new_from_slice(self.webhook.secret.reveal().as_bytes());
        let mut hmac = hmac.expect("HMAC takes a key of any length");
        self.sign(&mut hmac, body);
        let given = parts(&self.header).filter_map(|part| self.decode(part.strip_prefix(&self.webhook.prefix)?));
        for given in given {
            // The body is hashed already: each further signature costs little.
            if hmac.clone().verify_slice(&given).is_ok() {
                return Ok(());
            }
        }
        Err(denied("the signature of the webhook is not the one of this body and this source's secret"))
    }

    /// Hashes what is signed.
    fn sign(&self, hmac: &mut Hmac<Sha256>, body: &[u8]) {
        let mut rest = self.webhook.signed.as_deref().unwrap_or("{body}");
        while let Some(start) = rest.find('{') {
            hmac.update(&rest.as_bytes()[..start]);
            rest = &rest[start..];
            if let Some(after) = rest.strip_prefix("{body}") {
                hmac.update(body);
                rest = after;
            } else if let Some(after) = rest.strip_prefix("{timestamp}") {
                hmac.update(self.timestamp.as_deref().unwrap_or_default().as_bytes());
                rest = after;
            } else {
                hmac.update(b"{");
                rest = &rest[1..];
            }
        }
        hmac.update(rest.as_bytes());
    }

    fn decode(&self, text: &str) -> Option<Vec<u8>> {
        match self.webhook.encoding {
            SignatureEncoding::Base64 => BASE64.decode(text).ok(),
            SignatureEncoding::Hex => from_hex(text),
        }
    }
}

/// The parts of a header that holds several: `t=1700000000,v1=…`.
fn parts(header: &str) -> impl Iterator<Item = &str> {
    header.split(',').map(str::trim)
}

fn denied(message: &str) -> Refusal {
    let error = Error::new(Kind::Denied, message);
    Refusal { status: StatusCode::UNAUTHORIZED, error, reason: Reason::Denied }
}
