//! Floods of frames: the connection ends before they cost anything, or they are answered one by one.

use super::Answer::{self, Goes, HangsUp};
use super::Row;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// How the server says that the answer of stream 1 ends early.
pub(super) const FIRST_BROKEN_OFF: &str = "\0\0\x04\x03\0\0\0\0\x01\0\0\0\x02";

pub(super) fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("frames are small");
    [&length.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), body].concat()
}

/// The start of a connection, with settings.
pub(super) fn begin(settings: &[u8]) -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()
}

/// The head of a request that has a body, or none.
pub(super) fn head(stream: u32, method: &str, path: &str, flags: u8) -> Vec<u8> {
    frame(HEADERS, flags, stream, &fields(method, path))
}

/// A whole request without a body.
pub(super) fn get(stream: u32, path: &str) -> Vec<u8> {
    head(stream, "GET", path, END_STREAM | END_HEADERS)
}

/// A whole request with a body.
pub(super) fn post(stream: u32, path: &str, body: &[u8]) -> Vec<u8> {
    [head(stream, "POST", path, END_HEADERS), frame(DATA, END_STREAM, stream, body)].concat()
}

/// Lets so many more bytes of an answer come; of all answers for stream 0.
pub(super) fn room(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

fn fields(method: &str, path: &str) -> Vec<u8> {
    let fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "lacus")];
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// A header as it is, not indexed, not packed.
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("headers are short")], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

pub(super) fn rows() -> Vec<Row> {
    let row = |what: &str, frames: Vec<u8>, answer: Answer| {
        Row::new(&format!("HTTP/2: {what}"), [begin(b""), frames].concat(), answer)
    };
    let each = |count: u32, frames: fn(u32) -> Vec<u8>| (0..count).flat_map(|turn| frames(2 * turn + 1)).collect();
    let open = head(1, "POST", "/v1/events?source=strange", END_HEADERS);
    let opened = head(1, "GET", "/livez", END_STREAM);
    let large = field("x", &"y".repeat(100)).repeat(100);
    vec![
        row("a request", get(1, "/livez"), Goes("alive")),
        row("garbage", b"\xde\xad\xbe\xef".repeat(1000), HangsUp("")),
        row("a frame of 16 MB", b"\xff\xff\xff\0\0\0\0\0\x01".to_vec(), HangsUp("")),
        row(
            "10,000 requests, each reset",
            each(10_000, |id| [get(id, "/livez"), reset(id)].concat()),
            HangsUp("too_many_resets"),
        ),
        row("100,000 settings", frame(SETTINGS, 0, 0, b"").repeat(100_000), Goes("")),
        row("100,000 pings", frame(PING, 0, 0, b"pingpong").repeat(100_000), Goes("pingpong")),
        row(
            "a head of 2,000 pieces",
            [opened.clone(), frame(CONTINUATION, 0, 1, &large).repeat(2_000)].concat(),
            HangsUp("too_many_continuations"),
        ),
        row(
            "a head of 100,000 empty pieces",
            [opened, frame(CONTINUATION, 0, 1, b"").repeat(100_000)].concat(),
            HangsUp("too_many_continuations"),
        ),
        row(
            "a body of 100,000 empty pieces",
            [open, frame(DATA, 0, 1, b"").repeat(100_000)].concat(),
            HangsUp("too_many_data_frames"),
        ),
        row(
            "1,000 requests that don't go on",
            each(1_000, |id| head(id, "POST", "/v1/events?source=strange", END_HEADERS)),
            Goes("\0\0\0\x07"), // REFUSED_STREAM
        ),
        row("a window beyond 31 bits", frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff").repeat(2), HangsUp("")),
    ]
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RESET, 0, stream, b"\0\0\0\x08")
}
