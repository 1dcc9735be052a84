//! What queries cost: told before, counted after, limited while they run.

use std::sync::Arc;

use lacus_core::settings;
use lacus_core::units::ByteSize;

use super::databases::Filled;
use super::lake::{ask, ask_with_stats};
use crate::{Dialect, Engine, Session};

/// A table of three files, one for each day, and a row in its tail.
async fn three_days() -> Filled {
    let lake = Filled::new().await;
    let session = lake.session();
    let days = "CREATE TABLE days WITH (partitioned_by = ARRAY['day']) AS
                SELECT n, day, md5(CAST(n AS text)) AS text FROM generate_series(1, 30000) AS s (n)
                CROSS JOIN (VALUES (DATE '2026-11-19'), (DATE '2026-11-20'), (DATE '2026-11-21')) AS d (day)";
    session.query(days, &[]).await.unwrap();
    lake
}

fn with(lake: &Filled, settings: &settings::Query) -> Session {
    Engine::new(Arc::clone(&lake.lake), Arc::clone(&lake.lake) as _, settings).unwrap().session(Dialect::Lacus)
}

/// Files, files skipped, rows, bytes, dollars.
async fn cost(session: &Session, query: &str) -> Vec<f64> {
    let told = ask(session, &format!("EXPLAIN COST {query}")).await;
    told.split('|').map(|number| number.parse().unwrap()).collect()
}

#[tokio::test]
async fn what_a_query_reads_is_told_before_and_counted_after() {
    let lake = three_days().await;
    let session = lake.session();
    let all = cost(&session, "SELECT * FROM days").await;
    assert_eq!(all[..3], [3.0, 0.0, 90_000.0]);
    assert!((all[4] - all[3] * 5.0 / (1_u64 << 40) as f64).abs() < 1e-12, "{all:?}");
    let query = "SELECT sum(n) FROM days WHERE day >= DATE '2026-11-21'";
    let told = cost(&session, query).await;
    assert_eq!(told[..3], [1.0, 2.0, 30_000.0]);
    assert!(told[3] > 0.0 && told[3] < all[3] / 6.0, "two columns of a third: {told:?} of {all:?}");
    let (_, stats) = ask_with_stats(&session, query).await.unwrap();
    assert_eq!((stats.files_scanned, stats.files_skipped), (1, 2));
    assert!(stats.bytes_scanned > 0 && stats.bytes_scanned as f64 <= told[3] * 1.1, "{stats:?} {told:?}");
    assert!(stats.planning > std::time::Duration::ZERO && stats.planning <= stats.elapsed);
    // Of what nothing is read is counted, too.
    assert_eq!(cost(&session, "SELECT * FROM days WHERE day > DATE '2027-01-01'").await, [0.0, 3.0, 0.0, 0.0, 0.0]);
    assert_eq!(cost(&session, "SELECT 1 AS one").await, [0.0; 5]);
    // Rows that are in memory are read, too.
    lake.add("clicks", r#"{"n":1}"#).await;
    let tail = cost(&session, "SELECT n FROM clicks").await;
    assert!(tail[2] == 1.0 && tail[3] > 0.0, "{tail:?}");
    let wrong = session.query("EXPLAIN COST SELECT nothing FROM days", &[]).await.err().unwrap();
    assert_eq!((wrong.sqlstate(), wrong.position()), ("42703", Some(21)));
    let wrong = session.query("EXPLAIN COST DELETE FROM days", &[]).await.err().unwrap();
    assert_eq!(wrong.sqlstate(), "42601");
}

#[tokio::test]
async fn a_query_that_reads_too_much_is_stopped_and_told_why() {
    let lake = three_days().await;
    let limit = ByteSize(64 << 10);
    let session = with(&lake, &settings::Query { bytes_scanned_max: Some(limit), ..settings::Query::default() });
    for query in ["SELECT * FROM days", "SELECT max(text), min(text) FROM days"] {
        let error = ask_with_stats(&session, query).await.err().unwrap_or_else(|| panic!("{query} was done"));
        assert_eq!(error.sqlstate(), "54000", "{error:?}");
        assert!(error.message().contains("query.bytes_scanned_max"), "{error:?}");
    }
    assert_eq!(ask(&session, "SELECT count(*) FROM days").await, "90000");
    let none = with(&lake, &settings::Query { bytes_scanned_max: Some(ByteSize(0)), ..settings::Query::default() });
    assert_eq!(ask(&none, "SELECT count(text) FROM days").await, "90000");
}

#[tokio::test]
async fn what_does_not_fit_in_memory_is_done_right_or_refused_and_leaves_no_files() {
    let lake = Filled::new().await;
    let session = with(&lake, &settings::Query { memory_max: ByteSize::mb(64), ..settings::Query::default() });
    // A million texts of more than a hundred bytes, and their sort keys: several times the memory.
    let wide = "SELECT n, repeat('x', 100) || CAST((n * 7919) % 1000003 AS text) AS text FROM generate_series(1, 1000000) AS s (n)";
    let sorted = format!(
        "SELECT count(*), max(r) FROM (SELECT row_number() OVER (ORDER BY text, n) AS r FROM ({wide}) AS w) AS s"
    );
    let grouped =
        format!("SELECT count(*), 1000000 FROM (SELECT text, count(*) FROM ({wide}) AS w GROUP BY text) AS g");
    let joined = format!("SELECT count(*), 1000000 FROM ({wide}) AS a JOIN ({wide}) AS b ON a.text = b.text");
    // What is done is right, and what can't be done is said.
    for query in [sorted, grouped, joined] {
        match ask_with_stats(&session, &query).await {
            Ok((rows, _)) => assert_eq!(rows, "1000000|1000000", "{query}"),
            Err(error) => {
                assert_eq!(error.sqlstate(), "53200", "{error:?}");
                assert!(error.message().contains("query.memory_max"), "{error:?}");
            }
        }
    }
    assert_eq!(ask(&session, "SELECT 1 AS one").await, "1");
    // What was refused lets go of its files when its last operator is gone.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let disk = || session.state_now().runtime_env().disk_manager.used_disk_space();
    while disk() > 0 {
        assert!(std::time::Instant::now() < deadline, "{} bytes of temporary files stay", disk());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_do_not_fit_in_memory_never_stand_still() {
    let lake = Filled::new().await;
    let session = with(&lake, &settings::Query { memory_max: ByteSize::mb(48), ..settings::Query::default() });
    let wide = "SELECT n % 1000 AS g, repeat('x', 100) || CAST((n * 7919) % 1000003 AS text) AS text FROM generate_series(1, 300000) AS s (n)";
    let query = format!("SELECT count(*) FROM (SELECT text, count(*), max(g) FROM ({wide}) AS w GROUP BY text) AS g");
    for _ in 0..20 {
        let asked = tokio::time::timeout(std::time::Duration::from_secs(60), ask_with_stats(&session, &query));
        match asked.await.expect("an answer within a minute") {
            Ok((rows, _)) => assert_eq!(rows, "300000"),
            Err(error) => assert_eq!(error.sqlstate(), "53200", "{error:?}"),
        }
    }
}
