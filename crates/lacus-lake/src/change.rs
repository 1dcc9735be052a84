//! A commit of one table that changes its files and delivers nothing: merging, erasing, what other engines commit.
//!
//! It carries the offsets that are there, and waits only for its turn to move the pointer. It fails with `Conflict`, and
//! nothing changes, if a file that it removes is no longer live by then.

use std::sync::Arc;

use iceberg::spec::Operation;
use lacus_core::Result;

use crate::catalog::PointerMove;
use crate::commit::{Failed, PlannedPart, begin_publishing, conclude};
use crate::kernel::{AddedFile, Change, Names, plan};
use crate::lake::Inner;
use crate::leftovers::discard;
use crate::table::{Committed, Table};

/// Files of one table that change.
pub(crate) struct FileChange {
    /// What the change is to readers.
    pub(crate) operation: Operation,
    /// Paths of live files that go.
    pub(crate) removed: Vec<String>,
    /// Files that come, in the place of those that go, or last. They are written, and on record as leftovers.
    pub(crate) added: Vec<AddedFile>,
}

/// Publishes a change. If it fails and can't have happened, the added files are deleted.
///
/// # Errors
/// `Conflict` if a file to remove is no longer in the table; `Unavailable` when the store or the catalog refuses.
pub(crate) async fn change_files(lake: &Inner, table: &Arc<Table>, change: FileChange) -> Result<(), Failed> {
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
    let concluded = async {
        let files = change.added.iter().map(|added| lake.files.live_file(&added.file)).collect::<Result<Vec<_>>>()?;
        let planned = Change {
            names,
            schema: base.metadata.current_schema().as_ref().clone(),
            operation: change.operation,
            removed: change.removed.iter().map(|path| warehouse.url(path)).collect(),
            added: change.added,
            delivered: None,
            now,
        };
        let planned = plan(&lake.files, &base, planned).await?;
        let pointer = PointerMove {
            table: table.name().clone(),
            from: Some(base.location.clone()),
            to: planned.base.location.clone(),
        };
        let committed = Committed { base: Arc::new(planned.base), removed: change.removed, added: files, tail: None };
        let part = PlannedPart {
            table: Arc::clone(table),
            writes: planned.files,
            retired: planned.retired,
            pointer,
            committed,
        };
        conclude(lake, &mut publishing, vec![part], None, paths.clone(), now).await
    };
    let concluded = concluded.await;
    if concluded.as_ref().is_err_and(|failed| !failed.may_have_happened) {
        discard(lake, paths).await;
    }
    concluded
}

#[cfg(test)]
mod tests;
