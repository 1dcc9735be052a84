//! Acknowledged → visible in SQL, measured by a client while others send.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lacus_testkit::{Project, Server};

/// Probes: events whose way is timed.
const PROBES: u64 = 100;

/// Others send at once, in batches, as fast as they are acknowledged.
const SENDERS: u64 = 3;

/// Events in a batch of the others.
const BATCH: u64 = 50;

/// What even a busy machine must keep. The figure itself is measured, not asserted.
const FRESHNESS_MAX: Duration = Duration::from_secs(10);

#[test]
#[expect(clippy::print_stdout, reason = "the measured freshness belongs to the test's output")]
fn acknowledged_events_show_in_sql_while_others_are_sent() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "[delivery]\ncommit_after = \"2s\"\n");
    let server = project.start();
    let (over, others) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut times = thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (server, over, others) = (&server, &over, &others);
            scope.spawn(move || send_until(over, sender, server, others));
        }
        let times = probe(&server);
        over.store(true, Ordering::SeqCst);
        times
    });
    times.sort();
    let percentile = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    let (median, worst) = (percentile(50), percentile(99));
    let others = others.into_inner();
    println!("freshness: p50 {median:.1} ms, p99 {worst:.1} ms over {PROBES} probes while {others} other events came");
    wait_for(&server, others + PROBES);
    assert!(server.stop().success());
}

/// Every event that was acknowledged becomes visible.
fn wait_for(server: &Server, events: u64) {
    let (mut postgres, started) = (server.postgres(), Instant::now());
    loop {
        let visible = postgres.query("SELECT count(*) FROM events").expect("count events");
        if visible.single() == events.to_string() {
            return;
        }
        assert!(
            started.elapsed() < FRESHNESS_MAX,
            "{events} events were acknowledged, {} are visible",
            visible.single()
        );
    }
}

/// Sends one event at a time, and times how long after its acknowledgement a query first sees it.
fn probe(server: &Server) -> Vec<Duration> {
    let (mut http, mut postgres) = (server.http(), server.postgres());
    let mut times = Vec::new();
    for number in 0..PROBES {
        let body = format!(r#"{{"probe":{number},"sender":"probe"}}"#);
        let reply = http.post("/v1/events?source=events", &[("content-type", "application/json")], body.as_bytes());
        let reply = reply.expect("post a probe");
        assert!(reply.status == 200, "{} {}", reply.status, reply.text());
        let acknowledged = Instant::now();
        let sql = format!("SELECT count(*) FROM events WHERE probe = {number}");
        // Before the first event is visible there is no table, and before the first probe no such column.
        while !postgres.query(&sql).is_ok_and(|rows| rows.single() == "1") {
            assert!(acknowledged.elapsed() < FRESHNESS_MAX, "probe {number} is not visible after {FRESHNESS_MAX:?}");
        }
        times.push(acknowledged.elapsed());
    }
    times
}

fn send_until(over: &AtomicBool, sender: u64, server: &Server, sent: &AtomicU64) {
    let mut http = server.http();
    let line =
        format!(r#"{{"sender":"s{sender}","text":"{}","data":{{"price":417.97,"percent":39}}}}"#, "x".repeat(120));
    let body = format!("{line}\n").repeat(usize::try_from(BATCH).expect("it is small"));
    while !over.load(Ordering::SeqCst) {
        let reply = http.post("/v1/events?source=events", &[("content-type", "application/x-ndjson")], body.as_bytes());
        let reply = reply.expect("post a batch");
        match reply.status {
            200 => sent.fetch_add(BATCH, Ordering::SeqCst),
            429 | 503 => 0, // asked to slow down
            status => panic!("{status} {}", reply.text()),
        };
    }
}

/// Who was told that an event is stored finds it in the next answer: over both doors, also when it is the first of its table,
/// or brings a column.
#[test]
fn what_is_acknowledged_is_in_the_next_answer() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    let (mut http, mut postgres) = (server.http(), server.postgres());
    let mut send = |source: &str, event: &str| {
        let reply = http.post(&format!("/v1/events?source={source}"), &[], event.as_bytes()).expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    for number in 1..=100 {
        send("clicks", &format!("{{\"n\":{number}}}"));
        let rows = postgres.query("select count(*) from clicks").expect("an answer");
        assert_eq!(rows.single(), number.to_string());
    }
    for number in 0..10 {
        send(&format!("new_{number}"), r#"{"n":1}"#);
        let rows = postgres.query(&format!("select count(*) from new_{number}")).expect("an answer");
        assert_eq!(rows.single(), "1");
        send("clicks", &format!("{{\"column_{number}\":1}}"));
        let sql = format!("select count(column_{number}) from clicks");
        let reply = server.http().post("/v1/sql", &[], sql.as_bytes()).expect("an answer");
        assert_eq!(reply.json()["rows"], serde_json::json!([[1]]), "{}", reply.text());
    }
    assert!(server.stop().success());
}
