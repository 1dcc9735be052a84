//! `lag` and `lead` with `IGNORE NULLS`. The engine's (DataFusion 54.1) fail over partitions without a null, and find no row that
//! comes, where a window beside them wants whole partitions; and take wrong rows of several ahead, or backwards.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, UInt64Array};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::kernels::zip::zip;
use datafusion::arrow::compute::{cast, is_not_null, take};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, not_impl_err, plan_err};
use datafusion::logical_expr::function::{ExpressionArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{LimitEffect, PartitionEvaluator, Signature, WindowUDF, WindowUDFImpl};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::expressions::Literal;
use datafusion::scalar::ScalarValue;

/// `lag` or `lead` that counts only rows with a value.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Neighbour {
    function: Arc<WindowUDF>,
    is_ahead: bool,
}

impl Neighbour {
    /// None if it is another function.
    pub(super) fn of(function: &Arc<WindowUDF>) -> Option<Self> {
        let is_ahead = match function.name() {
            "lag" => false,
            "lead" => true,
            _ => return None,
        };
        Some(Self { function: Arc::clone(function), is_ahead })
    }
}

impl WindowUDFImpl for Neighbour {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    /// The values, and those to take where there is no such row.
    fn expressions(&self, args: ExpressionArgs<'_>) -> Vec<Arc<dyn PhysicalExpr>> {
        let exprs = args.input_exprs();
        exprs.first().into_iter().chain(exprs.get(2)).map(Arc::clone).collect()
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        let offset = offset(args.input_exprs().get(1))?;
        let back = if self.is_ahead { offset.saturating_neg() } else { offset };
        let kind = kind(args.input_fields())?;
        Ok(Box::new(Neighbours { back, kind, passed: VecDeque::new() }))
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        self.function.field(args)
    }

    fn limit_effect(&self, _args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

fn offset(expr: Option<&Arc<dyn PhysicalExpr>>) -> Result<i64> {
    let Some(expr) = expr else { return Ok(1) };
    let Some(literal) = expr.downcast_ref::<Literal>() else {
        return not_impl_err!("lag(x, n) and lead(x, n) IGNORE NULLS where n is not a constant");
    };
    match literal.value().cast_to(&DataType::Int64)? {
        ScalarValue::Int64(Some(offset)) => Ok(offset),
        _ => not_impl_err!("lag(x, NULL) and lead(x, NULL), which are null of every row; write NULL instead"),
    }
}

/// What is answered: values as they are, or of the type of the default if there is none.
fn kind(fields: &[FieldRef]) -> Result<DataType> {
    let kinds = fields.iter().map(|field| field.data_type()).collect::<Vec<_>>();
    match (kinds.as_slice(), kinds.get(2)) {
        ([DataType::Null, ..], Some(default)) => Ok((*default).clone()),
        ([kind, ..], Some(default)) if kind.is_integer() && default.is_numeric() && !default.is_integer() => {
            plan_err!("the default of lag(x, n, default) is no whole number, as x is; cast one of them")
        }
        ([kind, ..], _) => Ok((*kind).clone()),
        ([], _) => plan_err!("lag and lead take a value; write lag(x)"),
    }
}

#[derive(Debug)]
struct Neighbours {
    /// How many values before the current row's; after it if negative.
    back: i64,
    kind: DataType,
    /// The last values that were passed, as many as are needed.
    passed: VecDeque<ScalarValue>,
}

impl PartitionEvaluator for Neighbours {
    fn supports_bounded_execution(&self) -> bool {
        self.back > 0
    }

    fn is_causal(&self) -> bool {
        self.back > 0
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        let row = range.start;
        let value = ScalarValue::try_from_array(&values[0], row)?;
        let distance = distance(self.back);
        let found = if self.passed.len() == distance { self.passed.front().cloned() } else { None };
        if !value.is_null() {
            self.passed.push_back(value);
            if self.passed.len() > distance {
                self.passed.pop_front();
            }
        }
        match (found, values.get(1)) {
            (Some(found), _) => Ok(found),
            (None, Some(default)) => ScalarValue::try_from_array(default, row)?.cast_to(&self.kind),
            (None, None) => ScalarValue::try_from(&self.kind),
        }
    }

    fn evaluate_all(&mut self, values: &[ArrayRef], num_rows: usize) -> Result<ArrayRef> {
        let shown = cast(&values[0], &self.kind)?;
        let places = UInt64Array::from(places(shown.logical_nulls().as_ref(), num_rows, self.back));
        let found = take(&shown, &places, None)?;
        match values.get(1) {
            Some(default) => Ok(zip(&is_not_null(&places)?, &found, &cast(default, &self.kind)?)?),
            None => Ok(found),
        }
    }
}

fn distance(back: i64) -> usize {
    usize::try_from(back.unsigned_abs()).unwrap_or(usize::MAX)
}

/// Where the value is that each row gets.
fn places(nulls: Option<&NullBuffer>, rows: usize, back: i64) -> Vec<Option<u64>> {
    let distance = distance(back);
    let mut places = vec![None; rows];
    let mut passed = VecDeque::new();
    let visit = |row: usize| {
        if distance == 0 {
            places[row] = Some(row as u64);
            return;
        }
        if passed.len() == distance {
            places[row] = passed.front().copied();
        }
        if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
            passed.push_back(row as u64);
            if passed.len() > distance {
                passed.pop_front();
            }
        }
    };
    if back < 0 {
        (0..rows).rev().for_each(visit);
    } else {
        (0..rows).for_each(visit);
    }
    places
}
