//! Secrets: how they are made, digested and encrypted.

use std::fmt;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lacus_core::{Error, Result, random};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};

use crate::hex::{from_hex, hex};

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CAPITALS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const MASTER_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// The key that secrets are encrypted under.
#[derive(Clone)]
pub struct MasterKey([u8; MASTER_BYTES]);

/// SHA-256 of a write key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(write_key: &str) -> Self {
        Self(Sha256::digest(write_key.as_bytes()).into())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(self.0))
    }
}

impl<'a> Deserialize<'a> for Digest {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = BASE64.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        bytes.try_into().map(Self).map_err(|_| D::Error::custom("a digest has 32 bytes"))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl MasterKey {
    /// A new one.
    ///
    /// # Errors
    /// If the machine has no randomness to give.
    pub(super) fn new() -> Result<Self> {
        random().map(Self)
    }

    /// Reads 32 bytes, written as 64 hexadecimal digits or in base64.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let bytes = if text.len() == 2 * MASTER_BYTES { from_hex(text) } else { BASE64.decode(text).ok() };
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or_else(|| {
            Error::invalid("a master key is 64 hexadecimal digits, or 32 bytes in base64")
                .with_hint("openssl rand -hex 32 makes one")
        })
    }

    /// As it is written in a file.
    pub(super) fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// Encrypts a secret. It opens under the same `name` only, so that secrets can't be exchanged.
    pub(super) fn seal(&self, name: &str, secret: &str) -> Result<String> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        let payload = Payload { msg: secret.as_bytes(), aad: name.as_bytes() };
        let sealed = self.cipher().encrypt(&Nonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| Error::internal("a secret could not be encrypted"))?;
        Ok(BASE64.encode([&nonce[..], &sealed].concat()))
    }

    /// Decrypts it; none if it was sealed under another key.
    pub(super) fn open(&self, name: &str, sealed: &str) -> Option<String> {
        let bytes = BASE64.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: sealed, aad: name.as_bytes() };
        let secret = self.cipher().decrypt(&Nonce::from(*nonce), payload).ok()?;
        String::from_utf8(secret).ok()
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&self.0.into())
    }
}

/// `wk_` and 190 random bits.
pub(super) fn write_key() -> Result<String> {
    Ok(format!("wk_{}", letters::<32>(LETTERS)?))
}

/// `key_` and 95 random bits.
pub(super) fn key_id() -> Result<String> {
    Ok(format!("key_{}", letters::<16>(LETTERS)?))
}

/// Twenty capitals and digits, as AWS has them.
pub(super) fn access_key_id() -> Result<String> {
    Ok(format!("LACU{}", letters::<16>(CAPITALS)?))
}

/// Forty letters and digits: 238 random bits.
pub(super) fn secret_access_key() -> Result<String> {
    letters::<40>(LETTERS)
}

/// Letters from the randomness of the operating system, each as likely as any other.
fn letters<const COUNT: usize>(alphabet: &[u8]) -> Result<String> {
    let mut text = String::with_capacity(COUNT);
    // What is beyond the last whole alphabet is thrown away: the first letters would come more often.
    let fair = 256 / alphabet.len() * alphabet.len();
    while text.len() < COUNT {
        let bytes: [u8; COUNT] = random()?;
        let fair = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        text.extend(fair.map(|byte| char::from(alphabet[byte % alphabet.len()])).take(COUNT - text.len()));
    }
    Ok(text)
}
