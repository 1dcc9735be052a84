//! Dates and timestamps as texts have them, in the forms of ISO 8601 that PostgreSQL reads.
//!
//! `2024-01-31`, `2024-1-31 9:05`, `2024-01-31T10:00:30.5Z`, `20240131 100030+02`, `2024-01-31 10:00 Europe/Berlin`; all else is
//! refused. The engine's own parser knows no time without seconds, and cuts off what is finer than microseconds.

use std::sync::Arc;

use chrono::NaiveDate;
use datafusion::arrow::array::{ArrayRef, AsArray, Date32Array, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::error::{DataFusionError, Result};
use datafusion::scalar::ScalarValue;

use super::{Zone, days, micros, naive, zone};
use crate::scalar::{TEXT, bad};

const SECOND_MICROS: i64 = 1_000_000;
const DAY_MICROS: i64 = 86_400 * SECOND_MICROS;
/// The last year: after it there has to be room for any time zone.
const YEAR_MAX: i32 = 262_000;

/// How texts become timestamps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    /// The zone of the timestamps, and of texts without one.
    pub(crate) zone: Option<&'a str>,
    /// Whether to read as PostgreSQL does: then timestamps without time zone are local times, whatever zone a text has, and
    /// an hour that occurs twice is the second one. Otherwise they are in UTC, and the hour is the first one.
    pub(crate) is_postgres: bool,
    /// Whether invalid texts become null.
    pub(crate) is_try: bool,
}

/// Texts as timestamps of microseconds.
pub(crate) fn timestamps(texts: &ArrayRef, reading: Reading<'_>) -> Result<ArrayRef> {
    let own = reading.zone.map(zone).transpose()?;
    let texts = cast(texts, &TEXT)?;
    let values = texts.as_string::<i32>().iter().map(|text| {
        let Some(text) = text else { return Ok(None) };
        match moment(text, own, reading.is_postgres) {
            None if !reading.is_try => Err(none_of("timestamp", text)),
            moment => Ok(moment),
        }
    });
    let values = values.collect::<Result<TimestampMicrosecondArray>>()?;
    Ok(Arc::new(values.with_timezone_opt(reading.zone)))
}

/// Texts as dates; a time after one is ignored.
pub(crate) fn dates(texts: &ArrayRef, is_try: bool) -> Result<ArrayRef> {
    let texts = cast(texts, &TEXT)?;
    let values = texts.as_string::<i32>().iter().map(|text| {
        let Some(text) = text else { return Ok(None) };
        match Written::of(text) {
            None if !is_try => Err(none_of("date", text)),
            written => Ok(written.map(|written| written.day)),
        }
    });
    Ok(Arc::new(values.collect::<Result<Date32Array>>()?))
}

/// A text as a date or a timestamp of microseconds, as PostgreSQL reads it: a type without time zone takes the local time,
/// whatever zone the text has. None if the text is invalid, or for other types.
#[must_use]
pub fn moment_of_text(text: &str, kind: &DataType) -> Option<ScalarValue> {
    match kind {
        DataType::Date32 => Some(ScalarValue::Date32(Some(Written::of(text)?.day))),
        DataType::Timestamp(TimeUnit::Microsecond, own) => {
            let zone = match own {
                Some(name) => Some(zone(name).ok()?),
                None => None,
            };
            Some(ScalarValue::TimestampMicrosecond(Some(moment(text, zone, true)?), own.clone()))
        }
        _ => None,
    }
}

/// Worded as the engine's errors for other types.
fn none_of(kind: &str, text: &str) -> DataFusionError {
    bad(format!("Cannot cast string '{text}' to value of {kind} type"))
}

/// Microseconds since 1970, of a text with a time zone or in this one.
fn moment(text: &str, own: Option<Zone>, is_postgres: bool) -> Option<i64> {
    let written = Written::of(text)?;
    let local = i64::from(written.day) * DAY_MICROS + written.clock;
    let zone = match own {
        None if is_postgres => None,
        own => written.zone.or(own),
    };
    match zone {
        None => Some(local),
        Some(zone) if is_postgres => Some(micros(zone.last_utc(naive(local)?))),
        Some(zone) => Some(micros(zone.utc(naive(local)?))),
    }
}

/// What a text says.
struct Written {
    /// Days since 1970.
    day: i32,
    /// Microseconds since midnight.
    clock: i64,
    zone: Option<Zone>,
}

impl Written {
    fn of(text: &str) -> Option<Self> {
        let (day, rest) = date(text.trim())?;
        let behind = rest.trim_start();
        let (clock, name) = match rest.strip_prefix(['T', 't']) {
            Some(rest) => clock(rest)?,
            // Nothing but a blank ends a date.
            None if behind.len() == rest.len() && !rest.is_empty() => return None,
            None if behind.starts_with(|letter: char| letter.is_ascii_digit()) => clock(behind)?,
            None => (0, behind),
        };
        let name = name.trim_start();
        let zone = if name.is_empty() { None } else { Some(zone(name).ok()?) };
        Some(Self { day, clock, zone })
    }
}

/// The date at the beginning of a text in days since 1970, and the rest.
fn date(text: &str) -> Option<(i32, &str)> {
    // The engine writes years of five digits with a sign.
    let text = text.strip_prefix('+').unwrap_or(text);
    let is_compact = digits(text) == 8;
    let (between, least, year_digits) = if is_compact { ("", 2, 4) } else { ("-", 1, 6) };
    let (year, rest) = number(text, 4, year_digits)?;
    let (month, rest) = number(rest.strip_prefix(between)?, least, 2)?;
    let (day, rest) = number(rest.strip_prefix(between)?, least, 2)?;
    let year = i32::try_from(year).ok().filter(|year| *year <= YEAR_MAX)?;
    Some((days(NaiveDate::from_ymd_opt(year, month, day)?), rest))
}

/// The time at the beginning of a text in microseconds since midnight, and the rest.
fn clock(text: &str) -> Option<(i64, &str)> {
    let (between, least) = if digits(text) == 6 { ("", 2) } else { (":", 1) };
    let (hour, rest) = number(text, least, 2)?;
    let (minute, rest) = number(rest.strip_prefix(between)?, least, 2)?;
    let (second, fraction, rest) = match rest.strip_prefix(between) {
        None => (0, 0, rest),
        Some(rest) => {
            let (second, rest) = number(rest, least, 2)?;
            let (fraction, rest) = rest.strip_prefix('.').map_or(Some((0, rest)), fraction)?;
            (second, fraction, rest)
        }
    };
    let is_midnight = hour == 24 && minute == 0 && second == 0 && fraction == 0;
    let is_shown = (hour < 24 || is_midnight) && minute < 60 && second <= 60;
    let seconds = i64::from((hour * 60 + minute) * 60 + second);
    is_shown.then_some((seconds * SECOND_MICROS + fraction, rest))
}

/// The fraction at the beginning of a text in microseconds, rounded, and the rest.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let (digits, rest) = text.split_at(digits(text));
    let tenths = digits.bytes().chain(std::iter::repeat(b'0')).take(7);
    let tenths = tenths.fold(0_i64, |number, digit| number * 10 + i64::from(digit - b'0'));
    (!digits.is_empty()).then_some(((tenths + 5) / 10, rest))
}

/// The number at the beginning of a text, with at least and at most this many digits, and the rest.
fn number(text: &str, least: usize, most: usize) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at(digits(text).min(most));
    let number = digits.bytes().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    (digits.len() >= least).then_some((number, rest))
}

/// How many digits a text begins with.
fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::{Written, micros, moment, naive, zone};

    /// A text in PostgreSQL's reading as a timestamp without time zone.
    fn read(text: &str) -> Option<String> {
        moment(text, None, true).and_then(naive).map(|moment| moment.format("%Y-%m-%d %H:%M:%S%.6f").to_string())
    }

    #[test]
    fn texts_are_read_as_postgresql_reads_them() {
        for (text, expected) in [
            ("2024-01-31", "2024-01-31 00:00:00.000000"),
            (" 2024-1-3  9:05 ", "2024-01-03 09:05:00.000000"),
            ("2024-01-31T10:00:30.5Z", "2024-01-31 10:00:30.500000"),
            ("2024-01-31t10:00", "2024-01-31 10:00:00.000000"),
            ("20240131 100030", "2024-01-31 10:00:30.000000"),
            ("20240131", "2024-01-31 00:00:00.000000"),
            ("2024-01-31 10:00:00.1234564", "2024-01-31 10:00:00.123456"),
            ("2024-01-31 23:59:59.9999999", "2024-02-01 00:00:00.000000"),
            ("2024-01-31 24:00", "2024-02-01 00:00:00.000000"),
            ("2016-12-31 23:59:60", "2017-01-01 00:00:00.000000"),
            ("2024-01-31 13:00:00+02", "2024-01-31 13:00:00.000000"),
            ("2024-01-31 13:00 -05:30", "2024-01-31 13:00:00.000000"),
            ("1890-01-31 13:00:00+00:53:28", "1890-01-31 13:00:00.000000"),
            ("2024-01-31 UTC", "2024-01-31 00:00:00.000000"),
            ("1969-12-31 23:59:59.5", "1969-12-31 23:59:59.500000"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(read("+12345-01-31 10:00"), read("12345-01-31 10:00"));
        assert!(read("123456-12-31").is_some());
    }

    #[test]
    fn what_is_no_timestamp_is_refused() {
        for text in [
            "",
            "yesterday",
            "24-01-31",
            "2024-01",
            "2024-02-30",
            "2024-13-01",
            "2024-01-31T",
            "2024-01-31x",
            "2024-01-31+02",
            "2024-01-31 10",
            "2024-01-31 10:",
            "2024-01-31 10:00:",
            "2024-01-31 10:00:00.",
            "2024-01-31 10:00.5",
            "2024-01-31 10:001",
            "2024-01-31 10:60",
            "2024-01-31 10:00:61",
            "2024-01-31 24:00:01",
            "2024-01-31 10:00 PM",
            "2024-01-31 10:00 Mars/Olympus",
            "2024-01-31 10:00++2",
            "2024-01-31 10:00+é9a",
            "2024-01-31é",
            "999999-01-01",
            "1234567-01-01",
        ] {
            assert!(Written::of(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_zone_moves_what_has_one() {
        let utc = zone("+00:00").ok();
        let is = |text: &str, own, expected: &str| {
            assert_eq!(moment(text, own, false), moment(expected, None, true), "{text}");
        };
        is("2024-07-31 10:00+02", utc, "2024-07-31 08:00");
        is("2024-07-31 10:00:00Europe/Berlin", utc, "2024-07-31 08:00");
        is("2024-07-31 10:00", utc, "2024-07-31 10:00");
        is("2024-07-31 10:00", zone("Europe/Berlin").ok(), "2024-07-31 08:00");
        is("2024-07-31 10:00+02", None, "2024-07-31 08:00");
        is("2024-10-27 02:30 Europe/Berlin", utc, "2024-10-27 00:30");
        let last = moment("2024-10-27 02:30 Europe/Berlin", utc, true);
        assert_eq!(last, moment("2024-10-27 01:30", None, true));
        assert_eq!(moment("1970-01-02", utc, true), naive(86_400_000_000).map(micros));
    }
}
