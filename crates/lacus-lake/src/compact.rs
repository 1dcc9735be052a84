//! Compaction: many small files become a few large ones, with the same rows, those of a file in the same order.
//!
//! Files are merged with their neighbours, so that rows which came together stay together; only with their like, of the
//! same partition, partition spec and sort order. Files whose rows are sorted are merged into one whose rows are. A run of
//! files is merged when it is at least twice as large as its largest file: a row is written again only into a file of twice
//! the size, so it is never written often. Runs of several partitions are merged by one commit, as each commit reads the
//! manifests of all files. Deliveries and queries go on meanwhile; only the moment in which the pointer moves is a commit as
//! any other. The files that were merged stay until no snapshot has them.

mod decoded;
mod output;
mod paged;
pub(crate) mod rewrite;
mod sorted;
mod units;

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
use crate::kernel::{AddedFile, Base, Names};
use crate::lake::Inner;
use crate::leftovers::{discard, sweep};
use crate::partition_types::fits;
use crate::table::{LiveFile, Table};

/// The most files that one compaction merges.
const FILES_MAX: usize = 256;
/// The same for sorted files: all of them are open at once, each with a row group in memory.
const SORTED_FILES_MAX: usize = 8;
/// The most runs of files that one compaction merges, each into a file of its own. What it costs besides, manifests of all files
/// to be read and written again, is the same for one.
const RUNS_MAX: usize = 512;
/// The id of the sort order of unsorted rows.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompactionReport {
    /// Files that were merged into one, or into one for each of some partitions.
    pub files: usize,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes_before: u64,
    /// Bytes of the new files.
    pub bytes_after: u64,
}

/// Files that become one.
struct Merge {
    files: Vec<LiveFile>,
    /// Where it will be.
    path: String,
}

/// Merges the oldest run of small files of a table, if there is one, and some of other partitions.
pub(crate) async fn compact(
    lake: Arc<Inner>,
    table: Arc<Table>,
    sizes: FileSizes,
    stop: Arc<AtomicBool>,
) -> Result<Option<CompactionReport>> {
    let doing = format!("compact table \"{}\"", table.name());
    let _one_at_a_time = table.compacting.lock().await;
    let state = table.state();
    let base = table.base();
    let may_move = |placement: &Placement| fits(&placement.values, placement.spec_id, &base.metadata);
    let runs = small_files(&state.files, sizes, may_move);
    if runs.is_empty() {
        return Ok(None);
    }
    let names = Names::after(table.name(), &state.metadata_location);
    let merge_of = |(number, run): (usize, Vec<usize>)| Merge {
        files: run.into_iter().map(|index| state.files[index].clone()).collect(),
        path: names.data(number),
    };
    let merges: Vec<Merge> = runs.into_iter().enumerate().map(merge_of).collect();
    lake.must_have_room(merges.iter().flat_map(|merge| &merge.files).map(|file| file.bytes).sum()).context(&doing)?;
    match merge(&lake, &table, &merges, stop).await {
        Ok(report) => {
            report.iter().for_each(|report| lake.add_merged(report));
            sweep(&lake, 0).await;
            Ok(report)
        }
        Err(failed) => {
            if !failed.may_have_happened {
                discard(&lake, paths_of(&merges)).await;
            }
            Err(failed.error).context(doing)
        }
    }
}

/// Runs of files worth merging: neighbours among the files of one placement that a new file may have. The first run, and
/// others as long as all of them together are no larger than one target file. Since all merged files take the place of the
/// first run's first file, runs that would come before an older file of their placement are left for later.
fn small_files(files: &[LiveFile], sizes: FileSizes, may_move: impl Fn(&Placement) -> bool) -> Vec<Vec<usize>> {
    let mut alike: HashMap<&Placement, Vec<usize>> = HashMap::new();
    for (index, file) in files.iter().enumerate() {
        alike.entry(&file.stats.placement).or_default().push(index);
    }
    alike.retain(|placement, _| may_move(placement));
    let runs = alike.into_iter().filter_map(|(placement, alike)| {
        let files_max = if placement.sort_order == UNSORTED { FILES_MAX } else { SORTED_FILES_MAX };
        let run = run_in(files, &alike, sizes, files_max)?;
        let older = run.start.checked_sub(1).map(|older| alike[older]);
        Some((alike[run].to_vec(), older))
    });
    let mut runs: Vec<(Vec<usize>, Option<usize>)> = runs.collect();
    runs.sort_unstable();
    let Some(place) = runs.first().map(|(first, _)| first[0]) else { return Vec::new() };
    let spec_of = |index: usize| files[index].stats.placement.spec_id;
    let (mut some, mut bytes) = (Vec::new(), 0);
    for (run, older) in runs {
        let more: u64 = run.iter().map(|&index| files[index].bytes).sum();
        let is_in_order = older.is_none_or(|older| older < place) && spec_of(run[0]) == spec_of(place);
        if some.len() < RUNS_MAX && is_in_order && bytes + more <= sizes.target_bytes {
            bytes += more;
            some.push(run);
        }
    }
    some
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

/// Merges files and publishes the result in their place. None if it was stopped.
async fn merge(
    lake: &Arc<Inner>,
    table: &Arc<Table>,
    merges: &[Merge],
    stop: Arc<AtomicBool>,
) -> Result<Option<CompactionReport>, Failed> {
    let base = table.base();
    lake.catalog.begin(Vec::new(), paths_of(merges), lake.clock.now()).await?;
    let (mut report, mut added) = (CompactionReport::default(), Vec::new());
    for merge in merges {
        let Some((file, bytes, rows)) = write_one(lake, &base, merge, Arc::clone(&stop)).await? else {
            discard(lake, paths_of(merges)).await;
            return Ok(None);
        };
        report.files += merge.files.len();
        report.rows += rows;
        report.bytes_before += merge.files.iter().map(|file| file.bytes).sum::<u64>();
        report.bytes_after += bytes;
        added.push(file);
    }
    let removed = merges.iter().flat_map(|merge| merge.files.iter().cloned()).collect();
    change_files(lake, table, FileChange { operation: Operation::Replace, removed, added }).await?;
    Ok(Some(report))
}

/// Writes the rows of files as one: the file, its bytes and its rows. None if it was stopped.
async fn write_one(
    lake: &Arc<Inner>,
    base: &Base,
    Merge { files, path }: &Merge,
    stop: Arc<AtomicBool>,
) -> Result<Option<(AddedFile, u64, u64)>> {
    let form = FileForm::of(&base.metadata, base.schema()?.arrow());
    let mut placement = files[0].stats.placement.clone();
    let order = order_of(&base.metadata, &placement);
    placement.sort_order = order.as_ref().map_or(UNSORTED, |_| placement.sort_order);
    let Some((footer, bytes)) = rewrite(lake, files, form, order, path, stop).await? else { return Ok(None) };
    let (rows, before) = (footer.rows(), files.iter().map(LiveFile::live_rows).sum::<u64>());
    if rows != before {
        return Err(Error::corrupt(format!("the files to merge have {rows} rows instead of {before}")));
    }
    let url = lake.files.warehouse.url(path);
    let added = footer.describe(bytes, url, base.metadata.current_schema(), placement)?;
    Ok(Some((added, bytes, rows)))
}

fn paths_of(merges: &[Merge]) -> Vec<String> {
    merges.iter().map(|merge| merge.path.clone()).collect()
}

/// The common sort order of these files, if they can be merged in it: a column of it may have been dropped.
pub(crate) fn order_of(metadata: &TableMetadata, placement: &Placement) -> Option<SortOrderRef> {
    let order = metadata.sort_order_by_id(i64::from(placement.sort_order))?;
    let is_there = |id: i32| metadata.current_schema().field_by_id(id).is_some();
    let is_usable = !order.is_unsorted() && order.fields.iter().all(|field| is_there(field.source_id));
    is_usable.then(|| SortOrderRef::clone(order))
}

#[cfg(test)]
mod tests;
