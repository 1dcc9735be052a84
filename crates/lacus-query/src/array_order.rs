//! `<`, `<=`, `>`, `>=` and `BETWEEN` of arrays: a null element is greater than all others, as in `ORDER BY`.
//!
//! The engine takes it for the smallest there (DataFusion 54.1, `datum.rs`, `compare_op_for_nested`).

use std::sync::Arc;

use datafusion::arrow::array::{Array, BooleanArray, make_comparator};
use datafusion::arrow::buffer::{BooleanBuffer, NullBuffer};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, internal_err, plan_err};
use datafusion::logical_expr::binary::comparison_coercion;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    Between, BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

/// Decides how arrays are compared, once the types of all parameters are known.
#[derive(Debug)]
pub(crate) struct ArrayOrder;

impl FunctionRewrite for ArrayOrder {
    fn name(&self) -> &str {
        "array_order"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let is_array = |value: &Expr| matches!(value.get_type(schema), Ok(DataType::List(_)));
        Ok(match expr {
            // The operator is looked at first: to know the type of `a AND b AND c …`, all of it is gone through.
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match Order::of(op) {
                Some(order) if is_array(&left) && is_array(&right) => Transformed::yes(compared(order, *left, *right)),
                _ => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
            },
            Expr::Between(Between { expr, negated, low, high })
                if is_array(&expr) && is_array(&low) && is_array(&high) =>
            {
                let is_high_enough = compared(Order::AtLeast, expr.as_ref().clone(), *low);
                let is_between = is_high_enough.and(compared(Order::AtMost, *expr, *high));
                Transformed::yes(if negated { Expr::Not(Box::new(is_between)) } else { is_between })
            }
            expr => Transformed::no(expr),
        })
    }
}

fn compared(order: Order, left: Expr, right: Expr) -> Expr {
    ScalarUDF::new_from_impl(Compared::new(order)).call(vec![left, right])
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Order {
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Order {
    fn of(operator: Operator) -> Option<Self> {
        match operator {
            Operator::Lt => Some(Self::Less),
            Operator::LtEq => Some(Self::AtMost),
            Operator::Gt => Some(Self::Greater),
            Operator::GtEq => Some(Self::AtLeast),
            _ => None,
        }
    }
}

/// An operator as a function.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Compared {
    order: Order,
    signature: Signature,
}

impl Compared {
    fn new(order: Order) -> Self {
        Self { order, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Compared {
    fn name(&self) -> &str {
        match self.order {
            Order::Less => "array_less",
            Order::AtMost => "array_at_most",
            Order::Greater => "array_greater",
            Order::AtLeast => "array_at_least",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        match kinds {
            [left, right] => match comparison_coercion(left, right) {
                Some(kind) => Ok(vec![kind.clone(), kind]),
                None => plan_err!("{left} can't be compared with {right}"),
            },
            _ => internal_err!("two arrays are compared"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let [left, right] = columns.as_slice() else {
            return internal_err!("{} has {} arguments", self.name(), columns.len());
        };
        let nulls_last = SortOptions { descending: false, nulls_first: false };
        let compare = make_comparator(left, right, nulls_last)?;
        let holds = |row: usize| match self.order {
            Order::Less => compare(row, row).is_lt(),
            Order::AtMost => compare(row, row).is_le(),
            Order::Greater => compare(row, row).is_gt(),
            Order::AtLeast => compare(row, row).is_ge(),
        };
        let found = BooleanArray::new(
            BooleanBuffer::collect_bool(left.len(), holds),
            NullBuffer::union(left.nulls(), right.nulls()),
        );
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?));
        }
        Ok(ColumnarValue::Array(Arc::new(found)))
    }

    /// As the operator it stands for.
    fn display_name(&self, args: &[Expr]) -> Result<String> {
        self.schema_name(args)
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let sign = match self.order {
            Order::Less => "<",
            Order::AtMost => "<=",
            Order::Greater => ">",
            Order::AtLeast => ">=",
        };
        let names: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(names.join(&format!(" {sign} ")))
    }
}
