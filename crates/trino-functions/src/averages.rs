//! `avg` of decimals: its last digit is rounded, and it says so when the sum overflows.
//!
//! DataFusion's cuts digits off, and its sum wraps around. All other averages are DataFusion's.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, UInt64Array};
use datafusion::arrow::compute::sum;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, FieldRef, UInt64Type};
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::functions_aggregate::average::Avg;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature};
use datafusion::scalar::ScalarValue;
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

use crate::distinct::OfDistinct;
use crate::math::{DIGITS_MAX, cut, fits_decimal};
use crate::scalar::bad;
use crate::sums::{DecimalTotal, decimal_sum, decimal_sums};

/// The aggregate `avg`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct RoundedAverage {
    inner: Avg,
    /// How many more digits after the point the average has than the values.
    more_digits: i8,
}

impl RoundedAverage {
    /// Four digits more, as DataFusion has them.
    pub(crate) fn of_datafusion() -> Self {
        Self { inner: Avg::new(), more_digits: 4 }
    }

    /// As many digits as the values.
    pub(crate) fn of_trino() -> Self {
        Self { inner: Avg::new(), more_digits: 0 }
    }
}

impl AggregateUDFImpl for RoundedAverage {
    fn name(&self) -> &'static str {
        "avg"
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [DataType::Decimal128(digits, scale)] => {
                let digits = (digits + self.more_digits.unsigned_abs()).min(DIGITS_MAX);
                let scale = (scale + self.more_digits).min(DIGITS_MAX.cast_signed());
                Ok(DataType::Decimal128(digits, scale))
            }
            _ => self.inner.return_type(arguments),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match Rounding::of(&args) {
            None => self.inner.accumulator(args),
            Some(rounding) if args.is_distinct => {
                let evaluate = move |values: ArrayRef| rounding.scalar(decimal_sum(&values)?, values.len() as u64);
                Ok(Box::new(OfDistinct::new(self.inner.accumulator(args)?, evaluate)))
            }
            Some(rounding) => Ok(Box::new(Average { total: DecimalTotal::default(), rounding })),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        match Rounding::of(&args) {
            None => self.inner.create_groups_accumulator(args),
            Some(rounding) => Ok(Box::new(Averages::new(rounding))),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_expr()
    }
}

/// How sums of decimals become averages.
#[derive(Debug)]
struct Rounding {
    /// What is added up.
    values: DataType,
    /// What comes out.
    average: DataType,
    /// The value of the last digit of the values, in units of the average.
    unit: i128,
}

impl Rounding {
    /// Nothing if these are no decimals.
    fn of(args: &AccumulatorArgs) -> Option<Self> {
        let values = args.expr_fields.first()?.data_type().clone();
        let average = args.return_type().clone();
        match (&values, &average) {
            (DataType::Decimal128(_, from), DataType::Decimal128(_, to)) => {
                let unit = 10_i128.checked_pow((to - from).unsigned_abs().into())?;
                Some(Self { values, average, unit })
            }
            _ => None,
        }
    }

    /// Half a digit is rounded away from zero.
    fn average(&self, sum: i128, values: u64) -> Result<i128> {
        let values = i128::from(values);
        let behind = cut(sum % values * self.unit, values, true);
        let average = (sum / values).checked_mul(self.unit).and_then(|whole| whole.checked_add(behind));
        average
            .filter(|average| fits_decimal(*average))
            .ok_or_else(|| bad(format!("decimal overflow: the average has more than {DIGITS_MAX} digits")))
    }

    /// The average, null if there are no values.
    fn scalar(&self, sum: i128, values: u64) -> Result<ScalarValue> {
        let average = if values == 0 { None } else { Some(self.average(sum, values)?) };
        ScalarValue::new_primitive::<Decimal128Type>(average, &self.average)
    }
}

/// One average, over all rows or a window.
#[derive(Debug)]
struct Average {
    total: DecimalTotal,
    rounding: Rounding,
}

impl Accumulator for Average {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.total.add(&values[0])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [counts, sums] = states else { return internal_err!("an average has {} states", states.len()) };
        self.total.values += sum(counts.as_primitive::<UInt64Type>()).unwrap_or_default();
        self.total.add_sums(sums)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.total.take_back(&values[0])
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sum = ScalarValue::new_primitive::<Decimal128Type>(Some(self.total.sum), &self.rounding.values)?;
        Ok(vec![ScalarValue::from(self.total.values), sum])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.rounding.scalar(self.total.sum, self.total.values)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The averages of many groups.
struct Averages {
    sums: Box<dyn GroupsAccumulator>,
    counts: Box<dyn GroupsAccumulator>,
    rounding: Rounding,
}

impl Averages {
    fn new(rounding: Rounding) -> Self {
        let add = |count: &mut u64, more: u64| *count += more;
        let counts = PrimitiveGroupsAccumulator::<UInt64Type, _>::new(&DataType::UInt64, add);
        Self { sums: decimal_sums(&rounding.values), counts: Box::new(counts), rounding }
    }
}

/// One for each value, to be counted.
fn ones(values: &ArrayRef) -> ArrayRef {
    Arc::new(UInt64Array::new(vec![1_u64; values.len()].into(), values.nulls().cloned()))
}

impl GroupsAccumulator for Averages {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_total: usize,
    ) -> Result<()> {
        self.counts.update_batch(&[ones(&values[0])], groups, filter, groups_total)?;
        self.sums.update_batch(values, groups, filter, groups_total)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_total: usize,
    ) -> Result<()> {
        self.counts.merge_batch(&values[..1], groups, filter, groups_total)?;
        self.sums.merge_batch(&values[1..], groups, filter, groups_total)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let (counts, sums) = (self.counts.evaluate(emit)?, self.sums.evaluate(emit)?);
        let pairs = sums.as_primitive::<Decimal128Type>().iter().zip(counts.as_primitive::<UInt64Type>());
        let averages = pairs.map(|pair| match pair {
            (Some(sum), Some(count)) => self.rounding.average(sum, count).map(Some),
            _ => Ok(None),
        });
        let averages = averages.collect::<Result<Decimal128Array>>()?;
        Ok(Arc::new(averages.with_data_type(self.rounding.average.clone())))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok([self.counts.state(emit)?, self.sums.state(emit)?].concat())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let counts = self.counts.convert_to_state(&[ones(&values[0])], filter)?;
        Ok([counts, self.sums.convert_to_state(values, filter)?].concat())
    }

    fn supports_convert_to_state(&self) -> bool {
        self.counts.supports_convert_to_state() && self.sums.supports_convert_to_state()
    }

    fn size(&self) -> usize {
        self.counts.size() + self.sums.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounding(digits: u32) -> Rounding {
        let average = DataType::Decimal128(38, 2 + digits as i8);
        Rounding { values: DataType::Decimal128(10, 2), average, unit: 10_i128.pow(digits) }
    }

    #[test]
    fn the_last_digit_is_rounded() {
        // 5.00 of three rows, and 0.05 of two.
        assert_eq!(rounding(4).average(500, 3).unwrap(), 1_666_667);
        assert_eq!(rounding(4).average(-500, 3).unwrap(), -1_666_667);
        assert_eq!(rounding(0).average(5, 2).unwrap(), 3);
        assert_eq!(rounding(0).average(-5, 2).unwrap(), -3);
        assert_eq!(rounding(0).average(4, 3).unwrap(), 1);
        assert_eq!(rounding(4).scalar(0, 0).unwrap(), ScalarValue::Decimal128(None, 38, 6));
        assert!(rounding(4).average(10_i128.pow(35), 1).is_err());
    }

    #[test]
    fn groups_have_averages_of_their_values() {
        let values = Decimal128Array::from(vec![Some(100), Some(200), None, Some(200), None]);
        let values: ArrayRef = Arc::new(values.with_data_type(DataType::Decimal128(10, 2)));
        let mut first = Averages::new(rounding(4));
        first.update_batch(&[values], &[0, 0, 0, 0, 1], None, 2).unwrap();
        let states = first.state(EmitTo::All).unwrap();
        let mut second = Averages::new(rounding(4));
        second.merge_batch(&states, &[0, 1], None, 2).unwrap();
        let averages = second.evaluate(EmitTo::All).unwrap();
        let averages = averages.as_primitive::<Decimal128Type>();
        assert_eq!((averages.value(0), averages.is_null(1)), (1_666_667, true));
    }
}
