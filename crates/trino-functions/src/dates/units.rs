//! Arithmetic in units: second, day, month and their like.

use chrono::{Datelike, Duration, Months, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;

use super::{Moments, days, moment_type, moments};
use crate::scalar::{Call, Day, Given, INT, Int, Last, TEXT, Text, Types, bad, column, each, is_text};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// A fixed number of milliseconds.
    Fixed(i64),
    /// A number of months.
    Months(i32),
}

const DAY_MS: i64 = 86_400_000;

pub(super) fn unit(text: &str) -> Result<Unit> {
    Ok(match text.to_lowercase().as_str() {
        "millisecond" => Unit::Fixed(1),
        "second" => Unit::Fixed(1000),
        "minute" => Unit::Fixed(60_000),
        "hour" => Unit::Fixed(3_600_000),
        "day" => Unit::Fixed(DAY_MS),
        "week" => Unit::Fixed(7 * DAY_MS),
        "month" => Unit::Months(1),
        "quarter" => Unit::Months(3),
        "year" => Unit::Months(12),
        _ => {
            return Err(bad(format!(
                "'{text}' is no unit: use millisecond, second, minute, hour, day, week, month, quarter or year"
            )));
        }
    })
}

/// The types of a unit, other arguments, and a date or timestamp at `place`, whose type is returned.
pub(super) fn types(given: &Given, place: usize) -> Result<Types> {
    match given.types {
        [unit, .., moment] if given.types.len() == place + 1 && is_text(unit) => {
            let Some(kind) = moment_type(moment) else { return given.refuse() };
            let mut arguments = vec![INT; place + 1];
            (arguments[0], arguments[place]) = (TEXT, kind.clone());
            Ok(Types::new(arguments, kind))
        }
        _ => given.refuse(),
    }
}

pub(super) fn add_types(given: &Given) -> Result<Types> {
    match given.types {
        [_, count, _] if count.is_integer() || count.is_null() => types(given, 2),
        _ => given.refuse(),
    }
}

pub(super) fn diff_types(given: &Given) -> Result<Types> {
    match given.types {
        [unit, from, to] if is_text(unit) => {
            let (Some(from), Some(to)) = (moment_type(from), moment_type(to)) else { return given.refuse() };
            Ok(Types::new(vec![TEXT, from, to], INT))
        }
        _ => given.refuse(),
    }
}

/// A column of the returned type, computed in local time.
fn moved(
    call: &Call,
    place: usize,
    unit: fn(&str) -> Result<Unit>,
    mut f: impl FnMut(Unit, usize, NaiveDateTime) -> Result<NaiveDateTime>,
) -> Result<ArrayRef> {
    let (units, source, mut last) = (column::<Text>(call, 0)?, Moments::of(call, place)?, Last::new(unit));
    let is_date = *call.returns.data_type() == DataType::Date32;
    let mut each_row = |row: usize| {
        if call.args.iter().any(|arg| arg.is_null(row)) {
            return Ok(None);
        }
        let unit = *last.get(units.value(row))?;
        if is_date && matches!(unit, Unit::Fixed(millis) if millis < DAY_MS) {
            return Err(bad(format!("{}: '{}' is no unit of dates", call.name, units.value(row))));
        }
        match source.local(row) {
            Some(local) => f(unit, row, local).map(Some),
            None => Err(bad(format!("{}: timestamp out of range", call.name))),
        }
    };
    if is_date {
        return each::<Day>(call.rows, |row| Ok(each_row(row)?.map(|local| days(local.date()))));
    }
    moments(call, |row| Ok(each_row(row)?.map(|local| source.back(local))))
}

pub(super) fn truncate(call: &Call) -> Result<ArrayRef> {
    moved(call, 1, unit, |unit, _, local| cut(unit, local).ok_or_else(|| bad("date_trunc: timestamp out of range")))
}

/// Where the unit begins that clocks show. None if that is before all calendars.
pub(super) fn cut(unit: Unit, local: NaiveDateTime) -> Option<NaiveDateTime> {
    let date = local.date();
    let date = match unit {
        Unit::Fixed(millis) if millis < DAY_MS => {
            let nanos = i64::from(local.num_seconds_from_midnight()) * 1_000_000_000 + i64::from(local.nanosecond());
            return local.checked_sub_signed(Duration::nanoseconds(nanos % (millis * 1_000_000)));
        }
        Unit::Fixed(DAY_MS) => date,
        Unit::Fixed(_) => date.checked_sub_signed(Duration::days(date.weekday().num_days_from_monday().into()))?,
        Unit::Months(months) => {
            NaiveDate::from_ymd_opt(date.year(), date.month0() / months as u32 * months as u32 + 1, 1)?
        }
    };
    Some(date.and_time(NaiveTime::MIN))
}

pub(super) fn add(call: &Call, unit: fn(&str) -> Result<Unit>) -> Result<ArrayRef> {
    let counts = column::<Int>(call, 1)?;
    moved(call, 2, unit, |unit, row, local| {
        let count = counts.value(row);
        let added = match unit {
            Unit::Fixed(millis) => count
                .checked_mul(millis)
                .and_then(Duration::try_milliseconds)
                .and_then(|duration| local.checked_add_signed(duration)),
            Unit::Months(months) => {
                i32::try_from(count).ok().and_then(|count| plus_months(local, count.checked_mul(months)?))
            }
        };
        added.ok_or_else(|| bad(format!("{}: timestamp out of range", call.name)))
    })
}

fn plus_months(local: NaiveDateTime, count: i32) -> Option<NaiveDateTime> {
    let months = Months::new(count.unsigned_abs());
    if count < 0 { local.checked_sub_months(months) } else { local.checked_add_months(months) }
}

pub(super) fn diff(call: &Call) -> Result<ArrayRef> {
    let (units, from, to) = (column::<Text>(call, 0)?, Moments::of(call, 1)?, Moments::of(call, 2)?);
    let mut last = Last::new(unit);
    each::<Int>(call.rows, |row| {
        if call.args.iter().any(|arg| arg.is_null(row)) {
            return Ok(None);
        }
        let (Some(from), Some(to)) = (from.local(row), to.local(row)) else {
            return Err(bad("date_diff: timestamp out of range"));
        };
        Ok(Some(match *last.get(units.value(row))? {
            // Whole milliseconds are counted: fractions are cut off on both sides first.
            Unit::Fixed(millis) => (to.and_utc().timestamp_millis() - from.and_utc().timestamp_millis()) / millis,
            Unit::Months(months) => i64::from(months_between(from, to) / months),
        }))
    })
}

fn months_between(from: NaiveDateTime, to: NaiveDateTime) -> i32 {
    let count = (to.year() - from.year()) * 12 + to.month() as i32 - from.month() as i32;
    match plus_months(from, count) {
        Some(reached) if count > 0 && reached > to => count - 1,
        Some(reached) if count < 0 && reached < to => count + 1,
        _ => count,
    }
}

/// `1 day, 2 hours, 3 minutes, 4 seconds`
pub(super) fn readable(seconds: f64) -> Result<String> {
    if !seconds.is_finite() {
        return Err(bad("human_readable_seconds: the number must be finite"));
    }
    let mut rest = seconds.abs().round() as u64;
    let mut parts = Vec::new();
    for (name, size) in [("week", 604_800), ("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)] {
        let count = rest / size;
        rest %= size;
        if count > 0 {
            parts.push(format!("{count} {name}{}", if count == 1 { "" } else { "s" }));
        }
    }
    Ok(if parts.is_empty() { "0 seconds".to_owned() } else { parts.join(", ") })
}

/// Reads `3.5d`.
pub(super) fn milliseconds(text: &str) -> Result<i64> {
    let wrong = || bad(format!("'{text}' is no duration: write it as 3.5d, 90m or 10ms"));
    let at = text.find(|letter: char| letter.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let number: f64 = text[..at].trim().parse().map_err(|_| wrong())?;
    let unit = match &text[at..] {
        "ns" => 1e-6,
        "us" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 6e4,
        "h" => 3.6e6,
        "d" => 8.64e7,
        _ => return Err(wrong()),
    };
    Ok((number * unit).round() as i64)
}
