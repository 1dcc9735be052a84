//! What a client says about a file that came in parts, when it says that it is complete: compared before the file has its name.
//!
//! A checksum is of all bytes, or of the checksums of the parts: then it is followed by `-` and how many parts there are, or not. A
//! header says which; without it, it has to be one of both.

use std::fs::File;
use std::io::{self, Read};

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lacus_core::Error;
use s3s::checksum::ChecksumHasher;
use s3s::dto::{ChecksumType, CompletedPart};
use s3s::{S3Error, S3ErrorCode, S3Result};
use tokio::task::spawn_blocking;

use super::answers::refused;
use super::body::{checksums_of, found_in, hasher_of};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 256 << 10;

/// The announced checksums, and what was computed so far.
pub(super) struct Sums {
    whole: Vec<Sum>,
    /// The checksums announced for each part that is still to be read, the next one last.
    parts: Vec<Vec<(&'static str, String)>>,
    kind: Option<ChecksumType>,
    bytes_said: Option<i64>,
    bytes: u64,
    count: usize,
}

/// One checksum of the whole file.
struct Sum {
    name: &'static str,
    said: String,
    of_bytes: ChecksumHasher,
    of_parts: ChecksumHasher,
}

impl Sums {
    /// The checksums in the headers, for the whole file, and those of each part.
    pub(super) fn of(
        headers: &HeaderMap,
        kind: Option<ChecksumType>,
        bytes_said: Option<i64>,
        parts: &[CompletedPart],
    ) -> Self {
        let sum = |(name, said): (&'static str, String)| {
            let hasher = || hasher_of(std::iter::once(name));
            Sum { name, said, of_bytes: hasher(), of_parts: hasher() }
        };
        let whole = checksums_of(headers).into_iter().map(sum).collect();
        let parts = parts.iter().rev().map(said_of).collect();
        Self { whole, parts, kind, bytes_said, bytes: 0, count: 0 }
    }

    /// Whether there is nothing to compare.
    pub(super) fn are_none(&self) -> bool {
        self.whole.is_empty() && self.bytes_said.is_none() && self.parts.iter().all(Vec::is_empty)
    }

    /// Reads the next part.
    ///
    /// # Errors
    /// If it is not what was said of it, or can't be read.
    pub(super) async fn with_part(mut self, file: File) -> S3Result<Self> {
        let done = spawn_blocking(move || self.add(file).map(|()| self)).await;
        done.map_err(|error| refused(Error::internal("comparing a part ended unexpectedly").with_source(error)))?
    }

    fn add(&mut self, mut file: File) -> S3Result<()> {
        let unreadable = |error: io::Error| refused(Error::unavailable("read a part of a file").with_source(error));
        let said = self.parts.pop().unwrap_or_default();
        self.count += 1;
        self.bytes += file.metadata().map_err(unreadable)?.len();
        if self.whole.is_empty() && said.is_empty() {
            return Ok(());
        }
        let names = said.iter().map(|(name, _)| *name).chain(self.whole.iter().map(|sum| sum.name));
        let mut of_part = hasher_of(names);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = file.read(&mut piece).map_err(unreadable)?;
            if count == 0 {
                break;
            }
            of_part.update(&piece[..count]);
            self.whole.iter_mut().for_each(|sum| sum.of_bytes.update(&piece[..count]));
        }
        let found = of_part.finalize();
        for (name, said) in &said {
            if found_in(&found, name) != Some(said.as_str()) {
                let why = format!("{name} is not that of part {} of the list", self.count);
                return Err(S3Error::with_message(S3ErrorCode::InvalidPart, why));
            }
        }
        for sum in &mut self.whole {
            let digest = found_in(&found, sum.name).and_then(|found| BASE64.decode(found).ok()).unwrap_or_default();
            sum.of_parts.update(&digest);
        }
        Ok(())
    }

    /// Compares the checksums of the whole file, after its last part.
    ///
    /// # Errors
    /// `BadDigest` if a checksum is another one, `InvalidRequest` if the file has another length.
    pub(super) fn check(self) -> S3Result<()> {
        if self.bytes_said.is_some_and(|said| u64::try_from(said) != Ok(self.bytes)) {
            let why = format!("the parts have {} bytes together, and not what x-amz-mp-object-size says", self.bytes);
            return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, why));
        }
        let kind = self.kind.as_ref().map(ChecksumType::as_str);
        for Sum { name, said, of_bytes, of_parts } in self.whole {
            let (of_bytes, of_parts) = (of_bytes.finalize(), of_parts.finalize());
            let (of_bytes, of_parts) = (found_in(&of_bytes, name), found_in(&of_parts, name));
            let is_of_bytes = of_bytes == Some(said.as_str());
            let count = format!("-{}", self.count);
            let is_of_parts = of_parts == Some(said.strip_suffix(&count).unwrap_or(&said));
            let is_right = match kind {
                Some(ChecksumType::FULL_OBJECT) => is_of_bytes,
                Some(ChecksumType::COMPOSITE) => is_of_parts,
                _ => is_of_bytes || is_of_parts,
            };
            if !is_right {
                let why = format!("{name} is not that of the file");
                return Err(S3Error::with_message(S3ErrorCode::BadDigest, why));
            }
        }
        Ok(())
    }
}

fn said_of(part: &CompletedPart) -> Vec<(&'static str, String)> {
    let said = [
        ("x-amz-checksum-crc32", &part.checksum_crc32),
        ("x-amz-checksum-crc32c", &part.checksum_crc32c),
        ("x-amz-checksum-crc64nvme", &part.checksum_crc64nvme),
        ("x-amz-checksum-sha1", &part.checksum_sha1),
        ("x-amz-checksum-sha256", &part.checksum_sha256),
    ];
    said.into_iter().filter_map(|(name, said)| Some((name, said.clone()?))).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use axum::http::HeaderName;
    use s3s::crypto::{Checksum as _, Crc32, Sha256};

    use super::*;

    const PARTS: [&str; 2] = ["rows and ", "more rows"];
    const CRC32: &str = "x-amz-checksum-crc32";
    const SHA256: &str = "x-amz-checksum-sha256";

    /// The answer for a file of these parts, with these announced checksums.
    async fn answer(said: &[(&str, &str)], kind: Option<&'static str>, of_second: Option<&str>) -> &'static str {
        let mut headers = HeaderMap::new();
        for &(name, value) in said {
            headers.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let second = CompletedPart { checksum_crc32: of_second.map(str::to_owned), ..CompletedPart::default() };
        let told = [CompletedPart::default(), second];
        let mut sums = Sums::of(&headers, kind.map(ChecksumType::from_static), None, &told);
        for part in PARTS {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(part.as_bytes()).unwrap();
            file.rewind().unwrap();
            sums = match sums.with_part(file).await {
                Ok(sums) => sums,
                Err(error) => return code(&error),
            };
        }
        sums.check().map_or_else(|error| code(&error), |()| "ok")
    }

    fn code(error: &S3Error) -> &'static str {
        match *error.code() {
            S3ErrorCode::BadDigest => "BadDigest",
            S3ErrorCode::InvalidPart => "InvalidPart",
            S3ErrorCode::InvalidRequest => "InvalidRequest",
            _ => "another",
        }
    }

    fn crc32(bytes: &[u8]) -> String {
        BASE64.encode(Crc32::checksum(bytes))
    }

    #[tokio::test]
    async fn checksums_of_all_bytes_and_of_parts_are_compared() {
        let whole = crc32(PARTS.concat().as_bytes());
        let of_parts = crc32(&PARTS.map(|part| Crc32::checksum(part.as_bytes())).concat());
        let counted = format!("{of_parts}-2");
        for (said, kind, expected) in [
            (&whole, None, "ok"),
            (&whole, Some("FULL_OBJECT"), "ok"),
            (&whole, Some("COMPOSITE"), "BadDigest"),
            (&of_parts, None, "ok"),
            (&counted, None, "ok"),
            (&counted, Some("COMPOSITE"), "ok"),
            (&counted, Some("FULL_OBJECT"), "BadDigest"),
            (&format!("{of_parts}-3"), None, "BadDigest"),
            (&crc32(b"other rows"), None, "BadDigest"),
            (&"nonsense".to_owned(), None, "BadDigest"),
        ] {
            assert_eq!(answer(&[(CRC32, said.as_str())], kind, None).await, expected, "{said} {kind:?}");
        }
        let digests = PARTS.map(|part| Sha256::checksum(part.as_bytes())).concat();
        let sha256 = format!("{}-2", BASE64.encode(Sha256::checksum(&digests)));
        let (whole, sha256) = (whole.as_str(), sha256.as_str());
        assert_eq!(answer(&[(CRC32, whole), (SHA256, sha256)], None, None).await, "ok");
        assert_eq!(answer(&[(CRC32, whole), (SHA256, whole)], None, None).await, "BadDigest");
        assert_eq!(answer(&[], None, Some(&crc32(PARTS[1].as_bytes()))).await, "ok");
        assert_eq!(answer(&[], None, Some(&crc32(PARTS[0].as_bytes()))).await, "InvalidPart");
    }

    #[tokio::test]
    async fn the_length_is_compared() {
        for (said, expected) in [(18, "ok"), (17, "InvalidRequest"), (-1, "InvalidRequest")] {
            let mut sums = Sums::of(&HeaderMap::new(), None, Some(said), &[]);
            assert!(!sums.are_none());
            for part in PARTS {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(part.as_bytes()).unwrap();
                sums = sums.with_part(file).await.unwrap();
            }
            assert_eq!(sums.check().map_or_else(|error| code(&error), |()| "ok"), expected, "{said}");
        }
        assert!(Sums::of(&HeaderMap::new(), None, None, &[CompletedPart::default()]).are_none());
    }
}
