//! The files of the lake for engines on other machines: the protocol of S3, at the root of the HTTP port.
//!
//! A request is for files if it is signed for S3, or its path is below the bucket's name: clients sign the path as it
//! is, so there is no prefix to take off. Nothing is answered without a Signature Version 4 in the header `Authorization`.
//! The library that verifies it knows other ways to sign, older and weaker; they are refused before it sees them.

mod answers;
mod body;
mod sums;

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use lacus_core::Budget;
use lacus_lake::Served;
use s3s::auth::{S3Auth, SecretKey};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Error, S3ErrorCode, S3Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::answers::Files;
use super::bodies;
use crate::engines::{Engines, Locked};

/// The prefix of signatures that are verified here.
const SIGNED: &str = "AWS4-HMAC-SHA256 ";
/// The service it is for.
const SCOPE: &str = "/s3/aws4_request";
/// Parameters of presigned URLs: the lake hands out nothing that may be passed on.
const SIGNED_ADDRESS: [&str; 3] = ["x-amz-signature", "signature", "awsaccesskeyid"];
/// The most bytes of an XML body: a list of parts, a list of names to delete.
const XML_BYTES_MAX: usize = 4 << 20;
/// The most bytes of all of them in memory at once.
const XML_BODIES_BYTES_MAX: usize = 64 << 20;
/// What the address of a file or a part of one may say. With anything else its body may be XML, which is kept in memory.
const OF_A_FILE: [&str; 3] = ["x-id", "partNumber", "uploadId"];
/// The most bytes of a field of a form, and of all of them.
const FORM_BYTES_MAX: usize = 1 << 10;
/// Headers that decide how a body is read: each may occur once, so that we and the library read it the same way.
const READ_ONCE: [&str; 6] = [
    "content-type",
    "content-length",
    "x-amz-content-sha256",
    "x-amz-decoded-content-length",
    "x-amz-date",
    "x-amz-trailer",
];
/// What may be around and after the chunks of a body, beside an eighth of its contents.
const AROUND_CHUNKS_BYTES: u64 = 64 << 10;
/// The longest body in chunks: it is kept in memory chunk by chunk, and one chunk may be all of it.
const CHUNKED_BYTES_MAX: u64 = 64 << 20;
/// The most memory for all of these bodies together, in KiB.
const CHUNKED_KIB_MAX: usize = 256 << 10;

/// Decides whether a request is for files, and answers it.
#[derive(Clone)]
struct Gate {
    service: S3Service,
    served: Arc<Served>,
    chunked: Arc<Semaphore>,
    xml: Arc<Budget>,
}

struct Secrets(Arc<Engines>);

#[async_trait]
impl S3Auth for Secrets {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match self.0.secret(access_key) {
            Ok(secret) => Ok(SecretKey::from(secret)),
            Err(Locked::Unknown) => Err(S3Error::with_message(
                S3ErrorCode::InvalidAccessKeyId,
                "this is no lake key; lacus key create --lake makes one",
            )),
            Err(Locked::Ended) => Err(S3Error::with_message(
                S3ErrorCode::ExpiredToken,
                "these credentials are over; load the table again",
            )),
        }
    }
}

/// Adds the files of the lake to a router.
pub fn with_files(router: Router, served: &Arc<Served>, engines: &Arc<Engines>) -> Router {
    let mut builder = S3ServiceBuilder::new(Files::new(Arc::clone(served)));
    builder.set_auth(Secrets(Arc::clone(engines)));
    let mut config = S3Config::default();
    config.xml_max_body_size = XML_BYTES_MAX;
    // Forms are refused earlier; one that slips through gets no memory.
    config.post_object_max_file_size = 0;
    config.form_max_field_size = FORM_BYTES_MAX;
    config.form_max_fields_size = FORM_BYTES_MAX;
    config.form_max_parts = 1;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    let chunked = Arc::new(Semaphore::new(CHUNKED_KIB_MAX));
    let xml = Arc::new(Budget::new(XML_BODIES_BYTES_MAX));
    let gate = Gate { service: builder.build(), served: Arc::clone(served), chunked, xml };
    router.layer(middleware::from_fn_with_state(gate, answer))
}

async fn answer(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    if !is_for_files(&head, gate.served.bucket()) {
        return next.run(Request::from_parts(head, body)).await;
    }
    let room = match must_be_plain(&head).and_then(|()| room_for_chunks(&head.headers, &gate.chunked)) {
        Ok(room) => room,
        Err(refused) => return refused.into_response(),
    };
    let (body, permit) = match room {
        Some(room) => (no_longer_than(body, room.bytes), Some(room.permit)),
        None => (body, None),
    };
    let request = Request::from_parts(head, body);
    let response = within_budget(&gate.xml, request, |request| by_library(&gate.service, request)).await;
    drop(permit);
    response
}

/// Answers a request if there is memory for its body, should that be kept in memory.
async fn within_budget<Answering: Future<Output = Response>>(
    xml: &Budget,
    request: Request,
    answer: impl FnOnce(Request) -> Answering,
) -> Response {
    if brings_a_file(&request) {
        return answer(request).await;
    }
    let why = "too many requests are being read at once: try again";
    let busy = |_| Refused(StatusCode::SERVICE_UNAVAILABLE, "SlowDown", why).into_response();
    bodies::answer(xml, request, answer).await.unwrap_or_else(busy)
}

/// Whether the body of a request is written as it comes.
fn brings_a_file(request: &Request) -> bool {
    let query = request.uri().query().unwrap_or_default();
    let mut names = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
    let names_a_file = request.uri().path().trim_matches('/').contains('/');
    *request.method() == Method::PUT && names_a_file && names.all(|name| OF_A_FILE.contains(&&*name))
}

async fn by_library(service: &S3Service, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let request = Request::from_parts(head, s3s::Body::http_body_unsync(body));
    match Box::pin(service.call(request)).await {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            let error: Box<dyn std::error::Error + Send + Sync> = error.into();
            tracing::error!(%error, "a request for files could not be answered");
            Refused(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "the request could not be answered")
                .into_response()
        }
    }
}

/// Whether a path is that of a bucket or of something in it.
pub fn is_in_bucket(path: &str, bucket: &str) -> bool {
    let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(bucket));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a request has a signature for files.
pub fn is_signed_for_files(headers: &HeaderMap) -> bool {
    let signature = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    signature.is_some_and(|signature| signature.starts_with(SIGNED) && signature.contains(SCOPE))
}

fn is_for_files(head: &Parts, bucket: &str) -> bool {
    is_in_bucket(head.uri.path(), bucket) || is_signed_for_files(&head.headers)
}

/// Refuses requests that are not signed in the one way that is verified here.
fn must_be_plain(head: &Parts) -> Result<(), Refused> {
    let names = form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
    let is_signed_address = |name: &str| SIGNED_ADDRESS.iter().any(|signed| name.eq_ignore_ascii_case(signed));
    if names.into_iter().any(|(name, _)| is_signed_address(&name)) {
        let why = "signatures in the address are not taken: sign in the header Authorization";
        return Err(Refused(StatusCode::NOT_IMPLEMENTED, "NotImplemented", why));
    }
    for name in READ_ONCE {
        let mut values = head.headers.get_all(name).iter();
        let is_plain = values.next().is_none_or(|value| value.to_str().is_ok());
        if !is_plain || values.next().is_some() {
            let why = "a header that says how the body is read is there twice, or is no text";
            return Err(Refused(StatusCode::BAD_REQUEST, "InvalidRequest", why));
        }
    }
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.trim_start().to_ascii_lowercase().starts_with("multipart/") {
        let why = "forms are not taken: put the file";
        return Err(Refused(StatusCode::NOT_IMPLEMENTED, "NotImplemented", why));
    }
    if head.headers.get_all(header::AUTHORIZATION).iter().count() != 1 || !is_signed_for_files(&head.headers) {
        let why = "the request is not signed for S3 with Signature Version 4";
        return Err(Refused(StatusCode::FORBIDDEN, "AccessDenied", why));
    }
    Ok(())
}

/// Reserved memory for a body in chunks.
#[derive(Debug)]
struct Room {
    permit: OwnedSemaphorePermit,
    /// The longest that the body may be, including what is around the chunks.
    bytes: u64,
}

/// Reserves memory for a body in chunks; other bodies need none.
fn room_for_chunks(headers: &HeaderMap, chunked: &Arc<Semaphore>) -> Result<Option<Room>, Refused> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if !text("x-amz-content-sha256").is_some_and(|hash| hash.starts_with("STREAMING-")) {
        return Ok(None);
    }
    let length = text("x-amz-decoded-content-length").and_then(|length| length.parse::<u64>().ok());
    let why = "x-amz-decoded-content-length is missing";
    let length = length.ok_or(Refused(StatusCode::LENGTH_REQUIRED, "MissingContentLength", why))?;
    if length > CHUNKED_BYTES_MAX {
        let why = "a body in chunks has 64 MiB at most: send the file in parts";
        return Err(Refused(StatusCode::BAD_REQUEST, "EntityTooLarge", why));
    }
    let kib = u32::try_from(length.div_ceil(1024)).expect("it is 64 MiB at most");
    let permit = Arc::clone(chunked).try_acquire_many_owned(kib);
    let why = "too much comes in at once: try again";
    let permit = permit.map_err(|_| Refused(StatusCode::SERVICE_UNAVAILABLE, "SlowDown", why))?;
    Ok(Some(Room { permit, bytes: length + length / 8 + AROUND_CHUNKS_BYTES }))
}

/// A body that fails when it is longer than announced.
fn no_longer_than(body: Body, bytes: u64) -> Body {
    let mut left = bytes;
    Body::from_stream(body.into_data_stream().map(move |piece| {
        let piece = piece.map_err(io::Error::other)?;
        left =
            left.checked_sub(piece.len() as u64).ok_or_else(|| io::Error::other("the body is longer than was said"))?;
        Ok::<_, io::Error>(piece)
    }))
}

/// A refusal before the library sees the request: status, code, message.
#[derive(Debug)]
struct Refused(StatusCode, &'static str, &'static str);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, code, message) = self;
        let xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        );
        (status, [(header::CONTENT_TYPE, "application/xml")], xml).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(path: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes());
        }
        request.body(()).unwrap().into_parts().0
    }

    const GOOD: &str =
        "AWS4-HMAC-SHA256 Credential=a/20261122/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x";
    const KINESIS: &str =
        "AWS4-HMAC-SHA256 Credential=a/20261122/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=x";

    #[test]
    fn requests_for_files_are_known() {
        for (path, signature, is_for) in [
            ("/lake", "", true),
            ("/lake/main/x", "", true),
            ("/lakes/x", "", false),
            ("/", "", false),
            ("/", GOOD, true),
            ("/other/x", GOOD, true),
            ("/", KINESIS, false),
            ("/lake/x", KINESIS, true),
        ] {
            assert_eq!(
                is_for_files(&head(path, &[("authorization", signature)]), "lake"),
                is_for,
                "{path} {signature}"
            );
        }
    }

    #[test]
    fn what_is_signed_otherwise_is_refused() {
        let signed = [("authorization", GOOD)];
        assert!(must_be_plain(&head("/lake/x?list-type=2", &signed)).is_ok());
        for (path, headers) in [
            ("/lake/x", vec![]),
            ("/lake/x", vec![("authorization", "AWS a:signature")]),
            ("/lake/x", vec![("authorization", KINESIS)]),
            ("/lake/x", vec![("authorization", GOOD), ("authorization", GOOD)]),
            ("/lake/x?Signature=x&AWSAccessKeyId=a&Expires=9", signed.to_vec()),
            ("/lake/x?%53ignature=x", signed.to_vec()),
            ("/lake/x?X-Amz-Signature=x", signed.to_vec()),
            ("/lake", vec![("authorization", GOOD), ("content-type", "Multipart/form-data; boundary=x")]),
            ("/lake", vec![("authorization", GOOD), ("content-type", "multipart/form-data; boundary=\"é\"")]),
            (
                "/lake",
                vec![("authorization", GOOD), ("content-type", "text/csv"), ("content-type", "multipart/form-data")],
            ),
            (
                "/lake/x",
                vec![
                    ("authorization", GOOD),
                    ("x-amz-decoded-content-length", "1"),
                    ("x-amz-decoded-content-length", "9"),
                ],
            ),
        ] {
            assert!(must_be_plain(&head(path, &headers)).is_err(), "{path} {headers:?}");
        }
    }

    #[test]
    fn chunks_have_a_bound() {
        let chunked = Arc::new(Semaphore::new(CHUNKED_KIB_MAX));
        let of = |length: &str| {
            let headers = [
                ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
                ("x-amz-decoded-content-length", length),
            ];
            room_for_chunks(&head("/lake/x", &headers).headers, &chunked)
        };
        let most = CHUNKED_BYTES_MAX.to_string();
        let held: Vec<_> = (0..4).map(|_| of(&most).unwrap().unwrap()).collect();
        assert_eq!(of("1").unwrap_err().1, "SlowDown");
        drop(held);
        assert!(of("1").is_ok());
        assert_eq!(of(&(CHUNKED_BYTES_MAX + 1).to_string()).unwrap_err().1, "EntityTooLarge");
        assert_eq!(of("x").unwrap_err().1, "MissingContentLength");
    }

    #[tokio::test]
    async fn what_is_kept_in_memory_has_a_bound_together() {
        let budget = Budget::new(16 << 10);
        let ask = async |method: &str, path: &str, body: &'static str| {
            let request = Request::builder().method(method).uri(path).body(Body::from(body)).unwrap();
            let answer = async |request: Request| match axum::body::to_bytes(request.into_body(), 100).await {
                Ok(_) => StatusCode::OK.into_response(),
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            };
            within_budget(&budget, request, answer).await.status().as_u16()
        };
        assert_eq!(ask("POST", "/lake?delete", "<Delete/>").await, 200);
        let mut others = budget.share();
        others.cover(16 << 10).unwrap();
        for (method, path, body, status) in [
            ("POST", "/lake?delete", "<Delete/>", 503),
            ("POST", "/lake/main/x?uploadId=1", "<CompleteMultipartUpload/>", 503),
            ("PUT", "/lake/main/x?tagging", "<Tagging/>", 503),
            ("PUT", "/lake", "<CreateBucketConfiguration/>", 503),
            ("PUT", "/lake/?acl", "<AccessControlPolicy/>", 503),
            ("POST", "/lake/main/x?uploads", "", 200),
            ("GET", "/lake/main/x", "", 200),
            ("PUT", "/lake/main/x?x-id=PutObject", "rows", 200),
            ("PUT", "/lake/main/x?partNumber=1&uploadId=1", "rows", 200),
        ] {
            assert_eq!(ask(method, path, body).await, status, "{method} {path}");
        }
        drop(others);
        assert_eq!(ask("POST", "/lake?delete", "<Delete/>").await, 200, "who was refused holds nothing");
    }

    #[tokio::test]
    async fn a_body_is_no_longer_than_it_was_said_to_be() {
        let read = async |bytes: u64| axum::body::to_bytes(no_longer_than(Body::from("four"), bytes), 100).await;
        assert_eq!(read(4).await.unwrap(), "four");
        assert!(read(3).await.is_err());
    }
}
