//! What the doctor looks at, in the order it is shown.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacus_core::units::{ByteSize, human_bytes, human_count, human_count_of};
use lacus_core::{Context, Error, Kind, Partition, Result};
use lacus_lake::Lake;
use lacus_stream::{Log, StreamInfo};

use crate::commands::doctor::Check;
use crate::door::Door;
use crate::door::wire::GlueStatus;
use crate::lock::{Attempt, Holder, Lock};
use crate::project::Project;
use crate::run::{self, Invocation};

/// Synced writes that are timed.
const SYNCS: usize = 32;
/// Bytes of each.
const SYNC_BYTES: usize = 4 << 10;
/// Below this, acknowledgements and queries are slow, and the user should know why.
const SLOW_SYNC: Duration = Duration::from_millis(50);
/// Less free space than this is too little to work with.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// Bytes of the log read at once.
const READ_BYTES: usize = 4 << 20;

/// Looks at everything.
pub(super) async fn all(invocation: &Invocation) -> Vec<Check> {
    let project = match invocation.project() {
        Ok(project) => project,
        Err(error) => return vec![Check::bad("settings", &error)],
    };
    let mut checks = vec![Check::good("settings", format!("{} is read", project.settings_file().display()))];
    let attempt = match Lock::attempt(&project) {
        Ok(attempt) => attempt,
        Err(error) => {
            checks.push(Check::bad("folder", &error));
            return checks;
        }
    };
    checks.push(Check::of("folder", sync_time(&project.data())));
    checks.push(Check::of("disk", free_space(&project.data(), project.settings.stream.disk_reserve)));
    match attempt {
        Attempt::Held(holder) => checks.extend(served(&holder).await),
        Attempt::Taken(lock) => checks.extend(closed(&project, lock, invocation).await),
    }
    checks
}

/// The project is open elsewhere: ask the server.
async fn served(holder: &Holder) -> Vec<Check> {
    let pid = holder.pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
    let Some(server) = &holder.server else {
        let detail = format!("{pid} has the project open and is no server");
        return vec![Check::good("lock", detail), Check::skipped("log", "look again when it has ended")];
    };
    let reachable = async {
        Door::to_server(server)?.ready().await?;
        Ok(format!("ready on {}", server.http))
    };
    let postgres = tokio::net::TcpStream::connect(server.postgres).await;
    let postgres = postgres.context(format_args!("connect to {}", server.postgres));
    let mut checks = vec![
        Check::good("lock", format!("{pid} serves the project")),
        Check::of("http", reachable.await),
        Check::of("postgres", postgres.map(|_| format!("accepts connections on {}", server.postgres))),
        Check::skipped("log", "checksums are verified when no server runs"),
        Check::skipped("lake", "the catalog and its files are verified when no server runs"),
    ];
    let status = async { Door::to_server(server)?.status().await };
    // Its failure to answer was reported above.
    let mirror = status.await.ok().and_then(|status| status.glue);
    checks.extend(mirror.map(|glue| Check::of("glue", mirrored(glue))));
    checks
}

fn mirrored(glue: GlueStatus) -> Result<String> {
    let GlueStatus { current, behind, error } = glue;
    match error {
        Some(error) => {
            Err(Error::unavailable(error).with_hint("it is tried again until it works; commits do not wait"))
        }
        None => Ok(format!("{} up to date, {} behind", human_count_of(current, "table"), human_count(behind))),
    }
}

/// Nobody has the project open: look at everything in it.
async fn closed(project: &Project, lock: Lock, invocation: &Invocation) -> Vec<Check> {
    let mut checks = vec![Check::good("lock", "free: no server runs")];
    let server = &project.settings.server;
    checks.push(Check::of("http", port_free(server.http, "server.http").await));
    checks.push(Check::of("postgres", port_free(server.postgres, "server.postgres").await));
    let clock = &invocation.clock;
    let log = Log::open(&project.stream(), &project.settings.stream, Arc::clone(clock)).context("open the log");
    let lake = Lake::open_as(&project.data(), &project.settings.lake, Arc::clone(clock)).await.context("open the lake");
    match (&log, &lake) {
        (Ok(log), Ok(lake)) => {
            checks.push(Check::of("log", read_log(log)));
            checks.push(Check::of("lake", verify_lake(lake).await));
            checks.push(Check::of("progress", progress(log, lake)));
        }
        (log, lake) => {
            checks.extend(log.as_ref().err().map(|error| Check::bad("log", error)));
            checks.extend(lake.as_ref().err().map(|error| Check::bad("lake", error)));
        }
    }
    if let Ok(log) = log {
        checks.extend(log.close().await.err().map(|error| Check::bad("log", &error)));
    }
    drop(lock);
    checks
}

/// Writes and syncs a few times, as an acknowledgement does.
fn sync_time(data: &Path) -> Result<String> {
    let path = data.join("doctor.tmp");
    let mut file = File::create(&path).context(format_args!("write {}", path.display()))?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all(&[0; SYNC_BYTES]).and_then(|()| file.sync_data()).context("write and sync")?;
        times.push(start.elapsed());
    }
    fs::remove_file(&path).context(format_args!("remove {}", path.display()))?;
    times.sort_unstable();
    let median = times[SYNCS / 2];
    let found = format!("writable; a synced write takes {:.1} ms (median)", median.as_secs_f64() * 1e3);
    Ok(if median < SLOW_SYNC { found } else { format!("{found}: slow, every acknowledgement waits for one") })
}

fn free_space(data: &Path, reserve: ByteSize) -> Result<String> {
    let found = rustix::fs::statvfs(data).map_err(std::io::Error::from).context("ask for free space")?;
    let free = found.f_bavail * found.f_frsize;
    if free < reserve.0 {
        let message = format!("{} free, less than stream.disk_reserve: {reserve}", human_bytes(free));
        return Err(Error::new(Kind::Limited, message)
            .with_hint("make room, or set stream.disk_reserve lower: until then events are refused"));
    }
    if free >= FREE_BYTES_MIN {
        return Ok(format!("{} free", human_bytes(free)));
    }
    Err(Error::new(Kind::Limited, format!("only {} free", human_bytes(free)))
        .with_hint("make room: without space nothing more is acknowledged"))
}

async fn port_free(address: SocketAddr, setting: &str) -> Result<String> {
    run::bind(address, setting).await.map(|_| format!("{address} is free"))
}

/// Reads every record, which verifies its checksum.
fn read_log(log: &Log) -> Result<String> {
    let (mut records, mut bytes) = (0_u64, 0_u64);
    for stream in &log.streams() {
        for partition in stream.shards.iter().map(|shard| shard.partition) {
            let read = read_partition(log, stream, partition);
            let read =
                read.context(format_args!("read partition {} of stream {}", partition.0, stream.name.as_str()))?;
            records += read.0;
            bytes += read.1;
        }
    }
    Ok(format!("{} records, {}: every checksum is right", human_count(records), human_bytes(bytes)))
}

fn read_partition(log: &Log, stream: &StreamInfo, partition: Partition) -> Result<(u64, u64)> {
    let (mut next, end) = (stream.start.next(partition), stream.end.next(partition));
    let (mut count, mut bytes) = (0, 0);
    while next < end {
        let records = log.read(&stream.name, partition, next, READ_BYTES)?;
        let Some(last) = records.last() else {
            return Err(Error::corrupt(format!("records {} to {} are missing", next.0, end.0)));
        };
        next = last.position.offset.plus(1);
        count += records.len() as u64;
        bytes += records.iter().map(|record| record.value.len() as u64).sum::<u64>();
    }
    Ok((count, bytes))
}

/// Reads all metadata and every Parquet footer.
async fn verify_lake(lake: &Lake) -> Result<String> {
    let findings = lake.check().await?;
    let told: Vec<String> = findings.iter().map(ToString::to_string).collect();
    if findings.iter().any(|finding| finding.is_damage) {
        return Err(
            Error::corrupt(told.join("; ")).with_hint("keep a copy of .lacus as it is, then restore from a backup")
        );
    }
    let stats = lake.stats();
    let held = format!(
        "{} in {}, {}, and {} raw: catalog and files agree",
        human_count_of(stats.rows, "row"),
        human_count_of(stats.files, "file"),
        human_bytes(stats.bytes),
        human_bytes(stats.raw_bytes),
    );
    Ok(std::iter::once(held).chain(told).collect::<Vec<_>>().join("; "))
}

/// Checks that the tables of no stream are ahead of its log.
fn progress(log: &Log, lake: &Lake) -> Result<String> {
    let mut behind = 0;
    for stream in log.streams() {
        let delivered = lacus_flow::delivered(lake, &stream.name, &stream.let_go);
        for (partition, next) in delivered.iter() {
            let end = stream.end.next(partition);
            if next > end {
                return Err(Error::corrupt(format!(
                    "the tables of stream {} have {} records of partition {}, and the log only {}: the log lost some",
                    stream.name.as_str(),
                    next.0,
                    partition.0,
                    end.0
                )));
            }
        }
        behind += stream.end.total() - delivered.total();
    }
    Ok(format!("{} records of the log wait for the next commit", human_count(behind)))
}
