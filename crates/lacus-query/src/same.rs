//! The identity function, which hides an expression from the optimizer: nothing it knows about a value is known of `same(value)`.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// `same(value)`: equal to the value, and nullable.
pub(crate) fn same(value: Expr) -> Expr {
    static SAME: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(Same::default())));
    SAME.call(vec![value])
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
        Self { signature: Signature::any(1, Volatility::Immutable) }
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
            [kind] => Ok(kind.clone()),
            _ => internal_err!("one value is the same as itself"),
        }
    }

    fn invoke_with_args(&self, mut given: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match (given.args.pop(), given.args.is_empty()) {
            (Some(value), true) => Ok(value),
            _ => internal_err!("one value is the same as itself"),
        }
    }
}
