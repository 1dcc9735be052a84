//! `percentile_cont`, which is exact, and not taken for another aggregate.
//!
//! Between two values DataFusion's (54.1, `percentile_cont.rs`) has six digits, and of values that were put together from parts it
//! reads the first part. At 0 and 1 it becomes `min` or `max`, whose groups do not know infinity: see [`crate::extremes`]. How values
//! are kept is DataFusion's.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, FieldRef, Float64Type, Schema};
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::functions_aggregate::percentile_cont::percentile_cont_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Documentation, EmitTo, GroupsAccumulator, Signature,
};
use datafusion::scalar::ScalarValue;

/// The aggregate `percentile_cont`.
pub(crate) fn percentile_cont() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(PercentileCont { inner: percentile_cont_udaf() }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PercentileCont {
    inner: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for PercentileCont {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
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
        let share = Share::of(&args);
        let inner = self.inner.accumulator(args)?;
        Ok(Box::new(Percentile { inner, share: share? }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let share = Share::of(&args);
        let inner = self.inner.create_groups_accumulator(args)?;
        Ok(Box::new(Percentiles { inner, share: share? }))
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// The share of all values that the percentile does not come behind.
#[derive(Debug, Clone, Copy)]
struct Share {
    share: f64,
    is_descending: bool,
}

impl Share {
    /// None where it is of no doubles, or unknown.
    fn of(args: &AccumulatorArgs) -> Result<Option<Self>> {
        let ([values, ..], [_, share]) = (args.expr_fields, args.exprs) else { return Ok(None) };
        if *values.data_type() != DataType::Float64 {
            return Ok(None);
        }
        let share = share.evaluate(&RecordBatch::new_empty(Arc::new(Schema::empty())))?;
        let is_descending = args.order_bys.first().is_some_and(|sort| sort.options.descending);
        Ok(match share {
            ColumnarValue::Scalar(ScalarValue::Float64(Some(share))) => Some(Self { share, is_descending }),
            _ => None,
        })
    }

    /// The percentile of some values; none if there are none.
    fn among(self, values: &mut [f64]) -> Option<f64> {
        let last = values.len().checked_sub(1)?;
        let place = self.share * last as f64;
        let behind = place.fract();
        let mut at = |place: f64| {
            let place = (place as usize).min(last);
            let place = if self.is_descending { last - place } else { place };
            *values.select_nth_unstable_by(place, f64::total_cmp).1
        };
        let lower = at(place.floor());
        if behind == 0.0 {
            return Some(lower);
        }
        Some(lower + behind * (at(place.ceil()) - lower))
    }

    /// The same of a list in each row.
    fn among_lists(self, states: &[ArrayRef]) -> Result<Float64Array> {
        let Some(lists) = states.first().and_then(|lists| lists.as_list_opt::<i32>()) else {
            return internal_err!("values are kept in lists");
        };
        let values = |row| lists.value(row).as_primitive::<Float64Type>().values().to_vec();
        Ok((0..lists.len()).map(|row| self.among(&mut values(row))).collect())
    }
}

/// One percentile, over all rows or a window.
#[derive(Debug)]
struct Percentile {
    inner: Box<dyn Accumulator>,
    /// None where it is DataFusion's.
    share: Option<Share>,
}

impl Accumulator for Percentile {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for row in 0..states.first().map_or(0, |lists| lists.len()) {
            let part: Vec<ArrayRef> = states.iter().map(|lists| lists.slice(row, 1)).collect();
            self.inner.merge_batch(&part)?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Some(share) = self.share else { return self.inner.evaluate() };
        let states = self.inner.state()?.iter().map(ScalarValue::to_array).collect::<Result<Vec<_>>>()?;
        // It gave them away, and a window goes on with them.
        self.inner.merge_batch(&states)?;
        ScalarValue::try_from_array(&share.among_lists(&states)?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

/// The percentiles of many groups.
struct Percentiles {
    inner: Box<dyn GroupsAccumulator>,
    /// None where they are DataFusion's.
    share: Option<Share>,
}

impl GroupsAccumulator for Percentiles {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_total: usize,
    ) -> Result<()> {
        self.inner.update_batch(values, groups, filter, groups_total)
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_total: usize,
    ) -> Result<()> {
        self.inner.merge_batch(states, groups, filter, groups_total)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let Some(share) = self.share else { return self.inner.evaluate(emit) };
        let lists = self.inner.state(emit)?;
        Ok(Arc::new(share.among_lists(&lists)?))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit)
    }

    /// Where most rows are groups of their own, they are passed on as they are. DataFusion's (54.1) wants the values alone, but is
    /// given the share and the order, too, and panics.
    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&values[..1], filter)
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
    use datafusion::arrow::array::ListArray;
    use datafusion::arrow::datatypes::{Field, Float32Type};
    use datafusion::physical_expr::aggregate::AggregateExprBuilder;
    use datafusion::physical_expr::expressions::{col, lit};

    use super::*;

    #[test]
    fn parts_of_reals_are_put_together() {
        let schema = Schema::new(vec![Field::new("x", DataType::Float32, true)]);
        let args = vec![col("x", &schema).unwrap(), lit(0.5_f64)];
        let call = AggregateExprBuilder::new(percentile_cont(), args).schema(Arc::new(schema)).alias("p");
        let mut all = call.build().unwrap().create_accumulator().unwrap();
        let lists = [[1.0_f32], [2.0], [3.0]].map(|list| Some(list.map(Some)));
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(lists));
        all.merge_batch(&[lists]).unwrap();
        assert_eq!(all.evaluate().unwrap(), ScalarValue::Float32(Some(2.0)));
    }

    #[test]
    fn rows_are_passed_on_as_groups_of_their_own() {
        let schema = Schema::new(vec![Field::new("x", DataType::Float64, true)]);
        let args = vec![col("x", &schema).unwrap(), lit(0.5_f64)];
        let call = AggregateExprBuilder::new(percentile_cont(), args).schema(Arc::new(schema)).alias("p");
        let mut groups = call.build().unwrap().create_groups_accumulator().unwrap();
        let values: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), None, Some(3.0)]));
        let shares: ArrayRef = Arc::new(Float64Array::from(vec![0.5; 3]));
        let states = groups.convert_to_state(&[Arc::clone(&values), shares, values], None).unwrap();
        groups.merge_batch(&states, &[0, 1, 0], None, 2).unwrap();
        let percentiles = groups.evaluate(EmitTo::All).unwrap();
        assert_eq!(percentiles.as_primitive::<Float64Type>(), &Float64Array::from(vec![Some(2.0), None]));
    }

    #[test]
    fn what_is_between_two_values_is_exact() {
        let among = |share, is_descending, values: &[f64]| Share { share, is_descending }.among(&mut values.to_vec());
        let values = [7.0, 1.0, 3.0, 1.0, 2.0];
        assert_eq!(among(0.3, false, &values), Some(1.2));
        assert_eq!(among(0.5, false, &values), Some(2.0));
        assert_eq!(among(0.5, true, &values), Some(2.0));
        assert_eq!(among(0.125, true, &values), Some(5.0));
        assert_eq!((among(0.0, false, &values), among(0.0, true, &values)), (Some(1.0), Some(7.0)));
        assert_eq!((among(1.0, false, &values), among(1.0, true, &values)), (Some(7.0), Some(1.0)));
        assert_eq!(among(0.3, false, &[5.0]), Some(5.0));
        assert_eq!(among(0.3, false, &[]), None);
        assert_eq!(among(0.5, false, &[f64::INFINITY, f64::INFINITY, 1.0]), Some(f64::INFINITY));
    }
}
