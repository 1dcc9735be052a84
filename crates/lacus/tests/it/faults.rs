//! A fault at every operation that the whole server does on the disk: log, files, catalog, lock.
//!
//! The log and the commit have fault loops of their own, in their crates, that try many more; this one sees what happens
//! between them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lacus_testkit::ledger::Promises;
use lacus_testkit::{FaultLoop, Http, Postgres, Project, Server, Trial};

use crate::raw_zone;

const SETTINGS: &str = r#"
[stream]
partitions = 2
segment_bytes_max = "64KB"
"#;

/// Events that each run sends: alone and in batches of ten by turns.
const EVENTS: u64 = 110;

/// How long acknowledged events may take to show after a restart.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);

#[test]
fn what_was_acknowledged_survives_any_fault_below_the_server() {
    FaultLoop::new("server").sample_for(Duration::from_secs(75)).run(|trial| {
        let project = Project::at(trial.directory(), env!("CARGO_BIN_EXE_lacus"), SETTINGS);
        let promises = serve_under_fault(trial, &project)?;
        check(&project, &promises)
    });
}

/// Starts a server that meets the fault; none if it refused to start, as it may on a bad disk.
pub(crate) fn start_under_fault(trial: &Trial, project: &Project) -> Result<Option<Server>, String> {
    let mut server = project.spawn(|command| trial.afflict(command));
    server.allow(""); // it may complain about its disk
    match server.ready() {
        Ok(()) => Ok(Some(server)),
        Err(_) if !server.is_running() && !trial.has_no_excuse() => Ok(None),
        Err(reason) => Err(reason),
    }
}

/// Stops a server that met the fault, and did neither hang nor panic.
pub(crate) fn stop_under_fault(trial: &Trial, mut server: Server) -> Result<(), String> {
    let status = server.stop_in_time()?;
    let is_bad = server.log().iter().any(|line| line.contains("panicked at"));
    if is_bad || trial.has_no_excuse() && !status.success() {
        return Err(format!("{status}: {}", server.log().join("\n")));
    }
    Ok(())
}

fn serve_under_fault(trial: &Trial, project: &Project) -> Result<Promises, String> {
    let Some(server) = start_under_fault(trial, project)? else { return Ok(Promises::default()) };
    let promises = send(&server);
    let log = server.log();
    stop_under_fault(trial, server)?;
    if trial.has_no_excuse() && promises.acked.len() as u64 != EVENTS {
        return Err(format!("{} of {EVENTS} acknowledged: {}", promises.acked.len(), log.join("\n")));
    }
    Ok(promises)
}

fn send(server: &Server) -> Promises {
    let (mut promises, mut http) = (Promises::default(), server.http());
    let mut first = 0;
    for turn in 0..20 {
        let numbers = first..first + if turn % 2 == 0 { 1 } else { 10 };
        first = numbers.end;
        let lines: String = numbers.clone().map(|n| event(n, turn)).collect();
        let reply =
            http.post("/v1/events?source=events", &[("content-type", "application/x-ndjson")], lines.as_bytes());
        match reply.map(|reply| reply.status) {
            Ok(200) => promises.acked.extend(numbers),
            _ => promises.refused.extend(numbers),
        }
        if turn % 7 == 6 {
            flush(&mut http);
        }
    }
    promises
}

/// An event whose amount is a whole number at first and gets fractions, between commits and across them.
fn event(n: u64, turn: u64) -> String {
    let fraction = if n % 40 == 39 { ".5" } else { "" };
    format!("{{\"n\":{n},\"in_turn_{}\":true,\"amount_{}\":{n}{fraction}}}\n", turn / 7, turn / 10)
}

/// Commits, or fails to: both are fine while the disk is bad.
fn flush(http: &mut Http) {
    let _on_a_bad_disk = http.post("/v1/tables/events/flush", &[], b"");
}

fn check(project: &Project, promises: &Promises) -> Result<(), String> {
    let mut server = project.spawn(|_| ());
    server.allow("WARN"); // a repaired log says so
    server.ready()?;
    if promises.acked.is_empty() {
        return Ok(());
    }
    let table = caught_up(&mut server.postgres(), promises)?;
    promises.check(table.iter().copied())?;
    let flushed = server.http().post("/v1/tables/events/flush", &[], b"").map_err(|error| error.to_string())?;
    if flushed.status != 200 {
        return Err(format!("flush after the restart: {}", flushed.text()));
    }
    let again = caught_up(&mut server.postgres(), promises)?;
    let raw: Vec<u64> =
        raw_zone::events(project.directory(), "events").iter().filter_map(|event| event["n"].as_u64()).collect();
    promises.check(raw.iter().copied()).map_err(|broken| format!("in the raw zone: {broken}"))?;
    let sorted = |numbers: &[u64]| -> BTreeSet<u64> { numbers.iter().copied().collect() };
    if sorted(&again) != sorted(&table) || sorted(&raw) != sorted(&table) || again.len() != table.len() {
        return Err(format!("{} rows, {} after a flush, {} raw", table.len(), again.len(), raw.len()));
    }
    Ok(())
}

/// The numbers in the table, as soon as there are as many as were acknowledged.
fn caught_up(postgres: &mut Postgres, promises: &Promises) -> Result<Vec<u64>, String> {
    let deadline = Instant::now() + CATCH_UP_MAX;
    loop {
        let rows = postgres.query("SELECT n FROM events").map_err(|failure| failure.to_string());
        let numbers: Vec<u64> =
            rows.iter().flat_map(|rows| &rows.rows).filter_map(|row| row[0].as_ref()?.parse().ok()).collect();
        if numbers.len() >= promises.acked.len() {
            return Ok(numbers);
        }
        if Instant::now() > deadline {
            return promises.check(numbers).and(Err(format!("not visible in time: {rows:?}")));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
