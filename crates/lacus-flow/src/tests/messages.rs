//! Streams of Segment's messages, and the tables they become.

use std::collections::BTreeMap;

use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::*;
use crate::tables::EVENT_TABLES_MAX;

fn web() -> StreamName {
    StreamName::new("web").unwrap()
}

impl Running {
    pub(super) async fn send_messages(&self, messages: &[String]) {
        let attributes = BTreeMap::from([("format".to_owned(), "segment".to_owned())]);
        self.log.create_stream(&web(), &NewStream { attributes, ..NewStream::of_shards(2) }).unwrap();
        self.log.append(&web(), messages.iter().map(|message| NewRecord::of(message.clone())).collect()).await.unwrap();
        self.deliveries.caught_up().await.unwrap();
    }

    pub(super) async fn flush_table(&self, table: &str) -> CommitReport {
        self.deliveries.flush(&TableName::new(table).unwrap()).await.unwrap()
    }

    /// A column of a table as text, sorted.
    pub(super) fn column(&self, table: &str, column: &str, project: &Project) -> Vec<String> {
        let mut values = Vec::new();
        for batch in self.batches(table, project) {
            let Some(array) = batch.column_by_name(column) else { continue };
            let shown = ArrayFormatter::try_new(array, &FormatOptions::default().with_null("-")).unwrap();
            values.extend((0..batch.num_rows()).map(|row| shown.value(row).to_string()));
        }
        values.sort();
        values
    }
}

pub(super) fn track(id: u32, event: &str, properties: &str) -> String {
    format!(r#"{{"type":"track","messageId":"m{id}","anonymousId":"a","event":"{event}","properties":{properties}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_become_rows_of_many_tables_in_one_commit() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running
        .send_messages(&[
            track(1, "Product Viewed", r#"{"price":1}"#),
            track(2, "productViewed", r#"{"price":2,"sku":"x"}"#),
            track(3, "Users", "{}"),
            r#"{"type":"identify","messageId":"m4","userId":"u1","traits":{"email":"a@b.c"}}"#.to_owned(),
            r#"{"type":"video","messageId":"m5","userId":"u1"}"#.to_owned(),
            "no message".to_owned(),
        ])
        .await;
    let counts = |running: &Running| {
        ["web.tracks", "web.product_viewed", "web.users_event", "web.identifies", "web.tracks__quarantine"]
            .map(|table| running.positions(table, &project).len())
    };
    assert_eq!(counts(&running), [3, 2, 1, 1, 2]);
    assert_eq!(running.column("web.product_viewed", "price", &project), ["1", "2"]);
    assert_eq!(running.column("web.tracks__quarantine", "reason", &project)[0], "\"video\" is no type of message");
    assert_eq!(running.flush_table("web.product_viewed").await.rows, 9);
    assert_eq!(counts(&running), [3, 2, 1, 1, 2]);
    assert!(running.lake.tables().iter().all(|table| table.state().tail.is_empty()));
    assert_eq!(raw_lines(&project.directory.path().join("lake/raw/web")), 4);

    // A commit without a row of an event leaves the event's table alone, and moves the progress.
    let before = running.table("web.product_viewed").state().metadata_location.clone();
    running.send_messages(&[r#"{"type":"page","messageId":"m7","userId":"u1","name":"Home"}"#.to_owned()]).await;
    assert_eq!(running.flush_table("web.pages").await.rows, 1);
    assert_eq!(running.table("web.product_viewed").state().metadata_location, before);
    assert_eq!(running.table("web.tracks").state().delivered.total(), 7);
    running.stop().await;

    let running = project.start().await.unwrap();
    running.send_messages(&[track(8, "Product Viewed", r#"{"price":3}"#)]).await;
    assert_eq!(counts(&running), [4, 3, 1, 1, 2]);
    let status = running.deliveries.status();
    assert_eq!((status[0].acknowledged, status[0].visible, status[0].committed), (8, 8, 7));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_widens_is_decoded_again_in_its_table_only() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.send_messages(&[track(1, "Bought", r#"{"price":1}"#), track(2, "Seen", r#"{"price":7}"#)]).await;
    running.send_messages(&[track(3, "Bought", r#"{"price":2}"#)]).await;
    running.send_messages(&[track(4, "Bought", r#"{"price":2.5}"#)]).await;
    assert_eq!(running.column("web.bought", "price", &project), ["1.0", "2.0", "2.5"]);
    assert_eq!(running.column("web.seen", "price", &project), ["7"]);
    assert_eq!(running.positions("web.tracks", &project).len(), 4);
    assert_eq!(running.flush_table("web.tracks").await.rows, 8);
    assert_eq!(running.column("web.bought", "id", &project), ["m1", "m3", "m4"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_beyond_the_most_tables_go_to_quarantine_with_the_reason() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    let most = u32::try_from(EVENT_TABLES_MAX).unwrap();
    let messages: Vec<String> = (0..most + 2).map(|id| track(id, &format!("event {id}"), "{}")).collect();
    running.send_messages(&messages).await;
    assert_eq!(running.positions("web.tracks", &project).len(), messages.len());
    assert_eq!(running.positions("web.tracks__quarantine", &project).len(), 2);
    let reasons = running.column("web.tracks__quarantine", "reason", &project);
    assert_eq!(reasons[0], "stream \"web\" has 500 tables of events already");
    assert_eq!(running.lake.tables().len(), EVENT_TABLES_MAX + 2);
    // Events that have a table keep it.
    running.send_messages(&[track(9_001, "event 7", "{}")]).await;
    assert_eq!(running.positions("web.event_7", &project).len(), 2);
    let committed = running.flush_table("web.tracks").await;
    assert_eq!(committed.rows, 2 * u64::from(most) + 6);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_door_rejected_is_in_quarantine_with_its_reason() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    let rejected = "\0rejected price is no number\n{\"price\":\"x\"}\n".to_owned();
    running.send(&[r#"{"price":1}"#.to_owned(), rejected.clone()]).await;
    running.send_messages(&[rejected]).await;
    running.deliveries.caught_up().await.unwrap();
    for table in ["clicks__quarantine", "web.tracks__quarantine"] {
        assert_eq!(running.column(table, "reason", &project), ["price is no number"]);
        assert_eq!(running.column(table, "bytes", &project), ["7b227072696365223a2278227d0a"]);
    }
    assert_eq!(running.positions("clicks", &project).len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_door_has_judged_is_in_quarantine_with_its_bytes_and_our_reason() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.send(&["\0rejected \n\0rejected x\n1".to_owned()]).await;
    running.deliveries.caught_up().await.unwrap();
    let reasons = running.column("clicks__quarantine", "reason", &project);
    assert!(!["", "x"].contains(&reasons[0].as_str()), "{reasons:?}");
    assert_eq!(running.column("clicks__quarantine", "bytes", &project), ["0072656a656374656420780a31"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_can_not_have_a_database_keeps_no_other_back() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    let attributes = BTreeMap::from([("format".to_owned(), "segment".to_owned())]);
    for name in ["main", "raw"] {
        let name = StreamName::new(name).unwrap();
        running
            .log
            .create_stream(&name, &NewStream { attributes: attributes.clone(), ..NewStream::of_shards(1) })
            .unwrap();
        running.log.append(&name, vec![NewRecord::of(track(1, "Bought", "{}"))]).await.unwrap();
    }
    running.stop().await;
    let running = project.start().await.unwrap();
    running.send(&events(0..3)).await;
    assert_eq!(running.flush().await.rows, 3);
    let error = running.deliveries.caught_up().await.unwrap_err();
    assert!(error.chain().contains("can have a database"), "{}", error.chain());
    running.stop().await;
}
