//! The doors for AWS clients: Kinesis Data Streams and Firehose, on `POST /`.
//!
//! `X-Amz-Target` says which operation is asked for; the body is JSON (`application/x-amz-json-1.1`) or for Kinesis CBOR
//! (`application/x-amz-cbor-1.1`, what Java clients send). Every request is signed ([`crate::sigv4`]). Names, shapes and
//! errors are those of the service models; docs/reference/kinesis.md and firehose.md tell what differs.

mod aggregated;
mod delivery;
mod firehose;
mod kinesis;
mod wire;

#[cfg(test)]
mod tests;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use lacus_core::units::ByteSize;
use lacus_core::{Error, Result, StreamName};
use lacus_stream::{Log, StreamInfo};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::wire::{AwsError, Protocol};
use crate::stats::Reason;
use crate::{Collect, Inner, body, sigv4};

/// 10 MiB of records as base64, and what is around them.
const BODY_BYTES_MAX: ByteSize = ByteSize::mb(15);
/// The account that names of things (ARNs) are in: there is only one.
const ACCOUNT: &str = "000000000000";

pub(crate) fn router(collect: Collect) -> Router {
    Router::new().route("/", post(answer)).merge(delivery::routes()).with_state(collect)
}

/// A request whose signature was verified.
struct Call<'a> {
    inner: &'a Inner,
    protocol: Protocol,
    body: Bytes,
    region: String,
    key: std::sync::Arc<crate::keys::Key>,
}

async fn answer(State(collect): State<Collect>, request: Request) -> Response {
    let inner = &*collect.inner;
    let (head, body) = request.into_parts();
    let protocol = Protocol::of(&head.headers);
    let mut response = match call(inner, protocol, &head, body).await {
        Ok(body) => (StatusCode::OK, body).into_response(),
        Err(error) => {
            inner.counters.refuse(error.reason, 1);
            error.report();
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

async fn call(inner: &Inner, protocol: Protocol, head: &Parts, body: axum::body::Body) -> Result<Vec<u8>, AwsError> {
    body::check_length(&body, BODY_BYTES_MAX)?;
    let mut share = inner.budget.share();
    let body = body::read(&mut body.into_data_stream(), BODY_BYTES_MAX, inner.limits.body_wait_max, &mut share).await?;
    // The records that are made of it lie beside it in memory.
    share.cover(2 * body.len())?;
    let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let verified = sigv4::verify(head, &body, &inner.keyring, inner.clock.now())?;
    let call = Call { inner, protocol, body, region: verified.region, key: verified.key };
    match target.split_once('.') {
        Some(("Kinesis_20131202", operation)) => kinesis::answer(&call, operation).await,
        Some(("Firehose_20150804", operation)) => firehose::answer(&call, operation).await,
        _ => Err(AwsError::unknown_operation(target)),
    }
}

impl Call<'_> {
    /// What the client asks for.
    fn asked<T: DeserializeOwned>(&self) -> Result<T, AwsError> {
        self.protocol.read(&self.body)
    }

    /// What the client is told.
    fn told<T: Serialize>(&self, answer: &T) -> Result<Vec<u8>, AwsError> {
        self.protocol.write(answer)
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

    /// The stream that an AWS client means by a name.
    fn find(&self, name: &str) -> Result<StreamInfo, AwsError> {
        let found = StreamName::nearest(name).ok().and_then(|stream| self.inner.log.stream(&stream));
        found.filter(|stream| aws_name(stream) == name).ok_or_else(|| {
            AwsError::new(
                "ResourceNotFoundException",
                format!("Stream {} under account {ACCOUNT} not found.", wire::shortened(name)),
                Reason::Parameter,
            )
        })
    }

    fn arn(&self, service: &str, kind: &str, name: &str) -> String {
        format!("arn:aws:{service}:{}:{ACCOUNT}:{kind}/{name}", self.region)
    }
}

/// The attribute that keeps a name as an AWS client wrote it: names of streams have fewer letters.
const NAME: &str = "aws.name";

/// What AWS clients call a stream.
fn aws_name(stream: &StreamInfo) -> &str {
    stream.attributes.get(NAME).map_or(stream.name.as_str(), String::as_str)
}
