//! The door with a real log behind it, through its router.

mod checked;
mod fuzz;
mod hostile;
mod keys;
mod openapi;
mod pixels;
mod reference;
mod segment;
pub(crate) mod sockets;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use lacus_core::{Clock, MessageId, Offset, Settings, StreamName, SystemClock};
use lacus_stream::{Log, NewStream};
use serde_json::Value;
use tower::ServiceExt;

use crate::{Collect, Grant, Keyring, Limits, NewKey, Schemas};

const LIMITS: Limits = Limits { body_wait_max: Duration::from_secs(1), streams_by_request_max: 10 };

/// The file `clicks.json` beside the log of each door.
const CLICKS_SCHEMA: &str = r#"{
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"enum": ["Search", "Purchase"]}, "price": {"type": "number"}, "tags": {"uniqueItems": true}}
}"#;

/// A door, its log, and the directory they live in.
pub(crate) struct Door {
    pub(crate) collect: Collect,
    pub(crate) log: Log,
    _directory: tempfile::TempDir,
}

/// A status and what else a sender sees.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) text: String,
}

impl Door {
    pub(crate) fn new() -> Self {
        Self::with_settings("")
    }

    pub(crate) fn with_settings(toml: &str) -> Self {
        Self::with_clock(toml, None, Arc::new(SystemClock))
    }

    /// A door with its own clock and, if wanted, a keyring that there is already.
    pub(crate) fn with_clock(toml: &str, keyring: Option<Keyring>, clock: Arc<dyn Clock>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings::load(toml, []).unwrap();
        std::fs::write(directory.path().join("clicks.json"), CLICKS_SCHEMA).unwrap();
        let schemas = Schemas::load(&settings, directory.path()).unwrap();
        let log = Log::open(directory.path(), &settings.stream, Arc::clone(&clock)).unwrap();
        let keyring = keyring.unwrap_or_else(|| Keyring::open(directory.path(), None, Arc::clone(&clock)).unwrap());
        let collect = Collect::with_limits(log.clone(), Arc::new(settings), schemas, Arc::new(keyring), clock, LIMITS);
        Self { collect, log, _directory: directory }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let response = crate::router(self.collect.clone()).oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        Reply { status: head.status, headers: head.headers, text: String::from_utf8(body.to_vec()).unwrap() }
    }

    /// A new write key of a source.
    pub(crate) fn write_key(&self, source: &str) -> String {
        let grant = Grant::Write { source: StreamName::new(source).unwrap() };
        let new = NewKey { name: String::new(), grant, events_per_second: None };
        self.collect.inner.keyring.create(new).unwrap().secret
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Reply {
        self.send(Request::post(path).body(body.into()).unwrap()).await
    }

    /// Every record of a stream: its key if it has one, and its value.
    pub(crate) fn records(&self, stream: &str) -> Vec<(Option<String>, String)> {
        let name = StreamName::new(stream).unwrap();
        let Some(info) = self.log.stream(&name) else { return Vec::new() };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut found = Vec::new();
        for partition in info.shards.iter().map(|shard| shard.partition) {
            let mut next = Offset(0);
            while next < info.end.next(partition) {
                let records = self.log.read(&name, partition, next, 1 << 20).unwrap();
                next = next.plus(records.len() as u64);
                found.extend(records.iter().map(|record| (record.key.as_deref().map(text), text(&record.value))));
            }
        }
        found
    }

    /// The message ids of all records of a stream.
    pub(crate) fn ids(&self, stream: &str) -> Vec<Option<MessageId>> {
        let name = StreamName::new(stream).unwrap();
        let shards = self.log.stream(&name).unwrap().shards;
        let read = |shard: &lacus_stream::Shard| self.log.read(&name, shard.partition, Offset(0), 1 << 20).unwrap();
        shards.iter().flat_map(read).map(|record| record.id).collect()
    }

    pub(crate) fn values(&self, stream: &str) -> Vec<String> {
        self.records(stream).into_iter().map(|(_, value)| value).collect()
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

/// Posts `body` to a fresh door and compares the answer.
async fn check(body: impl Into<Body>, expected: &str) {
    let reply = Door::new().post("/v1/events?source=clicks", body).await;
    assert_eq!(format!("{} {}", reply.status.as_u16(), reply.text), expected);
}

#[tokio::test]
async fn events_are_acknowledged_and_then_in_the_log_byte_for_byte() {
    let door = Door::new();
    let reply = door.post("/v1/events?source=clicks", "[{\"a\": 1.0},{ \"b\":\"\\u00e9\" }]").await;
    assert_eq!((reply.status, &*reply.text), (StatusCode::OK, r#"{"accepted":2}"#));
    assert_eq!(reply.headers["content-type"], "application/json");
    assert_eq!(door.values("clicks"), [r#"{"a": 1.0}"#, r#"{ "b":"\u00e9" }"#]);
}

#[tokio::test]
async fn all_or_some_or_none_of_the_events_are_accepted() {
    check(r#"{"a":1}"#, r#"200 {"accepted":1}"#).await;
    check(
        "{\"a\":1}\nnope\n{\"b\":2}\n",
        r#"207 {"accepted":2,"refused":1,"errors":[{"index":1,"message":"line 2 column 2: expected true, false or null"}]}"#,
    )
    .await;
    check(
        r#"{"a":1,"b":}"#,
        r#"400 {"error":{"kind":"invalid","message":"the event was refused: line 1 column 12: expected a value"},"accepted":0,"refused":1,"errors":[{"index":0,"message":"line 1 column 12: expected a value"}]}"#,
    )
    .await;
    check(
        "1\n2\n",
        r#"400 {"error":{"kind":"invalid","message":"all 2 events were refused, the first because of line 1 column 1: an event is a JSON object, this is a number"},"accepted":0,"refused":2,"errors":[{"index":0,"message":"line 1 column 1: an event is a JSON object, this is a number"},{"index":1,"message":"line 2 column 1: an event is a JSON object, this is a number"}]}"#,
    )
    .await;
}

#[tokio::test]
async fn the_first_hundred_refused_events_are_explained_and_all_are_counted() {
    let door = Door::new();
    let reply = door.post("/v1/events?source=clicks", format!("{{}}\n{}", "x\n".repeat(250))).await;
    let json = reply.json();
    assert_eq!((reply.status, &json["accepted"], &json["refused"]), (StatusCode::MULTI_STATUS, &1.into(), &250.into()));
    let errors = json["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 100);
    assert_eq!(errors[99]["index"], 100);
    assert_eq!(errors[99]["message"], "line 101 column 1: expected a value");
}

#[tokio::test]
async fn nothing_is_kept_of_a_body_that_is_refused() {
    let door = Door::new();
    for body in ["[{\"a\":1},{\"b\":}]", "nope", "", "[1]"] {
        assert_eq!(door.post("/v1/events?source=clicks", body).await.status, StatusCode::BAD_REQUEST);
    }
    assert!(door.log.streams().is_empty(), "a stream was made for nothing");
}

#[tokio::test]
async fn the_key_parameter_is_the_partition_key_of_all_events() {
    let door = Door::with_settings("[sources.clicks]\npartitions = 8\npartition_key = \"user.id\"");
    assert_eq!(
        door.post("/v1/events?source=clicks&key=a%20b", r#"[{"user":{"id":1}},{}]"#).await.status,
        StatusCode::OK
    );
    assert_eq!(door.log.streams()[0].shards.len(), 8);
    let keys: Vec<_> = door.records("clicks").into_iter().map(|(key, _)| key.unwrap()).collect();
    assert_eq!(keys, ["a b", "a b"]);
}

#[tokio::test]
async fn the_partition_key_of_a_source_is_read_from_each_event() {
    let door = Door::with_settings("[sources.clicks]\npartition_key = \"user.id\"");
    door.post("/v1/events?source=clicks", r#"[{"user":{"id":1}},{"user":{"id":"ü"}},{"user":null},{}]"#).await;
    let keys: Vec<_> = door.records("clicks").into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [Some("1".to_owned()), Some("ü".to_owned()), None, None]);
}

#[tokio::test]
async fn a_source_with_quarantine_keeps_what_is_no_event() {
    let door = Door::with_settings("[sources.clicks]\ninvalid = \"quarantine\"\npartition_key = \"id\"");
    let path = "/v1/events?source=clicks";
    assert_eq!(door.post(path, "{\"id\":7}\nnope\n").await.text, r#"{"accepted":2,"quarantined":1}"#);
    assert_eq!(door.post(path, "[{},{\"b\":}]").await.text, r#"{"accepted":1,"quarantined":1}"#);
    assert_eq!(door.post(path, "[1,{}]").await.text, r#"{"accepted":2,"quarantined":1}"#);
    assert_eq!(door.post(path, &b"{\"a\":\"\xff\"}"[..]).await.text, r#"{"accepted":1,"quarantined":1}"#);
    assert_eq!(door.values("clicks"), ["{\"id\":7}", "nope", "[{},{\"b\":}]", "1", "{}", "{\"a\":\"\u{fffd}\"}"]);
    assert_eq!(door.records("clicks")[0].0.as_deref(), Some("7"));
}

#[tokio::test]
async fn a_request_that_comes_again_has_the_same_ids() {
    let door = Door::new();
    let post = |key: &'static str, body: &'static str| {
        Request::post("/v1/events?source=clicks").header("idempotency-key", key).body(Body::from(body)).unwrap()
    };
    for (key, body) in [("a", "[{},{}]"), ("a", "[{},{}]"), ("b", "[{},{}]"), ("a", "[{},{ }]")] {
        assert_eq!(door.send(post(key, body)).await.status, StatusCode::OK);
    }
    let ids = door.ids("clicks");
    assert_eq!(ids[..2], ids[2..4], "a retry");
    let different: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(different.len(), 6, "two events of one request, another key, another body");
    assert_eq!(door.send(post("", "{}")).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_source_may_say_which_field_is_the_identity() {
    let door = Door::with_settings("[sources.clicks]\nid = \"meta.id\"");
    let long = "x".repeat(2_000);
    let body = format!(
        r#"[{{"meta":{{"id":"e1"}}}},{{"meta":{{"id":"e1"}},"n":2}},{{"meta":{{"id":"{long}1"}}}},{{"meta":{{"id":"{long}2"}}}},{{}}]"#
    );
    assert_eq!(door.post("/v1/events?source=clicks", body).await.status, StatusCode::OK);
    let ids = door.ids("clicks");
    assert_eq!((ids[0], ids[4]), (ids[1], None));
    assert_ne!(ids[2], ids[3], "of a long id every byte counts");
    let empty = r#"[{"meta":{"id":""},"n":1},{"meta":{"id":""},"n":2}]"#;
    assert_eq!(door.post("/v1/events?source=clicks", empty).await.status, StatusCode::OK);
    assert_eq!(door.ids("clicks")[5..], [None, None], "what is empty would make them one event");
}

#[tokio::test]
async fn a_write_key_says_the_source_and_nothing_else_may_be_sent_with_it() {
    let door = Door::with_settings("[server]\nrequire_key = true");
    let key = door.write_key("clicks");
    let send = async |path: &str, key: &str| {
        let request = Request::post(path).header("authorization", format!("Bearer {key}")).body("{}".into()).unwrap();
        door.send(request).await.status
    };
    assert_eq!(send("/v1/events", &key).await, StatusCode::OK);
    assert_eq!(send("/v1/events?source=clicks", &key).await, StatusCode::OK);
    assert_eq!(send("/v1/events?source=orders", &key).await, StatusCode::UNAUTHORIZED);
    assert_eq!(send("/v1/events?source=clicks", "wk_no").await, StatusCode::UNAUTHORIZED);
    assert_eq!(door.post(&format!("/v1/events?write_key={key}"), "{}").await.status, StatusCode::OK);
    let reply = door.post("/v1/events?source=clicks", "{}").await;
    insta::assert_snapshot!(reply.text, @r#"{"error":{"kind":"denied","message":"events need a write key here: send authorization: Bearer KEY","hint":"lacus key create --source NAME makes a write key"}}"#);
    assert_eq!(door.values("clicks").len(), 3);
}

#[tokio::test]
async fn requests_make_so_many_streams_and_the_settings_any_other() {
    let door = Door::with_settings("[sources.meant]");
    for number in 0..LIMITS.streams_by_request_max {
        door.log.create_stream(&StreamName::new(&format!("s{number}")).unwrap(), &NewStream::of_shards(1)).unwrap();
    }
    let reply = door.post("/v1/events?source=invented", "{}").await;
    insta::assert_snapshot!(reply.text, @r#"{"error":{"kind":"limited","message":"there are 10 streams, so a request can't make \"invented\"","hint":"if it is meant, add [sources.invented] to lacus.toml and start lacus again"}}"#);
    assert_eq!((reply.status, &reply.headers["retry-after"]), (StatusCode::TOO_MANY_REQUESTS, &"1".parse().unwrap()));
    assert_eq!(door.post("/v1/events?source=s7", "{}").await.status, StatusCode::OK);
    assert_eq!(door.post("/v1/events?source=meant", "{}").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_closed_log_acknowledges_nothing_and_asks_to_retry() {
    let door = Door::new();
    assert_eq!(door.post("/v1/events?source=clicks", "{}").await.status, StatusCode::OK);
    door.log.close().await.unwrap();
    let reply = door.post("/v1/events?source=clicks", "{}").await;
    insta::assert_snapshot!(reply.text, @r#"{"error":{"kind":"unavailable","message":"the log is closed","hint":"nothing was acknowledged: send it again when lacus is back"}}"#);
    assert_eq!((reply.status, &reply.headers["retry-after"]), (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap()));
    assert_eq!(door.values("clicks").len(), 1);
}

#[tokio::test]
async fn a_full_budget_asks_to_slow_down_and_is_given_back() {
    let door = Door::new();
    let mut others = door.collect.inner.budget.share();
    others.cover(crate::BODIES_BYTES_MAX).unwrap();
    let reply = door.post("/v1/events?source=clicks", "{}").await;
    insta::assert_snapshot!(reply.text, @r#"{"error":{"kind":"limited","message":"too many requests are being read at once","hint":"send it again a little later"}}"#);
    assert_eq!((reply.status, &reply.headers["retry-after"]), (StatusCode::TOO_MANY_REQUESTS, &"1".parse().unwrap()));
    drop(others);
    assert_eq!(door.post("/v1/events?source=clicks", "{}").await.status, StatusCode::OK);
    let mut all = door.collect.inner.budget.share();
    all.cover(crate::BODIES_BYTES_MAX).expect("answered requests hold nothing");
}

#[tokio::test]
async fn what_happened_is_counted_by_source_and_reason() {
    let door = Door::with_settings("[sources.kept]\ninvalid = \"quarantine\"");
    door.post("/v1/events?source=clicks", "{\"a\":1}\nnope\n2\n{}").await;
    door.post("/v1/events?source=clicks", "{}").await;
    door.post("/v1/events?source=kept", "nope").await;
    door.post("/v1/events?source=unknown", "nope").await;
    door.post("/v1/events", "{}").await;
    insta::assert_debug_snapshot!(door.collect.stats(), @r#"
    CollectStats {
        sources: {
            "clicks": SourceStats {
                requests: 2,
                accepted: 3,
                quarantined: 0,
                refused: 2,
                bytes: 11,
            },
            "kept": SourceStats {
                requests: 1,
                accepted: 1,
                quarantined: 1,
                refused: 0,
                bytes: 4,
            },
        },
        refused: {
            "malformed": 2,
            "not_an_object": 1,
            "parameter": 1,
        },
    }
    "#);
}

#[tokio::test]
async fn many_senders_at_once_get_each_event_in_once() {
    let door = Arc::new(Door::new());
    let senders: Vec<_> = (0..32)
        .map(|sender| {
            let door = Arc::clone(&door);
            tokio::spawn(async move {
                for turn in 0..10 {
                    let body = format!("[{{\"id\":\"{sender}-{turn}-a\"}},{{\"id\":\"{sender}-{turn}-b\"}}]");
                    assert_eq!(door.post("/v1/events?source=clicks", body).await.text, r#"{"accepted":2}"#);
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    let mut values = door.values("clicks");
    values.sort();
    values.dedup();
    assert_eq!(values.len(), 640);
}
