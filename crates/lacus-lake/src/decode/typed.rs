//! Columns of types that only a person gives: 32-bit integers, decimals, dates, times, UUIDs.
//!
//! JSON has numbers and texts. A value is accepted only if it is exactly one of the type, in one form each: ISO 8601 for dates and
//! times, digits for decimals. All else is a misfit: a guess can't be taken back.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, Date32Builder, Decimal128Builder, FixedSizeBinaryBuilder, Float32Builder, Int32Builder,
    Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::DataType;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use uuid::Uuid;

use super::columns::{finish_numbers, store_number};
use super::numbers;
use crate::schema::ColumnType;

/// Values of one of these types.
pub(super) struct Typed {
    kind: ColumnType,
    values: Builder,
}

enum Builder {
    Int(Int32Builder),
    Float(Float32Builder),
    Decimal(Decimal128Builder, u8, u8),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Timestamptz(TimestampMicrosecondBuilder),
    Uuid(FixedSizeBinaryBuilder),
}

impl Typed {
    /// An empty column; none for types that are not of this kind.
    pub(super) fn new(kind: &ColumnType) -> Option<Self> {
        let values = match kind {
            ColumnType::Int => Builder::Int(Int32Builder::new()),
            ColumnType::Float => Builder::Float(Float32Builder::new()),
            ColumnType::Decimal { precision, scale } => {
                let values = Decimal128Builder::new().with_data_type(kind.arrow());
                Builder::Decimal(values, *precision, *scale)
            }
            ColumnType::Date => Builder::Date(Date32Builder::new()),
            ColumnType::Time => Builder::Time(Time64MicrosecondBuilder::new()),
            ColumnType::Timestamp => Builder::Timestamp(TimestampMicrosecondBuilder::new()),
            ColumnType::Timestamptz => {
                Builder::Timestamptz(TimestampMicrosecondBuilder::new().with_data_type(kind.arrow()))
            }
            ColumnType::Uuid => Builder::Uuid(FixedSizeBinaryBuilder::new(16)),
            _ => return None,
        };
        Some(Self { kind: kind.clone(), values })
    }

    pub(super) fn kind(&self) -> &ColumnType {
        &self.kind
    }

    pub(super) fn len(&self) -> usize {
        match &self.values {
            Builder::Int(values) => values.len(),
            Builder::Float(values) => values.len(),
            Builder::Decimal(values, ..) => values.len(),
            Builder::Date(values) => values.len(),
            Builder::Time(values) => values.len(),
            Builder::Timestamp(values) | Builder::Timestamptz(values) => values.len(),
            Builder::Uuid(values) => values.len(),
        }
    }

    /// Stores the value of a JSON number, if it is a value of this type; whether it is.
    pub(super) fn store_number(&mut self, row: usize, literal: &str) -> bool {
        match &mut self.values {
            Builder::Int(values) => numbers::as_long(literal)
                .and_then(|value| i32::try_from(value).ok())
                .map(|value| store_number(values, row, value)),
            Builder::Float(values) => as_float(literal).map(|value| store_number(values, row, value)),
            Builder::Decimal(values, precision, scale) => {
                as_decimal(literal, *precision, *scale).map(|value| store_number(values, row, value))
            }
            _ => None,
        }
        .is_some()
    }

    /// Stores the value of a text, if it is a value of this type; whether it is.
    pub(super) fn store_text(&mut self, row: usize, text: &str) -> bool {
        match &mut self.values {
            Builder::Int(_) | Builder::Float(_) => None,
            Builder::Decimal(values, precision, scale) => Some(text)
                .filter(|text| is_plain_decimal(text))
                .and_then(|text| as_decimal(text, *precision, *scale))
                .map(|value| store_number(values, row, value)),
            Builder::Date(values) => as_date(text).map(|days| store_number(values, row, days)),
            Builder::Time(values) => as_time(text).map(|micros| store_number(values, row, micros)),
            Builder::Timestamp(values) => as_timestamp(text).map(|micros| store_number(values, row, micros)),
            Builder::Timestamptz(values) => as_instant(text).map(|micros| store_number(values, row, micros)),
            Builder::Uuid(values) => as_uuid(text).map(|uuid| store_uuid(values, row, uuid)),
        }
        .is_some()
    }

    /// The values of `rows` rows; those after the last value are null.
    pub(super) fn finish(self, rows: usize, kind: &DataType) -> ArrayRef {
        debug_assert_eq!(self.kind.arrow(), *kind, "a node is finished as its own type");
        match self.values {
            Builder::Int(values) => finish_numbers(values, rows),
            Builder::Float(values) => finish_numbers(values, rows),
            Builder::Decimal(values, ..) => finish_numbers(values, rows),
            Builder::Date(values) => finish_numbers(values, rows),
            Builder::Time(values) => finish_numbers(values, rows),
            Builder::Timestamp(values) | Builder::Timestamptz(values) => finish_numbers(values, rows),
            Builder::Uuid(mut values) => {
                pad_uuids(&mut values, rows);
                Arc::new(values.finish())
            }
        }
    }
}

fn store_uuid(values: &mut FixedSizeBinaryBuilder, row: usize, uuid: Uuid) {
    pad_uuids(values, row);
    values.append_value(uuid.as_bytes()).expect("a UUID has 16 bytes");
}

fn pad_uuids(values: &mut FixedSizeBinaryBuilder, rows: usize) {
    if values.len() < rows {
        values.append_nulls(rows - values.len());
    }
}

/// An integer only if a 32-bit float holds it exactly; for a fraction the nearest float.
fn as_float(literal: &str) -> Option<f32> {
    let exact = numbers::as_double(literal)?;
    let value: f32 = literal.parse().ok()?;
    if numbers::is_whole(literal) {
        return (f64::from(value) == exact).then_some(value);
    }
    (value.is_finite() && (value != 0.0 || exact == 0.0)).then_some(value)
}

/// Whether a text is a number without exponent: nothing else is accepted.
fn is_plain_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit());
    is_number(whole) && is_number(fraction)
}

/// The unscaled number, exactly: nothing is rounded or cut.
fn as_decimal(literal: &str, precision: u8, scale: u8) -> Option<i128> {
    let (mantissa, exponent) = literal.split_once(['e', 'E']).unwrap_or((literal, "0"));
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or((1, mantissa), |rest| (-1, rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let mut digits = format!("{whole}{fraction}").trim_start_matches('0').to_owned();
    if digits.is_empty() {
        return Some(0);
    }
    let shift = exponent.parse::<i64>().ok()?.checked_sub_unsigned(fraction.len() as u64)?;
    let shift = shift.checked_add(i64::from(scale))?;
    let places = usize::try_from(shift.unsigned_abs()).ok()?;
    if shift < 0 {
        let (kept, dropped) = digits.split_at(digits.len().checked_sub(places)?);
        if dropped.bytes().any(|digit| digit != b'0') {
            return None;
        }
        digits = kept.to_owned();
    } else if digits.len().checked_add(places)? > usize::from(precision) {
        return None;
    } else {
        digits.push_str(&"0".repeat(places));
    }
    (digits.len() <= usize::from(precision)).then(|| digits.parse::<i128>().ok()).flatten().map(|value| sign * value)
}

/// Days since 1970-01-01 of `2026-11-20`.
fn as_date(text: &str) -> Option<i32> {
    let is_full = text.len() == 10 && text.as_bytes().first().is_some_and(u8::is_ascii_digit);
    let day = is_full.then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()).flatten()?;
    i32::try_from((day - NaiveDate::default()).num_days()).ok()
}

/// Microseconds since midnight of `19:30:00`, with or without a fraction.
fn as_time(text: &str) -> Option<i64> {
    let time = full_time(text)?;
    Some(i64::from(time.num_seconds_from_midnight()) * 1_000_000 + micros_of(time.nanosecond())?)
}

fn full_time(text: &str) -> Option<NaiveTime> {
    let is_full = text.as_bytes().get(..8).is_some_and(|text| text[2] == b':' && text[5] == b':');
    is_full.then(|| NaiveTime::parse_from_str(text, "%H:%M:%S%.f").ok()).flatten()
}

/// None for a leap second, or digits beyond microseconds.
fn micros_of(nanos: u32) -> Option<i64> {
    (nanos < 1_000_000_000 && nanos.is_multiple_of(1_000)).then_some(i64::from(nanos / 1_000))
}

/// Microseconds since 1970 of `2026-11-20T19:30:00`, which has no time zone. A blank may stand for the `T`.
fn as_timestamp(text: &str) -> Option<i64> {
    let (day, time) = text.split_at_checked(10)?;
    let time = time.strip_prefix(['T', ' '])?;
    let (days, time) = (as_date(day)?, full_time(time)?);
    micros_of(time.nanosecond())?;
    let day = NaiveDate::default().checked_add_signed(chrono::TimeDelta::days(i64::from(days)))?;
    Some(NaiveDateTime::new(day, time).and_utc().timestamp_micros())
}

/// Microseconds since 1970 of `2026-11-20T19:30:00Z`: RFC 3339, with a time zone, which may be hours alone, as in `+01`.
fn as_instant(text: &str) -> Option<i64> {
    let zone = text.len().checked_sub(3).and_then(|at| text.get(at..)).and_then(|zone| zone.strip_prefix(['+', '-']));
    let has_hours_alone = zone.is_some_and(|hours| hours.bytes().all(|digit| digit.is_ascii_digit()));
    let time = match has_hours_alone {
        true => DateTime::parse_from_rfc3339(&format!("{text}:00")),
        false => DateTime::parse_from_rfc3339(text),
    };
    let time = time.ok()?;
    micros_of(time.timestamp_subsec_nanos())?;
    Some(time.timestamp_micros())
}

/// `0db3e2a8-9d1d-42b9-aa7b-74ebe558dceb`
fn as_uuid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_none() {
        for (literal, expected) in [
            ("12.5", Some(1_250)),
            ("-12.50", Some(-1_250)),
            ("12.345", None),
            ("12.3400", Some(1_234)),
            ("1e3", Some(100_000)),
            ("999.99", Some(99_999)),
            ("1000.00", Some(100_000)),
            ("10000", None),
            ("1e-2", Some(1)),
            ("1e-3", None),
            ("0e999999999999999999999", Some(0)),
            ("1e999999999999999999999", None),
            ("-0.00", Some(0)),
            ("00012.00", Some(1_200)),
        ] {
            assert_eq!(as_decimal(literal, 6, 2), expected, "{literal}");
        }
        let largest = "9".repeat(38);
        assert_eq!(as_decimal(&largest, 38, 0), largest.parse().ok());
        for (text, expected) in
            [("12.5", true), ("-1", true), ("1e3", false), ("", false), (".5", false), ("5.", false)]
        {
            assert_eq!(is_plain_decimal(text), expected, "{text}");
        }
    }

    #[test]
    fn dates_and_times_have_one_form() {
        assert_eq!(as_date("1970-01-02"), Some(1));
        assert_eq!(as_date("1969-12-31"), Some(-1));
        for wrong in ["2026-2-30", "2026-02-30", "20260220", "2026-02-20T00:00:00", "+026-02-20", " 026-02-20"] {
            assert_eq!(as_date(wrong), None, "{wrong}");
        }
        assert_eq!(as_time("00:00:01.000002"), Some(1_000_002));
        for wrong in ["24:00:00", "23:59:60", "1:00:00", "10:00", "10:00:00.0000001", "10:00:00Z"] {
            assert_eq!(as_time(wrong), None, "{wrong}");
        }
        assert_eq!(as_timestamp("1970-01-01 00:00:01"), Some(1_000_000));
        assert_eq!(as_timestamp("1970-01-01T00:00:00.5"), Some(500_000));
        for wrong in ["1970-01-01T00:00:00Z", "1970-01-01", "1970-01-01T00:00:00+01:00", "é970-01-01T00:00:00"] {
            assert_eq!(as_timestamp(wrong), None, "{wrong}");
        }
        assert_eq!(as_instant("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(as_instant("1970-01-01 00:00:01.5+00"), Some(1_500_000));
        assert_eq!(as_instant("1970-01-01T00:00:00-01"), Some(3_600_000_000));
        for wrong in
            ["1970-01-01T00:00:00", "1970-01-01T00:00:00.0000001Z", "0", "1970-01-01", "1970-01-01 00:00:00+0é"]
        {
            assert_eq!(as_instant(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn floats_hold_whole_numbers_exactly_or_not_at_all() {
        for (literal, expected) in [
            ("16777216", Some(16_777_216.0)),
            ("16777217", None),
            ("0.1", Some(0.1)),
            ("1e39", None),
            ("1e-60", None),
            ("-0.0", Some(-0.0)),
        ] {
            assert_eq!(as_float(literal), expected, "{literal}");
        }
    }
}
