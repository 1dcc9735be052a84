//! Columns that a file lacks and its partition has, as files that came from Hive do: all rows have the one value (Iceberg
//! specification, "Column Projection").

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray, UInt32Array,
};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::error::ArrowError;
use lacus_core::{Error, Result};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::conform::is_same_column;
use crate::file_stats::{Bound, ValueOf};
use crate::table::LiveFile;

/// Such columns, and the one value of each.
pub(super) type OfPartition = Vec<(FieldRef, ArrayRef)>;

/// The wanted columns that a file lacks and its partition has.
pub(super) fn columns_of_partition(file: &LiveFile, have: &Schema, wanted: &Schema) -> Result<OfPartition> {
    let mut found = Vec::new();
    for ValueOf { id, value } in file.stats.uncounted() {
        let id = id.to_string();
        let is_meant = |field: &Field| field.metadata().get(PARQUET_FIELD_ID_META_KEY) == Some(&id);
        let Some(field) = wanted.fields().iter().find(|field| is_meant(field)) else { continue };
        if let Some(value) = value
            && !have.fields().iter().any(|other| is_same_column(other, field))
        {
            found.push((Arc::clone(field), only_value(value, field.data_type())?));
        }
    }
    Ok(found)
}

/// An array of one value.
fn only_value(value: &Bound, kind: &DataType) -> Result<ArrayRef> {
    let value: ArrayRef = match value {
        Bound::Boolean(value) => Arc::new(BooleanArray::from(vec![*value])),
        Bound::Long(value) => Arc::new(Int64Array::from(vec![*value])),
        Bound::Double(value) => Arc::new(Float64Array::from(vec![*value])),
        Bound::Text(text) => Arc::new(StringArray::from(vec![text.as_ref()])),
    };
    let exactly = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&value, kind, &exactly).map_err(|error| of_partition(error, "read"))
}

/// The rows with such columns behind their own.
pub(super) fn with_columns(rows: RecordBatch, more: &[(FieldRef, ArrayRef)]) -> Result<RecordBatch> {
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
pub(super) fn repeated(value: &ArrayRef, rows: usize) -> Result<ArrayRef> {
    take(value, &UInt32Array::from_value(0, rows), None).map_err(|error| of_partition(error, "repeat"))
}

fn of_partition(error: ArrowError, doing: &str) -> Error {
    Error::internal(format!("{doing} the value of a file's partition")).with_source(error)
}
