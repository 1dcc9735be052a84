//! What senders get wrong, by mistake or on purpose: the exact answer, and that the door is open right after.

use std::io::{self, Read, Write};

use axum::body::Body;
use axum::http::{HeaderName, Request};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::Door;

/// One door for many requests.
struct Hostile(Door);

impl Hostile {
    fn new() -> Self {
        Self(Door::new())
    }

    /// Sends a request and compares status and answer; then posts a good event.
    async fn check(&self, request: Request<Body>, expected: &str) {
        let what = format!("{} {}", request.method(), request.uri());
        let reply = self.0.send(request).await;
        let found = format!("{} {}", reply.status.as_u16(), reply.text);
        assert_eq!(found, expected, "{what}");
        let reply = self.0.post("/v1/events?source=good", "{}").await;
        assert_eq!(reply.text, r#"{"accepted":1}"#, "after {what}");
    }

    /// Posts a body to `clicks`; what is refused leaves nothing there.
    async fn body(&self, body: impl Into<Body>, expected: &str) {
        self.packed("identity", body, expected).await;
    }

    async fn packed(&self, encoding: &str, body: impl Into<Body>, expected: &str) {
        let before = self.0.values("clicks").len();
        self.check(post("/v1/events?source=clicks", "content-encoding", encoding, body), expected).await;
        let accepted = usize::from(expected.starts_with("200"));
        assert_eq!(self.0.values("clicks").len(), before + accepted);
    }

    async fn address(&self, path: &str, expected: &str) {
        self.check(post(path, "x-test", "1", "{}"), expected).await;
    }
}

fn post(path: &str, name: &str, value: &str, body: impl Into<Body>) -> Request<Body> {
    let name: HeaderName = name.parse().unwrap();
    Request::post(path).header(name, value).body(body.into()).unwrap()
}

/// A whole refusal of kind invalid.
fn invalid(status: u16, message: &str, hint: &str) -> String {
    let (message, hint) = (serde_json::to_string(message).unwrap(), serde_json::to_string(hint).unwrap());
    format!(r#"{status} {{"error":{{"kind":"invalid","message":{message},"hint":{hint}}}}}"#)
}

/// The refusal of a body with one event.
fn refused(what: &str) -> String {
    let what = serde_json::to_string(what).unwrap();
    let what = what.trim_matches('"');
    format!(
        r#"400 {{"error":{{"kind":"invalid","message":"the event was refused: {what}"}},"accepted":0,"refused":1,"errors":[{{"index":0,"message":"{what}"}}]}}"#
    )
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Writes so many spaces.
fn packed<W: Write>(mut encoder: W, bytes: u64) -> W {
    io::copy(&mut io::repeat(b' ').take(bytes), &mut encoder).unwrap();
    encoder
}

/// The most memory that this process ever had.
fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn bodies_that_are_no_events() {
    let door = Hostile::new();
    let object = "line 1 column 1: an event is a JSON object, this is";
    door.body("null", &refused(&format!("{object} null"))).await;
    door.body("17", &refused(&format!("{object} a number"))).await;
    door.body("\"text\"", &refused(&format!("{object} a string"))).await;
    door.body("true", &refused(&format!("{object} a boolean"))).await;
    door.body("[[]]", &refused("line 1 column 2: an event is a JSON object, this is an array")).await;
    door.body("{\"a\":1", &refused("line 1 column 7: the object does not end")).await;
    door.body("{'a':1}", &refused("line 1 column 2: a key is written in double quotes")).await;
    door.body("<xml/>", &refused("line 1 column 1: expected a value")).await;
    door.body("{\"a\":NaN}", &refused("line 1 column 6: NaN and Infinity are not JSON")).await;
    door.body(
        "{\"a\":\"\\ud800\"}",
        &refused("line 1 column 13: \\u escapes one half of a character without the other"),
    )
    .await;
    door.body(&b"{\"a\":\"\xc3\x28\"}"[..], &refused("line 1 column 7: the bytes are not UTF-8")).await;
    door.body(&b"\xfe\xff\x00{\x00}"[..], &refused("line 1 column 1: expected a value")).await;
    let empty = invalid(400, "the body has no event", "send a JSON object, an array of them, or one on each line");
    for body in ["", "  \n\n ", "[]", "\u{feff}"] {
        door.body(body, &empty).await;
    }
    let broken = |message| invalid(400, message, "nothing of it was accepted");
    door.body(
        "[{},{]",
        &broken("the body is not well-formed JSON: line 1 column 6: a key is written in double quotes"),
    )
    .await;
    door.body("{\n\"a\": oops\n}", &broken("the body is not well-formed JSON: line 2 column 6: expected a value"))
        .await;
}

#[tokio::test]
async fn odd_bodies_that_are_events_all_the_same() {
    let door = Hostile::new();
    let accepted = r#"200 {"accepted":1}"#;
    door.body("\u{feff}{\"mark\":1}", accepted).await;
    door.body("{\"a\":1e400}", accepted).await;
    door.body("{\"a\":1,\"a\":2}", accepted).await;
    door.body(format!("{{\"{}\":1}}", "k".repeat(1 << 20)), accepted).await;
    door.body(format!("{}{{}}{}", " ".repeat(1 << 20), "\n".repeat(1 << 20)), accepted).await;
    assert_eq!(door.0.values("clicks")[0], "{\"mark\":1}");
    assert_eq!(door.0.values("clicks")[4], "{}");
}

#[tokio::test]
async fn bodies_that_are_too_deep_or_too_many() {
    let door = Hostile::new();
    let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let too_deep = "line 1 column 1: objects and arrays are nested deeper than 64 levels";
    door.body(deep(64), r#"200 {"accepted":1}"#).await;
    door.body(deep(65), &refused(too_deep)).await;
    door.body(deep(100_000), &refused(too_deep)).await;
    let message =
        "the body is not well-formed JSON: line 1 column 203: objects and arrays are nested deeper than 64 levels";
    door.body("[".repeat(100_000), &invalid(400, message, "nothing of it was accepted")).await;
    let message = "the body has more than 100,000 events";
    door.body("{}".repeat(100_001), &invalid(413, message, "send fewer events at once")).await;
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let door = Hostile::new();
    let hint = "send fewer events at once, or raise server.body_bytes_max";
    let too_large = invalid(413, "the body has more than 10MB", hint);
    door.body(format!("{{\"a\":\"{}\"}}", "x".repeat(11 << 20)), &too_large).await;
    let pieces = futures::stream::iter((0..1024).map(|_| Ok::<_, io::Error>(vec![b' '; 64 << 10])));
    door.body(Body::from_stream(pieces), &too_large).await;
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat((10 << 20) - 8));
    door.body(long, &refused("line 1 column 1: the event has more than 10,484,736 bytes")).await;
}

#[tokio::test]
async fn bombs_are_stopped_at_the_limit() {
    let door = Hostile::new();
    let hint = "send fewer events at once, or raise server.body_bytes_max";
    let too_large = invalid(413, "the unpacked body has more than 10MB", hint);
    // 10 MB that would become 10 GB: a thousandfold is the most that gzip can do.
    let member = packed(GzEncoder::new(Vec::new(), Compression::default()), 10 << 20).finish().unwrap();
    let gzip_bomb = member.repeat((10 << 20) / member.len());
    assert!(gzip_bomb.len() > 9 << 20 && member.len() < 11 << 10);
    // 1 MB that would become 10 GB.
    let frame = packed(zstd::Encoder::new(Vec::new(), 3).unwrap(), 64 << 20).finish().unwrap();
    let zstd_bomb = frame.repeat(160);
    assert!(zstd_bomb.len() < 2 << 20);

    let before = peak_memory_bytes();
    door.packed("gzip", gzip_bomb, &too_large).await;
    door.packed("zstd", zstd_bomb, &too_large).await;
    let grown = peak_memory_bytes() - before;
    assert!(grown < 40 << 20, "the peak of memory grew by {grown} bytes");
    door.packed("gzip", gzip(&vec![b' '; (10 << 20) + 1]), &too_large).await;
    door.packed("gzip", gzip(format!("{{}}{}", " ".repeat((10 << 20) - 2)).as_bytes()), r#"200 {"accepted":1}"#).await;
}

#[tokio::test]
async fn bodies_that_are_packed_wrongly() {
    let door = Hostile::new();
    let event = br#"{"packed":true}"#;
    let accepted = r#"200 {"accepted":1}"#;
    let twice = [gzip(&event[..5]), gzip(&event[5..])].concat();
    door.packed("gzip", gzip(event), accepted).await;
    door.packed("X-GZIP", twice, accepted).await;
    door.packed("zstd", zstd::encode_all(&event[..], 3).unwrap(), accepted).await;
    door.packed("", &event[..], accepted).await;

    let plain = |error: &str| format!(r#"400 {{"error":{{"kind":"invalid","message":"{error}"}}}}"#);
    door.packed("gzip", &event[..], &plain("the body can't be unpacked: it is no gzip, or damaged")).await;
    door.packed("zstd", &event[..], &plain("the body can't be unpacked: it is no zstd, or damaged")).await;
    let whole = gzip(event);
    door.packed("gzip", whole[..whole.len() - 9].to_vec(), &plain("the gzip body breaks off")).await;
    let whole = zstd::encode_all(&event[..], 3).unwrap();
    door.packed("zstd", whole[..whole.len() - 3].to_vec(), &plain("the zstd body breaks off")).await;
    let mut damaged = gzip(event);
    damaged[12] ^= 0x55;
    door.packed("gzip", damaged, &plain("the body can't be unpacked: it is no gzip, or damaged")).await;

    let unsaid = |encoding: &str| {
        invalid(
            400,
            &format!("the body is {encoding}, and the request does not say so"),
            &format!("add the header content-encoding: {encoding}"),
        )
    };
    door.packed("identity", gzip(event), &unsaid("gzip")).await;
    door.packed("identity", zstd::encode_all(&event[..], 3).unwrap(), &unsaid("zstd")).await;
    door.packed("gzip", gzip(&gzip(event)), &unsaid("gzip")).await;

    for encoding in ["br", "deflate", "gzip, zstd"] {
        let message = format!("content-encoding \"{encoding}\" is not understood here");
        door.packed(
            encoding,
            &event[..],
            &invalid(415, &message, "compress the body once with gzip or zstd, or not at all"),
        )
        .await;
    }
}

#[tokio::test]
async fn a_zstd_window_larger_than_a_body_is_not_made_room_for() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(br#"{"packed":true}"#).unwrap();
    let message = "the zstd body asks for a window larger than a body may be";
    let hint = "compress it with level 19 or lower, without --long";
    Hostile::new().packed("zstd", encoder.finish().unwrap(), &invalid(400, message, hint)).await;
}

#[tokio::test]
async fn addresses_that_say_no_stream() {
    let door = Hostile::new();
    let hint = "post to /v1/events?source=clicks: the events become rows of table clicks";
    let unsaid = invalid(400, "the request does not say its source", hint);
    door.address("/v1/events", &unsaid).await;
    door.address("/v1/events?key=a", &unsaid).await;
    let rule = "is not a stream name: use a lowercase letter, then lowercase letters, digits and single underscores, 120 bytes at most";
    door.address("/v1/events?source=My%20Clicks", &invalid(400, &format!("\"My Clicks\" {rule}"), "try \"my_clicks\""))
        .await;
    let escape = "/v1/events?source=../../etc/passwd";
    door.address(escape, &invalid(400, &format!("\"../../etc/passwd\" {rule}"), "try \"etc_passwd\"")).await;
    let known = "parameters here: source, key, write_key";
    door.address("/v1/events?sourc=clicks", &invalid(400, "there is no parameter \"sourc\"", known)).await;
    let reply = door.0.post("/v1/events?source=a&source=b", "{}").await;
    insta::assert_snapshot!(reply.text, @r#"{"error":{"kind":"invalid","message":"parameter \"source\" is given twice"}}"#);
    let reply = door.0.post(&format!("/v1/events?source=a&key={}", "k".repeat(1025)), "{}").await;
    insta::assert_snapshot!(reply.text, @r#"{"error":{"kind":"invalid","message":"parameter \"key\" is longer than 1,024 bytes"}}"#);
    assert_eq!(door.0.log.streams().len(), 1, "only the good one was made");
}

#[tokio::test]
async fn methods_that_send_nothing_are_shown_how() {
    let door = Door::new();
    for method in ["GET", "PUT", "DELETE"] {
        let request = Request::builder().method(method).uri("/v1/events?source=clicks").body(Body::empty()).unwrap();
        let reply = door.send(request).await;
        assert_eq!((reply.status.as_u16(), &reply.headers["allow"]), (405, &"POST".parse().unwrap()));
        assert!(reply.text.contains(&format!("/v1/events takes POST, not {method}")), "{}", reply.text);
    }
    let reply = door.send(Request::get("/v1/events").body(Body::empty()).unwrap()).await;
    insta::assert_snapshot!(reply.text, @r#"{"error":{"kind":"invalid","message":"/v1/events takes POST, not GET","hint":"curl 'http://127.0.0.1:8484/v1/events?source=clicks' -d '{\"event_name\":\"Search\"}'"}}"#);
}

#[tokio::test]
async fn the_example_names_the_host_that_was_asked() {
    let request = Request::get("/v1/events").header("host", "lake.example:80").body(Body::empty()).unwrap();
    let reply = Door::new().send(request).await;
    assert!(reply.text.contains("curl 'http://lake.example:80/v1/events?"), "{}", reply.text);
}

#[tokio::test]
async fn content_types_say_nothing_except_that_there_are_lines() {
    let door = Hostile::new();
    let path = "/v1/events?source=clicks";
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8", "\u{e9}"]
    {
        door.check(post(path, "content-type", content_type, "[{}]"), r#"200 {"accepted":1}"#).await;
    }
    for content_type in ["application/x-ndjson", "Application/NDJSON; charset=utf-8", "application/jsonl"] {
        let refused = refused("line 1 column 1: an event is a JSON object, this is an array");
        door.check(post(path, "content-type", content_type, "[{}]"), &refused).await;
    }
}
