//! Bytes: their texts, digests and checksums. Digests take bytes and give bytes.

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use datafusion::arrow::array::ArrayRef;
use datafusion::error::Result;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use xxhash_rust::xxh64::xxh64;

use crate::catalog::{Family::Binary, Function, refused, scalar};
use crate::scalar::{BYTES, Body, Bytes, Call, INT, Int, TEXT, Text, bad, exactly, map1, map2};

pub(crate) const FUNCTIONS: &[Function] = &[
    scalar(
        Binary,
        &["md5"],
        "md5(bytes) → varbinary",
        "MD5 digest",
        Body::new(|g| exactly(g, &[BYTES], 1, BYTES), digest::<Md5>),
    )
    .in_trino(),
    scalar(
        Binary,
        &["sha1"],
        "sha1(bytes) → varbinary",
        "SHA-1 digest",
        Body::new(|g| exactly(g, &[BYTES], 1, BYTES), digest::<Sha1>),
    ),
    scalar(
        Binary,
        &["sha256"],
        "sha256(bytes) → varbinary",
        "SHA-256 digest",
        Body::new(|g| exactly(g, &[BYTES], 1, BYTES), digest::<Sha256>),
    )
    .in_trino(),
    scalar(
        Binary,
        &["sha512"],
        "sha512(bytes) → varbinary",
        "SHA-512 digest",
        Body::new(|g| exactly(g, &[BYTES], 1, BYTES), digest::<Sha512>),
    )
    .in_trino(),
    scalar(
        Binary,
        &["hmac_md5"],
        "hmac_md5(bytes, key) → varbinary",
        "Keyed MD5",
        Body::new(|g| exactly(g, &[BYTES, BYTES], 2, BYTES), keyed::<Hmac<Md5>>),
    ),
    scalar(
        Binary,
        &["hmac_sha1"],
        "hmac_sha1(bytes, key) → varbinary",
        "Keyed SHA-1",
        Body::new(|g| exactly(g, &[BYTES, BYTES], 2, BYTES), keyed::<Hmac<Sha1>>),
    ),
    scalar(
        Binary,
        &["hmac_sha256"],
        "hmac_sha256(bytes, key) → varbinary",
        "Keyed SHA-256",
        Body::new(|g| exactly(g, &[BYTES, BYTES], 2, BYTES), keyed::<Hmac<Sha256>>),
    ),
    scalar(
        Binary,
        &["hmac_sha512"],
        "hmac_sha512(bytes, key) → varbinary",
        "Keyed SHA-512",
        Body::new(|g| exactly(g, &[BYTES, BYTES], 2, BYTES), keyed::<Hmac<Sha512>>),
    ),
    scalar(
        Binary,
        &["xxhash64"],
        "xxhash64(bytes) → varbinary",
        "xxHash, 64 bits",
        Body::new(
            |g| exactly(g, &[BYTES], 1, BYTES),
            |call| map1::<Bytes, Bytes>(call, |bytes| Ok(Some(xxh64(bytes, 0).to_be_bytes().to_vec()))),
        ),
    ),
    scalar(
        Binary,
        &["crc32"],
        "crc32(bytes) → bigint",
        "CRC-32",
        Body::new(
            |g| exactly(g, &[BYTES], 1, INT),
            |call| map1::<Bytes, Int>(call, |bytes| Ok(Some(i64::from(crc32fast::hash(bytes))))),
        ),
    ),
    scalar(
        Binary,
        &["to_hex"],
        "to_hex(bytes) → varchar",
        "In hexadecimal capitals",
        Body::new(|g| exactly(g, &[BYTES], 1, TEXT), |call| map1::<Bytes, Text>(call, |bytes| Ok(Some(hex(bytes))))),
    )
    .in_trino(),
    scalar(
        Binary,
        &["from_hex"],
        "from_hex(text) → varbinary",
        "Undoes to_hex",
        Body::new(|g| exactly(g, &[TEXT], 1, BYTES), |call| map1::<Text, Bytes>(call, |text| unhex(text).map(Some))),
    ),
    scalar(
        Binary,
        &["to_base64"],
        "to_base64(bytes) → varchar",
        "In base 64",
        Body::new(
            |g| exactly(g, &[BYTES], 1, TEXT),
            |call| map1::<Bytes, Text>(call, |bytes| Ok(Some(STANDARD.encode(bytes)))),
        ),
    ),
    scalar(
        Binary,
        &["from_base64"],
        "from_base64(text) → varbinary",
        "Undoes to_base64",
        Body::new(|g| exactly(g, &[TEXT], 1, BYTES), |call| unbase64(call, &[STANDARD, STANDARD_NO_PAD])),
    ),
    scalar(
        Binary,
        &["to_base64url"],
        "to_base64url(bytes) → varchar",
        "In base 64 for URLs",
        Body::new(
            |g| exactly(g, &[BYTES], 1, TEXT),
            |call| map1::<Bytes, Text>(call, |bytes| Ok(Some(URL_SAFE.encode(bytes)))),
        ),
    ),
    scalar(
        Binary,
        &["from_base64url"],
        "from_base64url(text) → varbinary",
        "Undoes to_base64url",
        Body::new(|g| exactly(g, &[TEXT], 1, BYTES), |call| unbase64(call, &[URL_SAFE, URL_SAFE_NO_PAD])),
    ),
    scalar(
        Binary,
        &["to_big_endian_64"],
        "to_big_endian_64(n) → varbinary",
        "The eight bytes of a number, highest first",
        Body::new(
            |g| exactly(g, &[INT], 1, BYTES),
            |call| map1::<Int, Bytes>(call, |n| Ok(Some(n.to_be_bytes().to_vec()))),
        ),
    ),
    scalar(
        Binary,
        &["from_big_endian_64"],
        "from_big_endian_64(bytes) → bigint",
        "Undoes to_big_endian_64",
        Body::new(
            |g| exactly(g, &[BYTES], 1, INT),
            |call| {
                map1::<Bytes, Int>(call, |bytes| {
                    let bytes = bytes.try_into().map_err(|_| bad("from_big_endian_64: there must be eight bytes"))?;
                    Ok(Some(i64::from_be_bytes(bytes)))
                })
            },
        ),
    ),
    refused(Binary, &["murmur3"], "xxhash64(bytes)"),
    refused(Binary, &["spooky_hash_v2_32", "spooky_hash_v2_64"], "xxhash64(bytes)"),
    refused(Binary, &["to_base32", "from_base32"], "to_base64(bytes)"),
];

fn digest<D: Digest>(call: &Call) -> Result<ArrayRef> {
    map1::<Bytes, Bytes>(call, |bytes| Ok(Some(D::digest(bytes).to_vec())))
}

fn keyed<M: Mac + KeyInit>(call: &Call) -> Result<ArrayRef> {
    map2::<Bytes, Bytes, Bytes>(call, |bytes, key| {
        let mut mac = <M as KeyInit>::new_from_slice(key).map_err(|_| bad("the key has a wrong length"))?;
        mac.update(bytes);
        Ok(Some(mac.finalize().into_bytes().to_vec()))
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|letter| letter.to_digit(16)).collect();
    match digits {
        Some(digits) if digits.len().is_multiple_of(2) => {
            Ok(digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
        }
        _ => Err(bad(format!("\"{text}\" is not hexadecimal"))),
    }
}

fn unbase64(call: &Call, engines: &[GeneralPurpose]) -> Result<ArrayRef> {
    map1::<Text, Bytes>(call, |text| {
        let decoded = engines.iter().find_map(|engine| engine.decode(text).ok());
        decoded.map(Some).ok_or_else(|| bad(format!("\"{text}\" is not base 64")))
    })
}
