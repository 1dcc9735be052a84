//! What a user is told about a wrong statement.

use datafusion::arrow::datatypes::DataType;

use super::lake::{TestLake, ask_with_stats, field, record, rows, schema};

fn lake() -> TestLake {
    let lake = TestLake::new();
    let data = record(vec![field(8, "price", DataType::Float64)]);
    let clicks = schema(vec![
        field(5, "event_name", DataType::Utf8),
        field(6, "userId", DataType::Int64),
        field(7, "additional_data", data),
    ]);
    let tail = rows(&clicks, r#"{"event_name":"Search","userId":1}"#);
    lake.table("clicks", &clicks, Vec::new(), vec![tail]);
    lake.table("orders", &schema(vec![field(5, "event_name", DataType::Utf8)]), Vec::new(), Vec::new());
    lake
}

/// One line for each statement: `SQLSTATE position message (hint)`.
async fn told(statements: &[&str]) -> String {
    let lake = lake();
    let session = lake.session();
    let mut lines = String::new();
    for sql in statements {
        let line = match ask_with_stats(&session, sql).await {
            Ok((answer, _)) => format!("ok: {answer}"),
            Err(error) => {
                let position = error.position().map_or("-".to_owned(), |position| position.to_string());
                let hint = error.hint().map_or(String::new(), |hint| format!(" ({hint})"));
                format!("{} {position} {}{hint}", error.sqlstate(), error.message())
            }
        };
        lines.push_str(&format!("{sql}\n    {line}\n"));
    }
    lines
}

#[tokio::test]
async fn what_a_function_does_not_take_is_said_without_words_of_the_engine() {
    let told = told(&["select json_extract_scalar(additional_data, '$.price') from clicks"]).await;
    assert!(told.contains("42883 - json_extract_scalar(row(price double), varchar) is not supported"), "{told}");
}

#[tokio::test]
async fn each_mistake_is_named_and_placed() {
    let told = told(&[
        "selec 1",
        "select from where",
        "select 1 +",
        "select 'open",
        "select (1",
        "select 1; select 2",
        "",
        "select * from click",
        "select * from nothing_like_it",
        "select * from other.clicks",
        "select\n  event_nam from clicks",
        "select clicks.nope from clicks",
        "select UserID from clicks",
        "select additional_data.prize from clicks",
        "select event_name from clicks, orders",
        "select nofunction(1)",
        "select cuont(*) from clicks",
        "select sum(event_name) from clicks",
        "select 1 / 0",
        "select userId / 0 from clicks",
        "select cast('x' as bigint)",
        "select cast(event_name as bigint) from clicks",
        "select event_name, count(*) from clicks",
        "select 1 from clicks where event_name",
        "select 1 + interval '1 day'",
        "select $1",
        "insert into clicks values (1)",
        "drop table clicks",
        "copy clicks to '/tmp/x'",
        "set nothing = 1",
        "set dialect = 'oracle'",
        "show nothing",
        "select \"Search\" from clicks",
        "select 9223372036854775807 + 1",
        "select * from clicks where userId = 'abc'",
        "select * from clicks limit 'a'",
        "select a.x from clicks a",
        "select x from (select event_name from clicks) t",
        "select é, nope from clicks",
        "select * from clicks order by nope",
        "select event_name + 1 from clicks",
        "select additional_data->>'price' from clicks",
    ])
    .await;
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(told) });
}
