//! What becomes of the limits of a user: each stays, is another one, or goes.

use lacus_core::StatementLimits;
use lacus_core::units::{ByteSize, Millis};
use serde::{Deserialize, Deserializer};

/// What becomes of one limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// It stays as it is.
    #[default]
    Same,
    /// A new value; without one, the limit for all users applies to this user.
    To(Option<T>),
}

/// A field that is present, even as null, is a change.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::To)
    }
}

/// Changes of all limits of a user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitChanges {
    /// Bytes that a statement reads.
    pub scan_max: Change<ByteSize>,
    /// Rows that it answers with, or writes.
    pub rows_max: Change<u64>,
    /// How long it runs.
    pub time_max: Change<Millis>,
    /// Memory that it has at once.
    pub memory_max: Change<ByteSize>,
}

impl<T> Change<T> {
    fn apply(self, now: Option<T>) -> Option<T> {
        match self {
            Self::Same => now,
            Self::To(other) => other,
        }
    }
}

impl LimitChanges {
    pub(super) fn apply(&self, now: StatementLimits) -> StatementLimits {
        StatementLimits {
            scan_max: self.scan_max.apply(now.scan_max),
            rows_max: self.rows_max.apply(now.rows_max),
            time_max: self.time_max.apply(now.time_max),
            memory_max: self.memory_max.apply(now.memory_max),
        }
    }
}
