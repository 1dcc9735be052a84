//! Misfits go where they fit, and whatever does not stays with its text.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fixture::{Failure, Place, add_rows, append_batch, commit, copy_directory, open, rows_of, stream};
use crate::lake::Lake;
use crate::schema::{Column, ColumnType, SchemaChange};
use crate::table::Table;

/// Events at these offsets of partition 0, as rows of `schema`.
pub(crate) fn events(lines: &[impl AsRef<str>], first: u64, schema: &TableSchema, contract: Contract) -> Decoded {
    let record = |(offset, line): (u64, &_)| Record {
        position: Position { partition: Partition(0), offset: Offset(offset) },
        received_at: Timestamp::from_micros(0),
        key: None,
        id: None,
        value: AsRef::<str>::as_ref(line).to_owned().into(),
    };
    let records: Vec<_> = (first..).zip(lines).map(record).collect();
    decode_under(&records, schema, contract).unwrap()
}

/// Takes events, and commits them.
pub(crate) async fn take(lake: &Lake, table: &Arc<Table>, lines: &[impl AsRef<str>]) {
    let (state, next) = (table.state(), table.state().delivered.next(Partition(0)).0);
    let Decoded { rows, mut schema, .. } = events(lines, next, &state.schema, Contract::Evolve);
    schema.pin();
    append_batch(table, &schema, rows);
    commit(lake, &[(table, &schema)], next + lines.len() as u64).await.unwrap();
}

fn add_for(path: &str, kind: ColumnType, sent_as: &str) -> SchemaChange {
    let path = path.split('.').map(str::to_owned).collect();
    SchemaChange::AddFor { path, kind, sent_as: sent_as.to_owned() }
}

/// Numbers at every depth.
fn before() -> TableSchema {
    let long = |id, name| Column::new(id, name, ColumnType::Long);
    let object = |first| ColumnType::Struct(vec![long(first, "a"), long(first + 1, "b")]);
    let list = ColumnType::List(Box::new(Column::new(9, "element", object(10))));
    let columns = vec![long(5, "a"), Column::new(6, "o", object(7)), Column::new(12, "l", list)];
    TableSchema { columns, last_id: 12, ..TableSchema::empty() }
}

/// And columns beside them, for all else.
fn after() -> TableSchema {
    let changes = [
        add_for("a_text", ColumnType::Text, "a"),
        add_for("a_object", ColumnType::Struct(vec![Column::new(0, "b", ColumnType::Boolean)]), "a"),
        add_for("o.a_text", ColumnType::Text, "a"),
        add_for("l.element.b_text", ColumnType::Text, "b"),
        add_for("l_list", ColumnType::List(Box::new(Column::new(0, "element", ColumnType::Text))), "l"),
        SchemaChange::Add { path: vec!["n".to_owned()], kind: ColumnType::Double },
    ];
    before().changed(&changes).unwrap()
}

/// Rows by offset, with what is in `_rescued` in order of its paths.
fn shown(rows: &RecordBatch) -> BTreeMap<i64, String> {
    let mut found = BTreeMap::new();
    let rescued = rows.schema().index_of(RESCUED).unwrap();
    let mut columns = rows.columns().to_vec();
    let texts = columns[rescued].as_string::<i32>().iter().map(|text| {
        let entries = text.map(|text| serde_json::from_str::<BTreeMap<String, serde_json::Value>>(text).unwrap());
        entries.map(|entries| serde_json::to_string(&entries).unwrap())
    });
    columns[rescued] = Arc::new(texts.collect::<StringArray>());
    add_rows(&RecordBatch::try_new(rows.schema(), columns).unwrap(), &mut found);
    found.into_iter().map(|((_, offset), text)| (offset, text)).collect()
}

fn refilled(rows: &RecordBatch, schema: &TableSchema) -> RecordBatch {
    let rows = crate::conform::conform(rows, &schema.arrow()).unwrap();
    refill(&rows, schema, &BTreeSet::new()).unwrap().map_or(rows, |refilled| refilled.rows)
}

#[test]
fn misfits_go_where_they_would_go_today() {
    let rows = events(
        &[
            r#"{"a":1,"o":{"a":1},"l":[{"a":1,"b":2}]}"#,
            r#"{"a":"x","o":{"a":"y","b":1},"l":[{"a":1},{"b":"z"},{"a":true}],"n":0.5}"#,
            r#"{"a":{"b":true,"c":1},"o":{"a":"only"},"l":["t",7]}"#,
            r#"{"a":[1],"o":7,"n":"no"}"#,
        ],
        0,
        &before(),
        Contract::Freeze,
    );
    let shown: Vec<String> = shown(&refilled(&rows.rows, &after())).into_values().collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    a=1 o={a=1} l=[{a=1 b=2}] _received_at=0 _partition=0 _offset=0
    o={b=1 a_text=y} l=[{a=1},{b_text=z},] a_text=x n=0.5 _rescued={"l[2]":{"a":true}} _received_at=0 _partition=0 _offset=1
    o={a_text=only} a_object={b=true} l_list=[t,7] _rescued={"a_object.c":1} _received_at=0 _partition=0 _offset=2
    _rescued={"a":[1],"n":"no","o":7} _received_at=0 _partition=0 _offset=3
    "#);
}

#[test]
fn a_second_value_of_a_key_stays_and_so_does_what_partitions_the_table() {
    let rows = events(&[r#"{"a":1,"a":2,"n":1.5}"#, r#"{"n":2.5,"a":"x","a":"y"}"#], 0, &before(), Contract::Freeze);
    let schema = after();
    let rows = crate::conform::conform(&rows.rows, &schema.arrow()).unwrap();
    let fixed = [schema.columns.iter().find(|column| column.name == "n").unwrap().id].into();
    assert!(refill(&rows, &schema, &fixed).unwrap().is_none());
    let shown: Vec<String> = shown(&refilled(&rows, &schema)).into_values().collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    a=1 _rescued={"a":2,"n":1.5} _received_at=0 _partition=0 _offset=0
    a_text=x n=2.5 _rescued={"a":"y"} _received_at=0 _partition=0 _offset=1
    "#);
}

#[test]
fn what_no_decoder_wrote_is_told_or_left_alone() {
    assert!(entries("[1]").is_err());
    assert!(entries(r#"{"a":1"#).is_err());
    let columns = before().columns;
    for path in ["$", "nothing.a", "a.b", "l[x].a", "l[999999999999].a", "l[0]a", "l[", ""] {
        let way = way(path, &columns).map(|way| way.steps);
        assert!(way.is_none() || way == Some(vec![Step::Field(path.to_owned())]), "{path}: {way:?}");
    }
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        (-3_i64..3).prop_map(|value| json!(value)),
        Just(json!(1.5)),
        Just(json!(9_007_199_254_740_993_u64)),
        Just(json!("x")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|values| json!(values)),
            prop::collection::btree_map("[abol]", inner, 0..3).prop_map(|members| json!(members)),
        ]
    })
}

proptest! {
    /// Rows that came before their columns are, once refilled, what they would be had they come after them.
    #[test]
    fn rows_are_as_if_they_came_today(
        events_sent in prop::collection::vec(prop::collection::btree_map("[aoln]", value(), 0..4), 1..6),
    ) {
        let lines: Vec<String> = events_sent.iter().map(|event| json!(event).to_string()).collect();
        let before = events(&lines, 0, &before(), Contract::Freeze).rows;
        let today = events(&lines, 0, &after(), Contract::Freeze).rows;
        let refilled = refilled(&before, &after());
        prop_assert_eq!(shown(&refilled), shown(&today));
        prop_assert!(refill(&refilled, &after(), &BTreeSet::new()).unwrap().is_none(), "twice");
    }
}

const EVENTS: [&[&str]; 3] = [
    &[r#"{"amount":1,"user":{"id":7}}"#, r#"{"amount":2}"#],
    &[r#"{"amount":"3 EUR"}"#, r#"{"amount":4,"user":{"id":"u-8"}}"#],
    &[r#"{"amount":{"value":5}}"#, r#"{"amount":"six","user":{"id":"u-9"}}"#],
];

fn changes() -> Vec<SchemaChange> {
    vec![
        add_for("amount_text", ColumnType::Text, "amount"),
        add_for("user.id_text", ColumnType::Text, "id"),
        add_for("amount_object", ColumnType::Struct(vec![Column::new(0, "value", ColumnType::Long)]), "amount"),
    ]
}

async fn with_misfits(lake: &Lake) -> Arc<Table> {
    let table = lake.create_table(&stream().table(), TableSchema::empty()).await.unwrap();
    for lines in EVENTS {
        take(lake, &table, lines).await;
    }
    lake.alter(&table, changes()).await.unwrap();
    table
}

fn texts(lake: &Lake, table: &Table) -> Vec<String> {
    let texts = rows_of(lake, table).into_values();
    texts.map(|text| text.split(" _received_at").next().unwrap_or_default().to_owned()).collect()
}

const FILLED: [&str; 6] = [
    "amount=1 user={id=7}",
    "amount=2",
    "amount_text=3 EUR",
    "amount=4 user={id_text=u-8}",
    "amount_object={value=5}",
    "user={id_text=u-9} amount_text=six",
];

#[tokio::test]
async fn files_are_filled_once_and_rows_stay() {
    let place = Place::new();
    let lake = place.open().await;
    let table = with_misfits(&lake).await;
    let files = table.state().files.clone();
    assert_eq!(lake.refill(&table).await.unwrap(), RefillReport { files: 2, values: 5 });
    assert_eq!(texts(&lake, &table), FILLED);
    assert_eq!(table.state().files[0], files[0], "it had no misfit");
    assert_eq!(table.state().files.len(), 3);
    assert_eq!(table.snapshots().last().unwrap().operation, "overwrite");
    assert_eq!(lake.refill(&table).await.unwrap(), RefillReport::default());
    // What comes now goes there by itself.
    take(&lake, &table, &[r#"{"amount":"seven","user":{"id":"u-1"}}"#]).await;
    assert_eq!(texts(&lake, &table)[6], "user={id_text=u-1} amount_text=seven");
    assert_eq!(lake.check().await.unwrap(), []);
    let rows = rows_of(&lake, &table);
    drop((lake, table));
    let lake = place.open().await;
    assert_eq!(rows_of(&lake, &lake.table(&stream().table()).unwrap()), rows);
}

#[tokio::test]
async fn a_write_that_fails_loses_nothing_and_the_next_try_goes_on() {
    for failure in [Failure::Refused, Failure::AnswerLost] {
        for write in 0.. {
            let place = Place::new();
            let (lake, store) = place.open_fragile().await;
            let table = with_misfits(&lake).await;
            store.fail(write, failure);
            let filled = lake.refill(&table).await;
            store.pass();
            assert_eq!(rows_of(&lake, &table).len(), 6);
            assert_eq!(lake.check().await.unwrap(), [], "after write {write}");
            if filled.is_ok() {
                assert!(write >= 6, "only {write} writes");
                break;
            }
            lake.refill(&table).await.unwrap();
            assert_eq!(texts(&lake, &table), FILLED);
        }
    }
}

#[tokio::test]
async fn a_process_may_die_before_any_write() {
    let (place, copies) = (Place::new(), tempfile::tempdir().unwrap());
    let (lake, store) = place.open_fragile().await;
    let table = with_misfits(&lake).await;
    store.copy_to(copies.path());
    lake.refill(&table).await.unwrap();
    let writes = store.writes();
    copy_directory(place.directory.path(), &copies.path().join(writes.to_string()));
    for write in 0..=writes {
        let lake = open(&copies.path().join(write.to_string())).await;
        let table = lake.table(&stream().table()).unwrap();
        assert_eq!(rows_of(&lake, &table).len(), 6, "before write {write}");
        lake.refill(&table).await.unwrap();
        assert_eq!(texts(&lake, &table), FILLED, "before write {write}");
        let findings = lake.check().await.unwrap();
        assert!(findings.iter().all(|finding| !finding.is_damage), "before write {write}: {findings:?}");
    }
}
