//! Tables that other engines create: at once, with their first commit, or from existing metadata.

use std::collections::HashSet;
use std::sync::Arc;

use iceberg::spec::{FormatVersion, Operation, SortOrder, TableMetadata, TableMetadataBuilder, UnboundPartitionSpec};
use iceberg::{TableRequirement, TableUpdate};
use lacus_core::{Context, Error, Kind, Offsets, Result, TableName};

use super::commit::{
    PlannedChange, apply, failure, files_of_new_snapshots, in_lake, metadata_json, must_be_of_no_other, must_be_own,
};
use super::rules::must_be_possible;
use super::{MADE_BY, NewTable, TableCommit, no_database, no_table, refused};
use crate::catalog::{PointerMove, Publication, RawTotals};
use crate::commit::{PlannedPart, begin_publishing, conclude, live_files, move_pointers};
use crate::deletes::FilesOfSnapshot;
use crate::kernel::{AddedFile, Base, Change, METADATA_FILES_MAX, Names, directory_of, plan as plan_commit};
use crate::lake::Inner;
use crate::layout::Layout;
use crate::partition_types::must_fit;
use crate::schema::TableSchema;
use crate::table::{Committed, Table};

/// A dropped table can't be registered if its files will be deleted this soon.
const DELETED_SOON_MS: u64 = 10 * 60 * 1_000;

/// The metadata of a table that its first commit will make.
pub(super) async fn stage(lake: &Inner, new: NewTable) -> Result<TableMetadata> {
    lake.must_be_free(&new.name)?;
    let metadata = metadata_of(lake, new)?;
    // Engines that write files themselves expect the directories.
    lake.make_directories(&in_lake(&lake.files, metadata.location())?).await?;
    Ok(metadata)
}

pub(super) async fn create(lake: &Inner, new: NewTable) -> Result<Arc<Table>> {
    let mut publishing = begin_publishing(lake).await?;
    must_have_database(lake, &new.name)?;
    lake.must_be_free(&new.name)?;
    let name = new.name.clone();
    let metadata = metadata_of(lake, new)?;
    let part = plan(lake, &name, metadata).await?;
    lake.make_directories(&in_lake(&lake.files, part.committed.base.metadata.location())?).await?;
    let (table, now) = (Arc::clone(&part.table), lake.clock.now());
    let paths: Vec<String> = part.writes.iter().map(|(path, _)| path.clone()).collect();
    lake.catalog.begin(Vec::new(), paths.clone(), now).await?;
    let concluded = conclude(lake, &mut publishing, vec![part], None, RawTotals::default(), paths.clone(), now).await;
    drop(publishing);
    match concluded {
        Ok(()) => Ok(table),
        Err(failed) => Err(failure(lake, failed, paths).await),
    }
}

/// The metadata of a table that will be made with its first rows by [`make_with`].
pub(crate) async fn prepare(lake: &Inner, new: NewTable) -> Result<TableMetadata> {
    must_have_database(lake, &new.name)?;
    stage(lake, new).await
}

/// Refuses a table of a database that is not there, or was dropped since somebody looked.
pub(super) fn must_have_database(lake: &Inner, name: &TableName) -> Result<()> {
    if lake.is_database(name.database()) { Ok(()) } else { Err(no_database(name.database())) }
}

/// Makes a table that has rows from the start, in one commit. The files are written, and on record as leftovers; if it fails
/// and certainly did not happen, they are deleted.
pub(crate) async fn make_with(
    lake: &Inner,
    name: &TableName,
    metadata: TableMetadata,
    added: Vec<AddedFile>,
) -> Result<Arc<Table>> {
    let warehouse = &lake.files.warehouse;
    let written = added.iter().map(|added| warehouse.path(added.file.file_path()).map(|path| path.to_string()));
    let mut paths: Vec<String> = written.collect::<Result<_>>()?;
    let made = async {
        let mut publishing = begin_publishing(lake).await?;
        // Writing the rows took its time.
        must_have_database(lake, name)?;
        lake.must_be_free(name)?;
        let part = plan_with_rows(lake, name, metadata, added).await?;
        let (table, now) = (Arc::clone(&part.table), lake.clock.now());
        paths.extend(part.writes.iter().map(|(path, _)| path.clone()));
        lake.catalog.begin(Vec::new(), paths.clone(), now).await?;
        conclude(lake, &mut publishing, vec![part], None, RawTotals::default(), paths.clone(), now).await?;
        Ok(table)
    };
    match made.await {
        Ok(table) => Ok(table),
        Err(failed) => Err(failure(lake, failed, paths).await),
    }
}

async fn plan_with_rows(
    lake: &Inner,
    name: &TableName,
    metadata: TableMetadata,
    added: Vec<AddedFile>,
) -> Result<PlannedPart> {
    if added.is_empty() {
        return plan(lake, name, metadata).await;
    }
    let base = Base { location: String::new(), metadata, manifests: Vec::new() };
    let files = added.clone();
    let change = Change {
        names: Names::after(name, ""),
        schema: base.metadata.current_schema().as_ref().clone(),
        layout: Layout::current(&base.metadata),
        operation: Operation::Append,
        removed: HashSet::new(),
        added,
        delivered: None,
        now: lake.clock.now(),
    };
    let planned = plan_commit(&lake.files, &base, change).await?;
    let pointer = PointerMove { table: name.clone(), from: None, to: planned.base.location.clone() };
    let files = FilesOfSnapshot { data: live_files(lake, &files, &planned.base.metadata)?, deletes: Vec::new() };
    let schema = planned.base.schema()?;
    let table = Arc::new(Table::new(name.clone(), planned.base, schema, files, Offsets::default()));
    let committed =
        Committed { base: table.base(), removed: Vec::new(), added: Vec::new(), tail: None, delete_files: None };
    Ok(PlannedPart { table, writes: planned.files, retired: planned.retired, pointer, committed })
}

/// Plans a table that a commit makes.
pub(super) async fn by_commit(lake: &Inner, commit: TableCommit) -> Result<PlannedChange> {
    let TableCommit { table: name, requirements, updates } = commit;
    lake.must_be_free(&name)?;
    if !requirements.contains(&TableRequirement::NotExist) {
        return Err(no_table(&name));
    }
    let theirs = files_of_new_snapshots(&lake.files, &updates).await?;
    let metadata = metadata_by_updates(lake, &name, updates)?;
    must_be_own(lake, metadata.location(), &theirs).await?;
    Ok(PlannedChange { part: plan(lake, &name, metadata).await?, theirs })
}

/// Plans the table of this metadata.
async fn plan(lake: &Inner, name: &TableName, metadata: TableMetadata) -> Result<PlannedPart> {
    let path = Names::after(name, "").metadata();
    let location = lake.files.warehouse.url(&path);
    let writes = vec![(path, metadata_json(&metadata)?)];
    let base = Base::with_manifests(&lake.files, location.clone(), metadata, None).await?;
    let table = Arc::new(table_of(lake, name, base).await?);
    let pointer = PointerMove { table: name.clone(), from: None, to: location };
    let committed =
        Committed { base: table.base(), removed: Vec::new(), added: Vec::new(), tail: None, delete_files: None };
    Ok(PlannedPart { table, writes, retired: Vec::new(), pointer, committed })
}

async fn table_of(lake: &Inner, name: &TableName, base: Base) -> Result<Table> {
    let (schema, delivered) = (base.schema()?, base.offsets(name)?);
    let files = lake.files.files_of(&base.manifests, &base.metadata).await?;
    must_fit(&files, &base.metadata, |_| false)?;
    Ok(Table::new(name.clone(), base, schema, files, delivered))
}

/// The metadata of a new table. Field ids are assigned anew, as the specification demands.
fn metadata_of(lake: &Inner, new: NewTable) -> Result<TableMetadata> {
    let place = place_of(lake, &new.name);
    if new.location.as_ref().is_some_and(|wanted| wanted.trim_end_matches('/') != place) {
        return Err(Error::invalid(format!("the table's files will be at {place}")).with_hint("leave out the location"));
    }
    let mut properties = new.properties;
    match properties.remove("format-version").as_deref() {
        None | Some("2") => {}
        Some(other) => {
            return Err(Error::invalid(format!("tables of the lake have format version 2, not {other}")));
        }
    }
    // Clients send back what staging gave them.
    properties.remove(MADE_BY);
    if let Some(key) = properties.keys().find(|key| key.starts_with("lacus.")) {
        return Err(Error::invalid(format!("property \"{key}\" is kept by lacus")));
    }
    properties
        .entry("write.metadata.previous-versions-max".to_owned())
        .or_insert_with(|| METADATA_FILES_MAX.to_string());
    properties.insert(MADE_BY.to_owned(), "request".to_owned());
    let spec = new.partition_spec.unwrap_or_else(|| UnboundPartitionSpec::builder().build());
    let order = new.write_order.unwrap_or_else(SortOrder::unsorted_order);
    let metadata = TableMetadataBuilder::new(new.schema, spec, order, place, FormatVersion::V2, properties)
        .and_then(TableMetadataBuilder::build)
        .map_err(refused)?
        .metadata;
    must_be_possible(None, &metadata)?;
    // Types that lacus can't read are refused before there is a table.
    TableSchema::from_iceberg(metadata.current_schema(), metadata.last_column_id())?;
    Ok(metadata)
}

/// The directory of a new table: one of its name, unless a renamed table has that.
fn place_of(lake: &Inner, name: &TableName) -> String {
    let place = lake.files.warehouse.url(&directory_of(name));
    let taken = |place: &str| lake.tables().iter().any(|table| table.base().metadata.location() == place);
    let numbered = (2..).map(|number: u64| format!("{place}_{number}"));
    std::iter::once(place.clone()).chain(numbered).find(|place| !taken(place)).unwrap_or(place)
}

/// The metadata of a table that is made by its first commit's updates.
fn metadata_by_updates(lake: &Inner, name: &TableName, updates: Vec<TableUpdate>) -> Result<TableMetadata> {
    let mut new = NewTable {
        name: name.clone(),
        location: None,
        schema: iceberg::spec::Schema::builder().build().map_err(refused)?,
        partition_spec: None,
        write_order: None,
        properties: std::collections::HashMap::new(),
    };
    let mut rest = Vec::new();
    for update in updates {
        match update {
            TableUpdate::AddSchema { schema } => new.schema = schema,
            TableUpdate::AddSpec { spec } => new.partition_spec = Some(spec),
            TableUpdate::AddSortOrder { sort_order } => new.write_order = Some(sort_order),
            TableUpdate::SetLocation { location } => new.location = Some(location),
            TableUpdate::SetProperties { updates } => new.properties.extend(updates),
            TableUpdate::UpgradeFormatVersion { format_version } if format_version != FormatVersion::V2 => {
                return Err(Error::invalid(format!("tables of the lake have format version 2, not {format_version}")));
            }
            TableUpdate::SetCurrentSchema { .. }
            | TableUpdate::SetDefaultSpec { .. }
            | TableUpdate::SetDefaultSortOrder { .. }
            | TableUpdate::UpgradeFormatVersion { .. } => {}
            other => rest.push(other),
        }
    }
    let wanted = new.schema.clone();
    let metadata = metadata_of(lake, new)?;
    // Files that are written already use the ids that staging assigned.
    if metadata.current_schema().as_struct() != wanted.as_struct() {
        return Err(Error::invalid("the columns have other ids than those of the staged table"));
    }
    Ok(apply(metadata.into_builder(None), rest)?.metadata)
}

/// Makes a table of existing metadata.
pub(super) async fn register(lake: &Inner, name: TableName, location: String) -> Result<Arc<Table>> {
    let _publishing = begin_publishing(lake).await?;
    lake.must_be_free(&name)?;
    let path = in_lake(&lake.files, &location)?;
    let metadata = lake.files.metadata(&location).await.map_err(|error| {
        Error::invalid(format!("{location} is no table metadata that lacus can read")).with_source(error)
    })?;
    if metadata.format_version() != FormatVersion::V2 {
        return Err(Error::invalid("tables of the lake have format version 2"));
    }
    must_be_possible(None, &metadata)?;
    if let Some(other) = lake.tables().iter().find(|table| table.base().metadata.uuid() == metadata.uuid()) {
        return Err(Error::new(Kind::Exists, format!("this is table \"{}\"", other.name())));
    }
    let mut paths: Vec<String> = lake.files.reachable(&metadata).await?.into_iter().collect();
    paths.push(path);
    must_be_of_no_other(lake, metadata.location(), &paths)?;
    let now = lake.clock.now();
    let soon = lake.catalog.due(now.plus_ms(DELETED_SOON_MS), u32::MAX).await?;
    if paths.iter().any(|path| soon.contains(path)) {
        return Err(Error::invalid("files of this table are being deleted"));
    }
    lake.make_durable(paths.clone()).await?;
    let base = Base::with_manifests(&lake.files, location.clone(), metadata, None).await?;
    let table = Arc::new(table_of(lake, &name, base).await?);
    // The answer to an earlier attempt may have been lost.
    let pointer = (name.as_str().to_owned(), location.clone());
    if !lake.catalog.pointers().await?.contains(&pointer) {
        let publication = Publication {
            moves: vec![PointerMove { table: name, from: None, to: location }],
            written: paths,
            ..Publication::default()
        };
        move_pointers(lake, publication, now).await.map_err(|failed| failed.error).context("move the pointer")?;
    }
    lake.adopt(&table);
    Ok(table)
}
