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
        (format!(r#"{{"batch":["{}"]}}"#, "x".repeat(5 << 20)), StatusCode::PAYLOAD_TOO_LARGE),
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
    insta::assert_snapshot!(reply.text, @r#"{"code":"denied","message":"this write key is unknown, or was revoked","error":{"kind":"denied","message":"this write key is unknown, or was revoked","hint":"lacus key create --source NAME makes one"}}"#);
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
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(door.values("web").len(), 1);
}

#[tokio::test]
async fn sdks_keep_their_messages_until_the_source_can_have_them() {
    let door = Door::new();
    door.post("/v1/events?source=clicks", "{}").await;
    let key = door.write_key("clicks");
    let reply = send(&door, "/v1/track", &key, "{}").await;
    assert_eq!((reply.status, reply.headers["retry-after"].as_bytes()), (StatusCode::SERVICE_UNAVAILABLE, &b"1"[..]));
    insta::assert_snapshot!(reply.text, @r#"{"code":"unavailable","message":"source \"clicks\" takes plain events, no Segment messages","error":{"kind":"unavailable","message":"source \"clicks\" takes plain events, no Segment messages","hint":"make a write key for another source: lacus key create --source NAME"}}"#);
    let image = door.send(Request::get(format!("/v1/pixel/track?writeKey={key}")).body(Body::empty()).unwrap()).await;
    assert_eq!(image.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((door.collect.stats().refused["parameter"], door.values("clicks").len()), (2, 1));
    // It is mended, and the SDK sends again.
    door.log.delete_stream(&lacus_core::StreamName::new("clicks").unwrap()).unwrap();
    assert_eq!(send(&door, "/v1/track", &key, "{}").await.status, StatusCode::OK);
    // This name is not to be had.
    let reply = send(&door, "/v1/track", &door.write_key("main"), "{}").await;
    assert_eq!((reply.status, reply.headers["retry-after"].as_bytes()), (StatusCode::SERVICE_UNAVAILABLE, &b"1"[..]));
    assert!(reply.text.contains("the name is taken"), "{}", reply.text);
    assert_eq!(door.collect.stats().refused["parameter"], 3);
}

#[tokio::test]
async fn sdks_keep_the_messages_of_a_body_that_breaks_off() {
    let door = Door::new();
    let key = door.write_key("web");
    let pieces = [Ok(r#"{"type":"#), Err(std::io::Error::other("the connection is lost"))];
    let reply = send(&door, "/v1/track", &key, Body::from_stream(futures::stream::iter(pieces))).await;
    assert_eq!(
        (reply.status, &reply.json()["message"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("the body breaks off"))
    );
    assert_eq!(door.collect.stats().refused["broken_off"], 1);
}

#[tokio::test]
async fn a_key_is_found_wherever_sdks_put_it() {
    let door = Door::new();
    let key = door.write_key("web");
    let in_body = format!(r#"{{"type":"page","userId":"u","writeKey":"{key}"}}"#);
    let bearer = format!("bearer {key}");
    for (authorization, body, status) in [
        (Some(&*basic(&key)), "{}", 200),
        (Some(&*bearer), "{}", 200),
        (Some(&*basic("")), &*in_body, 200),
        (None, &*in_body, 200),
        (Some(&*basic("wk_other")), &*in_body, 401),
        (Some("Digest x"), "{}", 401),
        (Some("Basic %%%"), "{}", 401),
        (None, r#"{"writeKey":7}"#, 401),
        (None, "7", 401),
    ] {
        let mut request = Request::post("/v1/p");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let reply = door.send(request.body(body.to_owned().into()).unwrap()).await;
        assert_eq!(reply.status.as_u16(), status, "{authorization:?} {}", reply.text);
    }
    assert!(door.values("web").iter().all(|message| !message.contains(&key)));
}

#[tokio::test]
async fn a_message_that_is_sent_again_has_the_same_identity() {
    let door = Door::new();
    let key = door.write_key("web");
    let body = r#"{"type":"track","event":"x","userId":"u","messageId":"m1"}"#;
    assert_eq!(send(&door, "/v1/track", &key, body).await.status, StatusCode::OK);
    let batch = format!(r#"{{"batch":[{body},{{"type":"page","userId":"u"}}],"sentAt":"2026-11-20T00:00:00Z"}}"#);
    for _ in 0..2 {
        assert_eq!(send(&door, "/v1/batch", &key, batch.clone()).await.status, StatusCode::OK);
    }
    let name = lacus_core::StreamName::new("web").unwrap();
    let records = door.log.read(&name, lacus_core::Partition(0), lacus_core::Offset(0), 1 << 20).unwrap();
    let ids: Vec<_> = records.iter().map(|record| record.id.unwrap()).collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[3]);
    assert_ne!(ids[2], ids[4], "who has no id is another one each time");
}

#[tokio::test]
async fn a_mail_asks_for_an_image() {
    let door = Door::new();
    let key = door.write_key("web");
    let message = json!({"writeKey": key, "userId": "ü?>", "event": "Email Opened", "properties": {"subject": "A"}});
    let url_safe = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(message.to_string());
    let plain = BASE64.encode(message.to_string());
    let without_key = BASE64.encode(r#"{"userId":"u"}"#);
    for (path, status) in [
        (format!("/v1/pixel/track?data={url_safe}"), 200),
        // A plus sign that is not escaped is a space.
        (format!("/v1/pixel/track?data={plain}"), 200),
        (format!("/v1/pixel/identify?data={without_key}&writeKey={key}"), 200),
        (format!("/v1/pixel/page?userId=u&event=Email%20Opened&properties.subject=A&writeKey={key}"), 200),
        (format!("/v1/pixel/track?data={without_key}"), 401),
        (format!("/v1/pixel/track?data=%00&writeKey={key}"), 400),
        (format!("/v1/pixel/track?data={}&writeKey={key}", BASE64.encode("nope")), 400),
        (format!("/v1/pixel/{}?userId=u&writeKey={key}", "delete"), 404),
    ] {
        let asked = Request::get(&path).header("user-agent", "Mail/1").body(Body::empty()).unwrap();
        let answer = tower::ServiceExt::oneshot(crate::router(door.collect.clone()), asked).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        let is_gif = answer.headers().get("content-type").is_some_and(|kind| kind == "image/gif");
        assert_eq!(is_gif, status == 200, "{path}");
    }
    let looked = Request::head(format!("/v1/pixel/track?data={url_safe}")).body(Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(crate::router(door.collect.clone()), looked).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let stored = stored(&door);
    let said = |message: &Value| (message["type"].clone(), message["userId"].clone(), message["properties"].clone());
    assert_eq!(said(&stored[0]), (json!("track"), json!("ü?>"), json!({"subject": "A"})));
    assert_eq!(said(&stored[1]), said(&stored[0]));
    assert_eq!(said(&stored[2]), (json!("identify"), json!("u"), Value::Null));
    assert_eq!(said(&stored[3]), (json!("page"), json!("u"), json!({"subject": "A"})));
    assert!(stored.iter().all(|message| message["context"] == json!({"userAgent": "Mail/1"})));
    assert_eq!(stored.len(), 4);
}

#[tokio::test]
async fn hostile_bodies_are_answered() {
    let door = Door::new();
    let key = door.write_key("web");
    let shared = format!(r#"{{"context":"{}","batch":[{}1]}}"#, "x".repeat(1 << 20), "1,".repeat(9_000));
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let bomb = gzip(&" ".repeat(64 << 20));
    let cut = gzip(r#"{"batch":[]}"#)[..15].to_vec();
    for (body, status, stored) in [
        (shared.into_bytes(), 413, 0),
        (format!(r#"{{"batch":[{}1]}}"#, "1,".repeat(10_000)).into_bytes(), 413, 0),
        (format!(r#"{{"batch":[{}1]}}"#, "{},".repeat(9_999)).into_bytes(), 200, 10_000),
        (bomb, 413, 0),
        (cut, 400, 0),
        ([&[0x1f, 0x8b][..], b"nope"].concat(), 400, 0),
        (vec![b' '; (4 << 20) + 1], 413, 0),
        (format!(r#"{{"batch":[{deep}]}}"#).into_bytes(), 200, 1),
        (format!(r#"{{"batch":[{{"properties":{deep}}}]}}"#).into_bytes(), 200, 1),
        (format!(r#"{{"batch":{deep}}}"#).into_bytes(), 200, 1),
        (br#"{"batch":[{"userId":"\ud800","event":1e999,"messageId":"\ud800"}]}"#.to_vec(), 200, 1),
        (b"{\"batch\":[\"\xff\"]}".to_vec(), 400, 0),
        (br#"{"batch":[]}"#.to_vec(), 200, 0),
        (br#"{"batch":[1],"batch":[2]}"#.to_vec(), 400, 0),
        (br#"{"batch":[{"a":1,"a":2,"context":{},"context":{"b":1}}]}"#.to_vec(), 200, 1),
        (b"".to_vec(), 400, 0),
        (b"{\"batch\":[7]} trailing".to_vec(), 400, 0),
    ] {
        let before = door.values("web").len();
        let what = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let reply = send(&door, "/v1/batch", &key, body).await;
        assert_eq!(reply.status.as_u16(), status, "{what}: {}", reply.text);
        assert_eq!(door.values("web").len(), before + stored, "{what}");
        assert_eq!(send(&door, "/v1/t", &key, "{}").await.text, r#"{"success":true}"#, "after {what}");
    }
    let mut all = door.collect.inner.budget.share();
    all.cover(crate::BODIES_BYTES_MAX).expect("answered requests hold nothing");
}

#[tokio::test]
async fn a_message_of_many_members_counts_as_much_as_it_takes() {
    let door = Door::new();
    let key = door.write_key("web");
    // A megabyte, of which each five bytes are forty while it is read.
    let message = format!(r#"{{{}"userId":"u"}}"#, r#""":0,"#.repeat(200_000));
    let mut others = door.collect.inner.budget.share();
    others.cover(crate::BODIES_BYTES_MAX - (8 << 20)).unwrap();
    for (path, body) in [("/v1/t", message.clone()), ("/v1/b", format!(r#"{{"batch":[{{}},{message}]}}"#))] {
        let refused = send(&door, path, &key, body).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{path}: {}", refused.text);
    }
    let many = format!(r#"{{"batch":[{}1]}}"#, "1,".repeat(999));
    assert_eq!(send(&door, "/v1/b", &key, many).await.status, StatusCode::OK);
    drop(others);
    assert_eq!(send(&door, "/v1/t", &key, message).await.status, StatusCode::OK);
}

/// The door asks the log each time: what it remembered would send messages to rows of a table that is none of Segment's.
#[tokio::test]
async fn a_stream_that_was_made_again_for_plain_events_takes_no_messages() {
    let door = Door::new();
    let key = door.write_key("web");
    let web = lacus_core::StreamName::new("web").unwrap();
    assert_eq!(send(&door, "/v1/t", &key, r#"{"userId":"u"}"#).await.status, StatusCode::OK);
    door.log.delete_stream(&web).unwrap();
    door.log.create_stream(&web, &lacus_stream::NewStream::of_shards(1)).unwrap();
    assert_eq!(send(&door, "/v1/t", &key, r#"{"userId":"u"}"#).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(door.post("/v1/events?source=web", r#"{"a":1}"#).await.status, StatusCode::OK);
}
