//! The types of partition values, where columns changed since files were laid out by them.
//!
//! Iceberg's library has one schema say the types of all partition values in a manifest, and the same when it reads the manifest. But
//! files stay as they are: their column may have become wider since, been dropped, or given its name to another one. So a manifest
//! is written with a schema that has their columns all the same, and with values of the types that these have in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use iceberg::spec::{
    DataFile, DataFileBuilder, Literal, ManifestMetadata, NestedField, NestedFieldRef, PartitionField, PartitionSpec,
    PrimitiveLiteral, PrimitiveType, Schema, SchemaRef, Struct, TableMetadata, Transform, Type,
};
use lacus_core::{Error, Kind, Result};

use crate::deletes::FilesOfSnapshot;
use crate::layout::RESERVED_PREFIX;
use crate::manifests::iceberg_error;
use crate::table::LiveFile;

/// Types of columns that files are partitioned by, by field id.
pub(crate) type Sources = BTreeMap<i32, Type>;

/// Those that a manifest was written with.
pub(crate) fn sources_of(manifest: &ManifestMetadata) -> Sources {
    let source = |field: &PartitionField| {
        let column = manifest.schema.field_by_id(field.source_id)?;
        Some((field.source_id, column.field_type.as_ref().clone()))
    };
    manifest.partition_spec.fields().iter().filter_map(source).collect()
}

/// Adds what another manifest says. Of a column that became wider, the wider type holds for all.
pub(crate) fn add_sources(all: &mut Sources, more: Sources) {
    for (id, kind) in more {
        if all.get(&id).is_none_or(|known| width(known) < width(&kind)) {
            all.insert(id, kind);
        }
    }
}

/// The larger, the wider, among the types that one column may have had.
fn width(kind: &Type) -> u32 {
    match kind {
        Type::Primitive(PrimitiveType::Long | PrimitiveType::Double) => 1,
        Type::Primitive(PrimitiveType::Decimal { precision, .. }) => *precision,
        _ => 0,
    }
}

/// The table's schema, as a manifest of files of this spec needs it. `former` has the columns that may be gone.
///
/// # Errors
/// `Conflict` if nobody tells the type of a column that files are partitioned by: manifests that are replaced do, so the files are new
/// and were written before the column was dropped.
pub(crate) fn schema_for(schema: &SchemaRef, spec: &PartitionSpec, former: &Sources) -> Result<SchemaRef> {
    let columns = schema.as_struct().fields();
    let mut fields: Vec<NestedFieldRef> = columns.iter().map(|column| without_name_of(column, spec)).collect();
    let missing = spec.fields().iter().map(|field| field.source_id).filter(|id| schema.field_by_id(*id).is_none());
    // Two fields may be of one column.
    let missing: BTreeMap<i32, Option<&Type>> = missing.map(|id| (id, former.get(&id))).collect();
    for (id, kind) in missing {
        let kind = kind.ok_or_else(|| {
            let message = format!("column {id}, by which the new files are partitioned, was dropped meanwhile");
            Error::new(Kind::Conflict, message).with_hint("do it again: files are laid out as the table is now")
        })?;
        fields.push(Arc::new(NestedField::optional(id, free_name(id), kind.clone())));
    }
    if fields == columns {
        return Ok(Arc::clone(schema));
    }
    let built = Schema::builder().with_schema_id(schema.schema_id()).with_fields(fields).build();
    built.map(Arc::new).map_err(|error| iceberg_error(error, "make the schema of a manifest"))
}

/// A column whose name a partition field has is refused when the manifest is read, unless the field is the column itself.
fn without_name_of(column: &NestedFieldRef, spec: &PartitionSpec) -> NestedFieldRef {
    let is_itself = |field: &PartitionField| field.transform == Transform::Identity && field.source_id == column.id;
    match spec.fields().iter().find(|field| field.name == column.name) {
        Some(field) if !is_itself(field) => {
            Arc::new(NestedField { name: free_name(column.id), ..column.as_ref().clone() })
        }
        _ => Arc::clone(column),
    }
}

/// A name that no column and no partition field has: ours have no large letters.
fn free_name(id: i32) -> String {
    format!("{RESERVED_PREFIX}Column_{id}")
}

/// Values of a partition in the types that their columns have in this schema. Of a column that it lacks, they stay.
pub(crate) fn widened(values: &Struct, spec: &PartitionSpec, schema: &Schema) -> Struct {
    let kind = |field: &PartitionField| {
        let column = schema.field_by_id(field.source_id)?;
        field.transform.result_type(&column.field_type).ok()
    };
    let kinds = spec.fields().iter().map(kind).chain(std::iter::repeat(None));
    values.iter().zip(kinds).map(|(value, kind)| value.map(|value| widened_value(value, kind.as_ref()))).collect()
}

fn widened_value(value: &Literal, kind: Option<&Type>) -> Literal {
    match (value, kind) {
        (Literal::Primitive(PrimitiveLiteral::Int(value)), Some(Type::Primitive(PrimitiveType::Long))) => {
            Literal::long(i64::from(*value))
        }
        (Literal::Primitive(PrimitiveLiteral::Float(value)), Some(Type::Primitive(PrimitiveType::Double))) => {
            Literal::double(f64::from(value.0))
        }
        _ => value.clone(),
    }
}

/// Refuses files whose partitions are not as the table's specs say, unless they are `known`: they could not be read with the values
/// of their partitions, nor described again when manifests are merged.
///
/// # Errors
/// `Invalid`, naming the file.
pub(crate) fn must_fit(
    files: &FilesOfSnapshot,
    metadata: &TableMetadata,
    known: impl Fn(&LiveFile) -> bool,
) -> Result<()> {
    let all = files.data.iter().chain(files.deletes.iter().map(|delete| &delete.file));
    for file in all.filter(|file| !known(file)) {
        let placement = &file.stats.placement;
        if !fits(&placement.values, placement.spec_id, metadata) {
            return Err(no_partition(&file.path, placement.spec_id)
                .with_hint("write its manifest with the table's schema and partition spec"));
        }
    }
    Ok(())
}

fn no_partition(path: &str, spec_id: i32) -> Error {
    let message = format!("file {path} has no partition of spec {spec_id}");
    Error::invalid(format!("{message}: its values are of other types, or not as many"))
}

/// Whether values are those of a partition of this table. That of a column that was dropped is not known.
pub(crate) fn fits(values: &Struct, spec_id: i32, metadata: &TableMetadata) -> bool {
    let (spec, schema) = (metadata.partition_spec_by_id(spec_id), metadata.current_schema());
    spec.is_some_and(|spec| are_of(&widened(values, spec, schema), spec, schema))
}

/// Whether there are as many values as the spec has fields, and each is of its type.
fn are_of(values: &Struct, spec: &PartitionSpec, schema: &Schema) -> bool {
    let is_its = |(field, value): (&PartitionField, Option<&Literal>)| {
        let kind = schema.field_by_id(field.source_id);
        let kind = kind.and_then(|column| field.transform.result_type(&column.field_type).ok());
        match (value, kind) {
            (None, _) => true,
            (Some(Literal::Primitive(value)), Some(Type::Primitive(kind))) => is_of(value, &kind),
            (Some(value), _) => matches!(value, Literal::Primitive(_)),
        }
    };
    values.fields().len() == spec.fields().len() && spec.fields().iter().zip(values.iter()).all(is_its)
}

fn is_of(value: &PrimitiveLiteral, kind: &PrimitiveType) -> bool {
    match (value, kind) {
        (PrimitiveLiteral::Binary(bytes), PrimitiveType::Fixed(length)) => bytes.len() as u64 == *length,
        _ => kind.compatible(value),
    }
}

/// The same file, with the values of its partition in the types that their columns have in this schema.
///
/// # Errors
/// `Invalid`, naming the file, if they are others: Iceberg's library would panic, or not name it.
pub(crate) fn widened_file(file: DataFile, spec: &PartitionSpec, schema: &Schema) -> Result<DataFile> {
    let values = widened(file.partition(), spec, schema);
    if !are_of(&values, spec, schema) {
        return Err(no_partition(file.file_path(), spec.spec_id())
            .with_hint("have the engine that wrote the file take it out of the table"));
    }
    if values == *file.partition() {
        return Ok(file);
    }
    let mut builder = DataFileBuilder::default();
    builder
        .content(file.content_type())
        .file_path(file.file_path().to_owned())
        .file_format(file.file_format())
        .partition(values)
        .partition_spec_id(spec.spec_id())
        .record_count(file.record_count())
        .file_size_in_bytes(file.file_size_in_bytes())
        .column_sizes(file.column_sizes().clone())
        .value_counts(file.value_counts().clone())
        .null_value_counts(file.null_value_counts().clone())
        .nan_value_counts(file.nan_value_counts().clone())
        .lower_bounds(file.lower_bounds().clone())
        .upper_bounds(file.upper_bounds().clone())
        .key_metadata(file.key_metadata().map(<[u8]>::to_vec))
        .split_offsets(file.split_offsets().map(<[i64]>::to_vec))
        .equality_ids(file.equality_ids())
        .first_row_id(file.first_row_id())
        .referenced_data_file(file.referenced_data_file())
        .content_offset(file.content_offset())
        .content_size_in_bytes(file.content_size_in_bytes());
    if let Some(order) = file.sort_order_id() {
        builder.sort_order_id(order);
    }
    builder.build().map_err(|error| Error::internal("describe a file again").with_source(error))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use iceberg::spec::{
        DataContentType, DataFileFormat, FormatVersion, SortOrder, TableMetadataBuilder, UnboundPartitionSpec,
    };

    use super::*;

    fn schema(columns: &[(i32, &str, PrimitiveType)]) -> SchemaRef {
        let column = |(id, name, kind): &(i32, &str, PrimitiveType)| {
            Arc::new(NestedField::optional(*id, *name, Type::Primitive(kind.clone())))
        };
        Arc::new(Schema::builder().with_schema_id(7).with_fields(columns.iter().map(column)).build().unwrap())
    }

    /// Files are partitioned by `n`, column 1.
    fn by_n() -> PartitionSpec {
        let then = schema(&[(1, "n", PrimitiveType::Int)]);
        let spec = PartitionSpec::builder(then).with_spec_id(3);
        spec.add_partition_field("n", "n", Transform::Identity).unwrap().build().unwrap()
    }

    #[test]
    fn a_manifest_has_the_columns_of_its_partitions() {
        let as_it_is = schema(&[(1, "n", PrimitiveType::Long), (2, "m", PrimitiveType::Long)]);
        assert!(Arc::ptr_eq(&schema_for(&as_it_is, &by_n(), &Sources::new()).unwrap(), &as_it_is));
        let mut former = Sources::from([(1, Type::Primitive(PrimitiveType::Long))]);
        add_sources(&mut former, Sources::from([(1, Type::Primitive(PrimitiveType::Int))]));
        // It was dropped, and another one has its name.
        let without = schema(&[(2, "n", PrimitiveType::Double)]);
        let with = schema_for(&without, &by_n(), &former).unwrap();
        let dropped = with.field_by_id(1).unwrap().field_type.as_ref().clone();
        assert_eq!((dropped, with.schema_id()), (Type::Primitive(PrimitiveType::Long), 7));
        assert_eq!(with.field_by_name("n"), None);
        let unknown = schema_for(&without, &by_n(), &Sources::new()).unwrap_err();
        assert_eq!(unknown.kind(), Kind::Conflict, "nobody knows its type: {unknown}");
    }

    /// A table of `n`, column 1, by which its files are partitioned.
    fn table(kind: PrimitiveType) -> TableMetadata {
        let spec = UnboundPartitionSpec::builder().add_partition_field(1, "n", Transform::Identity).unwrap().build();
        let (order, place) = (SortOrder::unsorted_order(), "file:///lake/main/t".to_owned());
        let schema = schema(&[(1, "n", kind)]).as_ref().clone();
        let table = TableMetadataBuilder::new(schema, spec, order, place, FormatVersion::V2, HashMap::new()).unwrap();
        table.build().unwrap().metadata
    }

    #[test]
    fn values_that_are_no_partition_are_known() {
        let long = table(PrimitiveType::Long);
        let fit = |values: Vec<Option<Literal>>| fits(&Struct::from_iter(values), 0, &long);
        assert!(fit(vec![Some(Literal::long(5))]) && fit(vec![None]));
        assert!(fit(vec![Some(Literal::int(5))]), "from before the column became wider");
        assert!(!fit(vec![Some(Literal::string("five"))]));
        assert!(!fit(vec![Some(Literal::Struct(Struct::empty()))]));
        assert!(!fit(Vec::new()) && !fit(vec![None, None]), "another spec's");
        assert!(!fits(&Struct::from_iter([None]), 1, &long), "there is no such spec");
        let two = table(PrimitiveType::Fixed(2));
        for (length, expected) in [(2, true), (3, false)] {
            let value = Literal::Primitive(PrimitiveLiteral::Binary(vec![0; length]));
            assert_eq!(fits(&Struct::from_iter([Some(value)]), 0, &two), expected);
        }
    }

    #[test]
    fn a_file_that_no_manifest_can_have_is_named() {
        let describe = |values: Vec<Option<Literal>>| {
            let mut file = DataFileBuilder::default();
            file.content(DataContentType::Data).file_path("x.parquet".to_owned()).file_format(DataFileFormat::Parquet);
            let file = file.partition(Struct::from_iter(values)).record_count(1).file_size_in_bytes(1).build().unwrap();
            widened_file(file, &by_n(), &schema(&[(1, "n", PrimitiveType::Long)]))
        };
        let widened = describe(vec![Some(Literal::int(5))]).unwrap();
        assert_eq!(widened.partition(), &Struct::from_iter([Some(Literal::long(5))]));
        for values in [vec![Some(Literal::string("five"))], Vec::new()] {
            let refused = describe(values).unwrap_err();
            assert!(refused.message().contains("x.parquet"), "{refused}");
        }
    }

    #[test]
    fn values_become_as_wide_as_their_columns() {
        let wide = schema(&[(1, "n", PrimitiveType::Long)]);
        let (small, large) = (Struct::from_iter([Some(Literal::int(5))]), Struct::from_iter([Some(Literal::long(5))]));
        assert_eq!(widened(&small, &by_n(), &wide), large);
        assert_eq!(widened(&large, &by_n(), &wide), large);
        assert_eq!(widened(&small, &by_n(), &schema(&[(1, "n", PrimitiveType::Int)])), small);
        assert_eq!(widened(&small, &by_n(), &schema(&[])), small, "nobody knows");
        let null = Struct::from_iter([None]);
        assert_eq!(widened(&null, &by_n(), &wide), null);
    }
}
