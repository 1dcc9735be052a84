//! What is wrong with a statement, for a person and for every protocol.
//!
//! The engine's errors are read by [`explain`](crate::error::explain): what they are about decides the SQLSTATE, their
//! text is rewritten in words of SQL, and the position is where the user's text is wrong. Engine-internal names and
//! advice never reach a user.

mod explain;

use std::error::Error as StdError;
use std::fmt;

use datafusion::error::DataFusionError;
use lacus_core::{Error, Kind};

pub(crate) use explain::{Names, characters_before, explain, out_of_memory};

/// Why a statement has no answer.
pub struct SqlError(Box<Inner>);

struct Inner {
    kind: Kind,
    sqlstate: &'static str,
    message: String,
    hint: Option<String>,
    position: Option<usize>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl SqlError {
    /// An error of `kind` with its SQLSTATE and a message: lowercase, no full stop, naming the object.
    #[must_use]
    pub fn new(kind: Kind, sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, sqlstate, message: message.into(), hint: None, position: None, source: None }))
    }

    /// An error for the user to fix.
    #[must_use]
    pub fn invalid(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, sqlstate, message)
    }

    /// The error of a statement that was stopped.
    #[must_use]
    pub fn cancelled(message: impl Into<String>) -> Self {
        Self::new(Kind::Limited, "57014", message)
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds where in the statement it is: characters, counted from 1.
    #[must_use]
    pub fn with_position(mut self, position: Option<usize>) -> Self {
        self.0.position = position;
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

    /// The five letters that SQL clients know errors by.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        self.0.sqlstate
    }

    /// What is wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What the user can do about it, if anybody knew.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Where in the statement it is, in characters counted from 1.
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        self.0.position
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.sqlstate, self.0.message)?;
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl StdError for SqlError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<Error> for SqlError {
    fn from(error: Error) -> Self {
        let mut sql = Self::new(error.kind(), error.kind().sqlstate(), error.message());
        sql.0.hint = error.hint().map(str::to_owned);
        sql.with_source(error)
    }
}

impl From<SqlError> for Error {
    fn from(error: SqlError) -> Self {
        let core = Self::new(error.kind(), error.message());
        let core = match error.hint() {
            Some(hint) => core.with_hint(hint),
            None => core,
        };
        core.with_source(error)
    }
}

/// An error of ours on its way through the engine.
pub(crate) fn external(error: impl Into<Box<dyn StdError + Send + Sync>>) -> DataFusionError {
    DataFusionError::External(error.into())
}

/// The name that was most likely meant.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    names
        .map(|candidate| (strsim::jaro_winkler(&candidate.to_lowercase(), &lower), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
