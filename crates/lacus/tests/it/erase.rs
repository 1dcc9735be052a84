//! Erasing somebody: every place is looked at, and kill -9 loses nobody else.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use lacus_testkit::environment::{Random, seed};
use lacus_testkit::{Project, Server};
use serde_json::{Value, json};

use crate::clients::run_client;
use crate::raw_zone;

/// Times that the server is killed while it erases.
const LIVES: u64 = 10;
/// People, of whom each has as many events in a batch.
const PEOPLE: u64 = 5;

fn send(server: &Server, events: &[Value]) {
    let body = Value::from(events.to_vec()).to_string();
    let reply = server.http().post("/v1/events?source=clicks", &[], body.as_bytes()).expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// Numbers `range`, each of a person.
fn events(range: std::ops::Range<u64>) -> Vec<Value> {
    range.map(|n| json!({ "n": n, "user_id": format!("u{}", n % PEOPLE) })).collect()
}

fn erase(project: &Project, condition: &str, more: &[&str]) -> Value {
    let arguments = [&["--json", "erase", "--where", condition][..], more].concat();
    serde_json::from_str(&project.must_run(&arguments)).expect("JSON")
}

fn numbers(server: &Server) -> BTreeSet<u64> {
    let rows = server.postgres().query("SELECT n FROM clicks").expect("an answer").rows;
    let all: Vec<u64> = rows.iter().map(|row| row[0].as_deref().expect("no null").parse().expect("a number")).collect();
    let distinct: BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len(), "rows are there twice");
    distinct
}

fn others(end: u64, person: u64) -> BTreeSet<u64> {
    (0..end).filter(|n| n % PEOPLE != person).collect()
}

fn raw_records(server: &Server) -> Option<u64> {
    server.http().get("/v1/status").expect("an answer").json()["lake"]["raw_records"].as_u64()
}

#[test]
fn somebody_is_erased_from_everywhere() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    send(&server, &events(0..10));
    project.must_run(&["table", "flush", "clicks"]);
    project.must_run(&["table", "tag", "clicks", "monday"]);
    send(&server, &events(10..20));
    send(&server, &[json!({ "n": "u3 is no number", "user_id": "u4" })]);

    let told = erase(&project, "user_id = 'u3'", &["--dry-run"]);
    assert_eq!((&told["events"], &told["tables"][0]["found"]), (&json!(4), &json!(4)));
    assert_eq!(server.postgres().query("SELECT count(*) FROM clicks").expect("an answer").single(), "21");
    let told = erase(&project, "user_id = 'u3'", &["--table", "clicks"]);
    assert_eq!((&told["events"], &told["tables"][0]["erased_rows"]), (&json!(4), &json!(4)), "{told}");
    assert_eq!((&told["streams"][0]["raw_events"], &told["streams"][0]["in_log"]), (&json!(4), &json!(4)));
    assert!(told["streams"][0]["log_until"].is_string() && told["files_deleted_at"].is_string(), "{told}");
    // What was said of somebody in a value that did not fit.
    let told = erase(&project, "_rescued LIKE '%u3%'", &[]);
    assert_eq!(told["events"], json!(1), "{told}");
    assert_eq!(numbers(&server), others(20, 3));
    assert_eq!(raw_records(&server), Some(16));
    let past = project.run(&["sql", "SELECT count(*) FROM clicks FOR VERSION AS OF 'monday'"]);
    assert!(past.stderr.contains("has no tag \"monday\""), "{}", past.stderr);
    assert_eq!(erase(&project, "user_id = 'u3'", &[])["events"], json!(0));
    run_client(&project, "erased.py", &["u3"]);
    server.kill9();
    let server = project.start();
    assert_eq!(numbers(&server), others(20, 3), "nothing is delivered again");

    let refused = project.run(&["erase", "--where", "user = 'u1'"]);
    assert!(refused.stderr.starts_with("error: column \"user\" does not exist"), "{}", refused.stderr);
    let refused = project.run(&["erase", "--where", "true) or (true"]);
    assert!(refused.stderr.contains("the end of the condition, found )"), "{}", refused.stderr);
    assert_eq!(numbers(&server), others(20, 3));
    assert!(server.stop().success());

    // Without a server it is the same.
    let told = project.must_run(&["erase", "--where", "user_id = 'u1'"]);
    assert!(told.contains("raw events of clicks: 4 events erased from"), "{told}");
    let server = project.start();
    assert_eq!(numbers(&server).len(), 12);
    assert!(server.stop().success());
    project.must_be_well();
}

#[test]
fn a_condition_that_does_not_fit_one_of_the_tables_is_refused_with_its_name() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    send(&server, &events(0..2));
    let reply = server.http().post("/v1/events?source=visits", &[], br#"{"user_id":7}"#).expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let refused = project.run(&["erase", "--where", "user_id = 'u1'"]);
    assert!(refused.stderr.starts_with("error: table \"visits\": \"u1\" is no bigint"), "{}", refused.stderr);
    assert_eq!(numbers(&server), BTreeSet::from([0, 1]));
    assert_eq!(erase(&project, "CAST(user_id AS text) = 'u1'", &[])["events"], json!(1));
    assert_eq!(numbers(&server), BTreeSet::from([0]));
    assert!(server.stop().success());
}

#[test]
fn an_event_goes_with_its_elements_and_from_quarantine() {
    let settings = "[sources.clicks]\narrays = \"explode\"\n";
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), settings);
    let server = project.start();
    let item = |_| json!({ "sku": "a" });
    let event = |n: u64, user: &str, items: usize| json!({ "n": n, "user_id": user, "items": (0..items).map(item).collect::<Vec<_>>() });
    // What has too many elements is in quarantine beside its row.
    send(&server, &[event(0, "u0", 2), event(1, "u1", 2), event(2, "u0", 10_001), event(3, "u2", 10_001)]);
    let count = |sql: &str| server.postgres().query(sql).expect("an answer").single().to_owned();
    assert_eq!(count("SELECT count(*) FROM clicks__items"), "4");
    assert_eq!(count("SELECT count(*) FROM clicks__quarantine"), "2");
    let told = erase(&project, "user_id = 'u0'", &[]);
    assert_eq!((&told["events"], &told["streams"][0]["raw_events"]), (&json!(2), &json!(2)), "{told}");
    assert_eq!(count("SELECT count(*) FROM clicks__items"), "2");
    assert_eq!(count("SELECT sum(n) FROM clicks"), "4");
    assert_eq!(count("SELECT count(*) FROM clicks__quarantine"), "1");
    let told = erase(&project, "from_utf8(bytes) LIKE '%u2%'", &["--table", "clicks__quarantine"]);
    assert_eq!(told["events"], json!(1), "{told}");
    assert_eq!(count("SELECT count(*) FROM clicks__quarantine"), "0");
    assert_eq!(count("SELECT n FROM clicks"), "1");
    assert!(server.stop().success());
    project.must_be_well();
}

#[test]
#[expect(clippy::print_stdout, reason = "a seed repeats what failed")]
fn an_erasure_that_is_killed_loses_nobody_else_and_is_finished_later() {
    let seed = seed();
    println!("LACUS_SEED={seed}");
    let mut random = Random::new(seed);
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "[delivery]\ncommit_after = \"100ms\"\n");
    for life in 0..LIVES {
        let server = project.start();
        if life > 0 {
            let there = numbers(&server);
            let lost: Vec<u64> = others(life * 50, 0).difference(&there).copied().collect();
            assert_eq!(lost, Vec::<u64>::new(), "lost in life {life}");
        }
        send(&server, &events(life * 50..(life + 1) * 50));
        let mut http = server.http();
        let asked = thread::spawn(move || {
            let header = [("content-type", "application/json")];
            // The server is killed meanwhile.
            http.post("/v1/erase", &header, b"{\"where\":\"user_id = 'u0'\"}").map(drop)
        });
        thread::sleep(Duration::from_millis(random.below(300)));
        server.kill9();
        drop(asked.join().expect("the thread ends"));
    }
    let server = project.start();
    erase(&project, "user_id = 'u0'", &[]);
    assert_eq!(numbers(&server), others(LIVES * 50, 0));
    assert_eq!(raw_records(&server), Some(others(LIVES * 50, 0).len() as u64));
    run_client(&project, "erased.py", &["u0"]);
    assert!(server.stop().success());
    let raw = raw_zone::events(project.directory(), "clicks");
    assert!(raw.len() as u64 >= others(LIVES * 50, 0).len() as u64);
    project.must_be_well();
}
