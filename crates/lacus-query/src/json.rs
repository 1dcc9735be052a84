//! Answers as JSON text.
//!
//! Numbers keep all their digits, timestamps are RFC 3339, bytes are hexadecimal, numbers that are not finite are null.
//! Inside a nested value, what is null is left out, as it was in the event.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, StringBuilder};
use datafusion::arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use lacus_core::Kind;

use crate::error::SqlError;

/// Appends each row as a JSON array on a line of its own, with a comma in front of all but the first row of the answer.
///
/// # Errors
/// For a type that has no JSON form.
pub fn write_arrays(batch: &RecordBatch, first: bool, out: &mut Vec<u8>) -> Result<(), SqlError> {
    with_encoders(batch, |encoders| {
        for row in 0..batch.num_rows() {
            out.extend_from_slice(if first && row == 0 { b"\n[" } else { b",\n[" });
            for (column, encoder) in encoders.iter_mut().enumerate() {
                if column > 0 {
                    out.push(b',');
                }
                write_value(encoder, row, out);
            }
            out.push(b']');
        }
    })
}

/// Appends each row as a JSON object on a line of its own. Null columns are there, as null.
///
/// # Errors
/// For a type that has no JSON form.
pub fn write_objects(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), SqlError> {
    let schema = batch.schema();
    let names: Vec<String> = schema.fields().iter().map(|field| quoted(field.name())).collect();
    with_encoders(batch, |encoders| {
        for row in 0..batch.num_rows() {
            out.push(b'{');
            for (column, encoder) in encoders.iter_mut().enumerate() {
                if column > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(names[column].as_bytes());
                out.push(b':');
                write_value(encoder, row, out);
            }
            out.extend_from_slice(b"}\n");
        }
    })
}

/// The values of a column as JSON text; null stays null.
///
/// # Errors
/// For a type that has no JSON form.
pub fn text_column(array: &ArrayRef, field: &FieldRef) -> Result<ArrayRef, SqlError> {
    let options = EncoderOptions::default();
    let mut encoder = make_encoder(field, array, &options).map_err(no_json)?;
    let mut texts = StringBuilder::with_capacity(array.len(), 0);
    let mut text = Vec::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        encoder.encode(row, &mut text);
        texts.append_value(String::from_utf8_lossy(&text));
    }
    Ok(Arc::new(texts.finish()))
}

/// A JSON string literal.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control < ' ' => {
                use std::fmt::Write;
                write!(quoted, "\\u{:04x}", control as u32).expect("a string takes all text");
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// The columns of an answer as a person calls their types: `[("user_id", "text"), …]`.
#[must_use]
pub fn columns(schema: &SchemaRef) -> Vec<(String, String)> {
    schema.fields().iter().map(|field| (field.name().clone(), type_name(field.data_type()))).collect()
}

/// A type as SQL calls it: `bigint`, `text`, `struct<price double precision>`.
#[must_use]
pub fn type_name(kind: &DataType) -> String {
    match kind {
        DataType::Null => "text".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint".to_owned(),
        DataType::Int32 | DataType::UInt16 => "integer".to_owned(),
        DataType::Int64 | DataType::UInt32 => "bigint".to_owned(),
        DataType::UInt64 => "numeric(20,0)".to_owned(),
        DataType::Float16 | DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "bytea".to_owned()
        }
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "time".to_owned(),
        DataType::Timestamp(_, None) => "timestamp".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".to_owned(),
        DataType::Interval(_) | DataType::Duration(_) => "interval".to_owned(),
        DataType::Decimal32(digits, scale)
        | DataType::Decimal64(digits, scale)
        | DataType::Decimal128(digits, scale)
        | DataType::Decimal256(digits, scale) => format!("numeric({digits},{scale})"),
        DataType::Struct(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|field| format!("{} {}", field.name(), type_name(field.data_type()))).collect();
            format!("struct<{}>", fields.join(", "))
        }
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            format!("{}[]", type_name(element.data_type()))
        }
        DataType::Dictionary(_, value) => type_name(value),
        other => other.to_string().to_lowercase(),
    }
}

fn with_encoders(batch: &RecordBatch, write: impl FnOnce(&mut Vec<NullableEncoder<'_>>)) -> Result<(), SqlError> {
    let options = EncoderOptions::default();
    let schema = batch.schema();
    let mut encoders = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| make_encoder(field, column, &options))
        .collect::<Result<Vec<_>, _>>()
        .map_err(no_json)?;
    write(&mut encoders);
    Ok(())
}

fn write_value(encoder: &mut NullableEncoder<'_>, row: usize, out: &mut Vec<u8>) {
    if encoder.is_null(row) {
        out.extend_from_slice(b"null");
    } else {
        encoder.encode(row, out);
    }
}

fn no_json(error: ArrowError) -> SqlError {
    SqlError::new(Kind::Invalid, "0A000", "the answer has a column that has no JSON form")
        .with_hint("cast it to text")
        .with_source(error)
}
