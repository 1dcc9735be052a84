//! A query that skips files has the rows of one that reads them all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext, col, lit};
use lacus_core::{Offset, Offsets, Partition, StreamName, SystemClock, settings};
use lacus_lake::{
    Column, ColumnType, Commit, FileSizes, Lake, LiveFile, Table, TableAppend, TableSchema, TableState, TailBatch,
};
use proptest::prelude::*;
use tempfile::TempDir;

use super::lake::{ask_with_stats, text};
use crate::pruning::files_to_read;
use crate::table::STORE_URL;
use crate::{Dialect, Engine, LakeTable, Session};

/// Columns `n`, `t`, `x` and `b`.
fn schema() -> TableSchema {
    let column = |id, name: &str, kind| Column::new(id, name, kind);
    let columns = vec![
        column(5, "n", ColumnType::Long),
        column(6, "t", ColumnType::Text),
        column(7, "x", ColumnType::Double),
        column(8, "b", ColumnType::Boolean),
    ];
    TableSchema { columns, last_id: 8, ..TableSchema::empty() }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    pub(super) n: Option<i64>,
    pub(super) t: Option<String>,
    pub(super) x: Option<f64>,
    pub(super) b: Option<bool>,
    /// Microseconds.
    pub(super) time: i64,
}

/// A real lake with one table, and all its rows in memory.
pub(super) struct Rows {
    pub(super) lake: Arc<Lake>,
    pub(super) table: Arc<Table>,
    pub(super) session: Session,
    all: Vec<RecordBatch>,
    count: u64,
    _directory: TempDir,
}

impl Rows {
    pub(super) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lake = Arc::new(Lake::open(directory.path(), Arc::new(SystemClock)).await.unwrap());
        let table = lake.create_table(&StreamName::new("t").unwrap().table(), schema()).await.unwrap();
        let session = Engine::new(Arc::clone(&lake), Arc::clone(&lake) as _, &settings::Query::default())
            .unwrap()
            .session(Dialect::Lacus);
        Self { lake, table, session, all: Vec::new(), count: 0, _directory: directory }
    }

    pub(super) fn lay_out(&self, partition: &[&str], sort: &[&str]) {
        let setting = settings::Table {
            partition: Some(partition.iter().map(|field| field.parse().unwrap()).collect()),
            sort: Some(sort.iter().map(|field| field.parse().unwrap()).collect()),
            ..settings::Table::default()
        };
        self.lake.set_layouts(BTreeMap::from([(self.table.name().clone(), setting)]));
    }

    pub(super) fn append(&mut self, rows: &[Row]) {
        let rows = batch(rows, self.count);
        self.count += rows.num_rows() as u64;
        self.all.push(rows.clone());
        self.table.append_tail(&schema(), TailBatch { bytes: rows.get_array_memory_size(), rows });
    }

    pub(super) async fn commit(&mut self, rows: &[Row]) {
        self.append(rows);
        let batches = self.table.state().tail.len();
        let table = TableAppend { table: Arc::clone(&self.table), schema: schema(), batches };
        let delivered: Offsets = [(Partition(0), Offset(self.count))].into_iter().collect();
        let stream = self.table.name().stream();
        self.lake.commit(Commit { stream, delivered, tables: vec![table], raw: Vec::new() }).await.unwrap();
    }

    /// The rows that a condition accepts, and how many files were read.
    async fn ask(&self, condition: &str) -> (String, u64) {
        let sql = format!("SELECT \"_offset\" FROM t WHERE {condition} ORDER BY 1");
        let (rows, stats) = ask_with_stats(&self.session, &sql).await.unwrap();
        (rows, stats.files_scanned)
    }

    /// The same of rows in memory.
    async fn ask_memory(&self, condition: &str) -> String {
        self.of_memory("\"_offset\"", &format!("WHERE {condition} ORDER BY 1")).await
    }

    /// Columns of rows in memory, and what follows their table.
    pub(super) async fn of_memory(&self, columns: &str, rest: &str) -> String {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        let rows = MemTable::try_new(schema().arrow(), vec![self.all.clone()]).unwrap();
        context.register_table("t", Arc::new(rows)).unwrap();
        // To this engine `-0.0` is another number than `0.0`.
        let rows = "SELECT * REPLACE (x + 0.0 AS x) FROM t";
        let sql = format!("SELECT {columns} FROM ({rows}) AS t {rest}");
        text(&context.sql(&sql).await.unwrap().collect().await.unwrap())
    }

    /// Merges files as long as there are two that may be one.
    pub(super) async fn merge(&self) {
        let all = FileSizes { target_bytes: 1 << 30, files_min: 2 };
        while self.lake.compact(&self.table, all, Arc::new(AtomicBool::new(false))).await.unwrap().is_some() {}
    }
}

fn batch(rows: &[Row], first: u64) -> RecordBatch {
    let schema = schema().arrow();
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "n" => Arc::new(rows.iter().map(|row| row.n).collect::<Int64Array>()),
            "t" => Arc::new(rows.iter().map(|row| row.t.clone()).collect::<StringArray>()),
            "x" => Arc::new(rows.iter().map(|row| row.x).collect::<Float64Array>()),
            "b" => Arc::new(rows.iter().map(|row| row.b).collect::<BooleanArray>()),
            "_received_at" => {
                let times: TimestampMicrosecondArray = rows.iter().map(|row| Some(row.time)).collect();
                Arc::new(times.with_data_type(field.data_type().clone()))
            }
            "_partition" => Arc::new(Int32Array::from_value(0, rows.len())),
            "_offset" => Arc::new((first..).take(rows.len()).map(u64::cast_signed).map(Some).collect::<Int64Array>()),
            _ => Arc::new(StringArray::new_null(rows.len())),
        }
    });
    let columns = columns.collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

pub(super) fn any_row() -> impl Strategy<Value = Row> {
    let n = prop::option::of(prop_oneof![-20..20_i64, Just(i64::MIN), Just(i64::MAX)]);
    let t = prop::option::of(prop_oneof!["[ab]{0,2}", Just("a".repeat(40)), Just("\u{10FFFF}".repeat(20))]);
    let ends = [-0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    let x = prop::option::of(prop_oneof![-3.0..3.0_f64, prop::sample::select(ends.to_vec())]);
    let time = -100_000_000_000..400_000_000_000_i64;
    (n, t, x, prop::option::of(any::<bool>()), time).prop_map(|(n, t, x, b, time)| Row { n, t, x, b, time })
}

pub(super) fn any_condition() -> impl Strategy<Value = String> {
    let operator = || prop::sample::select(vec!["=", "<>", "<", "<=", ">", ">="]);
    let number = (operator(), -25..25_i64).prop_map(|(operator, n)| format!("n {operator} {n}"));
    let text = (operator(), "[ab]{0,2}").prop_map(|(operator, t)| format!("t {operator} '{t}'"));
    let fraction = (operator(), -4..4_i64).prop_map(|(operator, x)| format!("x {operator} {x}.0"));
    let time = (operator(), -2..6_i64).prop_map(|(operator, day)| {
        let day = chrono_day(day);
        format!("_received_at {operator} TIMESTAMP '{day}'")
    });
    let other = prop::sample::select(vec![
        "n IS NULL",
        "t IS NOT NULL",
        "x IS NULL",
        "b",
        "NOT b",
        "b IS NULL",
        "t LIKE 'a%'",
        "t LIKE 'aaaaaaaaaaaaaaaaaaa%'",
        "n IN (1, 2, 3)",
        "n NOT IN (1, 2)",
        "t IN ('a', 'bb')",
        "n BETWEEN -5 AND 5",
        "x > 1e300",
        "x < -1e300",
        "n = -9223372036854775808",
        "coalesce(n, 3) = 3",
        "n % 3 = 1",
        "length(t) > 20",
        "isnan(x)",
    ]);
    let leaf = prop_oneof![number, text, fraction, time, other.prop_map(str::to_owned)];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} AND {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} OR {b})")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
}

fn chrono_day(day: i64) -> &'static str {
    ["1969-12-30", "1969-12-31", "1970-01-01", "1970-01-02", "1970-01-03", "1970-01-04", "1970-01-05", "1970-01-06"]
        [usize::try_from(day + 2).unwrap()]
}

const LAYOUTS: [(&[&str], &[&str]); 6] = [
    (&[], &[]),
    (&["day(_received_at)", "bucket[3](n)"], &["n"]),
    (&["bucket[4](t)", "b"], &["x desc", "t"]),
    (&["truncate[1](t)", "truncate[10](n)"], &[]),
    (&["month(_received_at)", "n"], &["t"]),
    (&["t", "b"], &["n"]),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5))]

    /// Whatever the layouts were, and with rows in the tail: the same rows as when all are looked at.
    #[test]
    fn a_scan_that_skips_files_has_the_rows_of_one_that_does_not(
        commits in prop::collection::vec((prop::collection::vec(any_row(), 1..25), 0..LAYOUTS.len()), 1..5),
        tail in prop::collection::vec(any_row(), 0..10),
        is_merged in any::<bool>(),
        conditions in prop::collection::vec(any_condition(), 40),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut rows = Rows::new().await;
            for (commit, layout) in &commits {
                rows.lay_out(LAYOUTS[*layout].0, LAYOUTS[*layout].1);
                rows.commit(commit).await;
            }
            if is_merged {
                rows.merge().await;
            }
            if !tail.is_empty() {
                rows.append(&tail);
            }
            for condition in &conditions {
                let (found, _) = rows.ask(condition).await;
                assert_eq!(found, rows.ask_memory(condition).await, "{condition}");
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_files_that_may_have_a_row_are_read() {
    let mut rows = Rows::new().await;
    rows.lay_out(&["day(_received_at)", "bucket[8](t)"], &[]);
    let day = 86_400_000_000;
    let row = |number: i64| Row {
        n: Some(number),
        t: Some(format!("user {}", number % 40)),
        x: Some(if number == 7 { f64::NAN } else { 0.5 }),
        b: None,
        time: number / 100 * day,
    };
    rows.commit(&(0..300).map(row).collect::<Vec<_>>()).await;
    let state = rows.table.state();
    assert_eq!(state.files.len(), 24, "three days with eight buckets each");
    for (condition, count, files) in [
        ("n = 150", 1, 1..=8),
        ("n BETWEEN 99 AND 100", 2, 2..=16),
        ("_received_at >= TIMESTAMP '1970-01-03'", 100, 8..=8),
        ("t = 'user 3'", 8, 3..=3),
        ("t IN ('user 3', 'user 4') AND n < 100", 6, 1..=2),
        ("t = 'nobody'", 0, 0..=3),
        ("t IS NULL", 0, 0..=0),
        ("b IS NOT NULL", 0, 0..=0),
        ("n < 0 OR n > 1000", 0, 0..=0),
    ] {
        let (found, read) = rows.ask(condition).await;
        assert_eq!(found.lines().count(), count, "{condition}");
        assert!(files.contains(&read), "{condition}: {read} files were read");
    }
    let partitions = r#"SELECT count(*), sum(file_count), sum(record_count), count(DISTINCT partition['day(_received_at)']) FROM "t$partitions""#;
    assert_eq!(ask_with_stats(&rows.session, partitions).await.unwrap().0, "24|24|300|3");
    // One file has a value that is greater than all numbers to a query.
    let context = SessionContext::new();
    let kept = files_to_read(&state.files, &state.arrow_schema, &[col("x").gt(lit(1.0))], &context.state()).unwrap();
    assert_eq!(kept.len(), 1);
    // Counts need no file at all.
    let (counts, stats) = ask_with_stats(&rows.session, "SELECT count(*), count(b), count(n) FROM t").await.unwrap();
    assert_eq!((counts.as_str(), stats.files_scanned), ("300|0|300", 0));
    let ends = "SELECT min(n), max(n), min(_received_at), max(_received_at), max(n) - min(n) FROM t";
    let (ends, stats) = ask_with_stats(&rows.session, ends).await.unwrap();
    assert_eq!(ends, "0|299|1970-01-01T00:00:00Z|1970-01-03T00:00:00Z|299");
    assert_eq!(stats.files_scanned, 0);
    // What no bound tells is read.
    let (ends, stats) =
        ask_with_stats(&rows.session, "SELECT min(n), max(x) = 'NaN' FROM t WHERE n > 6").await.unwrap();
    assert_eq!(ends, "7|true");
    assert!(stats.files_scanned > 0);
}

/// How long a scan of very many files may take to plan, in this unoptimised build and on a busy machine.
const PLANNING_MAX: Duration = Duration::from_millis(1_000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "the figure belongs to the test's output")]
async fn ten_thousand_files_are_looked_through_at_once() {
    let mut rows = Rows::new().await;
    rows.lay_out(&["n"], &[]);
    let row = |n: i64| Row { n: Some(n), t: Some(format!("text of row {n}")), ..Row::default() };
    rows.commit(&(0..200).map(row).collect::<Vec<_>>()).await;
    let state = rows.table.state();
    assert_eq!(state.files.len(), 200);
    let files = (0..50).flat_map(|copy| state.files.iter().map(move |file| (copy, file.clone())));
    let files = files.map(|(copy, file)| LiveFile { path: format!("{copy}/{}", file.path), ..file }).collect();
    let table = LakeTable::new(Arc::new(TableState { files, ..TableState::clone(&state) }));
    let context = SessionContext::new();
    let store = Arc::new(object_store::memory::InMemory::new());
    context.register_object_store(&url::Url::parse(STORE_URL).unwrap(), store);
    for (filter, kept) in [
        (col("n").eq(lit(77_i64)), 50),
        (col("t").eq(lit("text of row 77")), 50),
        (col("n").between(lit(10_i64), lit(19_i64)).and(col("t").is_not_null()), 500),
    ] {
        let begun = Instant::now();
        let state = context.state();
        let kept_files =
            files_to_read(&table.state().files, &table.state().arrow_schema, std::slice::from_ref(&filter), &state);
        let kept_files = kept_files.unwrap().len();
        let pruned = begun.elapsed();
        table.scan(&state, None, std::slice::from_ref(&filter), None).await.unwrap();
        let planned = begun.elapsed() - pruned;
        println!("{filter}: {kept_files} of 10,000 files after {pruned:?}, scan planned in {planned:?}");
        assert_eq!(kept_files, kept, "{filter}");
        assert!(planned < PLANNING_MAX, "{filter}: {planned:?}");
    }
}
