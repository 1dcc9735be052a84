//! Statements that write, as the lake sees them.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema as ArrowSchema};
use iceberg::spec::{NestedField, PrimitiveType, Schema, Transform, Type, UnboundPartitionSpec};

use super::*;
use crate::compact::FileSizes;
use crate::fixture::{Failure, Place};

/// A table `t` with columns `id` and `v`, of which `id` has a value in each row.
fn new_table(name: &str, partition: Option<Transform>) -> NewTable {
    let fields = [
        NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)),
        NestedField::optional(2, "v", Type::Primitive(PrimitiveType::Long)),
    ];
    let schema = Schema::builder().with_fields(fields.map(Arc::new)).build().unwrap();
    let partition_spec = partition.map(|transform| {
        UnboundPartitionSpec::builder().add_partition_field(1, "_lacus_id", transform).unwrap().build()
    });
    let name = TableName::new(name).unwrap();
    NewTable { name, location: None, schema, partition_spec, write_order: None, properties: HashMap::new() }
}

fn batch(rows: &[(Option<i64>, Option<i64>)]) -> RecordBatch {
    let (ids, values): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
    let fields = vec![Field::new("id", DataType::Int64, true), Field::new("v", DataType::Int64, true)];
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(Int64Array::from(ids)), Arc::new(Int64Array::from(values))];
    RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns).unwrap()
}

fn numbers(ids: std::ops::Range<i64>) -> RecordBatch {
    batch(&ids.map(|id| (Some(id), (id % 3 != 0).then_some(id * 10))).collect::<Vec<_>>())
}

async fn send(lake: &Lake, target: Target, pieces: Vec<Piece>) -> Result<Written> {
    let (sender, receiver) = mpsc::channel(pieces.len().max(1));
    for piece in pieces {
        assert!(sender.try_send(piece).is_ok());
    }
    drop(sender);
    lake.write(target, receiver, Arc::default()).await
}

fn old(lake: &Lake, name: &str) -> Target {
    let table = lake.table(&TableName::new(name).unwrap()).unwrap();
    let state = table.state();
    Target::Old { table, state, may_repeat: false }
}

/// The rows of a table with their places.
async fn read(lake: &Lake, name: &str) -> Vec<(RowPlace, i64, Option<i64>)> {
    let state = lake.table(&TableName::new(name).unwrap()).unwrap().state();
    let mut all = Vec::new();
    for (file, live) in (0..).zip(state.files.iter()) {
        let mut rows = lake.file_rows(live, &state.arrow_schema).await.unwrap();
        let mut row = 0;
        while let Some(batch) = rows.next().await.unwrap() {
            let (ids, values) =
                (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_primitive::<Int64Type>());
            for (id, value) in ids.iter().zip(values) {
                all.push((RowPlace { file, row }, id.unwrap(), value));
                row += 1;
            }
        }
    }
    all
}

async fn rows(lake: &Lake, name: &str) -> BTreeMap<i64, Option<i64>> {
    let rows = read(lake, name).await;
    let map: BTreeMap<_, _> = rows.iter().map(|(_, id, value)| (*id, *value)).collect();
    assert_eq!(map.len(), rows.len(), "a row is there twice");
    map
}

/// All files of the lake.
fn files(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn wanted(ids: impl Iterator<Item = i64>) -> BTreeMap<i64, Option<i64>> {
    ids.map(|id| (id, (id % 3 != 0).then_some(id * 10))).collect()
}

#[tokio::test]
async fn a_table_comes_with_its_rows_and_rows_come_and_go() {
    let place = Place::new();
    let lake = place.open().await;
    let made = send(
        &lake,
        Target::New(Box::new(new_table("t", Some(Transform::Bucket(4))))),
        vec![Piece::Added(numbers(0..50)), Piece::Added(numbers(50..100)), Piece::End],
    );
    assert_eq!(made.await.unwrap(), Written { added: 100, gone: 0 });
    let table = lake.table(&TableName::new("t").unwrap()).unwrap();
    assert_eq!((table.snapshots().len(), table.state().files.len()), (1, 4));
    assert!(!table.is_delivered());

    let again = send(&lake, Target::New(Box::new(new_table("t", None))), vec![Piece::End]).await.unwrap_err();
    assert_eq!(again.kind(), Kind::Exists);
    send(&lake, old(&lake, "t"), vec![Piece::Added(numbers(100..110)), Piece::End]).await.unwrap();

    let gone = read(&lake, "t").await.into_iter().filter(|(_, id, _)| id % 2 == 0).map(|(place, ..)| place);
    let changes = vec![Piece::Gone(gone.collect()), Piece::Added(numbers(1000..1001)), Piece::End];
    let written = send(&lake, old(&lake, "t"), changes).await.unwrap();
    assert_eq!(written, Written { added: 1, gone: 55 });
    let odd_and_one = wanted((0..110).filter(|id| id % 2 == 1).chain([1000]));
    assert_eq!(rows(&lake, "t").await, odd_and_one);
    assert_eq!(table.snapshots().last().unwrap().operation, "overwrite");

    assert_eq!(lake.check().await.unwrap(), []);
    drop(lake);
    let lake = place.open().await;
    assert_eq!(rows(&lake, "t").await, odd_and_one);
}

#[tokio::test]
async fn a_database_that_is_dropped_meanwhile_gets_no_table() {
    let place = Place::new();
    let lake = place.open().await;
    lake.create_database("shop", &crate::foreign::Properties::new()).await.unwrap();
    let (pieces, taken) = mpsc::channel(1);
    let writing = lake.write(Target::New(Box::new(new_table("shop.t", None))), taken, Arc::default());
    let dropping = async {
        // The second has room when the statement has begun and took the first.
        for piece in [Piece::Added(numbers(0..10)), Piece::Added(numbers(10..20))] {
            pieces.send(piece).await.ok().unwrap();
        }
        lake.drop_database("shop").await.unwrap();
        pieces.send(Piece::End).await.ok().unwrap();
    };
    let (written, ()) = tokio::join!(writing, dropping);
    assert_eq!(written.unwrap_err().kind(), Kind::NotFound);
    assert!(!lake.is_database("shop"));
    assert_eq!(lake.check().await.unwrap(), []);
}

#[tokio::test]
async fn what_is_stopped_or_wrong_leaves_nothing() {
    let place = Place::new();
    let lake = place.open().await;
    send(&lake, Target::New(Box::new(new_table("t", None))), vec![Piece::Added(numbers(0..10)), Piece::End])
        .await
        .unwrap();
    let before = files(&lake.inner().directory);

    let unfinished = send(&lake, old(&lake, "t"), vec![Piece::Added(numbers(10..20))]).await.unwrap_err();
    assert_eq!(unfinished.kind(), Kind::Limited);
    let null = send(&lake, old(&lake, "t"), vec![Piece::Added(batch(&[(None, None)])), Piece::End]).await.unwrap_err();
    assert!(null.message().contains("can't be null") || null.chain().contains("can't be null"), "{}", null.chain());
    let twice = vec![RowPlace { file: 0, row: 3 }; 2];
    let twice = send(&lake, old(&lake, "t"), vec![Piece::Gone(twice), Piece::End]).await.unwrap_err();
    assert_eq!(twice.kind(), Kind::Invalid);
    let (sender, receiver) = mpsc::channel(2);
    sender.try_send(Piece::Gone(vec![RowPlace { file: 0, row: 3 }])).ok().unwrap();
    sender.try_send(Piece::End).ok().unwrap();
    let stopped = lake.write(old(&lake, "t"), receiver, Arc::new(true.into())).await.unwrap_err();
    assert_eq!(stopped.kind(), Kind::Limited);

    // A new table that does not come to be.
    let none = send(&lake, Target::New(Box::new(new_table("u", None))), vec![Piece::Added(numbers(0..10))]).await;
    assert!(none.is_err() && lake.table(&TableName::new("u").unwrap()).is_none());
    assert_eq!(rows(&lake, "t").await, wanted(0..10));
    assert_eq!(files(&lake.inner().directory), before);
    assert_eq!(lake.check().await.unwrap(), []);
}

#[tokio::test]
async fn files_that_were_changed_meanwhile_are_a_conflict_and_appends_are_not() {
    let place = Place::new();
    let lake = place.open().await;
    for ids in [0..10, 10..20] {
        let target = match lake.table(&TableName::new("t").unwrap()) {
            Some(_) => old(&lake, "t"),
            None => Target::New(Box::new(new_table("t", None))),
        };
        send(&lake, target, vec![Piece::Added(numbers(ids)), Piece::End]).await.unwrap();
    }
    let (early, late) = (old(&lake, "t"), old(&lake, "t"));
    send(&lake, old(&lake, "t"), vec![Piece::Added(numbers(20..30)), Piece::End]).await.unwrap();
    let table = lake.table(&TableName::new("t").unwrap()).unwrap();
    let gone = || vec![Piece::Gone(vec![RowPlace { file: 1, row: 0 }]), Piece::End];
    send(&lake, early, gone()).await.unwrap();
    assert_eq!(rows(&lake, "t").await, wanted((0..30).filter(|id| *id != 10)));
    assert_eq!(send(&lake, late, gone()).await.unwrap_err().kind(), Kind::Conflict);

    // Nobody merges files that are to stay.
    let stay = table.files_stay().await;
    let sizes = FileSizes { target_bytes: 1 << 30, files_min: 2 };
    let merging = lake.compact(&table, sizes, Arc::default());
    let mut merging = std::pin::pin!(merging);
    assert!(futures::poll!(&mut merging).is_pending());
    drop(stay);
    merging.await.unwrap().unwrap();
    assert_eq!(rows(&lake, "t").await, wanted((0..30).filter(|id| *id != 10)));
    assert_eq!(lake.check().await.unwrap(), []);
}

#[tokio::test]
async fn nothing_is_left_of_what_the_store_refuses() {
    for failure in [Failure::Refused, Failure::AnswerLost] {
        let place = Place::new();
        let (lake, store) = place.open_fragile().await;
        let new = Target::New(Box::new(new_table("t", None)));
        send(&lake, new, vec![Piece::Added(numbers(0..10)), Piece::End]).await.unwrap();
        let mut failures = 0;
        loop {
            store.fail(failures, failure);
            if send(&lake, old(&lake, "t"), some_change()).await.is_ok() {
                break;
            }
            assert_eq!(rows(&lake, "t").await, wanted(0..10), "after write {failures}");
            failures += 1;
            assert!(failures < 20, "it never succeeds");
        }
        assert!(failures >= 5, "two files, manifests, a list and metadata are written");
        assert_eq!(rows(&lake, "t").await, wanted((0..20).filter(|id| *id != 3)));
        assert_eq!(lake.check().await.unwrap(), []);
    }
}

/// Row 3 goes, and ten come.
fn some_change() -> Vec<Piece> {
    vec![Piece::Gone(vec![RowPlace { file: 0, row: 3 }]), Piece::Added(numbers(10..20)), Piece::End]
}

#[tokio::test]
async fn whoever_crashes_has_the_rows_from_before_or_from_after() {
    let (place, copies) = (Place::new(), tempfile::tempdir().unwrap());
    let (lake, store) = place.open_fragile().await;
    store.copy_to(copies.path());
    let new = Target::New(Box::new(new_table("t", Some(Transform::Bucket(2)))));
    send(&lake, new, vec![Piece::Added(numbers(0..10)), Piece::End]).await.unwrap();
    let made = store.writes();
    send(&lake, old(&lake, "t"), some_change()).await.unwrap();
    let writes = store.writes();
    drop(lake);
    assert!(made >= 4 && writes > made + 3);
    for number in 0..writes {
        let copy = crate::fixture::open(&copies.path().join(number.to_string())).await;
        if number < made {
            assert!(copy.tables().is_empty(), "before write {number}");
        } else {
            assert_eq!(rows(&copy, "t").await, wanted(0..10), "before write {number}");
        }
        // That it is elsewhere now is no damage.
        let findings = copy.check().await.unwrap();
        assert!(!findings.iter().any(|finding| finding.is_damage), "before write {number}: {findings:?}");
    }
}
