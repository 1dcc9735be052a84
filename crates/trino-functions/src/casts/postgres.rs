//! Casts as PostgreSQL does them, where that is otherwise than in DataFusion: texts of fractions, intervals and arrays, and decimals
//! of fractions.

use std::fmt::{Display, LowerExp};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::error::Result;

use super::postgres_timestamps;
use crate::math::{cut, is_decimal};
use crate::scalar::{DOUBLE, TEXT, bad, is_text};
use crate::{intervals, lists};

/// From this power of ten on, a double is written with an exponent.
const DOUBLE_EXPONENT: i32 = 15;
/// The same for a number of 32 bits.
const REAL_EXPONENT: i32 = 6;
/// The digits that a double certainly keeps: a decimal gets no more of them.
const DOUBLE_DIGITS: u8 = 15;
/// The same for a number of 32 bits.
const REAL_DIGITS: u8 = 6;

/// PostgreSQL's text of a double: the shortest that reads as the same number.
#[must_use]
pub fn text_of_double(value: f64) -> String {
    number(value, DOUBLE_EXPONENT)
}

/// The same for a number of 32 bits.
#[must_use]
pub fn text_of_real(value: f32) -> String {
    number(value, REAL_EXPONENT)
}

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

/// Whether DataFusion writes values of a type differently.
pub(super) fn has_text(kind: &DataType) -> bool {
    match kind {
        DataType::Float32 | DataType::Float64 | DataType::Interval(_) | DataType::Duration(_) => true,
        DataType::Time32(_) | DataType::Time64(_) => true,
        kind => is_written_list(kind),
    }
}

/// Whether it is an array of values that can be written in one.
fn is_written_list(kind: &DataType) -> bool {
    let element = lists::element_type(kind).filter(|_| lists::is_list(kind));
    element.is_some_and(|element| match &element {
        DataType::Null | DataType::Boolean | DataType::Date32 => true,
        DataType::Timestamp(..) => true,
        kind => kind.is_integer() || is_decimal(kind) || is_text(kind) || has_text(kind),
    })
}

/// The texts of values for which [`has_text`] is true, and of array elements.
pub(super) fn texts(array: &ArrayRef) -> Result<StringArray> {
    Ok(match array.data_type() {
        DataType::Float64 => {
            array.as_primitive::<Float64Type>().iter().map(|value| value.map(text_of_double)).collect()
        }
        DataType::Float32 => array.as_primitive::<Float32Type>().iter().map(|value| value.map(text_of_real)).collect(),
        DataType::Interval(_) | DataType::Duration(_) => intervals::texts(array)?,
        DataType::Timestamp(..) => postgres_timestamps(array)?,
        DataType::Time32(_) | DataType::Time64(_) => {
            let texts = cast(array, &TEXT)?;
            texts.as_string::<i32>().iter().map(|text| text.map(short_time)).collect()
        }
        // By itself it is `true`.
        DataType::Boolean => {
            array.as_boolean().iter().map(|value| value.map(|value| if value { "t" } else { "f" })).collect()
        }
        kind if lists::is_list(kind) => arrays(array)?,
        _ => cast(array, &TEXT)?.as_string::<i32>().clone(),
    })
}

/// A time of day without zeros behind its fraction, of which DataFusion writes three, six or nine digits.
fn short_time(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// `{1,NULL,"a b"}`
fn arrays(array: &ArrayRef) -> Result<StringArray> {
    let array = cast(array, &lists::plain(array.data_type()))?;
    let list = lists::list(&array)?;
    let elements = texts(list.values())?;
    let are_arrays = lists::is_list(list.values().data_type());
    let element = |at: usize| match elements.is_valid(at) {
        false => "NULL".to_owned(),
        true if are_arrays => elements.value(at).to_owned(),
        true => quoted(elements.value(at)),
    };
    let written = |row: usize| {
        let elements: Vec<String> = lists::range(list, row).map(element).collect();
        list.is_valid(row).then(|| format!("{{{}}}", elements.join(",")))
    };
    Ok((0..list.len()).map(written).collect())
}

/// A text in an array, quoted if it would be read as something else.
fn quoted(text: &str) -> String {
    let is_special =
        |letter: char| matches!(letter, '{' | '}' | ',' | '"' | '\\' | '\u{b}') || letter.is_ascii_whitespace();
    if !text.is_empty() && !text.eq_ignore_ascii_case("null") && !text.contains(is_special) {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}

/// Floating point numbers as decimals of the digits that they certainly keep, rounded to the scale: 0.1 is 0.1, whatever its
/// bits are.
pub(super) fn decimals(array: &ArrayRef, precision: u8, scale: i8) -> Result<ArrayRef> {
    let digits = if *array.data_type() == DOUBLE { DOUBLE_DIGITS } else { REAL_DIGITS };
    let most = 10_u128.pow(precision.into());
    let doubles = cast(array, &DOUBLE)?;
    let found = doubles.as_primitive::<Float64Type>().iter().map(|value| {
        let Some(value) = value else { return Ok(None) };
        match decimal(value, digits, scale).filter(|decimal| decimal.unsigned_abs() < most) {
            Some(decimal) => Ok(Some(decimal)),
            None => {
                let value = text_of_double(value);
                Err(bad(format!("cannot cast {value} to numeric({precision},{scale}): out of range")))
            }
        }
    });
    let found = found.collect::<Result<Decimal128Array>>()?;
    Ok(Arc::new(found.with_data_type(DataType::Decimal128(precision, scale))))
}

/// The leading digits of a floating point number, as a decimal with this scale. None if it is too large, or NaN.
fn decimal(value: f64, digits: u8, scale: i8) -> Option<i128> {
    let behind = digits - 1;
    let written = format!("{value:.*e}", usize::from(behind));
    let (mantissa, exponent) = written.split_once('e')?;
    let whole: i128 = mantissa.replace('.', "").parse().ok()?;
    let power = exponent.parse::<i32>().ok()? - i32::from(behind) + i32::from(scale);
    if whole == 0 {
        return Some(0);
    }
    match u32::try_from(power) {
        Ok(power) => whole.checked_mul(10_i128.checked_pow(power)?),
        // If the divisor has too many digits, nothing of the number is left.
        Err(_) => Some(10_i128.checked_pow(power.unsigned_abs()).map_or(0, |unit| cut(whole, unit, true))),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Float64Array;

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
            assert_eq!(text_of_double(value), text);
        }
        assert_eq!(text_of_real(100_000.0), "100000");
        assert_eq!(text_of_real(16_777_216.0), "1.6777216e+07");
        assert_eq!(text_of_real(0.1), "0.1");
    }

    #[test]
    fn times_have_no_zeros_behind_their_fraction() {
        for (text, expected) in
            [("10:00:00", "10:00:00"), ("23:59:59.500", "23:59:59.5"), ("00:00:00.000010", "00:00:00.00001")]
        {
            assert_eq!(short_time(text), expected);
        }
    }

    #[test]
    fn elements_are_in_quotes_where_they_have_to_be() {
        for (text, expected) in [
            ("a", "a"),
            ("é", "é"),
            ("", "\"\""),
            ("Null", "\"Null\""),
            ("a b", "\"a b\""),
            ("{", "\"{\""),
            ("a\"b\\", "\"a\\\"b\\\\\""),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn decimals_have_the_digits_that_fractions_have() {
        for (value, scale, expected) in [
            (0.1, 10, Some(1_000_000_000)),
            (1e20, 10, Some(10_i128.pow(30))),
            (1.005, 2, Some(101)),
            (-1.005, 2, Some(-101)),
            (0.30000000000000004, 17, Some(30_000_000_000_000_000)),
            (1234.5, 0, Some(1235)),
            (1e-300, 10, Some(0)),
            (0.0, 38, Some(0)),
            (1e38, 10, None),
            (f64::NAN, 2, None),
            (f64::INFINITY, 2, None),
        ] {
            assert_eq!(decimal(value, DOUBLE_DIGITS, scale), expected, "{value}");
        }
        assert_eq!(decimal(f64::from(0.1_f32), REAL_DIGITS, 3), Some(100));
        let one: ArrayRef = Arc::new(Float64Array::from(vec![100.0]));
        assert!(decimals(&one, 4, 2).is_err() && decimals(&one, 5, 2).is_ok());
    }
}
