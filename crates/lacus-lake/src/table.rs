//! A table: one immutable state at a time, swapped whole.
//!
//! Readers take [`Table::state`] and never wait. Writers change the tail, a commit moves the front of the tail into the
//! files; both build the next state from the current one under a lock, and swap it in one step. A row is in the tail or
//! in the files of a state, never in both and never in neither.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use iceberg::spec::{ManifestFile, SnapshotReference, SnapshotRetention, TableMetadata};
use lacus_core::{Offsets, Result, TableName, Timestamp};
use tokio::sync::Mutex as AsyncMutex;

use crate::deletes::{DeleteFile, DeletedRows, FilesOfSnapshot};
use crate::file_stats::FileStats;
use crate::kernel::Base;
use crate::kernel::refs::refs_of;
use crate::schema::TableSchema;

/// A table of the lake. One delivery loop writes it; anybody reads it.
pub struct Table {
    name: TableName,
    state: ArcSwap<TableState>,
    /// Held while the next state is built from the current one. It guards what the next commit builds on.
    committed: Mutex<Arc<Base>>,
    /// Held during a commit, so that there is one at a time.
    pub(crate) committing: Arc<AsyncMutex<()>>,
    /// Held while files are merged, so that nobody else merges the same ones.
    pub(crate) compacting: Arc<AsyncMutex<()>>,
}

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
    /// Files of that snapshot that say which rows of others are deleted: other engines wrote them.
    pub delete_files: Arc<[DeleteFile]>,
    /// Rows that are acknowledged and decoded but not committed, in order. Their schemas may lack newer columns
    /// (see [`crate::conform`]).
    pub tail: Vec<Arc<TailBatch>>,
    /// The log offsets that the files include: part of the commit.
    pub delivered: Offsets,
}

/// One committed Parquet file.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveFile {
    /// Its path in the lake's object store.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its rows, deleted ones included.
    pub rows: u64,
    /// What is known of its columns.
    pub stats: Arc<FileStats>,
    /// Its rows that are deleted.
    pub deleted: DeletedRows,
}

impl LiveFile {
    /// Its rows that are not deleted.
    #[must_use]
    pub fn live_rows(&self) -> u64 {
        self.rows.saturating_sub(self.deleted.places().len() as u64)
    }
}

/// One commit of a table, as Iceberg keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number, which tells nothing about its age.
    pub id: i64,
    /// The one before it.
    pub parent: Option<i64>,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// The operation: `append` adds rows, `replace` merges files, `overwrite` changes rows, `delete` removes rows.
    pub operation: String,
    /// Where its list of manifests is: an absolute URL.
    pub manifest_list: String,
    /// Numbers of files, rows and bytes (Iceberg specification, appendix F).
    pub summary: BTreeMap<String, String>,
}

/// A name that a snapshot has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// `main`, or the name of a tag or branch.
    pub name: String,
    /// Whether it stays on its snapshot. A branch moves with its commits.
    pub is_tag: bool,
    /// The snapshot.
    pub snapshot: i64,
}

/// A file of Iceberg's that lists data files of the current snapshot (Iceberg specification, "Manifests").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Where it is: an absolute URL.
    pub path: String,
    /// Its size in bytes.
    pub bytes: i64,
    /// The number of the partition spec that its files were written with.
    pub spec_id: i32,
    /// The snapshot that wrote it.
    pub snapshot: i64,
    /// Files and rows that its snapshot added.
    pub added: Counts,
    /// Those that were there before.
    pub existing: Counts,
    /// Those that went with it.
    pub deleted: Counts,
}

/// Numbers of files and their rows. None if the writer of the manifest did not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// How many files.
    pub files: Option<u32>,
    /// How many rows are in them.
    pub rows: Option<u64>,
}

impl Manifest {
    fn of(file: &ManifestFile) -> Self {
        let counts = |files, rows| Counts { files, rows };
        Self {
            path: file.manifest_path.clone(),
            bytes: file.manifest_length,
            spec_id: file.partition_spec_id,
            snapshot: file.added_snapshot_id,
            added: counts(file.added_files_count, file.added_rows_count),
            existing: counts(file.existing_files_count, file.existing_rows_count),
            deleted: counts(file.deleted_files_count, file.deleted_rows_count),
        }
    }
}

impl Snapshot {
    fn of(snapshot: &iceberg::spec::Snapshot) -> Self {
        let summary = snapshot.summary();
        let numbers = summary.additional_properties.iter().map(|(key, value)| (key.clone(), value.clone()));
        Self {
            id: snapshot.snapshot_id(),
            parent: snapshot.parent_snapshot_id(),
            committed_at: Timestamp::from_micros(snapshot.timestamp_ms().saturating_mul(1_000)),
            operation: summary.operation.as_str().to_owned(),
            manifest_list: snapshot.manifest_list().to_owned(),
            summary: numbers.collect(),
        }
    }
}

/// Some rows of the hot tail.
#[derive(Debug)]
pub struct TailBatch {
    /// The rows.
    pub rows: RecordBatch,
    /// Memory they take, in bytes.
    pub bytes: usize,
}

impl TailBatch {
    /// Shares the schema if it is equal: in a wide table with few rows per batch, schemas take more memory than rows.
    fn with_schema(self, schema: &SchemaRef) -> Self {
        if self.rows.schema_ref() != schema {
            return self;
        }
        let rows = self.rows.with_schema(Arc::clone(schema)).expect("the schema is the same");
        Self { rows, ..self }
    }
}

/// What a commit changed about a table.
pub(crate) struct Committed {
    pub(crate) base: Arc<Base>,
    /// Paths of files that are gone.
    pub(crate) removed: Vec<String>,
    /// The new data files: in the place of the removed ones, or last.
    pub(crate) added: Vec<LiveFile>,
    /// The part of the tail that is in those files now, if the commit is a delivery.
    pub(crate) tail: Option<CommittedTail>,
    /// The new list of delete files; none if it does not change.
    pub(crate) delete_files: Option<Vec<DeleteFile>>,
}

/// The front of a tail that is in files now.
pub(crate) struct CommittedTail {
    pub(crate) schema: TableSchema,
    pub(crate) delivered: Offsets,
    pub(crate) batches: usize,
}

impl Table {
    pub(crate) fn new(
        name: TableName,
        base: Base,
        schema: TableSchema,
        files: FilesOfSnapshot,
        delivered: Offsets,
    ) -> Self {
        let state = TableState {
            arrow_schema: schema.arrow(),
            schema: Arc::new(schema),
            snapshot_id: base.metadata.current_snapshot_id(),
            metadata_location: base.location.clone(),
            files: files.data.into(),
            delete_files: files.deletes.into(),
            tail: Vec::new(),
            delivered,
        };
        let state = ArcSwap::from_pointee(state);
        Self {
            name,
            state,
            committed: Mutex::new(Arc::new(base)),
            committing: Arc::default(),
            compacting: Arc::default(),
        }
    }

    /// Its name, with its database unless that is `main`.
    #[must_use]
    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> Arc<TableState> {
        self.state.load_full()
    }

    /// Its Iceberg metadata as of the last commit, and the location of that: what other engines load.
    #[must_use]
    pub fn metadata(&self) -> (String, TableMetadata) {
        let base = self.base();
        (base.location.clone(), base.metadata.clone())
    }

    /// Its snapshots that have not expired, oldest first. Tails are in none.
    #[must_use]
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let base = self.base();
        let mut snapshots: Vec<_> = base.metadata.snapshots().collect();
        snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
        snapshots.into_iter().map(|snapshot| Snapshot::of(snapshot)).collect()
    }

    /// The manifests of its current snapshot.
    #[must_use]
    pub fn manifests(&self) -> Vec<Manifest> {
        self.base().manifests.iter().map(Manifest::of).collect()
    }

    /// The tags and branches of its snapshots, in order.
    ///
    /// # Errors
    /// If the metadata can't be read.
    pub fn references(&self) -> Result<Vec<Reference>> {
        let refs = refs_of(&self.base().metadata)?.into_iter();
        let reference = |(name, reference): (String, SnapshotReference)| Reference {
            name,
            is_tag: matches!(reference.retention, SnapshotRetention::Tag { .. }),
            snapshot: reference.snapshot_id,
        };
        Ok(refs.map(reference).collect())
    }

    /// Makes more rows visible.
    pub fn append_tail(&self, schema: &TableSchema, batch: TailBatch) {
        self.change(|state| {
            state.set_schema(schema);
            state.tail.push(Arc::new(batch.with_schema(&state.arrow_schema)));
        });
    }

    /// Replaces the last `count` batches of the tail. Commits only take batches off the front, so this means the same whether
    /// or not one ends meanwhile.
    pub fn replace_end_of_tail(&self, schema: &TableSchema, count: usize, batches: Vec<TailBatch>) {
        self.change(|state| {
            state.set_schema(schema);
            state.tail.truncate(state.tail.len().saturating_sub(count));
            let schema = Arc::clone(&state.arrow_schema);
            state.tail.extend(batches.into_iter().map(|batch| Arc::new(batch.with_schema(&schema))));
        });
    }

    /// Drops the rows that are not committed, and the columns they brought. No commit of them may be under way.
    ///
    /// # Errors
    /// If the committed schema can't be read.
    pub fn forget_tail(&self) -> Result<()> {
        let base = self.lock();
        let schema = base.schema()?;
        let mut state = TableState::clone(&self.state.load());
        state.set_schema(&schema);
        state.tail.clear();
        self.state.store(Arc::new(state));
        Ok(())
    }

    /// What the next commit builds on.
    pub(crate) fn base(&self) -> Arc<Base> {
        Arc::clone(&self.lock())
    }

    /// Shows a commit: new files and new offsets in, its batches out of the tail, in one step.
    pub(crate) fn show(&self, committed: Committed) {
        let mut base = self.lock();
        let mut state = TableState::clone(&self.state.load());
        state.snapshot_id = committed.base.metadata.current_snapshot_id();
        state.metadata_location.clone_from(&committed.base.location);
        state.replace_files(&committed.removed, committed.added);
        if let Some(delete_files) = committed.delete_files {
            state.delete_files = delete_files.into();
        }
        if let Some(tail) = committed.tail {
            state.delivered = tail.delivered;
            state.tail.drain(..tail.batches.min(state.tail.len()));
            if state.schema.last_id < tail.schema.last_id {
                state.set_schema(&tail.schema);
            }
        }
        if state.tail.is_empty()
            && let Ok(schema) = committed.base.schema()
        {
            // Columns that changed, or whose types are final now; who commits made sure that they can be read.
            state.set_schema(&schema);
        }
        *base = committed.base;
        self.state.store(Arc::new(state));
    }

    fn change(&self, change: impl FnOnce(&mut TableState)) {
        let _base = self.lock();
        let mut state = TableState::clone(&self.state.load());
        change(&mut state);
        self.state.store(Arc::new(state));
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Base>> {
        self.committed.lock().expect("nothing panics while it holds this lock")
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Table").field(&self.name).finish()
    }
}

impl TableState {
    fn replace_files(&mut self, removed: &[String], mut added: Vec<LiveFile>) {
        if removed.is_empty() && added.is_empty() {
            return;
        }
        let removed: HashSet<&str> = removed.iter().map(String::as_str).collect();
        let mut files = Vec::with_capacity(self.files.len() + added.len());
        for file in self.files.iter() {
            if removed.contains(file.path.as_str()) {
                files.append(&mut added);
            } else {
                files.push(file.clone());
            }
        }
        files.extend(added);
        self.files = files.into();
    }

    fn set_schema(&mut self, schema: &TableSchema) {
        if *self.schema != *schema {
            self.arrow_schema = schema.arrow();
            self.schema = Arc::new(schema.clone());
        }
    }
}
