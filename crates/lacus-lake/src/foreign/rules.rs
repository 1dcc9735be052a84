//! What other engines may not change.
//!
//! Of every table: the properties that lacus keeps in it, its location, its format version. Of tables that lacus delivers to also
//! whatever would make a delivery lose rows or offsets: their columns, their partitioning, and rolling back to an older snapshot.

use std::collections::HashSet;

use iceberg::TableUpdate;
use iceberg::spec::{FormatVersion, MAIN_BRANCH, TableMetadata, Transform};
use lacus_core::{Error, Kind, Result};

use crate::by_name::must_keep_names;

/// The prefix of lacus' own properties.
const OWN_PROPERTIES: &str = "lacus.";

/// Refuses updates that a table can't take.
///
/// # Errors
/// `Invalid`, with what to do instead.
pub(super) fn check(metadata: &TableMetadata, updates: &[TableUpdate], is_delivered: bool) -> Result<()> {
    let added: HashSet<i64> = updates.iter().filter_map(added_snapshot).collect();
    for update in updates {
        check_any(metadata, update)?;
        if is_delivered {
            check_delivered(update, &added)?;
        }
    }
    Ok(())
}

fn added_snapshot(update: &TableUpdate) -> Option<i64> {
    match update {
        TableUpdate::AddSnapshot { snapshot } => Some(snapshot.snapshot_id()),
        _ => None,
    }
}

fn check_any(metadata: &TableMetadata, update: &TableUpdate) -> Result<()> {
    match update {
        TableUpdate::UpgradeFormatVersion { format_version } if *format_version != FormatVersion::V2 => {
            Err(Error::invalid(format!("tables of the lake have format version 2, not {format_version}")))
        }
        TableUpdate::AssignUuid { uuid } if *uuid != metadata.uuid() => Err(Error::invalid("a table keeps its UUID")),
        TableUpdate::SetLocation { location } if location.trim_end_matches('/') != metadata.location() => {
            Err(Error::invalid(format!("the table stays at {}", metadata.location())))
        }
        TableUpdate::SetProperties { updates } => must_be_free(updates.keys()),
        TableUpdate::RemoveProperties { removals } => must_be_free(removals.iter()),
        TableUpdate::AddEncryptionKey { .. } | TableUpdate::RemoveEncryptionKey { .. } => {
            Err(Error::invalid("tables of the lake are not encrypted"))
        }
        _ => Ok(()),
    }
}

fn must_be_free<'a>(mut keys: impl Iterator<Item = &'a String>) -> Result<()> {
    match keys.find(|key| key.starts_with(OWN_PROPERTIES)) {
        None => Ok(()),
        Some(key) => {
            Err(denied(format!("property \"{key}\" is kept by lacus"), "leave properties lacus.* as they are"))
        }
    }
}

fn check_delivered(update: &TableUpdate, added: &HashSet<i64>) -> Result<()> {
    let fed = "lacus delivers events to this table";
    match update {
        TableUpdate::AddSchema { .. } | TableUpdate::SetCurrentSchema { .. } | TableUpdate::RemoveSchemas { .. } => {
            Err(denied(
                format!("{fed}: its columns come from them"),
                "change columns with ALTER TABLE in lacus, or in a table of your own",
            ))
        }
        TableUpdate::AddSpec { .. }
        | TableUpdate::SetDefaultSpec { .. }
        | TableUpdate::RemovePartitionSpecs { .. }
        | TableUpdate::AddSortOrder { .. }
        | TableUpdate::SetDefaultSortOrder { .. } => {
            Err(denied(format!("{fed}, and partitions and sorts its files"), "set partition and sort in lacus.toml"))
        }
        TableUpdate::SetSnapshotRef { ref_name, reference }
            if ref_name == MAIN_BRANCH && !added.contains(&reference.snapshot_id) =>
        {
            Err(denied(
                format!("{fed}: with an older snapshot, rows that were delivered since would be lost"),
                "delete rows, or use lacus table rollback",
            ))
        }
        TableUpdate::RemoveSnapshotRef { ref_name } if ref_name == MAIN_BRANCH => {
            Err(denied(format!("{fed}: all its rows would be lost"), "delete rows instead"))
        }
        _ => Ok(()),
    }
}

/// Refuses a change that leaves no main snapshot, or that, in a table that lacus delivers to, makes one main that was not
/// built on the current one; and columns that files without field ids would not have any more. `after` is the table as it would be.
///
/// # Errors
/// `Conflict` for a snapshot that was built on an older one, `Denied` or `Invalid` if no snapshot is left.
pub(super) fn check_result(before: &TableMetadata, after: &TableMetadata, is_delivered: bool) -> Result<()> {
    must_keep_names(before, after.current_schema())?;
    must_be_possible(Some(before), after)?;
    let Some(was) = before.current_snapshot_id() else { return Ok(()) };
    let Some(now) = after.snapshot_for_ref(MAIN_BRANCH) else {
        let is_dangling = after.current_snapshot_id().is_some();
        return match (is_delivered, is_dangling) {
            (true, _) => {
                Err(denied("all rows of a table that lacus delivers to would be lost".to_owned(), "delete rows"))
            }
            (_, true) => Err(Error::invalid("the current snapshot of a table can't be removed")),
            (false, false) => Ok(()),
        };
    };
    if is_delivered && now.snapshot_id() != was && now.parent_snapshot_id() != Some(was) {
        return Err(Error::new(Kind::Conflict, "the new snapshot was not built on the current one")
            .with_hint("load the table again and retry"));
    }
    Ok(())
}

/// Refuses partition specs and sort orders that no row can be laid out by, unless the table has such a one already: whoever writes
/// to it would fail, as would whoever asks which bucket a value is in.
///
/// # Errors
/// `Invalid`, with what is possible.
pub(super) fn must_be_possible(before: Option<&TableMetadata>, after: &TableMetadata) -> Result<()> {
    match impossible(after) {
        Some(transform) if before.and_then(impossible).is_none() => {
            Err(Error::invalid(format!("no row can be laid out by transform {transform}"))
                .with_hint(format!("numbers of buckets and widths are 1 to {}", i32::MAX)))
        }
        _ => Ok(()),
    }
}

fn impossible(metadata: &TableMetadata) -> Option<Transform> {
    let partitioned = metadata.partition_specs_iter().flat_map(|spec| spec.fields()).map(|field| field.transform);
    let sorted = metadata.sort_orders_iter().flat_map(|order| &order.fields).map(|field| field.transform);
    partitioned.chain(sorted).find(|transform| match transform {
        Transform::Bucket(number) | Transform::Truncate(number) => *number == 0 || i32::try_from(*number).is_err(),
        Transform::Unknown => true,
        _ => false,
    })
}

fn denied(message: String, hint: &str) -> Error {
    Error::new(Kind::Denied, message).with_hint(hint)
}
