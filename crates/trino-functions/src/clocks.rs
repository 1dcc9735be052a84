//! Times of day: `TIME '20:00' + INTERVAL '5 hours'` is 01:00, as in PostgreSQL and Trino.
//!
//! DataFusion (54.1) takes the time for an interval, too, and adds both: 25 hours. And it compares only times of one unit.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Time64MicrosecondArray};
use datafusion::arrow::datatypes::{
    DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
};
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, ScalarUDF, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use crate::scalar::{Body, Call, Scalar, Types};

const CLOCK: DataType = DataType::Time64(TimeUnit::Microsecond);
const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// Plans a time of day and an interval.
#[derive(Debug)]
pub(crate) struct Clocks;

impl ExprPlanner for Clocks {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let is_sum = match raw.op {
            BinaryOperator::Plus => true,
            BinaryOperator::Minus => false,
            _ => return Ok(PlannerResult::Original(compared(raw, schema))),
        };
        // In a long sum the right side is the short one, and mostly none of these.
        let Some(right) = raw.right.get_type(schema).ok().filter(|kind| is_interval(kind) || is_clock(kind)) else {
            return Ok(PlannerResult::Original(raw));
        };
        let Ok(left) = raw.left.get_type(schema) else { return Ok(PlannerResult::Original(raw)) };
        if is_clock(&left) && is_interval(&right) {
            let moved = if is_sum { later() } else { earlier() };
            return Ok(PlannerResult::Planned(moved.call(vec![raw.left, raw.right])));
        }
        if is_sum && is_interval(&left) && is_clock(&right) {
            return Ok(PlannerResult::Planned(later().call(vec![raw.right, raw.left])));
        }
        Ok(PlannerResult::Original(raw))
    }
}

/// A comparison of times of day of one type: `current_time` has nanoseconds, and is compared with no others by DataFusion.
fn compared(mut raw: RawBinaryExpr, schema: &DFSchema) -> RawBinaryExpr {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    let clock = |expr: &Expr| expr.get_type(schema).ok().filter(is_clock);
    if !matches!(raw.op, Eq | NotEq | Lt | LtEq | Gt | GtEq) {
        return raw;
    }
    if let Some((right, left)) = clock(&raw.right).and_then(|right| Some((right, clock(&raw.left)?)))
        && left != right
    {
        (raw.left, raw.right) = (cast(raw.left, CLOCK), cast(raw.right, CLOCK));
    }
    raw
}

fn is_clock(kind: &DataType) -> bool {
    matches!(kind, DataType::Time32(_) | DataType::Time64(_))
}

fn is_interval(kind: &DataType) -> bool {
    matches!(kind, DataType::Interval(_))
}

fn later() -> ScalarUDF {
    function(&["time_plus_interval"], Body::new(|_| Ok(types()), |call| Ok(moved(call, 1))))
}

fn earlier() -> ScalarUDF {
    function(&["time_minus_interval"], Body::new(|_| Ok(types()), |call| Ok(moved(call, -1))))
}

fn function(names: &'static [&'static str], body: Body) -> ScalarUDF {
    ScalarUDF::new_from_impl(Scalar::named(names, body))
}

fn types() -> Types {
    Types::new(vec![CLOCK, INTERVAL], CLOCK)
}

/// The time of day so much later, or earlier. Months and days lead to the same one.
fn moved(call: &Call, direction: i64) -> ArrayRef {
    let clocks = call.args[0].as_primitive::<Time64MicrosecondType>();
    let intervals = call.args[1].as_primitive::<IntervalMonthDayNanoType>();
    let moved = |(clock, interval): (Option<i64>, Option<IntervalMonthDayNano>)| {
        Some(turned(clock?, direction, interval?.nanoseconds))
    };
    let times: Time64MicrosecondArray = clocks.iter().zip(intervals).map(moved).collect();
    Arc::new(times)
}

fn turned(clock: i64, direction: i64, nanos: i64) -> i64 {
    (clock + direction * (nanos / 1000)).rem_euclid(DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_stays_within_a_day() {
        let hour = DAY / 24;
        for (clock, direction, hours, expected) in [(10, 1, 15, 1), (10, -1, 11, 23), (0, 1, 48, 0), (5, -1, -49, 6)] {
            assert_eq!(turned(clock * hour, direction, hours * hour * 1000), expected * hour, "{clock} {hours}");
        }
    }
}
