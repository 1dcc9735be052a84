//! Random questions over random tables, asked of lacus, of lacus as a naive scan, and of DuckDB.
//!
//! `tests/clients/differential.py` makes the tables and the questions; when answers differ it prints the smallest such question.
//! Tests ask the same questions each time: one that is answered wrong is found by who looks for it, in `make prove` or with
//! `LACUS_SEED`, and not by who changes something else.

use std::time::Duration;

use lacus_testkit::Project;
use lacus_testkit::environment::{prove, seed, setting};

use crate::clients::run_client_within;

/// How the tables are laid out.
const SETTINGS: &str = include_str!("../../../../tests/clients/differential.toml");
/// How long it asks, in seconds.
const SECONDS: u64 = 20;
const PROVE_SECONDS: u64 = 600;
/// What the questions of a test are made from.
const SEED: u64 = 59_675_840_545_797;
/// How long the last question, and making a wrong one smaller, may take on top of that.
const REST: Duration = Duration::from_secs(180);

#[test]
fn random_questions_are_answered_as_duckdb_answers_them() {
    let seconds = setting("LACUS_DIFFER_SECONDS", if prove() { PROVE_SECONDS } else { SECONDS });
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), SETTINGS);
    let server = project.start();
    let seed = if prove() { seed() } else { setting("LACUS_SEED", SEED) };
    let (seed, time) = (seed.to_string(), seconds.to_string());
    let arguments = ["--seed", &seed, "--seconds", &time];
    run_client_within(Duration::from_secs(seconds) + REST, &project, "differential.py", &arguments);
    assert!(server.stop().success());
    project.must_be_well();
}
