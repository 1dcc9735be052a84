//! What a commit lets go: the oldest snapshots, and the files that only they name.

use std::collections::HashSet;

use iceberg::spec::{ManifestFile, SnapshotRef, TableMetadata, TableMetadataBuildResult};
use lacus_core::{Kind, Result};

use crate::manifests::MetadataFiles;

/// Snapshots that a table keeps, for readers that hold an older one.
pub(crate) const SNAPSHOTS_MAX: usize = 100;

/// The oldest snapshots, so that with the new one no more than [`SNAPSHOTS_MAX`] stay. Oldest first.
pub(crate) fn snapshots_to_expire(metadata: &TableMetadata) -> Vec<SnapshotRef> {
    let mut snapshots: Vec<_> = metadata.snapshots().cloned().collect();
    snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
    let kept = SNAPSHOTS_MAX - 1;
    snapshots.truncate(snapshots.len().saturating_sub(kept));
    snapshots
}

/// Paths of files that only expired snapshots reference, and of metadata files that fell off the log.
pub(crate) async fn retired(
    files: &MetadataFiles,
    built: &TableMetadataBuildResult,
    expired: &[SnapshotRef],
    new_manifests: &[ManifestFile],
) -> Result<Vec<String>> {
    let mut urls: Vec<String> = built.expired_metadata_logs.iter().map(|log| log.metadata_file.clone()).collect();
    if !expired.is_empty() {
        urls.extend(expired.iter().map(|snapshot| snapshot.manifest_list().to_owned()));
        urls.extend(only_in_expired(files, built, expired, new_manifests).await?);
    }
    urls.iter().map(|url| Ok(files.warehouse.path(url)?.to_string())).collect()
}

/// Manifests and data files that no snapshot names any more.
async fn only_in_expired(
    files: &MetadataFiles,
    built: &TableMetadataBuildResult,
    expired: &[SnapshotRef],
    new_manifests: &[ManifestFile],
) -> Result<Vec<String>> {
    // A manifest is in the snapshots from the one that wrote it to the one before the merge, without a gap: what
    // the oldest snapshot that stays does not have, no later one has.
    let oldest = built.metadata.snapshots().min_by_key(|snapshot| snapshot.sequence_number());
    let oldest = oldest.filter(|oldest| Some(oldest.snapshot_id()) != built.metadata.current_snapshot_id());
    let kept = match oldest {
        Some(oldest) => readable(files, oldest).await?,
        None => Some(new_manifests.to_vec()),
    };
    let Some(kept) = kept else { return Ok(Vec::new()) };
    let (mut urls, mut unused) = (Vec::new(), HashSet::new());
    for (index, snapshot) in expired.iter().enumerate() {
        let Some(manifests) = readable(files, snapshot).await? else { continue };
        // What the oldest of all had removed went when it became the oldest.
        if index > 0 {
            urls.extend(removed_in(files, snapshot, &manifests).await?);
        }
        unused.extend(manifests.into_iter().map(|manifest| manifest.manifest_path));
    }
    if let Some(oldest) = oldest {
        urls.extend(removed_in(files, oldest, &kept).await?);
    }
    let kept: HashSet<&str> = kept.iter().map(|manifest| manifest.manifest_path.as_str()).collect();
    urls.extend(unused.into_iter().filter(|url| !kept.contains(url.as_str())));
    Ok(urls)
}

/// The manifests of a snapshot. None if its list is damaged: that is no reason to commit no more. What only it names stays
/// on the disk, and `lacus doctor` finds it.
async fn readable(files: &MetadataFiles, snapshot: &SnapshotRef) -> Result<Option<Vec<ManifestFile>>> {
    match files.manifests(snapshot).await {
        Err(error) if error.kind() == Kind::Corrupt => {
            tracing::warn!(error = %error.chain(), "an old snapshot can't be read; what only it names stays");
            Ok(None)
        }
        manifests => manifests.map(Some),
    }
}

/// Data files that were live until this snapshot. Only those before it name them.
async fn removed_in(files: &MetadataFiles, snapshot: &SnapshotRef, manifests: &[ManifestFile]) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for manifest in manifests {
        if manifest.added_snapshot_id == snapshot.snapshot_id() && manifest.deleted_files_count != Some(0) {
            match files.removed_files(manifest).await {
                Err(error) if error.kind() == Kind::Corrupt => {
                    tracing::warn!(error = %error.chain(), "an old manifest can't be read; what it removed stays");
                }
                files => removed.extend(files?),
            }
        }
    }
    Ok(removed)
}
