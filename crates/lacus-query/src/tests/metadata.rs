//! What is known about a table, asked in SQL.

use lacus_core::{Offset, Partition, StreamName};
use lacus_lake::{Commit, TableAppend};

use super::databases::Filled;
use super::lake::ask;

async fn committed() -> Filled {
    let filled = Filled::new().await;
    filled.add("clicks", "{\"n\":1}\n{\"n\":2}").await;
    let stream = StreamName::new("clicks").unwrap();
    let table = filled.lake.table(&stream.table()).unwrap();
    let schema = table.state().schema.as_ref().clone();
    let tables = vec![TableAppend { table, schema, batches: 1 }];
    let delivered = [(Partition(0), Offset(2))].into_iter().collect();
    filled.lake.commit(Commit { stream, delivered, tables, raw: Vec::new() }).await.unwrap();
    filled
}

#[tokio::test]
async fn snapshots_history_and_files_are_tables() {
    let session = committed().await.session();
    for (sql, expected) in [
        (r#"select operation, parent_id, summary['added-records'] from "clicks$snapshots""#, "append|-|2"),
        (
            r#"select committed_at > '2026-01-01', manifest_list like 'file://%.avro' from clicks$snapshots"#,
            "true|true",
        ),
        (r#"select h.is_current_ancestor from "clicks$history" h join "clicks$snapshots" using (snapshot_id)"#, "true"),
        (
            r#"select name, type, r.snapshot_id = s.snapshot_id from "clicks$refs" r, "clicks$snapshots" s"#,
            "main|BRANCH|true",
        ),
        (
            r#"select content, file_path like 'file://%/clicks/data/%.parquet', file_format, record_count, file_size_in_bytes > 0
               from main."clicks$files""#,
            "0|true|PARQUET|2|true",
        ),
        (r#"select record_count, file_count, total_size > 0 from "clicks$partitions""#, "2|1|true"),
        (
            r#"select path like 'file://%.avro', length > 0, partition_spec_id, m.added_snapshot_id = s.snapshot_id, added_data_files_count,
                      added_rows_count, existing_data_files_count, deleted_rows_count
               from "clicks$manifests" m, "clicks$snapshots" s"#,
            "true|true|0|true|1|2|0|0",
        ),
        ("select count(*) from information_schema.tables where table_name like '%$%'", "0"),
    ] {
        assert_eq!(ask(&session, sql).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn a_table_without_a_commit_has_none() {
    let filled = Filled::new().await;
    filled.add("clicks", r#"{"n":1}"#).await;
    let session = filled.session();
    for what in ["snapshots", "history", "refs", "files", "partitions", "manifests"] {
        assert_eq!(ask(&session, &format!("select count(*) from \"clicks${what}\"")).await, "0");
    }
    let error = session.query("select * from \"clicks$file\"", &[]).await.err().unwrap();
    assert_eq!(error.message(), "there is no table \"clicks$file\" in database \"main\"");
    assert!(error.hint().is_some_and(|hint| hint.starts_with("behind $ there are snapshots")), "{error:?}");
    let error = session.query("select * from \"nothing$files\"", &[]).await.err().unwrap();
    assert_eq!(error.message(), "there is no table \"nothing\" in database \"main\"");
}
