//! `+`, `-` and `*` of whole numbers, `-x`, and dates as nanoseconds, which say so when they overflow.
//!
//! DataFusion's wrap around: the answer would be a wrong one. Here they become functions, once types are settled and before
//! constants are computed. `sum(x + 1)` keeps its operator until the end, so that many sums of one column are computed
//! from one, as DataFusion does; what comes of that is checked, too.

use datafusion::arrow::array::{ArrayRef, Datum};
use datafusion::arrow::compute::kernels::numeric::{add, mul, neg, sub};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, cast,
};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::physical_expr_common::datum::apply;

use crate::scalar::{MICROS, bad};

/// Puts functions in the place of operators that would wrap around.
#[derive(Debug)]
pub(crate) struct CheckedOperators {
    /// Whether `sum(x + 1)` keeps its operator.
    pub(crate) spares_sums: bool,
}

impl OptimizerRule for CheckedOperators {
    fn name(&self) -> &str {
        "checked_operators"
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        plan.transform_up_with_subqueries(|plan| self.checked_plan(plan))
    }
}

impl CheckedOperators {
    fn checked_plan(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let mut schema = merge_schema(&plan.inputs());
        if let LogicalPlan::TableScan(scan) = &plan {
            // Its filters are over all columns, of which it shows some.
            schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?);
        }
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let checked = expr.transform_down(|expr| {
                if self.spares_sums && is_linear_sum(&expr) {
                    return Ok(Transformed::new(expr, false, TreeNodeRecursion::Jump));
                }
                checked(expr, &schema)
            })?;
            Ok(checked.update_data(|expr| name.restore(expr)))
        })
    }
}

/// `sum(x + 1)`, or `sum(1 + x)`.
fn is_linear_sum(expr: &Expr) -> bool {
    let Expr::AggregateFunction(call) = expr else { return false };
    let [Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right })] = call.params.args.as_slice() else {
        return false;
    };
    call.func.name() == "sum"
        && call.params.filter.is_none()
        && matches!(
            (left.as_ref(), right.as_ref()),
            (value, Expr::Literal(..)) | (Expr::Literal(..), value) if is_column(value)
        )
}

/// A column, also of a smaller type than the sum.
fn is_column(expr: &Expr) -> bool {
    match expr {
        Expr::Cast(cast) => matches!(*cast.expr, Expr::Column(_)),
        other => matches!(other, Expr::Column(_)),
    }
}

fn checked(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let (operation, arguments) = match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let operation = match op {
                Operator::Plus => Operation::Add,
                Operator::Minus => Operation::Subtract,
                Operator::Multiply => Operation::Multiply,
                _ => return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))),
            };
            let kind = left.get_type(schema)?;
            if !kind.is_integer() || right.get_type(schema)? != kind {
                return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
            }
            (operation, vec![*left, *right])
        }
        Expr::Negative(inner) if inner.get_type(schema)?.is_signed_integer() => (Operation::Negate, vec![*inner]),
        // From day to nanosecond the kernel wraps around; from microsecond to nanosecond it does not.
        Expr::Cast(Cast { expr, field })
            if is_nanos(field.data_type()) && expr.get_type(schema)? == DataType::Date32 =>
        {
            return Ok(Transformed::yes(cast(cast(*expr, MICROS), field.data_type().clone())));
        }
        other => return Ok(Transformed::no(other)),
    };
    Ok(Transformed::yes(ScalarUDF::new_from_impl(Checked::new(operation)).call(arguments)))
}

fn is_nanos(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(TimeUnit::Nanosecond, _))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Negate,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Subtract => "subtract",
            Self::Multiply => "multiply",
            Self::Negate => "negate",
        }
    }

    fn sign(self) -> char {
        match self {
            Self::Add => '+',
            Self::Subtract | Self::Negate => '-',
            Self::Multiply => '*',
        }
    }

    fn kernel(self, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Add => add(left, right),
            Self::Subtract => sub(left, right),
            Self::Multiply => mul(left, right),
            Self::Negate => neg(left.get().0),
        }
    }
}

/// An operator as a function.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operation: Operation,
    signature: Signature,
}

impl Checked {
    fn new(operation: Operation) -> Self {
        let arguments = if operation == Operation::Negate { 1 } else { 2 };
        Self { operation, signature: Signature::any(arguments, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        self.operation.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = match args.args.as_slice() {
            [left, right] => [left, right],
            [only] => [only, only],
            _ => return internal_err!("{} has {} arguments", self.name(), args.args.len()),
        };
        let kind = args.return_field.data_type();
        apply(left, right, |left, right| self.operation.kernel(left, right))
            .map_err(|_| bad(format!("{} overflow", crate::types::name(kind))))
    }

    /// As the operator it stands for.
    fn display_name(&self, args: &[Expr]) -> Result<String> {
        self.schema_name(args)
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let names: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(match names.as_slice() {
            [left, right] => format!("{left} {} {right}", self.operation.sign()),
            names => format!("(- {})", names.join(", ")),
        })
    }
}
