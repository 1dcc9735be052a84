//! Statements that write, on a real lake without deliveries.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;
use lacus_core::{TableName, settings};
use proptest::prelude::*;

use super::databases::Filled;
use super::lake::{ask, text};
use crate::{Answer, Declared, Dialect, Engine, Session, SqlError};

async fn run(session: &Session, sql: &str) -> Result<Answer, SqlError> {
    session.query(sql, &[]).await
}

/// Runs a statement that writes; how many rows it says.
async fn write(session: &Session, sql: &str) -> Option<u64> {
    run(session, sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).affected()
}

/// Why a statement is refused: code, position, message and hint.
async fn refusal(session: &Session, sql: &str) -> String {
    let error = match run(session, sql).await {
        Err(error) => error,
        Ok(mut answer) => answer.read_all().await.err().unwrap_or_else(|| panic!("{sql} was done")),
    };
    let position = error.position().map_or(String::new(), |position| format!("@{position} "));
    format!("{} {position}{} ({})", error.sqlstate(), error.message(), error.hint().unwrap_or("-"))
}

fn in_dialect(lake: &Filled, dialect: Dialect) -> Session {
    let shared = Arc::clone(&lake.lake);
    Engine::new(Arc::clone(&shared), shared as _, &settings::Query::default()).unwrap().session(dialect)
}

fn files(lake: &Filled, table: &str) -> usize {
    lake.lake.table(&TableName::new(table).unwrap()).unwrap().state().files.len()
}

#[tokio::test]
async fn tables_are_made_of_queries_in_every_dialect() {
    for dialect in Dialect::ALL {
        let lake = Filled::new().await;
        let session = in_dialect(&lake, dialect);
        let made = "CREATE TABLE days WITH (format = 'PARQUET', partitioned_by = ARRAY['day(ts)', 'bucket(n, 2)']) AS
                    SELECT n, CAST(ts AS timestamp) AS ts, t FROM (VALUES
                        (1, '2026-11-20 10:00:00', 'a'), (2, '2026-11-20 11:00:00', NULL), (3, '2026-11-21 12:00:00', 'c')
                    ) AS v (n, ts, t)";
        assert_eq!(write(&session, made).await, Some(3), "{dialect}");
        assert_eq!(
            ask(&session, "SELECT count(*), sum(n), max(t) FROM days WHERE ts < TIMESTAMP '2026-11-21 00:00:00'").await,
            "2|3|a"
        );
        assert!(files(&lake, "days") >= 2);
        let partitions = lake.lake.layout(&lake.lake.table(&TableName::new("days").unwrap()).unwrap());
        let fields: Vec<_> = partitions.iter().map(|field| (field.field.as_str(), field.is_partition)).collect();
        assert_eq!(fields, [("day(ts)", true), ("bucket[2](n)", true)]);
        assert_eq!(write(&session, "CREATE TABLE none AS SELECT n, ts FROM days WHERE n > 100").await, Some(0));
        assert_eq!(ask(&session, "SELECT count(*) FROM none").await, "0");
        assert_eq!(write(&session, "INSERT INTO lake.main.none SELECT n, ts FROM days").await, Some(3));
        assert_eq!(ask(&session, "SELECT sum(n) FROM none").await, "6");
    }
}

#[tokio::test]
async fn tables_and_databases_come_and_go() {
    let lake = Filled::new().await;
    let session = lake.session();
    write(&session, "CREATE SCHEMA shop").await;
    write(&session, "CREATE DATABASE IF NOT EXISTS shop").await;
    assert_eq!(
        ask(&session, "SELECT schema_name FROM information_schema.schemata WHERE schema_name = 'shop'").await,
        "shop"
    );
    write(
        &session,
        "CREATE TABLE shop.orders (id bigint NOT NULL, Day date, price numeric(12,2) COMMENT 'in euros', tags text[])
         PARTITIONED BY (month(day), bucket(4, id)) TBLPROPERTIES ('table_type' = 'ICEBERG', 'team' = 'shop')",
    )
    .await;
    write(&session, "CREATE TABLE IF NOT EXISTS shop.orders (x int)").await;
    assert_eq!(
        write(&session, "INSERT INTO shop.orders (id, day, price) VALUES (1, '2026-11-21', 1.5), (2, NULL, 3)").await,
        Some(2)
    );
    write(&session, "CREATE TABLE `hive` (a bigint, b string) PARTITIONED BY (dt string)").await;
    assert_eq!(write(&session, "INSERT INTO hive PARTITION (dt) SELECT 1, 'x', '2026-11-21'").await, Some(1));
    assert_eq!(ask(&session, "SELECT a, b, dt FROM hive").await, "1|x|2026-11-21");
    insta::assert_snapshot!(refusal(&session, "DROP SCHEMA shop").await, @r#"2BP01 database "shop" is not empty (drop its tables first; main always stays)"#);
    write(&session, "DROP TABLE shop.orders").await;
    write(&session, "DROP TABLE hive").await;
    write(&session, "DROP TABLE IF EXISTS shop.orders").await;
    write(&session, "DROP SCHEMA shop").await;
    assert!(!lake.lake.is_database("shop"));
}

#[tokio::test]
async fn what_can_not_be_made_is_refused() {
    let lake = Filled::new().await;
    let session = lake.session();
    write(&session, "CREATE TABLE t (a bigint, b date, c text NOT NULL)").await;
    write(&session, "CREATE TABLE y (b bytea, u uuid)").await;
    write(&session, "CREATE TABLE o AS SELECT named_struct('a', 1) AS s").await;
    let all = [
        "CREATE TABLE t AS SELECT 1 AS a",
        "CREATE TABLE nowhere.t AS SELECT 1 AS a",
        "CREATE TABLE u AS SELECT 1 AS a, 2 AS \"A\"",
        "CREATE TABLE u AS SELECT interval '1' day AS i",
        "CREATE TABLE u AS SELECT nope FROM t",
        "CREATE TABLE u AS SELECT 1 / 0 AS a",
        "CREATE TABLE u (a bigint DEFAULT 3)",
        "CREATE TABLE u (a bigint) PARTITIONED BY (day(a))",
        "CREATE TABLE u (a bigint) PARTITIONED BY (week(a))",
        "CREATE TABLE \"-2021\" (a bigint)",
        "CREATE OR REPLACE TABLE t (a bigint)",
        "CREATE TABLE u WITH (format = 'ORC') AS SELECT 1 AS a",
        "INSERT INTO nope VALUES (1)",
        "INSERT INTO t (a, d) VALUES (1, 2)",
        "INSERT INTO t VALUES (1, '2026-11-21')",
        "INSERT INTO t VALUES ('x', '2026-11-21', 'c')",
        "INSERT INTO t VALUES (1, '2026-11-21', NULL)",
        "INSERT INTO t SELECT c, b, c FROM t",
        "INSERT INTO t SELECT a FROM t",
        "INSERT INTO t SELECT a, true, c FROM t",
        "INSERT INTO \"t$files\" SELECT 1",
        "INSERT OVERWRITE t PARTITION (b) SELECT a, c, b FROM t",
        "INSERT OVERWRITE t PARTITION (b = '2026-11-21') SELECT a, c FROM t",
        "INSERT INTO t PARTITION (b = now()) SELECT a, c FROM t",
        "DROP TABLE nope",
        "DROP SCHEMA nope",
        "UPDATE t SET d = 1",
        "UPDATE t SET a = c",
        "UPDATE t SET a = 1, a = 2",
        "UPDATE t SET c.a = 1",
        "UPDATE t AS x SET x.a = 1, t.a = 2",
        "DROP TABLE t, y",
        "MERGE INTO t USING y ON t.c = 'x' WHEN MATCHED AND random() < 0.5 THEN UPDATE SET a = 1",
        "INSERT INTO o SELECT named_struct('a', 1, 'b', 2)",
        "DELETE FROM t WHERE nope = 1",
        "DELETE FROM t WHERE a",
        "TRUNCATE t, t",
        "INSERT INTO y VALUES ('\\x00ff', NULL)",
        "INSERT INTO y SELECT NULL, 'x'",
    ];
    let mut told = String::new();
    for sql in all {
        told.push_str(&format!("{sql}\n    {}\n", refusal(&session, sql).await));
    }
    insta::assert_snapshot!(told);
    assert_eq!(ask(&session, "SELECT count(*) FROM t").await, "0");
    assert_eq!(lake.lake.tables().len(), 3);
}

#[tokio::test]
async fn rows_go_and_change_only_where_the_condition_is_true() {
    let lake = Filled::new().await;
    let session = lake.session();
    write(&session, "CREATE TABLE t AS SELECT * FROM (VALUES (1, 'a'), (2, NULL), (3, 'c'), (4, 'd')) AS v (n, s)")
        .await;
    write(&session, "INSERT INTO t VALUES (5, 'a'), (6, NULL)").await;
    // Null is not true.
    assert_eq!(write(&session, "DELETE FROM t WHERE s <> 'a'").await, Some(2));
    assert_eq!(ask(&session, "SELECT n, s FROM t ORDER BY n").await, "1|a\n2|-\n5|a\n6|-");
    assert_eq!(write(&session, "UPDATE t AS x SET s = 'n' || x.n, n = n * 10 WHERE s IS NULL").await, Some(2));
    assert_eq!(ask(&session, "SELECT n, s FROM t ORDER BY n").await, "1|a\n5|a\n20|n2\n60|n6");
    let rows = "DELETE FROM t USING (VALUES (1), (1), (5)) AS v (n) WHERE t.n = v.n";
    assert_eq!(write(&session, rows).await, Some(2));
    assert_eq!(write(&session, "DELETE FROM t WHERE n = (SELECT max(n) FROM t)").await, Some(1));
    assert_eq!(write(&session, "DELETE FROM t WHERE n > 1000").await, Some(0));
    assert_eq!(ask(&session, "SELECT n, s FROM t").await, "20|n2");
    assert_eq!(write(&session, "UPDATE t SET s = NULL FROM (VALUES (20, 1)) AS v (k, w) WHERE n = k").await, Some(1));
    assert_eq!(write(&session, "DELETE FROM t").await, Some(1));
    assert_eq!((ask(&session, "SELECT count(*) FROM t").await, files(&lake, "t")), ("0".to_owned(), 0));
    assert_eq!(ask(&session, "SELECT count(*) FROM \"t$snapshots\"").await, "8");
}

#[tokio::test]
async fn nested_values_go_to_columns_in_every_spelling() {
    for dialect in Dialect::ALL {
        let lake = Filled::new().await;
        let session = in_dialect(&lake, dialect);
        let made = "CREATE TABLE n (id int, m map<string,array<bigint>>, l array(varchar), r row(x bigint, y varchar), b varbinary)";
        write(&session, made).await;
        let values = "INSERT INTO n VALUES (1, map(ARRAY['k'], ARRAY[ARRAY[1, 2]]), ARRAY['a', 'b'], NULL, X'00ff')";
        assert_eq!(write(&session, values).await, Some(1), "{dialect}");
        let with = "WITH w AS (SELECT 2 AS id, ARRAY['c'] AS l) INSERT INTO n (l, id) SELECT l, id FROM w";
        assert_eq!(write(&session, with).await, Some(1), "{dialect}");
        write(&session, "CREATE TABLE c AS SELECT * FROM n").await;
        assert_eq!(write(&session, "UPDATE c SET l = ARRAY['z'], m = NULL WHERE id = 1").await, Some(1), "{dialect}");
        let merge = "MERGE INTO n USING c ON n.id = c.id WHEN MATCHED AND c.id = 1 THEN UPDATE SET l = c.l
                     WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id) VALUES (c.id)";
        assert_eq!(write(&session, merge).await, Some(2), "{dialect}");
        assert_eq!(ask(&session, "SELECT id, m, l, b FROM n").await, "1|{k: [1, 2]}|[z]|00ff", "{dialect}");
        assert_eq!(write(&session, "TRUNCATE TABLE n").await, Some(1));
        assert_eq!(ask(&session, "SELECT count(*) FROM n").await, "0");
    }
}

#[tokio::test]
async fn rows_are_overwritten_in_one_commit() {
    let lake = Filled::new().await;
    let session = lake.session();
    let rows = async || ask(&session, "SELECT n, s, day FROM t ORDER BY n").await;
    let snapshots = async || ask(&session, "SELECT count(*) FROM \"t$snapshots\"").await.parse::<u64>().unwrap();
    write(&session, "CREATE TABLE t (n bigint, s text, day date) PARTITIONED BY (day)").await;
    write(&session, "INSERT INTO t VALUES (1, 'a', '2026-11-20'), (2, 'b', '2026-11-21'), (3, 'c', NULL)").await;
    let before = snapshots().await;
    // It reads the rows that were there.
    let one_day = "INSERT OVERWRITE TABLE t PARTITION (day = '2026-11-20') SELECT n + 10, s FROM t WHERE n < 3";
    assert_eq!(write(&session, one_day).await, Some(2));
    assert_eq!(snapshots().await, before + 1);
    assert_eq!(rows().await, "2|b|2026-11-21\n3|c|-\n11|a|2026-11-20\n12|b|2026-11-20");
    assert_eq!(write(&session, "INSERT OVERWRITE t PARTITION (day = NULL) VALUES (4, 'd')").await, Some(1));
    let added = "INSERT INTO t (s, n) PARTITION (day = DATE '2026-11-22') SELECT 'e', 5";
    assert_eq!(write(&session, added).await, Some(1));
    let none = "INSERT OVERWRITE t PARTITION (day = '2026-11-20') SELECT n, s FROM t WHERE false";
    assert_eq!(write(&session, none).await, Some(0));
    assert_eq!(rows().await, "2|b|2026-11-21\n4|d|-\n5|e|2026-11-22");
    assert_eq!(write(&session, "INSERT OVERWRITE t SELECT n * 2, s, day FROM t WHERE n > 2").await, Some(2));
    assert_eq!(rows().await, "8|d|-\n10|e|2026-11-22");
    let before = snapshots().await;
    assert_eq!(write(&session, "INSERT OVERWRITE t (n, day) VALUES (1, '2026-11-23')").await, Some(1));
    assert_eq!((rows().await, snapshots().await), ("1|-|2026-11-23".to_owned(), before + 1));
    let twice = "INSERT INTO t (day, n) PARTITION (day = '2026-11-20') SELECT day, n FROM t";
    insta::assert_snapshot!(refusal(&session, twice).await, @r#"42701 column "day" is named twice (give each column one value)"#);
    assert_eq!(lake.lake.check().await.unwrap(), []);
}

#[tokio::test]
async fn literals_in_a_merge_are_values_of_the_columns() {
    let lake = Filled::new().await;
    let session = lake.session();
    write(&session, "CREATE TABLE days (k bigint, day date, at timestamp)").await;
    write(&session, "INSERT INTO days VALUES (1, '2026-11-20', '2026-11-20 10:00:00.123456')").await;
    let merge = "MERGE INTO days USING (VALUES (1, 'x'), (2, 'y')) AS s (k, t) ON days.k = s.k
        WHEN MATCHED THEN UPDATE SET day = '2026-11-21'
        WHEN NOT MATCHED THEN INSERT VALUES (s.k, '2026-11-22', NULL)";
    assert_eq!(write(&session, merge).await, Some(2));
    let rows = "1|2026-11-21|2026-11-20T10:00:00.123456\n2|2026-11-22|-";
    assert_eq!(ask(&session, "SELECT * FROM days ORDER BY k").await, rows);
    let merge = merge.replace("day = '2026-11-21'", "day = s.t");
    insta::assert_snapshot!(refusal(&session, &merge).await, @r#"42804 column "day" of table "days" is of type date, but the value is of type text (cast it: CAST(… AS date))"#);
}

#[tokio::test]
async fn merge_updates_deletes_and_inserts() {
    let lake = Filled::new().await;
    let session = lake.session();
    write(&session, "CREATE TABLE stock AS SELECT * FROM (VALUES (1, 10), (2, 20), (3, 30)) AS v (id, n)").await;
    write(&session, "CREATE TABLE news AS SELECT * FROM (VALUES (1, 5), (2, -20), (9, 7)) AS v (id, d)").await;
    let merge = "MERGE INTO stock AS s USING news ON s.id = news.id
        WHEN MATCHED AND s.n + news.d = 0 THEN DELETE
        WHEN MATCHED THEN UPDATE SET n = s.n + news.d
        WHEN NOT MATCHED THEN INSERT (n, id) VALUES (news.d, news.id)";
    assert_eq!(write(&session, merge).await, Some(3));
    assert_eq!(ask(&session, "SELECT id, n FROM stock ORDER BY id").await, "1|15\n3|30\n9|7");
    let rest = "MERGE INTO stock USING (SELECT id, d FROM news WHERE d > 0) AS u ON stock.id = u.id
        WHEN NOT MATCHED BY SOURCE THEN DELETE WHEN MATCHED AND d > 6 THEN UPDATE SET n = 0";
    assert_eq!(write(&session, rest).await, Some(2));
    assert_eq!(ask(&session, "SELECT id, n FROM stock ORDER BY id").await, "1|15\n9|0");
    let twice =
        "MERGE INTO stock USING (VALUES (1), (1)) AS v (id) ON stock.id = v.id WHEN MATCHED THEN UPDATE SET n = 1";
    insta::assert_snapshot!(refusal(&session, twice).await, @"21000 a row would be changed twice: more than one row matches it (make the source have one row for each row that it matches)");
    let wrong = "MERGE INTO stock USING news ON stock.id = news.id WHEN NOT MATCHED THEN INSERT (id) VALUES (1, 2)";
    insta::assert_snapshot!(refusal(&session, wrong).await, @"42601 1 columns are given 2 values (-)");
    assert_eq!(ask(&session, "SELECT id, n FROM stock ORDER BY id").await, "1|15\n9|0");
}

/// A type that all clauses have in common would round what one of them keeps.
#[tokio::test]
async fn merge_keeps_what_no_clause_sets() {
    let lake = Filled::new().await;
    let session = lake.session();
    write(&session, "CREATE TABLE people AS SELECT 9007199254740993 AS id, 'a' AS name").await;
    let merge = "MERGE INTO people USING (VALUES (9007199254740993, 'b'), (7, 'c')) AS s (k, name) ON people.id = s.k
        WHEN MATCHED THEN UPDATE SET name = s.name
        WHEN NOT MATCHED THEN INSERT VALUES (CAST(s.k AS double), s.name)";
    assert_eq!(write(&session, merge).await, Some(2));
    assert_eq!(ask(&session, "SELECT * FROM people ORDER BY id").await, "7|c\n9007199254740993|b");
}

#[tokio::test]
async fn delivered_tables_keep_what_says_where_rows_are_from() {
    let lake = Filled::new().await;
    lake.add("clicks", "{\"user\":\"a\"}\n{\"user\":\"b\"}").await;
    let session = lake.session();
    insta::assert_snapshot!(refusal(&session, "DROP TABLE clicks").await, @r#"42501 drop table "clicks": lacus delivers events to table "clicks" (events would be lost: DELETE FROM takes rows out of it, and DROP TABLE drops it once its stream is deleted)"#);
    insta::assert_snapshot!(refusal(&session, "UPDATE clicks SET _offset = 1").await, @r#"428C9 column "_offset" of table "clicks" can't be set (a stream delivers to the table: the column says which event a row is of)"#);
    // Without a delivery nobody commits the column.
    insta::assert_snapshot!(refusal(&session, "INSERT INTO clicks VALUES ('c')").await, @r#"40001 table "clicks" has columns that are not committed yet (try again)"#);
    // A copy is the copier's.
    assert_eq!(write(&session, "CREATE TABLE copy AS SELECT * FROM clicks").await, Some(2));
    assert_eq!(ask(&session, "SELECT \"user\", _offset FROM copy ORDER BY 1").await, "a|0\nb|1");
    assert_eq!(write(&session, "UPDATE copy SET _offset = 7").await, Some(2));
    write(&session, "DROP TABLE copy").await;
}

#[tokio::test]
async fn parameters_are_values_of_the_columns() {
    let lake = Filled::new().await;
    let session = lake.session();
    write(&session, "CREATE TABLE t (a bigint, b date, s text)").await;
    let prepare = async |sql: &str| {
        let statement = session.parse(sql).unwrap().remove(0);
        session.prepare(statement).await.unwrap()
    };
    let insert = prepare("INSERT INTO t VALUES ($1, $2, $3)").await;
    let kinds: Vec<_> = insert.parameters().iter().map(|kind| kind.as_ref().map(ToString::to_string)).collect();
    assert_eq!(kinds, [Some("Int64".to_owned()), Some("Date32".to_owned()), Some("Utf8".to_owned())]);
    let values = ["1", "2026-11-21", "x"].map(ScalarValue::from);
    assert_eq!(session.run_prepared(&insert, &values).await.unwrap().affected(), Some(1));
    let update = prepare("UPDATE t SET b = $1, s = $2 WHERE a = $3").await;
    let values = [ScalarValue::from("2026-11-22"), ScalarValue::from("y"), ScalarValue::Int64(Some(1))];
    assert_eq!(session.run_prepared(&update, &values).await.unwrap().affected(), Some(1));
    assert_eq!(ask(&session, "SELECT a, b, s FROM t").await, "1|2026-11-22|y");
    let delete = prepare("DELETE FROM t WHERE s = $1").await;
    assert_eq!(session.run_prepared(&delete, &["y".into()]).await.unwrap().affected(), Some(1));
}

#[tokio::test]
async fn a_value_is_not_cut_to_the_type_of_its_parameter() {
    let lake = Filled::new().await;
    let session = lake.session();
    write(&session, "CREATE TABLE t (a int, d numeric(12, 2))").await;
    write(&session, "INSERT INTO t VALUES (1, 1.5), (2, 2.5)").await;
    let double = Declared::by_message(&[Some(DataType::Float64)]);
    let statement = |sql: &str| session.parse(sql).unwrap().remove(0);
    let delete = "DELETE FROM t WHERE a = $1";
    let declared = session.prepare_declared(statement(delete), &double).await.unwrap();
    assert_eq!(session.run_prepared(&declared, &[ScalarValue::Float64(Some(2.5))]).await.unwrap().affected(), Some(0));
    // Where nothing is declared, the statement decides: a value that it has no place for is refused.
    let guessed = session.prepare(statement(delete)).await.unwrap();
    let refused = session.run_prepared(&guessed, &[ScalarValue::Float64(Some(2.5))]).await.err().unwrap();
    assert_eq!(
        (refused.sqlstate(), refused.message()),
        ("22P02", "parameter $1 is 2.5, and the statement takes it as integer")
    );
    assert_eq!(session.run_prepared(&guessed, &[ScalarValue::Float64(Some(2.0))]).await.unwrap().affected(), Some(1));
    let insert = session.prepare_declared(statement("INSERT INTO t (a) VALUES ($1)"), &double).await.unwrap();
    assert_eq!(session.run_prepared(&insert, &[ScalarValue::Float64(Some(1.7))]).await.unwrap().affected(), Some(1));
    assert_eq!(ask(&session, "SELECT a FROM t ORDER BY a").await, "1\n2");
    // Where a cast can't stand, the statement decides.
    let limit = session.prepare_declared(statement("SELECT a FROM t ORDER BY a LIMIT $1"), &double).await.unwrap();
    let batches = session.run_prepared(&limit, &[ScalarValue::Int64(Some(1))]).await.unwrap().read_all().await.unwrap();
    assert_eq!(text(&batches), "1");
}

/// The rows of an answer in the order of their texts.
async fn sorted(session: &Session, sql: &str) -> String {
    let mut lines: Vec<String> = ask(session, sql).await.lines().map(str::to_owned).collect();
    lines.sort();
    lines.join("\n")
}

#[tokio::test]
async fn returning_has_the_rows_that_were_written() {
    let lake = Filled::new().await;
    let session = lake.session();
    write(&session, "CREATE TABLE t (a bigint, b text, d numeric(6, 2), at timestamptz, tags array<text>)").await;
    for (sql, expected) in [
        ("INSERT INTO t (b, a, d) VALUES ('x', 1, 1.5), ('y', 2, NULL) RETURNING a, b AS called, d", "1|x|1.50\n2|y|-"),
        ("INSERT INTO t (a, b) SELECT value, 'n' FROM generate_series(3, 5) RETURNING t.a", "3\n4\n5"),
        ("UPDATE t SET a = a * 10, b = upper(b) WHERE a <= 2 RETURNING *", "10|X|1.50|-|-\n20|Y|-|-|-"),
        ("UPDATE t AS x SET b = 'none' WHERE a > 1000 RETURNING x.b", ""),
        (
            "UPDATE t AS x SET b = o.b FROM (VALUES (5, 'five')) AS o(a, b) WHERE x.a = o.a RETURNING x.*",
            "5|five|-|-|-",
        ),
        ("INSERT INTO t (a, b) VALUES (6, 'six') RETURNING a + 1 AS next, upper(b), t.*", "7|SIX|6|six|-|-|-"),
        ("UPDATE t AS x SET b = 'seven' WHERE a = 6 RETURNING length(x.b), 'of ' || b", "5|of seven"),
        ("DELETE FROM t WHERE a = 6 RETURNING coalesce(d, 0) + a AS sum", "6.00"),
        ("DELETE FROM t USING (VALUES (3), (3), (4)) AS v(n) WHERE t.a = v.n RETURNING A, t.b", "3|n\n4|n"),
        ("WITH v(n) AS (VALUES (5)) DELETE FROM t WHERE a IN (SELECT n FROM v) RETURNING b", "five"),
    ] {
        assert_eq!(sorted(&session, sql).await, expected, "{sql}");
    }
    // The same values, as they are read afterwards.
    let insert =
        "INSERT INTO t VALUES (7, 'z', 2.345, '2026-11-22 10:00:00.123456789+01', ARRAY['p', NULL]) RETURNING *";
    let returned = ask(&session, insert).await;
    assert_eq!(returned, ask(&session, "SELECT * FROM t WHERE a = 7").await);
    let answer = session.query("DELETE FROM t WHERE a = 7 RETURNING *", &[]).await.unwrap();
    assert_eq!((answer.command(), answer.affected(), answer.returns_rows()), ("DELETE", Some(1), true));
    let overwritten = "INSERT OVERWRITE t (a, b) SELECT 1, 'over' RETURNING a, b";
    assert_eq!(ask(&session, overwritten).await, "1|over");
    let statement = session.parse("INSERT INTO t (a) VALUES ($1) RETURNING a AS one").unwrap().remove(0);
    let prepared = session.prepare(statement).await.unwrap();
    assert_eq!(prepared.schema().field(0).name(), "one");
    let mut answer = session.run_prepared(&prepared, &[ScalarValue::Int64(Some(8))]).await.unwrap();
    assert_eq!(text(&answer.read_all().await.unwrap()), "8");
    write(&session, "ALTER TABLE t RENAME COLUMN a TO id").await;
    let renamed = session.run_prepared(&prepared, &[ScalarValue::Int64(Some(9))]).await.err().unwrap();
    assert_eq!(renamed.sqlstate(), "42703", "{renamed:?}");
    write(&session, "CREATE TABLE far (day date)").await;
    for (sql, sqlstate) in [
        ("INSERT INTO t (id) VALUES (1) RETURNING count(*)", "42803"),
        ("INSERT INTO t (id) VALUES (1) RETURNING row_number() OVER ()", "0A000"),
        ("INSERT INTO t (id) VALUES (1) RETURNING (SELECT 1)", "0A000"),
        ("INSERT INTO t (id) VALUES (1) RETURNING 1 / (id - 1)", "22012"),
        ("INSERT INTO t (id) VALUES (1) RETURNING other.id", "42703"),
        ("UPDATE t SET id = 2 RETURNING nothing", "42703"),
        ("DELETE FROM t RETURNING \"ID\"", "42703"),
        ("INSERT INTO t (b) SELECT repeat('x', 100000) FROM generate_series(1, 300) RETURNING b", "54000"),
        ("INSERT INTO far SELECT CAST(CAST(100000000 AS int) AS date) RETURNING day", "22008"),
    ] {
        let error = session.query(sql, &[]).await.err().unwrap_or_else(|| panic!("{sql}: it was done"));
        assert_eq!(error.sqlstate(), sqlstate, "{sql}: {error:?}");
    }
    assert_eq!(sorted(&session, "SELECT id, b FROM t").await, "1|over\n8|-", "what was refused wrote nothing");
    assert_eq!(sorted(&session, "SELECT day FROM far").await, "", "what can't be shown is not written");
}

#[tokio::test]
async fn whoever_only_reads_and_whatever_takes_too_long_writes_nothing() {
    let lake = Filled::new().await;
    let session = lake.session();
    write(&session, "CREATE TABLE t AS SELECT value AS n FROM generate_series(1, 1000)").await;
    write(&session, "SET default_transaction_read_only = on").await;
    insta::assert_snapshot!(refusal(&session, "INSERT INTO t VALUES (1)").await, @"25006 cannot execute INSERT: this session only reads (SET default_transaction_read_only = off, unless query.read_only is set in lacus.toml)");
    insta::assert_snapshot!(refusal(&session, "ALTER TABLE t ADD COLUMN a text").await, @"25006 cannot execute ALTER TABLE: this session only reads (SET default_transaction_read_only = off, unless query.read_only is set in lacus.toml)");
    write(&session, "SET default_transaction_read_only = off").await;
    write(&session, "SET statement_timeout = 300").await;
    let long = "INSERT INTO t SELECT a.n FROM t a, t b, t c WHERE a.n + b.n + c.n < 0 OR random() < 2";
    let long = refusal(&session, long).await;
    assert!(long.starts_with("57014"), "{long}");
    write(&session, "SET statement_timeout = 0").await;

    let statement = session.parse("INSERT INTO t SELECT a.n FROM t a, t b, t c").unwrap().remove(0);
    let stopping = async {
        while !session.stop_writing() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (stopped, ()) = futures::join!(session.run(&statement, &[]), stopping);
    assert_eq!(stopped.err().map(|error| error.sqlstate()), Some("57014"));
    assert_eq!(ask(&session, "SELECT count(*) FROM t").await, "1000");
    assert_eq!(ask(&session, "SELECT count(*) FROM \"t$snapshots\"").await, "1");

    let shared = Arc::clone(&lake.lake);
    let settings = settings::Query { read_only: true, ..settings::Query::default() };
    let reader = Engine::new(Arc::clone(&shared), shared as _, &settings).unwrap().session(Dialect::Lacus);
    write(&reader, "SET default_transaction_read_only = off").await;
    assert!(refusal(&reader, "DELETE FROM t").await.starts_with("25006"));
}

#[tokio::test]
async fn inserts_at_once_lose_nothing() {
    let lake = Filled::new().await;
    let session = lake.session();
    write(&session, "CREATE TABLE t (a bigint)").await;
    let inserts: Vec<String> = (0..12).map(|n| format!("INSERT INTO t VALUES ({n}), ({n})")).collect();
    let updates: Vec<String> = (0..4).map(|n| format!("UPDATE t SET a = a + 100 WHERE a = {n}")).collect();
    let all = inserts.iter().chain(&updates).map(|sql| write(&session, sql));
    let written = futures::future::join_all(all).await;
    assert!(written[..12].iter().all(|rows| *rows == Some(2)));
    assert_eq!(ask(&session, "SELECT count(*), sum(a % 100) FROM t").await, "24|132");
}

/// A statement that changes rows, and the same on a list of them.
#[derive(Debug, Clone)]
enum Step {
    Insert(Vec<(i64, Option<i64>)>),
    Delete(Option<i64>),
    Update { from: Option<i64>, add: i64 },
    Merge(Vec<(i64, i64)>),
    Overwrite(Vec<(i64, Option<i64>)>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = || prop::option::weighted(0.8, -3..4_i64);
    let step = prop_oneof![
        prop::collection::vec((0..20_i64, value()), 1..8).prop_map(Step::Insert),
        value().prop_map(Step::Delete),
        (value(), -2..3_i64).prop_map(|(from, add)| Step::Update { from, add }),
        prop::collection::btree_map(0..20_i64, -3..4_i64, 1..6).prop_map(|map| Step::Merge(map.into_iter().collect())),
        prop::collection::vec((0..20_i64, value()), 1..8).prop_map(Step::Overwrite),
    ];
    prop::collection::vec(step, 1..8)
}

impl Step {
    fn sql(&self) -> String {
        let text =
            |value: &Option<i64>| value.map_or_else(|| "CAST(NULL AS bigint)".to_owned(), |value| value.to_string());
        match self {
            Self::Insert(rows) => {
                let rows: Vec<_> = rows.iter().map(|(k, v)| format!("({k}, {})", text(v))).collect();
                format!("INSERT INTO t VALUES {}", rows.join(", "))
            }
            Self::Overwrite(rows) => {
                let rows: Vec<_> = rows.iter().map(|(k, v)| format!("({k}, {})", text(v))).collect();
                format!("INSERT OVERWRITE t SELECT k, v FROM (VALUES {}) AS s (k, v)", rows.join(", "))
            }
            Self::Delete(value) => format!("DELETE FROM t WHERE v >= {}", text(value)),
            Self::Update { from, add } => format!("UPDATE t SET v = v + {add}, k = k + 1 WHERE v < {}", text(from)),
            Self::Merge(rows) => {
                let rows: Vec<_> = rows.iter().map(|(k, v)| format!("({k}, {v})")).collect();
                format!(
                    "MERGE INTO t USING (VALUES {}) AS s (k, v) ON t.k = s.k
                     WHEN MATCHED AND s.v < 0 THEN DELETE WHEN MATCHED THEN UPDATE SET v = s.v
                     WHEN NOT MATCHED THEN INSERT VALUES (s.k, s.v)",
                    rows.join(", ")
                )
            }
        }
    }

    /// Says how many rows are concerned.
    fn apply(&self, rows: &mut Vec<(i64, Option<i64>)>) -> u64 {
        let before = rows.len();
        match self {
            Self::Insert(more) => {
                rows.extend(more);
                more.len() as u64
            }
            Self::Overwrite(others) => {
                rows.clone_from(others);
                others.len() as u64
            }
            Self::Delete(value) => {
                rows.retain(|(_, v)| v.zip(*value).is_none_or(|(v, value)| v < value));
                (before - rows.len()) as u64
            }
            Self::Update { from, add } => {
                let mut count = 0;
                for (k, v) in rows.iter_mut() {
                    if let (Some(value), Some(from)) = (*v, from)
                        && value < *from
                    {
                        (*k, *v) = (*k + 1, Some(value + add));
                        count += 1;
                    }
                }
                count
            }
            Self::Merge(source) => {
                let keys: Vec<i64> = rows.iter().map(|(k, _)| *k).collect();
                let of = |key: i64| source.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
                let matched = keys.iter().filter(|key| of(**key).is_some()).count();
                rows.retain(|(k, _)| of(*k).is_none_or(|v| v >= 0));
                rows.iter_mut().for_each(|(k, v)| *v = of(*k).or(*v));
                let new = source.iter().filter(|(k, _)| !keys.contains(k)).map(|(k, v)| (*k, Some(*v)));
                let new: Vec<_> = new.collect();
                rows.extend(&new);
                (matched + new.len()) as u64
            }
        }
    }
}

#[tokio::test]
async fn the_least_and_the_greatest_are_found_behind_files_of_nulls() {
    let lake = Filled::new().await;
    let session = lake.session();
    write(&session, "CREATE TABLE t (p bigint, v bigint) PARTITIONED BY (p)").await;
    let falling = "SELECT value, CASE WHEN value % 20 >= 8 THEN 100 - value END FROM generate_series(0, 39)";
    assert_eq!(write(&session, &format!("INSERT INTO t {falling}")).await, Some(40));
    assert_eq!(files(&lake, "t"), 40);
    for _ in 0..5 {
        assert_eq!(ask(&session, "SELECT max(v), min(v) FROM t WHERE p >= 0").await, "92|61");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn statements_do_what_a_list_of_rows_does(steps in steps(), partitioned in any::<bool>()) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let lake = Filled::new().await;
            let session = lake.session();
            let by = if partitioned { "PARTITIONED BY (truncate(k, 5))" } else { "" };
            write(&session, &format!("CREATE TABLE t (k bigint, v bigint) {by}")).await;
            let mut rows = Vec::new();
            for step in &steps {
                assert_eq!(write(&session, &step.sql()).await, Some(step.apply(&mut rows)), "{step:?}");
                rows.sort_unstable();
                let text = |v: &Option<i64>| v.map_or("-".to_owned(), |v| v.to_string());
                let expected: Vec<_> = rows.iter().map(|(k, v)| format!("{k}|{}", text(v))).collect();
                let found = ask(&session, "SELECT k, v FROM t ORDER BY k, v NULLS FIRST").await;
                assert_eq!(found, expected.join("\n"), "after {step:?}");
            }
            assert_eq!(lake.lake.check().await.unwrap(), []);
        });
    }
}
