//! Cross-origin requests: pages of any site may send here, as a write key says what they may do.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// A browser asks again after a day.
const MAX_AGE_SECONDS: HeaderValue = HeaderValue::from_static("86400");
const ANY: HeaderValue = HeaderValue::from_static("*");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, OPTIONS");

/// Answers preflight requests of browsers, and lets them read answers.
pub(crate) async fn allow(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let is_question =
        request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if !is_question {
        let mut response = next.run(request).await;
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
        return response;
    }
    // "*" would not allow `authorization`: requested headers are allowed by name.
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let mut response = StatusCode::NO_CONTENT.into_response();
    let mut allow = |name: HeaderName, value: HeaderValue| response.headers_mut().insert(name, value);
    allow(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    allow(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    allow(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS);
    if let Some(asked) = asked {
        allow(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
    }
    response
}
