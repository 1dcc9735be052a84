//! Anything at all, posted to every door that takes JSON: it is answered, and what is answered with 200 is in the log.

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use proptest::collection::vec;
use proptest::prelude::*;
use sha2::Sha256;

use super::Door;
use crate::hex::hex;

const SETTINGS: &str =
    "[sources.hooks.webhook]\nsecret = \"s\"\nheader = \"x-signature\"\n[sources.clicks]\nschema = \"clicks.json\"";

const SEEDS: [&str; 4] = [
    r#"{"batch":[{"type":"track","event":"a","userId":"u","messageId":"m","context":{"ip":null},"timestamp":"2026-11-20T11:59:00Z"},{"type":7}],"sentAt":"2026-11-20T12:00:00Z","context":{"x":[1]},"integrations":null}"#,
    r#"{"name":"Search","price":1.5,"tags":[[1],[2]],"user":{"id":7}}"#,
    r#"[{"name":"\ud83d\ude00"},{"name":"Search","price":-0.0e-7}]"#,
    "a=1&a.b=2&%ff=%00&name=Search",
];

/// A seed with some bytes changed, left out or doubled.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), 0..4_usize, any::<u8>());
    (0..SEEDS.len(), vec(edit, 0..6)).prop_map(|(seed, edits)| {
        let mut bytes = SEEDS[seed].as_bytes().to_vec();
        for (place, what, byte) in edits {
            let at = place.index(bytes.len().max(1));
            match what {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 => bytes.insert(at, byte),
                _ => bytes.extend_from_within(at..bytes.len().min(at + 20)),
            }
        }
        bytes
    })
}

fn signed(body: &[u8]) -> String {
    let mut hmac = Hmac::<Sha256>::new_from_slice(b"s").unwrap();
    hmac.update(body);
    hex(&hmac.finalize().into_bytes())
}

fn requests(body: &[u8], key: &str) -> Vec<Request<Body>> {
    let post = |path: &str| Request::post(path).header("authorization", format!("Bearer {key}"));
    let data = URL_SAFE_NO_PAD.encode(body);
    let escaped: String = form_urlencoded::byte_serialize(body).collect();
    let hook = Request::post("/v1/webhooks/hooks")
        .header("x-signature", signed(body))
        .header("content-type", "application/x-www-form-urlencoded");
    let with = |request: axum::http::request::Builder| request.body(Body::from(body.to_vec())).unwrap();
    let get = |path: String| Request::get(path).body(Body::empty()).unwrap();
    vec![
        with(post("/v1/batch")),
        with(post("/v1/t")),
        with(hook),
        with(Request::post("/v1/events?source=clicks")),
        get(format!("/v1/pixel/track?writeKey={key}&data={data}")),
        get(format!("/v1/pixel/page?writeKey={key}&userId=u&{escaped}")),
        get(format!("/v1/pixel.gif?source=clicks&name=Search&{escaped}=1")),
    ]
}

#[test]
fn whatever_is_sent_is_answered_and_stored_if_the_answer_says_so() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (door, key) = {
        let _entered = runtime.enter();
        let door = Door::with_settings(SETTINGS);
        let key = door.write_key("web");
        (door, key)
    };
    let stored = || ["web", "hooks", "clicks"].map(|stream| door.values(stream).len()).iter().sum::<usize>();
    proptest!(ProptestConfig::with_cases(200), |(body in mutated())| {
        for request in requests(&body, &key) {
            let before = stored();
            let what = request.uri().path().to_owned();
            let is_batch = what == "/v1/batch";
            let status = runtime.block_on(async {
                tower::ServiceExt::oneshot(crate::router(door.collect.clone()), request).await.unwrap().status()
            });
            let is_stored = stored() > before;
            prop_assert!([200, 207, 400, 413].contains(&status.as_u16()), "{what}: {status}");
            // A batch may have no message.
            prop_assert!(status.is_success() == is_stored || is_batch, "{what}: {status}");
        }
    });
}
