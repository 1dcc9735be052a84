//! What a table takes.

use serde::{Deserialize, Serialize};

/// What becomes of an event's fields that a table has no column for, and of values that do not fit theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Contract {
    /// A new field makes a column. A value that does not fit its column is in `_rescued`.
    #[default]
    Evolve,
    /// No column comes by itself: what has none is in `_rescued`, and so is a value that does not fit.
    Freeze,
    /// The same, but an event of which anything does not fit goes to quarantine as a whole.
    Strict,
}
