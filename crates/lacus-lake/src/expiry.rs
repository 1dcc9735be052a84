//! What a commit lets go: the oldest snapshots, and the files that only they reference.
//!
//! A snapshot that a tag or branch names stays, however old it is. The snapshots that stay need not be a chain: there are gaps
//! between tagged ones, and a rollback builds on an old one. So a file of an expired snapshot is deleted only if none of the
//! *roots* has it: each remaining snapshot that does not build on the remaining one before it, or that another engine
//! committed. What the others have is new, or their root's.

use std::collections::{BTreeMap, HashMap, HashSet};

use iceberg::spec::{ManifestFile, SnapshotRef, TableMetadata, TableMetadataBuildResult};
use lacus_core::{Kind, Result};

use crate::kernel::is_ours;
use crate::kernel::refs::refs_of;
use crate::manifests::MetadataFiles;

/// How many untagged snapshots a table keeps, for readers that hold an older one.
pub(crate) const SNAPSHOTS_MAX: usize = 100;

/// The oldest snapshots that nothing names, so that with the new one no more than [`SNAPSHOTS_MAX`] others stay. Oldest
/// first.
pub(crate) fn snapshots_to_expire(metadata: &TableMetadata) -> Result<Vec<SnapshotRef>> {
    let mut snapshots = by_age(metadata);
    let kept = SNAPSHOTS_MAX - 1;
    snapshots.truncate(snapshots.len().saturating_sub(kept));
    if !snapshots.is_empty() {
        let named: HashSet<i64> = refs_of(metadata)?.values().map(|reference| reference.snapshot_id).collect();
        snapshots.retain(|snapshot| !named.contains(&snapshot.snapshot_id()));
    }
    Ok(snapshots)
}

/// All snapshots, oldest first.
pub(crate) fn by_age(metadata: &TableMetadata) -> Vec<SnapshotRef> {
    let mut snapshots: Vec<_> = metadata.snapshots().cloned().collect();
    snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
    snapshots
}

/// Paths of files that only expired snapshots reference, and of metadata files that dropped out of the log. All that stays of
/// `before`, the metadata that the commit builds on, is on disk.
pub(crate) async fn retired(
    files: &MetadataFiles,
    before: &TableMetadata,
    built: &TableMetadataBuildResult,
    expired: &[SnapshotRef],
) -> Result<Vec<String>> {
    let mut urls: Vec<String> = built.expired_metadata_logs.iter().map(|log| log.metadata_file.clone()).collect();
    if !expired.is_empty() {
        urls.extend(expired.iter().map(|snapshot| snapshot.manifest_list().to_owned()));
        urls.extend(only_in_expired(files, before, expired).await?);
    }
    urls.iter().map(|url| Ok(files.warehouse.path(url)?.to_string())).collect()
}

/// The snapshots that stay and don't build on the one before them, or that another engine committed, which may have added a
/// file of an older one again. The oldest is the first.
fn roots(before: &TableMetadata, expired: &[SnapshotRef]) -> Vec<SnapshotRef> {
    let expired: HashSet<i64> = expired.iter().map(|snapshot| snapshot.snapshot_id()).collect();
    let mut kept = by_age(before);
    kept.retain(|snapshot| !expired.contains(&snapshot.snapshot_id()));
    let mut previous = None;
    kept.retain(|snapshot| {
        let builds_on_it = previous.is_some() && snapshot.parent_snapshot_id() == previous;
        previous = Some(snapshot.snapshot_id());
        !builds_on_it || !is_ours(snapshot)
    });
    kept
}

/// Manifests and data files that no remaining snapshot references.
async fn only_in_expired(
    files: &MetadataFiles,
    before: &TableMetadata,
    expired: &[SnapshotRef],
) -> Result<Vec<String>> {
    let mut theirs: BTreeMap<String, ManifestFile> = BTreeMap::new();
    for snapshot in expired {
        let manifests = readable(files, snapshot).await?.unwrap_or_default();
        theirs.extend(manifests.into_iter().map(|manifest| (manifest.manifest_path.clone(), manifest)));
    }
    let (mut gone, mut kept) = (theirs.clone(), HashMap::new());
    for root in roots(before, expired) {
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        // If it is not known what stays, nothing is deleted.
        let Some(manifests) = readable(files, &root).await? else { return Ok(Vec::new()) };
        for manifest in manifests {
            gone.remove(&manifest.manifest_path);
            // A manifest that both have names no file that only one has.
            if !theirs.contains_key(&manifest.manifest_path) {
                kept.insert(manifest.manifest_path.clone(), manifest);
            }
        }
    }
    let mut unused = HashSet::new();
    for manifest in gone.values() {
        unused.extend(live_files(files, manifest).await?.unwrap_or_default());
    }
    for manifest in kept.values() {
        if unused.is_empty() {
            break;
        }
        let Some(used) = live_files(files, manifest).await? else { return Ok(Vec::new()) };
        for url in used {
            unused.remove(&url);
        }
    }
    Ok(gone.into_keys().chain(unused).collect())
}

/// The manifests of a snapshot. None if its list is damaged, which must not stop commits: files that only it names stay on
/// disk, and `lacus doctor` finds them.
async fn readable(files: &MetadataFiles, snapshot: &SnapshotRef) -> Result<Option<Vec<ManifestFile>>> {
    match files.manifests(snapshot).await {
        Err(error) if error.kind() == Kind::Corrupt => {
            tracing::warn!(error = %error.chain(), "an old snapshot can't be read; what only it names stays");
            Ok(None)
        }
        manifests => manifests.map(Some),
    }
}

/// URLs of the files in a manifest. None if it is damaged.
async fn live_files(files: &MetadataFiles, manifest: &ManifestFile) -> Result<Option<Vec<String>>> {
    match files.entries(manifest).await {
        Err(error) if error.kind() == Kind::Corrupt => {
            tracing::warn!(error = %error.chain(), "an old manifest can't be read; what only it names stays");
            Ok(None)
        }
        entries => Ok(Some(entries?.iter().map(|entry| entry.file_path().to_owned()).collect())),
    }
}
