//! Appends numbered records to a log and says which were acknowledged: what a fault loop runs while it fails one
//! system call after the other. In between it reshards, moves a cursor, lets delivered files go, and deletes a second stream
//! and makes it again.
//!
//! `append DIR COUNT` prints for each record `acked N` or `refused N`, and before an acknowledged one `at N partition
//! offset`. It prints `delivered partition offset` for all partitions before it tells the log so, and where a shard ended,
//! `closed partition offset`, once it is closed. `append DIR verify` prints `start partition offset` and `end partition
//! offset` for all partitions, then `row N partition offset` for each record that is there. The second
//! stream's numbers begin at a million, its partitions at a thousand. The last argument may be `one-by-one`: then system
//! calls come in the same order in every run, as no two appends share a group by chance.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to the loop that runs it")]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use lacus_core::units::ByteSize;
use lacus_core::units::Millis;
use lacus_core::{Error, NewRecord, Offset, Offsets, Partition, Position, Result, StreamName, SystemClock, settings};
use lacus_stream::{Log, NewStream, StreamInfo};
use tokio::task::{JoinError, JoinSet};

/// Appends under way at once, so that groups form.
const APPENDS_AT_ONCE: usize = 4;
const PARTITIONS: u32 = 3;
const KEYS: u64 = 7;
/// Shards, cursors, streams and old files change after so many appends.
const CHANGE_EVERY: u64 = 25;
/// The first number of a record of the second stream, and what is added to its partitions.
const SECOND_NUMBERS: u64 = 1_000_000;
const SECOND_PARTITIONS: u32 = 1_000;
/// What a fault makes fail on opening is tried again this often.
const ATTEMPTS_MAX: u32 = 3;

/// A record's number, and where it is.
type Appended = (u64, Result<Vec<Position>>);

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
    let stream = first()?;
    let log = again(|| open(directory))?;
    again(|| log.create_stream(&stream, &NewStream::of_shards(PARTITIONS)))?;
    let mut appends = JoinSet::new();
    let mut delivered = Vec::new();
    for number in 0..count {
        if appends.len() == at_once {
            report(appends.join_next().await);
        }
        if number % CHANGE_EVERY == CHANGE_EVERY - 1 {
            complain(change(&log, &stream, number));
            complain(replace_second(&log, SECOND_NUMBERS + number).await);
            complain(retain(&log, &delivered));
            // What was there is delivered when the next change comes.
            delivered = log.streams();
        }
        let (log, stream) = (log.clone(), stream.clone());
        appends.spawn(async move { (number, log.append(&stream, vec![record(number)]).await) });
    }
    while let Some(done) = appends.join_next().await {
        report(Some(done));
    }
    log.close().await
}

fn first() -> Result<StreamName> {
    StreamName::new("t")
}

fn second() -> Result<StreamName> {
    StreamName::new("second")
}

/// Reshards and moves a cursor while appends run.
fn change(log: &Log, stream: &StreamName, number: u64) -> Result<()> {
    let count = 1 + u32::try_from(number / CHANGE_EVERY % 4).unwrap_or_default();
    let info = log.set_shard_count(stream, count)?;
    let closed = info.shards.iter().filter(|shard| !shard.is_open()).map(|shard| shard.partition);
    print_offsets("closed", &info, &closed.map(|shard| (shard, info.end.next(shard))).collect());
    log.set_cursor(stream, "reader", Some(&info.end))
}

/// Makes a stream, or finds the one that could not be deleted, gives it a record and deletes it.
async fn replace_second(log: &Log, number: u64) -> Result<()> {
    let stream = second()?;
    log.create_stream(&stream, &NewStream::of_shards(2))?;
    log.set_cursor(&stream, "reader", Some(&Offsets::default()))?;
    let appended = log.append(&stream, vec![record(number)]).await;
    let appended = appended.map(|positions| positions.into_iter().map(of_second).collect());
    report(Some(Ok((number, appended))));
    log.delete_stream(&stream)
}

fn of_second(position: Position) -> Position {
    Position { partition: Partition(position.partition.0 + SECOND_PARTITIONS), ..position }
}

/// Lets files go whose records were there when `streams` were described.
fn retain(log: &Log, streams: &[StreamInfo]) -> Result<()> {
    for stream in streams {
        print_offsets("delivered", stream, &stream.end);
    }
    let delivered = |name: &StreamName| {
        let stream = streams.iter().find(|stream| stream.name == *name);
        stream.map(|stream| stream.end.clone()).unwrap_or_default()
    };
    log.retain(&delivered).map(drop)
}

fn print_offsets(what: &str, stream: &StreamInfo, offsets: &Offsets) {
    for (partition, offset) in offsets.iter() {
        println!("{what} {} {}", shown_partition(stream, partition.0), offset.0);
    }
}

fn shown_partition(stream: &StreamInfo, partition: u32) -> u32 {
    if stream.name.as_str() == "second" { partition + SECOND_PARTITIONS } else { partition }
}

/// A fault may refuse anything.
fn complain(done: Result<()>) {
    if let Err(error) = done {
        eprintln!("append: {}", error.chain());
    }
}

/// A line at once: standard output writes each line as it ends.
fn report(done: Option<std::result::Result<Appended, JoinError>>) {
    match done {
        Some(Ok((number, Ok(positions)))) => {
            for Position { partition, offset } in positions {
                println!("at {number} {} {}", partition.0, offset.0);
            }
            println!("acked {number}");
        }
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
    if log.stream(&first()?).is_none() {
        return Err(Error::not_found("stream \"t\" was not made"));
    }
    // The second stream's numbers are higher: it comes last.
    let mut streams = log.streams();
    streams.reverse();
    for stream in &streams {
        print_offsets("start", stream, &stream.start);
        print_offsets("end", stream, &stream.end);
    }
    for stream in &streams {
        print_rows(&log, stream)?;
    }
    Ok(())
}

fn print_rows(log: &Log, stream: &StreamInfo) -> Result<()> {
    for partition in stream.shards.iter().map(|shard| shard.partition) {
        let mut next = stream.start.next(partition);
        while next < stream.end.next(partition) {
            for record in log.read(&stream.name, partition, next, 1 << 20)? {
                let value = String::from_utf8_lossy(&record.value);
                let number = value.split(' ').next().unwrap_or_default();
                println!("row {number} {} {}", shown_partition(stream, partition.0), record.position.offset.0);
                next = Offset(record.position.offset.0 + 1);
            }
        }
    }
    Ok(())
}

fn open(directory: &Path) -> Result<Log> {
    // What is delivered goes at once.
    let settings =
        settings::Stream { segment_bytes_max: ByteSize(16 << 10), retention: Millis(0), ..settings::Stream::default() };
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
