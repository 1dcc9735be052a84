//! Booleans among joined texts: to PostgreSQL `concat('a', true)` is `at`, though `true::text` is `true`.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{Expr, ExprSchemable, case, lit};

/// Functions that concatenate values of any type.
const JOINING: [&str; 2] = ["concat", "concat_ws"];

/// Writes concatenated booleans as `t` and `f`.
#[derive(Debug)]
pub(crate) struct Booleans;

impl FunctionRewrite for Booleans {
    fn name(&self) -> &str {
        "booleans"
    }

    fn rewrite(&self, mut expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let mut is_changed = false;
        if let Expr::ScalarFunction(call) = &mut expr
            && JOINING.contains(&call.func.name())
        {
            for given in &mut call.args {
                if matches!(given.get_type(schema), Ok(DataType::Boolean)) {
                    *given = letter(std::mem::take(given))?;
                    is_changed = true;
                }
            }
        }
        Ok(if is_changed { Transformed::yes(expr) } else { Transformed::no(expr) })
    }
}

fn letter(value: Expr) -> Result<Expr> {
    case(value).when(lit(true), lit("t")).when(lit(false), lit("f")).end()
}
