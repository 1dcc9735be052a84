//! `sum` of whole numbers, which says so when it overflows, and the digits of `avg`.
//!
//! DataFusion's `sum` wraps around: a large sum would be a wrong one. All other sums are DataFusion's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, FieldRef, Int64Type};
use datafusion::error::Result;
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, EmitTo, Expr, GroupsAccumulator, Operator, ReversedUDAF, SetMonotonicity, Signature,
};
use datafusion::scalar::ScalarValue;
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

use crate::catalog::{Family::Inner, Function, scalar};
use crate::math::{DIGITS_MAX, cut, power};
use crate::scalar::{Body, Call, Given, Types, bad};

pub(crate) const FUNCTIONS: &[Function] = &[scalar(
    Inner,
    &["digits_of_average"],
    "digits_of_average(x) → double or decimal",
    "An average of decimals with the digits that they have: what avg gives",
    Body::new(types_average, average),
)];

/// The aggregate `sum`.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ExactSum {
    inner: Sum,
}

/// Whether these are the sums that are done here.
fn is_whole(args: &AccumulatorArgs) -> bool {
    args.return_field.data_type() == &DataType::Int64 && !args.is_distinct
}

impl AggregateUDFImpl for ExactSum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if is_whole(&args) { Ok(Box::new(WholeSum::default())) } else { self.inner.accumulator(args) }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if is_whole(&args) { Ok(Box::new(WholeSum::default())) } else { self.inner.create_sliding_accumulator(args) }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        if is_whole(&args) { Ok(whole_sums()) } else { self.inner.create_groups_accumulator(args) }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.set_monotonicity(data_type)
    }

    fn simplify_expr_op_literal(
        &self,
        call: &AggregateFunction,
        argument: &Expr,
        operator: Operator,
        literal: &Expr,
        is_left: bool,
    ) -> Result<Option<Expr>> {
        self.inner.simplify_expr_op_literal(call, argument, operator, literal, is_left)
    }
}

fn overflow<T>() -> Result<T> {
    Err(bad("bigint overflow: the sum is too large, cast what is summed to decimal(38, 0)"))
}

/// One sum, over all rows or over those of a window. 2^64 values can't overflow it.
#[derive(Debug, Default)]
struct WholeSum {
    sum: i128,
    values: u64,
}

impl WholeSum {
    /// The sum of a batch, in steps that a processor does several of at a time: halves of numbers can't overflow.
    fn of(array: &Int64Array) -> (i128, u64) {
        let (mut high, mut low) = (0_i64, 0_u64);
        let mut add = |value: i64| {
            high += value >> 32;
            low += value as u64 & u64::from(u32::MAX);
        };
        if array.null_count() == 0 {
            array.values().iter().for_each(|value| add(*value));
        } else {
            array.iter().flatten().for_each(add);
        }
        let count = (array.len() - array.null_count()) as u64;
        ((i128::from(high) << 32) + i128::from(low), count)
    }
}

impl Accumulator for WholeSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = Self::of(values[0].as_primitive::<Int64Type>());
        self.sum += sum;
        self.values += count;
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = Self::of(values[0].as_primitive::<Int64Type>());
        self.sum -= sum;
        self.values -= count;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.values == 0 {
            return Ok(ScalarValue::Int64(None));
        }
        i64::try_from(self.sum).map_or_else(|_| overflow(), |sum| Ok(ScalarValue::Int64(Some(sum))))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sums of many groups, and whether one of them overflowed.
struct WholeSums<A> {
    inner: A,
    overflowed: Arc<AtomicBool>,
}

fn whole_sums() -> Box<dyn GroupsAccumulator> {
    let overflowed = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&overflowed);
    let add = move |sum: &mut i64, value: i64| {
        let (new, is_over) = sum.overflowing_add(value);
        *sum = new;
        if is_over {
            flag.store(true, Ordering::Relaxed);
        }
    };
    let inner = PrimitiveGroupsAccumulator::<Int64Type, _>::new(&DataType::Int64, add);
    Box::new(WholeSums { inner, overflowed })
}

impl<A: GroupsAccumulator> WholeSums<A> {
    fn checked<T>(&self, done: T) -> Result<T> {
        if self.overflowed.load(Ordering::Relaxed) { overflow() } else { Ok(done) }
    }
}

impl<A: GroupsAccumulator> GroupsAccumulator for WholeSums<A> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_total: usize,
    ) -> Result<()> {
        self.inner.update_batch(values, groups, filter, groups_total)?;
        self.checked(())
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_total: usize,
    ) -> Result<()> {
        self.inner.merge_batch(values, groups, filter, groups_total)?;
        self.checked(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        self.inner.evaluate(emit)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn supports_convert_to_state(&self) -> bool {
        self.inner.supports_convert_to_state()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}

/// DataFusion's average of decimals has so many digits more behind the point, the rest cut off.
const AVERAGE_DIGITS: i8 = 4;

fn types_average(given: &Given) -> Result<Types> {
    let [kind] = given.types else { return given.refuse() };
    let returns = match kind {
        DataType::Decimal128(precision, scale) if *scale >= AVERAGE_DIGITS => {
            // Of the longest it is not known how many digits there were.
            let fewer = if *precision == DIGITS_MAX { DIGITS_MAX } else { precision - AVERAGE_DIGITS.unsigned_abs() };
            DataType::Decimal128(fewer, scale - AVERAGE_DIGITS)
        }
        other => other.clone(),
    };
    Ok(Types::new(vec![kind.clone()], returns))
}

/// Rounds an average of decimals to the digits that they have.
fn average(call: &Call) -> Result<ArrayRef> {
    if call.args[0].data_type() == call.returns.data_type() {
        return Ok(Arc::clone(&call.args[0]));
    }
    let unit = power(AVERAGE_DIGITS)?;
    let values = call.args[0].as_primitive::<Decimal128Type>().iter();
    let rounded = values.map(|value| value.map(|value| cut(value, unit, true)));
    Ok(Arc::new(Decimal128Array::from_iter(rounded).with_data_type(call.returns.data_type().clone())))
}
