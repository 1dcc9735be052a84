//! What a view's metadata will be. The library keeps the rules of the specification: one SQL for each dialect, versions
//! that are the same are one, old ones expire, no dialect is lost by accident.

use iceberg::ViewUpdate;
use iceberg::spec::{ViewFormatVersion, ViewMetadata, ViewMetadataBuilder};
use lacus_core::{Error, Result};

use super::NewView;

/// Lets a replaced view lack a dialect that it had before.
const MAY_DROP_DIALECTS: &str = "replace.drop-dialect.allowed";

/// The metadata of a new view, with its files at `place`.
///
/// # Errors
/// `Invalid` if it wants another place or has no SQL.
pub(super) fn created(new: NewView, place: String) -> Result<ViewMetadata> {
    must_be_at(new.location.as_deref(), &place)?;
    must_have_sql(&new)?;
    let NewView { schema, version, properties, .. } = new;
    ViewMetadataBuilder::new(place, schema, version, ViewFormatVersion::V1, properties)
        .and_then(ViewMetadataBuilder::build)
        .map(|built| built.metadata)
        .map_err(refused)
}

/// The metadata of a view that gets another query. Whoever says `OR REPLACE` means all of it: SQL in other dialects goes.
///
/// # Errors
/// As for [`created`].
pub(super) fn replaced(before: &ViewMetadata, new: NewView) -> Result<ViewMetadata> {
    must_be_at(new.location.as_deref(), before.location())?;
    must_have_sql(&new)?;
    let kept = before.properties().get(MAY_DROP_DIALECTS).cloned();
    let mut properties = new.properties;
    properties.insert(MAY_DROP_DIALECTS.to_owned(), "true".to_owned());
    let builder = before.clone().into_builder().set_properties(properties).map_err(refused)?;
    let built = builder.set_current_version(new.version, new.schema).and_then(ViewMetadataBuilder::build);
    let metadata = built.map_err(refused)?.metadata;
    // What allowed it this time is not what the view says.
    let builder = metadata.into_builder();
    let builder = match kept {
        Some(kept) => builder.set_properties([(MAY_DROP_DIALECTS.to_owned(), kept)].into()).map_err(refused)?,
        None => builder.remove_properties(&[MAY_DROP_DIALECTS.to_owned()]),
    };
    builder.build().map(|built| built.metadata).map_err(refused)
}

/// The metadata after these updates.
///
/// # Errors
/// `Invalid` for an update that can't be.
pub(super) fn changed(before: &ViewMetadata, updates: Vec<ViewUpdate>) -> Result<ViewMetadata> {
    let mut builder = before.clone().into_builder();
    for update in updates {
        builder = apply(builder, update, before)?;
    }
    builder.build().map(|built| built.metadata).map_err(refused)
}

fn apply(builder: ViewMetadataBuilder, update: ViewUpdate, before: &ViewMetadata) -> Result<ViewMetadataBuilder> {
    match update {
        ViewUpdate::AssignUuid { uuid } if uuid != before.uuid() => {
            Err(Error::invalid("a view keeps its id").with_hint("leave out assign-uuid"))
        }
        ViewUpdate::AssignUuid { .. } => Ok(builder),
        ViewUpdate::UpgradeFormatVersion { format_version } => {
            builder.upgrade_format_version(format_version).map_err(refused)
        }
        ViewUpdate::AddSchema { schema, .. } => Ok(builder.add_schema(schema)),
        ViewUpdate::SetLocation { location } => must_be_at(Some(&location), before.location()).map(|()| builder),
        ViewUpdate::SetProperties { updates } => builder.set_properties(updates).map_err(refused),
        ViewUpdate::RemoveProperties { removals } => Ok(builder.remove_properties(&removals)),
        ViewUpdate::AddViewVersion { view_version } => builder.add_version(view_version).map_err(refused),
        ViewUpdate::SetCurrentViewVersion { view_version_id } => {
            builder.set_current_version_id(view_version_id).map_err(refused)
        }
    }
}

fn must_be_at(wanted: Option<&str>, place: &str) -> Result<()> {
    match wanted {
        Some(wanted) if wanted.trim_end_matches('/') != place => {
            Err(Error::invalid(format!("the view's files will be at {place}")).with_hint("leave out the location"))
        }
        _ => Ok(()),
    }
}

fn must_have_sql(new: &NewView) -> Result<()> {
    if new.version.representations().is_empty() {
        return Err(Error::invalid("a view needs SQL in one dialect at least"));
    }
    Ok(())
}

/// What Iceberg's library says about a request.
fn refused(error: iceberg::Error) -> Error {
    Error::invalid(error.message().to_owned()).with_source(error)
}
