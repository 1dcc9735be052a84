//! A table's files, refilled one after the other: each is a commit of its own, so it may be stopped anywhere and begun again.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use iceberg::spec::{Operation, TableMetadata};
use lacus_core::{Context, Error, Result};

use super::{Refilled, refill};
use crate::change::{FileChange, change_files};
use crate::commit::Failed;
use crate::compact::rewrite::{read_each, rewrite_each};
use crate::data_file::FileForm;
use crate::kernel::{Base, Names};
use crate::lake::Inner;
use crate::leftovers::{discard, sweep};
use crate::schema::TableSchema;
use crate::table::{LiveFile, Table, TableState};

/// The most files that one refill looks at. More come by deliveries and merges while it runs; those need no refill, mostly.
const FILES_MAX: usize = 1_000_000;

/// What a refill did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RefillReport {
    /// Files that were written anew.
    pub files: u64,
    /// Misfits that are in columns now.
    pub values: u64,
}

/// Puts the misfits in all files of a table where they fit now.
pub(crate) async fn refill_files(lake: Arc<Inner>, table: Arc<Table>) -> Result<RefillReport> {
    let doing = format!("fill columns of table \"{}\"", table.name());
    let mut report = RefillReport::default();
    let mut looked_at = HashSet::new();
    while looked_at.len() < FILES_MAX {
        // Nobody merges the file meanwhile. Between two files others may.
        let _one_at_a_time = table.compacting.lock().await;
        let files = files_with_misfits(&table.state());
        let Some(file) = files.into_iter().find(|file| !looked_at.contains(&file.path)) else { break };
        let (values, path) = refill_file(&lake, &table, &file).await.context(&doing)?;
        report.files += u64::from(values > 0);
        report.values += values;
        looked_at.extend([file.path].into_iter().chain(path));
        sweep(&lake, 0).await;
    }
    Ok(report)
}

/// The files in which `_rescued` is not null in every row.
pub(crate) fn files_with_misfits(state: &TableState) -> Vec<LiveFile> {
    let Some([rescued, ..]) = state.schema.system else { return Vec::new() };
    let nulls = |file: &LiveFile| file.stats.column(rescued).and_then(|column| column.nulls);
    state.files.iter().filter(|file| nulls(file) != Some(file.rows)).cloned().collect()
}

/// What a file's place in the table depends on: a value that comes to one of these columns would have to go to another file.
pub(crate) fn fixed_columns(metadata: &TableMetadata) -> BTreeSet<i32> {
    let specs = metadata.partition_specs_iter().flat_map(|spec| spec.fields().iter().map(|field| field.source_id));
    let orders = metadata.sort_orders_iter().flat_map(|order| order.fields.iter().map(|field| field.source_id));
    specs.chain(orders).collect()
}

/// Writes a file anew if any of its misfits fits: how many do, and the new path.
async fn refill_file(lake: &Arc<Inner>, table: &Arc<Table>, file: &LiveFile) -> Result<(u64, Option<String>)> {
    let base = table.base();
    let (schema, fixed) = (Arc::new(base.schema()?), Arc::new(fixed_columns(&base.metadata)));
    if !has_work(lake, file, &schema, &fixed).await? {
        return Ok((0, None));
    }
    let path = Names::after(table.name(), &base.location).data(0);
    match replace(lake, table, &base, file, (schema, fixed), path.clone()).await {
        Ok(values) => Ok((values, Some(path))),
        Err(failed) => {
            if !failed.may_have_happened {
                discard(lake, vec![path]).await;
            }
            Err(failed.error)
        }
    }
}

async fn has_work(
    lake: &Inner,
    file: &LiveFile,
    schema: &Arc<TableSchema>,
    fixed: &Arc<BTreeSet<i32>>,
) -> Result<bool> {
    let (columns, fixed) = (Arc::clone(schema), Arc::clone(fixed));
    let look = move |found: &mut bool, rows: RecordBatch| {
        *found = refill(&rows, &columns, &fixed)?.is_some();
        Ok(!*found)
    };
    read_each(lake, file, schema.arrow(), false, look).await
}

/// Writes the file at `path` and publishes it in the place of the one before. How many misfits are in columns now.
async fn replace(
    lake: &Arc<Inner>,
    table: &Arc<Table>,
    base: &Base,
    file: &LiveFile,
    (columns, fixed): (Arc<TableSchema>, Arc<BTreeSet<i32>>),
    path: String,
) -> Result<u64, Failed> {
    lake.catalog.begin(Vec::new(), vec![path.clone()], lake.clock.now()).await?;
    let values = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&values);
    let form = FileForm::of(&base.metadata, columns.arrow());
    let change = move |rows: RecordBatch| {
        let Some(Refilled { rows, paths }) = refill(&rows, &columns, &fixed)? else { return Ok(rows) };
        counted.fetch_add(paths.len() as u64, Ordering::Relaxed);
        Ok(rows)
    };
    let (footer, bytes) = rewrite_each(lake, file, form, &path, change).await?;
    if footer.rows() != file.live_rows() {
        return Err(
            Error::corrupt(format!("the file has {} rows instead of {}", footer.rows(), file.live_rows())).into()
        );
    }
    let url = lake.files.warehouse.url(&path);
    let added = vec![footer.describe(bytes, url, base.metadata.current_schema(), file.stats.placement.clone())?];
    let removed = vec![file.clone()];
    change_files(lake, table, FileChange { operation: Operation::Overwrite, removed, added }).await?;
    Ok(values.load(Ordering::Relaxed))
}
