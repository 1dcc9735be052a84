//! Streams as people and readers see them: listed, described, read from a place, filtered, and as events come.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use lacus_testkit::{Project, Server};
use serde_json::{Value, json};

/// How long an event may take to a reader that waits for it.
const COMES_WITHIN: Duration = Duration::from_secs(30);

/// A server with two events in a stream.
fn served() -> (Project, Server) {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    post(&server, &format!("{}\n{}\n", search(), purchase()));
    (project, server)
}

fn post(server: &Server, body: &str) {
    let reply = server.http().post("/v1/events?source=clicks&key=k", &[], body.as_bytes()).expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn search() -> Value {
    json!({"event_name": "Search", "user": {"id": 7}})
}

fn purchase() -> Value {
    json!({"event_name": "Purchase", "user": {"id": 8}})
}

/// The events in lines as readers get them.
fn events(lines: &str) -> Vec<Value> {
    let event = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    lines.lines().map(|line| event(line)["event"].clone()).collect()
}

#[test]
fn a_stream_is_listed_and_described() {
    let (project, server) = served();
    let json = |arguments: &[&str]| -> Value {
        let told = project.must_run(&[&["stream", "--json"], arguments].concat());
        serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"))
    };
    let listed = json(&["list"]);
    assert_eq!([&listed["name"], &listed["open_shards"], &listed["records"]], [&json!("clicks"), &json!(1), &json!(2)]);
    let described = json(&["describe", "clicks"]);
    let shard = &described["shards"][0];
    assert_eq!([&shard["state"], &shard["start"], &shard["end"]], [&json!("open"), &json!(0), &json!(2)]);
    assert!(project.must_run(&["stream", "list"]).contains("clicks"));
    let shown = project.must_run(&["stream", "describe", "clicks"]);
    assert!(shown.contains("stream clicks: 2 records, 2 of them in the log"), "{shown}");
    assert!(server.stop().success());
}

#[test]
fn events_are_shown_from_a_place_on_and_filtered() {
    let (project, server) = served();
    let tail = |more: &[&str]| {
        project.must_run(&[&["stream", "tail", "clicks", "--from", "start", "--no-follow"], more].concat())
    };
    let filters: [(&[&str], Vec<Value>); 7] = [
        (&[], vec![search(), purchase()]),
        (&["--shard", "0"], vec![search(), purchase()]),
        (&["--limit", "1"], vec![search()]),
        (&["--where", "event_name=Purchase"], vec![purchase()]),
        (&["--where", "user.id=7"], vec![search()]),
        (&["--where", "user.id=9"], vec![]),
        (&["--contains", "Purch"], vec![purchase()]),
    ];
    for (filter, expected) in filters {
        assert_eq!(events(&tail(&[filter, &["--json"]].concat())), expected, "{filter:?}");
    }
    let shown = tail(&[]);
    let ends = [format!(" 0/0 k {}", search()), format!(" 0/1 k {}", purchase())];
    assert!(shown.lines().count() == 2 && shown.lines().zip(&ends).all(|(line, end)| line.ends_with(end)), "{shown}");
    assert!(server.stop().success());
}

#[test]
fn events_are_shown_as_they_come() {
    let (project, server) = served();
    let mut command = project.command(&["stream", "tail", "clicks", "--json", "--limit", "1"]);
    let mut tail = command.stdout(Stdio::piped()).spawn().expect("start a reader");
    let deadline = Instant::now() + COMES_WITHIN;
    let mut sent = 0_u64;
    // It begins with what comes after it asked, whenever that is.
    while tail.try_wait().expect("ask for a child").is_none() && Instant::now() < deadline {
        post(&server, &format!("{{\"live\":{sent}}}"));
        sent += 1;
        thread::sleep(Duration::from_millis(20));
    }
    // One that waits still has waited in vain.
    let _ended_already = tail.kill();
    let told = tail.wait_with_output().expect("what a child wrote");
    let told = events(&String::from_utf8_lossy(&told.stdout));
    assert!(told.len() == 1 && told[0]["live"].as_u64().is_some_and(|live| live < sent), "{told:?} of {sent}");
    assert!(server.stop().success());
}

#[test]
fn a_reader_goes_on_at_its_cursor() {
    let (project, server) = served();
    let path = "/v1/streams/clicks/readers/me";
    let cursor = json!({"offsets": {"0": 1}});
    let kind = [("content-type", "application/json")];
    let set = server.http().send("PUT", path, &kind, cursor.to_string().as_bytes()).expect("an answer");
    assert_eq!((set.status, set.json()), (200, cursor.clone()));
    assert!(server.stop().success());
    let server = project.start();
    assert_eq!(server.http().get(path).expect("an answer").json(), cursor, "it is durable");
    let read = |path: &str| server.http().get(path).expect("an answer");
    assert_eq!(events(&read("/v1/streams/clicks/records?reader=me").text()), [purchase()]);
    assert_eq!(read("/v1/streams/clicks/records?reader=me&from=start").status, 400);
    assert_eq!(server.http().send("DELETE", path, &[], b"").expect("an answer").status, 200);
    assert_eq!(events(&read("/v1/streams/clicks/records?reader=me").text()), [search(), purchase()]);
    assert!(server.stop().success());
}
