//! JSON to Arrow, once, with no tree of values in between.
//!
//! Whatever the bytes are, nothing is lost: a record becomes a row, a value that does not fit its column goes to the
//! row's `_rescued`, and a record that is no JSON object is handed back with the reason. The result depends only on
//! the records and their order, never on how they are cut into batches. To keep that, a value without content
//! (`null`, `{}`, `[]`, or only these inside each other) is null in every column, and so is an object or array of
//! which nothing could be kept: it must not matter whether its column was known when it came.

use std::borrow::Cow;

use arrow::array::RecordBatch;
use lacus_core::settings::Contract;
use lacus_core::{Error, Record, Result};

use crate::schema::TableSchema;

mod columns;
mod cursor;
mod json;
mod numbers;
mod plain;
mod quarantine;
mod rescued;
mod rows;
mod strict;
mod typed;

pub use json::object_text;
pub use quarantine::quarantine_rows;

/// The most bytes of records decoded at once: Arrow counts the bytes of a text column in 31 bits.
const BATCH_BYTES_MAX: usize = 1 << 30;

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
    /// Why, for a person: ``expected `,` or `}` at byte 17``.
    pub reason: String,
}

/// Decodes records into rows of `schema`, extended by the columns they bring.
///
/// # Errors
/// Only for bugs: whatever the bytes are, they become rows, rescued values or rejected records.
pub fn decode(records: &[Record], schema: &TableSchema) -> Result<Decoded> {
    decode_under(records, schema, Contract::Evolve)
}

/// The same, for a table with a contract.
///
/// # Errors
/// Only for bugs, as [`decode`].
pub fn decode_under(records: &[Record], schema: &TableSchema, contract: Contract) -> Result<Decoded> {
    match contract {
        Contract::Evolve => decode_all(records, schema, true),
        Contract::Freeze => decode_all(records, schema, false),
        Contract::Strict => strict::decode(records, schema),
    }
}

/// Decodes records; new fields make columns if `grows`.
fn decode_all(records: &[Record], schema: &TableSchema, grows: bool) -> Result<Decoded> {
    if records.iter().map(|record| record.value.len()).sum::<usize>() > BATCH_BYTES_MAX {
        return Err(Error::internal(format!("more than {BATCH_BYTES_MAX} bytes of records to decode at once")));
    }
    let mut widened = false;
    // A row must say where it came from.
    let mut grown = match schema.system {
        Some(_) => Cow::Borrowed(schema),
        None => Cow::Owned(schema.clone().with_system_columns()),
    };
    // Bounded: every further round follows a column that went from Long to Double, which it does once.
    loop {
        let (mut decoded, widened_ids) = rows::decode(records, &grown, grows)?;
        widened |= widened_ids.iter().any(|id| *id <= schema.last_id);
        if widened_ids.is_empty() {
            decoded.widened = widened;
            return Ok(decoded);
        }
        grown = Cow::Owned(decoded.schema);
    }
}

#[cfg(test)]
pub(crate) mod tests;
