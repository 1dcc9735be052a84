//! The columns that hold the values of an answer.

use arrow::datatypes::{DataType, Field};
use lacus_core::{Error, Result};

use super::{Column, ColumnType, TableSchema, is_uuid};

impl TableSchema {
    /// Columns of these names and types, in order, with ids from 1 on and no system columns.
    #[must_use]
    pub fn of_columns(columns: impl IntoIterator<Item = Column>) -> Self {
        let mut last_id = 0;
        let mut columns: Vec<Column> = columns.into_iter().collect();
        number(columns.iter_mut().collect(), &mut last_id);
        Self { columns, last_id, ..Self::default() }
    }
}

fn number(columns: Vec<&mut Column>, last_id: &mut i32) {
    for column in columns {
        *last_id += 1;
        column.id = *last_id;
        number(column.kind.children_mut(), last_id);
    }
}

impl Column {
    /// The column that holds every value of a field of an answer. Ids are given later.
    ///
    /// # Errors
    /// `Invalid` for types that tables don't have.
    pub fn of_arrow(field: &Field) -> Result<Self> {
        let kind = if is_uuid(field) { Some(ColumnType::Uuid) } else { ColumnType::of_arrow(field.data_type())? };
        let kind = kind.ok_or_else(|| {
            Error::invalid(format!(
                "column \"{}\" has the type {}, which no table has",
                field.name(),
                field.data_type()
            ))
            .with_hint("cast it to another type, such as text")
        })?;
        Ok(Self::new(0, field.name(), kind))
    }
}

impl ColumnType {
    /// The type that holds every value of an Arrow type; none if there is none.
    fn of_arrow(kind: &DataType) -> Result<Option<Self>> {
        Ok(Some(match kind {
            DataType::Boolean => Self::Boolean,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => Self::Int,
            DataType::Int64 | DataType::UInt32 => Self::Long,
            DataType::UInt64 => Self::Decimal { precision: 20, scale: 0 },
            DataType::Float16 | DataType::Float32 => Self::Float,
            DataType::Float64 => Self::Double,
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale) => match u8::try_from(*scale) {
                Ok(scale) if scale <= *precision => Self::Decimal { precision: *precision, scale },
                _ => return Ok(None),
            },
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Time32(_) | DataType::Time64(_) => Self::Time,
            DataType::Timestamp(_, Some(_)) => Self::Timestamptz,
            DataType::Timestamp(_, None) => Self::Timestamp,
            // What is always null says nothing; text can become anything later.
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => Self::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Self::Binary,
            DataType::FixedSizeBinary(length) => Self::Fixed(*length),
            DataType::Dictionary(_, values) => return Self::of_arrow(values),
            DataType::Struct(fields) if !fields.is_empty() => {
                Self::Struct(fields.iter().map(|field| Column::of_arrow(field)).collect::<Result<_>>()?)
            }
            DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
                Self::List(Box::new(Column { name: "element".to_owned(), ..Column::of_arrow(element)? }))
            }
            DataType::Map(entries, _) => {
                let DataType::Struct(entry) = entries.data_type() else { return Ok(None) };
                let [key, value] = &entry[..] else { return Ok(None) };
                let key = Column { name: "key".to_owned(), required: true, ..Column::of_arrow(key)? };
                Self::Map(Box::new((key, Column { name: "value".to_owned(), ..Column::of_arrow(value)? })))
            }
            _ => return Ok(None),
        }))
    }
}
