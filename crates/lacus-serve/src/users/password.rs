//! What is stored of a password, in PostgreSQL's own form: a SCRAM verifier or, when asked for, an MD5 hash.

use std::collections::BTreeSet;

use lacus_core::{Error, Result};
use md5::{Digest, Md5};
use postgres_protocol::password;
use subtle::ConstantTimeEq;

use super::scram::{ITERATIONS, SALT_BYTES, Verifier, authenticate};

/// The longest password, in characters.
const PASSWORD_CHARACTERS_MAX: usize = 1000;
const MD5_DIGITS: usize = 32;

/// The stored form of a password. Not `Debug`: it is never logged.
#[derive(Clone)]
pub(crate) enum Known {
    /// For SCRAM-SHA-256.
    Scram(Verifier),
    /// For clients that know nothing else.
    Md5(Md5Hash),
}

/// MD5 of the password and the user's name, in hexadecimal digits. Whoever has it can log in.
#[derive(Clone)]
pub(crate) struct Md5Hash(String);

/// What anybody can see of a stored password before proving it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape {
    /// The client is asked by MD5.
    Md5,
    /// The client is asked for SCRAM-SHA-256.
    Scram { iterations: u32, salt_bytes: usize },
}

/// The form of a password to store. One that a PostgreSQL stores (`pg_authid.rolpassword`) is taken as it is.
///
/// # Errors
/// `Invalid` for no password, one that is too long or has a zero byte, and for an MD5 hash that was not asked for.
pub(super) fn stored(user: &str, given: &str, md5: bool) -> Result<String> {
    if given.is_empty() || given.chars().count() > PASSWORD_CHARACTERS_MAX || given.contains('\0') {
        return Err(Error::invalid(format!(
            "a password has 1 to {PASSWORD_CHARACTERS_MAX} characters, and no zero byte"
        )));
    }
    match (Known::parse(given), md5) {
        (Some(Known::Md5(_)), false) => {
            Err(Error::invalid("this is the MD5 hash of a password, and MD5 was not asked for")
                .with_hint("ask for it (--md5), or give the password itself"))
        }
        (Some(Known::Scram(_)), true) => {
            Err(Error::invalid("this is the SCRAM verifier of a password: MD5 needs the password itself")
                .with_hint("give the password, or ask for SCRAM (--scram)"))
        }
        (Some(_), _) => Ok(given.to_owned()),
        (None, true) => Ok(password::md5(given.as_bytes(), user)),
        (None, false) => Ok(password::scram_sha_256(given.as_bytes())),
    }
}

impl Known {
    /// Reads what is stored.
    pub(super) fn parse(stored: &str) -> Option<Self> {
        if let Some(verifier) = Verifier::parse(stored) {
            return Some(Self::Scram(verifier));
        }
        let digits = stored.strip_prefix("md5")?;
        let is_hash =
            digits.len() == MD5_DIGITS && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hash.then(|| Self::Md5(Md5Hash(digits.to_owned())))
    }

    /// A made-up password for a user who does not exist: the same each time, and of a shape that existing users have. Which
    /// shape depends on the name and not on how many have it: it changes only when a shape appears or disappears.
    pub(super) fn mock(secret: &[u8], user: &str, shapes: &BTreeSet<Shape>) -> Self {
        let rank = |shape: &&Shape| authenticate(secret, format!("shape:{}:{user}", shape.text()).as_bytes());
        match shapes.iter().max_by_key(rank) {
            Some(Shape::Md5) => Self::Md5(Md5Hash::mock(secret, user)),
            Some(Shape::Scram { iterations, salt_bytes }) => {
                Self::Scram(Verifier::mock(secret, user, *iterations, *salt_bytes))
            }
            None => Self::Scram(Verifier::mock(secret, user, ITERATIONS, SALT_BYTES)),
        }
    }

    pub(super) fn shape(&self) -> Shape {
        match self {
            Self::Md5(_) => Shape::Md5,
            Self::Scram(verifier) => {
                Shape::Scram { iterations: verifier.iterations(), salt_bytes: verifier.salt_bytes() }
            }
        }
    }

    /// Whether a client is asked by MD5.
    pub(crate) fn is_md5(&self) -> bool {
        matches!(self, Self::Md5(_))
    }
}

impl Shape {
    fn text(self) -> String {
        match self {
            Self::Md5 => "md5".to_owned(),
            Self::Scram { iterations, salt_bytes } => format!("scram:{iterations}:{salt_bytes}"),
        }
    }
}

impl Md5Hash {
    /// One for a user who is not there.
    fn mock(secret: &[u8], user: &str) -> Self {
        Self(hex(&[secret, user.as_bytes()].concat()))
    }

    /// Whether this is the answer to `salt` of a client that has the password.
    pub(crate) fn is_answered_by(&self, answer: &[u8], salt: [u8; 4]) -> bool {
        let expected = format!("md5{}", hex(&[self.0.as_bytes(), &salt].concat()));
        expected.as_bytes().ct_eq(answer).into()
    }
}

fn hex(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use postgres_protocol::authentication::md5_hash;

    use super::*;

    fn md5(stored: &str) -> Md5Hash {
        match Known::parse(stored) {
            Some(Known::Md5(hash)) => hash,
            _ => panic!("{stored} is no MD5"),
        }
    }

    #[test]
    fn what_is_stored_is_as_in_postgres() {
        // The `rolpassword` of `CREATE ROLE ada PASSWORD 'secret'` with `password_encryption = md5`.
        assert_eq!(stored("ada", "secret", true).unwrap(), "md52953f29bc314bd0a7ea7ddf6ccc1555f");
        let scram = stored("ada", "secret", false).unwrap();
        assert!(scram.starts_with("SCRAM-SHA-256$4096:") && !scram.contains("secret"));
        assert_ne!(scram, stored("ada", "secret", false).unwrap(), "each has a salt of its own");
        assert_eq!(stored("ada", &scram, false).unwrap(), scram, "a verifier is taken as it is");
        assert!(stored("ada", &scram, true).is_err());
        assert!(stored("ada", "md52953f29bc314bd0a7ea7ddf6ccc1555f", false).is_err());
        for wrong in ["", "a\0b", &"x".repeat(1001)] {
            assert!(stored("ada", wrong, false).is_err());
        }
    }

    #[test]
    fn md5_is_answered_by_the_password_only() {
        let salt = [7, 0, 255, 1];
        let hash = md5(&stored("ada", "secret", true).unwrap());
        assert!(hash.is_answered_by(md5_hash(b"ada", b"secret", salt).as_bytes(), salt));
        assert!(!hash.is_answered_by(md5_hash(b"ada", b"Secret", salt).as_bytes(), salt));
        assert!(!hash.is_answered_by(md5_hash(b"ada", b"secret", [0; 4]).as_bytes(), salt));
        assert!(!hash.is_answered_by(b"", salt));
        assert!(!hash.is_answered_by(b"secret", salt));
    }
}
