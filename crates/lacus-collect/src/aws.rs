//! The doors for AWS clients: Kinesis Data Streams and Firehose, on `POST /`.
//!
//! `X-Amz-Target` says which operation is asked for; the body is JSON (`application/x-amz-json-1.1`) or for Kinesis CBOR
//! (`application/x-amz-cbor-1.1`, what Java clients send). Every request is signed ([`crate::sigv4`]). Names, shapes and
//! errors are those of the service models; docs/reference/kinesis.md and firehose.md tell what differs.
//!
//! A record is acknowledged when the log has it on disk. What can't be stored is answered with an error that clients retry.

mod aggregated;
mod answer;
mod delivery;
mod firehose;
mod kinesis;
mod pieces;
mod tags;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::BodyDataStream;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, EXPECT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use lacus_core::units::ByteSize;
use lacus_core::{Error, Kind, NewRecord, Result, Share, StreamName};
use lacus_stream::{Log, NewStream, StreamInfo};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::answer::Answer;
use self::wire::{AwsError, Protocol, shortened};
use crate::keys::Key;
use crate::message_id::event_id;
use crate::stats::Reason;
use crate::{Collect, Inner, LIGHT_BYTES_MAX, body, json, sigv4};

/// 10 MiB of records as base64, and what surrounds them.
const RECORDS_BODY_BYTES_MAX: ByteSize = ByteSize::mb(15);
/// Bodies that bring no records.
const CONTROL_BODY_BYTES_MAX: ByteSize = ByteSize(256 << 10);
/// How much small values in a body without records may grow in memory, at worst.
const CONTROL_GROWTH: usize = 32;
/// The account in the names of resources (ARNs): there is only one.
const ACCOUNT: &str = "000000000000";
/// The attribute with a name as an AWS client wrote it: names of streams allow fewer characters.
const NAME: &str = "aws.name";

pub(crate) fn router(collect: Collect) -> Router {
    Router::new().route("/", post(answer)).merge(delivery::routes()).with_state(collect)
}

/// The requested operation and service. An unknown service is one without operations.
struct Target {
    service: String,
    operation: String,
}

/// A request whose signature was verified.
struct Call<'a> {
    inner: &'a Inner,
    protocol: Protocol,
    body: Bytes,
    region: String,
    key: Arc<Key>,
    /// The memory reserved for the request, and for its answer if that is long.
    share: Arc<Mutex<Share>>,
}

async fn answer(State(collect): State<Collect>, request: Request) -> Response {
    let inner = &*collect.inner;
    let (head, body) = request.into_parts();
    let (protocol, target) = (Protocol::of(&head.headers), Target::of(&head.headers));
    // A sender that waits for "100 continue" has not begun, and need not be asked to stop.
    let is_sending = !head.headers.contains_key(EXPECT);
    let length = body::check_length(&body, target.body_bytes_max());
    let mut body = body.into_data_stream();
    let answered = match length {
        Ok(()) => call(inner, protocol, &target, head, &mut body).await,
        Err(refusal) => Err(refusal.into()),
    };
    let mut response = match answered {
        Ok(answer) => answer.into_response(),
        Err(error) => {
            let error = if target.service == firehose::TARGET { firehose::in_its_terms(error) } else { error };
            inner.counters.refuse(error.reason, 1);
            error.report();
            if is_sending && error.reason != Reason::Slow {
                tokio::spawn(body::linger(body));
            }
            (error.status, protocol.error(&error)).into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(protocol.content_type()));
    if let Ok(id) = HeaderValue::from_str(&inner.request_id()) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

async fn call(
    inner: &Inner,
    protocol: Protocol,
    target: &Target,
    head: Parts,
    body: &mut BodyDataStream,
) -> Result<Answer, AwsError> {
    let most = target.body_bytes_max();
    let mut share = inner.budget.share();
    let body = body::read(body, most, inner.limits.body_wait_max, &mut share).await?;
    // The records made of the body are in memory beside it.
    let growth = if target.brings_records() { 2 } else { CONTROL_GROWTH };
    share.cover(growth * body.len())?;
    let (keyring, now, signed) = (Arc::clone(&inner.keyring), inner.clock.now(), body.clone());
    let verified =
        inner.work(body.len() <= LIGHT_BYTES_MAX, move || sigv4::verify(&head, &signed, &keyring, now)).await??;
    let (region, key, share) = (verified.region, verified.key, Arc::new(Mutex::new(share)));
    let call = Call { inner, protocol, body, region, key, share };
    match &*target.service {
        kinesis::TARGET => kinesis::answer(&call, &target.operation).await,
        firehose::TARGET => firehose::answer(&call, &target.operation).await,
        service => Err(AwsError::unknown_operation(service)),
    }
}

impl Target {
    fn of(headers: &HeaderMap) -> Self {
        let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
        let (service, operation) = target.split_once('.').unwrap_or((target, ""));
        Self { service: service.to_owned(), operation: operation.to_owned() }
    }

    fn brings_records(&self) -> bool {
        matches!(&*self.operation, "PutRecord" | "PutRecords" | "PutRecordBatch")
    }

    fn body_bytes_max(&self) -> ByteSize {
        if self.brings_records() { RECORDS_BODY_BYTES_MAX } else { CONTROL_BODY_BYTES_MAX }
    }
}

impl Call<'_> {
    /// What the client asks for.
    fn asked<T: DeserializeOwned>(&self) -> Result<T, AwsError> {
        self.protocol.read(&self.body)
    }

    /// What the client is told.
    fn told<T: Serialize>(&self, answer: &T) -> Result<Answer, AwsError> {
        self.protocol.write(answer).map(Answer::short)
    }

    /// Parses the body, off the async threads if it is long.
    async fn take<T: Send + 'static>(
        &self,
        take: impl FnOnce(Protocol, &[u8]) -> Result<T, AwsError> + Send + 'static,
    ) -> Result<T, AwsError> {
        let (protocol, body) = (self.protocol, self.body.clone());
        self.inner.work(body.len() <= LIGHT_BYTES_MAX, move || take(protocol, &body)).await?
    }

    /// Works on the log off the async threads: it waits for the disk.
    async fn with_log<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Log) -> Result<T> + Send + 'static,
    ) -> Result<T, AwsError> {
        let log = self.inner.log.clone();
        let done = tokio::task::spawn_blocking(move || work(&log)).await;
        let done = done.unwrap_or_else(|error| Err(Error::internal("a request ended early").with_source(error)));
        Ok(done?)
    }

    /// The same to change a stream: "too many" is then an exceeded limit, not an exceeded throughput.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Log) -> Result<T> + Send + 'static,
    ) -> Result<T, AwsError> {
        let limited = |error: AwsError| match error.name {
            "ProvisionedThroughputExceededException" => AwsError { name: "LimitExceededException", ..error },
            _ => error,
        };
        self.with_log(change).await.map_err(limited)
    }

    /// Changes the attributes of a stream.
    async fn remember(
        &self,
        stream: &StreamInfo,
        mut change: impl FnMut(&mut BTreeMap<String, String>) -> Result<()> + Send + 'static,
    ) -> Result<(), AwsError> {
        let name = stream.name.clone();
        self.change(move |log| log.change_attributes(&name, &mut change)).await.map(drop)
    }

    /// Counts records against the rate of the key, and their bytes in the log against the memory of requests.
    fn admit(&self, records: usize, bytes: usize) -> Result<(), AwsError> {
        let kept = 2 * self.body.len() + bytes + records * size_of::<NewRecord>();
        self.share.lock().unwrap_or_else(PoisonError::into_inner).cover(kept)?;
        Ok(self.key.admit(records as u64)?)
    }

    /// Gives events the identity that they have in a field, if the settings of their source name one. Bytes that are no event have
    /// none: they would keep a good one from its table.
    async fn identified(
        &self,
        source: &StreamName,
        mut records: Vec<NewRecord>,
        bytes: usize,
    ) -> Result<Vec<NewRecord>, AwsError> {
        let settings = self.inner.settings.sources.get(source.as_str());
        let Some(path) = settings.and_then(|settings| settings.id.clone()) else { return Ok(records) };
        let work = move || {
            for record in records.iter_mut().filter(|record| json::is_event(&record.value)) {
                record.id = event_id(&record.value, &path);
            }
            records
        };
        Ok(self.inner.work(bytes <= LIGHT_BYTES_MAX, work).await?)
    }

    /// The stream that an AWS client means by a name.
    fn find(&self, name: &str) -> Result<StreamInfo, AwsError> {
        find(&self.inner.log, name).ok_or_else(|| {
            AwsError::not_found(format!("Stream {} under account {ACCOUNT} not found.", shortened(name)))
        })
    }

    fn arn(&self, service: &str, kind: &str, name: &str) -> String {
        format!("arn:aws:{service}:{}:{ACCOUNT}:{kind}/{name}", self.region)
    }
}

/// The stream with this name for AWS clients.
fn find(log: &Log, name: &str) -> Option<StreamInfo> {
    let stream = StreamName::nearest(name).ok()?;
    log.stream(&stream).filter(|stream| aws_name(stream) == name)
}

/// What AWS clients call a stream.
fn aws_name(stream: &StreamInfo) -> &str {
    stream.attributes.get(NAME).map_or(stream.name.as_str(), String::as_str)
}

/// All streams, ordered by their names for AWS clients.
fn streams(log: &Log) -> Vec<StreamInfo> {
    let mut streams = log.streams();
    streams.retain(|stream| !stream.is_deleted);
    streams.sort_by(|one, other| aws_name(one).cmp(aws_name(other)));
    streams
}

/// Makes a stream with a name of AWS: `name_chars_max` characters of `a-zA-Z0-9_.-`, of which names of streams allow fewer.
async fn make_stream(call: &Call<'_>, name: &str, name_chars_max: usize, mut new: NewStream) -> Result<(), AwsError> {
    let letters = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    if !(1..=name_chars_max).contains(&name.len()) || !name.chars().all(letters) {
        return Err(AwsError::validation(format!(
            "The name of a stream must have 1 to {name_chars_max} letters, digits, underscores, dots and hyphens."
        )));
    }
    let stream = StreamName::nearest(name)?;
    if stream.as_str() != name {
        new.attributes.insert(NAME.to_owned(), name.to_owned());
    }
    let (asked, wanted) = (name.to_owned(), stream.clone());
    call.change(move |log| {
        if let Some(taken) = log.stream(&wanted) {
            return Err(Error::new(Kind::Exists, already_there(&asked, &taken)));
        }
        // Another request may have been faster, with almost the same name.
        let made = log.create_stream(&wanted, &new)?;
        if aws_name(&made) == asked { Ok(()) } else { Err(Error::new(Kind::Exists, already_there(&asked, &made))) }
    })
    .await
}

fn already_there(name: &str, taken: &StreamInfo) -> String {
    match aws_name(taken) {
        same if same == name => format!("Stream {name} under account {ACCOUNT} already exists."),
        other => {
            let stream = &taken.name;
            format!("Stream {name} would be stream and table {stream} here, which stream {other} is already.")
        }
    }
}
