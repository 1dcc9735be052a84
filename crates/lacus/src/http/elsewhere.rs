//! Requests of other machines: answered where people are asked who they are, and nowhere else.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use lacus_core::Kind;
use lacus_serve::http::{Elsewhere, is_in_bucket, is_signed_for_files};
use serde_json::json;

/// Whether a connection comes from another machine: neither over the loopback, nor from the address that it came to.
pub(super) fn is_from_elsewhere(peer: SocketAddr, local: Option<SocketAddr>) -> bool {
    let peer = peer.ip().to_canonical();
    !peer.is_loopback() && local.is_none_or(|local| local.ip().to_canonical() != peer)
}

/// Has a router answer other machines about the Iceberg catalog, the files of the lake's bucket and its health alone.
pub(crate) fn open_to_others(router: Router, bucket: Option<&str>) -> Router {
    router.layer(middleware::from_fn_with_state(bucket.map(Arc::from), refuse_others))
}

async fn refuse_others(State(bucket): State<Option<Arc<str>>>, request: Request, next: Next) -> Response {
    let is_elsewhere = request.extensions().get::<Elsewhere>().is_some();
    if is_elsewhere && !is_for_others(&request, bucket.as_deref()) {
        let error = json!({
            "kind": Kind::Denied.as_str(),
            "message": "other machines are answered at /iceberg and for the files of the lake, and nowhere else",
            "hint": "ask on the machine where lacus runs, or through an SSH tunnel",
        });
        return (StatusCode::FORBIDDEN, Json(json!({ "error": error }))).into_response();
    }
    next.run(request).await
}

fn is_for_others(request: &Request, bucket: Option<&str>) -> bool {
    let path = request.uri().path();
    let is_for_files = |bucket| is_in_bucket(path, bucket) || is_signed_for_files(request.headers());
    matches!(path, "/livez" | "/readyz") || path.starts_with("/iceberg/") || bucket.is_some_and(is_for_files)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[test]
    fn this_machine_is_known_by_its_addresses() {
        let is = |peer: &str, local: &str| is_from_elsewhere(peer.parse().unwrap(), Some(local.parse().unwrap()));
        assert!(!is("127.0.0.1:1", "127.0.0.1:8484") && !is("[::1]:1", "[::1]:8484"));
        assert!(!is("192.0.2.2:1", "192.0.2.2:8484") && !is("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:8484"));
        assert!(is("192.0.2.3:1", "192.0.2.2:8484") && is("[::ffff:192.0.2.3]:1", "[::]:8484"));
        assert!(is_from_elsewhere("192.0.2.3:1".parse().unwrap(), None));
    }

    #[tokio::test]
    async fn others_are_answered_where_they_are_asked_who_they_are() {
        let router = open_to_others(Router::new().fallback(get(async || "answered")), Some("lake"));
        let ask = async |path: &str, signature: &str, is_elsewhere: bool| {
            let mut request =
                Request::builder().uri(path).header("authorization", signature).body(Body::empty()).unwrap();
            if is_elsewhere {
                request.extensions_mut().insert(Elsewhere);
            }
            router.clone().oneshot(request).await.unwrap().status().as_u16()
        };
        for path in ["/livez", "/readyz", "/iceberg/v1/config", "/lake", "/lake/main/t/data/x"] {
            assert_eq!(ask(path, "", true).await, 200, "{path}");
        }
        for path in ["/", "/v1/sql", "/v1/keys", "/v1/events", "/iceberg", "/lakes", "//iceberg/v1/config", "/metrics"]
        {
            assert_eq!(ask(path, "", true).await, 403, "{path}");
            assert_eq!(ask(path, "", false).await, 200, "{path}");
        }
        assert_eq!(ask("/", "AWS4-HMAC-SHA256 Credential=a/20261122/r/s3/aws4_request, x", true).await, 200);
        assert_eq!(ask("/", "AWS4-HMAC-SHA256 Credential=a/20261122/r/kinesis/aws4_request, x", true).await, 403);
    }
}
