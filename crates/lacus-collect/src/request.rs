//! Where a request wants its events to go, read from the address and the headers before a byte of the body.

use std::sync::Arc;

use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use bytes::Bytes;
use lacus_core::units::human_count;
use lacus_core::{Error, Kind, StreamName};

use crate::json::KEY_BYTES_MAX;
use crate::keys::{Key, Keyring, presented};
use crate::refusal::Refusal;
use crate::stats::Reason;

/// The longest idempotency key.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

const PARAMETERS: [&str; 3] = ["source", "key", "write_key"];

const SOURCE_HINT: &str = "post to /v1/events?source=clicks: the events become rows of table clicks";

/// Where the events of a request go.
pub(crate) struct Target {
    /// The stream.
    pub(crate) source: StreamName,
    /// The partition key of all events of the request, if the sender gave one.
    pub(crate) key: Option<Bytes>,
    /// The write key that the sender proved to have.
    pub(crate) write_key: Option<Arc<Key>>,
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Target {
    /// Reads `?source=clicks&key=…`. With a write key its source is meant, and the parameter need not say it.
    ///
    /// # Errors
    /// A missing or impossible source, an unknown parameter, a key that is too long; a write key that is unknown, for
    /// another source, or missing where one is required.
    pub(crate) fn of(head: &Parts, keyring: &Keyring, key_is_required: bool) -> Result<Self, Refusal> {
        let mut parameters = parameters(&head.uri)?;
        if let Some((name, _)) = parameters.iter().find(|(name, _)| !PARAMETERS.contains(&name.as_str())) {
            return Err(Refusal::invalid(Reason::Parameter, unknown(name)));
        }
        Self::take(&mut parameters, &head.headers, keyring, key_is_required)
    }

    /// The same where other parameters mean something else: they are left.
    ///
    /// # Errors
    /// As [`Target::of`], but for unknown parameters.
    pub(crate) fn take(
        parameters: &mut Vec<(String, String)>,
        headers: &HeaderMap,
        keyring: &Keyring,
        key_is_required: bool,
    ) -> Result<Self, Refusal> {
        let refused = |error| Refusal::invalid(Reason::Parameter, error);
        let (mut source, mut key, mut write_key) = (None, None, None);
        for (name, value) in std::mem::take(parameters) {
            let place = match name.as_str() {
                "source" => &mut source,
                "key" => &mut key,
                "write_key" => &mut write_key,
                _ => {
                    parameters.push((name, value));
                    continue;
                }
            };
            if place.replace(value).is_some() {
                return Err(refused(Error::invalid(format!("parameter \"{name}\" is given twice"))));
            }
        }
        let write_key = presented(headers).or(write_key);
        let write_key = authenticate(write_key, source.as_deref(), keyring, key_is_required)?;
        let of_key = || write_key.as_ref().and_then(|key| key.source()).map(|source| source.as_str().to_owned());
        let Some(source) = source.or_else(of_key) else {
            return Err(refused(Error::invalid("the request does not say its source").with_hint(SOURCE_HINT)));
        };
        let source = StreamName::new(&source).map_err(refused)?;
        if key.as_ref().is_some_and(|key| key.len() > KEY_BYTES_MAX) {
            let most = human_count(KEY_BYTES_MAX as u64);
            return Err(refused(Error::invalid(format!("parameter \"key\" is longer than {most} bytes"))));
        }
        Ok(Self { source, key: key.map(Bytes::from), write_key })
    }
}

/// The parameters of an address.
///
/// # Errors
/// If they can't be read.
pub(crate) fn parameters(uri: &Uri) -> Result<Vec<(String, String)>, Refusal> {
    let parameters = Query::<Vec<(String, String)>>::try_from_uri(uri);
    parameters.map(|Query(parameters)| parameters).map_err(|_| {
        Refusal::invalid(Reason::Parameter, Error::invalid("the parameters can't be read").with_hint(SOURCE_HINT))
    })
}

/// The write key that a request presents, which must be one of its source.
fn authenticate(
    presented: Option<String>,
    source: Option<&str>,
    keyring: &Keyring,
    is_required: bool,
) -> Result<Option<Arc<Key>>, Refusal> {
    let denied = |message: String| {
        let error = Error::new(Kind::Denied, message).with_hint("lacus key create --source NAME makes a write key");
        Refusal { status: StatusCode::UNAUTHORIZED, error, reason: Reason::Denied }
    };
    let Some(presented) = presented else {
        return match is_required {
            true => Err(denied("events need a write key here: send authorization: Bearer KEY".to_owned())),
            false => Ok(None),
        };
    };
    let key = keyring.find_write_key(&presented);
    let key = key.ok_or_else(|| denied("this write key is unknown, or was revoked".to_owned()))?;
    match source {
        Some(source) if key.source().is_none_or(|own| own.as_str() != source) => {
            Err(denied("this write key is for another source".to_owned()))
        }
        _ => Ok(Some(key)),
    }
}

/// The idempotency key of a request.
///
/// # Errors
/// For one that is empty or too long.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<Bytes>, Refusal> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    if value.is_empty() || value.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        let error = Error::invalid(format!("an idempotency key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes"));
        return Err(Refusal::invalid(Reason::Parameter, error));
    }
    Ok(Some(Bytes::copy_from_slice(value.as_bytes())))
}

fn unknown(name: &str) -> Error {
    let name: String = name.chars().take(60).collect();
    Error::invalid(format!("there is no parameter \"{name}\""))
        .with_hint(format!("parameters here: {}", PARAMETERS.join(", ")))
}

impl Encoding {
    /// Reads `content-encoding`.
    ///
    /// # Errors
    /// For what is not understood, or more than one.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let first = values.next().map_or("identity", |value| value.to_str().unwrap_or("?").trim());
        let known = match first.to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::Identity),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            _ => None,
        };
        known.filter(|_| values.next().is_none()).ok_or_else(|| {
            let first: String = first.chars().take(60).collect();
            let error = Error::invalid(format!("content-encoding \"{first}\" is not understood here"))
                .with_hint("compress the body once with gzip or zstd, or not at all");
            Refusal::invalid(Reason::Encoding, error).with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
        })
    }
}

/// Whether the content type says that there is one event on each line. All other content types say nothing: senders
/// post JSON as text/plain or as a form.
pub(crate) fn says_lines(headers: &HeaderMap) -> bool {
    matches!(media_type(headers).as_str(), "application/x-ndjson" | "application/ndjson" | "application/jsonl")
}

/// Whether the content type says that the body is a form.
pub(crate) fn says_form(headers: &HeaderMap) -> bool {
    media_type(headers) == "application/x-www-form-urlencoded"
}

/// The text of a header; none if it is missing, or no text.
pub(crate) fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The content type without its parameters.
fn media_type(headers: &HeaderMap) -> String {
    let content_type = header_text(headers, header::CONTENT_TYPE.as_str()).unwrap_or_default();
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
