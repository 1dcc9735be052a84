//! Columns that a file lacks and its partition has, as files that came from Hive do: all rows have the one value (Iceberg
//! specification, "Column Projection").
//!
//! Whoever reads rows takes it from here, to answer a question or to write them again: else they would be null for ever.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, RecordBatchOptions, StringArray, UInt32Array,
};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::error::ArrowError;
use iceberg::spec::PrimitiveLiteral;
use lacus_core::{Error, Result};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::conform::is_same_column;
use crate::table::LiveFile;

/// Such columns, and the one value of each.
pub(crate) type OfPartition = Vec<(FieldRef, ArrayRef)>;

impl LiveFile {
    /// Whether the file may lack columns of which its partition has the values: few files do.
    #[must_use]
    pub fn has_values_of_partition(&self) -> bool {
        !self.stats.uncounted().is_empty()
    }

    /// The value of a column in all rows, where the file may lack the column and its partition has it: an array of one, in the
    /// column's type.
    ///
    /// # Errors
    /// `Invalid` if the partition has a value of another type.
    pub fn value_of_partition(&self, column: &Field) -> Result<Option<ArrayRef>> {
        let is_meant = |id: i32| column.metadata().get(PARQUET_FIELD_ID_META_KEY) == Some(&id.to_string());
        let Some(found) = self.stats.uncounted().iter().find(|value| is_meant(value.id)) else { return Ok(None) };
        only_value(&found.value, column.data_type()).map(Some).map_err(|error| {
            Error::invalid(format!(
                "file {} is of a partition whose value of column \"{}\" is no {}",
                self.path,
                column.name(),
                column.data_type()
            ))
            .with_hint("have the engine that wrote the file replace it")
            .with_source(error)
        })
    }
}

/// The wanted columns that a file lacks and its partition has.
pub(crate) fn columns_of_partition(file: &LiveFile, have: &Schema, wanted: &Schema) -> Result<OfPartition> {
    let mut found = Vec::new();
    if !file.has_values_of_partition() {
        return Ok(found);
    }
    for field in wanted.fields() {
        let is_there = have.fields().iter().any(|other| is_same_column(other, field));
        if !is_there && let Some(value) = file.value_of_partition(field)? {
            found.push((Arc::clone(field), value));
        }
    }
    Ok(found)
}

/// An array of one value.
fn only_value(value: &PrimitiveLiteral, kind: &DataType) -> Result<ArrayRef, ArrowError> {
    let value: ArrayRef = match (value, kind) {
        (PrimitiveLiteral::Boolean(value), _) => Arc::new(BooleanArray::from(vec![*value])),
        (PrimitiveLiteral::Int(value), _) => Arc::new(Int32Array::from(vec![*value])),
        (PrimitiveLiteral::Long(value), _) => Arc::new(Int64Array::from(vec![*value])),
        (PrimitiveLiteral::Float(value), _) => Arc::new(Float32Array::from(vec![value.0])),
        (PrimitiveLiteral::Double(value), _) => Arc::new(Float64Array::from(vec![value.0])),
        (PrimitiveLiteral::String(text), _) => Arc::new(StringArray::from(vec![text.as_str()])),
        (PrimitiveLiteral::Binary(bytes), _) => Arc::new(BinaryArray::from(vec![bytes.as_slice()])),
        (PrimitiveLiteral::UInt128(uuid), _) => Arc::new(BinaryArray::from_iter_values([uuid.to_be_bytes()])),
        // Digits may be added in front of the point, none behind it.
        (PrimitiveLiteral::Int128(unscaled), DataType::Decimal128(precision, scale)) => {
            Arc::new(Decimal128Array::from(vec![*unscaled]).with_precision_and_scale(*precision, *scale)?)
        }
        (value, kind) => return Err(ArrowError::CastError(format!("{value:?} is no {kind}"))),
    };
    cast_with_options(&value, kind, &CastOptions { safe: false, ..CastOptions::default() })
}

/// The rows with such columns behind their own.
pub(crate) fn with_columns(rows: RecordBatch, more: &[(FieldRef, ArrayRef)]) -> Result<RecordBatch> {
    if more.is_empty() {
        return Ok(rows);
    }
    let (mut fields, mut columns) = (rows.schema_ref().fields().to_vec(), rows.columns().to_vec());
    for (field, value) in more {
        fields.push(Arc::clone(field));
        columns.push(repeated(value, rows.num_rows())?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|error| of_partition(error, "put in"))
}

/// Such a value in so many rows.
pub(crate) fn repeated(value: &ArrayRef, rows: usize) -> Result<ArrayRef> {
    take(value, &UInt32Array::from_value(0, rows), None).map_err(|error| of_partition(error, "repeat"))
}

fn of_partition(error: ArrowError, doing: &str) -> Error {
    Error::internal(format!("{doing} the value of a file's partition")).with_source(error)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, FixedSizeBinaryArray, StringViewArray, Time64MicrosecondArray};
    use arrow::datatypes::TimeUnit;

    use super::*;

    fn check(value: &PrimitiveLiteral, expected: impl Array + 'static) {
        let expected: ArrayRef = Arc::new(expected);
        assert_eq!(&only_value(value, expected.data_type()).unwrap(), &expected);
    }

    #[test]
    fn values_of_all_types_are_those_of_their_column() {
        check(&PrimitiveLiteral::Boolean(true), BooleanArray::from(vec![true]));
        check(&PrimitiveLiteral::Int(7), Int32Array::from(vec![7]));
        check(&PrimitiveLiteral::Int(7), Int64Array::from(vec![7]));
        check(&PrimitiveLiteral::Long(7), Time64MicrosecondArray::from(vec![7]));
        check(&PrimitiveLiteral::Float(1.5_f32.into()), Float32Array::from(vec![1.5]));
        check(&PrimitiveLiteral::Float(1.5_f32.into()), Float64Array::from(vec![1.5]));
        check(&PrimitiveLiteral::String("a".to_owned()), StringViewArray::from(vec!["a"]));
        check(&PrimitiveLiteral::Binary(vec![0, 255]), BinaryArray::from(vec![&[0_u8, 255][..]]));
        let two = FixedSizeBinaryArray::try_from_iter([[0_u8, 255]].into_iter()).unwrap();
        check(&PrimitiveLiteral::Binary(vec![0, 255]), two);
        let uuid = FixedSizeBinaryArray::try_from_iter([7_u128.to_be_bytes()].into_iter()).unwrap();
        check(&PrimitiveLiteral::UInt128(7), uuid);
        let amount = Decimal128Array::from(vec![-1_250]).with_precision_and_scale(11, 2).unwrap();
        check(&PrimitiveLiteral::Int128(-1_250), amount);
    }

    #[test]
    fn a_value_of_another_type_is_refused_and_not_null() {
        let refused = |value, kind| only_value(&value, &kind).unwrap_err();
        refused(PrimitiveLiteral::Binary(vec![0]), DataType::FixedSizeBinary(2));
        refused(PrimitiveLiteral::Int128(1), DataType::Int64);
        refused(PrimitiveLiteral::String("a".to_owned()), DataType::Timestamp(TimeUnit::Microsecond, None));
        refused(PrimitiveLiteral::AboveMax, DataType::Int64);
    }
}
