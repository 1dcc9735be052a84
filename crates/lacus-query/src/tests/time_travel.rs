//! Tables as they were, asked in SQL.

use lacus_core::{Offset, Partition, StreamName};
use lacus_lake::{Commit, TableAppend};

use super::databases::Filled;
use super::lake::{ask, ask_with_stats};

/// Commits what is in the tail of `clicks`, so that it has `rows` rows.
async fn commit(filled: &Filled, rows: u64) {
    let stream = StreamName::new("clicks").unwrap();
    let table = filled.lake.table(&stream.table()).unwrap();
    let (schema, batches) = (table.state().schema.as_ref().clone(), table.state().tail.len());
    let tables = vec![TableAppend { table, schema, batches }];
    let delivered = [(Partition(0), Offset(rows))].into_iter().collect();
    filled.lake.commit(Commit { stream, delivered, tables, raw: Vec::new() }).await.unwrap();
}

/// Two commits, the second with a column more, and a row that is not committed. The times are those of the commits.
async fn two_commits() -> (Filled, Vec<lacus_lake::Snapshot>) {
    let filled = Filled::new().await;
    filled.add("clicks", "{\"n\":1}\n{\"n\":2}").await;
    commit(&filled, 2).await;
    filled.add_from("clicks", 2, r#"{"n":3,"userId":"u"}"#).await;
    commit(&filled, 3).await;
    filled.add_from("clicks", 3, r#"{"n":4}"#).await;
    let table = filled.lake.table(&StreamName::new("clicks").unwrap().table()).unwrap();
    (filled, table.snapshots())
}

#[tokio::test]
async fn a_version_or_a_time_of_a_table_is_asked_for() {
    let (filled, snapshots) = two_commits().await;
    let session = filled.session();
    let (first, second, micros) = (snapshots[0].id, snapshots[1].id, snapshots[0].committed_at.as_micros());
    let between = format!("TIMESTAMP '1970-01-01' + INTERVAL '{micros} microseconds'");
    for (sql, expected) in [
        (format!("select n from clicks for version as of {first} order by n"), "1\n2"),
        (
            format!("select * from clicks for version as of {first} where n = 1 and _offset = 0"),
            "1|-|1970-01-01T00:00:00Z|0|0",
        ),
        (format!("SELECT count(*) FROM clicks FOR VERSION AS OF {second}"), "3"),
        ("select count(*) from clicks for version as of 'main'".to_owned(), "3"),
        ("select count(*) from clicks for timestamp as of now() + interval '1 day'".to_owned(), "3"),
        ("select count(*) from Clicks for system_time as of current_timestamp c".to_owned(), "3"),
        (
            "select max(c.userid) from main.clicks for timestamp as of timestamp '2999-01-01 10:00:00 UTC' as c"
                .to_owned(),
            "u",
        ),
        (format!("select count(*) from clicks for timestamp as of {between}"), "2"),
        (
            format!(
                "select count(*) from clicks for version as of {first} o right join clicks n on n.n = o.n where o.n is null"
            ),
            "2",
        ),
        (
            format!(
                "with old as (select clicks.n from clicks for system_version as of {first}) select sum(n) from old"
            ),
            "3",
        ),
        (format!("select n from clicks except select n from clicks for version as of {second}"), "4"),
        (
            "select 'for version as of 5' as t, count(*) from clicks for version as of 'main'".to_owned(),
            "for version as of 5|3",
        ),
    ] {
        assert_eq!(ask(&session, &sql).await, expected, "{sql}");
    }
    let plan = ask(&session, &format!("explain select n from clicks for version as of {first}")).await;
    assert!(plan.contains("TableScan"), "{plan}");
}

#[tokio::test]
async fn a_version_that_is_not_there_is_told_with_its_place() {
    let (filled, snapshots) = two_commits().await;
    let session = filled.session();
    let oldest = format!("the oldest snapshot there is is {} of {}", snapshots[0].id, snapshots[0].committed_at);
    for (sql, position, message, hint) in [
        (
            "select n from clicks for version as of 5",
            40,
            "table \"clicks\" has no snapshot 5: it has expired or never was",
            oldest.as_str(),
        ),
        (
            "select n from clicks for timestamp as of date '2001-01-01'",
            42,
            "table \"clicks\" has no snapshot from 2001-01-01T00:00:00.000000Z or before",
            oldest.as_str(),
        ),
        (
            "select n from clicks for version as of 'launch'",
            40,
            "table \"clicks\" has no tag \"launch\"",
            "see its tags: SELECT name FROM \"clicks$refs\"",
        ),
        (
            "select n from click for version as of 5",
            15,
            "there is no table \"click\" in database \"main\"",
            "did you mean \"clicks\"?",
        ),
        (
            "select n from clicks for version as of n + 1",
            40,
            "n + 1 is no version of a table",
            "a version is the number of a snapshot, or a tag in single quotes; see \"table$snapshots\" and \"table$refs\"",
        ),
        (
            "select n from clicks for timestamp as of 'yesterday'",
            42,
            "'yesterday' is no time",
            "write it as TIMESTAMP '2026-11-20 19:30:00', in UTC",
        ),
        (
            "select n from clicks c for version as of 5",
            42,
            "syntax error: the version of a table stands right behind its name, before its alias",
            "-",
        ),
        (
            "select n from clicks$files for version as of 5",
            46,
            "\"clicks$files\" is computed when it is asked: it has no versions",
            "ask the table that it is computed from",
        ),
    ] {
        let error = ask_with_stats(&session, sql).await.err().unwrap_or_else(|| panic!("{sql} has an answer"));
        let told = (error.position().unwrap_or(0), error.message(), error.hint().unwrap_or("-"));
        assert_eq!(told, (position, message, hint), "{sql}");
    }
}
