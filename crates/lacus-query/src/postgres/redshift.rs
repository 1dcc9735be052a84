//! The views of Redshift that its drivers and tools look for tables in.

use datafusion::arrow::array::{ArrayRef, Int32Array, new_empty_array};
use datafusion::arrow::datatypes::DataType;
use std::sync::Arc;

use super::relations::{Column, Relation, Relations};
use super::tables::{OWNER, OWNER_OID, none};
use super::types::{digits, sql_name};
use super::{Columns, bools, ints, texts};

/// The views that are here.
pub(super) const NAMES: [&str; 15] = [
    "pg_external_schema",
    "pg_table_def",
    "pg_user_info",
    "svv_all_columns",
    "svv_all_schemas",
    "svv_all_tables",
    "svv_columns",
    "svv_external_columns",
    "svv_external_schemas",
    "svv_external_tables",
    "svv_redshift_columns",
    "svv_redshift_databases",
    "svv_redshift_schemas",
    "svv_redshift_tables",
    "svv_tables",
];

/// The columns of a view; none if it is not here.
pub(super) fn of(name: &str, all: &Relations) -> Option<Columns> {
    Some(match name {
        "svv_columns" => columns(all, ["table_catalog", "table_schema"]),
        "svv_all_columns" | "svv_redshift_columns" => columns(all, ["database_name", "schema_name"]),
        "svv_all_tables" | "svv_redshift_tables" => tables(all),
        "svv_tables" => tables_of_standard(all),
        "pg_table_def" => definitions(all),
        "svv_all_schemas" | "svv_redshift_schemas" => schemas(all),
        "svv_redshift_databases" => databases(all),
        "pg_user_info" => users(),
        other => external(other)?,
    })
}

fn tables(all: &Relations) -> Columns {
    let tables: Vec<_> = all.of_users().collect();
    let kind = |table: &Relation| if table.is_view { "VIEW" } else { "TABLE" };
    vec![
        ("database_name", texts(vec![&all.catalog; tables.len()])),
        ("schema_name", texts(tables.iter().map(|table| &table.namespace))),
        ("table_name", texts(tables.iter().map(|table| &table.name))),
        ("table_type", texts(tables.iter().map(|table| kind(table)))),
        ("table_acl", none(&DataType::Utf8, tables.len())),
        ("remarks", none(&DataType::Utf8, tables.len())),
        ("table_owner", texts(vec![OWNER; tables.len()])),
    ]
}

fn tables_of_standard(all: &Relations) -> Columns {
    let tables: Vec<_> = all.of_users().collect();
    let kind = |table: &Relation| if table.is_view { "VIEW" } else { "BASE TABLE" };
    vec![
        ("table_catalog", texts(vec![&all.catalog; tables.len()])),
        ("table_schema", texts(tables.iter().map(|table| &table.namespace))),
        ("table_name", texts(tables.iter().map(|table| &table.name))),
        ("table_type", texts(tables.iter().map(|table| kind(table)))),
        ("remarks", none(&DataType::Utf8, tables.len())),
    ]
}

fn definitions(all: &Relations) -> Columns {
    let columns: Vec<_> = of_users(all).collect();
    vec![
        ("schemaname", texts(columns.iter().map(|(table, _)| &table.namespace))),
        ("tablename", texts(columns.iter().map(|(table, _)| &table.name))),
        ("column", texts(columns.iter().map(|(_, column)| &column.name))),
        ("type", texts(columns.iter().map(|(_, column)| sql_name(&column.kind, column.modifier)))),
        ("encoding", texts(vec!["none"; columns.len()])),
        ("distkey", bools(vec![false; columns.len()])),
        ("sortkey", ints(vec![0; columns.len()])),
        ("notnull", bools(columns.iter().map(|(_, column)| !column.is_nullable))),
    ]
}

fn of_users(all: &Relations) -> impl Iterator<Item = (&Relation, &Column)> {
    all.of_users().flat_map(|table| table.columns.iter().map(move |column| (table, column)))
}

fn columns(all: &Relations, [catalog, schema]: [&'static str; 2]) -> Columns {
    let columns: Vec<_> = of_users(all).collect();
    let none = |kind: &DataType| none(kind, columns.len());
    let numbers = |of: fn(&Column) -> Option<i32>| -> ArrayRef {
        Arc::new(columns.iter().map(|(_, column)| of(column)).collect::<Int32Array>())
    };
    let nullable = |column: &Column| if column.is_nullable { "YES" } else { "NO" };
    vec![
        (catalog, texts(vec![&all.catalog; columns.len()])),
        (schema, texts(columns.iter().map(|(table, _)| &table.namespace))),
        ("table_name", texts(columns.iter().map(|(table, _)| &table.name))),
        ("column_name", texts(columns.iter().map(|(_, column)| &column.name))),
        ("ordinal_position", ints(columns.iter().map(|(_, column)| i32::from(column.number)))),
        ("column_default", none(&DataType::Utf8)),
        ("is_nullable", texts(columns.iter().map(|(_, column)| nullable(column)))),
        ("data_type", texts(columns.iter().map(|(_, column)| sql_name(&column.kind, -1)))),
        ("character_maximum_length", none(&DataType::Int32)),
        ("numeric_precision", numbers(|column| digits(&column.arrow).map(|(precision, _)| precision.into()))),
        ("numeric_scale", numbers(|column| digits(&column.arrow).map(|(_, scale)| scale.into()))),
        ("remarks", none(&DataType::Utf8)),
    ]
}

fn schemas(all: &Relations) -> Columns {
    let count = all.namespaces.len();
    vec![
        ("database_name", texts(vec![&all.catalog; count])),
        ("schema_name", texts(all.namespaces.iter().map(|namespace| &namespace.name))),
        ("schema_owner", ints(vec![OWNER_OID; count])),
        ("schema_type", texts(vec!["local"; count])),
        ("schema_acl", none(&DataType::Utf8, count)),
        ("source_database", none(&DataType::Utf8, count)),
        ("schema_option", none(&DataType::Utf8, count)),
    ]
}

fn databases(all: &Relations) -> Columns {
    vec![
        ("database_name", texts([&all.catalog])),
        ("database_owner", ints([OWNER_OID])),
        ("database_type", texts(["local"])),
        ("database_acl", none(&DataType::Utf8, 1)),
        ("database_options", none(&DataType::Utf8, 1)),
    ]
}

fn users() -> Columns {
    vec![("usename", texts([OWNER])), ("usesysid", ints([OWNER_OID]))]
}

/// Views about external databases: the lake has none.
fn external(name: &str) -> Option<Columns> {
    let names: &[&'static str] = match name {
        "pg_external_schema" => &["esoid", "eskind", "esdbname", "esoptions"],
        "svv_external_columns" => {
            &["schemaname", "tablename", "columnname", "external_type", "columnnum", "part_key", "is_nullable"]
        }
        "svv_external_schemas" => &["esoid", "eskind", "schemaname", "esowner", "databasename", "esoptions"],
        "svv_external_tables" => &["schemaname", "tablename", "tabletype", "location", "parameters"],
        _ => return None,
    };
    Some(names.iter().map(|name| (*name, new_empty_array(&DataType::Utf8))).collect())
}
