//! Measures appends: 64 senders at once, each waiting for its answer, with the disk synced for every group.
//!
//! `append_bench [DIR] [SECONDS]`. Latencies are those of appends, from call to answer.

#![allow(clippy::print_stdout, reason = "it prints its measurements")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacus_core::{NewRecord, Result, StreamName, SystemClock, settings, units};
use lacus_stream::{Log, NewStream};
use tokio::task::JoinSet;

const SENDERS: u32 = 64;
const RECORD_BYTES: usize = 400;
const PARTITIONS: u32 = 4;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().map_or_else(|| std::env::temp_dir().join("lacus-append-bench"), PathBuf::from);
    let seconds = arguments.next().and_then(|seconds| seconds.parse().ok()).unwrap_or(5);
    for records in [1, 100] {
        let directory = directory.join(format!("records-{records}"));
        measure(directory, records, Duration::from_secs(seconds)).await?;
    }
    Ok(())
}

async fn measure(directory: PathBuf, records: usize, time: Duration) -> Result<()> {
    if directory.try_exists()? {
        std::fs::remove_dir_all(&directory)?;
    }
    let log = Log::open(&directory, &settings::Stream::default(), Arc::new(SystemClock))?;
    let stream = StreamName::new("bench")?;
    log.create_stream(&stream, &NewStream::of_shards(PARTITIONS))?;
    let begun = Instant::now();
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        senders.spawn(send(log.clone(), stream.clone(), sender, records, begun + time));
    }
    let mut micros: Vec<u128> = senders.join_all().await.into_iter().collect::<Result<Vec<_>>>()?.concat();
    let elapsed = begun.elapsed().as_secs_f64();
    let stats = log.stats();
    log.close().await?;
    micros.sort_unstable();
    let percentile = |percent: usize| micros.get(micros.len() * percent / 100).copied().unwrap_or_default();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "for people"
    )]
    let rate = |count: u64| units::human_count((count as f64 / elapsed) as u64);
    println!(
        "{records} records of {RECORD_BYTES} B an append: {} appends/s, {} records/s, {}/s; append p50 {} µs, p99 {} µs; \
         {} appends a group; sync p50 {} µs, p99 {} µs",
        rate(micros.len() as u64),
        rate(stats.records),
        units::human_bytes(stats.bytes / time.as_secs().max(1)),
        percentile(50),
        percentile(99),
        micros.len() as u64 / stats.groups.max(1),
        stats.sync_micros_p50,
        stats.sync_micros_p99,
    );
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

/// Appends until `end`, and gives the microseconds that each append took.
async fn send(log: Log, stream: StreamName, sender: u32, records: usize, end: Instant) -> Result<Vec<u128>> {
    let record = NewRecord::of(vec![b'x'; RECORD_BYTES]).with_key(sender.to_string());
    let mut micros = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        log.append(&stream, vec![record.clone(); records]).await?;
        micros.push(begun.elapsed().as_micros());
    }
    Ok(micros)
}
