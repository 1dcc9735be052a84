//! What was in quarantine, tried again.

use lacus_core::settings::{Arrays, Contract, Nested};
use lacus_core::{Offset, Partition, Position, Record, Timestamp};
use lacus_lake::{Column, ColumnType, SchemaChange};

use super::*;

fn name(table: &str) -> TableName {
    TableName::new(table).unwrap()
}

/// Records of shard 0.
fn records(events: &[(u64, &str)]) -> Vec<Record> {
    let record = |(offset, event): &(u64, &str)| Record {
        position: Position { partition: Partition(0), offset: Offset(*offset) },
        received_at: Timestamp::from_micros(1_000_000),
        key: None,
        id: None,
        value: (*event).to_owned().into(),
    };
    events.iter().map(record).collect()
}

fn add(column: &str) -> Vec<SchemaChange> {
    vec![SchemaChange::Add { path: vec![column.to_owned()], kind: ColumnType::Long }]
}

#[tokio::test(flavor = "multi_thread")]
async fn mended_records_leave_quarantine_once() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.order(&[r#"{"n":1}"#, "{n:2}", "[3]", r#"{"n":4}"#]).await;
    let quarantine = running.deliveries.quarantine_of(&name("orders")).unwrap();
    assert_eq!(quarantine.as_str(), "orders__quarantine");
    let as_they_are = records(&[(1, "{n:2}"), (2, "[3]")]);
    let report = running.deliveries.replay(&quarantine, as_they_are).await.unwrap();
    assert_eq!((report.moved, report.stayed.values().sum::<u64>()), (0, 2));
    // Two that it does not have, one of them delivered, and one that is as it was.
    let mended = records(&[(0, r#"{"n":9}"#), (1, r#"{"n":2,"more":true}"#), (2, "[3]"), (77, r#"{"n":9}"#)]);
    let report = running.deliveries.replay(&quarantine, mended.clone()).await.unwrap();
    assert_eq!((report.moved, report.stayed.values().sum::<u64>()), (1, 1));
    assert_eq!(running.column("orders", "n", &project), ["1", "2", "4"]);
    assert_eq!(running.positions("orders__quarantine", &project), [(0, 2)].into());
    assert_eq!(raw_lines(&project.directory.path().join("lake/raw/orders")), 3);
    let report = running.deliveries.replay(&quarantine, mended).await.unwrap();
    assert_eq!((report.moved, report.stayed.len()), (0, 1));
    running.stop().await;

    let running = project.start().await.unwrap();
    running.order(&[r#"{"n":5}"#]).await;
    assert_eq!(running.column("orders", "n", &project), ["1", "2", "4", "5"]);
    assert_eq!(running.column("orders", "more", &project), ["-", "-", "-", "true"]);
    assert_eq!(running.positions("orders__quarantine", &project), [(0, 2)].into());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_a_contract_by_now_leaves_quarantine() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.order(&[r#"{"n":1}"#]).await;
    running.flush_table("orders").await;
    running.agree(Contract::Strict);
    running.order(&[r#"{"n":2,"new":7}"#, r#"{"n":3,"other":1}"#]).await;
    assert_eq!(running.column("orders", "n", &project), ["1"]);
    running.deliveries.alter(&name("orders"), add("new")).await.unwrap();
    let both = records(&[(1, r#"{"n":2,"new":7}"#), (2, r#"{"n":3,"other":1}"#)]);
    let report = running.deliveries.replay(&name("orders__quarantine"), both).await.unwrap();
    let why = "other: no such column, or not of its type".to_owned();
    assert_eq!((report.moved, report.stayed), (1, [(why, 1)].into()));
    assert_eq!(running.column("orders", "new", &project), ["-", "7"]);
    running.order(&[r#"{"n":4,"new":8}"#]).await;
    assert_eq!(running.column("orders", "new", &project), ["-", "7", "8"]);
    running.stop().await;
}

/// One of two tables refused its rows: those of the other do not come again.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_record_has_already_do_not_come_again() {
    let mut project = Project::new();
    let source = settings::Source { nested: Nested::Flatten, arrays: Arrays::Explode, ..Default::default() };
    project.sources = [("orders".to_owned(), source)].into();
    let running = project.start().await.unwrap();
    running.order(&[r#"{"n":1,"items":[{"sku":1}]}"#]).await;
    running.flush_table("orders").await;
    let strict = settings::Table { contract: Contract::Strict, ..settings::Table::default() };
    running.lake.set_layouts([(name("orders"), strict.clone()), (name("orders__items"), strict)].into());
    let events = [
        // The event's row is refused, its elements are not.
        r#"{"n":2,"new":1,"items":[{"sku":2},{"sku":3}]}"#,
        // One of two elements is refused.
        r#"{"n":3,"items":[{"sku":4},{"sku":"five"}]}"#,
    ];
    running.order(&events).await;
    assert_eq!(running.column("orders__items", "sku", &project), ["1", "2", "3", "4"]);
    assert_eq!(running.column("orders", "n", &project), ["1", "3"]);
    assert_eq!(running.positions("orders__quarantine", &project).len(), 2);
    running.deliveries.alter(&name("orders"), add("new")).await.unwrap();
    let both = records(&[(1, events[0]), (2, events[1])]);
    let report = running.deliveries.replay(&name("orders__quarantine"), both).await.unwrap();
    let why = "table \"orders__items\" has some of its rows already".to_owned();
    assert_eq!((report.moved, report.stayed), (1, [(why, 1)].into()));
    assert_eq!(running.column("orders", "n", &project), ["1", "2", "3"]);
    assert_eq!(running.column("orders__items", "sku", &project), ["1", "2", "3", "4"]);
    assert_eq!(running.positions("orders__quarantine", &project), [(0, 2)].into());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_is_filled_and_goes_on_by_itself() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.order(&[r#"{"n":1}"#]).await;
    running.flush_table("orders").await;
    // One in a file, one that is not committed.
    running.order(&[r#"{"n":"two"}"#]).await;
    running.flush_table("orders").await;
    running.order(&[r#"{"n":"three"}"#, r#"{"n":{"a":4}}"#]).await;
    let refused = running.deliveries.accept(&name("orders"), "nothing").await.unwrap_err();
    assert_eq!(refused.kind(), Kind::NotFound);
    let (changes, report) = running.deliveries.accept(&name("orders"), "n_text").await.unwrap();
    assert_eq!((changes.len(), report.values, report.files), (1, 2, 2));
    assert_eq!(running.column("orders", "_rescued", &project), ["-", "-", "-", r#"{"n":{"a":4}}"#]);
    let (changes, report) = running.deliveries.accept(&name("orders"), "n").await.unwrap();
    assert_eq!((changes.len(), report.values, report.files), (1, 1, 1));
    running.order(&[r#"{"n":"five"}"#]).await;
    assert_eq!(running.column("orders", "n_text", &project), ["-", "-", "five", "three", "two"]);
    assert_eq!(running.column("orders", "_rescued", &project), ["-"; 5]);
    let state = running.table("orders").state();
    let object = state.schema.columns.iter().find(|column| column.name == "n_object").unwrap();
    let fields = ColumnType::Struct(vec![Column::new(object.id + 1, "a", ColumnType::Long)]);
    assert_eq!(object.kind, fields);
    running.stop().await;
}
