//! Files without field ids: their columns are found by the names that the table's have.
//!
//! Engines take such files into tables as they are, and say so by a name mapping (Iceberg specification, "Column Projection"). A column
//! that had another name by then would be null in them, and for ever once they are merged. So the columns of such a table keep
//! their names.

use std::collections::BTreeSet;

use iceberg::spec::{DEFAULT_SCHEMA_NAME_MAPPING, MappedField, NameMapping, Schema, TableMetadata};
use lacus_core::{Error, Result};

/// Refuses columns that would be other ones, or none, in files without field ids.
///
/// # Errors
/// `Invalid`, with what to do instead.
pub(crate) fn must_keep_names(before: &TableMetadata, after: &Schema) -> Result<()> {
    let now = before.current_schema();
    let Some(mapping) = before.properties().get(DEFAULT_SCHEMA_NAME_MAPPING) else { return Ok(()) };
    if now.as_struct() == after.as_struct() {
        return Ok(());
    }
    let mapping: NameMapping = serde_json::from_str(mapping).map_err(|error| {
        Error::invalid(format!("property {DEFAULT_SCHEMA_NAME_MAPPING} is no name mapping")).with_source(error)
    })?;
    let mut mapped = BTreeSet::new();
    mapping.fields().iter().for_each(|field| add_ids(field, &mut mapped));
    for id in mapped {
        if let (Some(was), Some(is)) = (now.field_by_id(id), after.field_by_id(id))
            && was.name != is.name
        {
            return Err(by_name(&format!("column \"{}\" can't be renamed", was.name)));
        }
    }
    for column in after.as_struct().fields().iter().filter(|column| now.field_by_id(column.id).is_none()) {
        let is_of_another =
            |field: &MappedField| field.field_id() != Some(column.id) && field.names().contains(&column.name);
        if mapping.fields().iter().any(is_of_another) {
            return Err(by_name(&format!("another column can't be called \"{}\"", column.name)));
        }
    }
    Ok(())
}

/// The names at the top that columns of such files have. None if the property is no mapping: who changes columns is told so.
pub(crate) fn names_in_files(metadata: &TableMetadata) -> Vec<String> {
    let mapping = metadata.properties().get(DEFAULT_SCHEMA_NAME_MAPPING);
    let mapping = mapping.and_then(|text| serde_json::from_str::<NameMapping>(text).ok());
    mapping.iter().flat_map(NameMapping::fields).flat_map(MappedField::names).cloned().collect()
}

fn add_ids(field: &MappedField, ids: &mut BTreeSet<i32>) {
    ids.extend(field.field_id());
    field.fields().iter().for_each(|field| add_ids(field, ids));
}

fn by_name(what: &str) -> Error {
    Error::invalid(format!("{what}: the table has files without field ids, where columns are found by their names"))
        .with_hint(format!(
            "write the rows to a new table, or set property {DEFAULT_SCHEMA_NAME_MAPPING} to [] if all files have ids by now"
        ))
}
