//! What clients get wrong, over HTTP and Postgres: a clear message, the right status, and a server that stays up.
//!
//! After every bad request a good event is sent; at the end exactly the good ones are there.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use lacus_testkit::http::Reply;
use lacus_testkit::{Http, Project, Server};
use serde_json::json;

const JSON: (&str, &str) = ("content-type", "application/json");
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
const GZIP: (&str, &str) = ("content-encoding", "gzip");
const ZSTD: (&str, &str) = ("content-encoding", "zstd");

/// A request body that is refused as a whole.
struct Refused {
    what: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    status: u16,
    /// Part of the message.
    says: &'static str,
}

fn refused() -> Vec<Refused> {
    let case = |what, headers: &[_], body: &[u8], status, says| Refused {
        what,
        headers: headers.to_vec(),
        body: body.to_vec(),
        status,
        says,
    };
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(11 << 20));
    let cut_off = gzip(br#"{"good":false}"#);
    vec![
        case("no JSON at all", &[JSON], b"hello", 400, "line 1 column"),
        case("an object that does not end", &[JSON], br#"{"a":1"#, 400, "line 1 column"),
        case("a comma too much", &[JSON], br#"{"a":1,}"#, 400, "line 1 column"),
        case("an empty body", &[JSON], b"", 400, "no event"),
        case("a number instead of an object", &[JSON], b"42", 400, "object"),
        case("text instead of an object", &[JSON], br#""event""#, 400, "object"),
        case("invalid UTF-8", &[JSON], b"{\"a\":\"\xff\xfe\"}", 400, "UTF-8"),
        case("half a surrogate pair", &[JSON], br#"{"a":"\ud800"}"#, 400, "half of a character"),
        case("nesting without end", &[JSON], deep.as_bytes(), 400, "deep"),
        case("11 MiB", &[JSON], large.as_bytes(), 413, "10MB"),
        case("11 MiB compressed", &[JSON, GZIP], &gzip(large.as_bytes()), 413, "10MB"),
        case("a gzip bomb", &[NDJSON, GZIP], &gzip(&vec![b' '; 300 << 20]), 413, "10MB"),
        case("a zstd bomb", &[NDJSON, ZSTD], &zstd_bomb(), 413, "10MB"),
        case("gzip that is none", &[JSON, GZIP], br#"{"a":1}"#, 400, "gzip"),
        case("gzip that is cut off", &[JSON, GZIP], &cut_off[..cut_off.len() - 9], 400, "gzip"),
        case("zstd that is none", &[JSON, ZSTD], br#"{"a":1}"#, 400, "zstd"),
        case("an unknown compression", &[JSON, ("content-encoding", "br")], b"{}", 415, "br"),
    ]
}

#[test]
fn bad_events_are_refused_with_the_reason_and_good_ones_still_come() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    let mut good = 0;
    for case in refused() {
        let mut http = server.http();
        let reply = http.post("/v1/events?source=events", &case.headers, &case.body);
        let reply = reply.unwrap_or_else(|error| panic!("{}: {error}", case.what));
        assert_eq!(reply.status, case.status, "{}: {}", case.what, reply.text());
        assert_says(case.what, &reply, case.says);
        good += send_good(&server);
    }
    assert!(resident_mb(&server) < 600, "{} MB after bodies that unpack to much more", resident_mb(&server));
    check_good(&server, good);
    assert!(server.stop().success());
}

#[test]
fn one_bad_event_does_not_take_the_others_with_it() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    let lines = b"{\"good\":true}\n{\"good\":\n{\"good\":true}\n[1]\n\n{\"good\":true}\n";
    let reply = server.http().post("/v1/events?source=events", &[NDJSON], lines).expect("post lines");
    let verdict = reply.json();
    assert_eq!(verdict["accepted"], 3, "{verdict}");
    assert_eq!((reply.status, &verdict["refused"]), (207, &json!(2)), "{verdict}");
    assert_eq!((&verdict["errors"][0]["index"], &verdict["errors"][1]["index"]), (&json!(1), &json!(3)), "{verdict}");
    let array = br#"[{"good":true}, 7, {"good":true}]"#;
    let reply = server.http().post("/v1/events?source=events", &[JSON], array).expect("post an array");
    let verdict = reply.json();
    assert_eq!(verdict["accepted"], 2, "{verdict}");
    check_good(&server, 5);
    assert!(server.stop().success());
}

#[test]
fn a_value_of_another_type_is_rescued_and_its_row_stays() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    let lines =
        b"{\"good\":true,\"price\":1}\n{\"good\":true,\"price\":\"dear\"}\n{\"good\":true,\"price\":{\"a\":[1]}}\n";
    let reply = server.http().post("/v1/events?source=events", &[NDJSON], lines).expect("post lines");
    assert_eq!(reply.json()["accepted"], 3);
    check_good(&server, 3);
    let rows = server.postgres().query("SELECT price, _rescued FROM events ORDER BY _offset").expect("select");
    let rows: Vec<_> = rows.rows.iter().map(|row| (row[0].as_deref(), row[1].as_deref())).collect();
    let expected = [(Some("1"), None), (None, Some(r#"{"price":"dear"}"#)), (None, Some(r#"{"price":{"a":[1]}}"#))];
    assert_eq!(rows, expected);
    assert!(server.stop().success());
}

#[test]
fn bad_requests_get_their_status() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    let mut http = server.http();
    let mut check = |method: &str, path: &str, status: u16, says: &str| {
        let reply = http.send(method, path, &[JSON], br#"{"good":false}"#).expect("a reply");
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        assert_says(path, &reply, says);
    };
    check("POST", "/v1/events", 400, "source");
    check("POST", "/v1/events?source=Not-A-Name", 400, "not_a_name");
    check("POST", "/v1/events?source=", 400, "stream name");
    check("POST", "/v1/nothing", 404, "/v1/nothing");
    check("DELETE", "/v1/events?source=events", 405, "");
    for bytes in [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), b"GET / HTTP/9.9\r\n\r\n", b"\0\0\0\0"] {
        // A reply or a closed connection are both fine, a server that is gone is not.
        let mut strange = TcpStream::connect(server.http_address()).expect("connect");
        strange.write_all(bytes).expect("write");
        drop(strange);
        let mut strange = TcpStream::connect(server.postgres_address()).expect("connect");
        strange.write_all(bytes).expect("write");
        drop(strange);
    }
    let half = b"POST /v1/events?source=events HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{\"good\":";
    TcpStream::connect(server.http_address()).expect("connect").write_all(half).expect("write half a request");
    let good = send_good(&server);
    check_good(&server, good);
    assert!(server.stop().success());
}

#[test]
fn bad_sql_gets_its_sqlstate_and_the_session_goes_on() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    let good = send_good(&server);
    check_good(&server, good);
    let mut postgres = server.postgres();
    let mut check = |sql: &str, code: &str, says: &str, position: Option<usize>| {
        let failure = postgres.query(sql).expect_err(sql);
        assert_eq!(failure.code, code, "{sql}: {failure}");
        assert!(failure.message.contains(says), "{sql}: {failure}");
        assert!(position.is_none() || failure.position == position, "{sql}: {failure:?}");
        assert_eq!(postgres.query("SELECT 1").expect("the session goes on").single(), "1");
    };
    check("SELECT * FROM nothing", "42P01", "nothing", Some(15));
    check("SELECT * FORM events", "42601", "", None);
    check("SELEC 1", "42601", "SELEC", Some(1));
    check("SELECT prize FROM events", "42703", "prize", Some(8));
    check("SELECT nofunction(1)", "42883", "nofunction", None);
    check("SELECT 1/0", "22012", "zero", None);
    check("SELECT cast('x' AS int)", "22P02", "x", None);
    check("DROP TABLE events", "42501", "delivers", None);
    check("DELETE FROM nothing", "42P01", "nothing", None);
    check_good(&server, good);
    let mut http = server.http();
    let reply = http.post("/v1/sql", &[("content-type", "text/plain")], b"SELECT * FROM nothing").expect("a reply");
    assert_eq!(reply.status, 404, "{}", reply.text());
    assert_says("unknown table over HTTP", &reply, "nothing");
    let reply = http.post("/v1/sql", &[("content-type", "text/plain")], b"SELEC 1").expect("a reply");
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(server.stop().success());
}

/// The error in the reply is our own shape and has these words.
/// What happens to one table is no reason to lose what others, or this one, are sent.
#[test]
fn a_damaged_table_keeps_nobody_else_from_going_on() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    let send = |server: &Server, source: &str| {
        let reply =
            server.http().post(&format!("/v1/events?source={source}"), &[JSON], br#"{"n":1}"#).expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    let rows = |server: &Server, source: &str| {
        let told = server.postgres().query(&format!("select count(*) from {source}"));
        told.map(|rows| rows.single().to_owned()).map_err(|failure| failure.to_string())
    };
    for source in ["good", "damaged"] {
        send(&server, source);
        server.http().post(&format!("/v1/tables/{source}/flush"), &[], b"").expect("an answer");
    }
    assert!(server.stop().success());
    let metadata = project.directory().join(".lacus/lake/main/damaged/metadata");
    let aside = project.directory().join("aside");
    std::fs::rename(&metadata, &aside).expect("move a folder");

    let mut server = project.start();
    server.allow("a table can't be read");
    server.allow("a stream is not delivered");
    server.allow("a query failed");
    for source in ["good", "damaged"] {
        send(&server, source);
    }
    wait_for(|| rows(&server, "good") == Ok("2".to_owned()));
    let refused = rows(&server, "damaged").expect_err("the table is damaged");
    assert!(refused.contains("XX001") && refused.contains("main/damaged/metadata"), "{refused}");
    assert!(server.stop().success());
    let asked = project.run(&["sql", "select count(*) as n from good", "--json"]);
    assert_eq!(asked.stdout.trim(), r#"{"n":2}"#, "{}", asked.stderr);
    assert!(asked.stderr.contains("not all is visible: stream \"damaged\""), "{}", asked.stderr);
    let doctor = project.run(&["doctor"]);
    assert!(!doctor.succeeded(), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("\"damaged\" can't be read: open table \"damaged\""), "{}", doctor.stdout);

    std::fs::rename(&aside, &metadata).expect("move a folder");
    let server = project.start();
    wait_for(|| rows(&server, "damaged") == Ok("2".to_owned()));
    assert!(server.stop().success());
}

fn wait_for(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "it did not become so in 20 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn assert_says(what: &str, reply: &Reply, words: &str) {
    let error = &reply.json()["error"];
    let text =
        format!("{} {}", error["message"].as_str().unwrap_or_default(), error["hint"].as_str().unwrap_or_default());
    assert!(error["kind"].is_string() && text.contains(words), "{what}: {}", reply.text());
}

fn send_good(server: &Server) -> u64 {
    let mut http: Http = server.http();
    let reply = http.post("/v1/events?source=events", &[JSON], br#"{"good":true}"#).expect("post a good event");
    assert!(reply.status == 200, "{} {}", reply.status, reply.text());
    1
}

/// The good events are there, as soon as they are visible, and nothing else.
fn check_good(server: &Server, good: u64) {
    let mut postgres = server.postgres();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let rows = postgres.query("SELECT count(*), count(*) FILTER (WHERE good) FROM events");
        if let Ok(rows) = &rows
            && rows.rows[0] == [Some(good.to_string()), Some(good.to_string())]
        {
            return;
        }
        assert!(Instant::now() < deadline, "{good} good events were acknowledged: {rows:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn resident_mb(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("read /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

/// Bytes packed as gzip.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("write to memory");
    encoder.finish().expect("write to memory")
}

/// A gibibyte of blanks.
fn zstd_bomb() -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("make an encoder");
    for _ in 0..1024 {
        encoder.write_all(&[b' '; 1 << 20]).expect("write to memory");
    }
    encoder.finish().expect("write to memory")
}
