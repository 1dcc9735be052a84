//! The other end of Firehose: `POST /v1/firehose/{source}`, for a Firehose in the cloud that delivers to lacus.
//!
//! The "HTTP endpoint delivery request and response specification" of the Firehose developer guide. The access key is a
//! write key of the source. Firehose sends a request again, with the same id, until it reads a 200 that repeats the id: events
//! of a request that came before are known by it, and stored once.

use axum::body::BodyDataStream;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use lacus_core::{Error, NewRecord, Share, StreamName, units};
use serde::{Deserialize, Serialize};

use super::pieces;
use super::wire::Blob;
use crate::append;
use crate::at_most::AtMost;
use crate::message_id::message_id;
use crate::refusal::Refusal;
use crate::request::{Encoding, header_text};
use crate::stats::{Reason, SourceStats};
use crate::{Collect, Inner, LIGHT_BYTES_MAX, body};

const REQUEST_ID: &str = "x-amz-firehose-request-id";
const ACCESS_KEY: &str = "x-amz-firehose-access-key";
/// The most records of a delivery, of which Firehose says only that all have 64 MB at most.
const ENTRIES_MAX: usize = 100_000;
/// So much of an error message is told.
const MESSAGE_CHARS_MAX: usize = 1_000;

pub(super) fn routes() -> Router<Collect> {
    Router::new().route("/v1/firehose/{source}", post(deliver))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    request_id: String,
    records: AtMost<Entry, ENTRIES_MAX>,
}

#[derive(Deserialize)]
struct Entry {
    data: Blob,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    request_id: String,
    /// ms since the epoch.
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
}

async fn deliver(
    State(collect): State<Collect>,
    source: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let inner = &*collect.inner;
    let (head, body) = request.into_parts();
    let source = source_of(source).and_then(|source| {
        body::check_length(&body, inner.settings.server.body_bytes_max)?;
        Ok(source)
    });
    let mut body = body.into_data_stream();
    let stored = match source {
        Ok(source) => store(inner, &source, &head, &mut body).await,
        Err(refusal) => Err(refusal),
    };
    let (status, error_message) = match stored {
        Ok(()) => (StatusCode::OK, None),
        Err(refusal) => {
            let refusal = as_told_here(refusal);
            inner.counters.refuse(refusal.reason, 1);
            body::dismiss(&head, body, &refusal);
            refusal.report();
            (refusal.status, Some(refusal.error.chain().chars().take(MESSAGE_CHARS_MAX).collect()))
        }
    };
    let request_id = header_text(&head.headers, REQUEST_ID).unwrap_or_default().to_owned();
    let timestamp = inner.clock.now().as_millis();
    (status, Json(Reply { request_id, timestamp, error_message })).into_response()
}

/// What is answered with 413 Firehose throws away. After any other refusal it sends it again, and puts it into its backup bucket
/// in the end.
fn as_told_here(refusal: Refusal) -> Refusal {
    match refusal.status {
        StatusCode::PAYLOAD_TOO_LARGE => refusal.with_status(StatusCode::BAD_REQUEST),
        _ => refusal,
    }
}

fn source_of(path: Result<Path<String>, PathRejection>) -> Result<StreamName, Refusal> {
    let unreadable = |error: PathRejection| Error::invalid("the source can't be read").with_source(error);
    let source = path.map_err(unreadable).and_then(|Path(source)| StreamName::new(&source));
    source.map_err(|error| Refusal::invalid(Reason::Parameter, error))
}

async fn store(inner: &Inner, source: &StreamName, head: &Parts, body: &mut BodyDataStream) -> Result<(), Refusal> {
    let key = header_text(&head.headers, ACCESS_KEY).and_then(|key| inner.keyring.find_write_key(key));
    let key = key.filter(|key| key.source() == Some(source)).ok_or_else(|| {
        let error = Error::invalid(format!("the access key is no write key of source \"{source}\""))
            .with_hint(format!("make one with lacus key create --source {source}"));
        Refusal::invalid(Reason::Denied, error).with_status(StatusCode::UNAUTHORIZED)
    })?;
    let most = inner.settings.server.body_bytes_max;
    let mut share = inner.budget.share();
    let packed = body::read(body, most, inner.limits.body_wait_max, &mut share).await?;
    let encoding = Encoding::of(&head.headers)?;
    let request_id = header_text(&head.headers, REQUEST_ID).unwrap_or_default().to_owned();
    let bytes = if encoding == Encoding::Identity { packed.len() } else { usize::MAX };
    let take = move || {
        let unpacked = body::unpack(packed, encoding, most, &mut share)?;
        // A share that is not dropped here covers the records until they are stored.
        Ok::<_, Refusal>((take_apart(&unpacked, &request_id, &mut share)?, share))
    };
    let (records, _share) = inner.work(bytes <= LIGHT_BYTES_MAX, take).await??;
    key.admit(records.len() as u64)?;
    let tally = SourceStats::of_request(&records);
    append::store(inner, source, records, tally).await?;
    Ok(())
}

/// The events of a delivery. Each is known by the request and its place in it: when the request comes again, so do they.
fn take_apart(body: &[u8], request_id: &str, share: &mut Share) -> Result<Vec<NewRecord>, Refusal> {
    let covered = 2 * body.len();
    share.cover(covered)?;
    let delivery: Delivery = serde_json::from_slice(body).map_err(|error| {
        let error = Error::invalid("the body is no delivery of Firehose").with_source(error);
        Refusal::invalid(Reason::Malformed, error)
    })?;
    // Without an id, each delivery would be a retry of the one before.
    if request_id.is_empty() || delivery.request_id != request_id {
        let error = Error::invalid("the request id of the body is not the one of the header, or is empty");
        return Err(Refusal::invalid(Reason::Parameter, error));
    }
    let entries = delivery.records.all().ok_or_else(|| {
        let most = units::human_count(ENTRIES_MAX as u64);
        let error = Error::invalid(format!("the delivery has more than {most} records"));
        Refusal::invalid(Reason::TooLarge, error).with_status(StatusCode::PAYLOAD_TOO_LARGE)
    })?;
    let mut records = Vec::with_capacity(entries.len());
    for entry in &entries {
        pieces::take_apart(&entry.data.0, &mut records, covered, share)?;
    }
    for (index, record) in records.iter_mut().enumerate() {
        record.id = Some(message_id("firehose", &[request_id.as_bytes(), index.to_string().as_bytes()]));
    }
    Ok(records)
}
