//! What a statement writes: new rows, removed rows, a table that is made with its rows. One commit, or nothing.
//!
//! New rows are gathered up to [`ROWS_BYTES_MAX`] and then written, so memory stays bounded however many there are. Removed rows
//! are marked by file and row number; the files that have some are rewritten without them at the end. Every path is on record as
//! a leftover before it is written. The caller says [`Piece::End`] when that was all: if it goes away before, or sets `stop`, what
//! was written is deleted, and nothing has changed.

mod gone;
mod new;
mod rows;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use iceberg::spec::{Operation, TableMetadata};
use lacus_core::{Context, Error, Kind, Result, TableName};
use tokio::sync::{OwnedMutexGuard, mpsc};

pub use self::gone::FileRows;
use self::gone::Gone;
pub use self::new::partition_value;
use self::rows::NewRows;
use crate::change::{FileChange, change_files};
use crate::foreign::commit::is_delivered;
use crate::foreign::{NewTable, create};
use crate::lake::{Inner, Lake, detached};
use crate::leftovers::{discard, sweep};
use crate::table::{Table, TableState};

/// Bytes of gathered rows that are written together, as files of their own: one for each partition among them.
const ROWS_BYTES_MAX: usize = 64 << 20;

/// What a statement writes to.
pub enum Target {
    /// A table that is made with the rows.
    New(Box<NewTable>),
    /// An existing table, in the state in which the rows to remove were found.
    Old {
        /// The table.
        table: Arc<Table>,
        /// Its state.
        state: Arc<TableState>,
        /// Whether a row may be removed more than once; otherwise that is an error.
        may_repeat: bool,
    },
}

/// A part of what changes.
pub enum Piece {
    /// New rows. Their columns are those of the table, in order: for a new table those of its schema, for an existing one
    /// those of the state's Arrow schema.
    Added(RecordBatch),
    /// Rows that go.
    Gone(Vec<RowPlace>),
    /// The end: everything is to be committed.
    End,
}

/// Where a row is: see [`FileRows`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowPlace {
    /// Which of the state's files.
    pub file: u32,
    /// The row's number among those of the file that are not deleted.
    pub row: u64,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Rows that came.
    pub added: u64,
    /// Rows that went.
    pub gone: u64,
}

/// While this is held, nobody merges or rewrites the files of a table. Deliveries and appends go on.
pub struct FilesStay(#[expect(dead_code, reason = "it is held")] OwnedMutexGuard<()>);

impl Table {
    /// Keeps the files of this table as they are, once nobody is rewriting them.
    pub async fn files_stay(&self) -> FilesStay {
        FilesStay(Arc::clone(&self.compacting).lock_owned().await)
    }

    /// Whether a stream delivers to this table.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        is_delivered(self)
    }
}

impl Lake {
    /// Writes what comes through `pieces`, and commits it at [`Piece::End`]. If the sender goes away before, or `stop` is
    /// set, nothing changes. Dropping the future does not stop it: set `stop`.
    ///
    /// # Errors
    /// `Exists` if a new table is there; `Invalid` for rows that the table can't have; `Conflict` if files of rows that go
    /// were changed meanwhile: find the rows again; `Limited` if it was stopped; `Unavailable` when the store or the catalog
    /// refuses. `Internal` if nobody knows whether it happened; otherwise nothing changed.
    pub async fn write(&self, target: Target, pieces: mpsc::Receiver<Piece>, stop: Arc<AtomicBool>) -> Result<Written> {
        let inner = Arc::clone(self.shared_inner());
        detached(async move { write(&inner, target, pieces, stop).await }).await
    }
}

/// A statement that is writing.
struct Writing {
    rows: NewRows,
    into: Into,
    stop: Arc<AtomicBool>,
}

/// What the commit will be.
enum Into {
    New { name: TableName, metadata: Box<TableMetadata> },
    Old { table: Arc<Table>, gone: Gone },
}

async fn write(
    lake: &Arc<Inner>,
    target: Target,
    pieces: mpsc::Receiver<Piece>,
    stop: Arc<AtomicBool>,
) -> Result<Written> {
    let mut writing = Writing::begin(lake, target, stop).await?;
    match writing.take_all(lake, pieces).await {
        Ok(()) => {
            let written = writing.commit(lake).await;
            if written.is_ok() {
                sweep(lake, 0).await;
            }
            written
        }
        Err(error) => {
            discard(lake, std::mem::take(&mut writing.rows.paths)).await;
            Err(error)
        }
    }
}

impl Writing {
    async fn begin(lake: &Arc<Inner>, target: Target, stop: Arc<AtomicBool>) -> Result<Self> {
        match target {
            Target::New(new) => {
                let name = new.name.clone();
                let wanted = new.schema.clone();
                let metadata = create::prepare(lake, *new).await.context(format_args!("make table \"{name}\""))?;
                let rows = NewRows::of_new(name.clone(), &metadata, &wanted)?;
                Ok(Self { rows, into: Into::New { name, metadata: Box::new(metadata) }, stop })
            }
            Target::Old { table, state, may_repeat } => {
                let rows = NewRows::of(&table, &state)?;
                Ok(Self { rows, into: Into::Old { table, gone: Gone::new(state, may_repeat) }, stop })
            }
        }
    }

    /// Takes all pieces, writes new rows, and rewrites files without the removed ones.
    async fn take_all(&mut self, lake: &Arc<Inner>, mut pieces: mpsc::Receiver<Piece>) -> Result<()> {
        loop {
            let piece = pieces.recv().await.ok_or_else(stopped)?;
            self.must_go_on()?;
            match (piece, &mut self.into) {
                (Piece::End, _) => break,
                (Piece::Added(rows), _) => self.rows.add(lake, &rows).await?,
                (Piece::Gone(places), Into::Old { gone, .. }) => gone.mark(&places)?,
                (Piece::Gone(_), Into::New { .. }) => {
                    return Err(Error::internal("rows go from a table that is not there yet"));
                }
            }
        }
        self.rows.flush(lake).await?;
        if let Into::Old { gone, table } = &mut self.into {
            gone.rewrite(lake, &mut self.rows, table, &self.stop).await?;
        }
        self.must_go_on()
    }

    fn must_go_on(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(stopped()) } else { Ok(()) }
    }

    async fn commit(self, lake: &Arc<Inner>) -> Result<Written> {
        let NewRows { added, paths, count, .. } = self.rows;
        match self.into {
            Into::New { name, metadata } => {
                let made = create::make_with(lake, &name, *metadata, added).await;
                made.context(format_args!("make table \"{name}\""))?;
                Ok(Written { added: count, gone: 0 })
            }
            Into::Old { table, gone } => {
                let written = Written { added: count, gone: gone.count };
                let removed = gone.files();
                if removed.is_empty() && added.is_empty() {
                    return Ok(written);
                }
                let operation = match (removed.is_empty(), added.is_empty()) {
                    (true, _) => Operation::Append,
                    (false, true) => Operation::Delete,
                    (false, false) => Operation::Overwrite,
                };
                match change_files(lake, &table, FileChange { operation, removed, added }).await {
                    Ok(()) => Ok(written),
                    Err(failed) => {
                        if !failed.may_have_happened {
                            discard(lake, paths).await;
                        }
                        Err(failed.told()).context(format_args!("commit to table \"{}\"", table.name()))
                    }
                }
            }
        }
    }
}

fn stopped() -> Error {
    Error::new(Kind::Limited, "the statement was stopped")
}

#[cfg(test)]
mod tests;
