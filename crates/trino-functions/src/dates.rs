//! Dates, times and time zones.
//!
//! A timestamp is microseconds since 1970, with a zone in its type or none. What depends on the day or the hour is
//! computed in that zone. Weeks and weekdays are those of ISO 8601: Monday is 1.

pub(crate) mod far;
mod redshift;
mod units;
pub(crate) mod written;

use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, NaiveDateTime, Offset, TimeZone, Timelike};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, DurationMillisecondArray, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, DurationMillisecondType, TimeUnit, TimestampMicrosecondType};
use datafusion::error::Result;

pub(crate) use self::redshift::FUNCTIONS as OF_REDSHIFT;
use crate::catalog::{Family::DatesAndTimes, Function, built_in, scalar};
use crate::formats::{Format, offset_text};
use crate::scalar::{
    Body, Call, DOUBLE, Day, Double, Given, INT, Int, Kind, Last, MICROS, Micros, TEXT, Text, Types, bad, column, each,
    exactly, is_text, map1, map2,
};

/// What `EXTRACT` knows.
pub(crate) const PARTS: [&str; 19] = [
    "year",
    "quarter",
    "month",
    "week",
    "day",
    "day_of_month",
    "day_of_week",
    "dow",
    "day_of_year",
    "doy",
    "year_of_week",
    "yow",
    "hour",
    "minute",
    "second",
    "millisecond",
    "timezone_hour",
    "timezone_minute",
    "week_of_year",
];

const fn part(
    names: &'static [&'static str],
    usage: &'static str,
    summary: &'static str,
    run: fn(&Call) -> Result<ArrayRef>,
) -> Function {
    scalar(DatesAndTimes, names, usage, summary, Body::new(|g| moment_types(g, INT), run))
}

macro_rules! part {
    ($names:expr, $usage:literal, $summary:literal, $f:expr) => {
        part(&$names, $usage, $summary, |call| {
            let moments = Moments::of(call, 0)?;
            each::<Int>(call.rows, |row| {
                Ok(moments.local(row).map(|local| {
                    let f: fn(NaiveDateTime) -> i64 = $f;
                    f(local)
                }))
            })
        })
    };
}

pub(crate) const FUNCTIONS: &[Function] = &[
    built_in(DatesAndTimes, &["now", "current_timestamp"], "now() → timestamp with time zone", "When the query began"),
    built_in(DatesAndTimes, &["current_date"], "current_date → date", "The day when the query began"),
    built_in(DatesAndTimes, &["localtimestamp"], "localtimestamp → timestamp", "When the query began, without a zone"),
    scalar(DatesAndTimes, &["date"], "date(x) → date", "The day of a timestamp or text", Body::new(date_types, date)),
    scalar(
        DatesAndTimes,
        &["date_trunc"],
        "date_trunc(unit, x) → same",
        "Cut off to a unit",
        Body::new(|g| units::types(g, 1), units::truncate),
    )
    .in_trino(),
    scalar(
        DatesAndTimes,
        &["date_add"],
        "date_add(unit, n, x) → same",
        "`n` units later",
        Body::new(units::add_types, |call| units::add(call, units::unit)),
    ),
    scalar(
        DatesAndTimes,
        &["date_diff"],
        "date_diff(unit, from, to) → bigint",
        "How many whole units are between",
        Body::new(units::diff_types, units::diff),
    ),
    scalar(
        DatesAndTimes,
        &["date_format"],
        "date_format(x, format) → varchar",
        "In MySQL's format: `%Y-%m-%d`",
        Body::new(format_types, |call| format(call, Format::mysql)),
    )
    .in_trino(),
    scalar(
        DatesAndTimes,
        &["date_parse"],
        "date_parse(text, format) → timestamp",
        "Reads MySQL's format: `%Y-%m-%d`",
        Body::new(|g| exactly(g, &[TEXT, TEXT], 2, MICROS), date_parse),
    ),
    scalar(
        DatesAndTimes,
        &["format_datetime"],
        "format_datetime(x, pattern) → varchar",
        "In Joda's pattern: `yyyy-MM-dd`",
        Body::new(format_types, |call| format(call, Format::joda)),
    ),
    scalar(
        DatesAndTimes,
        &["parse_datetime"],
        "parse_datetime(text, pattern) → timestamp with time zone",
        "Reads Joda's pattern: `yyyy-MM-dd`",
        Body::new(|g| exactly(g, &[TEXT, TEXT], 2, zoned("UTC")), parse_datetime),
    ),
    scalar(
        DatesAndTimes,
        &["from_unixtime"],
        "from_unixtime(seconds[, zone]) → timestamp with time zone",
        "Seconds since 1970 as a moment",
        Body::new(from_unixtime_types, from_unixtime),
    )
    .in_trino(),
    scalar(
        DatesAndTimes,
        &["from_unixtime_nanos"],
        "from_unixtime_nanos(n) → timestamp with time zone",
        "Nanoseconds since 1970 as a moment",
        Body::new(
            |g| exactly(g, &[INT], 1, zoned("UTC")),
            |call| moments(call, |row| Ok(value::<Int>(call, 0, row)?.map(|nanos| nanos.div_euclid(1000)))),
        ),
    ),
    scalar(
        DatesAndTimes,
        &["to_unixtime"],
        "to_unixtime(x) → double",
        "Seconds since 1970",
        Body::new(
            |g| moment_types(g, DOUBLE),
            |call| {
                let moments = Moments::of(call, 0)?;
                each::<Double>(call.rows, |row| Ok(moments.micros(row).map(|micros| micros as f64 / 1e6)))
            },
        ),
    )
    .in_trino(),
    scalar(
        DatesAndTimes,
        &["from_iso8601_timestamp"],
        "from_iso8601_timestamp(text) → timestamp with time zone",
        "Reads `2021-07-31T10:00:00Z`",
        Body::new(
            |g| exactly(g, &[TEXT], 1, zoned("UTC")),
            |call| {
                moments(call, |row| {
                    Ok(match value::<Text>(call, 0, row)? {
                        Some(text) => Some(iso(text)?),
                        None => None,
                    })
                })
            },
        ),
    ),
    scalar(
        DatesAndTimes,
        &["from_iso8601_date"],
        "from_iso8601_date(text) → date",
        "Reads `2021-07-31`",
        Body::new(
            |g| exactly(g, &[TEXT], 1, Day::TYPE),
            |call| {
                map1::<Text, Day>(call, |text| {
                    day(text).map(Some).ok_or_else(|| bad(format!("'{text}' is no date of ISO 8601")))
                })
            },
        ),
    ),
    scalar(
        DatesAndTimes,
        &["to_iso8601"],
        "to_iso8601(x) → varchar",
        "Writes `2021-07-31T10:00:00.000Z`",
        Body::new(|g| moment_types(g, TEXT), to_iso),
    ),
    scalar(
        DatesAndTimes,
        &["at_timezone"],
        "at_timezone(x, zone) → timestamp with time zone",
        "The same moment in another zone",
        Body::new(zone_types, |call| in_zone(call, false)),
    ),
    scalar(
        DatesAndTimes,
        &["with_timezone"],
        "with_timezone(timestamp, zone) → timestamp with time zone",
        "The moment when clocks in a zone show this",
        Body::new(zone_types, |call| in_zone(call, true)),
    ),
    scalar(
        DatesAndTimes,
        &["current_timezone"],
        "current_timezone() → varchar",
        "The zone of the session: UTC",
        Body::new(|g| exactly(g, &[], 0, TEXT), |call| each::<Text>(call.rows, |_| Ok(Some("UTC".to_owned())))),
    ),
    scalar(
        DatesAndTimes,
        &["last_day_of_month"],
        "last_day_of_month(x) → date",
        "The last day of its month",
        Body::new(|g| moment_types(g, Day::TYPE), last_day),
    ),
    scalar(
        DatesAndTimes,
        &["human_readable_seconds"],
        "human_readable_seconds(x) → varchar",
        "`1 day, 2 hours`",
        Body::new(
            |g| exactly(g, &[DOUBLE], 1, TEXT),
            |call| map1::<Double, Text>(call, |seconds| Ok(Some(units::readable(seconds)?))),
        ),
    ),
    scalar(
        DatesAndTimes,
        &["parse_duration"],
        "parse_duration(text) → interval",
        "Reads `3.5d`, `90m`, `10ms`",
        Body::new(|g| exactly(g, &[TEXT], 1, DataType::Duration(TimeUnit::Millisecond)), parse_duration),
    ),
    scalar(
        DatesAndTimes,
        &["to_milliseconds"],
        "to_milliseconds(interval) → bigint",
        "A duration in milliseconds",
        Body::new(
            |g| match g.types {
                [DataType::Duration(_)] => Ok(Types::new(vec![DataType::Duration(TimeUnit::Millisecond)], INT)),
                _ => g.refuse(),
            },
            |call| Ok(cast(&call.args[0], &INT)?),
        ),
    ),
    part!(["year"], "year(x) → bigint", "The year", |t| t.year().into()),
    part!(["quarter"], "quarter(x) → bigint", "1 to 4", |t| (t.month0() / 3 + 1).into()),
    part!(["month"], "month(x) → bigint", "1 to 12", |t| t.month().into()),
    part!(["week", "week_of_year"], "week(x) → bigint", "The week of ISO 8601", |t| t.iso_week().week().into()),
    part!(["day", "day_of_month"], "day(x) → bigint", "The day of the month", |t| t.day().into()),
    part!(["day_of_week", "dow"], "day_of_week(x) → bigint", "1 (Monday) to 7", |t| t
        .weekday()
        .number_from_monday()
        .into()),
    part!(["day_of_year", "doy"], "day_of_year(x) → bigint", "1 to 366", |t| t.ordinal().into()),
    part!(["year_of_week", "yow"], "year_of_week(x) → bigint", "The year of the week", |t| t
        .iso_week()
        .year()
        .into()),
    part!(["hour"], "hour(x) → bigint", "0 to 23", |t| t.hour().into()),
    part!(["minute"], "minute(x) → bigint", "0 to 59", |t| t.minute().into()),
    part!(["second"], "second(x) → bigint", "0 to 59", |t| t.second().into()),
    part!(["millisecond"], "millisecond(x) → bigint", "0 to 999", |t| (t.nanosecond() / 1_000_000).into()),
    part(&["timezone_hour"], "timezone_hour(x) → bigint", "Hours from UTC", |call| {
        offset(call, |seconds| seconds / 3600)
    }),
    part(&["timezone_minute"], "timezone_minute(x) → bigint", "Minutes from UTC beside the hours", |call| {
        offset(call, |seconds| seconds % 3600 / 60)
    }),
];

/// A time zone: a name, or an offset from UTC.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Zone {
    Named(chrono_tz::Tz),
    Fixed(FixedOffset),
}

/// Reads `Europe/Berlin`, `UTC`, `+02:00`, `Z`.
pub(crate) fn zone(text: &str) -> Result<Zone> {
    if let Some(zone) = fixed(text) {
        return Ok(Zone::Fixed(zone));
    }
    let name = if text.eq_ignore_ascii_case("z") { "UTC" } else { text };
    let exact = chrono_tz::Tz::from_str(name).ok();
    let any_case = || chrono_tz::TZ_VARIANTS.into_iter().find(|zone| zone.name().eq_ignore_ascii_case(name));
    exact.or_else(any_case).map(Zone::Named).ok_or_else(|| bad(format!("there is no time zone '{text}'")))
}

fn fixed(text: &str) -> Option<FixedOffset> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let digits = digits.replace(':', "");
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| digits[from..to].parse::<i32>().ok();
    let (hours, minutes, seconds) = match digits.len() {
        1 | 2 => (part(0, digits.len())?, 0, 0),
        4 => (part(0, 2)?, part(2, 4)?, 0),
        // Before there were zones.
        6 => (part(0, 2)?, part(2, 4)?, part(4, 6)?),
        _ => return None,
    };
    let is_offset = hours <= 14 && minutes < 60 && seconds < 60;
    is_offset.then(|| FixedOffset::east_opt(sign * ((hours * 60 + minutes) * 60 + seconds))).flatten()
}

impl Zone {
    /// Seconds from UTC at a moment.
    pub(crate) fn offset(&self, utc: NaiveDateTime) -> i32 {
        match self {
            Self::Named(zone) => zone.offset_from_utc_datetime(&utc).fix().local_minus_utc(),
            Self::Fixed(offset) => offset.local_minus_utc(),
        }
    }

    /// What clocks show.
    pub(crate) fn local(&self, utc: NaiveDateTime) -> NaiveDateTime {
        utc + chrono::Duration::seconds(self.offset(utc).into())
    }

    /// The time of a local time; the first one if it occurs twice, one hour later if never.
    pub(crate) fn utc(&self, local: NaiveDateTime) -> NaiveDateTime {
        self.when(local, false)
    }

    /// As in PostgreSQL: the second one if it occurs twice.
    pub(crate) fn last_utc(&self, local: NaiveDateTime) -> NaiveDateTime {
        self.when(local, true)
    }

    fn when(&self, local: NaiveDateTime, is_last: bool) -> NaiveDateTime {
        match self {
            Self::Fixed(offset) => local - chrono::Duration::seconds(offset.local_minus_utc().into()),
            Self::Named(zone) => {
                let moments = zone.from_local_datetime(&local);
                let moment = if is_last { moments.latest() } else { moments.earliest() };
                match moment {
                    Some(moment) => moment.naive_utc(),
                    None => {
                        let before = self.offset(local - chrono::Duration::days(1));
                        local - chrono::Duration::seconds(before.into())
                    }
                }
            }
        }
    }
}

/// The local times of timestamps in their zone.
pub(crate) fn shown(moments: &ArrayRef, zone_name: &str) -> Result<ArrayRef> {
    let zone = zone(zone_name)?;
    let moments = cast(moments, &zoned(zone_name))?;
    let values = moments.as_primitive::<TimestampMicrosecondType>().iter().map(|value| {
        let Some(value) = value else { return Ok(None) };
        let utc = known(value)?;
        Ok(Some(micros(zone.local(utc))))
    });
    Ok(Arc::new(values.collect::<Result<TimestampMicrosecondArray>>()?))
}

/// A timestamp type with a zone.
fn zoned(zone: &str) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(zone.into()))
}

/// A date stays, a timestamp becomes microseconds in its zone.
pub(crate) fn moment_type(kind: &DataType) -> Option<DataType> {
    match kind {
        DataType::Date32 | DataType::Date64 => Some(DataType::Date32),
        DataType::Timestamp(_, zone) => Some(DataType::Timestamp(TimeUnit::Microsecond, zone.clone())),
        DataType::Null => Some(MICROS),
        _ => None,
    }
}

fn moment_types(given: &Given, returns: DataType) -> Result<Types> {
    match given.types {
        [kind] if let Some(kind) = moment_type(kind) => Ok(Types::new(vec![kind], returns)),
        _ => given.refuse(),
    }
}

/// A column of dates or timestamps.
pub(crate) struct Moments {
    values: TimestampMicrosecondArray,
    zone: Option<Zone>,
    zone_name: String,
}

impl Moments {
    pub(crate) fn of(call: &Call, index: usize) -> Result<Self> {
        let array = &call.args[index];
        let (zone, zone_name) = match array.data_type() {
            DataType::Timestamp(_, Some(name)) => (Some(zone(name)?), name.to_string()),
            _ => (None, "UTC".to_owned()),
        };
        let values = match array.data_type() {
            DataType::Date32 => cast(array, &MICROS)?.as_primitive::<TimestampMicrosecondType>().clone(),
            _ => array.as_primitive::<TimestampMicrosecondType>().clone(),
        };
        // What no calendar has would be null.
        values.iter().flatten().try_for_each(|moment| known(moment).map(drop))?;
        Ok(Self { values, zone, zone_name })
    }

    pub(crate) fn micros(&self, row: usize) -> Option<i64> {
        self.values.is_valid(row).then(|| self.values.value(row))
    }

    pub(crate) fn local(&self, row: usize) -> Option<NaiveDateTime> {
        let utc = naive(self.micros(row)?)?;
        Some(self.zone.map_or(utc, |zone| zone.local(utc)))
    }

    /// Back from local time to microseconds since 1970.
    pub(crate) fn back(&self, local: NaiveDateTime) -> i64 {
        micros(self.zone.map_or(local, |zone| zone.utc(local)))
    }

    pub(crate) fn has_zone(&self) -> bool {
        self.zone.is_some()
    }

    fn offset(&self, row: usize) -> Option<i32> {
        let utc = naive(self.micros(row)?)?;
        Some(self.zone.map_or(0, |zone| zone.offset(utc)))
    }
}

/// The most microseconds from 1970 that calendars have, whatever clocks show in a zone: up to some 260,000 years.
pub(crate) const MICROS_MAX: u64 = 8_200_000_000_000_000_000;

/// A moment that calendars have.
pub(crate) fn known(micros: i64) -> Result<NaiveDateTime> {
    let moment = naive(micros).filter(|_| micros.unsigned_abs() <= MICROS_MAX);
    moment.ok_or_else(|| bad("timestamp out of range"))
}

pub(crate) fn naive(micros: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_micros(micros).map(|moment| moment.naive_utc())
}

pub(crate) fn micros(utc: NaiveDateTime) -> i64 {
    utc.and_utc().timestamp_micros()
}

/// Days since 1970 of `2021-07-31`.
pub(crate) fn day(text: &str) -> Option<i32> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(days(date))
}

pub(crate) fn days(date: NaiveDate) -> i32 {
    date.num_days_from_ce() - NaiveDate::default().num_days_from_ce()
}

/// The argument of a row.
fn value<K: Kind>(call: &Call, index: usize, row: usize) -> Result<Option<K::Item<'_>>> {
    let column = column::<K>(call, index)?;
    Ok(column.is_valid(row).then(|| K::get(column, row)))
}

/// A column of the timestamp type that the call returns.
fn moments(call: &Call, f: impl FnMut(usize) -> Result<Option<i64>>) -> Result<ArrayRef> {
    let values = each::<Micros>(call.rows, f)?;
    let values = values.as_primitive::<TimestampMicrosecondType>().clone();
    Ok(match call.returns.data_type() {
        DataType::Timestamp(_, zone) => Arc::new(values.with_timezone_opt(zone.clone())),
        _ => Arc::new(values),
    })
}

fn date_types(given: &Given) -> Result<Types> {
    match given.types {
        [kind] if is_text(kind) => Ok(Types::new(vec![TEXT], Day::TYPE)),
        _ => moment_types(given, Day::TYPE),
    }
}

fn date(call: &Call) -> Result<ArrayRef> {
    if *call.args[0].data_type() == TEXT {
        return map1::<Text, Day>(call, |text| {
            day(text.trim()).map(Some).ok_or_else(|| bad(format!("'{text}' is no date: write it as 2021-07-31")))
        });
    }
    let moments = Moments::of(call, 0)?;
    each::<Day>(call.rows, |row| Ok(moments.local(row).map(|local| days(local.date()))))
}

fn format_types(given: &Given) -> Result<Types> {
    match given.types {
        [kind, format]
            if is_text(format)
                && let Some(kind) = moment_type(kind) =>
        {
            Ok(Types::new(vec![kind, TEXT], TEXT))
        }
        _ => given.refuse(),
    }
}

fn format(call: &Call, compile: fn(&str) -> Result<Format>) -> Result<ArrayRef> {
    let (moments, mut last) = (Moments::of(call, 0)?, Last::new(compile));
    each::<Text>(call.rows, |row| {
        let (Some(local), Some(format)) = (moments.local(row), value::<Text>(call, 1, row)?) else { return Ok(None) };
        let offset = moments.offset(row).unwrap_or(0);
        Ok(Some(last.get(format)?.write(local, offset, &moments.zone_name)))
    })
}

fn date_parse(call: &Call) -> Result<ArrayRef> {
    let mut last = Last::new(Format::mysql);
    map2::<Text, Text, Micros>(call, |text, format| Ok(Some(micros(last.get(format)?.read(text)?.local))))
}

fn parse_datetime(call: &Call) -> Result<ArrayRef> {
    let mut last = Last::new(Format::joda);
    moments(call, |row| {
        let (Some(text), Some(format)) = (value::<Text>(call, 0, row)?, value::<Text>(call, 1, row)?) else {
            return Ok(None);
        };
        let moment = last.get(format)?.read(text)?;
        Ok(Some(micros(moment.zone.map_or(moment.local, |zone| zone.utc(moment.local)))))
    })
}

/// The zone is part of the type: it must be a literal.
fn literal_zone(given: &Given, index: usize) -> Result<DataType> {
    match given.text(index) {
        Some(name) => {
            zone(name)?;
            Ok(zoned(name))
        }
        // While types are coerced, values are not known yet.
        None if given.literals.is_empty() => Ok(zoned("UTC")),
        None => Err(bad(format!("{}: the time zone must be a literal", given.name))),
    }
}

fn from_unixtime_types(given: &Given) -> Result<Types> {
    match given.types {
        [seconds] if seconds.is_numeric() => Ok(Types::new(vec![DOUBLE], zoned("UTC"))),
        [seconds, name] if seconds.is_numeric() && is_text(name) => {
            Ok(Types::new(vec![DOUBLE, TEXT], literal_zone(given, 1)?))
        }
        _ => given.refuse(),
    }
}

fn from_unixtime(call: &Call) -> Result<ArrayRef> {
    moments(call, |row| {
        let Some(seconds) = value::<Double>(call, 0, row)? else { return Ok(None) };
        let millis = (seconds * 1e3).round();
        if !millis.is_finite() || millis.abs() > 9e15 {
            return Err(bad(format!("from_unixtime: timestamp out of range: {seconds} seconds")));
        }
        Ok(Some(millis as i64 * 1000))
    })
}

/// `2021-07-31`, `2021-07-31T10:00`, `…:00.123456`, each with `Z`, `+02:00` or nothing after the time.
fn iso(text: &str) -> Result<i64> {
    let wrong = || bad(format!("'{text}' is no timestamp of ISO 8601"));
    let (date, time) = text.split_once('T').unwrap_or((text, ""));
    let date = match date.matches('-').count() {
        0 => NaiveDate::parse_from_str(&format!("{date}-01-01"), "%Y-%m-%d"),
        1 if date.contains('W') => NaiveDate::parse_from_str(&format!("{date}-1"), "%G-W%V-%u"),
        1 if date.len() == 8 => NaiveDate::parse_from_str(date, "%Y-%j"),
        1 => NaiveDate::parse_from_str(&format!("{date}-01"), "%Y-%m-%d"),
        _ if date.contains('W') => NaiveDate::parse_from_str(date, "%G-W%V-%u"),
        _ => NaiveDate::parse_from_str(date, "%Y-%m-%d"),
    };
    let date = date.map_err(|_| wrong())?;
    let at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, offset) = time.split_at(at);
    let zone = if offset.is_empty() { None } else { Some(zone(offset)?) };
    let clock = match clock.matches(':').count() {
        0 if clock.is_empty() => "00:00:00".to_owned(),
        0 => format!("{clock}:00:00"),
        1 => format!("{clock}:00"),
        _ => clock.replace(',', "."),
    };
    let time = chrono::NaiveTime::parse_from_str(&clock, "%H:%M:%S%.f").map_err(|_| wrong())?;
    let local = date.and_time(time);
    Ok(micros(zone.map_or(local, |zone| zone.utc(local))))
}

fn to_iso(call: &Call) -> Result<ArrayRef> {
    let moments = Moments::of(call, 0)?;
    let is_date = *call.args[0].data_type() == DataType::Date32;
    each::<Text>(call.rows, |row| {
        let Some(local) = moments.local(row) else { return Ok(None) };
        if is_date {
            return Ok(Some(local.format("%Y-%m-%d").to_string()));
        }
        let offset = match (moments.zone, moments.offset(row)) {
            (Some(_), Some(0)) => "Z".to_owned(),
            (Some(_), Some(seconds)) => offset_text(seconds, ":"),
            _ => String::new(),
        };
        Ok(Some(format!("{}{offset}", local.format("%Y-%m-%dT%H:%M:%S%.3f"))))
    })
}

fn zone_types(given: &Given) -> Result<Types> {
    match given.types {
        [kind, name]
            if is_text(name) && matches!(kind, DataType::Timestamp(..) | DataType::Date32 | DataType::Null) =>
        {
            let kind = match kind {
                DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
                _ => MICROS,
            };
            Ok(Types::new(vec![kind, TEXT], literal_zone(given, 1)?))
        }
        _ => given.refuse(),
    }
}

fn in_zone(call: &Call, keeps_clock: bool) -> Result<ArrayRef> {
    let DataType::Timestamp(_, Some(name)) = call.returns.data_type() else { return Err(bad("a zone was planned")) };
    let (moments_in, zone) = (Moments::of(call, 0)?, zone(name)?);
    if keeps_clock && moments_in.zone.is_some() {
        return Err(bad("with_timezone: the timestamp has a zone already: use at_timezone"));
    }
    moments(call, |row| {
        let Some(value) = moments_in.micros(row) else { return Ok(None) };
        Ok(if keeps_clock { naive(value).map(|local| micros(zone.utc(local))) } else { Some(value) })
    })
}

fn last_day(call: &Call) -> Result<ArrayRef> {
    let moments = Moments::of(call, 0)?;
    each::<Day>(call.rows, |row| {
        let Some(local) = moments.local(row) else { return Ok(None) };
        let first = local.date().with_day(1).and_then(|first| first.checked_add_months(chrono::Months::new(1)));
        Ok(first.map(|next| days(next) - 1))
    })
}

fn offset(call: &Call, f: fn(i32) -> i32) -> Result<ArrayRef> {
    let moments = Moments::of(call, 0)?;
    each::<Int>(call.rows, |row| Ok(moments.offset(row).map(|seconds| f(seconds).into())))
}

fn parse_duration(call: &Call) -> Result<ArrayRef> {
    let texts = column::<Text>(call, 0)?;
    let values = texts.iter().map(|text| text.map(units::milliseconds).transpose());
    Ok(Arc::new(values.collect::<Result<DurationMillisecondArray>>()?))
}

/// `3 12:00:00.000`
pub(crate) fn durations(array: &ArrayRef) -> Result<StringArray> {
    let millis = cast(array, &DataType::Duration(TimeUnit::Millisecond))?;
    let write = |millis: i64| {
        let (sign, millis) = if millis < 0 { ("-", millis.unsigned_abs()) } else { ("", millis.unsigned_abs()) };
        let seconds = millis / 1000;
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
        format!("{sign}{days} {hours:02}:{minutes:02}:{:02}.{:03}", seconds % 60, millis % 1000)
    };
    Ok(millis.as_primitive::<DurationMillisecondType>().iter().map(|value| value.map(write)).collect())
}
