//! Where a request wants its events to go, read from the address and the headers before a byte of the body.

use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use bytes::Bytes;
use lacus_core::{Error, StreamName};

use crate::json::KEY_BYTES_MAX;
use crate::refusal::Refusal;
use crate::stats::Reason;

const SOURCE_HINT: &str = "post to /v1/events?source=clicks: the events become rows of table clicks";

/// Where the events of a request go.
#[derive(Debug)]
pub(crate) struct Target {
    /// The stream.
    pub(crate) source: StreamName,
    /// The partition key of all events of the request, if the sender gave one.
    pub(crate) key: Option<Bytes>,
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Target {
    /// Reads `?source=clicks&key=…`.
    ///
    /// # Errors
    /// A missing or impossible source, an unknown parameter, a key that is too long.
    pub(crate) fn of(uri: &Uri) -> Result<Self, Refusal> {
        let refused = |error| Refusal::invalid(Reason::Parameter, error);
        let Ok(Query(parameters)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
            return Err(refused(Error::invalid("the parameters can't be read").with_hint(SOURCE_HINT)));
        };
        let (mut source, mut key) = (None, None);
        for (name, value) in parameters {
            let place = match name.as_str() {
                "source" => &mut source,
                "key" => &mut key,
                _ => return Err(refused(unknown(&name))),
            };
            if place.replace(value).is_some() {
                return Err(refused(Error::invalid(format!("parameter \"{name}\" is given twice"))));
            }
        }
        let Some(source) = source else {
            return Err(refused(Error::invalid("the request does not say its source").with_hint(SOURCE_HINT)));
        };
        let source = StreamName::new(&source).map_err(refused)?;
        if key.as_ref().is_some_and(|key| key.len() > KEY_BYTES_MAX) {
            return Err(refused(Error::invalid("parameter \"key\" is longer than 1,024 bytes")));
        }
        Ok(Self { source, key: key.map(Bytes::from) })
    }
}

fn unknown(name: &str) -> Error {
    let name: String = name.chars().take(60).collect();
    Error::invalid(format!("there is no parameter \"{name}\"")).with_hint("parameters here: source, key")
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
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(name.as_str(), "application/x-ndjson" | "application/ndjson" | "application/jsonl")
}
