//! Requests of other machines: answered where people are asked who they are, and nowhere else.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use lacus_core::Kind;
use lacus_serve::http::{Elsewhere, Pass, is_in_bucket, is_signed_for_files};
use serde_json::json;

/// Whether a connection comes from another machine: neither over the loopback, nor from the address that it came to.
pub(super) fn is_from_elsewhere(peer: SocketAddr, local: Option<SocketAddr>) -> bool {
    let peer = peer.ip().to_canonical();
    !peer.is_loopback() && local.is_none_or(|local| local.ip().to_canonical() != peer)
}

/// What the middleware has to know.
#[derive(Clone)]
struct Others {
    bucket: Option<Arc<str>>,
    /// Where the loopback is not trusted: what commands of this machine present.
    pass: Option<Pass>,
}

/// Has a router answer other machines only about the Iceberg catalog, the files of the lake's bucket, and its health. With a
/// pass, every request on a connection that does not show it counts as one of another machine.
pub(crate) fn open_to_others(router: Router, bucket: Option<&str>, pass: Option<Pass>) -> Router {
    let others = Others { bucket: bucket.map(Arc::from), pass };
    router.layer(middleware::from_fn_with_state(others, refuse_others))
}

async fn refuse_others(State(others): State<Others>, mut request: Request, next: Next) -> Response {
    if others.pass.as_ref().is_some_and(|pass| is_stranger(&request, pass)) {
        request.extensions_mut().insert(Elsewhere);
    }
    let is_elsewhere = request.extensions().get::<Elsewhere>().is_some();
    if is_elsewhere && !is_for_others(&request, others.bucket.as_deref()) {
        let hint = match others.pass {
            None => "ask on the machine where lacus runs, or through an SSH tunnel",
            Some(_) => {
                "server.trust_loopback = false: ask with lacus sql in the folder of the project, or over Postgres as a user"
            }
        };
        let error = json!({
            "kind": Kind::Denied.as_str(),
            "message": "other machines are answered at /iceberg and for the files of the lake, and nowhere else",
            "hint": hint,
        });
        return (StatusCode::FORBIDDEN, Json(json!({ "error": error }))).into_response();
    }
    next.run(request).await
}

/// Whether a request came over a connection and does not show the pass. Requests within this process have no connection.
fn is_stranger(request: &Request, pass: &Pass) -> bool {
    request.extensions().get::<ConnectInfo<SocketAddr>>().is_some() && !pass.is_shown(request.headers())
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
        let router = open_to_others(Router::new().fallback(get(async || "answered")), Some("lake"), None);
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

    async fn to_whom(request: Request) -> &'static str {
        if request.extensions().get::<Elsewhere>().is_some() { "to others" } else { "to us" }
    }

    #[tokio::test]
    async fn where_the_loopback_is_not_trusted_everybody_shows_the_pass() {
        let pass = Pass::new().unwrap();
        let router = open_to_others(Router::new().fallback(get(to_whom)), Some("lake"), Some(pass.clone()));
        let ask = async |path: &str, is_connected: bool, shown: &str| {
            let mut request = Request::builder().uri(path).header(Pass::HEADER, shown).body(Body::empty()).unwrap();
            if is_connected {
                let peer: SocketAddr = "127.0.0.1:1".parse().unwrap();
                request.extensions_mut().insert(ConnectInfo(peer));
            }
            let response = router.clone().oneshot(request).await.unwrap();
            let status = response.status().as_u16();
            let body = axum::body::to_bytes(response.into_body(), 1_000).await.unwrap();
            (status, String::from_utf8(body.to_vec()).unwrap())
        };
        let (to_us, to_others) = ((200, "to us".to_owned()), (200, "to others".to_owned()));
        for path in ["/v1/sql", "/metrics", "/iceberg/v1/config", "/lake"] {
            assert_eq!(ask(path, true, pass.reveal()).await, to_us, "{path}");
            assert_eq!(ask(path, false, "").await, to_us, "{path}: a command that has the project open itself");
        }
        for path in ["/iceberg/v1/config", "/lake/main/t/data/x", "/livez"] {
            assert_eq!(ask(path, true, "").await, to_others, "{path}");
        }
        for path in ["/v1/sql", "/v1/keys", "/v1/events", "/metrics"] {
            let (status, told) = ask(path, true, "guessed").await;
            assert!(status == 403 && told.contains("trust_loopback"), "{path}: {status} {told}");
        }
    }
}
