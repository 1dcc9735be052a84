//! `sum` of whole numbers and of decimals, which says so when it overflows.
//!
//! DataFusion's `sum` wraps around: a large sum would be a wrong one. All other sums are DataFusion's, also those of decimals
//! that are short enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use datafusion::arrow::compute::sum_checked;
use datafusion::arrow::datatypes::{ArrowPrimitiveType, DataType, Decimal128Type, FieldRef, Int64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, EmitTo, Expr, GroupsAccumulator, Operator, ReversedUDAF, SetMonotonicity, Signature,
};
use datafusion::scalar::ScalarValue;
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

use crate::distinct::OfDistinct;
use crate::math::{DIGITS_MAX, fits_decimal, is_decimal};
use crate::scalar::bad;

/// 10^10 decimals with this many digits have a sum of at most 38: one query never adds up more rows.
const SAFE_DIGITS: u8 = 28;

/// The aggregate `sum`.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ExactSum {
    inner: Sum,
}

/// Whether such sums are computed here.
fn may_overflow(args: &AccumulatorArgs) -> bool {
    match args.expr_fields.first().map(|field| field.data_type()) {
        Some(DataType::Decimal128(digits, _)) => *digits > SAFE_DIGITS,
        _ => args.return_type() == &DataType::Int64,
    }
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
        let kind = args.return_type().clone();
        match (may_overflow(&args), args.is_distinct) {
            (false, _) => self.inner.accumulator(args),
            (true, false) => Ok(one_sum(kind)),
            (true, true) => {
                let evaluate = move |values: ArrayRef| {
                    let mut sum = one_sum(kind.clone());
                    sum.update_batch(&[values])?;
                    sum.evaluate()
                };
                Ok(Box::new(OfDistinct::new(self.inner.accumulator(args)?, evaluate)))
            }
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if may_overflow(&args) && !args.is_distinct {
            Ok(one_sum(args.return_type().clone()))
        } else {
            self.inner.create_sliding_accumulator(args)
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        if !may_overflow(&args) {
            return self.inner.create_groups_accumulator(args);
        }
        match args.return_type() {
            DataType::Int64 => Ok(checked_sums::<Int64Type>(&DataType::Int64, i64::checked_add, whole_overflow)),
            kind => Ok(decimal_sums(kind)),
        }
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
        // DataFusion counts the rows in the literal's type: a decimal(2, 1) counts to nine.
        if matches!(literal, Expr::Literal(value, _) if is_decimal(&value.data_type())) {
            return Ok(None);
        }
        self.inner.simplify_expr_op_literal(call, argument, operator, literal, is_left)
    }
}

fn whole_overflow() -> DataFusionError {
    bad("bigint overflow: the sum is too large, cast what is summed to decimal(38, 0)")
}

/// The error for a sum of decimals, or a part of one, with more digits than a decimal may have.
pub(crate) fn decimal_overflow() -> DataFusionError {
    bad(format!("decimal overflow: the sum has more than {DIGITS_MAX} digits"))
}

fn one_sum(kind: DataType) -> Box<dyn Accumulator> {
    match kind {
        DataType::Int64 => Box::new(WholeSum::default()),
        kind => Box::new(DecimalSum { total: DecimalTotal::default(), kind }),
    }
}

/// One sum, over all rows or a window. It can't overflow with 2^64 values.
#[derive(Debug, Default)]
struct WholeSum {
    sum: i128,
    values: u64,
}

impl WholeSum {
    /// The sum of a batch, in steps that vectorize: sums of 32-bit halves can't overflow.
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
        i64::try_from(self.sum).map_or_else(|_| Err(whole_overflow()), |sum| Ok(ScalarValue::Int64(Some(sum))))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sum of a column of decimals, and the number of values.
#[derive(Debug, Default)]
pub(crate) struct DecimalTotal {
    pub(crate) sum: i128,
    pub(crate) values: u64,
}

impl DecimalTotal {
    pub(crate) fn add(&mut self, array: &ArrayRef) -> Result<()> {
        self.values += (array.len() - array.null_count()) as u64;
        self.add_sums(array)
    }

    /// Adds sums of other rows, whose number is added elsewhere.
    pub(crate) fn add_sums(&mut self, array: &ArrayRef) -> Result<()> {
        self.sum = self.sum.checked_add(decimal_sum(array)?).ok_or_else(decimal_overflow)?;
        Ok(())
    }

    pub(crate) fn take_back(&mut self, array: &ArrayRef) -> Result<()> {
        self.values -= (array.len() - array.null_count()) as u64;
        self.sum = self.sum.checked_sub(decimal_sum(array)?).ok_or_else(decimal_overflow)?;
        Ok(())
    }
}

/// The sum of a column of decimals.
pub(crate) fn decimal_sum(array: &ArrayRef) -> Result<i128> {
    let sum = sum_checked(array.as_primitive::<Decimal128Type>()).map_err(|_| decimal_overflow())?;
    Ok(sum.unwrap_or_default())
}

/// One sum of decimals, over all rows or a window.
#[derive(Debug)]
struct DecimalSum {
    total: DecimalTotal,
    kind: DataType,
}

impl Accumulator for DecimalSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.total.add(&values[0])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.total.take_back(&values[0])
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if !fits_decimal(self.total.sum) {
            return Err(decimal_overflow());
        }
        let sum = (self.total.values > 0).then_some(self.total.sum);
        ScalarValue::new_primitive::<Decimal128Type>(sum, &self.kind)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sums of groups, and whether one of them overflowed.
struct CheckedSums<A> {
    inner: A,
    overflowed: Arc<AtomicBool>,
    overflow: fn() -> DataFusionError,
}

/// Sums of decimals of one type.
pub(crate) fn decimal_sums(kind: &DataType) -> Box<dyn GroupsAccumulator> {
    let add = |sum: i128, value: i128| sum.checked_add(value).filter(|sum| fits_decimal(*sum));
    checked_sums::<Decimal128Type>(kind, add, decimal_overflow)
}

fn checked_sums<T: ArrowPrimitiveType + Send>(
    kind: &DataType,
    add: impl Fn(T::Native, T::Native) -> Option<T::Native> + Send + Sync + 'static,
    overflow: fn() -> DataFusionError,
) -> Box<dyn GroupsAccumulator> {
    let overflowed = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&overflowed);
    let add = move |sum: &mut T::Native, value: T::Native| match add(*sum, value) {
        Some(new) => *sum = new,
        None => flag.store(true, Ordering::Relaxed),
    };
    let inner = PrimitiveGroupsAccumulator::<T, _>::new(kind, add);
    Box::new(CheckedSums { inner, overflowed, overflow })
}

impl<A: GroupsAccumulator> CheckedSums<A> {
    fn checked<T>(&self, done: T) -> Result<T> {
        if self.overflowed.load(Ordering::Relaxed) { Err((self.overflow)()) } else { Ok(done) }
    }
}

impl<A: GroupsAccumulator> GroupsAccumulator for CheckedSums<A> {
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

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Decimal128Array;

    use super::*;

    const KIND: DataType = DataType::Decimal128(38, 0);
    const NINES: i128 = 10_i128.pow(38) - 1;

    fn column(values: &[i128]) -> ArrayRef {
        Arc::new(Decimal128Array::from_iter_values(values.iter().copied()).with_data_type(KIND))
    }

    #[test]
    fn sums_of_more_than_38_digits_are_refused() {
        let sum = |values: &[i128]| {
            let mut sum = one_sum(KIND);
            sum.update_batch(&[column(values)])?;
            sum.evaluate()
        };
        assert_eq!(sum(&[NINES - 1, 1]).unwrap(), ScalarValue::Decimal128(Some(NINES), 38, 0));
        assert_eq!(sum(&[NINES, -NINES]).unwrap(), ScalarValue::Decimal128(Some(0), 38, 0));
        assert_eq!(sum(&[]).unwrap(), ScalarValue::Decimal128(None, 38, 0));
        for too_large in [&[NINES, 1][..], &[NINES, NINES], &[-NINES, -NINES]] {
            assert!(sum(too_large).is_err(), "{too_large:?}");
        }
    }

    #[test]
    fn what_goes_out_of_a_window_is_taken_back() {
        let mut sum = one_sum(KIND);
        sum.update_batch(&[column(&[1, 2, 3])]).unwrap();
        sum.retract_batch(&[column(&[1, 2])]).unwrap();
        assert_eq!(sum.evaluate().unwrap(), ScalarValue::Decimal128(Some(3), 38, 0));
        sum.retract_batch(&[column(&[3])]).unwrap();
        assert_eq!(sum.evaluate().unwrap(), ScalarValue::Decimal128(None, 38, 0));
    }

    #[test]
    fn the_sum_of_one_group_may_be_too_large() {
        let mut sums = decimal_sums(&KIND);
        sums.update_batch(&[column(&[NINES, NINES - 1, 1])], &[0, 1, 1], None, 2).unwrap();
        let all = sums.evaluate(EmitTo::All).unwrap();
        assert_eq!(all.as_primitive::<Decimal128Type>().values(), &[NINES, NINES]);
        let mut sums = decimal_sums(&KIND);
        assert!(sums.update_batch(&[column(&[NINES, NINES, 1])], &[0, 1, 1], None, 2).is_err());
    }
}
