//! Table schemas in their Arrow and Iceberg forms, and back.

use super::*;

fn column(id: i32, name: &str, kind: ColumnType) -> Column {
    Column { id, name: name.to_owned(), kind, committed: true }
}

/// One column of every type, nested in each other.
fn every_type() -> TableSchema {
    let item = ColumnType::Struct(vec![
        column(12, "sku", ColumnType::Text),
        column(13, "sizes", ColumnType::List(Box::new(column(14, "element", ColumnType::Double)))),
    ]);
    let columns = vec![
        column(5, "ok", ColumnType::Boolean),
        column(6, "count", ColumnType::Long),
        column(7, "price", ColumnType::Double),
        column(8, "name", ColumnType::Text),
        column(9, "bytes", ColumnType::Binary),
        column(10, "items", ColumnType::List(Box::new(column(11, "element", item)))),
    ];
    TableSchema { columns, last_id: 14 }
}

fn ids_of(fields: &Fields, found: &mut Vec<String>) {
    for field in fields {
        assert!(field.is_nullable(), "{field}");
        found.push(format!("{}={}", field.metadata()[PARQUET_FIELD_ID_META_KEY], field.name()));
        match field.data_type() {
            DataType::Struct(fields) => ids_of(fields, found),
            DataType::List(element) => ids_of(&Fields::from(vec![Arc::clone(element)]), found),
            _ => {}
        }
    }
}

#[test]
fn arrow_fields_carry_their_ids_at_every_depth() {
    let mut found = Vec::new();
    ids_of(every_type().arrow().fields(), &mut found);
    insta::assert_snapshot!(found.join(" "), @"5=ok 6=count 7=price 8=name 9=bytes 10=items 11=element 12=sku 13=sizes 14=element 1=_rescued 2=_received_at 3=_partition 4=_offset");
}

#[test]
fn a_schema_survives_iceberg_and_its_json() {
    for schema in [TableSchema::empty(), TableSchema::quarantine(), every_type()] {
        let iceberg = schema.iceberg(3).unwrap();
        let json = serde_json::to_string(&iceberg).unwrap();
        let read: iceberg::spec::Schema = serde_json::from_str(&json).unwrap();
        assert_eq!(read.schema_id(), 3);
        assert_eq!(TableSchema::from_iceberg(&read, schema.last_id).unwrap(), schema);
    }
}

#[test]
fn iceberg_reads_the_arrow_schema_as_the_same_columns() {
    let ours = every_type();
    let theirs = iceberg::arrow::arrow_schema_to_schema(&ours.arrow()).unwrap();
    assert_eq!(theirs.as_struct(), ours.iceberg(0).unwrap().as_struct());
}

#[test]
fn system_columns_may_be_anywhere_but_must_be_ours() {
    let string = |id, name: &str| Arc::new(NestedField::optional(id, name, Type::Primitive(PrimitiveType::String)));
    let read = |fields: Vec<NestedFieldRef>| {
        let schema = iceberg::spec::Schema::builder().with_fields(fields).build().unwrap();
        TableSchema::from_iceberg(&schema, 9)
    };
    let schema = read(vec![string(1, RESCUED), string(5, "name")]).unwrap();
    assert_eq!(schema.columns, [column(5, "name", ColumnType::Text)]);
    insta::assert_snapshot!(read(vec![string(1, "name")]).unwrap_err(), @r#"column "name" with field id 1 and type string is neither a system column nor one from events"#);
    insta::assert_snapshot!(read(vec![string(5, "_Offset")]).unwrap_err(), @r#"column "_Offset" with field id 5 and type string is neither a system column nor one from events"#);
    let date = NestedField::optional(5, "day", Type::Primitive(PrimitiveType::Date));
    insta::assert_snapshot!(read(vec![Arc::new(date)]).unwrap_err(), @r#"column "day" has the Iceberg type date, which lacus does not write"#);
}

#[test]
fn pinning_reaches_every_depth() {
    let mut schema = every_type();
    let ColumnType::List(items) = &mut schema.columns[5].kind else { panic!("a list") };
    items.committed = false;
    let ColumnType::Struct(fields) = &mut items.kind else { panic!("a struct") };
    fields[0].committed = false;
    schema.pin();
    assert_eq!(schema, every_type());
}
