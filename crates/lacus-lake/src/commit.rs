//! The commit: rows, raw events and offsets become visible together, or not at all.
//!
//! In this order, each step durable before the next: the catalog checks the fence and records the names of all files
//! that will be written; data and raw files; manifests and metadata; one catalog transaction that moves the pointers
//! and takes the names off the record. A process that dies in between leaves recorded files, which the next opening
//! deletes. A step that fails deletes what was written and changes nothing. Only when the catalog can't say whether the
//! last step happened are the files kept, and the next commit begins by asking again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use iceberg::spec::{DataFile, Operation, Schema, TableMetadata};
use lacus_core::{Context, Error, Kind, Offsets, Result, StreamName, TableName, Timestamp};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::sync::{MutexGuard, OwnedMutexGuard};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::arrange::{Arranged, arrange};
use crate::catalog::{PointerMove, Publication, RawTotals};
use crate::conform::conform;
use crate::data_file::{FileForm, check_positions, encode};
use crate::file_stats::Placement;
use crate::kernel::{AddedFile, Base, Change, Names, plan};
use crate::lake::{Commit, CommitReport, Inner, Lake, TableAppend};
use crate::layout::Layout;
use crate::leftovers::{RETIRED_GRACE_MS, discard, sweep};
use crate::raw::{self, RawFile};
use crate::schema::TableSchema;
use crate::store::store_error;
use crate::table::{Committed, CommittedTail, LiveFile, Table};

/// How often we ask the catalog whether a commit happened before we leave it to the next one.
const QUESTIONS_MAX: u32 = 5;
/// The wait before asking again; it doubles.
const QUESTION_WAIT: Duration = Duration::from_millis(50);
/// The most tables of a commit whose rows are encoded and written, and whose metadata is planned, at the same time.
const TABLES_AT_ONCE: usize = 8;
/// The most files of one table that a commit encodes and writes at the same time.
pub(crate) const FILES_AT_ONCE: usize = 4;
/// The most metadata files that a commit writes at the same time; of several tables, for each that is being planned.
const METADATA_FILES_AT_ONCE: usize = 16;
/// The most raw files that a commit writes at the same time.
const RAW_FILES_AT_ONCE: usize = 8;

/// One try to commit.
struct Attempt {
    stream: StreamName,
    delivered: Offsets,
    now: Timestamp,
    /// Every file it may write.
    paths: Vec<String>,
    raw: RawTotals,
}

/// One table's part of it.
pub(crate) struct Part {
    pub(crate) table: Arc<Table>,
    schema: TableSchema,
    /// The same for Iceberg.
    pub(crate) iceberg: Schema,
    pub(crate) layout: Layout,
    pub(crate) base: Arc<Base>,
    /// What the table includes now.
    current: Offsets,
    pub(crate) names: Names,
    rows: Vec<RecordBatch>,
    /// Which of the rows each of its files has.
    files: Vec<Arranged>,
    batches: usize,
}

impl Part {
    /// Rows of a table; `batches` says how many of them are in its tail.
    pub(crate) fn of(
        lake: &Inner,
        table: Arc<Table>,
        schema: TableSchema,
        rows: Vec<RecordBatch>,
        batches: usize,
    ) -> Result<Self> {
        let base = table.base();
        let names = Names::after(table.name(), &base.location);
        let iceberg = base.schema_for(&schema)?;
        let layout = layout_for(lake, table.name(), &base, &iceberg);
        let (current, files) = (table.state().delivered.clone(), Vec::new());
        Ok(Self { table, schema, iceberg, layout, base, current, names, rows, files, batches })
    }

    fn arrange(&mut self) -> Result<()> {
        let schema = self.schema.arrow();
        self.rows = self.rows.iter().map(|rows| conform(rows, &schema)).collect::<Result<_>>()?;
        self.files = arrange(&self.rows, &self.layout, &self.iceberg)
            .context(format_args!("arrange rows of table \"{}\"", self.table.name()))?;
        Ok(())
    }

    /// Every file it may write.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = self.names.all_metadata(&self.base);
        paths.extend((0..self.files.len()).map(|file| self.names.data(file)));
        paths
    }
}

/// A commit of which the catalog could not say whether it happened.
pub(crate) struct Undecided {
    moves: Vec<PointerMove>,
    paths: Vec<String>,
    effect: Effect,
}

/// What queries and counters see when a commit has happened.
pub(crate) struct Effect {
    pub(crate) tables: Vec<(Arc<Table>, Committed)>,
    /// Those of them that are new.
    pub(crate) made: Vec<Arc<Table>>,
    /// What was delivered, if that was its purpose.
    pub(crate) delivery: Option<Delivered>,
    /// What came to the raw zone.
    raw: RawTotals,
}

/// A stream's rows in the lake.
pub(crate) struct Delivered {
    stream: StreamName,
    offsets: Offsets,
    report: CommitReport,
}

/// A commit that failed, and whether its files may still be needed.
pub(crate) struct Failed {
    pub(crate) error: Error,
    pub(crate) may_have_happened: bool,
}

impl Failed {
    /// The error to report; it says so if the commit may have happened all the same.
    pub(crate) fn told(self) -> Error {
        if self.may_have_happened {
            return Error::internal("nobody knows whether the commit happened")
                .with_hint("look at the rows; lacus finds out before the next commit")
                .with_source(self.error);
        }
        self.error
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, may_have_happened: false }
    }
}

impl Lake {
    /// Whether rows can't be committed any more as they are: since they were decoded, somebody else dropped or renamed their
    /// table, or gave it other columns.
    #[must_use]
    pub fn is_outdated(&self, rows: &TableAppend) -> bool {
        let is_there = self.table(rows.table.name()).is_some_and(|table| Arc::ptr_eq(&table, &rows.table));
        !is_there || rows.table.base().schema_for(&rows.schema).is_err()
    }
}

/// Runs a commit to its end.
pub(crate) async fn commit(lake: Arc<Inner>, commit: Commit) -> Result<CommitReport> {
    let doing = format!("commit stream \"{}\"", commit.stream);
    commit_once(&lake, commit).await.context(doing)
}

async fn commit_once(lake: &Inner, commit: Commit) -> Result<CommitReport> {
    let Commit { stream, delivered, tables, raw } = commit;
    let _locks = lock(&stream, &tables).await?;
    drop(begin_publishing(lake).await?);
    if let Some(report) = lake.settled_late(&stream, &delivered) {
        return Ok(report);
    }
    let parts = parts(lake, tables, &delivered)?;
    if parts.is_empty() && raw.is_empty() {
        return Ok(CommitReport::default());
    }
    if parts.is_empty() {
        return Err(Error::internal("raw events come without a table that moves"));
    }
    let parts = arrange_rows(parts, &delivered).await?;
    let raw: Vec<_> = raw.into_iter().map(|file| (raw_path(&stream, &file), file)).collect();
    let paths = parts.iter().flat_map(Part::paths).chain(raw.iter().map(|(path, _)| path.clone()));
    let paths: Vec<String> = paths.collect();
    let totals = totals_of(&raw);
    let attempt = Attempt { stream, delivered, now: lake.clock.now(), paths: paths.clone(), raw: totals };
    match run(lake, attempt, parts, raw).await {
        Ok(report) => {
            sweep(lake, paths.len()).await;
            Ok(report)
        }
        Err(failed) => {
            if !failed.may_have_happened {
                discard(lake, paths).await;
            }
            Err(failed.error)
        }
    }
}

/// The right to move pointers: one commit at a time, and only once the outcome of the last move is known.
pub(crate) async fn begin_publishing(lake: &Inner) -> Result<MutexGuard<'_, Option<Undecided>>> {
    let mut undecided = lake.publishing.lock().await;
    let Some(earlier) = undecided.as_ref() else { return Ok(undecided) };
    let happened = lake.catalog.happened(earlier.moves.clone()).await.context("find out about an earlier commit")?;
    let Some(earlier) = undecided.take() else { return Ok(undecided) };
    if happened {
        if let Some(Delivered { stream, offsets, report, .. }) = &earlier.effect.delivery {
            lake.remember_settled(stream.clone(), offsets.clone(), report.clone());
        }
        show(lake, earlier.effect);
    } else {
        discard(lake, earlier.paths).await;
    }
    Ok(undecided)
}

/// Locks the tables, in order of their names so that two commits never wait for each other.
async fn lock(stream: &StreamName, tables: &[TableAppend]) -> Result<Vec<OwnedMutexGuard<()>>> {
    let mut tables: Vec<&Arc<Table>> = tables.iter().map(|append| &append.table).collect();
    tables.sort_by(|one, other| one.name().cmp(other.name()));
    if let Some(twice) = tables.windows(2).find(|pair| pair[0].name() == pair[1].name()) {
        return Err(Error::internal(format!("a commit has table \"{}\" twice", twice[0].name())));
    }
    if let Some(other) = tables.iter().find(|table| table.name().stream() != *stream) {
        return Err(Error::internal(format!("stream \"{stream}\" does not feed table \"{}\"", other.name())));
    }
    let mut locks = Vec::new();
    for table in tables {
        locks.push(Arc::clone(&table.committing).lock_owned().await);
    }
    Ok(locks)
}

/// The tables that change: those with rows, and the first one if progress moves.
fn parts(lake: &Inner, tables: Vec<TableAppend>, delivered: &Offsets) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for (index, TableAppend { table, schema, batches }) in tables.into_iter().enumerate() {
        let state = table.state();
        let tail = state.tail.get(..batches).ok_or_else(|| {
            Error::internal(format!("the tail of table \"{}\" has fewer than {batches} batches", table.name()))
        })?;
        let rows: Vec<_> = tail.iter().map(|batch| batch.rows.clone()).filter(|rows| rows.num_rows() > 0).collect();
        must_move_forward(table.name(), &state.delivered, delivered)?;
        let moves = index == 0 && state.delivered != *delivered;
        if moves || !rows.is_empty() {
            parts.push(Part::of(lake, table, schema, rows, batches)?);
        }
    }
    Ok(parts)
}

/// The layout of a commit. Rows are worth more than their layout: if it can't be had, they are written in the current one.
fn layout_for(lake: &Inner, name: &TableName, base: &Base, schema: &Schema) -> Layout {
    Layout::wanted(&base.metadata, schema, lake.layout_of(name).as_ref()).unwrap_or_else(|error| {
        tracing::warn!(table = %name, error = %error.chain(), "could not lay the table out as its settings say");
        Layout::current(&base.metadata)
    })
}

fn must_move_forward(table: &TableName, current: &Offsets, delivered: &Offsets) -> Result<()> {
    match current.iter().find(|(partition, offset)| delivered.next(*partition) < *offset) {
        None => Ok(()),
        Some((partition, offset)) => Err(Error::internal(format!(
            "table \"{table}\" includes partition {} up to {}, the commit would go back to {}",
            partition.0,
            offset.0,
            delivered.next(partition).0
        ))),
    }
}

/// Where a raw file goes.
pub(crate) fn raw_path(stream: &StreamName, file: &RawFile) -> String {
    format!("{}/{}.json.zst", raw::directory(stream, file.hour), Uuid::now_v7())
}

/// What raw files have together.
pub(crate) fn totals_of(raw: &[(String, RawFile)]) -> RawTotals {
    RawTotals {
        files: raw.len() as u64,
        bytes: raw.iter().map(|(_, file)| file.bytes.content_length() as u64).sum(),
        records: raw.iter().map(|(_, file)| file.records).sum(),
    }
}

async fn run(
    lake: &Inner,
    attempt: Attempt,
    parts: Vec<Part>,
    raw: Vec<(String, RawFile)>,
) -> Result<CommitReport, Failed> {
    let pointers = parts.iter().map(|part| (part.table.name().clone(), part.base.location.clone())).collect();
    lake.catalog.begin(pointers, attempt.paths.clone(), attempt.now).await?;
    // Every write is awaited even when another one failed: a file must not appear after its name was taken off record.
    let rows: Vec<_> = parts.iter().map(|part| write_rows(lake, part)).collect();
    let rows = stream::iter(rows).buffered(TABLES_AT_ONCE).collect::<Vec<_>>();
    let raw = stream::iter(raw.into_iter().map(|(path, file)| put(lake, path, file.bytes)));
    let (rows, raw) = futures::join!(rows, raw.buffer_unordered(RAW_FILES_AT_ONCE).collect::<Vec<_>>());
    let added = rows.into_iter().collect::<Result<Vec<_>>>()?;
    raw.into_iter().collect::<Result<Vec<()>>>()?;
    publish(lake, attempt, parts.into_iter().zip(added).collect()).await
}

/// Assigns the rows of each table to files, after checking that they belong to this commit.
async fn arrange_rows(mut parts: Vec<Part>, delivered: &Offsets) -> Result<Vec<Part>> {
    let delivered = delivered.clone();
    let work = move || {
        for part in parts.iter_mut().filter(|part| !part.rows.is_empty()) {
            part.rows.iter().try_for_each(|rows| check_positions(rows, &part.current, &delivered))?;
            part.arrange()?;
        }
        Ok(parts)
    };
    spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("arranging rows ended unexpectedly").with_source(error))?
}

/// The same for rows that were delivered before.
pub(crate) async fn arrange_part(mut part: Part) -> Result<Part> {
    let work = move || part.arrange().map(|()| part);
    spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("arranging rows ended unexpectedly").with_source(error))?
}

/// Encodes a part's rows and writes them, one file for each partition. After a failure no further file is begun.
pub(crate) async fn write_rows(lake: &Inner, part: &Part) -> Result<Vec<AddedFile>> {
    let mut added = Vec::with_capacity(part.files.len());
    let numbers: Vec<usize> = (0..part.files.len()).collect();
    for numbers in numbers.chunks(FILES_AT_ONCE) {
        let written = numbers.iter().map(|&number| write_file(lake, part, number));
        let written = futures::future::join_all(written).await;
        added.extend(written.into_iter().collect::<Result<Vec<_>>>()?);
    }
    Ok(added)
}

async fn write_file(lake: &Inner, part: &Part, number: usize) -> Result<AddedFile> {
    let shape = FileShape { schema: part.schema.arrow(), iceberg: &part.iceberg, layout: &part.layout };
    write_arranged(lake, &part.rows, &part.files[number], shape, part.names.data(number))
        .await
        .context(format_args!("write rows of table \"{}\"", part.table.name()))
}

/// What the files of a commit are like.
pub(crate) struct FileShape<'a> {
    pub(crate) schema: SchemaRef,
    /// The same for Iceberg.
    pub(crate) iceberg: &'a Schema,
    pub(crate) layout: &'a Layout,
}

/// Encodes the rows of one file and writes it, durably.
pub(crate) async fn write_arranged(
    lake: &Inner,
    rows: &[RecordBatch],
    arranged: &Arranged,
    shape: FileShape<'_>,
    path: String,
) -> Result<AddedFile> {
    let FileShape { schema, iceberg, layout } = shape;
    let Arranged { values, rows: places } = arranged;
    let (rows, places) = (rows.to_vec(), places.clone());
    let form = FileForm { schema, filters: layout.filters.clone() };
    let encoded = spawn_blocking(move || encode(&rows, places.as_deref().map(Vec::as_slice), &form))
        .await
        .map_err(|error| Error::internal("encoding ended unexpectedly").with_source(error))??;
    let sort_order = i32::try_from(layout.order.order_id).unwrap_or(0);
    let placement = Placement { spec_id: layout.spec.spec_id(), values: values.clone(), sort_order };
    let added = encoded.describe(lake.files.warehouse.url(&path), iceberg, placement)?;
    put(lake, path, encoded.bytes).await?;
    Ok(added)
}

/// Added files as queries see them.
pub(crate) fn live_files(lake: &Inner, added: &[AddedFile], metadata: &TableMetadata) -> Result<Vec<LiveFile>> {
    added.iter().map(|added| lake.files.live_file(&added.file, added.spec_id, metadata)).collect()
}

/// Writes a file durably.
pub(crate) async fn put(lake: &Inner, path: String, bytes: impl Into<PutPayload>) -> Result<()> {
    let location = Path::from(path.as_str());
    lake.files.store.put(&location, bytes.into()).await.map_err(|error| store_error(error, format!("write {path}")))?;
    Ok(())
}

/// Plans and writes the metadata, and moves the pointers. One commit of the lake at a time.
async fn publish(lake: &Inner, attempt: Attempt, parts: Vec<(Part, Vec<AddedFile>)>) -> Result<CommitReport, Failed> {
    let mut publishing = begin_publishing(lake).await?;
    let Attempt { stream, delivered, now, paths, raw } = attempt;
    let files = parts.iter().flat_map(|(_, added)| added).map(|added| &added.file);
    let report = CommitReport {
        rows: files.clone().map(DataFile::record_count).sum(),
        parquet_bytes: files.map(DataFile::file_size_in_bytes).sum(),
        raw_bytes: raw.bytes,
    };
    // At the same time: finding what expires takes reads, which are slow in a bucket.
    let planning = |(part, added): (Part, Vec<AddedFile>)| {
        let doing = format!("plan a commit of table \"{}\"", part.table.name());
        let planned = plan_part(lake, part, added, &stream, &delivered, now);
        async move {
            let mut planned = planned.await.context(doing)?;
            // Not of all tables at the end: there may be hundreds, with some 100 kB each.
            write_metadata(lake, std::mem::take(&mut planned.writes)).await?;
            Ok::<_, Error>(planned)
        }
    };
    let plans: Vec<_> = parts.into_iter().map(planning).collect();
    let planned = stream::iter(plans).buffered(TABLES_AT_ONCE).collect::<Vec<_>>().await;
    let planned = planned.into_iter().collect::<Result<Vec<_>>>()?;
    let delivery = Delivered { stream, offsets: delivered, report: report.clone() };
    conclude(lake, &mut publishing, planned, Some(delivery), raw, paths, now).await?;
    Ok(report)
}

/// Writes planned metadata that is not written yet, moves the pointers, and shows the result. `paths` are all files on record.
pub(crate) async fn conclude(
    lake: &Inner,
    publishing: &mut Option<Undecided>,
    planned: Vec<PlannedPart>,
    delivery: Option<Delivered>,
    raw: RawTotals,
    paths: Vec<String>,
    now: Timestamp,
) -> Result<(), Failed> {
    let delete_after = now.plus_ms(RETIRED_GRACE_MS);
    let mut publication = Publication { written: paths.clone(), raw, delete_after, ..Publication::default() };
    let mut effect = Effect { tables: Vec::new(), made: Vec::new(), delivery, raw };
    let mut writes = Vec::new();
    for part in planned {
        writes.extend(part.writes);
        publication.retired.extend(part.retired);
        if part.pointer.from.is_none() {
            effect.made.push(Arc::clone(&part.table));
        }
        publication.moves.push(part.pointer);
        effect.tables.push((part.table, part.committed));
    }
    write_metadata(lake, writes).await?;

    let moves = publication.moves.clone();
    let moved = move_pointers(lake, publication, now).await;
    match &moved {
        Ok(()) => show(lake, effect),
        Err(failed) if failed.may_have_happened => *publishing = Some(Undecided { moves, paths, effect }),
        Err(_) => {}
    }
    moved
}

/// Writes metadata files. Each write is awaited even when another one failed: a file must not appear after its name was taken off
/// record.
async fn write_metadata(lake: &Inner, writes: Vec<(String, Bytes)>) -> Result<()> {
    let writes = stream::iter(writes.into_iter().map(|(path, bytes)| put(lake, path, bytes)));
    writes.buffer_unordered(METADATA_FILES_AT_ONCE).collect::<Vec<_>>().await.into_iter().collect()
}

/// One table's part, ready to be written.
pub(crate) struct PlannedPart {
    pub(crate) table: Arc<Table>,
    pub(crate) writes: Vec<(String, Bytes)>,
    pub(crate) retired: Vec<String>,
    pub(crate) pointer: PointerMove,
    pub(crate) committed: Committed,
}

async fn plan_part(
    lake: &Inner,
    part: Part,
    added: Vec<AddedFile>,
    stream: &StreamName,
    delivered: &Offsets,
    now: Timestamp,
) -> Result<PlannedPart> {
    let change = Change {
        names: part.names,
        schema: part.iceberg,
        layout: part.layout,
        operation: Operation::Append,
        removed: HashSet::new(),
        added: added.clone(),
        delivered: Some((stream.clone(), delivered.clone())),
        now,
    };
    let planned = plan(&lake.files, &part.base, change).await?;
    let files = live_files(lake, &added, &planned.base.metadata)?;
    let pointer = PointerMove {
        table: part.table.name().clone(),
        from: Some(part.base.location.clone()),
        to: planned.base.location.clone(),
    };
    let committed = Committed {
        base: Arc::new(planned.base),
        removed: Vec::new(),
        added: files,
        tail: Some(CommittedTail { schema: part.schema, delivered: delivered.clone(), batches: part.batches }),
        delete_files: None,
    };
    Ok(PlannedPart { table: part.table, writes: planned.files, retired: planned.retired, pointer, committed })
}

/// Moves the pointers in the catalog; if the answer is lost, finds out what it was.
pub(crate) async fn move_pointers(lake: &Inner, publication: Publication, now: Timestamp) -> Result<(), Failed> {
    let moves = publication.moves.clone();
    let Err(error) = lake.catalog.publish(publication, now).await else { return Ok(()) };
    if error.kind() == Kind::Conflict {
        return Err(error.into());
    }
    let mut wait = QUESTION_WAIT;
    for _ in 0..QUESTIONS_MAX {
        match lake.catalog.happened(moves.clone()).await {
            Ok(true) => return Ok(()),
            Ok(false) => return Err(error.into()),
            Err(_) => tokio::time::sleep(wait).await,
        }
        wait *= 2;
    }
    let error = error.with_hint("lacus asks the catalog again before the next commit whether this one happened");
    Err(Failed { error, may_have_happened: true })
}

fn show(lake: &Inner, effect: Effect) {
    effect.made.iter().for_each(|table| lake.adopt(table));
    for (table, committed) in effect.tables {
        table.show(committed);
    }
    lake.add_raw(effect.raw);
}
