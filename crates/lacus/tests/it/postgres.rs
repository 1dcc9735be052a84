//! Programs that speak Postgres, unmodified: psql, psycopg, SQLAlchemy, asyncpg, ADBC, redshift_connector, pgjdbc, psqlODBC, Superset.
//!
//! The scripts are in `tests/clients`, their packages in a virtual environment that `tests/install.sh` makes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lacus_testkit::environment::superset_python;
use lacus_testkit::{Project, Server, run_for};

use crate::clients::{run_client, run_client_in};

/// The longest psql or Java may take.
const TIME_MAX: Duration = Duration::from_secs(60);
/// The longest Superset may take: most of it to make its own tables.
const SUPERSET_TIME_MAX: Duration = Duration::from_secs(1_200);

fn check(script: &str) {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    run_client(&project, script, &[]);
    assert!(server.stop().success());
}

#[test]
fn psycopg_works_unmodified() {
    check("postgres_psycopg.py");
}

#[test]
fn sqlalchemy_works_unmodified() {
    check("postgres_sqlalchemy.py");
}

#[test]
fn asyncpg_works_unmodified() {
    check("postgres_asyncpg.py");
}

#[test]
fn adbc_works_unmodified() {
    check("postgres_adbc.py");
}

#[test]
fn redshift_connector_works_unmodified() {
    check("postgres_redshift.py");
}

#[test]
fn psqlodbc_works_unmodified() {
    check("postgres_odbc.py");
}

#[test]
#[ignore = "Superset is large: make prove installs it, and runs this"]
fn superset_works_unmodified() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    run_client_in(&superset_python(), SUPERSET_TIME_MAX, &project, "superset.py", &[]);
    assert!(server.stop().success());
}

#[test]
fn pgjdbc_works_unmodified() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    run_client(&project, "postgres_shop.py", &[]);
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients/java/Postgres.java");
    let mut java = Command::new("java");
    java.args(["-cp", "/usr/share/java/postgresql.jar"]).arg(program).arg(server.postgres_address().to_string());
    let told = run_for(&mut java, TIME_MAX);
    assert!(told.succeeded(), "{}{}", told.stdout, told.stderr);
    assert!(server.stop().success());
}

/// What psql prints for a command.
fn psql(server: &Server, command: &str) -> String {
    let address = server.postgres_address();
    let mut psql = Command::new("psql");
    psql.args(["-X", "-U", "lacus", "-d", "lake", "-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
    psql.args(["-v", "ON_ERROR_STOP=1", "-c", command]);
    let told = run_for(&mut psql, TIME_MAX);
    assert!(told.succeeded(), "{command}: {}{}", told.stdout, told.stderr);
    told.stdout + &told.stderr
}

#[test]
fn psql_describes_what_there_is() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    psql(&server, "CREATE SCHEMA shop");
    let columns =
        "id bigint NOT NULL, price numeric(12,2), at timestamptz, clock time, tags array<text>, who struct<a text>";
    psql(&server, &format!("CREATE TABLE shop.things ({columns})"));
    psql(&server, "CREATE TABLE plain (a int)");
    psql(&server, "CREATE VIEW cheap AS SELECT a FROM plain WHERE a < 3");
    for (command, expected) in [
        (r"\l", "lake"),
        (r"\dn", "main | lacus"),
        (r"\dn", "shop | lacus"),
        (r"\dn+", "shop"),
        (r"\d", "main   | cheap | view  | lacus"),
        (r"\d+", "plain"),
        (r"\dt", "main   | plain | table | lacus"),
        (r"\dt+", "plain"),
        (r"\dt shop.*", "shop   | things | table | lacus"),
        (r"\dv", "cheap"),
        (r"\d shop.things", "id     | bigint                   |           | not null |"),
        (r"\d shop.things", "price  | numeric(12,2)            |           |          |"),
        (r"\d shop.things", "at     | timestamp with time zone |"),
        (r"\d shop.things", "clock  | time without time zone   |"),
        (r"\d shop.things", "tags   | text[]                   |"),
        (r"\d shop.things", "who    | json                     |"),
        (r"\d+ shop.things", "numeric(12,2)"),
        (r"\d cheap", "View \"main.cheap\""),
        (r"\d+ cheap", "a < 3"),
        (r"\df", "(0 rows)"),
        (r"\du", "lacus"),
        (r"\di", "Did not find any relations."),
        (r"\ds", "Did not find any relations."),
        (r"\dm", "Did not find any relations."),
        (r"\dx", "(0 rows)"),
        (r"\dT", "(0 rows)"),
        (r"\dD", "(0 rows)"),
        (r"\sv cheap", "CREATE OR REPLACE VIEW main.cheap"),
        (r"\dp plain", "plain"),
        (r"\db", "pg_default"),
        (r"\dS pg_class", "pg_class"),
        (r"\conninfo", "You are connected to database \"lake\" as user \"lacus\""),
        (r"\copy (SELECT 1 AS a, 'x' AS b) TO STDOUT CSV HEADER", "a,b\n1,x\n"),
    ] {
        let told = psql(&server, command);
        assert!(told.contains(expected), "{command}: {expected}\n{told}");
    }
    assert!(server.stop().success());
}
