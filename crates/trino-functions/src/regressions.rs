//! Aggregates of pairs: correlation and linear regression.
//!
//! DataFusion (54.1, `regr.rs`, `correlation.rs`, `covariance.rs`) takes each pair into account, also where `DISTINCT` asks
//! for different ones. Where all points are on a level line, its `regr_r2` is null; by the standard it is 1.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::functions_aggregate::regr::regr_r2_udaf;
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

/// The aggregate `regr_r2`.
pub(crate) fn regr_r2() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(RSquared { inner: regr_r2_udaf() }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RSquared {
    inner: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for RSquared {
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
        Ok(Box::new(Fit { inner: self.inner.accumulator(args)? }))
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
}

impl Accumulator for Fit {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.is_level()? { Ok(ScalarValue::Float64(Some(1.0))) } else { self.inner.evaluate() }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}
