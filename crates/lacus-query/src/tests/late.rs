//! Columns that are read late are those of the right rows.

use proptest::prelude::*;

use super::lake::ask;
use super::pruning::{Row, Rows, any_condition, any_row};

const COLUMNS: &str = "t, b, n, \"_offset\"";

/// An order that leaves no two rows in the same place.
fn any_order() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec!["n", "t", "\"_received_at\"", "\"_offset\""]);
    let direction = prop::sample::select(vec!["", " DESC"]);
    let nulls = prop::sample::select(vec![" NULLS FIRST", " NULLS LAST"]);
    let limit = prop_oneof![1..8_u32, Just(150)];
    (key, direction, nulls, limit).prop_map(|(key, direction, nulls, limit)| {
        format!("ORDER BY {key}{direction}{nulls}, \"_offset\" DESC LIMIT {limit}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5))]

    #[test]
    fn the_first_rows_are_those_of_a_sort_of_all(
        commits in prop::collection::vec(prop::collection::vec(any_row(), 1..60), 1..5),
        tail in prop::collection::vec(any_row(), 0..10),
        questions in prop::collection::vec((prop::option::of(any_condition()), any_order()), 40),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut rows = Rows::new().await;
            for commit in &commits {
                rows.commit(commit).await;
            }
            rows.append(&tail);
            for (condition, order) in &questions {
                let condition = condition.as_ref().map_or_else(|| "WHERE true".to_owned(), |condition| format!("WHERE {condition}"));
                let found = ask(&rows.session, &format!("SELECT {COLUMNS} FROM t {condition} {order}")).await;
                let expected = rows.of_memory(COLUMNS, &format!("{condition} {order}")).await;
                prop_assert_eq!(found, expected, "{} {}", condition, order);
            }
            Ok(())
        })?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_columns_are_read_late_where_that_saves_something() {
    let mut rows = Rows::new().await;
    for first in [0, 10, 20] {
        let row = |n: i64| Row { n: Some(n), t: Some(format!("row {n}")), ..Row::default() };
        rows.commit(&(first..first + 10).map(row).collect::<Vec<_>>()).await;
    }
    for (sql, is_late) in [
        ("SELECT t, n FROM t ORDER BY n LIMIT 2", true),
        ("SELECT t, n FROM t WHERE b IS NULL ORDER BY n DESC LIMIT 2 OFFSET 3", true),
        ("SELECT upper(t) AS u, b FROM t ORDER BY n LIMIT 2", true),
        ("SELECT * FROM t ORDER BY t LIMIT 2", true),
        ("SELECT t FROM t WHERE t LIKE '%1' ORDER BY n LIMIT 2", false),
        ("SELECT n FROM t ORDER BY n LIMIT 2", false),
        ("SELECT * FROM t WHERE n > 1 ORDER BY t LIMIT 2", false),
        ("SELECT * FROM t ORDER BY x LIMIT 2", false),
        ("SELECT * FROM t ORDER BY n LIMIT 100000", false),
        ("SELECT t, n FROM t WHERE random() < 2 ORDER BY n LIMIT 2", false),
        ("SELECT t, n FROM (SELECT * FROM t LIMIT 5) AS some ORDER BY n LIMIT 2", false),
    ] {
        let plan = ask(&rows.session, &format!("EXPLAIN {sql}")).await;
        assert_eq!(plan.contains("LateExec"), is_late, "{sql}\n{plan}");
    }
    assert_eq!(
        ask(&rows.session, "SELECT t FROM t WHERE b IS NULL ORDER BY n DESC LIMIT 2 OFFSET 3").await,
        "row 26\nrow 25"
    );
    assert_eq!(ask(&rows.session, "SELECT t FROM t WHERE n < 0 ORDER BY n LIMIT 2").await, "");
}
