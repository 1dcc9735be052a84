//! Tables with a strict contract: an event of which anything would be rescued is rejected as a whole.
//!
//! Whether a record fits is known only after it is read, when its values are in the columns. So if one does not fit, the others
//! are read once more without it; if all fit, which should be the rule, once is enough.

use arrow::array::{Array, AsArray};
use lacus_core::{Record, Result};

use super::{Decoded, Rejected, decode_all};
use crate::schema::TableSchema;

/// The longest list of fields in a reason, in characters.
const NAMES_LETTERS_MAX: usize = 200;

pub(super) fn decode(records: &[Record], schema: &TableSchema) -> Result<Decoded> {
    let mut first = decode_all(records, schema, false)?;
    let misfits = misfits(records.len(), &first);
    if misfits.is_empty() {
        return Ok(first);
    }
    let is_misfit = |index: usize| misfits.binary_search_by_key(&index, |misfit| misfit.index).is_ok();
    let is_rejected = |index: usize| first.rejected.binary_search_by_key(&index, |rejected| rejected.index).is_ok();
    let fitting = (0..records.len()).filter(|index| !is_misfit(*index) && !is_rejected(*index));
    let fitting: Vec<Record> = fitting.map(|index| records[index].clone()).collect();
    let mut decoded = decode_all(&fitting, schema, false)?;
    first.rejected.extend(misfits);
    first.rejected.sort_by_key(|rejected| rejected.index);
    decoded.rejected = first.rejected;
    decoded.widened |= first.widened;
    Ok(decoded)
}

/// The records of whose rows something was rescued, in order.
fn misfits(records: usize, decoded: &Decoded) -> Vec<Rejected> {
    // The first column after the table's own, which may include one of the same name.
    let rescued = decoded.rows.columns().get(decoded.schema.columns.len());
    let Some(rescued) = rescued.and_then(|column| column.as_string_opt::<i32>()) else {
        return Vec::new();
    };
    let mut rejected = decoded.rejected.iter().map(|rejected| rejected.index).peekable();
    let rows = (0..records).filter(|index| rejected.next_if_eq(index).is_none());
    let misfits = rows.enumerate().filter(|(row, _)| rescued.is_valid(*row));
    misfits.map(|(row, index)| Rejected { index, reason: reason(rescued.value(row)) }).collect()
}

/// `price, items[2].sku: no such column, or not of its type`
fn reason(rescued: &str) -> String {
    let misfits: serde_json::Map<String, serde_json::Value> = serde_json::from_str(rescued).unwrap_or_default();
    let names: Vec<&str> = misfits.keys().map(String::as_str).collect();
    let names = names.join(", ");
    let shown: String = names.chars().take(NAMES_LETTERS_MAX).collect();
    let more = if shown.len() < names.len() { "…" } else { "" };
    format!("{shown}{more}: no such column, or not of its type")
}
