//! A table's layout follows its setting, and changes without a rewrite.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::*;
use crate::compact::FileSizes;
use crate::file_stats::Bound;
use crate::fixture::{
    Failure, Place, append, append_batch, column, commit, copy_directory, nested, nested_more, numbers, open, rows,
    rows_of, schema, stream,
};
use crate::lake::Lake;
use crate::schema::{ColumnType, SchemaChange, TableSchema};
use crate::table::Table;

const ALL: FileSizes = FileSizes { target_bytes: 1 << 30, files_min: 2 };

fn set(lake: &Lake, partition: Option<&[&str]>, sort: Option<&[&str]>) {
    let setting = settings::Table {
        partition: partition.map(|fields| fields.iter().map(|field| field.parse().unwrap()).collect()),
        sort: sort.map(|fields| fields.iter().map(|field| field.parse().unwrap()).collect()),
        ..settings::Table::default()
    };
    lake.set_layouts([(stream().table(), setting)].into());
}

fn partitions(lake: &Lake, table: &Table) -> Vec<String> {
    let text = |values: Vec<(String, Option<String>)>| {
        let values = values.into_iter().map(|(field, value)| format!("{field}={}", value.as_deref().unwrap_or("∅")));
        values.collect::<Vec<_>>().join(" ")
    };
    table.state().files.iter().map(|file| text(lake.partition_of(table, file))).collect()
}

fn layout(lake: &Lake, table: &Table) -> Vec<String> {
    let fields = lake.layout(table).into_iter();
    fields
        .map(|field| format!("{}{}", field.field, field.missing.map_or(String::new(), |why| format!(": {why}"))))
        .collect()
}

/// Everything is as before after a restart, and nothing is wrong with it.
async fn reopened(place: &Place, lake: Lake, table: Arc<Table>) -> (Lake, Arc<Table>) {
    let before = (rows_of(&lake, &table), table.state().files.to_vec());
    drop((lake, table));
    let lake = place.open().await;
    let table = lake.table(&stream().table()).unwrap();
    let mut files = table.state().files.to_vec();
    let mut files_before = before.1;
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files_before.sort_by(|one, other| one.path.cmp(&other.path));
    assert_eq!((rows_of(&lake, &table), files), (before.0, files_before));
    assert_eq!(lake.check().await.unwrap(), []);
    (lake, table)
}

#[tokio::test]
async fn a_commit_writes_a_file_for_each_partition_and_specs_evolve() {
    let place = Place::new();
    let lake = place.open().await;
    let table = lake.create_table(&stream().table(), numbers()).await.unwrap();
    append(&table, &numbers(), 0..10);
    commit(&lake, &[(&table, &numbers())], 10).await.unwrap();

    // `user.name` is not there yet.
    set(&lake, Some(&["truncate[10](n)", "user.name"]), None);
    append(&table, &numbers(), 15..35);
    commit(&lake, &[(&table, &numbers())], 35).await.unwrap();
    let expected = ["", "truncate[10](n)=10", "truncate[10](n)=20", "truncate[10](n)=30"];
    assert_eq!(partitions(&lake, &table), expected);
    assert_eq!(layout(&lake, &table), ["truncate[10](n)", "user.name: there is no column \"user.name\" yet"]);
    let (lake, table) = reopened(&place, lake, table).await;

    set(&lake, Some(&["truncate[10](n)", "user.name"]), None);
    append(&table, &nested(), 35..38);
    commit(&lake, &[(&table, &nested())], 38).await.unwrap();
    let three = partitions(&lake, &table).split_off(4);
    let named = |name: &str| format!("truncate[10](n)=30 user.name={name}");
    assert_eq!(three, [named("∅"), named("text of 36"), named("text of 37")]);

    // No partitions any more; the files that are there keep theirs.
    set(&lake, Some(&[]), None);
    append(&table, &nested_more(), 38..50);
    commit(&lake, &[(&table, &nested_more())], 50).await.unwrap();
    assert_eq!(partitions(&lake, &table).split_off(7), [""]);
    let specs: Vec<i32> = table.state().files.iter().map(|file| file.stats.placement.spec_id).collect();
    assert_eq!(specs, [0, 1, 1, 1, 2, 2, 2, 0], "the first spec is found again");
    assert_eq!(rows_of(&lake, &table).len(), 45);
    let (lake, table) = reopened(&place, lake, table).await;

    // Files are merged with their like only: of nine, the three without partitions.
    append(&table, &nested_more(), 50..62);
    commit(&lake, &[(&table, &nested_more())], 62).await.unwrap();
    assert_eq!(table.state().files.len(), 9);
    while lake.compact(&table, ALL, Arc::default()).await.unwrap().is_some() {}
    assert_eq!(table.state().files.len(), 7);
    reopened(&place, lake, table).await;
}

#[tokio::test]
async fn partitions_are_merged_each_for_itself() {
    let place = Place::new();
    let lake = place.open().await;
    let table = lake.create_table(&stream().table(), numbers()).await.unwrap();
    set(&lake, Some(&["bucket[3](n)"]), Some(&["n desc"]));
    for number in 0..6 {
        append(&table, &numbers(), 40 * number..40 * number + 40);
        commit(&lake, &[(&table, &numbers())], 40 * number + 40).await.unwrap();
    }
    assert_eq!((table.state().files.len(), rows_of(&lake, &table).len()), (18, 240));
    let before = rows_of(&lake, &table);
    while lake.compact(&table, ALL, Arc::default()).await.unwrap().is_some() {}
    assert_eq!(rows_of(&lake, &table), before);
    let state = table.state();
    assert_eq!(state.files.len(), 3);
    for file in state.files.iter() {
        assert_eq!(file.stats.placement.sort_order, 1);
        let values = column_of_file(&lake, &file.path);
        assert!(values.windows(2).all(|pair| pair[0] > pair[1]), "{values:?}");
        let stats = file.stats.column(5).unwrap();
        let ends = [values.last(), values.first()].map(|end| end.map(|&end| Bound::Long(end)));
        assert_eq!([stats.lower.clone(), stats.upper.clone()], ends);
    }
    reopened(&place, lake, table).await;
}

/// Column `n` of a file, in order.
fn column_of_file(lake: &Lake, path: &str) -> Vec<i64> {
    use arrow::array::AsArray;
    let file = std::fs::File::open(lake.inner().directory.join(path)).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let columns = reader.map(|batch| batch.unwrap().column_by_name("n").unwrap().clone());
    columns.flat_map(|column| column.as_primitive::<arrow::datatypes::Int64Type>().values().to_vec()).collect()
}

#[tokio::test]
async fn what_can_not_be_is_said_and_keeps_nobody_waiting() {
    let place = Place::new();
    let lake = place.open().await;
    let table = lake.create_table(&stream().table(), nested()).await.unwrap();
    set(&lake, Some(&["day(n)", "items", "user.tags", "n"]), Some(&["bytes", "nothing", "user"]));
    append(&table, &nested(), 0..3);
    commit(&lake, &[(&table, &nested())], 3).await.unwrap();
    assert_eq!(partitions(&lake, &table), ["n=0", "n=1", "n=2"]);
    let expected = [
        "n",
        "bytes",
        "day(n): a column of type long can't be partitioned by day",
        "items: column \"items\" has no single value",
        "user.tags: column \"user.tags\" has no single value",
        "nothing: there is no column \"nothing\" yet",
        "user: column \"user\" has no single value",
    ];
    assert_eq!(layout(&lake, &table), expected);
    assert_eq!(lake.check().await.unwrap(), []);
}

/// Appends rows whose numbers have 32 bits.
fn append_small(table: &Table, schema: &TableSchema, offsets: Range<u64>) {
    let rows = rows(&numbers(), 0, offsets);
    let mut columns = rows.columns().to_vec();
    columns[0] = cast(&columns[0], &DataType::Int32).unwrap();
    append_batch(table, schema, RecordBatch::try_new(schema.arrow(), columns).unwrap());
}

/// Manifests are written with the columns of today, and have files of then.
#[tokio::test]
async fn a_column_that_files_are_partitioned_by_becomes_wider() {
    let place = Place::new();
    let lake = place.open().await;
    let small = schema(vec![column(5, "n", ColumnType::Int)]);
    let table = lake.create_table(&stream().table(), small.clone()).await.unwrap();
    set(&lake, Some(&["truncate[10](n)"]), None);
    for next in [3, 6, 9] {
        append_small(&table, &small, next - 3..next);
        commit(&lake, &[(&table, &small)], next).await.unwrap();
    }
    let wider = SchemaChange::Widen { path: vec!["n".to_owned()], kind: ColumnType::Long };
    lake.alter(&table, vec![wider]).await.unwrap();
    assert_eq!(partitions(&lake, &table), ["truncate[10](n)=0"; 3]);
    let merged = lake.compact(&table, ALL, Arc::default()).await.unwrap();
    assert_eq!(merged.map(|merged| merged.files), Some(3));
    let wide = TableSchema::clone(&table.state().schema);
    append(&table, &wide, 9..12);
    commit(&lake, &[(&table, &wide)], 12).await.unwrap();
    let expected = ["truncate[10](n)=0", "truncate[10](n)=0", "truncate[10](n)=10"];
    assert_eq!(partitions(&lake, &table), expected);
    let (lake, table) = reopened(&place, lake, table).await;
    assert_eq!((partitions(&lake, &table), rows_of(&lake, &table).len()), (expected.map(str::to_owned).to_vec(), 12));
}

#[tokio::test]
async fn a_column_that_files_were_partitioned_by_is_dropped() {
    let place = Place::new();
    let lake = place.open().await;
    let both = schema(vec![column(5, "n", ColumnType::Long), column(6, "m", ColumnType::Long)]);
    let table = lake.create_table(&stream().table(), both.clone()).await.unwrap();
    set(&lake, Some(&["truncate[10](n)"]), None);
    for next in [3, 6, 9] {
        append(&table, &both, next - 3..next);
        commit(&lake, &[(&table, &both)], next).await.unwrap();
    }
    set(&lake, Some(&[]), None);
    append(&table, &both, 9..12);
    commit(&lake, &[(&table, &both)], 12).await.unwrap();
    lake.alter(&table, vec![SchemaChange::Drop { path: vec!["n".to_owned()] }]).await.unwrap();
    let merged = lake.compact(&table, ALL, Arc::default()).await.unwrap();
    assert_eq!(merged.map(|merged| merged.files), Some(3));
    let left = TableSchema::clone(&table.state().schema);
    append(&table, &left, 12..15);
    commit(&lake, &[(&table, &left)], 15).await.unwrap();
    let (lake, table) = reopened(&place, lake, table).await;
    assert_eq!((table.state().files.len(), rows_of(&lake, &table).len()), (3, 15));
}

/// As many partitions as rows, and not a row is lost when any write fails or the process dies before it.
#[tokio::test]
async fn a_partitioned_commit_happens_whole_or_not() {
    let schema = numbers();
    for failure in [Failure::Refused, Failure::AnswerLost] {
        for write in 0.. {
            let place = Place::new();
            let (lake, store) = place.open_fragile().await;
            let table = lake.create_table(&stream().table(), schema.clone()).await.unwrap();
            set(&lake, Some(&["n"]), Some(&["n"]));
            append(&table, &schema, 0..9);
            store.fail(write, failure);
            let committed = commit(&lake, &[(&table, &schema)], 9).await;
            store.pass();
            assert_eq!(lake.check().await.unwrap(), [], "after write {write}");
            if committed.is_ok() {
                assert!(write >= 12, "only {write} writes");
                break;
            }
            assert_eq!(table.state().files.len(), 0);
            commit(&lake, &[(&table, &schema)], 9).await.unwrap();
            assert_eq!((table.state().files.len(), rows_of(&lake, &table).len()), (9, 9));
        }
    }
    let (place, copies) = (Place::new(), tempfile::tempdir().unwrap());
    let (lake, store) = place.open_fragile().await;
    let table = lake.create_table(&stream().table(), schema.clone()).await.unwrap();
    set(&lake, Some(&["n"]), None);
    append(&table, &schema, 0..9);
    store.copy_to(copies.path());
    commit(&lake, &[(&table, &schema)], 9).await.unwrap();
    let writes = store.writes();
    copy_directory(place.directory.path(), &copies.path().join(writes.to_string()));
    for write in 0..=writes {
        let lake = open(&copies.path().join(write.to_string())).await;
        let table = lake.table(&stream().table()).unwrap();
        let rows = rows_of(&lake, &table).len();
        assert!(rows == if write == writes { 9 } else { 0 }, "{rows} rows before write {write}");
        assert!(lake.check().await.unwrap().iter().all(|finding| !finding.is_damage), "before write {write}");
    }
}

#[test]
fn names_of_partition_fields_are_no_names_of_columns() {
    assert!(crate::schema::is_taken_name("_lacus_n_bucket_3"));
    assert!(crate::schema::is_taken_name("_LACUS_x"));
    assert!(!crate::schema::is_taken_name("_lacus"));
    assert!(!crate::schema::is_taken_name("ä_lacus_"));
}

#[test]
fn a_value_of_a_partition_is_told_whatever_it_is() {
    let text = |kind, value: Literal| value_text(Transform::Identity, &Type::Primitive(kind), &value);
    assert_eq!(text(PrimitiveType::Date, Literal::int(20_000)), "2024-10-04");
    assert_eq!(text(PrimitiveType::Timestamptz, Literal::long(1_500_000)), "1970-01-01 00:00:01.500 UTC");
    assert_eq!(text(PrimitiveType::Timestamptz, Literal::long(-500_000)), "1969-12-31 23:59:59.500 UTC");
    assert_eq!(text(PrimitiveType::Timestamp, Literal::long(-500_000)), "1969-12-31 23:59:59.500");
    assert_eq!(text(PrimitiveType::String, Literal::string("web")), "web");
    // Beyond what there is a name for, and of other types.
    assert_eq!(text(PrimitiveType::Date, Literal::int(i32::MAX)), i32::MAX.to_string());
    assert_eq!(text(PrimitiveType::Timestamp, Literal::long(i64::MIN)), i64::MIN.to_string());
    assert_eq!(text(PrimitiveType::Timestamptz, Literal::long(i64::MAX)), i64::MAX.to_string());
    assert_eq!(text(PrimitiveType::Time, Literal::long(-1)), "-1");
    assert_eq!(text(PrimitiveType::Int, Literal::long(7)), "7");
    assert!(text(PrimitiveType::Int, Literal::string("web")).contains("web"));
    assert!(text(PrimitiveType::Date, Literal::bool(true)).contains("true"));
}
