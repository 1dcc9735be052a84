//! The Postgres types of columns: what answers are sent as, and what `pg_catalog` and `information_schema` say.

use datafusion::arrow::datatypes::{DataType, Field};
use lacus_lake::schema::is_uuid;
use postgres_types::{Kind, Type};

/// What is added to the digits in the modifier of a numeric (Postgres, `numeric.c`).
const VARHDRSZ: i32 = 4;

/// The type in which a column's values are sent. Scalars and lists of scalars have types of their own; all else that is
/// nested is `json`.
#[must_use]
pub fn postgres_type(field: &Field) -> Type {
    if is_uuid(field) { Type::UUID } else { of(field.data_type()) }
}

fn of(kind: &DataType) -> Type {
    match kind {
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            scalar(element.data_type()).and_then(|element| array_of(&element)).unwrap_or(Type::JSON)
        }
        DataType::Dictionary(_, value) => of(value),
        DataType::UInt64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => Type::NUMERIC,
        other => scalar(other).unwrap_or(Type::JSON),
    }
}

fn scalar(kind: &DataType) -> Option<Type> {
    Some(match kind {
        DataType::Boolean => Type::BOOL,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => Type::INT2,
        DataType::UInt16 | DataType::Int32 => Type::INT4,
        DataType::UInt32 | DataType::Int64 => Type::INT8,
        DataType::Float16 | DataType::Float32 => Type::FLOAT4,
        DataType::Float64 => Type::FLOAT8,
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Type::TEXT,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => Type::BYTEA,
        DataType::Date32 | DataType::Date64 => Type::DATE,
        DataType::Time32(_) | DataType::Time64(_) => Type::TIME,
        DataType::Timestamp(_, None) => Type::TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => Type::TIMESTAMPTZ,
        DataType::Interval(_) | DataType::Duration(_) => Type::INTERVAL,
        _ => return None,
    })
}

/// The array type with such elements.
fn array_of(element: &Type) -> Option<Type> {
    let arrays = [
        Type::BOOL_ARRAY,
        Type::INT2_ARRAY,
        Type::INT4_ARRAY,
        Type::INT8_ARRAY,
        Type::FLOAT4_ARRAY,
        Type::FLOAT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::BYTEA_ARRAY,
        Type::DATE_ARRAY,
        Type::TIME_ARRAY,
        Type::TIMESTAMP_ARRAY,
        Type::TIMESTAMPTZ_ARRAY,
        Type::INTERVAL_ARRAY,
    ];
    arrays.into_iter().find(|array| matches!(array.kind(), Kind::Array(of) if of == element))
}

/// The modifier of a type: the digits of a numeric; -1 for all others.
#[must_use]
pub fn type_modifier(kind: &DataType) -> i32 {
    match digits(kind) {
        Some((precision, scale)) => ((i32::from(precision) << 16) | i32::from(scale)) + VARHDRSZ,
        None => -1,
    }
}

/// Precision and scale of a decimal.
pub(super) fn digits(kind: &DataType) -> Option<(u8, i8)> {
    match kind {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => Some((*precision, *scale)),
        _ => None,
    }
}

/// The SQL name of a type: `bigint`, `timestamp with time zone`, `text[]`, `numeric(12,2)`.
pub(super) fn sql_name(kind: &Type, modifier: i32) -> String {
    if let Kind::Array(element) = kind.kind() {
        return format!("{}[]", sql_name(element, modifier));
    }
    let name = match *kind {
        Type::BOOL => "boolean",
        Type::CHAR => "\"char\"",
        Type::INT2 => "smallint",
        Type::INT4 => "integer",
        Type::INT8 => "bigint",
        Type::FLOAT4 => "real",
        Type::FLOAT8 => "double precision",
        Type::BPCHAR => "character",
        Type::VARCHAR => "character varying",
        Type::TIME => "time without time zone",
        Type::TIMETZ => "time with time zone",
        Type::TIMESTAMP => "timestamp without time zone",
        Type::TIMESTAMPTZ => "timestamp with time zone",
        Type::VARBIT => "bit varying",
        _ => kind.name(),
    };
    let length = modifier - VARHDRSZ;
    match *kind {
        Type::NUMERIC if length >= 0 => format!("numeric({},{})", length >> 16, length & 0x7ff),
        Type::VARCHAR | Type::BPCHAR if length >= 0 => format!("{name}({length})"),
        _ => name.to_owned(),
    }
}

/// The length of a value in bytes, -1 if it varies; whether it is passed by value; its alignment; its storage.
pub(super) fn storage(kind: &Type) -> (i16, bool, &'static str, &'static str) {
    match *kind {
        Type::BOOL => (1, true, "c", "p"),
        Type::INT2 => (2, true, "s", "p"),
        Type::INT4 | Type::FLOAT4 | Type::DATE => (4, true, "i", "p"),
        Type::INT8 | Type::FLOAT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => (8, true, "d", "p"),
        Type::UUID => (16, false, "c", "p"),
        Type::INTERVAL => (16, false, "d", "p"),
        Type::NUMERIC => (-1, false, "i", "m"),
        _ => (-1, false, "i", "x"),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn types_have_their_names() {
        let name = |kind: DataType| {
            let field = Field::new("a", kind, true);
            sql_name(&postgres_type(&field), type_modifier(field.data_type()))
        };
        let list = |kind| DataType::List(Field::new("element", kind, true).into());
        assert_eq!(name(DataType::Utf8View), "text");
        assert_eq!(name(DataType::Decimal128(12, 2)), "numeric(12,2)");
        assert_eq!(name(DataType::UInt64), "numeric");
        assert_eq!(name(list(DataType::Int64)), "bigint[]");
        assert_eq!(name(list(list(DataType::Int64))), "json");
        assert_eq!(name(DataType::Struct(vec![Field::new("a", DataType::Utf8, true)].into())), "json");
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
        assert_eq!(name(utc), "timestamp with time zone");
    }
}
