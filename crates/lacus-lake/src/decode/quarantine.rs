//! Rows of a quarantine table: records that could not be decoded, with the reason and the bytes as they came.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::DataType;
use lacus_core::{Error, Record, Result};

use super::rows::Positions;
use crate::schema::TableSchema;

/// Rows of [`TableSchema::quarantine`] for rejected records and the reasons.
///
/// # Errors
/// Only for bugs.
pub fn quarantine_rows(rejected: &[(&Record, &str)]) -> Result<RecordBatch> {
    let mut positions = Positions::with_room(rejected.len());
    for (record, _) in rejected {
        positions.push(record)?;
    }
    let reasons: ArrayRef = Arc::new(StringArray::from_iter_values(rejected.iter().map(|(_, reason)| reason)));
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values(rejected.iter().map(|(record, _)| &record.value)));
    let rescued = new_null_array(&DataType::Utf8, rejected.len());
    let columns = [reasons, bytes, rescued].into_iter().chain(positions.finish()).collect();
    RecordBatch::try_new(TableSchema::quarantine().arrow(), columns)
        .map_err(|error| Error::internal("put quarantine columns together").with_source(error))
}
