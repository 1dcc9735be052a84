//! `<`, `<=`, `>` and `>=` of arrays: a null element is greater than all others, as in `ORDER BY`.
//!
//! The engine takes it for the smallest there (DataFusion 54.1, `datum.rs`, `compare_op_for_nested`).

use std::sync::Arc;

use datafusion::arrow::array::{Array, BooleanArray, make_comparator};
use datafusion::arrow::buffer::{BooleanBuffer, NullBuffer};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, internal_err, plan_err};
use datafusion::logical_expr::binary::comparison_coercion;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Plans the operators.
#[derive(Debug)]
pub(crate) struct ArrayOrder;

impl ExprPlanner for ArrayOrder {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let order = match raw.op {
            BinaryOperator::Lt => Order::Less,
            BinaryOperator::LtEq => Order::AtMost,
            BinaryOperator::Gt => Order::Greater,
            BinaryOperator::GtEq => Order::AtLeast,
            _ => return Ok(PlannerResult::Original(raw)),
        };
        // Operands without a type yet, such as parameters, are left to the engine.
        let is_array = |value: &Expr| matches!(value.get_type(schema), Ok(DataType::List(_)));
        if !is_array(&raw.left) || !is_array(&raw.right) {
            return Ok(PlannerResult::Original(raw));
        }
        let compared = ScalarUDF::new_from_impl(Compared::new(order));
        Ok(PlannerResult::Planned(compared.call(vec![raw.left, raw.right])))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Order {
    Less,
    AtMost,
    Greater,
    AtLeast,
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
