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

#[test]
fn pyiceberg_and_duckdb_agree_with_lacus_row_for_row() {
    run_script("iceberg.py");
}

#[test]
fn pyiceberg_duckdb_polars_and_daft_read_by_the_rest_catalog() {
    run_script("rest.py");
}

#[expect(clippy::print_stdout, reason = "what the script found belongs to the test's output")]
fn run_script(name: &str) {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients").join(name);
    let mut command = Command::new(python());
    let finished = run_for(command.arg(script).arg("--project").arg(project.directory()), TIME_MAX);
    println!("{}", finished.stdout);
    assert!(finished.status.is_some_and(|status| status.success()), "{name}: {}", finished.stderr);
    assert!(server.stop().success());
}
