//! Appends numbered records to a log and says which were acknowledged: what a fault loop runs while it fails one
//! system call after the other.
//!
//! `append DIR COUNT` prints `acked N` or `refused N` for each record; `append DIR verify` prints `row N partition
//! offset` for each record that is there. The last argument may be `one-by-one`: then system calls come in the same
//! order in every run, as no two appends share a group by chance.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to the loop that runs it")]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use lacus_core::units::ByteSize;
use lacus_core::{Error, NewRecord, Offset, Result, StreamName, SystemClock, settings};
use lacus_stream::{Log, NewStream};
use tokio::task::JoinSet;

/// Appends under way at once, so that groups form.
const APPENDS_AT_ONCE: usize = 4;
const PARTITIONS: u32 = 3;
const KEYS: u64 = 7;
/// Shards split and merge after so many appends.
const RESHARD_EVERY: u64 = 50;
/// What a fault makes fail on opening is tried again this often.
const ATTEMPTS_MAX: u32 = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [directory, "verify"] => verify(Path::new(directory)),
        [directory, count] => append(Path::new(directory), count, APPENDS_AT_ONCE).await,
        [directory, count, "one-by-one"] => append(Path::new(directory), count, 1).await,
        _ => Err(Error::invalid("usage: append DIR COUNT [one-by-one] | append DIR verify")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("append: {}", error.chain());
            ExitCode::from(error.kind().exit_code())
        }
    }
}

async fn append(directory: &Path, count: &str, at_once: usize) -> Result<()> {
    let count: u64 = count.parse().map_err(|_| Error::invalid(format!("\"{count}\" is no number of records")))?;
    let stream = StreamName::new("t")?;
    let log = again(|| open(directory))?;
    again(|| log.create_stream(&stream, &NewStream::of_shards(PARTITIONS)))?;
    let mut appends = JoinSet::new();
    for number in 0..count {
        if appends.len() == at_once {
            report(appends.join_next().await);
        }
        if number % RESHARD_EVERY == RESHARD_EVERY - 1 {
            change(&log, &stream, number);
        }
        let (log, stream) = (log.clone(), stream.clone());
        appends.spawn(async move { (number, log.append(&stream, vec![record(number)]).await.map(drop)) });
    }
    while let Some(done) = appends.join_next().await {
        report(Some(done));
    }
    log.close().await
}

/// Reshards and moves a cursor while appends run; a fault may refuse either.
fn change(log: &Log, stream: &StreamName, number: u64) {
    let count = 1 + u32::try_from(number / RESHARD_EVERY % 4).unwrap_or_default();
    let read = log.stream(stream).map(|info| info.end).unwrap_or_default();
    let changed = log.set_shard_count(stream, count).and_then(|_| log.set_cursor(stream, "reader", Some(&read)));
    if let Err(error) = changed {
        eprintln!("append: {}", error.chain());
    }
}

/// A line at once: standard output writes each line as it ends.
fn report(done: Option<std::result::Result<(u64, Result<()>), tokio::task::JoinError>>) {
    match done {
        Some(Ok((number, Ok(())))) => println!("acked {number}"),
        Some(Ok((number, Err(error)))) => {
            println!("refused {number}");
            eprintln!("append: {}", error.chain());
        }
        Some(Err(error)) => eprintln!("append: {error}"),
        None => {}
    }
}

fn record(number: u64) -> NewRecord {
    // About half a kilobyte, so that log files fill.
    let value = format!("{number} {}", "x".repeat(500));
    NewRecord::of(value).with_key((number % KEYS).to_string())
}

fn verify(directory: &Path) -> Result<()> {
    let log = open(directory)?;
    let stream = StreamName::new("t")?;
    let info = log.stream(&stream).ok_or_else(|| Error::not_found("stream \"t\" was not made"))?;
    for partition in info.shards.iter().map(|shard| shard.partition) {
        let mut next = info.start.next(partition);
        while next < info.end.next(partition) {
            for record in log.read(&stream, partition, next, 1 << 20)? {
                let value = String::from_utf8_lossy(&record.value);
                let number = value.split(' ').next().unwrap_or_default();
                println!("row {number} {} {}", partition.0, record.position.offset.0);
                next = Offset(record.position.offset.0 + 1);
            }
        }
    }
    Ok(())
}

fn open(directory: &Path) -> Result<Log> {
    let settings = settings::Stream { segment_bytes_max: ByteSize(64 << 10), ..settings::Stream::default() };
    Log::open(directory, &settings, Arc::new(SystemClock))
}

fn again<T>(mut act: impl FnMut() -> Result<T>) -> Result<T> {
    let mut attempts = 1;
    loop {
        match act() {
            Err(error) if attempts < ATTEMPTS_MAX => {
                eprintln!("append: trying again: {}", error.chain());
                attempts += 1;
            }
            done => return done,
        }
    }
}
