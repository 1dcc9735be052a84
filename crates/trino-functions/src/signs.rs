//! `bigint` for what DataFusion counts in unsigned numbers: rows, ranks, elements and places in arrays.
//!
//! Neither Trino nor PostgreSQL has unsigned numbers. `-rank()` would be refused, and `row_number() - 1` a decimal.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::{SortOptions, cast as cast_array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::window_state::WindowAggState;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LimitEffect, PartitionEvaluator, ReversedUDWF, Signature, WindowUDF, WindowUDFImpl, cast,
};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::scalar::ScalarValue;

/// The window functions that count in unsigned numbers.
const UNSIGNED_WINDOWS: [&str; 4] = ["row_number", "rank", "dense_rank", "ntile"];

/// Gives the functions of the state signed numbers.
///
/// # Errors
/// If the state refuses a function.
pub(crate) fn register(state: &mut SessionState) -> Result<()> {
    for name in UNSIGNED_WINDOWS {
        let inner = state.udwf(name)?;
        state.register_udwf(Arc::new(WindowUDF::new_from_impl(Signed { inner })))?;
    }
    state.register_function_rewrite(Arc::new(Signs))
}

/// Casts what a function counts.
#[derive(Debug)]
struct Signs;

impl FunctionRewrite for Signs {
    fn name(&self) -> &str {
        "signs"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        if !matches!(expr, Expr::ScalarFunction(_)) {
            return Ok(Transformed::no(expr));
        }
        // What has no type yet is refused later, with a better text.
        let signed = expr.get_type(schema).ok().and_then(|kind| signed(&kind));
        Ok(match signed {
            Some(signed) => Transformed::yes(cast(expr, signed)),
            None => Transformed::no(expr),
        })
    }
}

/// The type in place of an unsigned one; none if it is no such type.
fn signed(kind: &DataType) -> Option<DataType> {
    match kind {
        unsigned if unsigned.is_unsigned_integer() => Some(DataType::Int64),
        DataType::List(element) => {
            let kind = signed(element.data_type())?;
            Some(DataType::List(Arc::new(Field::clone(element).with_data_type(kind))))
        }
        _ => None,
    }
}

/// A window function whose numbers have a sign.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Signed {
    inner: Arc<WindowUDF>,
}

impl WindowUDFImpl for Signed {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(SignedEvaluator { inner: self.inner.inner().partition_evaluator(args)? }))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        let field = self.inner.field(args)?;
        Ok(Arc::new(Field::clone(&field).with_data_type(DataType::Int64)))
    }

    fn sort_options(&self) -> Option<SortOptions> {
        self.inner.sort_options()
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(kinds)
    }

    fn reverse_expr(&self) -> ReversedUDWF {
        ReversedUDWF::NotSupported
    }

    fn limit_effect(&self, args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        self.inner.inner().limit_effect(args)
    }
}

#[derive(Debug)]
struct SignedEvaluator {
    inner: Box<dyn PartitionEvaluator>,
}

impl PartitionEvaluator for SignedEvaluator {
    fn memoize(&mut self, state: &mut WindowAggState) -> Result<()> {
        self.inner.memoize(state)
    }

    fn get_range(&self, row: usize, rows: usize) -> Result<Range<usize>> {
        self.inner.get_range(row, rows)
    }

    fn is_causal(&self) -> bool {
        self.inner.is_causal()
    }

    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        Ok(cast_array(&self.inner.evaluate_all(values, rows)?, &DataType::Int64)?)
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        self.inner.evaluate(values, range)?.cast_to(&DataType::Int64)
    }

    fn evaluate_all_with_rank(&self, rows: usize, ranks: &[Range<usize>]) -> Result<ArrayRef> {
        Ok(cast_array(&self.inner.evaluate_all_with_rank(rows, ranks)?, &DataType::Int64)?)
    }

    fn supports_bounded_execution(&self) -> bool {
        self.inner.supports_bounded_execution()
    }

    fn uses_window_frame(&self) -> bool {
        self.inner.uses_window_frame()
    }

    fn include_rank(&self) -> bool {
        self.inner.include_rank()
    }
}
