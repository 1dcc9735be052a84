//! One Iceberg commit of one table, planned in memory: what will be written, and what the table will then be.
//!
//! A commit is always a snapshot, even when it changes no file: data and offsets change in the same metadata, or not at
//! all. Files keep their order: files that replace others have the place of the first of them. Metadata stays small
//! whatever the number of commits: small manifests are merged, old snapshots, schemas and metadata files expire in the
//! same commit. Nothing here writes to the store; the files of [`Planned`] must be on disk before the catalog's pointer
//! moves.

pub(crate) mod entries;
pub(crate) mod refs;
pub(crate) mod summary;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use iceberg::spec::{
    DataFile, FormatVersion, MAIN_BRANCH, ManifestContentType, ManifestFile, Operation, PartitionSpec, Schema,
    SchemaRef, Snapshot, SnapshotRef, SortOrder, Summary, TableMetadata, TableMetadataBuildResult,
    TableMetadataBuilder, UnboundPartitionSpec,
};
use lacus_core::{Error, Kind, Offsets, Result, StreamName, TableName, Timestamp};
use uuid::Uuid;

use self::entries::{Changed, Making, change_manifests, more_manifests_max};
use self::summary::summary;
use crate::by_name::lost_paths;
use crate::expiry::{by_age, retired, snapshots_to_expire};
use crate::foreign::MADE_BY;
use crate::layout::{Layout, RESERVED_PREFIX};
use crate::manifests::{MetadataFiles, iceberg_error, write_manifest_list};
use crate::schema::TableSchema;
use crate::warehouse::Warehouse;

/// The most older metadata files in the metadata log, for readers that hold one.
pub(crate) const METADATA_FILES_MAX: usize = 20;
/// What a snapshot's summary says about who committed it (Iceberg specification, appendix F).
pub(crate) const ENGINE_NAME: &str = "engine-name";
/// That it was us.
pub(crate) const OUR_ENGINE: &str = "lacus";
/// The table property that says what the table includes: `{"<stream>":{"<partition>":<next offset>}}`.
const OFFSETS: &str = "lacus.offsets";
/// The table property with the names that columns had before: `{"<field id>":["<name>"]}`.
const ALIASES: &str = "lacus.aliases";

/// Whether lacus committed a snapshot.
pub(crate) fn is_ours(snapshot: &Snapshot) -> bool {
    snapshot.summary().additional_properties.get(ENGINE_NAME).is_some_and(|engine| engine == OUR_ENGINE)
}

/// A table as it was committed last.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    /// URL of its metadata; empty for a table that is being made with its first rows.
    pub(crate) location: String,
    pub(crate) metadata: TableMetadata,
    /// The manifests of the current snapshot.
    pub(crate) manifests: Vec<ManifestFile>,
}

/// Paths of the files that one commit of one table writes.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    directory: String,
    id: Uuid,
    version: u64,
}

/// What changes.
pub(crate) struct Change {
    pub(crate) names: Names,
    pub(crate) schema: Schema,
    /// The layout of the table from now on.
    pub(crate) layout: Layout,
    /// What the change is to readers. `Append` removes no file, `Replace` changes no row, `Delete` adds no file.
    pub(crate) operation: Operation,
    /// URLs of live files to remove, delete files among them.
    pub(crate) removed: HashSet<String>,
    /// Files to add, in the place of those removed, or last.
    pub(crate) added: Vec<AddedFile>,
    /// The new offsets of a stream, if they change.
    pub(crate) delivered: Option<(StreamName, Offsets)>,
    pub(crate) now: Timestamp,
}

/// A file that a commit adds.
#[derive(Debug, Clone)]
pub(crate) struct AddedFile {
    pub(crate) file: DataFile,
    /// The partition spec it is written with, one of the table's; `file` has its values.
    pub(crate) spec_id: i32,
}

/// Whether a data file has a name that lacus gives, as [`Names::data`] makes them: other writers use other names.
pub(crate) fn is_data_file(path: &str) -> bool {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    let parts = name.strip_suffix(".parquet").and_then(|stem| stem.rsplit_once('-'));
    parts.is_some_and(|(id, number)| {
        Uuid::try_parse(id).is_ok_and(|id| id.get_version_num() == 7)
            && number.len() >= 5
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// A commit, ready to be written.
pub(crate) struct Planned {
    pub(crate) base: Base,
    /// Path and content of each metadata file to write.
    pub(crate) files: Vec<(String, Bytes)>,
    /// Paths that nothing references any more once the pointer has moved.
    pub(crate) retired: Vec<String>,
}

impl Names {
    /// Names for the commit after the metadata at `location`.
    pub(crate) fn after(table: &TableName, location: &str) -> Self {
        Self { directory: directory_of(table), id: Uuid::now_v7(), version: version_of(location) + 1 }
    }

    /// The data file of this number.
    pub(crate) fn data(&self, number: usize) -> String {
        format!("{}/data/{}-{number:05}.parquet", self.directory, self.id)
    }

    fn manifest(&self, number: usize) -> String {
        format!("{}/metadata/{}-m{number}.avro", self.directory, self.id)
    }

    pub(crate) fn list(&self) -> String {
        format!("{}/metadata/snap-{}.avro", self.directory, self.id)
    }

    pub(crate) fn metadata(&self) -> String {
        format!("{}/metadata/{:05}-{}.metadata.json", self.directory, self.version, self.id)
    }

    /// The paths of all metadata files that a commit on top of `base` may write: one manifest for each partition spec,
    /// including the one that the commit may add, as many again if there are deletes, and more if there is much in them.
    pub(crate) fn all_metadata(&self, base: &Base) -> Vec<String> {
        let has_deletes = base.manifests.iter().any(|manifest| manifest.content == ManifestContentType::Deletes);
        let sorts = (base.metadata.partition_specs_iter().len() + 1) * if has_deletes { 2 } else { 1 };
        let manifests = sorts + more_manifests_max(&base.manifests);
        (0..manifests).map(|number| self.manifest(number)).chain([self.list(), self.metadata()]).collect()
    }
}

impl Base {
    /// Reads a table.
    pub(crate) async fn read(files: &MetadataFiles, location: String) -> Result<Self> {
        let metadata = files.metadata(&location).await?;
        Self::with_manifests(files, location, metadata, None).await
    }

    /// A table with this metadata; the manifests of its current snapshot are read unless they are known.
    pub(crate) async fn with_manifests(
        files: &MetadataFiles,
        location: String,
        metadata: TableMetadata,
        known: Option<Vec<ManifestFile>>,
    ) -> Result<Self> {
        let manifests = match (known, metadata.current_snapshot()) {
            (Some(known), _) => known,
            (None, Some(snapshot)) => files.manifests(snapshot).await?,
            (None, None) => Vec::new(),
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

    /// Its columns, with the names that they had before.
    ///
    /// # Errors
    /// `Invalid` for types that lacus does not know; `Corrupt` if the names can't be read.
    pub(crate) fn schema(&self) -> Result<TableSchema> {
        let mut schema = TableSchema::from_iceberg(self.metadata.current_schema(), self.metadata.last_column_id())?;
        schema.taken = taken_names(&self.metadata);
        let Some(text) = self.metadata.properties().get(ALIASES) else { return Ok(schema) };
        let aliases: BTreeMap<i32, Vec<String>> = serde_json::from_str(text).map_err(|error| {
            Error::corrupt(format!("property {ALIASES} of {} can't be read", self.location)).with_source(error)
        })?;
        schema.set_aliases(&aliases);
        Ok(schema)
    }

    /// The Iceberg schema to commit rows of `schema` with: the current one, or a newer one that keeps its columns.
    pub(crate) fn schema_for(&self, schema: &TableSchema) -> Result<Schema> {
        let current = self.metadata.current_schema();
        let wanted = schema.iceberg(current.schema_id())?;
        if wanted.as_struct() == current.as_struct() {
            return Ok(current.as_ref().clone());
        }
        // The columns of a new table of ours come from events; those of others' tables are theirs from the start.
        let is_theirs = self.metadata.properties().contains_key(MADE_BY);
        if is_theirs || self.metadata.current_snapshot_id().is_some() {
            must_keep_columns(current, &wanted)?;
        }
        self.numbered(schema)
    }

    /// The Iceberg schema of `schema`, with the id of an equal one or the next id.
    pub(crate) fn numbered(&self, schema: &TableSchema) -> Result<Schema> {
        let wanted = schema.iceberg(0)?;
        let same = self.metadata.schemas_iter().find(|schema| schema.as_struct() == wanted.as_struct());
        let highest = self.metadata.schemas_iter().map(|schema| schema.schema_id()).max().unwrap_or(0);
        schema.iceberg(same.map_or(highest + 1, |same| same.schema_id()))
    }
}

/// Names that are those of no column, and of which there can be no new one: of partition fields, as a schema with it is refused; and
/// of columns and their fields in files without field ids, where it would have the values of another.
fn taken_names(metadata: &TableMetadata) -> Vec<String> {
    let fields = metadata.partition_specs_iter().flat_map(|spec| spec.fields());
    let names = fields.map(|field| field.name.clone()).chain(lost_paths(metadata));
    let is_column = |name: &String| metadata.current_schema().field_by_name(name).is_some();
    let names: BTreeSet<String> = names.filter(|name| !name.starts_with(RESERVED_PREFIX) && !is_column(name)).collect();
    names.into_iter().collect()
}

/// Files may contain every column of the current schema, with its type: a newer schema that lacks one would hide values.
///
/// # Errors
/// `Conflict`: the rows to commit were decoded before somebody changed the columns.
fn must_keep_columns(current: &Schema, wanted: &Schema) -> Result<()> {
    for (&id, name) in current.field_id_to_name_map() {
        let (Some(old), Some(new)) = (current.field_by_id(id), wanted.field_by_id(id)) else {
            return Err(changed_meanwhile(name));
        };
        let is_same = if old.field_type.is_primitive() {
            old.field_type == new.field_type
        } else {
            old.field_type.is_struct() == new.field_type.is_struct() && !new.field_type.is_primitive()
        };
        if !is_same || old.name != new.name {
            return Err(changed_meanwhile(name));
        }
    }
    Ok(())
}

fn changed_meanwhile(column: &str) -> Error {
    Error::new(Kind::Conflict, format!("column \"{column}\" was added or changed after these rows were decoded"))
}

/// The directory of a table's files: one of its own, in its database's.
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
    // The builder gives new ids to the fields of the first schema: so that one has no fields, and is replaced.
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
    plan_with(files, base, change, HashMap::new()).await
}

/// The table properties for what Iceberg's schema has no place for.
pub(crate) fn schema_properties(schema: &TableSchema) -> Result<HashMap<String, String>> {
    let aliases = serde_json::to_string(&schema.aliases())
        .map_err(|error| Error::internal("write the names that columns had").with_source(error))?;
    Ok(HashMap::from([(ALIASES.to_owned(), aliases)]))
}

/// The same, with table properties that are set.
pub(crate) async fn plan_with(
    files: &MetadataFiles,
    base: &Base,
    change: Change,
    properties: HashMap<String, String>,
) -> Result<Planned> {
    let Change { names, schema, layout, operation, removed, added, delivered, now } = change;
    let offsets = offsets_property(base, delivered)?;
    let schema = SchemaRef::new(schema);
    let id = new_snapshot_id(&base.metadata);

    let making = Making { files, base, names: &names, snapshot_id: id, schema: &schema, layout: &layout };
    let Changed { manifests, written, counted } = change_manifests(making, &removed, added).await?;
    let summary = summary(&base.metadata, operation, &counted)?;
    let parent = base.metadata.current_snapshot_id();
    let properties = properties.into_iter().chain([(OFFSETS.to_owned(), offsets)]).collect();
    let snapshot = NewSnapshot { id, parent, schema, layout, summary, manifests, properties, now };
    finish(files, base, &names, snapshot, written).await
}

/// A snapshot that is about to be the current one.
struct NewSnapshot {
    id: i64,
    parent: Option<i64>,
    schema: SchemaRef,
    layout: Layout,
    summary: Summary,
    manifests: Vec<ManifestFile>,
    /// Table properties that are set with it, the offsets among them.
    properties: HashMap<String, String>,
    now: Timestamp,
}

/// Plans the manifest list and the metadata of a commit. `written` are the files that it writes besides.
async fn finish(
    files: &MetadataFiles,
    base: &Base,
    names: &Names,
    new: NewSnapshot,
    mut written: Vec<(String, Bytes)>,
) -> Result<Planned> {
    let NewSnapshot { id, parent, schema, layout, summary, manifests, properties, now } = new;
    let sequence_number = base.metadata.next_sequence_number();
    let list_url = files.warehouse.url(&names.list());
    let (bytes, manifests) = write_manifest_list(&list_url, id, parent, sequence_number, manifests).await?;
    written.push((names.list(), bytes));

    let snapshot = Snapshot::builder()
        .with_snapshot_id(id)
        .with_parent_snapshot_id(parent)
        .with_sequence_number(sequence_number)
        .with_timestamp_ms(now.as_millis().max(base.metadata.last_updated_ms()))
        .with_manifest_list(list_url)
        .with_summary(summary)
        .with_schema_id(schema.schema_id())
        .build();
    // A commit that does not build on the newest snapshot may need any other one, and can't be checked before it is on disk.
    let newest = by_age(&base.metadata).last().map(|snapshot| snapshot.snapshot_id());
    let expired = if parent == newest { snapshots_to_expire(&base.metadata)? } else { Vec::new() };
    let built = build(base, snapshot, &schema, &layout, &expired, properties)?;
    let retired = retired(files, &base.metadata, &built, &expired).await?;
    let json = serde_json::to_vec(&built.metadata)
        .map_err(|error| Error::internal("write table metadata").with_source(error))?;
    let location = files.warehouse.url(&names.metadata());
    // A commit may have hundreds of tables in memory: without the room that was left for more.
    written.push((names.metadata(), json.into_boxed_slice().into()));
    Ok(Planned { base: Base { location, metadata: built.metadata, manifests }, files: written, retired })
}

fn spec_of(metadata: &TableMetadata, layout: &Layout, spec_id: i32) -> Result<PartitionSpec> {
    let new = Some(&layout.spec).filter(|spec| spec.spec_id() == spec_id);
    let spec = new.or_else(|| metadata.partition_spec_by_id(spec_id));
    spec.map(|spec| spec.as_ref().clone())
        .ok_or_else(|| Error::internal(format!("the table has no partition spec {spec_id}")))
}

fn build(
    base: &Base,
    snapshot: Snapshot,
    schema: &Schema,
    layout: &Layout,
    expired: &[SnapshotRef],
    properties: HashMap<String, String>,
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
        .into_builder(Some(base.location.clone()).filter(|location| !location.is_empty()))
        .add_current_schema(schema.clone())
        .and_then(|builder| if layout.is_of(&base.metadata) { Ok(builder) } else { layout.apply(builder) })
        .and_then(|builder| builder.set_branch_snapshot(snapshot, MAIN_BRANCH))
        .and_then(|builder| builder.set_properties(properties))
        .and_then(|builder| builder.remove_snapshots(&expired_ids).remove_schemas(&unused_schemas))
        .and_then(TableMetadataBuilder::build)
        .map_err(|error| iceberg_error(error, "build table metadata"))?;
    if built.metadata.current_schema_id() != schema.schema_id() {
        return Err(Error::internal("the new schema was given another id"));
    }
    if !layout.is_of(&built.metadata) {
        return Err(Error::internal("the new layout was given other ids"));
    }
    Ok(built)
}

/// The offsets of all streams that feed the table, with those of one stream moved.
fn offsets_property(base: &Base, delivered: Option<(StreamName, Offsets)>) -> Result<String> {
    let mut all = base.all_offsets()?;
    all.extend(delivered.map(|(stream, offsets)| (stream.to_string(), offsets)));
    serde_json::to_string(&all).map_err(|error| Error::internal("write offsets").with_source(error))
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
