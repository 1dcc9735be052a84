//! Manifests and manifest lists: Iceberg's index of data files, read from the store and written to memory.
//!
//! Nothing here touches the store for writing; the commit does that, after it has recorded the names.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataFile, DataFileBuilder, FormatVersion, ManifestContentType, ManifestEntryRef, ManifestFile, ManifestList,
    ManifestListWriter, ManifestWriterBuilder, PartitionSpec, SchemaRef, Snapshot, TableMetadata,
};
use lacus_core::{Context, Error, Result};
use object_store::{ObjectStore, ObjectStoreExt};

use crate::deletes::DeletedRows;
use crate::file_stats::FileStats;
use crate::partition_types::{Sources, schema_for, sources_of, widened_file};
use crate::store::store_error;
use crate::table::LiveFile;
use crate::warehouse::Warehouse;

/// A reader of table metadata.
#[derive(Clone)]
pub(crate) struct MetadataFiles {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) warehouse: Arc<Warehouse>,
}

impl MetadataFiles {
    /// The bytes of a file of the lake.
    pub(crate) async fn read(&self, url: &str) -> Result<Bytes> {
        let path = self.warehouse.path(url)?;
        let found = self.store.get(&path).await.map_err(|error| store_error(error, format!("read {path}")))?;
        found.bytes().await.map_err(|error| store_error(error, format!("read {path}")))
    }

    /// A table's metadata.
    pub(crate) async fn metadata(&self, url: &str) -> Result<TableMetadata> {
        let bytes = self.read(url).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::corrupt(format!("table metadata {url} can't be read")).with_source(error))
    }

    /// The manifests of a snapshot.
    pub(crate) async fn manifests(&self, snapshot: &Snapshot) -> Result<Vec<ManifestFile>> {
        let url = snapshot.manifest_list();
        let bytes = self.read(url).await?;
        let list = ManifestList::parse_with_version(&bytes, FormatVersion::V2).map_err(|error| damaged(error, url))?;
        Ok(list.consume_entries().into_iter().collect())
    }

    /// The live entries of a manifest, with the snapshot ids and sequence numbers they inherit.
    pub(crate) async fn entries(&self, manifest: &ManifestFile) -> Result<Vec<ManifestEntryRef>> {
        Ok(self.entries_and_sources(manifest).await?.0)
    }

    /// The same, and the types of the columns that its files are partitioned by.
    pub(crate) async fn entries_and_sources(
        &self,
        manifest: &ManifestFile,
    ) -> Result<(Vec<ManifestEntryRef>, Sources)> {
        let url = &manifest.manifest_path;
        let bytes = self.read(url).await?;
        // Only `load_manifest` fills in inherited fields, and it reads through a `FileIO`.
        let memory = FileIO::new_with_memory();
        memory
            .new_output(url)
            .map_err(|error| iceberg_error(error, "read a manifest"))?
            .write(bytes)
            .await
            .map_err(|error| iceberg_error(error, "read a manifest"))?;
        let manifest = manifest.load_manifest(&memory).await.map_err(|error| damaged(error, url))?;
        let (mut entries, metadata) = manifest.into_parts();
        entries.retain(|entry| entry.is_alive());
        Ok((entries, sources_of(&metadata)))
    }

    /// Paths of all files that a table's metadata names, itself excluded.
    pub(crate) async fn reachable(&self, metadata: &TableMetadata) -> Result<BTreeSet<String>> {
        let mut urls: BTreeSet<String> = metadata.metadata_log().iter().map(|log| log.metadata_file.clone()).collect();
        urls.extend(metadata.statistics_iter().map(|statistics| statistics.statistics_path.clone()));
        urls.extend(metadata.partition_statistics_iter().map(|statistics| statistics.statistics_path.clone()));
        for snapshot in metadata.snapshots() {
            urls.insert(snapshot.manifest_list().to_owned());
            for manifest in self.manifests(snapshot).await? {
                if urls.insert(manifest.manifest_path.clone()) {
                    let entries = self.entries(&manifest).await?;
                    urls.extend(entries.iter().map(|entry| entry.file_path().to_owned()));
                }
            }
        }
        urls.iter().map(|url| Ok(self.warehouse.path(url)?.to_string())).collect()
    }

    /// The data files of a manifest, each with its deleted rows. A manifest of deletes has none.
    pub(crate) async fn files_of_manifest(
        &self,
        manifest: &ManifestFile,
        metadata: &TableMetadata,
    ) -> Result<Vec<LiveFile>> {
        if manifest.content == ManifestContentType::Deletes {
            return Ok(Vec::new());
        }
        let entries = self.entries(manifest).await?;
        entries.iter().map(|entry| self.live_file(&entry.data_file, manifest.partition_spec_id, metadata)).collect()
    }

    /// A data file as queries see it.
    pub(crate) fn live_file(&self, file: &DataFile, spec_id: i32, metadata: &TableMetadata) -> Result<LiveFile> {
        let path = self.warehouse.path(file.file_path())?.to_string();
        let stats = Arc::new(FileStats::of(file, spec_id, metadata));
        let (bytes, rows) = (file.file_size_in_bytes(), file.record_count());
        Ok(LiveFile { path, bytes, rows, stats, deleted: DeletedRows::default() })
    }
}

/// What goes into a new manifest.
pub(crate) struct NewManifest<'a> {
    pub(crate) url: &'a str,
    pub(crate) snapshot_id: i64,
    pub(crate) schema: SchemaRef,
    /// The partition spec of all its files.
    pub(crate) spec: PartitionSpec,
    /// The types of the columns that files are partitioned by, in the manifests that it replaces.
    pub(crate) sources: &'a Sources,
    /// Whether it names data or deletes.
    pub(crate) content: ManifestContentType,
    /// Its entries, in order.
    pub(crate) entries: Vec<NewEntry>,
}

/// One file in a new manifest.
pub(crate) enum NewEntry {
    /// It stays.
    Existing(ManifestEntryRef),
    /// This commit adds it.
    Added(Box<DataFile>),
    /// This commit removes it.
    Removed(ManifestEntryRef),
}

/// A manifest: its bytes, and what the list says about it.
pub(crate) async fn write_manifest(new: NewManifest<'_>) -> Result<(Bytes, ManifestFile)> {
    let failed = |error| iceberg_error(error, "write a manifest");
    let memory = FileIO::new_with_memory();
    let output = memory.new_output(new.url).map_err(failed)?;
    let spec = new.spec;
    let schema = schema_for(&new.schema, &spec, new.sources)?;
    let builder = ManifestWriterBuilder::new(output, Some(new.snapshot_id), Arc::clone(&schema), spec.clone());
    let mut writer = match new.content {
        ManifestContentType::Data => builder.build_v2_data(),
        ManifestContentType::Deletes => builder.build_v2_deletes(),
    };
    for entry in new.entries {
        match entry {
            // A negative number is left out and inherited from the commit.
            NewEntry::Added(file) => writer.add_file(widened_file(*file, &spec, &schema)?, -1),
            NewEntry::Existing(entry) => {
                let (snapshot, sequence) = numbers(&entry)?;
                let file = widened_file(entry.data_file().clone(), &spec, &schema)?;
                writer.add_existing_file(file, snapshot, sequence, entry.file_sequence_number)
            }
            NewEntry::Removed(entry) => {
                let (_, sequence) = numbers(&entry)?;
                let file = widened_file(bare(entry.data_file(), spec.spec_id())?, &spec, &schema)?;
                writer.add_delete_file(file, sequence, entry.file_sequence_number)
            }
        }
        .map_err(failed)?;
    }
    let manifest = writer.write_manifest_file().await.map_err(failed)?;
    let bytes = memory.new_input(new.url).map_err(failed)?.read().await.map_err(failed)?;
    // It stays until the commit is written: the library's bytes may have room for as many again.
    Ok((Bytes::copy_from_slice(&bytes), manifest))
}

/// A removed file, without column statistics: it may be removed because of their values.
fn bare(file: &DataFile, spec_id: i32) -> Result<DataFile> {
    let bare = DataFileBuilder::default()
        .content(file.content_type())
        .file_path(file.file_path().to_owned())
        .file_format(file.file_format())
        .partition(file.partition().clone())
        .partition_spec_id(spec_id)
        .record_count(file.record_count())
        .file_size_in_bytes(file.file_size_in_bytes())
        .build();
    bare.map_err(|error| Error::internal("describe a file that goes").with_source(error))
}

/// The snapshot and the sequence number that an entry was read with.
fn numbers(entry: &ManifestEntryRef) -> Result<(i64, i64)> {
    entry
        .snapshot_id()
        .zip(entry.sequence_number())
        .ok_or_else(|| Error::corrupt(format!("data file {} has no sequence number", entry.file_path())))
}

/// A manifest list, and the manifests as it numbered them.
pub(crate) async fn write_manifest_list(
    url: &str,
    snapshot_id: i64,
    parent: Option<i64>,
    sequence_number: i64,
    manifests: Vec<ManifestFile>,
) -> Result<(Bytes, Vec<ManifestFile>)> {
    let failed = |error| iceberg_error(error, "write a manifest list");
    let memory = FileIO::new_with_memory();
    let output = memory.new_output(url).map_err(failed)?.writer().await.map_err(failed)?;
    let mut writer = ManifestListWriter::v2(output, snapshot_id, parent, sequence_number);
    writer.add_manifests(manifests.into_iter()).map_err(failed)?;
    writer.close().await.map_err(failed)?;
    let bytes = memory.new_input(url).map_err(failed)?.read().await.map_err(failed)?;
    let list = ManifestList::parse_with_version(&bytes, FormatVersion::V2).map_err(failed).context("read it back")?;
    Ok((bytes, list.consume_entries().into_iter().collect()))
}

fn damaged(error: iceberg::Error, url: &str) -> Error {
    Error::corrupt(format!("{url} can't be read")).with_hint("restore it from a backup").with_source(error)
}

/// An error of the library while it works in memory.
pub(crate) fn iceberg_error(error: iceberg::Error, doing: &str) -> Error {
    Error::internal(doing).with_source(error)
}
