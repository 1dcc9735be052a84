//! Sources whose settings shape their tables, while the server is killed: each event is in its tables once, in each shape,
//! and other engines read the same.

use std::thread;
use std::time::Duration;

use lacus_testkit::environment::{Random, prove, seed, setting};
use lacus_testkit::{Project, Server};
use serde_json::{Value, json};

use crate::clients::run_client;
use crate::raw_zone;

const SETTINGS: &str = r#"
[delivery]
commit_bytes = "16KB"
commit_after = "150ms"

[sources.flat]
nested = "flatten"
arrays = "json"

[sources.split]
nested = "flatten"
arrays = "explode"

[sources.named]
arrays = "explode"
tables = "by_event"
event = "meta.name"
"#;

const SOURCES: [&str; 4] = ["kept", "flat", "split", "named"];
/// Names of events, and one event without.
const NAMES: [&str; 4] = ["Order Placed", "orderShipped", "order returned", ""];
/// The most events in one request.
const BATCH_MAX: u64 = 60;
/// How long a server lives after its last event, at most.
const LIFE_MS_MAX: u64 = 250;

#[test]
#[expect(clippy::print_stdout, reason = "how much was tried belongs to the test's output")]
fn each_shape_has_every_event_once_whatever_kills_leave() {
    let kills: u64 = setting("LACUS_KILLS", if prove() { 60 } else { 10 });
    let mut random = Random::new(seed());
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), SETTINGS);
    let mut sent = 0;
    for _ in 0..kills {
        let server = project.start();
        for _ in 0..=random.below(4) {
            let count = 1 + random.below(BATCH_MAX);
            send(&server, sent..sent + count);
            sent += count;
        }
        thread::sleep(Duration::from_millis(random.below(LIFE_MS_MAX)));
        server.kill9();
    }
    println!("shapes: {kills} kills, {sent} events to each of {} sources", SOURCES.len());
    let server = project.start();
    for table in ["kept", "flat", "split", "named.other_events"] {
        let flushed = project.run(&["table", "flush", table]);
        assert!(flushed.succeeded(), "flush {table}: {}", flushed.stderr);
    }
    check(&server, sent);
    for source in SOURCES {
        assert_eq!(
            raw_zone::events(project.directory(), source).len() as u64,
            sent,
            "events of {source} in the raw zone"
        );
    }
    run_client(
        &project,
        "shapes.py",
        &[
            "flat",
            "split",
            "split__items",
            "split__user_tags",
            "named.order_placed",
            "named.order_returned__items",
            "named.other_events",
        ],
    );
    assert!(server.stop().success());
}

fn send(server: &Server, numbers: std::ops::Range<u64>) {
    let events: Vec<Value> = numbers.map(event).collect();
    let body = Value::Array(events).to_string();
    for source in SOURCES {
        let path = format!("/v1/events?source={source}");
        let reply = server.http().post(&path, &[("content-type", "application/json")], body.as_bytes());
        let reply = reply.unwrap_or_else(|error| panic!("send: {error}"));
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

/// An event whose shape changes as numbers grow.
fn event(n: u64) -> Value {
    let size = if n % 40 == 39 { json!(n as f64 + 0.5) } else { json!(n) };
    let items: Vec<Value> =
        (0..n % 4).map(|item| json!({"sku": format!("s{item}"), "q": n, "size": {"w": size}})).collect();
    let mut event = json!({
        "id": n,
        "meta": {"name": NAMES[usize::try_from(n % 4).expect("below four")]},
        "user": {"address": {"zip": n}, "tags": ["a", "b"]},
        "items": items,
    });
    event["user"][format!("since_{}", n / 200 % 10)] = size;
    event
}

/// What there must be of events 0 to `sent`.
fn check(server: &Server, sent: u64) {
    let sum: u64 = (0..sent).sum();
    let items: u64 = (0..sent).map(|n| n % 4).sum();
    let quantities: u64 = (0..sent).map(|n| n % 4 * n).sum();
    let of_event = |remainder: u64| (0..sent).filter(|n| n % 4 == remainder).count() as u64;
    let places = "count(DISTINCT concat(_partition, '/', _offset, '/', _index))";
    for (sql, expected) in [
        (
            "SELECT count(*), count(DISTINCT id), sum(\"user\"['address']['zip']) FROM kept".to_owned(),
            vec![sent, sent, sum],
        ),
        ("SELECT count(*), count(DISTINCT id), sum(user_address_zip) FROM flat".to_owned(), vec![sent, sent, sum]),
        ("SELECT count(*), count(DISTINCT id), sum(user_address_zip) FROM split".to_owned(), vec![sent, sent, sum]),
        (format!("SELECT count(*), {places}, sum(q) FROM split__items"), vec![items, items, quantities]),
        (format!("SELECT count(*), {places} FROM split__user_tags"), vec![2 * sent, 2 * sent]),
        (
            "SELECT count(*), sum(i.q - s.id) FROM split s JOIN split__items i USING (_partition, _offset)".to_owned(),
            vec![items, 0],
        ),
        ("SELECT count(*), count(DISTINCT id) FROM named.order_placed".to_owned(), vec![of_event(0); 2]),
        ("SELECT count(*), count(DISTINCT id) FROM named.order_shipped".to_owned(), vec![of_event(1); 2]),
        ("SELECT count(*), count(DISTINCT id) FROM named.order_returned".to_owned(), vec![of_event(2); 2]),
        ("SELECT count(*), count(DISTINCT id) FROM named.other_events".to_owned(), vec![of_event(3); 2]),
        (format!("SELECT count(*), {places} FROM named.order_returned__items"), vec![2 * of_event(2); 2]),
    ] {
        let answer = server.postgres().query(&sql).unwrap_or_else(|failure| panic!("{sql}: {failure}"));
        let numbers: Vec<f64> = answer.rows[0]
            .iter()
            .map(|value| value.as_ref().map_or(0.0, |text| text.parse().expect("a number")))
            .collect();
        assert_eq!(numbers, expected.iter().map(|number| *number as f64).collect::<Vec<_>>(), "{sql}");
    }
}
