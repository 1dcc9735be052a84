//! A month of deliveries to many tables, on a clock of our own: what the lake keeps beside rows must not grow with time.
//!
//! Log, delivery, commit, merging, expiry and retention are the real ones; only the time between commits is left out. Each
//! hour every table gets a few rows, in one commit of all of them, and small files are merged.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use lacus_core::settings::{Source, TablesOf};
use lacus_core::units::{ByteSize, Millis};
use lacus_core::{Clock, NewRecord, Offsets, Settings, StreamName, Timestamp, settings};
use lacus_flow::{Deliveries, delivered};
use lacus_lake::Lake;
use lacus_stream::{Log, MessageIds, NewStream};
use lacus_testkit::environment::{prove, setting};

/// Rows that each table gets in an hour.
const ROWS: usize = 3;
const HOUR_MS: u64 = 3_600_000;
/// 21 November 2026, 00:00 UTC.
const BEGIN_MICROS: i64 = 1_795_219_200_000_000;
/// Bytes of a log file for each table: what comes in half a day, so that retention has files to remove.
const LOG_FILE_BYTES: u64 = 4 << 10;
/// After so many hours a table has all the snapshots it keeps, and merged files have expired.
const SETTLED_AFTER: usize = 140;
/// How much more than in the first half of the settled time anything may be in the second one: files that wait for a merge
/// come and go.
const GROWTH_MAX: f64 = 1.25;
/// Where files are memory: what is counted here is the same, and a month passes sooner.
const MEMORY: &str = "/dev/shm";

struct SimulatedClock(AtomicI64);

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

impl SimulatedClock {
    fn advance(&self, ms: u64) {
        self.0.fetch_add(i64::try_from(ms * 1_000).expect("an hour or so"), Ordering::SeqCst);
    }
}

/// What there is at one instant.
#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    live_files: u64,
    data_files: u64,
    manifests: u64,
    metadata_files: u64,
    metadata_bytes: u64,
    catalog_bytes: u64,
    log_bytes: u64,
}

struct Running {
    log: Log,
    lake: Arc<Lake>,
    deliveries: Deliveries,
}

async fn start(directory: &Path, tables: usize, clock: &Arc<SimulatedClock>) -> Running {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let source = Source { tables: TablesOf::ByEvent, event: Some("event".to_owned()), ..Source::default() };
    let settings = Settings { sources: [("app".to_owned(), source)].into(), ..Settings::default() };
    let kept = settings::Stream {
        retention: Millis(24 * HOUR_MS),
        segment_bytes_max: ByteSize(tables as u64 * LOG_FILE_BYTES),
        ..settings::Stream::default()
    };
    let log = Log::open(&directory.join("stream"), &kept, Arc::clone(&clock)).expect("open the log");
    let lake = Arc::new(Lake::open(directory, Arc::clone(&clock)).await.expect("open the lake"));
    let ids = Arc::new(MessageIds::open(&directory.join("ids")).expect("open the index of ids"));
    let deliveries =
        Deliveries::start(log.clone(), Arc::clone(&lake), ids, &settings, clock).await.expect("start deliveries");
    Running { log, lake, deliveries }
}

/// One hour: events for every table, their commit, and the upkeep. Says how long the commit took, in milliseconds.
async fn live_an_hour(running: &Running, tables: usize, hour: usize) -> f64 {
    let app = StreamName::new("app").expect("a name");
    let event = |index: usize| {
        let (table, n) = (index % tables, hour * ROWS + index / tables);
        NewRecord::of(format!(
            r#"{{"event":"event {table}","n":{n},"user":{{"id":"u{}","ok":true}},"price":{}.5,"at":"2026-11-21T10:00:{:02}Z"}}"#,
            n * 7919 % 1_000,
            n % 90,
            n % 60,
        ))
    };
    running.log.append(&app, (0..tables * ROWS).map(event).collect()).await.expect("append");
    running.deliveries.caught_up().await.expect("catch up");
    let begun = Instant::now();
    let report = running.deliveries.flush(&app.table_in("other_events").expect("a name")).await.expect("commit");
    let took = begun.elapsed().as_secs_f64() * 1_000.0;
    assert_eq!(report.rows as usize, tables * ROWS);
    running.deliveries.merge_now().await.expect("merge");
    running.log.retain(&|stream| delivered(&running.lake, stream, &Offsets::default())).expect("retain");
    took
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let entry = entry.expect("list a folder");
        // Without asking for each file what it is: there are tens of thousands.
        let is_folder = entry.file_type().expect("list a folder").is_dir();
        if is_folder { files.extend(files_below(&entry.path())) } else { files.push(entry.path()) }
    }
    files
}

fn measure(directory: &Path, lake: &Lake) -> Measured {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut measured = Measured { live_files: lake.stats().files, ..Measured::default() };
    for file in files_below(&directory.join("lake/app")) {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("parquet") => measured.data_files += 1,
            Some("avro") => measured.manifests += 1,
            _ => measured.metadata_files += 1,
        }
        if file.extension().is_some_and(|extension| extension != "parquet") {
            measured.metadata_bytes += size(&file);
        }
    }
    measured.catalog_bytes = size(&directory.join("catalog.db"));
    measured.log_bytes = files_below(&directory.join("stream")).iter().map(|file| size(file)).sum();
    measured
}

impl Measured {
    fn numbers(&self) -> [(&'static str, u64); 7] {
        [
            ("live data files", self.live_files),
            ("data files", self.data_files),
            ("manifests and lists", self.manifests),
            ("metadata files", self.metadata_files),
            ("bytes of metadata", self.metadata_bytes),
            ("bytes of the catalog", self.catalog_bytes),
            ("bytes of the log", self.log_bytes),
        ]
    }

    /// The most of each.
    fn most(measured: &[Self]) -> [(&'static str, u64); 7] {
        let mut most = Self::default().numbers();
        for measured in measured {
            for (most, (_, number)) in most.iter_mut().zip(measured.numbers()) {
                most.1 = most.1.max(number);
            }
        }
        most
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures belong to the test's output")]
async fn what_is_beside_rows_stays_flat_over_a_month() {
    let tables: usize = setting("LACUS_TABLES", if prove() { 200 } else { 2 }) as usize;
    let hours: usize = setting("LACUS_HOURS", if prove() { 720 } else { 200 }) as usize;
    let directory = tempfile::tempdir_in(MEMORY).or_else(|_| tempfile::tempdir()).unwrap();
    let clock = Arc::new(SimulatedClock(AtomicI64::new(BEGIN_MICROS)));
    let mut running = start(directory.path(), tables, &clock).await;
    running.log.create_stream(&StreamName::new("app").unwrap(), &NewStream::of_shards(1)).unwrap();
    let (begun, mut commit_ms, mut settled) = (Instant::now(), Vec::new(), Vec::new());
    println!(
        "hour, then live data files, data files, manifests and lists, metadata files, and bytes of metadata, catalog, log"
    );
    for hour in 0..hours {
        commit_ms.push(live_an_hour(&running, tables, hour).await);
        clock.advance(HOUR_MS);
        if hour == hours / 2 {
            running.deliveries.stop().await;
            running.log.close().await.unwrap();
            drop(running);
            running = start(directory.path(), tables, &clock).await;
        }
        let (is_told, is_settled) = (hour % (hours / 15).max(1) == 0 || hour + 1 == hours, hour >= SETTLED_AFTER);
        if !is_told && !is_settled {
            continue;
        }
        let measured = measure(directory.path(), &running.lake);
        if is_told {
            println!("{hour:4} {:?}", measured.numbers().map(|(_, number)| number));
        }
        if is_settled {
            settled.push(measured);
        }
    }
    commit_ms.sort_by(f64::total_cmp);
    println!(
        "{tables} tables, {hours} hours in {:.0} s; a commit of all tables took {:.0} ms (median), {:.0} ms at most",
        begun.elapsed().as_secs_f64(),
        commit_ms[hours / 2],
        commit_ms[hours - 1],
    );
    let (early, late) = settled.split_at(settled.len() / 2);
    for ((what, early), (_, late)) in Measured::most(early).into_iter().zip(Measured::most(late)) {
        assert!(late as f64 <= early as f64 * GROWTH_MAX, "{what}: {early} at most before, {late} after");
    }
    let rows = running.lake.stats().rows as usize;
    assert_eq!(rows, tables * ROWS * hours);
    running.deliveries.stop().await;
    running.log.close().await.unwrap();
}
