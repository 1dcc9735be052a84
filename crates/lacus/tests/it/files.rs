//! Files outside of the lake: read back by other programs, in folders and in a bucket, and through `kill -9`.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use lacus_testkit::{Buckets, Project, Server};

use crate::clients::run_client;

/// The longest that something may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);

fn in_bucket(buckets: &Buckets) -> Project {
    let settings = format!(
        "[query]\nunload_to = [\"s3://{bucket}/out\"]\ncopy_from = [\"s3://{bucket}/out\"]\n\
         [lake.s3]\nendpoint = \"http://{endpoint}\"\naccess_key_id = \"tester\"\nsecret_access_key = \"correct-horse\"\n",
        bucket = Buckets::BUCKET,
        endpoint = buckets.address()
    );
    Project::new(env!("CARGO_BIN_EXE_lacus"), &settings)
}

#[test]
fn other_programs_read_what_unload_writes_in_a_folder() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    run_client(&project, "files.py", &[]);
    assert!(server.stop().success());

    let unloaded = project.run(&["sql", "UNLOAD ('SELECT 1 AS a') TO 'unload/cli_' CSV"]);
    assert!(unloaded.stdout.contains("unload/cli_0000_part_00"), "{}{}", unloaded.stdout, unloaded.stderr);
    assert!(unloaded.stderr.starts_with("1 row · "), "{}", unloaded.stderr);
    let refused = project.run(&["sql", "UNLOAD ('SELECT 1 AS a') TO '/tmp/cli_' CSV"]);
    assert!(refused.stderr.contains("query.unload_to in lacus.toml allows "), "{}", refused.stderr);
}

#[test]
fn other_programs_read_what_unload_writes_in_a_bucket() {
    let buckets = Buckets::start();
    let project = in_bucket(&buckets);
    let server = project.start();
    let endpoint = buckets.address().to_string();
    let place = format!("s3://{}/out", Buckets::BUCKET);
    run_client(&project, "files.py", &["--endpoint", &endpoint, "--place", &place]);
    assert!(server.stop().success());
}

#[test]
fn clients_send_the_rows_of_a_table() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    run_client(&project, "copy_in.py", &[]);
    assert!(server.stop().success());
    let refused = project.run(&["sql", "COPY two FROM STDIN"]);
    assert!(refused.stderr.contains("a Postgres client sends rows"), "{}", refused.stderr);
}

#[test]
fn rows_of_a_client_stay_out_of_the_reserve_of_the_disk() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "[stream]\ndisk_reserve = \"9000000GB\"\n");
    let server = project.start();
    run_client(&project, "copy_in.py", &["--without-room"]);
    assert!(server.stop().success());
}

/// Begins an `UNLOAD` that does not end, and waits until it writes.
fn kill_while_it_writes(server: Server, to: &str, writes: impl Fn() -> bool) {
    let address = server.http_address();
    let sql = format!(
        "UNLOAD ('SELECT a.n, md5(CAST(b.n AS text)) AS t FROM generate_series(1, 1000000) AS a (n), \
         generate_series(1, 1000000) AS b (n)') TO '{to}' CSV MAXFILESIZE 5 MB"
    );
    thread::scope(|scope| {
        // It never hears of it again.
        let asking = scope.spawn(move || drop(lacus_testkit::Http::new(address).post("/v1/sql", &[], sql.as_bytes())));
        let deadline = Instant::now() + PATIENCE;
        while !writes() {
            assert!(Instant::now() < deadline, "nothing is written after {PATIENCE:?}");
            thread::sleep(Duration::from_millis(10));
        }
        server.kill9();
        asking.join().expect("the asking thread does not panic");
    });
}

#[test]
fn an_unload_that_is_killed_leaves_nothing_that_looks_whole() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let folder = project.directory().join("unload");
    let names = || -> Vec<String> {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().into_string().expect("names are UTF-8")).collect()
    };
    let has_two = || {
        let unfinished = names().first().map(|name| folder.join(name));
        unfinished.is_some_and(|unfinished| fs::read_dir(unfinished).into_iter().flatten().count() > 1)
    };
    kill_while_it_writes(project.start(), "unload/x_", has_two);
    assert!(names().iter().all(|name| name.starts_with(".unfinished-")), "{:?}", names());
    let server = project.start();
    assert_eq!(names(), [""; 0]);
    server.postgres().query("UNLOAD ('SELECT 1 AS a') TO 'unload/x_' CSV").expect("nothing is in the way");
    assert_eq!(names(), ["x_0000_part_00"]);
    assert!(server.stop().success());
}
