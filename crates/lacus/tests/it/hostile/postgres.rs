//! What is no Postgres client.

use super::Answer::{self, HangsUp};
use super::{Port, Row};

/// A client of user `lacus` that begins properly.
pub(super) fn startup() -> Vec<u8> {
    let body = b"\0\x03\0\0user\0lacus\0database\0lake\0\0";
    let length = u32::try_from(body.len() + 4).expect("it is short");
    [length.to_be_bytes().as_slice(), body].concat()
}

pub(super) fn rows() -> Vec<Row> {
    let row = |what: &str, send: &[u8], answer: Answer| Row {
        port: Port::Postgres,
        ..Row::new(&format!("Postgres: {what}"), send, answer)
    };
    let begun = |what: &str, send: &[u8]| row(what, &[&startup(), send].concat(), HangsUp("server_version"));
    vec![
        row("garbage", &b"\xde\xad\xbe\xef".repeat(25), HangsUp("")),
        row("a start of 2 GB", b"\x7f\xff\xff\xff\0\x03\0\0", HangsUp("")),
        row("a start below zero", b"\xff\xff\xff\xff\0\x03\0\0", HangsUp("")),
        row("a start of nothing", b"\0\0\0\0\0\x03\0\0", HangsUp("")),
        row("a version of the future", b"\0\0\0\x08\0\x09\0\0", HangsUp("")),
        row("HTTP", b"GET / HTTP/1.1\r\n\r\n", HangsUp("")),
        row("TLS", b"\x16\x03\x01\x02\0\x01\0", HangsUp("")),
        begun("a query of 2 GB", b"Q\x7f\xff\xff\xff"),
        begun("a query below zero", b"Q\xff\xff\xff\xff"),
        begun("100 MB of one query", &[b"Q\x3f\xff\xff\0".as_slice(), &vec![b' '; 100 << 20]].concat()),
        begun("a query of less than nothing", b"Q\0\0\0\0"),
        begun("a query that does not end", b"Q\0\0\0\x0cselect 1X\0\0\0\x04"),
        begun("a query within a query", b"Q\0\0\0\x0eselect 1\0Q\0\0\0\x04"),
        begun("a statement that breaks off", b"P\0\0\0\x06\0\0"),
        begun("values that break off", b"B\0\0\0\x0a\0\0\xff\xff\xff\xff"),
        begun("to close what is neither a statement nor a portal", b"C\0\0\0\x06X\0"),
        begun("a password that nobody asked for", b"p\0\0\0\x05x"),
        begun("a message of no kind", b"\x01\0\0\0\x04"),
    ]
}
