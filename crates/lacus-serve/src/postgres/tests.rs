//! A real client over a real socket.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, pin_mut};
use lacus_core::StatementLimits;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::has_left;
use crate::testing::TestServer;
use crate::users::NewPassword;

/// Takes hours, and reads no table.
const ENDLESS: &str = "select count(*) from generate_series(1, 10000000) a, generate_series(1, 10000000) b where a.value % 7 = b.value % 5";

async fn connect(server: &TestServer) -> Client {
    connect_to(server, "dbname=lake").await.unwrap()
}

async fn connect_to(server: &TestServer, options: &str) -> Result<Client, tokio_postgres::Error> {
    let target = format!("host=127.0.0.1 port={} user=lacus {options}", server.postgres.port());
    let (client, connection) = tokio_postgres::connect(&target, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The rows as text, columns separated by `|`, null as `-`.
async fn ask(client: &Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let mut lines = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            let values: Vec<&str> = (0..row.len()).map(|column| row.get(column).unwrap_or("-")).collect();
            lines.push(values.join("|"));
        }
    }
    lines.join("\n")
}

async fn refused(client: &Client, sql: &str) -> tokio_postgres::error::DbError {
    let error = client.simple_query(sql).await.err().unwrap_or_else(|| panic!("{sql} was answered"));
    error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error:?}")).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn structs_are_json_and_lists_are_arrays() {
    let server = TestServer::with_clicks().await;
    let client = connect(&server).await;
    let sql = "select additional_data, tags, ok, additional_data.items from clicks order by _offset";
    let expected = r#"{"query":"shoes"}|-|-|-
{"price":9.5,"items":[{"id":7,"tags":["a","b"]}]}|{x,"y z"}|t|[{"id":7,"tags":["a","b"]}]
{"price":2.5}|-|-|-"#;
    assert_eq!(ask(&client, sql).await, expected);
    let rows = client.query(sql, &[]).await.unwrap();
    let kinds: Vec<&Type> = rows[1].columns().iter().map(tokio_postgres::Column::type_).collect();
    assert_eq!(kinds, [&Type::JSON, &Type::TEXT_ARRAY, &Type::BOOL, &Type::JSON]);
    let data: serde_json::Value = rows[1].get(0);
    assert_eq!(data["items"][0]["tags"][1], "b");
    assert_eq!(rows[1].get::<_, Vec<String>>(1), ["x", "y z"]);
    assert!(rows[1].get::<_, bool>(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scalar_has_its_text() {
    let server = TestServer::start().await;
    let client = connect(&server).await;
    for (sql, expected) in [
        ("select 1, -2::smallint, 3::bigint, 1.5::real, 2.0::double precision", "1|-2|3|1.5|2"),
        ("select 9223372036854775807::bigint unsigned", "9223372036854775807"),
        ("select '12345678901234567890123456789.123'::decimal(38,3)", "12345678901234567890123456789.123"),
        ("select true, null, 'é', ''", "t|-|é|"),
        ("select date '2026-11-20', timestamp '2026-11-20 19:30:00.5'", "2026-11-20|2026-11-20 19:30:00.5"),
        ("select to_timestamp_micros(1626091318732726) at time zone '+00:00'", "2021-07-12 12:01:58.732726+00"),
        ("select arrow_cast('abc', 'Binary'), interval '1 day'", "\\x616263|1 day"),
        ("select array[1,2,null], array['a','b,c'], array[array[1],array[2]]", "{1,2,NULL}|{a,\"b,c\"}|[[1],[2]]"),
        ("select named_struct('a', 1, 'b', null, 'c', [named_struct('d', 'x')])", r#"{"a":1,"c":[{"d":"x"}]}"#),
        ("select null::interval, null::decimal(10,2) b, null::date c, null::text[] d", "-|-|-|-"),
        ("select arrow_cast(arrow_cast(-735160, 'Int32'), 'Date32')", "0044-03-15 BC"),
        ("select arrow_cast(arrow_cast(2932897, 'Int32'), 'Date32')", "10000-01-01"),
        ("select arrow_cast(86400000000, 'Time64(Microsecond)')", "24:00:00"),
        (
            "select [date '2026-11-20', null], [timestamp '2026-11-20 19:30:00.5']",
            "{2026-11-20,NULL}|{\"2026-11-20 19:30:00.5\"}",
        ),
        ("select 'NaN'::double precision, 1e300::double precision", "NaN|1e+300"),
    ] {
        assert_eq!(ask(&client, sql).await, expected, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_of_range_is_an_error_and_not_null() {
    let server = TestServer::start().await;
    let client = connect(&server).await;
    let sql = "select arrow_cast(86400000001, 'Time64(Microsecond)')";
    assert_eq!(*refused(&client, sql).await.code(), SqlState::DATETIME_FIELD_OVERFLOW);
    let error = client.query(sql, &[]).await.err().unwrap();
    assert_eq!(error.code(), Some(&SqlState::DATETIME_FIELD_OVERFLOW));
    assert_eq!(ask(&client, "select 1").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_parameters_and_results() {
    let server = TestServer::with_clicks().await;
    let client = connect(&server).await;
    let sql = "select event_name, user_id, additional_data.price, _received_at, _partition from clicks where user_id = $1 and additional_data.price > $2 and event_name <> $3";
    let statement = client.prepare(sql).await.unwrap();
    assert_eq!(statement.params(), [Type::INT8, Type::FLOAT8, Type::TEXT]);
    for _ in 0..2 {
        let rows = client.query(&statement, &[&1_i64, &1.0_f64, &"Search"]).await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].get::<_, &str>(0), "Purchase");
        assert_eq!(rows[0].get::<_, i64>(1), 1);
        assert!((rows[0].get::<_, f64>(2) - 2.5).abs() < f64::EPSILON);
        assert!(rows[0].get::<_, std::time::SystemTime>(3).elapsed().unwrap() < Duration::from_secs(3600));
        assert_eq!(rows[0].get::<_, i32>(4), 0);
    }
    let nothing: Option<i64> = None;
    assert_eq!(client.query("select 1 from clicks where user_id = $1", &[&nothing]).await.unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_statement_sees_new_rows_and_refuses_new_columns() {
    let server = TestServer::with_clicks().await;
    let client = connect(&server).await;
    let count = client.prepare("select count(*) from clicks").await.unwrap();
    let all = client.prepare("select * from clicks").await.unwrap();
    server.send("clicks", r#"{"event_name":"Search","brand_new":1}"#).await;
    assert_eq!(client.query_one(&count, &[]).await.unwrap().get::<_, i64>(0), 4);
    let error = client.query(&all, &[]).await.err().unwrap();
    assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED));
    assert_eq!(client.query("select * from clicks", &[]).await.unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_all_their_fields() {
    let server = TestServer::with_clicks().await;
    let client = connect(&server).await;
    let error = refused(&client, "select event_nam from clicks").await;
    assert_eq!(
        (error.severity(), error.code(), error.message()),
        ("ERROR", &SqlState::UNDEFINED_COLUMN, "column \"event_nam\" does not exist")
    );
    assert_eq!(error.hint(), Some("did you mean \"event_name\"?"));
    assert_eq!(error.position(), Some(&tokio_postgres::error::ErrorPosition::Original(8)));
    assert_eq!(*refused(&client, "select * from click").await.code(), SqlState::UNDEFINED_TABLE);
    assert_eq!(*refused(&client, "selec 1").await.code(), SqlState::SYNTAX_ERROR);
    assert_eq!(*refused(&client, "select 1/(user_id-user_id) from clicks").await.code(), SqlState::DIVISION_BY_ZERO);
    let error = client.query("select nofunction($1)", &[&1_i32]).await.err().unwrap();
    assert_eq!(error.code(), Some(&SqlState::UNDEFINED_FUNCTION));
    assert_eq!(ask(&client, "select 1").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_lake_can_be_connected_to() {
    let server = TestServer::start().await;
    let error = connect_to(&server, "dbname=postgres").await.err().unwrap();
    assert_eq!(error.code(), Some(&SqlState::UNDEFINED_DATABASE));
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_take_their_time() {
    let server = TestServer::start().await;
    let password = |text: &str| NewPassword { password: Some(text.to_owned()), md5: None };
    for user in ["lacus", "other"] {
        server.users.create(user, &password("secret"), StatementLimits::default()).unwrap();
    }
    let error = connect_to(&server, "dbname=lake").await.err().unwrap();
    assert!(format!("{error:?}").contains("password missing"), "{error:?}");
    let guess = async || {
        let error = connect_to(&server, "dbname=lake password=wrong").await.err().unwrap();
        assert_eq!(error.code(), Some(&SqlState::INVALID_PASSWORD));
    };
    // However slow the machine is: ten are free, and two seconds pass before each after them.
    let began = Instant::now();
    for _ in 0..12 {
        guess().await;
    }
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    connect_to(&server, "dbname=lake user=other password=secret").await.unwrap();
    connect_to(&server, "dbname=lake password=secret").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_fail_and_end_as_in_postgres() {
    let server = TestServer::with_clicks().await;
    let mut client = connect(&server).await;
    let transaction = client.transaction().await.unwrap();
    assert_eq!(transaction.query("select 1", &[]).await.unwrap().len(), 1);
    assert!(transaction.query("select nope", &[]).await.is_err());
    let error = transaction.query("select 1", &[]).await.err().unwrap();
    assert_eq!(error.code(), Some(&SqlState::IN_FAILED_SQL_TRANSACTION));
    transaction.rollback().await.unwrap();
    assert_eq!(ask(&client, "begin; select 1; select 2; commit").await, "1\n2");
    let error = refused(&client, "select 1; select nope; select 3").await;
    assert_eq!(*error.code(), SqlState::UNDEFINED_COLUMN);
    assert_eq!(ask(&client, "select 4").await, "4");
    assert_eq!(ask(&client, " ;; ").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_connection_has_its_own_session() {
    let server = TestServer::start().await;
    let (one, two) =
        (connect(&server).await, connect_to(&server, "dbname=lake options='-c dialect=redshift'").await.unwrap());
    ask(&one, "set dialect = 'athena'").await;
    assert_eq!(ask(&one, "show dialect").await, "athena");
    assert_eq!(ask(&two, "show dialect").await, "redshift");
    ask(&two, "set search_path = main, public").await;
    assert_eq!(ask(&one, "show search_path").await, "main");
    assert!(ask(&one, "show server_version").await.starts_with("15.0+lacus."));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_request_stops_the_query() {
    let server = TestServer::start().await;
    let client = connect(&server).await;
    let token = client.cancel_token();
    let started = Instant::now();
    let query = client.simple_query(ENDLESS);
    pin_mut!(query);
    let answer = loop {
        // The first one may come before the query has begun.
        token.cancel_query(NoTls).await.unwrap();
        if let Ok(answer) = tokio::time::timeout(Duration::from_millis(100), &mut query).await {
            break answer;
        }
    };
    assert_eq!(answer.err().unwrap().code(), Some(&SqlState::QUERY_CANCELED));
    assert!(started.elapsed() < Duration::from_secs(10));
    // The last one may come after the query has ended.
    while let Err(error) = client.simple_query("select 1").await {
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}

/// Asks until this is the answer.
async fn until(client: &Client, sql: &str, expected: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = ask(client, sql).await;
        if answer == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{sql}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_user_see_and_stop_each_other() {
    let server = TestServer::start().await;
    let one = Arc::new(connect_to(&server, "dbname=lake application_name=one").await.unwrap());
    let two = connect(&server).await;
    let pid = ask(&one, "select pg_backend_pid()").await;
    let state = format!("select state, query from pg_stat_activity where pid = {pid}");
    let mut busy = tokio::spawn({
        let one = Arc::clone(&one);
        async move { one.simple_query(ENDLESS).await }
    });
    until(&two, &state, &format!("active|{ENDLESS}")).await;
    let about = "select usename, application_name, client_addr, datname, backend_type, xact_start = query_start,
                 backend_start <= query_start from pg_stat_activity where";
    assert_eq!(ask(&two, &format!("{about} pid = {pid}")).await, "lacus|one|127.0.0.1|lake|client backend|t|t");
    let stopped = loop {
        // The first one may come before the query has begun.
        assert_eq!(ask(&two, &format!("select pg_cancel_backend({pid})")).await, "t");
        if let Ok(stopped) = tokio::time::timeout(Duration::from_millis(100), &mut busy).await {
            break stopped.unwrap();
        }
    };
    assert_eq!(stopped.err().unwrap().code(), Some(&SqlState::QUERY_CANCELED));
    until(&two, &state, &format!("idle|{ENDLESS}")).await;
    ask(&one, "begin").await;
    until(&two, &state, "idle in transaction|begin").await;
    refused(&one, "select nope").await;
    until(&two, &state, "idle in transaction (aborted)|select nope").await;
    ask(&one, "rollback").await;
    one.query("select 'by the protocol'", &[]).await.unwrap();
    until(&two, &state, "idle|select 'by the protocol'").await;
    // As Superset asks.
    let terminate = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid='{pid}'");
    assert_eq!(ask(&two, &terminate).await, "t");
    until(&two, "select count(*) from pg_stat_activity", "1").await;
    assert_eq!(ask(&two, &format!("select pg_terminate_backend({pid})")).await, "f", "it is gone");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !one.is_closed() {
        assert!(Instant::now() < deadline, "the connection is still open");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_user_does_is_nobodys_business() {
    let server = TestServer::start().await;
    let one = connect_to(&server, "dbname=lake application_name=one").await.unwrap();
    let ada = connect_to(&server, "user=ada dbname=lake").await.unwrap();
    let pid = ask(&one, "select pg_backend_pid()").await;
    let all = format!(
        "select usename, application_name, state, query, client_addr, client_port, backend_start,
                       query_start, state_change, xact_start from pg_stat_activity where pid = {pid}"
    );
    assert_eq!(ask(&ada, &all).await, "lacus|one|-|<insufficient privilege>|-|-|-|-|-|-");
    ask(&one, "create view everything as select * from pg_catalog.pg_stat_activity").await;
    assert_eq!(
        ask(&ada, "select distinct query, state from everything").await,
        "<insufficient privilege>|-",
        "a view does not see more"
    );
    for function in ["pg_cancel_backend", "pg_terminate_backend"] {
        let error = refused(&ada, &format!("select {function}({pid})")).await;
        assert_eq!((error.code(), error.hint()), (&SqlState::INSUFFICIENT_PRIVILEGE, Some("connect as that user")));
        assert_eq!(ask(&ada, &format!("select {function}(1), {function}(null)")).await, "f|-");
    }
    assert_eq!(ask(&one, "select 1").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_may_stop_itself() {
    let server = TestServer::start().await;
    let client = connect(&server).await;
    let error = refused(&client, "select pg_terminate_backend(pg_backend_pid())").await;
    assert_eq!(*error.code(), SqlState::QUERY_CANCELED);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !client.is_closed() {
        assert!(Instant::now() < deadline, "the connection is still open");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_left_is_seen_behind_what_nobody_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    assert!(!has_left(&socket).await);
    client.write_all(b"unread").await.unwrap();
    socket.readable().await.unwrap();
    assert!(!has_left(&socket).await, "it only said something");
    drop(client);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !has_left(&socket).await {
        assert!(Instant::now() < deadline, "nobody saw it leave");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_prepared_by_sql() {
    let server = TestServer::with_clicks().await;
    let client = connect(&server).await;
    let question = "select event_name from clicks where user_id = $1 and event_name <> $2 order by 1";
    ask(&client, &format!("prepare by_user (bigint, text) as {question}")).await;
    assert_eq!(ask(&client, "execute by_user (1, 'a, (b')").await, "Purchase\nSearch");
    assert_eq!(ask(&client, "execute by_user (3 - 2, concat('Sea', 'rch'))").await, "Purchase");
    assert_eq!(ask(&client, "prepare one as select 1; execute one; execute one").await, "1\n1");
    ask(&client, "prepare whether (boolean) as select $1").await;
    assert_eq!(ask(&client, "execute whether (1 is distinct from 2)").await, "t");
    assert_eq!(ask(&client, "execute whether (1 IS NOT DISTINCT FROM 2)").await, "f");
    for (sql, code, position) in [
        ("execute nothing", SqlState::INVALID_SQL_STATEMENT_NAME, None),
        ("execute by_user (1)", SqlState::SYNTAX_ERROR, None),
        ("execute one (1)", SqlState::SYNTAX_ERROR, None),
        ("execute by_user (1 from clicks, 'a')", SqlState::SYNTAX_ERROR, None),
        ("execute whether (1 is distinct from 2 from clicks)", SqlState::SYNTAX_ERROR, None),
        ("execute whether (distinct from clicks)", SqlState::SYNTAX_ERROR, None),
        ("execute by_user (nope, 'a')", SqlState::UNDEFINED_COLUMN, Some(18)),
        ("prepare one as select 2", SqlState::DUPLICATE_PSTATEMENT, None),
        ("prepare two as select nope from clicks", SqlState::UNDEFINED_COLUMN, Some(23)),
        ("prepare two as begin", SqlState::SYNTAX_ERROR, None),
        ("prepare two as select 1; execute two (2", SqlState::SYNTAX_ERROR, None),
    ] {
        let error = refused(&client, sql).await;
        assert_eq!(*error.code(), code, "{sql}: {error}");
        let found = error.position().map(|position| match position {
            tokio_postgres::error::ErrorPosition::Original(position) => *position,
            tokio_postgres::error::ErrorPosition::Internal { .. } => panic!("{sql}: {position:?}"),
        });
        assert_eq!(found, position, "{sql}: {error}");
    }
    // By the protocol: a statement that executes has the columns of what it executes.
    let rows = client.query("execute by_user (2, 'b')", &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, &str>(0), "Purchase");
    ask(&client, "deallocate one").await;
    assert_eq!(*refused(&client, "execute one").await.code(), SqlState::INVALID_SQL_STATEMENT_NAME);
    ask(&client, "deallocate all").await;
    assert_eq!(*refused(&client, "execute by_user (1, 'a')").await.code(), SqlState::INVALID_SQL_STATEMENT_NAME);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_execute_see_what_was_acknowledged() {
    let server = TestServer::with_clicks().await;
    let client = connect(&server).await;
    ask(&client, "prepare plus_one (bigint) as select $1 + 1").await;
    for count in 4..10 {
        server.acknowledge("clicks", r#"{"event_name":"Search"}"#).await;
        assert_eq!(ask(&client, "execute plus_one ((select count(*) from clicks))").await, (count + 1).to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_waits_for_the_first_event_of_its_table() {
    let server = TestServer::start().await;
    let client = connect(&server).await;
    for turn in 0..5 {
        server.acknowledge(&format!("simple{turn}"), r#"{"n":1}"#).await;
        ask(&client, &format!("create view of_simple{turn} as select n from simple{turn}")).await;
        server.acknowledge(&format!("extended{turn}"), r#"{"n":2}"#).await;
        let sql = format!("create view of_extended{turn} as select n from extended{turn}");
        client.execute(sql.as_str(), &[]).await.unwrap();
        let all = format!("select n from of_simple{turn} union all select n from of_extended{turn} order by n");
        assert_eq!(ask(&client, &all).await, "1\n2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_streamed_and_portals_fetch_some_at_a_time() {
    let server = TestServer::start().await;
    let mut client = connect(&server).await;
    {
        let rows =
            client.query_raw("select value from generate_series(1, 1000000000000)", Vec::<i32>::new()).await.unwrap();
        pin_mut!(rows);
        assert_eq!(rows.next().await.unwrap().unwrap().get::<_, i64>(0), 1);
        client.cancel_token().cancel_query(NoTls).await.unwrap();
        let mut last = rows.next().await.unwrap();
        while last.is_ok() {
            last = rows.next().await.unwrap();
        }
        assert_eq!(last.err().unwrap().code(), Some(&SqlState::QUERY_CANCELED));
    }
    let transaction = client.transaction().await.unwrap();
    let portal = transaction.bind("select value from generate_series(1, 7)", &[]).await.unwrap();
    let mut counts = Vec::new();
    for _ in 0..4 {
        counts.push(transaction.query_portal(&portal, 3).await.unwrap().len());
    }
    assert_eq!(counts, [3, 3, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_ends_idle_connections() {
    let server = TestServer::start().await;
    let client = connect(&server).await;
    assert_eq!(ask(&client, "select 1").await, "1");
    server.shutdown.cancel();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !client.is_closed() {
        assert!(Instant::now() < deadline, "the connection is still open");
        tokio::task::yield_now().await;
    }
}
