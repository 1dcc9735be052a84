//! Compaction: many small files become a few large ones, with the same rows in the same order.
//!
//! Files are merged with their neighbours, so that rows which came together stay together; only with their like, of the
//! same partition, partition spec and sort order. Files whose rows are sorted are merged into one whose rows are. A run of files is merged when
//! it is at least twice as large as its largest file: a row is written again only into a file of twice the size, so
//! it is never written often. Deliveries and queries go on meanwhile; only the moment in which the pointer moves is
//! a commit as any other. The files that were merged stay until no snapshot has them.

pub(crate) mod rewrite;
mod sorted;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use iceberg::spec::{Operation, SortOrderRef, TableMetadata};
use lacus_core::{Context, Error, Result};

use self::rewrite::rewrite;
use crate::change::{FileChange, change_files};
use crate::commit::Failed;
use crate::data_file::FileForm;
use crate::file_stats::Placement;
use crate::kernel::Names;
use crate::lake::Inner;
use crate::leftovers::{discard, sweep};
use crate::table::{LiveFile, Table};

/// The most files that one compaction merges.
const FILES_MAX: usize = 256;
/// The same of files whose rows are sorted: all of them are open at once, each with a row group in memory.
const SORTED_FILES_MAX: usize = 16;
/// The sort order of rows that are in none.
pub(crate) const UNSORTED: i32 = 0;

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
    let files: Vec<LiveFile> = run.into_iter().map(|index| state.files[index].clone()).collect();
    lake.must_have_room(files.iter().map(|file| file.bytes).sum()).context(&doing)?;
    let path = Names::after(table.name(), &state.metadata_location).data(0);
    match merge(&lake, &table, &files, path.clone(), stop).await {
        Ok(report) => {
            report.iter().for_each(|report| lake.add_merged(report));
            sweep(&lake, 0).await;
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

/// The first run of files that are worth to be merged: neighbours among those of one placement.
fn small_files(files: &[LiveFile], sizes: FileSizes) -> Option<Vec<usize>> {
    let mut alike: HashMap<&Placement, Vec<usize>> = HashMap::new();
    for (index, file) in files.iter().enumerate() {
        alike.entry(&file.stats.placement).or_default().push(index);
    }
    let runs = alike.into_iter().filter_map(|(placement, alike)| {
        let files_max = if placement.sort_order == UNSORTED { FILES_MAX } else { SORTED_FILES_MAX };
        run_in(files, &alike, sizes, files_max).map(|run| alike[run].to_vec())
    });
    runs.min()
}

/// The first run among these files.
fn run_in(files: &[LiveFile], alike: &[usize], sizes: FileSizes, files_max: usize) -> Option<Range<usize>> {
    let is_small = |file: &LiveFile| file.bytes <= sizes.target_bytes / 2;
    (0..alike.len()).find_map(|start| {
        let (mut sum, mut largest) = (0, 0);
        let run = alike[start..].iter().map(|&index| &files[index]).take(files_max).take_while(|file| {
            let fits = is_small(file) && sum + file.bytes <= sizes.target_bytes;
            if fits {
                sum += file.bytes;
                largest = largest.max(file.bytes);
            }
            fits
        });
        let count = run.count();
        (count >= sizes.files_min.clamp(2, files_max) && 2 * largest <= sum).then(|| start..start + count)
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
    let form = FileForm::of(&base.metadata, base.schema()?.arrow());
    let mut placement = files[0].stats.placement.clone();
    let order = order_of(&base.metadata, &placement);
    placement.sort_order = order.as_ref().map_or(UNSORTED, |_| placement.sort_order);
    lake.catalog.begin(Vec::new(), vec![path.clone()], lake.clock.now()).await?;
    let Some((footer, bytes)) = rewrite(lake, files, form, order, &path, stop).await? else {
        discard(lake, vec![path]).await;
        return Ok(None);
    };
    let (rows, before) = (footer.rows(), files.iter().map(LiveFile::live_rows).sum::<u64>());
    if rows != before {
        return Err(Error::corrupt(format!("the files to merge have {rows} rows instead of {before}")).into());
    }
    let report = CompactionReport {
        files: files.len(),
        rows,
        bytes_before: files.iter().map(|file| file.bytes).sum(),
        bytes_after: bytes,
    };
    let url = lake.files.warehouse.url(&path);
    let added = vec![footer.describe(bytes, url, base.metadata.current_schema(), placement)?];
    let removed = files.to_vec();
    change_files(lake, table, FileChange { operation: Operation::Replace, removed, added }).await?;
    Ok(Some(report))
}

/// The order that the rows of these files have, if they can be merged in it: a column of it may have been dropped.
pub(crate) fn order_of(metadata: &TableMetadata, placement: &Placement) -> Option<SortOrderRef> {
    let order = metadata.sort_order_by_id(i64::from(placement.sort_order))?;
    let is_there = |id: i32| metadata.current_schema().field_by_id(id).is_some();
    let is_usable = !order.is_unsorted() && order.fields.iter().all(|field| is_there(field.source_id));
    is_usable.then(|| SortOrderRef::clone(order))
}

#[cfg(test)]
mod tests;
