//! `/v1/keys`: what a person reads, and what never leaves.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::Value;

use super::{Door, Reply};

impl Door {
    async fn on_keys(&self, method: &str, path: &str, body: &'static str) -> Reply {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    async fn make_key(&self, body: &'static str) -> Value {
        let reply = self.on_keys("POST", "/v1/keys", body).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
        reply.json()
    }
}

/// The text of an answer, with what is new in every run as its name.
fn stable(text: &str, made: &[&Value]) -> String {
    let mut text = text.to_owned();
    for key in made {
        for member in ["write_key", "secret_access_key", "access_key_id", "id", "created_at"] {
            if let Some(value) = key[member].as_str() {
                text = text.replace(value, &member.to_uppercase());
            }
        }
    }
    text
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked() {
    let door = Door::new();
    assert_eq!(door.on_keys("GET", "/v1/keys", "").await.text, r#"{"keys":[]}"#);
    let made = door.on_keys("POST", "/v1/keys", r#"{"source":"web","name":"site"}"#).await;
    let web = made.json();
    insta::assert_snapshot!(stable(&made.text, &[&web]), @r#"{"id":"ID","name":"site","kind":"write","source":"web","created_at":"CREATED_AT","write_key":"WRITE_KEY"}"#);
    let made = door.on_keys("POST", "/v1/keys", r#"{"aws":true,"events_per_second":500}"#).await;
    let aws = made.json();
    insta::assert_snapshot!(stable(&made.text, &[&aws]), @r#"{"id":"ACCESS_KEY_ID","name":"","kind":"aws","events_per_second":500,"created_at":"CREATED_AT","access_key_id":"ACCESS_KEY_ID","secret_access_key":"SECRET_ACCESS_KEY"}"#);

    let list = door.on_keys("GET", "/v1/keys", "").await;
    insta::assert_snapshot!(stable(&list.text, &[&web, &aws]), @r#"{"keys":[{"id":"ID","name":"site","kind":"write","source":"web","created_at":"CREATED_AT"},{"id":"ACCESS_KEY_ID","name":"","kind":"aws","events_per_second":500,"created_at":"CREATED_AT"}]}"#);
    for secret in [&web["write_key"], &aws["secret_access_key"]] {
        assert!(!list.text.contains(secret.as_str().unwrap()), "a secret is told once");
    }

    let path = format!("/v1/keys/{}", web["id"].as_str().unwrap());
    let revoked = door.on_keys("DELETE", &path, "").await;
    assert_eq!(revoked.status, StatusCode::OK);
    insta::assert_snapshot!(stable(&revoked.text, &[&web]), @r#"{"id":"ID","name":"site","kind":"write","source":"web","created_at":"CREATED_AT"}"#);
    let again = door.on_keys("DELETE", &path, "").await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    insta::assert_snapshot!(stable(&again.text, &[&web]), @r#"{"error":{"kind":"not_found","message":"there is no key \"ID\"","hint":"lacus key list shows all"}}"#);
}

#[tokio::test]
async fn what_makes_no_key_is_told() {
    let door = Door::new();
    let mut told = Vec::new();
    for body in [
        "{}",
        r#"{"source":"web","aws":true}"#,
        r#"{"source":"My Site"}"#,
        r#"{"source":"web","events_per_second":0}"#,
        r#"{"source":"web","events_per_second":-1}"#,
        r#"{"source":"web","nam":"site"}"#,
        "{\"source\":\"web\",\"name\":\"a\\u0000b\"}",
        "nonsense",
    ] {
        let reply = door.on_keys("POST", "/v1/keys", body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
        told.push(reply.text);
    }
    insta::assert_snapshot!(told.join("\n"), @r#"
    {"error":{"kind":"invalid","message":"a key is for a source, for AWS clients or for the lake","hint":"send {\"source\":\"web\"}, {\"aws\":true} or {\"lake\":true}"}}
    {"error":{"kind":"invalid","message":"a key is for a source, for AWS clients or for the lake","hint":"send {\"source\":\"web\"}, {\"aws\":true} or {\"lake\":true}"}}
    {"error":{"kind":"invalid","message":"\"My Site\" is not a stream name: use a lowercase letter, then lowercase letters, digits and single underscores, 120 bytes at most","hint":"try \"my_site\""}}
    {"error":{"kind":"invalid","message":"a key may send 1 event per second at least","hint":"revoke a key to stop it"}}
    {"error":{"kind":"invalid","message":"Failed to deserialize the JSON body into the target type: events_per_second: invalid value: integer `-1`, expected u32 at line 1 column 38","hint":"send a JSON object such as {\"source\":\"web\"} with content-type: application/json"}}
    {"error":{"kind":"invalid","message":"Failed to deserialize the JSON body into the target type: nam: unknown field `nam`, expected one of `name`, `source`, `aws`, `lake`, `events_per_second` at line 1 column 21","hint":"send a JSON object such as {\"source\":\"web\"} with content-type: application/json"}}
    {"error":{"kind":"invalid","message":"the name of a key has 100 bytes of text at most"}}
    {"error":{"kind":"invalid","message":"Failed to parse the request body as JSON: expected ident at line 1 column 2","hint":"send a JSON object such as {\"source\":\"web\"} with content-type: application/json"}}
    "#);
    assert!(door.collect.inner.keyring.list().is_empty());
}

#[tokio::test]
async fn what_asks_for_keys_is_short_and_counts_with_all_other_bodies() {
    let door = Door::new();
    let mut others = door.collect.inner.budget.share();
    others.cover(crate::BODIES_BYTES_MAX).unwrap();
    let reply = door.on_keys("POST", "/v1/keys", r#"{"source":"web"}"#).await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "{}", reply.text);
    drop(others);
    let request = Request::post("/v1/keys").header("content-type", "application/json");
    let reply = door.send(request.body(Body::from(format!("{{}}{}", " ".repeat(16 << 10)))).unwrap()).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(reply.text.contains("what asks for a key has"), "{}", reply.text);
    assert!(door.collect.inner.keyring.list().is_empty());
    door.make_key(r#"{"source":"web"}"#).await;
    let mut all = door.collect.inner.budget.share();
    all.cover(crate::BODIES_BYTES_MAX).expect("answered requests hold nothing");
}

/// A page of another site can't make a key: for JSON a browser asks first, and is not answered.
#[tokio::test]
async fn pages_of_other_sites_make_no_key() {
    let door = Door::new();
    let request = Request::post("/v1/keys").header("origin", "http://elsewhere.example").body(r#"{"aws":true}"#.into());
    let simple = door.send(request.unwrap()).await;
    assert_eq!(simple.status, StatusCode::BAD_REQUEST);
    let asked = door.on_keys("OPTIONS", "/v1/keys", "").await;
    assert_eq!(asked.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(!asked.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_revoked_key_sends_nothing_more_and_its_sister_does() {
    let door = Door::new();
    let (old, new) = (door.make_key(r#"{"source":"web"}"#).await, door.make_key(r#"{"source":"web"}"#).await);
    let send = async |key: &Value| {
        let bearer = format!("Bearer {}", key["write_key"].as_str().unwrap());
        let request = Request::post("/v1/events").header("authorization", bearer).body("{}".into());
        door.send(request.unwrap()).await.status
    };
    assert_eq!((send(&old).await, send(&new).await), (StatusCode::OK, StatusCode::OK));
    door.on_keys("DELETE", &format!("/v1/keys/{}", old["id"].as_str().unwrap()), "").await;
    assert_eq!((send(&old).await, send(&new).await), (StatusCode::UNAUTHORIZED, StatusCode::OK));
    assert_eq!(door.values("web").len(), 3);
}

#[tokio::test]
async fn a_key_sends_no_more_than_its_rate() {
    let door = Door::new();
    let key = door.make_key(r#"{"source":"web","events_per_second":1}"#).await;
    let path = format!("/v1/events?write_key={}", key["write_key"].as_str().unwrap());
    let hundred = format!("[{}{{}}]", "{},".repeat(99));
    assert_eq!(door.post(&path, hundred.clone()).await.status, StatusCode::OK);
    let refused = door.post(&path, hundred).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers.contains_key("retry-after"));
    let told = stable(&refused.text, &[&key]);
    assert!(told.starts_with(r#"{"error":{"kind":"limited","message":"key ID may send 1 events per second"#), "{told}");
    assert_eq!(door.values("web").len(), 100);
}
