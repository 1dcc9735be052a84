//! A commit of one table that changes its files and delivers nothing: merging, erasing, what other engines commit.
//!
//! It may change the columns in the same step. It carries the offsets that are there, and waits only for its turn to move
//! the pointer. It fails with `Conflict`, and nothing changes, if a file that it removes is no longer live by then.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use iceberg::spec::Operation;
use lacus_core::{Error, Kind, Result};

use crate::alter::schema_after;
use crate::bloom_filters::renamed;
use crate::catalog::{PointerMove, RawTotals};
use crate::commit::{Failed, PlannedPart, Undecided, begin_publishing, conclude, live_files};
use crate::deletes::{DeleteFile, needed};
use crate::kernel::{AddedFile, Base, Change, Names, Planned, plan_with, schema_properties};
use crate::lake::Inner;
use crate::layout::Layout;
use crate::leftovers::discard;
use crate::schema::SchemaChange;
use crate::table::{Committed, LiveFile, Table, TableState};

/// Files of one table that change.
pub(crate) struct FileChange {
    /// What the change is to readers.
    pub(crate) operation: Operation,
    /// Live files to remove, as they were when they were read: rows that another engine deletes meanwhile stay deleted.
    pub(crate) removed: Vec<LiveFile>,
    /// Files to add, in the place of those removed, or last. They are written, and on record as leftovers.
    pub(crate) added: Vec<AddedFile>,
}

/// What readers see of a change.
#[derive(Default)]
pub(crate) struct Shown {
    /// Paths of files that go.
    pub(crate) removed: Vec<String>,
    /// Files that come, in their place.
    pub(crate) added: Vec<LiveFile>,
    /// The new list of delete files; none if it does not change.
    pub(crate) delete_files: Option<Vec<DeleteFile>>,
}

/// Publishes a change. If it fails and certainly did not happen, the added files are deleted.
///
/// # Errors
/// `Conflict` if a file to remove is no longer in the table; `Unavailable` when the store or the catalog refuses.
pub(crate) async fn change_files(lake: &Inner, table: &Arc<Table>, change: FileChange) -> Result<(), Failed> {
    change_table(lake, table, change, &[]).await
}

/// The same, and changes the columns too. Added files have the new columns.
///
/// # Errors
/// As [`change_files`]; `Conflict` if columns change and the table has rows that are not committed.
pub(crate) async fn change_table(
    lake: &Inner,
    table: &Arc<Table>,
    change: FileChange,
    columns: &[SchemaChange],
) -> Result<(), Failed> {
    let _committing = table.committing.lock().await;
    let mut publishing = begin_publishing(lake).await?;
    let (base, now) = (table.base(), lake.clock.now());
    let warehouse = &lake.files.warehouse;
    let names = Names::after(table.name(), &base.location);
    let mut paths = names.all_metadata(&base);
    for added in &change.added {
        paths.push(warehouse.path(added.file.file_path())?.to_string());
    }
    lake.catalog.begin(vec![(table.name().clone(), base.location.clone())], paths.clone(), now).await?;
    let planned = async {
        let state = table.state();
        must_be_unchanged(&state.files, &change.removed)?;
        let removed: Vec<String> = change.removed.into_iter().map(|file| file.path).collect();
        let (delete_files, unneeded) = delete_files_after(lake, &state, &removed);
        let gone = removed.iter().chain(unneeded.iter().map(|delete| &delete.file.path));
        let schema = schema_after(table, &base, columns)?;
        let mut properties = if columns.is_empty() { HashMap::new() } else { schema_properties(&schema)? };
        properties.extend(renamed(base.metadata.properties(), columns));
        let files = live_files(lake, &change.added, &base.metadata)?;
        let planned = Change {
            names,
            schema: if columns.is_empty() {
                base.metadata.current_schema().as_ref().clone()
            } else {
                base.numbered(&schema)?
            },
            layout: Layout::current(&base.metadata),
            operation: change.operation,
            removed: gone.map(|path| warehouse.url(path)).collect(),
            added: change.added,
            delivered: None,
            now,
        };
        let planned = plan_with(&lake.files, &base, planned, properties).await?;
        let delete_files = (!unneeded.is_empty()).then_some(delete_files);
        Ok((planned, Shown { removed, added: files, delete_files }))
    };
    let planned = planned.await;
    conclude_planned(lake, &mut publishing, table, &base, planned, paths).await
}

/// Writes a planned commit of one table and moves its pointer. `paths` are the files on record, all of them new: if planning
/// failed, or the move certainly did not happen, they are deleted.
pub(crate) async fn conclude_planned(
    lake: &Inner,
    publishing: &mut Option<Undecided>,
    table: &Arc<Table>,
    base: &Base,
    planned: Result<(Planned, Shown)>,
    paths: Vec<String>,
) -> Result<(), Failed> {
    let concluded = async {
        let (planned, shown) = planned?;
        let part = part_of(table, base, planned, shown);
        conclude(lake, publishing, vec![part], None, RawTotals::default(), paths.clone(), lake.clock.now()).await
    };
    let concluded = concluded.await;
    if concluded.as_ref().is_err_and(|failed| !failed.may_have_happened) {
        discard(lake, paths).await;
    }
    concluded
}

/// One table's part of a commit that was planned on `base`.
pub(crate) fn part_of(table: &Arc<Table>, base: &Base, planned: Planned, shown: Shown) -> PlannedPart {
    let Shown { removed, added, delete_files } = shown;
    let (from, to) = (Some(base.location.clone()), planned.base.location.clone());
    let pointer = PointerMove { table: table.name().clone(), from, to };
    let committed = Committed { base: Arc::new(planned.base), removed, added, tail: None, delete_files };
    PlannedPart { table: Arc::clone(table), writes: planned.files, retired: planned.retired, pointer, committed }
}

/// Fails if one of these files is gone, or had rows deleted since it was read.
fn must_be_unchanged(live: &[LiveFile], removed: &[LiveFile]) -> Result<()> {
    let live: HashMap<&str, &LiveFile> = live.iter().map(|file| (file.path.as_str(), file)).collect();
    let is_changed = |file: &&LiveFile| live.get(file.path.as_str()).is_none_or(|live| live.deleted != file.deleted);
    match removed.iter().find(is_changed) {
        None => Ok(()),
        Some(file) => Err(Error::new(Kind::Conflict, format!("file {} was changed meanwhile", file.path))),
    }
}

/// The delete files that are still needed without these data files, and those that are not.
pub(crate) fn delete_files_after(
    lake: &Inner,
    state: &TableState,
    removed: &[String],
) -> (Vec<DeleteFile>, Vec<DeleteFile>) {
    if state.delete_files.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let removed: HashSet<&str> = removed.iter().map(String::as_str).collect();
    let live = state.files.iter().filter(|file| !removed.contains(file.path.as_str()));
    let live = live.map(|file| lake.files.warehouse.url(&file.path)).collect();
    needed(&state.delete_files, &live)
}

#[cfg(test)]
mod tests;
