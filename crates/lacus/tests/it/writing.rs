//! SQL that writes: over every door with real clients, beside deliveries, and through `kill -9`.

use std::thread;
use std::time::Duration;

use lacus_testkit::environment::{Random, seed};
use lacus_testkit::{Project, Server};

use crate::clients::run_client;

/// Times that the server is killed while it writes.
const LIVES: u64 = 8;
/// Times that rows are written again while others come.
const WRITES: usize = 12;
/// Rows of the table that is written again and again.
const ROWS: u64 = 20_000;

fn single(server: &Server, sql: &str) -> String {
    server.postgres().query(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}")).single().to_owned()
}

#[test]
fn statements_write_over_every_door() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    run_client(&project, "writing.py", &[]);
    assert!(server.stop().success());

    // Without a server it is the same.
    let made = project.run(&["sql", "CREATE TABLE alone AS SELECT 1 AS a"]);
    assert!(made.stderr.starts_with("1 row · "), "{}", made.stderr);
    let counted = project.run(&["--json", "sql", "INSERT INTO alone VALUES (2), (3)"]);
    assert_eq!(counted.stdout, "{\"affected_rows\":2}\n", "{}", counted.stderr);
    let server = project.start();
    assert_eq!(single(&server, "SELECT sum(a) FROM alone"), "6");
    assert!(server.stop().success());
    project.must_be_well();
}

#[test]
fn what_a_stream_delivers_is_corrected_and_never_lost() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "[delivery]\ncommit_after = \"1h\"\n");
    let server = project.start();
    let send = |from: u64, to: u64| {
        let events: Vec<String> = (from..to).map(|n| format!("{{\"n\":{n}}}")).collect();
        let reply = server.http().post("/v1/events?source=clicks", &[], format!("[{}]", events.join(",")).as_bytes());
        assert_eq!(reply.expect("an answer").status, 200);
    };
    send(0, 100);
    // All of it is in the tail.
    assert_eq!(single(&server, "SELECT count(*) FROM \"clicks$files\""), "0");
    server.postgres().query("DELETE FROM clicks WHERE n < 50").expect("rows go");
    assert_eq!(single(&server, "SELECT count(*) FROM clicks"), "50");
    send(100, 110);
    server.postgres().query("UPDATE clicks SET n = -n WHERE n >= 100").expect("rows change");
    assert_eq!(single(&server, "SELECT sum(n) FROM clicks"), (3725 - 1045).to_string());
    // What is sent at once is a transaction block, too.
    let block = server.postgres().query("BEGIN; DELETE FROM clicks; ROLLBACK").expect_err("it could not be taken back");
    assert!(format!("{block:?}").contains("transaction block"), "{block:?}");
    assert_eq!(single(&server, "SELECT count(*) FROM clicks"), "60");
    // A column that only the tail has is committed before rows with it come.
    let reply = server.http().post("/v1/events?source=clicks", &[], b"{\"n\":0,\"x\":1}");
    assert_eq!(reply.expect("an answer").status, 200);
    assert_eq!(single(&server, "SELECT sum(x) FROM clicks"), "1");
    server.postgres().query("INSERT INTO clicks (x) VALUES (5)").expect("a row comes");
    assert_eq!(single(&server, "SELECT sum(x) FROM clicks"), "6");
    let dropped = server.postgres().query("DROP TABLE clicks").expect_err("it is delivered to");
    assert!(format!("{dropped:?}").contains("lacus delivers events to table"), "{dropped:?}");
    server.postgres().query("CREATE TABLE mine AS SELECT * FROM clicks").expect("a copy");
    server.postgres().query("DROP TABLE mine").expect("it is mine");
    server.kill9();
    let server = project.start();
    assert_eq!(single(&server, "SELECT sum(n) FROM clicks"), (3725 - 1045).to_string(), "nothing comes back");
    assert_eq!(single(&server, "SELECT count(*) FROM clicks WHERE _offset IS NULL"), "1", "what was inserted");
    assert!(server.stop().success());
    project.must_be_well();
}

#[test]
fn a_statement_that_writes_sees_one_state_through_views_too() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    let send = |from: u64| {
        let events: Vec<String> = (from..from + 10).map(|n| format!("{{\"id\":{n},\"v\":1}}")).collect();
        let reply = server.http().post("/v1/events?source=clicks", &[], format!("[{}]", events.join(",")).as_bytes());
        assert_eq!(reply.expect("an answer").status, 200);
    };
    send(0);
    assert_eq!(single(&server, "SELECT count(*) FROM clicks"), "10");
    server.postgres().query("CREATE VIEW seen AS SELECT id, v FROM clicks").expect("a view");
    let mut sent = 10;
    for statement in [
        "INSERT OVERWRITE clicks (id, v) SELECT id, v FROM seen",
        "MERGE INTO clicks USING (SELECT id, v FROM seen) AS s ON clicks.id = s.id
         WHEN MATCHED THEN UPDATE SET v = s.v + 1 WHEN NOT MATCHED THEN INSERT (id, v) VALUES (s.id, s.v)",
        "INSERT OVERWRITE clicks (id, v) SELECT a.id, a.v FROM clicks AS a JOIN seen AS b ON a.id = b.id",
    ] {
        // Events come all the time, and are committed in between.
        thread::scope(|scope| {
            let writing = scope.spawn(|| {
                for _ in 0..WRITES {
                    server.postgres().query(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
                }
            });
            while !writing.is_finished() {
                send(sent);
                sent += 10;
            }
        });
        let counted =
            [single(&server, "SELECT count(*) FROM clicks"), single(&server, "SELECT count(DISTINCT id) FROM clicks")];
        assert_eq!(counted, [sent.to_string(), sent.to_string()], "{statement}");
    }
    assert!(server.stop().success());
    project.must_be_well();
}

#[test]
fn kill_9_leaves_the_rows_from_before_or_from_after() {
    let mut random = Random::new(seed());
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let mut server = project.start();
    let rows = format!("CREATE TABLE t AS SELECT value AS k, 0 AS v FROM generate_series(1, {ROWS})");
    server.postgres().query(&rows).expect("a table");
    let mut version = 0;
    for life in 0..LIVES {
        let copies = life % 2 == 0;
        let sql = if copies {
            format!("CREATE TABLE copy{life} AS SELECT * FROM t")
        } else {
            "UPDATE t SET v = v + 1 WHERE k > 0".to_owned()
        };
        let mut postgres = server.postgres();
        let writing = thread::spawn(move || postgres.query(&sql).is_ok());
        thread::sleep(Duration::from_millis(random.below(150)));
        server.kill9();
        let told = writing.join().expect("no panic");
        server = project.start();
        let now: u64 = single(&server, "SELECT min(v) FROM t").parse().expect("a number");
        assert_eq!(single(&server, "SELECT max(v) FROM t"), now.to_string(), "half of an update, life {life}");
        assert_eq!(single(&server, "SELECT count(DISTINCT k) + count(*) FROM t"), (2 * ROWS).to_string());
        if copies {
            let found = server.postgres().query(&format!("SELECT count(*) FROM copy{life}"));
            let found = found.ok().map(|rows| rows.single().to_owned());
            assert!(found.is_none() || found == Some(ROWS.to_string()), "half of a table: {found:?}");
            assert!(!told || found.is_some(), "what was answered is there, life {life}");
        } else {
            assert!(now == version || now == version + 1, "{now} after {version}");
            assert!(!told || now == version + 1, "what was answered is there, life {life}");
            version = now;
        }
    }
    assert!(server.stop().success());
    project.must_be_well();
}
