//! DuckDB and pyiceberg beside us, in the same run: the Python of the client tests runs `beside.py`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lacus_testkit::environment::python;
use lacus_testkit::run_for;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The longest one conversion or one query may take, with its repetitions.
const TIME_MAX: Duration = Duration::from_secs(600);

/// Wall and CPU seconds of one thing.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Cost {
    pub(super) wall: f64,
    pub(super) cpu: f64,
    /// The answer of a query, every value as text.
    #[serde(default)]
    pub(super) rows: Vec<Vec<String>>,
}

/// What pyiceberg needed for its commits, and the files it left.
#[derive(Debug, Deserialize)]
pub(super) struct Commits {
    pub(super) wall: f64,
    pub(super) cpu: f64,
    pub(super) data_files: usize,
    pub(super) metadata_files: usize,
}

/// Seconds that pyiceberg needs to read a table.
#[derive(Debug, Deserialize)]
pub(super) struct Scans {
    /// Ours.
    pub(super) lacus: f64,
    /// The same rows in one file.
    pub(super) single: f64,
    pub(super) rows: u64,
}

/// Appends JSON lines to a table of pyiceberg's in `folder`, `rows` at a time.
pub(super) fn commits(events: &Path, rows: u64, folder: &Path) -> Commits {
    run(&["commits", &events.display().to_string(), &rows.to_string(), &folder.display().to_string()])
}

/// Reads the table `main.clicks` of the REST catalog at `uri`, and a copy of it in one file, made in `folder`.
pub(super) fn scan(uri: &str, folder: &Path) -> Scans {
    run(&["scan", uri, &folder.display().to_string()])
}

/// Converts JSON lines into Parquet files, partitioned by a column.
pub(super) fn partition(events: &Path, folder: &Path, column: &str) -> Cost {
    run(&["partition", &events.display().to_string(), &folder.display().to_string(), column])
}

/// Writes the Parquet files of a folder into one.
pub(super) fn rewrite(folder: &Path, out: &Path) -> Cost {
    run(&["rewrite", &folder.display().to_string(), &out.display().to_string()])
}

/// Converts JSON lines into a Parquet file of the same compression as ours.
pub(super) fn convert(events: &Path, out: &Path) -> Cost {
    run(&["convert", &events.display().to_string(), &out.display().to_string()])
}

/// The median of `runs` of a query over Parquet files as the view `clicks`, after one run to warm up.
pub(super) fn query(sql: &Path, runs: usize, files: &[String]) -> Cost {
    let (sql, runs) = (sql.display().to_string(), runs.to_string());
    let mut arguments = vec!["query", &sql, &runs];
    arguments.extend(files.iter().map(String::as_str));
    run(&arguments)
}

fn run<T: DeserializeOwned>(arguments: &[&str]) -> T {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bench/beside.py");
    let finished = run_for(Command::new(python()).arg(script).args(arguments), TIME_MAX);
    assert!(finished.succeeded(), "beside.py: {}", finished.stderr);
    serde_json::from_str(&finished.stdout).expect("beside.py prints JSON")
}
