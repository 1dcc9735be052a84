//! Encoding the rows of a file, one column after the other.
//!
//! While a column is encoded, its compressor, its dictionary and the values of its next page are in memory: up to two megabytes,
//! often more than what comes of it. The library's own writer is at all columns at once. So a table with hundreds of columns
//! would take hundreds of megabytes for each commit. The rows of a commit are in memory as a whole, and can be taken by columns;
//! the bytes of the file are the same.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use lacus_core::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, compute_leaves};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::writer::SerializedRowGroupWriter;

use super::{NotNumbers, ROW_GROUP_ROWS_MAX, parquet_error};
use crate::arrange::Place;
use crate::pieces::Pieces;

/// Rows that are reordered at once.
const ARRANGED_ROWS: usize = 8_192;

/// The rows of a file, by columns.
pub(super) struct Source<'a> {
    pub(super) batches: &'a [RecordBatch],
    /// These of them, in this order; all if none.
    pub(super) places: Option<&'a [Place]>,
    /// All columns, in the order in which they are encoded.
    pub(super) parts: Vec<Part>,
}

/// A part of a column, which may be all of it.
pub(super) struct Part {
    pub(super) field: FieldRef,
    /// Its values, batch by batch.
    pub(super) values: Vec<ArrayRef>,
}

/// Writes all rows, and ends the file. Counts what are no numbers.
pub(super) fn write_all(
    writer: ArrowWriter<&mut Pieces>,
    rows: &Source<'_>,
    not_numbers: &mut NotNumbers,
) -> Result<ParquetMetaData> {
    let (mut file, factory) = writer.into_serialized_writer().map_err(unwritable)?;
    let count = rows.count();
    for (number, first) in (0..count).step_by(ROW_GROUP_ROWS_MAX).enumerate() {
        let range = first..count.min(first + ROW_GROUP_ROWS_MAX);
        let mut group = file.next_row_group().map_err(unwritable)?;
        let mut encoders = factory.create_column_writers(number).map_err(unwritable)?.into_iter();
        for Part { field, values } in &rows.parts {
            let mut encoder = ColumnEncoder::of(field);
            rows.each(values, range.clone(), |values| encoder.write(values, &mut encoders, not_numbers))?;
            encoder.end(&mut group)?;
        }
        group.close().map_err(unwritable)?;
    }
    file.close().map_err(|error| parquet_error(error, "end a Parquet file"))
}

/// Encodes one column of a row group.
pub(crate) struct ColumnEncoder<'field> {
    field: &'field Field,
    /// One, or as many as there are columns within it.
    encoders: Vec<ArrowColumnWriter>,
}

impl<'field> ColumnEncoder<'field> {
    pub(crate) fn of(field: &'field Field) -> Self {
        Self { field, encoders: Vec::new() }
    }

    /// Encodes more values, with the next of the row group's `encoders`. Counts what are no numbers.
    ///
    /// # Errors
    /// If a required column has nulls: the library would write zeros and empty texts in their place.
    pub(crate) fn write(
        &mut self,
        values: &ArrayRef,
        encoders: &mut impl Iterator<Item = ArrowColumnWriter>,
        not_numbers: &mut NotNumbers,
    ) -> Result<()> {
        let nulls = values.null_count();
        if nulls > 0 && !self.field.is_nullable() {
            let name = self.field.name();
            return Err(Error::corrupt(format!("column \"{name}\" is required, and has no value in {nulls} rows")));
        }
        not_numbers.count_in_column(self.field, values);
        let leaves = compute_leaves(self.field, values).map_err(unwritable)?;
        if self.encoders.is_empty() {
            self.encoders.extend(encoders.by_ref().take(leaves.len()));
        }
        let mut each = self.encoders.iter_mut().zip(&leaves);
        each.try_for_each(|(encoder, leaf)| encoder.write(leaf)).map_err(unwritable)
    }

    /// Puts what was encoded into the row group.
    pub(crate) fn end<W: Write + Send>(self, group: &mut SerializedRowGroupWriter<'_, W>) -> Result<()> {
        for encoder in self.encoders {
            let chunk = encoder.close().map_err(unwritable)?;
            chunk.append_to_row_group(group).map_err(unwritable)?;
        }
        Ok(())
    }
}

impl<'a> Source<'a> {
    /// These rows of batches that all have this schema, in this order; or all.
    pub(super) fn of(batches: &'a [RecordBatch], places: Option<&'a [Place]>, schema: &Schema) -> Result<Self> {
        let mut parts = Vec::new();
        for (column, field) in schema.fields().iter().enumerate() {
            for field in parts_of(field) {
                let values = batches.iter().map(|batch| part_of(batch.column(column), &field));
                let values = values.collect::<Result<_>>()?;
                parts.push(Part { field, values });
            }
        }
        Ok(Self { batches, places, parts })
    }

    pub(super) fn count(&self) -> usize {
        match self.places {
            None => self.batches.iter().map(RecordBatch::num_rows).sum(),
            Some(places) => places.len(),
        }
    }

    /// Calls `each` with the values of a range of the rows, in order and in pieces.
    fn each(
        &self,
        values: &[ArrayRef],
        range: Range<usize>,
        mut each: impl FnMut(&ArrayRef) -> Result<()>,
    ) -> Result<()> {
        let Some(places) = self.places else {
            let mut first = 0;
            for values in values {
                let end = first + values.len();
                let (from, to) = (range.start.max(first), range.end.min(end));
                if from < to {
                    each(&values.slice(from - first, to - from))?;
                }
                first = end;
            }
            return Ok(());
        };
        // Nulls are the same in any order.
        if let Some(first) = values.first()
            && values.iter().all(|values| values.null_count() == values.len())
        {
            let nulls = new_null_array(first.data_type(), ARRANGED_ROWS.min(range.len()));
            return places[range].chunks(ARRANGED_ROWS).try_for_each(|places| each(&nulls.slice(0, places.len())));
        }
        let values: Vec<&dyn Array> = values.iter().map(|values| values.as_ref()).collect();
        for places in places[range].chunks(ARRANGED_ROWS) {
            let arranged = interleave(&values, places);
            each(&arranged.map_err(|error| Error::internal("arrange rows").with_source(error))?)?;
        }
        Ok(())
    }
}

/// A column as columns of their own: an object becomes one for each field in it, which has nothing else around it. The
/// library encodes them in this order, too.
pub(crate) fn parts_of(column: &FieldRef) -> Vec<FieldRef> {
    let DataType::Struct(fields) = column.data_type() else { return vec![Arc::clone(column)] };
    let around = |field: FieldRef| {
        let alone = DataType::Struct(Fields::from(vec![field]));
        Arc::new(column.as_ref().clone().with_data_type(alone))
    };
    fields.iter().flat_map(parts_of).map(around).collect()
}

/// The values of such a part.
fn part_of(values: &ArrayRef, part: &Field) -> Result<ArrayRef> {
    let DataType::Struct(fields) = part.data_type() else { return Ok(Arc::clone(values)) };
    let missing = || Error::internal(format!("rows have no field of column \"{}\"", part.name()));
    let (field, around) = fields.first().zip(values.as_struct_opt()).ok_or_else(missing)?;
    let inside = part_of(around.column_by_name(field.name()).ok_or_else(missing)?, field)?;
    let alone = StructArray::try_new(fields.clone(), vec![inside], around.nulls().cloned());
    Ok(Arc::new(alone.map_err(|error| Error::internal("take a field out of its object").with_source(error))?))
}

fn unwritable(error: ParquetError) -> Error {
    parquet_error(error, "encode rows")
}
