//! Rows of an older schema as rows of a newer one.
//!
//! Columns are matched by field id at every depth, so names and places may differ; what the older schema lacks is
//! null. No value changes: the only casts are those that keep every value, which for whole numbers that became
//! fractions the decoder has made sure of.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, SchemaRef};
use lacus_core::{Error, Result};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

/// The batch with the columns of `schema`: matched by field id (`PARQUET:field_id`) at every depth, missing ones null.
///
/// # Errors
/// If a column's type can't be read as the newer one.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let columns = conform_columns(batch.columns(), batch.schema_ref().fields(), schema.fields(), batch.num_rows())?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| Error::internal("put conformed columns together").with_source(error))
}

/// One column as `wanted`, at every depth.
///
/// # Errors
/// If its type can't be read as the newer one.
pub fn conform_array(array: &ArrayRef, have: &Field, wanted: &Field) -> Result<ArrayRef> {
    if array.data_type() == wanted.data_type() {
        return Ok(Arc::clone(array));
    }
    match (array.data_type(), wanted.data_type()) {
        (DataType::Struct(have), DataType::Struct(wanted)) => {
            let array = array.as_struct();
            let columns = conform_columns(array.columns(), have, wanted, array.len())?;
            let nulls = array.nulls().cloned();
            Ok(Arc::new(StructArray::try_new_with_length(wanted.clone(), columns, nulls, array.len()).map_err(broken)?))
        }
        (DataType::List(have), DataType::List(wanted)) => {
            let array = array.as_list::<i32>();
            let values = conform_array(array.values(), have, wanted)?;
            let (offsets, nulls) = (array.offsets().clone(), array.nulls().cloned());
            Ok(Arc::new(ListArray::try_new(Arc::clone(wanted), offsets, values, nulls).map_err(broken)?))
        }
        (DataType::Map(have, _), DataType::Map(wanted, _)) => {
            let array = array.as_map();
            let entries: ArrayRef = Arc::new(array.entries().clone());
            let entries = conform_array(&entries, have, wanted)?.as_struct().clone();
            let (offsets, nulls) = (array.offsets().clone(), array.nulls().cloned());
            Ok(Arc::new(MapArray::try_new(Arc::clone(wanted), offsets, entries, nulls, false).map_err(broken)?))
        }
        // Other engines' Arrow schemas have lists with wide offsets, and dictionaries of texts.
        (DataType::LargeList(element) | DataType::FixedSizeList(element, _), DataType::List(_)) => {
            let narrow = Field::new(have.name(), DataType::List(Arc::clone(element)), true);
            conform_array(&cast_exactly(array, narrow.data_type())?, &narrow, wanted)
        }
        (DataType::Dictionary(_, value), _) => {
            let plain = Field::new(have.name(), value.as_ref().clone(), true);
            conform_array(&cast_exactly(array, value)?, &plain, wanted)
        }
        (from, to) if keeps_values(from, to) => cast_exactly(array, to),
        (from, to) => Err(Error::internal(format!("column \"{}\" of type {from} can't be read as {to}", have.name()))),
    }
}

fn conform_columns(columns: &[ArrayRef], have: &Fields, wanted: &Fields, rows: usize) -> Result<Vec<ArrayRef>> {
    let conformed = |wanted: &FieldRef| match have.iter().position(|have| is_same_column(have, wanted)) {
        Some(index) => conform_array(&columns[index], &have[index], wanted),
        None => Ok(new_null_array(wanted.data_type(), rows)),
    };
    wanted.iter().map(conformed).collect()
}

/// Columns are the same if their ids are; where one has no id, if their names are.
pub(crate) fn is_same_column(a: &Field, b: &Field) -> bool {
    match (id_of(a), id_of(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a.name() == b.name(),
    }
}

fn id_of(field: &Field) -> Option<&str> {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY).map(String::as_str)
}

fn cast_exactly(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() }).map_err(broken)
}

/// Whether every value of one type is a value of the other.
fn keeps_values(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Decimal32, Decimal64, Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, LargeBinary,
        LargeUtf8, Timestamp, Utf8, Utf8View,
    };
    match (from, to) {
        // Integers as doubles: only for a column widened before it was committed, whose values were checked then.
        (Int64, Float64) | (Int8 | Int16, Int32) | (Int8 | Int16 | Int32, Int64) | (Float32, Float64) => true,
        (Decimal32(from, s) | Decimal64(from, s) | Decimal128(from, s), Decimal128(to, scale)) => {
            from <= to && s == scale
        }
        // Iceberg's timestamps have microseconds; old files have nanoseconds whose last three digits are zero.
        (Timestamp(_, from), Timestamp(_, to)) => from.is_some() == to.is_some(),
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => true,
        (Binary | LargeBinary | BinaryView, Binary | LargeBinary | BinaryView) => true,
        _ => false,
    }
}

fn broken(error: arrow::error::ArrowError) -> Error {
    Error::internal("bring a column to a newer type").with_source(error)
}

#[cfg(test)]
pub(crate) mod tests;
