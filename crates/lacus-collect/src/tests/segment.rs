//! The Tracking API as SDKs speak it.

use std::io::Write;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{Door, Reply};

fn basic(key: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{key}:")))
}

async fn send(door: &Door, path: &str, key: &str, body: impl Into<Body>) -> Reply {
    let request = Request::post(path).header("authorization", basic(key)).body(body.into()).unwrap();
    door.send(request).await
}

fn stored(door: &Door) -> Vec<Value> {
    door.values("web").iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(text.as_bytes()).unwrap();
    packer.finish().unwrap()
}

#[tokio::test]
async fn a_batch_is_stored_message_by_message() {
    let door = Door::new();
    let key = door.write_key("web");
    let batch = json!({"batch": [
        {"type": "track", "event": "Signed Up", "userId": "u1", "messageId": "m1"},
        {"type": "identify", "userId": "u1", "messageId": "m2", "context": {"own": true}, "traits": {"plan": "pro"}},
    ], "sentAt": "2026-11-20T00:00:00Z", "context": {"library": {"name": "x"}}, "writeKey": key});
    let reply = send(&door, "/v1/batch", &key, batch.to_string()).await;
    assert_eq!((reply.status, &*reply.text), (StatusCode::OK, r#"{"success":true}"#));
    let stored = stored(&door);
    assert_eq!(stored[0]["context"], json!({"library": {"name": "x"}}));
    assert_eq!(stored[1]["context"], json!({"own": true}));
    assert!(stored.iter().all(|message| message["receivedAt"].is_string() && message.get("writeKey").is_none()));
    assert_eq!(door.records("web")[0].0.as_deref(), Some("u1"));
}

#[tokio::test]
async fn every_path_of_a_message_says_its_type() {
    let door = Door::new();
    let key = door.write_key("web");
    for path in ["identify", "track", "page", "screen", "group", "alias", "i", "t", "p", "s", "g", "a"] {
        let reply = send(&door, &format!("/v1/{path}"), &key, r#"{"userId":"u"}"#).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}");
    }
    let types: Vec<Value> = stored(&door).iter().map(|message| message["type"].clone()).collect();
    assert_eq!(types[..6], types[6..]);
    assert_eq!(types[..6], ["identify", "track", "page", "screen", "group", "alias"]);
}

#[tokio::test]
async fn a_body_is_unpacked_whatever_its_headers_say() {
    let door = Door::new();
    let key = door.write_key("web");
    let body = r#"{"batch":[{"type":"page","userId":"u"}]}"#;
    let form = Request::post("/v1/batch")
        .header("authorization", basic(&key))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(gzip(body).into())
        .unwrap();
    assert_eq!(door.send(form).await.status, StatusCode::OK);
    let in_body = format!(r#"{{"type":"page","userId":"u","writeKey":"{key}"}}"#);
    let text = Request::post("/v1/p").header("content-type", "text/plain").body(in_body.into()).unwrap();
    assert_eq!(door.send(text).await.status, StatusCode::OK);
    assert_eq!(stored(&door).len(), 2);
}

#[tokio::test]
async fn only_what_can_never_be_read_is_refused_for_good() {
    let door = Door::new();
    let key = door.write_key("web");
    for (body, status) in [
        ("nope".to_owned(), StatusCode::BAD_REQUEST),
        (r#"{"batch":7}"#.to_owned(), StatusCode::BAD_REQUEST),
        (format!(r#"{{"batch":["{}"]}}"#, "x".repeat(600_000)), StatusCode::PAYLOAD_TOO_LARGE),
        // These are kept, and go to quarantine when they are delivered.
        (r#"{"batch":[7,{},{"type":"track"}]}"#.to_owned(), StatusCode::OK),
    ] {
        let reply = send(&door, "/v1/batch", &key, body).await;
        assert_eq!(reply.status, status, "{}", reply.text);
        assert!(reply.json().is_object());
    }
    assert_eq!(door.values("web").len(), 3);
    let reply = send(&door, "/v1/batch", "wk_unknown", "{}").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    insta::assert_snapshot!(reply.text, @r#"{"code":"denied","message":"this write key is unknown, or was revoked"}"#);
}

#[tokio::test]
async fn what_cannot_be_stored_now_is_kept_by_the_sdk() {
    let door = Door::new();
    let key = door.write_key("web");
    door.log.close().await.unwrap();
    let reply = send(&door, "/v1/track", &key, "{}").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(reply.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn browsers_may_send_from_any_page() {
    let door = Door::new();
    let question = Request::options("/v1/t")
        .header("origin", "https://shop.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,x-retry-count")
        .body(Body::empty())
        .unwrap();
    let reply = door.send(question).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
    assert_eq!(reply.headers["access-control-allow-headers"], "authorization,content-type,x-retry-count");
    let reply = send(&door, "/v1/t", "wk_unknown", "{}").await;
    assert_eq!(reply.headers["access-control-allow-origin"], "*");
    let asked = Request::get("/v1/projects/wk_1/settings").header("host", "lacus.example").body(Body::empty()).unwrap();
    let settings = door.send(asked).await.json();
    assert_eq!(settings["integrations"]["Segment.io"]["apiHost"], "lacus.example/v1");
}

#[tokio::test]
async fn messages_and_plain_events_never_share_a_stream() {
    let door = Door::new();
    let key = door.write_key("web");
    assert_eq!(send(&door, "/v1/track", &key, "{}").await.status, StatusCode::OK);
    let reply = door.post("/v1/events?source=web", "{}").await;
    insta::assert_snapshot!(reply.text, @r#"{"error":{"kind":"invalid","message":"source \"web\" takes messages of the Segment API only","hint":"post events to another source, or send them with a Segment SDK"}}"#);
    door.post("/v1/events?source=clicks", "{}").await;
    let key = door.write_key("clicks");
    let reply = send(&door, "/v1/track", &key, "{}").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.text);
}
