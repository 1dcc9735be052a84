//! The fault loop: count what a run does to the disk, then let each of these operations fail in turn.
//!
//! For each operation and each way to fail: a fresh directory, the run with that one fault, a restart without it, and
//! the invariants. A run is a real process; the fault happens in a shim below it (`shim/faults.c`), so nothing in the
//! product knows that it is tested. A run that is not over in time counts as a failure.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::environment::{Random, prove, seed, setting};
use crate::shim::shim;

/// How long a hanging disk keeps a program waiting.
const HANG_MS: u32 = 300;

/// Trials at once. They mostly wait for the disk.
const WORKERS: usize = 4;

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// It is not done, and answers with an I/O error.
    Refuse,
    /// It is done, but answers with an I/O error.
    Lost,
    /// The disk is full from there on.
    Full,
    /// Half of its bytes are written, then the process dies.
    Torn,
    /// The process dies before it.
    Kill,
    /// It takes long.
    Hang,
    /// The power goes before it: nothing survives but what was synced.
    Cut,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Refuse, Self::Lost, Self::Full, Self::Torn, Self::Kill, Self::Hang, Self::Cut];

    /// The name the shim knows it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Lost => "lost",
            Self::Full => "full",
            Self::Torn => "torn",
            Self::Kill => "kill",
            Self::Hang => "hang",
            Self::Cut => "cut",
        }
    }
}

/// Which operation fails, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// How.
    pub mode: Mode,
    /// The operation, counted from one.
    pub at: usize,
}

/// `torn:17`, as `LACUS_FAULT=torn:17` repeats it.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.mode.as_str(), self.at)
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not like torn:17");
        let (mode, at) = text.split_once(':').ok_or_else(wrong)?;
        let mode = Mode::ALL.into_iter().find(|known| known.as_str() == mode).ok_or_else(wrong)?;
        Ok(Self { mode, at: at.parse().map_err(|_| wrong())? })
    }
}

/// One run in one fresh directory, with one fault or none.
#[derive(Debug)]
pub struct Trial {
    workshop: tempfile::TempDir,
    data: PathBuf,
    shim: PathBuf,
    /// The fault; none while operations are counted.
    pub fault: Option<Fault>,
}

impl Trial {
    fn new(shim: &Path, fault: Option<Fault>) -> Self {
        let workshop = tempfile::tempdir().expect("make a directory");
        let data = workshop.path().canonicalize().expect("it is there").join("data");
        std::fs::create_dir(&data).expect("make a directory");
        Self { workshop, data, shim: shim.to_owned(), fault }
    }

    /// Whether nothing fails: all of the work has to be done. An operation that hangs is done in the end.
    #[must_use]
    pub fn has_no_excuse(&self) -> bool {
        matches!(self.fault.map(|fault| fault.mode), None | Some(Mode::Hang))
    }

    /// The directory whose operations are counted and fail.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.data
    }

    /// Makes `command` meet the fault. Commands that check the result go without.
    pub fn afflict(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.shim)
            .env("LACUS_FAULT_DIR", &self.data)
            .env("LACUS_FAULT_REPORT", self.report())
            .env("LACUS_FAULT_HANG_MS", HANG_MS.to_string());
        if let Some(fault) = self.fault {
            command.env("LACUS_FAULT_AT", fault.at.to_string()).env("LACUS_FAULT_MODE", fault.mode.as_str());
        }
    }

    /// The operations so far, in order: `17 pwrite stream/00000000.log`.
    #[must_use]
    pub fn operations(&self) -> Vec<String> {
        let report = std::fs::read_to_string(self.report()).unwrap_or_default();
        report.lines().map(str::to_owned).collect()
    }

    fn report(&self) -> PathBuf {
        self.workshop.path().join("operations")
    }

    fn operation_at(&self, at: usize) -> String {
        self.operations().get(at - 1).cloned().unwrap_or_else(|| format!("{at} (was not reached)"))
    }
}

/// A fault loop to be run.
#[derive(Debug)]
pub struct FaultLoop {
    name: &'static str,
    modes: Vec<Mode>,
    sample_time: Duration,
}

impl FaultLoop {
    /// A loop over all modes that tries a sample of 30 seconds, or everything with `LACUS_PROVE=1`.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self { name, modes: Mode::ALL.to_vec(), sample_time: Duration::from_secs(30) }
    }

    /// How long a sample may take. The last trials end a little later.
    #[must_use]
    pub fn sample_for(mut self, time: Duration) -> Self {
        self.sample_time = time;
        self
    }

    /// Runs `trial` once without a fault to count operations, then once for each fault chosen. `trial` starts the
    /// product with [`Trial::afflict`], restarts it without, and says which invariant is broken.
    ///
    /// # Panics
    /// If an invariant is broken, with what is needed to repeat it.
    #[expect(clippy::print_stdout, reason = "how much was tried belongs to the test's output")]
    pub fn run(self, trial: impl Fn(&Trial) -> Result<(), String> + Sync) {
        let started = Instant::now();
        let seed = seed();
        let shim = shim();
        let counting = Trial::new(&shim, None);
        trial(&counting).unwrap_or_else(|broken| panic!("{} without any fault: {broken}", self.name));
        let operations = counting.operations();
        assert!(!operations.is_empty(), "{}: no operation was counted, is the shim loaded?", self.name);

        let faults = self.choose(operations.len(), seed);
        let deadline = started + if prove() { Duration::from_secs(3600) } else { self.sample_time };
        let next = AtomicUsize::new(0);
        let failures: Mutex<Vec<String>> = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    while Instant::now() < deadline {
                        let Some(&fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                        let this = Trial::new(&shim, Some(fault));
                        if let Err(broken) = without_panic(&trial, &this) {
                            let operation = this.operation_at(fault.at);
                            let mut failures = failures.lock().expect("no trial panics while it holds this");
                            failures.push(format!("LACUS_FAULT={fault} at \"{operation}\": {broken}"));
                        }
                    }
                });
            }
        });
        let runs = next.into_inner().min(faults.len());
        println!(
            "fault loop {}: {} operations × {} modes = {} faults, {runs} tried, {:.1} s, seed {seed}\n  {}",
            self.name,
            operations.len(),
            self.modes.len(),
            operations.len() * self.modes.len(),
            started.elapsed().as_secs_f64(),
            summary(&operations),
        );
        let failures = failures.into_inner().expect("all trials are over");
        assert!(failures.is_empty(), "{} of {runs} trials broke:\n{}", failures.len(), first_of(&failures, 12));
    }

    /// Every fault, in an order that makes any beginning of it a fair sample; or the one of `LACUS_FAULT`.
    fn choose(&self, operations: usize, seed: u64) -> Vec<Fault> {
        let only: String = setting("LACUS_FAULT", String::new());
        if !only.is_empty() {
            return vec![only.parse().unwrap_or_else(|wrong| panic!("LACUS_FAULT: {wrong}"))];
        }
        let of_mode = |&mode: &Mode| (1..=operations).map(move |at| Fault { mode, at });
        let mut faults: Vec<Fault> = self.modes.iter().flat_map(of_mode).collect();
        Random::new(seed).shuffle(&mut faults);
        faults
    }
}

/// A check that panics is a broken invariant too, and must not end the loop without a word about the fault.
fn without_panic(trial: impl Fn(&Trial) -> Result<(), String>, this: &Trial) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| trial(this))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("the check panicked: {}", text.unwrap_or("without a word")))
    })
}

fn summary(operations: &[String]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for operation in operations {
        *counts.entry(operation.split(' ').nth(1).unwrap_or_default()).or_default() += 1;
    }
    counts.iter().map(|(call, count)| format!("{count} {call}")).collect::<Vec<_>>().join(", ")
}

fn first_of(failures: &[String], most: usize) -> String {
    let mut text = failures.iter().take(most).cloned().collect::<Vec<_>>().join("\n");
    if failures.len() > most {
        text.push_str(&format!("\n… and {} more", failures.len() - most));
    }
    text
}

#[cfg(test)]
mod tests;
