//! The commit: rows, raw events and offsets become visible together, or not at all.
//!
//! In this order, each step durable before the next: the catalog checks the fence and records the names of all files
//! that will be written; data and raw files; manifests and metadata; one catalog transaction that moves the pointers
//! and takes the names off the record. A process that dies in between leaves recorded files, which the next opening
//! deletes. A step that fails deletes what was written and changes nothing. Only when the catalog can't say whether the
//! last step happened are the files kept, and the next commit begins by asking again.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::future::join_all;
use lacus_core::{Context, Error, Kind, Offsets, Result, StreamName, TableName, Timestamp};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::sync::OwnedMutexGuard;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::catalog::{PointerMove, Publication, RawTotals};
use crate::data_file::{Encoded, check_positions, encode};
use crate::kernel::{Base, Change, Names, plan};
use crate::lake::{Commit, CommitReport, Inner, TableAppend};
use crate::raw::{self, RawFile};
use crate::schema::TableSchema;
use crate::store::store_error;
use crate::table::{Committed, Table};

/// How often we ask the catalog whether a commit happened before we leave it to the next one.
const QUESTIONS_MAX: u32 = 5;
/// The wait before asking again; it doubles.
const QUESTION_WAIT: Duration = Duration::from_millis(50);
/// Files that no table references any more stay this long, for readers that hold older metadata.
pub(crate) const RETIRED_GRACE_MS: u64 = 60 * 60 * 1_000;
/// Files that one commit deletes because their time has come. A commit retires about three per table.
const SWEPT_FILES_MAX: u32 = 64;

/// One table's part of a commit.
struct Part {
    table: Arc<Table>,
    schema: TableSchema,
    base: Arc<Base>,
    names: Names,
    rows: Vec<RecordBatch>,
    batches: usize,
}

/// A commit of which the catalog could not say whether it happened.
pub(crate) struct Undecided {
    moves: Vec<PointerMove>,
    written: Vec<String>,
    shown: Vec<(Arc<Table>, Committed)>,
    raw: RawTotals,
    stream: StreamName,
    delivered: Offsets,
    report: CommitReport,
}

/// A commit that failed, and whether its files may be needed all the same.
pub(crate) struct Failed {
    pub(crate) error: Error,
    pub(crate) may_have_happened: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, may_have_happened: false }
    }
}

/// Runs a commit to its end.
pub(crate) async fn commit(lake: Arc<Inner>, commit: Commit) -> Result<CommitReport> {
    let Commit { stream, delivered, tables, raw } = commit;
    let _locks = lock(&stream, &tables).await?;
    settle(&lake).await?;
    if let Some(report) = lake.settled_late(&stream, &delivered) {
        return Ok(report);
    }
    let parts = parts(tables, &delivered)?;
    if parts.is_empty() && raw.is_empty() {
        return Ok(CommitReport::default());
    }
    if parts.is_empty() {
        return Err(Error::internal(format!("raw events of stream \"{stream}\" come without a table that moves")));
    }
    let raw: Vec<_> = raw.into_iter().map(|file| (raw_path(&stream, &file), file)).collect();
    let paths = parts.iter().flat_map(|part| part.names.all()).chain(raw.iter().map(|(path, _)| path.clone()));
    let paths: Vec<String> = paths.collect();
    match run(&lake, &stream, parts, delivered, raw, paths.clone()).await {
        Ok(report) => {
            sweep(&lake).await;
            Ok(report)
        }
        Err(failed) => {
            if !failed.may_have_happened {
                discard(&lake, paths).await;
            }
            Err(failed.error)
        }
    }
    .context(format_args!("commit stream \"{stream}\""))
}

/// Finds out what became of an earlier commit, if we still don't know.
pub(crate) async fn settle(lake: &Inner) -> Result<()> {
    let mut undecided = lake.publishing.lock().await;
    let Some(earlier) = undecided.as_ref() else { return Ok(()) };
    let happened = lake.catalog.happened(earlier.moves.clone()).await.context("find out about an earlier commit")?;
    let Some(earlier) = undecided.take() else { return Ok(()) };
    if happened {
        lake.remember_settled(earlier.stream.clone(), earlier.delivered.clone(), earlier.report.clone());
        show(lake, earlier.shown, earlier.raw);
    } else {
        discard(lake, earlier.written).await;
    }
    Ok(())
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

/// The tables that change. A quarantine without rows does not: progress lives in the stream's own table.
fn parts(tables: Vec<TableAppend>, delivered: &Offsets) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for TableAppend { table, schema, batches } in tables {
        let state = table.state();
        let tail = state.tail.get(..batches).ok_or_else(|| {
            Error::internal(format!("the tail of table \"{}\" has fewer than {batches} batches", table.name()))
        })?;
        let rows: Vec<_> = tail.iter().map(|batch| batch.rows.clone()).filter(|rows| rows.num_rows() > 0).collect();
        must_move_forward(table.name(), &state.delivered, delivered)?;
        let moves = state.delivered != *delivered && !table.name().is_quarantine();
        if !moves && rows.is_empty() {
            continue;
        }
        for rows in &rows {
            check_positions(rows, &state.delivered, delivered)
                .context(format_args!("commit rows to table \"{}\"", table.name()))?;
        }
        let base = table.base();
        let names = Names::after(table.name(), &base.location);
        parts.push(Part { table, schema, base, names, rows, batches });
    }
    Ok(parts)
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

fn raw_path(stream: &StreamName, file: &RawFile) -> String {
    format!("{}/{}.json.zst", raw::directory(stream, file.hour), Uuid::now_v7())
}

async fn run(
    lake: &Inner,
    stream: &StreamName,
    parts: Vec<Part>,
    delivered: Offsets,
    raw: Vec<(String, RawFile)>,
    paths: Vec<String>,
) -> Result<CommitReport, Failed> {
    let now = lake.clock.now();
    let pointers = parts.iter().map(|part| (part.table.name().clone(), part.base.location.clone())).collect();
    lake.catalog.begin(pointers, paths.clone(), now).await?;
    let raw_totals = RawTotals {
        files: raw.len() as u64,
        bytes: raw.iter().map(|(_, file)| file.bytes.len() as u64).sum(),
        records: raw.iter().map(|(_, file)| file.records).sum(),
    };
    // Every write is awaited even when another one failed: a file must not appear after its name was taken off record.
    let written = join_all(parts.iter().map(|part| write_rows(lake, part)));
    let raw_written = join_all(raw.into_iter().map(|(path, file)| put(lake, path, file.bytes)));
    let (written, raw_written) = futures::join!(written, raw_written);
    let encoded = written.into_iter().collect::<Result<Vec<_>>>()?;
    raw_written.into_iter().collect::<Result<Vec<()>>>()?;

    let report = CommitReport {
        rows: encoded.iter().flatten().map(Encoded::rows).sum(),
        parquet_bytes: encoded.iter().flatten().map(|file| file.bytes.len() as u64).sum(),
        raw_bytes: raw_totals.bytes,
    };
    publish(lake, stream, parts.into_iter().zip(encoded).collect(), delivered, raw_totals, report, paths, now).await
}

/// Encodes a part's rows and writes them, if it has any.
async fn write_rows(lake: &Inner, part: &Part) -> Result<Option<Encoded>> {
    if part.rows.is_empty() {
        return Ok(None);
    }
    let (rows, schema) = (part.rows.clone(), part.schema.arrow());
    let encoded = spawn_blocking(move || encode(&rows, &schema))
        .await
        .map_err(|error| Error::internal("encoding ended unexpectedly").with_source(error))?
        .context(format_args!("encode rows of table \"{}\"", part.table.name()))?;
    put(lake, part.names.data.clone(), encoded.bytes.clone()).await?;
    Ok(Some(encoded))
}

pub(crate) async fn put(lake: &Inner, path: String, bytes: bytes::Bytes) -> Result<()> {
    let location = Path::from(path.as_str());
    lake.files.store.put(&location, bytes.into()).await.map_err(|error| store_error(error, format!("write {path}")))?;
    Ok(())
}

/// Plans and writes the metadata, and moves the pointers. One commit of the lake at a time.
async fn publish(
    lake: &Inner,
    stream: &StreamName,
    parts: Vec<(Part, Option<Encoded>)>,
    delivered: Offsets,
    raw: RawTotals,
    report: CommitReport,
    written: Vec<String>,
    now: Timestamp,
) -> Result<CommitReport, Failed> {
    let mut publishing = lake.publishing.lock().await;
    let delete_after = now.plus_ms(RETIRED_GRACE_MS);
    let mut publication = Publication { written, delete_after, raw, ..Publication::default() };
    let mut shown = Vec::new();
    let mut writes = Vec::new();
    for (part, encoded) in parts {
        let schema = part.base.schema_for(&part.schema)?;
        let url = lake.files.warehouse.url(&part.names.data);
        let added = encoded.map(|encoded| encoded.describe(url, &schema)).transpose()?;
        let file = added.as_ref().map(|file| lake.files.live_file(file)).transpose()?;
        let change =
            Change { stream: stream.clone(), names: part.names, schema, added, offsets: delivered.clone(), now };
        let planned = plan(&lake.files, &part.base, change)
            .await
            .context(format_args!("plan a commit of table \"{}\"", part.table.name()))?;
        writes.extend(planned.files);
        publication.retired.extend(planned.retired);
        publication.moves.push(PointerMove {
            table: part.table.name().clone(),
            from: Some(part.base.location.clone()),
            to: planned.base.location.clone(),
        });
        let (base, schema, batches) = (Arc::new(planned.base), part.schema, part.batches);
        shown.push((part.table, Committed { base, schema, file, delivered: delivered.clone(), batches }));
    }
    let writes = join_all(writes.into_iter().map(|(path, bytes)| put(lake, path, bytes))).await;
    writes.into_iter().collect::<Result<Vec<()>>>()?;
    let undecided = Undecided {
        moves: publication.moves.clone(),
        written: publication.written.clone(),
        shown,
        raw,
        stream: stream.clone(),
        delivered,
        report: report.clone(),
    };
    match move_pointers(lake, publication, now).await {
        Ok(()) => {
            show(lake, undecided.shown, raw);
            Ok(report)
        }
        Err(failed) => {
            if failed.may_have_happened {
                *publishing = Some(undecided);
            }
            Err(failed)
        }
    }
}

/// The catalog transaction, and if its answer was lost, the answer.
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

fn show(lake: &Inner, shown: Vec<(Arc<Table>, Committed)>, raw: RawTotals) {
    for (table, committed) in shown {
        table.show(committed);
    }
    lake.add_raw(raw);
}

/// Deletes the files of a commit that did not happen. What can't be deleted now stays on record.
pub(crate) async fn discard(lake: &Inner, paths: Vec<String>) {
    if let Err(error) = delete(lake, &paths).await {
        tracing::warn!(error = %error.chain(), "files of a failed commit are left; they are deleted later");
        // Without this record they are deleted at the next opening.
        if let Err(error) = lake.catalog.abandon(paths, lake.clock.now()).await {
            tracing::debug!(error = %error.chain(), "could not record abandoned files");
        }
    }
}

/// Deletes files and then their records. A file that does not exist is deleted.
pub(crate) async fn delete(lake: &Inner, paths: &[String]) -> Result<()> {
    let deleted = join_all(paths.iter().map(|path| async move {
        match lake.files.store.delete(&Path::from(path.as_str())).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(store_error(error, format!("delete {path}"))),
        }
    }));
    deleted.await.into_iter().collect::<Result<Vec<()>>>()?;
    lake.catalog.forget(paths.to_vec()).await
}

/// Deletes some files that were retired long enough ago.
async fn sweep(lake: &Inner) {
    let swept = async {
        let due = lake.catalog.due(lake.clock.now(), SWEPT_FILES_MAX).await?;
        if due.is_empty() { Ok(()) } else { delete(lake, &due).await }
    };
    if let Err(error) = swept.await {
        tracing::warn!(error = %error.chain(), "old files could not be deleted; the next commit tries again");
    }
}
