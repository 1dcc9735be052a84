//! Dates, times and timestamps as PostgreSQL sends them, in text and binary: `0044-03-15 BC`, `10000-01-01 00:00:00`, `24:00:00`.
//!
//! The library that encodes Arrow's values sends null for what its calendar has not. What PostgreSQL has is sent here, and
//! what it has not is an error: never null.

use std::error::Error as StdError;

use bytes::{BufMut, BytesMut};
use chrono::{Datelike, NaiveDate};
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Date32Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType};
use lacus_query::SqlError;
use pgwire::api::Type;
use pgwire::types::ToSqlText;
use pgwire::types::format::FormatOptions;
use postgres_types::{IsNull, Kind, ToSql, to_sql_checked};

/// Days from 1970 to 2000, PostgreSQL's epoch.
pub(crate) const DAYS_TO_2000: i32 = 10_957;
/// Microseconds from 1970 to 2000.
pub(crate) const MICROS_TO_2000: i64 = 946_684_800_000_000;

const MICROS_OF_SECOND: i64 = 1_000_000;
pub(crate) const MICROS_OF_DAY: i64 = 86_400 * MICROS_OF_SECOND;
/// The calendar repeats after 400 years.
const DAYS_OF_CYCLE: i64 = 146_097;
const YEARS_OF_CYCLE: i64 = 400;
/// PostgreSQL's first day: 24 November 4714 BC.
const FIRST_DAY: i32 = -2_440_588;
/// The last one: 31 December 5874897.
const LAST_DAY: i32 = 2_145_042_905;
/// PostgreSQL's first microsecond. Its last one is later than any of ours.
const FIRST_MICROS: i64 = -2_440_588 * MICROS_OF_DAY;

/// A date, time or timestamp within PostgreSQL's range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Days since 1970.
    Date(i32),
    /// µs since midnight.
    Time(i64),
    /// µs since 1970, wherever that is.
    Timestamp(i64),
    /// µs since 1970 in UTC.
    TimestampUtc(i64),
}

/// The moment in a row that is not null; none in arrays of other types.
///
/// # Errors
/// 22008 if PostgreSQL has no such moment.
pub(crate) fn moment(values: &ArrayRef, row: usize) -> Result<Option<Moment>, SqlError> {
    let micros = || values.as_primitive::<TimestampMicrosecondType>().value(row);
    let moment = match values.data_type() {
        DataType::Date32 => Moment::Date(values.as_primitive::<Date32Type>().value(row)),
        DataType::Time64(TimeUnit::Microsecond) => {
            Moment::Time(values.as_primitive::<Time64MicrosecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => Moment::Timestamp(micros()),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Moment::TimestampUtc(micros()),
        _ => return Ok(None),
    };
    moment.checked().map(Some)
}

/// The moments in a row, which is not null, of an array of lists; none in arrays of other types.
///
/// # Errors
/// 22008 if PostgreSQL has not all of them.
pub(crate) fn moments(values: &ArrayRef, row: usize) -> Result<Option<Vec<Option<Moment>>>, SqlError> {
    let Some(lists) = values.as_list_opt::<i32>() else { return Ok(None) };
    let is_moment = |kind: &DataType| {
        matches!(
            kind,
            DataType::Date32 | DataType::Time64(TimeUnit::Microsecond) | DataType::Timestamp(TimeUnit::Microsecond, _)
        )
    };
    if !is_moment(&lists.value_type()) {
        return Ok(None);
    }
    let elements = lists.value(row);
    let mut moments = Vec::with_capacity(elements.len());
    for row in 0..elements.len() {
        moments.push(if elements.is_null(row) { None } else { moment(&elements, row)? });
    }
    Ok(Some(moments))
}

impl Moment {
    /// The moment, if it is within PostgreSQL's range.
    ///
    /// # Errors
    /// 22008 if it has not.
    pub(crate) fn checked(self) -> Result<Self, SqlError> {
        let (what, count, is_there) = match self {
            Self::Date(days) => ("date", i64::from(days), (FIRST_DAY..=LAST_DAY).contains(&days)),
            Self::Time(micros) => ("time", micros, (0..=MICROS_OF_DAY).contains(&micros)),
            Self::Timestamp(micros) | Self::TimestampUtc(micros) => ("timestamp", micros, micros >= FIRST_MICROS),
        };
        if is_there {
            return Ok(self);
        }
        let counted = match self {
            Self::Date(_) => "days since 1970",
            Self::Time(_) => "microseconds since midnight",
            Self::Timestamp(_) | Self::TimestampUtc(_) => "microseconds since 1970",
        };
        Err(SqlError::invalid("22008", format!("{what} out of range: {count} {counted}"))
            .with_hint("the Postgres protocol has no such value: cast it to a number, or leave it out"))
    }

    fn text(self) -> String {
        let (micros, zone) = match self {
            Self::Date(days) => {
                let (date, era) = date(days.into());
                return date + era;
            }
            Self::Time(micros) => return clock(micros),
            Self::Timestamp(micros) => (micros, ""),
            Self::TimestampUtc(micros) => (micros, "+00"),
        };
        let (date, era) = date(micros.div_euclid(MICROS_OF_DAY));
        format!("{date} {}{zone}{era}", clock(micros.rem_euclid(MICROS_OF_DAY)))
    }
}

/// `2026-11-22`, and the era if it is BC.
fn date(days: i64) -> (String, &'static str) {
    let within = i32::try_from(days.rem_euclid(DAYS_OF_CYCLE)).ok().and_then(NaiveDate::from_epoch_days);
    let within = within.expect("a calendar has the 400 years since 1970");
    let year = i64::from(within.year()) + days.div_euclid(DAYS_OF_CYCLE) * YEARS_OF_CYCLE;
    // There is no year 0: it is 1 BC.
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    (format!("{year:04}-{:02}-{:02}", within.month(), within.day()), era)
}

/// `10:20:30.5`.
fn clock(micros: i64) -> String {
    let (seconds, micros) = (micros / MICROS_OF_SECOND, micros % MICROS_OF_SECOND);
    let text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if micros == 0 {
        return text;
    }
    let fraction = format!("{micros:06}");
    format!("{text}.{}", fraction.trim_end_matches('0'))
}

impl ToSqlText for Moment {
    fn to_sql_text(
        &self,
        kind: &Type,
        out: &mut BytesMut,
        _options: &FormatOptions,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let text = self.text();
        // Elements of an array are quoted if they contain a blank.
        let quote = if matches!(kind.kind(), Kind::Array(_)) && text.contains(' ') { "\"" } else { "" };
        out.put_slice(format!("{quote}{text}{quote}").as_bytes());
        Ok(IsNull::No)
    }
}

impl ToSql for Moment {
    fn to_sql(&self, _kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match *self {
            Self::Date(days) => out.put_i32(days - DAYS_TO_2000),
            Self::Time(micros) => out.put_i64(micros),
            Self::Timestamp(micros) | Self::TimestampUtc(micros) => out.put_i64(micros - MICROS_TO_2000),
        }
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::DATE | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ)
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Date32Array, ListArray, Time64MicrosecondArray, TimestampMicrosecondArray};

    use super::*;

    fn in_binary(moment: Moment) -> Vec<u8> {
        let mut out = BytesMut::new();
        moment.to_sql(&Type::DATE, &mut out).unwrap();
        out.to_vec()
    }

    #[test]
    fn moments_are_written_as_postgresql_writes_them() {
        for (moment, text) in [
            (Moment::Date(0), "1970-01-01"),
            (Moment::Date(20_779), "2026-11-22"),
            (Moment::Date(11_016), "2000-02-29"),
            (Moment::Date(-719_162), "0001-01-01"),
            (Moment::Date(-719_163), "0001-12-31 BC"),
            (Moment::Date(-735_160), "0044-03-15 BC"),
            (Moment::Date(2_932_897), "10000-01-01"),
            (Moment::Date(FIRST_DAY), "4714-11-24 BC"),
            (Moment::Date(LAST_DAY), "5874897-12-31"),
            (Moment::Time(0), "00:00:00"),
            (Moment::Time(37_200_000_000), "10:20:00"),
            (Moment::Time(37_230_500_000), "10:20:30.5"),
            (Moment::Time(37_230_123_456), "10:20:30.123456"),
            (Moment::Time(MICROS_OF_DAY), "24:00:00"),
            (Moment::Timestamp(-1), "1969-12-31 23:59:59.999999"),
            (Moment::Timestamp(253_402_300_800_000_000), "10000-01-01 00:00:00"),
            (Moment::Timestamp(i64::MAX), "294247-01-10 04:00:54.775807"),
            (Moment::Timestamp(-735_160 * MICROS_OF_DAY), "0044-03-15 00:00:00 BC"),
            (Moment::TimestampUtc(1_626_091_318_732_726), "2021-07-12 12:01:58.732726+00"),
            (Moment::TimestampUtc(FIRST_MICROS), "4714-11-24 00:00:00+00 BC"),
        ] {
            assert_eq!(moment.checked().map_err(|error| error.to_string()), Ok(moment));
            assert_eq!(moment.text(), text);
        }
    }

    #[test]
    fn the_binary_form_counts_from_2000() {
        assert_eq!(in_binary(Moment::Date(FIRST_DAY)), (-2_451_545_i32).to_be_bytes());
        assert_eq!(in_binary(Moment::Date(LAST_DAY)), 2_145_031_948_i32.to_be_bytes());
        assert_eq!(in_binary(Moment::Time(MICROS_OF_DAY)), MICROS_OF_DAY.to_be_bytes());
        assert_eq!(in_binary(Moment::Timestamp(MICROS_TO_2000)), 0_i64.to_be_bytes());
        assert_eq!(in_binary(Moment::TimestampUtc(FIRST_MICROS)), (-211_813_488_000_000_000_i64).to_be_bytes());
    }

    #[test]
    fn what_postgresql_has_not_is_an_error_and_not_null() {
        let dates = [FIRST_DAY - 1, LAST_DAY + 1, i32::MIN, i32::MAX].map(|days| vec![days]);
        let dates = dates.map(|days| Arc::new(Date32Array::from(days)) as ArrayRef);
        let times = [-1, MICROS_OF_DAY + 1, i64::MAX].map(|micros| vec![micros]);
        let times = times.map(|micros| Arc::new(Time64MicrosecondArray::from(micros)) as ArrayRef);
        let micros = [FIRST_MICROS - 1, i64::MIN].map(|micros| vec![micros]);
        let micros = micros.map(|micros| Arc::new(TimestampMicrosecondArray::from(micros)) as ArrayRef);
        for values in dates.iter().chain(&times).chain(&micros) {
            let error = moment(values, 0).err().unwrap_or_else(|| panic!("{values:?}"));
            assert_eq!(error.sqlstate(), "22008", "{error}");
        }
    }

    #[test]
    fn lists_of_moments_are_arrays() {
        let lists = vec![Some(vec![Some(0), None, Some(-735_160)]), Some(vec![Some(i32::MAX)])];
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Date32Type, _, _>(lists));
        let found = moments(&lists, 0).unwrap().unwrap();
        assert_eq!(found, [Some(Moment::Date(0)), None, Some(Moment::Date(-735_160))]);
        let mut text = BytesMut::new();
        found.to_sql_text(&Type::DATE_ARRAY, &mut text, &FormatOptions::default()).unwrap();
        assert_eq!(text, "{1970-01-01,NULL,\"0044-03-15 BC\"}");
        assert_eq!(moments(&lists, 1).err().unwrap().sqlstate(), "22008");
    }
}
