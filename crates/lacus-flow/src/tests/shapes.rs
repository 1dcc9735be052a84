//! Sources whose settings shape their tables.

use lacus_core::settings::{Arrays, Nested, TablesOf};

use super::*;
use crate::tables::EVENT_TABLES_MAX;

fn shop() -> StreamName {
    StreamName::new("shop").unwrap()
}

impl Project {
    fn shaped(&mut self, nested: Nested, arrays: Arrays, event: Option<&str>) {
        let tables = if event.is_some() { TablesOf::ByEvent } else { TablesOf::One };
        let source = settings::Source { nested, arrays, tables, event: event.map(str::to_owned), ..Default::default() };
        self.sources = [("shop".to_owned(), source)].into();
    }
}

impl Running {
    async fn sell(&self, events: &[&str]) {
        self.log.create_stream(&shop(), &NewStream::of_shards(1)).unwrap();
        self.log
            .append(&shop(), events.iter().map(|event| NewRecord::of((*event).to_owned())).collect())
            .await
            .unwrap();
        self.deliveries.caught_up().await.unwrap();
    }

    fn columns(&self, tables: &[(&str, &str)], project: &Project) -> Vec<Vec<String>> {
        tables.iter().map(|(table, column)| self.column(table, column, project)).collect()
    }

    fn names(&self) -> Vec<String> {
        self.lake.tables().iter().map(|table| table.name().to_string()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn elements_of_arrays_are_rows_of_a_table_beside() {
    let mut project = Project::new();
    project.shaped(Nested::Flatten, Arrays::Explode, None);
    let running = project.start().await.unwrap();
    running
        .sell(&[
            r#"{"order":1,"by":{"name":"Ann"},"items":[{"sku":"x","size":{"w":1}},{"sku":"y"}]}"#,
            r#"{"order":2,"items":[{"sku":"z","size":{"w":2.5}}],"by":{"tags":["new"]}}"#,
        ])
        .await;
    let columns = [
        ("shop", "order"),
        ("shop", "by_name"),
        ("shop__items", "sku"),
        ("shop__items", "size_w"),
        ("shop__items", "_index"),
        ("shop__items", "_offset"),
        ("shop__by_tags", "value"),
    ];
    let expected = [
        vec!["1", "2"],
        vec!["-", "Ann"],
        vec!["x", "y", "z"],
        vec!["-", "1.0", "2.5"],
        vec!["0", "0", "1"],
        vec!["0", "0", "1"],
        vec!["new"],
    ];
    assert_eq!(running.columns(&columns, &project), expected);
    assert_eq!(running.flush_table("shop__items").await.rows, 6);
    assert_eq!(running.columns(&columns, &project), expected);
    // A whole number that becomes a fraction decodes what is visible again, in its table only.
    running.sell(&[r#"{"order":3,"items":[{"n":1},{"n":2}]}"#]).await;
    running.sell(&[r#"{"order":4,"items":[{"n":0.5}]}"#]).await;
    assert_eq!(running.column("shop__items", "n", &project)[3..], ["0.5", "1.0", "2.0"]);
    assert_eq!(raw_lines(&project.directory.path().join("lake/raw/shop")), 2);
    running.stop().await;

    let running = project.start().await.unwrap();
    running.deliveries.caught_up().await.unwrap();
    assert_eq!(running.column("shop__items", "_index", &project).len(), 6);
    assert_eq!(running.positions("shop", &project).len(), 4);
    assert_eq!(running.flush_table("shop").await.rows, 5);
    assert_eq!(running.table("shop").state().delivered.total(), 4);
    assert_eq!(running.names(), ["shop", "shop__by_tags", "shop__items", "shop__quarantine"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_has_a_table_and_those_without_one_have_another() {
    let mut project = Project::new();
    project.shaped(Nested::Struct, Arrays::List, Some("event"));
    let running = project.start().await.unwrap();
    running
        .sell(&[
            r#"{"event":"Signed Up","user":{"id":1}}"#,
            r#"{"event":"signed-up","user":{"id":2}}"#,
            r#"{"event":"Left"}"#,
            r#"{"id":3}"#,
            "no event",
        ])
        .await;
    let counts = |running: &Running| {
        ["shop.signed_up", "shop.left", "shop.other_events", "shop.other_events__quarantine"]
            .map(|table| running.positions(table, &project).len())
    };
    assert_eq!(counts(&running), [2, 1, 1, 1]);
    assert_eq!(running.flush_table("shop.left").await.rows, 5);
    running.stop().await;
    let running = project.start().await.unwrap();
    running.sell(&[r#"{"event":"Left"}"#]).await;
    assert_eq!(counts(&running), [2, 2, 1, 1]);
    assert_eq!(running.deliveries.status()[0].committed, 5);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_beyond_the_most_tables_are_among_the_others() {
    let mut project = Project::new();
    project.shaped(Nested::Struct, Arrays::Explode, Some("event"));
    let running = project.start().await.unwrap();
    let events: Vec<String> = (0..EVENT_TABLES_MAX + 3)
        .map(|id| {
            format!(
                r#"{{"event":"event {id}","id":{id}{}}}"#,
                if id > EVENT_TABLES_MAX { r#","of":[1,2]"# } else { "" }
            )
        })
        .collect();
    running.sell(&events.iter().map(String::as_str).collect::<Vec<_>>()).await;
    running.sell(&[r#"{"id":1.5}"#]).await;
    assert_eq!(running.lake.tables().len(), EVENT_TABLES_MAX + 2);
    assert_eq!(running.column("shop.other_events", "id", &project), ["1.5", "500.0", "501.0", "502.0"]);
    // What had no room for the elements of its array is whole in quarantine, once.
    assert_eq!(running.positions("shop.other_events__quarantine", &project).len(), 2);
    assert_eq!(running.flush_table("shop.other_events").await.rows, EVENT_TABLES_MAX as u64 + 6);
    assert_eq!(raw_lines(&project.directory.path().join("lake/raw/shop")), events.len() + 1);
    running.stop().await;
}

/// What is in files keeps its shape, all else has the new one, and no event is in both or in neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_shape_begins_where_the_files_end() {
    let mut project = Project::new();
    let event = r#"{"event":"Sold","item":{"sku":"x"},"of":[1,2]}"#;
    let running = project.start().await.unwrap();
    running.sell(&[event, event]).await;
    assert_eq!(running.flush_table("shop").await.rows, 2);
    running.sell(&[event]).await;
    running.stop().await;

    project.shaped(Nested::Flatten, Arrays::Explode, Some("event"));
    let running = project.start().await.unwrap();
    running.sell(&[event]).await;
    let counts = |running: &Running, project: &Project| {
        ["shop", "shop.sold"].map(|table| running.positions(table, project).len())
    };
    assert_eq!(counts(&running, &project), [2, 2]);
    assert_eq!(running.column("shop.sold", "item_sku", &project), ["x", "x"]);
    assert_eq!(running.column("shop.sold__of", "value", &project), ["1", "1", "2", "2"]);
    let remembered = &running.log.stream(&shop()).unwrap().attributes["shape"];
    assert_eq!(remembered, "nested=flatten,arrays=explode,tables=by_event,event=event");
    assert_eq!(running.flush_table("shop.sold").await.rows, 6);
    running.stop().await;

    // And back.
    project.sources.clear();
    let running = project.start().await.unwrap();
    running.sell(&[event]).await;
    assert_eq!(counts(&running, &project), [3, 2]);
    assert_eq!(running.flush_table("shop").await.rows, 1);
    running.stop().await;
    let running = project.start().await.unwrap();
    running.deliveries.caught_up().await.unwrap();
    assert_eq!(counts(&running, &project), [3, 2]);
    assert_eq!(running.deliveries.status()[0].committed, 5);
    running.stop().await;
}
