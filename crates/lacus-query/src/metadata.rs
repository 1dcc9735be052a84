//! Metadata tables: `"clicks$snapshots"`, `"clicks$history"`, `"clicks$refs"`, `"clicks$files"`, `"clicks$partitions"`,
//! `"clicks$manifests"`, `"clicks$columns"`, `"clicks$layout"`.
//!
//! Names and columns are those of Trino and Athena (Trino documentation, Iceberg connector, "Metadata tables"). `$files`,
//! `$partitions` and `$manifests` have no column statistics, and a partition is a map of texts. `$columns` and `$layout` are our
//! own: the latter says how files are partitioned and sorted, and which settings do not apply yet.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, MapBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use lacus_core::Timestamp;
use lacus_lake::{Column, Counts, Lake, Manifest, Reference, Snapshot, Table};

/// Between the name of a table and that of the metadata.
const MARK: char = '$';
/// Data, in the column `content`; deletes have other numbers.
const DATA: i32 = 0;
/// Files that say which rows of others are deleted.
const POSITION_DELETES: i32 = 1;

/// What is asked about a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metadata {
    Snapshots,
    History,
    Refs,
    Files,
    Partitions,
    Manifests,
    Columns,
    Layout,
}

impl Metadata {
    /// The table's name and the kind of metadata that such a name stands for.
    pub(crate) fn named(name: &str) -> Option<(&str, Self)> {
        let (table, what) = name.rsplit_once(MARK)?;
        let what = match what {
            "snapshots" => Self::Snapshots,
            "history" => Self::History,
            "refs" => Self::Refs,
            "files" => Self::Files,
            "partitions" => Self::Partitions,
            "manifests" => Self::Manifests,
            "columns" => Self::Columns,
            "layout" => Self::Layout,
            _ => return None,
        };
        Some((table, what))
    }

    /// The answer, as it is now.
    pub(crate) fn of(self, lake: &Lake, table: &Table) -> Result<Arc<dyn TableProvider>> {
        let columns = match self {
            Self::Snapshots => snapshots(&table.snapshots()),
            Self::History => history(&table.snapshots(), table.state().snapshot_id),
            Self::Refs => refs(&table.references().map_err(|error| DataFusionError::External(error.into()))?),
            Self::Files => files(lake, table),
            Self::Partitions => partitions(lake, table),
            Self::Manifests => Ok(manifests(&table.manifests())),
            Self::Columns => all_columns(table),
            Self::Layout => Ok(layout(lake, table)),
        }?;
        // The types are kept when there are no rows.
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

/// A rollback builds on an old snapshot: the ones between are not ancestors of it.
fn history(snapshots: &[Snapshot], current: Option<i64>) -> Result<Columns> {
    let parents: HashMap<i64, Option<i64>> = snapshots.iter().map(|snapshot| (snapshot.id, snapshot.parent)).collect();
    let mut ancestors = HashSet::new();
    let mut next = current;
    while let Some(id) = next.filter(|id| parents.contains_key(id) && ancestors.insert(*id)) {
        next = parents[&id];
    }
    let are_ancestors: BooleanArray = snapshots.iter().map(|snapshot| Some(ancestors.contains(&snapshot.id))).collect();
    Ok(vec![
        ("made_current_at", times(snapshots.iter().map(|snapshot| snapshot.committed_at))),
        ("snapshot_id", numbers(snapshots.iter().map(|snapshot| Some(snapshot.id)))),
        ("parent_id", numbers(snapshots.iter().map(|snapshot| snapshot.parent))),
        ("is_current_ancestor", Arc::new(are_ancestors)),
    ])
}

fn refs(references: &[Reference]) -> Result<Columns> {
    let kind = |reference: &Reference| if reference.is_tag { "TAG" } else { "BRANCH" };
    Ok(vec![
        ("name", texts(references.iter().map(|reference| reference.name.clone()))),
        ("type", texts(references.iter().map(|reference| kind(reference).to_owned()))),
        ("snapshot_id", numbers(references.iter().map(|reference| Some(reference.snapshot)))),
        ("max_reference_age_in_ms", numbers(references.iter().map(|_| None))),
        ("min_snapshots_to_keep", Arc::new(Int32Array::new_null(references.len()))),
        ("max_snapshot_age_in_ms", numbers(references.iter().map(|_| None))),
    ])
}

fn files(lake: &Lake, table: &Table) -> Result<Columns> {
    let state = table.state();
    let contents = state.files.iter().map(|_| DATA).chain(state.delete_files.iter().map(|_| POSITION_DELETES));
    let contents: Int32Array = contents.collect();
    let files: Vec<_> = state.files.iter().chain(state.delete_files.iter().map(|delete| &delete.file)).collect();
    let number = |number: u64| i64::try_from(number).ok();
    Ok(vec![
        ("content", Arc::new(contents)),
        ("file_path", texts(files.iter().map(|file| lake.url(file)))),
        ("file_format", texts(files.iter().map(|_| "PARQUET".to_owned()))),
        ("record_count", numbers(files.iter().map(|file| number(file.rows)))),
        ("file_size_in_bytes", numbers(files.iter().map(|file| number(file.bytes)))),
    ])
}

/// Files with the same partition values may have different specs: each spec is a partition of its own then.
fn partitions(lake: &Lake, table: &Table) -> Result<Columns> {
    let mut found: BTreeMap<Vec<(String, Option<String>)>, [u64; 3]> = BTreeMap::new();
    for file in table.state().files.iter() {
        let [rows, files, bytes] = found.entry(lake.partition_of(table, file)).or_default();
        (*rows, *files, *bytes) = (*rows + file.live_rows(), *files + 1, *bytes + file.bytes);
    }
    let mut partition = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for fields in found.keys() {
        for (field, value) in fields {
            partition.keys().append_value(field);
            partition.values().append_option(value.as_deref());
        }
        partition.append(true)?;
    }
    let sums = |which: usize| numbers(found.values().map(|sums| i64::try_from(sums[which]).ok()));
    Ok(vec![
        ("partition", Arc::new(partition.finish())),
        ("record_count", sums(0)),
        ("file_count", sums(1)),
        ("total_size", sums(2)),
    ])
}

fn manifests(manifests: &[Manifest]) -> Columns {
    let files = |counts: fn(&Manifest) -> Counts| {
        let files = manifests.iter().map(|manifest| counts(manifest).files.and_then(|files| i32::try_from(files).ok()));
        Arc::new(files.collect::<Int32Array>())
    };
    let rows = |counts: fn(&Manifest) -> Counts| {
        numbers(manifests.iter().map(|manifest| counts(manifest).rows.and_then(|rows| i64::try_from(rows).ok())))
    };
    let spec_ids: Int32Array = manifests.iter().map(|manifest| Some(manifest.spec_id)).collect();
    vec![
        ("path", texts(manifests.iter().map(|manifest| manifest.path.clone()))),
        ("length", numbers(manifests.iter().map(|manifest| Some(manifest.bytes)))),
        ("partition_spec_id", Arc::new(spec_ids)),
        ("added_snapshot_id", numbers(manifests.iter().map(|manifest| Some(manifest.snapshot)))),
        ("added_data_files_count", files(|manifest| manifest.added)),
        ("added_rows_count", rows(|manifest| manifest.added)),
        ("existing_data_files_count", files(|manifest| manifest.existing)),
        ("existing_rows_count", rows(|manifest| manifest.existing)),
        ("deleted_data_files_count", files(|manifest| manifest.deleted)),
        ("deleted_rows_count", rows(|manifest| manifest.deleted)),
    ]
}

/// Every column at every depth, in order; system columns are not listed.
fn all_columns(table: &Table) -> Result<Columns> {
    fn collect(columns: Vec<&Column>, parent: &str, found: &mut Vec<(i32, String, String, String)>) {
        for column in columns {
            let name = if parent.is_empty() { column.name.clone() } else { format!("{parent}.{}", column.name) };
            found.push((column.id, name.clone(), column.kind.sql(), column.aliases.join(", ")));
            collect(column.kind.children(), &name, found);
        }
    }
    let state = table.state();
    let mut found = Vec::new();
    collect(state.schema.columns.iter().collect(), "", &mut found);
    let was = found.iter().map(|column| Some(column.3.clone()).filter(|was| !was.is_empty()));
    Ok(vec![
        ("column_name", texts(found.iter().map(|column| column.1.clone()))),
        ("data_type", texts(found.iter().map(|column| column.2.clone()))),
        ("field_id", numbers(found.iter().map(|column| Some(i64::from(column.0))))),
        ("former_names", Arc::new(was.collect::<StringArray>())),
    ])
}

fn layout(lake: &Lake, table: &Table) -> Columns {
    let fields = lake.layout(table);
    let kind = |is_partition| if is_partition { "partition" } else { "sort" };
    let reasons: StringArray = fields.iter().map(|field| field.missing.clone()).collect();
    vec![
        ("kind", texts(fields.iter().map(|field| kind(field.is_partition).to_owned()))),
        ("field", texts(fields.iter().map(|field| field.field.clone()))),
        ("missing", Arc::new(reasons)),
    ]
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
