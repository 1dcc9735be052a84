//! Conditions that save nothing are asked when rows were read, and of the same rows.

use super::lake::ask;
use super::pruning::{Row, Rows};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_are_asked_afterwards_where_they_save_nothing() {
    let mut rows = Rows::new().await;
    for first in [0, 30] {
        let text = |n: i64| (n % 5 > 0).then(|| format!("text {}", n % 3));
        let row = |n: i64| Row { n: (n % 7 > 0).then_some(n), t: text(n), b: Some(n % 2 > 0), ..Row::default() };
        rows.commit(&(first..first + 30).map(row).collect::<Vec<_>>()).await;
    }
    for (columns, rest, is_asked_afterwards) in [
        ("t, count(*)", "WHERE t <> 'text 1' GROUP BY t", true),
        ("t, count(n), max(n), count(b)", "WHERE t <> 'text 1' GROUP BY t", true),
        ("count(*), min(n)", "WHERE n <> 8", true),
        ("t, count(*)", "WHERE n <> 8 AND t <> '' GROUP BY t", true),
        ("t, count(*)", "WHERE n <> 8 GROUP BY t", false),
        ("t, count(*)", "WHERE t = 'text 1' GROUP BY t", true),
        ("n", "WHERE n = 8", true),
        ("n", "WHERE n > 8", false),
        ("t, n", "WHERE n = 8", false),
        ("t, count(*)", "WHERE t <> 'text 1' AND n > 8 GROUP BY t", false),
        ("\"_offset\", t", "WHERE t <> 'text 1'", false),
        ("t, count(*)", "WHERE t <> 'text 1' AND n IN (SELECT n FROM t WHERE b) GROUP BY t", false),
    ] {
        let rest = format!("{rest} ORDER BY 1");
        let sql = format!("SELECT {columns} FROM t {rest}");
        let plan = ask(&rows.session, &format!("EXPLAIN {sql}")).await;
        assert_eq!(plan.contains("FilterExec"), is_asked_afterwards, "{sql}\n{plan}");
        assert_eq!(ask(&rows.session, &sql).await, rows.of_memory(columns, &rest).await, "{sql}");
    }
}
