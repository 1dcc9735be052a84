//! Sums and averages of doubles over sliding frames.
//!
//! What was added is subtracted when its row leaves the frame. So the digits that a sum has no place for are kept beside it, and
//! values that are not finite are counted: infinity minus infinity is no number.

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::Float64Type;
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::logical_expr::Accumulator;
use datafusion::scalar::ScalarValue;

/// A sum of doubles, or their average.
#[derive(Debug)]
pub(super) struct Doubles {
    is_average: bool,
    /// Of the values that are finite.
    sum: Exact,
    values: u64,
    not_finite: NotFinite,
}

/// The number of values that are not finite, by kind.
#[derive(Debug, Default)]
struct NotFinite {
    nans: u64,
    infinities: u64,
    negative_infinities: u64,
}

impl NotFinite {
    /// The count that a value belongs to.
    fn count_of(&mut self, value: f64) -> &mut u64 {
        if value.is_nan() {
            &mut self.nans
        } else if value > 0.0 {
            &mut self.infinities
        } else {
            &mut self.negative_infinities
        }
    }
}

impl Doubles {
    pub(super) fn new(is_average: bool) -> Self {
        Self { is_average, sum: Exact::default(), values: 0, not_finite: NotFinite::default() }
    }

    fn value(&self) -> Result<f64> {
        match self.not_finite {
            NotFinite { nans: 0, infinities: 0, negative_infinities: 0 } => self.sum.value(),
            NotFinite { nans: 0, infinities: 1.., negative_infinities: 0 } => Ok(f64::INFINITY),
            NotFinite { nans: 0, infinities: 0, negative_infinities: 1.. } => Ok(f64::NEG_INFINITY),
            _ => Ok(f64::NAN),
        }
    }
}

impl Accumulator for Doubles {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<Float64Type>().iter().flatten() {
            self.values += 1;
            if value.is_finite() {
                self.sum.add(value);
            } else {
                *self.not_finite.count_of(value) += 1;
            }
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<Float64Type>().iter().flatten() {
            self.values -= 1;
            if value.is_finite() {
                self.sum.add(-value);
            } else {
                *self.not_finite.count_of(value) -= 1;
            }
        }
        if self.values == 0 {
            self.sum = Exact::default();
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.values == 0 {
            return Ok(ScalarValue::Float64(None));
        }
        let sum = self.value()?;
        // The number of rows is small enough to be exact in a double.
        Ok(ScalarValue::Float64(Some(if self.is_average { sum / self.values as f64 } else { sum })))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("windows are not counted in parts")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        internal_err!("windows are not counted in parts")
    }
}

/// A sum with the digits that it has no place for: adding a value and subtracting it leaves no error.
#[derive(Debug, Clone, Copy, Default)]
struct Exact {
    sum: f64,
    lost: f64,
}

impl Exact {
    /// The exact sum of two numbers and its rounding error (Møller, Knuth).
    fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        let taken = sum - self.sum;
        self.lost += (self.sum - (sum - taken)) + (value - taken);
        self.sum = sum;
    }

    fn value(self) -> Result<f64> {
        let value = self.sum + self.lost;
        if !value.is_finite() {
            // After an overflow nothing can be subtracted any more.
            return exec_err!("value out of range: overflow, in a sum over a frame that moves");
        }
        Ok(value)
    }
}
