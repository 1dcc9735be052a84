//! Questions, beside DuckDB and chDB on the very same Parquet files: clickstream, and a table like ClickBench's.

mod engines;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lacus_testkit::environment::python;
use lacus_testkit::{Project, Server, run_for};

use self::engines::{Answer, Asked, Files, Question};
use super::Bench;
use super::events::event;
use super::report::{Report, grouped, row};
use super::storage::{BATCH, send_from};

/// Clickstream events, and how many are committed at once.
const CLICKS: u64 = 20_000_000;
const PORTION: usize = 1_000_000;

/// Rows of the table like ClickBench's.
const HITS: u64 = 10_000_000;

/// A day of one kind of event to a file.
const SETTINGS: &str =
    "[tables.clicks]\npartition = [\"truncate[10](timestamp)\", \"event_name\"]\nsort = [\"timestamp\"]\n";

/// The longest it may take to make the rows, and to merge their files.
const MADE_WITHIN: Duration = Duration::from_secs(1200);

/// Files are as they stay when none came or went for so long.
const SETTLED: Duration = Duration::from_secs(40);

pub(super) fn measure(bench: &Bench, report: &mut Report) {
    clicks(bench, report);
    hits(bench, report);
}

fn clicks(bench: &Bench, report: &mut Report) {
    let count = bench.scaled(CLICKS).next_multiple_of(BATCH);
    let project = bench.project(SETTINGS);
    let server = project.start();
    for first in (0..count).step_by(PORTION) {
        send_from(bench, &server, first, (count - first).min(PORTION as u64));
    }
    let middle = event(count / 2);
    let (_, click) = middle.split_once("\"click_id\":\"").expect("an event has an id");
    let questions = engines::questions(&include_str!("ask/clicks.sql").replace("{click}", &click[..32]));
    let note =
        "partitioned by day and `event_name`, sorted by `timestamp`, as small files were merged in the background";
    compare(report, "Clickstream", note, &project, server, "clicks", &questions);
}

fn hits(bench: &Bench, report: &mut Report) {
    let rows = bench.scaled(HITS);
    let project = bench.project("");
    let server = project.start();
    let uri = format!("http://{}/iceberg", server.http_address());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bench/ask/hits.py");
    let made = run_for(Command::new(python()).arg(script).arg(uri).arg(rows.to_string()), MADE_WITHIN);
    assert!(made.succeeded(), "hits.py: {}", made.stderr);
    let questions = engines::questions(include_str!("ask/hits.sql"));
    let note = "with the 105 columns of ClickBench's table and values as skewed as its, written by pyiceberg through the REST catalog. \
                The 43 questions are ClickBench's";
    compare(report, "Hits", note, &project, server, "hits", &questions);
}

/// Waits until small files are merged: the files that are left.
fn settle(server: &Server, table: &str) -> Files {
    let begun = Instant::now();
    let (mut files, mut since) = (Files::of(server, table), Instant::now());
    while since.elapsed() < SETTLED {
        assert!(begun.elapsed() < MADE_WITHIN, "files do not settle");
        std::thread::sleep(Duration::from_secs(1));
        let now = Files::of(server, table);
        if now != files {
            (files, since) = (now, Instant::now());
        }
    }
    files
}

/// Asks all engines, one after the other, warm and cold.
fn compare(
    report: &mut Report,
    title: &str,
    note: &str,
    project: &Project,
    server: Server,
    table: &str,
    questions: &[Question],
) {
    let files = settle(&server, table);
    assert!(server.stop().success(), "a clean stop");
    report.section(
        title,
        &format!(
            "{} rows, {} files, {:.0} MB of Parquet (zstd), {note}. Medians of {} after one to warm up; `cold` is the first question of a \
             process, nothing of its files in memory. Two threads each. lacus answers over the Postgres protocol (CPU in steps of 10 ms), \
             the others in their own process with its memory limit, {} MB.",
            grouped(files.rows as f64),
            files.paths.len(),
            files.bytes as f64 / 1e6,
            engines::RUNS,
            engines::MEMORY_MB,
        ),
    );
    let asked = [
        ("lacus", engines::ask_lacus(project, questions)),
        ("DuckDB", engines::ask_peer("duckdb", table, questions, &files)),
        ("chDB", engines::ask_peer("chdb", table, questions, &files)),
    ];
    for (name, other) in &asked[1..] {
        for (question, (ours, theirs)) in questions.iter().zip(asked[0].1.warm.iter().zip(&other.warm)) {
            if let (Answer::Rows { rows: ours, .. }, Answer::Rows { rows: theirs, .. }) = (ours, theirs) {
                assert_eq!(ours, theirs, "{title}, {}: rows of lacus, and of {name}", question.name);
            }
        }
    }
    let names: Vec<&str> = asked.iter().map(|(name, _)| *name).collect();
    let mut head = row(["question"]);
    for what in ["", " CPU", " cold"] {
        head.extend(names.iter().map(|name| format!("{name}{what}")));
    }
    head.push("CPU beside DuckDB".to_owned());
    let mut lines = vec![head];
    for (number, question) in questions.iter().enumerate() {
        lines.push(line(&question.name, &asked, |asked, kind| kind.of(asked, number)));
    }
    lines.push(line("sum", &asked, |asked, kind| (0..questions.len()).map(|number| kind.of(asked, number)).sum()));
    report.table(&lines);
    for (name, asked) in &asked {
        for (number, answer) in asked.warm.iter().enumerate() {
            if let Answer::Error(error) = answer {
                report.paragraph(&format!("{name} did not answer question {}: {error}", questions[number].name));
            }
        }
    }
    let peaks: Vec<String> = asked.iter().map(|(name, asked)| format!("{name} {:.0} MB", asked.peak_mb)).collect();
    report.paragraph(&format!("Most memory: {}.", peaks.join(", ")));
    let sum = |asked: &Asked| (0..questions.len()).map(|number| Kind::Cpu.of(asked, number)).sum::<f64>();
    let key = title.to_lowercase();
    report.figure(&format!("{key}_cpu_beside_duckdb"), sum(&asked[0].1) / sum(&asked[1].1));
    report.figure(&format!("{key}_peak_mb"), asked[0].1.peak_mb);
}

/// What a column of the table is about.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Wall,
    Cpu,
    Cold,
}

impl Kind {
    /// Seconds; not a number when the engine did not answer.
    fn of(self, asked: &Asked, question: usize) -> f64 {
        let answer = match self {
            Self::Wall | Self::Cpu => &asked.warm[question],
            Self::Cold => &asked.cold[question],
        };
        match (answer, self) {
            (Answer::Rows { cpu, .. }, Self::Cpu) => *cpu,
            (Answer::Rows { wall, .. }, _) => *wall,
            (Answer::Error(_), _) => f64::NAN,
        }
    }
}

/// A line of the table in milliseconds.
fn line(name: &str, asked: &[(&str, Asked)], seconds: impl Fn(&Asked, Kind) -> f64) -> Vec<String> {
    let mut cells = vec![name.to_owned()];
    for kind in [Kind::Wall, Kind::Cpu, Kind::Cold] {
        cells.extend(asked.iter().map(|(_, asked)| milliseconds(seconds(asked, kind))));
    }
    let beside = seconds(&asked[0].1, Kind::Cpu) / seconds(&asked[1].1, Kind::Cpu);
    cells.push(format!("{beside:.2} ×"));
    cells
}

fn milliseconds(seconds: f64) -> String {
    if seconds.is_nan() { "–".to_owned() } else { format!("{} ms", grouped(seconds * 1000.0)) }
}
