//! The engines that are asked: lacus over its socket, the others in a process of Python each.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lacus_testkit::environment::python;
use lacus_testkit::postgres::Postgres;
use lacus_testkit::{Project, Server, run_for};
use serde::Deserialize;

use super::super::process::{cpu_seconds, median, peak_mb};

/// Runs of each question, after one to warm up.
pub(super) const RUNS: usize = 3;

/// The memory that peers may use.
pub(super) const MEMORY_MB: u64 = 1_000;

/// The longest all questions may take.
const TIME_MAX: Duration = Duration::from_secs(1200);

/// A question, and what it is called.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) name: String,
    sql: String,
}

/// Questions of a file: each begins with a comment that is its name, and ends with a semicolon.
pub(super) fn questions(text: &str) -> Vec<Question> {
    let question = |part: &str| {
        let (name, sql) =
            part.trim().strip_prefix("-- ").and_then(|part| part.split_once('\n')).expect("a name and SQL");
        Question { name: name.to_owned(), sql: sql.to_owned() }
    };
    text.split(";\n").filter(|part| !part.trim().is_empty()).map(question).collect()
}

/// The live files of a table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) paths: Vec<String>,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Files {
    pub(super) fn of(server: &Server, table: &str) -> Self {
        let sql = format!("SELECT file_path, record_count, file_size_in_bytes FROM \"{table}$files\" ORDER BY 1");
        let found = server.postgres().query(&sql).expect("list files").rows;
        let text = |row: &[Option<String>], at: usize| row[at].clone().expect("it is never null");
        let sum = |at: usize| found.iter().map(|row| text(row, at).parse::<u64>().expect("a number")).sum();
        let paths = found.iter().map(|row| text(row, 0).trim_start_matches("file://").to_owned()).collect();
        Self { paths, rows: sum(1), bytes: sum(2) }
    }
}

/// What an engine made of a question.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Answer {
    /// Seconds of the clock and of the processor, and how many rows came.
    Rows { wall: f64, cpu: f64, rows: usize },
    /// It could not.
    Error(#[serde(deserialize_with = "reason")] String),
}

fn reason<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    struct Failed {
        error: String,
    }
    Failed::deserialize(deserializer).map(|failed| failed.error)
}

/// What an engine made of all questions.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) warm: Vec<Answer>,
    pub(super) cold: Vec<Answer>,
    /// The most memory it had in use, over the warm questions.
    pub(super) peak_mb: f64,
}

/// Asks lacus.
pub(super) fn ask_lacus(project: &Project, questions: &[Question]) -> Asked {
    let server = project.start();
    let mut postgres = server.postgres();
    let warm = questions.iter().map(|question| {
        let _warmed = postgres.query(&question.sql);
        ask_server(&server, &mut postgres, question, RUNS)
    });
    let warm = warm.collect();
    let peak_mb = peak_mb(server.pid());
    assert!(server.stop().success(), "a clean stop");
    let cold = questions.iter().map(|question| {
        forget_files();
        let server = project.start();
        let answer = ask_server(&server, &mut server.postgres(), question, 1);
        assert!(server.stop().success(), "a clean stop");
        answer
    });
    Asked { warm, cold: cold.collect(), peak_mb }
}

fn ask_server(server: &Server, postgres: &mut Postgres, question: &Question, runs: usize) -> Answer {
    let (cpu_before, mut walls, mut rows) = (cpu_seconds(server.pid()), Vec::new(), 0);
    for _ in 0..runs {
        let started = Instant::now();
        match postgres.query(&question.sql) {
            Ok(answer) => rows = answer.rows.len(),
            Err(failure) => return Answer::Error(failure.message),
        }
        walls.push(started.elapsed().as_secs_f64());
    }
    let cpu = (cpu_seconds(server.pid()) - cpu_before) / runs as f64;
    Answer::Rows { wall: median(walls), cpu, rows }
}

/// Asks `duckdb` or `chdb`.
pub(super) fn ask_peer(engine: &str, table: &str, questions: &[Question], files: &Files) -> Asked {
    let workshop = tempfile::tempdir().expect("make a directory");
    let write = |name: &str, questions: &[Question]| {
        let path = workshop.path().join(name);
        let text: String = questions.iter().map(|question| format!("{};\n", question.sql)).collect();
        std::fs::write(&path, text).expect("write questions");
        path
    };
    let warm = run_peer(engine, table, &write("all.sql", questions), RUNS, files);
    let cold = questions.iter().map(|question| {
        forget_files();
        let one = write("one.sql", std::slice::from_ref(question));
        run_peer(engine, table, &one, 0, files).answers.pop().expect("an answer to each question")
    });
    Asked { cold: cold.collect(), warm: warm.answers, peak_mb: warm.peak_mb }
}

#[derive(Debug, Deserialize)]
struct Peer {
    answers: Vec<Answer>,
    peak_mb: f64,
}

fn run_peer(engine: &str, table: &str, questions: &PathBuf, runs: usize, files: &Files) -> Peer {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bench/ask/peer.py");
    let mut command = Command::new(python());
    command.arg(script).args([engine, table]).arg(questions).args([runs.to_string(), MEMORY_MB.to_string()]);
    let finished = run_for(command.args(&files.paths), TIME_MAX);
    assert!(finished.succeeded(), "peer.py: {}", finished.stderr);
    serde_json::from_str(&finished.stdout).expect("peer.py prints JSON")
}

/// Has the system forget what it keeps of files in memory.
fn forget_files() {
    assert!(Command::new("sync").status().is_ok_and(|status| status.success()), "sync");
    std::fs::write("/proc/sys/vm/drop_caches", "3").expect("as root, the system forgets files");
}
