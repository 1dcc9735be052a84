//! Series as arrays, with an end to how many values they have.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, TimeUnit};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};

/// The most values of arrays that are made at once: 80 MB.
const VALUES_MAX: i128 = 10_000_000;

const DAY_NANOS: i128 = 86_400_000_000_000;

/// The engine's function, called only for what fits.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Bounded {
    inner: Arc<ScalarUDF>,
}

impl Bounded {
    pub(super) fn new(inner: Arc<ScalarUDF>) -> Self {
        Self { inner }
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let places = arrays.iter().map(places).collect::<Result<Vec<_>>>()?;
        let rows = arrays.first().map_or(0, |array| array.len());
        let mut count = 0;
        for row in 0..rows {
            let of_row: Option<Vec<i128>> = places.iter().map(|places| places[row]).collect();
            count += of_row.as_deref().map_or(0, values_of);
            if count > VALUES_MAX {
                return exec_err!("{}: at most {VALUES_MAX} values are made at once", self.name());
            }
        }
        self.inner.invoke_with_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// The number of values that a row asks for, or somewhat more.
fn values_of(places: &[i128]) -> i128 {
    let (first, last, step) = match *places {
        [last] => (0, last, 1),
        [first, last] => (first, last, 1),
        [first, last, step] => (first, last, step),
        _ => return 0,
    };
    // A step of zero, or in the wrong direction, is for the function to judge.
    let is_on_its_way = step != 0 && (last >= first) == (step > 0);
    if is_on_its_way { (last - first) / step + 1 } else { 0 }
}

/// Integers, or nanoseconds of timestamps and intervals; a month counts as a short one.
fn places(array: &ArrayRef) -> Result<Vec<Option<i128>>> {
    if let Some(intervals) = array.as_primitive_opt::<IntervalMonthDayNanoType>() {
        let nanos = |interval: IntervalMonthDayNano| {
            let days = i128::from(interval.months) * 28 + i128::from(interval.days);
            days * DAY_NANOS + i128::from(interval.nanoseconds)
        };
        return Ok(intervals.iter().map(|interval| interval.map(nanos)).collect());
    }
    let scale = match array.data_type() {
        DataType::Date32 => DAY_NANOS,
        DataType::Date64 | DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
        _ => 1,
    };
    let values = cast(array, &DataType::Int64)?;
    Ok(values.as_primitive::<Int64Type>().iter().map(|value| value.map(|value| i128::from(value) * scale)).collect())
}
