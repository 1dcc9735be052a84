//! The columns that a client was told of before it asked for rows.

use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};

use crate::error::SqlError;
use crate::json::type_name;

/// Refuses columns that differ from those that the client was told of.
pub(crate) fn must_be_as_prepared(expected: Option<&SchemaRef>, now: &Schema) -> Result<(), SqlError> {
    if expected.is_none_or(|expected| same_columns(expected, now)) {
        return Ok(());
    }
    let message = "the columns of the tables changed since this statement was prepared";
    Err(SqlError::invalid("0A000", message).with_hint("prepare it again"))
}

fn same_columns(a: &Schema, b: &Schema) -> bool {
    a.fields().len() == b.fields().len()
        && a.fields()
            .iter()
            .zip(b.fields())
            .all(|(a, b)| a.name() == b.name() && same_type(a.data_type(), b.data_type()))
}

/// Whether clients decode both in the same way. The digits of a `numeric` may depend on parameters, and come with each value.
fn same_type(a: &DataType, b: &DataType) -> bool {
    match (a, b) {
        (a, b) if a.is_decimal() && b.is_decimal() => true,
        (DataType::List(a), DataType::List(b)) | (DataType::Map(a, _), DataType::Map(b, _)) => {
            same_type(a.data_type(), b.data_type())
        }
        (DataType::Struct(a), DataType::Struct(b)) => {
            let mut fields = a.iter().zip(b);
            a.len() == b.len() && fields.all(|(a, b)| a.name() == b.name() && same_type(a.data_type(), b.data_type()))
        }
        (a, b) => a == b || type_name(a) == type_name(b),
    }
}
