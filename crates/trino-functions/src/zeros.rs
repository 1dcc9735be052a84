//! `0.0 = -0.0`, as in IEEE 754, PostgreSQL and Trino: to DataFusion they are two numbers, of which `-0.0` is the smaller one and
//! another group.
//!
//! `round(-0.3)` is `-0.0`. A comparison with a zero of the statement looks for both, so that files can still be skipped. Fractions
//! that are compared with each other, or that rows are grouped or joined by, have a zero added: `-0.0 + 0.0` is `0.0`.

use std::mem::take;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Alias, Cast, InList, TryCast};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    Aggregate, Between, BinaryExpr, Case, Expr, ExprSchemable, Join, JoinConstraint, LogicalPlan, Operator,
    binary_expr, lit,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::scalar::ScalarValue;

use crate::comparisons::compared;
use crate::math::is_decimal;

/// Makes comparisons treat both zeros as equal.
#[derive(Debug)]
pub(crate) struct Zeros;

impl FunctionRewrite for Zeros {
    fn name(&self) -> &str {
        "zeros"
    }

    fn rewrite(&self, mut expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let Some(values) = compared(&mut expr) else { return Ok(Transformed::no(expr)) };
        let sides: Vec<Side> = values.iter().map(|value| Side::of(value, schema)).collect();
        // Conditions on outer rows keep their form, in which they become joins.
        let has_fraction = sides.iter().any(|side| matches!(side, Side::Fraction(_)));
        if !has_fraction || values.iter().any(|value| looks_outside(value)) {
            return Ok(Transformed::no(expr));
        }
        Ok(Transformed::yes(match expr {
            Expr::BinaryExpr(comparison) => both_sides(comparison, &sides),
            Expr::Between(between) => within(between, &sides),
            Expr::InList(list) => among(list, &sides),
            Expr::Case(case) => chosen(case, &sides),
            other => other,
        }))
    }
}

/// A side of a comparison.
#[derive(Debug, PartialEq)]
enum Side {
    /// A constant that is zero.
    Zero,
    /// Another constant, or a value of a type that has no literal zero.
    Constant,
    /// A floating point number, which may be `-0.0`.
    Fraction(DataType),
    /// A number that is never `-0.0`.
    Number,
}

impl Side {
    fn of(value: &Expr, schema: &DFSchema) -> Self {
        if is_zero(value) {
            return Self::Zero;
        }
        if !value.exists(|part| Ok(is_of_a_row(part))).unwrap_or(true) {
            return Self::Constant;
        }
        match value.get_type(schema) {
            Ok(kind) if is_fraction(&kind) && !has_one_zero(value, schema) => Self::Fraction(kind),
            _ => Self::Number,
        }
    }

    fn is_constant(&self) -> bool {
        matches!(self, Self::Zero | Self::Constant)
    }
}

pub(crate) fn is_fraction(kind: &DataType) -> bool {
    matches!(kind, DataType::Float32 | DataType::Float64)
}

/// Whether a constant is zero, possibly as a text or in casts.
fn is_zero(value: &Expr) -> bool {
    match value {
        Expr::Literal(value, _) => match value {
            ScalarValue::Float32(Some(value)) => *value == 0.0,
            ScalarValue::Float64(Some(value)) => *value == 0.0,
            ScalarValue::Decimal128(Some(value), ..) => *value == 0,
            ScalarValue::Int8(Some(0)) | ScalarValue::Int16(Some(0)) => true,
            ScalarValue::Int32(Some(0)) | ScalarValue::Int64(Some(0)) => true,
            text => text.try_as_str().flatten().is_some_and(|text| text.trim().parse() == Ok(0.0_f64)),
        },
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) | Expr::Negative(expr) => is_zero(expr),
        _ => false,
    }
}

/// Whether a zero constant is `-0.0` as a floating point number. None if that is not obvious.
fn is_negative(zero: &Expr) -> Option<bool> {
    match zero {
        Expr::Literal(ScalarValue::Float32(Some(zero)), _) => Some(zero.is_sign_negative()),
        Expr::Literal(ScalarValue::Float64(Some(zero)), _) => Some(zero.is_sign_negative()),
        Expr::Literal(text, _) => Some(text.try_as_str().flatten().is_some_and(|text| text.trim().starts_with('-'))),
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) => is_negative(expr),
        _ => None,
    }
}

/// Whether it may differ from row to row.
fn is_of_a_row(part: &Expr) -> bool {
    matches!(
        part,
        Expr::Column(_)
            | Expr::OuterReferenceColumn(..)
            | Expr::ScalarSubquery(_)
            | Expr::AggregateFunction(_)
            | Expr::WindowFunction(_)
    )
}

pub(crate) fn looks_outside(value: &Expr) -> bool {
    value.exists(|part| Ok(matches!(part, Expr::OuterReferenceColumn(..)))).unwrap_or(true)
}

/// Whether it was an integer or a decimal, or has a zero added already.
fn has_one_zero(value: &Expr, schema: &DFSchema) -> bool {
    match value {
        Expr::BinaryExpr(BinaryExpr { op: Operator::Plus, right, .. }) => match right.as_ref() {
            Expr::Literal(ScalarValue::Float32(Some(zero)), _) => zero.to_bits() == 0,
            Expr::Literal(ScalarValue::Float64(Some(zero)), _) => zero.to_bits() == 0,
            _ => false,
        },
        Expr::Cast(Cast { expr, .. }) => {
            expr.get_type(schema).is_ok_and(|kind| kind.is_integer() || is_decimal(&kind)) || has_one_zero(expr, schema)
        }
        _ => false,
    }
}

/// A zero of a type of fractions.
fn zero(kind: &DataType, is_negative: bool) -> Expr {
    match (kind, is_negative) {
        (DataType::Float32, false) => lit(0.0_f32),
        (DataType::Float32, true) => lit(-0.0_f32),
        (_, false) => lit(0.0_f64),
        (_, true) => lit(-0.0_f64),
    }
}

fn added(value: Expr, kind: &DataType) -> Expr {
    binary_expr(value, Operator::Plus, zero(kind, false))
}

/// The value with one zero only.
fn settled(value: Expr, side: &Side) -> Expr {
    match side {
        Side::Fraction(kind) => added(value, kind),
        Side::Zero => zero(&DataType::Float64, false),
        Side::Constant | Side::Number => value,
    }
}

fn settle(value: &mut Expr, side: &Side) {
    *value = settled(take(value), side);
}

fn both_sides(comparison: BinaryExpr, sides: &[Side]) -> Expr {
    let BinaryExpr { left, op, right } = comparison;
    let swapped = op.swap().unwrap_or(op);
    match sides {
        [Side::Fraction(kind), Side::Zero] if !is_of_both(op, &right) => with_zero(*left, op, kind),
        [Side::Zero, Side::Fraction(kind)] if !is_of_both(swapped, &left) => with_zero(*right, swapped, kind),
        [one, other] if !one.is_constant() && !other.is_constant() => {
            binary_expr(settled(*left, one), op, settled(*right, other))
        }
        _ => binary_expr(*left, op, *right),
    }
}

/// Whether a comparison with this zero gives the same for both.
fn is_of_both(op: Operator, zero: &Expr) -> bool {
    match op {
        Operator::Lt | Operator::GtEq => is_negative(zero) == Some(true),
        Operator::Gt | Operator::LtEq => is_negative(zero) == Some(false),
        _ => false,
    }
}

/// A fraction compared with zero.
fn with_zero(value: Expr, op: Operator, kind: &DataType) -> Expr {
    match op {
        Operator::Lt | Operator::GtEq => binary_expr(value, op, zero(kind, true)),
        Operator::Gt | Operator::LtEq => binary_expr(value, op, zero(kind, false)),
        // A column is not computed twice.
        Operator::Eq | Operator::NotEq if matches!(value, Expr::Column(_)) => {
            let (low, high) = (Box::new(zero(kind, true)), Box::new(zero(kind, false)));
            Expr::Between(Between::new(Box::new(value), op == Operator::NotEq, low, high))
        }
        _ => binary_expr(added(value, kind), op, zero(kind, false)),
    }
}

fn within(mut between: Between, sides: &[Side]) -> Expr {
    let [value, low, high] = sides else { return Expr::Between(between) };
    match value {
        Side::Fraction(kind) if low.is_constant() && high.is_constant() => {
            if *low == Side::Zero && is_negative(&between.low) != Some(true) {
                *between.low = zero(kind, true);
            }
            if *high == Side::Zero && is_negative(&between.high) != Some(false) {
                *between.high = zero(kind, false);
            }
        }
        value => {
            settle(&mut between.expr, value);
            settle(&mut between.low, low);
            settle(&mut between.high, high);
        }
    }
    Expr::Between(between)
}

fn among(mut list: InList, sides: &[Side]) -> Expr {
    let [value, elements @ ..] = sides else { return Expr::InList(list) };
    match value {
        Side::Fraction(kind) if elements.iter().all(Side::is_constant) => {
            if elements.contains(&Side::Zero) {
                list.list.retain(|element| !is_zero(element));
                list.list.extend([zero(kind, true), zero(kind, false)]);
            }
        }
        value => {
            settle(&mut list.expr, value);
            list.list.iter_mut().zip(elements).for_each(|(element, side)| settle(element, side));
        }
    }
    Expr::InList(list)
}

fn chosen(mut case: Case, sides: &[Side]) -> Expr {
    if sides[1..].iter().all(|side| *side == Side::Constant) {
        return Expr::Case(case);
    }
    let values = case.when_then_expr.iter_mut().map(|(value, _)| value);
    let values = case.expr.iter_mut().chain(values);
    values.zip(sides).for_each(|(value, side)| settle(value, side));
    Expr::Case(case)
}

/// Makes both zeros one group, and one key of joins.
#[derive(Debug)]
pub(crate) struct ZerosOfKeys;

impl OptimizerRule for ZerosOfKeys {
    fn name(&self) -> &str {
        "zeros_of_keys"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Aggregate(aggregate) => grouped(aggregate),
            LogicalPlan::Join(join) => Ok(joined(join)),
            other => Ok(Transformed::no(other)),
        }
    }
}

/// The key with only one zero; none if it has only one already, or is no floating point number.
fn of_one_zero(key: &Expr, schema: &DFSchema) -> Option<Expr> {
    let kind = key.get_type(schema).ok().filter(is_fraction)?;
    (!has_one_zero(key, schema)).then(|| added(key.clone(), &kind))
}

fn grouped(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let schema = aggregate.input.schema();
    let mut groups = aggregate.group_expr.clone();
    let mut is_changed = false;
    for (group, (table, field)) in groups.iter_mut().zip(aggregate.schema.iter()) {
        let value = match &*group {
            Expr::Alias(Alias { expr, .. }) => of_one_zero(expr, schema),
            value => of_one_zero(value, schema),
        };
        if let Some(value) = value {
            *group = value.alias_qualified(table.cloned(), field.name());
            is_changed = true;
        }
    }
    // Aggregates with grouping sets stay as they are: those have no type.
    if !is_changed {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let Aggregate { input, aggr_expr, .. } = aggregate;
    Ok(Transformed::yes(LogicalPlan::Aggregate(Aggregate::try_new(input, groups, aggr_expr)?)))
}

fn joined(mut join: Join) -> Transformed<LogicalPlan> {
    let (left, right) = (Arc::clone(join.left.schema()), Arc::clone(join.right.schema()));
    let mut is_changed = false;
    for (one, other) in &mut join.on {
        for (key, schema) in [(one, &left), (other, &right)] {
            if let Some(settled) = of_one_zero(key, schema) {
                *key = settled;
                is_changed = true;
            }
        }
    }
    if !is_changed {
        return Transformed::no(LogicalPlan::Join(join));
    }
    // Keys of `USING` have to be columns, and nobody asks for a shared one any more.
    join.join_constraint = JoinConstraint::On;
    Transformed::yes(LogicalPlan::Join(join))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::logical_expr::{cast, col};

    use super::*;

    /// What becomes of a comparison, also the second time.
    fn check(expr: &Expr, expected: &str) {
        let fields = vec![
            Field::new("d", DataType::Float64, true),
            Field::new("e", DataType::Float64, true),
            Field::new("n", DataType::Int64, true),
        ];
        let schema = DFSchema::try_from(Schema::new(fields)).unwrap();
        let read = |expr: Expr| Zeros.rewrite(expr, &schema, &ConfigOptions::default()).unwrap().data;
        let once = read(expr.clone());
        assert_eq!(once.to_string(), expected);
        assert_eq!(read(once.clone()), once);
    }

    #[test]
    fn both_zeros_are_one_number() {
        let (d, e, n) = (|| col("d"), || col("e"), || col("n"));
        check(&d().eq(lit(0_i64)), "d BETWEEN Float64(-0) AND Float64(0)");
        check(&lit(-0.0).not_eq(d()), "d NOT BETWEEN Float64(-0) AND Float64(0)");
        check(&d().gt(lit(0_i64)), "d > Int64(0)");
        check(&d().gt(lit(-0.0)), "d > Float64(0)");
        check(&lit(0_i64).gt(d()), "d < Float64(-0)");
        check(&d().gt_eq(cast(lit("0"), DataType::Float64)), "d >= Float64(-0)");
        check(&d().gt_eq(lit(5.5)), "d >= Float64(5.5)");
        check(&d().eq(e()), "d + Float64(0) = e + Float64(0)");
        check(&(d() * e()).eq(lit(0.0)), "d * e + Float64(0) = Float64(0)");
        check(&d().lt(n()), "d + Float64(0) < n");
        check(&n().eq(lit(0_i64)), "n = Int64(0)");
        check(&d().between(lit(0_i64), lit(5_i64)), "d BETWEEN Float64(-0) AND Int64(5)");
        check(&d().in_list(vec![lit(1_i64), lit(0_i64)], false), "d IN ([Int64(1), Float64(-0), Float64(0)])");
        check(&d().in_list(vec![lit(1_i64), lit(2_i64)], false), "d IN ([Int64(1), Int64(2)])");
    }
}
