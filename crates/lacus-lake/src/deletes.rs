//! Rows that other engines deleted without writing their files anew: Iceberg's position delete files.
//!
//! A position delete file names data files and places of rows in them. It counts for data files that are as old as itself or
//! older. What lacus can't apply (equality deletes, deletion vectors) is refused with the file's name: rows that are
//! deleted are never shown.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::StreamExt;
use iceberg::spec::{
    DataContentType, DataFileFormat, ManifestContentType, ManifestEntryRef, ManifestFile, TableMetadata,
};
use lacus_core::{Context, Error, Kind, Result};
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::arrow::async_reader::{ParquetObjectReader, ParquetRecordBatchStreamBuilder};

use crate::manifests::MetadataFiles;
use crate::table::LiveFile;

/// The most deleted rows in position delete files that a table may have: each takes 8 bytes of memory.
const DELETED_ROWS_MAX: usize = 8 << 20;
/// Columns of a position delete file (Iceberg specification, "Position Delete Files").
const FILE_PATH: &str = "file_path";
const POS: &str = "pos";

/// The deleted rows of one file by number, sorted and distinct.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct DeletedRows(Option<Arc<[u64]>>);

impl DeletedRows {
    /// The rows at these places.
    #[must_use]
    pub fn of(mut places: Vec<u64>) -> Self {
        places.sort_unstable();
        places.dedup();
        Self((!places.is_empty()).then(|| places.into()))
    }

    /// The places.
    #[must_use]
    pub fn places(&self) -> &[u64] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether no row is deleted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The rows that remain of `rows` rows beginning at `first`, in the form that Parquet's reader takes.
    #[must_use]
    pub fn selection(&self, first: u64, rows: u64) -> RowSelection {
        let (places, end) = (self.places(), first + rows);
        let from = places.partition_point(|place| *place < first);
        let (mut selectors, mut next) = (Vec::new(), first);
        let number = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
        for place in places[from..].iter().take_while(|place| **place < end) {
            if *place > next {
                selectors.push(RowSelector::select(number(place - next)));
            }
            selectors.push(RowSelector::skip(1));
            next = place + 1;
        }
        if end > next {
            selectors.push(RowSelector::select(number(end - next)));
        }
        selectors.into()
    }
}

impl fmt::Debug for DeletedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} deleted rows", self.places().len())
    }
}

/// A position delete file.
#[derive(Debug, Clone)]
pub struct DeleteFile {
    /// The file itself.
    pub file: LiveFile,
    /// URLs of the data files that it names. They may be gone.
    targets: Arc<[String]>,
}

/// The files of a snapshot.
#[derive(Default)]
pub(crate) struct FilesOfSnapshot {
    /// Data files, in order, each with its deleted rows.
    pub(crate) data: Vec<LiveFile>,
    /// Position delete files.
    pub(crate) deletes: Vec<DeleteFile>,
}

/// The delete files that name one of these data files, and those that name none of them any more.
pub(crate) fn needed(deletes: &[DeleteFile], live: &HashSet<String>) -> (Vec<DeleteFile>, Vec<DeleteFile>) {
    deletes.iter().cloned().partition(|delete| delete.targets.iter().any(|target| live.contains(target)))
}

impl MetadataFiles {
    /// The live files of these manifests, in their order.
    ///
    /// # Errors
    /// `Invalid` for files that lacus can't read: it names them.
    pub(crate) async fn files_of(
        &self,
        manifests: &[ManifestFile],
        metadata: &TableMetadata,
    ) -> Result<FilesOfSnapshot> {
        let (mut found, mut deleted) = (FilesOfSnapshot::default(), Deleted::default());
        for manifest in manifests {
            if manifest.content != ManifestContentType::Deletes {
                continue;
            }
            for entry in self.readable_entries(manifest).await? {
                let file = self.live_file(entry.data_file(), manifest.partition_spec_id, metadata)?;
                let sequence = entry.sequence_number().unwrap_or(i64::MAX);
                let targets = self.read_deletes(&file, sequence, &mut deleted).await;
                let targets = targets.context(format_args!("read {}", file.path))?;
                found.deletes.push(DeleteFile { file, targets: targets.into_iter().collect() });
            }
        }
        // One manifest at a time: an entry takes several times as much memory as what is kept of it.
        for manifest in manifests {
            if manifest.content != ManifestContentType::Data {
                continue;
            }
            for entry in self.readable_entries(manifest).await? {
                let mut file = self.live_file(entry.data_file(), manifest.partition_spec_id, metadata)?;
                file.deleted = deleted.take(&entry);
                found.data.push(file);
            }
        }
        Ok(found)
    }

    async fn readable_entries(&self, manifest: &ManifestFile) -> Result<Vec<ManifestEntryRef>> {
        let entries = self.entries(manifest).await?;
        entries.iter().try_for_each(must_be_readable)?;
        Ok(entries)
    }

    /// Reads a delete file and says which data files it names.
    async fn read_deletes(&self, file: &LiveFile, sequence: i64, deleted: &mut Deleted) -> Result<BTreeSet<String>> {
        let unreadable = |error| Error::corrupt("it is no position delete file").with_source(error);
        let path = object_store::path::Path::from(file.path.as_str());
        let reader = ParquetObjectReader::new(Arc::clone(&self.store), path).with_file_size(file.bytes);
        let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(unreadable)?;
        let mut batches = builder.build().map_err(unreadable)?;
        let mut targets = BTreeSet::new();
        while let Some(batch) = batches.next().await {
            deleted.add(&batch.map_err(unreadable)?, sequence, &mut targets)?;
        }
        Ok(targets)
    }
}

/// Deleted rows by the URL of their file, with the sequence number of the delete.
#[derive(Default)]
struct Deleted {
    files: HashMap<String, Vec<(i64, u64)>>,
    rows: usize,
}

impl Deleted {
    fn add(&mut self, batch: &RecordBatch, sequence: i64, targets: &mut BTreeSet<String>) -> Result<()> {
        self.rows += batch.num_rows();
        if self.rows > DELETED_ROWS_MAX {
            return Err(Error::invalid(format!("more than {DELETED_ROWS_MAX} rows are in position delete files"))
                .with_hint("have the engine that wrote them rewrite the data files"));
        }
        let malformed = || Error::corrupt("a position delete file has no file_path and pos");
        let paths = batch.column_by_name(FILE_PATH).ok_or_else(malformed)?;
        let paths = arrow::compute::cast(paths, &arrow::datatypes::DataType::Utf8).map_err(|_| malformed())?;
        let places = batch.column_by_name(POS).ok_or_else(malformed)?;
        let (paths, places) = (paths.as_string::<i32>(), places.as_primitive_opt::<Int64Type>().ok_or_else(malformed)?);
        if paths.null_count() + places.null_count() > 0 {
            return Err(malformed());
        }
        for (path, place) in paths.iter().flatten().zip(places.values()) {
            let place = u64::try_from(*place).map_err(|_| malformed())?;
            if !targets.contains(path) {
                targets.insert(path.to_owned());
            }
            match self.files.get_mut(path) {
                Some(places) => places.push((sequence, place)),
                None => drop(self.files.insert(path.to_owned(), vec![(sequence, place)])),
            }
        }
        Ok(())
    }

    fn take(&mut self, data: &ManifestEntryRef) -> DeletedRows {
        let written = data.sequence_number().unwrap_or(0);
        let (places, rows) = (self.files.remove(data.file_path()).unwrap_or_default(), data.data_file().record_count());
        let count = |(sequence, place): &(i64, u64)| *sequence >= written && *place < rows;
        DeletedRows::of(places.into_iter().filter(count).map(|(_, place)| place).collect())
    }
}

/// Refuses files that would be read wrongly.
pub(crate) fn must_be_readable(entry: &ManifestEntryRef) -> Result<()> {
    let file = entry.data_file();
    let what = match (file.content_type(), file.file_format()) {
        (DataContentType::Data | DataContentType::PositionDeletes, DataFileFormat::Parquet) => return Ok(()),
        (DataContentType::EqualityDeletes, _) => "equality deletes",
        (DataContentType::PositionDeletes, DataFileFormat::Puffin) => "a deletion vector",
        _ => "no Parquet",
    };
    Err(Error::new(Kind::Invalid, format!("file {} has {what}, which lacus does not read", file.file_path()))
        .with_hint("write Parquet, and delete by position (write.delete.mode=copy-on-write, or merge-on-read in format version 2)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_selected() {
        let deleted = DeletedRows::of(vec![9, 0, 3, 4, 3]);
        assert_eq!(deleted.places(), [0, 3, 4, 9]);
        let kept = |first: u64, rows: u64| {
            let (mut place, mut kept) = (first, Vec::new());
            for selector in deleted.selection(first, rows).iter() {
                let end = place + selector.row_count as u64;
                if !selector.skip {
                    kept.extend(place..end);
                }
                place = end;
            }
            assert_eq!(place, first + rows);
            kept
        };
        assert_eq!(kept(0, 5), [1, 2]);
        assert_eq!(kept(5, 5), [5, 6, 7, 8]);
        assert_eq!(kept(3, 2), Vec::<u64>::new());
        assert_eq!(kept(10, 3), [10, 11, 12]);
    }
}
