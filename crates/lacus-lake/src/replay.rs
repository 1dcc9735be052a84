//! Rows that leave a quarantine for their tables, in one commit: at any instant, a row is in one or the other.
//!
//! It moves no offset: what it brings was delivered before, to the quarantine. Whoever delivers to the tables stands still
//! meanwhile, so that they have no tails.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type, Schema};
use iceberg::spec::Operation;
use lacus_core::{Context, Error, Kind, Offset, Partition, Position, Result, StreamName};

use crate::catalog::PointerMove;
use crate::change::{Shown, delete_files_after};
use crate::commit::{
    Failed, Part, PlannedPart, arrange_part, begin_publishing, conclude, live_files, put, raw_path, totals_of,
    write_rows,
};
use crate::compact::rewrite::{read_each, rewrite_each};
use crate::data_file::FileForm;
use crate::file_stats::{Bound, ColumnStats};
use crate::kernel::{AddedFile, Base, Change, Names, plan_with};
use crate::lake::Inner;
use crate::layout::Layout;
use crate::leftovers::{discard, sweep};
use crate::raw::RawFile;
use crate::schema::{OFFSET, PARTITION, TableSchema};
use crate::table::{Committed, LiveFile, Table};

/// Rows that move from a quarantine to their tables.
pub struct Replay {
    /// The stream that they came by.
    pub stream: StreamName,
    /// The quarantine.
    pub quarantine: Arc<Table>,
    /// The positions of its rows that go.
    pub positions: BTreeSet<Position>,
    /// What they become.
    pub tables: Vec<ReplayedRows>,
    /// Raw files with those of their events that the raw zone lacks.
    pub raw: Vec<RawFile>,
}

/// Rows that come to one table.
pub struct ReplayedRows {
    /// The table.
    pub table: Arc<Table>,
    /// The pinned schema of the rows.
    pub schema: TableSchema,
    /// The rows.
    pub rows: RecordBatch,
}

/// Moves rows.
pub(crate) async fn replay(lake: Arc<Inner>, replay: Replay) -> Result<()> {
    let doing = format!("replay rows of table \"{}\"", replay.quarantine.name());
    let moved = replay_once(&lake, replay).await;
    moved.map_err(|failed| failed.error).context(doing)?;
    sweep(&lake, 0).await;
    Ok(())
}

async fn replay_once(lake: &Arc<Inner>, replay: Replay) -> Result<(), Failed> {
    // A delivery stands still meanwhile, and must not do so until an erasure has ended.
    let Ok(_not_erasing) = lake.erasing.try_read() else {
        return Err(Error::unavailable("events are being erased").with_hint("try again when that has ended").into());
    };
    let tables = replay.tables.iter().map(|rows| &rows.table).chain([&replay.quarantine]);
    let mut tables: Vec<&Arc<Table>> = tables.collect();
    // In order of their names, so that no two commits wait for each other.
    tables.sort_by(|one, other| one.name().cmp(other.name()));
    let mut locks = Vec::new();
    for table in &tables {
        locks.push(Arc::clone(&table.committing).lock_owned().await);
    }
    let mut publishing = begin_publishing(lake).await?;
    if tables.iter().any(|table| !table.state().tail.is_empty()) {
        return Err(Error::new(Kind::Conflict, "a table has rows that are not committed").into());
    }
    let now = lake.clock.now();
    let pointers = tables.iter().map(|table| (table.name().clone(), table.base().location.clone())).collect();
    let leaving = Leaving::plan(lake, &replay.quarantine, replay.positions).await?;
    let mut parts = Vec::new();
    for rows in replay.tables {
        parts.push(arrange_part(part_of(lake, rows)?).await?);
    }
    let raw: Vec<_> = replay.raw.into_iter().map(|file| (raw_path(&replay.stream, &file), file)).collect();
    let mut paths: Vec<String> = parts.iter().flat_map(Part::paths).collect();
    paths.extend(leaving.paths());
    paths.extend(raw.iter().map(|(path, _)| path.clone()));
    lake.catalog.begin(pointers, paths.clone(), now).await?;
    let totals = totals_of(&raw);
    let planned = async {
        let mut planned = Vec::new();
        for part in parts {
            planned.push(plan_arrival(lake, part).await?);
        }
        planned.push(leaving.run(lake).await?);
        for (path, file) in raw {
            put(lake, path, file.bytes).await?;
        }
        Ok::<_, Error>(planned)
    };
    let concluded = match planned.await {
        Ok(planned) => conclude(lake, &mut publishing, planned, None, totals, paths.clone(), now).await,
        Err(error) => Err(error.into()),
    };
    if concluded.as_ref().is_err_and(|failed| !failed.may_have_happened) {
        discard(lake, paths).await;
    }
    concluded
}

fn part_of(lake: &Inner, rows: ReplayedRows) -> Result<Part> {
    let ReplayedRows { table, schema, rows } = rows;
    Part::of(lake, table, schema, vec![rows], 0)
}

/// Writes the new rows of a table, and plans their commit.
async fn plan_arrival(lake: &Inner, part: Part) -> Result<PlannedPart> {
    let added = write_rows(lake, &part).await?;
    let Part { table, iceberg, layout, base, names, .. } = part;
    let change = Change {
        names,
        schema: iceberg,
        layout,
        operation: Operation::Append,
        removed: HashSet::new(),
        added: added.clone(),
        delivered: None,
        now: lake.clock.now(),
    };
    plan_part(lake, &table, &base, change, Shown::default(), added).await
}

async fn plan_part(
    lake: &Inner,
    table: &Arc<Table>,
    base: &Base,
    change: Change,
    shown: Shown,
    added: Vec<AddedFile>,
) -> Result<PlannedPart> {
    let planned = plan_with(&lake.files, base, change, HashMap::new()).await?;
    let files = live_files(lake, &added, &planned.base.metadata)?;
    let pointer = PointerMove {
        table: table.name().clone(),
        from: Some(base.location.clone()),
        to: planned.base.location.clone(),
    };
    let Shown { removed, delete_files, .. } = shown;
    let committed = Committed { base: Arc::new(planned.base), removed, added: files, tail: None, delete_files };
    let table = Arc::clone(table);
    Ok(PlannedPart { table, writes: planned.files, retired: planned.retired, pointer, committed })
}

/// Rows that leave a table.
struct Leaving {
    table: Arc<Table>,
    base: Arc<Base>,
    names: Names,
    positions: Arc<BTreeSet<Position>>,
    /// The files that have some of the rows, and how many rows stay in each.
    files: Vec<(LiveFile, u64)>,
}

impl Leaving {
    async fn plan(lake: &Inner, table: &Arc<Table>, positions: BTreeSet<Position>) -> Result<Self> {
        let (base, mut files, mut left) = (table.base(), Vec::new(), 0);
        for file in table.state().files.iter().filter(|file| may_have(file, &table.state().schema, &positions)) {
            let found: u64 = positions_in(lake, table, file, &positions).await?.values().sum();
            if found > 0 {
                files.push((file.clone(), file.live_rows().saturating_sub(found)));
                left += found;
            }
        }
        if left != positions.len() as u64 {
            let wanted = positions.len();
            return Err(Error::new(Kind::Conflict, format!("{wanted} rows are to leave and {left} are there")));
        }
        let names = Names::after(table.name(), &base.location);
        Ok(Self { table: Arc::clone(table), base, names, positions: Arc::new(positions), files })
    }

    /// Every file it may write.
    fn paths(&self) -> Vec<String> {
        let mut paths = self.names.all_metadata(&self.base);
        let rewritten = self.files.iter().enumerate().filter(|(_, (_, rows))| *rows > 0);
        paths.extend(rewritten.map(|(number, _)| self.names.data(number)));
        paths
    }

    /// Rewrites the files without the rows, and plans their commit.
    async fn run(self, lake: &Arc<Inner>) -> Result<PlannedPart> {
        let mut added = Vec::new();
        for (number, (file, rows)) in self.files.iter().enumerate().filter(|(_, (_, rows))| *rows > 0) {
            added.push(self.rewrite(lake, file, *rows, self.names.data(number)).await?);
        }
        let removed: Vec<String> = self.files.iter().map(|(file, _)| file.path.clone()).collect();
        let (delete_files, unneeded) = delete_files_after(lake, &self.table.state(), &removed);
        let gone = removed.iter().chain(unneeded.iter().map(|delete| &delete.file.path));
        let change = Change {
            names: self.names,
            schema: self.base.metadata.current_schema().as_ref().clone(),
            layout: Layout::current(&self.base.metadata),
            operation: if added.is_empty() { Operation::Delete } else { Operation::Overwrite },
            removed: gone.map(|path| lake.files.warehouse.url(path)).collect(),
            added: added.clone(),
            delivered: None,
            now: lake.clock.now(),
        };
        let delete_files = (!unneeded.is_empty()).then_some(delete_files);
        let shown = Shown { removed, delete_files, ..Shown::default() };
        plan_part(lake, &self.table, &self.base, change, shown, added).await
    }

    async fn rewrite(&self, lake: &Arc<Inner>, file: &LiveFile, rows: u64, path: String) -> Result<AddedFile> {
        let positions = Arc::clone(&self.positions);
        let without = move |batch: RecordBatch| {
            let stays: BooleanArray = positions_of(&batch)?
                .map(|position| Some(!position.is_some_and(|position| positions.contains(&position))))
                .collect();
            filter_record_batch(&batch, &stays).map_err(|error| Error::internal("leave out rows").with_source(error))
        };
        let form = FileForm::of(&self.base.metadata, self.base.schema()?.arrow());
        let (footer, bytes) = rewrite_each(lake, file, form, &path, without).await?;
        if footer.rows() != rows {
            return Err(Error::corrupt(format!("{} rows stay instead of {rows}", footer.rows())));
        }
        let url = lake.files.warehouse.url(&path);
        footer.describe(bytes, url, self.base.metadata.current_schema(), file.stats.placement.clone())
    }
}

/// How many rows in the files of a table have each of these positions; positions without rows are left out.
pub(crate) async fn count_positions(
    lake: &Inner,
    table: &Arc<Table>,
    positions: &BTreeSet<Position>,
) -> Result<BTreeMap<Position, u64>> {
    let (state, mut counts) = (table.state(), BTreeMap::new());
    for file in state.files.iter().filter(|file| may_have(file, &state.schema, positions)) {
        for (position, count) in positions_in(lake, table, file, positions).await? {
            *counts.entry(position).or_default() += count;
        }
    }
    Ok(counts)
}

async fn positions_in(
    lake: &Inner,
    table: &Arc<Table>,
    file: &LiveFile,
    positions: &BTreeSet<Position>,
) -> Result<BTreeMap<Position, u64>> {
    let schema = table.state().arrow_schema.clone();
    let own = schema.fields().iter().filter(|field| [PARTITION, OFFSET].contains(&field.name().as_str()));
    let own = Arc::new(Schema::new(own.cloned().collect::<Vec<_>>()));
    if own.fields().len() < 2 {
        return Ok(BTreeMap::new());
    }
    let wanted = positions.clone();
    let count = move |counts: &mut BTreeMap<Position, u64>, batch: RecordBatch| {
        for position in positions_of(&batch)?.flatten().filter(|position| wanted.contains(position)) {
            *counts.entry(position).or_default() += 1;
        }
        Ok(true)
    };
    read_each(lake, file, own, BTreeMap::new(), count).await
}

/// The position of each row; none for a row that another engine wrote.
fn positions_of(batch: &RecordBatch) -> Result<impl Iterator<Item = Option<Position>> + '_> {
    let partitions = batch.column_by_name(PARTITION).and_then(|column| column.as_primitive_opt::<Int32Type>());
    let offsets = batch.column_by_name(OFFSET).and_then(|column| column.as_primitive_opt::<Int64Type>());
    let (Some(partitions), Some(offsets)) = (partitions, offsets) else {
        return Err(Error::internal("rows have no positions"));
    };
    Ok(partitions.iter().zip(offsets.iter()).map(|(partition, offset)| {
        let partition = Partition(u32::try_from(partition?).ok()?);
        Some(Position { partition, offset: Offset(u64::try_from(offset?).ok()?) })
    }))
}

/// Whether a file may have rows with some of these positions, judging by its bounds.
fn may_have(file: &LiveFile, schema: &TableSchema, positions: &BTreeSet<Position>) -> bool {
    let Some([_, _, partition, offset]) = schema.system else { return false };
    let is_within = |id: i32, value: u64| file.stats.column(id).is_none_or(|column| includes(&column, value));
    positions
        .iter()
        .any(|position| is_within(partition, u64::from(position.partition.0)) && is_within(offset, position.offset.0))
}

fn includes(column: &ColumnStats<'_>, value: u64) -> bool {
    let Ok(value) = i64::try_from(value) else { return false };
    let is_above = |bound: &Option<Bound<'_>>| !matches!(bound, Some(Bound::Long(lower)) if value < *lower);
    let is_below = |bound: &Option<Bound<'_>>| !matches!(bound, Some(Bound::Long(upper)) if value > *upper);
    is_above(&column.lower) && is_below(&column.upper)
}

#[cfg(test)]
mod tests;
