//! The columns of a table, as the decoder grows them, Arrow carries them and Iceberg commits them.
//!
//! Ids are Iceberg field ids: given when a column is discovered, never given twice. A column's type is set by its
//! first value that has one. Whole numbers widen to fractions until the column is committed; nothing else changes.

use arrow::datatypes::SchemaRef;
use lacus_core::Result;

/// Misfit values of a row, as JSON text by path; null when everything fitted.
pub const RESCUED: &str = "_rescued";
/// When the row's event was acknowledged.
pub const RECEIVED_AT: &str = "_received_at";
/// The partition of the stream that the row came by.
pub const PARTITION: &str = "_partition";
/// The sequence number of the row in that partition.
pub const OFFSET: &str = "_offset";

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

#[expect(clippy::todo, reason = "skeleton")]
impl TableSchema {
    /// A table of system columns only.
    #[must_use]
    pub fn empty() -> Self {
        Self { columns: Vec::new(), last_id: 4 }
    }

    /// The Arrow schema: every column nullable, in order, then the system columns; each field with its id under
    /// `PARQUET:field_id`.
    #[must_use]
    pub fn arrow(&self) -> SchemaRef {
        todo!()
    }

    /// The Iceberg schema with the given schema id.
    ///
    /// # Errors
    /// If the columns make no valid Iceberg schema.
    pub fn iceberg(&self, schema_id: i32) -> Result<iceberg::spec::Schema> {
        let _ = schema_id;
        todo!()
    }

    /// Reads an Iceberg schema back; all its columns are committed.
    ///
    /// # Errors
    /// For types that lacus does not write.
    pub fn from_iceberg(schema: &iceberg::spec::Schema, last_id: i32) -> Result<Self> {
        let _ = (schema, last_id);
        todo!()
    }

    /// Marks every column as committed: from now on types stay.
    pub fn pin(&mut self) {
        todo!()
    }
}
