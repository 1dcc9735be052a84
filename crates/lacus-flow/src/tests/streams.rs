//! Streams that change while they are delivered: reshards, deletions, hints.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, Schema};
use lacus_core::MessageId;
use lacus_lake::AlterTables as _;
use lacus_lake::views::SqlView;

use super::*;

fn clicks() -> StreamName {
    StreamName::new("clicks").unwrap()
}

/// Sends events with message ids, and waits for them.
async fn send_with_ids(running: &Running, numbers: std::ops::Range<u32>) {
    running.log.create_stream(&clicks(), &NewStream::of_shards(3)).unwrap();
    let record = |(number, event): (u32, String)| NewRecord {
        id: Some(MessageId(u128::from(number) << 100)),
        ..NewRecord::of(event)
    };
    let records = numbers.clone().zip(events(numbers)).map(record);
    running.log.append(&clicks(), records.collect()).await.unwrap();
    running.deliveries.caught_up().await.unwrap();
}

async fn commit_of(running: &Running, rows: u64) {
    let committed = || {
        let table = running.lake.table(&clicks().table());
        table.map_or(0, |table| table.state().files.iter().map(|file| file.rows).sum::<u64>())
    };
    wait_until(|| committed() == rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reshards_lose_nothing_and_keep_the_order_of_each_key() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    for round in 0..12 {
        running.send(&events(round * 50..round * 50 + 50)).await;
        let log = running.log.clone();
        log.set_shard_count(&clicks(), 1 + round % 4).unwrap();
    }
    running.deliveries.caught_up().await.unwrap();
    assert_eq!(running.positions("clicks", &project).len(), 600);
    // Of each key, ids were sent in ascending order, and that is the order they became visible in.
    let mut last = [None; 7];
    for batch in running.batches("clicks", &project) {
        for id in batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().values() {
            let key = usize::try_from(id % 50 % 7).unwrap();
            assert!(last[key] < Some(*id), "{id} after {:?}", last[key]);
            last[key] = Some(*id);
        }
    }
    assert_eq!(running.flush().await.rows, 600);
    running.stop().await;

    let running = project.start().await.unwrap();
    running.send(&events(600..650)).await;
    running.deliveries.caught_up().await.unwrap();
    assert_eq!(running.positions("clicks", &project).len(), 650);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_stream_drains_and_one_of_its_name_goes_on() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.send(&events(0..100)).await;
    running.log.delete_stream(&clicks()).unwrap();
    wait_until(|| {
        running.lake.table(&clicks().table()).is_some_and(|_| running.positions("clicks", &project).len() == 100)
    })
    .await;
    assert_eq!(running.flush().await.rows, 100, "a deleted stream can be flushed");
    assert_eq!(running.deliveries.status(), [], "nothing is left of it to tell");
    running.stop().await;

    let running = project.start().await.unwrap();
    running.send(&events(100..150)).await;
    assert_eq!(running.log.stream(&clicks()).unwrap().first_shard, 3);
    running.deliveries.caught_up().await.unwrap();
    assert_eq!(running.positions("clicks", &project).len(), 150);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_of_a_deleted_stream_are_dropped_and_one_of_its_name_begins_anew() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    let (clicks, table) = (clicks(), clicks().table());
    running.send(&events(0..100)).await;
    send_with_ids(&running, 0..5).await;
    assert_eq!(running.positions("clicks", &project).len(), 105);
    assert_eq!(
        running.deliveries.drop_table(&table, false).await.unwrap_err().kind(),
        Kind::Denied,
        "its stream is there"
    );
    running.log.delete_stream(&clicks).unwrap();
    running.deliveries.drop_table(&table, false).await.unwrap();
    assert!(running.lake.table(&table).is_none());
    assert_eq!(running.deliveries.status(), []);
    running.deliveries.drop_table(&table.quarantine(), true).await.unwrap();
    running.stop().await;

    // Nobody makes it again, and its events are not delivered once more.
    let running = project.start().await.unwrap();
    running.deliveries.caught_up().await.unwrap();
    assert!(running.lake.table(&table).is_none() && running.lake.table(&table.quarantine()).is_none());
    running.send(&events(100..150)).await;
    running.deliveries.caught_up().await.unwrap();
    assert_eq!(running.positions("clicks", &project).len(), 50);
    // The rows of these were dropped: they are no duplicates. When they come once more, they are.
    for _ in 0..2 {
        send_with_ids(&running, 0..5).await;
        assert_eq!(running.positions("clicks", &project).len(), 55);
    }
    assert_eq!(running.flush().await.rows, 55);
    running.log.delete_stream(&clicks).unwrap();
    running.deliveries.drop_table(&table, false).await.unwrap();

    // Without a restart between.
    running.send(&events(150..160)).await;
    send_with_ids(&running, 0..5).await;
    assert_eq!(running.positions("clicks", &project).len(), 15);
    running.stop().await;
    let running = project.start().await.unwrap();
    send_with_ids(&running, 0..5).await;
    assert_eq!(running.positions("clicks", &project).len(), 15);
    running.stop().await;
}

/// As when the lake refused while a delivery was to end.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_ended_half_way_keeps_no_other_from_beginning() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.send(&events(0..10)).await;
    running.deliveries.caught_up().await.unwrap();
    let handle = running.deliveries.handle(&clicks()).unwrap();
    handle.end.cancel();
    handle.commands.closed().await;
    running.send(&events(10..20)).await;
    running.deliveries.caught_up().await.unwrap();
    assert_eq!(running.positions("clicks", &project).len(), 20);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_over_feeds_its_table_until_its_delivery_has_ended() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    let table = clicks().table();
    running.send(&events(0..10)).await;
    running.flush().await;
    let all = running.log.stream(&clicks()).unwrap().end;
    running.log.delete_stream(&clicks()).unwrap();
    running.log.let_go(&clicks(), &all).unwrap();
    assert!(running.deliveries.feeding(&table).is_some());
    running.deliveries.drop_table(&table, false).await.unwrap();
    assert!(running.deliveries.feeding(&table).is_none());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_comes_back_with_a_name_of_no_stream_can_be_dropped() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    let old = TableName::new("old").unwrap();
    running.send(&events(0..10)).await;
    running.flush().await;
    let (location, _) = running.table("clicks").metadata();
    running.log.delete_stream(&clicks()).unwrap();
    running.deliveries.drop_table(&clicks().table(), false).await.unwrap();
    running.lake.register_table(&old, &location).await.unwrap();
    assert_eq!(running.lake.drop_table(&old, false).await.unwrap_err().kind(), Kind::Denied, "it looks as delivered");
    running.deliveries.drop_table(&old, false).await.unwrap();
    assert!(running.lake.table(&old).is_none());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_format_of_a_deleted_stream_still_counts_while_it_drains() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.send_messages(&[messages::track(1, "Bought", "{}")]).await;
    running.deliveries.stop().await;
    let web = StreamName::new("web").unwrap();
    running.log.append(&web, vec![NewRecord::of(messages::track(2, "Bought", "{}"))]).await.unwrap();
    running.log.delete_stream(&web).unwrap();
    running.log.close().await.unwrap();
    drop(running);

    let running = project.start().await.unwrap();
    running.deliveries.caught_up().await.unwrap();
    assert_eq!(running.positions("web.bought", &project).len(), 2);
    // One of the same name may have another format: what the first one delivered is not delivered again.
    running.log.create_stream(&web, &NewStream::of_shards(1)).unwrap();
    running.log.append(&web, vec![NewRecord::of(r#"{"plain":1}"#)]).await.unwrap();
    running.deliveries.caught_up().await.unwrap();
    assert_eq!(running.positions("web", &project).len(), 1);
    running.flush_table("web").await;
    let committed = |table: &str| running.table(table).state().files.iter().map(|file| file.rows).sum::<u64>();
    assert_eq!(["web", "web.tracks", "web.bought"].map(committed), [1, 2, 2]);
    running.stop().await;
    let running = project.start().await.unwrap();
    running.deliveries.caught_up().await.unwrap();
    assert_eq!(running.positions("web", &project).len(), 1);
    assert_eq!(running.positions("web.tracks", &project).len(), 2);
    running.stop().await;
}

/// Each record is what its stream was when it came, also when nothing of it was delivered before its stream was made again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_delivered_keeps_its_format_when_its_stream_is_made_again() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.deliveries.stop().await;
    let web = StreamName::new("web").unwrap();
    let segment = BTreeMap::from([("format".to_owned(), "segment".to_owned())]);
    for round in 0..3 {
        running.log.create_stream(&web, &NewStream { shards: 2, attributes: segment.clone() }).unwrap();
        running.log.append(&web, vec![NewRecord::of(messages::track(round, "Bought", "{}"))]).await.unwrap();
        running.log.delete_stream(&web).unwrap();
        running.log.create_stream(&web, &NewStream::of_shards(1)).unwrap();
        running.log.append(&web, vec![NewRecord::of(format!(r#"{{"plain":{round}}}"#))]).await.unwrap();
        if round < 2 {
            running.log.delete_stream(&web).unwrap();
        }
    }
    running.log.close().await.unwrap();
    drop(running);

    for _ in 0..2 {
        let running = project.start().await.unwrap();
        running.deliveries.caught_up().await.unwrap();
        assert_eq!(running.column("web", "plain", &project), ["0", "1", "2"]);
        assert_eq!(running.column("web.bought", "id", &project), ["m0", "m1", "m2"]);
        assert_eq!(running.positions("web.tracks__quarantine", &project).len(), 0);
        running.flush_table("web").await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streams_own_hints_say_when_to_commit() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.send(&events(0..10)).await;
    running.deliveries.caught_up().await.unwrap();
    // The settings say five minutes; it changes while events wait.
    let set = |name: &str, value: &str| {
        let (name, value) = (name.to_owned(), value.to_owned());
        let mut change = |attributes: &mut BTreeMap<String, String>| {
            attributes.insert(name.clone(), value.clone());
            Ok(())
        };
        running.log.change_attributes(&clicks(), &mut change).unwrap();
    };
    set("commit_after_ms", "50");
    commit_of(&running, 10).await;
    set("commit_after_ms", "3600000");
    set("commit_bytes", "200");
    running.send(&events(10..30)).await;
    commit_of(&running, 30).await;
    set("commit_bytes", "many");
    running.send(&events(30..31)).await;
    running.deliveries.caught_up().await.unwrap();
    assert_eq!(running.positions("clicks", &project).len(), 31, "what is no number is as if it was not said");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_a_question_is_visible_without_a_pause() {
    const PAUSE: Duration = Duration::from_millis(10); // for more small appends to come
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.send(&events(0..1)).await;
    running.deliveries.caught_up().await.unwrap();
    let mut shortest = Duration::MAX;
    for number in 1..20 {
        running.deliveries.catch_up_within(PAUSE, None).await;
        let begun = std::time::Instant::now();
        running.send(&events(number..number + 1)).await;
        while running.deliveries.status()[0].visible <= u64::from(number) {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not visible");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        shortest = shortest.min(begun.elapsed());
    }
    assert!(shortest < PAUSE, "{shortest:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_waits_for_its_own_streams_only() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    // A delivery that takes commands and does nothing.
    let stuck = StreamName::new("stuck").unwrap();
    let (commands, _inbox) = mpsc::channel(COMMANDS_MAX);
    let handle = Handle { commands, progress: Arc::default(), end: CancellationToken::new() };
    running.deliveries.0.running.lock().unwrap().insert(stuck.clone(), handle);
    running.log.create_stream(&stuck, &NewStream::of_shards(1)).unwrap();
    running.log.append(&stuck, vec![NewRecord::of("{}")]).await.unwrap();
    running.send(&events(0..10)).await;

    let (long, short) = (Duration::from_secs(3_600), Duration::from_millis(20));
    running.deliveries.catch_up_within(long, Some(&BTreeSet::from([clicks()]))).await;
    assert_eq!(running.positions("clicks", &project).len(), 10);
    running.deliveries.catch_up_within(long, Some(&BTreeSet::new())).await;
    for asked in [None, Some(&BTreeSet::from([stuck.clone()]))] {
        let begun = std::time::Instant::now();
        running.deliveries.catch_up_within(short, asked).await;
        assert!(begun.elapsed() >= short, "it did not wait for a stream that it asks for");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_while_a_view_has_the_name_of_their_table() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    let view = SqlView {
        name: clicks().table(),
        sql: "SELECT 1 AS n".to_owned(),
        dialect: "lacus",
        database: "main".to_owned(),
        columns: Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)])),
    };
    running.lake.create_view(running.lake.view_of(view).unwrap()).await.unwrap();
    running.send(&events(0..20)).await;
    running.stop().await;

    let running = project.start().await.unwrap();
    let error = running.deliveries.caught_up().await.unwrap_err();
    assert!(error.chain().contains("view \"clicks\" exists"), "{}", error.chain());
    running.lake.drop_view(&clicks().table()).await.unwrap();
    running.deliveries.caught_up().await.unwrap();
    assert_eq!(running.positions("clicks", &project).len(), 20);
    running.stop().await;
}
