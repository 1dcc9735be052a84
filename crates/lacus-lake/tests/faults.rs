//! A fault at every operation that commits, changes of views and files that engines put do on the disk: what was told to be
//! done is there, once, and nothing else is.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lacus_testkit::ledger::{Promises, example};
use lacus_testkit::{Database, FaultLoop, Finished, Mode, Trial, run_for};

/// How long the workload, or the check after it, may take on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Commits that the workload makes.
const COMMITS: u64 = 3;

/// Rows per commit of the workload.
const ROWS: u64 = 5;

/// Changes of views that the workload makes.
const VIEW_STEPS: u64 = 5;

/// Files that the workload puts into the bucket.
const FILES_PUT: u64 = 4;

/// What is there after a run.
#[derive(Debug)]
struct Found {
    rows: Vec<u64>,
    offset: u64,
}

#[test]
fn what_was_committed_survives_any_fault_once() {
    FaultLoop::new("commit").run(|trial| survives(trial, None));
}

#[test]
fn what_was_committed_survives_any_fault_once_with_a_catalog_in_postgresql() {
    let database = Database::start();
    let catalogs = AtomicU32::new(0);
    FaultLoop::new("commit").sample_for(Duration::from_secs(10)).run(|trial| {
        let url = database.create(&format!("trial_{}", catalogs.fetch_add(1, Ordering::Relaxed)));
        survives(trial, Some(&url))
    });
}

/// Stopped anywhere, an erasure has lost nobody else's row, and the next one finishes it.
#[test]
fn an_erasure_survives_any_fault_and_is_finished_by_the_next() {
    FaultLoop::new("erase").sample_for(Duration::from_secs(15)).run(|trial| {
        if !run_for(&mut workload(trial, "2", None), TIME_MAX).succeeded() {
            return Err("the rows are not committed".to_owned());
        }
        let rows = 2 * ROWS;
        let stay: BTreeSet<u64> = (0..rows).filter(|row| row % 3 != 0).collect();
        afflicted(trial, "erase", None)?;
        let found = look(trial, None)?;
        let there: BTreeSet<u64> = found.rows.iter().copied().collect();
        if there.len() != found.rows.len() || !stay.is_subset(&there) || found.offset != rows {
            return Err(format!("after the fault there are rows {:?}, offset {}", found.rows, found.offset));
        }
        let finished = run_for(&mut workload(trial, "erase", None), TIME_MAX);
        if !finished.stdout.contains("erased") {
            return Err(format!("it is not finished: {}{}", finished.stdout, finished.stderr));
        }
        let found = look(trial, None)?;
        let there: BTreeSet<u64> = found.rows.iter().copied().collect();
        if there != stay || found.rows.len() != stay.len() {
            return Err(format!("at the end there are rows {:?}", found.rows));
        }
        Ok(())
    });
}

/// Views are as after the last change that was told to be done, or as after the next one; then they change on.
#[test]
fn views_survive_any_fault_and_change_on() {
    FaultLoop::new("views").sample_for(Duration::from_secs(15)).run(|trial| {
        let finished = afflicted(trial, "views", None)?;
        let told = last_number(&finished.stdout, "step ").unwrap_or(0);
        if trial.has_no_excuse() && told != VIEW_STEPS {
            return Err(format!("only {told} changes were made: {}", finished.stdout));
        }
        let there = views(trial)?;
        if !(told..=told + 1).contains(&there) {
            return Err(format!("{told} changes were told to be made, views are as after {there}"));
        }
        let again = run_for(&mut workload(trial, "views", None), TIME_MAX);
        if !again.succeeded() || views(trial)? != VIEW_STEPS {
            return Err(format!("they change no more: {}{}", again.stdout, again.stderr));
        }
        Ok(())
    });
}

/// A file that was acknowledged is there whole, every other one is or is not, and each can be put again.
#[test]
fn what_was_put_into_the_bucket_survives_any_fault() {
    FaultLoop::new("bucket").sample_for(Duration::from_secs(20)).run(|trial| {
        let finished = afflicted(trial, "bucket", None)?;
        let promises = Promises::read(&finished.stdout);
        if trial.has_no_excuse() && promises.acked.len() as u64 != FILES_PUT {
            return Err(format!("only these were put: {}", finished.stdout));
        }
        promises.check(files_put(trial)?)?;
        let again = run_for(&mut workload(trial, "bucket", None), TIME_MAX);
        let there = files_put(trial)?;
        if !again.succeeded() || there.len() as u64 != FILES_PUT {
            return Err(format!("only {there:?} are there: {}{}", again.stdout, again.stderr));
        }
        Ok(())
    });
}

/// One trial, with a catalog in a file or in the database of this URL.
fn survives(trial: &Trial, catalog: Option<&str>) -> Result<(), String> {
    let committed = commit_under_fault(trial, catalog)?;
    let found = verify(trial, catalog)?;
    if found.offset < committed {
        return Err(format!("{committed} rows were committed, the table is at {}", found.offset));
    }
    commit_again(trial, catalog)?;
    let more = verify(trial, catalog)?;
    if more.offset != found.offset + ROWS {
        return Err(format!("the table was at {}, after one commit it is at {}", found.offset, more.offset));
    }
    Ok(())
}

fn workload(trial: &Trial, work: &str, catalog: Option<&str>) -> Command {
    let mut command = Command::new(example("commit"));
    command.arg(trial.directory()).arg(work).args(catalog);
    command
}

/// Runs the workload under the fault. It may end early, but neither hang nor panic.
fn afflicted(trial: &Trial, work: &str, catalog: Option<&str>) -> Result<Finished, String> {
    let mut command = workload(trial, work, catalog);
    trial.afflict(&mut command);
    let finished = run_for(&mut command, TIME_MAX);
    let Some(status) = finished.status else { return Err(format!("the workload hangs after {}", finished.stdout)) };
    if finished.stderr.contains("panicked at") {
        return Err(format!("the workload panics: {}", finished.stderr));
    }
    let mode = trial.fault.map(|fault| fault.mode);
    if status.code().is_none() && !matches!(mode, Some(Mode::Torn | Mode::Kill | Mode::Cut)) {
        return Err(format!("the workload died: {status}"));
    }
    Ok(finished)
}

/// How many rows the workload was told are committed.
fn commit_under_fault(trial: &Trial, catalog: Option<&str>) -> Result<u64, String> {
    let finished = afflicted(trial, &COMMITS.to_string(), catalog)?;
    let committed = last_number(&finished.stdout, "committed ").map_or(0, |first| first + ROWS);
    if trial.has_no_excuse() && committed != COMMITS * ROWS {
        return Err(format!("only {committed} rows were committed: {}", finished.stdout));
    }
    Ok(committed)
}

fn commit_again(trial: &Trial, catalog: Option<&str>) -> Result<(), String> {
    let finished = run_for(&mut workload(trial, "1", catalog), TIME_MAX);
    if finished.succeeded() && finished.stdout.contains("committed") {
        return Ok(());
    }
    Err(format!("commits no more: {}{}", finished.stdout, finished.stderr))
}

/// Opens the lake again: rows `0..offset`, each once, and nothing that should not be.
fn verify(trial: &Trial, catalog: Option<&str>) -> Result<Found, String> {
    let found = look(trial, catalog)?;
    if found.rows != (0..found.offset).collect::<Vec<_>>() {
        return Err(format!("these rows are not 0..{}, each once: {:?}", found.offset, found.rows));
    }
    Ok(found)
}

/// Opens the lake again, in which nothing is that should not be.
fn look(trial: &Trial, catalog: Option<&str>) -> Result<Found, String> {
    let stdout = opened(trial, "verify", catalog)?;
    let mut rows: Vec<u64> = numbers(&stdout, "row ");
    rows.sort_unstable();
    let offset = last_number(&stdout, "offset ").ok_or("verify printed no offset")?;
    Ok(Found { rows, offset })
}

/// After how many changes there are the views that there are.
fn views(trial: &Trial) -> Result<u64, String> {
    last_number(&opened(trial, "verify", None)?, "views ").ok_or_else(|| "verify printed no views".to_owned())
}

/// The files that were put and are there whole.
fn files_put(trial: &Trial) -> Result<Vec<u64>, String> {
    Ok(numbers(&opened(trial, "bucket-verify", None)?, "whole "))
}

/// What a look at the lake prints that is opened again; nothing is there that should not be.
fn opened(trial: &Trial, work: &str, catalog: Option<&str>) -> Result<String, String> {
    let finished = run_for(&mut workload(trial, work, catalog), TIME_MAX);
    if !finished.succeeded() {
        return Err(format!("the lake does not open again: {}{}", finished.stdout, finished.stderr));
    }
    if let Some(finding) = finished.stdout.lines().find(|line| line.starts_with("finding")) {
        return Err(finding.to_owned());
    }
    Ok(finished.stdout)
}

fn numbers(stdout: &str, word: &str) -> Vec<u64> {
    stdout.lines().filter_map(|line| line.strip_prefix(word)?.parse().ok()).collect()
}

fn last_number(stdout: &str, word: &str) -> Option<u64> {
    // A line that was cut off is none.
    let (complete, _) = stdout.rsplit_once('\n')?;
    complete.lines().rev().find_map(|line| line.strip_prefix(word)?.parse().ok())
}
