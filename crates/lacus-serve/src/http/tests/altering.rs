//! `ALTER TABLE` while events come and go.

use super::*;

/// The rows of an answer.
async fn rows(server: &TestServer, question: &str) -> Value {
    let (status, body) = ask(server, sql(question.to_owned())).await;
    assert_eq!(status, StatusCode::OK, "{question}: {body}");
    parse(&body)["rows"].clone()
}

/// Why a statement is refused.
async fn refusal(server: &TestServer, statement: &str) -> String {
    let (status, body) = ask(server, sql(statement.to_owned())).await;
    assert!(status.is_client_error(), "{statement}: {status} {body}");
    parse(&body)["error"]["message"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_column_has_the_values_of_both_names() {
    let server = TestServer::start().await;
    server.send("s", r#"{"usr":"a","o":{"n":1}}"#).await;
    rows(&server, "ALTER TABLE s RENAME COLUMN usr TO user_id, RENAME COLUMN \"o.n\" TO number").await;
    server.send("s", "{\"usr\":\"b\",\"o\":{\"n\":2}}\n{\"user_id\":\"c\",\"o\":{\"number\":3}}").await;
    let found = rows(&server, "SELECT user_id, o.number, _rescued FROM s ORDER BY _offset").await;
    assert_eq!(found, json!([["a", 1, null], ["b", 2, null], ["c", 3, null]]));
    let columns = rows(&server, "SELECT column_name, data_type, former_names FROM \"s$columns\"").await;
    let expected =
        json!([["user_id", "text", "usr"], ["o", "struct<number bigint>", null], ["o.number", "bigint", "n"]]);
    assert_eq!(columns, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_name_is_another_column_when_it_comes_again() {
    let server = TestServer::start().await;
    server.send("s", "{\"a\":1,\"b\":1}\n{\"a\":2}").await;
    rows(&server, "ALTER TABLE s DROP COLUMN a").await;
    assert_eq!(
        rows(&server, "SELECT * EXCEPT (_received_at) FROM s ORDER BY _offset LIMIT 1").await,
        json!([[1, null, 0, 0]])
    );
    server.send("s", r#"{"a":"text now"}"#).await;
    assert_eq!(rows(&server, "SELECT a FROM s ORDER BY _offset").await, json!([[null], [null], ["text now"]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_of_given_types_take_what_fits() {
    let server = TestServer::start().await;
    server.send("s", r#"{"n":1}"#).await;
    let types = [
        ("i", "integer"),
        ("d", "numeric(12,2)"),
        ("day", "date"),
        ("at", "time"),
        ("ts", "timestamp"),
        ("tz", "timestamptz"),
        ("id", "uuid"),
        ("m", "map(text, bigint)"),
        ("l", "real[]"),
        ("st", "struct<a integer, b text>"),
    ];
    let adds: Vec<String> = types.iter().map(|(name, kind)| format!("ADD COLUMN {name} {kind}")).collect();
    rows(&server, &format!("ALTER TABLE s {}", adds.join(", "))).await;
    let event = r#"{"i":7,"d":"12.50","day":"2026-11-20","at":"19:30:00","ts":"2026-11-20 19:30:00","tz":"2026-11-20T19:30:00+01:00","id":"0db3e2a8-9d1d-42b9-aa7b-74ebe558dceb","m":{"x":1},"l":[0.5],"st":{"a":1,"b":"c"}}"#;
    server.send("s", event).await;
    let expected = json!([[7, 12.5, "2026-11-20", "19:30:00", "2026-11-20T19:30:00", "2026-11-20T18:30:00Z",
        "0db3e2a8-9d1d-42b9-aa7b-74ebe558dceb", {"x": 1}, [0.5], {"a": 1, "b": "c"}, null]]);
    let question = "SELECT i, d, day, at, ts, tz, id, m, l, st, _rescued FROM s WHERE i IS NOT NULL";
    assert_eq!(rows(&server, question).await, expected);
    server.deliveries.flush(&lacus_core::TableName::new("s").unwrap()).await.unwrap();
    assert_eq!(rows(&server, question).await, expected, "read from a file");
    rows(&server, "ALTER TABLE s ALTER COLUMN i TYPE bigint, ALTER COLUMN \"l.element\" TYPE double precision").await;
    rows(&server, "ALTER TABLE s MODIFY COLUMN d numeric(20,2) FIRST").await;
    server.send("s", r#"{"i":9223372036854775807,"l":[0.1],"d":"123456789012345678.99"}"#).await;
    let wide = rows(&server, "SELECT i, l, cast(d as text) FROM s ORDER BY _offset").await;
    let expected = json!([[null, null, null], [7, [0.5], "12.50"], [i64::MAX, [0.1], "123456789012345678.99"]]);
    assert_eq!(wide, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_altered_is_refused_and_nothing_changes() {
    let server = TestServer::start().await;
    server.send("s", r#"{"n":1}"#).await;
    insta::assert_snapshot!(refusal(&server, "ALTER TABLE s ALTER COLUMN n TYPE double precision").await, @r#"alter table "s": column "n" is bigint and can't become double precision"#);
    insta::assert_snapshot!(refusal(&server, "ALTER TABLE s ADD COLUMN a text, DROP COLUMN b").await, @r#"alter table "s": there is no column "b""#);
    insta::assert_snapshot!(refusal(&server, "ALTER TABLE nowhere ADD COLUMN a text").await, @r#"there is no table "nowhere""#);
    insta::assert_snapshot!(refusal(&server, "ALTER TABLE s ADD COLUMN a money").await, @"there is no type money");
    insta::assert_snapshot!(refusal(&server, "ALTER TABLE s RENAME TO t").await, @"ALTER TABLE … RENAME TO t is not supported");
    assert_eq!(rows(&server, "SELECT column_name FROM \"s$columns\"").await, json!([["n"]]));
}

/// Events come and columns change side by side: each event is a row once, with its value in the column of that name.
#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_lost_or_doubled_while_columns_change() {
    let server = TestServer::start().await;
    server.send("s", r#"{"n":0,"a0":0}"#).await;
    let sending = async {
        for batch in 0..20 {
            let events: Vec<String> = (1..=10).map(|n| format!("{{\"n\":{},\"a0\":{n}}}", batch * 10 + n)).collect();
            server.send("s", &events.join("\n")).await;
        }
    };
    let altering = async {
        for number in 0..8 {
            rows(&server, &format!("ALTER TABLE s RENAME COLUMN a{number} TO a{}", number + 1)).await;
            rows(&server, &format!("ALTER TABLE s ADD COLUMN b{number} date")).await;
        }
    };
    futures::join!(sending, altering);
    let found = rows(&server, "SELECT count(*), count(DISTINCT n), count(a8), count(_rescued) FROM s").await;
    assert_eq!(found, json!([[201, 201, 201, 0]]));
}
