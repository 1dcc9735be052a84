//! Sessions: variables, dialects, what is refused, what is stopped.

use std::time::{Duration, Instant};

use datafusion::arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use lacus_core::settings;
use lacus_core::units::{ByteSize, Millis};

use super::lake::{TestLake, ask, ask_with_stats, field, rows, schema, text};
use crate::{Dialect, Session};

/// Takes hours, and reads no table.
const ENDLESS: &str = "select count(*) from generate_series(1, 10000000) a, generate_series(1, 10000000) b where a.value % 7 = b.value % 5";

fn people() -> TestLake {
    let lake = TestLake::new();
    let people = schema(vec![field(5, "name", DataType::Utf8), field(6, "age", DataType::Int64)]);
    let tail = rows(&people, r#"{"name":"Ada","age":36} {"name":"Bob"} {"name":"Cyd","age":20}"#);
    lake.table("people", &people, Vec::new(), vec![tail]);
    lake
}

#[tokio::test]
async fn sessions_do_not_share_variables() {
    let engine = people().engine();
    let (one, two) = (engine.session(Dialect::Lacus), engine.session(Dialect::Lacus));
    ask(&one, "SET dialect = 'athena'").await;
    assert_eq!(ask(&one, "SHOW dialect").await, "athena");
    assert_eq!(ask(&two, "show dialect").await, "lacus");
    ask(&one, "reset dialect").await;
    assert_eq!(ask(&one, "show dialect").await, "lacus");
    ask(&one, "set time zone 'Europe/Berlin'").await;
    assert_eq!(ask(&one, "show time zone").await, "Europe/Berlin");
    ask(&one, "discard all").await;
    assert_eq!(ask(&one, "show timezone").await, "UTC");
    assert!(ask(&one, "show all").await.contains("server_version|15.0+lacus."));
}

#[tokio::test]
async fn athena_orders_nulls_last_and_reads_decimals() {
    let engine = people().engine();
    let by_age = "select name from people order by age desc";
    for (dialect, expected) in
        [(Dialect::Lacus, "Bob\nAda\nCyd"), (Dialect::Redshift, "Bob\nAda\nCyd"), (Dialect::Athena, "Ada\nCyd\nBob")]
    {
        assert_eq!(ask(&engine.session(dialect), by_age).await, expected, "{dialect}");
    }
    let literal = "select arrow_typeof(1.5)";
    assert_eq!(ask(&engine.session(Dialect::Lacus), literal).await, "Float64");
    assert_eq!(ask(&engine.session(Dialect::Athena), literal).await, "Decimal128(2, 1)");
}

#[tokio::test]
async fn parameters_take_the_type_they_are_compared_with() {
    let session = people().session();
    let sql = "select name from people where age > $1 and name <> $2";
    let prepared = session.prepare(session.parse(sql).unwrap().remove(0)).await.unwrap();
    assert_eq!(prepared.parameters(), [Some(DataType::Int64), Some(DataType::Utf8)]);
    let values = [ScalarValue::from("30"), ScalarValue::from("Zoe")];
    let batches = session.run_prepared(&prepared, &values).await.unwrap().read_all().await.unwrap();
    assert_eq!(text(&batches), "Ada");
    let missing = session.query(sql, &values[..1]).await.err().unwrap();
    assert_eq!((missing.sqlstate(), missing.message()), ("08P01", "there is no value for parameter $2"));
}

#[tokio::test]
async fn a_parameter_with_a_point_is_a_number_of_the_text() {
    let session = people().session();
    let sql = "select cast(coalesce(m, $1) as text), cast(coalesce(n, $1) as text) \
               from (values (1.25::numeric(12, 2), null::numeric(12, 2))) as t(m, n)";
    let mut answer = session.query(sql, &[ScalarValue::Float64(Some(0.5))]).await.unwrap();
    assert_eq!(text(&answer.read_all().await.unwrap()), "1.25|0.50");
}

#[tokio::test]
async fn only_questions_are_answered() {
    let session = people().session();
    for sql in [
        "insert into people values (1)",
        "create table x as select 1",
        "select 1 into x",
        "create view v as select 1",
        "drop table people",
        "delete from people",
        "update people set age = 1",
        "copy people to '/tmp/people.csv'",
        "copy (select 1) to '/tmp/x.parquet'",
        "create external table t stored as csv location '/etc/passwd'",
        "explain create table x as select 1",
        "explain analyze insert into people select * from people",
        "with x as (insert into people values (1) returning *) select * from x",
        "select * from '/etc/passwd'",
        "select * from \"/etc/passwd\"",
        "select * from 'file:///etc/passwd'",
        "set datafusion.runtime.memory_limit = '100G'",
        "set datafusion.execution.batch_size = 1",
        "create function f() returns int return 1",
        "prepare p as select 1",
        "truncate people",
        "alter table people add column x int",
    ] {
        let error = ask_with_stats(&session, sql).await.expect_err(sql);
        assert!(["0A000", "42601", "42P01", "42704"].contains(&error.sqlstate()), "{sql}: {error:?}");
    }
    assert_eq!(ask(&session, "select count(*) from people").await, "3");
    for sql in
        ["begin", "commit", "rollback", "start transaction read only", "set transaction isolation level serializable"]
    {
        assert_eq!(ask(&session, sql).await, "");
    }
}

#[tokio::test]
async fn a_query_ends_at_its_deadline() {
    let query = settings::Query { timeout: Millis(200), ..settings::Query::default() };
    let session = people().engine_with(&query).session(Dialect::Lacus);
    check_stopped(&session).await;
    let session = people().session();
    ask(&session, "set statement_timeout = '200ms'").await;
    check_stopped(&session).await;
}

async fn check_stopped(session: &Session) {
    let started = Instant::now();
    let error = ask_with_stats(session, ENDLESS).await.unwrap_err();
    assert_eq!(error.sqlstate(), "57014", "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn dropping_an_answer_stops_its_work() {
    let engine = people().engine();
    let session = engine.session(Dialect::Lacus);
    let answer = session.query(ENDLESS, &[]).await.unwrap();
    // The work holds what the engine shares; when that is given back, the work has ended.
    drop(session);
    let shared = std::sync::Arc::downgrade(&engine.shared);
    drop(engine);
    assert!(shared.upgrade().is_some());
    drop(answer);
    let deadline = Instant::now() + Duration::from_secs(10);
    while shared.upgrade().is_some() {
        assert!(Instant::now() < deadline, "the query still runs");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn memory_is_bounded() {
    let query = settings::Query { memory_max: ByteSize::mb(1), ..settings::Query::default() };
    let session = people().engine_with(&query).session(Dialect::Lacus);
    let sql = "select array_agg(value) from generate_series(1, 5000000)";
    let error = ask_with_stats(&session, sql).await.unwrap_err();
    assert_eq!(error.sqlstate(), "53200", "{error:?}");
    assert_eq!(ask(&session, "select 1").await, "1");
}

#[tokio::test]
async fn rows_come_before_the_last_is_known() {
    let session = people().session();
    let mut answer = session.query("select value from generate_series(1, 1000000000000)", &[]).await.unwrap();
    let first = answer.next().await.unwrap().unwrap();
    assert!(first.num_rows() > 0);
}
