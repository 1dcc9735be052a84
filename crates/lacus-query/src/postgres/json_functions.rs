//! `json_build_object('a', 1, 'b', name)` and `json_build_array(1, name)`, spelled as PostgreSQL spells them (section 9.16).

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility};

use super::functions::function;
use crate::error::external;
use crate::json::{must_fit, quoted, text_column};

pub(super) fn json_build_object() -> ScalarUDF {
    function("json_build_object", DataType::Utf8, Volatility::Immutable, |arguments| {
        if arguments.len() % 2 != 0 {
            return exec_err!("json_build_object: a key has no value");
        }
        build(arguments, ('{', '}'), |columns, row, out| {
            for (number, pair) in columns.chunks_exact(2).enumerate() {
                let (key, value) = (pair[0].as_string::<i32>(), pair[1].as_string::<i32>());
                if key.is_null(row) {
                    return exec_err!("json_build_object: a key is null");
                }
                out.push_str(if number == 0 { "" } else { ", " });
                out.push_str(&quoted(key.value(row)));
                out.push_str(" : ");
                out.push_str(if value.is_null(row) { "null" } else { value.value(row) });
            }
            Ok(())
        })
    })
}

pub(super) fn json_build_array() -> ScalarUDF {
    function("json_build_array", DataType::Utf8, Volatility::Immutable, |arguments| {
        build(arguments, ('[', ']'), |columns, row, out| {
            for (number, value) in columns.iter().enumerate() {
                let value = value.as_string::<i32>();
                out.push_str(if number == 0 { "" } else { ", " });
                out.push_str(if value.is_null(row) { "null" } else { value.value(row) });
            }
            Ok(())
        })
    })
}

/// A text for each row, between two brackets. Keys of an object come as plain text, all other values as JSON.
fn build(
    arguments: &[ColumnarValue],
    (open, close): (char, char),
    write: impl Fn(&[ArrayRef], usize, &mut String) -> Result<()>,
) -> Result<ColumnarValue> {
    let columns = ColumnarValue::values_to_arrays(arguments)?.into_iter().enumerate().map(|(place, column)| {
        if open == '{' && place % 2 == 0 {
            return Ok(cast(&column, &DataType::Utf8)?);
        }
        let field = Arc::new(Field::new("", column.data_type().clone(), true));
        text_column(&column, &field).map_err(external)
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let rows = columns.first().map_or(1, |column| column.len());
    let (mut texts, mut text) = (StringBuilder::with_capacity(rows, 0), String::new());
    for row in 0..rows {
        text.clear();
        text.push(open);
        write(&columns, row, &mut text)?;
        text.push(close);
        must_fit(&texts, text.len()).map_err(external)?;
        texts.append_value(&text);
    }
    let texts: ArrayRef = Arc::new(texts.finish());
    let is_constant = arguments.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
    Ok(if is_constant {
        ColumnarValue::Scalar(ScalarValue::try_from_array(&texts, 0)?)
    } else {
        ColumnarValue::Array(texts)
    })
}
