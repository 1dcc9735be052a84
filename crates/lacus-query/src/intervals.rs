//! Arithmetic of intervals as PostgreSQL does it, which the engine lacks: `interval '5 minutes' * 3`, `interval '1 hour' / 4`.
//!
//! A date plus an interval, or plus a difference of timestamps, is a timestamp; plus a number of days, it is a date. Fractions of a
//! month become days, 30 to the month, and fractions of a day become hours, 24 to the day.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, IntervalMonthDayNanoArray};
use datafusion::arrow::datatypes::{
    DataType, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use datafusion::common::{DFSchema, Result, exec_datafusion_err, exec_err, internal_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    binary_expr, cast,
};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// What a date and an interval add up to.
const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const DAYS_OF_MONTH: f64 = 30.0;
const SECONDS_OF_DAY: f64 = 86_400.0;
const MICROS_OF_SECOND: f64 = 1e6;
const NANOS_OF_MICRO: i64 = 1_000;

/// Plans the operators.
#[derive(Debug)]
pub(crate) struct Intervals;

impl ExprPlanner for Intervals {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        // Operands without a type yet, such as parameters, are left to the engine.
        let (Ok(left), Ok(right)) = (raw.left.get_type(schema), raw.right.get_type(schema)) else {
            return Ok(PlannerResult::Original(raw));
        };
        let is_interval = |kind: &DataType| matches!(kind, DataType::Interval(_));
        let is_span = |kind: &DataType| is_interval(kind) || matches!(kind, DataType::Duration(_));
        let (operation, interval, number) = match raw.op {
            BinaryOperator::Multiply if is_interval(&left) && right.is_numeric() => {
                (Operation::Multiply, raw.left, raw.right)
            }
            BinaryOperator::Multiply if left.is_numeric() && is_interval(&right) => {
                (Operation::Multiply, raw.right, raw.left)
            }
            BinaryOperator::Divide if is_interval(&left) && right.is_numeric() => {
                (Operation::Divide, raw.left, raw.right)
            }
            BinaryOperator::Plus | BinaryOperator::Minus if left == DataType::Date32 && is_span(&right) => {
                let op = if raw.op == BinaryOperator::Plus { Operator::Plus } else { Operator::Minus };
                return Ok(PlannerResult::Planned(binary_expr(cast(raw.left, TIMESTAMP), op, raw.right)));
            }
            BinaryOperator::Plus if is_span(&left) && right == DataType::Date32 => {
                return Ok(PlannerResult::Planned(raw.left + cast(raw.right, TIMESTAMP)));
            }
            BinaryOperator::Plus | BinaryOperator::Minus if left == DataType::Date32 && right.is_integer() => {
                let op = if raw.op == BinaryOperator::Plus { Operator::Plus } else { Operator::Minus };
                return Ok(PlannerResult::Planned(in_days(raw.left, op, raw.right)));
            }
            BinaryOperator::Plus if left.is_integer() && right == DataType::Date32 => {
                return Ok(PlannerResult::Planned(in_days(raw.left, Operator::Plus, raw.right)));
            }
            _ => return Ok(PlannerResult::Original(raw)),
        };
        let arguments = vec![cast(interval, INTERVAL), cast(number, DataType::Float64)];
        Ok(PlannerResult::Planned(ScalarUDF::new_from_impl(Scaled::new(operation)).call(arguments)))
    }
}

/// A date and a number of days. The engine makes nanoseconds of the days, which are too many after 292 years (DataFusion 54.1).
fn in_days(left: Expr, op: Operator, right: Expr) -> Expr {
    let days = binary_expr(cast(left, DataType::Int64), op, cast(right, DataType::Int64));
    cast(cast(days, DataType::Int32), DataType::Date32)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Multiply,
    Divide,
}

/// An operator as a function.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Scaled {
    operation: Operation,
    signature: Signature,
}

impl Scaled {
    fn new(operation: Operation) -> Self {
        Self { operation, signature: Signature::exact(vec![INTERVAL, DataType::Float64], Volatility::Immutable) }
    }

    fn scaled(&self, interval: IntervalMonthDayNano, number: f64) -> Result<IntervalMonthDayNano> {
        match self.operation {
            Operation::Divide if number == 0.0 => exec_err!("division by zero"),
            operation => {
                scaled(interval, operation, number).ok_or_else(|| exec_datafusion_err!("interval out of range"))
            }
        }
    }
}

impl ScalarUDFImpl for Scaled {
    fn name(&self) -> &str {
        match self.operation {
            Operation::Multiply => "interval_times",
            Operation::Divide => "interval_divided",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let [intervals, numbers] = columns.as_slice() else {
            return internal_err!("{} has {} arguments", self.name(), columns.len());
        };
        let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
        let pairs = intervals.iter().zip(numbers.as_primitive::<Float64Type>().iter());
        let found = pairs.map(|pair| match pair {
            (Some(interval), Some(number)) => self.scaled(interval, number).map(Some),
            _ => Ok(None),
        });
        let found: ArrayRef = Arc::new(found.collect::<Result<IntervalMonthDayNanoArray>>()?);
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?));
        }
        Ok(ColumnarValue::Array(found))
    }

    /// As the operator it stands for.
    fn display_name(&self, args: &[Expr]) -> Result<String> {
        self.schema_name(args)
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let sign = if self.operation == Operation::Multiply { '*' } else { '/' };
        let names: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(names.join(&format!(" {sign} ")))
    }
}

/// None if the result is larger than any interval.
fn scaled(interval: IntervalMonthDayNano, operation: Operation, number: f64) -> Option<IntervalMonthDayNano> {
    let times = |value: f64| if operation == Operation::Multiply { value * number } else { value / number };
    let months = times(f64::from(interval.months));
    let days = times(f64::from(interval.days));
    // The fractions: of months, in days, and of days, in seconds. They are rounded, because 0.1 of anything is not exact.
    let of_months = rounded((months - months.trunc()) * DAYS_OF_MONTH);
    let seconds = rounded((days - days.trunc() + of_months - of_months.trunc()) * SECONDS_OF_DAY);
    let more_days = (seconds / SECONDS_OF_DAY).trunc();
    let seconds = seconds - more_days * SECONDS_OF_DAY;
    let micros = times((interval.nanoseconds / NANOS_OF_MICRO) as f64) + seconds * MICROS_OF_SECOND;
    let nanoseconds = whole(micros.round_ties_even(), i64::MAX as f64)?.checked_mul(NANOS_OF_MICRO)?;
    let most = f64::from(i32::MAX);
    let months = i32::try_from(whole(months.trunc(), most)?).ok()?;
    let days = i32::try_from(whole(days.trunc() + of_months.trunc() + more_days, most)?).ok()?;
    Some(IntervalMonthDayNano { months, days, nanoseconds })
}

/// Rounded to six digits after the point: microseconds, if the value is in seconds.
fn rounded(value: f64) -> f64 {
    (value * MICROS_OF_SECOND).round_ties_even() / MICROS_OF_SECOND
}

/// The value as an integer, if it is less than `most` in absolute value.
fn whole(value: f64, most: f64) -> Option<i64> {
    (value.abs() < most).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::{IntervalMonthDayNano, Operation, scaled};

    fn check(
        operation: Operation,
        (months, days, micros): (i32, i32, i64),
        number: f64,
        expected: Option<(i32, i32, i64)>,
    ) {
        let interval = |months, days, micros: i64| IntervalMonthDayNano { months, days, nanoseconds: micros * 1_000 };
        let found = scaled(interval(months, days, micros), operation, number);
        assert_eq!(found, expected.map(|(months, days, micros)| interval(months, days, micros)));
    }

    #[test]
    fn parts_go_down_to_smaller_units() {
        use Operation::{Divide, Multiply};
        let hour = 3_600_000_000;
        for (operation, interval, number, expected) in [
            (Multiply, (0, 0, 300_000_000), 3.0, Some((0, 0, 900_000_000))),
            (Multiply, (0, 1, 0), 1.5, Some((0, 1, 12 * hour))),
            (Multiply, (1, 0, 0), 1.5, Some((1, 15, 0))),
            (Multiply, (1, 0, 0), 0.1, Some((0, 3, 0))),
            (Multiply, (1, 2, hour), -2.0, Some((-2, -4, -2 * hour))),
            (Multiply, (0, 0, 1), 0.5, Some((0, 0, 0))),
            (Multiply, (0, 1, 0), 1e12, None),
            (Multiply, (0, 0, hour), f64::NAN, None),
            (Multiply, (0, 0, hour), f64::INFINITY, None),
            (Divide, (0, 0, hour), 4.0, Some((0, 0, hour / 4))),
            (Divide, (1, 0, 0), 60.0, Some((0, 0, 12 * hour))),
            (Divide, (0, 1, 0), 3.0, Some((0, 0, 8 * hour))),
        ] {
            check(operation, interval, number, expected);
        }
    }
}
