//! The tables of `information_schema` that are about the lake. Types are called as Postgres calls them.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int32Array, new_empty_array};
use datafusion::arrow::datatypes::DataType;
use postgres_types::{Kind, Type};

use super::relations::{Column, Relation, Relations};
use super::tables::{OWNER, none};
use super::types::{digits, sql_name};
use super::{Columns, INFORMATION_SCHEMA, ints, maybe_texts, texts};

/// The tables that are here.
pub(super) const NAMES: [&str; 17] = [
    "applicable_roles",
    "column_privileges",
    "columns",
    "constraint_column_usage",
    "constraint_table_usage",
    "enabled_roles",
    "information_schema_catalog_name",
    "key_column_usage",
    "referential_constraints",
    "schemata",
    "sequences",
    "table_constraints",
    "table_privileges",
    "tables",
    "triggers",
    "view_table_usage",
    "views",
];

/// The columns of a table; none if it is not here.
pub(super) fn of(name: &str, all: &Relations) -> Option<Columns> {
    Some(match name {
        "columns" => columns(all),
        "enabled_roles" => vec![("role_name", texts([OWNER]))],
        "information_schema_catalog_name" => vec![("catalog_name", texts([&all.catalog]))],
        "schemata" => schemata(all),
        "table_privileges" => table_privileges(all),
        "tables" => tables(all),
        "views" => views(all),
        other => empty(other)?,
    })
}

fn schemata(all: &Relations) -> Columns {
    let count = all.namespaces.len();
    vec![
        ("catalog_name", texts(vec![&all.catalog; count])),
        ("schema_name", texts(all.namespaces.iter().map(|namespace| &namespace.name))),
        ("schema_owner", texts(vec![OWNER; count])),
        ("default_character_set_catalog", none(&DataType::Utf8, count)),
        ("default_character_set_schema", none(&DataType::Utf8, count)),
        ("default_character_set_name", none(&DataType::Utf8, count)),
        ("sql_path", none(&DataType::Utf8, count)),
    ]
}

fn tables(all: &Relations) -> Columns {
    let tables = &all.relations;
    let none = || none(&DataType::Utf8, tables.len());
    let kind = |table: &Relation| match table.is_view {
        true => "VIEW",
        false => "BASE TABLE",
    };
    let insertable = |table: &Relation| if table.is_view || table.is_external { "NO" } else { "YES" };
    vec![
        ("table_catalog", texts(vec![&all.catalog; tables.len()])),
        ("table_schema", texts(tables.iter().map(|table| &table.namespace))),
        ("table_name", texts(tables.iter().map(|table| &table.name))),
        ("table_type", texts(tables.iter().map(kind))),
        ("self_referencing_column_name", none()),
        ("reference_generation", none()),
        ("user_defined_type_catalog", none()),
        ("user_defined_type_schema", none()),
        ("user_defined_type_name", none()),
        ("is_insertable_into", texts(tables.iter().map(insertable))),
        ("is_typed", texts(vec!["NO"; tables.len()])),
        ("commit_action", none()),
    ]
}

fn views(all: &Relations) -> Columns {
    let views: Vec<_> = all.relations.iter().filter(|relation| relation.is_view).collect();
    let no = || texts(vec!["NO"; views.len()]);
    vec![
        ("table_catalog", texts(vec![&all.catalog; views.len()])),
        ("table_schema", texts(views.iter().map(|view| &view.namespace))),
        ("table_name", texts(views.iter().map(|view| &view.name))),
        ("view_definition", maybe_texts(views.iter().map(|view| view.definition.clone()))),
        ("check_option", texts(vec!["NONE"; views.len()])),
        ("is_updatable", no()),
        ("is_insertable_into", no()),
        ("is_trigger_updatable", no()),
        ("is_trigger_deletable", no()),
        ("is_trigger_insertable_into", no()),
    ]
}

fn columns(all: &Relations) -> Columns {
    let columns: Vec<_> = all.columns().collect();
    let (none, none_int) = (|| none(&DataType::Utf8, columns.len()), || none(&DataType::Int32, columns.len()));
    let same = |text: &'static str| texts(vec![text; columns.len()]);
    let numbers = |of: fn(&Column) -> Option<i32>| -> ArrayRef {
        let numbers = columns.iter().map(|(_, column)| of(column));
        Arc::new(numbers.collect::<Int32Array>())
    };
    let nullable = |column: &Column| if column.is_nullable { "YES" } else { "NO" };
    vec![
        ("table_catalog", texts(vec![&all.catalog; columns.len()])),
        ("table_schema", texts(columns.iter().map(|(table, _)| &table.namespace))),
        ("table_name", texts(columns.iter().map(|(table, _)| &table.name))),
        ("column_name", texts(columns.iter().map(|(_, column)| &column.name))),
        ("ordinal_position", ints(columns.iter().map(|(_, column)| i32::from(column.number)))),
        ("column_default", none()),
        ("is_nullable", texts(columns.iter().map(|(_, column)| nullable(column)))),
        ("data_type", texts(columns.iter().map(|(_, column)| data_type(&column.kind)))),
        ("character_maximum_length", none_int()),
        ("character_octet_length", none_int()),
        ("numeric_precision", numbers(precision)),
        ("numeric_precision_radix", numbers(|column| precision(column).map(|_| radix(column)))),
        ("numeric_scale", numbers(scale)),
        ("datetime_precision", numbers(|column| of_time(&column.kind))),
        ("interval_type", none()),
        ("interval_precision", none_int()),
        ("character_set_catalog", none()),
        ("character_set_schema", none()),
        ("character_set_name", none()),
        ("collation_catalog", none()),
        ("collation_schema", none()),
        ("collation_name", none()),
        ("domain_catalog", none()),
        ("domain_schema", none()),
        ("domain_name", none()),
        ("udt_catalog", texts(vec![&all.catalog; columns.len()])),
        ("udt_schema", same("pg_catalog")),
        ("udt_name", texts(columns.iter().map(|(_, column)| column.kind.name()))),
        ("scope_catalog", none()),
        ("scope_schema", none()),
        ("scope_name", none()),
        ("maximum_cardinality", none_int()),
        ("dtd_identifier", texts(columns.iter().map(|(_, column)| column.number.to_string()))),
        ("is_self_referencing", same("NO")),
        ("is_identity", same("NO")),
        ("identity_generation", none()),
        ("identity_start", none()),
        ("identity_increment", none()),
        ("identity_maximum", none()),
        ("identity_minimum", none()),
        ("identity_cycle", same("NO")),
        ("is_generated", same("NEVER")),
        ("generation_expression", none()),
        ("is_updatable", same("YES")),
    ]
}

/// The standard's name of a type: `ARRAY` for any array.
fn data_type(kind: &Type) -> String {
    if matches!(kind.kind(), Kind::Array(_)) { "ARRAY".to_owned() } else { sql_name(kind, -1) }
}

fn precision(column: &Column) -> Option<i32> {
    match column.kind {
        Type::INT2 => Some(16),
        Type::INT4 => Some(32),
        Type::INT8 => Some(64),
        Type::FLOAT4 => Some(24),
        Type::FLOAT8 => Some(53),
        Type::NUMERIC => digits(&column.arrow).map(|(precision, _)| precision.into()),
        _ => None,
    }
}

fn radix(column: &Column) -> i32 {
    if column.kind == Type::NUMERIC { 10 } else { 2 }
}

fn scale(column: &Column) -> Option<i32> {
    match column.kind {
        Type::INT2 | Type::INT4 | Type::INT8 => Some(0),
        Type::NUMERIC => digits(&column.arrow).map(|(_, scale)| scale.into()),
        _ => None,
    }
}

fn of_time(kind: &Type) -> Option<i32> {
    match *kind {
        Type::DATE => Some(0),
        Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::INTERVAL => Some(6),
        _ => None,
    }
}

fn table_privileges(all: &Relations) -> Columns {
    let tables: Vec<_> = all.relations.iter().filter(|relation| relation.namespace != INFORMATION_SCHEMA).collect();
    let same = |text: &'static str| texts(vec![text; tables.len()]);
    vec![
        ("grantor", same(OWNER)),
        ("grantee", same(OWNER)),
        ("table_catalog", texts(vec![&all.catalog; tables.len()])),
        ("table_schema", texts(tables.iter().map(|table| &table.namespace))),
        ("table_name", texts(tables.iter().map(|table| &table.name))),
        ("privilege_type", same("SELECT")),
        ("is_grantable", same("NO")),
        ("with_hierarchy", same("YES")),
    ]
}

/// A table without rows: the lake has no constraints, sequences or triggers.
fn empty(name: &str) -> Option<Columns> {
    let constraint = ["constraint_catalog", "constraint_schema", "constraint_name"];
    let table = ["table_catalog", "table_schema", "table_name"];
    let (names, numbers): (Vec<&'static str>, &[&'static str]) = match name {
        "applicable_roles" => (vec!["grantee", "role_name", "is_grantable"], &[]),
        "column_privileges" => {
            ([&["grantor", "grantee"], &table[..], &["column_name", "privilege_type", "is_grantable"]].concat(), &[])
        }
        "constraint_column_usage" => ([&table[..], &["column_name"], &constraint].concat(), &[]),
        "constraint_table_usage" => ([&table[..], &constraint].concat(), &[]),
        "key_column_usage" => (
            [&constraint[..], &table, &["column_name"]].concat(),
            &["ordinal_position", "position_in_unique_constraint"],
        ),
        "referential_constraints" => {
            let unique = ["unique_constraint_catalog", "unique_constraint_schema", "unique_constraint_name"];
            ([&constraint[..], &unique, &["match_option", "update_rule", "delete_rule"]].concat(), &[])
        }
        "sequences" => {
            let bounds = ["data_type", "start_value", "minimum_value", "maximum_value", "increment", "cycle_option"];
            ([&["sequence_catalog", "sequence_schema", "sequence_name"], &bounds[..]].concat(), &[])
        }
        "table_constraints" => {
            let kind = ["constraint_type", "is_deferrable", "initially_deferred", "enforced", "nulls_distinct"];
            ([&constraint[..], &table, &kind].concat(), &[])
        }
        "triggers" => {
            let trigger = ["trigger_catalog", "trigger_schema", "trigger_name", "event_manipulation"];
            let object = ["event_object_catalog", "event_object_schema", "event_object_table"];
            (
                [&trigger[..], &object, &["action_statement", "action_orientation", "action_timing"]].concat(),
                &["action_order"],
            )
        }
        "view_table_usage" => ([&["view_catalog", "view_schema", "view_name"], &table[..]].concat(), &[]),
        _ => return None,
    };
    let texts = names.into_iter().map(|name| (name, new_empty_array(&DataType::Utf8)));
    let numbers = numbers.iter().map(|name| (*name, new_empty_array(&DataType::Int32)));
    Some(texts.chain(numbers).collect())
}
