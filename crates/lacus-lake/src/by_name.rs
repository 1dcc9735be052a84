//! Files without field ids: their columns are found by the names that the table's have.
//!
//! Engines take such files into tables as they are, and say so by a name mapping (Iceberg specification, "Column Projection"). A column
//! that had another name by then would be null in them, and for ever once they are merged. So the columns of such a table keep
//! their names.

use std::collections::BTreeSet;
use std::sync::Arc;

use iceberg::spec::{
    DEFAULT_SCHEMA_NAME_MAPPING, MappedField, NameMapping, NestedFieldRef, Schema, TableMetadata, Type,
};
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
    must_have_other_names(after.as_struct().fields(), &mapping.fields().iter().collect::<Vec<_>>(), now)
}

/// Refuses new columns, and new fields of others, whose names are mapped: they would have the values of those that had the names.
fn must_have_other_names(columns: &[NestedFieldRef], mapped: &[&MappedField], now: &Schema) -> Result<()> {
    for column in columns {
        let own = mapped.iter().find(|field| field.field_id() == Some(column.id));
        if now.field_by_id(column.id).is_none() {
            let mut others = mapped.iter().filter(|field| field.field_id() != Some(column.id));
            if others.any(|field| field.names().contains(&column.name)) {
                return Err(by_name(&format!("another column can't be called \"{}\"", column.name)));
            }
        } else if let Some(own) = own {
            must_have_other_names(&fields_of(&column.field_type), &below(own), now)?;
        }
    }
    Ok(())
}

/// The fields right below a column.
fn fields_of(kind: &Type) -> Vec<NestedFieldRef> {
    match kind {
        Type::Primitive(_) => Vec::new(),
        Type::Struct(kind) => kind.fields().to_vec(),
        Type::List(kind) => vec![Arc::clone(&kind.element_field)],
        Type::Map(kind) => vec![Arc::clone(&kind.key_field), Arc::clone(&kind.value_field)],
    }
}

/// The paths that columns of such files have, and the table's have not: `day`, `place.city`, `visits[].page`. None if the property is
/// no mapping: who changes columns is told so.
pub(crate) fn lost_paths(metadata: &TableMetadata) -> Vec<String> {
    let mapping = metadata.properties().get(DEFAULT_SCHEMA_NAME_MAPPING);
    let mapping = mapping.and_then(|text| serde_json::from_str::<NameMapping>(text).ok());
    let mut lost = Vec::new();
    if let Some(mapping) = mapping {
        let mapped: Vec<_> = mapping.fields().iter().collect();
        add_lost(metadata.current_schema().as_struct().fields(), &mapped, "", &mut lost);
    }
    lost
}

/// Adds those of an object: `before` is what is before their names.
fn add_lost(columns: &[NestedFieldRef], mapped: &[&MappedField], before: &str, lost: &mut Vec<String>) {
    for field in mapped {
        let is_there = |name: &&String| columns.iter().any(|column| column.name == **name);
        lost.extend(field.names().iter().filter(|name| !is_there(name)).map(|name| format!("{before}{name}")));
        if let Some(column) = columns.iter().find(|column| field.field_id() == Some(column.id)) {
            add_lost_below(&column.field_type, field, &format!("{before}{}", column.name), lost);
        }
    }
}

/// Adds those below a column. The names of a map's values are data.
fn add_lost_below(kind: &Type, mapped: &MappedField, path: &str, lost: &mut Vec<String>) {
    match kind {
        Type::Struct(kind) => add_lost(kind.fields(), &below(mapped), &format!("{path}."), lost),
        Type::List(list) => {
            let element = &list.element_field;
            if let Some(mapped) = below(mapped).into_iter().find(|field| field.field_id() == Some(element.id)) {
                add_lost_below(&element.field_type, mapped, &format!("{path}[]"), lost);
            }
        }
        Type::Primitive(_) | Type::Map(_) => {}
    }
}

fn below(field: &MappedField) -> Vec<&MappedField> {
    field.fields().iter().map(Arc::as_ref).collect()
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
