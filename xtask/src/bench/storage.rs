//! From JSON to files: what an event costs from the socket to its commit, beside DuckDB that converts the same lines.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lacus_testkit::{Project, Server};

use super::Bench;
use super::beside;
use super::events::{event, requests};
use super::load::{self, Load, Wire};
use super::process::{cpu_seconds, median, resident_mb};
use super::report::{Report, grouped, row};
use super::rounds::{ROUNDS, Ratio, Spent};

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

/// What the rounds came to.
#[derive(Default)]
struct Rounds {
    lacus: Vec<Spent>,
    duck: Vec<Spent>,
    /// Memory of lacus when all was sent.
    memory_mb: Vec<f64>,
}

pub(super) fn measure(bench: &Bench, workshop: &Path, report: &mut Report) -> Stored {
    let count = bench.scaled(EVENTS).next_multiple_of(BATCH);
    let (json, parquet) = (workshop.join("events.ndjson"), workshop.join("duckdb.parquet"));
    let json_bytes = write_events(&json, count);
    let mut rounds = Rounds::default();
    let (project, server) = loop {
        let project = bench.project("");
        let server = project.start();
        let (wall, cpu) = send(bench, &server, count);
        rounds.lacus.push(Spent { wall, cpu });
        rounds.memory_mb.push(resident_mb(server.pid()));
        let duck = beside::convert(&json, &parquet);
        rounds.duck.push(Spent { wall: duck.wall, cpu: duck.cpu });
        if rounds.duck.len() == ROUNDS {
            break (project, server);
        }
    };
    let files = files(&project.directory().join(".lacus/lake/main/clicks/data"));
    let raw = files_bytes(&self::files(&project.directory().join(".lacus/lake/raw")));
    let sizes = Sizes { json: json_bytes, lacus: files_bytes(&files), raw, duck: files_bytes(&[parquet]) };
    write_down(count, &rounds, &sizes, report);
    let files = files.iter().map(|file| file.display().to_string()).collect();
    Stored { server, files, rows: count, _project: project }
}

/// Bytes of what each side writes, and of what both read.
struct Sizes {
    json: u64,
    lacus: u64,
    raw: u64,
    duck: u64,
}

fn write_down(count: u64, rounds: &Rounds, sizes: &Sizes, report: &mut Report) {
    report.section(
        "JSON to files",
        &format!(
            "{} events, {} MB of JSON; {ROUNDS} rounds by turns, medians, and the CPU seconds beside DuckDB's in the same round: the median, the \
             smallest and the largest. `lacus` takes them over HTTP, writes and syncs its log, decodes, writes the raw zone (zstd) and Parquet \
             (zstd) and commits; its CPU seconds are for all of that. DuckDB reads the same lines from a warm file and writes one Parquet file \
             (zstd), without any sync.",
            grouped(count as f64),
            sizes.json / 1_000_000
        ),
    );
    let cpu = |side: &[Spent]| side.iter().map(|round| round.cpu).collect::<Vec<_>>();
    let per_million = |side: &[Spent]| median(cpu(side)) / count as f64 * 1e6;
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let line = |name: &str, side: &[Spent], parquet: u64, raw: &str| {
        let wall = median(side.iter().map(|round| round.wall));
        vec![
            name.to_owned(),
            format!("{wall:.1} s"),
            format!("{:.2}", per_million(side)),
            Ratio::of(cpu(side), cpu(&rounds.duck)).to_string(),
            megabytes(parquet),
            raw.to_owned(),
        ]
    };
    report.table(&[
        row(["", "wall", "CPU s per 1M events", "beside DuckDB", "Parquet", "raw zone"]),
        line("lacus", &rounds.lacus, sizes.lacus, &megabytes(sizes.raw)),
        line("DuckDB 1.5.5", &rounds.duck, sizes.duck, "–"),
    ]);
    report.figure("storage_cpu_s_per_million", per_million(&rounds.lacus));
    report.figure("duckdb_convert_cpu_s_per_million", per_million(&rounds.duck));
    report.figure("memory_after_load_mb", median(rounds.memory_mb.iter().copied()));
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

/// Copies a directory to where there is none yet, and syncs the files, so that nobody who is measured does.
pub(super) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("make a directory");
    for entry in std::fs::read_dir(from).expect("list files") {
        let entry = entry.expect("list files");
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else {
            std::fs::copy(&path, &copy).expect("copy a file");
            std::fs::File::open(&copy).and_then(|file| file.sync_all()).expect("sync a file");
        }
    }
}

/// How many bytes files have together.
pub(super) fn files_bytes(files: &[PathBuf]) -> u64 {
    files.iter().map(|file| std::fs::metadata(file).expect("the file is there").len()).sum()
}
