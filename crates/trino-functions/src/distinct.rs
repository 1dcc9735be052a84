//! Aggregates of different values, such as `sum(DISTINCT x)`: DataFusion collects the values, the result is computed here.

use std::fmt;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::logical_expr::Accumulator;
use datafusion::scalar::ScalarValue;

/// One such aggregate.
pub(crate) struct OfDistinct<E> {
    kept: Box<dyn Accumulator>,
    evaluate: E,
}

impl<E: Fn(ArrayRef) -> Result<ScalarValue>> OfDistinct<E> {
    /// The aggregate of the values that `kept` keeps; `evaluate` turns them into the result.
    pub(crate) fn new(kept: Box<dyn Accumulator>, evaluate: E) -> Self {
        Self { kept, evaluate }
    }
}

impl<E> fmt::Debug for OfDistinct<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OfDistinct").field(&self.kept).finish()
    }
}

impl<E> Accumulator for OfDistinct<E>
where
    E: Fn(ArrayRef) -> Result<ScalarValue> + Send + Sync + 'static,
{
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.kept.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.kept.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.kept.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.kept.state()?.as_slice() {
            [ScalarValue::List(list)] if list.len() == 1 => (self.evaluate)(list.value(0)),
            other => internal_err!("different values are kept as {other:?}"),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.kept.size()
    }
}
