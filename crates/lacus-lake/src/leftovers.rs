//! Files that no table references: recorded in the catalog, deleted, and then taken off the record.
//!
//! The rule: a path is on record if and only if no current table metadata names it (a file is recorded before it is
//! written). So whatever is on record may be deleted at any time; files that were in use until a moment ago wait for an
//! hour first, for readers that hold older metadata.

use futures::future::join_all;
use lacus_core::Result;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::lake::Inner;
use crate::store::store_error;

/// Files that no table references any more stay this long, for readers that hold older metadata.
pub(crate) const RETIRED_GRACE_MS: u64 = 60 * 60 * 1_000;
/// A store behind a network may still carry out a request this long after we gave up on it.
const LATE_WRITE_MS: u64 = 10 * 60 * 1_000;
/// Files that one commit deletes when their time has come: as many as it retires, and this many more, so that a backlog
/// shrinks.
const SWEPT_FILES_MORE: usize = 64;
/// Files that one sweep without a commit deletes: an idle lake sweeps once a minute.
const SWEPT_FILES_IDLE: usize = 1_000;
/// Files of one query for due leftovers.
const SWEPT_FILES_MAX: usize = 512;
/// Files that are deleted side by side.
const FILES_AT_ONCE: usize = 8;

/// Deletes the files of a commit that did not happen, or of an earlier process. Files that can't be deleted now stay on
/// record.
pub(crate) async fn discard(lake: &Inner, paths: Vec<String>) {
    let is_local = lake.files.warehouse.is_local();
    let deleted = if is_local { delete(lake, &paths).await } else { delete_now_and_again(lake, &paths).await };
    if let Err(error) = deleted {
        tracing::warn!(error = %error.chain(), "files of a failed commit are left; they are deleted later");
        // Without this record they are deleted at the next opening.
        let now = lake.clock.now();
        if let Err(error) = lake.catalog.abandon(paths, now, now).await {
            tracing::debug!(error = %error.chain(), "could not record abandoned files");
        }
    }
}

/// Deletes files, and leaves them on record to be deleted again: a store behind a network may still be writing them.
async fn delete_now_and_again(lake: &Inner, paths: &[String]) -> Result<()> {
    let now = lake.clock.now();
    lake.catalog.abandon(paths.to_vec(), now, now.plus_ms(LATE_WRITE_MS)).await?;
    delete_files(lake, paths).await.1
}

/// Deletes files whose grace period is over, after a commit: as many as it `retired`, and some more.
pub(crate) async fn sweep(lake: &Inner, retired: usize) {
    if let Err(error) = sweep_some(lake, retired + SWEPT_FILES_MORE).await {
        tracing::warn!(error = %error.chain(), "old files could not be deleted; the next commit tries again");
    }
}

/// The same without a commit. Returns how many are gone.
pub(crate) async fn sweep_idle(lake: &Inner) -> Result<usize> {
    sweep_some(lake, SWEPT_FILES_IDLE).await
}

async fn sweep_some(lake: &Inner, files_max: usize) -> Result<usize> {
    let mut swept = 0;
    while swept < files_max {
        let asked = (files_max - swept).min(SWEPT_FILES_MAX);
        let due = lake.catalog.due(lake.clock.now(), u32::try_from(asked).unwrap_or(u32::MAX)).await?;
        if due.is_empty() {
            break;
        }
        delete(lake, &due).await?;
        swept += due.len();
    }
    Ok(swept)
}

/// Deletes files and then their records.
async fn delete(lake: &Inner, paths: &[String]) -> Result<()> {
    let (gone, deleted) = delete_files(lake, paths).await;
    lake.catalog.forget(gone).await?;
    deleted
}

/// Deletes files and returns those that are gone. A missing file counts as deleted; one that can't be deleted does not stop
/// the others.
async fn delete_files(lake: &Inner, paths: &[String]) -> (Vec<String>, Result<()>) {
    let mut gone = Vec::with_capacity(paths.len());
    let mut failed = Ok(());
    for some in paths.chunks(FILES_AT_ONCE) {
        let deleted = join_all(some.iter().map(|path| delete_file(lake, path))).await;
        for (path, deleted) in some.iter().zip(deleted) {
            match deleted {
                Ok(()) => gone.push(path.clone()),
                Err(error) => failed = Err(error),
            }
        }
    }
    (gone, failed)
}

async fn delete_file(lake: &Inner, path: &str) -> Result<()> {
    match lake.files.store.delete(&Path::from(path)).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(store_error(error, format!("delete {path}"))),
    }
}
