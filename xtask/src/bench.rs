//! `cargo xtask bench`: what lacus does on this machine, beside what others do here with the same data, in one run.
//!
//! It measures the binary that lies beside it, from outside: over sockets, `/proc` and files. Every load is bounded in
//! events and time. `--scale 0.02` tries it out with little; only a run at full scale writes `docs/bench/`.

mod ask;
mod beside;
mod dashboards;
mod events;
mod freshness;
mod ingest;
mod kinesis;
mod lake;
mod load;
mod machine;
pub(crate) mod noop;
mod partitions;
mod peers;
mod planning;
mod process;
mod queries;
mod report;
mod rounds;
mod soak;
mod storage;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lacus_testkit::Project;

use self::machine::Machine;
use self::process::{median_ms, resident_mb};
use self::report::{Report, row};

/// Starts that are timed.
const STARTS: usize = 5;

/// A server is idle when it was left alone this long.
const IDLE: Duration = Duration::from_secs(5);

/// What every measurement needs.
struct Bench {
    binary: PathBuf,
    root: PathBuf,
    runtime: tokio::runtime::Runtime,
    /// One at full load; less to try the bench itself.
    scale: f64,
}

impl Bench {
    /// A project in which every question is answered from files.
    fn project(&self, settings: &str) -> Project {
        Project::new(&self.binary, &format!("{settings}\n[query]\nreuse_bytes_max = \"0KB\"\n"))
    }

    /// A count at this scale.
    fn scaled(&self, count: u64) -> u64 {
        ((count as f64 * self.scale) as u64).max(1)
    }

    /// A time at this scale, a second at least.
    fn time(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64((seconds * self.scale).max(1.0))
    }
}

/// What a report is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject {
    Doors,
    Baseline,
    Lake,
    Ask,
}

impl Subject {
    pub(crate) const ALL: [Self; 4] = [Self::Doors, Self::Baseline, Self::Lake, Self::Ask];

    fn file(self) -> &'static str {
        match self {
            Self::Doors => "doors.md",
            Self::Baseline => "baseline.md",
            Self::Lake => "lake.md",
            Self::Ask => "ask.md",
        }
    }
}

/// Measures and writes the reports.
#[expect(clippy::print_stdout, reason = "a command line")]
pub(crate) fn run(subjects: &[Subject], scale: f64) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace").to_owned();
    let program = std::env::current_exe().expect("a program knows its own path");
    let binary = program.with_file_name("lacus");
    assert!(binary.is_file(), "{} is not there: build the workspace first", binary.display());
    let bench = Bench { binary, root, runtime: tokio::runtime::Runtime::new().expect("start a runtime"), scale };

    let workshop = tempfile::tempdir().expect("make a directory");
    let machine = Machine::look(workshop.path());
    let commit = commit(&bench.root);
    let folder = bench.root.join("docs/bench");
    for subject in subjects {
        let report = match subject {
            Subject::Doors => doors(&bench, Report::new("Doors", &machine, scale, &commit), &machine),
            Subject::Baseline => baseline(&bench, Report::new("Baseline", &machine, scale, &commit), workshop.path()),
            Subject::Lake => lake(&bench, Report::new("Lake", &machine, scale, &commit), workshop.path()),
            Subject::Ask => ask(&bench, Report::new("Ask", &machine, scale, &commit)),
        };
        println!("{}", report.markdown());
        if scale >= 1.0 {
            write_down(&folder, subject.file(), &report);
        }
    }
}

/// From a request to its acknowledgement.
fn doors(bench: &Bench, mut report: Report, machine: &Machine) -> Report {
    step("taking events", || ingest::measure(bench, machine, &mut report));
    step("Kinesis", || kinesis::measure(bench, &mut report));
    step("steady load", || soak::measure(bench, &mut report));
    report
}

/// From a start to an answer.
fn baseline(bench: &Bench, mut report: Report, workshop: &Path) -> Report {
    step("starting and resting", || start_and_rest(bench, &mut report));
    step("freshness", || freshness::measure(bench, &mut report));
    let stored = step("writing files", || storage::measure(bench, workshop, &mut report));
    step("queries", || queries::measure(bench, &stored, &mut report));
    report
}

/// What becomes of tables.
fn lake(bench: &Bench, mut report: Report, workshop: &Path) -> Report {
    step("small commits", || lake::small_commits(bench, workshop, &mut report));
    step("partitions", || partitions::measure(bench, workshop, &mut report));
    step("merging", || lake::merging(bench, workshop, &mut report));
    step("planning", || planning::measure(bench, &mut report));
    report
}

/// From a question to its answer.
fn ask(bench: &Bench, mut report: Report) -> Report {
    step("questions", || ask::measure(bench, &mut report));
    step("dashboards", || dashboards::measure(bench, &mut report));
    report
}

#[expect(clippy::print_stderr, reason = "a person waits")]
fn step<T>(name: &str, measure: impl FnOnce() -> T) -> T {
    eprintln!("measuring: {name} …");
    let started = Instant::now();
    let result = measure();
    eprintln!("measuring: {name}: {:.0} s", started.elapsed().as_secs_f64());
    result
}

fn start_and_rest(bench: &Bench, report: &mut Report) {
    let project = bench.project("");
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let started = Instant::now();
        let server = project.start();
        times.push(started.elapsed());
        assert!(server.stop().success(), "a clean stop");
    }
    let server = project.start();
    std::thread::sleep(IDLE);
    let (start_ms, idle_mb) = (median_ms(&mut times), resident_mb(server.pid()));
    let binary_mb = std::fs::metadata(&bench.binary).expect("the binary is there").len() as f64 / 1e6;
    report.section(
        "Start and rest",
        "An empty project: from `lacus up` to the first 200 of `/readyz`; resident memory after 5 idle seconds.",
    );
    report.table(&[
        row(["start, median of 5", "idle memory", "binary"]),
        vec![format!("{start_ms:.0} ms"), format!("{idle_mb:.0} MB"), format!("{binary_mb:.0} MB")],
    ]);
    report.figure("start_ms", start_ms);
    report.figure("idle_mb", idle_mb);
}

fn write_down(directory: &Path, file: &str, report: &Report) {
    std::fs::create_dir_all(directory).expect("make docs/bench");
    std::fs::write(directory.join(file), report.markdown()).expect("write the report");
    let mut runs = std::fs::File::options()
        .create(true)
        .append(true)
        .open(directory.join("runs.jsonl"))
        .expect("open the list of runs");
    runs.write_all(report.json_line().as_bytes()).expect("add to the list of runs");
}

fn commit(root: &Path) -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(root).output();
    output.map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
