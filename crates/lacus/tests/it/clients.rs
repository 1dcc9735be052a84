//! Clients that nobody here wrote: pyiceberg, DuckDB, Polars and Daft.
//!
//! The scripts are in `tests/clients`, their packages in a virtual environment that `tests/install.sh` makes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lacus_testkit::environment::python;
use lacus_testkit::{Project, run_for};

/// The longest a script may take.
const TIME_MAX: Duration = Duration::from_secs(200);

/// The layout that iceberg.py looks for.
pub(crate) const LAID_OUT: &str = r#"
[tables.laid_out]
partition = ["truncate[100](id)", "bucket[4](name)", "ok"]
sort = ["name desc", "id"]
"#;

#[test]
fn pyiceberg_and_duckdb_agree_with_lacus_row_for_row() {
    run_alone("iceberg.py", &[]);
}

#[test]
fn pyiceberg_duckdb_polars_and_daft_read_by_the_rest_catalog() {
    run_alone("rest.py", &["--only", "reading"]);
}

#[test]
fn pyiceberg_makes_changes_and_drops_tables() {
    run_alone("rest.py", &["--only", "writing"]);
}

#[test]
fn rows_that_duckdb_deletes_are_gone() {
    run_alone("rest.py", &["--only", "deleting"]);
}

#[test]
fn pyiceberg_changes_a_table_between_deliveries() {
    run_alone("rest.py", &["--only", "sharing"]);
}

#[test]
fn pyiceberg_and_lacus_share_views() {
    run_alone("rest.py", &["--only", "viewing"]);
}

fn run_alone(name: &str, arguments: &[&str]) {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), LAID_OUT);
    let server = project.start();
    run_client(&project, name, arguments);
    assert!(server.stop().success());
}

/// Runs a script on a project that is served.
pub(crate) fn run_client(project: &Project, name: &str, arguments: &[&str]) {
    run_client_within(TIME_MAX, project, name, arguments);
}

/// Runs a script that may take this long.
pub(crate) fn run_client_within(time: Duration, project: &Project, name: &str, arguments: &[&str]) {
    run_client_in(&python(), time, project, name, arguments);
}

/// Runs a script in a Python that has what it needs.
#[expect(clippy::print_stdout, reason = "what the script found belongs to the test's output")]
pub(crate) fn run_client_in(python: &Path, time: Duration, project: &Project, name: &str, arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients").join(name);
    let mut command = Command::new(python);
    command.arg(script).arg("--project").arg(project.directory()).args(arguments);
    let finished = run_for(&mut command, time);
    println!("{}", finished.stdout);
    assert!(finished.succeeded(), "{name}: {}", finished.stderr);
}
