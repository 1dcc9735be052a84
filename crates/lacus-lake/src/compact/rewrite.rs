//! Reading files and writing their rows as one, in parts and within a bounded memory.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, SchemaRef};
use futures::StreamExt;
use iceberg::spec::SortOrderRef;
use lacus_core::{Error, Result};
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::{ParquetObjectReader, ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};
use parquet::file::metadata::ParquetMetaData;
use tokio::task::spawn_blocking;

use super::decoded::{WHOLE_ROWS_BYTES, whole_rows_at_once};
use super::output::{Output, target};
use super::paged::{Paged, has_large_row_groups};
use super::sorted::Merging;
use super::units::{Unit, fit, units_of};
use crate::conform::{conform, is_same_column};
use crate::data_file::{FileForm, Footer, parquet_error};
use crate::lake::Inner;
use crate::of_partition::{OfPartition, columns_of_partition, with_columns};
use crate::schema::{OFFSET, PARTITION};
use crate::store::store_error;
use crate::table::LiveFile;

/// Rows that are read and encoded at once, if they are not large.
const BATCH_ROWS: usize = 1_024;

/// Reads files and writes their rows as one, durably, on a thread for such work: in their common order, or file after file.
/// None if it was stopped.
pub(super) async fn rewrite(
    lake: &Arc<Inner>,
    files: &[LiveFile],
    form: FileForm,
    order: Option<SortOrderRef>,
    path: &str,
    stop: Arc<AtomicBool>,
) -> Result<Option<(Footer, u64)>> {
    let (store, files, target) = (Arc::clone(&lake.files.store), files.to_vec(), target(lake, path));
    apart(move || async move {
        let mut output = Output::begin(target, &form, stop)?;
        let is_done = match order {
            Some(order) => merge(&store, &files, order, &mut output).await?,
            None => concatenate(&store, &files, &mut output).await?,
        };
        if is_done { output.end().await.map(Some) } else { Ok(None) }
    })
    .await
}

/// Writes the remaining rows of a file as another file, durably and in their order, on a thread for such work.
pub(crate) async fn rewrite_some(
    lake: &Arc<Inner>,
    file: LiveFile,
    form: FileForm,
    path: &str,
    stays: impl Fn(&RecordBatch) -> BooleanArray + Send + 'static,
) -> Result<(Footer, u64)> {
    let written = rewrite_unless(lake, file, form, path, stays, Arc::default()).await?;
    written.ok_or_else(|| Error::internal("nobody stops this"))
}

/// The same; none if it was stopped. `stays` is asked about each row once, in order.
pub(crate) async fn rewrite_unless(
    lake: &Arc<Inner>,
    file: LiveFile,
    form: FileForm,
    path: &str,
    mut stays: impl FnMut(&RecordBatch) -> BooleanArray + Send + 'static,
    stop: Arc<AtomicBool>,
) -> Result<Option<(Footer, u64)>> {
    let (store, target) = (Arc::clone(&lake.files.store), target(lake, path));
    apart(move || async move {
        let mut input = Input::open(&store, &file, &form.schema).await?;
        let mut output = Output::begin(target, &form, stop)?;
        while let Some(batch) = input.next().await? {
            let left = filter_record_batch(&batch, &stays(&batch))
                .map_err(|error| Error::internal("leave rows out").with_source(error))?;
            if !output.write(&left).await? {
                return Ok(None);
            }
        }
        output.end().await.map(Some)
    })
    .await
}

/// Whether a file has rows that do not stay. Only their places in the log are read.
pub(crate) async fn has_other_than(
    lake: &Arc<Inner>,
    file: LiveFile,
    stays: impl Fn(&RecordBatch) -> BooleanArray + Send + 'static,
) -> Result<bool> {
    let store = Arc::clone(&lake.files.store);
    apart(move || async move {
        let unreadable = |error| store_or_parquet(error, format!("read {}", file.path));
        let builder = reader_of(&store, &file).await?;
        let places = ProjectionMask::columns(builder.parquet_schema(), [PARTITION, OFFSET]);
        let kept = file.deleted.selection(0, file.rows);
        let mut batches = builder.with_projection(places).with_row_selection(kept).build().map_err(unreadable)?;
        while let Some(batch) = batches.next().await {
            if stays(&batch.map_err(unreadable)?).false_count() > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    })
    .await
}

/// Does work on a thread for such work.
async fn apart<T: Send + 'static, F: Future<Output = Result<T>>>(
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<T> {
    let runtime = tokio::runtime::Handle::current();
    spawn_blocking(move || runtime.block_on(work()))
        .await
        .map_err(|error| Error::internal("rewriting files ended unexpectedly").with_source(error))?
}

async fn reader_of(
    store: &Arc<dyn ObjectStore>,
    file: &LiveFile,
) -> Result<ParquetRecordBatchStreamBuilder<ParquetObjectReader>> {
    let reader = ParquetObjectReader::new(Arc::clone(store), Path::from(file.path.as_str())).with_file_size(file.bytes);
    let opened = ParquetRecordBatchStreamBuilder::new(reader).await;
    opened.map_err(|error| store_or_parquet(error, format!("read {}", file.path)))
}

/// Writes what becomes of a file's rows as another file, durably, on a thread for such work.
pub(crate) async fn rewrite_each(
    lake: &Arc<Inner>,
    file: &LiveFile,
    form: FileForm,
    path: &str,
    mut change: impl FnMut(RecordBatch) -> Result<RecordBatch> + Send + 'static,
) -> Result<(Footer, u64)> {
    let (store, target) = (Arc::clone(&lake.files.store), target(lake, path));
    let file = file.clone();
    apart(move || async move {
        let mut input = Input::open(&store, &file, &form.schema).await?;
        let mut output = Output::begin(target, &form, Arc::default())?;
        while let Some(batch) = input.next().await? {
            output.write(&change(batch)?).await?;
        }
        output.end().await
    })
    .await
}

/// Reads the rows of a file with these columns, on a thread for such work, until `look` says to stop.
pub(crate) async fn read_each<T: Send + 'static>(
    lake: &Inner,
    file: &LiveFile,
    schema: SchemaRef,
    mut seen: T,
    look: impl Fn(&mut T, RecordBatch) -> Result<bool> + Send + 'static,
) -> Result<T> {
    let (store, file) = (Arc::clone(&lake.files.store), file.clone());
    apart(move || async move {
        let mut input = Input::open(&store, &file, &schema).await?;
        while let Some(batch) = input.next().await? {
            if !look(&mut seen, batch)? {
                break;
            }
        }
        Ok(seen)
    })
    .await
}

/// Writes one file after the other. Whether it came to the end.
async fn concatenate(store: &Arc<dyn ObjectStore>, files: &[LiveFile], output: &mut Output) -> Result<bool> {
    let mut units: Vec<Unit> = Vec::new();
    for file in files {
        let of_file = units_of(store, file, &output.schema).await?;
        if of_file.iter().any(Unit::is_large) {
            let before = std::mem::take(&mut units);
            if !write_units(before, output).await? || !copy(store, file, output).await? {
                return Ok(false);
            }
            continue;
        }
        for mut next in of_file {
            if !fit(&units, &next) && !output.write_units(&mut std::mem::take(&mut units)).await? {
                return Ok(false);
            }
            next.fetch(store).await?;
            units.push(next);
        }
    }
    write_units(units, output).await
}

/// Writes row groups as one, if there are some. Whether it came to the end.
async fn write_units(mut units: Vec<Unit>, output: &mut Output) -> Result<bool> {
    if units.is_empty() { Ok(true) } else { output.write_units(&mut units).await }
}

/// Writes a file row by row. Whether it came to the end.
async fn copy(store: &Arc<dyn ObjectStore>, file: &LiveFile, output: &mut Output) -> Result<bool> {
    let mut input = Input::open(store, file, &output.schema).await?;
    while let Some(batch) = input.next().await? {
        if !output.write(&batch).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Merges sorted files. Whether it came to the end.
async fn merge(
    store: &Arc<dyn ObjectStore>,
    files: &[LiveFile],
    order: SortOrderRef,
    output: &mut Output,
) -> Result<bool> {
    let mut inputs = Vec::with_capacity(files.len());
    for file in files {
        inputs.push(Input::open(store, file, &output.schema).await?);
    }
    let mut merging = Merging::begin(inputs, order).await?;
    while let Some(batch) = merging.next(BATCH_ROWS, WHOLE_ROWS_BYTES).await? {
        if !output.write(&batch).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A file being read: its rows in order, without deleted ones.
pub(crate) struct Input {
    path: String,
    batches: Batches,
    schema: SchemaRef,
    of_partition: OfPartition,
    /// What the columns that are read have in the file, compressed.
    pub(crate) bytes: u64,
}

/// How a file is read: row group by row group, or page by page where these are large.
enum Batches {
    Whole(Box<ParquetRecordBatchStream<ParquetObjectReader>>),
    Paged(Paged),
}

impl Input {
    pub(crate) async fn open(store: &Arc<dyn ObjectStore>, file: &LiveFile, schema: &SchemaRef) -> Result<Self> {
        let unreadable = |error| store_or_parquet(error, format!("read {}", file.path));
        let builder = reader_of(store, file).await?;
        let wanted = |field: &Field| schema.fields().iter().any(|wanted| is_same_column(field, wanted));
        let of_partition = columns_of_partition(file, builder.schema(), schema)?;
        let roots: Vec<usize> =
            (0..).zip(builder.schema().fields()).filter(|(_, field)| wanted(field)).map(|(root, _)| root).collect();
        let projection = ProjectionMask::roots(builder.parquet_schema(), roots);
        let bytes = bytes_of(builder.metadata(), &projection);
        let rows = whole_rows_at_once(builder.metadata(), &projection, BATCH_ROWS);
        let batches = if has_large_row_groups(builder.metadata(), &projection) {
            Batches::Paged(Paged::open(store, file, builder.metadata(), projection, rows)?)
        } else {
            let kept = file.deleted.selection(0, file.rows);
            let builder = builder.with_projection(projection).with_row_selection(kept).with_batch_size(rows);
            Batches::Whole(Box::new(builder.build().map_err(unreadable)?))
        };
        Ok(Self { path: file.path.clone(), batches, schema: Arc::clone(schema), of_partition, bytes })
    }

    /// Its next rows, with today's columns.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let batch = match &mut self.batches {
            Batches::Whole(batches) => {
                let batch = batches.next().await.transpose();
                batch.map_err(|error| store_or_parquet(error, format!("read {}", self.path)))?
            }
            Batches::Paged(batches) => batches.next().await?,
        };
        let Some(batch) = batch else { return Ok(None) };
        conform(&with_columns(batch, &self.of_partition)?, &self.schema).map(Some)
    }
}

fn bytes_of(file: &ParquetMetaData, projection: &ProjectionMask) -> u64 {
    let chunks = file.row_groups().iter().flat_map(|group| group.columns().iter().enumerate());
    let read = chunks.filter(|(leaf, _)| projection.leaf_included(*leaf));
    read.map(|(_, chunk)| u64::try_from(chunk.compressed_size()).unwrap_or(0)).sum()
}

/// Converts an error: what can't be read or written now may pass, an invalid Parquet file is damage.
pub(super) fn store_or_parquet(error: parquet::errors::ParquetError, doing: String) -> Error {
    match error {
        parquet::errors::ParquetError::External(source) => match source.downcast::<object_store::Error>() {
            Ok(error) => store_error(*error, doing),
            Err(source) => parquet_error(parquet::errors::ParquetError::External(source), &doing),
        },
        error => parquet_error(error, &doing),
    }
}
