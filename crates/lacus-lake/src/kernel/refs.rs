//! Commits that change which snapshots there are and what they are called: tags, rollback, expiry on demand.
//!
//! A rollback is a snapshot too: an empty one that builds on an old one, so that the offsets, which are properties of the table,
//! stay as they are. Tags and expiry change the metadata only, and make no snapshot.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::{
    ManifestFile, Operation, SnapshotRef, SnapshotReference, SnapshotRetention, Summary, TableMetadata,
    TableMetadataBuilder,
};
use lacus_core::{Error, Result, Timestamp};
use serde::Deserialize;

use super::{
    Base, ENGINE_NAME, Names, NewSnapshot, OFFSETS, OUR_ENGINE, Planned, finish, new_snapshot_id, offsets_property,
};
use crate::expiry::{by_age, retired};
use crate::layout::Layout;
use crate::manifests::{MetadataFiles, iceberg_error};

/// The summary property of a rollback's snapshot with the snapshot that it returned to.
pub(crate) const ROLLED_BACK_TO: &str = "lacus.rolled-back-to";

/// A change of snapshots that adds none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RefChange {
    /// A tag comes, or moves.
    Tag { name: String, snapshot: i64 },
    /// A tag goes.
    Untag { name: String },
    /// All snapshots but the current one expire, with their tags.
    ExpireAll,
}

/// The named snapshots of a table: `main`, other branches, tags.
pub(crate) fn refs_of(metadata: &TableMetadata) -> Result<BTreeMap<String, SnapshotReference>> {
    // The library finds a reference by name, but does not list the names.
    #[derive(Deserialize)]
    struct Refs {
        #[serde(default)]
        refs: BTreeMap<String, SnapshotReference>,
    }
    let failed = |error| Error::internal("read the references of a table").with_source(error);
    let json = serde_json::to_vec(metadata).map_err(failed)?;
    Ok(serde_json::from_slice::<Refs>(&json).map_err(failed)?.refs)
}

/// Plans a change of names, or an expiry: one metadata file.
pub(crate) async fn plan_refs(files: &MetadataFiles, base: &Base, names: &Names, change: RefChange) -> Result<Planned> {
    let mut expired = Vec::new();
    let builder = base.metadata.clone().into_builder(Some(base.location.clone()));
    let builder = match change {
        RefChange::Tag { name, snapshot } => {
            let retention = SnapshotRetention::Tag { max_ref_age_ms: None };
            builder.set_ref(&name, SnapshotReference::new(snapshot, retention))
        }
        RefChange::Untag { name } => Ok(builder.remove_ref(&name)),
        RefChange::ExpireAll => {
            expired = by_age(&base.metadata);
            expired.retain(|snapshot| Some(snapshot.snapshot_id()) != base.metadata.current_snapshot_id());
            let ids: Vec<i64> = expired.iter().map(|snapshot| snapshot.snapshot_id()).collect();
            Ok(builder.remove_snapshots(&ids))
        }
    };
    let built =
        builder.and_then(TableMetadataBuilder::build).map_err(|error| iceberg_error(error, "build table metadata"))?;
    let retired = retired(files, &base.metadata, &built, &expired).await?;
    let json = serde_json::to_vec(&built.metadata)
        .map_err(|error| Error::internal("write table metadata").with_source(error))?;
    let base = Base {
        location: files.warehouse.url(&names.metadata()),
        metadata: built.metadata,
        manifests: base.manifests.clone(),
    };
    Ok(Planned { base, files: vec![(names.metadata(), json.into())], retired })
}

/// Plans a commit that returns to the rows of `target`. Offsets and columns stay as they are.
pub(crate) async fn plan_rollback(
    files: &MetadataFiles,
    base: &Base,
    names: &Names,
    target: &SnapshotRef,
    manifests: Vec<ManifestFile>,
    now: Timestamp,
) -> Result<Planned> {
    let offsets = offsets_property(base, None)?;
    let snapshot = NewSnapshot {
        id: new_snapshot_id(&base.metadata),
        parent: Some(target.snapshot_id()),
        schema: base.metadata.current_schema().clone(),
        layout: Layout::current(&base.metadata),
        summary: summary(target),
        manifests,
        properties: HashMap::from([(OFFSETS.to_owned(), offsets)]),
        now,
    };
    finish(files, base, names, snapshot, Vec::new()).await
}

/// The totals of the target, to which nothing is added.
fn summary(target: &SnapshotRef) -> Summary {
    let totals = target.summary().additional_properties.iter().filter(|(key, _)| key.starts_with("total-"));
    let mut properties: HashMap<String, String> = totals.map(|(key, number)| (key.clone(), number.clone())).collect();
    for none in ["added-data-files", "added-records", "added-files-size", "changed-partition-count"] {
        properties.insert(none.to_owned(), "0".to_owned());
    }
    properties.insert(ROLLED_BACK_TO.to_owned(), target.snapshot_id().to_string());
    properties.insert(ENGINE_NAME.to_owned(), OUR_ENGINE.to_owned());
    Summary { operation: Operation::Append, additional_properties: properties }
}
