//! What shows that a request comes from whoever may read the project's folder: a word that the server writes there, anew at each
//! start, for those of its commands that come over HTTP.

use std::fmt;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use lacus_core::{Result, random};
use subtle::ConstantTimeEq;

/// Bytes that nobody guesses.
const RANDOM_BYTES: usize = 32;

/// The word.
#[derive(Clone, PartialEq, Eq)]
pub struct Pass(String);

impl Pass {
    /// The header that shows it.
    pub const HEADER: &str = "x-lacus-pass";

    /// A new one.
    ///
    /// # Errors
    /// If the machine gives no randomness.
    pub fn new() -> Result<Self> {
        Ok(Self(BASE64.encode(random::<RANDOM_BYTES>()?)))
    }

    /// The word itself, for those who may have it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether a request shows it.
    #[must_use]
    pub fn is_shown(&self, headers: &HeaderMap) -> bool {
        headers.get(Self::HEADER).is_some_and(|shown| shown.as_bytes().ct_eq(self.0.as_bytes()).into())
    }
}

/// It is a secret.
impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pass(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_shown_whole_or_not_at_all() {
        let (pass, other) = (Pass::new().unwrap(), Pass::new().unwrap());
        assert_ne!(pass, other);
        assert!(!format!("{pass:?}").contains(pass.reveal()));
        let shown = |word: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(Pass::HEADER, word.parse().unwrap());
            headers
        };
        assert!(pass.is_shown(&shown(pass.reveal())));
        for wrong in ["", other.reveal(), &pass.reveal()[1..], &format!("{}x", pass.reveal())] {
            assert!(!pass.is_shown(&shown(wrong)), "{wrong}");
        }
        assert!(!pass.is_shown(&HeaderMap::new()));
    }
}
