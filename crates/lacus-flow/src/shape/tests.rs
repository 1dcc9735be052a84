//! Events, shapes, and the rows they become.

use insta::assert_snapshot;
use lacus_core::settings::TablesOf;

use super::*;

const ORDER: &str = r#"{"id":1, "user":{"name":"Ann","address":{"city":"Ulm","zip":null}}, "tags":["a","b"],
    "items":[{"sku":"x","size":{"w":1,"h":2},"codes":[7]},{},null,3.50,[4]], "meta":{"line-items":[]}, "a_b":0, "a":{"b":1}}"#;

fn shown_in(event: &str, shape: &Shape) -> String {
    let Rows { rows, left_out } = match rows(&Bytes::copy_from_slice(event.as_bytes()), shape, 5) {
        Ok(rows) => rows,
        Err(reason) => return format!("refused: {reason}"),
    };
    let line = |row: &RowOf| {
        object_text(&row.json).unwrap();
        let table = if row.table.is_empty() { "own" } else { &row.table };
        format!("{table:12} {}\n", String::from_utf8_lossy(&row.json))
    };
    rows.iter().map(line).chain(left_out.map(|reason| format!("left out: {reason}\n"))).collect()
}

fn shown(nested: Nested, arrays: Arrays) -> String {
    shown_in(ORDER, &Shape { nested, arrays, by_event: None })
}

#[test]
fn objects_are_kept_or_flattened() {
    assert_eq!(shown(Nested::Struct, Arrays::List), format!("own          {ORDER}\n"));
    assert_snapshot!(shown(Nested::Flatten, Arrays::List), @r#"
    own          {"id":1,"user_name":"Ann","user_address_city":"Ulm","tags":["a","b"],"items":[{"sku":"x","size":{"w":1,"h":2},"codes":[7]},{},null,3.50,[4]],"meta_line-items":[],"a_b":0,"a_b_2":1}
    "#);
    assert_snapshot!(shown(Nested::Flatten, Arrays::Json), @r#"
    own          {"id":1,"user_name":"Ann","user_address_city":"Ulm","tags":"[\"a\",\"b\"]","items":"[{\"sku\":\"x\",\"size\":{\"w\":1,\"h\":2},\"codes\":[7]},{},null,3.50,[4]]","meta_line-items":"[]","a_b":0,"a_b_2":1}
    "#);
    assert_snapshot!(shown(Nested::Struct, Arrays::Json), @r#"
    own          {"id":1,"user":{"name":"Ann","address":{"city":"Ulm","zip":null}},"tags":"[\"a\",\"b\"]","items":"[{\"sku\":\"x\",\"size\":{\"w\":1,\"h\":2},\"codes\":[7]},{},null,3.50,[4]]","meta":{"line-items":"[]"},"a_b":0,"a":{"b":1}}
    "#);
}

#[test]
fn elements_of_arrays_are_rows_of_their_own() {
    assert_snapshot!(shown(Nested::Struct, Arrays::Explode), @r#"
    own          {"id":1,"user":{"name":"Ann","address":{"city":"Ulm","zip":null}},"meta":{},"a_b":0,"a":{"b":1}}
    __tags       {"_index":0,"value":"a"}
    __tags       {"_index":1,"value":"b"}
    __items      {"_index":0,"sku":"x","size":{"w":1,"h":2},"codes":[7]}
    __items      {"_index":1}
    __items      {"_index":2,"value":null}
    __items      {"_index":3,"value":3.50}
    __items      {"_index":4,"value":[4]}
    "#);
    assert_snapshot!(shown(Nested::Flatten, Arrays::Explode), @r#"
    own          {"id":1,"user_name":"Ann","user_address_city":"Ulm","a_b":0,"a_b_2":1}
    __tags       {"_index":0,"value":"a"}
    __tags       {"_index":1,"value":"b"}
    __items      {"_index":0,"sku":"x","size_w":1,"size_h":2,"codes":[7]}
    __items      {"_index":1}
    __items      {"_index":2,"value":null}
    __items      {"_index":3,"value":3.50}
    __items      {"_index":4,"value":[4]}
    "#);
}

#[test]
fn each_event_name_has_a_table() {
    let source = lacus_core::settings::Source {
        arrays: Arrays::Explode,
        tables: TablesOf::ByEvent,
        event: Some("meta.event".to_owned()),
        ..Default::default()
    };
    let table = |event: &str| {
        let rows = rows(&Bytes::copy_from_slice(event.as_bytes()), &source.shape(), 5).unwrap().rows;
        rows.into_iter().map(|row| row.table).collect::<Vec<_>>().join(" ")
    };
    for (name, expected) in [
        (r#""Signed Up""#, "signed_up"),
        (r#""Sign\u0065d-up""#, "signed_up"),
        ("404", "event_404"),
        ("true", "true"),
        (r#""Other Events""#, "other_events_event"),
        (r#""""#, "other_events"),
        ("null", "other_events"),
        (r#"{"a":1}"#, "other_events"),
    ] {
        assert_eq!(table(&format!(r#"{{"meta":{{"x":[],"event":{name}}}}}"#)), expected);
    }
    for event in ["{}", r#"{"event":"x"}"#, r#"{"meta":"event"}"#, r#"{"meta":{"events":"x"}}"#] {
        assert_eq!(table(event), "other_events");
    }
    let long = table(&format!(r#"{{"meta":{{"event":"{}"}},"quarantine":[1],"ids":[2]}}"#, "x".repeat(500)));
    let names: Vec<&str> = long.split(' ').collect();
    assert_eq!(names[0].len(), EVENT_TABLE_BYTES_MAX);
    assert_eq!(names[1..], [format!("{}__quarantine_array", names[0]), format!("{}__ids", names[0])]);
    let web = lacus_core::StreamName::new("web").unwrap();
    names.iter().for_each(|name| drop(web.table_in(name).unwrap()));
}

#[test]
fn what_is_no_event_is_refused() {
    let flat = Shape { nested: Nested::Flatten, ..Shape::default() };
    assert_eq!(shown_in("[1]", &flat), "refused: expected an object, found an array");
    assert_eq!(shown_in("", &flat), "refused: the record is empty");
}

/// What a sender makes big on purpose stays as small as it came.
#[test]
fn rows_are_bounded_whatever_an_event_is() {
    let explode = Shape { arrays: Arrays::Explode, ..Shape::default() };
    let many = format!(r#"{{"a":[{}1]}}"#, "1,".repeat(ELEMENTS_MAX));
    assert_eq!(
        shown_in(&many, &explode),
        "own          {}\nleft out: the event has more than 10000 elements in its arrays\n"
    );
    let arrays: String = (0..60_000).map(|key| format!("\"{key}\":[1],")).collect();
    assert!(shown_in(&format!("{{{arrays}\"x\":1}}"), &explode).contains("left out: "));

    let (name, members) = ("n".repeat(500_000), (0..20_000).map(|key| format!("\"{key}\":[1],")).collect::<String>());
    let event = format!(r#"{{"{name}":{{{members}"x":1}}}}"#);
    for nested in [Nested::Struct, Nested::Flatten] {
        for arrays in [Arrays::List, Arrays::Json, Arrays::Explode] {
            let rows = rows(&Bytes::from(event.clone()), &Shape { nested, arrays, by_event: None }, 5).unwrap().rows;
            let bytes: usize = rows.iter().map(|row| row.json.len()).sum();
            assert!(bytes < 2 * event.len(), "{nested:?} {arrays:?}: {bytes}");
        }
    }
    let name = "n".repeat(200);
    let members: String = (0..200_000).map(|key| format!("\"{key}\":1,")).collect();
    let event = Bytes::from(format!(r#"{{"{name}":{{{members}"x":1}}}}"#));
    let flat = rows(&event, &Shape { nested: Nested::Flatten, ..Shape::default() }, 5).unwrap().rows;
    assert!(flat[0].json.len() < 2 * event.len());
}
