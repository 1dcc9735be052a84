//! A table: one immutable state at a time, swapped whole. (skeleton)

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use lacus_core::{Offsets, TableName};

use crate::schema::TableSchema;

/// A table of the lake. One delivery loop writes it; anybody reads it.
pub struct Table {}

/// Everything a query needs to know, at one instant: committed files ∪ tail, no row in both.
#[derive(Debug, Clone)]
pub struct TableState {
    /// The columns of files and tail together.
    pub schema: Arc<TableSchema>,
    /// The same for Arrow.
    pub arrow_schema: SchemaRef,
    /// The current Iceberg snapshot, none before the first commit.
    pub snapshot_id: Option<i64>,
    /// Where the current Iceberg metadata is: an absolute URL.
    pub metadata_location: String,
    /// The live data files of that snapshot.
    pub files: Arc<[LiveFile]>,
    /// Rows that are acknowledged and decoded but not committed, in order. Their schemas may lack newer columns
    /// (see [`crate::conform`]).
    pub tail: Vec<Arc<TailBatch>>,
    /// The log offsets that the files include: part of the commit.
    pub delivered: Offsets,
}

/// One committed Parquet file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveFile {
    /// Its path in the lake's object store.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
}

/// Some rows of the hot tail.
#[derive(Debug)]
pub struct TailBatch {
    /// The rows.
    pub rows: RecordBatch,
    /// Memory they take, in bytes.
    pub bytes: usize,
}

#[expect(clippy::todo, clippy::needless_pass_by_value, reason = "skeleton")]
impl Table {
    /// Its name in database `main`.
    #[must_use]
    pub fn name(&self) -> &TableName {
        todo!()
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> Arc<TableState> {
        todo!()
    }

    /// Makes more rows visible.
    pub fn append_tail(&self, schema: &TableSchema, batch: TailBatch) {
        let _ = (schema, batch);
        todo!()
    }

    /// Puts other rows in place of the tail's batches from `from` on: they were decoded anew in a wider schema.
    pub fn replace_tail(&self, schema: &TableSchema, from: usize, batches: Vec<TailBatch>) {
        let _ = (schema, from, batches);
        todo!()
    }
}
