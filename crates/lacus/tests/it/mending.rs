//! A fault at every operation that the server does on the disk while misfits get a column, what is in quarantine is replayed
//! and views change.
//!
//! Whatever fails: each event is there once, as a row or in quarantine; what was told to be done is; all else is done when it is
//! asked for again, and then no value is missing.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use lacus_testkit::{FaultLoop, Http, Postgres, Project, Server, Trial};

use crate::faults::{start_under_fault, stop_under_fault};
use crate::raw_zone;

const SETTINGS: &str = "[sources.shop]\ninvalid = \"quarantine\"\n";
/// Events whose amount is a number, as that of the first is.
const FITTING: Range<u64> = 0..6;
/// Events whose amount is a text: it does not fit.
const MISFITTING: Range<u64> = 6..12;
/// What is no JSON, as its amount is `NaN`.
const GARBAGE: Range<u64> = 100..106;

const ACCEPT: (&str, &str) = ("/v1/tables/shop/proposals", r#"{"column":"amount"}"#);
const REPLAY: (&str, &str) = ("/v1/tables/shop/replay", r#"{"fix":"replace(text, 'NaN', 'null')"}"#);

const ROWS: &str = "SELECT n FROM shop";
const MISFITS: &str = "SELECT n FROM shop WHERE _rescued IS NOT NULL";
const IN_QUARANTINE: &str = "SELECT CAST(substr(from_utf8(bytes), 7, 3) AS bigint) FROM shop__quarantine";

/// What the server said it did.
#[derive(Debug, Default)]
struct Told {
    accepted: bool,
    replayed: bool,
    replaced_view: bool,
    dropped_view: bool,
}

#[test]
fn what_is_mended_survives_any_fault_below_the_server() {
    let template = with_misfits();
    FaultLoop::new("mending").sample_for(Duration::from_secs(45)).run(|trial| {
        copy(template.directory(), trial.directory()).map_err(|error| format!("copy the project: {error}"))?;
        let project = Project::at(trial.directory(), env!("CARGO_BIN_EXE_lacus"), SETTINGS);
        let told = mend_under_fault(trial, &project)?;
        check(&project, &told)
    });
}

/// A project with all the events, each kind in a commit of its own, and a view.
fn with_misfits() -> Project {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), SETTINGS);
    let server = project.start();
    let mut http = server.http();
    send(&mut http, &FITTING.map(|n| format!("{{\"n\":{n},\"amount\":{n}}}\n")).collect::<String>());
    send(&mut http, &MISFITTING.map(|n| format!("{{\"n\":{n},\"amount\":\"{n} EUR\"}}\n")).collect::<String>());
    send(&mut http, &GARBAGE.map(|n| format!("{{\"n\": {n}, \"amount\": NaN}}\n")).collect::<String>());
    server.postgres().query("CREATE VIEW kept AS SELECT n FROM shop").expect("a view");
    assert!(server.stop().success());
    project
}

fn send(http: &mut Http, lines: &str) {
    let header = [("content-type", "application/x-ndjson")];
    let sent = http.post("/v1/events?source=shop", &header, lines.as_bytes()).expect("an answer");
    assert_eq!(sent.status, 200, "{}", sent.text());
    let flushed = http.post("/v1/tables/shop/flush", &[], b"").expect("an answer");
    assert_eq!(flushed.status, 200, "{}", flushed.text());
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in from.read_dir()? {
        let entry = entry?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() { copy(&path, &to)? } else { fs::copy(&path, &to).map(drop)? }
    }
    Ok(())
}

fn mend_under_fault(trial: &Trial, project: &Project) -> Result<Told, String> {
    let Some(server) = start_under_fault(trial, project)? else { return Ok(Told::default()) };
    let mut http = server.http();
    let mut told =
        Told { accepted: ask(&mut http, ACCEPT).is_ok(), replayed: ask(&mut http, REPLAY).is_ok(), ..Told::default() };
    // The server may be dead by now.
    if let Ok(mut postgres) = Postgres::connect(server.postgres_address()) {
        told.replaced_view = postgres.query("CREATE OR REPLACE VIEW kept AS SELECT n + 1000 AS n FROM shop").is_ok();
        let is_made = postgres.query("CREATE VIEW made AS SELECT 1 AS one").is_ok();
        told.dropped_view = is_made && postgres.query("DROP VIEW made").is_ok();
    }
    let log = server.log();
    stop_under_fault(trial, server)?;
    let Told { accepted, replayed, replaced_view, dropped_view } = told;
    if trial.has_no_excuse() && !(accepted && replayed && replaced_view && dropped_view) {
        return Err(format!("not all was done: {told:?}: {}", log.join("\n")));
    }
    Ok(told)
}

fn ask(http: &mut Http, (path, body): (&str, &str)) -> Result<(), String> {
    let reply = http.post(path, &[("content-type", "application/json")], body.as_bytes());
    let reply = reply.map_err(|error| format!("{path}: {error}"))?;
    if reply.status == 200 { Ok(()) } else { Err(format!("{path}: {} {}", reply.status, reply.text())) }
}

/// Starts the server again: what there is, and what there is when all was asked for once more.
fn check(project: &Project, told: &Told) -> Result<(), String> {
    let mut server = project.spawn(|_| ());
    server.allow("WARN"); // a repaired log says so
    server.ready()?;
    let mut postgres = server.postgres();
    let all: Vec<u64> = FITTING.chain(MISFITTING).chain(GARBAGE).collect();
    let waiting = numbers(&mut postgres, IN_QUARANTINE)?;
    let mut there = numbers(&mut postgres, ROWS)?;
    there.extend(&waiting);
    must_be("rows and quarantine", there, &all)?;
    if told.replayed && !waiting.is_empty() {
        return Err(format!("the answer was that they are replayed, these are in quarantine: {waiting:?}"));
    }
    let misfits = numbers(&mut postgres, MISFITS)?;
    if told.accepted && !misfits.is_empty() {
        return Err(format!("the answer was that they fit, these do not: {misfits:?}"));
    }
    let kept = numbers(&mut postgres, "SELECT min(n) FROM kept")?;
    if kept != [1000] && (told.replaced_view || kept != [0]) {
        return Err(format!("the view begins at {kept:?}, {told:?}"));
    }
    if told.dropped_view && postgres.query("SELECT one FROM made").is_ok() {
        return Err("a view is there that was dropped".to_owned());
    }
    finish(project, server, !misfits.is_empty(), &all)
}

fn finish(project: &Project, server: Server, has_misfits: bool, all: &[u64]) -> Result<(), String> {
    let (mut http, mut postgres) = (server.http(), server.postgres());
    if has_misfits {
        ask(&mut http, ACCEPT)?;
    }
    ask(&mut http, REPLAY)?;
    must_be("rows at the end", numbers(&mut postgres, ROWS)?, all)?;
    must_be("quarantine at the end", numbers(&mut postgres, IN_QUARANTINE)?, &[])?;
    must_be("misfits at the end", numbers(&mut postgres, MISFITS)?, &[])?;
    let fitting: Vec<u64> = FITTING.collect();
    must_be("amounts", numbers(&mut postgres, "SELECT n FROM shop WHERE amount = n")?, &fitting)?;
    let texts = "SELECT n FROM shop WHERE amount_text = concat(CAST(n AS text), ' EUR')";
    let misfitting: Vec<u64> = MISFITTING.collect();
    must_be("amounts that are texts", numbers(&mut postgres, texts)?, &misfitting)?;
    let raw = raw_zone::events(project.directory(), "shop");
    must_be("raw events", raw.iter().filter_map(|event| event["n"].as_u64()).collect(), all)?;
    drop((http, postgres));
    if !server.stop().success() {
        return Err("the server does not stop well".to_owned());
    }
    let doctor = project.run(&["doctor"]);
    let is_well = doctor.succeeded();
    if is_well && !doctor.stdout.contains("belongs to no table") { Ok(()) } else { Err(doctor.stdout + &doctor.stderr) }
}

fn must_be(what: &str, mut found: Vec<u64>, expected: &[u64]) -> Result<(), String> {
    found.sort_unstable();
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}")) }
}

fn numbers(postgres: &mut Postgres, sql: &str) -> Result<Vec<u64>, String> {
    let rows = postgres.query(sql).map_err(|failure| format!("{sql}: {failure}"))?.rows;
    rows.iter()
        .map(|row| row[0].as_deref().and_then(|number| number.parse().ok()).ok_or_else(|| format!("{sql}: {row:?}")))
        .collect()
}
