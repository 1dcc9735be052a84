//! Files and batches written before a column was found.

use datafusion::arrow::datatypes::{DataType, SchemaRef};

use super::lake::{TestLake, ask, field, list, record, rows, schema};

fn old() -> SchemaRef {
    let commit = record(vec![field(8, "sha", DataType::Utf8)]);
    schema(vec![
        field(5, "id", DataType::Int64),
        field(6, "payload", record(vec![field(7, "commits", list(field(9, "", commit)))])),
        field(20, "gone", DataType::Utf8),
    ])
}

fn new() -> SchemaRef {
    let author = record(vec![field(11, "name", DataType::Utf8)]);
    let commit = record(vec![field(8, "sha", DataType::Utf8), field(10, "author", author)]);
    let head = record(vec![field(15, "sha", DataType::Utf8)]);
    let commits = field(7, "commits", list(field(9, "", commit)));
    let payload = record(vec![commits, field(12, "size", DataType::Int64), field(14, "head", head)]);
    schema(vec![
        field(5, "id", DataType::Int64),
        field(6, "payload", payload),
        field(13, "actor", DataType::Utf8),
        // A column of the same name as one that was dropped.
        field(21, "gone", DataType::Utf8),
    ])
}

const OLD: &str = r#"{"id":1,"payload":{"commits":[{"sha":"a"},{"sha":"b"}]},"gone":"old","_offset":0}
                     {"id":2,"_offset":1}"#;
const NEW: &str = r#"{"id":3,"payload":{"commits":[{"sha":"c","author":{"name":"Ada"}}],"size":1,"head":{"sha":"c"}},"actor":"ada","gone":"new","_offset":2}"#;

/// Old rows in a file, in the tail, or in both; new rows in a file.
fn lakes() -> Vec<TestLake> {
    let (old, new) = (old(), new());
    let in_files = TestLake::new();
    let files = vec![in_files.file("old.parquet", &rows(&old, OLD)), in_files.file("new.parquet", &rows(&new, NEW))];
    in_files.table("events", &new, files, Vec::new());
    let in_tail = TestLake::new();
    in_tail.table("events", &new, Vec::new(), vec![rows(&old, OLD), rows(&new, NEW)]);
    let in_both = TestLake::new();
    let files = vec![in_both.file("old.parquet", &rows(&old, OLD))];
    in_both.table("events", &new, files, vec![rows(&new, NEW)]);
    vec![in_files, in_tail, in_both]
}

async fn check(sql: &str, expected: &str) {
    for lake in lakes() {
        assert_eq!(ask(&lake.session(), sql).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn what_a_file_lacks_is_null_at_every_depth() {
    check("select id, actor from events order by id", "1|-\n2|-\n3|ada").await;
    check("select id, payload.size from events order by id", "1|-\n2|-\n3|1").await;
    check("select payload.head.sha from events order by id", "-\n-\nc").await;
    check("select count(payload.head.sha) from events", "1").await;
    check("select payload.commits[1].author.name from events order by id", "-\n-\nAda").await;
    check("select payload.commits[2].sha from events order by id", "b\n-\n-").await;
    let all = "{commits: [{sha: a, author: -}, {sha: b, author: -}], size: -, head: -}\n-\n{commits: [{sha: c, author: {name: Ada}}], size: 1, head: {sha: c}}";
    check("select payload from events order by id", all).await;
    check("select count(*) from (select * from events)", "3").await;
}

#[tokio::test]
async fn filters_on_new_columns_find_new_rows_only() {
    check("select id from events where actor = 'ada'", "3").await;
    check("select id from events where actor is null order by id", "1\n2").await;
    check("select id from events where payload.size = 1", "3").await;
    check("select id from events where payload.size is null order by id", "1\n2").await;
    check("select id from events where payload.head.sha = 'c'", "3").await;
    check("select id from events where payload.commits[1].author.name = 'Ada'", "3").await;
    check("select id from events where payload is not null order by id", "1\n3").await;
    check("select id from events where payload.commits[1].sha = 'a'", "1").await;
    check("select id from events where cardinality(payload.commits) = 2", "1").await;
    check("select id from events where id = 1 and (actor = 'x' or payload.size is null)", "1").await;
    check("select count(*) from events where actor <> 'x'", "1").await;
}

#[tokio::test]
async fn ids_decide_not_names() {
    check("select id, gone from events order by id", "1|-\n2|-\n3|new").await;
    check("select count(*) from events where gone = 'old'", "0").await;
}
