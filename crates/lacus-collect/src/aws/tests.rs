//! Requests as AWS clients make them.

mod cbor;
mod deliveries;
mod firehose;
mod hostile;
mod kinesis;
mod packed;
mod readers;
mod recorded;
mod trouble;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use lacus_core::{Clock, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use crate::hex::hex;
use crate::tests::Door;
use crate::{Grant, NewKey};

/// When tests take place, until they move the clock.
const NOW: &str = "2026-11-21T04:00:00Z";

/// A clock that a test moves.
pub(super) struct TestClock(AtomicI64);

impl TestClock {
    fn new() -> Arc<Self> {
        let now: Timestamp = NOW.parse().unwrap();
        Arc::new(Self(AtomicI64::new(now.as_micros())))
    }

    fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms * 1_000, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// A door, and a client with a key to it.
struct Aws {
    door: Door,
    clock: Arc<TestClock>,
    id: String,
    secret: String,
}

/// The status and the body of an answer.
type Answer = (StatusCode, Vec<u8>);

impl Aws {
    fn new() -> Self {
        Self::with("", None)
    }

    /// With these settings, and a key that may put so many records per second.
    fn with(toml: &str, events_per_second: Option<u32>) -> Self {
        let clock = TestClock::new();
        let door = Door::with_clock(toml, None, clock.clone());
        let new = NewKey { name: String::new(), grant: Grant::Aws, events_per_second };
        let key = door.collect.inner.keyring.create(new).unwrap();
        Self { door, clock, id: key.info.id, secret: key.secret }
    }

    /// Sends a signed request.
    async fn send(&self, target: &str, content_type: &str, body: Vec<u8>) -> Answer {
        let time = self.clock.now().to_string().replace(['-', ':'], "");
        let time = format!("{}Z", &time[..15]);
        let headers = [("host", "lacus"), ("x-amz-date", &*time), ("x-amz-target", target)];
        let service = if target.starts_with("Firehose") { "firehose" } else { "kinesis" };
        let scope = format!("{}/eu-central-1/{service}/aws4_request", &time[..8]);
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let names = headers.map(|(name, _)| name).join(";");
        let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", hex(&Sha256::digest(&body)));
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let key = scope.split('/').fold(format!("AWS4{}", self.secret).into_bytes(), |key, part| keyed(&key, part));
        let signature = hex(&keyed(&key, &text));
        let id = &self.id;
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
        let mut request = Request::post("/").header("content-type", content_type);
        for (name, value) in headers.into_iter().chain([("authorization", &*authorization)]) {
            request = request.header(name, value);
        }
        answer(&self.door, request.body(Body::from(body)).unwrap()).await
    }

    /// Asks in JSON; any answer.
    async fn try_ask(&self, target: &str, asked: &Value) -> (StatusCode, Value) {
        let (status, body) = self.send(target, "application/x-amz-json-1.1", asked.to_string().into_bytes()).await;
        let told = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        (status, told)
    }

    async fn kinesis(&self, operation: &str, asked: Value) -> Value {
        let (status, told) = self.try_ask(&format!("Kinesis_20131202.{operation}"), &asked).await;
        assert_eq!(status, StatusCode::OK, "{operation}: {told}");
        told
    }

    async fn firehose(&self, operation: &str, asked: Value) -> Value {
        let (status, told) = self.try_ask(&format!("Firehose_20150804.{operation}"), &asked).await;
        assert_eq!(status, StatusCode::OK, "{operation}: {told}");
        told
    }

    /// The status, name and message of the error that a request is answered with.
    async fn error(&self, target: &str, asked: Value) -> String {
        let (status, told) = self.try_ask(target, &asked).await;
        assert_ne!(status, StatusCode::OK, "{target}: {told}");
        let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}: {}", status.as_u16(), text("__type"), text("message"))
    }

    async fn kinesis_error(&self, operation: &str, asked: Value) -> String {
        self.error(&format!("Kinesis_20131202.{operation}"), asked).await
    }

    async fn firehose_error(&self, operation: &str, asked: Value) -> String {
        self.error(&format!("Firehose_20150804.{operation}"), asked).await
    }

    /// Makes a stream of so many shards.
    async fn create(&self, name: &str, shards: u32) {
        self.kinesis("CreateStream", json!({"StreamName": name, "ShardCount": shards})).await;
    }

    /// Sends what has to be answered 200.
    async fn must(&self, target: &str, content_type: &str, body: Vec<u8>) -> Vec<u8> {
        let (status, told) = self.send(target, content_type, body).await;
        assert_eq!(status, StatusCode::OK, "{target}: {}", String::from_utf8_lossy(&told));
        told
    }

    /// Puts text records, all with the same hash key.
    async fn put(&self, stream: &str, hash_key: &str, values: &[&str]) -> Vec<Value> {
        let record = |value: &&str| json!({"Data": base64(value), "PartitionKey": "k", "ExplicitHashKey": hash_key});
        let records: Vec<Value> = values.iter().map(record).collect();
        let told = self.kinesis("PutRecords", json!({"StreamName": stream, "Records": records})).await;
        told["Records"].as_array().unwrap().clone()
    }

    async fn iterator(&self, stream: &str, shard: u32, more: Value) -> String {
        let mut asked = json!({"StreamName": stream, "ShardId": format!("shardId-{shard:012}")});
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.kinesis("GetShardIterator", asked).await["ShardIterator"].as_str().unwrap().to_owned()
    }

    async fn get(&self, iterator: &str) -> Value {
        self.kinesis("GetRecords", json!({"ShardIterator": iterator})).await
    }
}

async fn answer(door: &Door, request: Request<Body>) -> Answer {
    let response = crate::router(door.collect.clone()).oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, 32 << 20).await.unwrap();
    (head.status, body.to_vec())
}

fn keyed(key: &[u8], text: &str) -> Vec<u8> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    hmac.update(text.as_bytes());
    hmac.finalize().into_bytes().to_vec()
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64.encode(bytes)
}

/// The data of records, as text.
fn data(told: &Value) -> Vec<String> {
    let text = |record: &Value| String::from_utf8(BASE64.decode(record["Data"].as_str().unwrap()).unwrap()).unwrap();
    told["Records"].as_array().unwrap().iter().map(text).collect()
}

/// The numbers of the shards in an answer.
fn shards(told: &Value) -> Vec<u32> {
    let number = |shard: &Value| shard["ShardId"].as_str().unwrap().trim_start_matches("shardId-").parse().unwrap();
    told["Shards"].as_array().unwrap().iter().map(number).collect()
}
