//! `+`, `-` and `*` of whole numbers and of decimals, `-x`, and dates as nanoseconds, which say so when they overflow; `/` of
//! decimals, rounded.
//!
//! DataFusion's wrap around, or give decimals more than 38 digits, which are read as fewer: the answer would be a wrong one. Its
//! quotients of decimals are cut off. Here they become functions, once types are settled and before constants are computed.
//! Decimals that can't outgrow 38 digits keep their operators. `sum(x + 1)` keeps its operator until the end, so that many
//! sums of one column are computed from one, as DataFusion does; what comes of that is checked, too.
//!
//! Decimals and intervals are negated here, too: DataFusion refuses one null that stands for all rows, as `m` of a file without
//! any (`ScalarValue::arithmetic_negate`).
//!
//! And fractions: `Infinity - Infinity` is a `NaN` with a sign on most processors, and so is `-x` of one. To DataFusion that is another
//! value, smaller than all numbers. What could make such a one is a function here, which gives the `NaN` without a sign.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, AsArray, Datum, Decimal128Array, PrimitiveArray, new_empty_array,
};
use datafusion::arrow::compute::kernels::arity::try_binary;
use datafusion::arrow::compute::kernels::numeric::{add, div, mul, neg, rem, sub};
use datafusion::arrow::datatypes::{ArrowPrimitiveType, DataType, Decimal128Type, Float32Type, Float64Type, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, internal_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, cast,
};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::physical_expr_common::datum::apply;
use datafusion::scalar::ScalarValue;

use crate::math::{DIGITS_MAX, cut, decimal, fits_decimal, is_decimal};
use crate::scalar::{MICROS, bad};
use crate::zeros::is_fraction;

/// Replaces operators that would wrap around.
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
        // Only filters of a scan have operators, and the schema of a wide table takes longer than all else here.
        if matches!(&plan, LogicalPlan::TableScan(scan) if scan.filters.is_empty()) {
            return Ok(Transformed::no(plan));
        }
        let mut schema = merge_schema(&plan.inputs());
        if let LogicalPlan::TableScan(scan) = &plan {
            // The filters of a scan may use columns that it does not return.
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

/// A column, or a cast of one of a smaller type than the sum.
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
                Operator::Divide => Operation::Divide,
                Operator::Modulo => Operation::Remainder,
                _ => return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))),
            };
            let (kind, other) = (left.get_type(schema)?, right.get_type(schema)?);
            let is_needed = if is_fraction(&kind) && kind == other {
                operation.may_make_nan(&left, &right)
            } else {
                operation.is_checked(&kind, &other)
            };
            if !is_needed {
                return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
            }
            (operation, vec![*left, *right])
        }
        Expr::Negative(inner) if is_negated_here(&inner.get_type(schema)?) => (Operation::Negate, vec![*inner]),
        // From days to nanoseconds the kernel wraps around; from microseconds to nanoseconds it does not.
        Expr::Cast(Cast { expr, field })
            if is_nanos(field.data_type()) && expr.get_type(schema)? == DataType::Date32 =>
        {
            return Ok(Transformed::yes(cast(cast(*expr, MICROS), field.data_type().clone())));
        }
        other => return Ok(Transformed::no(other)),
    };
    Ok(Transformed::yes(ScalarUDF::new_from_impl(Checked::new(operation)).call(arguments)))
}

fn is_negated_here(kind: &DataType) -> bool {
    kind.is_signed_integer() || is_decimal(kind) || is_fraction(kind) || matches!(kind, DataType::Interval(_))
}

/// What a constant is, if that is a finite number.
fn number(expr: &Expr) -> Option<f64> {
    let value = match expr {
        Expr::Literal(value, _) => value,
        Expr::Cast(Cast { expr, .. }) => match expr.as_ref() {
            Expr::Literal(value, _) if value.data_type().is_integer() => value,
            _ => return None,
        },
        _ => return None,
    };
    match value.cast_to(&DataType::Float64) {
        Ok(ScalarValue::Float64(Some(number))) if number.is_finite() => Some(number),
        _ => None,
    }
}

fn is_nanos(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(TimeUnit::Nanosecond, _))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Negate,
}

impl Operation {
    /// Whether it could make a `NaN` of two fractions that are none. Beside a number in the text, most can't.
    fn may_make_nan(self, left: &Expr, right: &Expr) -> bool {
        let known = number(left).or_else(|| number(right));
        match self {
            Self::Add | Self::Subtract => known.is_none(),
            Self::Multiply | Self::Divide => known.is_none_or(|number| number == 0.0),
            Self::Remainder | Self::Negate => true,
        }
    }

    /// Whether the engine's operator could be wrong for these types.
    fn is_checked(self, left: &DataType, right: &DataType) -> bool {
        match (left, right) {
            _ if self == Self::Remainder => false,
            (DataType::Decimal128(..), DataType::Decimal128(_, scale)) if self == Self::Divide => *scale >= 0,
            (DataType::Decimal128(..), DataType::Decimal128(..)) => self.digits(left, right) > i16::from(DIGITS_MAX),
            _ => self != Self::Divide && left.is_integer() && left == right,
        }
    }

    /// The most digits that a sum, difference or product of decimals may have.
    fn digits(self, left: &DataType, right: &DataType) -> i16 {
        let [(p, s), (q, t)] = [left, right].map(decimal).map(|(digits, scale)| (i16::from(digits), i16::from(scale)));
        if self == Self::Multiply { p + q } else { s.max(t) + (p - s).max(q - t) + 1 }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Subtract => "subtract",
            Self::Multiply => "multiply",
            Self::Divide => "divide",
            Self::Remainder => "remainder",
            Self::Negate => "negate",
        }
    }

    fn sign(self) -> char {
        match self {
            Self::Add => '+',
            Self::Subtract | Self::Negate => '-',
            Self::Multiply => '*',
            Self::Divide => '/',
            Self::Remainder => '%',
        }
    }

    fn kernel(self, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
        let result = match self {
            Self::Add => add(left, right),
            Self::Subtract => sub(left, right),
            Self::Multiply => mul(left, right),
            Self::Divide if is_fraction(left.get().0.data_type()) => div(left, right),
            Self::Divide => quotients(left, right),
            Self::Remainder => rem(left, right),
            Self::Negate => neg(left.get().0),
        }?;
        must_fit(&result)?;
        Ok(with_one_nan(result))
    }
}

/// Divides decimals to as many digits as the engine does, rounding half away from zero.
fn quotients(left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
    let ((left, is_left_one), (right, is_right_one)) = (left.get(), right.get());
    let kind = div(&new_empty_array(left.data_type()), &new_empty_array(right.data_type()))?.data_type().clone();
    let (left, right) = (left.as_primitive::<Decimal128Type>(), right.as_primitive::<Decimal128Type>());
    let digits = decimal(&kind).1 - left.scale() + right.scale();
    let unit = 10_i128.pow_checked(digits.unsigned_abs().into())?;
    let quotient = |value: i128, divisor: i128| match divisor {
        0 => Err(ArrowError::DivideByZero),
        divisor => Ok(cut(value.mul_checked(unit)?, divisor, true)),
    };
    let quotients: Decimal128Array = match (is_left_one, is_right_one) {
        (true, false) if left.is_null(0) => Decimal128Array::new_null(right.len()),
        (true, false) => right.try_unary(|divisor| quotient(left.value(0), divisor))?,
        (false, true) if right.is_null(0) => Decimal128Array::new_null(left.len()),
        (false, true) => left.try_unary(|value| quotient(value, right.value(0)))?,
        _ => try_binary(left, right, quotient)?,
    };
    Ok(Arc::new(quotients.with_data_type(kind)))
}

/// Refuses decimals of more digits than any may have.
fn must_fit(array: &ArrayRef) -> Result<(), ArrowError> {
    let Some(values) = array.as_primitive_opt::<Decimal128Type>() else { return Ok(()) };
    // Nothing is known of what is beneath a null.
    if values.values().iter().copied().all(fits_decimal) || values.iter().flatten().all(fits_decimal) {
        return Ok(());
    }
    Err(ArrowError::ArithmeticOverflow(format!("a decimal of more than {DIGITS_MAX} digits")))
}

/// The same fractions, with no `NaN` but the one without a sign.
fn with_one_nan(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float32 => nans_replaced::<Float32Type>(array, f32::is_nan, f32::NAN),
        DataType::Float64 => nans_replaced::<Float64Type>(array, f64::is_nan, f64::NAN),
        _ => array,
    }
}

fn nans_replaced<T: ArrowPrimitiveType>(
    array: ArrayRef,
    is_nan: impl Fn(T::Native) -> bool,
    nan: T::Native,
) -> ArrayRef {
    let values = array.as_primitive::<T>();
    // All are counted, which vectorizes.
    if values.values().iter().filter(|value| is_nan(**value)).count() == 0 {
        return array;
    }
    let replaced: PrimitiveArray<T> = values.unary(|value| if is_nan(value) { nan } else { value });
    Arc::new(replaced)
}

fn is_division_by_zero(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ArrowError(error, _) if matches!(**error, ArrowError::DivideByZero))
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
        match types {
            [left @ DataType::Decimal128(..), right] => {
                let nothing = self.operation.kernel(&new_empty_array(left), &new_empty_array(right))?;
                Ok(nothing.data_type().clone())
            }
            _ => Ok(types[0].clone()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        // For totals in subqueries, the engine evaluates with no rows: a null without a type.
        if args.args.iter().any(|value| value.data_type().is_null()) {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_new_null(args.return_field.data_type())?));
        }
        let [left, right] = match args.args.as_slice() {
            [left, right] => [left, right],
            [only] => [only, only],
            _ => return internal_err!("{} has {} arguments", self.name(), args.args.len()),
        };
        let kind = args.return_field.data_type();
        apply(left, right, |left, right| self.operation.kernel(left, right)).map_err(|error| {
            if is_division_by_zero(&error) { error } else { bad(format!("{} overflow", crate::types::name(kind))) }
        })
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

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Float64Array;
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn one(value: i128, precision: u8, scale: i8) -> ArrayRef {
        let array = Decimal128Array::from(vec![Some(value), None]);
        Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
    }

    fn first(operation: Operation, left: &ArrayRef, right: &ArrayRef) -> Option<i128> {
        let result = operation.kernel(left, right).ok()?;
        assert!(result.is_null(1));
        Some(result.as_primitive::<Decimal128Type>().value(0))
    }

    #[test]
    fn decimals_have_38_digits_at_most() {
        let nines = 10_i128.pow(38) - 1;
        assert_eq!(first(Operation::Add, &one(nines, 38, 0), &one(0, 38, 0)), Some(nines));
        assert_eq!(first(Operation::Add, &one(nines, 38, 0), &one(1, 38, 0)), None);
        assert_eq!(first(Operation::Subtract, &one(-nines, 38, 0), &one(1, 38, 0)), None);
        assert_eq!(first(Operation::Add, &one(nines, 38, 0), &one(nines, 38, 0)), None);
        assert_eq!(first(Operation::Multiply, &one(10_i128.pow(19), 20, 0), &one(10_i128.pow(19), 20, 0)), None);
        assert_eq!(first(Operation::Multiply, &one(10_i128.pow(18), 20, 0), &one(-1, 20, 0)), Some(-10_i128.pow(18)));
    }

    #[test]
    fn quotients_are_rounded_away_from_zero() {
        // 2 / 3 and -2 / 3 to four digits, 1 / 8 to four digits of five.
        assert_eq!(first(Operation::Divide, &one(2, 5, 0), &one(3, 5, 0)), Some(6667));
        assert_eq!(first(Operation::Divide, &one(-2, 5, 0), &one(3, 5, 0)), Some(-6667));
        assert_eq!(first(Operation::Divide, &one(1, 5, 0), &one(32, 5, 0)), Some(313));
        assert_eq!(first(Operation::Divide, &one(1, 5, 0), &one(-32, 5, 0)), Some(-313));
        assert_eq!(first(Operation::Divide, &one(250, 5, 2), &one(5, 3, 1)), Some(5_000_000));
        let zero = Operation::Divide.kernel(&one(1, 5, 0), &one(0, 5, 0));
        assert!(matches!(zero, Err(ArrowError::DivideByZero)));
    }

    #[test]
    fn there_is_one_nan() {
        let array = |values: Vec<f64>| -> ArrayRef { Arc::new(Float64Array::from(values)) };
        let (left, right) = (array(vec![f64::INFINITY, -f64::NAN, 1.0]), array(vec![f64::INFINITY, 1.0, 2.0]));
        for operation in [Operation::Subtract, Operation::Divide, Operation::Remainder] {
            let result = operation.kernel(&left, &right).unwrap();
            let bits: Vec<u64> = result.as_primitive::<Float64Type>().values().iter().map(|x| x.to_bits()).collect();
            assert_eq!(bits[..2], [f64::NAN.to_bits(); 2], "{operation:?}");
        }
        let negated = Operation::Negate.kernel(&array(vec![f64::NAN]), &array(vec![f64::NAN])).unwrap();
        assert_eq!(negated.as_primitive::<Float64Type>().value(0).to_bits(), f64::NAN.to_bits());
    }

    #[test]
    fn operators_beside_numbers_stay() {
        let x = || col("x");
        for (operation, left, right, expected) in [
            (Operation::Add, x(), lit(0.0), false),
            (Operation::Add, x(), x(), true),
            (Operation::Subtract, lit(1.5), x(), false),
            (Operation::Multiply, x(), cast(lit(2_i64), DataType::Float64), false),
            (Operation::Multiply, x(), lit(0.0), true),
            (Operation::Divide, lit(1.0), x(), false),
            (Operation::Divide, lit(0.0), x(), true),
            (Operation::Add, x(), lit(f64::INFINITY), true),
            (Operation::Remainder, x(), lit(2.0), true),
        ] {
            assert_eq!(operation.may_make_nan(&left, &right), expected, "{operation:?} {left} {right}");
        }
    }

    #[test]
    fn only_what_could_be_wrong_is_checked() {
        let decimal = DataType::Decimal128;
        for (operation, left, right, expected) in [
            (Operation::Add, decimal(37, 10), decimal(37, 10), false),
            (Operation::Add, decimal(38, 10), decimal(38, 10), true),
            (Operation::Subtract, decimal(30, 0), decimal(20, 10), true),
            (Operation::Multiply, decimal(15, 2), decimal(23, 2), false),
            (Operation::Multiply, decimal(20, 2), decimal(20, 2), true),
            (Operation::Divide, decimal(5, 2), decimal(5, 2), true),
            (Operation::Divide, DataType::Int64, DataType::Int64, false),
            (Operation::Add, DataType::Int64, DataType::Int64, true),
            (Operation::Add, DataType::Float64, DataType::Float64, false),
        ] {
            assert_eq!(operation.is_checked(&left, &right), expected, "{operation:?} {left} {right}");
        }
    }
}
