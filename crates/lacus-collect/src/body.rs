//! The bytes of a request: read within a time, unpacked within a size, counted against the budget.
//!
//! A body is never longer in memory than `server.body_bytes_max`, before and after unpacking, whatever its headers or
//! its compressed bytes promise.

use std::io::{self, Read};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use bytes::{Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use futures::StreamExt;
use lacus_core::units::ByteSize;
use lacus_core::{Error, Kind, Share};
use zstd::stream::read::Decoder as ZstdDecoder;

use crate::refusal::Refusal;
use crate::request::Encoding;
use crate::stats::Reason;

/// Unpacked in pieces of this size.
const PIECE_BYTES: usize = 32 << 10;
/// Memory reserved for a body in advance, whatever length it announces.
const ROOM_BYTES_MAX: usize = 1 << 20;
/// After a refusal, this much of a body is still read, so that the sender gets to read the reason …
const LINGER_BYTES_MAX: usize = 64 << 20;
/// … for this long at most.
const LINGER_MAX: Duration = Duration::from_secs(5);

/// Refuses a body that announces more than `most` bytes.
///
/// # Errors
/// 413.
pub(crate) fn check_length(body: &Body, most: ByteSize) -> Result<(), Refusal> {
    if body.size_hint().lower() > most.0 { Err(too_large("the body", most)) } else { Ok(()) }
}

/// Reads a body to its end.
///
/// # Errors
/// If it is too long or too slow, breaks off, or does not fit the budget.
pub(crate) async fn read(
    body: &mut BodyDataStream,
    most: ByteSize,
    wait_max: Duration,
    share: &mut Share,
) -> Result<Bytes, Refusal> {
    let slow = |_| {
        let seconds = wait_max.as_secs();
        let error = Error::unavailable(format!("the body did not arrive within {seconds} seconds"))
            .with_hint("send fewer events at once");
        Refusal::invalid(Reason::Slow, error).with_status(StatusCode::REQUEST_TIMEOUT)
    };
    tokio::time::timeout(wait_max, read_all(body, most, share)).await.map_err(slow)?
}

async fn read_all(body: &mut BodyDataStream, most: ByteSize, share: &mut Share) -> Result<Bytes, Refusal> {
    let announced = usize::try_from(HttpBody::size_hint(body).lower()).unwrap_or(usize::MAX);
    let Some(first) = next(body).await? else { return Ok(Bytes::new()) };
    share.cover(first.len())?;
    if first.len() as u64 > most.0 {
        return Err(too_large("the body", most));
    }
    let Some(second) = next(body).await? else { return Ok(first) };
    let mut all = BytesMut::with_capacity(announced.min(ROOM_BYTES_MAX));
    all.extend_from_slice(&first);
    drop(first);
    let mut following = Some(second);
    while let Some(piece) = following {
        if (all.len() + piece.len()) as u64 > most.0 {
            return Err(too_large("the body", most));
        }
        share.cover(all.len() + piece.len())?;
        all.extend_from_slice(&piece);
        following = next(body).await?;
    }
    Ok(all.freeze())
}

async fn next(body: &mut BodyDataStream) -> Result<Option<Bytes>, Refusal> {
    body.next().await.transpose().map_err(|error| {
        let error = Error::invalid("the body breaks off").with_source(error).with_hint("nothing of it was accepted");
        Refusal::invalid(Reason::BrokenOff, error)
    })
}

/// Lets a refused sender read why.
pub(crate) fn dismiss(head: &Parts, body: BodyDataStream, refusal: &Refusal) {
    // A sender that waits for "100 continue" has not begun, and need not be asked to stop.
    let is_sending = !head.headers.contains_key(header::EXPECT) && refusal.reason != Reason::Slow;
    if is_sending {
        tokio::spawn(linger(body));
    }
}

/// Reads and discards what a refused sender still sends. A sender that is cut off while it sends sees a broken connection
/// instead of the reason.
pub(crate) async fn linger(mut body: BodyDataStream) {
    let forget = async {
        let mut left = LINGER_BYTES_MAX;
        while let Some(Ok(piece)) = body.next().await {
            match left.checked_sub(piece.len()) {
                Some(fewer) => left = fewer,
                None => return,
            }
        }
    };
    // Whether it came to its end does not matter: the answer is on its way.
    tokio::time::timeout(LINGER_MAX, forget).await.ok();
}

/// Unpacks a body. CPU-bound.
///
/// # Errors
/// If it is too long, no such thing, or does not fit the budget.
pub(crate) fn unpack(packed: Bytes, encoding: Encoding, most: ByteSize, share: &mut Share) -> Result<Bytes, Refusal> {
    match encoding {
        Encoding::Identity => Ok(packed),
        Encoding::Gzip => unpack_from(MultiGzDecoder::new(&*packed), "gzip", packed.len(), most, share),
        Encoding::Zstd => {
            let decoder = zstd_decoder(&packed, most).map_err(|error| not_packed("zstd", error))?;
            unpack_from(decoder, "zstd", packed.len(), most, share)
        }
    }
}

/// The window is the memory that an unpacker needs besides its output: no more than a body may have.
fn zstd_decoder(packed: &[u8], most: ByteSize) -> io::Result<ZstdDecoder<'static, &[u8]>> {
    let mut decoder = ZstdDecoder::with_buffer(packed)?;
    decoder.window_log_max(most.0.max(1 << 20).next_power_of_two().ilog2())?;
    Ok(decoder)
}

fn unpack_from(
    mut packed: impl Read,
    encoding: &'static str,
    packed_bytes: usize,
    most: ByteSize,
    share: &mut Share,
) -> Result<Bytes, Refusal> {
    let most_bytes = most.as_usize();
    let mut all = Vec::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = packed.read(&mut piece).map_err(|error| not_packed(encoding, error))?;
        if count == 0 {
            return Ok(all.into());
        }
        if all.len() + count > most_bytes {
            return Err(too_large("the unpacked body", most));
        }
        make_room(&mut all, count, most_bytes);
        share.cover(packed_bytes + all.capacity())?;
        all.extend_from_slice(&piece[..count]);
    }
}

/// Grows by doubling, but not beyond the longest body.
fn make_room(all: &mut Vec<u8>, count: usize, most: usize) {
    let needed = all.len() + count;
    if needed > all.capacity() {
        let room = needed.max(2 * all.capacity()).min(most);
        all.reserve_exact(room - all.len());
    }
}

/// Refuses a body that is packed, though the request does not say so.
///
/// # Errors
/// 400, naming the header that is missing.
pub(crate) fn check_unpacked(body: &[u8]) -> Result<(), Refusal> {
    let encoding = match body {
        [0x1f, 0x8b, ..] => "gzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        _ => return Ok(()),
    };
    let error = Error::invalid(format!("the body is {encoding}, and the request does not say so"))
        .with_hint(format!("add the header content-encoding: {encoding}"));
    Err(Refusal::invalid(Reason::Encoding, error))
}

fn not_packed(encoding: &str, error: io::Error) -> Refusal {
    let error = match error.kind() {
        // zstd reports this only as text.
        _ if error.to_string().contains("too much memory") => {
            Error::invalid("the zstd body asks for a window larger than a body may be")
                .with_hint("compress it with level 19 or lower, without --long")
        }
        io::ErrorKind::UnexpectedEof => Error::invalid(format!("the {encoding} body breaks off")),
        _ => Error::invalid(format!("the body can't be unpacked: it is no {encoding}, or damaged")),
    }
    .with_source(error);
    Refusal::invalid(Reason::Encoding, error)
}

fn too_large(what: &str, most: ByteSize) -> Refusal {
    let error = Error::new(Kind::Invalid, format!("{what} has more than {most}"))
        .with_hint("send fewer events at once, or raise server.body_bytes_max");
    Refusal::invalid(Reason::TooLarge, error).with_status(StatusCode::PAYLOAD_TOO_LARGE)
}
