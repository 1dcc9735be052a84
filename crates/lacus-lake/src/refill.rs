//! Misfits that fit now: values in `_rescued` are put into the current columns that can hold them.
//!
//! They are decoded as if they had just come, by the same decoder, and put beneath the row: a column that has a value keeps it,
//! and what still fits nowhere stays in `_rescued` with its text. So nothing is lost, and doing it again changes nothing.

mod entries;
mod files;
mod under;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray};
use lacus_core::settings::Contract;
use lacus_core::{Error, Offset, Partition, Position, Record, Result, Timestamp};

pub(crate) use self::entries::{Entry, Sketch, Step, Way, entries, pieces, way};
pub use self::files::RefillReport;
pub(crate) use self::files::{files_with_misfits, fixed_columns, refill_files};
use self::under::lay_under;
use crate::decode::{Decoded, decode_under};
use crate::schema::{RESCUED, TableSchema};

/// Rows after a refill.
pub(crate) struct Refilled {
    pub(crate) rows: RecordBatch,
    /// The paths of misfits that columns now hold.
    pub(crate) paths: Vec<String>,
}

/// A misfit and its row.
struct Misfit<'a> {
    row: usize,
    entry: Entry<'a>,
    /// The path resolved to columns; none if there is none.
    way: Option<Way<'a>>,
    /// Whether a column would hold any part of it.
    fits: bool,
}

/// Moves the misfits of rows, which have the columns of `schema`, into columns that can hold them. None if there are none.
/// Columns in `fixed`, by field id, get no values.
///
/// # Errors
/// `Corrupt` if `_rescued` is no JSON object; all else is a bug.
pub(crate) fn refill(rows: &RecordBatch, schema: &TableSchema, fixed: &BTreeSet<i32>) -> Result<Option<Refilled>> {
    let Some(rescued) = rescued_of(rows) else { return Ok(None) };
    let misfits = misfits(rescued, schema)?;
    let mut left_alone = BTreeSet::new();
    // Rows with a clash are left as they are, so the second round has none.
    for _ in 0..2 {
        let mut clashes = BTreeSet::new();
        let refilled = lay_out(rows, rescued, schema, fixed, &misfits, &left_alone, &mut clashes)?;
        if clashes.is_empty() {
            return Ok(Some(refilled).filter(|refilled| !refilled.paths.is_empty()));
        }
        left_alone.append(&mut clashes);
    }
    Err(Error::internal("rows that were left alone clash"))
}

/// Whether a column would hold any part of each misfit, as if it were alone in its row.
pub(crate) fn fitting(values: &[(Way<'_>, &str)], schema: &TableSchema) -> Result<Vec<bool>> {
    let sketches = values.iter().map(|(way, value)| {
        let mut sketch = Sketch::default();
        // Whether a value fits does not depend on which element it is in.
        let steps: Vec<Step> = way.steps.iter().map(first_element).collect();
        sketch.put(&steps, value);
        sketch.json()
    });
    let Decoded { rows, .. } = decode_sketches(sketches, schema)?;
    let columns = &rows.columns()[..schema.columns.len()];
    Ok(values.iter().enumerate().map(|(row, (way, _))| way.is_kept_in(columns, row)).collect())
}

fn first_element(step: &Step) -> Step {
    match step {
        Step::Field(name) => Step::Field(name.clone()),
        Step::Element(_) => Step::Element(0),
    }
}

/// The `_rescued` column, if any row has something there.
pub(crate) fn rescued_of(rows: &RecordBatch) -> Option<&StringArray> {
    let rescued = rows.column_by_name(RESCUED)?.as_string_opt::<i32>()?;
    (rescued.null_count() < rescued.len()).then_some(rescued)
}

fn misfits<'a>(rescued: &'a StringArray, schema: &'a TableSchema) -> Result<Vec<Misfit<'a>>> {
    let mut misfits = Vec::new();
    for row in (0..rescued.len()).filter(|row| rescued.is_valid(*row)) {
        for entry in entries(rescued.value(row))? {
            let way = way(&entry.path, &schema.columns);
            misfits.push(Misfit { row, entry, way, fits: false });
        }
    }
    let placed = misfits.iter().filter_map(|misfit| Some((misfit.way.clone()?, misfit.entry.value)));
    let mut fit = fitting(&placed.collect::<Vec<_>>(), schema)?.into_iter();
    for misfit in misfits.iter_mut().filter(|misfit| misfit.way.is_some()) {
        misfit.fits = fit.next().unwrap_or_default();
    }
    Ok(misfits)
}

/// The rows with their misfits in columns, except for rows that are left alone. Rows with a clash are added to `clashes`.
fn lay_out(
    rows: &RecordBatch,
    rescued: &StringArray,
    schema: &TableSchema,
    fixed: &BTreeSet<i32>,
    misfits: &[Misfit<'_>],
    left_alone: &BTreeSet<usize>,
    clashes: &mut BTreeSet<usize>,
) -> Result<Refilled> {
    let mut sketches: Vec<Sketch<'_>> = (0..rows.num_rows()).map(|_| Sketch::default()).collect();
    let mut left: Vec<String> = vec![String::new(); rows.num_rows()];
    let mut paths = Vec::new();
    for Misfit { row, entry, way, fits } in misfits {
        let is_put = *fits
            && !left_alone.contains(row)
            && way.as_ref().is_some_and(|way| sketches[*row].put(&way.steps, entry.value));
        if is_put {
            paths.push(entry.path.clone());
        } else {
            add_entry(&mut left[*row], entry.text);
        }
    }
    let lower = decode_sketches(sketches.iter().map(Sketch::json), schema)?.rows;
    let mut columns = Vec::with_capacity(rows.num_columns());
    for (place, column) in schema.columns.iter().enumerate() {
        columns.push(lay_under(rows.column(place), lower.column(place), column, fixed, clashes)?);
    }
    if let Some(again) = rescued_of(&lower) {
        for row in (0..again.len()).filter(|row| again.is_valid(*row)) {
            let text = again.value(row);
            // The decoder gave up on keeping the misfits apart.
            if text.starts_with("{\"$\":") {
                clashes.insert(row);
            }
            add_entry(&mut left[row], &text[1..text.len() - 1]);
        }
    }
    let is_same = |row: usize| left_alone.contains(&row);
    let left = left.iter().enumerate().map(|(row, entries)| match entries.as_str() {
        _ if is_same(row) => rescued.is_valid(row).then(|| rescued.value(row).to_owned()),
        "" => None,
        entries => Some(format!("{{{entries}}}")),
    });
    columns.push(Arc::new(left.collect::<StringArray>()) as ArrayRef);
    columns.extend(rows.columns()[columns.len()..].iter().cloned());
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let rows = RecordBatch::try_new_with_options(rows.schema(), columns, &options)
        .map_err(|error| Error::internal("put refilled rows together").with_source(error))?;
    Ok(Refilled { rows, paths })
}

fn add_entry(entries: &mut String, entry: &str) {
    let comma = if entries.is_empty() { "" } else { "," };
    write!(entries, "{comma}{entry}").expect("writing to a string does not fail");
}

/// Rows of made-up events that belong to no record.
fn decode_sketches(sketches: impl Iterator<Item = String>, schema: &TableSchema) -> Result<Decoded> {
    let record = |json: String| Record {
        position: Position { partition: Partition(0), offset: Offset(0) },
        received_at: Timestamp::from_micros(0),
        key: None,
        id: None,
        value: json.into(),
    };
    let records: Vec<Record> = sketches.map(record).collect();
    let decoded = decode_under(&records, schema, Contract::Freeze)?;
    if !decoded.rejected.is_empty() || decoded.widened {
        return Err(Error::internal("misfits that were put together are no event"));
    }
    Ok(decoded)
}

#[cfg(test)]
pub(crate) mod tests;
