//! What is known about a table, as tables: `"clicks$snapshots"`, `"clicks$history"`, `"clicks$files"`.
//!
//! Names and columns are those of Trino and Athena (Trino documentation, Iceberg connector, "Metadata tables"). `$files` has
//! no column statistics.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, MapBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use lacus_core::Timestamp;
use lacus_lake::{Lake, Snapshot, Table};

/// Between the name of a table and what is asked about it.
const MARK: char = '$';
/// Data, in the column `content`; deletes have other numbers.
const DATA: i32 = 0;

/// What is asked about a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metadata {
    Snapshots,
    History,
    Files,
}

impl Metadata {
    /// The table that such a name is about, and what is asked of it.
    pub(crate) fn named(name: &str) -> Option<(&str, Self)> {
        let (table, what) = name.rsplit_once(MARK)?;
        let what = match what {
            "snapshots" => Self::Snapshots,
            "history" => Self::History,
            "files" => Self::Files,
            _ => return None,
        };
        Some((table, what))
    }

    /// The answer, as it is now.
    pub(crate) fn of(self, lake: &Lake, table: &Table) -> Result<Arc<dyn TableProvider>> {
        let columns = match self {
            Self::Snapshots => snapshots(&table.snapshots()),
            Self::History => history(&table.snapshots()),
            Self::Files => files(lake, table),
        }?;
        // The types are there even when there are no rows.
        let rows =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))?;
        Ok(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?))
    }
}

type Columns = Vec<(&'static str, ArrayRef)>;

fn snapshots(snapshots: &[Snapshot]) -> Result<Columns> {
    let mut summary = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for snapshot in snapshots {
        for (key, value) in &snapshot.summary {
            summary.keys().append_value(key);
            summary.values().append_value(value);
        }
        summary.append(true)?;
    }
    Ok(vec![
        ("committed_at", times(snapshots.iter().map(|snapshot| snapshot.committed_at))),
        ("snapshot_id", numbers(snapshots.iter().map(|snapshot| Some(snapshot.id)))),
        ("parent_id", numbers(snapshots.iter().map(|snapshot| snapshot.parent))),
        ("operation", texts(snapshots.iter().map(|snapshot| snapshot.operation.clone()))),
        ("manifest_list", texts(snapshots.iter().map(|snapshot| snapshot.manifest_list.clone()))),
        ("summary", Arc::new(summary.finish())),
    ])
}

fn history(snapshots: &[Snapshot]) -> Result<Columns> {
    let all: BooleanArray = snapshots.iter().map(|_| Some(true)).collect();
    Ok(vec![
        ("made_current_at", times(snapshots.iter().map(|snapshot| snapshot.committed_at))),
        ("snapshot_id", numbers(snapshots.iter().map(|snapshot| Some(snapshot.id)))),
        ("parent_id", numbers(snapshots.iter().map(|snapshot| snapshot.parent))),
        ("is_current_ancestor", Arc::new(all)),
    ])
}

fn files(lake: &Lake, table: &Table) -> Result<Columns> {
    let files = Arc::clone(&table.state().files);
    let number = |number: u64| i64::try_from(number).ok();
    Ok(vec![
        ("content", Arc::new(Int32Array::from_value(DATA, files.len()))),
        ("file_path", texts(files.iter().map(|file| lake.url(file)))),
        ("file_format", texts(files.iter().map(|_| "PARQUET".to_owned()))),
        ("record_count", numbers(files.iter().map(|file| number(file.rows)))),
        ("file_size_in_bytes", numbers(files.iter().map(|file| number(file.bytes)))),
    ])
}

fn times(times: impl Iterator<Item = Timestamp>) -> ArrayRef {
    let micros: TimestampMicrosecondArray = times.map(|time| Some(time.as_micros())).collect();
    Arc::new(micros.with_timezone("+00:00"))
}

fn numbers(numbers: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(numbers.collect::<Int64Array>())
}

fn texts(texts: impl Iterator<Item = String>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(texts))
}
