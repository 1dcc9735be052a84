//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), as PostgreSQL speaks it: messages in, messages out.
//!
//! Of a password it knows a verifier only: from that nobody can log in, and whoever listens learns nothing to do so with.
//! What comes from the network is read with bounds and never panics.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The mechanism.
pub(crate) const SCRAM: &str = "SCRAM-SHA-256";
/// The same, bound to the TLS connection: nobody in between can pass it on.
pub(crate) const SCRAM_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// As many as PostgreSQL.
pub(super) const ITERATIONS: u32 = 4096;
/// A verifier from another server may have more iterations: computing them is the clients' work.
const ITERATIONS_MAX: u32 = 10_000_000;
/// As long as PostgreSQL's.
pub(super) const SALT_BYTES: usize = 16;
const SALT_BYTES_MAX: usize = 1024;
const KEY_BYTES: usize = 32;

/// What is stored of a password: enough to verify a proof of it.
#[derive(Clone)]
pub(crate) struct Verifier {
    salt: Vec<u8>,
    iterations: u32,
    stored_key: [u8; KEY_BYTES],
    server_key: [u8; KEY_BYTES],
}

/// Why an exchange fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It is no SCRAM.
    Malformed(&'static str),
    /// The client's view of the TLS connection differs from ours.
    Binding,
    /// The client does not have the password.
    Proof,
}

/// An exchange after the client's first message, waiting for its proof.
pub(crate) struct Exchange {
    verifier: Verifier,
    client_first: String,
    server_first: String,
    nonce: String,
    /// What the client has to repeat: how it binds the exchange, and to what.
    binding: String,
}

impl Verifier {
    /// Parses `SCRAM-SHA-256$4096:salt$StoredKey:ServerKey`, as PostgreSQL stores it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (parameters, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let key = |text: &str| BASE64.decode(text).ok()?.try_into().ok();
        Some(Self {
            salt: BASE64.decode(salt).ok().filter(|salt| (1..=SALT_BYTES_MAX).contains(&salt.len()))?,
            iterations: iterations.parse().ok().filter(|count| (1..=ITERATIONS_MAX).contains(count))?,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }

    /// A verifier for a user who does not exist: the same each time, and of no password.
    pub(super) fn mock(secret: &[u8], user: &str, iterations: u32, salt_bytes: usize) -> Self {
        let part = |what: &str| authenticate(secret, &[what.as_bytes(), b":", user.as_bytes()].concat());
        let mut salt = part("salt").to_vec();
        while salt.len() < salt_bytes {
            salt.extend(part(&format!("salt from {}", salt.len())));
        }
        salt.truncate(salt_bytes);
        Self { salt, iterations, stored_key: part("stored key"), server_key: part("server key") }
    }

    pub(super) fn iterations(&self) -> u32 {
        self.iterations
    }

    pub(super) fn salt_bytes(&self) -> usize {
        self.salt.len()
    }
}

impl Exchange {
    /// Begins with the client's first message. `endpoint` is what a client may bind itself to: with one, [`SCRAM_PLUS`] was
    /// offered. `our_nonce` is printable and never reused.
    ///
    /// # Errors
    /// `Malformed`, or `Binding` when the client believes that we can't bind and we offered it.
    pub(crate) fn begin(
        verifier: Verifier,
        mechanism: &str,
        message: &[u8],
        endpoint: Option<&[u8]>,
        our_nonce: &str,
    ) -> Result<Self, Failed> {
        let text = std::str::from_utf8(message).map_err(|_| Failed::Malformed("the message is no text"))?;
        let (flag, rest) = text.split_once(',').ok_or(Failed::Malformed("the message has no channel binding flag"))?;
        let (identity, client_first) = rest.split_once(',').ok_or(Failed::Malformed("the message has no identity"))?;
        let endpoint = match (mechanism, flag, endpoint) {
            (SCRAM_PLUS, "p=tls-server-end-point", Some(endpoint)) => endpoint,
            // The client supports binding, and was not offered it: since we did offer it, somebody in between removed the
            // offer.
            (SCRAM, "y", Some(_)) => return Err(Failed::Binding),
            (SCRAM, "n" | "y", _) => &[],
            _ => return Err(Failed::Malformed("the channel binding does not fit the mechanism")),
        };
        if !identity.is_empty() {
            return Err(Failed::Malformed("an authorization identity is not supported"));
        }
        // The user is that of the startup message; the one here is ignored.
        let mut fields = client_first.split(',');
        let named = fields.next().is_some_and(|field| field.starts_with("n="));
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).filter(|_| named);
        let nonce = nonce.filter(|nonce| !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic()));
        let nonce = nonce.ok_or(Failed::Malformed("the message has no user and nonce"))?;
        let nonce = format!("{nonce}{our_nonce}");
        let header = &text[..text.len() - client_first.len()];
        let salt = BASE64.encode(&verifier.salt);
        Ok(Self {
            server_first: format!("r={nonce},s={salt},i={}", verifier.iterations),
            client_first: client_first.to_owned(),
            binding: BASE64.encode([header.as_bytes(), endpoint].concat()),
            nonce,
            verifier,
        })
    }

    /// What the client is asked.
    pub(crate) fn challenge(&self) -> &str {
        &self.server_first
    }

    /// Verifies the client's proof, and returns ours.
    ///
    /// # Errors
    /// Why it is none.
    pub(crate) fn prove(&self, message: &[u8]) -> Result<String, Failed> {
        let text = std::str::from_utf8(message).map_err(|_| Failed::Malformed("the message is no text"))?;
        let (claims, proof) = text.rsplit_once(",p=").ok_or(Failed::Malformed("the message has no proof"))?;
        let mut fields = claims.split(',');
        let binding = fields.next().and_then(|field| field.strip_prefix("c="));
        let nonce = fields.next().and_then(|field| field.strip_prefix("r="));
        let (Some(binding), Some(nonce)) = (binding, nonce) else {
            return Err(Failed::Malformed("the message has no channel binding and nonce"));
        };
        if binding != self.binding {
            return Err(Failed::Binding);
        }
        if nonce != self.nonce {
            return Err(Failed::Malformed("the nonce is not that of this exchange"));
        }
        let proof = BASE64.decode(proof).ok().and_then(|proof| <[u8; KEY_BYTES]>::try_from(proof).ok());
        let mut client_key = proof.ok_or(Failed::Malformed("the proof is not 32 bytes in base64"))?;
        let signed = format!("{},{},{claims}", self.client_first, self.server_first);
        let signature = authenticate(&self.verifier.stored_key, signed.as_bytes());
        for (key, signature) in client_key.iter_mut().zip(signature) {
            *key ^= signature;
        }
        let is_proved = Sha256::digest(client_key).as_slice().ct_eq(&self.verifier.stored_key);
        if !bool::from(is_proved) {
            return Err(Failed::Proof);
        }
        let ours = authenticate(&self.verifier.server_key, signed.as_bytes());
        Ok(format!("v={}", BASE64.encode(ours)))
    }
}

pub(super) fn authenticate(key: &[u8], message: &[u8]) -> [u8; KEY_BYTES] {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is one");
    hmac.update(message);
    hmac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;
