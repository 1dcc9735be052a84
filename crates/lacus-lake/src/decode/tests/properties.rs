//! What holds for all events: cuts do not matter, nothing is lost, no bytes break it.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use jiter::{Jiter, Peek};
use proptest::prelude::*;

use super::*;
use crate::conform::conform;

/// An event as it is written: objects keep equal keys and their order.
#[derive(Debug, Clone)]
enum Json {
    Scalar(&'static str),
    Array(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

impl Json {
    fn text(&self) -> String {
        let list = |parts: Vec<String>| parts.join(",");
        match self {
            Self::Scalar(text) => (*text).to_owned(),
            Self::Array(items) => format!("[{}]", list(items.iter().map(Self::text).collect())),
            Self::Object(fields) => {
                format!(
                    "{{{}}}",
                    list(fields.iter().map(|(key, value)| format!("\"{key}\":{}", value.text())).collect())
                )
            }
        }
    }
}

fn any_event() -> impl Strategy<Value = Json> {
    let scalars = [
        "null",
        "null",
        "true",
        "1",
        "2",
        "-0",
        "0.5",
        "1.0",
        "2e0",
        "9007199254740993",
        "9223372036854775808",
        "1e400",
        "\"x\"",
        "\"\"",
        "\"\\u00e9\"",
    ];
    let keys = prop::sample::select(vec!["a", "b", "c", "A", "a.b", "a_b", "element", "", "_offset"]);
    let scalar = prop::sample::select(scalars.to_vec()).prop_map(Json::Scalar);
    let value = scalar.prop_recursive(3, 12, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            prop::collection::vec((keys.clone(), inner), 0..4).prop_map(Json::Object),
        ]
    });
    let keys = prop::sample::select(vec!["a", "b", "c", "B", "_offset"]);
    prop::collection::vec((keys, value), 0..5).prop_map(Json::Object)
}

/// Lines of events, some of them broken.
fn any_lines() -> impl Strategy<Value = Vec<String>> {
    let line = (any_event(), 0..20u8).prop_map(|(event, broken)| {
        let mut text = event.text();
        if broken == 0 {
            text.pop();
        }
        text
    });
    prop::collection::vec(line, 0..12)
}

/// Decodes as a delivery does: batch by batch, and what came before again when a column became wider.
fn deliver(records: &[Record], cuts: &[usize]) -> (RecordBatch, TableSchema) {
    let mut schema = TableSchema::empty();
    let mut tail: Vec<(&[Record], RecordBatch)> = Vec::new();
    for batch in batches(records, cuts) {
        let decoded = decode(batch, &schema).unwrap();
        schema = decoded.schema;
        if decoded.widened {
            for (batch, rows) in &mut tail {
                let again = decode(batch, &schema).unwrap();
                assert_eq!((&again.schema, again.widened), (&schema, false));
                *rows = again.rows;
            }
        }
        tail.push((batch, decoded.rows));
    }
    let rows: Vec<_> = tail.iter().map(|(_, rows)| conform(rows, &schema.arrow()).unwrap()).collect();
    (concat_batches(&schema.arrow(), &rows).unwrap(), schema)
}

fn batches<'a>(records: &'a [Record], cuts: &[usize]) -> Vec<&'a [Record]> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (records.len() + 1)).chain([0, records.len()]).collect();
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &records[cut[0]..cut[1]]).collect()
}

/// How many scalars but null there are in a JSON text.
fn scalars(json: &mut Jiter<'_>) -> usize {
    let mut count = 0;
    match json.peek().unwrap() {
        Peek::Null => json.known_null().unwrap(),
        Peek::Array => {
            let mut next = json.known_array().unwrap();
            while next.is_some() {
                count += scalars(json);
                next = json.array_step().unwrap();
            }
        }
        Peek::Object => {
            let mut key = json.next_object().unwrap().is_some();
            while key {
                count += scalars(json);
                key = json.next_key().unwrap().is_some();
            }
        }
        _ => {
            json.next_skip().unwrap();
            count += 1;
        }
    }
    count
}

/// How many values but null there are in a column and below.
fn stored(column: &dyn Array) -> usize {
    match column.data_type() {
        DataType::Struct(_) => column.as_struct().columns().iter().map(|column| stored(column)).sum(),
        DataType::List(_) => stored(column.as_list::<i32>().values()),
        _ => column.len() - column.null_count(),
    }
}

pub(super) fn json_of(rescued: &dyn Array) -> Vec<String> {
    rescued.as_string::<i32>().iter().flatten().map(str::to_owned).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn cuts_do_not_matter(lines in any_lines(), cuts in prop::collection::vec(any::<usize>(), 0..4)) {
        let records = records(&lines);
        let (at_once, schema) = deliver(&records, &[]);
        let (in_parts, schema_of_parts) = deliver(&records, &cuts);
        prop_assert_eq!(&schema_of_parts, &schema);
        prop_assert_eq!(&in_parts, &at_once);
        let again = decode(&records, &schema).unwrap();
        prop_assert_eq!((&again.rows, &again.schema, again.widened), (&at_once, &schema, false));
    }

    #[test]
    fn every_scalar_is_in_a_column_or_rescued(lines in prop::collection::vec(any_event(), 0..8)) {
        let lines: Vec<_> = lines.iter().map(Json::text).collect();
        let Decoded { rows, schema, rejected, .. } = decoded(&lines, &TableSchema::empty());
        prop_assert_eq!(rejected, []);
        let columns = &rows.columns()[..schema.columns.len()];
        let in_columns: usize = columns.iter().map(|column| stored(column)).sum();
        let texts = json_of(rows.column_by_name(RESCUED).unwrap());
        let count = |lines: &[String]| lines.iter().map(|line| scalars(&mut Jiter::new(line.as_bytes()))).sum::<usize>();
        prop_assert_eq!(in_columns + count(&texts), count(&lines));
    }

    #[test]
    fn schemas_are_valid_for_iceberg(lines in prop::collection::vec(any_event(), 0..8)) {
        let lines: Vec<_> = lines.iter().map(Json::text).collect();
        let mut schema = decoded(&lines, &TableSchema::empty()).schema;
        schema.pin();
        let iceberg = schema.iceberg(1).unwrap();
        prop_assert_eq!(iceberg.highest_field_id().max(4), schema.last_id);
        prop_assert_eq!(TableSchema::from_iceberg(&iceberg, schema.last_id).unwrap(), schema);
    }

    #[test]
    fn bytes_are_rejected_exactly_if_they_are_no_object(
        event in any_event(), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut bytes = event.text().replace("1e400", "7").into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let oracle = serde_json::from_slice::<serde_json::Value>(&bytes);
        // The oracle has no numbers beyond doubles.
        prop_assume!(!oracle.as_ref().is_err_and(|error| error.to_string().starts_with("number out of range")));
        let is_object = oracle.is_ok_and(|value| value.is_object());
        let decoded = decoded(&[bytes], &TableSchema::empty());
        prop_assert_eq!(decoded.rejected.is_empty(), is_object);
        prop_assert_eq!(decoded.rows.num_rows(), usize::from(is_object));
    }
}
