//! A fault at every operation that the log does on the disk: what was acknowledged is there, once, in order.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use lacus_testkit::ledger::{Promises, example};
use lacus_testkit::{FaultLoop, Finished, Mode, Trial, run_for};

/// How long the workload, or the check after it, may take on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(30);

/// Records that the workload appends: enough to begin several log files.
const RECORDS: u64 = 200;

/// Records that it appends to a second stream, which is deleted after each and made again.
const SECOND_RECORDS: u64 = RECORDS / 25;

/// Records appended after the restart.
const MORE_RECORDS: u64 = 20;

/// The workload's record N has key N % 7.
const KEYS: u64 = 7;

/// Offsets by partition.
type Offsets = BTreeMap<u64, u64>;

/// What the workload printed.
struct Told {
    promises: Promises,
    /// Where acknowledged records are, by number.
    places: BTreeMap<u64, Row>,
    /// How far the log was told that records are delivered.
    delivered: Offsets,
    /// Where closed shards ended when they were closed.
    closed: Offsets,
}

/// What `verify` printed.
struct Found {
    starts: Offsets,
    ends: Offsets,
    rows: Vec<Row>,
}

/// `row <number> <partition> <offset>`, or `at …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    number: u64,
    partition: u64,
    offset: u64,
}

#[test]
fn what_was_acknowledged_survives_any_fault_once_and_in_order() {
    FaultLoop::new("append").run(|trial| {
        let told = append_under_fault(trial)?;
        let found = verify(trial)?;
        check_all_there(&told, &found)?;
        check_offsets(&found)?;
        check_closed(&told, &found)?;
        check_order_by_key(&found.rows)?;
        // The log goes on where it was.
        let more = append_again(trial)?;
        let all = verify(trial)?;
        check_offsets(&all)?;
        let (before, after) = (found.rows.len() as u64, all.rows.len() as u64);
        if after != before + more || !found.rows.iter().all(|row| all.rows.contains(row)) {
            return Err(format!("{before} rows, then {more} acknowledged, then {after} rows"));
        }
        Ok(())
    });
}

fn append_under_fault(trial: &Trial) -> Result<Told, String> {
    let mut command = Command::new(example("append"));
    command.arg(trial.directory()).arg(RECORDS.to_string());
    trial.afflict(&mut command);
    let finished = run_for(&mut command, TIME_MAX);
    let told = Told::read(&finished.stdout)?;
    let acked = told.promises.acked.len() as u64;
    let Some(status) = finished.status else {
        return Err(format!("the workload hangs after {acked} records"));
    };
    if finished.stderr.contains("panicked at") {
        return Err(format!("the workload panics: {}", finished.stderr));
    }
    let mode = trial.fault.map(|fault| fault.mode);
    if status.code().is_none() && !matches!(mode, Some(Mode::Torn | Mode::Kill | Mode::Cut)) {
        return Err(format!("the workload died: {status}"));
    }
    if trial.has_no_excuse() {
        let removed: u64 = told.delivered.values().sum();
        if acked != RECORDS + SECOND_RECORDS || removed == 0 || !finished.stderr.is_empty() {
            return Err(format!("only {acked} were acknowledged, {removed} delivered: {}", finished.stderr));
        }
    }
    Ok(told)
}

impl Told {
    fn read(stdout: &str) -> Result<Self, String> {
        // A line that was cut off is none.
        let complete = stdout.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let places = complete.lines().filter(|line| line.starts_with("at ")).map(read_row);
        Ok(Self {
            promises: Promises::read(stdout),
            places: places.map(|row| row.map(|row| (row.number, row))).collect::<Result<_, _>>()?,
            delivered: read_offsets(complete, "delivered ")?,
            closed: read_offsets(complete, "closed ")?,
        })
    }
}

/// Acknowledged records are there, where their senders were told; but for those that were delivered and let go.
fn check_all_there(told: &Told, found: &Found) -> Result<(), String> {
    let of = |offsets: &Offsets, partition| offsets.get(&partition).copied().unwrap_or(0);
    if let Some((partition, start)) =
        found.starts.iter().find(|(partition, start)| **start > of(&told.delivered, **partition))
    {
        return Err(format!("partition {partition} begins at {start}, which was not delivered"));
    }
    let was_let_go =
        |number: &u64| told.places.get(number).is_some_and(|row| row.offset < of(&found.starts, row.partition));
    let mut promises = told.promises.clone();
    promises.acked.retain(|number| !was_let_go(number));
    promises.check(found.rows.iter().map(|row| row.number))?;
    let is_elsewhere = |row: &&Row| told.places.get(&row.number).is_some_and(|place| place != *row);
    match found.rows.iter().find(is_elsewhere) {
        Some(row) => Err(format!("{row:?} is not where its sender was told")),
        None => Ok(()),
    }
}

fn append_again(trial: &Trial) -> Result<u64, String> {
    let mut command = Command::new(example("append"));
    let finished = run_for(command.arg(trial.directory()).arg(MORE_RECORDS.to_string()), TIME_MAX);
    if succeeded(&finished) { Ok(MORE_RECORDS) } else { Err(format!("appends no more: {}", finished.stderr)) }
}

fn verify(trial: &Trial) -> Result<Found, String> {
    let finished = run_for(Command::new(example("append")).arg(trial.directory()).arg("verify"), TIME_MAX);
    if !succeeded(&finished) && !finished.stderr.contains("was not made") {
        return Err(format!("the log does not open again: {:?} {}", finished.status, finished.stderr));
    }
    let rows =
        finished.stdout.lines().filter(|line| line.starts_with("row ")).map(read_row).collect::<Result<_, _>>()?;
    let offsets = |word| read_offsets(&finished.stdout, word);
    Ok(Found { starts: offsets("start ")?, ends: offsets("end ")?, rows })
}

fn succeeded(finished: &Finished) -> bool {
    finished.succeeded() && !finished.stdout.contains("refused")
}

fn read_row(line: &str) -> Result<Row, String> {
    let &[number, partition, offset] = numbers(line).as_slice() else { return Err(format!("not a row: {line:?}")) };
    Ok(Row { number, partition, offset })
}

/// The last offset of each partition in lines that begin with `word`.
fn read_offsets(lines: &str, word: &str) -> Result<Offsets, String> {
    let mut offsets = Offsets::new();
    for line in lines.lines().filter(|line| line.starts_with(word)) {
        let &[partition, offset] = numbers(line).as_slice() else { return Err(format!("no offset: {line:?}")) };
        offsets.insert(partition, offset);
    }
    Ok(offsets)
}

fn numbers(line: &str) -> Vec<u64> {
    line.split(' ').filter_map(|word| word.parse().ok()).collect()
}

fn check_offsets(found: &Found) -> Result<(), String> {
    let mut next = found.starts.clone();
    for row in &found.rows {
        let expected = next.entry(row.partition).or_default();
        if *expected != row.offset {
            return Err(format!("{row:?} stands where offset {expected} should be"));
        }
        *expected += 1;
    }
    Ok(())
}

/// Nothing came into a shard after it was closed: its readers had gone on to its children.
fn check_closed(told: &Told, found: &Found) -> Result<(), String> {
    let end = |partition| found.ends.get(partition).copied().unwrap_or(0);
    match told.closed.iter().find(|(partition, offset)| end(partition) != **offset) {
        Some((partition, offset)) => {
            Err(format!("shard {partition} was closed at {offset} and ends at {}", end(partition)))
        }
        None => Ok(()),
    }
}

/// Shards come in an order in which parents stand before their children.
fn check_order_by_key(rows: &[Row]) -> Result<(), String> {
    let mut last: BTreeMap<u64, Row> = BTreeMap::new();
    for &row in rows {
        if let Some(before) = last.insert(row.number % KEYS, row)
            && before.number > row.number
        {
            return Err(format!("{row:?} comes after {before:?}, of the same key"));
        }
    }
    Ok(())
}
