//! `sequence(from, to[, step])`: of numbers, or of dates and timestamps with an interval as step.

use std::sync::Arc;

use chrono::{Duration, Months};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Date32Array, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit};
use datafusion::error::Result;

use super::ROW_ELEMENTS_MAX;
use crate::dates::{Moments, days, moment_type};
use crate::lists;
use crate::scalar::{Call, Given, INT, Int, Kind, Types, array_of, bad, column};

const STEP: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

pub(super) fn types(given: &Given) -> Result<Types> {
    match given.types {
        [from, to, rest @ ..]
            if from.is_integer() && to.is_integer() && rest.iter().all(DataType::is_integer) && rest.len() < 2 =>
        {
            Ok(Types::new(vec![INT; given.types.len()], array_of(INT)))
        }
        [from, to, rest @ ..] if rest.len() < 2 && rest.iter().all(|step| matches!(step, DataType::Interval(_))) => {
            let (Some(from), Some(_)) = (moment_type(from), moment_type(to)) else { return given.refuse() };
            let mut arguments = vec![from.clone(), from.clone()];
            arguments.extend(rest.iter().map(|_| STEP));
            Ok(Types::new(arguments, array_of(from)))
        }
        _ => given.refuse(),
    }
}

fn too_long() -> datafusion::error::DataFusionError {
    bad(format!("sequence: at most {ROW_ELEMENTS_MAX} elements"))
}

pub(super) fn sequence(call: &Call) -> Result<ArrayRef> {
    if call.args[0].data_type() != &INT {
        return moments(call);
    }
    let (from, to) = (column::<Int>(call, 0)?, column::<Int>(call, 1)?);
    let steps = (call.args.len() == 3).then(|| column::<Int>(call, 2)).transpose()?;
    let (mut values, mut lengths) = (Vec::new(), Vec::new());
    for row in 0..call.rows {
        if call.args.iter().any(|arg| arg.is_null(row)) {
            lengths.push(None);
            continue;
        }
        let (from, to) = (i128::from(from.value(row)), i128::from(to.value(row)));
        let step = i128::from(steps.map_or(if from <= to { 1 } else { -1 }, |steps| steps.value(row)));
        if step == 0 || (to - from).signum() == -step.signum() {
            return Err(bad("sequence: the step must lead from the first value to the last"));
        }
        let count = (to - from) / step + 1;
        if count > i128::from(ROW_ELEMENTS_MAX) {
            return Err(too_long());
        }
        lengths.push(Some(count as usize));
        values.extend((0..count).map(|index| Some((from + index * step) as i64)));
    }
    lists::lists_of(&Int::collect(values), &lengths, &lists::element(call.returns.data_type())?)
}

fn moments(call: &Call) -> Result<ArrayRef> {
    let (from, to) = (Moments::of(call, 0)?, Moments::of(call, 1)?);
    let steps = (call.args.len() == 3).then(|| call.args[2].as_primitive::<IntervalMonthDayNanoType>());
    let is_date = *call.args[0].data_type() == DataType::Date32;
    let (mut values, mut lengths) = (Vec::new(), Vec::new());
    for row in 0..call.rows {
        let (Some(first), Some(last)) = (from.local(row), to.local(row)) else {
            lengths.push(None);
            continue;
        };
        let forward = IntervalMonthDayNano { months: 0, days: if first <= last { 1 } else { -1 }, nanoseconds: 0 };
        let step = steps.map_or(forward, |steps| steps.value(row));
        let at = |index: i32| {
            let months = step.months.checked_mul(index)?;
            let moved = if months < 0 {
                first.checked_sub_months(Months::new(months.unsigned_abs()))?
            } else {
                first.checked_add_months(Months::new(months.unsigned_abs()))?
            };
            let days = Duration::try_days(i64::from(step.days) * i64::from(index))?;
            moved
                .checked_add_signed(days)?
                .checked_add_signed(Duration::nanoseconds(step.nanoseconds.checked_mul(index.into())?))
        };
        let (Some(second), true) = (at(1), steps.is_none_or(|steps| steps.is_valid(row))) else {
            return Err(bad("sequence: the step is out of range"));
        };
        if second == first || (first != last && (second > first) != (last > first)) {
            return Err(bad("sequence: the step must lead from the first value to the last"));
        }
        let start = values.len();
        for index in 0.. {
            let Some(moment) = at(index) else { break };
            if (second > first && moment > last) || (second < first && moment < last) {
                break;
            }
            if i64::from(index) >= ROW_ELEMENTS_MAX {
                return Err(too_long());
            }
            values.push(moment);
        }
        lengths.push(Some(values.len() - start));
    }
    let element = lists::element(call.returns.data_type())?;
    let array: ArrayRef = if is_date {
        Arc::new(values.iter().map(|moment| Some(days(moment.date()))).collect::<Date32Array>())
    } else {
        let micros = TimestampMicrosecondArray::from_iter_values(values.iter().map(|moment| from.back(*moment)));
        let zone = match element.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, zone) => zone.clone(),
            _ => None,
        };
        Arc::new(micros.with_timezone_opt(zone))
    };
    lists::lists_of(&cast(&array, element.data_type())?, &lengths, &element)
}
