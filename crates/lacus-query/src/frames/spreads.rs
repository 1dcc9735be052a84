//! Variances and standard deviations over sliding frames.
//!
//! Subtracting a value loses digits, down to a variance below zero, so nothing is subtracted. The values of a frame are a queue
//! of two halves: the front holds those that leave next, each with the spread from it to the end of the front; the back holds
//! those that came since, with the spread of all of them. When the front is empty, the back becomes the front. Each value is
//! looked at twice, however long the frame.

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::Float64Type;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::Accumulator;
use datafusion::scalar::ScalarValue;

/// Which of the functions it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Measure {
    /// The standard deviation, not the variance.
    is_root: bool,
    /// Of a sample, not of the whole population.
    is_of_sample: bool,
}

impl Measure {
    /// None if it is another function of the engine.
    pub(super) fn of(function: &str) -> Option<Self> {
        let (is_root, is_of_sample) = match function {
            "stddev" => (true, true),
            "stddev_pop" => (true, false),
            "var" => (false, true),
            "var_pop" => (false, false),
            _ => return None,
        };
        Some(Self { is_root, is_of_sample })
    }

    /// None of too few values.
    fn value(self, spread: Spread) -> Option<f64> {
        let parts = if self.is_of_sample { spread.values.saturating_sub(1) } else { spread.values };
        if parts == 0 {
            return None;
        }
        let variance = spread.squares / parts as f64;
        Some(if self.is_root { variance.sqrt() } else { variance })
    }
}

/// How far values are apart.
#[derive(Debug, Clone, Copy, Default)]
struct Spread {
    values: u64,
    mean: f64,
    /// The sum of the squares of their distances from the mean.
    squares: f64,
}

impl Spread {
    fn of(value: f64) -> Self {
        let squares = if value.is_finite() { 0.0 } else { f64::NAN };
        Self { values: 1, mean: value, squares }
    }

    /// Both together, by the formula of Chan, Golub and LeVeque. The spread of equal values stays zero.
    fn with(self, other: Self) -> Self {
        if self.values == 0 {
            return other;
        }
        if other.values == 0 {
            return self;
        }
        // The number of rows is small enough to be exact in a double.
        let values = self.values + other.values;
        let (these, others, all) = (self.values as f64, other.values as f64, values as f64);
        let apart = other.mean - self.mean;
        Self {
            values,
            mean: self.mean + apart * others / all,
            squares: self.squares + other.squares + apart * apart * (these * others) / all,
        }
    }
}

/// The values of a frame of doubles.
#[derive(Debug)]
pub(super) struct Spreads {
    measure: Measure,
    /// From each value to the last one in front. The value that leaves next is at the end.
    front: Vec<Spread>,
    /// The values that came after those in front, in order.
    behind: Vec<f64>,
    all_behind: Spread,
}

impl Spreads {
    pub(super) fn new(measure: Measure) -> Self {
        Self { measure, front: Vec::new(), behind: Vec::new(), all_behind: Spread::default() }
    }

    /// Makes what is behind the front.
    fn step_forward(&mut self) {
        let mut from_here = Spread::default();
        for value in self.behind.drain(..).rev() {
            from_here = Spread::of(value).with(from_here);
            self.front.push(from_here);
        }
        self.all_behind = Spread::default();
    }
}

impl Accumulator for Spreads {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<Float64Type>().iter().flatten() {
            self.behind.push(value);
            self.all_behind = self.all_behind.with(Spread::of(value));
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        // Rows leave in the order they came in: it is enough to count those with a value.
        for _ in values[0].as_primitive::<Float64Type>().iter().flatten() {
            if self.front.is_empty() {
                self.step_forward();
            }
            self.front.pop();
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let in_front = self.front.last().copied().unwrap_or_default();
        Ok(ScalarValue::Float64(self.measure.value(in_front.with(self.all_behind))))
    }

    fn size(&self) -> usize {
        size_of_val(self) + size_of_val(self.front.as_slice()) + size_of_val(self.behind.as_slice())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("windows are not counted in parts")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        internal_err!("windows are not counted in parts")
    }
}
