//! Signatures that are wrong, late, or come again; and bombs that are signed properly.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use lacus_testkit::{Project, Server};
use md5::Md5;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Answer::{self, Status};
use super::wire::request;
use super::{Row, must_count};

const SETTINGS: &str = r#"
[sources.hooks.webhook]
secret = "a secret"
header = "x-signature"
prefix = "v1="
signed = "{timestamp}.{body}"
"#;
const JSON: &str = "application/x-amz-json-1.1";
const CBOR: &str = "application/x-amz-cbor-1.1";
const PUT: &str = "Kinesis_20131202.PutRecords";
/// How far the clock of a sender may be from ours, and a little more.
const SKEWED: i64 = 16 * 60;

/// A project with keys.
pub(super) struct Lab {
    pub(super) project: Project,
    access_key_id: String,
    secret_access_key: String,
    write_key: String,
}

impl Lab {
    pub(super) fn new(binary: &str) -> Self {
        let project = Project::new(binary, SETTINGS);
        let key = |arguments: &[&str]| -> Value {
            let made = project.run(&[&["key", "create", "--json"], arguments].concat());
            serde_json::from_str(&made.stdout).unwrap_or_else(|error| panic!("{error}: {}", made.stderr))
        };
        let text = |key: &Value, name: &str| key[name].as_str().expect("a new key tells its secret").to_owned();
        let (aws, write) = (key(&["--aws"]), key(&["--source", "web"]));
        let made = project.run(&["stream", "create", "signed"]);
        assert!(made.succeeded(), "{}", made.stderr);
        Self {
            access_key_id: text(&aws, "access_key_id"),
            secret_access_key: text(&aws, "secret_access_key"),
            write_key: text(&write, "write_key"),
            project,
        }
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        [self.signatures(), self.bombs(), self.webhooks()].into_iter().flatten().collect()
    }

    fn signatures(&self) -> Vec<Row> {
        let body = put(b"{}");
        let good = self.sign(JSON, &body, 0);
        let other_body = [&good[..good.len() - body.len()], &put(b"[]")[..]].concat();
        let row = |what: &str, send: Vec<u8>, answer: Answer| Row::new(&format!("AWS: {what}"), send, answer);
        let unsigned = [("x-amz-target", PUT), ("content-type", JSON)];
        vec![
            row("no signature", request("POST", "/", &unsigned, &body), Status(400, "MissingAuthenticationToken")),
            row("another secret", self.sign_with("no secret", JSON, &body, 0), Status(400, "InvalidSignature")),
            row("the signature of another body", other_body, Status(400, "InvalidSignature")),
            row("a clock 16 minutes behind", self.sign(JSON, &body, -SKEWED), Status(400, "expired")),
            row("a clock 16 minutes ahead", self.sign(JSON, &body, SKEWED), Status(400, "not yet current")),
            row("a clock 14 minutes behind", self.sign(JSON, &put(b"{\"skewed\":1}"), -14 * 60), Status(200, "Shard")),
        ]
    }

    fn bombs(&self) -> Vec<Row> {
        let row = |what: &str, form, body: &[u8], answer: Answer| {
            Row::new(&format!("AWS: {what}"), self.sign(form, body, 0), answer)
        };
        let refused = Status(400, "SerializationException");
        let deep = format!("{{\"Records\":{}", "[".repeat(1_000_000));
        vec![
            row("JSON that nests without end", JSON, deep.as_bytes(), refused),
            row("CBOR that nests without end", CBOR, &[0x81; 1_000_000], refused),
            row("a CBOR array of 2^64", CBOR, b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", refused),
            row("a CBOR map of 2^63", CBOR, b"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff\x61a\x01", refused),
            row("CBOR bytes of 2^64", CBOR, b"\xa1\x64Data\x5b\xff\xff\xff\xff\xff\xff\xff\xff", refused),
            row("a million records in one", JSON, &put(&packed(&[0x1a, 0].repeat(400_000))), Status(200, "Shard")),
            row(
                "a record longer than it is",
                JSON,
                &put(&packed(b"\x1a\xff\xff\xff\xff\xff\xff\xff\x7f")),
                Status(200, ""),
            ),
        ]
    }

    fn webhooks(&self) -> Vec<Row> {
        let row = |what: &str, signature: Option<String>, answer: Answer| {
            let header = signature.unwrap_or_default();
            let send = request("POST", "/v1/webhooks/hooks", &[("x-signature", &header)], b"{\"hook\":1}");
            Row::new(&format!("a webhook with {what}"), send, answer)
        };
        let signed = |secret: &str, seconds: i64| {
            let time = now_seconds() + seconds;
            let text = format!("{time}.{{\"hook\":1}}");
            Some(format!("t={time},v1={}", hex(&keyed_hash(secret.as_bytes(), text.as_bytes()))))
        };
        vec![
            row("no signature", None, Status(401, "when it was signed")),
            row("another secret", signed("no secret", 0), Status(401, "signature")),
            row("a time ten minutes ago", signed("a secret", -600), Status(401, "")),
            row("a time in ten minutes", signed("a secret", 600), Status(401, "")),
            row("a right signature", signed("a secret", 0), Status(200, "accepted")),
        ]
    }

    /// What is sent twice, byte for byte, is answered twice.
    pub(super) fn check_replays(&self, server: &Server) {
        let key = [("idempotency-key", "again")];
        let authorization = format!("Bearer {}", self.write_key);
        let track = json!({"userId": "7", "event": "Again", "messageId": "again"}).to_string();
        let all = [
            self.sign(JSON, &put(b"{\"replayed\":1}"), 0),
            request("POST", "/v1/events?source=replayed", &key, b"{\"a\":1}"),
            request("POST", "/v1/track", &[("authorization", &authorization)], track.as_bytes()),
        ];
        for send in all.iter().chain(&all) {
            let reply = server.http().exchange(send).expect("an answer");
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
    }

    /// What was sent twice is there once where it has an identity: an AWS record has none.
    pub(super) fn check_rows(&self, server: &Server) {
        must_count(server, "select count(replayed), count(distinct replayed) from signed", 2, 1);
        must_count(server, "select count(*), count(*) from replayed", 1, 1);
        must_count(server, "select count(*), count(*) from web.tracks", 1, 1);
        must_count(server, "select count(*), count(*) from hooks", 1, 1);
    }

    /// A request that an AWS client with a clock so far from ours would send.
    fn sign(&self, form: &str, body: &[u8], seconds: i64) -> Vec<u8> {
        self.sign_with(&self.secret_access_key, form, body, seconds)
    }

    fn sign_with(&self, secret: &str, form: &str, body: &[u8], seconds: i64) -> Vec<u8> {
        let time = chrono::DateTime::from_timestamp(now_seconds() + seconds, 0).expect("a time of today");
        let (time, day) = (time.format("%Y%m%dT%H%M%SZ").to_string(), time.format("%Y%m%d").to_string());
        let names = "content-type;host;x-amz-date;x-amz-target";
        let canonical = format!(
            "POST\n/\n\ncontent-type:{form}\nhost:lacus\nx-amz-date:{time}\nx-amz-target:{PUT}\n\n{names}\n{}",
            hex(&Sha256::digest(body))
        );
        let scope = format!("{day}/eu-central-1/kinesis/aws4_request");
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in scope.split('/') {
            key = keyed_hash(&key, part.as_bytes());
        }
        let signature = hex(&keyed_hash(&key, text.as_bytes()));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access_key_id
        );
        let headers =
            [("content-type", form), ("x-amz-date", &time), ("x-amz-target", PUT), ("authorization", &authorization)];
        request("POST", "/", &headers, body)
    }
}

/// One record in a `PutRecords`.
fn put(data: &[u8]) -> Vec<u8> {
    let records = json!([{"PartitionKey": "a", "Data": BASE64.encode(data)}]);
    json!({"StreamName": "signed", "Records": records}).to_string().into_bytes()
}

/// As the producer library packs records: magic, message, digest.
fn packed(message: &[u8]) -> Vec<u8> {
    [b"\xf3\x89\x9a\xc2".as_slice(), message, &Md5::digest(message)].concat()
}

#[expect(clippy::disallowed_methods, reason = "the clock of a client")]
fn now_seconds() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(now.as_secs()).expect("a time of today")
}

fn keyed_hash(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    hmac.update(text);
    hmac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
