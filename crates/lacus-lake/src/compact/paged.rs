//! Row groups that are too large to be in memory whole: read page by page, as their rows are decoded.
//!
//! Other engines write row groups of 128 MB and more. The library asks for the bytes of a page where it decodes them, and waits: so
//! this is done on a thread for such work. In memory are a page of each column, and a little behind it.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use bytes::Bytes;
use lacus_core::{Error, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::data_file::parquet_error;
use crate::deletes::DeletedRows;
use crate::store::store_error;
use crate::table::LiveFile;

/// The most bytes of a row group, in the columns that are read, that are in memory whole.
pub(super) const WHOLE_BYTES_MAX: u64 = 16 << 20;
/// Bytes that are read with a page: mostly, the header of the next one is among them.
const AHEAD_BYTES: u64 = 16 << 10;

/// Whether a file has a row group that is too large in these columns.
pub(super) fn has_large_row_groups(file: &ParquetMetaData, read: &ProjectionMask) -> bool {
    let bytes = |group: &RowGroupMetaData| chunks_of(group, read).map(|range| range.end - range.start).sum::<u64>();
    file.row_groups().iter().any(|group| bytes(group) > WHOLE_BYTES_MAX)
}

/// Where the columns of a row group are in its file.
fn chunks_of<'a>(group: &'a RowGroupMetaData, read: &'a ProjectionMask) -> impl Iterator<Item = Range<u64>> + 'a {
    let leaves = group.columns().iter().enumerate().filter(move |(leaf, _)| read.leaf_included(*leaf));
    leaves.map(|(_, chunk)| {
        let (start, length) = chunk.byte_range();
        start..start.saturating_add(length)
    })
}

/// The rows of a file, in order and without deleted ones. None while a thread has them.
pub(super) struct Paged(Option<Box<Rows>>);

struct Rows {
    store: Arc<dyn ObjectStore>,
    path: Path,
    file_bytes: u64,
    file: ArrowReaderMetadata,
    read: ProjectionMask,
    deleted: DeletedRows,
    batch_rows: usize,
    /// The row group that comes next, and the row of the file that it begins with.
    next_group: usize,
    first_row: u64,
    /// The one that is being read.
    group: Option<(ParquetRecordBatchReader, Arc<Pages>)>,
}

impl Paged {
    /// The rows of a file with these columns, so many at once.
    pub(super) fn open(
        store: &Arc<dyn ObjectStore>,
        file: &LiveFile,
        metadata: &Arc<ParquetMetaData>,
        read: ProjectionMask,
        batch_rows: usize,
    ) -> Result<Self> {
        let opened = ArrowReaderMetadata::try_new(Arc::clone(metadata), ArrowReaderOptions::default());
        let rows = Rows {
            store: Arc::clone(store),
            path: Path::from(file.path.as_str()),
            file_bytes: file.bytes,
            file: opened.map_err(|error| parquet_error(error, &format!("read {}", file.path)))?,
            read,
            deleted: file.deleted.clone(),
            batch_rows,
            next_group: 0,
            first_row: 0,
            group: None,
        };
        Ok(Self(Some(Box::new(rows))))
    }

    /// The next rows; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let ended = || Error::internal("reading a large row group ended unexpectedly");
        let (mut rows, runtime) = (self.0.take().ok_or_else(ended)?, Handle::current());
        let (rows, batch) = spawn_blocking(move || {
            let batch = rows.next_batch(&runtime);
            (rows, batch)
        })
        .await
        .map_err(|error| ended().with_source(error))?;
        self.0 = Some(rows);
        batch
    }
}

impl Rows {
    fn next_batch(&mut self, runtime: &Handle) -> Result<Option<RecordBatch>> {
        loop {
            if self.group.is_none() && !self.begin(runtime)? {
                return Ok(None);
            }
            let Some((rows, pages)) = &mut self.group else { continue };
            match rows.next() {
                None => self.group = None,
                Some(Ok(batch)) => return Ok(Some(batch)),
                Some(Err(error)) => {
                    let doing = format!("read {}", self.path);
                    return Err(match pages.take_failure() {
                        Some(error) => store_error(error, doing),
                        None => Error::internal(doing).with_source(error),
                    });
                }
            }
        }
    }

    /// Begins the next row group. Whether there is one.
    fn begin(&mut self, runtime: &Handle) -> Result<bool> {
        let Some(group) = self.file.metadata().row_groups().get(self.next_group) else { return Ok(false) };
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        let column = |range: Range<u64>| Column { at: range.start, range, bytes: Bytes::new() };
        let pages = Arc::new(Pages {
            store: Arc::clone(&self.store),
            path: self.path.clone(),
            file_bytes: self.file_bytes,
            runtime: runtime.clone(),
            columns: Mutex::new(chunks_of(group, &self.read).map(column).collect()),
            failure: Mutex::default(),
        });
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(PagesOf(Arc::clone(&pages)), self.file.clone())
            .with_projection(self.read.clone())
            .with_row_groups(vec![self.next_group])
            .with_row_selection(self.deleted.selection(self.first_row, rows))
            .with_batch_size(self.batch_rows)
            .build()
            .map_err(|error| parquet_error(error, &format!("read {}", self.path)))?;
        self.group = Some((reader, pages));
        self.next_group += 1;
        self.first_row += rows;
        Ok(true)
    }
}

/// The columns of a row group.
struct Pages {
    store: Arc<dyn ObjectStore>,
    path: Path,
    file_bytes: u64,
    runtime: Handle,
    columns: Mutex<Vec<Column>>,
    /// What the store said when it could not be read: the library passes on only the text.
    failure: Mutex<Option<object_store::Error>>,
}

/// A column: where it is in the file, and the part of it that was read last.
struct Column {
    range: Range<u64>,
    at: u64,
    bytes: Bytes,
}

impl Pages {
    /// The bytes from `start` on, at least `length` if the column has as many. Waits for the store.
    fn bytes_from(&self, start: u64, length: u64) -> Result<Bytes, ParquetError> {
        let mut columns = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        let column = columns.iter_mut().find(|column| column.range.contains(&start));
        let column =
            column.ok_or_else(|| ParquetError::EOF(format!("byte {start} belongs to no column that is read")))?;
        if let Some(rest) = column.rest_from(start)
            && rest.len() as u64 >= length
        {
            return Ok(rest);
        }
        let end = start.saturating_add(length).saturating_add(AHEAD_BYTES).min(column.range.end);
        let fetched = self.runtime.block_on(self.store.get_range(&self.path, start..end)).map_err(|error| {
            let told = ParquetError::General(error.to_string());
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            told
        })?;
        (column.at, column.bytes) = (start, fetched.clone());
        Ok(fetched)
    }

    fn take_failure(&self) -> Option<object_store::Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Column {
    /// What is in memory from `start` on, if that is not nothing.
    fn rest_from(&self, start: u64) -> Option<Bytes> {
        let skipped = usize::try_from(start.checked_sub(self.at)?).ok()?;
        (skipped < self.bytes.len()).then(|| self.bytes.slice(skipped..))
    }
}

/// As the library reads them.
struct PagesOf(Arc<Pages>);

impl Length for PagesOf {
    fn len(&self) -> u64 {
        self.0.file_bytes
    }
}

impl ChunkReader for PagesOf {
    type T = BytesFrom;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BytesFrom { pages: Arc::clone(&self.0), at: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.0.bytes_from(start, length as u64)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF(format!("byte {start} is followed by fewer than {length} of its column")));
        }
        Ok(bytes.slice(..length))
    }
}

/// The bytes from a place on.
struct BytesFrom {
    pages: Arc<Pages>,
    at: u64,
}

impl Read for BytesFrom {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let bytes = self.pages.bytes_from(self.at, 1).map_err(io::Error::other)?;
        let length = buffer.len().min(bytes.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        self.at += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use lacus_core::Kind;

    use super::*;
    use crate::compact::tests::large_rows;
    use crate::fixture::Place;

    #[tokio::test]
    async fn of_a_large_row_group_a_few_pages_are_in_memory() {
        let place = Place::new();
        let lake = place.open().await;
        let (store, mut file) = (Arc::clone(&lake.inner().files.store), large_rows(&lake, 0..250));
        file.deleted = DeletedRows::of(vec![0, 120, 249]);
        let path = lake.inner().directory.join(&file.path);
        let opened = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&path).unwrap()).unwrap();
        let (metadata, all) = (opened.metadata(), ProjectionMask::all());
        assert!(metadata.num_row_groups() == 1 && has_large_row_groups(metadata, &all));
        assert!(!has_large_row_groups(metadata, &ProjectionMask::leaves(opened.parquet_schema(), [0])));
        let open = || Paged::open(&store, &file, metadata, all.clone(), 16).unwrap();
        let (mut paged, mut found) = (open(), Vec::new());
        while let Some(batch) = paged.next().await.unwrap() {
            let (numbers, texts) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_string::<i32>());
            for (number, text) in numbers.values().iter().zip(texts) {
                assert_eq!(text.unwrap(), number.to_string().repeat(50_000));
                found.push(*number);
            }
            let (_, pages) = paged.0.as_ref().unwrap().group.as_ref().unwrap();
            let in_memory: usize = pages.columns.lock().unwrap().iter().map(|column| column.bytes.len()).sum();
            assert!(in_memory < 4 << 20, "{in_memory} of {} bytes are in memory", file.bytes);
        }
        assert!(found.into_iter().eq((1..249).filter(|number| *number != 120)));
        std::fs::remove_file(&path).unwrap();
        let error = open().next().await.unwrap_err();
        assert!(error.kind() == Kind::Corrupt && error.chain().contains(&file.path), "{}", error.chain());
    }
}
