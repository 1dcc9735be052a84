//! Timestamps have microseconds, wherever they come from.
//!
//! DataFusion has four units of them. It compares two in the coarser unit, so that half a second after `from_unixtime(n)` is no
//! later; a date or a text that meets a timestamp becomes nanoseconds, which end in the year 2262; and five hours after a date
//! is that date. Here functions give microseconds, dates and texts meet timestamps as microseconds, and a date and an interval
//! are a timestamp, as in PostgreSQL. Seconds are moments of any year.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{DFSchema, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, cast};
use datafusion::optimizer::AnalyzerRule;
use datafusion::scalar::ScalarValue;

use crate::casts::read_as;
use crate::comparisons::compared;
use crate::dates::far::of_seconds;
use crate::scalar::{DOUBLE, MICROS, is_text};

/// Functions for which a date is the timestamp at its beginning.
const OF_TIMESTAMPS: [&str; 2] = ["date_trunc", "date_bin"];

/// The function that takes an interval and where the first one begins.
const OF_BINS: &str = "date_bin";

/// The function that takes seconds from 1970, too.
const OF_SECONDS: &str = "to_timestamp";

/// Settles the unit of timestamps.
#[derive(Debug)]
pub(crate) struct Timestamps {
    /// Whether a date plus days is a date, as in Trino.
    pub(crate) is_trino: bool,
}

impl FunctionRewrite for Timestamps {
    fn name(&self) -> &str {
        "timestamps"
    }

    fn rewrite(&self, mut expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let is_changed = match &mut expr {
            Expr::ScalarFunction(call) if !self.is_trino && OF_TIMESTAMPS.contains(&call.func.name()) => {
                let dates = call.args.iter_mut().filter(|given| is_date(given, schema)).map(as_timestamp).count();
                let is_settled = call.func.name() == OF_BINS && settled(&mut call.args, schema);
                dates > 0 || is_settled
            }
            Expr::ScalarFunction(call) if call.func.name() == OF_SECONDS => match call.args.as_mut_slice() {
                [seconds] if seconds.get_type(schema).is_ok_and(|kind| kind.is_numeric()) => {
                    *seconds = cast(std::mem::take(seconds), DOUBLE);
                    call.func = Arc::new(of_seconds());
                    true
                }
                _ => false,
            },
            Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Plus | Operator::Minus), right }) => {
                let is_difference = *op == Operator::Minus && (is_date(left, schema) || is_date(right, schema));
                self.meet_interval(left, right, schema)?
                    || self.meet_interval(right, left, schema)?
                    || is_difference && meet(vec![left.as_mut(), right.as_mut()], schema, self.is_trino)?
            }
            other => match compared(other) {
                Some(compared) => meet(compared, schema, self.is_trino)?,
                None => false,
            },
        };
        Ok(match in_micros(&expr, schema) {
            Some(kind) => Transformed::yes(cast(expr, kind)),
            None if is_changed => Transformed::yes(expr),
            None => Transformed::no(expr),
        })
    }
}

/// Keeps the types that the columns of `VALUES` were planned with, when one of the values gets another type.
#[derive(Debug)]
pub(crate) struct TypesOfValues;

impl AnalyzerRule for TypesOfValues {
    fn name(&self) -> &str {
        "types_of_values"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let of_no_table = DFSchema::empty();
        plan.transform_up_with_subqueries(|plan| {
            let LogicalPlan::Values(mut values) = plan else { return Ok(Transformed::no(plan)) };
            for row in &mut values.values {
                for (value, field) in row.iter_mut().zip(values.schema.fields()) {
                    if value.get_type(&of_no_table).is_ok_and(|kind| kind != *field.data_type()) {
                        *value = cast(std::mem::take(value), field.data_type().clone());
                    }
                }
            }
            Ok(Transformed::yes(LogicalPlan::Values(values)))
        })
        .data()
    }
}

impl Timestamps {
    /// Makes a date that is added to an interval the timestamp at its beginning; whether it did.
    fn meet_interval(&self, date: &mut Expr, interval: &Expr, schema: &DFSchema) -> Result<bool> {
        let is_interval = matches!(interval.get_type(schema), Ok(DataType::Interval(_)));
        if !is_date(date, schema) || !is_interval || is_count_of_days(interval, schema) {
            return Ok(false);
        }
        if !self.is_trino {
            as_timestamp(date);
        } else if has_time(interval) {
            return plan_err!("a date has no hours, minutes or seconds: CAST(… AS timestamp) has");
        }
        Ok(!self.is_trino)
    }
}

/// Whether it is an integer number of days that the engine has made an interval, by way of seconds: this rule ran before.
fn is_count_of_days(interval: &Expr, schema: &DFSchema) -> bool {
    let is_seconds = |expr: &Expr| matches!(expr.get_type(schema), Ok(DataType::Duration(TimeUnit::Second)));
    matches!(interval, Expr::Cast(Cast { expr, .. }) if is_seconds(expr))
}

/// Whether an interval literal has hours or less.
fn has_time(interval: &Expr) -> bool {
    match interval {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) => interval.nanoseconds != 0,
        Expr::Literal(ScalarValue::IntervalDayTime(Some(interval)), _) => interval.milliseconds != 0,
        _ => false,
    }
}

fn is_date(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(expr.get_type(schema), Ok(DataType::Date32))
}

fn as_timestamp(date: &mut Expr) {
    *date = cast(std::mem::take(date), MICROS);
}

/// Gives [`OF_BINS`] the types that it takes as they are: of others it makes nanoseconds, which end in 2262. Whether there were others.
fn settled(given: &mut [Expr], schema: &DFSchema) -> bool {
    let [stride, moments, origin @ ..] = given else { return false };
    if !matches!(moments.get_type(schema), Ok(DataType::Timestamp(..))) {
        return false;
    }
    let mut is_changed = false;
    if stride.get_type(schema).is_ok_and(|kind| is_text(&kind)) {
        *stride = cast(std::mem::take(stride), DataType::Interval(IntervalUnit::MonthDayNano));
        is_changed = true;
    }
    for origin in origin {
        if let Ok(DataType::Timestamp(TimeUnit::Microsecond, zone)) = origin.get_type(schema) {
            *origin = cast(std::mem::take(origin), DataType::Timestamp(TimeUnit::Nanosecond, zone));
            is_changed = true;
        }
    }
    is_changed
}

/// The type of a function's result with microseconds, if it has another unit.
fn in_micros(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    let Expr::ScalarFunction(_) = expr else { return None };
    match expr.get_type(schema).ok()? {
        DataType::Timestamp(TimeUnit::Microsecond, _) => None,
        DataType::Timestamp(_, zone) => Some(DataType::Timestamp(TimeUnit::Microsecond, zone)),
        _ => None,
    }
}

/// Converts timestamps of other units, and dates and texts that are compared with timestamps, to microseconds; whether there
/// were any.
fn meet(compared: Vec<&mut Expr>, schema: &DFSchema, is_trino: bool) -> Result<bool> {
    // Operands without a type yet, such as parameters, are left to the engine.
    let types: Vec<Option<DataType>> = compared.iter().map(|expr| expr.get_type(schema).ok()).collect();
    let mut zones = types.iter().flatten().filter_map(|kind| match kind {
        DataType::Timestamp(_, zone) => Some(zone),
        _ => None,
    });
    let Some(first) = zones.next() else { return Ok(false) };
    let zone = first.as_ref().or_else(|| zones.find_map(Option::as_ref)).cloned();
    let mut is_changed = false;
    for (expr, kind) in compared.into_iter().zip(&types) {
        let zone = match kind {
            Some(DataType::Timestamp(TimeUnit::Microsecond, _)) => continue,
            Some(DataType::Timestamp(_, own)) => own.clone(),
            Some(kind) if *kind == DataType::Date32 || is_text(kind) => zone.clone(),
            _ => continue,
        };
        let (given, wanted) = (std::mem::take(expr), DataType::Timestamp(TimeUnit::Microsecond, zone));
        let is_written = kind.as_ref().is_some_and(is_text);
        *expr = if is_written { read_as(given, wanted, is_trino)? } else { cast(given, wanted) };
        is_changed = true;
    }
    Ok(is_changed)
}
