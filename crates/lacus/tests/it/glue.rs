//! The mirror in AWS Glue (moto, a real server of its API): pyiceberg reads the tables by it, and nothing that becomes of it
//! keeps a commit waiting.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use lacus_testkit::{Buckets, LossyProxy, Project, Server};

use crate::clients::run_client;

/// The longest that something may take to be noticed.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the log says of a mirror that fails.
const FAILS: &str = "tables in AWS Glue are not brought up to date";

fn project(store: SocketAddr, glue: SocketAddr) -> Project {
    let settings = format!(
        "[lake]\nlocation = \"s3://{}/lake\"\n\
         [lake.s3]\nendpoint = \"http://{store}\"\naccess_key_id = \"tester\"\nsecret_access_key = \"correct-horse\"\n\
         [lake.glue]\ndatabase = \"lake\"\nendpoint = \"http://{glue}\"\nupdate_every = \"200ms\"\n",
        Buckets::BUCKET
    );
    Project::new(env!("CARGO_BIN_EXE_lacus"), &settings)
}

/// An event is acknowledged and committed.
fn commit(server: &Server) {
    let headers = [("content-type", "application/json")];
    let sent = server.http().post("/v1/events?source=clicks", &headers, b"[{\"click_id\": \"one\"}]").expect("send");
    assert_eq!(sent.status, 200, "{}", sent.text());
    let committed = server.http().post("/v1/tables/clicks/flush", &[], b"").expect("commit");
    assert_eq!(committed.status, 200, "{}", committed.text());
}

/// Waits until the status says so of the mirror.
fn must_say(server: &Server, expected: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = server.http().get("/v1/status").expect("ask for the status").json();
        if status["glue"]["error"].as_str().is_some_and(|error| error.contains(expected)) {
            return;
        }
        assert!(Instant::now() < deadline, "the status does not say \"{expected}\": {status}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn failures(server: &Server) -> u64 {
    let status = server.http().get("/v1/status").expect("ask for the status").json();
    status["glue"]["failures"].as_u64().expect("a number")
}

/// How often the log tells of it.
fn told(server: &Server) -> usize {
    let log = server.log();
    assert!(!log.iter().any(|line| line.contains("correct-horse")), "a secret is in the log");
    log.iter().filter(|line| line.contains(FAILS)).count()
}

#[test]
fn pyiceberg_reads_the_tables_by_glue_and_again_after_glue_lost_them() {
    let (store, glue) = (Buckets::start(), Buckets::start());
    let proxy = LossyProxy::start(0, 1);
    proxy.lead_to(Some(glue.address()));
    let project = project(store.address(), proxy.address);
    let mut server = project.start();
    server.allow(FAILS);
    let (files, mirror) = (store.address().to_string(), proxy.address.to_string());
    let run = |story: &str| run_client(&project, "glue.py", &["--store", &files, "--glue", &mirror, "--only", story]);
    run("following");
    assert_eq!(told(&server), 0);

    proxy.lead_to(None);
    drop(glue);
    commit(&server);
    must_say(&server, "does not answer");
    let glue = Buckets::start();
    proxy.lead_to(Some(glue.address()));
    run("returning");
    assert_eq!(told(&server), 1, "it is told once");
    assert!(server.stop().success());
}

#[test]
fn a_mirror_that_is_refused_is_told_once_and_keeps_nothing_waiting() {
    let (store, refusing) = (Buckets::start(), Buckets::start_refusing());
    let project = project(store.address(), refusing.address());
    let mut server = project.start();
    server.allow(FAILS);
    commit(&server);
    must_say(&server, "AWS Glue refuses GetDatabases");
    let deadline = Instant::now() + PATIENCE;
    while failures(&server) < 3 {
        assert!(Instant::now() < deadline, "it is not tried again");
        thread::sleep(Duration::from_millis(50));
    }
    commit(&server);
    assert_eq!(told(&server), 1, "it is told once");
    let status = project.run(&["status"]);
    assert!(status.stdout.contains("AWS Glue is being tried again"), "{}{}", status.stdout, status.stderr);
    let doctor = project.run(&["doctor"]);
    assert!(doctor.stdout.contains("✗ glue"), "{}{}", doctor.stdout, doctor.stderr);
    assert!(!doctor.succeeded());
    assert!(server.stop().success());
}
