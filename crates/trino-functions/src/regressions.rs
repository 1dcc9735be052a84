//! Aggregates of pairs: correlation and linear regression.
//!
//! DataFusion (54.1, `regr.rs`, `correlation.rs`, `covariance.rs`) takes each pair into account, also where `DISTINCT` asks
//! for different ones. Where all points are on a level line, its `regr_r2` is null; by the standard it is 1. Of values in parts, it
//! multiplies and divides the mean of the first part by the number of its values, and what is rounded there makes equal values differ.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, FieldRef, Float64Type, UInt64Type};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::functions_aggregate::regr;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, Signature};
use datafusion::scalar::ScalarValue;

/// Refuses an aggregate of different pairs, also over a window.
pub(crate) fn must_be_of_all(name: &str, is_distinct: bool) -> Result<()> {
    let is_of_pairs = name.starts_with("regr_") || ["corr", "covar_pop", "covar_samp"].contains(&name);
    if is_distinct && is_of_pairs {
        return plan_err!("{name}(DISTINCT …) is not supported: use it over a subquery with SELECT DISTINCT");
    }
    Ok(())
}

/// The aggregates of linear regression, but `regr_count`.
pub(crate) fn of_lines() -> [Arc<AggregateUDF>; 8] {
    [
        regr::regr_avgx_udaf(),
        regr::regr_avgy_udaf(),
        regr::regr_intercept_udaf(),
        regr::regr_r2_udaf(),
        regr::regr_slope_udaf(),
        regr::regr_sxx_udaf(),
        regr::regr_sxy_udaf(),
        regr::regr_syy_udaf(),
    ]
    .map(|inner| Arc::new(AggregateUDF::new_from_impl(OfLine { inner })))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfLine {
    inner: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for OfLine {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        self.inner.return_type(kinds)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Fit { inner: self.inner.accumulator(args)?, is_r2: self.name() == "regr_r2" }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

#[derive(Debug)]
struct Fit {
    inner: Box<dyn Accumulator>,
    is_r2: bool,
}

impl Fit {
    /// Whether the values differ along x and not along y.
    fn is_level(&mut self) -> Result<bool> {
        match self.inner.state()?.as_slice() {
            [_, _, _, ScalarValue::Float64(Some(along_x)), ScalarValue::Float64(Some(along_y)), _] => {
                Ok(*along_x > 0.0 && *along_y == 0.0)
            }
            _ => Ok(false),
        }
    }

    fn is_empty(&mut self) -> Result<bool> {
        Ok(self.inner.state()?.first() == Some(&ScalarValue::UInt64(Some(0))))
    }

    /// Begins with the means of the first part as a point, and gives back the parts without it. None if it has begun, or can't.
    fn begun_with(&mut self, states: &[ArrayRef]) -> Result<Option<Vec<ArrayRef>>> {
        let [counts, mean_x, mean_y, ..] = states else { return Ok(None) };
        let Some(counts) = counts.as_primitive_opt::<UInt64Type>() else { return Ok(None) };
        let mut counts = counts.values().to_vec();
        let Some(first) = counts.iter().position(|count| *count > 0) else { return Ok(None) };
        let point = [mean_y.slice(first, 1), mean_x.slice(first, 1)];
        let is_finite =
            |mean: &ArrayRef| mean.as_primitive_opt::<Float64Type>().is_some_and(|mean| mean.value(0).is_finite());
        if !self.is_empty()? || !point.iter().all(is_finite) {
            return Ok(None);
        }
        self.inner.update_batch(&point)?;
        counts[first] -= 1;
        let mut rest = states.to_vec();
        rest[0] = Arc::new(UInt64Array::from(counts));
        Ok(Some(rest))
    }
}

impl Accumulator for Fit {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.is_r2 && self.is_level()? { Ok(ScalarValue::Float64(Some(1.0))) } else { self.inner.evaluate() }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        match self.begun_with(states)? {
            Some(rest) => self.inner.merge_batch(&rest),
            None => self.inner.merge_batch(states),
        }
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Float64Array;
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
    use datafusion::physical_expr::expressions::col;

    use super::*;

    fn call(name: &str) -> AggregateFunctionExpr {
        let aggregate = of_lines().into_iter().find(|aggregate| aggregate.name() == name).unwrap();
        let fields = ["y", "x"].map(|name| Field::new(name, DataType::Float64, true));
        let schema = Schema::new(fields.to_vec());
        let args = vec![col("y", &schema).unwrap(), col("x", &schema).unwrap()];
        AggregateExprBuilder::new(aggregate, args).schema(Arc::new(schema)).alias("a").build().unwrap()
    }

    /// What an aggregate is of these points, three to a part.
    fn in_parts(name: &str, y: &[f64], x: &[f64]) -> ScalarValue {
        let call = call(name);
        let mut all = call.create_accumulator().unwrap();
        for (y, x) in y.chunks(3).zip(x.chunks(3)) {
            let mut part = call.create_accumulator().unwrap();
            let points: [ArrayRef; 2] =
                [y, x].map(|values| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) });
            part.update_batch(&points).unwrap();
            let states: Vec<ArrayRef> = part.state().unwrap().iter().map(|state| state.to_array().unwrap()).collect();
            all.merge_batch(&states).unwrap();
        }
        all.evaluate().unwrap()
    }

    #[test]
    fn equal_values_are_equal_in_parts() {
        let (same, different) = (&[0.1; 9], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        assert_eq!(in_parts("regr_r2", same, different), ScalarValue::Float64(Some(1.0)));
        assert_eq!(in_parts("regr_slope", different, same), ScalarValue::Float64(None));
        assert_eq!(in_parts("regr_syy", same, different), ScalarValue::Float64(Some(0.0)));
        assert_eq!(in_parts("regr_sxx", same, different), ScalarValue::Float64(Some(60.0)));
        assert_eq!(in_parts("regr_avgx", same, different), ScalarValue::Float64(Some(5.0)));
    }

    #[test]
    fn infinity_is_no_point_to_begin_with() {
        let average = in_parts("regr_avgx", &[1.0; 3], &[1.0, 1.0, f64::INFINITY]);
        assert_eq!(average, ScalarValue::Float64(Some(f64::INFINITY)));
    }
}
