//! Sorting by a comparison of something computed: `ORDER BY length(city) > 3`, `OVER (ORDER BY CASE WHEN lower(city) < 'm' THEN 1 END)`.
//!
//! The engine looks for the bounds of what it sorts by. Most functions have none, not even of their type, and a comparison of bounds of
//! two types fails (DataFusion 54.1, `interval_arithmetic.rs`): then it does not see that rows are sorted as they have to be, and
//! rejects its own plan. Here such comparisons are functions, too.

use std::mem::take;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::expr::{AggregateFunction, Between};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::physical_expr_common::datum::apply_cmp;

use crate::drawn::is_between;

/// Hides the bounds of what rows are sorted by.
#[derive(Debug)]
pub(crate) struct KeyBounds;

impl OptimizerRule for KeyBounds {
    fn name(&self) -> &str {
        "key_bounds"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Sort(_) => plan.map_expressions(hidden),
            LogicalPlan::Window(_) | LogicalPlan::Aggregate(_) => {
                let names = NamePreserver::new(&plan);
                plan.map_expressions(|expr| {
                    let name = names.save(&expr);
                    let made = expr.transform_up(with_hidden_keys)?;
                    Ok(made.update_data(|expr| name.restore(expr)))
                })
            }
            plan => Ok(Transformed::no(plan)),
        }
    }
}

fn with_hidden_keys(expr: Expr) -> Result<Transformed<Expr>> {
    let mut is_changed = false;
    let mut hide = |key: &mut Expr| -> Result<()> {
        let made = hidden(take(key))?;
        is_changed |= made.transformed;
        *key = made.data;
        Ok(())
    };
    let expr = match expr {
        Expr::WindowFunction(mut window) => {
            window.params.partition_by.iter_mut().try_for_each(&mut hide)?;
            window.params.order_by.iter_mut().try_for_each(|sort| hide(&mut sort.expr))?;
            Expr::WindowFunction(window)
        }
        Expr::AggregateFunction(AggregateFunction { func, mut params }) => {
            params.order_by.iter_mut().try_for_each(|sort| hide(&mut sort.expr))?;
            Expr::AggregateFunction(AggregateFunction { func, params })
        }
        expr => expr,
    };
    Ok(if is_changed { Transformed::yes(expr) } else { Transformed::no(expr) })
}

/// A key, in which comparisons are functions.
fn hidden(key: Expr) -> Result<Transformed<Expr>> {
    key.transform_up(|expr| {
        Ok(match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right })
                if is_of_order(op) && (is_computed(&left) || is_computed(&right)) =>
            {
                Transformed::yes(ScalarUDF::from(Compared::by(op)).call(vec![*left, *right]))
            }
            Expr::Between(between) if is_computed_between(&between) => Transformed::yes(is_between(between)),
            expr => Transformed::no(expr),
        })
    })
}

fn is_computed_between(Between { expr, low, high, .. }: &Between) -> bool {
    [expr, low, high].into_iter().any(|value| is_computed(value))
}

fn is_computed(value: &Expr) -> bool {
    !matches!(value, Expr::Column(_) | Expr::Literal(..))
}

fn is_of_order(op: Operator) -> bool {
    matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
}

/// A comparison, of whose bounds nobody asks.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Compared {
    op: Operator,
    signature: Signature,
}

impl Compared {
    fn by(op: Operator) -> Self {
        Self { op, signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Compared {
    fn name(&self) -> &str {
        match self.op {
            Operator::Lt => "is_less",
            Operator::LtEq => "is_less_or_equal",
            Operator::Gt => "is_greater",
            _ => "is_greater_or_equal",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else { return internal_err!("two values are compared") };
        apply_cmp(self.op, left, right)
    }
}
