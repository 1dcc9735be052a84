//! Columns of types that a person gave, names that columns had before, and contracts.

use lacus_core::settings::Contract;

use super::*;

fn given(columns: Vec<Column>) -> TableSchema {
    TableSchema { last_id: 4 + columns.len() as i32 * 3, columns, ..TableSchema::empty() }
}

fn map(id: i32, key: ColumnType, value: ColumnType) -> Column {
    let entry = (Column::new(id + 1, "key", key), Column::new(id + 2, "value", value));
    Column::new(id, "m", ColumnType::Map(Box::new(entry)))
}

fn every_typed() -> TableSchema {
    given(vec![
        Column::new(5, "i", ColumnType::Int),
        Column::new(6, "f", ColumnType::Float),
        Column::new(7, "d", ColumnType::Decimal { precision: 6, scale: 2 }),
        Column::new(8, "day", ColumnType::Date),
        Column::new(9, "at", ColumnType::Time),
        Column::new(10, "ts", ColumnType::Timestamp),
        Column::new(11, "tz", ColumnType::Timestamptz),
        Column::new(12, "id", ColumnType::Uuid),
        Column::new(13, "x", ColumnType::Fixed(3)),
    ])
}

#[test]
fn values_that_say_a_type_exactly_are_of_it() {
    let schema = every_typed();
    let decoded = decoded(
        &[
            r#"{"day":"2026-11-20","i":-7.0,"f":0.5,"d":"12.5","id":"0db3e2a8-9d1d-42b9-aa7b-74ebe558dceb"}"#,
            r#"{"d":1e3,"at":"19:30:00.5","ts":"2026-11-20 19:30:00","tz":"2026-11-20T19:30:00+01:00","i":2147483647}"#,
        ],
        &schema,
    );
    assert_eq!(decoded.schema, schema);
    let rows: Vec<_> = (0..2).map(|row| show_row(&decoded.rows, row)).collect();
    insta::assert_snapshot!(rows.join("\n"), @r#"
    i=-7 f=0.5 d=12.50 day=2026-11-20 id=0db3e2a89d1d42b9aa7b74ebe558dceb
    i=2147483647 d=1000.00 at=19:30:00.500 ts=2026-11-20T19:30:00 tz=2026-11-20T18:30:00Z
    "#);
    // What Parquet keeps of them is what they are.
    assert_eq!(conform(&through_parquet(&decoded.rows), &schema.arrow()).unwrap(), decoded.rows);
}

#[test]
fn values_that_do_not_are_rescued_with_their_text() {
    let decoded = decoded(
        &[
            r#"{"i":2147483648,"f":16777217,"d":1.234,"day":"20.11.2026","at":"7:30","ts":"2026-11-20T19:30:00Z"}"#,
            r#"{"i":"5","tz":"2026-11-20T19:30:00","id":"0db3","x":"abc","d":{"a":1},"day":20261120,"f":true}"#,
            r#"{"i":"5","i":6,"day":null}"#,
        ],
        &every_typed(),
    );
    let rows: Vec<_> = (0..3).map(|row| show_row(&decoded.rows, row)).collect();
    insta::assert_snapshot!(rows.join("\n"), @r#"
    | {"i":2147483648,"f":16777217,"d":1.234,"day":"20.11.2026","at":"7:30","ts":"2026-11-20T19:30:00Z"}
    | {"i":"5","tz":"2026-11-20T19:30:00","id":"0db3","x":"abc","d":{"a":1},"day":20261120,"f":true}
    i=6 | {"i":"5"}
    "#);
}

#[test]
fn objects_are_maps_where_a_person_said_so() {
    let schema = given(vec![map(5, ColumnType::Text, ColumnType::Long)]);
    let lines = [
        r#"{"m":{"a":1,"b":null,"c":"x","a":2}}"#,
        r#"{"m":{"a":null}}"#,
        r#"{"m":[1]}"#,
        r#"{}"#,
        r#"{"m":{"z":"only a misfit"}}"#,
        r#"{"m":{"d":4}}"#,
    ];
    let decoded = decoded(&lines, &schema);
    assert_eq!(decoded.schema, schema);
    let rows: Vec<_> = (0..lines.len()).map(|row| show_row(&decoded.rows, row)).collect();
    insta::assert_snapshot!(rows.join("\n"), @r#"
    m={a: 1, b: , c: } | {"m.c":"x","m.a":2}

    | {"m":[1]}

    | {"m":{"z":"only a misfit"}}
    m={d: 4}
    "#);
    assert_eq!(conform(&through_parquet(&decoded.rows), &schema.arrow()).unwrap(), decoded.rows);
    let other = given(vec![map(5, ColumnType::Long, ColumnType::Long)]);
    insta::assert_snapshot!(show_row(&super::decoded(&[r#"{"m":{"1":2}}"#], &other).rows, 0), @r#"| {"m":{"1":2}}"#);
}

#[test]
fn a_column_is_fed_by_the_names_it_had() {
    let renamed = Column { aliases: vec!["old".to_owned()], ..Column::new(5, "new", ColumnType::Long) };
    let inner = Column { aliases: vec!["b".to_owned()], ..Column::new(7, "c", ColumnType::Text) };
    let schema = given(vec![renamed, Column::new(6, "o", ColumnType::Struct(vec![inner]))]);
    let lines = [r#"{"old":1,"o":{"b":"x"}}"#, r#"{"new":2,"o":{"c":"y"}}"#, r#"{"old":3,"new":4,"Old":5}"#];
    let decoded = decoded(&lines, &schema);
    assert_eq!(decoded.schema, schema);
    let rows: Vec<_> = (0..lines.len()).map(|row| show_row(&decoded.rows, row)).collect();
    insta::assert_snapshot!(rows.join("\n"), @r#"
    new=1 o={c:"x"}
    new=2 o={c:"y"}
    new=3 | {"new":4,"Old":5}
    "#);
}

#[test]
fn a_name_that_a_partition_field_has_makes_no_column() {
    let schema = TableSchema { taken: vec!["ts_day".to_owned()], ..TableSchema::empty() };
    let decoded = decoded(&[r#"{"n":1,"ts_day":2,"o":{"ts_day":3}}"#], &schema);
    let names: Vec<&str> = decoded.schema.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!((names, &decoded.schema.taken), (vec!["n", "o"], &schema.taken));
    let rescued = decoded.rows.column_by_name(RESCUED).unwrap().as_string::<i32>();
    assert_eq!(rescued.value(0), r#"{"ts_day":2}"#);
}

#[test]
fn a_path_that_files_have_by_name_makes_no_field() {
    let taken = ["place.city", "visits[].page"].map(str::to_owned).to_vec();
    let schema = TableSchema { taken, ..TableSchema::empty() };
    let event = r#"{"city":"a","place":{"city":"b","zip":1},"visits":[{"at":2,"page":"c"},{"at":3,"page":"d"}]}"#;
    let decoded = decoded(&[event], &schema);
    let names = |column: &Column| column.kind.children().iter().map(|field| field.name.clone()).collect::<Vec<_>>();
    let columns = &decoded.schema.columns;
    assert_eq!((columns.len(), columns[0].name.as_str(), names(&columns[1])), (3, "city", vec!["zip".to_owned()]));
    assert_eq!(names(columns[2].kind.children()[0]), ["at"]);
    let rescued = decoded.rows.column_by_name(RESCUED).unwrap().as_string::<i32>();
    assert_eq!(rescued.value(0), r#"{"place.city":"b","visits[0].page":"c","visits[1].page":"d"}"#);
}

#[test]
fn a_table_without_system_columns_gets_them_with_its_first_rows() {
    let schema = TableSchema::of_columns([Column::new(0, "n", ColumnType::Int)]);
    let decoded = decoded(&[r#"{"n":1}"#], &schema);
    assert_eq!(decoded.schema.system, Some([2, 3, 4, 5]));
    assert_eq!(decoded.rows.num_columns(), 5);
}

fn under(contract: Contract, lines: &[&str], schema: &TableSchema) -> String {
    show(&decode_under(&records(lines), schema, contract).unwrap())
}

#[test]
fn a_contract_says_what_becomes_of_what_does_not_fit() {
    let inner = Column::new(7, "x", ColumnType::Long);
    let schema =
        given(vec![Column::new(5, "n", ColumnType::Long), Column::new(6, "o", ColumnType::Struct(vec![inner]))]);
    let lines = [
        r#"{"n":1,"o":{"x":1}}"#,
        r#"{"n":"two","new":2}"#,
        "[1]",
        r#"{"n":3,"o":{"x":3,"y":[3]}}"#,
        r#"{"n":4,"empty":{}}"#,
    ];
    insta::assert_snapshot!(under(Contract::Evolve, &lines, &schema), @r#"
    5:n Long, 6:o {7:x Long, 12:y [13:element Long]}, 11:new Long
    n=1 o={x:1,y:null}
    new=2 | {"n":"two"}
    n=3 o={x:3,y:[3]}
    n=4
    #2 expected an object, found an array
    "#);
    insta::assert_snapshot!(under(Contract::Freeze, &lines, &schema), @r#"
    5:n Long, 6:o {7:x Long}
    n=1 o={x:1}
    | {"n":"two","new":2}
    n=3 o={x:3} | {"o.y":[3]}
    n=4
    #2 expected an object, found an array
    "#);
    insta::assert_snapshot!(under(Contract::Strict, &lines, &schema), @r#"
    5:n Long, 6:o {7:x Long}
    n=1 o={x:1}
    n=4
    #1 n, new: no such column, or not of its type
    #2 expected an object, found an array
    #3 o.y: no such column, or not of its type
    "#);
}

fn aliased(mut column: Column, alias: &str) -> Column {
    column.aliases.push(alias.to_owned());
    column
}

#[test]
fn what_a_column_can_not_hold_goes_to_the_next_one_of_its_name() {
    let money = vec![Column::new(8, "value", ColumnType::Long)];
    let schema = given(vec![
        Column::new(5, "amount", ColumnType::Long),
        aliased(Column::new(6, "amount_text", ColumnType::Text), "amount"),
        aliased(Column::new(7, "amount_object", ColumnType::Struct(money)), "amount"),
    ]);
    insta::assert_snapshot!(check(&[
        r#"{"amount":1}"#,
        r#"{"amount":"12 EUR"}"#,
        r#"{"amount":{"value":3,"currency":"EUR"}}"#,
        r#"{"amount":1.5}"#,
        r#"{"amount":{"value":"x"}}"#,
        r#"{"amount":[1]}"#,
        r#"{"amount":null,"amount":{},"amount":2,"amount":"two"}"#,
        r#"{"amount_text":"by its own name"}"#,
        r#"{"Amount":4}"#,
    ], &schema), @r#"
    5:amount Long, 6:amount_text Text, 7:amount_object {8:value Long, 14:currency Text}
    amount=1
    amount_text="12 EUR"
    amount_object={value:3,currency:"EUR"}
    amount_text="1.5"
    | {"amount":{"value":"x"}}
    | {"amount":[1]}
    amount=2 | {"amount":"two"}
    amount_text="by its own name"
    | {"Amount":4}
    "#);
}
