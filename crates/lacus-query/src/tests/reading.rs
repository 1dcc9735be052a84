//! Files and tail read as one table; what it costs.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, Int64Array, RecordBatch, new_null_array};
use datafusion::arrow::datatypes::{DataType, Int64Type, SchemaRef};

use super::lake::{TestLake, ask, ask_with_stats, field, list, record, rows, schema};

fn clicks() -> SchemaRef {
    let product = record(vec![field(8, "id", DataType::Int64), field(9, "tags", list(field(10, "", DataType::Utf8)))]);
    schema(vec![
        field(5, "event_name", DataType::Utf8),
        field(6, "additional_data", record(vec![field(7, "product", product), field(11, "price", DataType::Float64)])),
    ])
}

fn lake() -> TestLake {
    let lake = TestLake::new();
    let clicks = clicks();
    let committed = rows(
        &clicks,
        r#"{"event_name":"Search","_offset":0}
           {"event_name":"Purchase","additional_data":{"price":9.5,"product":{"id":7,"tags":["a","b"]}},"_offset":1}"#,
    );
    let tail = rows(&clicks, r#"{"event_name":"Purchase","additional_data":{"price":2.5},"_offset":2}"#);
    let file = lake.file("one.parquet", &committed);
    lake.table("clicks", &clicks, vec![file], vec![tail]);
    lake.table("empty", &schema(Vec::new()), Vec::new(), Vec::new());
    lake
}

#[tokio::test]
async fn files_and_tail_are_one_table() {
    let lake = lake();
    let session = lake.session();
    let sql = "select event_name, count(*), sum(additional_data.price) from clicks group by 1 order by 1";
    assert_eq!(ask(&session, sql).await, "Purchase|2|12.0\nSearch|1|-");
    assert_eq!(ask(&session, "select _offset from lake.main.clicks order by 1").await, "0\n1\n2");
    assert_eq!(ask(&session, "select count(*) from clicks a join main.clicks b using (_offset)").await, "3");
}

#[tokio::test]
async fn nested_fields_are_reached_by_path() {
    let lake = lake();
    let session = lake.session();
    let one = "from clicks where _offset = 1";
    for path in [
        "additional_data.product.tags[2]",
        "additional_data['product']['tags'][2]",
        "clicks.additional_data.product.tags[2]",
    ] {
        assert_eq!(ask(&session, &format!("select {path} {one}")).await, "b", "{path}");
    }
    let filter = "select _offset from clicks where additional_data.price > 2 and additional_data['price'] < 9";
    assert_eq!(ask(&session, filter).await, "2");
    assert_eq!(ask(&session, "select _offset from clicks where additional_data.product.id = 7").await, "1");
}

#[tokio::test]
async fn every_column_can_be_selected_at_once() {
    let lake = lake();
    let session = lake.session();
    let expected = "Purchase|{product: {id: 7, tags: [a, b]}, price: 9.5}|-|-|-|1";
    assert_eq!(ask(&session, "select * from clicks where _offset = 1").await, expected);
    assert_eq!(ask(&session, "select * from clicks").await.lines().count(), 3);
    assert_eq!(ask(&session, "select * from empty").await, "");
    assert_eq!(ask(&session, "select count(*) from empty").await, "0");
}

#[tokio::test]
async fn counting_rows_reads_nothing() {
    let lake = lake();
    let session = lake.session();
    let (answer, stats) = ask_with_stats(&session, "select count(*) from clicks").await.unwrap();
    assert_eq!(answer, "3");
    assert_eq!((stats.bytes_scanned, stats.files_scanned, stats.rows), (0, 0, 1));
}

#[tokio::test]
async fn the_cost_is_what_was_read() {
    let lake = lake();
    let session = lake.session();
    let (_, one) = ask_with_stats(&session, "select additional_data.price from clicks").await.unwrap();
    let (_, all) = ask_with_stats(&session, "select * from clicks").await.unwrap();
    assert_eq!((one.rows, one.files_scanned), (3, 1));
    assert!(one.bytes_scanned > 0 && one.bytes_scanned < all.bytes_scanned, "{one:?} {all:?}");
}

#[tokio::test]
async fn filters_prune_row_groups_and_limits_stop_early() {
    let lake = TestLake::new();
    let table = schema(vec![field(5, "n", DataType::Int64)]);
    let count = 50_000_i64;
    let mut columns: Vec<_> =
        table.fields().iter().map(|field| new_null_array(field.data_type(), usize::try_from(count).unwrap())).collect();
    columns[0] = Arc::new(Int64Array::from_iter_values(0..count));
    let file = lake.file("n.parquet", &RecordBatch::try_new(Arc::clone(&table), columns).unwrap());
    lake.table("n", &table, vec![file], Vec::new());
    let session = lake.session();
    let (answer, all) = ask_with_stats(&session, "select sum(n) from n").await.unwrap();
    assert_eq!(answer, "1249975000");
    let (answer, point) = ask_with_stats(&session, "select n from n where n = 41999").await.unwrap();
    assert_eq!(answer, "41999");
    assert!(point.bytes_scanned * 20 < all.bytes_scanned, "{point:?} {all:?}");
    let (answer, limited) = ask_with_stats(&session, "select n from n limit 3").await.unwrap();
    assert_eq!(answer.lines().count(), 3);
    assert!(limited.bytes_scanned < all.bytes_scanned, "{limited:?} {all:?}");
}

#[tokio::test]
async fn fields_of_objects_are_there_above_unnest() {
    let lake = lake();
    let session = lake.session();
    let tags = "from clicks t cross join unnest(t.additional_data.product.tags) as u(tag)";
    assert_eq!(ask(&session, &format!("select t.additional_data.price, tag {tags} order by 2")).await, "9.5|a\n9.5|b");
    let grouped = format!("select t.additional_data.product.id, count(*) {tags} where tag > 'a' group by 1");
    assert_eq!(ask(&session, &grouped).await, "7|1");
}

#[tokio::test]
async fn words_of_the_catalog_in_a_question_about_rows_change_nothing() {
    let lake = TestLake::new();
    let pages = schema(vec![field(5, "n", DataType::Int64), field(6, "pg_id", DataType::Utf8)]);
    let file = lake.file("pages.parquet", &rows(&pages, r#"{"n":1,"pg_id":"pg_a"}{"n":9,"pg_id":"pg_b"}"#));
    lake.table("pages", &pages, vec![file], Vec::new());
    let session = lake.session();
    let first = "select n from pages where n = (select n from pages where pg_id like 'pg_%' order by n limit 1)";
    assert_eq!(ask(&session, first).await, "1");
    let beside = "select n, (select max(o.pg_id) from pages o where o.n = p.n) as pg from pages p order by n";
    assert_eq!(ask(&session, beside).await, "1|pg_a\n9|pg_b");
}

#[tokio::test]
async fn joins_that_must_see_nulls_see_them() {
    let lake = TestLake::new();
    let numbers = schema(vec![field(5, "n", DataType::Int64)]);
    let file = |name: &str, json: &str| lake.file(name, &rows(&numbers, json));
    lake.table("few", &numbers, vec![file("few.parquet", r#"{"n":1}{"n":2}"#)], Vec::new());
    lake.table("nulls", &numbers, vec![file("nulls.parquet", r#"{"n":2}{"n":7}{"n":null}"#)], Vec::new());
    lake.table(
        "tail",
        &numbers,
        vec![file("tail.parquet", r#"{"n":7}"#)],
        vec![rows(&numbers, r#"{"n":null}{"n":8}"#)],
    );
    let session = lake.session();
    for other in ["nulls", "tail"] {
        let sql = format!("select n from few where n not in (select n from {other})");
        assert_eq!(ask(&session, &sql).await, "", "{other}");
        let sql = format!(
            "select n from (select n from few where n not in (select n from {other})) where n < 2 order by n limit 1"
        );
        assert_eq!(ask(&session, &sql).await, "", "{other}");
    }
    assert_eq!(ask(&session, "select n from few where n not in (select n from nulls where n > 1)").await, "1");
    assert_eq!(ask(&session, "select n from few where n in (select n from nulls)").await, "2");
    assert_eq!(ask(&session, "select n from tail except select n from nulls").await, "8");
    assert_eq!(ask(&session, "select n from nulls intersect select n from tail order by 1").await, "7\n-");
    let same = "select count(*) from tail join nulls on tail.n is not distinct from nulls.n";
    assert_eq!(ask(&session, same).await, "2");
}

#[tokio::test]
async fn the_first_rows_of_a_union_are_those_of_all_parts() {
    let lake = lake();
    let session = lake.session();
    let parts = "(SELECT 1 AS a, 10 AS b FROM clicks) UNION ALL (SELECT 2, CAST(NULL AS bigint) FROM clicks)";
    let query = format!("{parts} ORDER BY a DESC, b LIMIT 2");
    for _ in 0..5 {
        assert_eq!(ask(&session, &query).await, "2|-\n2|-");
    }
}

#[tokio::test]
async fn large_rows_come_few_at_once() {
    let lake = lake();
    let sql = "select repeat('x', 1000000) as x, value from generate_series(1, 100) order by value";
    let mut answer = lake.session().query(sql, &[]).await.unwrap();
    let batches = answer.read_all().await.unwrap();
    assert!(batches.len() > 1 && batches.iter().all(|batch| batch.num_rows() <= 64), "{}", batches.len());
    let numbers = batches.iter().flat_map(|batch| batch.column(1).as_primitive::<Int64Type>().values().to_vec());
    assert!(numbers.eq(1..=100), "the order stays");
}
