//! The lake: its tables, and the commit that publishes data and offsets together. (skeleton)

use std::path::Path;
use std::sync::Arc;

use lacus_core::{Clock, Offsets, Result, StreamName, TableName};
use object_store::ObjectStore;

use crate::raw::RawFile;
use crate::schema::TableSchema;
use crate::table::Table;

/// All tables of a project, in one directory (or bucket) with one catalog.
pub struct Lake {}

/// What one commit publishes: rows of some tables that came by one stream, all or nothing.
pub struct Commit {
    /// The stream the rows came by.
    pub stream: StreamName,
    /// Everything before these offsets is in the tables once this commit succeeds.
    pub delivered: Offsets,
    /// The tables, with the part of their tail to commit.
    pub tables: Vec<TableAppend>,
    /// The same events for the raw zone.
    pub raw: Vec<RawFile>,
}

/// The part of one table's tail to commit.
pub struct TableAppend {
    /// The table.
    pub table: Arc<Table>,
    /// The pinned schema of the rows.
    pub schema: TableSchema,
    /// How many batches from the front of the tail. More may be appended behind them while the commit runs.
    pub batches: usize,
}

/// What a commit wrote.
#[derive(Debug, Clone, Default)]
pub struct CommitReport {
    /// Rows published.
    pub rows: u64,
    /// Bytes of Parquet.
    pub parquet_bytes: u64,
    /// Bytes of compressed raw JSON.
    pub raw_bytes: u64,
}

#[expect(clippy::todo, clippy::unused_async, clippy::needless_pass_by_value, reason = "skeleton")]
impl Lake {
    /// Opens the lake in `directory` as its only writer, makes it if it is new, and removes what an earlier process
    /// wrote but did not commit.
    ///
    /// # Errors
    /// If the directory can't be used or the catalog is corrupt.
    pub async fn open(directory: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let _ = (directory, clock);
        todo!()
    }

    /// The table of this name.
    #[must_use]
    pub fn table(&self, name: &TableName) -> Option<Arc<Table>> {
        let _ = name;
        todo!()
    }

    /// All tables, by name.
    #[must_use]
    pub fn tables(&self) -> Vec<Arc<Table>> {
        todo!()
    }

    /// Makes a table with `schema`, durably; the one that exists is returned as it is.
    ///
    /// # Errors
    /// If it can't be written.
    pub async fn create_table(&self, name: &TableName, schema: TableSchema) -> Result<Arc<Table>> {
        let _ = (name, schema);
        todo!()
    }

    /// Publishes rows, raw events and offsets. After an error nothing of it is visible and it may be tried again.
    ///
    /// # Errors
    /// `Unavailable` when the store or the catalog refuses, `Conflict` when another process took over.
    pub async fn commit(&self, commit: Commit) -> Result<CommitReport> {
        let _ = commit;
        todo!()
    }

    /// Where the files are. Paths in it are those of [`crate::LiveFile`].
    #[must_use]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        todo!()
    }
}
