//! `lacus backup` of a server that takes events, commits and is killed: a server on the copy has what was acknowledged before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use lacus_testkit::environment::{prove, setting};
use lacus_testkit::{Database, Finished, Http, Project, Server};
use serde_json::{Value, json};

use crate::raw_zone;

const SETTINGS: &str = r#"
[stream]
partitions = 2
segment_bytes_max = "64KB"
retention = "1s"

[delivery]
commit_bytes = "32KB"
commit_after = "100ms"

[sources.t]
schema = "schemas/t.json"
"#;

/// Events of one request.
const BATCH: u64 = 10;
/// Events that are acknowledged before the first backup, and between two.
const EVENTS_BETWEEN: u64 = 2_000;

/// What a sender sent, and what of it was acknowledged.
#[derive(Default)]
struct Sent {
    acknowledged: Mutex<BTreeSet<u64>>,
    count: AtomicU64,
    over: AtomicBool,
}

impl Sent {
    fn acknowledged(&self) -> BTreeSet<u64> {
        self.acknowledged.lock().expect("no sender panics").clone()
    }

    /// Waits until so many more are acknowledged.
    fn wait_for_more(&self, count: u64) {
        let enough = self.count.load(Ordering::Relaxed) + count;
        while self.count.load(Ordering::Relaxed) < enough {
            assert!(!self.over.load(Ordering::Relaxed), "the sender ended");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Sends numbered events, each once, until the server is gone.
fn send(server: SocketAddr, first: u64, sent: &Sent) {
    let mut http = Http::new(server);
    for next in (first..).step_by(BATCH as usize) {
        let events: Vec<Value> = (next..next + BATCH).map(|n| json!({"n": n, "text": "x".repeat(80)})).collect();
        let body = serde_json::to_vec(&events).expect("JSON can be written");
        match http.post("/v1/events?source=t", &[("content-type", "application/json")], &body) {
            Ok(reply) if reply.status == 200 => {
                sent.acknowledged.lock().expect("no sender panics").extend(next..next + BATCH);
                sent.count.fetch_add(BATCH, Ordering::Relaxed);
            }
            Ok(reply) => assert!(matches!(reply.status, 429 | 503), "{}", reply.text()),
            Err(_) => break,
        }
    }
    sent.over.store(true, Ordering::Relaxed);
}

fn project(directory: &Path) -> Project {
    std::fs::create_dir_all(directory.join("schemas")).expect("make a folder");
    std::fs::write(directory.join("schemas/t.json"), "{\"required\": [\"n\"]}").expect("write a schema");
    Project::at(directory, env!("CARGO_BIN_EXE_lacus"), SETTINGS)
}

fn must(finished: Finished) -> Finished {
    assert!(finished.succeeded(), "{}{}", finished.stdout, finished.stderr);
    finished
}

/// How often each number is in the table; raw zone and table agree.
fn counted(project: &Project, server: &Server) -> BTreeMap<u64, u64> {
    must(project.run(&["table", "flush", "t"]));
    let rows = server.postgres().query("SELECT n, count(*) FROM t GROUP BY n").expect("count").rows;
    let number = |cell: &Option<String>| cell.as_ref().and_then(|text| text.parse().ok()).expect("a number");
    let rows: BTreeMap<u64, u64> = rows.iter().map(|row| (number(&row[0]), number(&row[1]))).collect();
    let mut raw = BTreeMap::new();
    for event in raw_zone::events(project.directory(), "t") {
        *raw.entry(event["n"].as_u64().expect("a number")).or_insert(0) += 1;
    }
    assert!(rows == raw, "{} numbers are in the table, {} in the raw zone", rows.len(), raw.len());
    rows
}

/// A server on this project has all of `acknowledged` once, and nothing twice; then everything in its folder is as it should be.
fn must_have(project: &Project, acknowledged: &BTreeSet<u64>) {
    let server = project.start();
    let counts = counted(project, &server);
    let lost: Vec<_> = acknowledged.iter().filter(|n| !counts.contains_key(n)).take(10).collect();
    let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).take(10).collect();
    assert!(lost.is_empty() && doubled.is_empty(), "lost {lost:?}, doubled {doubled:?}");
    assert!(server.stop().success());
    must(project.run(&["doctor"]));
}

#[test]
#[expect(clippy::print_stdout, reason = "how much was tried belongs to the test's output")]
fn a_copy_of_a_busy_server_has_every_event_that_was_acknowledged_before_it() {
    let place = tempfile::tempdir().expect("make a directory");
    let original = project(&place.path().join("original"));
    let server = original.start();
    must(original.run(&["key", "create", "--source", "t"]));
    let sent = Sent::default();
    let copy = |name: &str| place.path().join("copies").join(name);
    let backups = setting("LACUS_BACKUPS", if prove() { 60 } else { 4 });
    let ways: [(&str, &[&str]); 3] = [("links", &[]), ("copies", &["--copy"]), ("json", &["--json"])];
    let mut expected = Vec::new();
    thread::scope(|scope| {
        let address = server.http_address();
        for sender in 0..2 {
            let sent = &sent;
            scope.spawn(move || send(address, sender << 32, sent));
        }
        sent.wait_for_more(EVENTS_BETWEEN);
        for (number, (way, options)) in (0..backups).zip(ways.into_iter().cycle()) {
            let target = copy(&number.to_string());
            kill_a_backup(&original, &target);
            let before = sent.acknowledged();
            let said = must(original.run(&[&["backup", &target.display().to_string()], options].concat())).stdout;
            must_say_what_it_took(way, &said);
            expected.push((target, before));
            sent.wait_for_more(EVENTS_BETWEEN);
        }
        server.kill9();
    });
    let refused = original.run(&["backup", &copy("0").display().to_string()]);
    assert!(refused.stderr.contains("is there already"), "{}", refused.stderr);
    for (copy, acknowledged) in &expected {
        assert_eq!(std::fs::read_to_string(copy.join("lacus.toml")).expect("read the settings"), SETTINGS);
        let is_there = |file: &str| copy.join(file).try_exists().expect("look for a file");
        assert!(is_there("schemas/t.json") && is_there(".lacus/keys.json"));
        // Its settings are written once more, the same.
        must_have(&Project::at(copy, env!("CARGO_BIN_EXE_lacus"), SETTINGS), acknowledged);
    }
    // What was served on copies that share files with it did nothing to the original.
    let acknowledged = sent.acknowledged();
    must_have(&original, &acknowledged);
    println!("backups: {backups}, of a server that had taken {} events by the last one", acknowledged.len());
}

/// A backup that is killed leaves nothing under the name of the copy, and is in the way of none.
fn kill_a_backup(project: &Project, target: &Path) {
    let mut command = project.command(&["backup", &target.display().to_string()]);
    let mut backup = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start a backup");
    let unfinished = target
        .parent()
        .expect("a folder")
        .join(format!(".{}.lacus-unfinished", target.file_name().expect("a name").display()));
    while !unfinished.try_exists().expect("look for a file") && backup.try_wait().expect("ask for a child").is_none() {
        thread::yield_now();
    }
    backup.kill().expect("kill a child");
    backup.wait().expect("wait for a child");
    if target.try_exists().expect("look for a file") {
        // It was quicker: then it is whole, and the next one needs another name.
        std::fs::remove_dir_all(target).expect("remove a copy of our own");
    }
}

/// The table, and its quarantine.
fn must_say_what_it_took(name: &str, said: &str) {
    match name {
        "json" => {
            let said: Value = serde_json::from_str(said).unwrap_or_else(|error| panic!("{error}: {said}"));
            assert!(said["tables"] == 2 && said["files"].as_u64() > said["linked_files"].as_u64(), "{said}");
        }
        "copies" => assert!(said.starts_with("Backed up 2 tables to") && !said.contains("hard links"), "{said}"),
        _ => assert!(said.starts_with("Backed up 2 tables to") && said.contains("hard links"), "{said}"),
    }
}

#[test]
fn what_can_not_be_backed_up_is_said() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let outside = tempfile::tempdir().expect("make a directory");
    let target = outside.path().join("copy").display().to_string();
    let refused = project.run(&["backup", &target]);
    assert!(refused.stderr.contains("never served"), "{}", refused.stderr);
    assert!(project.start().stop().success());
    let inside = project.directory().join(".lacus/copy").display().to_string();
    let refused = project.run(&["backup", &inside]);
    assert!(refused.stderr.contains("in the data of its own project"), "{}", refused.stderr);
    // Not served at the moment, and without a table.
    must(project.run(&["backup", &target]));
    must(Project::at(Path::new(&target), env!("CARGO_BIN_EXE_lacus"), "").run(&["doctor"]));
}

#[test]
fn a_lake_with_its_catalog_in_postgresql_is_backed_up_while_it_is_served() {
    let (database, place) = (Database::start(), tempfile::tempdir().expect("make a directory"));
    let settings = format!("[lake]\ncatalog = \"{}\"\n", database.url());
    let original = Project::new(env!("CARGO_BIN_EXE_lacus"), &settings);
    let server = original.start();
    let send = |numbers: std::ops::Range<u64>| {
        let events: Vec<Value> = numbers.map(|n| json!({"n": n})).collect();
        let body = serde_json::to_vec(&events).expect("JSON can be written");
        let reply = server.http().post("/v1/events?source=t", &[("content-type", "application/json")], &body);
        assert_eq!(reply.expect("an answer").status, 200);
    };
    send(0..10);
    must(original.run(&["table", "flush", "t"]));
    // These are in the log alone.
    send(10..20);
    let target = place.path().join("copy");
    let said = must(original.run(&["backup", &target.display().to_string()])).stdout;
    assert!(said.contains("take lake.catalog out of"), "{said}");
    // The original goes on.
    send(20..30);
    must(original.run(&["table", "flush", "t"]));
    // As it is, the copy leads to the catalog of the original, and must not take the lake from it.
    let copy = Project::at(&target, env!("CARGO_BIN_EXE_lacus"), &settings);
    let refused = copy.run(&["up"]);
    assert!(refused.stderr.contains("a catalog of its own"), "{}{}", refused.stdout, refused.stderr);
    must_have(&Project::at(&target, env!("CARGO_BIN_EXE_lacus"), ""), &(0..20).collect());
    send(30..40);
    must(original.run(&["table", "flush", "t"]));
    assert!(server.stop().success());
    must_have(&original, &(0..40).collect());
}
