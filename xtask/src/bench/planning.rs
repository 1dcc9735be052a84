//! What it takes to plan a question about a table of very many files.

use std::time::{Duration, Instant};

use lacus_testkit::Postgres;

use super::Bench;
use super::lake::flush;
use super::process::median_ms;
use super::report::{Report, grouped, row};

/// Files, one for each partition, all of one commit.
const FILES: u64 = 10_000;
/// Rows whose `n` is the same.
const ALIKE: u64 = 10;
const SETTINGS: &str = "[tables.clicks]\npartition = [\"user_id\"]\n";
const RUNS: usize = 11;

/// What is asked, and what it has to find out.
const QUESTIONS: [(&str, &str); 3] = [
    ("SELECT sum(price) FROM clicks WHERE user_id = 77", "one partition"),
    ("SELECT sum(price) FROM clicks WHERE n = 77", "by the bounds of a column"),
    ("SELECT sum(price) FROM clicks", "none is left out"),
];

pub(super) fn measure(bench: &Bench, report: &mut Report) {
    let count = bench.scaled(FILES);
    let project = bench.project(SETTINGS);
    let server = project.start();
    let lines: Vec<String> = (0..count).map(|number| event(number, count)).collect();
    let kind = [("content-type", "application/x-ndjson")];
    let sent = server.http().post("/v1/events?source=clicks", &kind, lines.join("\n").as_bytes());
    assert_eq!(sent.expect("send events").status, 200);
    flush(&server);
    let mut postgres = server.postgres();
    let found = postgres.query("SELECT count(*) FROM \"clicks$files\"").expect("count files");
    assert_eq!(found.single(), count.to_string(), "files");
    report.section(
        "Planning",
        &format!(
            "`EXPLAIN` of questions about a table of {} files, a row in each, over the Postgres protocol: parsed, planned, and which files are \
             read found out. Medians of {RUNS}.",
            grouped(count as f64)
        ),
    );
    let mut table = vec![row(["question", "files to read", "plan"])];
    for (sql, about) in QUESTIONS {
        let ms = median_ms(&mut plan_times(&mut postgres, sql));
        table.push(vec![format!("`{sql}`"), about.to_owned(), format!("{ms:.1} ms")]);
        if about == QUESTIONS[1].1 {
            report.figure("planning_ms", ms);
        }
    }
    report.table(&table);
    assert!(server.stop().success(), "a clean stop");
}

fn event(number: u64, count: u64) -> String {
    let n = number % (count / ALIKE).max(1);
    format!(r#"{{"user_id":{number},"n":{n},"url":"/page/{number}","price":{n}.25}}"#)
}

fn plan_times(postgres: &mut Postgres, sql: &str) -> Vec<Duration> {
    let explain = format!("EXPLAIN {sql}");
    let mut once = || {
        let begun = Instant::now();
        let plan = postgres.query(&explain).expect("explain a question");
        assert!(!plan.rows.is_empty(), "a plan");
        begun.elapsed()
    };
    once();
    (0..RUNS).map(|_| once()).collect()
}
