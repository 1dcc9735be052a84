//! Heads and bodies that are no HTTP/1.1, or too much of it.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use lacus_testkit::Server;

use super::Answer::{self, HangsUp, Status};
use super::Row;
use super::wire::{connect, request, told};

const EVENTS: &str = "/v1/events?source=strange";

pub(super) fn rows() -> Vec<Row> {
    [heads(), lengths(), no_http(), strange_bytes()].into_iter().flatten().collect()
}

fn get(line: &str, header: &[u8], answer: Answer, what: &str) -> Row {
    let head = [format!("{line}\r\nhost: lacus\r\n").as_bytes(), header, b"\r\n"].concat();
    Row::new(what, head, answer)
}

fn heads() -> Vec<Row> {
    let long = |bytes: usize| [b"x: ", vec![b'a'; bytes].as_slice(), b"\r\n"].concat();
    let many: String = (0..10_000).map(|number| format!("x{number}: a\r\n")).collect();
    let path = |bytes: usize| format!("GET /{} HTTP/1.1", "a".repeat(bytes));
    vec![
        get("GET /livez HTTP/1.1", &long(100 << 10), Status(200, "alive"), "a header of 100 KB"),
        get("GET /livez HTTP/1.1", &long(300 << 10), Status(431, ""), "a header of 300 KB"),
        get("GET /livez HTTP/1.1", many.as_bytes(), Status(431, ""), "10,000 headers"),
        get(&path(100 << 10), b"", Status(414, ""), "an address of 100 KB"),
        get(&path(1 << 20), b"", Status(431, ""), "an address of 1 MB"),
        get("GET /livez HTTP/1.1", b"a: b\r\n c\r\n", Status(400, ""), "a header over two lines"),
        get("GET /livez HTTP/1.1", b"a : b\r\n", Status(400, ""), "a blank after the name of a header"),
        get("CONNECT a:443 HTTP/1.1", b"", Status(404, "no"), "a tunnel"),
    ]
}

fn lengths() -> Vec<Row> {
    let post = |what: &str, headers: &[(&str, &str)], body: &[u8], answer| {
        Row::new(what, request("POST", EVENTS, headers, body), answer)
    };
    let length = |what: &str, length, answer| post(what, &[("content-length", length)], b"{}", answer);
    let chunked = |what: &str, body: &[u8]| {
        post(what, &[("transfer-encoding", "chunked")], body, Status(400, "the body breaks off"))
    };
    let extension = [b"2;", vec![b'a'; 100 << 10].as_slice(), b"\r\n{}\r\n0\r\n\r\n"].concat();
    let both = [("content-length", "4"), ("transfer-encoding", "chunked")];
    vec![
        // Allowed by RFC 9112 if the connection ends: what follows is never taken for a request.
        post("two lengths of a body", &both, b"2\r\n{}\r\n0\r\n\r\nGET /livez HTTP/1.1\r\n\r\n", HangsUp("200 OK")),
        post("two content lengths", &[("content-length", "2"), ("content-length", "3")], b"{}", Status(400, "")),
        length("a length below zero", "-1", Status(400, "")),
        length("a length with a sign", "+2", Status(400, "")),
        length("a length that is no number", "0x2", Status(400, "")),
        length("a length beyond 64 bits", "99999999999999999999999", Status(400, "")),
        length("the largest length", "18446744073709551615", Status(431, "")),
        length("a length of a terabyte", "1000000000000", Status(413, "10MB")),
        post("an unknown transfer encoding", &[("transfer-encoding", "gzip")], b"{}", Status(400, "")),
        post("chunks that are not last", &[("transfer-encoding", "chunked, gzip")], b"{}", Status(400, "")),
        chunked("a chunk beyond 64 bits", b"fffffffffffffffffffff\r\n{}"),
        chunked("a chunk below zero", b"-2\r\n{}"),
        chunked("a chunk longer than it says", b"1\r\n{}\r\n0\r\n\r\n"),
        chunked("a chunk with 100 KB of extensions", &extension),
    ]
}

fn no_http() -> Vec<Row> {
    vec![
        Row::new("HTTP/0.9", "GET /livez\r\n\r\n", Status(400, "")),
        Row::new("HTTP/9.9", "GET / HTTP/9.9\r\n\r\n", Status(400, "")),
        Row::new("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(50), Status(400, "")),
        Row::new("nothing but zeros", vec![0; 1000], Status(400, "")),
        Row::new("Postgres", b"\0\0\0\x08\x04\xd2\x16\x2f", Status(400, "")),
    ]
}

fn strange_bytes() -> Vec<Row> {
    let json = ("content-type", "application/json");
    vec![
        get("GET /livez HTTP/1.1", b"x: a\0b\r\n", Status(400, ""), "a zero in a header"),
        get("GET /li\0vez HTTP/1.1", b"", Status(400, ""), "a zero in an address"),
        Row::new("no UTF-8 in an address", b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n", Status(400, "")),
        Row::new(
            "no UTF-8 in a source",
            request("POST", "/v1/events?source=%ff%fe", &[json], b"{}"),
            Status(400, "is not a stream name"),
        ),
        Row::new(
            "no UTF-8 in the name of a table",
            request("POST", "/v1/tables/%ff/flush", &[], b""),
            Status(400, "UTF-8"),
        ),
        get("GET /livez HTTP/1.1", b"authorization: \xff\xfe\r\n", Status(200, "alive"), "no UTF-8 in a header"),
    ]
}

/// A thousand requests in one piece, and the other half closed: each is answered, in order.
pub(super) fn check_pipeline(server: &Server) {
    let mut socket = connect(server.http_address());
    let all: Vec<u8> = (0..1000)
        .flat_map(|number| request("POST", "/v1/events?source=piped", &[], format!("{{\"n\":{number}}}").as_bytes()))
        .collect();
    socket.write_all(&all).expect("send a thousand requests");
    socket.shutdown(Shutdown::Write).expect("close one half");
    let said = told(&mut socket, Duration::from_secs(60), |_| false);
    let said = String::from_utf8_lossy(&said);
    assert_eq!(said.matches("HTTP/1.1 200 OK").count(), 1000, "{said:.1000}");
    super::must_count(server, "select count(*), count(distinct n) from piped", 1000, 1000);
    let mut socket = connect(server.http_address());
    let half = request("POST", EVENTS, &[("content-length", "20")], b"{\"half\":");
    socket.write_all(&half).expect("send half a request");
    socket.shutdown(Shutdown::Write).expect("close one half");
    let said = told(&mut socket, Duration::from_secs(10), |_| false);
    assert!(super::wire::has(&said, "the body breaks off"), "{}", said.escape_ascii());
}
