//! Intervals and differences of timestamps, compared and taken apart as PostgreSQL does.
//!
//! DataFusion compares intervals by their months, then their days, then their time, and makes a difference of timestamps an
//! interval of hours: seven years of them are no longer than a day. Here both are compared as spans of microseconds, a month
//! of 30 days and a day of 24 hours; so they are sorted, and `min` and `max` are the first of them. `date_part` of them gives
//! days, hours below 24, and seconds with their fraction; of all else it is DataFusion's.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, DurationMicrosecondArray, Float64Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, StringArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::cast_utils::IntervalUnit as Unit;
use datafusion::arrow::datatypes::{
    DataType, FieldRef, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions::datetime::date_part::DatePartFunc;
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, Cast, InSubquery, SetComparison, Sort};
use datafusion::logical_expr::expr_rewriter::{FunctionRewrite, NamePreserver};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult};
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ExprSchemable, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Subquery, lit,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::scalar::ScalarValue;

use crate::comparisons::compared;
use crate::scalar::{Body, Call, DOUBLE, Given, INT, Run, Scalar, Types, bad};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// For `epoch` a year has 365.25 days, although comparisons count 360.
const EPOCH_YEAR: i128 = 365 * DAY as i128 + DAY as i128 / 4;

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const DURATION: DataType = DataType::Duration(TimeUnit::Microsecond);

/// Functions that return the longest or shortest of their arguments.
const EXTREMES: [&str; 2] = ["greatest", "least"];

/// Makes comparisons of intervals go by length.
#[derive(Debug)]
pub(crate) struct Intervals {
    /// Whether `greatest` and `least` with a null are null, as in Trino.
    pub(crate) is_trino: bool,
}

impl FunctionRewrite for Intervals {
    fn name(&self) -> &str {
        "intervals"
    }

    fn rewrite(&self, mut expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        refuse(&expr, schema)?;
        let is_changed = match &mut expr {
            // The engine can negate intervals, but not durations.
            Expr::Negative(value) if is_duration(value, schema) => {
                let zero = lit(ScalarValue::DurationMicrosecond(Some(0)));
                expr = zero - span(std::mem::take(value.as_mut()));
                true
            }
            Expr::ScalarFunction(call) if EXTREMES.contains(&call.func.name()) && has_interval(&call.args, schema) => {
                call.func = Arc::new(self.extreme(call.func.name() == "greatest"));
                true
            }
            Expr::AggregateFunction(call) if gives_extreme(call.func.name()) => first_by_length(call, schema),
            other => compared(other).is_some_and(|compared| as_durations(compared, schema)),
        };
        Ok(if is_changed { Transformed::yes(expr) } else { Transformed::no(expr) })
    }
}

impl Intervals {
    /// `greatest` or `least` for intervals.
    fn extreme(&self, is_greatest: bool) -> ScalarUDF {
        let (names, run): (&'static [&'static str], Run) = match (is_greatest, self.is_trino) {
            (true, true) => (&["greatest_interval"], |call| extreme(call, Ordering::Greater, true)),
            (true, false) => (&["greatest_interval"], |call| extreme(call, Ordering::Greater, false)),
            (false, true) => (&["least_interval"], |call| extreme(call, Ordering::Less, true)),
            (false, false) => (&["least_interval"], |call| extreme(call, Ordering::Less, false)),
        };
        ScalarUDF::new_from_impl(Scalar::named(names, Body::new(extreme_types, run)))
    }
}

/// Refuses comparisons that would go by months first and can't be rewritten.
fn refuse(expr: &Expr, schema: &DFSchema) -> Result<()> {
    match expr {
        Expr::WindowFunction(call) if gives_extreme(call.fun.name()) && has_interval(&call.params.args, schema) => {
            let name = call.fun.name();
            plan_err!(
                "{name}() OVER (…) of intervals is not supported: {name}(extract(epoch FROM …)) has their seconds"
            )
        }
        Expr::InSubquery(InSubquery { expr, subquery, .. })
        | Expr::SetComparison(SetComparison { expr, subquery, .. })
            if is_interval(expr, schema) || gives_intervals(subquery) =>
        {
            plan_err!("intervals are not supported in IN (SELECT …): compare extract(epoch FROM …) of both")
        }
        _ => Ok(()),
    }
}

fn gives_extreme(aggregate: &str) -> bool {
    matches!(aggregate, "min" | "max")
}

/// Rewrites `min` or `max` of intervals as the first by length; whether it was of intervals.
fn first_by_length(call: &mut AggregateFunction, schema: &DFSchema) -> bool {
    let is_of_intervals = has_interval(&call.params.args, schema);
    if let [value] = call.params.args.as_slice()
        && is_of_intervals
    {
        // Nulls come last: the first is null only if all are.
        call.params.order_by = vec![Sort::new(span(value.clone()), call.func.name() == "min", false)];
        call.params.distinct = false;
        call.func = first_value_udaf();
    }
    is_of_intervals
}

/// Sorts intervals by their length.
#[derive(Debug)]
pub(crate) struct SortsByLength;

impl AnalyzerRule for SortsByLength {
    fn name(&self) -> &str {
        "sorts_by_length"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            let LogicalPlan::Sort(mut sort) = plan else { return Ok(Transformed::no(plan)) };
            for key in &mut sort.expr {
                if is_interval(&key.expr, sort.input.schema()) {
                    key.expr = span(std::mem::take(&mut key.expr));
                }
            }
            Ok(Transformed::yes(LogicalPlan::Sort(sort)))
        })
        .data()
    }
}

/// Gives differences of timestamps their days where they become intervals: DataFusion makes them hours, and `date_part` and
/// texts of what is computed of them would tell those.
#[derive(Debug)]
pub(crate) struct DaysOfDifferences;

impl AnalyzerRule for DaysOfDifferences {
    fn name(&self) -> &str {
        "days_of_differences"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                Ok(expr.transform_up(|part| with_days(part, &schema))?.update_data(|expr| name.restore(expr)))
            })
        })
        .data()
    }
}

fn with_days(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Cast(Cast { expr, field }) if *field.data_type() == INTERVAL && is_duration(&expr, schema) => {
            let interval = Scalar::named(&["interval_of"], Body::new(interval_types, intervals));
            Ok(Transformed::yes(ScalarUDF::new_from_impl(interval).call(vec![*expr])))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn interval_types(given: &Given) -> Result<Types> {
    match given.types {
        [kind] if is_span(kind) => Ok(Types::new(vec![kind.clone()], INTERVAL)),
        _ => given.refuse(),
    }
}

fn intervals(call: &Call) -> Result<ArrayRef> {
    let intervals = each_span(&call.args[0], |span| span.interval().ok_or_else(out_of_range))?;
    Ok(Arc::new(IntervalMonthDayNanoArray::from(intervals)))
}

fn gives_intervals(subquery: &Subquery) -> bool {
    let fields = subquery.subquery.schema().fields();
    fields.first().is_some_and(|field| matches!(field.data_type(), DataType::Interval(_)))
}

fn has_interval(args: &[Expr], schema: &DFSchema) -> bool {
    args.iter().any(|arg| is_interval(arg, schema))
}

fn is_interval(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(expr.get_type(schema), Ok(DataType::Interval(_)))
}

fn is_duration(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(expr.get_type(schema), Ok(DataType::Duration(_)))
}

fn is_span(kind: &DataType) -> bool {
    matches!(kind, DataType::Interval(_) | DataType::Duration(_))
}

/// Makes intervals, and durations of other units, durations of microseconds; whether there were any.
fn as_durations(compared: Vec<&mut Expr>, schema: &DFSchema) -> bool {
    // Operands without a type yet, such as parameters, are left to the engine.
    let types: Vec<Option<DataType>> = compared.iter().map(|expr| expr.get_type(schema).ok()).collect();
    let spans: Vec<&DataType> = types.iter().flatten().filter(|kind| is_span(kind)).collect();
    if spans.iter().all(|kind| matches!(kind, DataType::Duration(_)) && *kind == spans[0]) {
        return false;
    }
    for (expr, kind) in compared.into_iter().zip(&types) {
        if kind.as_ref().is_some_and(|kind| is_span(kind) && *kind != DURATION) {
            *expr = span(std::mem::take(expr));
        }
    }
    true
}

/// An interval or a duration as a duration of microseconds.
fn span(expr: Expr) -> Expr {
    ScalarUDF::new_from_impl(Scalar::named(&["span"], Body::new(span_types, spans))).call(vec![expr])
}

fn span_types(given: &Given) -> Result<Types> {
    match given.types {
        [kind] if is_span(kind) => Ok(Types::new(vec![kind.clone()], DURATION)),
        _ => given.refuse(),
    }
}

fn spans(call: &Call) -> Result<ArrayRef> {
    let micros = each_span(&call.args[0], |span| i64::try_from(span.micros()).map_err(|_| out_of_range()))?;
    Ok(Arc::new(DurationMicrosecondArray::from(micros)))
}

fn out_of_range() -> DataFusionError {
    bad("interval out of range")
}

fn extreme_types(given: &Given) -> Result<Types> {
    Ok(Types::new(vec![INTERVAL; given.types.len()], INTERVAL))
}

/// The longest or shortest value in each row.
fn extreme(call: &Call, wanted: Ordering, is_null_with_null: bool) -> Result<ArrayRef> {
    let columns: Vec<&IntervalMonthDayNanoArray> =
        call.args.iter().map(|arg| arg.as_primitive::<IntervalMonthDayNanoType>()).collect();
    let pick = |row: usize| {
        let mut best: Option<(i128, IntervalMonthDayNano)> = None;
        for column in &columns {
            if column.is_null(row) {
                if is_null_with_null {
                    return None;
                }
                continue;
            }
            let micros = Span::of_interval(column.value(row)).micros();
            if best.is_none_or(|(known, _)| micros.cmp(&known) == wanted) {
                best = Some((micros, column.value(row)));
            }
        }
        best.map(|(_, interval)| interval)
    };
    Ok(Arc::new((0..call.rows).map(pick).collect::<IntervalMonthDayNanoArray>()))
}

/// Plans `EXTRACT` with [`DatePart`].
#[derive(Debug)]
pub(crate) struct Extracts;

impl ExprPlanner for Extracts {
    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(ScalarUDF::new_from_impl(DatePart::default()).call(args)))
    }
}

/// The function `date_part`.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct DatePart {
    inner: DatePartFunc,
}

impl ScalarUDFImpl for DatePart {
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
        let part = match (args.scalar_arguments, args.arg_fields) {
            ([Some(part), _], [_, value]) if is_span(value.data_type()) => Part::named(part),
            _ => None,
        };
        let field = self.inner.return_field_from_args(args)?;
        Ok(match part {
            Some(Part::Fraction(_)) => Arc::new(field.as_ref().clone().with_data_type(DOUBLE)),
            _ => field,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let part = match args.args.as_slice() {
            [ColumnarValue::Scalar(part), value] if is_span(&value.data_type()) => Part::named(part),
            _ => None,
        };
        let Some(part) = part else { return self.inner.invoke_with_args(args) };
        match &args.args[1] {
            ColumnarValue::Array(spans) => Ok(ColumnarValue::Array(part.of(spans, &args.return_field)?)),
            ColumnarValue::Scalar(span) => {
                let value = part.of(&span.to_array()?, &args.return_field)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&value, 0)?))
            }
        }
    }

    fn preimage(&self, args: &[Expr], literal: &Expr, context: &SimplifyContext) -> Result<PreimageResult> {
        self.inner.preimage(args, literal, context)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// A part of a span.
enum Part {
    Whole(fn(Span) -> i64),
    Fraction(fn(Span) -> f64),
}

impl Part {
    /// The part that a text names, by DataFusion's names. None for parts that spans don't have.
    fn named(name: &ScalarValue) -> Option<Self> {
        let name = name.try_as_str().flatten()?.trim_matches(['\'', '"']).to_lowercase();
        Some(match (name.as_str(), name.parse::<Unit>()) {
            ("epoch", _) => Self::Fraction(Span::seconds),
            ("quarter" | "qtr", _) => Self::Whole(|span| span.months % 12 / 3 + 1),
            (_, Ok(Unit::Year)) => Self::Whole(|span| span.months / 12),
            (_, Ok(Unit::Month)) => Self::Whole(|span| span.months % 12),
            (_, Ok(Unit::Week)) => Self::Whole(|span| span.days / 7),
            (_, Ok(Unit::Day)) => Self::Whole(|span| span.days),
            (_, Ok(Unit::Hour)) => Self::Whole(|span| span.time / HOUR),
            (_, Ok(Unit::Minute)) => Self::Whole(|span| span.time % HOUR / MINUTE),
            (_, Ok(Unit::Second)) => Self::Fraction(|span| (span.time % MINUTE) as f64 / 1e6),
            (_, Ok(Unit::Millisecond)) => Self::Fraction(|span| (span.time % MINUTE) as f64 / 1e3),
            (_, Ok(Unit::Microsecond)) => Self::Whole(|span| span.time % MINUTE),
            (_, Ok(Unit::Nanosecond)) => Self::Whole(|span| span.time % MINUTE * 1000),
            _ => return None,
        })
    }

    /// This part of intervals or durations, in the planned type.
    fn of(&self, spans: &ArrayRef, returns: &FieldRef) -> Result<ArrayRef> {
        let parts: ArrayRef = match self {
            Self::Fraction(part) => Arc::new(Float64Array::from(each_span(spans, |span| Ok(part(span)))?)),
            Self::Whole(part) if *returns.data_type() == INT => {
                Arc::new(Int64Array::from(each_span(spans, |span| Ok(part(span)))?))
            }
            Self::Whole(part) => {
                let parts = each_span(spans, |span| i32::try_from(part(span)).map_err(|_| out_of_range()))?;
                Arc::new(Int32Array::from(parts))
            }
        };
        Ok(parts)
    }
}

/// An interval, or a difference of timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    months: i64,
    days: i64,
    /// Microseconds beside them.
    time: i64,
}

impl Span {
    /// The interval as written, rounded to microseconds.
    fn of_interval(interval: IntervalMonthDayNano) -> Self {
        let IntervalMonthDayNano { months, days, nanoseconds } = interval;
        Self { months: months.into(), days: days.into(), time: nanoseconds / 1000 + nanoseconds % 1000 / 500 }
    }

    /// In days and hours below 24.
    fn of_duration(count: i64, unit: TimeUnit) -> Self {
        let per_second = match unit {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1000,
            TimeUnit::Microsecond => SECOND,
            TimeUnit::Nanosecond => 1000 * SECOND,
        };
        let per_day = 86_400 * per_second;
        // The rest is less than a day, but its product with microseconds may exceed 64 bits.
        let time = i128::from(count % per_day) * i128::from(SECOND) / i128::from(per_second);
        Self { months: 0, days: count / per_day, time: time as i64 }
    }

    /// None if it has more months, days or time than an interval can.
    fn interval(self) -> Option<IntervalMonthDayNano> {
        let (months, days) = (self.months.try_into().ok()?, self.days.try_into().ok()?);
        Some(IntervalMonthDayNano { months, days, nanoseconds: self.time.checked_mul(1000)? })
    }

    /// What it is compared by.
    fn micros(self) -> i128 {
        i128::from(30 * self.months + self.days) * i128::from(DAY) + i128::from(self.time)
    }

    /// As PostgreSQL writes it: `1 day 02:00:00`.
    fn text(self) -> String {
        let mut parts = Vec::new();
        // After a negative part, positive ones have a plus sign.
        let mut is_behind_negative = false;
        for (count, unit) in [(self.months / 12, "year"), (self.months % 12, "mon"), (self.days, "day")] {
            if count != 0 {
                let plus = if is_behind_negative && count > 0 { "+" } else { "" };
                let plural = if count == 1 { "" } else { "s" };
                parts.push(format!("{plus}{count} {unit}{plural}"));
                is_behind_negative = count < 0;
            }
        }
        if parts.is_empty() || self.time != 0 {
            let sign = match self.time {
                ..0 => "-",
                _ if is_behind_negative => "+",
                _ => "",
            };
            let time = self.time.abs();
            let (hours, minutes, seconds) = (time / HOUR, time % HOUR / MINUTE, time % MINUTE / SECOND);
            let fraction = format!(".{:06}", time % SECOND);
            let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
            parts.push(format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{fraction}"));
        }
        parts.join(" ")
    }

    /// What `epoch` is.
    fn seconds(self) -> f64 {
        let years = self.months / 12;
        let beside = Self { months: self.months % 12, ..self };
        (i128::from(years) * EPOCH_YEAR + beside.micros()) as f64 / 1e6
    }
}

/// Intervals, or differences of timestamps, as PostgreSQL writes them.
pub(crate) fn texts(array: &ArrayRef) -> Result<StringArray> {
    Ok(each_span(array, |span| Ok(span.text()))?.into_iter().collect())
}

/// Applies `f` to each span of a column of intervals or durations.
fn each_span<T>(array: &ArrayRef, f: impl Fn(Span) -> Result<T>) -> Result<Vec<Option<T>>> {
    if let DataType::Duration(unit) = array.data_type() {
        let counts = cast(array, &INT)?;
        let spans = counts.as_primitive::<Int64Type>().iter();
        return spans.map(|count| count.map(|count| f(Span::of_duration(count, *unit))).transpose()).collect();
    }
    let intervals = cast(array, &INTERVAL)?;
    let spans = intervals.as_primitive::<IntervalMonthDayNanoType>().iter();
    spans.map(|interval| interval.map(|interval| f(Span::of_interval(interval))).transpose()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(months: i32, days: i32, nanoseconds: i64) -> Span {
        Span::of_interval(IntervalMonthDayNano { months, days, nanoseconds })
    }

    fn part(name: &str, span: Span) -> f64 {
        match Part::named(&ScalarValue::from(name)).unwrap() {
            Part::Whole(part) => part(span) as f64,
            Part::Fraction(part) => part(span),
        }
    }

    #[test]
    fn a_month_is_thirty_days_and_a_day_twenty_four_hours() {
        let hour = 3_600_000_000_000;
        assert_eq!(interval(0, 0, 24 * hour).micros(), interval(0, 1, 0).micros());
        assert_eq!(interval(0, 30, 0).micros(), interval(1, 0, 0).micros());
        assert_eq!(interval(-1, 29, 25 * hour).micros(), i128::from(HOUR));
        assert_eq!(Span::of_duration(86_400_000, TimeUnit::Millisecond).micros(), interval(0, 1, 0).micros());
        assert_eq!([interval(0, 0, 1499).time, interval(0, 0, 1500).time, interval(0, 0, -1500).time], [1, 2, -2]);
    }

    #[test]
    fn spans_are_written_as_postgresql_writes_them() {
        let hour = 3_600_000_000_000;
        for (months, days, nanos, expected) in [
            (0, 0, 0, "00:00:00"),
            (0, 1, 2 * hour, "1 day 02:00:00"),
            (14, -3, 0, "1 year 2 mons -3 days"),
            (-14, 3, 4 * hour + 5_600_000_000, "-1 years -2 mons +3 days 04:00:05.6"),
            (0, -1, hour, "-1 days +01:00:00"),
            (1, 0, -100 * hour - 60_000_001_000, "1 mon -100:01:00.000001"),
        ] {
            assert_eq!(interval(months, days, nanos).text(), expected);
        }
        assert_eq!(Span::of_duration(-26 * 3600, TimeUnit::Second).text(), "-1 days -02:00:00");
    }

    #[test]
    fn a_difference_of_timestamps_has_days_and_hours_below_twenty_four() {
        let span = Span::of_duration(-(61 * DAY + 2 * HOUR + 3 * MINUTE + 4_500_000), TimeUnit::Microsecond);
        let names = ["year", "months", "quarter", "day", "HOUR", "minute", "second", "milliseconds", "microseconds"];
        let parts = names.map(|name| part(name, span));
        assert_eq!(parts, [0.0, 0.0, 1.0, -61.0, -2.0, -3.0, -4.5, -4500.0, -4_500_000.0]);
        assert_eq!(part("epoch", span), -5_277_784.5);
        assert_eq!(part("epoch", interval(14, 1, 500_000_000)), 31_557_600.0 + 61.0 * 86_400.0 + 0.5);
    }

    #[test]
    fn no_span_is_too_long_to_be_taken_apart() {
        for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
            for count in [i64::MIN, i64::MAX] {
                let span = Span::of_duration(count, unit);
                assert!(span.time.abs() < DAY, "{count} {unit:?}");
                assert!(part("epoch", span).is_finite());
            }
        }
        let longest = interval(i32::MAX, i32::MAX, i64::MAX);
        assert!(part("epoch", longest) > 5e15 && i64::try_from(longest.micros()).is_err());
    }
}
