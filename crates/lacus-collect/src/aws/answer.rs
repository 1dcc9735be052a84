//! What a client is sent. A long answer keeps its share of the memory for bodies until it is on its way.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_LENGTH;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use lacus_core::Share;

/// A long answer is sent in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;

/// The body of an answer.
pub(super) struct Answer {
    bytes: Bytes,
    share: Option<Arc<Mutex<Share>>>,
}

impl Answer {
    /// An answer without a body.
    pub(super) fn empty() -> Self {
        Self::short(Vec::new())
    }

    /// An answer of a few kilobytes.
    pub(super) fn short(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into(), share: None }
    }

    /// An answer whose bytes are covered by a share.
    pub(super) fn covered(bytes: Vec<u8>, share: &Arc<Mutex<Share>>) -> Self {
        Self { bytes: bytes.into(), share: Some(Arc::clone(share)) }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Self { mut bytes, share } = self;
        let length = HeaderValue::from(bytes.len());
        let Some(share) = share.filter(|_| bytes.len() > PIECE_BYTES) else {
            return Body::from(bytes).into_response();
        };
        // The socket takes one piece after the other; the share is given back after the last.
        let pieces = std::iter::from_fn(move || {
            let _held = &share;
            let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
            (!piece.is_empty()).then_some(Ok::<_, std::convert::Infallible>(piece))
        });
        let mut response = Body::from_stream(stream::iter(pieces)).into_response();
        response.headers_mut().insert(CONTENT_LENGTH, length);
        response
    }
}
