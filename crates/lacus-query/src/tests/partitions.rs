//! What partitions tell of files is what reading them would: files that are counted have the groups of those that are read.

use std::sync::Arc;

use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider};
use lacus_core::{MAIN_DATABASE, settings};
use lacus_lake::{DeletedRows, LiveFile, TableState};
use proptest::prelude::*;

use super::databases::Filled;
use super::lake::{ask, ask_with_stats};
use super::pruning::{Row, Rows, any_condition, any_row};
use crate::{Dialect, Engine, LakeTable, Session};

fn row(t: Option<&str>) -> Row {
    Row { t: t.map(str::to_owned), ..Row::default() }
}

/// A session over the table in another state.
fn over(rows: &Rows, state: TableState) -> Session {
    let (catalog, database) = (MemoryCatalogProvider::new(), Arc::new(MemorySchemaProvider::new()));
    catalog.register_schema(MAIN_DATABASE, Arc::clone(&database) as _).unwrap();
    database.register_table("t".to_owned(), Arc::new(LakeTable::new(Arc::new(state)))).unwrap();
    let engine = Engine::over(Arc::new(catalog) as _, rows.lake.store(), &settings::Query::default()).unwrap();
    engine.session(Dialect::Lacus)
}

/// The lines of an answer, in order.
fn sorted(answer: &str) -> Vec<&str> {
    let mut lines: Vec<_> = answer.split('\n').collect();
    lines.sort_unstable();
    lines
}

async fn check(session: &Session, sql: &str, expected: &[&str]) {
    assert_eq!(sorted(&ask(session, sql).await), expected, "{sql}");
}

/// Rows in files that are partitioned by `t`, by more and by less, and in the hot tail.
async fn mixed() -> Rows {
    let (a, b, none) = (row(Some("a")), row(Some("b")), row(None));
    let mut rows = Rows::new().await;
    rows.commit(&[a.clone(), b.clone()]).await;
    rows.lay_out(&["t"], &[]);
    rows.commit(&[a.clone(), none.clone(), a.clone(), b.clone(), a.clone()]).await;
    rows.lay_out(&["n", "t"], &[]);
    rows.commit(&[a.clone(), none.clone(), Row { n: Some(1), ..a.clone() }]).await;
    rows.lay_out(&["n"], &[]);
    rows.commit(&[b.clone(), a]).await;
    rows.append(&[b, none]);
    assert_eq!(rows.table.state().files.len(), 8);
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_row_is_counted_once_wherever_it_is() {
    let rows = mixed().await;
    let session = &rows.session;
    check(session, "SELECT t, count(*) FROM t GROUP BY t", &["-|3", "a|7", "b|4"]).await;
    let plan = ask(session, "EXPLAIN SELECT t, count(*) FROM t GROUP BY t").await;
    assert!(plan.contains("counts of rows in 6 files"), "{plan}");
    for (sql, expected) in [
        ("SELECT n, t, count(*) FROM t GROUP BY n, t", &["-|-|3", "-|a|6", "-|b|4", "1|a|1"] as &[_]),
        ("SELECT n, count(*) FROM t GROUP BY n", &["-|13", "1|1"]),
        ("SELECT count(*) FROM t WHERE t = 'a'", &["7"]),
        ("SELECT count(*), count(t), min(t) FROM t WHERE t IS NULL", &["3|0|-"]),
        ("SELECT count(*), count(t), min(t), max(t) FROM t WHERE t IS NULL OR t > 'a'", &["7|4|b|b"]),
        ("SELECT count(*), max(t) FROM t WHERE t = 'nobody'", &["0|-"]),
        ("SELECT t, count(*) FROM t WHERE t = 'nobody' GROUP BY t", &[""]),
        ("SELECT DISTINCT t FROM t WHERE t IS NOT NULL", &["a", "b"]),
        ("SELECT count(DISTINCT t) FROM t", &["2"]),
        ("SELECT count(DISTINCT t), count(*) FROM t", &["2|14"]),
        ("SELECT t, count(*) FILTER (WHERE t = 'a') FROM t GROUP BY t", &["-|0", "a|7", "b|0"]),
        ("SELECT upper(t), count(*), count(1) FROM t GROUP BY 1 HAVING count(*) > 3", &["A|7|7", "B|4|4"]),
        ("SELECT u, count(*) FROM (SELECT coalesce(t, 'z') AS u FROM t) s WHERE u > 'a' GROUP BY u", &["b|4", "z|3"]),
        ("SELECT t, count(*) FROM t GROUP BY ROLLUP (t)", &["-|14", "-|3", "a|7", "b|4"]),
        ("SELECT s.* FROM (SELECT t, count(*) FROM t GROUP BY t) AS s JOIN t ON t.t = s.t AND t.n = 1", &["a|7"]),
        ("SELECT DISTINCT o.t, (SELECT count(*) FROM t AS i WHERE i.t = o.t) FROM t AS o", &["-|0", "a|7", "b|4"]),
        ("SELECT (SELECT count(*) FROM t WHERE t = 'b')", &["4"]),
        ("SELECT count(*) FROM t WHERE t = 'a' UNION ALL SELECT count(*) FROM t WHERE t = 'b'", &["4", "7"]),
        ("SELECT count(*), count(t) >= 0 FROM (SELECT t FROM t LIMIT 5) AS s", &["5|true"]),
        ("SELECT count(*) FROM t WHERE t = 'a' AND random() < 2", &["7"]),
        ("SELECT t, sum(1), avg(\"_offset\") >= 0 FROM t GROUP BY t", &["-|3|true", "a|7|true", "b|4|true"]),
        ("SELECT t, count(*) OVER (PARTITION BY t) FROM t WHERE t = 'b'", &["b|4", "b|4", "b|4", "b|4"]),
    ] {
        check(session, sql, expected).await;
    }
    rows.merge().await;
    check(session, "SELECT t, count(*) FROM t GROUP BY t", &["-|3", "a|7", "b|4"]).await;
}

/// Without some of its rows: one `a`, one that is null, and one `b`, each in a file that is partitioned by `t` alone.
fn without_some(rows: &Rows) -> Session {
    let state = rows.table.state();
    let deleted = |file: &LiveFile| match (file.rows, file.stats.values()) {
        // The middle one of three `a`.
        (3, _) => vec![1],
        (1, [value]) if value.id == 6 => vec![0],
        _ => Vec::new(),
    };
    let files =
        state.files.iter().map(|file| LiveFile { deleted: DeletedRows::of(deleted(file)), ..file.clone() }).collect();
    over(rows, TableState { files, ..TableState::clone(&state) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_rows_are_not_counted() {
    let rows = mixed().await;
    let session = without_some(&rows);
    check(&session, "SELECT t, count(*) FROM t GROUP BY t", &["-|2", "a|6", "b|3"]).await;
    let plan = ask(&session, "EXPLAIN SELECT t, count(*) FROM t GROUP BY t").await;
    assert!(plan.contains("counts of rows in 3 files"), "{plan}");
    check(&session, "SELECT count(*), count(t) FROM t WHERE t > 'a' OR t IS NULL", &["5|3"]).await;
    check(&session, "SELECT count(\"_offset\") FROM t WHERE t = 'b'", &["3"]).await;
}

/// 300 rows in three files, one for each `t`: null, or longer than the bounds of text are.
async fn thirds() -> Rows {
    let mut rows = Rows::new().await;
    rows.lay_out(&["t"], &[]);
    let long = "a".repeat(40);
    let row = |n: i64| Row { n: Some(n), t: (n % 3 > 0).then(|| format!("{long}{}", n % 3)), ..Row::default() };
    rows.commit(&(0..300).map(row).collect::<Vec<_>>()).await;
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_manifests_is_not_read() {
    let rows = thirds().await;
    let session = &rows.session;
    for (sql, expected) in [
        ("SELECT length(t), count(*) FROM t GROUP BY t", &["-|100", "41|100", "41|100"] as &[_]),
        ("SELECT right(t, 1), count(*) FROM t WHERE t LIKE '%1' GROUP BY 1", &["1|100"]),
        ("SELECT right(max(t), 1) FROM t", &["2"]),
        ("SELECT DISTINCT right(t, 1) FROM t", &["-", "1", "2"]),
    ] {
        let (answer, stats) = ask_with_stats(session, sql).await.unwrap();
        assert_eq!(sorted(&answer), expected, "{sql}");
        assert_eq!((stats.bytes_scanned, stats.files_scanned, stats.files_skipped), (0, 0, 3), "{sql}: {stats:?}");
    }
    let cost = ask(session, "EXPLAIN COST SELECT t, count(*) FROM t GROUP BY t").await;
    assert!(cost.starts_with("0|3|0|0|"), "{cost}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_every_type_are_as_they_were_written() {
    let lake = Filled::new().await;
    let session = lake.session();
    let run = async |sql: &str| {
        session.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    };
    let same = async |sql: &str| {
        let (by_value, plain) = (ask(&session, &format!("{sql} FROM k GROUP BY p")).await, format!("{sql} FROM plain"));
        let plain = ask(&session, &format!("{plain} GROUP BY p")).await;
        assert_eq!(sorted(&by_value), sorted(&plain), "{sql}");
    };
    for (kind, first, second) in [
        ("integer", "2147483647", "-1"),
        ("bigint", "9223372036854775807", "-9223372036854775808"),
        ("boolean", "true", "false"),
        ("text", "a text that is longer than any bound of it would be", ""),
        ("date", "2026-11-21", "1969-12-31"),
        ("timestamp", "2026-11-21 10:00:00.000001", "1969-12-31 23:59:59"),
        ("numeric(10,2)", "12345678.90", "-0.01"),
    ] {
        run(&format!("CREATE TABLE k (p {kind}, n bigint) WITH (partitioned_by = ARRAY['p'])")).await;
        run(&format!("CREATE TABLE plain (p {kind}, n bigint)")).await;
        let (first, second) = (format!("CAST('{first}' AS {kind})"), format!("CAST('{second}' AS {kind})"));
        for table in ["k", "plain"] {
            run(&format!("INSERT INTO {table} VALUES ({first}, 1), ({second}, 2), ({first}, 3), (NULL, 4)")).await;
            run(&format!("INSERT INTO {table} VALUES ({second}, 5), (NULL, 6)")).await;
        }
        for counts in ["SELECT p, count(*)", "SELECT p, count(n)", "SELECT p, sum(n)", "SELECT count(p), max(p)"] {
            same(counts).await;
        }
        for table in ["k", "plain"] {
            run(&format!("DELETE FROM {table} WHERE n IN (3, 4)")).await;
            run(&format!("UPDATE {table} SET p = {first} WHERE n = 6")).await;
        }
        same("SELECT p, count(*), count(p)").await;
        if kind == "integer" {
            for table in ["k", "plain"] {
                run(&format!("ALTER TABLE {table} ALTER COLUMN p TYPE bigint")).await;
                run(&format!("INSERT INTO {table} VALUES ({first}, 7), (9223372036854775807, 8)")).await;
            }
            same("SELECT p, count(*), count(p)").await;
            same("SELECT p, sum(n)").await;
        }
        run("DROP TABLE k").await;
        run("DROP TABLE plain").await;
    }
}

const LAYOUTS: [&[&str]; 5] = [&[], &["t"], &["n"], &["b", "t"], &["bucket[2](n)", "b"]];

/// What is asked of the rows, and how they are grouped.
const QUESTIONS: [(&str, &str); 7] = [
    ("count(*), count(t), count(n)", ""),
    ("n, count(*)", "GROUP BY n"),
    ("b, t, count(*), count(b), min(t), max(t)", "GROUP BY t, b"),
    ("b, max(n), count(*)", "GROUP BY b"),
    ("coalesce(t, 'none') AS named, count(b)", "GROUP BY 1"),
    ("b, count(DISTINCT t)", "GROUP BY b"),
    ("DISTINCT b, t", ""),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5))]

    /// Whatever the layouts were, with rows in the tail, and whatever is asked of them: the groups of rows in memory.
    #[test]
    fn groups_are_those_of_all_rows(
        commits in prop::collection::vec((prop::collection::vec(any_row(), 1..25), 0..LAYOUTS.len()), 1..5),
        tail in prop::collection::vec(any_row(), 0..10),
        is_merged in any::<bool>(),
        conditions in prop::collection::vec(any_condition(), 5),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut rows = Rows::new().await;
            for (commit, layout) in &commits {
                rows.lay_out(LAYOUTS[*layout], &[]);
                rows.commit(commit).await;
            }
            if is_merged {
                rows.merge().await;
            }
            if !tail.is_empty() {
                rows.append(&tail);
            }
            for (columns, groups) in QUESTIONS {
                for condition in ["true"].into_iter().chain(conditions.iter().map(String::as_str)) {
                    let rest = format!("WHERE {condition} {groups}");
                    let found = ask(&rows.session, &format!("SELECT {columns} FROM t {rest}")).await;
                    assert_eq!(sorted(&found), sorted(&rows.of_memory(columns, &rest).await), "{columns} {rest}");
                }
            }
        });
    }
}
