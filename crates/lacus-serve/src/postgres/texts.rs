//! Floating point numbers as PostgreSQL writes them in text: `1e+15`, `{1,2.5}`.
//!
//! The library that encodes Arrow's values writes them as Rust does.

use std::error::Error as StdError;

use bytes::{BufMut, BytesMut};
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use lacus_query::{text_of_double, text_of_real};
use pgwire::api::Type;
use pgwire::types::ToSqlText;
use pgwire::types::format::FormatOptions;
use postgres_types::{IsNull, ToSql, to_sql_checked};

/// A value in text as it is sent.
#[derive(Debug)]
pub(crate) struct Written(pub(crate) String);

impl ToSqlText for Written {
    fn to_sql_text(
        &self,
        _kind: &Type,
        out: &mut BytesMut,
        _options: &FormatOptions,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.put_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

impl ToSql for Written {
    fn to_sql(&self, kind: &Type, _out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        Err(format!("a value of type {kind} was written as text").into())
    }

    fn accepts(_kind: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The text of a value that is not null; none for types that the library writes correctly.
pub(crate) fn written(values: &ArrayRef, row: usize) -> Option<String> {
    match values.data_type() {
        DataType::Float64 => Some(text_of_double(values.as_primitive::<Float64Type>().value(row))),
        DataType::Float32 => Some(text_of_real(values.as_primitive::<Float32Type>().value(row))),
        DataType::List(_) => list(&values.as_list::<i32>().value(row)),
        _ => None,
    }
}

fn list(elements: &ArrayRef) -> Option<String> {
    if !matches!(elements.data_type(), DataType::Float64 | DataType::Float32) {
        return None;
    }
    let mut texts = Vec::with_capacity(elements.len());
    for row in 0..elements.len() {
        texts.push(if elements.is_null(row) { "NULL".to_owned() } else { written(elements, row)? });
    }
    Some(format!("{{{}}}", texts.join(",")))
}
