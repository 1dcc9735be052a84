//! A fault at every operation that the log does on the disk: what was acknowledged is there, once, in order.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use lacus_testkit::ledger::{Promises, example};
use lacus_testkit::{FaultLoop, Finished, Mode, Trial, run_for};

/// How long the workload, or the check after it, may take on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(30);

/// Records that the workload appends: enough to begin several log files.
const RECORDS: u64 = 400;

/// Records appended after the restart.
const MORE_RECORDS: u64 = 20;

/// The workload's record N has key N % 7.
const KEYS: u64 = 7;

/// A record as `verify` prints it: `row <number> <partition> <offset>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    number: u64,
    partition: u64,
    offset: u64,
}

#[test]
fn what_was_acknowledged_survives_any_fault_once_and_in_order() {
    FaultLoop::new("append").run(|trial| {
        let promises = append_under_fault(trial)?;
        let rows = verify(trial)?;
        promises.check(rows.iter().map(|row| row.number))?;
        check_offsets(&rows)?;
        check_order_by_key(&rows)?;
        // The log goes on where it was.
        let more = append_again(trial)?;
        let all = verify(trial)?;
        check_offsets(&all)?;
        if all.len() as u64 != rows.len() as u64 + more || !rows.iter().all(|row| all.contains(row)) {
            return Err(format!("{} rows, then {more} acknowledged, then {} rows", rows.len(), all.len()));
        }
        Ok(())
    });
}

fn append_under_fault(trial: &Trial) -> Result<Promises, String> {
    let mut command = Command::new(example("append"));
    command.arg(trial.directory()).arg(RECORDS.to_string());
    trial.afflict(&mut command);
    let finished = run_for(&mut command, TIME_MAX);
    let promises = Promises::read(&finished.stdout);
    let Some(status) = finished.status else {
        return Err(format!("the workload hangs after {} records", promises.acked.len()));
    };
    if finished.stderr.contains("panicked at") {
        return Err(format!("the workload panics: {}", finished.stderr));
    }
    let mode = trial.fault.map(|fault| fault.mode);
    if status.code().is_none() && !matches!(mode, Some(Mode::Torn | Mode::Kill | Mode::Cut)) {
        return Err(format!("the workload died: {status}"));
    }
    if matches!(mode, None | Some(Mode::Hang)) && promises.acked.len() as u64 != RECORDS {
        return Err(format!("only {} records were acknowledged: {}", promises.acked.len(), finished.stderr));
    }
    Ok(promises)
}

fn append_again(trial: &Trial) -> Result<u64, String> {
    let mut command = Command::new(example("append"));
    let finished = run_for(command.arg(trial.directory()).arg(MORE_RECORDS.to_string()), TIME_MAX);
    if succeeded(&finished) { Ok(MORE_RECORDS) } else { Err(format!("appends no more: {}", finished.stderr)) }
}

fn verify(trial: &Trial) -> Result<Vec<Row>, String> {
    let finished = run_for(Command::new(example("append")).arg(trial.directory()).arg("verify"), TIME_MAX);
    if !succeeded(&finished) && !finished.stderr.contains("was not made") {
        return Err(format!("the log does not open again: {:?} {}", finished.status, finished.stderr));
    }
    finished.stdout.lines().map(read_row).collect()
}

fn succeeded(finished: &Finished) -> bool {
    finished.status.is_some_and(|status| status.success()) && !finished.stdout.contains("refused")
}

fn read_row(line: &str) -> Result<Row, String> {
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    let &[number, partition, offset] = numbers.as_slice() else { return Err(format!("not a row: {line:?}")) };
    Ok(Row { number, partition, offset })
}

fn check_offsets(rows: &[Row]) -> Result<(), String> {
    let mut next: BTreeMap<u64, u64> = BTreeMap::new();
    for row in rows {
        let expected = next.entry(row.partition).or_default();
        if *expected != row.offset {
            return Err(format!("{row:?} stands where offset {expected} should be"));
        }
        *expected += 1;
    }
    Ok(())
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
