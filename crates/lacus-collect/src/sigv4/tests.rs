//! Signatures made by botocore 1.44 are accepted, and nothing that differs from them in one byte.

use axum::body::Body;
use axum::http::Request;
use proptest::prelude::*;

use super::*;

const ID: &str = "LACUAAAAAAAAAAAAAAAA";
const SECRET: &str = "secretsecretsecretsecretsecretsecret1234";
const BODY: &[u8] = br#"{"StreamName":"clicks"}"#;
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=LACUAAAAAAAAAAAAAAAA/20261121/eu-central-1/kinesis/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=2ea8beece45ad7d218ff37ad76ea1f8bebd97ffabc764258af54c78bfba1d656";

fn request() -> Parts {
    let request = Request::post("/")
        .header("x-amz-target", "Kinesis_20131202.DescribeStream")
        .header("content-type", "application/x-amz-json-1.1")
        .header("host", "127.0.0.1:8484")
        .header("x-amz-date", "20261121T030655Z")
        .header("authorization", SIGNED);
    request.body(Body::empty()).unwrap().into_parts().0
}

fn now() -> Timestamp {
    "2026-11-21T03:07:00Z".parse().unwrap()
}

fn keyring() -> Keyring {
    Keyring::with_access_key(ID, SECRET)
}

fn denied(head: &Parts, body: &[u8], now: Timestamp) -> &'static str {
    verify(head, body, &keyring(), now).err().expect("it is denied").name
}

#[test]
fn what_botocore_signs_is_verified() {
    let verified = verify(&request(), BODY, &keyring(), now()).unwrap();
    assert_eq!((verified.region.as_str(), verified.key.info.id.as_str()), ("eu-central-1", ID));
    assert!(verify(&request(), BODY, &keyring(), now()).is_ok(), "the same request may come again");
}

#[test]
fn http_2_has_its_host_in_the_address() {
    let mut head = request();
    head.headers.remove("host");
    head.uri = "http://127.0.0.1:8484/".parse().unwrap();
    assert!(verify(&head, BODY, &keyring(), now()).is_ok());
}

#[test]
fn paths_parameters_and_spaces_have_one_form() {
    let head = Request::post("/a%20b/%2520x?b=2&a=1&c=%2F")
        .header("x-two", "  a   b  ")
        .header("host", "127.0.0.1:8484")
        .body(Body::empty())
        .unwrap()
        .into_parts()
        .0;
    assert_eq!(query(head.uri.query()), "a=1&b=2&c=%2F");
    assert_eq!(signed_header(&head, "X-Two").unwrap(), "a b");
    assert_eq!(encode(head.uri.path(), b"/"), "/a%2520b/%252520x");
}

#[test]
fn each_wrong_request_has_the_name_that_aws_gives_it() {
    let with = |name: &'static str, value: &str| {
        let mut head = request();
        head.headers.insert(name, value.parse().unwrap());
        head
    };
    let mut unsigned = request();
    unsigned.headers.remove("authorization");
    assert_eq!(denied(&unsigned, BODY, now()), "MissingAuthenticationTokenException");
    assert_eq!(denied(&with("authorization", "Basic abc"), BODY, now()), "IncompleteSignatureException");
    let cut = SIGNED.split(", Signature").next().unwrap();
    assert_eq!(denied(&with("authorization", cut), BODY, now()), "IncompleteSignatureException");
    let stranger = SIGNED.replace(ID, "LACUBBBBBBBBBBBBBBBB");
    assert_eq!(denied(&with("authorization", &stranger), BODY, now()), "UnrecognizedClientException");
    assert_eq!(denied(&with("x-amz-date", "yesterday"), BODY, now()), "IncompleteSignatureException");
    assert_eq!(denied(&with("x-amz-date", "20261122T030655Z"), BODY, now()), "InvalidSignatureException");
    assert_eq!(denied(&with("x-amz-target", "Kinesis_20131202.PutRecord"), BODY, now()), "InvalidSignatureException");
    assert_eq!(denied(&with("x-amz-content-sha256", "UNSIGNED-PAYLOAD"), BODY, now()), "InvalidSignatureException");
    assert_eq!(denied(&request(), b"{}", now()), "InvalidSignatureException");
    for (off, word) in [(16_i64, "Signature expired"), (-16, "Signature not yet current")] {
        let now = Timestamp::from_micros(now().as_micros() + off * 60_000_000);
        let denial = verify(&request(), BODY, &keyring(), now).err().unwrap();
        assert!(denial.message.starts_with(word), "{}", denial.message);
    }
    let elsewhere = SIGNED.replace("/kinesis/", "/s3/");
    assert_eq!(denied(&with("authorization", &elsewhere), BODY, now()), "InvalidSignatureException");
}

proptest! {
    #[test]
    fn any_changed_byte_is_noticed(at in 0..BODY.len(), bit in 0..8_u8, place in 0..SIGNED.len()) {
        let mut body = BODY.to_vec();
        body[at] ^= 1 << bit;
        prop_assert!(verify(&request(), &body, &keyring(), now()).is_err());
        let mut signed = SIGNED.as_bytes().to_vec();
        signed[place] = if signed[place] == b'0' { b'1' } else { b'0' };
        let mut head = request();
        head.headers.insert("authorization", signed.as_slice().try_into().unwrap());
        prop_assert!(verify(&head, BODY, &keyring(), now()).is_err());
    }

    #[test]
    fn no_header_breaks_it(authorization in "\\PC{0,200}", date in "[0-9TZ]{0,20}", query in "[%a-f0-9&=+ü]{0,40}") {
        let mut head = request();
        if let Ok(value) = authorization.parse() {
            head.headers.insert("authorization", value);
        }
        if let Ok(value) = date.parse() {
            head.headers.insert("x-amz-date", value);
        }
        let _verdict = verify(&head, BODY, &keyring(), now()).is_ok();
        super::query(Some(&query));
    }
}
