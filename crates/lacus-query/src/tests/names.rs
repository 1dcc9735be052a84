//! Names: of any case in a statement, short in an answer.

use datafusion::arrow::datatypes::DataType;

use super::lake::{TestLake, ask, field, list, record, rows, schema};

fn lake() -> TestLake {
    let lake = TestLake::new();
    let product = record(vec![field(10, "productId", DataType::Int64), field(11, "Date", DataType::Utf8)]);
    let properties =
        record(vec![field(8, "revenue", DataType::Float64), field(9, "Products", list(field(13, "", product)))]);
    let track = schema(vec![
        field(5, "messageId", DataType::Utf8),
        field(6, "userId", DataType::Int64),
        field(7, "properties", properties),
        field(12, "order", DataType::Int64),
    ]);
    let events = r#"{"messageId":"a","userId":1,"properties":{"revenue":2.5,"Products":[{"productId":7,"Date":"d"}]},"order":1}
                    {"messageId":"b","userId":2,"order":2}"#;
    lake.table("track", &track, Vec::new(), vec![rows(&track, events)]);
    lake
}

#[tokio::test]
async fn a_name_is_found_in_any_case() {
    let lake = lake();
    let session = lake.session();
    for sql in [
        "select messageId from track where userId = 1",
        "select MESSAGEID from Track where userid = 1",
        "select t.\"messageId\" from track t where T.UserID = 1",
        "select messageid from (select messageId from track where properties.products[1].PRODUCTID = 7) x",
        "with x as (select userId as messageID from track) select 'a' from x where messageid = 1",
        "select max(messageId) from track group by userid having UserId = 1",
        "select a.messageId from track a join track b using (userId) where b.userId = 1 order by messageid",
        "select messageId from track where properties.products[1].date = 'd'",
        "select messageId from track order by userId limit 1",
        "select min(messageId) over (partition by USERID order by messageId) from track where \"order\" = 1",
    ] {
        assert_eq!(ask(&session, sql).await, "a", "{sql}");
    }
    let error = session.query("select \"messageid\" from track", &[]).await.err().unwrap();
    assert_eq!(error.hint(), Some("did you mean \"messageId\"? write it in double quotes: \"messageId\""));
}

async fn names(sql: &str) -> String {
    let lake = lake();
    let session = lake.session();
    let mut answer = session.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let batches = answer.read_all().await.unwrap();
    let shown: Vec<String> = answer.schema().fields().iter().map(|field| field.name().clone()).collect();
    for batch in batches {
        let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, shown);
    }
    let prepared = session.prepare(session.parse(sql).unwrap().remove(0)).await.unwrap();
    let described: Vec<String> = prepared.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(described, shown);
    shown.join("|")
}

#[tokio::test]
async fn a_column_is_called_as_it_was_asked_for() {
    for (sql, expected) in [
        ("select userId, properties.revenue from track", "userId|revenue"),
        ("select track.properties.revenue, properties['revenue'] + 1 from track", "revenue|properties['revenue'] + 1"),
        ("select properties.products[1].productId, properties.products[1].Date from track", "productid|date"),
        ("select properties.revenue, t.properties.revenue from track t", "properties.revenue|t.properties.revenue"),
        ("select count(*), sum(properties.revenue) from track", "count(*)|sum(properties.revenue)"),
        ("select 1, 1, null, null::int, 'x' as y", "1|1|NULL|NULL::INT|y"),
        ("select count(*), count(*) from track", "count(*)|count(*)"),
        (
            "select 2, t.*, properties.revenue from track t",
            "2|messageId|userId|properties|order|_rescued|_received_at|_partition|_offset|revenue",
        ),
        ("select properties.revenue from track union all select 1", "revenue"),
        ("select 1 as a, 2 as a, 3 as b", "a|a|b"),
        ("select userId, userid, userId as x from track", "userId|userId|x"),
        (
            "select t.*, 1 as \"order\" from track t",
            "messageId|userId|properties|order|_rescued|_received_at|_partition|_offset|order",
        ),
        ("select 1 as a, 2 as \"b#2\"", "a|b#2"),
        ("select count(*) + 1 from track order by 1", "count(*) + 1"),
    ] {
        assert_eq!(names(sql).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn for_athena_a_cast_that_rows_are_sorted_by_is_called_by_its_place() {
    let lake = lake();
    let session = lake.session();
    session.set_variable("dialect", "athena").unwrap();
    for sql in [
        "select cast(userId as varchar) from track order by userId",
        "select * from (select cast(userId as varchar) from track order by userId limit 1)",
    ] {
        let answer = session.query(sql, &[]).await.unwrap();
        assert_eq!(answer.schema().field(0).name(), "_col0", "{sql}");
    }
}
