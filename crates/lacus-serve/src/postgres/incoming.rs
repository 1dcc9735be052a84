//! The messages of a session as they come: each is read by its length, and has the form of its kind before the library sees it.
//!
//! The library reads what a message says it has, wherever that ends: in the next message, or nowhere. What is longer or shorter
//! than it says ends the connection here.

use bytes::{BufMut, BytesMut};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::{DecodeContext, PgWireFrontendMessage};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::postgres::errors::fatal;

/// The most bytes of a message: a statement, or the values of its parameters.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Memory for a message grows in steps of this size, whatever length it announces.
const TAKEN_AT_ONCE: usize = 64 << 10;
/// The bytes of a kind and a length.
const HEAD_BYTES: usize = 5;

/// The next message; none when the client is gone.
///
/// # Errors
/// If it is too long or no message: then nothing more can be read.
pub(crate) async fn read_message(socket: &mut (impl AsyncRead + Unpin)) -> PgWireResult<Option<PgWireFrontendMessage>> {
    let mut head = [0; HEAD_BYTES];
    if socket.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    socket.read_exact(&mut head[1..]).await?;
    let [kind, length @ ..] = head;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MESSAGE_BYTES_MAX {
        let message = format!("a message is longer than {} MiB", MESSAGE_BYTES_MAX >> 20);
        return Err(fatal("54000", &message, Some("send it in parts")));
    }
    let mut message = BytesMut::with_capacity((length + 1).min(TAKEN_AT_ONCE));
    message.put_slice(&head);
    while message.len() < length + 1 {
        let missing = length + 1 - message.len();
        message.reserve(missing.min(TAKEN_AT_ONCE));
        if (&mut *socket).take(missing as u64).read_buf(&mut message).await? == 0 {
            return Ok(None);
        }
    }
    if length + 1 < HEAD_BYTES || !has_form(kind, &message[HEAD_BYTES..]) {
        let shown = kind.escape_ascii();
        return Err(fatal("08P01", &format!("invalid frontend message of type \"{shown}\""), None));
    }
    decode(&mut message).map_err(|error| fatal("08P01", &error.to_string(), None))
}

fn decode(message: &mut BytesMut) -> Result<Option<PgWireFrontendMessage>, PgWireError> {
    let mut context = DecodeContext::default();
    context.awaiting_frontend_ssl = false;
    context.awaiting_frontend_startup = false;
    PgWireFrontendMessage::decode(message, &context)
}

/// Whether a message of this kind may have this body.
fn has_form(kind: u8, body: &[u8]) -> bool {
    let mut body = Body(body);
    body.read(kind).is_some() && body.0.is_empty()
}

/// The rest of a message.
struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn read(&mut self, kind: u8) -> Option<()> {
        match kind {
            // Query, CopyFail
            b'Q' | b'f' => self.text(),
            // Describe, Close
            b'D' | b'C' => {
                let (what, rest) = self.0.split_first()?;
                self.0 = rest;
                // A statement or a portal.
                if matches!(what, b'S' | b'P') { self.text() } else { None }
            }
            // Execute
            b'E' => {
                self.text()?;
                self.bytes(4)
            }
            b'P' => self.read_parse(),
            b'B' => self.read_bind(),
            // CopyData
            b'd' => self.bytes(self.0.len()),
            // Sync, Flush, Terminate, CopyDone
            b'S' | b'H' | b'X' | b'c' => Some(()),
            _ => None,
        }
    }

    fn read_parse(&mut self) -> Option<()> {
        self.text()?;
        self.text()?;
        let types = self.count()?;
        self.bytes(4 * types)
    }

    fn read_bind(&mut self) -> Option<()> {
        self.text()?;
        self.text()?;
        let formats = self.count()?;
        self.bytes(2 * formats)?;
        for _ in 0..self.count()? {
            let (length, rest) = self.0.split_first_chunk()?;
            self.0 = rest;
            match i32::from_be_bytes(*length) {
                -1 => {}
                length => self.bytes(usize::try_from(length).ok()?)?,
            }
        }
        let formats = self.count()?;
        self.bytes(2 * formats)
    }

    fn text(&mut self) -> Option<()> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        self.bytes(end + 1)
    }

    fn count(&mut self) -> Option<usize> {
        let (count, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*count).into())
    }

    fn bytes(&mut self, count: usize) -> Option<()> {
        self.0 = self.0.get(count..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use lacus_testkit::environment::{Random, seed};

    use super::*;

    /// One of each kind, as clients send them.
    const MESSAGES: [(u8, &[u8]); 14] = [
        (b'Q', b"select 1\0"),
        (b'P', b"one\0select $1\0\0\x01\0\0\0\x17"),
        (b'P', b"\0\0\0\0"),
        (b'B', b"\0one\0\0\x01\0\x01\0\x02\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff\0\x01\0\x01"),
        (b'B', b"\0\0\0\0\0\0\0\0"),
        (b'D', b"Sone\0"),
        (b'C', b"P\0"),
        (b'E', b"\0\0\0\0\0"),
        (b'S', b""),
        (b'H', b""),
        (b'X', b""),
        (b'd', b"1\t2\n"),
        (b'c', b""),
        (b'f', b"why\0"),
    ];

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind], &length[..], body].concat()
    }

    async fn read(bytes: &[u8]) -> Result<Option<PgWireFrontendMessage>, String> {
        let mut bytes = bytes;
        read_message(&mut bytes).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn each_kind_of_message_is_read_to_its_end() {
        let all: Vec<u8> = MESSAGES.iter().flat_map(|(kind, body)| message(*kind, body)).collect();
        let mut rest = all.as_slice();
        for (kind, body) in MESSAGES {
            let read = read_message(&mut rest).await.unwrap().unwrap();
            let mut again = BytesMut::new();
            read.encode(&mut again).unwrap();
            assert_eq!(again, message(kind, body), "{}", kind.escape_ascii());
        }
        assert!(read_message(&mut rest).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_no_message_ends_the_connection() {
        for (kind, body) in MESSAGES {
            let cut = |end: usize| message(kind, &body[..end]);
            if kind != b'd' {
                let longer = message(kind, &[body, b"x"].concat());
                assert!(read(&longer).await.is_err(), "{} that is longer", kind.escape_ascii());
                for end in 0..body.len() {
                    assert!(read(&cut(end)).await.is_err(), "{} of {end} bytes", kind.escape_ascii());
                }
            }
            for length in 0..4 {
                assert!(read(&[kind, 0, 0, 0, length]).await.is_err());
            }
        }
        for wrong in [b"p\0\0\0\x05\0", b"\0\0\0\0\x05\0", b"F\0\0\0\x05\0"] {
            assert!(read(wrong).await.is_err());
        }
        for (kind, what) in [(b'D', b"X\0"), (b'C', b"X\0"), (b'D', b"s\0"), (b'C', b"\0\0")] {
            let error = read(&message(kind, what)).await.unwrap_err();
            assert!(error.contains("invalid frontend message"), "neither a statement nor a portal: {error}");
        }
        assert!(read(b"Q\x7f\xff\xff\xff").await.unwrap_err().contains("16 MiB"));
        assert!(read(b"Q\0\0\0\x40sel").await.unwrap().is_none(), "a client that has gone");
    }

    /// The library decodes every well-formed message without a panic.
    #[tokio::test]
    #[expect(clippy::print_stdout, reason = "a seed repeats what failed")]
    async fn whatever_has_a_form_is_decoded() {
        let seed = seed();
        println!("LACUS_SEED={seed}");
        let mut random = Random::new(seed);
        let mut taken = 0;
        for turn in 0..20_000 {
            let (kind, body) = MESSAGES[turn % MESSAGES.len()];
            let mut body = body.to_vec();
            for _ in 0..random.below(4) {
                let at = usize::try_from(random.below(body.len() as u64 + 1)).unwrap();
                let byte = random.number().to_be_bytes()[0];
                match random.below(3) {
                    0 => body.insert(at, byte % 4),
                    1 => body.truncate(at),
                    _ => body.iter_mut().skip(at).take(1).for_each(|old| *old = byte),
                }
            }
            taken += usize::from(matches!(read(&message(kind, &body)).await, Ok(Some(_))));
        }
        assert!(taken > 1_000, "{taken}");
    }
}
