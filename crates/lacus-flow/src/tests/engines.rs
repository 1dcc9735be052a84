//! Tables that another engine made, and changes before their stream has an event, or while it has its first.

use std::collections::HashMap;

use lacus_lake::foreign::NewTable;
use lacus_lake::{Column, ColumnType, SchemaChange, Table, TableSchema};

use super::*;

/// A table of an engine's, and a stream that delivers to it and has no event.
async fn made_by_an_engine(running: &Running, name: &str) -> (StreamName, Arc<Table>) {
    let stream = StreamName::new(name).unwrap();
    let columns = vec![Column::new(1, "id", ColumnType::Long)];
    let columns = TableSchema { columns, last_id: 1, ..TableSchema::default() };
    let new = NewTable::of(stream.table(), &columns, &[], &[], HashMap::new()).unwrap();
    let table = running.lake.make_table(new).await.unwrap();
    running.log.create_stream(&stream, &NewStream::of_shards(1)).unwrap();
    running.deliveries.caught_up().await.unwrap();
    assert!(!table.is_delivered());
    (stream, table)
}

fn with_note() -> Vec<SchemaChange> {
    vec![SchemaChange::Add { path: vec!["note".to_owned()], kind: ColumnType::Text }]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_changed_before_its_first_event_is_taken_as_it_is() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    let (_, table) = made_by_an_engine(&running, "clicks").await;
    running.lake.alter(&table, with_note()).await.unwrap();
    running.send(&[r#"{"id":1,"note":"seen","more":true}"#.to_owned()]).await;
    assert_eq!(running.flush().await.rows, 1);
    let names: Vec<_> = table.state().schema.columns.iter().map(|column| column.name.clone()).collect();
    assert_eq!(names, ["id", "note", "more"]);
    let batches = running.batches("clicks", &project);
    assert_eq!(batches[0].column_by_name("note").unwrap().as_string::<i32>().value(0), "seen");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_renamed_before_its_first_event_is_made_again() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    let (_, table) = made_by_an_engine(&running, "clicks").await;
    running.lake.rename_table(table.name(), &TableName::new("kept").unwrap()).await.unwrap();
    running.send(&events(0..10)).await;
    assert_eq!(running.flush().await.rows, 10);
    assert_eq!(running.positions("clicks", &project).len(), 10);
    assert!(running.table("kept").state().files.is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_beside_the_first_events_loses_and_doubles_none() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    for round in 0..8 {
        let name = format!("clicks_{round}");
        let (stream, table) = made_by_an_engine(&running, &name).await;
        let events = (0..20).map(|id| NewRecord::of(format!(r#"{{"id":{id},"note":"n"}}"#)));
        let (changed, sent) =
            tokio::join!(running.lake.alter(&table, with_note()), running.log.append(&stream, events.collect()));
        sent.unwrap();
        if let Err(refused) = changed {
            assert_eq!(refused.kind(), Kind::Conflict, "the events were first: {refused}");
        }
        let mut flushed = running.deliveries.flush(table.name()).await;
        for _ in 0..5 {
            if flushed.is_err() {
                flushed = running.deliveries.flush(table.name()).await;
            }
        }
        flushed.unwrap();
        assert_eq!(running.positions(&name, &project).len(), 20, "round {round}");
        assert!(table.state().tail.is_empty());
    }
    running.stop().await;
}
