//! What the lake's tables cost to write, to keep in shape and to read, beside pyiceberg and DuckDB with the same rows.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lacus_testkit::{Project, Server};

use super::Bench;
use super::beside;
use super::events::{event, requests};
use super::process::{cpu_seconds, median};
use super::report::{Report, grouped, row};
use super::rounds::{ROUNDS, Ratio};
use super::storage::{copy_folder, files, files_bytes, write_events};

/// Rounds of the small commits, by turns: pyiceberg needs long for its own.
const COMMIT_ROUNDS: usize = 3;

/// Small commits, and the rows of each.
const COMMITS: u64 = 100;
const ROWS: u64 = 1_000;

/// Fewer small files than that are not merged.
const MERGED_AT_LEAST: u64 = 8;

/// Files that are merged, and the rows of each.
const FILES: u64 = 40;
const FILE_ROWS: u64 = 25_000;

/// Files are merged within this time.
const MERGED_WITHIN: Duration = Duration::from_secs(120);

/// What it took to bring the small commits into a table, and what is left of them.
struct Written {
    wall: f64,
    cpu: f64,
    data: usize,
    metadata: usize,
}

/// The rounds of each way to make them.
#[derive(Default)]
struct Commits {
    visible: Vec<Written>,
    committed: Vec<Written>,
    peer: Vec<Written>,
}

/// How rows are made to last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Acknowledged, and counted by the next query.
    Visible,
    /// In an Iceberg snapshot as well.
    Committed,
}

pub(super) fn small_commits(bench: &Bench, workshop: &Path, report: &mut Report) {
    let commits = bench.scaled(COMMITS).max(MERGED_AT_LEAST);
    let json = workshop.join("small.ndjson");
    write_events(&json, commits * ROWS);
    let (rounds, stored) = rounds_of_commits(bench, commits, &json, workshop);
    report.section(
        "Small commits",
        &format!(
            "{commits} times {} events; {COMMIT_ROUNDS} rounds by turns, medians, and how often the time of lacus goes into pyiceberg's in the same \
             round: the median, the smallest and the largest. `visible`: sent over HTTP, in requests that are ready, synced, and counted by a \
             query over the Postgres protocol before the next are sent; at the end one Iceberg commit. `committed`: each is a commit of its own \
             besides, with its raw file. pyiceberg 0.12 appends the same rows, Arrow tables already, with a catalog in SQLite; it syncs nothing. \
             Both have made their table before. Files are those below the table's folder.",
            grouped(ROWS as f64)
        ),
    );
    let of = |side: &[Written], figure: fn(&Written) -> f64| median(side.iter().map(figure));
    let line = |name: &str, side: &[Written]| {
        let walls = |side: &[Written]| side.iter().map(|round| round.wall).collect::<Vec<_>>();
        vec![
            name.to_owned(),
            format!("{:.2} s", of(side, |round| round.wall)),
            Ratio::of(walls(&rounds.peer), walls(side)).to_string(),
            format!("{:.2}", of(side, |round| round.cpu)),
            format!("{:.0}", of(side, |round| round.data as f64)),
            format!("{:.0}", of(side, |round| round.metadata as f64)),
        ]
    };
    report.table(&[
        row(["", "wall", "beside pyiceberg", "CPU s", "data files", "metadata files"]),
        line("lacus, visible", &rounds.visible),
        line("lacus, committed", &rounds.committed),
        line("pyiceberg", &rounds.peer),
    ]);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (cpu, peer) = (of(&rounds.visible, |round| round.cpu), of(&rounds.peer, |round| round.wall));
    report.paragraph(&format!(
        "For the visible ones the server needs {:.1} ms of CPU a commit, from the socket to the file. With all {cores} cores busy with nothing else all \
         the time that would be {:.0} × pyiceberg.",
        cpu / commits as f64 * 1000.0,
        peer / (cpu / cores as f64)
    ));
    report.figure("small_commits_visible_s", of(&rounds.visible, |round| round.wall));
    report.figure("small_commits_committed_s", of(&rounds.committed, |round| round.wall));
    report.figure("small_commits_pyiceberg_s", of(&rounds.peer, |round| round.wall));
    report.figure("small_commits_metadata_files", of(&rounds.committed, |round| round.metadata as f64));
    scans(&stored, commits * ROWS, workshop, report);
    assert!(stored.0.stop().success(), "a clean stop");
}

/// All rounds, and the server that made the last of the committed ones.
fn rounds_of_commits(bench: &Bench, commits: u64, json: &Path, workshop: &Path) -> (Commits, (Server, Project)) {
    let mut rounds = Commits::default();
    loop {
        rounds.visible.push(write(bench, commits, Until::Visible).0);
        let peer = beside::commits(json, ROWS, &workshop.join(format!("pyiceberg-{}", rounds.peer.len())));
        let beside::Commits { wall, cpu, data_files: data, metadata_files: metadata } = peer;
        rounds.peer.push(Written { wall, cpu, data, metadata });
        let (written, stored) = write(bench, commits, Until::Committed);
        rounds.committed.push(written);
        if rounds.committed.len() == COMMIT_ROUNDS {
            return (rounds, stored);
        }
    }
}

/// Sends the small batches and waits for each.
fn write(bench: &Bench, commits: u64, until: Until) -> (Written, (Server, Project)) {
    let project = bench.project("");
    let server = project.start();
    let (mut http, mut postgres) = (server.http(), server.postgres());
    let ready = requests(0, commits, ROWS);
    make_table(&server);
    let (started, cpu_before) = (Instant::now(), cpu_seconds(server.pid()));
    for (turn, request) in (1..).zip(&ready) {
        assert_eq!(http.exchange(request).expect("send events").status, 200);
        if until == Until::Committed {
            flush(&server);
        }
        let rows = postgres.query("SELECT count(*) FROM clicks").expect("count");
        assert_eq!(rows.single(), (turn * ROWS).to_string());
    }
    flush(&server);
    let (wall, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds(server.pid()) - cpu_before);
    if until == Until::Committed {
        wait_for_merging(&server, commits);
    }
    let table = project.directory().join(".lacus/lake/main/clicks");
    let (data, metadata) = (files(&table.join("data")).len(), files(&table.join("metadata")).len());
    (Written { wall, cpu, data, metadata }, (server, project))
}

fn lines(first: u64, count: u64) -> String {
    (first..first + count).map(event).collect::<Vec<_>>().join("\n")
}

/// Makes the stream, and with its delivery the table.
fn make_table(server: &Server) {
    let json = [("content-type", "application/json")];
    let reply = server.http().post("/v1/streams", &json, br#"{"name":"clicks"}"#).expect("make a stream");
    assert_eq!(reply.status, 200, "{}", reply.text());
    flush(server);
}

/// Commits what was acknowledged.
pub(super) fn flush(server: &Server) {
    let reply = server.http().post("/v1/tables/clicks/flush", &[], b"").expect("flush");
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// Waits until these many small files became few.
fn wait_for_merging(server: &Server, files: u64) {
    let begun = Instant::now();
    while live_files(server) > files.div_ceil(8) {
        assert!(begun.elapsed() < MERGED_WITHIN, "files are not merged");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn live_files(server: &Server) -> u64 {
    let status = server.http().get("/v1/status").expect("ask for the status").json();
    status["lake"]["files"].as_u64().expect("a number of files")
}

/// What another engine needs to read a table that came in small commits.
fn scans((server, _): &(Server, Project), rows: u64, workshop: &Path, report: &mut Report) {
    let scanned = beside::scan(&format!("http://{}/iceberg", server.http_address()), &workshop.join("single"));
    assert_eq!(scanned.rows, rows, "rows that pyiceberg reads");
    report.section(
        "Read by another engine",
        "The table of those commits when its files were merged, read by pyiceberg 0.12 through lacus' REST catalog, catalog and planning \
         included; beside a table of pyiceberg's with the same rows in one file. Medians of 5.",
    );
    let line = |name: &str, wall: f64| {
        vec![name.to_owned(), format!("{:.0} ms", wall * 1000.0), format!("{:.2} ×", wall / scanned.single)]
    };
    report.table(&[
        row(["table", "scan", "beside one file"]),
        line("lacus", scanned.lacus),
        line("pyiceberg, one file", scanned.single),
    ]);
    report.figure("scan_beside_one_file", scanned.lacus / scanned.single);
}

/// Small files into large ones, beside DuckDB that rewrites the same files.
pub(super) fn merging(bench: &Bench, workshop: &Path, report: &mut Report) {
    let project = bench.project("");
    write_small_files(bench, &project);
    let kept = workshop.join("small-files");
    copy_folder(&home(&project), &kept);
    let small = kept.join("lake/main/clicks/data");
    let data = files(&small);
    let bytes = files_bytes(&data) as f64 / 1e6;
    let (mut ours, mut duck) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        ours.push(merge(&project, &kept));
        duck.push(beside::rewrite(&small, &workshop.join(format!("rewritten-{round}.parquet"))).cpu);
    }
    report.section(
        "Merging files",
        &format!(
            "{} files with {bytes:.0} MB of zstd Parquet into large ones; {ROUNDS} rounds by turns, medians, and the CPU seconds beside DuckDB's in \
             the same round: the median, the smallest and the largest. lacus merges in the background, the commit and its syncs included; \
             DuckDB reads the same files and writes one, zstd too.",
            data.len()
        ),
    );
    let speed = |side: &[f64]| bytes / median(side.iter().copied());
    let line = |name: &str, side: &[f64]| {
        let cpu = median(side.iter().copied());
        let beside_duck = Ratio::of(side.iter().copied(), duck.iter().copied());
        vec![name.to_owned(), format!("{cpu:.2}"), format!("{:.0}", speed(side)), beside_duck.to_string()]
    };
    report.table(&[
        row(["", "CPU s", "MB read per CPU s", "CPU s beside DuckDB"]),
        line("lacus", &ours),
        line("DuckDB 1.5.5", &duck),
    ]);
    report.figure("merge_mb_per_cpu_s", speed(&ours));
    report.figure("duckdb_merge_mb_per_cpu_s", speed(&duck));
}

/// What lacus keeps of a project.
fn home(project: &Project) -> PathBuf {
    project.directory().join(".lacus")
}

/// Fills a table with small files, and leaves it.
fn write_small_files(bench: &Bench, project: &Project) {
    let server = project.start();
    let mut http = server.http();
    let rows = bench.scaled(FILE_ROWS);
    for turn in 0..FILES {
        let body = lines(turn * rows, rows);
        let reply = http.post("/v1/events?source=clicks", &[("content-type", "application/x-ndjson")], body.as_bytes());
        assert_eq!(reply.expect("send events").status, 200);
        flush(&server);
    }
    assert!(server.stop().success(), "a clean stop");
}

/// Puts the small files back to where their table says they are, and starts a server that has nothing to do but merge them:
/// its CPU seconds.
fn merge(project: &Project, kept: &Path) -> f64 {
    std::fs::remove_dir_all(home(project)).expect("remove what the last round left");
    copy_folder(kept, &home(project));
    let server = project.start();
    let cpu_before = cpu_seconds(server.pid());
    wait_for_merging(&server, FILES);
    let cpu = cpu_seconds(server.pid()) - cpu_before;
    assert!(server.stop().success(), "a clean stop");
    cpu
}
