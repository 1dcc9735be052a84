//! The columns of a table, as the decoder grows them, Arrow carries them and Iceberg commits them.
//!
//! Ids are Iceberg field ids: given when a column is discovered, never given twice. A column's type is set by its
//! first value that has one. Whole numbers widen to fractions until the column is committed; nothing else changes.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use iceberg::spec::{ListType, NestedField, NestedFieldRef, PrimitiveType, StructType, Type};
use lacus_core::{Error, Result};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

/// Misfit values of a row, as JSON text by path; null when everything fitted.
pub const RESCUED: &str = "_rescued";
/// When the row's event was acknowledged.
pub const RECEIVED_AT: &str = "_received_at";
/// The partition of the stream that the row came by.
pub const PARTITION: &str = "_partition";
/// The sequence number of the row in that partition.
pub const OFFSET: &str = "_offset";

/// How Iceberg writes the time zone of its `timestamptz` in Arrow.
pub(crate) const UTC: &str = "+00:00";

/// The system columns with their types, in order. Their field ids are 1 to 4: `_rescued` is 1.
static SYSTEM: LazyLock<[(&str, DataType, PrimitiveType); 4]> = LazyLock::new(|| {
    let utc_micros = DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
    [
        (RESCUED, DataType::Utf8, PrimitiveType::String),
        (RECEIVED_AT, utc_micros, PrimitiveType::Timestamptz),
        (PARTITION, DataType::Int32, PrimitiveType::Int),
        (OFFSET, DataType::Int64, PrimitiveType::Long),
    ]
});

/// The highest field id of a system column.
const SYSTEM_ID_MAX: i32 = 4;

/// The columns of one table. System columns ([`RESCUED`] … [`OFFSET`]) have the field ids 1 to 4, come last in order and
/// are not listed here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableSchema {
    /// The columns found in events, in order of discovery.
    pub columns: Vec<Column>,
    /// The highest field id ever given in this table.
    pub last_id: i32,
}

/// One column, or one field of a struct, or the element of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Iceberg field id.
    pub id: i32,
    /// Its name; `element` for the element of a list.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
    /// Whether its type can't change any more, because files with it are (or are being) committed.
    pub committed: bool,
}

/// The types that columns have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType {
    /// `true` and `false`. Iceberg `boolean`.
    Boolean,
    /// Whole numbers of 64 bits. Iceberg `long`.
    Long,
    /// Numbers with a fraction or an exponent. Iceberg `double`.
    Double,
    /// Text. Iceberg `string`.
    Text,
    /// Bytes. Iceberg `binary`. Never inferred; the quarantine's `bytes`.
    Binary,
    /// An object: its fields, in order of discovery.
    Struct(Vec<Column>),
    /// An array: its element.
    List(Box<Column>),
}

impl TableSchema {
    /// A table of system columns only.
    #[must_use]
    pub fn empty() -> Self {
        Self { columns: Vec::new(), last_id: SYSTEM_ID_MAX }
    }

    /// The table that keeps records which could not be decoded: why, and the bytes as they came.
    #[must_use]
    pub fn quarantine() -> Self {
        let column =
            |id, name: &str, kind| Column { id: SYSTEM_ID_MAX + id, name: name.to_owned(), kind, committed: true };
        let columns = vec![column(1, "reason", ColumnType::Text), column(2, "bytes", ColumnType::Binary)];
        Self { columns, last_id: SYSTEM_ID_MAX + 2 }
    }

    /// The Arrow schema: every column nullable, in order, then the system columns; each field with its id under
    /// `PARQUET:field_id`.
    #[must_use]
    pub fn arrow(&self) -> SchemaRef {
        let columns = self.columns.iter().map(Column::arrow);
        let system = (1..).zip(SYSTEM.iter()).map(|(id, (name, kind, _))| arrow_field(id, name, kind.clone()));
        Arc::new(Schema::new(columns.chain(system).collect::<Fields>()))
    }

    /// The Iceberg schema with the given schema id.
    ///
    /// # Errors
    /// If the columns make no valid Iceberg schema.
    pub fn iceberg(&self, schema_id: i32) -> Result<iceberg::spec::Schema> {
        let columns = self.columns.iter().map(Column::iceberg);
        let system = (1..)
            .zip(SYSTEM.iter())
            .map(|(id, (name, _, kind))| Arc::new(NestedField::optional(id, *name, Type::Primitive(kind.clone()))));
        iceberg::spec::Schema::builder()
            .with_schema_id(schema_id)
            .with_fields(columns.chain(system))
            .build()
            .map_err(|error| Error::internal(format!("make an Iceberg schema: {error}")).with_source(error))
    }

    /// Reads an Iceberg schema back; all its columns are committed. The system columns may be anywhere in it.
    ///
    /// # Errors
    /// For types that lacus does not write.
    pub fn from_iceberg(schema: &iceberg::spec::Schema, last_id: i32) -> Result<Self> {
        let mut columns = Vec::new();
        for field in schema.as_struct().fields() {
            if !is_system(field)? {
                columns.push(Column::from_iceberg(field)?);
            }
        }
        Ok(Self { columns, last_id })
    }

    /// Marks every column as committed: from now on types stay.
    pub fn pin(&mut self) {
        self.columns.iter_mut().for_each(Column::pin);
    }
}

impl Column {
    pub(crate) fn arrow(&self) -> Field {
        arrow_field(self.id, &self.name, self.kind.arrow())
    }

    fn iceberg(&self) -> NestedFieldRef {
        Arc::new(NestedField::optional(self.id, &self.name, self.kind.iceberg()))
    }

    fn from_iceberg(field: &NestedField) -> Result<Self> {
        let kind = match &*field.field_type {
            Type::Primitive(PrimitiveType::Boolean) => ColumnType::Boolean,
            Type::Primitive(PrimitiveType::Long) => ColumnType::Long,
            Type::Primitive(PrimitiveType::Double) => ColumnType::Double,
            Type::Primitive(PrimitiveType::String) => ColumnType::Text,
            Type::Primitive(PrimitiveType::Binary) => ColumnType::Binary,
            Type::Struct(fields) => ColumnType::Struct(
                fields.fields().iter().map(|field| Self::from_iceberg(field)).collect::<Result<_>>()?,
            ),
            Type::List(list) => ColumnType::List(Box::new(Self::from_iceberg(&list.element_field)?)),
            other => {
                return Err(Error::invalid(format!(
                    "column \"{}\" has the Iceberg type {other}, which lacus does not write",
                    field.name
                )));
            }
        };
        Ok(Self { id: field.id, name: field.name.clone(), kind, committed: true })
    }

    fn pin(&mut self) {
        self.committed = true;
        match &mut self.kind {
            ColumnType::Struct(fields) => fields.iter_mut().for_each(Self::pin),
            ColumnType::List(element) => element.pin(),
            _ => {}
        }
    }
}

impl ColumnType {
    /// The Arrow type, with the ids of nested fields.
    pub(crate) fn arrow(&self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Long => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Text => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Struct(fields) => DataType::Struct(fields.iter().map(Column::arrow).collect()),
            Self::List(element) => DataType::List(Arc::new(element.arrow())),
        }
    }

    fn iceberg(&self) -> Type {
        match self {
            Self::Boolean => Type::Primitive(PrimitiveType::Boolean),
            Self::Long => Type::Primitive(PrimitiveType::Long),
            Self::Double => Type::Primitive(PrimitiveType::Double),
            Self::Text => Type::Primitive(PrimitiveType::String),
            Self::Binary => Type::Primitive(PrimitiveType::Binary),
            Self::Struct(fields) => Type::Struct(StructType::new(fields.iter().map(Column::iceberg).collect())),
            Self::List(element) => {
                let element = NestedField::list_element(element.id, element.kind.iceberg(), false);
                Type::List(ListType::new(Arc::new(element)))
            }
        }
    }
}

/// Whether `name` is the name of a system column, in whatever case.
pub(crate) fn is_system_name(name: &str) -> bool {
    SYSTEM.iter().any(|(system, ..)| name.eq_ignore_ascii_case(system))
}

fn is_system(field: &NestedField) -> Result<bool> {
    let expected = usize::try_from(field.id - 1).ok().and_then(|index| SYSTEM.get(index));
    match expected {
        Some((name, _, kind)) if *name == field.name && *field.field_type == Type::Primitive(kind.clone()) => Ok(true),
        None if !is_system_name(&field.name) => Ok(false),
        _ => Err(Error::corrupt(format!(
            "column \"{}\" with field id {} and type {} is neither a system column nor one from events",
            field.name, field.id, field.field_type
        ))),
    }
}

fn arrow_field(id: i32, name: &str, kind: DataType) -> Field {
    Field::new(name, kind, true).with_metadata(HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]))
}

#[cfg(test)]
mod tests;
