//! Rows of an older schema as rows of a newer one. (skeleton)

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, SchemaRef};
use lacus_core::Result;

/// The batch with the columns of `schema`: matched by field id (`PARQUET:field_id`) at every depth, missing ones null.
///
/// # Errors
/// If a column's type can't be read as the newer one.
#[expect(clippy::todo, reason = "skeleton")]
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let _ = (batch, schema);
    todo!()
}

/// One column as `wanted`, at every depth.
///
/// # Errors
/// If its type can't be read as the newer one.
#[expect(clippy::todo, reason = "skeleton")]
pub fn conform_array(array: &ArrayRef, have: &Field, wanted: &Field) -> Result<ArrayRef> {
    let _ = (array, have, wanted);
    todo!()
}
