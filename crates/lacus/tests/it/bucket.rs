//! A lake in a bucket of a real S3 server that stalls and goes away, while the server is killed: what was sent is there once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lacus_testkit::environment::{prove, python, setting};
use lacus_testkit::{Buckets, Http, LossyProxy, Project, Server, run_for};
use serde_json::{Value, json};

use crate::clients::LAID_OUT;

/// The longest that what was sent may take to be committed.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);
/// The longest that a script may take.
const SCRIPT_TIME_MAX: Duration = Duration::from_secs(200);

fn project(endpoint: SocketAddr) -> Project {
    let settings = format!(
        "[delivery]\ncommit_bytes = \"8KB\"\ncommit_after = \"200ms\"\n\
         [lake]\nlocation = \"s3://{}/lake\"\n[lake.s3]\nendpoint = \"http://{endpoint}\"\naccess_key_id = \"tester\"\n{LAID_OUT}",
        Buckets::BUCKET
    );
    Project::new(env!("CARGO_BIN_EXE_lacus"), &settings)
}

fn start(project: &Project) -> Server {
    let mut server = project.spawn(|command| {
        command.env("LACUS__LAKE__S3__SECRET_ACCESS_KEY", "correct-horse");
    });
    for expected in ["delivery failed", "files of a failed commit", "old files could not be deleted"] {
        server.allow(expected);
    }
    server.ready().unwrap_or_else(|reason| panic!("{reason}"));
    server
}

/// Sends numbered events, each once, until told to stop; says which were acknowledged, and how many were sent.
fn send(address: &Mutex<Option<SocketAddr>>, over: &AtomicBool) -> (BTreeSet<u64>, u64) {
    let (mut acknowledged, mut next) = (BTreeSet::new(), 0);
    while !over.load(Ordering::Relaxed) {
        let Some(server) = *address.lock().unwrap_or_else(PoisonError::into_inner) else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        let mut http = Http::new(server);
        for _ in 0..100 {
            let events: Vec<Value> = (next..next + 10).map(|n| json!({"n": n, "text": "x".repeat(100)})).collect();
            let body = serde_json::to_vec(&events).expect("JSON can be written");
            let reply = http.post("/v1/events?source=t", &[("content-type", "application/json")], &body);
            next += 10;
            match reply {
                Ok(reply) if reply.status == 200 => acknowledged.extend(next - 10..next),
                _ => break,
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
    (acknowledged, next)
}

/// How often each number is in the committed table.
fn counted(server: &Server) -> BTreeMap<u64, u64> {
    let deadline = Instant::now() + CATCH_UP_MAX;
    while server.http().post("/v1/tables/t/flush", &[], b"").is_ok_and(|reply| reply.status != 200) {
        assert!(Instant::now() < deadline, "what was sent is not committed after {CATCH_UP_MAX:?}");
        thread::sleep(Duration::from_millis(50));
    }
    let rows = server.postgres().query("SELECT n, count(*) FROM t GROUP BY n").expect("count").rows;
    let number = |cell: &Option<String>| cell.as_ref().and_then(|text| text.parse().ok()).expect("a number");
    rows.iter().map(|row| (number(&row[0]), number(&row[1]))).collect()
}

#[test]
fn kills_and_a_store_that_goes_away_lose_and_double_nothing() {
    let kills: u64 = setting("LACUS_KILLS", if prove() { 40 } else { 5 });
    let buckets = Buckets::start();
    let proxy = LossyProxy::start(0, 1);
    proxy.lead_to(Some(buckets.address()));
    let project = project(proxy.address);
    let (address, over) = (Mutex::new(None), AtomicBool::new(false));
    let point_to = |server: Option<SocketAddr>| *address.lock().unwrap_or_else(PoisonError::into_inner) = server;
    let (acknowledged, sent) = thread::scope(|scope| {
        let sender = scope.spawn(|| send(&address, &over));
        for kill in 0..kills {
            let server = start(&project);
            point_to(Some(server.http_address()));
            thread::sleep(Duration::from_millis(600));
            match kill % 3 {
                1 => {
                    buckets.stall(true);
                    thread::sleep(Duration::from_millis(800));
                    buckets.stall(false);
                }
                2 => {
                    proxy.lead_to(None);
                    must_say_that_the_store_is_away(&server);
                    proxy.lead_to(Some(buckets.address()));
                }
                _ => {}
            }
            server.kill9();
        }
        over.store(true, Ordering::Relaxed);
        sender.join().expect("the sender does not panic")
    });
    let server = start(&project);
    let counts = counted(&server);
    assert!(server.stop().success());
    assert!(acknowledged.len() > 100, "only {} events were acknowledged", acknowledged.len());
    let lost: Vec<_> = acknowledged.iter().filter(|n| !counts.contains_key(n)).collect();
    let wrong: Vec<_> = counts.iter().filter(|(n, count)| **count != 1 || **n >= sent).collect();
    assert!(lost.is_empty() && wrong.is_empty(), "lost {lost:?}, doubled or never sent {wrong:?}");
    let mut doctor = project.command(&["doctor"]);
    let doctor = run_for(doctor.env("LACUS__LAKE__S3__SECRET_ACCESS_KEY", "correct-horse"), SCRIPT_TIME_MAX);
    assert!(doctor.succeeded(), "{}{}", doctor.stdout, doctor.stderr);
}

/// Events are still acknowledged and visible; the status says why nothing is committed.
fn must_say_that_the_store_is_away(server: &Server) {
    let deadline = Instant::now() + CATCH_UP_MAX;
    loop {
        let status = server.http().get("/v1/status").expect("ask for the status").text();
        if status.contains("s3") || status.contains("S3") {
            break;
        }
        assert!(Instant::now() < deadline, "the status says nothing of the store: {status}");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.http().get("/readyz").expect("ask").status, 200);
    assert!(!server.log().iter().any(|line| line.contains("correct-horse")), "a secret is in the log");
}

#[test]
#[expect(clippy::print_stdout, reason = "what the script found belongs to the test's output")]
fn pyiceberg_and_duckdb_agree_with_lacus_about_a_bucket() {
    let buckets = Buckets::start();
    let project = project(buckets.address());
    let server = start(&project);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients/iceberg.py");
    let mut command = Command::new(python());
    command.arg(script).arg("--project").arg(project.directory());
    command.arg("--location").arg(format!("s3://{}/lake", Buckets::BUCKET));
    let finished = run_for(command.args(["--endpoint", &buckets.address().to_string()]), SCRIPT_TIME_MAX);
    println!("{}", finished.stdout);
    assert!(finished.succeeded(), "{}", finished.stderr);
    assert!(server.stop().success());
}
