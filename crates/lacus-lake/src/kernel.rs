//! One Iceberg commit of one table, planned in memory: what will be written, and what the table will then be.
//!
//! A commit is always a snapshot, even when it changes no file: data and offsets change in the same metadata, or not at
//! all. Files keep their order: a file that replaces others has their place. Metadata stays small whatever the number of
//! commits: small manifests are merged, old snapshots, schemas and metadata files expire in the same commit. Nothing here writes to the store; the files of [`Planned`] must be on disk
//! before the catalog's pointer moves.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use iceberg::spec::{
    DataFile, FormatVersion, MAIN_BRANCH, ManifestEntryRef, ManifestFile, Operation, Schema, SchemaRef, Snapshot,
    SnapshotRef, SortOrder, Summary, TableMetadata, TableMetadataBuildResult, TableMetadataBuilder,
    UnboundPartitionSpec,
};
use lacus_core::{Context, Error, Kind, Offsets, Result, StreamName, TableName, Timestamp};
use uuid::Uuid;

use crate::expiry::{retired, snapshots_to_expire};
use crate::manifests::{MetadataFiles, NewEntry, NewManifest, iceberg_error, write_manifest, write_manifest_list};
use crate::schema::TableSchema;
use crate::warehouse::Warehouse;

/// Older metadata files that the metadata log keeps, for readers that hold an older one.
pub(crate) const METADATA_FILES_MAX: usize = 20;
/// Small manifests that a table may have; with one more, a commit merges them into one.
pub(crate) const SMALL_MANIFESTS_MAX: usize = 20;
/// A manifest of this many bytes is not small, and stays as it is.
const SMALL_MANIFEST_BYTES: i64 = 8 << 20;
/// The table property that says what the table includes: `{"<stream>":{"<partition>":<next offset>}}`.
const OFFSETS: &str = "lacus.offsets";

/// A table as it was committed last.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    /// URL of its metadata.
    pub(crate) location: String,
    pub(crate) metadata: TableMetadata,
    /// The manifests of the current snapshot.
    pub(crate) manifests: Vec<ManifestFile>,
}

/// Paths of the files that one commit of one table writes.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) data: String,
    manifest: String,
    list: String,
    metadata: String,
}

/// What changes.
pub(crate) struct Change {
    pub(crate) names: Names,
    pub(crate) schema: Schema,
    /// URLs of live files that go: their rows are in the added one.
    pub(crate) removed: HashSet<String>,
    pub(crate) added: Option<DataFile>,
    /// What the table includes of a stream from now on, if that changes.
    pub(crate) delivered: Option<(StreamName, Offsets)>,
    pub(crate) now: Timestamp,
}

/// A commit, ready to be written.
pub(crate) struct Planned {
    pub(crate) base: Base,
    /// Path and content of every metadata file to write.
    pub(crate) files: Vec<(String, Bytes)>,
    /// Paths that nothing references any more once the pointer has moved.
    pub(crate) retired: Vec<String>,
}

impl Names {
    /// Names for the commit after the metadata at `location`.
    pub(crate) fn after(table: &TableName, location: &str) -> Self {
        let id = Uuid::now_v7();
        let version = version_of(location) + 1;
        let directory = directory_of(table);
        Self {
            data: format!("{directory}/data/{id}.parquet"),
            manifest: format!("{directory}/metadata/{id}-m0.avro"),
            list: format!("{directory}/metadata/snap-{id}.avro"),
            metadata: format!("{directory}/metadata/{version:05}-{id}.metadata.json"),
        }
    }

    /// All of them, whether or not the commit turns out to need them.
    pub(crate) fn all(&self) -> [String; 4] {
        [self.data.clone(), self.manifest.clone(), self.list.clone(), self.metadata.clone()]
    }

    /// Those of metadata.
    pub(crate) fn all_metadata(&self) -> [String; 3] {
        [self.manifest.clone(), self.list.clone(), self.metadata.clone()]
    }
}

impl Base {
    /// Reads a table.
    pub(crate) async fn read(files: &MetadataFiles, location: String) -> Result<Self> {
        let metadata = files.metadata(&location).await?;
        let manifests = match metadata.current_snapshot() {
            Some(snapshot) => files.manifests(snapshot).await?,
            None => Vec::new(),
        };
        Ok(Self { location, metadata, manifests })
    }

    /// What the table includes of the stream that feeds it.
    pub(crate) fn offsets(&self, table: &TableName) -> Result<Offsets> {
        Ok(self.all_offsets()?.remove(table.stream().as_str()).unwrap_or_default())
    }

    fn all_offsets(&self) -> Result<BTreeMap<String, Offsets>> {
        let Some(text) = self.metadata.properties().get(OFFSETS) else { return Ok(BTreeMap::new()) };
        serde_json::from_str(text).map_err(|error| {
            Error::corrupt(format!("property {OFFSETS} of {} can't be read", self.location)).with_source(error)
        })
    }

    /// The Iceberg schema to commit rows of `schema` with: the current one, or a newer one that keeps its columns.
    pub(crate) fn schema_for(&self, schema: &TableSchema) -> Result<Schema> {
        let current = self.metadata.current_schema();
        let wanted = schema.iceberg(current.schema_id())?;
        if wanted.as_struct() == current.as_struct() {
            return Ok(current.as_ref().clone());
        }
        if self.metadata.current_snapshot_id().is_some() {
            must_keep_columns(current, &wanted)?;
        }
        let same = self.metadata.schemas_iter().find(|schema| schema.as_struct() == wanted.as_struct());
        let highest = self.metadata.schemas_iter().map(|schema| schema.schema_id()).max().unwrap_or(0);
        schema.iceberg(same.map_or(highest + 1, |same| same.schema_id()))
    }
}

/// Files may have every column of the current schema, with its type: a newer schema that lacks one would hide values.
fn must_keep_columns(current: &Schema, wanted: &Schema) -> Result<()> {
    for (&id, name) in current.field_id_to_name_map() {
        let (Some(old), Some(new)) = (current.field_by_id(id), wanted.field_by_id(id)) else {
            return Err(Error::internal(format!("the schema to commit lacks column \"{name}\"")));
        };
        let is_same = if old.field_type.is_primitive() {
            old.field_type == new.field_type
        } else {
            old.field_type.is_struct() == new.field_type.is_struct() && !new.field_type.is_primitive()
        };
        if !is_same || old.name != new.name {
            return Err(Error::internal(format!("the schema to commit changes column \"{name}\"")));
        }
    }
    Ok(())
}

/// Where the files of a table are: in its database's directory, one of its own.
pub(crate) fn directory_of(table: &TableName) -> String {
    format!("{}/{}", table.database(), table.table())
}

/// The metadata of a new table, ready to be written.
pub(crate) fn plan_table(
    warehouse: &Warehouse,
    table: &TableName,
    schema: &TableSchema,
) -> Result<(String, TableMetadata)> {
    let table_url = warehouse.url(&directory_of(table));
    let failed = |error| iceberg_error(error, "make table metadata");
    // The builder gives new ids to the fields of a first schema, so the first one has no fields and does not stay.
    let nothing = Schema::builder().build().map_err(failed)?;
    let properties = HashMap::from([
        ("write.metadata.previous-versions-max".to_owned(), METADATA_FILES_MAX.to_string()),
        ("write.parquet.compression-codec".to_owned(), "zstd".to_owned()),
    ]);
    let unpartitioned = UnboundPartitionSpec::builder().build();
    let unsorted = SortOrder::unsorted_order();
    let metadata =
        TableMetadataBuilder::new(nothing, unpartitioned, unsorted, table_url, FormatVersion::V2, properties)
            .and_then(|builder| builder.add_current_schema(schema.iceberg(1).map_err(as_iceberg)?))
            .and_then(|builder| builder.remove_schemas(&[0]))
            .and_then(TableMetadataBuilder::build)
            .map_err(failed)?
            .metadata;
    let path = format!("{}/metadata/00000-{}.metadata.json", directory_of(table), Uuid::now_v7());
    Ok((path, metadata))
}

fn as_iceberg(error: Error) -> iceberg::Error {
    iceberg::Error::new(iceberg::ErrorKind::DataInvalid, "make an Iceberg schema").with_source(error)
}

/// Plans a commit on top of `base`.
///
/// # Errors
/// `Conflict` if a file to remove is none of the table's.
pub(crate) async fn plan(files: &MetadataFiles, base: &Base, change: Change) -> Result<Planned> {
    let Change { names, schema, removed, added, delivered, now } = change;
    let offsets = offsets_property(base, delivered)?;
    let schema = SchemaRef::new(schema);
    let (snapshot_id, parent) = (new_snapshot_id(&base.metadata), base.metadata.current_snapshot_id());
    let sequence_number = base.metadata.next_sequence_number();

    let (mut written, mut manifests, mut counted) = (Vec::new(), base.manifests.clone(), Counted::default());
    if added.is_some() || !removed.is_empty() {
        let (place, replaced) = take_replaced(files, &mut manifests, &removed).await?;
        let entries = change_entries(replaced, &removed, added)?;
        counted = Counted::of(&entries);
        let url = &files.warehouse.url(&names.manifest);
        let new = NewManifest { url, snapshot_id, schema: Arc::clone(&schema), metadata: &base.metadata, entries };
        let (bytes, manifest) = write_manifest(new).await?;
        manifests.insert(place, manifest);
        written.push((names.manifest.clone(), bytes));
    }
    let list_url = files.warehouse.url(&names.list);
    let (bytes, manifests) = write_manifest_list(&list_url, snapshot_id, parent, sequence_number, manifests).await?;
    written.push((names.list, bytes));

    let snapshot = Snapshot::builder()
        .with_snapshot_id(snapshot_id)
        .with_parent_snapshot_id(parent)
        .with_sequence_number(sequence_number)
        .with_timestamp_ms(now.as_millis().max(base.metadata.last_updated_ms()))
        .with_manifest_list(list_url)
        .with_summary(summary(&base.metadata, &counted))
        .with_schema_id(schema.schema_id())
        .build();
    let expired = snapshots_to_expire(&base.metadata);
    let built = build(base, snapshot, &schema, &expired, offsets)?;
    let retired = retired(files, &built, &expired, &manifests).await?;
    let json = serde_json::to_vec(&built.metadata)
        .map_err(|error| Error::internal("write table metadata").with_source(error))?;
    let location = files.warehouse.url(&names.metadata);
    written.push((names.metadata, json.into()));
    Ok(Planned { base: Base { location, metadata: built.metadata, manifests }, files: written, retired })
}

/// Takes the manifests that the new one replaces, and says its place: those that name a removed file; without any, all
/// small ones once there are too many. Their entries, in order.
async fn take_replaced(
    files: &MetadataFiles,
    manifests: &mut Vec<ManifestFile>,
    removed: &HashSet<String>,
) -> Result<(usize, Vec<ManifestEntryRef>)> {
    let mut replaced = Vec::new();
    if removed.is_empty() {
        for manifest in take_manifests_to_merge(manifests) {
            replaced.extend(files.entries(&manifest).await.context("merge manifests")?);
        }
        return Ok((manifests.len(), replaced));
    }
    let (mut place, mut kept) = (None, Vec::new());
    for manifest in std::mem::take(manifests) {
        let entries = files.entries(&manifest).await.context("look for files that are replaced")?;
        if entries.iter().any(|entry| removed.contains(entry.file_path())) {
            place.get_or_insert(kept.len());
            replaced.extend(entries);
        } else {
            kept.push(manifest);
        }
    }
    *manifests = kept;
    Ok((place.unwrap_or(manifests.len()), replaced))
}

/// The entries of a new manifest: those of the ones it replaces, with `added` in the place of what goes, or last.
fn change_entries(
    replaced: Vec<ManifestEntryRef>,
    removed: &HashSet<String>,
    mut added: Option<DataFile>,
) -> Result<Vec<NewEntry>> {
    let mut entries = Vec::with_capacity(replaced.len() + 1);
    let mut gone = 0;
    for entry in replaced {
        if removed.contains(entry.file_path()) {
            gone += 1;
            entries.extend(added.take().map(|file| NewEntry::Added(Box::new(file))));
            entries.push(NewEntry::Removed(entry));
        } else {
            entries.push(NewEntry::Existing(entry));
        }
    }
    if gone != removed.len() {
        return Err(Error::new(Kind::Conflict, "a file that was to be replaced is no longer in the table"));
    }
    entries.extend(added.map(|file| NewEntry::Added(Box::new(file))));
    Ok(entries)
}

/// All small manifests, once there are too many of them. The rest stays in `manifests`, in order.
fn take_manifests_to_merge(manifests: &mut Vec<ManifestFile>) -> Vec<ManifestFile> {
    let is_small = |manifest: &ManifestFile| manifest.manifest_length < SMALL_MANIFEST_BYTES;
    if manifests.iter().filter(|manifest| is_small(manifest)).count() < SMALL_MANIFESTS_MAX {
        return Vec::new();
    }
    let (small, large) = std::mem::take(manifests).into_iter().partition(is_small);
    *manifests = large;
    small
}

fn build(
    base: &Base,
    snapshot: Snapshot,
    schema: &Schema,
    expired: &[SnapshotRef],
    offsets: String,
) -> Result<TableMetadataBuildResult> {
    let expired_ids: Vec<i64> = expired.iter().map(|snapshot| snapshot.snapshot_id()).collect();
    let kept_schemas: HashSet<i32> = base
        .metadata
        .snapshots()
        .filter(|snapshot| !expired_ids.contains(&snapshot.snapshot_id()))
        .filter_map(|snapshot| snapshot.schema_id())
        .chain([schema.schema_id()])
        .collect();
    let ids = base.metadata.schemas_iter().map(|schema| schema.schema_id());
    let unused_schemas: Vec<i32> = ids.filter(|id| !kept_schemas.contains(id)).collect();
    let built = base
        .metadata
        .clone()
        .into_builder(Some(base.location.clone()))
        .add_current_schema(schema.clone())
        .and_then(|builder| builder.set_branch_snapshot(snapshot, MAIN_BRANCH))
        .and_then(|builder| builder.set_properties(HashMap::from([(OFFSETS.to_owned(), offsets)])))
        .and_then(|builder| builder.remove_snapshots(&expired_ids).remove_schemas(&unused_schemas))
        .and_then(TableMetadataBuilder::build)
        .map_err(|error| iceberg_error(error, "build table metadata"))?;
    if built.metadata.current_schema_id() != schema.schema_id() {
        return Err(Error::internal("the new schema was given another id"));
    }
    Ok(built)
}

/// The offsets of all streams that the table has rows of, with those of one stream moved.
fn offsets_property(base: &Base, delivered: Option<(StreamName, Offsets)>) -> Result<String> {
    let mut all = base.all_offsets()?;
    all.extend(delivered.map(|(stream, offsets)| (stream.to_string(), offsets)));
    serde_json::to_string(&all).map_err(|error| Error::internal("write offsets").with_source(error))
}

/// Files, rows and bytes that come and go.
#[derive(Default)]
struct Counted {
    added: [u64; 3],
    removed: [u64; 3],
}

impl Counted {
    fn of(entries: &[NewEntry]) -> Self {
        let mut counted = Self::default();
        for entry in entries {
            let (sums, file) = match entry {
                NewEntry::Existing(_) => continue,
                NewEntry::Added(file) => (&mut counted.added, file.as_ref()),
                NewEntry::Removed(entry) => (&mut counted.removed, entry.data_file()),
            };
            let numbers = [1, file.record_count(), file.file_size_in_bytes()];
            sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        }
        counted
    }
}

/// The summary of a snapshot, with the names that Iceberg's specification gives the numbers (appendix F).
fn summary(metadata: &TableMetadata, counted: &Counted) -> Summary {
    let before = metadata.current_snapshot().map(|snapshot| &snapshot.summary().additional_properties);
    let before = |key: &str| before.and_then(|summary| summary.get(key)?.parse::<u64>().ok()).unwrap_or(0);
    let mut numbers = vec![
        ("changed-partition-count", u64::from(counted.added[0] + counted.removed[0] > 0)),
        ("total-delete-files", 0),
        ("total-position-deletes", 0),
        ("total-equality-deletes", 0),
    ];
    let names = [
        ("added-data-files", "deleted-data-files", "total-data-files"),
        ("added-records", "deleted-records", "total-records"),
        ("added-files-size", "removed-files-size", "total-files-size"),
    ];
    for (index, (added, removed, total)) in names.into_iter().enumerate() {
        let (more, less) = (counted.added[index], counted.removed[index]);
        numbers.extend([(added, more), (total, (before(total) + more).saturating_sub(less))]);
        if counted.removed[0] > 0 {
            numbers.push((removed, less));
        }
    }
    let operation = if counted.removed[0] > 0 { Operation::Replace } else { Operation::Append };
    let additional_properties = numbers.into_iter().map(|(key, number)| (key.to_owned(), number.to_string())).collect();
    Summary { operation, additional_properties }
}

/// A positive number that no snapshot of the table has.
fn new_snapshot_id(metadata: &TableMetadata) -> i64 {
    loop {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        let id = i64::from_ne_bytes((high ^ low).to_ne_bytes()) & i64::MAX;
        if metadata.snapshot_by_id(id).is_none() {
            return id;
        }
    }
}

/// The number that the file name of table metadata begins with.
fn version_of(location: &str) -> u64 {
    let name = location.rsplit('/').next().unwrap_or_default();
    name.split('-').next().and_then(|version| version.parse().ok()).unwrap_or(0)
}
