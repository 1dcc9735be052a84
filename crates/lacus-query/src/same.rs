//! The identity function, which hides an expression from the optimizer: nothing it knows about a value is known of `same(value)`.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::scalar::ScalarValue;

/// `same(value)`: equal to the value, and nullable.
pub(crate) fn same(value: Expr) -> Expr {
    function().call(vec![value])
}

/// `same(value, nothing())`: as `same(value)`, and neither computed before there are rows nor taken for one value in all of them.
pub(crate) fn unknown(value: Expr) -> Expr {
    function().call(vec![value, nothing().call(Vec::new())])
}

/// The same for a column of a physical plan.
pub(crate) fn unknown_column(
    column: Arc<dyn PhysicalExpr>,
    field: &FieldRef,
    config: &Arc<ConfigOptions>,
) -> Arc<dyn PhysicalExpr> {
    let null = Arc::new(Field::new("nothing", DataType::Null, true));
    let nothing = ScalarFunctionExpr::new("nothing", nothing(), Vec::new(), null, Arc::clone(config));
    let both: Vec<Arc<dyn PhysicalExpr>> = vec![column, Arc::new(nothing)];
    Arc::new(ScalarFunctionExpr::new("same", function(), both, Arc::clone(field), Arc::clone(config)))
}

fn function() -> Arc<ScalarUDF> {
    static SAME: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(Same::default())));
    Arc::clone(&SAME)
}

fn nothing() -> Arc<ScalarUDF> {
    static NOTHING: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(Nothing::default())));
    Arc::clone(&NOTHING)
}

/// Whether it is what is put beside such a value.
pub(crate) fn is_nothing(value: &Expr) -> bool {
    matches!(value, Expr::ScalarFunction(call) if call.func.inner().downcast_ref::<Nothing>().is_some())
}

/// Whether it is a call of `same` already.
pub(crate) fn is_same(value: &Expr) -> bool {
    matches!(value, Expr::ScalarFunction(call) if call.func.inner().downcast_ref::<Same>().is_some())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Same {
    signature: Signature,
}

impl Default for Same {
    fn default() -> Self {
        Self { signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Same {
    fn name(&self) -> &str {
        "same"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        match kinds {
            [kind, ..] => Ok(kind.clone()),
            [] => internal_err!("one value is the same as itself"),
        }
    }

    fn invoke_with_args(&self, given: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match given.args.into_iter().next() {
            Some(value) => Ok(value),
            None => internal_err!("one value is the same as itself"),
        }
    }
}

/// Null, of which the optimizer knows nothing: it is said to differ from row to row.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Nothing {
    signature: Signature,
}

impl Default for Nothing {
    fn default() -> Self {
        Self { signature: Signature::nullary(Volatility::Volatile) }
    }
}

impl ScalarUDFImpl for Nothing {
    fn name(&self) -> &str {
        "nothing"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Null)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::Null))
    }
}
