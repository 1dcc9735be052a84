//! Bloom filters in data files: which columns have them, as Iceberg's table properties say.
//!
//! The filter of a column tells which values a row group does not have, so that a search for one value among very many reads few
//! row groups. The properties name columns. A wrong property has no effect here, since any engine may set it; whoever sets one
//! with a statement is told ([`check`]). While a row group is written, its filters take [`BYTES_TOGETHER`] at most.

use std::collections::{BTreeMap, HashMap};
use std::slice;

use arrow::datatypes::{self, DataType, FieldRef};
use iceberg::spec::{PrimitiveType, Schema, Type};
use lacus_core::{Error, Result};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::Type as Physical;
use parquet::file::properties::WriterPropertiesBuilder;

use crate::data_file::parquet_error;
use crate::schema::SchemaChange;

/// The property that enables the filter of a column: this prefix, and the column's name.
const ENABLED: &str = "write.parquet.bloom-filter-enabled.column.";
/// The property with a filter's rate of false positives: this prefix, and the column's name.
const FALSE_POSITIVES: &str = "write.parquet.bloom-filter-fpp.column.";
/// The most bytes of a filter.
const BYTES_MAX: &str = "write.parquet.bloom-filter-max-bytes";

/// The default rate, as in Iceberg.
const DEFAULT_FALSE_POSITIVES: f64 = 0.01;
const DEFAULT_BYTES_MAX: usize = 1 << 20;
/// A lower rate would take more space than it is worth.
const FALSE_POSITIVES_MIN: f64 = 1e-6;
/// The smallest filter that Parquet has.
const BYTES_MIN: usize = 32;
/// The most bytes that all filters of a row group have together.
const BYTES_TOGETHER: usize = 4 << 20;

/// The filters that the files of a table are written with.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct BloomFilters {
    /// The rate of false positives by column, as `user.name`.
    columns: BTreeMap<String, f64>,
    /// The most bytes of one.
    bytes_max: usize,
}

impl BloomFilters {
    /// Those that the properties of a table ask for.
    pub(crate) fn of(properties: &HashMap<String, String>) -> Self {
        let enabled = properties.iter().filter(|(_, value)| as_switch(value) == Some(true));
        let columns = enabled.filter_map(|(key, _)| key.strip_prefix(ENABLED)).map(|column| {
            let stated = properties.get(&format!("{FALSE_POSITIVES}{column}")).and_then(|value| as_share(value));
            (column.to_owned(), stated.unwrap_or(DEFAULT_FALSE_POSITIVES))
        });
        let bytes_max = properties.get(BYTES_MAX).and_then(|value| as_bytes(value)).unwrap_or(DEFAULT_BYTES_MAX);
        Self { columns: columns.collect(), bytes_max }
    }

    /// The most memory that the filters of a row group take while it is written.
    pub(crate) fn memory(&self) -> usize {
        self.columns.len() * self.bytes_each()
    }

    /// Adds the filters to a file of this schema, whose row groups have at most this many rows.
    pub(crate) fn add_to(
        &self,
        mut builder: WriterPropertiesBuilder,
        schema: &datatypes::Schema,
        rows_max: usize,
    ) -> Result<WriterPropertiesBuilder> {
        if self.columns.is_empty() {
            return Ok(builder);
        }
        let parquet = ArrowSchemaConverter::new().convert(schema);
        let parquet = parquet.map_err(|error| parquet_error(error, "find the columns of bloom filters"))?;
        let mut names = Vec::new();
        add_names("", schema.fields(), &mut names);
        if names.len() != parquet.columns().len() {
            return Err(Error::internal("Parquet has other columns than the table"));
        }
        for (name, leaf) in names.iter().zip(parquet.columns()) {
            let Some(&share) = self.columns.get(name).filter(|_| can_be_written(leaf.physical_type())) else {
                continue;
            };
            let values_max = values_in(self.bytes_each(), share);
            // The number of elements in lists is not known.
            let is_in_list = leaf.max_rep_level() > 0;
            let values = if is_in_list { values_max } else { values_max.min(rows_max as u64) };
            builder = builder
                .set_column_bloom_filter_fpp(leaf.path().clone(), share)
                .set_column_bloom_filter_ndv(leaf.path().clone(), values.max(1));
        }
        Ok(builder)
    }

    /// The most bytes of a filter: a power of two, as Parquet has it.
    fn bytes_each(&self) -> usize {
        let bytes = self.bytes_max.min(BYTES_TOGETHER / self.columns.len().max(1)).max(BYTES_MIN);
        1_usize << bytes.ilog2()
    }
}

/// Refuses properties that ask for filters which a table with this schema can't have.
///
/// # Errors
/// `NotFound` for a column that is not there, `Invalid` for one that can have no filter and for a value that means nothing.
pub(crate) fn check(properties: &HashMap<String, String>, schema: &Schema) -> Result<()> {
    for (key, value) in properties {
        let wrong = |wanted: &str| {
            Error::invalid(format!("property \"{key}\" can't be \"{value}\"")).with_hint(format!("it is {wanted}"))
        };
        if let Some(column) = key.strip_prefix(ENABLED) {
            let is_enabled = as_switch(value).ok_or_else(|| wrong("true or false"))?;
            must_be_there(column, schema, is_enabled)?;
        } else if let Some(column) = key.strip_prefix(FALSE_POSITIVES) {
            as_share(value).ok_or_else(|| wrong("from 0.000001 to less than 1, such as 0.01"))?;
            must_be_there(column, schema, false)?;
        } else if key == BYTES_MAX {
            as_bytes(value).ok_or_else(|| wrong("a number of bytes, 32 or more"))?;
        }
    }
    Ok(())
}

fn must_be_there(column: &str, schema: &Schema, is_enabled: bool) -> Result<()> {
    // It finds them by other names, too.
    let found = schema.field_by_name(column).filter(|field| schema.name_by_field_id(field.id) == Some(column));
    let field = found.ok_or_else(|| {
        Error::not_found(format!("there is no column \"{column}\" for a bloom filter")).with_hint(
            "columns are there once events have brought them; a field of an object is named by its path, user.name",
        )
    })?;
    match field.field_type.as_ref() {
        Type::Primitive(PrimitiveType::Boolean | PrimitiveType::Float | PrimitiveType::Double) if is_enabled => {
            Err(Error::invalid(format!("column \"{column}\" is {} and can't have a bloom filter", field.field_type))
                .with_hint("columns of all types but booleans and fractions can"))
        }
        Type::Primitive(_) => Ok(()),
        _ => Err(Error::invalid(format!("column \"{column}\" has no single value for a bloom filter"))
            .with_hint("name a field of it by its path, user.name")),
    }
}

/// The properties to change when columns are renamed: filters stay with their columns.
pub(crate) fn renamed(properties: &HashMap<String, String>, changes: &[SchemaChange]) -> HashMap<String, String> {
    let mut now = properties.clone();
    for change in changes {
        let SchemaChange::Rename { path, to } = change else { continue };
        let Some((name, parents)) = path.split_last() else { continue };
        let path_of = |name: &String| [parents, slice::from_ref(name)].concat().join(".");
        let (before, after) = (path_of(name), path_of(to));
        for prefix in [ENABLED, FALSE_POSITIVES] {
            rename(&mut now, prefix, &before, &after);
        }
    }
    now.retain(|key, value| properties.get(key) != Some(value));
    now
}

/// Renames a column, and those within it, in the properties with this prefix.
fn rename(properties: &mut HashMap<String, String>, prefix: &str, before: &str, after: &str) {
    let of_column = properties.iter().filter_map(|(key, value)| {
        let rest = key.strip_prefix(prefix)?.strip_prefix(before)?;
        let is_same = rest.is_empty() || rest.starts_with('.');
        is_same.then(|| (key.clone(), format!("{prefix}{after}{rest}"), value.clone()))
    });
    let moved: Vec<(String, String, String)> = of_column.collect();
    // A commit sets properties and removes none: a new column with the old name must have no filter.
    if prefix == ENABLED {
        properties.extend(moved.iter().map(|(key, ..)| (key.clone(), "false".to_owned())));
    }
    properties.extend(moved.into_iter().map(|(_, key, value)| (key, value)));
}

/// Iceberg's names of a schema's leaves, in Parquet's order.
fn add_names(parent: &str, fields: &[FieldRef], names: &mut Vec<String>) {
    for field in fields {
        let name = if parent.is_empty() { field.name().clone() } else { format!("{parent}.{}", field.name()) };
        match field.data_type() {
            DataType::Struct(fields) => add_names(&name, fields, names),
            DataType::List(element) => add_names(&name, slice::from_ref(element), names),
            // Key and value, without the struct around both.
            DataType::Map(entry, _) => match entry.data_type() {
                DataType::Struct(fields) => add_names(&name, fields, names),
                _ => names.push(name),
            },
            _ => names.push(name),
        }
    }
}

/// Filters of booleans are not worth it; and engines disagree about which floating point numbers are equal: 0 and -0, NaN.
fn can_be_written(kind: Physical) -> bool {
    matches!(kind, Physical::INT32 | Physical::INT64 | Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY)
}

/// The number of values at which a filter of this size reaches this rate: each value sets eight bits of one block.
fn values_in(bytes: usize, share: f64) -> u64 {
    let bits_each = -8.0 / (1.0 - share.powf(1.0 / 8.0)).ln();
    ((bytes * 8) as f64 / bits_each) as u64
}

fn as_switch(value: &str) -> Option<bool> {
    value.to_lowercase().parse().ok()
}

fn as_share(value: &str) -> Option<f64> {
    value.parse().ok().filter(|share| (FALSE_POSITIVES_MIN..1.0).contains(share))
}

fn as_bytes(value: &str) -> Option<usize> {
    value.parse().ok().filter(|bytes| *bytes >= BYTES_MIN)
}

#[cfg(test)]
mod tests;
