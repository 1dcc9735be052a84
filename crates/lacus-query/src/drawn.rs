//! Values that differ each time they are computed, where the optimizer asks for them twice: `random() BETWEEN 0.4 AND 0.6`,
//! `coalesce(nullif(floor(random() * 3), 0), 1)`.
//!
//! It writes them out (DataFusion 54.1, `expr_simplifier.rs`, `coalesce.rs`) as `random() >= 0.4 AND random() <= 0.6` and as
//! `CASE WHEN … IS NOT NULL THEN … END`. Here they are functions, to which a value is given once.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::compute::kernels::zip::zip;
use datafusion::arrow::compute::{and_kleene, is_not_null};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    Between, ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply_cmp;

/// An expression in which such a value is asked for once.
pub(crate) fn drawn_once(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::Between(between) if between.expr.is_volatile() => Transformed::yes(is_between(between)),
        Expr::ScalarFunction(call) if ["coalesce", "nvl"].contains(&call.name()) && asks_twice(&call.args) => {
            Transformed::yes(ScalarUDF::from(FirstThere::default()).call(call.args))
        }
        expr => Transformed::no(expr),
    }
}

/// `value BETWEEN low AND high` as a function.
pub(crate) fn is_between(Between { expr, negated, low, high }: Between) -> Expr {
    let is_between = ScalarUDF::from(IsBetween::default()).call(vec![*expr, *low, *high]);
    if negated { Expr::Not(Box::new(is_between)) } else { is_between }
}

/// Whether such a value is among those of which the engine asks first whether they are there: all but the last.
fn asks_twice(values: &[Expr]) -> bool {
    values.split_last().is_some_and(|(_, first)| first.iter().any(Expr::is_volatile))
}

/// Whether a value is between two others of its type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct IsBetween {
    signature: Signature,
}

impl Default for IsBetween {
    fn default() -> Self {
        Self { signature: Signature::any(3, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for IsBetween {
    fn name(&self) -> &str {
        "is_between"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, low, high] = args.args.as_slice() else { return internal_err!("a value is between two") };
        let is_low_enough = apply_cmp(Operator::LtEq, value, high)?.into_array(args.number_rows)?;
        let is_high_enough = apply_cmp(Operator::GtEq, value, low)?.into_array(args.number_rows)?;
        let is_between = and_kleene(is_high_enough.as_boolean(), is_low_enough.as_boolean())?;
        Ok(ColumnarValue::Array(Arc::new(is_between)))
    }
}

/// The first of some values of one type that is there.
#[derive(Debug, PartialEq, Eq, Hash)]
struct FirstThere {
    signature: Signature,
}

impl Default for FirstThere {
    fn default() -> Self {
        Self { signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for FirstThere {
    fn name(&self) -> &str {
        "first_there"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        match kinds.first() {
            Some(kind) => Ok(kind.clone()),
            None => internal_err!("none of no values is there"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut found: Option<ArrayRef> = None;
        for value in args.args.into_iter().rev() {
            let value = value.into_array(args.number_rows)?;
            found = Some(match found {
                Some(next) => zip(&is_not_null(&value)?, &value, &next)?,
                None => value,
            });
        }
        match found {
            Some(found) => Ok(ColumnarValue::Array(found)),
            None => internal_err!("none of no values is there"),
        }
    }
}
