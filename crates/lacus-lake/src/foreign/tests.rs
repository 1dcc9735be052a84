//! Another engine at work: it writes files, manifests and lists by itself, and asks for commits.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Date32Array, Decimal128Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::{Date32Type, Int64Type};
use bytes::Bytes;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, Literal, MAIN_BRANCH, ManifestContentType, ManifestFile,
    ManifestWriterBuilder, NestedField, Operation, PartitionSpec, PrimitiveType, SchemaRef, Snapshot,
    SnapshotReference, SnapshotRetention, Struct, Summary, Transform, Type,
};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::compact::FileSizes;
use crate::data_file::encode;
use crate::expiry::SNAPSHOTS_MAX;
use crate::file_stats::Placement;
use crate::fixture::{Place, append, commit, numbers, plain, rows, rows_of, stream};
use crate::kernel::{AddedFile, Base};
use crate::manifests::{NewEntry, NewManifest, write_manifest, write_manifest_list};
use crate::other_names::STANDS_FOR;
use crate::partition_types::Sources;
use crate::table::LiveFile;
use crate::{ColumnType, Piece, RowPlace, SchemaChange, TableSchema, Target, Version};

const ALL: FileSizes = FileSizes { target_bytes: 1 << 30, files_min: 2 };
/// The partition of the engine's rows, which no stream has.
const THEIRS: u32 = 7;

/// What an engine loaded of a table.
struct Engine {
    seen: Base,
}

/// How a snapshot differs from the one before it.
enum Doing {
    /// Rows of partition [`THEIRS`] with these offsets come.
    Append(std::ops::Range<u64>),
    /// A file that is there comes.
    Add(Box<iceberg::spec::DataFile>),
    /// The same, in a manifest that says that the columns are these.
    AddAs(Box<iceberg::spec::DataFile>, SchemaRef),
    /// The oldest file goes.
    DropFile,
    /// The first row of the newest file is deleted by position.
    DeleteRow,
}

impl Engine {
    fn load(table: &Table) -> Self {
        Self { seen: table.base().as_ref().clone() }
    }

    /// Does something, on top of what it loaded.
    async fn act(&self, lake: &Lake, name: &TableName, doing: Doing) -> Result<Arc<Table>> {
        let snapshot = self.snapshot(lake, name, doing).await;
        let requirements = vec![
            TableRequirement::UuidMatch { uuid: self.seen.metadata.uuid() },
            TableRequirement::RefSnapshotIdMatch {
                r#ref: MAIN_BRANCH.to_owned(),
                snapshot_id: self.seen.metadata.current_snapshot_id(),
            },
        ];
        let main = set_main(snapshot.snapshot_id());
        let updates = vec![TableUpdate::AddSnapshot { snapshot }, main];
        let commit = TableCommit { table: name.clone(), requirements, updates };
        Ok(lake.commit_tables(vec![commit]).await?.remove(0))
    }

    async fn snapshot(&self, lake: &Lake, name: &TableName, doing: Doing) -> Snapshot {
        let (files, metadata) = (&lake.inner().files, &self.seen.metadata);
        let id = (Uuid::new_v4().as_u64_pair().0 >> 1).cast_signed();
        let place = |file: String| files.warehouse.url(&format!("{}/{}/{id}-{file}", name.database(), name.table()));
        let schema = Arc::clone(metadata.current_schema());
        let spec = metadata.default_partition_spec().as_ref().clone();
        let mut manifests = self.seen.manifests.clone();
        let operation = match doing {
            Doing::Append(offsets) => {
                let table = TableSchema::from_iceberg(&schema, metadata.last_column_id()).unwrap();
                let encoded = encode(&[rows(&table, THEIRS, offsets)], None, &plain(&table)).unwrap();
                let url = place("data.parquet".to_owned());
                put(lake, &url, &encoded.bytes.clone().into());
                let AddedFile { file, .. } = encoded.describe(url, &schema, Placement::default()).unwrap();
                manifests.push(self.manifest(lake, &place("m0.avro".to_owned()), id, vec![added(file)]).await);
                Operation::Append
            }
            Doing::Add(file) => {
                manifests.push(self.manifest(lake, &place("m0.avro".to_owned()), id, vec![added(*file)]).await);
                Operation::Append
            }
            Doing::AddAs(file, schema) => {
                let url = place("m0.avro".to_owned());
                manifests.push(lying_manifest(lake, &url, id, schema, spec, vec![*file]).await);
                Operation::Append
            }
            Doing::DropFile => {
                let (mut entries, mut kept) = (Vec::new(), Vec::new());
                for manifest in manifests {
                    if manifest.content == ManifestContentType::Deletes {
                        kept.push(manifest);
                        continue;
                    }
                    for entry in files.entries(&manifest).await.unwrap() {
                        let is_first = entries.is_empty();
                        entries.push(if is_first { NewEntry::Removed(entry) } else { NewEntry::Existing(entry) });
                    }
                }
                kept.push(self.manifest(lake, &place("m0.avro".to_owned()), id, entries).await);
                manifests = kept;
                Operation::Delete
            }
            Doing::DeleteRow => {
                let live = files.files_of(&manifests, metadata).await.unwrap().data;
                let target = files.warehouse.url(&live.last().unwrap().path);
                let (url, content) = (place("deletes.parquet".to_owned()), DataContentType::PositionDeletes);
                let bytes = position_deletes(&target, 0);
                put(lake, &url, &bytes);
                let file = delete_file(url, content, bytes.len() as u64);
                let url = place("m0.avro".to_owned());
                let memory = FileIO::new_with_memory();
                let output = memory.new_output(&url).unwrap();
                let mut writer = ManifestWriterBuilder::new(output, Some(id), schema, spec).build_v2_deletes();
                writer.add_file(file, -1).unwrap();
                manifests.push(writer.write_manifest_file().await.unwrap());
                put(lake, &url, &memory.new_input(&url).unwrap().read().await.unwrap());
                Operation::Delete
            }
        };
        // The rest of what a summary may say is left out, as engines may.
        let is_append = operation == Operation::Append;
        let added = is_append.then(|| ("added-data-files".to_owned(), "1".to_owned()));
        let additional_properties = added.into_iter().collect();
        let (parent, sequence) = (metadata.current_snapshot_id(), metadata.next_sequence_number());
        let list = place("list.avro".to_owned());
        let (bytes, _) = write_manifest_list(&list, id, parent, sequence, manifests).await.unwrap();
        put(lake, &list, &bytes);
        Snapshot::builder()
            .with_snapshot_id(id)
            .with_parent_snapshot_id(parent)
            .with_sequence_number(sequence)
            .with_timestamp_ms(lake.inner().clock.now().as_millis().max(metadata.last_updated_ms()))
            .with_manifest_list(list)
            .with_summary(Summary { operation, additional_properties })
            .with_schema_id(metadata.current_schema_id())
            .build()
    }
}

impl Engine {
    async fn manifest(&self, lake: &Lake, url: &str, snapshot_id: i64, entries: Vec<NewEntry>) -> ManifestFile {
        let schema = Arc::clone(self.seen.metadata.current_schema());
        let spec = self.seen.metadata.default_partition_spec().as_ref().clone();
        let (sources, content) = (&Sources::new(), ManifestContentType::Data);
        let new = NewManifest { url, snapshot_id, schema, spec, sources, content, entries };
        let (bytes, manifest) = write_manifest(new).await.unwrap();
        put(lake, url, &bytes);
        manifest
    }
}

/// A manifest of new files, with these columns.
async fn lying_manifest(
    lake: &Lake,
    url: &str,
    snapshot_id: i64,
    schema: SchemaRef,
    spec: PartitionSpec,
    files: Vec<iceberg::spec::DataFile>,
) -> ManifestFile {
    let entries = files.into_iter().map(added).collect();
    let (sources, content) = (&Sources::new(), ManifestContentType::Data);
    let new = NewManifest { url, snapshot_id, schema, spec, sources, content, entries };
    let (bytes, manifest) = write_manifest(new).await.unwrap();
    put(lake, url, &bytes);
    manifest
}

fn added(file: iceberg::spec::DataFile) -> NewEntry {
    NewEntry::Added(Box::new(file))
}

/// Has main be a snapshot.
fn set_main(snapshot: i64) -> TableUpdate {
    let retention =
        SnapshotRetention::Branch { min_snapshots_to_keep: None, max_snapshot_age_ms: None, max_ref_age_ms: None };
    TableUpdate::SetSnapshotRef {
        ref_name: MAIN_BRANCH.to_owned(),
        reference: SnapshotReference::new(snapshot, retention),
    }
}

fn put(lake: &Lake, url: &str, bytes: &Bytes) {
    let inner = lake.inner();
    let path = inner.directory.join(inner.files.warehouse.path(url).unwrap().as_ref());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn position_deletes(target: &str, place: i64) -> Bytes {
    let columns: [(&str, ArrayRef); 2] =
        [("file_path", Arc::new(StringArray::from(vec![target]))), ("pos", Arc::new(Int64Array::from(vec![place])))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes.into()
}

fn delete_file(url: String, content: DataContentType, bytes: u64) -> iceberg::spec::DataFile {
    DataFileBuilder::default()
        .content(content)
        .file_path(url)
        .file_format(DataFileFormat::Parquet)
        .record_count(1)
        .file_size_in_bytes(bytes)
        .build()
        .unwrap()
}

async fn deliver(lake: &Lake, table: &Arc<Table>, offsets: std::ops::Range<u64>) {
    append(table, &numbers(), offsets.clone());
    commit(lake, &[(table, &numbers())], offsets.end).await.unwrap();
}

async fn merge(lake: &Lake, table: &Arc<Table>) -> bool {
    lake.compact(table, ALL, Arc::new(AtomicBool::new(false))).await.unwrap().is_some()
}

fn new_table(name: &str) -> NewTable {
    let field = |id, name: &str, kind| Arc::new(NestedField::required(id, name, Type::Primitive(kind)));
    let schema = Schema::builder()
        .with_fields([field(1, "id", PrimitiveType::Long), field(2, "day", PrimitiveType::Date)])
        .build()
        .unwrap();
    NewTable {
        name: TableName::new(name).unwrap(),
        location: None,
        schema,
        partition_spec: None,
        write_order: None,
        properties: HashMap::new(),
    }
}

/// What must be so whatever happened: rows, no findings but files that the engine left, and the same after reopening.
async fn check_all(lake: Lake, place: &Place, name: &TableName, expected: &BTreeMap<(i32, i64), ()>) -> Lake {
    for lake in [lake, place.open().await] {
        let table = lake.table(name).unwrap();
        let found: BTreeMap<_, _> = rows_of(&lake, &table).into_keys().map(|key| (key, ())).collect();
        assert_eq!(found, *expected);
        let findings = lake.check().await.unwrap();
        let damage: Vec<_> = findings.into_iter().filter(|finding| finding.is_damage).collect();
        assert_eq!(damage, []);
    }
    place.open().await
}

#[tokio::test]
async fn an_append_that_deliveries_overtook_is_put_on_top() {
    let place = Place::new();
    let lake = place.open().await;
    let name = stream().table();
    let table = lake.create_table(&name, numbers()).await.unwrap();
    deliver(&lake, &table, 0..5).await;
    let engine = Engine::load(&table);
    deliver(&lake, &table, 5..9).await;
    deliver(&lake, &table, 9..13).await;
    assert!(merge(&lake, &table).await);
    engine.act(&lake, &name, Doing::Append(0..3)).await.unwrap();
    let state = table.state();
    assert_eq!(state.delivered, crate::fixture::offsets(&[13]), "offsets are never lost");
    assert_eq!(rows_of(&lake, &table).len(), 16);
    let last = table.snapshots().pop().unwrap();
    assert_eq!((last.operation.as_str(), last.summary["total-data-files"].as_str()), ("append", "2"));
    // What it saw is too old for anything else now, and its own append counts as somebody else's.
    for doing in [Doing::DropFile, Doing::DeleteRow, Doing::Append(3..4)] {
        let refused = engine.act(&lake, &name, doing).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Conflict, "{refused}");
    }
    deliver(&lake, &table, 13..16).await;
    assert_eq!(rows_of(&lake, &table).len(), 19);
}

#[tokio::test]
async fn deleted_rows_stay_deleted_when_files_are_merged() {
    let place = Place::new();
    let lake = place.open().await;
    let name = stream().table();
    let table = lake.create_table(&name, numbers()).await.unwrap();
    deliver(&lake, &table, 0..5).await;
    deliver(&lake, &table, 5..9).await;
    Engine::load(&table).act(&lake, &name, Doing::DeleteRow).await.unwrap();
    assert_eq!((table.state().files[1].live_rows(), table.state().delete_files.len()), (3, 1));
    deliver(&lake, &table, 9..12).await;
    let expected: BTreeMap<_, _> = (0..12).filter(|offset| *offset != 5).map(|offset| ((0, offset), ())).collect();
    let lake = check_all(lake, &place, &name, &expected).await;
    let table = lake.table(&name).unwrap();
    let (before, unmerged) = (table.state().snapshot_id.unwrap(), table.state().files.len());
    assert!(merge(&lake, &table).await);
    let state = table.state();
    assert_eq!((state.files.len(), state.delete_files.len()), (1, 0), "what deletes nothing goes");
    let summary = table.snapshots().pop().unwrap().summary;
    assert_eq!((summary["removed-delete-files"].as_str(), summary["removed-position-deletes"].as_str()), ("1", "1"));
    let past = lake.table_at(&table, &Version::Snapshot(before)).await.unwrap();
    let rows: u64 = past.files.iter().map(LiveFile::live_rows).sum();
    assert_eq!((past.files.len(), past.delete_files.len(), rows), (unmerged, 1, 11), "the past keeps its deletes");
    let lake = check_all(lake, &place, &name, &expected).await;
    let table = lake.table(&name).unwrap();
    let back = lake.rollback(&table, Version::Snapshot(before)).await.unwrap();
    assert_eq!((back.rows_before, back.rows_after, table.state().delete_files.len()), (11, 11, 1));
    let lake = check_all(lake, &place, &name, &expected).await;
    let table = lake.table(&name).unwrap();
    assert!(merge(&lake, &table).await);
    lake.forget_history(&table).await.unwrap();
    let leftovers = lake.inner().catalog.leftovers().await.unwrap();
    assert!(leftovers.iter().any(|path| path.ends_with("-deletes.parquet")), "{leftovers:?}");
    check_all(lake, &place, &name, &expected).await;
}

#[tokio::test]
async fn delete_files_stay_while_one_of_their_files_does() {
    let place = Place::new();
    let lake = place.open().await;
    let name = stream().table();
    let table = lake.create_table(&name, numbers()).await.unwrap();
    deliver(&lake, &table, 0..5).await;
    Engine::load(&table).act(&lake, &name, Doing::DeleteRow).await.unwrap();
    deliver(&lake, &table, 5..9).await;
    deliver(&lake, &table, 9..12).await;
    Engine::load(&table).act(&lake, &name, Doing::DeleteRow).await.unwrap();
    let state = table.state();
    assert_eq!(state.delete_files.len(), 2);
    let removed = state.files[..1].to_vec();
    let change = crate::change::FileChange { operation: Operation::Delete, removed, added: Vec::new() };
    assert!(crate::change::change_files(lake.inner(), &table, change).await.is_ok());
    assert_eq!(table.state().delete_files.len(), 1);
    let expected: BTreeMap<_, _> = (5..12).filter(|offset| *offset != 9).map(|offset| ((0, offset), ())).collect();
    check_all(lake, &place, &name, &expected).await;
}

#[tokio::test]
async fn a_file_that_an_engine_took_back_stays_when_its_first_snapshot_expires() {
    let place = Place::new();
    let lake = place.open().await;
    let name = stream().table();
    let table = lake.create_table(&name, numbers()).await.unwrap();
    deliver(&lake, &table, 0..1).await;
    // As Spark does it when changes are audited first: a snapshot beside main, whose files main gets later.
    let engine = Engine::load(&table);
    let staged = engine.snapshot(&lake, &name, Doing::Append(0..2)).await;
    let files = &lake.inner().files;
    let manifest = files.manifests(&staged).await.unwrap().pop().unwrap();
    let file = files.entries(&manifest).await.unwrap()[0].data_file().clone();
    let updates = vec![TableUpdate::AddSnapshot { snapshot: staged }];
    lake.commit_tables(vec![TableCommit { table: name.clone(), requirements: Vec::new(), updates }]).await.unwrap();
    Engine::load(&table).act(&lake, &name, Doing::Add(Box::new(file.clone()))).await.unwrap();
    let again = Engine::load(&table).act(&lake, &name, Doing::Add(Box::new(file))).await.unwrap_err();
    assert_eq!(again.kind(), Kind::Invalid, "{again}");
    let commits = u64::try_from(SNAPSHOTS_MAX).unwrap();
    for offset in 1..commits {
        deliver(&lake, &table, offset..offset + 1).await;
    }
    assert!(table.snapshots().iter().all(|snapshot| snapshot.operation == "append"));
    let leftovers = lake.inner().catalog.leftovers().await.unwrap();
    let is_staged = |path: &String| manifest.manifest_path.ends_with(path.as_str());
    assert!(leftovers.iter().any(is_staged), "the staged snapshot expired: {leftovers:?}");
    let theirs = (0..2).map(|offset| ((THEIRS.cast_signed(), offset), ()));
    let expected = (0..commits.cast_signed()).map(|offset| ((0, offset), ())).chain(theirs).collect();
    assert!(leftovers.iter().all(|path| !path.ends_with("-data.parquet")), "{leftovers:?}");
    check_all(lake, &place, &name, &expected).await;
}

#[tokio::test]
async fn files_of_others_and_files_that_go_are_refused() {
    let place = Place::new();
    let lake = place.open().await;
    let (name, copy) = (stream().table(), TableName::new("copy").unwrap());
    let table = lake.create_table(&name, numbers()).await.unwrap();
    for first in [0, 2, 4] {
        deliver(&lake, &table, first..first + 2).await;
    }
    let other = lake.create_table(&copy, numbers()).await.unwrap();
    let files = &lake.inner().files;
    let manifest = table.base().manifests[0].clone();
    let file = files.entries(&manifest).await.unwrap()[0].data_file().clone();
    let refused = Engine::load(&other).act(&lake, &copy, Doing::Add(Box::new(file.clone()))).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Invalid, "{refused}");
    assert!(refused.chain().contains("is of table"), "{}", refused.chain());
    assert!(merge(&lake, &table).await);
    lake.forget_history(&table).await.unwrap();
    let refused = Engine::load(&table).act(&lake, &name, Doing::Add(Box::new(file))).await.unwrap_err();
    assert!(refused.chain().contains("is being deleted"), "{}", refused.chain());
    assert_eq!(rows_of(&lake, &table).len(), 6);
}

#[tokio::test]
async fn a_row_that_is_deleted_while_its_file_is_merged_does_not_come_back() {
    let place = Place::new();
    let lake = place.open().await;
    let name = stream().table();
    let table = lake.create_table(&name, numbers()).await.unwrap();
    deliver(&lake, &table, 0..5).await;
    let seen = table.state().files.to_vec();
    Engine::load(&table).act(&lake, &name, Doing::DeleteRow).await.unwrap();
    let change = crate::change::FileChange { operation: Operation::Delete, removed: seen, added: Vec::new() };
    let Err(failed) = crate::change::change_files(lake.inner(), &table, change).await else { panic!("it merged") };
    assert_eq!(failed.error.kind(), Kind::Conflict);
}

#[tokio::test]
async fn what_would_lose_rows_of_a_delivered_table_is_refused() {
    let place = Place::new();
    let lake = place.open().await;
    let name = stream().table();
    let table = lake.create_table(&name, numbers()).await.unwrap();
    deliver(&lake, &table, 0..5).await;
    let (first, engine) = (table.snapshots()[0].id, table.base().as_ref().clone());
    deliver(&lake, &table, 5..9).await;
    let offsets = HashMap::from([("lacus.offsets".to_owned(), "{}".to_owned())]);
    let updates = [
        TableUpdate::SetProperties { updates: offsets },
        TableUpdate::RemoveProperties { removals: vec!["lacus.offsets".to_owned()] },
        set_main(first),
        TableUpdate::RemoveSnapshots { snapshot_ids: vec![table.state().snapshot_id.unwrap()] },
        TableUpdate::RemoveSnapshotRef { ref_name: MAIN_BRANCH.to_owned() },
        TableUpdate::SetCurrentSchema { schema_id: 1 },
        TableUpdate::SetLocation { location: "file:///tmp/elsewhere".to_owned() },
    ];
    let before = table.state().metadata_location.clone();
    for update in updates {
        let commit = TableCommit { table: name.clone(), requirements: Vec::new(), updates: vec![update.clone()] };
        let refused = lake.commit_tables(vec![commit]).await.unwrap_err();
        assert!(matches!(refused.kind(), Kind::Denied | Kind::Invalid), "{update:?}: {refused}");
    }
    assert_eq!(table.state().metadata_location, before);
    for refused in [lake.drop_table(&name, true).await, lake.rename_table(&name, &TableName::new("x").unwrap()).await] {
        assert_eq!(refused.unwrap_err().kind(), Kind::Denied);
    }
    // Nobody says what it was built on, and it was not on the newest.
    let stale = Engine { seen: engine };
    let snapshot = stale.snapshot(&lake, &name, Doing::DropFile).await;
    let main = set_main(snapshot.snapshot_id());
    let updates = vec![TableUpdate::AddSnapshot { snapshot }, main];
    let commit = TableCommit { table: name.clone(), requirements: Vec::new(), updates };
    let refused = lake.commit_tables(vec![commit]).await.unwrap_err();
    assert!(matches!(refused.kind(), Kind::Conflict | Kind::Invalid), "{refused}");
    assert_eq!(rows_of(&lake, &table).len(), 9);
    let note = HashMap::from([("owner".to_owned(), "them".to_owned())]);
    let update = TableUpdate::SetProperties { updates: note };
    let commit = TableCommit { table: name.clone(), requirements: Vec::new(), updates: vec![update] };
    lake.commit_tables(vec![commit]).await.unwrap();
    deliver(&lake, &table, 9..12).await;
    assert_eq!(table.metadata().1.properties()["owner"], "them", "a delivery builds on it");
}

#[tokio::test]
async fn tables_come_go_and_come_back() {
    let place = Place::new();
    let lake = place.open().await;
    let owner = Properties::from([("owner".to_owned(), "them".to_owned())]);
    lake.create_database("shop", &owner).await.unwrap();
    assert_eq!(lake.create_database("shop", &owner).await.unwrap_err().kind(), Kind::Exists);
    let table = lake.make_table(new_table("shop.orders")).await.unwrap();
    assert_eq!(lake.make_table(new_table("shop.orders")).await.unwrap_err().kind(), Kind::Exists);
    assert_eq!(lake.drop_database("shop").await.unwrap_err().kind(), Kind::Conflict);
    assert_eq!(table.state().schema.system, None);
    let (old, new) = (table.name().clone(), TableName::new("shop.sales").unwrap());
    lake.rename_table(&old, &new).await.unwrap();
    assert!(lake.table(&old).is_none());
    let again = lake.make_table(new_table("shop.orders")).await.unwrap();
    assert_ne!(again.metadata().1.location(), table.metadata().1.location(), "no two tables share a place");
    drop((lake, table, again));
    let lake = place.open().await;
    let (location, _) = lake.table(&new).unwrap().metadata();
    lake.drop_table(&new, false).await.unwrap();
    assert_eq!(lake.drop_table(&new, false).await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(lake.check().await.unwrap(), []);
    drop(lake);
    let lake = place.open().await;
    assert!(lake.table(&new).is_none());
    lake.register_table(&new, &location).await.unwrap();
    assert_eq!(lake.check().await.unwrap(), []);
    lake.drop_table(&new, true).await.unwrap();
    lake.drop_table(&old, true).await.unwrap();
    lake.drop_database("shop").await.unwrap();
    assert!(!lake.databases().await.unwrap().contains_key("shop"));
}

#[tokio::test]
async fn a_table_that_events_come_to_meanwhile_is_neither_dropped_nor_renamed() {
    let place = Place::new();
    let lake = place.open().await;
    let other = TableName::new("others").unwrap();
    for is_dropped in [true, false] {
        let table = lake.make_table(new_table("orders")).await.unwrap();
        let publishing = lake.inner().publishing.lock().await;
        let gone = async {
            if is_dropped {
                lake.drop_table(table.name(), true).await
            } else {
                lake.rename_table(table.name(), &other).await
            }
        };
        let mut gone = Box::pin(gone);
        assert!(futures::poll!(&mut gone).is_pending());
        tokio::task::yield_now().await;
        append(&table, &numbers(), 0..3);
        drop(publishing);
        assert_eq!(gone.await.unwrap_err().kind(), Kind::Denied);
        table.forget_tail().unwrap();
        lake.drop_table(table.name(), true).await.unwrap();
    }
    assert!(lake.table(&other).is_none());
}

#[tokio::test]
async fn a_registration_that_nobody_heard_of_is_found_by_the_next() {
    let place = Place::new();
    let lake = place.open().await;
    let table = lake.make_table(new_table("orders")).await.unwrap();
    let (name, (location, _)) = (table.name().clone(), table.metadata());
    lake.drop_table(&name, false).await.unwrap();
    let catalog = &lake.inner().catalog;
    let unheard = crate::catalog::Publication {
        moves: vec![crate::catalog::PointerMove { table: name.clone(), from: None, to: location.clone() }],
        written: catalog.leftovers().await.unwrap(),
        ..crate::catalog::Publication::default()
    };
    catalog.publish(unheard, lake.inner().clock.now()).await.unwrap();
    lake.register_table(&name, &location).await.unwrap();
    assert_eq!(lake.table(&name).unwrap().metadata().0, location);
    assert_eq!(lake.check().await.unwrap(), []);
}

#[tokio::test]
async fn another_name_of_a_database_has_no_tables_of_its_own() {
    let place = Place::new();
    let lake = place.open().await;
    lake.create_database("shop", &Properties::new()).await.unwrap();
    assert_eq!(lake.create_other_name("other", "nothing").await.unwrap_err().kind(), Kind::NotFound);
    lake.create_other_name("other", "shop").await.unwrap();
    lake.create_other_name("third", "other").await.unwrap();
    let orders = TableName::new("shop.orders").unwrap();
    for name in ["shop.orders", "other.orders", "third.orders"] {
        assert_eq!(lake.meant(&TableName::new(name).unwrap()), orders);
    }
    assert_eq!(lake.make_table(new_table("other.orders")).await.unwrap_err().kind(), Kind::Invalid);
    lake.make_table(new_table("shop.orders")).await.unwrap();
    let hidden = TableName::new("third.orders").unwrap();
    assert_eq!(lake.rename_table(&orders, &hidden).await.unwrap_err().kind(), Kind::Invalid);
    // Tables that are there would be hidden.
    let properties = Properties::from([(STANDS_FOR.to_owned(), "main".to_owned())]);
    assert_eq!(lake.create_database("fourth", &properties).await.unwrap_err().kind(), Kind::Invalid);
    let mean = vec![STANDS_FOR.to_owned()];
    for (name, removals, updates) in [("shop", Vec::new(), properties), ("other", mean, Properties::new())] {
        let refused = lake.change_database_properties(name, removals, updates).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Invalid, "{name}");
    }
    lake.change_database_properties("other", Vec::new(), owned_by("them")).await.unwrap();
    assert_eq!(lake.stands_for("other").as_deref(), Some("shop"));
}

fn owned_by(owner: &str) -> Properties {
    Properties::from([("owner".to_owned(), owner.to_owned())])
}

#[tokio::test]
async fn properties_are_removed_and_set_and_all_others_stay() {
    let place = Place::new();
    let lake = place.open().await;
    lake.create_database("shop", &Properties::from(["a", "b"].map(|name| (name.to_owned(), "1".to_owned()))))
        .await
        .unwrap();
    let removals = ["a", "c"].map(str::to_owned).to_vec();
    let told = lake.change_database_properties("shop", removals, owned_by("them")).await.unwrap();
    assert_eq!(told, RemovedProperties { removed: vec!["a".to_owned()], missing: vec!["c".to_owned()] });
    let left =
        Properties::from([("b", "1"), ("owner", "them")].map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(lake.databases().await.unwrap()["shop"], left);
    let nowhere = lake.change_database_properties("nowhere", Vec::new(), owned_by("them")).await;
    assert_eq!(nowhere.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_change_of_a_database_that_nobody_waits_for_is_whole() {
    let place = Place::new();
    let lake = place.open().await;
    let mut changing = Box::pin(lake.change_database_properties("main", Vec::new(), owned_by("them")));
    assert!(futures::poll!(&mut changing).is_pending());
    drop(changing);
    // It has its turn after the one before.
    let more = Properties::from([("more".to_owned(), "yes".to_owned())]);
    lake.change_database_properties("main", Vec::new(), more).await.unwrap();
    let main = lake.databases().await.unwrap().remove("main").unwrap();
    assert_eq!((main["owner"].as_str(), main["more"].as_str()), ("them", "yes"));
}

#[tokio::test]
async fn of_those_who_want_a_name_at_once_one_gets_it() {
    let place = Place::new();
    let lake = place.open().await;
    let properties = Properties::new();
    let made = futures::future::join_all((0..8).map(|_| lake.create_database("shop", &properties))).await;
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
    // A table of a database that only stands for another would not be found.
    let (name, table) =
        tokio::join!(lake.create_other_name("hidden", "shop"), lake.make_table(new_table("hidden.orders")));
    assert_ne!(name.is_ok(), table.is_ok());
    // Nor is a database dropped while it gets a table.
    let (table, dropped) = tokio::join!(lake.make_table(new_table("shop.orders")), lake.drop_database("shop"));
    table.unwrap();
    assert_eq!(dropped.unwrap_err().kind(), Kind::Conflict);
    // Nor does one that goes first get a table, or another name.
    lake.create_database("goes", &properties).await.unwrap();
    let (dropped, table, name) = tokio::join!(
        lake.drop_database("goes"),
        lake.make_table(new_table("goes.orders")),
        lake.create_other_name("stays", "goes")
    );
    dropped.unwrap();
    assert_eq!((table.unwrap_err().kind(), name.unwrap_err().kind()), (Kind::NotFound, Kind::NotFound));
    let gone = TableName::new("goes.orders").unwrap();
    let renamed = lake.rename_table(&TableName::new("shop.orders").unwrap(), &gone).await;
    assert_eq!(renamed.unwrap_err().kind(), Kind::NotFound);
    assert!(!lake.is_database("goes"));
}

#[tokio::test]
async fn several_tables_change_together_or_not_at_all() {
    let place = Place::new();
    let lake = place.open().await;
    let one = lake.make_table(new_table("one")).await.unwrap();
    let two = lake.make_table(new_table("two")).await.unwrap();
    let commit = |table: &Table, uuid| TableCommit {
        table: table.name().clone(),
        requirements: vec![TableRequirement::UuidMatch { uuid }],
        updates: vec![TableUpdate::SetProperties { updates: HashMap::from([("a".to_owned(), "1".to_owned())]) }],
    };
    let (uuids, before) = ((one.metadata().1.uuid(), two.metadata().1.uuid()), one.metadata().0);
    let refused = lake.commit_tables(vec![commit(&one, uuids.0), commit(&two, uuids.0)]).await.unwrap_err();
    assert_eq!((refused.kind(), one.metadata().0), (Kind::Conflict, before));
    lake.commit_tables(vec![commit(&one, uuids.0), commit(&two, uuids.1)]).await.unwrap();
    for table in [&one, &two] {
        assert_eq!(table.metadata().1.properties()["a"], "1");
    }
    assert_eq!(lake.check().await.unwrap(), []);
}

/// A file of some numbers as Hive has it: without the column that it is partitioned by.
fn of_hive(lake: &Lake, table: &Table, ids: &[i64], value: Literal) -> iceberg::spec::DataFile {
    let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), "1".to_owned())]);
    let field = arrow::datatypes::Field::new("id", arrow::datatypes::DataType::Int64, false).with_metadata(id);
    let schema = Arc::new(arrow::datatypes::Schema::new(vec![field]));
    let batch = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(ids.to_vec()))]).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let metadata = table.metadata().1;
    let url = format!("{}/data/{}.parquet", metadata.location(), ids[0]);
    let (rows, size) = (ids.len() as u64, bytes.len() as u64);
    put(lake, &url, &bytes.into());
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(url)
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::from_iter([Some(value)]))
        .partition_spec_id(metadata.default_partition_spec_id())
        .record_count(rows)
        .file_size_in_bytes(size)
        .value_counts(HashMap::from([(1, rows)]))
        .null_value_counts(HashMap::from([(1, 0)]))
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_file_that_lacks_the_column_of_its_partition_has_the_partitions_value() {
    let with = |kind| {
        let column = |id, name: &str, kind| Arc::new(NestedField::optional(id, name, Type::Primitive(kind)));
        let fields = [column(1, "id", PrimitiveType::Long), column(2, "day", kind)];
        Schema::builder().with_fields(fields).build().unwrap()
    };
    let days: ArrayRef = Arc::new(Date32Array::from(vec![20_000]));
    // A null in a required column could be refused; in the others nothing would tell it from the value that was lost.
    for schema in [new_table("migrated").schema, with(PrimitiveType::Date)] {
        Box::pin(files_of_hive_keep_their_partition(schema, Literal::date(20_000), &days)).await;
    }
    let amounts = Decimal128Array::from(vec![-1_250]).with_precision_and_scale(9, 2).unwrap();
    let schema = with(PrimitiveType::Decimal { precision: 9, scale: 2 });
    let amounts: ArrayRef = Arc::new(amounts);
    Box::pin(files_of_hive_keep_their_partition(schema, Literal::decimal(-1_250), &amounts)).await;
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values([[0_u8, 255]]));
    let schema = with(PrimitiveType::Binary);
    Box::pin(files_of_hive_keep_their_partition(schema, Literal::binary(vec![0, 255]), &bytes)).await;
}

/// Files of one partition, as they are and however they are written again. Its value is the one of `expected`.
async fn files_of_hive_keep_their_partition(schema: Schema, value: Literal, expected: &ArrayRef) {
    let place = Place::new();
    let lake = place.open().await;
    let by_day = UnboundPartitionSpec::builder().add_partition_field(2, "day", Transform::Identity).unwrap().build();
    let table = NewTable { schema, partition_spec: Some(by_day), ..new_table("migrated") };
    let table = lake.make_table(table).await.unwrap();
    let name = table.name().clone();
    for ids in [[1, 2], [3, 4]] {
        let file = of_hive(&lake, &table, &ids, value.clone());
        Engine::load(&table).act(&lake, &name, Doing::Add(Box::new(file))).await.unwrap();
    }
    assert_eq!(ids_of_one_day(&lake, &table, expected).await, [[1, 2], [3, 4]]);
    assert!(merge(&lake, &table).await);
    assert_eq!(ids_of_one_day(&lake, &table, expected).await, [[1, 2, 3, 4]]);
    // A statement that deletes a row writes the others again.
    let file = of_hive(&lake, &table, &[5, 6], value);
    Engine::load(&table).act(&lake, &name, Doing::Add(Box::new(file))).await.unwrap();
    let state = table.state();
    let file = state.files.iter().position(|file| file.path.ends_with("/5.parquet")).unwrap();
    let (pieces, taken) = tokio::sync::mpsc::channel(2);
    let place = RowPlace { file: u32::try_from(file).unwrap(), row: 0 };
    pieces.send(Piece::Gone(vec![place])).await.ok().unwrap();
    pieces.send(Piece::End).await.ok().unwrap();
    let target = Target::Old { table: Arc::clone(&table), state, may_repeat: false };
    lake.write(target, taken, Arc::default()).await.unwrap();
    assert_eq!(ids_of_one_day(&lake, &table, expected).await, [vec![1, 2, 3, 4], vec![6]]);
}

/// The numbers in each file of a table. All of its rows have this one day.
async fn ids_of_one_day(lake: &Lake, table: &Table, expected: &ArrayRef) -> Vec<Vec<i64>> {
    let (state, mut ids) = (table.state(), Vec::new());
    for file in state.files.iter() {
        let mut rows = lake.file_rows(file, &state.arrow_schema).await.unwrap();
        let mut of_file: Vec<i64> = Vec::new();
        while let Some(batch) = rows.next().await.unwrap() {
            let days = batch.column_by_name("day").unwrap();
            assert!((0..days.len()).all(|row| &days.slice(row, 1) == expected), "{days:?}");
            of_file.extend(batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().values().iter());
        }
        ids.push(of_file);
    }
    ids.sort_unstable();
    ids
}

/// A table by day, and its columns if days were texts.
async fn by_day(lake: &Lake, name: &str) -> (Arc<Table>, SchemaRef) {
    let by_day = UnboundPartitionSpec::builder().add_partition_field(2, "day", Transform::Identity).unwrap().build();
    let table = lake.make_table(NewTable { partition_spec: Some(by_day), ..new_table(name) }).await.unwrap();
    let column = |id, name: &str, kind| Arc::new(NestedField::optional(id, name, Type::Primitive(kind)));
    let columns = [column(1, "id", PrimitiveType::Long), column(2, "day", PrimitiveType::String)];
    (table, Arc::new(Schema::builder().with_fields(columns).build().unwrap()))
}

/// Nobody could read its rows, and no manifest could have it beside other files.
#[tokio::test]
async fn a_file_of_a_partition_of_another_type_is_refused() {
    let place = Place::new();
    let lake = place.open().await;
    let (table, texts) = by_day(&lake, "migrated").await;
    let file = Box::new(of_hive(&lake, &table, &[1, 2], Literal::string("monday")));
    let refused = Engine::load(&table).act(&lake, table.name(), Doing::AddAs(file, texts)).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Invalid, "{refused}");
    assert!(refused.chain().contains("data/1.parquet has no partition of spec 0"), "{}", refused.chain());
    let file = Box::new(of_hive(&lake, &table, &[3, 4], Literal::date(20_000)));
    Engine::load(&table).act(&lake, table.name(), Doing::Add(file)).await.unwrap();
}

/// A lake may have such files from before they were refused.
#[tokio::test]
async fn files_of_a_partition_of_another_type_keep_nothing_from_being_delivered_or_merged() {
    let place = Place::new();
    let lake = place.open().await;
    let (table, texts) = by_day(&lake, "t").await;
    let (name, spec) = (table.name().clone(), table.metadata().1.default_partition_spec().as_ref().clone());
    let file = Box::new(of_hive(&lake, &table, &[1, 2], Literal::date(20_000)));
    Engine::load(&table).act(&lake, &name, Doing::Add(file)).await.unwrap();
    let manifest = table.base().manifests[0].clone();
    let files = [[1, 2], [3, 4]].map(|ids| of_hive(&lake, &table, &ids, Literal::string("monday")));
    lying_manifest(&lake, &manifest.manifest_path, manifest.added_snapshot_id, texts, spec, files.into()).await;
    drop((lake, table));
    let lake = place.open().await;
    let table = lake.table(&name).unwrap();
    let schema = TableSchema::clone(&table.state().schema).with_system_columns();
    for offset in 0..30 {
        append(&table, &schema, offset..offset + 1);
        commit(&lake, &[(&table, &schema)], offset + 1).await.unwrap();
    }
    assert!(table.base().manifests.len() < 25, "small manifests are merged");
    let state = table.state();
    assert_eq!(state.files.iter().map(|file| file.rows).sum::<u64>(), 34);
    assert!(!merge(&lake, &table).await, "all others are alone in their partitions");
    let file = state.files.iter().find(|file| file.path.ends_with("/1.parquet")).unwrap();
    let told = lake.partition_of(&table, file);
    assert!(told[0].1.as_ref().is_some_and(|day| day.contains("monday")), "{told:?}");
    let refused = file.value_of_partition(state.arrow_schema.field_with_name("day").unwrap()).unwrap_err();
    assert!(refused.message().contains(&file.path), "{refused}");
}

/// Engines call a partition field as its column, and that may become the name of another one.
#[tokio::test]
async fn a_column_that_files_are_partitioned_by_leaves_its_name_to_another() {
    let place = Place::new();
    let lake = place.open().await;
    let by_day = UnboundPartitionSpec::builder().add_partition_field(2, "day", Transform::Identity).unwrap().build();
    let table = NewTable { partition_spec: Some(by_day), ..new_table("renamed") };
    let table = lake.make_table(table).await.unwrap();
    let name = table.name().clone();
    for ids in [[1, 2], [3, 4]] {
        let file = of_hive(&lake, &table, &ids, Literal::date(20_000));
        Engine::load(&table).act(&lake, &name, Doing::Add(Box::new(file))).await.unwrap();
    }
    let day = || vec!["day".to_owned()];
    let add = || vec![SchemaChange::Add { path: day(), kind: ColumnType::Long }];
    lake.alter(&table, vec![SchemaChange::Rename { path: day(), to: "d".to_owned() }]).await.unwrap();
    let refused = lake.alter(&table, add()).await.unwrap_err();
    assert!(refused.kind() == Kind::Conflict && refused.chain().contains("name of a partition field"), "{refused:?}");
    let spec = UnboundPartitionSpec::builder().with_spec_id(1).build();
    let updates = vec![TableUpdate::AddSpec { spec }, TableUpdate::SetDefaultSpec { spec_id: -1 }];
    let commit = TableCommit { table: name.clone(), requirements: Vec::new(), updates };
    lake.commit_tables(vec![commit]).await.unwrap();
    lake.alter(&table, add()).await.unwrap();
    // This writes a manifest with the columns of today.
    assert!(merge(&lake, &table).await);
    drop((lake, table));
    let lake = place.open().await;
    let table = lake.table(&name).unwrap();
    let state = table.state();
    let mut rows = lake.file_rows(&state.files[0], &state.arrow_schema).await.unwrap();
    let batch = rows.next().await.unwrap().unwrap();
    let days = batch.column_by_name("d").unwrap().as_primitive::<Date32Type>();
    assert!(days.len() == 4 && days.iter().all(|day| day == Some(20_000)), "{days:?}");
    assert_eq!(batch.column_by_name("day").unwrap().null_count(), 4);
}

/// Files that other engines took as they were may have no field ids.
#[tokio::test]
async fn columns_that_files_are_read_by_name_with_keep_their_names() {
    let place = Place::new();
    let lake = place.open().await;
    let table = lake.make_table(new_table("taken")).await.unwrap();
    let by_name = |mapping: &str| HashMap::from([("schema.name-mapping.default".to_owned(), mapping.to_owned())]);
    let path = |name: &str| vec![name.to_owned()];
    let rename = |from, to: &str| vec![SchemaChange::Rename { path: path(from), to: to.to_owned() }];
    let add = |name| vec![SchemaChange::Add { path: path(name), kind: ColumnType::Long }];
    let mapping = r#"[{"field-id":1,"names":["id"]},{"field-id":2,"names":["day"]}]"#;
    lake.set_properties(table.name(), by_name(mapping)).await.unwrap();
    let refused = lake.alter(&table, rename("day", "d")).await.unwrap_err();
    assert!(refused.kind() == Kind::Invalid && refused.chain().contains("\"day\" can't be renamed"), "{refused:?}");
    // An engine that does so, and changes the mapping, too.
    let schema = table.metadata().1.current_schema().as_ref().clone();
    let renamed = schema.as_struct().fields().iter().map(|field| {
        let name = if field.id == 2 { "d".to_owned() } else { field.name.clone() };
        Arc::new(NestedField { name, ..field.as_ref().clone() })
    });
    let renamed = Schema::builder().with_schema_id(1).with_fields(renamed).build().unwrap();
    let mapping = mapping.replace(r#"["day"]"#, r#"["day","d"]"#);
    let updates = vec![
        TableUpdate::AddSchema { schema: renamed },
        TableUpdate::SetCurrentSchema { schema_id: -1 },
        TableUpdate::SetProperties { updates: by_name(&mapping) },
    ];
    let commit = TableCommit { table: table.name().clone(), requirements: Vec::new(), updates };
    assert_eq!(lake.commit_tables(vec![commit]).await.unwrap_err().kind(), Kind::Invalid);
    // Nobody reads what is dropped, but another column of its name would have it.
    lake.alter(&table, add("more")).await.unwrap();
    lake.alter(&table, rename("more", "most")).await.unwrap();
    lake.alter(&table, vec![SchemaChange::Drop { path: path("day") }]).await.unwrap();
    assert_eq!(lake.alter(&table, add("day")).await.unwrap_err().kind(), Kind::Invalid);
    lake.set_properties(table.name(), by_name("[]")).await.unwrap();
    lake.alter(&table, add("day")).await.unwrap();
    lake.alter(&table, rename("day", "d")).await.unwrap();
}

/// A table of fields in objects and arrays that files have by their names.
async fn nested_by_name(lake: &Lake) -> Arc<Table> {
    let column = |id, name: &str, kind| crate::Column::new(id, name, kind);
    let place = vec![column(3, "city", ColumnType::Text), column(4, "zip", ColumnType::Text)];
    let visit = vec![column(7, "page", ColumnType::Text), column(8, "at", ColumnType::Long)];
    let visits = ColumnType::List(Box::new(column(6, "element", ColumnType::Struct(visit))));
    let columns = vec![column(2, "place", ColumnType::Struct(place)), column(5, "visits", visits)];
    let columns = TableSchema { columns, last_id: 8, ..TableSchema::default() };
    let new = NewTable::of(TableName::new("nested").unwrap(), &columns, &[], &[], HashMap::new()).unwrap();
    let table = lake.make_table(new).await.unwrap();
    let metadata = table.metadata().1;
    let id = |path: &str| metadata.current_schema().field_id_by_name(path).unwrap();
    let mapped = |path: &str, fields: &str| {
        let name = path.rsplit('.').next().unwrap();
        format!(r#"{{"field-id":{},"names":["{name}"],"fields":[{fields}]}}"#, id(path))
    };
    let place = [mapped("place.city", ""), mapped("place.zip", "")].join(",");
    let visit = [mapped("visits.element.page", ""), mapped("visits.element.at", "")].join(",");
    let visits = mapped("visits", &mapped("visits.element", &visit));
    let mapping = format!("[{},{visits}]", mapped("place", &place));
    let by_name = HashMap::from([("schema.name-mapping.default".to_owned(), mapping)]);
    lake.set_properties(table.name(), by_name).await.unwrap();
    table
}

#[tokio::test]
async fn fields_that_files_are_read_by_name_with_leave_their_names_to_no_other() {
    let place = Place::new();
    let lake = place.open().await;
    let table = nested_by_name(&lake).await;
    let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
    let add = |text: &str| vec![SchemaChange::Add { path: path(text), kind: ColumnType::Long }];
    assert_eq!(table.state().schema.taken, [""; 0]);
    for dropped in ["place.city", "visits.element.page"] {
        lake.alter(&table, vec![SchemaChange::Drop { path: path(dropped) }]).await.unwrap();
        let refused = lake.alter(&table, add(dropped)).await.unwrap_err();
        assert!(refused.kind() == Kind::Invalid && refused.chain().contains("can't be called"), "{refused:?}");
    }
    assert_eq!(table.state().schema.taken, ["place.city", "visits[].page"]);
    for other in ["city", "place.page", "visits.element.city"] {
        lake.alter(&table, add(other)).await.unwrap();
    }
}

/// Dividing by a width of nothing would end whoever writes a row.
#[tokio::test]
async fn layouts_that_no_row_fits_are_refused() {
    let place = Place::new();
    let lake = place.open().await;
    let spec =
        |transform| UnboundPartitionSpec::builder().add_partition_field(1, "id_part", transform).unwrap().build();
    for transform in [Transform::Bucket(0), Transform::Truncate(0), Transform::Truncate(u32::MAX), Transform::Unknown] {
        let new = NewTable { partition_spec: Some(spec(transform)), ..new_table("laid_out") };
        let refused = lake.make_table(new).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Invalid, "{transform}: {refused}");
    }
    let table = lake.make_table(new_table("laid_out")).await.unwrap();
    for (transform, is_possible) in [(Transform::Bucket(0), false), (Transform::Bucket(8), true)] {
        let updates = vec![TableUpdate::AddSpec { spec: spec(transform) }, TableUpdate::SetDefaultSpec { spec_id: -1 }];
        let commit = TableCommit { table: table.name().clone(), requirements: Vec::new(), updates };
        assert_eq!(lake.commit_tables(vec![commit]).await.is_ok(), is_possible, "{transform}");
    }
}

/// A delivery that tried would never end: Iceberg refuses such a column.
#[tokio::test]
async fn no_event_makes_a_column_of_a_partition_fields_name() {
    let place = Place::new();
    let lake = place.open().await;
    let spec = UnboundPartitionSpec::builder().add_partition_field(1, "id_bucket", Transform::Bucket(4)).unwrap();
    let spec = spec.add_partition_field(2, "day", Transform::Identity).unwrap().build();
    let table = lake.make_table(NewTable { partition_spec: Some(spec), ..new_table("laid_out") }).await.unwrap();
    assert_eq!(table.state().schema.taken, ["id_bucket"]);
    let name = table.name().clone();
    drop((lake, table));
    assert_eq!(place.open().await.table(&name).unwrap().state().schema.taken, ["id_bucket"]);
}

/// It would show what files without field ids have of the column that was called so.
#[tokio::test]
async fn no_event_makes_a_column_that_files_have_by_name() {
    let place = Place::new();
    let lake = place.open().await;
    let table = lake.make_table(new_table("taken_in")).await.unwrap();
    let mapping = r#"[{"field-id":1,"names":["id"]},{"field-id":2,"names":["day","d"]}]"#;
    let by_name = HashMap::from([("schema.name-mapping.default".to_owned(), mapping.to_owned())]);
    lake.set_properties(table.name(), by_name).await.unwrap();
    assert_eq!(table.state().schema.taken, ["d"]);
    lake.alter(&table, vec![SchemaChange::Drop { path: vec!["day".to_owned()] }]).await.unwrap();
    assert_eq!(table.state().schema.taken, ["d", "day"]);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Deliver,
    Load,
    Append,
    DropFile,
    DeleteRow,
    Merge,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Deliver),
        3 => Just(Step::Load),
        4 => Just(Step::Append),
        1 => Just(Step::DropFile),
        2 => Just(Step::DeleteRow),
        2 => Just(Step::Merge),
        1 => Just(Step::Reopen),
    ]
}

/// What should be there.
#[derive(Default)]
struct Model {
    rows: BTreeMap<(i32, i64), ()>,
    next: u64,
    theirs: u64,
    /// Commits of the engine since it loaded the table.
    own: u32,
    /// The table's snapshot when the engine loaded it.
    seen: Option<i64>,
}

async fn play(steps: Vec<Step>) {
    let place = Place::new();
    let mut lake = place.open().await;
    let name = stream().table();
    let mut table = lake.create_table(&name, numbers()).await.unwrap();
    let (mut model, mut engine) = (Model::default(), Engine::load(&table));
    for step in steps {
        match step {
            Step::Deliver => {
                deliver(&lake, &table, model.next..model.next + 3).await;
                model.rows.extend((model.next..model.next + 3).map(|offset| ((0, offset.cast_signed()), ())));
                model.next += 3;
            }
            Step::Load => {
                engine = Engine::load(&table);
                (model.own, model.seen) = (0, table.state().snapshot_id);
            }
            Step::Merge => drop(merge(&lake, &table).await),
            Step::Reopen => {
                drop((lake, table));
                lake = place.open().await;
                table = lake.table(&name).unwrap();
            }
            Step::Append | Step::DropFile | Step::DeleteRow => {
                engine_step(&lake, &table, &engine, &mut model, step).await;
            }
        }
        let found: BTreeMap<_, _> = rows_of(&lake, &table).into_keys().map(|key| (key, ())).collect();
        assert_eq!(found, model.rows, "after {step:?}");
        assert_eq!(
            table.state().delivered,
            if model.next == 0 { lacus_core::Offsets::default() } else { crate::fixture::offsets(&[model.next]) }
        );
    }
    drop(table);
    check_all(lake, &place, &name, &model.rows).await;
}

async fn engine_step(lake: &Lake, table: &Arc<Table>, engine: &Engine, model: &mut Model, step: Step) {
    let before: BTreeMap<_, _> = rows_of(lake, table);
    let has_files = !engine.seen.manifests.is_empty()
        && !lake.inner().files.files_of(&engine.seen.manifests, &engine.seen.metadata).await.unwrap().data.is_empty();
    let doing = match step {
        Step::Append => Doing::Append(model.theirs..model.theirs + 2),
        _ if !has_files => return,
        Step::DropFile => Doing::DropFile,
        _ => Doing::DeleteRow,
    };
    let is_current = model.seen == table.state().snapshot_id;
    let done = engine.act(lake, table.name(), doing).await;
    let may = if matches!(step, Step::Append) { model.own == 0 } else { is_current };
    match done {
        Ok(_) => {
            assert!(may, "{step:?} on what was not the newest");
            model.own += 1;
        }
        Err(error) => {
            assert!(!may && error.kind() == Kind::Conflict, "{step:?}: {}", error.chain());
            return;
        }
    }
    match step {
        Step::Append => {
            model.rows.extend(
                (model.theirs..model.theirs + 2).map(|offset| ((THEIRS.cast_signed(), offset.cast_signed()), ())),
            );
            model.theirs += 2;
        }
        // Which rows these were is for the engine's own reader to say: no more than a file's, and none came.
        _ => {
            let after = rows_of(lake, table);
            assert!(after.keys().all(|key| before.contains_key(key)));
            let gone = before.len() - after.len();
            assert!(gone <= before.len() && (!matches!(step, Step::DeleteRow) || gone <= 1));
            model.rows = after.into_keys().map(|key| (key, ())).collect();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever deliveries, merges and an engine do at once, rows are those of a simple model, and offsets are never lost.
    #[test]
    fn deliveries_merges_and_engines_agree_with_a_model(steps in prop::collection::vec(step(), 1..20)) {
        tokio::runtime::Runtime::new().unwrap().block_on(play(steps));
    }
}
