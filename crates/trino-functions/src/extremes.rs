//! `min` and `max`, which know infinity where rows are grouped.
//!
//! DataFusion's groups of fractions begin with the smallest or the largest finite number, and what comes after NaN takes
//! its place (54.1): `max` of nothing but `-Infinity` would be -1.8e308, and of NaN and 1 the one that comes last. Here
//! NaN is greater than all others, as in comparisons and without groups. All else is DataFusion's.

use std::sync::Arc;

use datafusion::arrow::datatypes::{ArrowPrimitiveType, DataType, FieldRef, Float32Type, Float64Type};
use datafusion::error::Result;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF, SetMonotonicity,
    Signature, StatisticsArgs,
};
use datafusion::scalar::ScalarValue;
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

/// The aggregate `max`.
pub(crate) fn max() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(Extreme { inner: max_udaf(), is_max: true }))
}

/// The aggregate `min`.
pub(crate) fn min() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(Extreme { inner: min_udaf(), is_max: false }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    inner: Arc<AggregateUDF>,
    is_max: bool,
}

impl AggregateUDFImpl for Extreme {
    // `DISTINCT`, intervals and sliding frames know both aggregates by these names.
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arguments)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.inner.create_sliding_accumulator(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        match of_fractions(args.return_type(), self.is_max) {
            Some(groups) => Ok(groups),
            None => self.inner.create_groups_accumulator(args),
        }
    }

    fn is_descending(&self) -> Option<bool> {
        self.inner.is_descending()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_udf()
    }

    fn set_monotonicity(&self, kind: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(kind)
    }

    fn value_from_stats(&self, args: &StatisticsArgs) -> Option<ScalarValue> {
        self.inner.value_from_stats(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// The extremes of groups of doubles or reals. None for other types.
fn of_fractions(kind: &DataType, is_max: bool) -> Option<Box<dyn GroupsAccumulator>> {
    match (kind, is_max) {
        (DataType::Float64, true) => Some(greatest::<Float64Type>(f64::NEG_INFINITY)),
        (DataType::Float32, true) => Some(greatest::<Float32Type>(f32::NEG_INFINITY)),
        (DataType::Float64, false) => Some(least::<Float64Type>(f64::NAN)),
        (DataType::Float32, false) => Some(least::<Float32Type>(f32::NAN)),
        _ => None,
    }
}

fn greatest<T: ArrowPrimitiveType + Send>(first: T::Native) -> Box<dyn GroupsAccumulator> {
    let take = |greatest: &mut T::Native, value: T::Native| {
        if value > *greatest || is_nan(value) {
            *greatest = value;
        }
    };
    Box::new(PrimitiveGroupsAccumulator::<T, _>::new(&T::DATA_TYPE, take).with_starting_value(first))
}

/// Groups begin with NaN, which nothing exceeds.
fn least<T: ArrowPrimitiveType + Send>(first: T::Native) -> Box<dyn GroupsAccumulator> {
    let take = |least: &mut T::Native, value: T::Native| {
        if value < *least || is_nan(*least) {
            *least = value;
        }
    };
    Box::new(PrimitiveGroupsAccumulator::<T, _>::new(&T::DATA_TYPE, take).with_starting_value(first))
}

/// Whether a value is NaN, which does not equal itself.
fn is_nan<T: PartialOrd + Copy>(value: T) -> bool {
    value.partial_cmp(&value).is_none()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, AsArray, Float32Array, Float64Array};
    use datafusion::logical_expr::EmitTo;

    use super::*;

    const NAN: f64 = f64::NAN;
    const INFINITY: f64 = f64::INFINITY;

    /// The least and the greatest of a group.
    fn extremes(values: &[f64]) -> String {
        let doubles: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        format!("{} {}", one_of(&doubles, false), one_of(&doubles, true))
    }

    fn one_of(values: &ArrayRef, is_max: bool) -> f64 {
        let groups = || of_fractions(values.data_type(), is_max).unwrap();
        let of_all = vec![0; values.len()];
        let mut whole = groups();
        whole.update_batch(&[Arc::clone(values)], &of_all, None, 1).unwrap();
        let whole = whole.evaluate(EmitTo::All).unwrap();
        let mut parts = groups();
        let each = parts.convert_to_state(&[Arc::clone(values)], None).unwrap();
        parts.merge_batch(&each, &of_all, None, 1).unwrap();
        let parts = parts.evaluate(EmitTo::All).unwrap();
        assert_eq!(format!("{whole:?}"), format!("{parts:?}"));
        match whole.data_type() {
            DataType::Float32 => whole.as_primitive::<Float32Type>().value(0).into(),
            _ => whole.as_primitive::<Float64Type>().value(0),
        }
    }

    #[test]
    fn groups_of_nothing_but_infinity_have_it() {
        assert_eq!(extremes(&[INFINITY]), "inf inf");
        assert_eq!(extremes(&[-INFINITY, -INFINITY]), "-inf -inf");
        assert_eq!(extremes(&[INFINITY, -INFINITY, 1.0]), "-inf inf");
    }

    #[test]
    fn nan_is_greater_than_all_others_wherever_it_comes() {
        assert_eq!(extremes(&[NAN, 1.0, 2.0]), "1 NaN");
        assert_eq!(extremes(&[2.0, 1.0, NAN]), "1 NaN");
        assert_eq!(extremes(&[1.0, NAN, INFINITY]), "1 NaN");
        assert_eq!(extremes(&[INFINITY, -NAN]), "inf NaN");
        assert_eq!(extremes(&[-INFINITY, NAN]), "-inf NaN");
        assert_eq!(extremes(&[NAN, NAN]), "NaN NaN");
    }

    #[test]
    fn reals_are_fractions_too() {
        let reals: ArrayRef = Arc::new(Float32Array::from(vec![f32::INFINITY, f32::NAN]));
        assert_eq!((one_of(&reals, false), one_of(&reals, true).is_nan()), (INFINITY, true));
        assert!(of_fractions(&DataType::Int64, true).is_none());
    }
}
