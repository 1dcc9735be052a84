//! Engines on other machines: the real server, its catalog and its bucket, and clients that nobody here wrote.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lacus_testkit::{Project, Server};
use serde_json::Value;

use crate::clients::run_client;

const SERVED: &str = "[lake]\nbucket = \"lake\"\n";

fn project() -> Project {
    Project::new(env!("CARGO_BIN_EXE_lacus"), SERVED)
}

/// A lake key, as `lacus key create` makes it.
fn lake_key(project: &Project) -> String {
    let made = project.run(&["key", "create", "--lake", "--name", "notebooks", "--json"]);
    assert!(made.succeeded(), "{}", made.stderr);
    let made: Value = serde_json::from_str(&made.stdout).expect("it is JSON");
    let text = |name: &str| made[name].as_str().expect("it is told").to_owned();
    format!("{}:{}", text("access_key_id"), text("secret_access_key"))
}

fn run(story: &str) -> (Project, Server, String) {
    let project = project();
    let server = project.start();
    let key = lake_key(&project);
    run_client(&project, "elsewhere.py", &["--key", &key, "--only", story]);
    (project, server, key)
}

/// The server stops, is whole, and said no secret.
fn end(project: &Project, server: Server, key: &str) {
    let (_, secret) = key.split_once(':').expect("id and secret");
    let log = server.log();
    assert!(!log.iter().any(|line| line.contains(secret) || line.contains("lake-token")), "a secret is in the log");
    assert!(server.stop().success());
    project.must_be_well();
}

#[test]
fn pyiceberg_duckdb_and_polars_read_and_write_from_another_machine() {
    let (project, server, key) = run("tables");
    end(&project, server, &key);
}

#[test]
fn nobody_is_told_anything_without_a_lake_key() {
    let (project, server, key) = run("doors");
    end(&project, server, &key);
}

#[test]
fn boto3_does_what_there_is_and_is_refused_what_there_is_not() {
    let (project, server, key) = run("objects");
    end(&project, server, &key);
}

#[test]
fn a_kill_in_the_middle_of_uploads_leaves_nothing() {
    let (project, server, key) = run("cut");
    let uploads = project.directory().join(".lacus/uploads");
    let count = |folder: &Path| fs::read_dir(folder).map_or(0, Iterator::count);
    // The script has ended, so the file that was not announced to its end is gone; the part waits for others.
    assert!(count(&uploads) >= 1, "nothing came in");
    server.kill9();
    assert!(count(&uploads) >= 1, "a kill sweeps nothing");
    let server = project.start();
    assert_eq!(count(&uploads), 0, "what a kill left is there after the next start");
    end(&project, server, &key);
}

#[test]
fn a_lake_that_was_made_with_folders_is_not_served() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    assert!(project.start().stop().success());
    fs::write(project.directory().join("lacus.toml"), SERVED).expect("write settings");
    let told = project.run(&["up"]);
    assert!(!told.succeeded());
    assert!(
        told.stderr.contains("this lake was made at file://") && told.stderr.contains("lake.bucket"),
        "{}",
        told.stderr
    );
}

#[test]
fn where_the_loopback_is_not_trusted_keys_and_commands_are_answered_alone() {
    let settings = format!("[server]\ntrust_loopback = false\n{SERVED}");
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), &settings);
    let told = project.run(&["up"]);
    assert!(!told.succeeded());
    assert!(told.stderr.contains("there is no user yet"), "{}", told.stderr);
    let made = project.run(&["user", "create", "ada"]);
    assert!(made.succeeded(), "{}", made.stderr);

    let server = project.start();
    let ask = |path: &str, headers: &[(&str, &str)]| server.http().send("GET", path, headers, b"").expect("ask").status;
    for path in ["/v1/status", "/v1/keys", "/v1/users", "/metrics", "/openapi.json", "/lake/main/clicks/x"] {
        assert_eq!((ask(path, &[]), ask(path, &[("x-lacus-pass", "guessed")])), (403, 403), "{path}");
    }
    assert_eq!(server.http().post("/v1/events?source=clicks", &[], b"{}").expect("send").status, 403);
    assert_eq!(server.http().post("/v1/sql", &[], b"SELECT 1").expect("ask").status, 403);
    assert_eq!((ask("/livez", &[]), ask("/iceberg/v1/config", &[])), (200, 401));

    // Commands of the project are answered: they may read what nobody else may.
    let key = lake_key(&project);
    let told = project.run(&["sql", "SELECT 6 * 7 AS n"]);
    assert!(told.stdout.contains("42"), "{}{}", told.stdout, told.stderr);
    let file = project.directory().join(".lacus/server.json");
    let metadata = fs::metadata(&file).expect("it is served");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let told: Value = serde_json::from_str(&fs::read_to_string(&file).expect("read it")).expect("it is JSON");
    let pass = told["pass"].as_str().expect("it has a pass");
    assert_eq!(ask("/v1/status", &[("x-lacus-pass", pass)]), 200);
    assert!(!server.log().iter().any(|line| line.contains(pass)), "the pass is in the log");
    end(&project, server, &key);
}

#[test]
fn a_lake_key_closes_the_catalog_of_every_lake() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    let ask = |token: &str| {
        let mut http = server.http();
        http.send("GET", "/iceberg/v1/config", &[("authorization", token)], b"").expect("ask").status
    };
    assert_eq!(ask(""), 200, "nobody is asked who they are");
    let key = lake_key(&project);
    assert_eq!((ask(""), ask("Bearer anybody")), (401, 401));
    let (id, secret) = key.split_once(':').expect("id and secret");
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}&scope=catalog");
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let told = server.http().post("/iceberg/v1/oauth/tokens", &headers, form.as_bytes()).expect("sign in");
    let token = format!("Bearer {}", told.json()["access_token"].as_str().expect("a token"));
    assert_eq!(ask(&token), 200);
    let server_again = {
        assert!(server.stop().success());
        project.start()
    };
    let mut http = server_again.http();
    let known = http.send("GET", "/iceberg/v1/config", &[("authorization", token.as_str())], b"").expect("ask");
    assert_eq!(known.status, 200, "a token outlives the server that gave it");
    end(&project, server_again, &key);
}
