//! JSON to Arrow, once, with no tree in between. (skeleton)

use arrow::array::RecordBatch;
use lacus_core::{Record, Result};

use crate::schema::TableSchema;

/// What became of a batch of records.
#[derive(Debug)]
pub struct Decoded {
    /// One row per decoded record, in the order of the records, in `schema.arrow()`.
    pub rows: RecordBatch,
    /// The schema the rows have: the given one, with what the records brought.
    pub schema: TableSchema,
    /// The records that are no JSON object.
    pub rejected: Vec<Rejected>,
    /// Whether a column of the given schema changed its type: rows decoded before must be decoded again.
    pub widened: bool,
}

/// A record that could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its place in the given records.
    pub index: usize,
    /// Why, for a person: `expected "," or "}" at byte 17`.
    pub reason: String,
}

/// Decodes records into rows of `schema`, extended by the columns they bring.
///
/// # Errors
/// Only for bugs: whatever the bytes are, they become rows, rescued values or rejected records.
#[expect(clippy::todo, reason = "skeleton")]
pub fn decode(records: &[Record], schema: &TableSchema) -> Result<Decoded> {
    let _ = (records, schema);
    todo!()
}
