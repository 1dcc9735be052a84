//! Functions of dates and times that Redshift and PostgreSQL have, and Trino has not.

use std::sync::Arc;

use chrono::{Datelike, Months, NaiveDateTime, Timelike};
use datafusion::arrow::array::{Array, ArrayRef, IntervalMonthDayNanoArray};
use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit};
use datafusion::error::Result;

use super::units::{self, Unit};
use super::{Moments, Zone, micros, moment_type, moments, naive, zone, zoned};
use crate::catalog::{Family::DatesAndTimes, Family::Inner, Function, scalar};
use crate::scalar::{Body, Call, Given, INT, Int, Last, MICROS, TEXT, Text, Types, bad, column, each, is_text};

pub(crate) const FUNCTIONS: &[Function] = &[
    scalar(
        DatesAndTimes,
        &["dateadd"],
        "dateadd(unit, n, x) → timestamp",
        "`n` units later, as in Redshift: of a date, too, it is a timestamp",
        Body::new(add_types, |call| units::add(call, unit)),
    ),
    scalar(
        DatesAndTimes,
        &["datediff"],
        "datediff(unit, from, to) → bigint",
        "How many times a unit begins in between, as in Redshift: weeks on Monday",
        Body::new(diff_types, diff),
    ),
    scalar(
        DatesAndTimes,
        &["convert_timezone"],
        "convert_timezone([from,] to, x) → timestamp",
        "What clocks show in another zone; without `from`, `x` is in UTC",
        Body::new(convert_types, convert),
    ),
    scalar(
        DatesAndTimes,
        &["age"],
        "age(to, from) → interval",
        "Years, months, days and time in between, as in PostgreSQL; of one argument, up to the day when the query began",
        Body::new(age_types, age),
    ),
    scalar(
        Inner,
        &["at_time_zone"],
        "at_time_zone(x, zone)",
        "`x AT TIME ZONE zone` as in PostgreSQL: a timestamp gets a zone, or loses the one it has; a date or a text has the zone UTC",
        Body::new(at_zone_types, at_zone),
    ),
];

/// Redshift's names of units.
fn unit(text: &str) -> Result<Unit> {
    units::unit(match text.to_lowercase().as_str() {
        "y" | "yr" | "yrs" | "years" => "year",
        "qtr" | "qtrs" | "quarters" => "quarter",
        "mon" | "mons" | "months" => "month",
        "w" | "weeks" => "week",
        "d" | "days" => "day",
        "h" | "hr" | "hrs" | "hours" => "hour",
        "m" | "min" | "mins" | "minutes" => "minute",
        "s" | "sec" | "secs" | "seconds" => "second",
        "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisec" | "milliseconds" => "millisecond",
        _ => text,
    })
}

/// The timestamp type for a date, a timestamp, or the text of one.
fn timestamp(kind: &DataType) -> Option<DataType> {
    match moment_type(kind) {
        Some(DataType::Date32) => Some(MICROS),
        None if is_text(kind) => Some(MICROS),
        other => other,
    }
}

fn add_types(given: &Given) -> Result<Types> {
    match given.types {
        [unit, count, moment] if is_text(unit) && (count.is_integer() || count.is_null()) => {
            let Some(kind) = timestamp(moment) else { return given.refuse() };
            Ok(Types::new(vec![TEXT, INT, kind.clone()], kind))
        }
        _ => given.refuse(),
    }
}

fn diff_types(given: &Given) -> Result<Types> {
    match given.types {
        [unit, from, to] if is_text(unit) => {
            let (Some(from), Some(to)) = (timestamp(from), timestamp(to)) else { return given.refuse() };
            Ok(Types::new(vec![TEXT, from, to], INT))
        }
        _ => given.refuse(),
    }
}

fn diff(call: &Call) -> Result<ArrayRef> {
    let (units, from, to) = (column::<Text>(call, 0)?, Moments::of(call, 1)?, Moments::of(call, 2)?);
    let mut last = Last::new(unit);
    each::<Int>(call.rows, |row| {
        if call.args.iter().any(|arg| arg.is_null(row)) {
            return Ok(None);
        }
        let (Some(from), Some(to)) = (from.local(row), to.local(row)) else {
            return Err(bad("datediff: timestamp out of range"));
        };
        let unit = *last.get(units.value(row))?;
        Ok(Some(begun(unit, to) - begun(unit, from)))
    })
}

/// How many of a unit have begun since a fixed point in time.
fn begun(unit: Unit, local: NaiveDateTime) -> i64 {
    const DAY_MS: i64 = 86_400_000;
    const WEEK_MS: i64 = 7 * DAY_MS;
    let millis = local.and_utc().timestamp_millis();
    match unit {
        // 1970 began on a Thursday.
        Unit::Fixed(WEEK_MS) => (millis + 3 * DAY_MS).div_euclid(WEEK_MS),
        Unit::Fixed(each) => millis.div_euclid(each),
        Unit::Months(each) => (i64::from(local.year()) * 12 + i64::from(local.month0())).div_euclid(each.into()),
    }
}

fn age_types(given: &Given) -> Result<Types> {
    match given.types {
        [to, from] => {
            let (Some(to), Some(from)) = (timestamp(to), timestamp(from)) else { return given.refuse() };
            Ok(Types::new(vec![to, from], DataType::Interval(IntervalUnit::MonthDayNano)))
        }
        _ => given.refuse(),
    }
}

fn age(call: &Call) -> Result<ArrayRef> {
    let (to, from) = (Moments::of(call, 0)?, Moments::of(call, 1)?);
    let mut ages = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        if call.args.iter().any(|arg| arg.is_null(row)) {
            ages.push(None);
            continue;
        }
        let (Some(to), Some(from)) = (to.local(row), from.local(row)) else {
            return Err(bad("age: the timestamp is out of range"));
        };
        ages.push(Some(if to < from { negative(between(to, from)) } else { between(from, to) }));
    }
    Ok(Arc::new(IntervalMonthDayNanoArray::from(ages)))
}

/// What clocks and calendars show of the time from one moment to a later one. A month that is not whole has the days of the one
/// that it began in.
fn between(from: NaiveDateTime, to: NaiveDateTime) -> IntervalMonthDayNano {
    const DAY_NANOS: i64 = 86_400_000_000_000;
    let nanos = |moment: NaiveDateTime| {
        i64::from(moment.num_seconds_from_midnight()) * 1_000_000_000 + i64::from(moment.nanosecond())
    };
    let month = |moment: NaiveDateTime| moment.year() * 12 + moment.month0() as i32;
    let (mut months, mut days) = (month(to) - month(from), to.day() as i32 - from.day() as i32);
    let mut nanoseconds = nanos(to) - nanos(from);
    if nanoseconds < 0 {
        nanoseconds += DAY_NANOS;
        days -= 1;
    }
    if days < 0 {
        days += days_of_month(from);
        months -= 1;
    }
    IntervalMonthDayNano { months, days, nanoseconds }
}

fn days_of_month(moment: NaiveDateTime) -> i32 {
    let first = moment.date().with_day(1);
    let days = first.and_then(|first| Some((first.checked_add_months(Months::new(1))? - first).num_days()));
    // The last month of all has as many as each December.
    days.map_or(31, |days| days as i32)
}

fn negative(interval: IntervalMonthDayNano) -> IntervalMonthDayNano {
    let IntervalMonthDayNano { months, days, nanoseconds } = interval;
    IntervalMonthDayNano { months: -months, days: -days, nanoseconds: -nanoseconds }
}

fn convert_types(given: &Given) -> Result<Types> {
    let Some((moment, zones)) = given.types.split_last() else { return given.refuse() };
    match timestamp(moment) {
        Some(kind) if (1..=2).contains(&zones.len()) && zones.iter().all(is_text) => {
            let mut arguments = vec![TEXT; zones.len()];
            arguments.push(kind);
            Ok(Types::new(arguments, MICROS))
        }
        _ => given.refuse(),
    }
}

fn convert(call: &Call) -> Result<ArrayRef> {
    let place = call.args.len() - 1;
    let source = Moments::of(call, place)?;
    let (from, to) = (column::<Text>(call, 0)?, column::<Text>(call, place - 1)?);
    let (mut last_from, mut last_to) = (Last::new(zone), Last::new(zone));
    moments(call, |row| {
        if call.args.iter().any(|arg| arg.is_null(row)) {
            return Ok(None);
        }
        let moment =
            source.micros(row).and_then(naive).ok_or_else(|| bad("convert_timezone: timestamp out of range"))?;
        let is_local = place == 2 && !source.has_zone();
        let utc = if is_local { last_from.get(from.value(row))?.last_utc(moment) } else { moment };
        Ok(Some(micros(last_to.get(to.value(row))?.local(utc))))
    })
}

fn at_zone_types(given: &Given) -> Result<Types> {
    let [moment, name] = given.types else { return given.refuse() };
    // A date or a text becomes a timestamp with time zone, as in PostgreSQL.
    let kind = match moment_type(moment) {
        Some(DataType::Date32) => Some(zoned("+00:00")),
        None if is_text(moment) => Some(zoned("+00:00")),
        kind => kind,
    };
    match kind {
        Some(kind @ DataType::Timestamp(_, Some(_))) if is_text(name) => Ok(Types::new(vec![kind, TEXT], MICROS)),
        Some(kind) if is_text(name) => Ok(Types::new(vec![kind, TEXT], zoned("+00:00"))),
        _ => given.refuse(),
    }
}

fn at_zone(call: &Call) -> Result<ArrayRef> {
    let (source, names, mut last) = (Moments::of(call, 0)?, column::<Text>(call, 1)?, Last::new(zone));
    moments(call, |row| {
        if call.args.iter().any(|arg| arg.is_null(row)) {
            return Ok(None);
        }
        let moment = source.micros(row).and_then(naive).ok_or_else(|| bad("timestamp out of range"))?;
        let zone: &Zone = last.get(names.value(row))?;
        Ok(Some(micros(if source.has_zone() { zone.local(moment) } else { zone.last_utc(moment) })))
    })
}
