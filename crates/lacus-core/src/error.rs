//! One error for the whole product.
//!
//! [`Kind`] tells a caller what to do, the message tells a person what happened, and the one table in [`Kind`]
//! maps both to every protocol. Nothing here knows a library: causes are kept as `source`, never pasted into the text.

use std::error::Error as StdError;
use std::fmt;

/// `Result` with the error of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Fix the request: it can never succeed as it is.
    Invalid,
    /// Check the name: the thing does not exist.
    NotFound,
    /// Pick another name: the thing exists already.
    Exists,
    /// Re-read and retry: somebody else was faster.
    Conflict,
    /// Get permission.
    Denied,
    /// Slow down and retry later.
    Limited,
    /// Wait and retry: a part of the system is not reachable now.
    Unavailable,
    /// Stop, look, restore: stored bytes are not what was written. Never retried.
    Corrupt,
    /// Report a bug.
    Internal,
}

impl Kind {
    /// The HTTP status of this kind.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::NotFound => 404,
            Self::Exists | Self::Conflict => 409,
            Self::Denied => 403,
            Self::Limited => 429,
            Self::Unavailable => 503,
            Self::Corrupt | Self::Internal => 500,
        }
    }

    /// The SQLSTATE of this kind, when the error itself names no closer one.
    #[must_use]
    pub fn sqlstate(self) -> &'static str {
        match self {
            Self::Invalid => "22023",
            Self::NotFound => "42P01",
            Self::Exists => "42P07",
            Self::Conflict => "40001",
            Self::Denied => "42501",
            Self::Limited => "53400",
            Self::Unavailable => "57P03",
            Self::Corrupt => "XX001",
            Self::Internal => "XX000",
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Conflict | Self::Limited | Self::Unavailable)
    }

    /// The exit code of a command that ends with this kind: 2 for the user's to fix, 75 (`EX_TEMPFAIL`) for
    /// "try again", 70 (`EX_SOFTWARE`) for ours.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Invalid | Self::NotFound | Self::Exists | Self::Denied => 2,
            Self::Conflict | Self::Limited | Self::Unavailable => 75,
            Self::Corrupt | Self::Internal => 70,
        }
    }

    /// The lowercase name used in JSON replies and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Conflict => "conflict",
            Self::Denied => "denied",
            Self::Limited => "limited",
            Self::Unavailable => "unavailable",
            Self::Corrupt => "corrupt",
            Self::Internal => "internal",
        }
    }
}

/// What went wrong, for a person and for a program.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` with a message: lowercase, no full stop, naming the object.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), hint: None, source: None }))
    }

    /// [`Kind::Invalid`] with a message.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// [`Kind::NotFound`] with a message.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// [`Kind::Unavailable`] with a message.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// [`Kind::Corrupt`] with a message.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(Kind::Corrupt, message)
    }

    /// [`Kind::Internal`] with a message.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// Adds what the user can do about it, shown on a line of its own.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What happened, without causes.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What the user can do about it, if known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The message and each cause that it does not tell already, joined by `: `.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.0.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            let told = error.to_string();
            if !text.contains(&told) {
                text.push_str(": ");
                text.push_str(&told);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// An I/O error says "wait" (no space, no file handles), "get permission" or "look": never "fix the request".
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::PermissionDenied => Kind::Denied,
            ErrorKind::NotFound => Kind::NotFound,
            _ => Kind::Unavailable,
        };
        Self::new(kind, error.to_string()).with_source(error)
    }
}

/// Adds what was being done to an error, verb first: `commit snapshot: put manifest: no space left on device`.
pub trait Context<T> {
    /// Says what was being done. The kind and the hint stay those of the cause.
    ///
    /// # Errors
    /// The error it was called on, with the context in front.
    fn context(self, doing: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl fmt::Display) -> Result<T> {
        self.map_err(|error| {
            let mut error: Error = error.into();
            error.0.message = format!("{doing}: {}", error.0.message);
            error
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_reads_from_the_outside_in_and_keeps_kind_and_cause() {
        let io = std::io::Error::other("no space left on device");
        let error = Err::<(), _>(io).context("put manifest").context("commit snapshot").unwrap_err();
        assert_eq!(error.to_string(), "commit snapshot: put manifest: no space left on device");
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.source().is_some());
    }

    #[test]
    fn a_chain_tells_each_cause_once() {
        let refused = Error::unavailable("put manifest").with_source(std::io::Error::other("no space left on device"));
        let error = Error::internal("commit snapshot").with_source(refused);
        assert_eq!(error.chain(), "commit snapshot: put manifest: no space left on device");
        // The message of an I/O error is its own text already.
        let error = Err::<(), _>(std::io::Error::other("no space left on device")).context("put manifest").unwrap_err();
        assert_eq!(error.chain(), "put manifest: no space left on device");
    }

    #[test]
    fn every_retryable_kind_maps_to_a_status_that_clients_retry() {
        for kind in [Kind::Conflict, Kind::Limited, Kind::Unavailable] {
            assert!(kind.is_retryable());
            assert_eq!(kind.exit_code(), 75);
        }
        assert!(!Kind::Corrupt.is_retryable());
    }
}
