//! What there is of views after changes, restarts and failures.

use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use lacus_core::SystemClock;

use super::*;
use crate::fixture::{Failure, Place, numbers};

fn named(name: &str) -> TableName {
    TableName::new(name).unwrap()
}

/// A view with one column of this name.
fn view(name: &str, sql: &str) -> NewView {
    let columns = Arc::new(ArrowSchema::new(vec![Field::new("n", DataType::UInt64, false)]));
    let view =
        SqlView { name: named(name), sql: sql.to_owned(), dialect: "lacus", database: "main".to_owned(), columns };
    view.into_new(&SystemClock).unwrap()
}

/// Name and SQL of each view.
fn views(lake: &Lake) -> Vec<(String, String)> {
    lake.views().iter().map(|view| (view.name.to_string(), view.statements()[0].1.to_owned())).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned())).collect()
}

async fn must_be_well(lake: &Lake) {
    assert_eq!(lake.check().await.unwrap(), Vec::new());
}

#[tokio::test]
async fn views_are_made_replaced_renamed_and_dropped() {
    let place = Place::new();
    let lake = place.open().await;
    let made = lake.create_view(view("a", "SELECT 1 AS n")).await.unwrap();
    assert_eq!((made.columns(), made.database()), (vec!["n"], "main"));
    lake.create_view(view("b", "SELECT 2 AS n")).await.unwrap();
    let replaced = lake.create_or_replace_view(view("a", "SELECT 3 AS n")).await.unwrap();
    assert_eq!(replaced.metadata.uuid(), made.metadata.uuid());
    assert_eq!((replaced.metadata.versions().len(), replaced.metadata.current_version_id()), (2, 2));
    assert!(replaced.metadata.properties().is_empty());
    // The version that it had is current again.
    let updates = vec![ViewUpdate::SetCurrentViewVersion { view_version_id: 1 }];
    let commit = |uuids| ViewCommit { view: named("a"), uuids, updates: updates.clone() };
    let error = lake.change_view(commit(vec![Uuid::nil().to_string()])).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    lake.change_view(commit(vec![made.metadata.uuid().to_string()])).await.unwrap();
    assert_eq!(views(&lake), pairs(&[("a", "SELECT 1 AS n"), ("b", "SELECT 2 AS n")]));
    lake.rename_view(&named("a"), &named("c")).await.unwrap();
    lake.drop_view(&named("b")).await.unwrap();
    assert_eq!(lake.drop_view(&named("b")).await.unwrap_err().kind(), Kind::NotFound);
    must_be_well(&lake).await;
    drop(lake);
    let lake = place.open().await;
    assert_eq!(views(&lake), pairs(&[("c", "SELECT 1 AS n")]));
    let location = lake.view(&named("c")).unwrap().location.clone();
    assert_eq!(lake.register_view(&named("d"), &location).await.unwrap_err().kind(), Kind::Exists);
    lake.drop_view(&named("c")).await.unwrap();
    lake.register_view(&named("c"), &location).await.unwrap();
    assert_eq!(lake.view(&named("c")).unwrap().metadata.uuid(), made.metadata.uuid());
    must_be_well(&lake).await;
}

#[tokio::test]
async fn a_name_is_that_of_a_table_or_of_a_view() {
    let place = Place::new();
    let lake = place.open().await;
    lake.create_table(&named("t"), numbers()).await.unwrap();
    lake.create_view(view("v", "SELECT 1 AS n")).await.unwrap();
    for error in [
        lake.create_view(view("t", "SELECT 1 AS n")).await.unwrap_err(),
        lake.create_or_replace_view(view("t", "SELECT 1 AS n")).await.unwrap_err(),
        lake.create_view(view("v", "SELECT 1 AS n")).await.unwrap_err(),
        lake.rename_view(&named("v"), &named("t")).await.unwrap_err(),
        lake.create_table(&named("v"), numbers()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::Exists, "{}", error.chain());
    }
    lake.create_view(view("shop.v", "SELECT 1 AS n")).await.unwrap();
    assert!(lake.databases().await.unwrap().contains_key("shop"));
    assert_eq!(lake.drop_database("shop").await.unwrap_err().kind(), Kind::Conflict);
    must_be_well(&lake).await;
}

#[tokio::test]
async fn a_view_that_could_not_be_written_is_as_it_was() {
    for failure in [Failure::Refused, Failure::AnswerLost] {
        let place = Place::new();
        let (lake, store) = place.open_fragile().await;
        lake.create_view(view("a", "SELECT 1 AS n")).await.unwrap();
        store.fail(0, failure);
        lake.create_or_replace_view(view("a", "SELECT 2 AS n")).await.unwrap_err();
        store.pass();
        assert_eq!(views(&lake), pairs(&[("a", "SELECT 1 AS n")]), "{failure:?}");
        must_be_well(&lake).await;
        lake.create_or_replace_view(view("a", "SELECT 3 AS n")).await.unwrap();
        drop(lake);
        let lake = place.open().await;
        assert_eq!(views(&lake), pairs(&[("a", "SELECT 3 AS n")]), "{failure:?}");
        must_be_well(&lake).await;
    }
}

#[tokio::test]
async fn a_damaged_view_is_told_and_keeps_nothing_from_being_served() {
    let place = Place::new();
    let lake = place.open().await;
    let made = lake.create_view(view("a", "SELECT 1 AS n")).await.unwrap();
    lake.create_view(view("b", "SELECT 2 AS n")).await.unwrap();
    drop(lake);
    std::fs::write(made.location.strip_prefix("file://").unwrap(), "{}").unwrap();
    let lake = place.open().await;
    assert_eq!(views(&lake), pairs(&[("b", "SELECT 2 AS n")]));
    assert!(lake.damage_of(&named("a")).is_some());
    assert!(lake.check().await.unwrap().iter().any(|finding| finding.is_damage));
    lake.drop_view(&named("a")).await.unwrap();
    must_be_well(&lake).await;
}
