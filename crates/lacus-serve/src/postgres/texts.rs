//! Floating point numbers as PostgreSQL writes them in text: `1e+15`, `{1,2.5}`.
//!
//! The library that encodes Arrow's values writes them as Rust does.

use std::error::Error as StdError;
use std::fmt::{Display, LowerExp};

use bytes::{BufMut, BytesMut};
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use pgwire::api::Type;
use pgwire::types::ToSqlText;
use pgwire::types::format::FormatOptions;
use postgres_types::{IsNull, ToSql, to_sql_checked};

/// From this power of ten on a double is written with an exponent.
const DOUBLE_EXPONENT: i32 = 15;
/// The same for a number of 32 bits.
const SINGLE_EXPONENT: i32 = 6;

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

/// The text of a value that is not null; nothing for types that are well written already.
pub(crate) fn written(values: &ArrayRef, row: usize) -> Option<String> {
    match values.data_type() {
        DataType::Float64 => Some(number(values.as_primitive::<Float64Type>().value(row), DOUBLE_EXPONENT)),
        DataType::Float32 => Some(number(values.as_primitive::<Float32Type>().value(row), SINGLE_EXPONENT)),
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

/// The shortest text that is read as the same number.
fn number<T: Display + LowerExp>(value: T, exponent_from: i32) -> String {
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        // Not finite: Rust says `inf`.
        return scientific.replace("inf", "Infinity");
    };
    match exponent.parse::<i32>() {
        Ok(exponent) if exponent < -4 || exponent >= exponent_from => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_postgresql_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (2.0, "2"),
            (0.1, "0.1"),
            (1e14, "100000000000000"),
            (999_999_999_999_999.9, "999999999999999.9"),
            (1e15, "1e+15"),
            (-1.5e300, "-1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(number(value, DOUBLE_EXPONENT), text);
        }
        assert_eq!(number(100_000_f32, SINGLE_EXPONENT), "100000");
        assert_eq!(number(16_777_216_f32, SINGLE_EXPONENT), "1.6777216e+07");
        assert_eq!(number(0.1_f32, SINGLE_EXPONENT), "0.1");
    }
}
