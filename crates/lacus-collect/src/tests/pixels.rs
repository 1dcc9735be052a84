//! Events from where only an image can be asked for.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use super::Door;

/// A status, and the type and length of what came.
async fn get(door: &Door, path: &str) -> (u16, String, usize) {
    let request = Request::get(path).header("x-forwarded-for", "203.0.113.9, 10.0.0.1").header("user-agent", "Mail/1");
    let response =
        tower::ServiceExt::oneshot(crate::router(door.collect.clone()), request.body(Body::empty()).unwrap()).await;
    let (head, body) = response.unwrap().into_parts();
    assert_eq!(head.headers["cache-control"], "no-store");
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    (head.status.as_u16(), head.headers["content-type"].to_str().unwrap().to_owned(), body.len())
}

fn gif() -> (u16, String, usize) {
    (200, "image/gif".to_owned(), 43)
}

fn stored(door: &Door, source: &str) -> Vec<Value> {
    door.values(source).iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

#[tokio::test]
async fn the_parameters_are_the_event() {
    let door = Door::with_settings("[sources.mails]\npartition_key = \"user.id\"");
    assert_eq!(get(&door, "/v1/pixel.gif?source=mails&event=Opened&user.id=7&user.plan=pro&tag=a&tag=b").await, gif());
    assert_eq!(get(&door, "/v1/pixel.gif?source=mails&key=k&ip=mine&b=%C3%BC+1").await, gif());
    let mut events = stored(&door, "mails");
    assert!(events.iter_mut().all(|event| event.as_object_mut().unwrap().remove("receivedAt").is_some()));
    assert_eq!(
        events,
        [
            json!({"event": "Opened", "user": {"id": "7", "plan": "pro"}, "tag": ["a", "b"], "ip": "203.0.113.9", "userAgent": "Mail/1"}),
            json!({"ip": "mine", "b": "ü 1", "userAgent": "Mail/1"}),
        ]
    );
    let keys: Vec<_> = door.records("mails").into_iter().map(|(key, _)| key.unwrap()).collect();
    assert_eq!(keys, ["7", "k"]);
}

#[tokio::test]
async fn there_is_no_image_for_what_is_not_stored() {
    let door = Door::with_settings("[server]\nrequire_key = true\n[sources.clicks]\nschema = \"clicks.json\"");
    let key = door.write_key("clicks");
    let status = async |path: String| get(&door, &path).await.0;
    assert_eq!(status("/v1/pixel.gif?source=clicks&name=Search".to_owned()).await, 401);
    assert_eq!(status(format!("/v1/pixel.gif?write_key={key}&name=Search")).await, 200);
    assert_eq!(status(format!("/v1/pixel.gif?write_key={key}&name=Other")).await, 400);
    assert_eq!(status(format!("/v1/pixel.gif?write_key={key}&source=x&name=Search")).await, 401);
    assert_eq!(status(format!("/v1/pixel.gif?write_key={key}&{}", "a&".repeat(1_001))).await, 400);
    assert_eq!(door.values("clicks").len(), 1);
    assert_eq!(door.collect.stats().refused["schema"], 1);
    door.log.close().await.unwrap();
    assert_eq!(status(format!("/v1/pixel.gif?write_key={key}&name=Search")).await, 503);
    let looked = Request::head(format!("/v1/pixel.gif?write_key={key}")).body(Body::empty()).unwrap();
    assert_eq!(door.send(looked).await.status, StatusCode::OK);
    let posted = door.post("/v1/pixel.gif?source=clicks", "").await;
    assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
    insta::assert_snapshot!(posted.text, @r#"{"error":{"kind":"invalid","message":"/v1/pixel.gif takes GET, not POST","hint":"curl 'http://127.0.0.1:8484/v1/pixel.gif?source=mails&event_name=Opened'"}}"#);
}
