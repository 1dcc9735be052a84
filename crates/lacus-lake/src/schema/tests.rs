//! Table schemas in their Arrow and Iceberg forms, and back.

use iceberg::spec::{NestedField, NestedFieldRef, PrimitiveType, Type};

use super::*;

fn column(id: i32, name: &str, kind: ColumnType) -> Column {
    Column::new(id, name, kind)
}

/// A map whose key has this id, and its value the next one.
fn map(id: i32, key: ColumnType, value: ColumnType) -> ColumnType {
    let key = Column { required: true, ..column(id, "key", key) };
    ColumnType::Map(Box::new((key, column(id + 1, "value", value))))
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
        column(15, "small", ColumnType::Int),
        column(16, "ratio", ColumnType::Float),
        column(17, "paid", ColumnType::Decimal { precision: 12, scale: 2 }),
        column(18, "day", ColumnType::Date),
        column(19, "at", ColumnType::Time),
        column(20, "local", ColumnType::Timestamp),
        column(21, "instant", ColumnType::Timestamptz),
        column(22, "hash", ColumnType::Fixed(20)),
        column(23, "labels", map(24, ColumnType::Text, ColumnType::Long)),
    ];
    TableSchema { columns, last_id: 25, ..TableSchema::empty() }
}

fn ids_of(fields: &Fields, found: &mut Vec<String>) {
    for field in fields {
        assert_eq!(field.is_nullable(), field.name() != "key", "{field}");
        found.push(format!("{}={}", field.metadata()[PARQUET_FIELD_ID_META_KEY], field.name()));
        match field.data_type() {
            DataType::Struct(fields) => ids_of(fields, found),
            DataType::Map(entries, _) => {
                let DataType::Struct(fields) = entries.data_type() else { panic!("entries are structs") };
                ids_of(fields, found);
            }
            DataType::List(element) => ids_of(&Fields::from(vec![Arc::clone(element)]), found),
            _ => {}
        }
    }
}

#[test]
fn arrow_fields_carry_their_ids_at_every_depth() {
    let mut found = Vec::new();
    ids_of(every_type().arrow().fields(), &mut found);
    insta::assert_snapshot!(found.join(" "), @"5=ok 6=count 7=price 8=name 9=bytes 10=items 11=element 12=sku 13=sizes 14=element 15=small 16=ratio 17=paid 18=day 19=at 20=local 21=instant 22=hash 23=labels 24=key 25=value 1=_rescued 2=_received_at 3=_partition 4=_offset");
}

#[test]
fn a_schema_survives_iceberg_and_its_json() {
    let mut foreign = every_type();
    foreign.system = None;
    foreign.columns[0].required = true;
    foreign.columns.push(column(26, "id", ColumnType::Uuid));
    for schema in [TableSchema::empty(), TableSchema::quarantine(), every_type(), foreign] {
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
fn system_columns_may_be_anywhere_but_all_or_none() {
    let field = |id, name: &str, kind| Arc::new(NestedField::optional(id, name, Type::Primitive(kind)));
    let read = |fields: Vec<NestedFieldRef>| {
        let schema = iceberg::spec::Schema::builder().with_fields(fields).build().unwrap();
        TableSchema::from_iceberg(&schema, 9)
    };
    let ours = vec![
        field(9, OFFSET, PrimitiveType::Long),
        field(1, "name", PrimitiveType::String),
        field(6, RESCUED, PrimitiveType::String),
        field(7, PARTITION, PrimitiveType::Int),
        field(8, RECEIVED_AT, PrimitiveType::Timestamptz),
    ];
    let schema = read(ours.clone()).unwrap();
    assert_eq!(schema.columns, [column(1, "name", ColumnType::Text)]);
    assert_eq!(schema.system, Some([6, 8, 7, 9]));
    // Another engine's columns are what it says, whatever their ids and names.
    let theirs = read(ours[..2].to_vec()).unwrap();
    assert_eq!(theirs.columns, [column(9, OFFSET, ColumnType::Long), column(1, "name", ColumnType::Text)]);
    assert_eq!(theirs.system, None);
    let with_system = theirs.with_system_columns();
    assert_eq!((with_system.system, with_system.last_id), (Some([10, 11, 12, 13]), 13));
    insta::assert_snapshot!(read(vec![field(5, "at", PrimitiveType::TimestampNs)]).unwrap_err(), @r#"column "at" has the Iceberg type timestamp_ns, which lacus does not know"#);
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
