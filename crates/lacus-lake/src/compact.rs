//! Compaction: many small files become a few large ones, with the same rows in the same order.
//!
//! Files are merged with their neighbours, so that rows which came together stay together. A run of files is merged when
//! it is at least twice as large as its largest file: a row is written again only into a file of twice the size, so
//! it is never written often. Deliveries and queries go on meanwhile; only the moment in which the pointer moves is
//! a commit as any other. The files that were merged stay until no snapshot has them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use iceberg::spec::Operation;
use lacus_core::{Context, Error, Result};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use parquet::arrow::async_reader::{ParquetObjectReader, ParquetRecordBatchStreamBuilder};
use parquet::arrow::async_writer::{AsyncArrowWriter, ParquetObjectWriter};
use parquet::file::metadata::ParquetMetaData;
use tokio::task::spawn_blocking;

use crate::change::{FileChange, change_files};
use crate::commit::Failed;
use crate::conform::conform;
use crate::data_file::{describe, parquet_error, properties, rows_of};
use crate::kernel::{AddedFile, Names};
use crate::lake::Inner;
use crate::leftovers::{discard, sweep};
use crate::schema::TableSchema;
use crate::table::{LiveFile, Table};

/// The most files that one compaction merges.
const FILES_MAX: usize = 256;
/// Rows that are read and encoded at once.
const BATCH_ROWS: usize = 1_024;
/// Memory of the row group that is being encoded.
const ROW_GROUP_BYTES_MAX: usize = 16 << 20;
/// Bytes of a part of the file, of which one is written while the next one fills. S3 wants 5 MiB at least.
const PART_BYTES: usize = 6 << 20;
/// These files are written once and read often.
const ZSTD_LEVEL: i32 = 3;

/// Which files are small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSizes {
    /// How large a file should become, in bytes. Files of more than half of it are left alone.
    pub target_bytes: u64,
    /// The fewest small files that are merged.
    pub files_min: usize,
}

/// What one compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionReport {
    /// Files that were merged into one.
    pub files: usize,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes_before: u64,
    /// Bytes of the new file.
    pub bytes_after: u64,
}

/// Merges the oldest run of small files of a table, if there is one.
pub(crate) async fn compact(
    lake: Arc<Inner>,
    table: Arc<Table>,
    sizes: FileSizes,
    stop: Arc<AtomicBool>,
) -> Result<Option<CompactionReport>> {
    let doing = format!("compact table \"{}\"", table.name());
    let _one_at_a_time = table.compacting.lock().await;
    let state = table.state();
    let Some(run) = small_files(&state.files, sizes) else { return Ok(None) };
    let files = state.files[run].to_vec();
    let path = Names::after(table.name(), &state.metadata_location).data(0);
    match merge(&lake, &table, &files, path.clone(), stop).await {
        Ok(report) => {
            report.iter().for_each(|report| lake.add_merged(report));
            sweep(&lake).await;
            Ok(report)
        }
        Err(failed) => {
            if !failed.may_have_happened {
                discard(&lake, vec![path]).await;
            }
            Err(failed.error).context(doing)
        }
    }
}

/// The first run of neighbours that are worth to be merged.
fn small_files(files: &[LiveFile], sizes: FileSizes) -> Option<Range<usize>> {
    let is_small = |file: &LiveFile| file.bytes <= sizes.target_bytes / 2;
    (0..files.len()).find_map(|start| {
        let (mut sum, mut largest) = (0, 0);
        let run = files[start..].iter().take(FILES_MAX).take_while(|file| {
            let fits = is_small(file) && sum + file.bytes <= sizes.target_bytes;
            if fits {
                sum += file.bytes;
                largest = largest.max(file.bytes);
            }
            fits
        });
        let count = run.count();
        (count >= sizes.files_min.max(2) && 2 * largest <= sum).then(|| start..start + count)
    })
}

/// Writes the rows of `files` as one file at `path`, and publishes it in their place. Nothing if it is to stop.
async fn merge(
    lake: &Arc<Inner>,
    table: &Arc<Table>,
    files: &[LiveFile],
    path: String,
    stop: Arc<AtomicBool>,
) -> Result<Option<CompactionReport>, Failed> {
    let base = table.base();
    let schema = TableSchema::from_iceberg(base.metadata.current_schema(), base.metadata.last_column_id())?;
    lake.catalog.begin(Vec::new(), vec![path.clone()], lake.clock.now()).await?;
    let Some((metadata, bytes)) = rewrite(lake, files, schema.arrow(), &path, stop).await? else {
        discard(lake, vec![path]).await;
        return Ok(None);
    };
    let (rows, before) = (rows_of(&metadata), files.iter().map(|file| file.rows).sum::<u64>());
    if rows != before {
        return Err(Error::corrupt(format!("the files to merge have {rows} rows instead of {before}")).into());
    }
    let report = CompactionReport {
        files: files.len(),
        rows,
        bytes_before: files.iter().map(|file| file.bytes).sum(),
        bytes_after: bytes,
    };
    let file = describe(&metadata, bytes, lake.files.warehouse.url(&path), base.metadata.current_schema())?;
    let added = vec![AddedFile { file, spec_id: base.metadata.default_partition_spec_id() }];
    let removed = files.iter().map(|file| file.path.clone()).collect();
    change_files(lake, table, FileChange { operation: Operation::Replace, removed, added }).await?;
    Ok(Some(report))
}

/// Reads files in order and writes their rows as one, durably, on a thread for such work. Nothing if it is to stop.
async fn rewrite(
    lake: &Arc<Inner>,
    files: &[LiveFile],
    schema: SchemaRef,
    path: &str,
    stop: Arc<AtomicBool>,
) -> Result<Option<(ParquetMetaData, u64)>> {
    let (lake, files, path) = (Arc::clone(lake), files.to_vec(), Path::from(path));
    let runtime = tokio::runtime::Handle::current();
    let work = move || runtime.block_on(rewrite_here(&lake, &files, &schema, path, &stop));
    spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("merging files ended unexpectedly").with_source(error))?
}

async fn rewrite_here(
    lake: &Inner,
    files: &[LiveFile],
    schema: &SchemaRef,
    path: Path,
    stop: &AtomicBool,
) -> Result<Option<(ParquetMetaData, u64)>> {
    let store = &lake.files.store;
    let target = BufWriter::with_capacity(Arc::clone(store), path, PART_BYTES).with_max_concurrency(1);
    let target = ParquetObjectWriter::from_buf_writer(target);
    let failed = |error| store_or_parquet(error, "write the merged file".to_owned());
    let mut writer =
        AsyncArrowWriter::try_new(target, Arc::clone(schema), Some(properties(ZSTD_LEVEL)?)).map_err(failed)?;
    for file in files {
        let unreadable = |error| store_or_parquet(error, format!("read {}", file.path));
        let reader =
            ParquetObjectReader::new(Arc::clone(store), Path::from(file.path.as_str())).with_file_size(file.bytes);
        let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(unreadable)?;
        let mut batches = builder.with_batch_size(BATCH_ROWS).build().map_err(unreadable)?;
        while let Some(batch) = batches.next().await {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            writer.write(&conform(&batch.map_err(unreadable)?, schema)?).await.map_err(failed)?;
            if writer.memory_size() > ROW_GROUP_BYTES_MAX {
                writer.flush().await.map_err(failed)?;
            }
        }
    }
    let metadata = writer.finish().await.map_err(failed)?;
    Ok(Some((metadata, writer.bytes_written() as u64)))
}

/// What can't be read or written now may pass; a file that is no Parquet is damage.
fn store_or_parquet(error: parquet::errors::ParquetError, doing: String) -> Error {
    match error {
        parquet::errors::ParquetError::External(source) => match source.downcast::<object_store::Error>() {
            Ok(error) => crate::store::store_error(*error, doing),
            Err(source) => parquet_error(parquet::errors::ParquetError::External(source), &doing),
        },
        error => parquet_error(error, &doing),
    }
}

#[cfg(test)]
mod tests;
