//! Erasing: events leave the raw zone, the tables of their stream, and all older snapshots of these tables.
//!
//! The caller says which events, by their places in the log. The order of steps is such that stopping anywhere and beginning
//! again ends the same: first raw files, then the current files of the tables; when no table has the events any more, the
//! older snapshots of all these tables expire in one commit. Until then these still tell what is to be erased. Files that have
//! none of the events are not touched; the others are rewritten without them, and stay until the new ones have replaced them.

mod places;
mod raw;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use iceberg::spec::Operation;
use lacus_core::{Context, Error, Kind, Offsets, Result, StreamName, TableName, Timestamp};

pub use self::places::Places;
pub use self::raw::ErasedRaw;
use self::raw::erase_raw;
use crate::change::{FileChange, change_files};
use crate::compact::rewrite::{has_other_than, rewrite_some};
use crate::compact::{UNSORTED, order_of};
use crate::data_file::FileForm;
use crate::deletes::DeletedRows;
use crate::kernel::{AddedFile, Names};
use crate::lake::{Inner, Lake, detached};
use crate::leftovers::{RETIRED_GRACE_MS, discard, sweep};
use crate::rollback::expire_all;
use crate::schema::TableSchema;
use crate::table::{LiveFile, Table, TableState};

/// Files that one commit replaces.
const FILES_MAX: usize = 64;
/// How often a commit is tried again after another engine's commit came first.
const TRIES_MAX: usize = 10;

/// What became of the events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Erased {
    /// Of the raw zone.
    pub raw: ErasedRaw,
    /// Of each table that had some, in its files or in older snapshots.
    pub tables: BTreeMap<TableName, ErasedRows>,
}

/// What became of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ErasedRows {
    /// Rows that were in the table.
    pub rows: u64,
    /// Files that had them.
    pub files: u64,
    /// Their bytes.
    pub bytes_before: u64,
    /// Bytes of the files in their place.
    pub bytes_after: u64,
    /// Older snapshots that are gone, with their tags.
    pub snapshots: u64,
}

impl Lake {
    /// All rows that any snapshot of a table has, deleted ones too, with the current columns. Without the tail.
    ///
    /// # Errors
    /// If the metadata of a snapshot can't be read.
    pub async fn every_row(&self, table: &Table) -> Result<TableState> {
        let state = table.state();
        let files = every_file(self.shared_inner(), table).await;
        let files = files.context(format_args!("read the snapshots of table \"{}\"", table.name()))?;
        let tail = Vec::new();
        let delete_files = Arc::default();
        Ok(TableState {
            files: files.into(),
            delete_files,
            tail,
            delivered: Offsets::default(),
            ..state.as_ref().clone()
        })
    }

    /// Erases events of a stream from the raw zone, from all its tables and their older snapshots. What is still in the tail
    /// or in the log stays there. If it fails, or the process ends meanwhile, call it again.
    ///
    /// # Errors
    /// `Unavailable` when the store or the catalog refuses, `Corrupt` for what can't be read.
    pub async fn erase(&self, stream: &StreamName, places: Places) -> Result<Erased> {
        let (lake, stream, places) = (Arc::clone(self.shared_inner()), stream.clone(), Arc::new(places));
        let doing = format!("erase events of stream \"{stream}\"");
        detached(async move { erase(&lake, &stream, &places).await.context(doing) }).await
    }

    /// When files that nothing references from now on are deleted.
    #[must_use]
    pub fn deleted_at(&self) -> Timestamp {
        self.shared_inner().clock.now().plus_ms(RETIRED_GRACE_MS)
    }
}

async fn erase(lake: &Arc<Inner>, stream: &StreamName, places: &Arc<Places>) -> Result<Erased> {
    // Rows that came back to a table meanwhile would stay in it.
    let _alone = lake.erasing.write().await;
    let mut erased = Erased { raw: erase_raw(lake, stream, places).await?, tables: BTreeMap::new() };
    let mut concerned = Vec::new();
    for table in lake.tables().into_iter().filter(|table| table.name().stream() == *stream) {
        let doing = format!("erase rows of table \"{}\"", table.name());
        let rows = erase_rows(lake, &table, places).await.context(&doing)?;
        if rows.files > 0 || is_in_history(lake, &table, places).await.context(doing)? {
            erased.tables.insert(table.name().clone(), rows);
            concerned.push(table);
        }
    }
    for (name, snapshots) in expire_all(lake, &concerned).await? {
        erased.tables.entry(name).or_default().snapshots = snapshots as u64;
    }
    sweep(lake, 0).await;
    Ok(erased)
}

/// The data files of all snapshots, each once, with all their rows.
async fn every_file(lake: &Inner, table: &Table) -> Result<Vec<LiveFile>> {
    let base = table.base();
    let (mut manifests, mut files) = (BTreeMap::new(), BTreeMap::new());
    for snapshot in base.metadata.snapshots() {
        for manifest in lake.files.manifests(snapshot).await? {
            manifests.insert(manifest.manifest_path.clone(), manifest);
        }
    }
    for manifest in manifests.into_values() {
        for file in lake.files.files_of_manifest(&manifest, &base.metadata).await? {
            files.insert(file.path.clone(), file);
        }
    }
    Ok(files.into_values().collect())
}

async fn is_in_history(lake: &Arc<Inner>, table: &Table, places: &Arc<Places>) -> Result<bool> {
    let live = table.state();
    let live: HashSet<&str> = live.files.iter().map(|file| file.path.as_str()).collect();
    for file in every_file(lake, table).await? {
        if !live.contains(file.path.as_str()) && has_any(lake, table, &file, places).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn has_any(lake: &Arc<Inner>, table: &Table, file: &LiveFile, places: &Arc<Places>) -> Result<bool> {
    if !places.may_be_in(file, &table.state().schema) {
        return Ok(false);
    }
    let places = Arc::clone(places);
    // Rows that an engine deleted are still in the file.
    let whole = LiveFile { deleted: DeletedRows::default(), ..file.clone() };
    has_other_than(lake, whole, move |batch| places.staying(batch)).await
}

/// Erases rows from the current files of a table.
async fn erase_rows(lake: &Arc<Inner>, table: &Arc<Table>, places: &Arc<Places>) -> Result<ErasedRows> {
    let mut erased = ErasedRows::default();
    // Nobody merges these files meanwhile.
    let _compacting = table.compacting.lock().await;
    for _ in 1..TRIES_MAX {
        match erase_rows_once(lake, table, places, &mut erased).await {
            // An engine deleted rows of one of the files, or the file itself: look at the current files again.
            Err(error) if error.kind() == Kind::Conflict => {}
            done => return done.map(|()| erased),
        }
    }
    erase_rows_once(lake, table, places, &mut erased).await.map(|()| erased)
}

async fn erase_rows_once(
    lake: &Arc<Inner>,
    table: &Arc<Table>,
    places: &Arc<Places>,
    erased: &mut ErasedRows,
) -> Result<()> {
    let mut concerned = Vec::new();
    for file in table.state().files.iter() {
        if has_any(lake, table, file, places).await? {
            concerned.push(file.clone());
        }
    }
    for files in concerned.chunks(FILES_MAX) {
        replace(lake, table, files, places, erased).await?;
    }
    Ok(())
}

/// Rewrites files without the rows, and replaces them by what is left.
async fn replace(
    lake: &Arc<Inner>,
    table: &Arc<Table>,
    files: &[LiveFile],
    places: &Arc<Places>,
    erased: &mut ErasedRows,
) -> Result<()> {
    let names = Names::after(table.name(), &table.base().location);
    let paths: Vec<String> = (0..files.len()).map(|number| names.data(number)).collect();
    lake.catalog.begin(Vec::new(), paths.clone(), lake.clock.now()).await?;
    let (added, unused, more) = match rewritten(lake, table, files, &paths, places).await {
        Ok(rewritten) => rewritten,
        Err(error) => {
            discard(lake, paths).await;
            return Err(error);
        }
    };
    discard(lake, unused).await;
    let operation = if added.is_empty() { Operation::Delete } else { Operation::Overwrite };
    let written = added.iter().map(|added| lake.files.warehouse.path(added.file.file_path()));
    let written: Vec<String> = written.map(|path| path.map(|path| path.to_string())).collect::<Result<_>>()?;
    if let Err(failed) = change_files(lake, table, FileChange { operation, removed: files.to_vec(), added }).await {
        if !failed.may_have_happened {
            discard(lake, written).await;
        }
        return Err(failed.error);
    }
    erased.rows += more.rows;
    erased.files += more.files;
    erased.bytes_before += more.bytes_before;
    erased.bytes_after += more.bytes_after;
    Ok(())
}

/// What is left of files: those to add, paths without contents, and what this changes.
async fn rewritten(
    lake: &Arc<Inner>,
    table: &Table,
    files: &[LiveFile],
    paths: &[String],
    places: &Arc<Places>,
) -> Result<(Vec<AddedFile>, Vec<String>, ErasedRows)> {
    let base = table.base();
    let schema = TableSchema::from_iceberg(base.metadata.current_schema(), base.metadata.last_column_id())?.arrow();
    let form = FileForm::of(&base.metadata, schema);
    let (mut added, mut unused, mut erased) = (Vec::new(), Vec::new(), ErasedRows::default());
    for (file, path) in files.iter().zip(paths) {
        let going = Arc::clone(places);
        let stays = move |batch: &_| going.staying(batch);
        let (footer, bytes) = rewrite_some(lake, file.clone(), form.clone(), path, stays).await?;
        let Some(gone) = file.live_rows().checked_sub(footer.rows()) else {
            return Err(Error::corrupt(format!("{} has more rows than the table knows", file.path)));
        };
        erased.rows += gone;
        erased.files += 1;
        erased.bytes_before += file.bytes;
        if footer.rows() == 0 {
            unused.push(path.clone());
            continue;
        }
        erased.bytes_after += bytes;
        let (url, mut placement) = (lake.files.warehouse.url(path), file.stats.placement.clone());
        // A column of the order may have been dropped.
        placement.sort_order = order_of(&base.metadata, &placement).map_or(UNSORTED, |_| placement.sort_order);
        added.push(footer.describe(bytes, url, base.metadata.current_schema(), placement)?);
    }
    Ok((added, unused, erased))
}

#[cfg(test)]
mod tests;
