//! Tables as they were, and the way back to it: asked by every client, and through kill -9.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use lacus_testkit::environment::{Random, seed};
use lacus_testkit::{Http, Project, Server};
use serde_json::{Value, json};

/// Commits come by themselves too.
const SETTINGS: &str = "[delivery]\ncommit_after = \"200ms\"\n";
/// Times that the server is killed while it rolls back.
const LIVES: u64 = 12;
/// Rows that come in each life.
const BATCH: u64 = 20;

fn post(http: &mut Http, numbers: std::ops::Range<u64>) {
    let events: Vec<Value> = numbers.map(|n| json!({ "n": n })).collect();
    let body = Value::from(events).to_string();
    let reply = http.post("/v1/events?source=clicks", &[], body.as_bytes()).expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// The numbers in the table, none twice.
fn numbers(server: &Server) -> BTreeSet<u64> {
    let rows = server.postgres().query("SELECT n FROM clicks").expect("an answer").rows;
    let numbers: Vec<u64> =
        rows.iter().map(|row| row[0].as_deref().expect("no null").parse().expect("a number")).collect();
    let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
    assert_eq!(distinct.len(), numbers.len(), "rows are there twice");
    distinct
}

#[test]
fn a_table_is_asked_as_it_was_and_returns_to_it() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    let mut http = server.http();
    post(&mut http, 0..3);
    project.must_run(&["table", "flush", "clicks"]);
    let told = project.must_run(&["table", "tag", "clicks", "monday"]);
    assert!(told.contains("of clicks is monday now, and stays."), "{told}");
    post(&mut http, 3..5);

    let past = "SELECT count(*) AS c FROM clicks FOR VERSION AS OF 'monday'";
    assert_eq!(server.postgres().query(past).expect("an answer").single(), "3");
    let answer = http.post("/v1/sql", &[], past.as_bytes()).expect("an answer");
    assert_eq!(answer.json()["rows"], json!([[3]]));
    assert_eq!(project.must_run(&["sql", "--json", past]), "{\"c\":3}\n");
    let with_cost = project.run(&["sql", "--json", "--cost", past]);
    assert_eq!(with_cost.stdout, "{\"c\":3}\n");
    let cost: Value = serde_json::from_str(&with_cost.stderr).expect("one JSON object");
    assert_eq!((&cost["rows"], cost["elapsed_ms"].is_f64()), (&json!(1), true), "{cost}");
    let refused = project.run(&["sql", "SELECT 1 FROM clicks FOR VERSION AS OF 'friday'"]);
    let expected = "error: table \"clicks\" has no tag \"friday\"\nline 1: SELECT 1 FROM clicks FOR VERSION AS OF 'friday'\n                                               ^";
    assert!(refused.stderr.starts_with(expected), "{}", refused.stderr);

    let told: Value =
        serde_json::from_str(&project.must_run(&["table", "rollback", "clicks", "--to", "monday", "--json"]))
            .expect("JSON");
    assert_eq!((&told["rows_before"], &told["rows_after"]), (&json!(5), &json!(3)));
    post(&mut http, 5..6);
    assert_eq!(numbers(&server), BTreeSet::from([0, 1, 2, 5]));
    server.kill9();
    let server = project.start();
    assert_eq!(numbers(&server), BTreeSet::from([0, 1, 2, 5]));
    assert!(server.stop().success());

    // Without a server it is the same.
    let from = told["from"].as_str().expect("a snapshot");
    project.must_run(&["table", "rollback", "clicks", "--to", from]);
    project.must_run(&["table", "untag", "clicks", "monday"]);
    let server = project.start();
    assert_eq!(numbers(&server), BTreeSet::from([0, 1, 2, 3, 4]));
    post(&mut server.http(), 6..7);
    assert_eq!(numbers(&server), BTreeSet::from([0, 1, 2, 3, 4, 6]));
    assert!(server.stop().success());
    project.must_be_well();
}

#[test]
#[expect(clippy::print_stdout, reason = "a seed repeats what failed")]
fn a_rollback_that_is_killed_has_happened_or_not() {
    let seed = seed();
    println!("LACUS_SEED={seed}");
    let mut random = Random::new(seed);
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), SETTINGS);
    let server = project.start();
    post(&mut server.http(), 0..3);
    project.must_run(&["table", "flush", "clicks"]);
    project.must_run(&["table", "tag", "clicks", "start"]);
    server.kill9();
    let base: BTreeSet<u64> = (0..3).collect();
    let mut possible = vec![base.clone()];
    for life in 0..LIVES {
        let server = project.start();
        let mut there = numbers(&server);
        assert!(possible.contains(&there), "{there:?} is none of {possible:?}");
        let new = 3 + life * BATCH..3 + (life + 1) * BATCH;
        post(&mut server.http(), new.clone());
        there.extend(new);
        assert_eq!(numbers(&server), there);
        let mut http = server.http();
        let asked = thread::spawn(move || {
            let header = [("content-type", "application/json")];
            http.post("/v1/tables/clicks/rollback", &header, b"{\"to\":\"start\"}")
                .is_ok_and(|reply| reply.status == 200)
        });
        thread::sleep(Duration::from_millis(random.below(250)));
        server.kill9();
        let is_done = asked.join().expect("the thread ends");
        possible = if is_done { vec![base.clone()] } else { vec![base.clone(), there] };
    }
    let server = project.start();
    assert!(possible.contains(&numbers(&server)));
    assert!(server.stop().success());
    project.must_be_well();
}
