//! The columns of a table, as the decoder grows them, Arrow carries them and Iceberg commits them.
//!
//! Ids are Iceberg field ids: given when a column is discovered, never given twice. A column's type is set by its
//! first value that has one, or by a person. Whole numbers widen to fractions until the column is committed; nothing else
//! changes by itself. Tables that other engines made have whatever types and ids those gave them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use iceberg::spec::PrimitiveType;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::layout::RESERVED_PREFIX;

mod arrow_form;
mod change;
mod iceberg_form;

pub use change::SchemaChange;

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

/// The key under which Arrow says what fixed-length bytes mean (Arrow's canonical extension types).
const EXTENSION_META_KEY: &str = "ARROW:extension:name";
/// These 16 bytes are a UUID.
const UUID_EXTENSION: &str = "arrow.uuid";

/// The system columns with their types, in order.
static SYSTEM: LazyLock<[(&str, DataType, PrimitiveType); 4]> = LazyLock::new(|| {
    let utc_micros = DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
    [
        (RESCUED, DataType::Utf8, PrimitiveType::String),
        (RECEIVED_AT, utc_micros, PrimitiveType::Timestamptz),
        (PARTITION, DataType::Int32, PrimitiveType::Int),
        (OFFSET, DataType::Int64, PrimitiveType::Long),
    ]
});

/// The field ids of system columns in tables that lacus made: `_rescued` is 1.
const SYSTEM_IDS: [i32; 4] = [1, 2, 3, 4];
/// The highest of them.
const SYSTEM_ID_MAX: i32 = 4;

/// The columns of one table. System columns ([`RESCUED`] … [`OFFSET`]) come last in order and are not listed among
/// `columns`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableSchema {
    /// The columns found in events or given by a person, in order.
    pub columns: Vec<Column>,
    /// The highest field id ever given in this table.
    pub last_id: i32,
    /// The field ids of the system columns: 1 to 4 in tables that lacus made. A table that another engine made has none
    /// until lacus delivers to it.
    pub system: Option<[i32; 4]>,
    /// Names that events give no column: another engine gave them to partition fields, and Iceberg has no column of such a name; or
    /// files without field ids have such a column, which is another one. Fields have their path: `place.city`, `visits[].page`.
    pub taken: Vec<String>,
}

/// One column, or one field of a struct, or the element of a list, or the key or value of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Iceberg field id.
    pub id: i32,
    /// Its name; `element` for the element of a list, `key` and `value` in a map.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
    /// Whether its type is final, because files with it are committed or being committed.
    pub committed: bool,
    /// Whether Iceberg declares it as never null. Only other engines do; rows that lacus decodes promise nothing, so a
    /// delivery makes the column optional.
    pub required: bool,
    /// Other names that senders have for it: its earlier names, or the name of a neighbour that can't hold all values sent
    /// for it.
    pub aliases: Vec<String>,
}

/// The types that columns have: all of Iceberg's specification version 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType {
    /// `true` and `false`. Iceberg `boolean`.
    Boolean,
    /// Whole numbers of 32 bits. Iceberg `int`. Never inferred.
    Int,
    /// Whole numbers of 64 bits. Iceberg `long`.
    Long,
    /// Floating point numbers of 32 bits. Iceberg `float`. Never inferred.
    Float,
    /// Numbers with a fraction or an exponent. Iceberg `double`.
    Double,
    /// Exact decimals. Iceberg `decimal(precision, scale)`. Never inferred.
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// A day. Iceberg `date`. Never inferred.
    Date,
    /// A time of day, in microseconds. Iceberg `time`. Never inferred.
    Time,
    /// A date and time without a zone, in microseconds. Iceberg `timestamp`. Never inferred.
    Timestamp,
    /// A point in time, in microseconds. Iceberg `timestamptz`. Never inferred.
    Timestamptz,
    /// Text. Iceberg `string`.
    Text,
    /// Iceberg `uuid`. Never inferred.
    Uuid,
    /// Bytes of a fixed length. Iceberg `fixed`. Never inferred; JSON has none.
    Fixed(i32),
    /// Bytes. Iceberg `binary`. Never inferred; the quarantine's `bytes`.
    Binary,
    /// An object: its fields, in order of discovery.
    Struct(Vec<Column>),
    /// An array: its element.
    List(Box<Column>),
    /// An object whose names are data. Iceberg `map`: its key and its value. Never inferred.
    Map(Box<(Column, Column)>),
}

impl TableSchema {
    /// A table of system columns only.
    #[must_use]
    pub fn empty() -> Self {
        Self { last_id: SYSTEM_ID_MAX, system: Some(SYSTEM_IDS), ..Self::default() }
    }

    /// The columns of a quarantine table: why a record could not be decoded, and its bytes.
    #[must_use]
    pub fn quarantine() -> Self {
        let columns = vec![
            Column::new(SYSTEM_ID_MAX + 1, "reason", ColumnType::Text),
            Column::new(SYSTEM_ID_MAX + 2, "bytes", ColumnType::Binary),
        ];
        Self { columns, last_id: SYSTEM_ID_MAX + 2, ..Self::empty() }
    }

    /// The same with system columns, which are given new ids if there are none.
    #[must_use]
    pub(crate) fn with_system_columns(mut self) -> Self {
        if self.system.is_none() {
            let first = self.last_id + 1;
            self.system = Some([first, first + 1, first + 2, first + 3]);
            self.last_id += 4;
        }
        self
    }

    /// The Arrow schema: every column nullable, in order, then the system columns; each field with its id under
    /// `PARQUET:field_id`.
    #[must_use]
    pub fn arrow(&self) -> SchemaRef {
        let columns = self.columns.iter().map(Column::arrow);
        let system = self.system_columns().map(|(id, (name, kind, _))| arrow_field(id, name, kind.clone()));
        Arc::new(Schema::new(columns.chain(system).collect::<Fields>()))
    }

    /// The field ids of its system columns.
    pub(crate) fn system_ids(&self) -> &[i32] {
        self.system.as_ref().map_or(&[], |ids| ids.as_slice())
    }

    /// Its system columns with their ids.
    fn system_columns(&self) -> impl Iterator<Item = (i32, &'static (&'static str, DataType, PrimitiveType))> {
        self.system.into_iter().flatten().zip(SYSTEM.iter())
    }

    /// The earlier names of columns, by field id.
    pub(crate) fn aliases(&self) -> BTreeMap<i32, Vec<String>> {
        fn collect(columns: Vec<&Column>, found: &mut BTreeMap<i32, Vec<String>>) {
            for column in columns {
                if !column.aliases.is_empty() {
                    found.insert(column.id, column.aliases.clone());
                }
                collect(column.kind.children(), found);
            }
        }
        let mut found = BTreeMap::new();
        collect(self.columns.iter().collect(), &mut found);
        found
    }

    /// Sets the earlier names of columns, by field id.
    pub(crate) fn set_aliases(&mut self, aliases: &BTreeMap<i32, Vec<String>>) {
        fn set(columns: Vec<&mut Column>, aliases: &BTreeMap<i32, Vec<String>>) {
            for column in columns {
                column.aliases = aliases.get(&column.id).cloned().unwrap_or_default();
                set(column.kind.children_mut(), aliases);
            }
        }
        set(self.columns.iter_mut().collect(), aliases);
    }

    /// Marks every column as committed: from now on its type stays.
    pub fn pin(&mut self) {
        self.columns.iter_mut().for_each(Column::pin);
    }
}

impl Column {
    /// A committed column.
    #[must_use]
    pub fn new(id: i32, name: &str, kind: ColumnType) -> Self {
        Self { id, name: name.to_owned(), kind, committed: true, required: false, aliases: Vec::new() }
    }

    pub(crate) fn arrow(&self) -> Field {
        let field = arrow_field(self.id, &self.name, self.kind.arrow());
        if self.kind != ColumnType::Uuid {
            return field;
        }
        let mut metadata = field.metadata().clone();
        metadata.insert(EXTENSION_META_KEY.to_owned(), UUID_EXTENSION.to_owned());
        field.with_metadata(metadata)
    }

    fn pin(&mut self) {
        self.committed = true;
        self.kind.children_mut().into_iter().for_each(Self::pin);
    }
}

impl ColumnType {
    /// The Arrow type, with the ids of nested fields.
    pub(crate) fn arrow(&self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Int => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(*precision, scale.cast_signed()),
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            Self::Text => DataType::Utf8,
            Self::Uuid => DataType::FixedSizeBinary(16),
            Self::Fixed(length) => DataType::FixedSizeBinary(*length),
            Self::Binary => DataType::Binary,
            Self::Struct(fields) => DataType::Struct(fields.iter().map(Column::arrow).collect()),
            Self::List(element) => DataType::List(Arc::new(element.arrow())),
            Self::Map(entry) => {
                let (key, value) = (entry.0.arrow().with_nullable(false), entry.1.arrow());
                let entries = DataType::Struct(Fields::from(vec![key, value]));
                DataType::Map(Arc::new(Field::new("key_value", entries, false)), false)
            }
        }
    }

    /// The columns inside, in order.
    #[must_use]
    pub fn children(&self) -> Vec<&Column> {
        match self {
            Self::Struct(fields) => fields.iter().collect(),
            Self::List(element) => vec![element],
            Self::Map(entry) => vec![&entry.0, &entry.1],
            _ => Vec::new(),
        }
    }

    /// The same, to be changed.
    pub(crate) fn children_mut(&mut self) -> Vec<&mut Column> {
        match self {
            Self::Struct(fields) => fields.iter_mut().collect(),
            Self::List(element) => vec![element],
            Self::Map(entry) => vec![&mut entry.0, &mut entry.1],
            _ => Vec::new(),
        }
    }
}

/// Whether `name` is the name of a system column, in whatever case.
pub(crate) fn is_system_name(name: &str) -> bool {
    SYSTEM.iter().any(|(system, ..)| name.eq_ignore_ascii_case(system))
}

/// Whether no column of events may have this name: it is a system column's, or has the prefix of partition fields.
pub(crate) fn is_taken_name(name: &str) -> bool {
    let start = name.as_bytes().get(..RESERVED_PREFIX.len());
    is_system_name(name) || start.is_some_and(|start| start.eq_ignore_ascii_case(RESERVED_PREFIX.as_bytes()))
}

fn arrow_field(id: i32, name: &str, kind: DataType) -> Field {
    Field::new(name, kind, true).with_metadata(HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]))
}

/// Whether the values of a field are UUIDs.
#[must_use]
pub fn is_uuid(field: &Field) -> bool {
    *field.data_type() == DataType::FixedSizeBinary(16)
        && field.metadata().get(EXTENSION_META_KEY).is_some_and(|name| name == UUID_EXTENSION)
}

#[cfg(test)]
mod tests;
