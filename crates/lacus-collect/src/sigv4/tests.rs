//! Signatures that AWS publishes and that botocore 1.44 makes are accepted, and nothing that differs from them in one byte.

use axum::body::Body;
use axum::http::Request;
use proptest::prelude::*;

use super::*;

const ID: &str = "LACUAAAAAAAAAAAAAAAA";
const SECRET: &str = "secretsecretsecretsecretsecretsecret1234";
const BODY: &[u8] = br#"{"StreamName":"clicks"}"#;
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=LACUAAAAAAAAAAAAAAAA/20261121/eu-central-1/kinesis/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=2ea8beece45ad7d218ff37ad76ea1f8bebd97ffabc764258af54c78bfba1d656";

/// What botocore 1.44.5 sends on 2026-11-21 at 03:06:55, some seconds before [`now`]: headers, an empty line, the body.
const BY_BOTOCORE: [&str; 4] = [
    // As boto3 does.
    r#"Host: 127.0.0.1:8484
X-Amz-Target: Kinesis_20131202.DescribeStream
Content-Type: application/x-amz-json-1.1
X-Amz-Date: 20261121T030655Z
Authorization: AWS4-HMAC-SHA256 Credential=LACUAAAAAAAAAAAAAAAA/20261121/eu-central-1/kinesis/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=2ea8beece45ad7d218ff37ad76ea1f8bebd97ffabc764258af54c78bfba1d656

{"StreamName":"clicks"}"#,
    // With the token of a session.
    r#"Host: 127.0.0.1:8484
X-Amz-Target: Kinesis_20131202.DescribeStream
Content-Type: application/x-amz-json-1.1
X-Amz-Date: 20261121T030655Z
X-Amz-Security-Token: session-token//+=
Authorization: AWS4-HMAC-SHA256 Credential=LACUAAAAAAAAAAAAAAAA/20261121/eu-central-1/kinesis/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, Signature=345809786d0195e3caba570c742b75983934e47d61fb89f21a3d78a612fce7ef

{"StreamName":"clicks"}"#,
    // For another service, with a header that has more space than it needs.
    r#"Host: 127.0.0.1:8484
X-Amz-Target: Firehose_20150804.PutRecord
Content-Type: application/x-amz-json-1.1
User-Agent: Boto3/1.44.5
X-Amz-User-Agent:   two   words
X-Amz-Date: 20261121T030655Z
Authorization: AWS4-HMAC-SHA256 Credential=LACUAAAAAAAAAAAAAAAA/20261121/us-east-1/firehose/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target;x-amz-user-agent, Signature=71bae527fde91df3dd8ad6bcb9e444995e043328a8c3e85288bd09753152dce0

{"DeliveryStreamName":"clicks","Record":{"Data":"e30="}}"#,
    // With the time in the header of HTTP.
    r#"Host: 127.0.0.1:8484
X-Amz-Target: Kinesis_20131202.DescribeStream
Content-Type: application/x-amz-json-1.1
Date: Sat, 21 Nov 2026 03:06:55 -0000
Authorization: AWS4-HMAC-SHA256 Credential=LACUAAAAAAAAAAAAAAAA/20261121/us-gov-west-1/kinesis/aws4_request, SignedHeaders=content-type;date;host;x-amz-target, Signature=5fe2472838d82d2e8c9bef22e47bb1d483b19671d1c2d5c399c46dbcc2f2615b

{"StreamName":"clicks"}"#,
];

/// A test of the suite of signatures that AWS publishes.
struct Published {
    name: &'static str,
    /// The method and the address.
    address: &'static str,
    /// What comes beside the host and the time.
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    signed_headers: &'static str,
    signature: &'static str,
}

/// The suite, as far as its addresses can be written in a request.
const BY_AWS: [Published; 9] = [
    Published {
        name: "get-vanilla",
        address: "GET /",
        headers: &[],
        body: "",
        signed_headers: "host;x-amz-date",
        signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    },
    Published {
        name: "get-vanilla-query-order-key-case",
        address: "GET /?Param2=value2&Param1=value1",
        headers: &[],
        body: "",
        signed_headers: "host;x-amz-date",
        signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    },
    Published {
        name: "get-vanilla-empty-query-key",
        address: "GET /?Param1=value1",
        headers: &[],
        body: "",
        signed_headers: "host;x-amz-date",
        signature: "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
    },
    Published {
        name: "get-unreserved",
        address: "GET /-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        headers: &[],
        body: "",
        signed_headers: "host;x-amz-date",
        signature: "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    },
    Published {
        name: "get-utf8",
        address: "GET /\u{1234}",
        headers: &[],
        body: "",
        signed_headers: "host;x-amz-date",
        signature: "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
    },
    Published {
        name: "get-header-key-duplicate",
        address: "GET /",
        headers: &[("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")],
        body: "",
        signed_headers: "host;my-header1;x-amz-date",
        signature: "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    },
    Published {
        name: "get-header-value-trim",
        address: "GET /",
        headers: &[("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")],
        body: "",
        signed_headers: "host;my-header1;my-header2;x-amz-date",
        signature: "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    },
    Published {
        name: "post-header-key-sort",
        address: "POST /",
        headers: &[("My-Header1", "value1")],
        body: "",
        signed_headers: "host;my-header1;x-amz-date",
        signature: "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    },
    Published {
        name: "post-x-www-form-urlencoded",
        address: "POST /",
        headers: &[("Content-Type", "application/x-www-form-urlencoded")],
        body: "Param1=value1",
        signed_headers: "content-type;host;x-amz-date",
        signature: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    },
];

/// Reads headers, an empty line and a body.
fn read(text: &str) -> (Parts, &[u8]) {
    let (headers, body) = text.split_once("\n\n").unwrap();
    let headers = headers.lines().map(|line| line.split_once(':').unwrap());
    let request = headers.fold(Request::post("/"), |request, (name, value)| request.header(name, value));
    (request.body(Body::empty()).unwrap().into_parts().0, body.as_bytes())
}

fn request() -> Parts {
    read(BY_BOTOCORE[0]).0
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
    for text in BY_BOTOCORE {
        let (head, body) = read(text);
        let verified = verify(&head, body, &keyring(), now()).unwrap();
        assert!(text.contains(&format!("/{}/", verified.region)), "{}", verified.region);
        assert_eq!(verified.key.info.id, ID);
        assert!(verify(&head, body, &keyring(), now()).is_ok(), "the same request may come again");
    }
}

#[test]
fn what_aws_publishes_is_signed_so() {
    for Published { name, address, headers, body, signed_headers, signature } in BY_AWS {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={signed_headers}, Signature={signature}"
        );
        let (method, uri) = address.split_once(' ').unwrap();
        let request = Request::builder().method(method).uri(uri).header("host", "example.amazonaws.com");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.header("x-amz-date", "20150830T123600Z");
        let head = request.body(Body::empty()).unwrap().into_parts().0;
        let authorization = Authorization::parse(&authorization).unwrap();
        let canonical = canonical_request(&head, body.as_bytes(), &authorization).unwrap();
        let time = header_time(&head.headers).unwrap();
        let expected = sign("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", &authorization, time, &canonical);
        assert_eq!(expected, signature, "{name}\n{canonical}");
    }
}

#[test]
fn http_2_has_its_host_in_the_address() {
    let mut head = request();
    head.headers.remove("host");
    head.uri = "http://127.0.0.1:8484/".parse().unwrap();
    assert!(verify(&head, BODY, &keyring(), now()).is_ok());
    // The SDKs for JavaScript sign it by the name it has there.
    let by_name = SIGNED.replace("content-type;host;", ":authority;content-type;");
    let authorization = Authorization::parse(&by_name).unwrap();
    let canonical = canonical_request(&head, BODY, &authorization).unwrap();
    assert!(canonical.starts_with("POST\n/\n\n:authority:127.0.0.1:8484\ncontent-type:"), "{canonical}");
    let signature = sign(SECRET, &authorization, header_time(&head.headers).unwrap(), &canonical);
    let signed = by_name.replace(authorization.signature, &signature);
    head.headers.insert("authorization", signed.parse().unwrap());
    assert!(verify(&head, BODY, &keyring(), now()).is_ok());
    head.uri = "http://127.0.0.1:8485/".parse().unwrap();
    assert_eq!(denied(&head, BODY, now()), "InvalidSignatureException");
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
    let elsewhere = SIGNED.replace("/kinesis/", "/s3/");
    assert_eq!(denied(&with("authorization", &elsewhere), BODY, now()), "InvalidSignatureException");
}

#[test]
fn the_time_of_a_request_is_ours_or_told() {
    let at = |time: &str| match verify(&request(), BODY, &keyring(), time.parse().unwrap()) {
        Ok(_) => "verified".to_owned(),
        Err(denial) => format!("{}: {}", denial.name, denial.message),
    };
    assert_eq!(at("2026-11-21T03:21:55Z"), "verified");
    assert_eq!(at("2026-11-21T02:51:55Z"), "verified");
    insta::assert_snapshot!(at("2026-11-21T03:21:56Z"), @"InvalidSignatureException: Signature expired: 20261121T030655Z is now earlier than 20261121T030656Z (20261121T032156Z - 15 min.)");
    insta::assert_snapshot!(at("2026-11-21T02:51:54Z"), @"InvalidSignatureException: Signature not yet current: 20261121T030655Z is still later than 20261121T030654Z (20261121T025154Z + 15 min.)");
    assert!(at("0001-01-01T00:00:00Z").contains("not yet current") && at("9999-12-31T23:59:59Z").contains("expired"));
}

#[test]
fn what_a_signature_must_cover_is_covered() {
    let signing = |names: &str| {
        let mut head = request();
        let signed = SIGNED.replace("content-type;host;x-amz-date;x-amz-target", names);
        head.headers.insert("authorization", signed.parse().unwrap());
        verify(&head, BODY, &keyring(), now()).err().unwrap().message
    };
    assert_eq!(signing("content-type;x-amz-date;x-amz-target"), "'Host' must be a signed header.");
    assert_eq!(signing("content-type;host;x-amz-date"), "'X-Amz-Target' must be a signed header.");
    assert_eq!(signing("host;x-amz-target;HOST"), "'SignedHeaders' names a header twice.");
    assert_eq!(signing("host;x-amz-target;x-other"), "a signed header is missing from the request");
    assert_eq!(signing("host;x-amz-target;a b"), "a signed header is missing from the request");
}

#[test]
fn a_secret_that_cannot_be_decrypted_is_our_fault() {
    let keyring = Keyring::with_sealed_access_key(ID);
    let denial = verify(&request(), BODY, &keyring, now()).err().unwrap();
    assert_eq!(denial.name, "InternalFailure", "clients try again after it");
    insta::assert_snapshot!(denial.message, @"the secret of key LACUAAAAAAAAAAAAAAAA can't be decrypted with this master key (start lacus with the LACUS_MASTER_KEY that the key was made with, or make a new key)");
}

proptest! {
    #[test]
    fn any_changed_byte_is_noticed(which in 0..BY_BOTOCORE.len(), place: prop::sample::Index, bit in 0..8_u8) {
        let (head, body) = read(BY_BOTOCORE[which]);
        let mut changed = body.to_vec();
        changed[place.index(body.len())] ^= 1 << bit;
        prop_assert!(verify(&head, &changed, &keyring(), now()).is_err());
        let names: Vec<HeaderName> = head.headers.keys().filter(|name| *name != "user-agent").cloned().collect();
        let mut head = head.clone();
        let value = head.headers.get_mut(place.get(&names)).unwrap();
        let mut changed = value.as_bytes().to_vec();
        let place = place.index(changed.len());
        changed[place] ^= 1 << bit;
        let is_space = |byte: u8| byte == b' ';
        let is_more_space = is_space(value.as_bytes()[place]) || is_space(changed[place]);
        if let Ok(changed) = changed.as_slice().try_into() && !is_more_space {
            *value = changed;
            prop_assert!(verify(&head, body, &keyring(), now()).is_err());
        }
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
