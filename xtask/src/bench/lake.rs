//! What the lake's tables cost to write, to keep in shape and to read, beside pyiceberg and DuckDB with the same rows.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacus_core::{NewRecord, StreamName, SystemClock, settings};
use lacus_stream::{Log, NewStream};
use lacus_testkit::{Project, Server};

use super::Bench;
use super::beside;
use super::events::{event, requests};
use super::process::cpu_seconds;
use super::report::{Report, grouped, row};
use super::storage::{BATCH, files, files_bytes, send, write_events};

/// Small commits, and the rows of each.
const COMMITS: u64 = 100;
const ROWS: u64 = 1_000;

/// Fewer small files than that are not merged.
const MERGED_AT_LEAST: u64 = 8;

/// Files that are merged, and the rows of each.
const FILES: u64 = 40;
const FILE_ROWS: u64 = 25_000;

/// Events that are written to partitions.
const PARTITIONED: u64 = 1_000_000;

/// Files are merged within this time.
const MERGED_WITHIN: Duration = Duration::from_secs(120);

pub(super) fn measure(bench: &Bench, workshop: &Path, report: &mut Report) {
    small_commits(bench, workshop, report);
    partitions(bench, workshop, report);
    merging(bench, workshop, report);
}

/// What it took to bring the small commits into a table, and what is left of them.
struct Written {
    wall: f64,
    cpu: f64,
    data: usize,
    metadata: usize,
}

/// How rows are made to last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Acknowledged, and counted by the next query.
    Visible,
    /// In an Iceberg snapshot as well.
    Committed,
}

fn small_commits(bench: &Bench, workshop: &Path, report: &mut Report) {
    let commits = bench.scaled(COMMITS).max(MERGED_AT_LEAST);
    let json = workshop.join("small.ndjson");
    write_events(&json, commits * ROWS);
    let (visible, _) = write(bench, commits, Until::Visible);
    let (committed, stored) = write(bench, commits, Until::Committed);
    let peer = beside::commits(&json, ROWS, &workshop.join("pyiceberg"));
    report.section(
        "Small commits",
        &format!(
            "{commits} times {} events. `visible`: sent over HTTP, in requests that are ready, synced, and counted by a query over the Postgres \
             protocol before the next are sent; at the end one Iceberg commit. `committed`: each is a commit of its own besides, with its raw file. \
             pyiceberg 0.12 appends the same rows, Arrow tables already, with a catalog in SQLite; it syncs nothing. Both have made their table \
             before. Files are those below the table's folder.",
            grouped(ROWS as f64)
        ),
    );
    let line = |name: &str, written: &Written| {
        vec![
            name.to_owned(),
            format!("{:.2} s", written.wall),
            format!("{:.1} ×", peer.wall / written.wall),
            format!("{:.2}", written.cpu),
            written.data.to_string(),
            written.metadata.to_string(),
        ]
    };
    let peer_line = Written { wall: peer.wall, cpu: peer.cpu, data: peer.data_files, metadata: peer.metadata_files };
    report.table(&[
        row(["", "wall", "beside pyiceberg", "CPU s", "data files", "metadata files"]),
        line("lacus, visible", &visible),
        line("lacus, committed", &committed),
        line("pyiceberg", &peer_line),
    ]);
    report.figure("small_commits_visible_s", visible.wall);
    report.figure("small_commits_committed_s", committed.wall);
    report.figure("small_commits_pyiceberg_s", peer.wall);
    report.figure("small_commits_metadata_files", committed.metadata as f64);
    scans(&stored, commits * ROWS, workshop, report);
    assert!(stored.0.stop().success(), "a clean stop");
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

fn flush(server: &Server) {
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

/// From the log, and from the socket, to partitioned files, beside DuckDB.
fn partitions(bench: &Bench, workshop: &Path, report: &mut Report) {
    const SETTINGS: &str = "[tables.clicks]\npartition = [\"event_name\"]\n";
    let count = bench.scaled(PARTITIONED).next_multiple_of(BATCH);
    let logged = bench.project(SETTINGS);
    write_log(bench, &logged, count);
    // The start of the server is part of it.
    let started = Instant::now();
    let server = logged.start();
    flush(&server);
    let (wall_logged, cpu_logged) = (started.elapsed().as_secs_f64(), cpu_seconds(server.pid()));
    assert!(server.stop().success(), "a clean stop");
    let sent = bench.project(SETTINGS);
    let server = sent.start();
    let (wall_sent, cpu_sent) = send(bench, &server, count);
    assert!(server.stop().success(), "a clean stop");
    let json = workshop.join("partitioned.ndjson");
    write_events(&json, count);
    let duck = beside::partition(&json, &workshop.join("partitions"), "event_name");
    report.section(
        "JSON to partitions",
        &format!(
            "{} events into a table partitioned by `event_name`. `from the log`: they are in the log when the server starts; it reads and \
             decodes them, writes the raw zone (zstd) and Parquet (zstd), syncs and commits. `from the socket`: it takes them over HTTP besides, \
             and syncs its log. DuckDB reads the same lines from a warm file and writes Parquet (zstd) with `PARTITION_BY`, without any sync \
             and without a raw zone.",
            grouped(count as f64)
        ),
    );
    let line = |name: &str, wall: f64, cpu: f64| {
        let per_million = cpu / count as f64 * 1e6;
        vec![name.to_owned(), format!("{wall:.1} s"), format!("{per_million:.2}"), format!("{:.2} ×", cpu / duck.cpu)]
    };
    report.table(&[
        row(["", "wall", "CPU s per 1M events", "beside DuckDB"]),
        line("lacus, from the log", wall_logged, cpu_logged),
        line("lacus, from the socket", wall_sent, cpu_sent),
        line("DuckDB 1.5.5", duck.wall, duck.cpu),
    ]);
    report.figure("partitioned_log_cpu_beside_duckdb", cpu_logged / duck.cpu);
    report.figure("partitioned_cpu_beside_duckdb", cpu_sent / duck.cpu);
}

/// Writes the first events to the log of a project that no server serves.
fn write_log(bench: &Bench, project: &Project, count: u64) {
    let directory = project.directory().join(".lacus/stream");
    let log = Log::open(&directory, &settings::Stream::default(), Arc::new(SystemClock)).expect("open a log");
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

/// Small files into large ones, beside DuckDB that rewrites the same files.
fn merging(bench: &Bench, workshop: &Path, report: &mut Report) {
    let project = bench.project("");
    let server = project.start();
    let mut http = server.http();
    let rows = bench.scaled(FILE_ROWS);
    for turn in 0..FILES {
        let body = lines(turn * rows, rows);
        let reply = http.post("/v1/events?source=clicks", &[("content-type", "application/x-ndjson")], body.as_bytes());
        assert_eq!(reply.expect("send events").status, 200);
        flush(&server);
    }
    // Started again, it has nothing to do but merge; what is there now is kept for its peer.
    assert!(server.stop().success(), "a clean stop");
    let small = workshop.join("small-files");
    std::fs::create_dir(&small).expect("make a directory");
    let data = files(&project.directory().join(".lacus/lake/main/clicks/data"));
    for file in &data {
        std::fs::copy(file, small.join(file.file_name().expect("a name"))).expect("copy a file");
    }
    let bytes = files_bytes(&data) as f64 / 1e6;
    let server = project.start();
    let cpu_before = cpu_seconds(server.pid());
    wait_for_merging(&server, FILES);
    let cpu = cpu_seconds(server.pid()) - cpu_before;
    let duck = beside::rewrite(&small, &workshop.join("rewritten.parquet"));
    report.section(
        "Merging files",
        &format!(
            "{} files with {bytes:.0} MB of zstd Parquet into large ones: lacus in the background, the commit and its syncs included; DuckDB \
             reads the same files and writes one, zstd too.",
            data.len()
        ),
    );
    let line = |name: &str, cpu: f64| vec![name.to_owned(), format!("{cpu:.2}"), format!("{:.0}", bytes / cpu)];
    report.table(&[row(["", "CPU s", "MB read per CPU s"]), line("lacus", cpu), line("DuckDB 1.5.5", duck.cpu)]);
    report.figure("merge_mb_per_cpu_s", bytes / cpu);
    report.figure("duckdb_merge_mb_per_cpu_s", bytes / duck.cpu);
    assert!(server.stop().success(), "a clean stop");
}
