//! The layout of a table's next files: the partition spec, the sort order and the bloom filters of its next commit.
//!
//! A setting names columns, which appear and get their types when events bring them. A field of the setting begins to
//! apply with the first commit whose schema has its column with a suitable type; until then the others do.
//! Files keep the spec and the order they were written with.

use std::sync::Arc;

use iceberg::spec::{
    Literal, NestedFieldRef, NullOrder, PartitionSpecRef, PrimitiveLiteral, PrimitiveType, Schema, SortDirection,
    SortField, SortOrder, SortOrderRef, TableMetadata, TableMetadataBuilder, Transform, Type, UnboundPartitionSpec,
};
use lacus_core::layout::{PartitionField, Transform as Wanted};
use lacus_core::{Result, layout, settings};

use crate::bloom_filters::BloomFilters;
use crate::file_stats::Placement;
use crate::manifests::iceberg_error;
use crate::partition_types::widened;

/// The prefix of partition fields' names. Columns of events can't have it: Iceberg requires the names of both to differ.
pub(crate) const RESERVED_PREFIX: &str = "_lacus_";

/// The id of the sort order that sorts nothing.
const UNSORTED: i64 = 0;

/// The microseconds of a day.
const DAY_MICROS: i64 = 86_400_000_000;
/// Iceberg's library knows the dates of so many days before and after 1970.
const DAYS_MAX: u32 = 95_000_000;
/// The same in microseconds.
const MICROS_MAX: u64 = 95_000_000 * DAY_MICROS.unsigned_abs();

/// How files are written.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) spec: PartitionSpecRef,
    pub(crate) order: SortOrderRef,
    pub(crate) filters: BloomFilters,
}

/// A field of a table's layout, or of its setting, as a person reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutField {
    /// Whether files are partitioned by it; otherwise their rows are sorted by it.
    pub is_partition: bool,
    /// As in the settings: `day(_received_at)`, `user_id desc`.
    pub field: String,
    /// Why it does not apply, if it does not.
    pub missing: Option<String>,
}

/// A column that a field of a layout is made of.
struct Source<'a> {
    id: i32,
    kind: &'a PrimitiveType,
}

impl Layout {
    /// What the table's metadata says.
    pub(crate) fn current(metadata: &TableMetadata) -> Self {
        Self {
            spec: Arc::clone(metadata.default_partition_spec()),
            order: Arc::clone(metadata.default_sort_order()),
            filters: BloomFilters::of(metadata.properties()),
        }
    }

    /// The layout to write a commit of this schema with: the current one, changed as far as the setting applies.
    ///
    /// # Errors
    /// If the metadata can't take it.
    pub(crate) fn wanted(metadata: &TableMetadata, schema: &Schema, setting: Option<&settings::Table>) -> Result<Self> {
        let current = Self::current(metadata);
        let Some(setting) = setting else { return Ok(current) };
        let spec = setting.partition.as_ref().map(|fields| wanted_spec(fields, schema));
        let spec = spec.filter(|wanted| *wanted != fields_of(&current));
        let order = setting.sort.as_ref().map(|fields| wanted_order(fields, schema));
        let order = order.filter(|wanted| *wanted != current.order.fields);
        if spec.is_none() && order.is_none() {
            return Ok(current);
        }
        let failed = |error| iceberg_error(error, "change the layout of a table");
        let mut builder = metadata.clone().into_builder(None).add_current_schema(schema.clone()).map_err(failed)?;
        if let Some(spec) = spec {
            let spec = unbound(&spec, schema).map_err(failed)?;
            builder = builder.add_default_partition_spec(spec).map_err(failed)?;
        }
        if let Some(fields) = order {
            builder = set_order(builder, fields).map_err(failed)?;
        }
        Ok(Self::current(&builder.build().map_err(failed)?.metadata))
    }

    /// Makes it the current layout of the metadata being built.
    pub(crate) fn apply(&self, builder: TableMetadataBuilder) -> iceberg::Result<TableMetadataBuilder> {
        let spec = self.spec.as_ref().clone().into_unbound();
        let builder = builder.add_partition_spec(spec)?.set_default_partition_spec(self.spec.spec_id())?;
        set_order(builder, self.order.fields.clone())
    }

    /// Whether the metadata has this layout.
    pub(crate) fn is_of(&self, metadata: &TableMetadata) -> bool {
        metadata.default_partition_spec_id() == self.spec.spec_id()
            && metadata.default_sort_order_id() == self.order.order_id
    }
}

fn set_order(builder: TableMetadataBuilder, fields: Vec<SortField>) -> iceberg::Result<TableMetadataBuilder> {
    if fields.is_empty() {
        return builder.set_default_sort_order(UNSORTED);
    }
    let order = SortOrder::builder().with_fields(fields).build_unbound()?;
    builder.add_sort_order(order)?.set_default_sort_order(-1)
}

/// Source column and transform of each field of a partition spec.
fn fields_of(layout: &Layout) -> Vec<(i32, Transform)> {
    layout.spec.fields().iter().map(|field| (field.source_id, field.transform)).collect()
}

fn wanted_spec(fields: &[PartitionField], schema: &Schema) -> Vec<(i32, Transform)> {
    fields.iter().filter_map(|field| partition_field(field, schema).ok()).collect()
}

fn wanted_order(fields: &[layout::SortField], schema: &Schema) -> Vec<SortField> {
    fields.iter().filter_map(|field| sort_field(field, schema).ok()).collect()
}

fn partition_field(field: &PartitionField, schema: &Schema) -> Result<(i32, Transform), String> {
    let source = source_of(&field.column, schema)?;
    let transform = iceberg_transform(field.transform);
    // Types whose values can be transformed and written; floating point numbers may not even equal themselves.
    let is_usable = matches!(
        source.kind,
        PrimitiveType::Boolean
            | PrimitiveType::Int
            | PrimitiveType::Long
            | PrimitiveType::Date
            | PrimitiveType::Timestamp
            | PrimitiveType::Timestamptz
            | PrimitiveType::Decimal { .. }
            | PrimitiveType::String
            | PrimitiveType::Binary
    );
    let result = transform.result_type(&Type::Primitive(source.kind.clone()));
    if !is_usable || result.is_err() {
        return Err(format!("a column of type {} can't be partitioned by {}", source.kind, field.transform));
    }
    Ok((source.id, transform))
}

/// A transform in Iceberg's words.
pub(crate) fn iceberg_transform(transform: Wanted) -> Transform {
    match transform {
        Wanted::Identity => Transform::Identity,
        Wanted::Year => Transform::Year,
        Wanted::Month => Transform::Month,
        Wanted::Day => Transform::Day,
        Wanted::Hour => Transform::Hour,
        Wanted::Bucket(count) => Transform::Bucket(count),
        Wanted::Truncate(width) => Transform::Truncate(width),
    }
}

/// The partition spec of a new table, where each field must apply.
pub(crate) fn unbound_spec(fields: &[PartitionField], schema: &Schema) -> Result<UnboundPartitionSpec, String> {
    let fields = fields.iter().map(|field| partition_field(field, schema)).collect::<Result<Vec<_>, _>>()?;
    unbound(&fields, schema).map_err(|error| error.message().to_owned())
}

/// The sort order of a new table, where each field must apply.
pub(crate) fn unbound_order(fields: &[layout::SortField], schema: &Schema) -> Result<SortOrder, String> {
    let fields = fields.iter().map(|field| sort_field(field, schema)).collect::<Result<Vec<_>, _>>()?;
    SortOrder::builder().with_fields(fields).build_unbound().map_err(|error| error.message().to_owned())
}

fn sort_field(field: &layout::SortField, schema: &Schema) -> Result<SortField, String> {
    let source = source_of(&field.column, schema)?;
    let (direction, null_order) = if field.descending {
        (SortDirection::Descending, NullOrder::Last)
    } else {
        (SortDirection::Ascending, NullOrder::First)
    };
    Ok(SortField { source_id: source.id, transform: Transform::Identity, direction, null_order })
}

fn source_of<'a>(path: &str, schema: &'a Schema) -> Result<Source<'a>, String> {
    let field = find(schema.as_struct().fields(), path).ok_or_else(|| format!("there is no column \"{path}\" yet"))?;
    match field.field_type.as_ref() {
        Type::Primitive(kind) => Ok(Source { id: field.id, kind }),
        _ => Err(format!("column \"{path}\" has no single value")),
    }
}

/// A column by its name, or a field of a struct by its path. Elements of lists are none.
fn find<'a>(fields: &'a [NestedFieldRef], path: &str) -> Option<&'a NestedFieldRef> {
    fields.iter().find(|field| field.name == path).or_else(|| {
        fields.iter().find_map(|field| {
            let rest = path.strip_prefix(field.name.as_str())?.strip_prefix('.')?;
            match field.field_type.as_ref() {
                Type::Struct(inner) => find(inner.fields(), rest),
                _ => None,
            }
        })
    })
}

fn unbound(fields: &[(i32, Transform)], schema: &Schema) -> iceberg::Result<UnboundPartitionSpec> {
    let mut builder = UnboundPartitionSpec::builder();
    let mut names: Vec<String> = Vec::new();
    for (source_id, transform) in fields {
        let mut name = name_of(*source_id, *transform, schema);
        if names.contains(&name) {
            name = format!("{name}_{source_id}");
        }
        builder = builder.add_partition_field(*source_id, &name, *transform)?;
        names.push(name);
    }
    Ok(builder.build())
}

/// The name of a partition field: letters, digits and `_`, because it is an Avro name in manifests.
fn name_of(source_id: i32, transform: Transform, schema: &Schema) -> String {
    let column = schema.name_by_field_id(source_id).unwrap_or_default();
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' };
    let column: String = column.trim_start_matches('_').chars().map(plain).collect();
    match transform {
        Transform::Identity => format!("{RESERVED_PREFIX}{column}"),
        Transform::Bucket(count) => format!("{RESERVED_PREFIX}{column}_bucket_{count}"),
        Transform::Truncate(width) => format!("{RESERVED_PREFIX}{column}_truncate_{width}"),
        other => format!("{RESERVED_PREFIX}{column}_{other}"),
    }
}

/// The layout of a table: the fields in its metadata, then those that only its setting has, with the reason.
pub(crate) fn describe_layout(metadata: &TableMetadata, setting: Option<&settings::Table>) -> Vec<LayoutField> {
    let schema = metadata.current_schema();
    let column = |id: i32| schema.name_by_field_id(id).unwrap_or("?").to_owned();
    let applies = |is_partition, field| LayoutField { is_partition, field, missing: None };
    let mut fields: Vec<LayoutField> = Vec::new();
    for field in metadata.default_partition_spec().fields() {
        fields.push(applies(true, text_of(&column(field.source_id), field.transform)));
    }
    for field in &metadata.default_sort_order().fields {
        let direction = if field.direction == SortDirection::Descending { " desc" } else { "" };
        fields.push(applies(false, format!("{}{direction}", text_of(&column(field.source_id), field.transform))));
    }
    let later = || "it applies from the next commit on".to_owned();
    let mut missing = |is_partition, field: String, reason: Option<String>| {
        if !fields.iter().any(|known| known.is_partition == is_partition && known.field == field) {
            fields.push(LayoutField { is_partition, field, missing: Some(reason.unwrap_or_else(later)) });
        }
    };
    for field in setting.and_then(|setting| setting.partition.as_ref()).into_iter().flatten() {
        missing(true, field.to_string(), partition_field(field, schema).err());
    }
    for field in setting.and_then(|setting| setting.sort.as_ref()).into_iter().flatten() {
        missing(false, field.to_string(), sort_field(field, schema).err());
    }
    fields
}

/// The values of a file's partition, by the fields of its spec as a person writes them. None for null.
pub(crate) fn partition_text(metadata: &TableMetadata, placement: &Placement) -> Vec<(String, Option<String>)> {
    let schema = metadata.current_schema();
    let Some(spec) = metadata.partition_spec_by_id(placement.spec_id) else { return Vec::new() };
    let values = widened(&placement.values, spec, schema);
    let values = spec.fields().iter().zip(values.iter()).map(|(field, value)| {
        let column = schema.name_by_field_id(field.source_id).unwrap_or("?");
        let kind =
            schema.field_by_id(field.source_id).and_then(|source| field.transform.result_type(&source.field_type).ok());
        let text = kind.zip(value).map(|(kind, value)| value_text(field.transform, &kind, value));
        (text_of(column, field.transform), text)
    });
    values.collect()
}

/// A value of a partition. Iceberg's library panics for values of other types, and beyond the dates that it knows: other engines
/// may write such.
fn value_text(transform: Transform, kind: &Type, value: &Literal) -> String {
    let is_known = match (kind, value) {
        (Type::Primitive(PrimitiveType::Date), Literal::Primitive(PrimitiveLiteral::Int(days))) => {
            days.unsigned_abs() <= DAYS_MAX
        }
        (Type::Primitive(PrimitiveType::Time), Literal::Primitive(PrimitiveLiteral::Long(micros))) => {
            (0..DAY_MICROS).contains(micros)
        }
        (
            Type::Primitive(PrimitiveType::Timestamp | PrimitiveType::Timestamptz),
            Literal::Primitive(PrimitiveLiteral::Long(micros)),
        ) => micros.unsigned_abs() <= MICROS_MAX,
        (Type::Primitive(kind), Literal::Primitive(value)) => kind.compatible(value),
        _ => false,
    };
    match (kind, value) {
        (_, Literal::Primitive(PrimitiveLiteral::Int(number))) if !is_known => number.to_string(),
        (_, Literal::Primitive(PrimitiveLiteral::Long(number))) if !is_known => number.to_string(),
        (_, value) if !is_known => format!("{value:?}"),
        // It also panics for parts of seconds before 1970, unless there is no zone.
        (Type::Primitive(PrimitiveType::Timestamptz), value) => {
            let without = Type::Primitive(PrimitiveType::Timestamp);
            format!("{} UTC", transform.to_human_string(&without, Some(value)))
        }
        (kind, value) => transform.to_human_string(kind, Some(value)),
    }
}

fn text_of(column: &str, transform: Transform) -> String {
    match transform {
        Transform::Identity => column.to_owned(),
        transform => format!("{transform}({column})"),
    }
}

#[cfg(test)]
mod tests;
