//! Table schemas as Iceberg has them, and back.
//!
//! All types of specification version 2 are read; what later versions add (nanoseconds) is refused by name.

use std::sync::Arc;

use iceberg::spec::{ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, StructType, Type};
use lacus_core::{Error, Result};

use super::{Column, ColumnType, SYSTEM, TableSchema};

impl TableSchema {
    /// The Iceberg schema with the given schema id.
    ///
    /// # Errors
    /// If the columns make no valid Iceberg schema.
    pub fn iceberg(&self, schema_id: i32) -> Result<iceberg::spec::Schema> {
        let columns = self.columns.iter().map(Column::iceberg);
        let system = self
            .system_columns()
            .map(|(id, (name, _, kind))| Arc::new(NestedField::optional(id, *name, Type::Primitive(kind.clone()))));
        iceberg::spec::Schema::builder()
            .with_schema_id(schema_id)
            .with_fields(columns.chain(system))
            .build()
            .map_err(|error| Error::internal(format!("make an Iceberg schema: {error}")).with_source(error))
    }

    /// Reads an Iceberg schema back; all its columns are committed. The system columns may be anywhere in it. Unless all
    /// four are there, with their types, the table has none and columns of their names are columns as any other.
    ///
    /// # Errors
    /// `Invalid` for types that lacus does not know.
    pub(crate) fn from_iceberg(schema: &iceberg::spec::Schema, last_id: i32) -> Result<Self> {
        let fields = schema.as_struct().fields();
        let ids = SYSTEM.each_ref().map(|(name, _, kind)| {
            let is_it = |field: &&NestedFieldRef| {
                field.name == *name && *field.field_type == Type::Primitive(kind.clone()) && !field.required
            };
            fields.iter().find(is_it).map(|field| field.id)
        });
        let system = match ids {
            [Some(a), Some(b), Some(c), Some(d)] => Some([a, b, c, d]),
            _ => None,
        };
        let is_system = |id: i32| system.is_some_and(|ids| ids.contains(&id));
        let columns = fields.iter().filter(|field| !is_system(field.id)).map(|field| Column::from_iceberg(field));
        Ok(Self { columns: columns.collect::<Result<_>>()?, last_id, system, taken: Vec::new() })
    }
}

impl Column {
    fn iceberg(&self) -> NestedFieldRef {
        Arc::new(NestedField::new(self.id, &self.name, self.kind.iceberg(), self.required))
    }

    fn from_iceberg(field: &NestedField) -> Result<Self> {
        let kind = match &*field.field_type {
            Type::Primitive(kind) => ColumnType::from_primitive(kind).ok_or_else(|| {
                Error::invalid(format!(
                    "column \"{}\" has the Iceberg type {kind}, which lacus does not know",
                    field.name
                ))
            })?,
            Type::Struct(fields) => ColumnType::Struct(
                fields.fields().iter().map(|field| Self::from_iceberg(field)).collect::<Result<_>>()?,
            ),
            Type::List(list) => ColumnType::List(Box::new(Self::from_iceberg(&list.element_field)?)),
            Type::Map(map) => {
                ColumnType::Map(Box::new((Self::from_iceberg(&map.key_field)?, Self::from_iceberg(&map.value_field)?)))
            }
        };
        Ok(Self { required: field.required, ..Self::new(field.id, &field.name, kind) })
    }
}

impl ColumnType {
    fn iceberg(&self) -> Type {
        match self {
            Self::Struct(fields) => Type::Struct(StructType::new(fields.iter().map(Column::iceberg).collect())),
            Self::List(element) => {
                let element = NestedField::list_element(element.id, element.kind.iceberg(), element.required);
                Type::List(ListType::new(Arc::new(element)))
            }
            Self::Map(entry) => {
                let key = NestedField::map_key_element(entry.0.id, entry.0.kind.iceberg());
                let value = NestedField::map_value_element(entry.1.id, entry.1.kind.iceberg(), entry.1.required);
                Type::Map(MapType::new(Arc::new(key), Arc::new(value)))
            }
            scalar => Type::Primitive(scalar.primitive().expect("all others hold no columns")),
        }
    }

    fn primitive(&self) -> Option<PrimitiveType> {
        Some(match self {
            Self::Boolean => PrimitiveType::Boolean,
            Self::Int => PrimitiveType::Int,
            Self::Long => PrimitiveType::Long,
            Self::Float => PrimitiveType::Float,
            Self::Double => PrimitiveType::Double,
            Self::Decimal { precision, scale } => {
                PrimitiveType::Decimal { precision: u32::from(*precision), scale: u32::from(*scale) }
            }
            Self::Date => PrimitiveType::Date,
            Self::Time => PrimitiveType::Time,
            Self::Timestamp => PrimitiveType::Timestamp,
            Self::Timestamptz => PrimitiveType::Timestamptz,
            Self::Text => PrimitiveType::String,
            Self::Uuid => PrimitiveType::Uuid,
            Self::Fixed(length) => PrimitiveType::Fixed(u64::from(length.unsigned_abs())),
            Self::Binary => PrimitiveType::Binary,
            Self::Struct(_) | Self::List(_) | Self::Map(_) => return None,
        })
    }

    fn from_primitive(kind: &PrimitiveType) -> Option<Self> {
        Some(match kind {
            PrimitiveType::Boolean => Self::Boolean,
            PrimitiveType::Int => Self::Int,
            PrimitiveType::Long => Self::Long,
            PrimitiveType::Float => Self::Float,
            PrimitiveType::Double => Self::Double,
            PrimitiveType::Decimal { precision, scale } => {
                let (precision, scale) = (u8::try_from(*precision).ok()?, u8::try_from(*scale).ok()?);
                if precision == 0 || precision > 38 || scale > precision {
                    return None;
                }
                Self::Decimal { precision, scale }
            }
            PrimitiveType::Date => Self::Date,
            PrimitiveType::Time => Self::Time,
            PrimitiveType::Timestamp => Self::Timestamp,
            PrimitiveType::Timestamptz => Self::Timestamptz,
            PrimitiveType::String => Self::Text,
            PrimitiveType::Uuid => Self::Uuid,
            PrimitiveType::Fixed(length) => Self::Fixed(i32::try_from(*length).ok()?),
            PrimitiveType::Binary => Self::Binary,
            PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs => return None,
        })
    }
}
