//! From JSON to files: what an event costs from the socket to its commit, beside DuckDB that converts the same lines.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lacus_testkit::{Project, Server};

use super::Bench;
use super::beside;
use super::events::{event, requests};
use super::load::{self, Load, Wire};
use super::process::{cpu_seconds, resident_mb};
use super::report::{Report, grouped, row};

const EVENTS: u64 = 1_000_000;
/// Events in a request.
pub(super) const BATCH: u64 = 500;

/// The longest the events may take to be sent.
const TIME_MAX: Duration = Duration::from_secs(600);

/// A project with committed events, and its server.
pub(super) struct Stored {
    pub(super) server: Server,
    pub(super) files: Vec<String>,
    pub(super) rows: u64,
    _project: Project,
}

pub(super) fn measure(bench: &Bench, workshop: &Path, report: &mut Report) -> Stored {
    let count = bench.scaled(EVENTS).next_multiple_of(BATCH);
    let project = bench.project("");
    let server = project.start();
    let (wall, cpu) = send(bench, &server, count);
    let memory = resident_mb(server.pid());

    let json = workshop.join("events.ndjson");
    let json_bytes = write_events(&json, count);
    let parquet = workshop.join("duckdb.parquet");
    let duck = beside::convert(&json, &parquet);
    let files = files(&project.directory().join(".lacus/lake/main/clicks/data"));
    let raw = files_bytes(&self::files(&project.directory().join(".lacus/lake/raw")));

    report.section(
        "JSON to files",
        &format!(
            "{} events, {:.0} MB of JSON. `lacus` takes them over HTTP, writes and syncs its log, decodes, writes the raw zone (zstd) and \
             Parquet (zstd) and commits; its CPU seconds are for all of that. DuckDB reads the same lines from a warm file and writes \
             one Parquet file (zstd), without any sync.",
            grouped(count as f64),
            json_bytes as f64 / 1e6
        ),
    );
    let line = |name: &str, wall: f64, cpu: f64, parquet: u64, raw: &str| {
        let per_million = cpu / count as f64 * 1e6;
        let size = format!("{:.1} MB", parquet as f64 / 1e6);
        vec![name.to_owned(), format!("{wall:.1} s"), format!("{per_million:.2}"), size, raw.to_owned()]
    };
    report.table(&[
        row(["", "wall", "CPU s per 1M events", "Parquet", "raw zone"]),
        line("lacus", wall, cpu, files_bytes(&files), &format!("{:.1} MB", raw as f64 / 1e6)),
        line("DuckDB 1.5.5", duck.wall, duck.cpu, files_bytes(&[parquet]), "–"),
    ]);
    report.figure("storage_cpu_s_per_million", cpu / count as f64 * 1e6);
    report.figure("duckdb_convert_cpu_s_per_million", duck.cpu / count as f64 * 1e6);
    report.figure("memory_after_load_mb", memory);
    let files = files.iter().map(|file| file.display().to_string()).collect();
    Stored { server, files, rows: count, _project: project }
}

/// Sends the first events in large batches and commits them: seconds it took, and CPU seconds of the server.
pub(super) fn send(bench: &Bench, server: &Server, count: u64) -> (f64, f64) {
    send_from(bench, server, 0, count)
}

/// The same from the `first`th event on.
pub(super) fn send_from(bench: &Bench, server: &Server, first: u64, count: u64) -> (f64, f64) {
    let load = Load {
        address: server.http_address(),
        wire: Wire::Http,
        connections: 4,
        requests: requests(first, count / BATCH, BATCH).into(),
        events_per_request: BATCH,
        time: TIME_MAX,
        once: true,
        rate: None,
        ids: None,
    };
    let (started, cpu_before) = (Instant::now(), cpu_seconds(server.pid()));
    let outcome = bench.runtime.block_on(load::run(&load)).expect("send the events");
    let flushed = server.http().post("/v1/tables/clicks/flush", &[], b"").expect("flush");
    assert_eq!((flushed.status, outcome.events), (200, count), "{}", flushed.text());
    (started.elapsed().as_secs_f64(), cpu_seconds(server.pid()) - cpu_before)
}

/// Writes the first events, a line each, and says how many bytes they are.
pub(super) fn write_events(path: &Path, count: u64) -> u64 {
    let mut file = BufWriter::new(std::fs::File::create(path).expect("make a file"));
    for number in 0..count {
        writeln!(file, "{}", event(number)).expect("write events");
    }
    drop(file);
    files_bytes(&[path.to_owned()])
}

/// All files below a directory.
pub(super) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("list files") {
        let path = entry.expect("list files").path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// How many bytes files have together.
pub(super) fn files_bytes(files: &[PathBuf]) -> u64 {
    files.iter().map(|file| std::fs::metadata(file).expect("the file is there").len()).sum()
}
