//! Bodies of files: into the lake with whatever checksum the client sends, and out of it in pieces.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use lacus_lake::Incoming;
use md5::{Digest, Md5};
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
use s3s::dto::{Checksum, StreamingBlob};
use s3s::{S3Error, S3ErrorCode, S3Result, TrailingHeaders};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;

use super::answers::refused;

/// Bytes of a file that are read at once.
const PIECE_BYTES: u64 = 256 << 10;
/// The checksums that a client may send, by header.
const CHECKSUMS: [&str; 5] = [
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
];

/// What a client announces about the bytes it sends.
#[derive(Default)]
pub(super) struct Said {
    /// Checksums in base64, by header.
    pub(super) checksums: Vec<(&'static str, String)>,
    /// Names of checksums that come after the body.
    pub(super) later: Vec<&'static str>,
    pub(super) md5: Option<String>,
    pub(super) bytes: Option<u64>,
}

impl Said {
    /// What the headers of a request say.
    pub(super) fn of(headers: &HeaderMap, length: Option<i64>) -> S3Result<Self> {
        let text = |name: &str| text_of(headers, name);
        let checksums = checksums_of(headers);
        let trailer = text("x-amz-trailer").unwrap_or_default().to_ascii_lowercase();
        let named: Vec<&str> = trailer.split(',').map(str::trim).collect();
        let later = CHECKSUMS.iter().copied().filter(|name| named.contains(name)).collect();
        // For a body in chunks, the length of its contents.
        let decoded = text("x-amz-decoded-content-length").and_then(|length| length.parse().ok());
        let bytes = decoded.or_else(|| length.and_then(|length| u64::try_from(length).ok()));
        if bytes.is_none() {
            return Err(S3Error::with_message(S3ErrorCode::MissingContentLength, "content-length is missing"));
        }
        Ok(Self { checksums, later, md5: text("content-md5").map(str::to_owned), bytes })
    }

    fn hasher(&self) -> ChecksumHasher {
        hasher_of(self.checksums.iter().map(|(name, _)| *name).chain(self.later.iter().copied()))
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The checksums that headers say.
pub(super) fn checksums_of(headers: &HeaderMap) -> Vec<(&'static str, String)> {
    CHECKSUMS.iter().filter_map(|name| Some((*name, text_of(headers, name)?.to_owned()))).collect()
}

/// Computes the checksums of these headers.
pub(super) fn hasher_of(names: impl Iterator<Item = &'static str>) -> ChecksumHasher {
    let mut hasher = ChecksumHasher::default();
    for name in names {
        match name {
            "x-amz-checksum-crc32" => hasher.crc32 = Some(Crc32::new()),
            "x-amz-checksum-crc32c" => hasher.crc32c = Some(Crc32c::new()),
            "x-amz-checksum-crc64nvme" => hasher.crc64nvme = Some(Crc64Nvme::new()),
            "x-amz-checksum-sha1" => hasher.sha1 = Some(Sha1::new()),
            _ => hasher.sha256 = Some(Sha256::new()),
        }
    }
    hasher
}

/// The computed checksum for a header, if there is one.
pub(super) fn found_in<'a>(found: &'a Checksum, name: &str) -> Option<&'a str> {
    let found = match name {
        "x-amz-checksum-crc32" => &found.checksum_crc32,
        "x-amz-checksum-crc32c" => &found.checksum_crc32c,
        "x-amz-checksum-crc64nvme" => &found.checksum_crc64nvme,
        "x-amz-checksum-sha1" => &found.checksum_sha1,
        _ => &found.checksum_sha256,
    };
    found.as_deref()
}

/// Receives a whole body.
///
/// # Errors
/// If it breaks off, is not what was said, or can't be written.
pub(super) async fn receive(
    body: Option<StreamingBlob>,
    mut said: Said,
    trailers: Option<TrailingHeaders>,
    incoming: &mut Incoming,
) -> S3Result<()> {
    let (mut hasher, mut md5) = (said.hasher(), said.md5.as_ref().map(|_| Md5::new()));
    if let Some(mut body) = body {
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| broken_off(&error.to_string()))?;
            hasher.update(&piece);
            if let Some(md5) = &mut md5 {
                md5.update(&piece);
            }
            incoming.add(piece).await.map_err(refused)?;
        }
    }
    if said.bytes != Some(incoming.bytes()) {
        return Err(S3Error::with_message(S3ErrorCode::IncompleteBody, "the body is shorter than it was said to be"));
    }
    for name in &said.later {
        let came = trailers.as_ref().and_then(|trailers| {
            trailers.read(|trailers| trailers.get(*name).and_then(|value| value.to_str().ok()).map(str::to_owned))
        });
        let came = came.flatten().ok_or_else(|| mismatch(name))?;
        said.checksums.push((name, came));
    }
    let found = hasher.finalize();
    for (name, said) in &said.checksums {
        if found_in(&found, name) != Some(said.as_str()) {
            return Err(mismatch(name));
        }
    }
    let found = md5.map(|md5| BASE64.encode(md5.finalize()));
    if found == said.md5 { Ok(()) } else { Err(mismatch("content-md5")) }
}

fn mismatch(name: &str) -> S3Error {
    S3Error::with_message(S3ErrorCode::BadDigest, format!("{name} is not that of the body"))
}

/// The library's error for a body that ends early, or does not match its signature.
fn broken_off(said: &str) -> S3Error {
    if said.contains("Sha256Mismatch") {
        return S3Error::with_message(S3ErrorCode::BadDigest, "x-amz-content-sha256 is not that of the body");
    }
    if said.contains("SignatureMismatch") {
        return S3Error::with_message(S3ErrorCode::SignatureDoesNotMatch, "a chunk of the body is signed wrongly");
    }
    S3Error::with_message(S3ErrorCode::IncompleteBody, "the body broke off, or can't be read")
}

/// The bytes of a range of a file. The permit is held until they are sent.
pub(super) fn read(file: File, range: Range<u64>, permit: OwnedSemaphorePermit) -> StreamingBlob {
    let pieces = pieces(Arc::new(file), range);
    // The library requires a body that can be shared between threads, which a read in progress can't.
    StreamingBlob::wrap(read_ahead(pieces, permit))
}

fn pieces(file: Arc<File>, range: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold((file, range), |(file, range)| async move {
        if range.is_empty() {
            return Ok(None);
        }
        let end = range.end.min(range.start + PIECE_BYTES);
        let (read, start) = (Arc::clone(&file), range.start);
        let piece = spawn_blocking(move || {
            let length = usize::try_from(end - start).expect("a piece fits into memory");
            let mut bytes = vec![0; length];
            read.read_exact_at(&mut bytes, start).map(|()| Bytes::from(bytes))
        });
        let piece = piece.await.map_err(io::Error::other)??;
        Ok(Some((piece, (file, end..range.end))))
    })
}

/// One piece is read ahead while another is sent.
fn read_ahead(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let mut pieces = std::pin::pin!(pieces);
        while let Some(piece) = pieces.next().await {
            // Nobody reads any more.
            if sender.send(piece).await.is_err() {
                break;
            }
        }
    });
    stream::unfold((receiver, permit), |(mut receiver, permit)| async move {
        receiver.recv().await.map(|piece| (piece, (receiver, permit)))
    })
}
