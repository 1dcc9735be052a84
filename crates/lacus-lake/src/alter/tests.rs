//! Columns change under the rows that are there, whatever fails.

use super::*;
use crate::conform::conform;
use crate::fixture::{Failure, Place, append, commit, numbers, rows, rows_of, stream};
use crate::lake::{Lake, TableAppend};
use crate::schema::ColumnType;

fn path(name: &str) -> Vec<String> {
    vec![name.to_owned()]
}

/// `n` becomes `m`, `day` is new.
fn changes() -> Vec<SchemaChange> {
    vec![
        SchemaChange::Rename { path: path("n"), to: "m".to_owned() },
        SchemaChange::Add { path: path("day"), kind: ColumnType::Date },
    ]
}

fn names(table: &Table) -> Vec<String> {
    table.state().schema.columns.iter().map(|column| column.name.clone()).collect()
}

async fn with_rows(lake: &Lake) -> Arc<Table> {
    let table = lake.create_table(&stream().table(), numbers()).await.unwrap();
    append(&table, &numbers(), 0..5);
    commit(lake, &[(&table, &numbers())], 5).await.unwrap();
    table
}

#[tokio::test]
async fn columns_change_and_rows_stay() {
    let place = Place::new();
    let lake = place.open().await;
    let table = with_rows(&lake).await;
    let before = rows_of(&lake, &table);
    lake.alter(&table, changes()).await.unwrap();
    assert_eq!(names(&table), ["m", "day"]);
    assert_eq!(rows_of(&lake, &table), before, "the files are as they were");
    let state = table.state();
    let old = rows(&numbers(), 0, 0..5);
    assert_eq!(conform(&old, &state.arrow_schema).unwrap().column(0), old.column(0), "by id, not by name");
    // Deliveries go on with the new columns, and files of both merge.
    for number in 1..9 {
        append(&table, &state.schema, 5 * number..5 * number + 5);
        commit(&lake, &[(&table, &state.schema)], 5 * number + 5).await.unwrap();
    }
    lake.alter(&table, vec![SchemaChange::Drop { path: path("m") }]).await.unwrap();
    assert_eq!(names(&table), ["day"]);
    assert_eq!(lake.check().await.unwrap(), []);
    drop((lake, table));
    let lake = place.open().await;
    let table = lake.table(&stream().table()).unwrap();
    assert_eq!(names(&table), ["day"]);
    assert_eq!(table.state().schema.last_id, 6, "an id that was given is never given again");
    lake.alter(&table, vec![SchemaChange::Add { path: path("m"), kind: ColumnType::Text }]).await.unwrap();
    assert_eq!(table.state().schema.columns[1].id, 7);
    assert_eq!(rows_of(&lake, &table).len(), 45);
}

#[tokio::test]
async fn rows_of_other_columns_are_known_and_not_committed() {
    let place = Place::new();
    let lake = place.open().await;
    let table = with_rows(&lake).await;
    let rows = |schema: &TableSchema| TableAppend { table: Arc::clone(&table), schema: schema.clone(), batches: 0 };
    assert!(!lake.is_outdated(&rows(&numbers())));
    lake.alter(&table, changes()).await.unwrap();
    assert!(lake.is_outdated(&rows(&numbers())));
    assert!(!lake.is_outdated(&rows(&table.state().schema)));
    let refused = commit(&lake, &[(&table, &numbers())], 6).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Conflict, "{refused}");
}

#[tokio::test]
async fn names_that_a_column_had_stay_over_a_restart() {
    let place = Place::new();
    let lake = place.open().await;
    let table = with_rows(&lake).await;
    lake.alter(&table, changes()).await.unwrap();
    drop((lake, table));
    let lake = place.open().await;
    let table = lake.table(&stream().table()).unwrap();
    assert_eq!(table.state().schema.columns[0].aliases, ["n"]);
    // A delivery's commit keeps them.
    let schema = TableSchema::clone(&table.state().schema);
    append(&table, &schema, 5..6);
    commit(&lake, &[(&table, &schema)], 6).await.unwrap();
    assert_eq!(table.base().schema().unwrap().columns[0].aliases, ["n"]);
}

#[tokio::test]
async fn rows_that_are_not_committed_keep_their_columns() {
    let place = Place::new();
    let lake = place.open().await;
    let table = with_rows(&lake).await;
    append(&table, &numbers(), 5..6);
    let refused = lake.alter(&table, changes()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Conflict, "{refused:?}");
    assert_eq!(names(&table), ["n"]);
}

#[tokio::test]
async fn columns_are_as_before_or_as_after_whatever_write_fails() {
    for failure in [Failure::Refused, Failure::AnswerLost] {
        for n in 0.. {
            let place = Place::new();
            let (lake, store) = place.open_fragile().await;
            let table = with_rows(&lake).await;
            store.fail(n, failure);
            let altered = lake.alter(&table, changes()).await;
            let writes = store.writes();
            store.pass();
            lake.settle().await.unwrap();
            let shown = names(&table);
            assert_eq!(shown == ["m", "day"], altered.is_ok(), "write {n}, {failure:?}");
            drop((lake, table));
            let lake = place.open().await;
            let table = lake.table(&stream().table()).unwrap();
            assert_eq!(names(&table), shown);
            assert_eq!(rows_of(&lake, &table).len(), 5);
            assert_eq!(lake.check().await.unwrap(), []);
            if n >= writes {
                break;
            }
        }
    }
}
