//! The example project's questions, beside DuckDB on the very same Parquet files.

use std::time::Instant;

use super::Bench;
use super::beside;
use super::process::{cpu_seconds, median_ms};
use super::report::{Report, grouped, row};
use super::storage::Stored;

/// Runs of each query, after one to warm up.
const RUNS: usize = 5;

pub(super) fn measure(bench: &Bench, stored: &Stored, report: &mut Report) {
    let mut table = vec![row(["question", "lacus", "DuckDB 1.5.5", "lacus CPU", "DuckDB CPU"])];
    let directory = bench.root.join("examples/clickstream/queries");
    let mut questions: Vec<_> =
        std::fs::read_dir(&directory).expect("list the questions").map(|entry| entry.expect("list").path()).collect();
    questions.sort();
    for question in questions {
        let name = question.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        let sql = std::fs::read_to_string(&question).expect("read a question");
        let sql = sql.trim_end().trim_end_matches(';');
        let mut postgres = stored.server.postgres();
        let rows = postgres.query(sql).unwrap_or_else(|failure| panic!("{name}: {failure}")).rows.len();
        let (cpu_before, mut times) = (cpu_seconds(stored.server.pid()), Vec::new());
        for _ in 0..RUNS {
            let started = Instant::now();
            postgres.query(sql).unwrap_or_else(|failure| panic!("{name}: {failure}"));
            times.push(started.elapsed());
        }
        let cpu = (cpu_seconds(stored.server.pid()) - cpu_before) / RUNS as f64 * 1000.0;
        let wall = median_ms(&mut times);
        let duck = beside::query(&question, RUNS, &stored.files);
        assert_eq!(rows, duck.rows.len(), "{name}: rows of lacus, and of DuckDB");
        report.figure(&format!("query_{name}_ms"), wall);
        report.figure(&format!("duckdb_query_{name}_ms"), duck.wall * 1000.0);
        let milliseconds = |value: f64| format!("{value:.1} ms");
        table.push(vec![
            name,
            milliseconds(wall),
            milliseconds(duck.wall * 1000.0),
            milliseconds(cpu),
            milliseconds(duck.cpu * 1000.0),
        ]);
    }
    report.section(
        "Questions",
        &format!(
            "`examples/clickstream/queries` over {} committed events, warm; median of {RUNS} for the time, mean for CPU (lacus' in steps \
             of 10 ms ÷ {RUNS}). lacus answers over the Postgres protocol, DuckDB in its own process on the same files.",
            grouped(stored.rows as f64)
        ),
    );
    report.table(&table);
}
