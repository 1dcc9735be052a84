//! The columns of a table in Hive's words, as Iceberg's own catalog for Glue writes them.
//!
//! They are only shown: engines that read Iceberg take the columns from its metadata. What Glue has no room for is left out.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::iter;

use iceberg::spec::{NestedField, PrimitiveType, SchemaRef, TableMetadata, Type};
use serde_json::{Value, json};

/// The longest name and comment that Glue takes.
const NAME_CHARS_MAX: usize = 255;
const COMMENT_CHARS_MAX: usize = 255;
/// The longest type.
const TYPE_CHARS_MAX: usize = 131_072;

/// The current columns, and then earlier ones.
pub(super) fn columns(metadata: &TableMetadata) -> Vec<Value> {
    let current = metadata.current_schema();
    let mut former: Vec<&SchemaRef> = metadata.schemas_iter().collect();
    former.retain(|schema| schema.schema_id() != current.schema_id());
    former.sort_by_key(|schema| Reverse(schema.schema_id()));
    let former = former.into_iter().map(|schema| (schema, false));
    let mut names = BTreeSet::new();
    let mut columns = Vec::new();
    for (schema, is_current) in iter::once((current, true)).chain(former) {
        for field in schema.as_struct().fields() {
            // To Glue, names that differ in case are the same.
            if names.insert(field.name.to_lowercase()) {
                columns.extend(column(field, is_current));
            }
        }
    }
    columns
}

fn column(field: &NestedField, is_current: bool) -> Option<Value> {
    let kind = hive_type(&field.field_type);
    let has_room =
        |text: &str, chars_max: usize| text.chars().count() <= chars_max && !text.chars().any(char::is_control);
    if !has_room(&field.name, NAME_CHARS_MAX) || !has_room(&kind, TYPE_CHARS_MAX) {
        return None;
    }
    let mut column = json!({
        "Name": field.name,
        "Type": kind,
        "Parameters": {
            "iceberg.field.id": field.id.to_string(),
            "iceberg.field.optional": (!field.required).to_string(),
            "iceberg.field.current": is_current.to_string(),
        },
    });
    if let Some(doc) = &field.doc {
        let on_one_line = |letter: char| if letter.is_control() { ' ' } else { letter };
        column["Comment"] = doc.chars().take(COMMENT_CHARS_MAX).map(on_one_line).collect::<String>().into();
    }
    Some(column)
}

fn hive_type(kind: &Type) -> String {
    match kind {
        Type::Primitive(primitive) => primitive_type(primitive),
        Type::Struct(fields) => {
            let field = |field: &NestedField| format!("{}:{}", field.name, hive_type(&field.field_type));
            let fields: Vec<String> = fields.fields().iter().map(|of| field(of)).collect();
            format!("struct<{}>", fields.join(","))
        }
        Type::List(list) => format!("array<{}>", hive_type(&list.element_field.field_type)),
        Type::Map(map) => {
            let [key, value] = [&map.key_field, &map.value_field].map(|field| hive_type(&field.field_type));
            format!("map<{key},{value}>")
        }
    }
}

fn primitive_type(kind: &PrimitiveType) -> String {
    let name = match kind {
        PrimitiveType::Boolean => "boolean",
        PrimitiveType::Int => "int",
        PrimitiveType::Long => "bigint",
        PrimitiveType::Float => "float",
        PrimitiveType::Double => "double",
        PrimitiveType::Date => "date",
        PrimitiveType::Timestamp
        | PrimitiveType::Timestamptz
        | PrimitiveType::TimestampNs
        | PrimitiveType::TimestamptzNs => "timestamp",
        PrimitiveType::String | PrimitiveType::Time | PrimitiveType::Uuid => "string",
        PrimitiveType::Binary | PrimitiveType::Fixed(_) => "binary",
        PrimitiveType::Decimal { precision, scale } => return format!("decimal({precision},{scale})"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use iceberg::spec::{ListType, MapType, StructType};

    use super::*;

    fn field(id: i32, name: &str, kind: Type) -> Arc<NestedField> {
        Arc::new(NestedField::optional(id, name, kind))
    }

    #[test]
    fn types_have_the_words_of_hive() {
        let long = Type::Primitive(PrimitiveType::Long);
        let price = Type::Primitive(PrimitiveType::Decimal { precision: 9, scale: 2 });
        let at = Type::Primitive(PrimitiveType::Timestamptz);
        let id = Type::Primitive(PrimitiveType::Uuid);
        let list = Type::List(ListType::new(field(4, "element", price)));
        let map = Type::Map(MapType::new(field(6, "key", id), field(7, "value", at)));
        let all = vec![field(2, "n", long), field(3, "prices", list), field(5, "seen", map)];
        let all = Type::Struct(StructType::new(all));
        assert_eq!(hive_type(&all), "struct<n:bigint,prices:array<decimal(9,2)>,seen:map<string,timestamp>>");
    }

    #[test]
    fn a_column_says_what_iceberg_knows_of_it() {
        let note = NestedField::required(7, "note", Type::Primitive(PrimitiveType::String)).with_doc("two\nlines");
        let expected = json!({
            "Name": "note",
            "Type": "string",
            "Comment": "two lines",
            "Parameters": {
                "iceberg.field.id": "7",
                "iceberg.field.optional": "false",
                "iceberg.field.current": "true",
            },
        });
        assert_eq!(column(&note, true), Some(expected));
        for wrong in ["a\nb".to_owned(), "x".repeat(256)] {
            assert_eq!(column(&field(1, &wrong, Type::Primitive(PrimitiveType::Int)), true), None);
        }
    }
}
