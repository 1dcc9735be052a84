//! `date_trunc`, `date_bin` and `to_timestamp` in every year.
//!
//! DataFusion's count nanoseconds, which begin in 1677 and end in 2262 (54.1): beyond, the first fails, the second comes to another
//! century, and the third to the last moment that there is. Moments that are near are left to them.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, FieldRef, TimestampMicrosecondType};
use datafusion::error::Result;
use datafusion::functions::datetime::date_bin::DateBinFunc;
use datafusion::functions::datetime::date_trunc::DateTruncFunc;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use datafusion::scalar::ScalarValue;

use super::units::{self, Unit};
use super::{MICROS_MAX, Zone, known, micros, zone};
use crate::scalar::{Body, DOUBLE, Double, MICROS, Micros, Scalar, bad, exactly, map1};

/// Microseconds from 1970 that stay within nanoseconds when they are cut off: those of the years 1685 to 2254.
const NEAR: u64 = 9_000_000_000_000_000;
const NANOS_OF_MICRO: i128 = 1_000;
const NANOS_OF_MILLI: i128 = 1_000_000;
const NANOS_OF_DAY: i128 = 86_400_000_000_000;

/// Whether some of these moments are not near.
fn are_far(moments: &ColumnarValue) -> bool {
    match moments {
        ColumnarValue::Array(array) => {
            let moments = array.as_primitive_opt::<TimestampMicrosecondType>();
            moments.is_some_and(|moments| moments.values().iter().any(|moment| moment.unsigned_abs() > NEAR))
        }
        ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(Some(moment), _)) => moment.unsigned_abs() > NEAR,
        ColumnarValue::Scalar(_) => false,
    }
}

/// Whether it is a single moment before 1970: of those DataFusion cuts milliseconds off to the later one.
fn is_early(moment: &ColumnarValue) -> bool {
    matches!(moment, ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(Some(moment), _)) if *moment < 0)
}

/// What `f` makes of each moment; it is told in which zone, if in one.
fn mapped(moments: &ColumnarValue, f: impl Fn(i64, Option<Zone>) -> Result<i64>) -> Result<ColumnarValue> {
    let array = moments.to_array(1)?;
    let name = match array.data_type() {
        DataType::Timestamp(_, name) => name.clone(),
        _ => None,
    };
    let zone = name.as_deref().map(zone).transpose()?;
    let values = array.as_primitive::<TimestampMicrosecondType>().iter();
    let found = values.map(|moment| moment.map(|moment| f(moment, zone)).transpose());
    let found: ArrayRef = Arc::new(found.collect::<Result<TimestampMicrosecondArray>>()?.with_timezone_opt(name));
    Ok(match moments {
        ColumnarValue::Array(_) => ColumnarValue::Array(found),
        ColumnarValue::Scalar(_) => ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?),
    })
}

/// The function `date_trunc`.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct DateTrunc {
    inner: DateTruncFunc,
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [ColumnarValue::Scalar(unit), moments] = args.args.as_slice() else {
            return self.inner.invoke_with_args(args);
        };
        if !are_far(moments) && !is_early(moments) {
            return self.inner.invoke_with_args(args);
        }
        match unit.try_as_str().flatten().and_then(Cut::to) {
            Some(Cut::Nothing) => Ok(moments.clone()),
            Some(Cut::To(unit)) => mapped(moments, |moment, zone| cut(unit, moment, zone)),
            None => self.inner.invoke_with_args(args),
        }
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(input)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// What is cut off.
enum Cut {
    To(Unit),
    /// Moments have microseconds.
    Nothing,
}

impl Cut {
    /// None for a unit that DataFusion does not know, either.
    fn to(unit: &str) -> Option<Self> {
        if unit.eq_ignore_ascii_case("microsecond") {
            return Some(Self::Nothing);
        }
        units::unit(unit).ok().map(Self::To)
    }
}

fn cut(unit: Unit, moment: i64, zone: Option<Zone>) -> Result<i64> {
    let utc = known(moment)?;
    let local = zone.map_or(utc, |zone| zone.local(utc));
    let cut = units::cut(unit, local).ok_or_else(|| bad("timestamp out of range"))?;
    Ok(micros(zone.map_or(cut, |zone| zone.utc(cut))))
}

/// The function `date_bin`.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct DateBin {
    inner: DateBinFunc,
}

impl ScalarUDFImpl for DateBin {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let origin = match args.args.get(2) {
            None => Some(0),
            Some(ColumnarValue::Scalar(ScalarValue::TimestampNanosecond(origin, _))) => *origin,
            Some(_) => None,
        };
        let (Some([ColumnarValue::Scalar(stride), moments]), Some(origin)) = (args.args.get(..2), origin) else {
            return self.inner.invoke_with_args(args);
        };
        if stride.is_null() || !are_far(moments) {
            return self.inner.invoke_with_args(args);
        }
        match nanos_of(stride) {
            // DataFusion says what is wrong with it.
            Some(0) => self.inner.invoke_with_args(args),
            Some(stride) if stride > 0 => mapped(moments, |moment, _| binned(moment, stride, origin.into())),
            _ => Err(bad(
                "timestamp out of range: intervals of date_bin that are negative, or have months, reach to the year 2254",
            )),
        }
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(input)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// Nanoseconds of an interval without months.
fn nanos_of(interval: &ScalarValue) -> Option<i128> {
    match interval {
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            Some(i128::from(interval.days) * NANOS_OF_DAY + i128::from(interval.nanoseconds))
        }
        ScalarValue::IntervalDayTime(Some(interval)) => {
            Some(i128::from(interval.days) * NANOS_OF_DAY + i128::from(interval.milliseconds) * NANOS_OF_MILLI)
        }
        _ => None,
    }
}

/// Where the interval begins that a moment is in; `stride` and `origin` are nanoseconds.
fn binned(moment: i64, stride: i128, origin: i128) -> Result<i64> {
    let since = i128::from(moment) * NANOS_OF_MICRO - origin;
    let begin = origin + since.div_euclid(stride) * stride;
    i64::try_from(begin.div_euclid(NANOS_OF_MICRO)).map_err(|_| bad("timestamp out of range"))
}

/// `to_timestamp` of a number: seconds from 1970.
pub(crate) fn of_seconds() -> ScalarUDF {
    let body = Body::new(
        |given| exactly(given, &[DOUBLE], 1, MICROS),
        |call| map1::<Double, Micros>(call, |seconds| moment_of(seconds).map(Some)),
    );
    ScalarUDF::new_from_impl(Scalar::named(&["seconds_to_timestamp"], body))
}

fn moment_of(seconds: f64) -> Result<i64> {
    let micros = (seconds * 1e6).round_ties_even();
    if micros.is_nan() || micros.abs() > MICROS_MAX as f64 {
        return Err(bad("timestamp out of range"));
    }
    Ok(micros as i64)
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDateTime;

    use super::*;

    fn moment(text: &str) -> i64 {
        micros(NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").unwrap())
    }

    #[test]
    fn moments_are_cut_off_in_every_year() {
        for (unit, from, expected) in [
            ("year", "9999-12-31 23:59:59", "9999-01-01 00:00:00"),
            ("quarter", "2500-08-31 10:00:00", "2500-07-01 00:00:00"),
            ("week", "3000-01-01 10:00:00", "2999-12-30 00:00:00"),
            ("day", "2500-08-31 10:00:00.5", "2500-08-31 00:00:00"),
            ("hour", "0001-01-01 10:59:59", "0001-01-01 10:00:00"),
            ("year", "1677-12-01 00:00:00", "1677-01-01 00:00:00"),
            ("millisecond", "1969-12-31 23:59:59.9995", "1969-12-31 23:59:59.999"),
        ] {
            let Some(Cut::To(unit)) = Cut::to(unit) else { panic!("{unit} is none") };
            assert_eq!(cut(unit, moment(from), None).unwrap(), moment(expected), "{from}");
        }
        let east = zone("+02:00").unwrap();
        let utc = cut(Unit::Months(1), moment("2500-08-31 23:00:00"), Some(east)).unwrap();
        assert_eq!(utc, moment("2500-08-31 22:00:00"));
        assert!(cut(Unit::Months(1), i64::MAX, None).is_err() && cut(Unit::Months(1), i64::MIN, None).is_err());
    }

    #[test]
    fn intervals_begin_at_their_origin_in_every_year() {
        let stride = nanos_of(&ScalarValue::new_interval_mdn(0, 0, 900_000_000_000)).unwrap();
        assert_eq!(binned(moment("9999-12-31 10:20:30"), stride, 0).unwrap(), moment("9999-12-31 10:15:00"));
        assert_eq!(binned(moment("0001-01-01 00:00:01"), stride, 0).unwrap(), moment("0001-01-01 00:00:00"));
        assert_eq!(nanos_of(&ScalarValue::new_interval_mdn(1, 0, 0)), None);
        assert!(binned(i64::MIN, i128::from(i64::MAX), 0).is_err());
    }

    #[test]
    fn seconds_are_moments_or_refused() {
        assert_eq!(moment_of(32_503_680_000.25).unwrap(), moment("3000-01-01 00:00:00.25"));
        assert_eq!(moment_of(-0.000_001_4).unwrap(), -1);
        for seconds in [f64::NAN, f64::INFINITY, 1e13, -1e18] {
            assert!(moment_of(seconds).is_err(), "{seconds}");
        }
    }
}
