//! An append that was built before lacus committed: its files are put on top of what is there now.
//!
//! Appends commute with deliveries and with merges of files, so there is no reason to have the engine try again: on a
//! table that lacus commits to every few seconds it might never win. Only what lacus itself committed meanwhile is passed over.

use bytes::Bytes;
use iceberg::spec::{MAIN_BRANCH, ManifestContentType, ManifestFile, Operation, Snapshot, Summary, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};
use lacus_core::{Result, Timestamp};

use crate::kernel::summary::total_before;
use crate::kernel::{Base, Names, is_ours};
use crate::manifests::{MetadataFiles, write_manifest_list};

/// Iceberg's sequence number for a manifest that gets one at commit.
const UNASSIGNED: i64 = -1;

/// An append, rebased on the current snapshot.
pub(super) struct Rebased {
    pub(super) snapshot: Snapshot,
    /// Path and bytes of its manifest list.
    pub(super) list: (String, Bytes),
    /// The manifests in that list.
    pub(super) manifests: Vec<ManifestFile>,
}

/// The snapshot that an engine wants to be main, and the one it saw there.
fn wanted<'a>(requirements: &[TableRequirement], updates: &'a [TableUpdate]) -> Option<(&'a Snapshot, Option<i64>)> {
    let seen = requirements.iter().find_map(|requirement| match requirement {
        TableRequirement::RefSnapshotIdMatch { r#ref, snapshot_id } if r#ref == MAIN_BRANCH => Some(*snapshot_id),
        _ => None,
    })?;
    let mut snapshots = updates.iter().filter_map(|update| match update {
        TableUpdate::AddSnapshot { snapshot } => Some(snapshot),
        _ => None,
    });
    let snapshot = snapshots.next()?;
    let is_append = snapshot.summary().operation == Operation::Append && snapshot.parent_snapshot_id() == seen;
    (is_append && snapshots.next().is_none()).then_some((snapshot, seen))
}

/// Whether all commits since `seen` are lacus' own.
fn only_ours_since(metadata: &TableMetadata, seen: Option<i64>) -> bool {
    let mut current = metadata.current_snapshot();
    while let Some(snapshot) = current {
        if Some(snapshot.snapshot_id()) == seen {
            return true;
        }
        if !is_ours(snapshot) {
            return false;
        }
        current = snapshot.parent_snapshot_id().and_then(|parent| metadata.snapshot_by_id(parent));
    }
    // The oldest snapshot may have a parent that expired.
    seen.is_none()
}

/// Whether files of this schema are read correctly now: each of its columns exists with its type, or is dropped.
fn has_its_columns(metadata: &TableMetadata, schema_id: Option<i32>) -> bool {
    let Some(seen) = schema_id.and_then(|id| metadata.schema_by_id(id)) else { return false };
    let now = metadata.current_schema();
    seen.field_id_to_name_map().keys().all(|&id| match (seen.field_by_id(id), now.field_by_id(id)) {
        (Some(seen), Some(now)) if seen.field_type.is_primitive() => seen.field_type == now.field_type,
        (Some(seen), Some(now)) => {
            !now.field_type.is_primitive() && seen.field_type.is_struct() == now.field_type.is_struct()
        }
        _ => true,
    })
}

/// Rebases an append on `base`, if only commits of lacus overtook it.
///
/// # Errors
/// If its manifests can't be read.
pub(super) async fn rebase(
    files: &MetadataFiles,
    base: &Base,
    (requirements, updates): (&[TableRequirement], &[TableUpdate]),
    names: &Names,
    now: Timestamp,
) -> Result<Option<Rebased>> {
    let metadata = &base.metadata;
    let Some((snapshot, seen)) = wanted(requirements, updates) else { return Ok(None) };
    if metadata.current_snapshot_id() == seen
        || !only_ours_since(metadata, seen)
        || !has_its_columns(metadata, snapshot.schema_id())
    {
        return Ok(None);
    }
    let id = snapshot.snapshot_id();
    let all = files.manifests(snapshot).await?;
    let mut new: Vec<ManifestFile> = all.into_iter().filter(|manifest| manifest.added_snapshot_id == id).collect();
    for manifest in &mut new {
        let entries = files.entries(manifest).await?;
        let is_new = entries.iter().all(|entry| entry.snapshot_id() == Some(id));
        if manifest.content != ManifestContentType::Data || !is_new || manifest.deleted_files_count != Some(0) {
            return Ok(None);
        }
        manifest.sequence_number = UNASSIGNED;
        manifest.min_sequence_number = UNASSIGNED;
    }
    let (path, parent) = (names.list(), metadata.current_snapshot_id());
    let (url, sequence) = (files.warehouse.url(&path), metadata.next_sequence_number());
    let manifests = base.manifests.iter().cloned().chain(new).collect();
    let (bytes, manifests) = write_manifest_list(&url, id, parent, sequence, manifests).await?;
    let moved = Snapshot::builder()
        .with_snapshot_id(id)
        .with_parent_snapshot_id(parent)
        .with_sequence_number(sequence)
        .with_timestamp_ms(now.as_millis().max(metadata.last_updated_ms()))
        .with_manifest_list(url)
        .with_summary(summary(metadata, snapshot.summary()));
    let moved = match snapshot.schema_id() {
        Some(schema_id) => moved.with_schema_id(schema_id).build(),
        None => moved.build(),
    };
    Ok(Some(Rebased { snapshot: moved, list: (path, bytes), manifests }))
}

/// The engine's summary, with totals that include what was committed meanwhile.
fn summary(metadata: &TableMetadata, theirs: &Summary) -> Summary {
    let number = |text: Option<&String>| text.and_then(|text| text.parse::<u64>().ok());
    let mut properties = theirs.additional_properties.clone();
    let totals = [
        ("total-data-files", Some("added-data-files")),
        ("total-records", Some("added-records")),
        ("total-files-size", Some("added-files-size")),
        ("total-delete-files", None),
        ("total-position-deletes", None),
        ("total-equality-deletes", None),
    ];
    for (total, added) in totals {
        let more = added.map_or(Some(0), |added| number(properties.get(added)));
        match total_before(metadata, total).zip(more) {
            Some((before, more)) => drop(properties.insert(total.to_owned(), (before + more).to_string())),
            None => drop(properties.remove(total)),
        }
    }
    Summary { operation: Operation::Append, additional_properties: properties }
}
