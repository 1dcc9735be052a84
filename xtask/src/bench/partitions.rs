//! From JSON to partitioned files: out of the log, and from the socket, beside DuckDB that converts the same lines.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use lacus_core::{NewRecord, StreamName, SystemClock, settings};
use lacus_stream::{Log, NewStream};

use super::Bench;
use super::beside;
use super::events::event;
use super::lake::flush;
use super::process::{cpu_seconds, median};
use super::report::{Report, grouped, row};
use super::rounds::{ROUNDS, Ratio, Spent};
use super::storage::{BATCH, copy_folder, send, write_events};

const EVENTS: u64 = 1_000_000;

/// The column by which both write their files.
const COLUMN: &str = "event_name";
const SETTINGS: &str = "[tables.clicks]\npartition = [\"event_name\"]\n";

/// What each side needed.
#[derive(Default)]
struct Rounds {
    logged: Vec<Spent>,
    sent: Vec<Spent>,
    duck: Vec<Spent>,
}

pub(super) fn measure(bench: &Bench, workshop: &Path, report: &mut Report) {
    let count = bench.scaled(EVENTS).next_multiple_of(BATCH);
    let (log, json) = (workshop.join("log"), workshop.join("partitioned.ndjson"));
    write_log(bench, &log, count);
    write_events(&json, count);
    let mut rounds = Rounds::default();
    for round in 0..ROUNDS {
        rounds.logged.push(from_log(bench, &log));
        rounds.sent.push(from_socket(bench, count));
        let duck = beside::partition(&json, &workshop.join(format!("partitions-{round}")), COLUMN);
        rounds.duck.push(Spent { wall: duck.wall, cpu: duck.cpu });
    }
    write_down(count, &rounds, report);
}

/// Writes the first events to a log that no server has.
fn write_log(bench: &Bench, directory: &Path, count: u64) {
    let log = Log::open(directory, &settings::Stream::default(), Arc::new(SystemClock)).expect("open a log");
    let clicks = StreamName::new("clicks").expect("a name");
    log.create_stream(&clicks, &NewStream::of_shards(1)).expect("make a stream");
    bench.runtime.block_on(async {
        for first in (0..count).step_by(usize::try_from(BATCH).expect("a small number")) {
            let records = (first..first + BATCH).map(|number| NewRecord::of(event(number))).collect();
            log.append(&clicks, records).await.expect("append events");
        }
        log.close().await.expect("close the log");
    });
}

/// A server that finds the events in a copy of the log.
fn from_log(bench: &Bench, log: &Path) -> Spent {
    let project = bench.project(SETTINGS);
    copy_folder(log, &project.directory().join(".lacus/stream"));
    // The start of the server is part of it.
    let started = Instant::now();
    let server = project.start();
    flush(&server);
    let spent = Spent { wall: started.elapsed().as_secs_f64(), cpu: cpu_seconds(server.pid()) };
    assert!(server.stop().success(), "a clean stop");
    spent
}

/// A server that is sent the events.
fn from_socket(bench: &Bench, count: u64) -> Spent {
    let project = bench.project(SETTINGS);
    let server = project.start();
    let (wall, cpu) = send(bench, &server, count);
    assert!(server.stop().success(), "a clean stop");
    Spent { wall, cpu }
}

fn write_down(count: u64, rounds: &Rounds, report: &mut Report) {
    report.section(
        "JSON to partitions",
        &format!(
            "{} events into a table partitioned by `{COLUMN}`; {ROUNDS} rounds by turns, medians, and the CPU seconds beside DuckDB's in the \
             same round: the median, the smallest and the largest. `from the log`: they are in the log when the server starts; it reads and \
             decodes them, writes the raw zone (zstd) and Parquet (zstd), syncs and commits. `from the socket`: it takes them over HTTP besides, \
             and syncs its log. DuckDB reads the same lines from a warm file and writes Parquet (zstd) with `PARTITION_BY`, without any sync \
             and without a raw zone.",
            grouped(count as f64)
        ),
    );
    let cpu = |rounds: &[Spent]| rounds.iter().map(|round| round.cpu).collect::<Vec<_>>();
    let beside_duck = |side: &[Spent]| Ratio::of(cpu(side), cpu(&rounds.duck));
    let line = |name: &str, side: &[Spent]| {
        let wall = median(side.iter().map(|round| round.wall));
        let per_million = median(cpu(side)) / count as f64 * 1e6;
        vec![name.to_owned(), format!("{wall:.1} s"), format!("{per_million:.2}"), beside_duck(side).to_string()]
    };
    report.table(&[
        row(["", "wall", "CPU s per 1M events", "beside DuckDB"]),
        line("lacus, from the log", &rounds.logged),
        line("lacus, from the socket", &rounds.sent),
        line("DuckDB 1.5.5", &rounds.duck),
    ]);
    report.figure("partitioned_log_cpu_beside_duckdb", beside_duck(&rounds.logged).median);
    report.figure("partitioned_cpu_beside_duckdb", beside_duck(&rounds.sent).median);
}
