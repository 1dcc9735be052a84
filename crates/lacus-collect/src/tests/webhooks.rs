//! Webhooks: who may send them, and what becomes of them.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use lacus_core::{Clock, MessageId, Offset, Partition, StreamName, SystemClock};
use sha2::Sha256;

use super::{Door, Reply};
use crate::hex::hex;

const SETTINGS: &str = r#"
[sources.github]
partition_key = "repository.id"
[sources.github.webhook]
secret = "It's a Secret to Everybody"
header = "X-Hub-Signature-256"
prefix = "sha256="
id_header = "X-GitHub-Delivery"

[sources.stripe]
id = "id"
[sources.stripe.webhook]
secret = "whsec_test"
header = "stripe-signature"
prefix = "v1="
signed = "{timestamp}.{body}"

[sources.slack.webhook]
secret = "8f742231b10e8888abcd99yyyzzz85a5"
header = "x-slack-signature"
prefix = "v0="
signed = "v0:{timestamp}:{body}"
timestamp_header = "x-slack-request-timestamp"

[sources.shopify.webhook]
secret = "hush"
header = "x-shopify-hmac-sha256"
encoding = "base64"
"#;

fn mac(secret: &str, text: &str) -> Vec<u8> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    hmac.update(text.as_bytes());
    hmac.finalize().into_bytes().to_vec()
}

fn now() -> i64 {
    SystemClock.now().as_millis() / 1_000
}

async fn send(door: &Door, source: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut request = Request::post(format!("/v1/webhooks/{source}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    door.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

fn ids(door: &Door, source: &str) -> Vec<Option<MessageId>> {
    let name = StreamName::new(source).unwrap();
    let records = door.log.read(&name, Partition(0), Offset(0), 1 << 20).unwrap();
    records.iter().map(|record| record.id).collect()
}

#[tokio::test]
async fn the_example_of_github_is_taken() {
    // https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries: the values to test with. The text is
    // no event, so the signature is right and the body wrong.
    let door = Door::with_settings(SETTINGS);
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let reply = send(&door, "github", &[("x-hub-signature-256", signature)], "Hello, World!").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.text);
    let reply = send(&door, "github", &[("x-hub-signature-256", signature)], "Hello, World?").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    insta::assert_snapshot!(reply.text, @r#"{"error":{"kind":"denied","message":"the signature of the webhook is not the one of this body and this source's secret"}}"#);
}

#[tokio::test]
async fn a_delivery_that_comes_again_has_the_same_identity() {
    let door = Door::with_settings(SETTINGS);
    let body = r#"{"action":"opened","repository":{"id":7}}"#;
    let signature = format!("sha256={}", hex(&mac("It's a Secret to Everybody", body)));
    for delivery in ["a", "b", "a"] {
        let headers = [("X-Hub-Signature-256", &*signature), ("X-GitHub-Delivery", delivery)];
        let reply = send(&door, "github", &headers, body).await;
        assert_eq!((reply.status, &*reply.text), (StatusCode::OK, r#"{"accepted":1}"#));
    }
    let ids = ids(&door, "github");
    assert!(ids[0].is_some() && ids[0] == ids[2] && ids[0] != ids[1]);
    assert_eq!(door.records("github")[0], (Some("7".to_owned()), body.to_owned()));
}

#[tokio::test]
async fn a_timestamp_is_signed_and_about_now() {
    let door = Door::with_settings(SETTINGS);
    let body = r#"{"id":"evt_1","type":"charge.succeeded"}"#;
    let header = |seconds: i64| {
        let signature = hex(&mac("whsec_test", &format!("{seconds}.{body}")));
        format!("t={seconds}, v0=00, v1={}, v1={signature}", "0".repeat(64))
    };
    for (header, status) in [
        (header(now()), StatusCode::OK),
        (header(now() - 290), StatusCode::OK),
        (header(now() - 310), StatusCode::UNAUTHORIZED),
        (header(now() + 310), StatusCode::UNAUTHORIZED),
        (header(now()).replacen("t=", "t=9", 1), StatusCode::UNAUTHORIZED),
        (header(now()).replacen("t=", "x=", 1), StatusCode::UNAUTHORIZED),
        (header(now()).replace("v1=", "v2="), StatusCode::UNAUTHORIZED),
        (format!("t={},v1=", i64::MIN), StatusCode::UNAUTHORIZED),
        (String::new(), StatusCode::UNAUTHORIZED),
    ] {
        let reply = send(&door, "stripe", &[("stripe-signature", &header)], body).await;
        assert_eq!(reply.status, status, "{header}: {}", reply.text);
    }
    let ids = ids(&door, "stripe");
    assert!(ids.len() == 2 && ids[0].is_some() && ids[0] == ids[1], "an event knows itself by its field");
}

#[tokio::test]
async fn the_example_of_slack_is_too_old_and_a_new_one_is_taken_as_a_form() {
    // https://docs.slack.dev/authentication/verifying-requests-from-slack: the secret is the one of its example.
    let door = Door::with_settings(SETTINGS);
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_domain=testteamnow&command=%2Fweather&text=94070";
    let at = now().to_string();
    let signature = format!("v0={}", hex(&mac("8f742231b10e8888abcd99yyyzzz85a5", &format!("v0:{at}:{body}"))));
    let form = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
    let headers = [("x-slack-signature", &*signature), ("x-slack-request-timestamp", &*at), form];
    assert_eq!(send(&door, "slack", &headers, body).await.status, StatusCode::OK);
    assert_eq!(
        door.values("slack"),
        [r#"{"command":"/weather","team_domain":"testteamnow","text":"94070","token":"xyzz0WbapA4vBCDEFasx0q6G"}"#]
    );
    let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    let headers = [("x-slack-signature", signature), ("x-slack-request-timestamp", "1531420618"), form];
    assert_eq!(send(&door, "slack", &headers, body).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_signature_may_be_base64_and_a_body_several_events() {
    let door = Door::with_settings(SETTINGS);
    let body = r#"[{"id":1},{"id":2}]"#;
    let signature = BASE64.encode(mac("hush", body));
    let reply = send(&door, "shopify", &[("x-shopify-hmac-sha256", &signature)], body).await;
    assert_eq!(reply.text, r#"{"accepted":2}"#);
    let reply = send(&door, "shopify", &[("x-shopify-hmac-sha256", &signature)], "[]").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_no_secret_guards_is_not_there() {
    let door = Door::with_settings(SETTINGS);
    for source in ["clicks", "No%20Name", "%FF", "x%2F..%2Fgithub"] {
        let reply = send(&door, source, &[], "{}").await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{source}");
    }
    insta::assert_snapshot!(send(&door, "clicks", &[], "{}").await.text, @r#"{"error":{"kind":"not_found","message":"there is no source with webhooks of this name","hint":"add [sources.NAME.webhook] to lacus.toml and start lacus again"}}"#);
    insta::assert_snapshot!(send(&door, "github", &[], "{}").await.text, @r#"{"error":{"kind":"denied","message":"the webhook is not signed: it has no header X-Hub-Signature-256"}}"#);
    let looked = door.send(Request::get("/v1/webhooks/github").body(Body::empty()).unwrap()).await;
    assert_eq!(looked.status, StatusCode::METHOD_NOT_ALLOWED);
    insta::assert_snapshot!(looked.text, @r#"{"error":{"kind":"invalid","message":"/v1/webhooks/github does not take GET","hint":"the header allow of this answer says what it takes; /openapi.json has all paths"}}"#);
    assert!(door.log.streams().is_empty());
}

#[tokio::test]
async fn hostile_headers_are_answered() {
    let door = Door::with_settings(SETTINGS);
    let many = "sha256=00,".repeat(6_000);
    let odd = [("sha256=", 401), ("sha256=0", 401), ("sha256=zz", 401), ("sha256=é", 401), (&*many, 401), (",,,", 401)];
    for (signature, status) in odd {
        let reply = send(&door, "github", &[("x-hub-signature-256", signature)], &"x".repeat(1 << 20)).await;
        assert_eq!(reply.status.as_u16(), status, "{}", &signature[..7]);
    }
    let signature = format!("sha256={}", hex(&mac("It's a Secret to Everybody", "{}")));
    for id in ["", &"x".repeat(1_025)] {
        let headers = [("x-hub-signature-256", &*signature), ("x-github-delivery", id)];
        assert_eq!(send(&door, "github", &headers, "{}").await.status, StatusCode::BAD_REQUEST);
    }
    assert!(door.log.streams().is_empty());
}
