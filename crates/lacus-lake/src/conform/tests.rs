//! Rows of an older schema, read in a newer one.

use arrow::array::{Float64Array, Int64Array, StringArray};
use arrow::datatypes::Float64Type;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::schema::{Column, ColumnType, TableSchema};

fn column(id: i32, name: &str, kind: ColumnType) -> Column {
    Column { committed: false, ..Column::new(id, name, kind) }
}

fn list(id: i32, kind: ColumnType) -> ColumnType {
    ColumnType::List(Box::new(column(id, "element", kind)))
}

/// `a` Long, `tags` list of structs with `x` Long.
fn older() -> TableSchema {
    let tag = ColumnType::Struct(vec![column(8, "x", ColumnType::Long)]);
    TableSchema {
        columns: vec![column(5, "a", ColumnType::Long), column(6, "tags", list(7, tag))],
        last_id: 8,
        ..TableSchema::empty()
    }
}

/// The same with `a` renamed and Double, in another place, and new columns at every depth.
fn newer() -> TableSchema {
    let tag = ColumnType::Struct(vec![column(9, "y", ColumnType::Text), column(8, "x", ColumnType::Long)]);
    let columns = vec![
        column(6, "tags", list(7, tag)),
        column(10, "new", list(11, ColumnType::Boolean)),
        column(5, "b", ColumnType::Double),
    ];
    TableSchema { columns, last_id: 11, ..TableSchema::empty() }
}

fn older_rows() -> RecordBatch {
    let lines = [r#"{"a":1,"tags":[{"x":1},null]}"#, r#"{"tags":[null,{"x":3}]}"#, r#"{"a":3}"#];
    crate::decode::tests::decoded(&lines, &older()).rows
}

#[track_caller]
fn check_conformed(rows: &RecordBatch) {
    assert_eq!(rows.column(2).as_ref(), &Float64Array::from(vec![Some(1.0), None, Some(3.0)]) as &dyn Array);
    assert_eq!(rows.column(1).null_count(), 3);
    let tags = rows.column(0).as_list::<i32>();
    assert_eq!((tags.value_length(0), tags.value_length(1), tags.is_null(2)), (2, 2, true));
    let tag = tags.values().as_struct();
    assert_eq!((0..4).map(|row| tag.is_valid(row)).collect::<Vec<_>>(), [true, false, false, true]);
    assert_eq!(tag.column(0).as_ref(), &StringArray::new_null(4) as &dyn Array);
    assert_eq!(tag.column(1).as_ref(), &Int64Array::from(vec![Some(1), None, None, Some(3)]) as &dyn Array);
}

/// The rows as a reader gets them from a file.
pub(crate) fn through_parquet(rows: &RecordBatch) -> RecordBatch {
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, rows.schema(), None).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap().build().unwrap();
    reader.next().unwrap().unwrap()
}

#[test]
fn columns_are_matched_by_id_at_every_depth() {
    let rows = conform(&older_rows(), &newer().arrow()).unwrap();
    assert_eq!(rows.schema(), newer().arrow());
    check_conformed(&rows);
}

#[test]
fn rows_read_back_from_parquet_conform_too() {
    let rows = older_rows();
    let read = through_parquet(&rows);
    assert_eq!(conform(&read, &older().arrow()).unwrap(), rows);
    check_conformed(&conform(&read, &newer().arrow()).unwrap());
}

#[test]
fn a_slice_conforms_like_the_whole() {
    let whole = conform(&older_rows(), &newer().arrow()).unwrap();
    let part = conform(&older_rows().slice(1, 2), &newer().arrow()).unwrap();
    assert_eq!(part, whole.slice(1, 2));
}

#[test]
fn equal_schemas_share_the_arrays() {
    let rows = older_rows();
    let same = conform(&rows, &older().arrow()).unwrap();
    assert!(Arc::ptr_eq(rows.column(0), same.column(0)));
    let one_wider = TableSchema {
        columns: [older().columns, vec![column(9, "z", ColumnType::Text)]].concat(),
        last_id: 9,
        ..TableSchema::empty()
    };
    let wider = conform(&rows, &one_wider.arrow()).unwrap();
    assert!(Arc::ptr_eq(rows.column(1), wider.column(1)));
}

#[test]
fn views_and_other_spellings_of_utc_are_the_same_values() {
    let (rows, schema) = (older_rows(), older().arrow());
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 => field.as_ref().clone().with_data_type(DataType::Utf8View),
        DataType::Timestamp(unit, _) => {
            field.as_ref().clone().with_data_type(DataType::Timestamp(*unit, Some("UTC".into())))
        }
        _ => field.as_ref().clone(),
    });
    let other: SchemaRef = Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
    let there = conform(&rows, &other).unwrap();
    assert_eq!(there.schema(), other);
    assert_eq!(conform(&there, &schema).unwrap(), rows);
}

#[test]
fn values_are_never_changed_to_fit() {
    let field = |kind| Field::new("a", kind, true);
    let doubles: ArrayRef = Arc::new(arrow::array::PrimitiveArray::<Float64Type>::from(vec![1.0]));
    let error = conform_array(&doubles, &field(DataType::Float64), &field(DataType::Int64)).unwrap_err();
    insta::assert_snapshot!(error, @r#"column "a" of type Float64 can't be read as Int64"#);
}
