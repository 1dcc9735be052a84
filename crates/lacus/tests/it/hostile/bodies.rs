//! Small bodies that become large, and bodies that nest without end.

use std::io::Write;

use super::Answer::{self, Status};
use super::Row;
use super::wire::request;
use crate::bad_input::gzip;

const EVENTS: &str = "/v1/events?source=strange";

pub(super) fn rows() -> Vec<Row> {
    let packed = |what: &str, encoding, body: &[u8], answer: Answer| {
        Row::new(what, request("POST", EVENTS, &[("content-encoding", encoding)], body), answer)
    };
    let plain = |what: &str, body: String, answer: Answer| {
        Row::new(what, request("POST", EVENTS, &[], body.as_bytes()), answer)
    };
    let too_large = Status(413, "10MB");
    let zeros = gzip(&vec![0; 10_000_000]);
    let blanks = gzip(&vec![b' '; 10 << 20]);
    let array = format!("[{}{{}}]", "{},".repeat(100_000));
    vec![
        packed("9 GB of zeros as gzip", "gzip", &zeros.repeat(900), too_large),
        packed("a gzip within a gzip", "gzip", &gzip(&zeros), Status(400, "gzip")),
        packed("8 GB of blanks as gzip", "gzip", &blanks.repeat(800), too_large),
        packed("100 GB of zeros as zstd", "zstd", &zstd_bomb(), too_large),
        packed("deflate", "deflate", b"x\x9c\x03\0\0\0\0\x01", Status(415, "not understood")),
        plain("arrays in arrays", format!("{{\"a\":{}", "[".repeat(5_000_000)), Status(400, "deep")),
        plain("objects in objects", "{\"a\":".repeat(1_000_000), Status(400, "deep")),
        plain("more events than a request has", array, Status(413, "100,000")),
        plain("a number of a million digits", format!("{{\"a\":{}}}", "9".repeat(1_000_000)), Status(400, "digits")),
        plain("a million keys", keys(), Status(200, "")),
    ]
}

fn keys() -> String {
    let keys: Vec<String> = (0..300_000).map(|number| format!("\"k{number}\":1")).collect();
    format!("{{{}}}", keys.join(","))
}

/// A frame of a gigabyte, a hundred times.
fn zstd_bomb() -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("make an encoder");
    for _ in 0..1000 {
        encoder.write_all(&[0; 1 << 20]).expect("write to memory");
    }
    encoder.finish().expect("write to memory").repeat(100)
}
