//! What queries cost: told before, counted after, limited while they run.

use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use datafusion::scalar::ScalarValue;
use lacus_core::units::{ByteSize, Millis};
use lacus_core::{StatementLimits, TableName, settings};

use super::databases::Filled;
use super::lake::{ask, ask_with_stats};
use crate::{Dialect, Engine, Session, SqlError};

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
async fn row_groups_that_have_not_the_value_are_skipped_by_their_bloom_filters() {
    let lake = Filled::new().await;
    let session = lake.session();
    let run = async |statement: &str| match session.query(statement, &[]).await {
        Ok(_) => String::new(),
        Err(error) => format!("{} {}", error.sqlstate(), error.message()),
    };
    let enabled = |column: &str| format!("write.parquet.bloom-filter-enabled.column.{column}");
    let make = format!(
        "CREATE TABLE users (n bigint, id text, other text, price numeric(12,2), debt numeric(20,0))
         WITH (\"{}\" = 'true', \"{}\" = true, \"{}\" = true)",
        enabled("id"),
        enabled("price"),
        enabled("debt")
    );
    assert_eq!(run(&make).await, "");
    // Twenty files, each with values from all over the range: their bounds say nothing.
    for file in 0..20 {
        let insert = format!(
            "INSERT INTO users SELECT n, md5(CAST(n AS text)), md5(CAST(n AS text)), (n * 7919) % 2000, (n * 7919) % 2000
             FROM generate_series({}, {}) AS s (n)",
            file * 100 + 1,
            (file + 1) * 100
        );
        assert_eq!(run(&insert).await, "");
    }
    for (question, answer, skipped_min) in [
        ("SELECT n FROM users WHERE id = '7ef605fc8dba5425d6965fbd4c8fbe1f'", "150", 15),
        (
            "SELECT count(n) FROM users WHERE id IN
             ('7ef605fc8dba5425d6965fbd4c8fbe1f', '81dc9bdb52d04dc20036dbd8313ed055', '5ec829debe54b19a5f78d9a65b900a39')",
            "3",
            12,
        ),
        ("SELECT count(n) FROM users WHERE id = 'nobody' OR id = '81dc9bdb52d04dc20036dbd8313ed055'", "1", 15),
        ("SELECT count(n) FROM users WHERE price = CAST(1501 AS numeric(12,2))", "1", 15),
        // Such a decimal is found, though its filters can't be asked.
        ("SELECT count(n) FROM users WHERE debt = CAST(1501 AS numeric(20,0))", "1", 0),
        ("SELECT count(n) FROM users WHERE debt = CAST(1501 AS numeric(20,0)) AND price >= 0", "1", 0),
    ] {
        let (rows, stats) = ask_with_stats(&session, question).await.unwrap();
        assert_eq!(rows, answer, "{question}");
        assert!(stats.row_groups_skipped + stats.files_skipped >= skipped_min, "{question}: {stats:?}");
    }
    let without = "SELECT n FROM users WHERE other = '7ef605fc8dba5425d6965fbd4c8fbe1f'";
    let (rows, stats) = ask_with_stats(&session, without).await.unwrap();
    assert_eq!((rows.as_str(), stats.row_groups_skipped), ("150", 0), "{stats:?}");

    assert_eq!(run("ALTER TABLE users RENAME COLUMN id TO user_id").await, "");
    let table = lake.lake.table(&TableName::new("users").unwrap()).unwrap();
    let properties = table.metadata().1.properties().clone();
    assert_eq!((properties[&enabled("user_id")].as_str(), properties[&enabled("id")].as_str()), ("true", "false"));
    let renamed = "SELECT n FROM users WHERE user_id = '5ec829debe54b19a5f78d9a65b900a39'";
    assert_eq!(ask(&session, renamed).await, "1999", "the files have it under its first name");

    let set =
        |column: &str, value: &str| format!("ALTER TABLE users SET TBLPROPERTIES ('{}' = {value})", enabled(column));
    assert_eq!(run(&set("other", "'true'")).await, "");
    assert_eq!(table.metadata().1.properties()[&enabled("other")], "true");
    insta::assert_snapshot!(run(&set("nothing", "true")).await, @r#"42P01 alter table "users": there is no column "nothing" for a bloom filter"#);
    insta::assert_snapshot!(run(&set("other", "'often'")).await, @r#"22023 alter table "users": property "write.parquet.bloom-filter-enabled.column.other" can't be "often""#);
    insta::assert_snapshot!(run("ALTER TABLE users SET TBLPROPERTIES ('a' = 'b'), DROP COLUMN n").await, @"0A000 one ALTER TABLE changes columns or sets properties, not both");
    let wrong = format!("CREATE TABLE t (a double precision) WITH (\"{}\" = 'true')", enabled("a"));
    insta::assert_snapshot!(run(&wrong).await, @r#"22023 make table "t": column "a" is double and can't have a bloom filter"#);
}

#[tokio::test]
async fn a_query_that_reads_too_much_is_stopped_and_told_why() {
    let lake = three_days().await;
    let limit = ByteSize(64 << 10);
    let session = with(&lake, &settings::Query { bytes_scanned_max: Some(limit), ..settings::Query::default() });
    for query in ["SELECT * FROM days", "SELECT max(text), min(text) FROM days"] {
        let error = ask_with_stats(&session, query).await.err().unwrap_or_else(|| panic!("{query} was done"));
        assert_eq!(error.sqlstate(), "53400", "{error:?}");
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
    let deadline = Instant::now() + std::time::Duration::from_secs(30);
    let disk = || session.state_now().runtime_env().disk_manager.used_disk_space();
    while disk() > 0 {
        assert!(Instant::now() < deadline, "{} bytes of temporary files stay", disk());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_that_do_not_fit_in_memory_are_answered_all_the_same() {
    let lake = Filled::new().await;
    let small = with(&lake, &settings::Query { memory_max: ByteSize::mb(256), ..settings::Query::default() });
    let large = with(&lake, &settings::Query { memory_max: ByteSize::mb(2000), ..settings::Query::default() });
    // Of the left ones every third has no text, and of the others half have a partner, some have two.
    let left = "SELECT n, CASE WHEN n % 3 > 0 THEN repeat('x', 100) || CAST(n AS text) END AS text FROM generate_series(1, 2500000) AS s (n)";
    let right = "SELECT n, repeat('x', 100) || CAST(CASE WHEN n % 5 = 0 THEN n + 2 ELSE n * 2 END AS text) AS text FROM generate_series(1, 2500000) AS s (n)";
    let of_both = "count(*), sum(a.n), sum(b.n), count(a.text)";
    let questions = [
        format!("SELECT {of_both} FROM ({left}) AS a FULL JOIN ({right}) AS b ON a.text = b.text"),
        format!(
            "SELECT count(*), sum(a.n) FROM ({left}) AS a WHERE NOT EXISTS (SELECT 1 FROM ({right}) AS b WHERE a.text = b.text AND a.n + b.n > 1000)"
        ),
    ];
    for question in questions {
        let (answer, _) =
            ask_with_stats(&small, &question).await.unwrap_or_else(|error| panic!("{question}: {error:?}"));
        assert_eq!(answer, ask(&large, &question).await, "{question}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_of_groups_begins_anew_only_where_they_do_not_fit() {
    let lake = Filled::new().await;
    let made = "CREATE TABLE pairs AS SELECT n, n % 11 AS k FROM generate_series(1, 2500000) AS s (n)";
    lake.session().query(made, &[]).await.unwrap();
    let question = "SELECT count(*), sum(a.n) FROM (SELECT DISTINCT n, k FROM pairs) AS a
                    JOIN (SELECT DISTINCT n, k + n % 2 AS k FROM pairs) AS b ON a.n = b.n AND a.k = b.k";
    // A hundred megabytes and some are enough for them. What begins anew reads all files again.
    let small = with(&lake, &settings::Query { memory_max: ByteSize::mb(256), ..settings::Query::default() });
    let large = with(&lake, &settings::Query { memory_max: ByteSize::mb(2000), ..settings::Query::default() });
    let expected = read(&large, question).await;
    assert_eq!(expected.0, "1250000|1562501250000");
    assert_eq!(read(&small, question).await, expected);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_read_twice_are_computed_once_and_go_to_disk() {
    let lake = Filled::new().await;
    let session = with(&lake, &settings::Query { memory_max: ByteSize::mb(48), ..settings::Query::default() });
    // Texts of some 120 bytes, of which nobody knows how long they are.
    let wide = "SELECT repeat('x', 100) || CAST(random() AS text) AS t FROM generate_series(1, 600000)";
    let question = format!(
        "WITH r AS ({wide}) SELECT (SELECT sum(length(t)) FROM r) - (SELECT sum(length(t)) FROM r), (SELECT count(*) FROM r)"
    );
    assert_eq!(ask(&session, &question).await, "0|600000");
    let few = "WITH r AS (SELECT random() AS x) SELECT a.x = b.x, a.x = $1 FROM r AS a, r AS b";
    let one = [ScalarValue::Float64(Some(2.0))];
    let mut answer = session.query(few, &one).await.unwrap();
    assert_eq!(answer.read_all().await.unwrap().iter().map(|batch| batch.num_rows()).sum::<usize>(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_the_same_in_memory_on_disk_and_brought_together_on_the_way() {
    let lake = Filled::new().await;
    let small = with(&lake, &settings::Query { memory_max: ByteSize::mb(64), ..settings::Query::default() });
    let large = with(&lake, &settings::Query { memory_max: ByteSize::mb(2000), ..settings::Query::default() });
    let keys = [
        // Each row is a group, with the text of each on disk.
        ("repeat('x', 100) || CAST(n AS text)", 1_200_000),
        // As many rows as groups at first, so that none are brought together before they are dealt out, and few groups then.
        ("CASE WHEN n <= 200000 THEN n ELSE n % 1000 END", 200_001),
        // Groups that come again after each turn, and one without a value.
        ("nullif(n % 300000, 0)", 300_000),
        ("n % 7", 7),
    ];
    for (key, groups) in keys {
        let of_each = "count(*) AS c, sum(n) AS s, min(n) AS lowest, max(CAST(n AS text)) AS text, avg(n) AS mean, count(DISTINCT n % 3) AS d";
        let rows = "SELECT n FROM generate_series(1, 1200000) AS s (n)";
        let question = format!(
            "SELECT count(*), sum(c), sum(s), sum(lowest), max(text), round(sum(mean)), sum(d) FROM (SELECT {key} AS k, {of_each} FROM ({rows}) AS r GROUP BY 1) AS g"
        );
        let answer = ask(&large, &question).await;
        assert!(answer.starts_with(&format!("{groups}|1200000|720000600000|")), "{key}: {answer}");
        assert_eq!(ask(&small, &question).await, answer, "{key}");
        let distinct = format!("SELECT count(*), count(k) FROM (SELECT DISTINCT {key} AS k FROM ({rows}) AS r) AS g");
        assert_eq!(ask(&small, &distinct).await, ask(&large, &distinct).await, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_meet_rows_that_the_engine_dealt_out() {
    let lake = Filled::new().await;
    let session = lake.session();
    let made = "CREATE TABLE t AS SELECT n, n % 600000 AS k, CAST(n % 600000 AS text) AS text FROM generate_series(1, 1200000) AS s (n)";
    session.query(made, &[]).await.unwrap();
    for key in ["k", "text"] {
        let question = format!(
            "SELECT count(*), sum(t.n), sum(g.c) FROM (SELECT {key}, count(*) AS c FROM t GROUP BY {key}) AS g JOIN t ON g.{key} = t.{key}"
        );
        let plan = ask(&session, &format!("EXPLAIN {question}")).await;
        for part in ["mode=Partitioned", "PartExec: dealt out by Hash", "RepartitionExec: partitioning=Hash"] {
            assert!(plan.contains(part), "{part}: {plan}");
        }
        assert_eq!(ask(&session, &question).await, "1200000|720000600000|2400000", "{key}");
    }
    // Few rows of one input, and many of another.
    let few = "SELECT count(*), sum(c) FROM (SELECT k, count(*) AS c FROM (SELECT k FROM t WHERE n <= 300000 UNION ALL SELECT k FROM t WHERE n = 7) AS u GROUP BY k) AS g";
    assert_eq!(ask(&session, few).await, "300000|300001");
}

/// The answer, and how many bytes were read for it.
async fn read(session: &Session, query: &str) -> (String, u64) {
    let (rows, stats) = ask_with_stats(session, query).await.unwrap();
    (rows, stats.bytes_scanned)
}

#[tokio::test]
async fn a_question_is_answered_again_while_its_tables_are_the_same() {
    let lake = Filled::new().await;
    let (session, other) = (lake.session(), lake.session());
    let write = async |sql: &str| drop(session.query(sql, &[]).await.unwrap());
    write("CREATE TABLE t AS SELECT n, CAST(n % 7 AS text) AS k FROM generate_series(1, 1000) AS s (n)").await;
    write("CREATE VIEW v AS SELECT k, count(*) AS c FROM t GROUP BY k").await;
    for query in
        ["SELECT k, sum(n) FROM t GROUP BY k ORDER BY k", "SELECT k, c AS counted FROM v ORDER BY k DESC LIMIT 2"]
    {
        let (rows, bytes) = read(&session, query).await;
        assert!(bytes > 0, "{query}");
        assert_eq!(read(&session, query).await, (rows.clone(), 0), "{query}");
        // In other letters it is the same.
        let spelled = query.to_lowercase().replace(' ', "  ");
        assert_eq!(read(&session, &spelled).await, (rows, 0), "{spelled}");
    }
    let sum = "SELECT sum(n) FROM t";
    assert_eq!(read(&session, sum).await.0, "500500");
    write("INSERT INTO t VALUES (1, '0')").await;
    let (rows, bytes) = read(&session, sum).await;
    assert_eq!(rows, "500501");
    assert!(bytes > 0);
    write("DROP TABLE t").await;
    write("CREATE TABLE t AS SELECT 5 AS n").await;
    assert_eq!(read(&session, sum).await.0, "5");
    write("CREATE OR REPLACE VIEW v AS SELECT n + 1 AS n FROM t").await;
    assert_eq!(read(&session, "SELECT n FROM v").await.0, "6");
    write("CREATE OR REPLACE VIEW v AS SELECT n + 2 AS n FROM t").await;
    assert_eq!(read(&session, "SELECT n FROM v").await.0, "7");
    // What a function gives is not the same each time, and values are part of the question.
    let random = "SELECT random() AS r FROM t";
    assert_ne!(read(&session, random).await.0, read(&session, random).await.0);
    let value = async |n: i64| {
        let mut answer = other.query("SELECT n + $1 AS n FROM t", &[ScalarValue::Int64(Some(n))]).await.unwrap();
        answer.read_all().await.unwrap()[0].column(0).as_primitive::<Int64Type>().value(0)
    };
    assert_eq!([value(1).await, value(2).await, value(1).await], [6, 7, 6]);
}

#[tokio::test]
async fn a_statement_that_writes_tells_how_long_it_took() {
    let lake = Filled::new().await;
    let session = lake.session();
    let statement =
        session.parse("CREATE TABLE t AS SELECT n FROM generate_series(1, 5000) AS s (n)").unwrap().remove(0);
    let begun = Instant::now();
    let mut answer = session.run(&statement, &[]).await.unwrap();
    let took = begun.elapsed();
    answer.read_all().await.unwrap();
    assert!(answer.stats().elapsed >= took / 2, "{:?} of {took:?}", answer.stats());
}

#[tokio::test]
async fn answers_that_are_kept_stay_within_their_memory() {
    let lake = Filled::new().await;
    let bytes_max = ByteSize(64 << 10);
    let session = with(&lake, &settings::Query { reuse_bytes_max: bytes_max, ..settings::Query::default() });
    session.query("CREATE TABLE t AS SELECT n FROM generate_series(1, 5000) AS s (n)", &[]).await.unwrap();
    let question = |first: u32| format!("SELECT n FROM t WHERE n > {first} AND n <= {}", first + 500);
    for first in 0..40 {
        assert!(read(&session, &question(first)).await.1 > 0);
    }
    assert_eq!(read(&session, &question(39)).await.1, 0, "the last one is kept");
    assert!(read(&session, &question(0)).await.1 > 0, "the first one went");
    // One answer does not push all others out.
    for _ in 0..2 {
        assert!(read(&session, "SELECT n FROM t").await.1 > 0);
    }
    assert_eq!(read(&session, &question(39)).await.1, 0);
    let none = with(&lake, &settings::Query { reuse_bytes_max: ByteSize(0), ..settings::Query::default() });
    for _ in 0..2 {
        assert!(read(&none, &question(1)).await.1 > 0);
    }
}

/// A session of ada, who may take this.
fn of_ada(lake: &Filled, settings: &settings::Query, limits: StatementLimits) -> Session {
    let session = with(lake, settings);
    session.set_client("ada", 7, limits);
    session
}

/// How a statement ends that is refused, and what came before.
async fn refused(session: &Session, sql: &str) -> (u64, SqlError) {
    let mut answer = match session.query(sql, &[]).await {
        Ok(answer) => answer,
        Err(error) => return (0, error),
    };
    let error = answer.read_all().await.err().unwrap_or_else(|| panic!("{sql} was done"));
    (answer.stats().rows, error)
}

const NO_LIMITS: StatementLimits = StatementLimits { scan_max: None, rows_max: None, time_max: None, memory_max: None };

#[tokio::test]
async fn a_statement_of_a_user_ends_at_its_limits() {
    let lake = three_days().await;
    let all = settings::Query { rows_max: Some(5), ..settings::Query::default() };
    let rows = of_ada(&lake, &all, StatementLimits { rows_max: Some(10_000), ..NO_LIMITS });
    for sql in ["SELECT n FROM days", "SELECT n FROM days UNION ALL SELECT n FROM days"] {
        let (came, error) = refused(&rows, sql).await;
        assert_eq!((came, error.sqlstate()), (10_000, "53400"), "{sql}: {error:?}");
        assert!(error.message().ends_with("more than rows_max of user \"ada\" allows: 10000"), "{error:?}");
        assert!(error.hint().unwrap().ends_with("lacus user limit ada --rows-max"), "{error:?}");
    }
    assert_eq!(ask(&rows, "SELECT count(*) FROM (SELECT n FROM days LIMIT 10000) AS s").await, "10000");
    // Her limit stands in place of that of all, which holds for the others.
    let (came, error) = refused(&with(&lake, &all), "SELECT n FROM days LIMIT 6").await;
    assert_eq!((came, error.sqlstate()), (5, "53400"));
    assert!(error.message().ends_with("more than query.rows_max allows: 5"), "{error:?}");
    assert_eq!(ask(&with(&lake, &all).uncounted(), "SELECT n FROM days WHERE n <= 3").await.lines().count(), 9);

    let scan = of_ada(&lake, &all, StatementLimits { scan_max: Some(ByteSize(64 << 10)), ..NO_LIMITS });
    let (_, error) = refused(&scan, "SELECT max(text), min(text) FROM days").await;
    assert_eq!(error.sqlstate(), "53400", "{error:?}");
    assert!(error.message().ends_with("more than scan_max of user \"ada\" allows: 64KB"), "{error:?}");
    assert_eq!(ask(&scan, "SELECT count(*) FROM days").await, "90000");

    let memory = of_ada(&lake, &all, StatementLimits { memory_max: Some(ByteSize::mb(16)), ..NO_LIMITS });
    let (_, error) = refused(&memory, "SELECT array_agg(value) FROM generate_series(1, 5000000)").await;
    assert_eq!(error.sqlstate(), "53200", "{error:?}");
    assert!(error.message().ends_with("more memory than memory_max of user \"ada\" allows: 16MB"), "{error:?}");
    assert_eq!(ask(&memory, "SELECT 1 AS one").await, "1");

    let time = of_ada(&lake, &all, StatementLimits { time_max: Some(Millis(200)), ..NO_LIMITS });
    let endless = "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b WHERE a.value % 7 = b.value % 5";
    for (set, by) in [
        ("0", "time_max of user \"ada\" allows: 200ms"),
        ("2h", "time_max of user \"ada\" allows: 200ms"),
        ("50", "statement_timeout allows: 50ms"),
    ] {
        time.query(&format!("SET statement_timeout = '{set}'"), &[]).await.unwrap();
        let (_, error) = refused(&time, endless).await;
        assert_eq!(error.sqlstate(), "57014", "{error:?}");
        assert!(error.message().ends_with(by), "{set}: {error:?}");
    }
}

#[tokio::test]
async fn what_a_user_may_take_is_shown_and_nobody_sets_it() {
    let lake = Filled::new().await;
    let limits =
        StatementLimits { time_max: Some(Millis::seconds(60)), memory_max: Some(ByteSize::mb(256)), ..NO_LIMITS };
    let all = settings::Query { rows_max: Some(1000), ..settings::Query::default() };
    let session = of_ada(&lake, &all, limits);
    session.begin();
    for (name, shown) in [("scan_max", "0"), ("rows_max", "1000"), ("time_max", "1m"), ("memory_max", "256MB")] {
        assert_eq!(ask(&session, &format!("SHOW {name}")).await, shown);
        let error = session.query(&format!("SET {name} = 7"), &[]).await.err().unwrap();
        assert_eq!(error.sqlstate(), "55P02", "{error:?}");
        let error = refused(&session, &format!("SELECT set_config('{name}', '7', false)")).await.1;
        assert_eq!(error.sqlstate(), "55P02", "{error:?}");
    }
    for (set, shown) in [
        ("SET statement_timeout = '5s'", "5s"),
        ("SET statement_timeout = 0", "1min"),
        ("DISCARD ALL", "1min"),
        ("RESET ALL", "1min"),
    ] {
        session.query(set, &[]).await.unwrap();
        assert_eq!(ask(&session, "SHOW statement_timeout").await, shown, "{set}");
        assert_eq!(ask(&session, "SHOW time_max").await, "1m", "{set}");
    }
    assert!(ask(&session, "SHOW ALL").await.contains("rows_max|1000\n"));
    assert_eq!(ask(&with(&lake, &settings::Query::default()), "SHOW statement_timeout").await, "0");
}

#[tokio::test]
async fn statements_that_write_end_at_the_limits_and_write_nothing() {
    let lake = three_days().await;
    let all = settings::Query::default();
    let session = of_ada(&lake, &all, StatementLimits { rows_max: Some(1000), ..NO_LIMITS });
    session.query("CREATE TABLE t (n bigint)", &[]).await.unwrap();
    for sql in [
        "CREATE TABLE copied AS SELECT n FROM days",
        "INSERT INTO t SELECT n FROM days",
        "DELETE FROM days WHERE n <= 400",
        "UPDATE days SET text = 'x' WHERE n <= 400",
    ] {
        let (_, error) = refused(&session, sql).await;
        assert_eq!(error.sqlstate(), "53400", "{sql}: {error:?}");
        assert!(error.message().contains("rows_max of user \"ada\""), "{error:?}");
    }
    let scan = of_ada(&lake, &all, StatementLimits { scan_max: Some(ByteSize(64 << 10)), ..NO_LIMITS });
    let (_, error) = refused(&scan, "CREATE TABLE copied AS SELECT text FROM days").await;
    assert!(error.message().contains("scan_max of user \"ada\""), "{error:?}");
    // The table that is changed is read, too.
    for sql in [
        "DELETE FROM days WHERE text LIKE '%nobody%'",
        "UPDATE days SET n = 0 WHERE text LIKE '%nobody%'",
        "MERGE INTO days USING (SELECT 'nobody' AS who) AS s ON days.text LIKE '%' || s.who || '%' WHEN MATCHED THEN DELETE",
    ] {
        let (_, error) = refused(&scan, sql).await;
        assert_eq!(error.sqlstate(), "53400", "{sql}: {error:?}");
        assert!(error.message().contains("scan_max of user \"ada\""), "{sql}: {error:?}");
    }
    assert_eq!(ask(&session, "SELECT count(*), count(DISTINCT day) FROM days").await, "90000|3");
    assert_eq!(ask(&session, "SELECT count(*) FROM t").await, "0");
    assert_eq!(ask(&session, "SELECT count(*) FROM information_schema.tables WHERE table_name = 'copied'").await, "0");
    let inserted = session.query("INSERT INTO t SELECT n FROM days WHERE n <= 300", &[]).await.unwrap();
    assert_eq!(inserted.affected(), Some(900));
}

#[tokio::test]
async fn cursors_and_copies_count_all_their_rows() {
    let lake = three_days().await;
    let session = of_ada(&lake, &settings::Query::default(), StatementLimits { rows_max: Some(1000), ..NO_LIMITS });
    for sql in ["BEGIN", "DECLARE c CURSOR FOR SELECT n FROM days"] {
        session.query(sql, &[]).await.unwrap();
    }
    assert_eq!(ask(&session, "FETCH 900 FROM c").await.lines().count(), 900);
    let (came, error) = refused(&session, "FETCH 200 FROM c").await;
    assert_eq!((came, error.sqlstate()), (100, "53400"), "{error:?}");
    session.query("ROLLBACK", &[]).await.unwrap();
    let (came, error) = refused(&session, "COPY (SELECT n FROM days) TO STDOUT").await;
    assert_eq!((came, error.sqlstate()), (1000, "53400"), "{error:?}");
}

#[tokio::test]
async fn answers_that_are_given_again_keep_to_the_limits_of_who_asks() {
    let lake = three_days().await;
    let engine = Engine::new(Arc::clone(&lake.lake), Arc::clone(&lake.lake) as _, &settings::Query::default()).unwrap();
    let of = |user: &str, limits| {
        let session = engine.session(Dialect::Lacus);
        session.set_client(user, 7, limits);
        session
    };
    let (bob, ada) = (of("bob", NO_LIMITS), of("ada", StatementLimits { rows_max: Some(100), ..NO_LIMITS }));
    let query = "SELECT n FROM days WHERE n <= 200";
    // What was cut is not kept.
    assert_eq!(refused(&ada, query).await.1.sqlstate(), "53400");
    let (rows, bytes) = read(&bob, query).await;
    assert_eq!(rows.lines().count(), 600);
    assert!(bytes > 0);
    assert_eq!(read(&bob, query).await, (rows, 0), "it is kept now");
    let (came, error) = refused(&ada, query).await;
    assert_eq!((came, error.sqlstate()), (0, "53400"), "{error:?}");
    let few = of("eve", StatementLimits { scan_max: Some(ByteSize(1)), ..NO_LIMITS });
    assert_eq!(read(&few, query).await.1, 0, "an answer that is kept reads nothing");
    assert_eq!(refused(&few, "SELECT text FROM days").await.1.sqlstate(), "53400");
}
