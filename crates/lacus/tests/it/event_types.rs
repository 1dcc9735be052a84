//! Events of 500 types that arrive mixed: in a table for each type, and in one table partitioned by type. Memory stays
//! within its budget, and each event is in its table once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lacus_testkit::environment::{Random, prove, seed, setting};
use lacus_testkit::{Http, Project, Server};
use serde_json::{Value, json};

use crate::raw_zone;

const TYPES: u64 = 500;
/// The least that can be set: what comes is many times as much.
const BUDGET_MB: u64 = 16;
/// Beyond the budget there may be what one turn of each of two deliveries brings: they look when a turn is done.
const TURNS_MB: u64 = 12;
/// The most that a server may have beside the rows that the budget counts: what a commit writes, and what is known of the
/// tables.
const BESIDE_MB: u64 = 200;
/// The most that is known of a live file with 25 columns, 1.4 kB, and of the snapshot that brought it, 1.7 kB if it is of a table of
/// its own.
const FILE_KB: u64 = 4;
const SOURCES: [&str; 2] = ["split", "mixed"];
const BATCH: u64 = 500;
/// Tables of one type whose rows are looked at in a short run; of the others, how many rows they have together.
const TABLES_LOOKED_AT: usize = 15;

const SETTINGS: &str = r#"
[delivery]
tail_bytes_max = "16MB"

[sources.split]
tables = "by_event"
event = "name"

[tables.mixed]
partition = ["name"]
"#;

/// The most that was seen while events came.
#[derive(Debug, Default)]
struct Peak {
    tail_mb: f64,
    files: u64,
    looks: u64,
}

#[test]
#[expect(clippy::print_stdout, reason = "what it took belongs to the test's output")]
fn five_hundred_types_of_events_stay_within_the_budget() {
    let events: u64 = setting("LACUS_EVENTS", if prove() { 400_000 } else { 6_000 });
    let mut random = Random::new(seed());
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), SETTINGS);
    let server = project.start();
    let before_mb = server.memory_mb_max();
    let is_over = Arc::new(AtomicBool::new(false));
    let watch = watch(server.http(), Arc::clone(&is_over));
    let began = Instant::now();
    let types = send_all(&server, events, &mut random);
    wait_until_all_is_visible(&server);
    for table in ["split.other_events", "mixed"] {
        let flushed = project.run(&["table", "flush", table]);
        assert!(flushed.succeeded(), "flush {table}: {}", flushed.stderr);
    }
    let took = began.elapsed();
    is_over.store(true, Ordering::Relaxed);
    let peak = watch.join().expect("nothing panics while it looks");
    let status = server.http().get("/v1/status").expect("ask for the status").json();
    let memory_mb = server.memory_mb_max();
    let commits = server.log().iter().filter(|line| line.contains(": committed ")).count();
    println!(
        "{events} events of {TYPES} types to each of {} sources in {took:.1?}: {commits} commits, {} tables, {} files; \
         there were {} at most, tails had {:.1} MB at most ({} looks), the process {memory_mb} MB, before {before_mb} MB",
        SOURCES.len(),
        status["lake"]["tables"],
        status["lake"]["files"],
        peak.files,
        peak.tail_mb,
        peak.looks
    );
    check_rows(&server, &types, events, &mut random);
    for source in SOURCES {
        assert_eq!(raw_zone::events(project.directory(), source).len() as u64, events, "{source} in the raw zone");
    }
    assert!(peak.tail_mb <= (BUDGET_MB + TURNS_MB) as f64, "tails had {:.1} MB", peak.tail_mb);
    let most = before_mb + BUDGET_MB + TURNS_MB + BESIDE_MB + peak.files * FILE_KB / 1_000;
    assert!(memory_mb <= most, "the server had {memory_mb} MB, {before_mb} MB at its start, and may have {most} MB");
    assert!(server.stop().success());
}

/// Sends the events to both sources, and says how many there are of each type.
fn send_all(server: &Server, events: u64, random: &mut Random) -> Vec<u64> {
    let mut types = vec![0; usize::try_from(TYPES).expect("some hundred")];
    let mut http = SOURCES.map(|source| (source, server.http()));
    for first in (0..events).step_by(usize::try_from(BATCH).expect("some hundred")) {
        let batch: Vec<Value> = (first..events.min(first + BATCH))
            .map(|number| {
                // At first one of each, so that all types are there at once.
                let kind = if number < TYPES { number } else { random.below(TYPES) };
                types[usize::try_from(kind).expect("some hundred")] += 1;
                event(number, kind, random)
            })
            .collect();
        let body = Value::Array(batch).to_string();
        for (source, http) in &mut http {
            send(http, source, &body);
        }
    }
    types
}

/// Rows come as fast as the budget is committed. No bound of its own: the test has one.
fn wait_until_all_is_visible(server: &Server) {
    let mut http = server.http();
    loop {
        let status = http.get("/v1/status").expect("ask for the status").json();
        let streams = status["streams"].as_array().expect("a list of streams");
        if streams.iter().all(|stream| stream["visible"] == stream["acknowledged"]) {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Sends a batch, again if the server asks for it.
fn send(http: &mut Http, source: &str, body: &str) {
    let path = format!("/v1/events?source={source}");
    loop {
        let reply = http.post(&path, &[("content-type", "application/json")], body.as_bytes());
        let reply = reply.unwrap_or_else(|error| panic!("send: {error}"));
        match reply.status {
            200 => return,
            429 => thread::sleep(Duration::from_millis(50)),
            other => panic!("{other}: {}", reply.text()),
        }
    }
}

/// About two kilobytes, with 25 columns.
fn event(number: u64, kind: u64, random: &mut Random) -> Value {
    let mut event = json!({
        "n": number,
        "name": format!("Event {kind}"),
        "user": {"id": random.below(1 << 20), "city": "Ulm"},
        "price": number as f64 / 4.0,
    });
    for field in 0..18 {
        event[format!("f{field}")] = json!(format!("{:016x}", random.number()));
    }
    event["text"] = json!(format!("{:016x}", random.number()).repeat(80));
    event
}

/// Looks all the while at what the deliveries count.
fn watch(mut http: Http, is_over: Arc<AtomicBool>) -> thread::JoinHandle<Peak> {
    thread::spawn(move || {
        let mut peak = Peak::default();
        while !is_over.load(Ordering::Relaxed) {
            let status = http.get("/v1/status").expect("ask for the status").json();
            let streams = status["streams"].as_array().expect("a list of streams");
            let bytes: f64 = streams.iter().filter_map(|stream| stream["tail_bytes"].as_f64()).sum();
            peak.tail_mb = peak.tail_mb.max(bytes / 1e6);
            peak.files = peak.files.max(status["lake"]["files"].as_u64().unwrap_or(0));
            peak.looks += 1;
            thread::sleep(Duration::from_millis(5));
        }
        peak
    })
}

fn check_rows(server: &Server, types: &[u64], events: u64, random: &mut Random) {
    let sum: u64 = (0..events).sum();
    let mut postgres = server.postgres();
    let mut ask = |sql: &str| postgres.query(sql).unwrap_or_else(|failure| panic!("{sql}: {failure}")).rows;
    let expected: Vec<Vec<Option<String>>> = {
        let rows = types.iter().enumerate().filter(|(_, count)| **count > 0);
        let mut rows: Vec<_> =
            rows.map(|(kind, count)| vec![Some(format!("Event {kind}")), Some(count.to_string())]).collect();
        rows.sort();
        rows
    };
    let mixed = ask("SELECT name, count(*) FROM mixed GROUP BY name ORDER BY name");
    assert_eq!(mixed, expected, "rows of each type in one table");
    let totals = ask("SELECT count(*), count(DISTINCT n), sum(n) FROM mixed");
    assert_eq!(totals[0], [events, events, sum].map(|number| Some(number.to_string())), "rows of the one table");
    // All of them when it is to be proven: planning five hundred queries takes its time.
    let looked_at = if prove() { types.len() } else { TABLES_LOOKED_AT };
    let mut kinds: Vec<usize> = (0..types.len()).collect();
    random.shuffle(&mut kinds);
    for kind in kinds.into_iter().take(looked_at) {
        let sql = format!("SELECT count(*), count(DISTINCT n), min(name), max(name) FROM split.event_{kind}");
        let (name, count) = (Some(format!("Event {kind}")), Some(types[kind].to_string()));
        assert_eq!(ask(&sql)[0], [count.clone(), count, name.clone(), name], "{sql}");
    }
    let status = server.http().get("/v1/status").expect("ask for the status").json();
    assert_eq!(status["lake"]["rows"], json!(2 * events), "rows in files of all tables");
    assert_eq!(types.iter().sum::<u64>(), events);
}
