//! A fault at every operation that commits do on the disk: what was committed is there, once, and nothing else is.

use std::process::Command;
use std::time::Duration;

use lacus_testkit::ledger::example;
use lacus_testkit::{FaultLoop, Finished, Mode, Trial, run_for};

/// How long the workload, or the check after it, may take on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Commits that the workload makes.
const COMMITS: u64 = 3;

/// Rows per commit of the workload.
const ROWS: u64 = 5;

/// What is there after a run.
#[derive(Debug)]
struct Found {
    rows: Vec<u64>,
    offset: u64,
}

#[test]
fn what_was_committed_survives_any_fault_once() {
    FaultLoop::new("commit").run(|trial| {
        let committed = commit_under_fault(trial)?;
        let found = verify(trial)?;
        if found.offset < committed {
            return Err(format!("{committed} rows were committed, the table is at {}", found.offset));
        }
        commit_again(trial)?;
        let more = verify(trial)?;
        if more.offset != found.offset + ROWS {
            return Err(format!("the table was at {}, after one commit it is at {}", found.offset, more.offset));
        }
        Ok(())
    });
}

/// How many rows the workload was told are committed.
fn commit_under_fault(trial: &Trial) -> Result<u64, String> {
    let mut command = Command::new(example("commit"));
    command.arg(trial.directory()).arg(COMMITS.to_string());
    trial.afflict(&mut command);
    let finished = run_for(&mut command, TIME_MAX);
    let committed = last_number(&finished.stdout, "committed ").map_or(0, |first| first + ROWS);
    let Some(status) = finished.status else { return Err(format!("the workload hangs after {committed} rows")) };
    if finished.stderr.contains("panicked at") {
        return Err(format!("the workload panics: {}", finished.stderr));
    }
    let mode = trial.fault.map(|fault| fault.mode);
    if status.code().is_none() && !matches!(mode, Some(Mode::Torn | Mode::Kill | Mode::Cut)) {
        return Err(format!("the workload died: {status}"));
    }
    if matches!(mode, None | Some(Mode::Hang)) && committed != COMMITS * ROWS {
        return Err(format!("only {committed} rows were committed: {}", finished.stdout));
    }
    Ok(committed)
}

fn commit_again(trial: &Trial) -> Result<(), String> {
    let finished = run_for(Command::new(example("commit")).arg(trial.directory()).arg("1"), TIME_MAX);
    if succeeded(&finished) && finished.stdout.contains("committed") {
        return Ok(());
    }
    Err(format!("commits no more: {}{}", finished.stdout, finished.stderr))
}

/// Opens the lake again: rows `0..offset`, each once, and nothing that should not be.
fn verify(trial: &Trial) -> Result<Found, String> {
    let finished = run_for(Command::new(example("commit")).arg(trial.directory()).arg("verify"), TIME_MAX);
    if !succeeded(&finished) {
        return Err(format!("the lake does not open again: {}{}", finished.stdout, finished.stderr));
    }
    if let Some(finding) = finished.stdout.lines().find(|line| line.starts_with("finding")) {
        return Err(finding.to_owned());
    }
    let mut rows: Vec<u64> =
        finished.stdout.lines().filter_map(|line| line.strip_prefix("row ")?.parse().ok()).collect();
    rows.sort_unstable();
    let offset = last_number(&finished.stdout, "offset ").ok_or("verify printed no offset")?;
    let found = Found { rows, offset };
    if found.rows != (0..offset).collect::<Vec<_>>() {
        return Err(format!("these rows are not 0..{offset}, each once: {:?}", found.rows));
    }
    Ok(found)
}

fn succeeded(finished: &Finished) -> bool {
    finished.status.is_some_and(|status| status.success())
}

fn last_number(stdout: &str, word: &str) -> Option<u64> {
    // A line that was cut off is none.
    let (complete, _) = stdout.rsplit_once('\n')?;
    complete.lines().rev().find_map(|line| line.strip_prefix(word)?.parse().ok())
}
