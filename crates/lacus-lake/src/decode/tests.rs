//! JSON lines in; columns, rescued values and rejected records out.

use std::fmt::Write as _;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use bytes::Bytes;
use lacus_core::{Offset, Partition, Position, Timestamp};

use super::columns::Room;
use super::*;
use crate::conform::conform;
use crate::conform::tests::through_parquet;
use crate::schema::{Column, ColumnType, RESCUED};

mod properties;
mod typed;

fn records<B: AsRef<[u8]>>(lines: &[B]) -> Vec<Record> {
    let record = |(index, line): (usize, &B)| Record {
        position: Position { partition: Partition(3), offset: Offset(index as u64) },
        received_at: Timestamp::from_micros(1_000_000 + index as i64),
        key: None,
        id: None,
        value: Bytes::copy_from_slice(line.as_ref()),
    };
    lines.iter().enumerate().map(record).collect()
}

/// What decoding gives, for people: the columns, a line per row, a line per rejected record.
fn check(lines: &[&str], schema: &TableSchema) -> String {
    show(&decoded(lines, schema))
}

/// Decodes lines that are all records.
pub(crate) fn decoded<B: AsRef<[u8]>>(lines: &[B], schema: &TableSchema) -> Decoded {
    decode(&records(lines), schema).unwrap()
}

fn check_new(lines: &[&str]) -> String {
    check(lines, &TableSchema::empty())
}

fn show(decoded: &Decoded) -> String {
    assert_eq!(decoded.rows.schema(), decoded.schema.arrow());
    let mut text = show_columns(&decoded.schema.columns);
    if decoded.widened {
        text.push_str(" widened");
    }
    for row in 0..decoded.rows.num_rows() {
        write!(text, "\n{}", show_row(&decoded.rows, row)).unwrap();
    }
    for rejected in &decoded.rejected {
        write!(text, "\n#{} {}", rejected.index, rejected.reason).unwrap();
    }
    text
}

fn show_columns(columns: &[Column]) -> String {
    let column = |column: &Column| format!("{}:{} {}", column.id, column.name, show_kind(&column.kind));
    columns.iter().map(column).collect::<Vec<_>>().join(", ")
}

fn show_kind(kind: &ColumnType) -> String {
    match kind {
        ColumnType::Struct(fields) => format!("{{{}}}", show_columns(fields)),
        ColumnType::List(element) => format!("[{}]", show_columns(std::slice::from_ref(element))),
        other => format!("{other:?}"),
    }
}

/// User columns that are not null, and `_rescued` after a bar.
fn show_row(rows: &RecordBatch, row: usize) -> String {
    let mut text = String::new();
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        if field.name() == RESCUED {
            if column.is_valid(row) {
                write!(text, "| {}", column.as_string::<i32>().value(row)).unwrap();
            }
            break;
        }
        if column.is_valid(row) {
            write!(text, "{}={} ", field.name(), show_value(column, row)).unwrap();
        }
    }
    text.trim_end().to_owned()
}

fn show_value(column: &dyn Array, row: usize) -> String {
    if column.is_null(row) {
        return "null".to_owned();
    }
    match column.data_type() {
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => format!("{:?}", column.as_string::<i32>().value(row)),
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(column.as_struct().columns());
            let fields: Vec<_> =
                columns.map(|(field, column)| format!("{}:{}", field.name(), show_value(column, row))).collect();
            format!("{{{}}}", fields.join(","))
        }
        DataType::List(_) => {
            let values = column.as_list::<i32>().value(row);
            let values: Vec<_> = (0..values.len()).map(|index| show_value(&values, index)).collect();
            format!("[{}]", values.join(","))
        }
        _ => arrow::util::display::array_value_to_string(column, row).unwrap(),
    }
}

#[test]
fn the_first_value_decides_the_type() {
    insta::assert_snapshot!(check_new(&[
        r#"{"ok":true,"n":1,"f":1.5,"e":1e3,"t":"x","big":9223372036854775808,"o":{"a":1},"l":[1]}"#,
        r#"{"ok":false,"n":-9223372036854775808,"f":-0.0,"e":2.0,"t":"","big":1,"o":{"a":2},"l":[]}"#,
    ]), @r#"
    5:ok Boolean, 6:n Long, 7:f Double, 8:e Double, 9:t Text, 10:big Text, 11:o {12:a Long}, 13:l [14:element Long]
    ok=true n=1 f=1.5 e=1000.0 t="x" big="9223372036854775808" o={a:1} l=[1]
    ok=false n=-9223372036854775808 f=-0.0 e=2.0 t="" big="1" o={a:2}
    "#);
    insta::assert_snapshot!(check_new(&[r#" {"a" : null , "b":{}, "c":[ ],"d":[null,{}],"e":{"f":[[]]}} "#]), @"");
}

#[test]
fn columns_without_nulls_have_no_bitmap() {
    let event = r#"{"ok":true,"n":1,"f":1.5,"t":"x","o":{"a":1},"l":[1]}"#;
    let rows = decoded(&[event; 3], &TableSchema::empty()).rows;
    let (schema, objects) = (rows.schema(), rows.column_by_name("o").unwrap().as_struct());
    let columns = schema.fields().iter().zip(rows.columns());
    let with_bitmap = columns.filter(|(_, column)| column.nulls().is_some()).map(|(field, _)| field.name().as_str());
    assert_eq!(with_bitmap.collect::<Vec<_>>(), [RESCUED]);
    assert!(objects.column(0).nulls().is_none());
}

#[test]
fn columns_are_found_in_order_and_keep_their_ids() {
    insta::assert_snapshot!(check_new(&[
        r#"{"b":{"x":[{"z":1}]}}"#,
        r#"{"a":"1","b":{"w":true,"x":[{"y":2},{"z":3}]}}"#,
        r#"{"c":null}"#,
    ]), @r#"
    5:b {6:x [7:element {8:z Long, 11:y Long}], 10:w Boolean}, 9:a Text
    b={x:[{z:1,y:null}],w:null}
    b={x:[{z:null,y:2},{z:3,y:null}],w:true} a="1"
    "#);
}

#[test]
fn misfits_are_rescued_with_their_exact_text() {
    insta::assert_snapshot!(check_new(&[
        r#"{"n":1,"ok":true,"t":"x","o":{"a":1},"l":[1],"d":1.5}"#,
        r#"{"n":"1","ok":1,"t":{"a": [1, 2.50]},"o":"x","l":5,"d":"1.5"}"#,
        r#"{"n":true,"ok":"true","t":[ "\u00e9" ],"o":[1],"l":{"a":1},"d":false}"#,
        r#"{"n":[1],"ok":null,"o":{"a":"x","b":2},"l":[1,"two",3],"d":9007199254740993}"#,
    ]), @r#"
    5:n Long, 6:ok Boolean, 7:t Text, 8:o {9:a Long, 13:b Long}, 10:l [11:element Long], 12:d Double
    n=1 ok=true t="x" o={a:1,b:null} l=[1] d=1.5
    | {"n":"1","ok":1,"t":{"a": [1, 2.50]},"o":"x","l":5,"d":"1.5"}
    | {"n":true,"ok":"true","t":[ "\u00e9" ],"o":[1],"l":{"a":1},"d":false}
    o={a:null,b:2} l=[1,null,3] | {"n":[1],"o.a":"x","l[1]":"two","d":9007199254740993}
    "#);
}

#[test]
fn text_takes_numbers_and_booleans_as_they_were_written() {
    insta::assert_snapshot!(check_new(&[
        r#"{"t":"x"}"#,
        r#"{"t":1.50}"#,
        r#"{"t":-0}"#,
        r#"{"t":1e400}"#,
        r#"{"t":123456789012345678901234567890}"#,
        r#"{"t":false}"#,
        r#"{"t":null}"#,
    ]), @r#"
    5:t Text
    t="x"
    t="1.50"
    t="-0"
    t="1e400"
    t="123456789012345678901234567890"
    t="false"
    "#);
}

#[test]
fn values_without_content_are_null_in_every_column() {
    insta::assert_snapshot!(check_new(&[
        r#"{"n":{},"t":[],"o":{},"l":[]}"#,
        r#"{"n":1,"t":"x","o":{"a":1},"l":[1]}"#,
        r#"{"n":{},"t":[null],"o":{"a":null},"l":[null,[]]}"#,
        r#"{"n":[],"t":{"a":{}},"o":[],"l":{}}"#,
        r#"{"l":[null,2,null]}"#,
    ]), @r#"
    5:n Long, 6:t Text, 7:o {8:a Long}, 9:l [10:element Long]

    n=1 t="x" o={a:1} l=[1]


    l=[null,2,null]
    "#);
}

#[test]
fn whole_numbers_widen_until_they_are_committed() {
    insta::assert_snapshot!(check_new(&[r#"{"n":1}"#, r#"{"n":9007199254740993}"#, r#"{"n":2.5}"#, r#"{"n":3}"#]), @r#"
    5:n Double
    n=1.0
    | {"n":9007199254740993}
    n=2.5
    n=3.0
    "#);
    let mut schema = decoded(&[r#"{"n":1,"l":[1]}"#], &TableSchema::empty()).schema;
    insta::assert_snapshot!(check(&[r#"{"n":2,"l":[2]}"#], &schema), @"
    5:n Long, 6:l [7:element Long]
    n=2 l=[2]
    ");
    insta::assert_snapshot!(check(&[r#"{"n":2,"l":[2,2.5]}"#], &schema), @"
    5:n Long, 6:l [7:element Double] widened
    n=2 l=[2.0,2.5]
    ");
    insta::assert_snapshot!(check(&[r#"{"n":1.0}"#], &schema), @"
    5:n Double, 6:l [7:element Long] widened
    n=1.0
    ");
    schema.pin();
    insta::assert_snapshot!(check(&[r#"{"n":2.5,"l":[1,2.5,3]}"#, r#"{"n":2.0,"l":[3e2]}"#], &schema), @r#"
    5:n Long, 6:l [7:element Long]
    l=[1,null,3] | {"n":2.5,"l[1]":2.5}
    n=2 l=[300]
    "#);
}

#[test]
fn numbers_too_big_for_their_column_are_rescued() {
    insta::assert_snapshot!(check_new(&[
        r#"{"n":1,"d":0.5,"new":1e400}"#,
        r#"{"n":9223372036854775807,"d":1e308,"new":1e-400}"#,
        r#"{"n":9223372036854775808,"d":-1e309,"new":18446744073709551616}"#,
    ]), @r#"
    5:n Long, 6:d Double, 7:new Double
    n=1 d=0.5 | {"new":1e400}
    n=9223372036854775807 d=1e308 | {"new":1e-400}
    new=1.8446744073709552e19 | {"n":9223372036854775808,"d":-1e309}
    "#);
}

#[test]
fn of_equal_keys_the_first_value_is_kept() {
    insta::assert_snapshot!(check_new(&[
        r#"{"a":1,"a":2,"a":"3","b":{"c":1,"c":2},"b":{"d":3}}"#,
        r#"{"a":null,"a":{},"a":5,"x.y":1,"x_y":2}"#,
        r#"{"l":[{"a":1,"a":2}],"l":[3]}"#,
    ]), @r#"
    5:a Long, 6:b {7:c Long}, 8:x_y Long, 9:l [10:element {11:a Long}]
    a=1 b={c:1} | {"a":2,"a":"3","b.c":2,"b":{"d":3}}
    a=5 x_y=1 | {"x_y":2}
    l=[{a:1}] | {"l[0].a":2,"l":[3]}
    "#);
}

#[test]
fn which_of_equal_keys_is_kept_does_not_depend_on_widening() {
    let line = r#"{"o":{"n":9007199254740993},"o":{"m":1},"l":[9007199254740993],"l":[2]}"#;
    insta::assert_snapshot!(check_new(&[line, r#"{"o":{"n":0.5},"l":[0.5]}"#]), @r#"
    5:o {6:n Double}, 7:l [8:element Double]
    | {"o":{"n":9007199254740993},"o":{"m":1},"l":[9007199254740993],"l":[2]}
    o={n:0.5} l=[0.5]
    "#);
}

#[test]
fn names_that_differ_by_case_only_are_rescued() {
    insta::assert_snapshot!(check_new(&[
        r#"{"userId":1,"UserID":2,"o":{"É":1,"é":2}}"#,
        r#"{"userid":3}"#,
        r#"{"É":4,"USERID":null}"#,
    ]), @r#"
    5:userId Long, 6:o {7:É Long}, 8:É Long
    userId=1 o={É:1} | {"UserID":2,"o.é":2}
    | {"userid":3}
    É=4
    "#);
}

#[test]
fn names_that_no_column_can_have_are_rescued() {
    let long = "x".repeat(256);
    let line =
        format!(r#"{{"":1,"a\nb":2,"{long}":3,"_Offset":4,"_rescued":{{"a":1}},"o":{{"_offset":5,"":[1]}},"a.b":6}}"#);
    let text = check_new(&[&line, r#"{"":null,"_partition":{}}"#, r#"{"o":{"":1}}"#]).replace(&long, "xxx…");
    insta::assert_snapshot!(text, @r#"
    5:o {6:_offset Long}, 7:a_b Long
    o={_offset:5} a_b=6 | {"":1,"a\u000ab":2,"xxx…":3,"_Offset":4,"_rescued":{"a":1},"o.":[1]}

    | {"o":{"":1}}
    "#);
}

#[test]
fn paths_of_misfits_lead_to_them() {
    insta::assert_snapshot!(check_new(&[
        r#"{"a":[{"b":{"c":[[1],[2]]}}]}"#,
        r#"{"a":[null,{"b":{"c":[[1],["x",{"y":1}],7]}},true],"q\"\\":1}"#,
        r#"{"a":[],"q\"\\":{"x":"\u0000"}}"#,
    ]), @r#"
    5:a [6:element {7:b {8:c [9:element [10:element Long]]}}], 11:q"\ Long
    a=[{b:{c:[[1],[2]]}}]
    a=[null,{b:{c:[[1],null,null]}},null] q"\=1 | {"a[1].b.c[1]":["x",{"y":1}],"a[1].b.c[2]":7,"a[2]":true}
    | {"q\"\\":{"x":"\u0000"}}
    "#);
}

#[test]
fn what_is_lost_as_a_whole_is_rescued_as_a_whole() {
    insta::assert_snapshot!(check_new(&[
        r#"{"a":{"":1},"l":[[],{"":2}]}"#,
        r#"{"a":{"b":1},"l":[{"b":1}]}"#,
        r#"{"a":{"b":"x", "": {}},"l":[{"":3},{"b":1}]}"#,
        r#"{"a":{"b":"x","c":2},"l":["x", {"b":[1]}]}"#,
    ]), @r#"
    5:a {6:b Long, 10:c Long}, 7:l [8:element {9:b Long}]
    | {"a":{"":1},"l":[[],{"":2}]}
    a={b:1,c:null} l=[{b:1}]
    l=[null,{b:1}] | {"a":{"b":"x", "": {}},"l[0]":{"":3}}
    a={b:null,c:2} | {"a.b":"x","l":["x", {"b":[1]}]}
    "#);
}

#[test]
fn misfits_take_no_more_room_than_their_record() {
    let path = "x".repeat(200);
    let line = format!(r#" {{"{path}":{{"l":[1{}]}}}} "#, r#","""#.repeat(100));
    let rows = decoded(&[&line], &TableSchema::empty()).rows;
    assert_eq!(rows.column(1).as_string::<i32>().value(0), format!(r#"{{"$":{}}}"#, line.trim()));
    assert_eq!(rows.column(0).as_struct().column(0).as_list::<i32>().value_length(0), 101);
}

#[test]
fn text_is_kept_letter_by_letter() {
    insta::assert_snapshot!(check_new(&[r#"{"t":"\u0000\ud83d\ude00\/\t\"é\\"}"#, r#"{"t":"\u00e9","k\u0065y":1}"#]), @r#"
    5:t Text, 6:key Long
    t="\0😀/\t\"é\\"
    t="é" key=1
    "#);
}

#[test]
fn what_is_no_object_is_rejected_and_leaves_no_trace() {
    insta::assert_snapshot!(check_new(&[
        r#"{"a":1}"#, "", " ", "1", "null", "true", r#""x""#, r#"[{"b":1}]"#, r#"{"b":1"#, r#"{"b":1 "c":2}"#,
        r#"{"b":1}}"#, r#"{"b":1} {"b":2}"#, r#"{"b":}"#, r#"{"b":01}"#, r#"{"b":1.}"#, r#"{"b":nul}"#,
        r#"{"b":NaN}"#, r#"{"b":-Infinity}"#, r#"{"b":"x}"#, r#"{"b":"\ud800"}"#, r#"{"b":"\udc00\ud800"}"#,
        r#"{"b":"\x"}"#, "{\"b\":\"\u{1}\"}", r#"{b:1}"#, r#"{"b":1,}"#, r#"{"b":[1,]}"#, r#"{"b":'x'}"#,
        "\u{feff}{}", r#"{"a":1.5,"b":"#, r#"{"a":2}"#,
    ]), @r"
    5:a Long
    a=1
    a=2
    #1 the record is empty
    #2 the record is empty
    #3 expected an object, found a number
    #4 expected an object, found null
    #5 expected an object, found a boolean
    #6 expected an object, found a string
    #7 expected an object, found an array
    #8 EOF while parsing an object at byte 6
    #9 expected `,` or `}` at byte 7
    #10 trailing characters at byte 7
    #11 trailing characters at byte 8
    #12 expected value at byte 5
    #13 invalid number at byte 6
    #14 invalid number at byte 7
    #15 expected true, false or null at byte 8
    #16 expected value at byte 5
    #17 invalid number at byte 6
    #18 EOF while parsing a string at byte 8
    #19 unexpected end of hex escape at byte 12
    #20 lone leading surrogate in hex escape at byte 11
    #21 invalid escape at byte 7
    #22 control character (\u0000-\u001F) found while parsing a string at byte 6
    #23 key must be a string at byte 1
    #24 trailing comma at byte 7
    #25 trailing comma at byte 8
    #26 expected value at byte 5
    #27 expected value at byte 0
    #28 EOF while parsing a value at byte 13
    ");
    let invalid: [&[u8]; 3] = [b"{\"a\":\"\xff\"}", b"{\"\xc3\":1}", b"\xff"];
    insta::assert_snapshot!(show(&decoded(&invalid, &TableSchema::empty())), @"

    #0 invalid UTF-8 at byte 6
    #1 invalid UTF-8 at byte 2
    #2 invalid UTF-8 at byte 0
    ");
}

#[test]
fn depth_is_bounded_also_in_what_is_rescued() {
    let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    let arrays = |levels: usize| format!(r#"{{"n":1,"n":{}1{}}}"#, "[".repeat(levels), "]".repeat(levels));
    let deep = [nested(64), nested(65), arrays(63), arrays(64), nested(100_000)];
    let decoded = decoded(&deep, &TableSchema::empty());
    assert_eq!(decoded.rows.num_rows(), 2);
    let rejected: Vec<_> = decoded.rejected.iter().map(|r| (r.index, r.reason.as_str())).collect();
    assert_eq!(rejected, [1, 3, 4].map(|index| (index, "nested deeper than 64 levels")));
    for (index, line) in deep.iter().enumerate() {
        let alone = self::decoded(&[line], &TableSchema::empty());
        assert_eq!(alone.rejected.is_empty(), [0, 2].contains(&index), "{index}");
    }
}

#[test]
fn events_as_deep_as_allowed_leave_files_and_metadata_readable() {
    let events = |levels: usize| {
        let objects = format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let arrays = format!(r#"{{"l":{}1{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
        let mixed = format!("{}1{}", r#"{"m":["#.repeat(levels / 2), "]}".repeat(levels / 2));
        [objects, arrays, mixed]
    };
    let lines = [events(64), events(32)].concat();
    let Decoded { rows, schema, rejected, .. } = decoded(&lines, &TableSchema::empty());
    assert_eq!((rows.num_rows(), schema.columns.len(), rejected.len()), (6, 3, 0));
    let rescued = rows.column_by_name(RESCUED).unwrap();
    assert_eq!(properties::json_of(rescued), lines[..3]);
    assert_eq!(conform(&through_parquet(&rows), &rows.schema()).unwrap(), rows);
    // As deep as a schema is in the metadata of a table.
    let metadata = serde_json::json!({"schemas": [schema.iceberg(0).unwrap()]}).to_string();
    let mut read: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let read: iceberg::spec::Schema = serde_json::from_value(read["schemas"][0].take()).unwrap();
    assert_eq!(read, schema.iceberg(0).unwrap());
}

#[test]
fn columns_are_bounded() {
    let many: Vec<_> = (0..1_999).map(|index| format!(r#""c{index}":1"#)).collect();
    let many = format!("{{{}}}", many.join(","));
    let lines = [&*many, r#"{"x":{"y":{},"a":1,"b":2},"z":[1,null]}"#, r#"{"x":{"c":{"d":[]},"a":3},"z":{"e":true}}"#];
    let decoded = decoded(&lines, &TableSchema::empty());
    assert_eq!(decoded.schema.columns.len(), 2_000);
    assert_eq!(decoded.schema.last_id, 4 + 2_001);
    let rows: Vec<_> = (1..3).map(|row| show_row(&decoded.rows, row)).collect();
    insta::assert_snapshot!(rows.join("\n"), @r#"
    x={a:1} | {"x.b":2,"z":[1,null]}
    x={a:3} | {"z":{"e":true}}
    "#);
}

#[test]
fn system_columns_say_where_a_row_came_from() {
    let decoded = decoded(&["x", r#"{"a":1}"#, r#"{"a":2}"#], &TableSchema::empty());
    let [received_at, partition, offset] = &decoded.rows.columns()[2..] else { panic!("three columns") };
    assert_eq!(received_at.as_primitive::<TimestampMicrosecondType>().values(), &[1_000_001, 1_000_002]);
    assert_eq!(partition.as_primitive::<Int32Type>().values(), &[3, 3]);
    assert_eq!(offset.as_primitive::<Int64Type>().values(), &[1, 2]);
}

#[test]
fn quarantine_keeps_reasons_and_bytes() {
    let records = records(&[&b"\xff\x00"[..], b"{"]);
    let rows = quarantine_rows(&[(&records[0], "invalid"), (&records[1], "ends early")]).unwrap();
    assert_eq!(rows.schema(), TableSchema::quarantine().arrow());
    assert_eq!(rows.column(0).as_string::<i32>().value(1), "ends early");
    assert_eq!(rows.column(1).as_binary::<i32>().value(0), b"\xff\x00");
    assert_eq!(rows.column(5).as_primitive::<Int64Type>().values(), &[0, 1]);
    assert_eq!(rows.num_rows(), 2);
}

#[test]
fn keys_mean_the_same_however_they_are_written() {
    let same = [
        r#"{"a":1,"b":{"c":"x","d":[2]},"e":"é"}"#,
        r#"{"a": 1, "b": {"c": "x", "d": [2]}, "e": "é"}"#,
        "{\n  \"a\" : 1,\n  \"b\" : {\"c\" :\"x\" ,\t\"d\":[2] } ,\"e\":\"é\"}",
        r#"{"e":"é","b":{"d":[2],"c":"x"},"a":1}"#,
        r#"{"\u0061":1,"b":{"c":"x","\u0064":[2]},"e":"\u00e9"}"#,
    ];
    let all = decoded(&same, &TableSchema::empty());
    for (row, line) in same.iter().enumerate() {
        assert_eq!(show_row(&all.rows, row), show_row(&all.rows, 0), "{line}");
    }
    assert_eq!(all.schema.columns.len(), 3);
    // What does not fit is cut out of the text at the right places, and of a repeated key the first counts.
    let lines =
        [same[0], r#"{"a":"no","b":{"c":"x","d":"é"},"e":[1]}"#, r#"{"a":2,"a":3,"b":{"c":"y","c":"z"},"e":"","e":0}"#];
    let all = decoded(&lines, &TableSchema::empty());
    let rescued = all.rows.column_by_name(RESCUED).unwrap().as_string::<i32>();
    assert_eq!(rescued.value(1), r#"{"a":"no","b.d":"é","e":[1]}"#);
    assert_eq!(rescued.value(2), r#"{"a":3,"b.c":"z","e":0}"#);
}

/// Most values are found without the parser, and all others by it.
#[test]
fn values_mean_the_same_however_they_are_written() {
    let plain =
        r#"{"t":"one","n":-12,"d":3.25,"ok":true,"o":{"t":"","d":-0.0},"l":["é",null,"x"],"m":[1,0],"z":"end"}"#;
    let mut schema = decoded(&[plain], &TableSchema::empty()).schema;
    // Its columns do not become wider.
    schema.pin();
    let rows = decoded(&[plain], &schema).rows;
    for written in [
        plain.replace(':', ": ").replace(',', ", "),
        plain.replace(':', "\t:\r\n ").replace(',', " ,\n\t").replace('}', " }").replace(']', "\n]"),
        plain.replace("one", r"\u006fne").replace("end", r"e\u006ed").replace('é', r"\u00e9"),
        plain.replace("-12", "-12e0").replace("3.25", "0.325E1").replace("[1,0]", "[1.0,0e7]"),
        format!("  {plain}\r\n\t "),
    ] {
        let again = decoded(&[&written], &schema);
        assert_eq!((again.rows, again.rejected), (rows.clone(), vec![]), "{written}");
    }
    for length in [0, 1, 7, 8, 9, 126, 127, 128, 129, 1_000] {
        let text = "é".repeat(length / 2) + &"x".repeat(length % 2);
        let rows = decoded(&[format!(r#"{{"t":"{text}","z":"{text}"}}"#)], &schema).rows;
        for name in ["t", "z"] {
            assert_eq!(rows.column_by_name(name).unwrap().as_string::<i32>().value(0), text);
        }
    }
    for (part, wrong) in [
        ("one", "o\ne"),
        ("one", "o\0e"),
        ("one", "o\u{1f}e"),
        ("-12", "-"),
        ("-12", "-012"),
        ("3.25", "3."),
        ("3.25", "3.25.1"),
        ("[1,0]", "[1,]"),
        ("[1,0]", "[,1]"),
        ("[1,0]", "[1,,0]"),
        ("[1,0]", "[1 0]"),
        ("[1,0]", "[1,0}"),
        ("[1,0]", "[1,0"),
        ("-0.0}", "-0.0]"),
        ("\"end\"}", "\"end\",}"),
        ("\"end\"}", "\"end\"}}"),
        ("\"end\"}", "\"end\""),
        ("\"end\"}", "\"end"),
    ] {
        let broken = plain.replace(part, wrong);
        assert_eq!(decoded(&[&broken], &schema).rejected.len(), 1, "{broken:?}");
    }
}

/// Which fields came before in other records decides what is expected, and nothing else.
#[test]
fn fields_are_found_whichever_are_left_out() {
    let all = ["a", "b", "c", "d", "e"];
    let event = |names: &[&str]| {
        let fields: Vec<_> = names.iter().enumerate().map(|(value, name)| format!("\"{name}\":{value}")).collect();
        format!("{{{},\"o\":{{{}}}}}", fields.join(","), fields.join(", "))
    };
    let schema = decoded(&[event(&all)], &TableSchema::empty()).schema;
    let shapes: [&[&str]; 8] = [
        &["b", "e"],
        &["a", "c", "e"],
        &["e", "d", "a"],
        &["a", "b"],
        &["a", "a", "e"],
        &["a", "c", "c"],
        &["E"],
        &all,
    ];
    let events: Vec<String> =
        shapes.iter().chain(&shapes).chain(shapes.iter().rev()).map(|names| event(names)).collect();
    let together = decoded(&events, &schema).rows;
    for (row, event) in events.iter().enumerate() {
        assert_eq!(show_row(&together, row), show_row(&decoded(&[event], &schema).rows, 0), "{event}");
    }
}

#[test]
fn keys_with_letters_that_must_be_escaped_are_found() {
    let lines = [r#"{"x":0,"a\\b":1,"q\"":2}"#, r#"{"x":1,"a\\b":2,"q\"":3}"#, r#"{"x":2,"a\b":3,"q\u0022":4}"#];
    let all = decoded(&lines, &TableSchema::empty());
    let names: Vec<_> = all.schema.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["x", r"a\b", "q\""]);
    let values = |column: usize| all.rows.column(column).as_primitive::<Int64Type>();
    assert_eq!(values(2).values(), &[2, 3, 4]);
    // The third has a backspace in its name.
    assert_eq!(values(1).iter().collect::<Vec<_>>(), [Some(1), Some(2), None]);
}

#[test]
fn records_that_end_after_an_expected_key_are_broken() {
    let whole = r#"{"a":1,"b":2,"c":{"d":3,"e":4}}"#;
    let cut = (1..whole.len()).map(|end| whole[..end].to_owned());
    let more = [r#"{"a":1,"b":}"#, r#"{"a":1,"b":,"c":1}"#, r#"{"a":1,"b":2,}"#, r#"{"a":1,"b"2}"#, r#"{"a":1 "b":2}"#];
    let broken: Vec<String> = cut.chain(more.map(str::to_owned)).collect();
    let lines: Vec<String> = [vec![whole.to_owned()], broken.clone(), vec![whole.to_owned()]].concat();
    let all = decoded(&lines, &TableSchema::empty());
    assert_eq!((all.rows.num_rows(), all.rejected.len()), (2, broken.len()));
    // Each alone, after a good one: nothing of it is left in the columns.
    for line in broken {
        let all = decoded(&[whole, &*line, whole], &TableSchema::empty());
        assert_eq!((all.rows.num_rows(), all.rejected.len()), (2, 1), "{line}");
        assert_eq!(show_row(&all.rows, 0), show_row(&all.rows, 1), "{line}");
    }
}

#[test]
fn texts_share_the_room_that_the_records_take() {
    let name = |id| Column::new(id, "name", ColumnType::Text);
    let inside = vec![name(6), Column::new(7, "deeper", ColumnType::Struct(vec![name(8)]))];
    let columns =
        [name(5), Column::new(9, "n", ColumnType::Long), Column::new(10, "inside", ColumnType::Struct(inside))];
    let records = records(&["x".repeat(200), "x".repeat(103)]);
    assert_eq!(Room::of(&records, &columns), Room { rows: 2, text_bytes: 101 });
    assert_eq!(Room::of(&records, &columns[1..2]), Room { rows: 2, text_bytes: 303 });
    assert_eq!(Room::of(&[], &columns), Room::default());
}

#[test]
fn nothing_decodes_to_nothing() {
    let decoded = decode(&[], &TableSchema::quarantine()).unwrap();
    assert_eq!((decoded.rows.num_rows(), decoded.schema, decoded.widened), (0, TableSchema::quarantine(), false));
}
