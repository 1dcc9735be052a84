//! Tables that a statement makes.

use std::collections::HashMap;

use arrow::array::ArrayRef;
use lacus_core::layout::{PartitionField, SortField, Transform};
use lacus_core::{Context, Error, Result, TableName};

use crate::arrange;
use crate::bloom_filters;
use crate::foreign::NewTable;
use crate::layout::{iceberg_transform, unbound_order, unbound_spec};
use crate::schema::TableSchema;

impl NewTable {
    /// A table with these columns, whose ids are given anew, laid out so.
    ///
    /// # Errors
    /// `Invalid` for columns that make no table, and for a layout that they can't have; `NotFound` for a property that names a
    /// column that is none of them.
    pub fn of(
        name: TableName,
        columns: &TableSchema,
        partition: &[PartitionField],
        sort: &[SortField],
        properties: HashMap<String, String>,
    ) -> Result<Self> {
        let schema = columns.iceberg(0).map_err(|error| {
            Error::invalid(format!("table \"{name}\" can't have these columns: {}", error.message())).with_source(error)
        })?;
        let wrong = |reason: String| Error::invalid(format!("table \"{name}\" can't be laid out so: {reason}"));
        let partition_spec =
            if partition.is_empty() { None } else { Some(unbound_spec(partition, &schema).map_err(wrong)?) };
        let write_order = if sort.is_empty() { None } else { Some(unbound_order(sort, &schema).map_err(wrong)?) };
        bloom_filters::check(&properties, &schema).context(format_args!("make table \"{name}\""))?;
        Ok(Self { name, location: None, schema, partition_spec, write_order, properties })
    }
}

/// What a partition field makes of the values of its column: rows that are equal in it go to the same files.
///
/// # Errors
/// If the transform is not for this type.
pub fn partition_value(values: &ArrayRef, transform: Transform) -> Result<ArrayRef> {
    match transform {
        Transform::Identity => Ok(ArrayRef::clone(values)),
        transform => arrange::transformed(values, iceberg_transform(transform)),
    }
}
