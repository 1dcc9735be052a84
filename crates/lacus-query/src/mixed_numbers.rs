//! Doubles and decimals that are one value, or a key: `CASE WHEN a THEN price ELSE weight END`, `coalesce(weight, price)`, a `UNION` of
//! both, `VALUES` of both, `weight IN (SELECT price …)`, `JOIN … USING`.
//!
//! In SQL such a value is a double. The engine makes a decimal of 15 digits behind the point of it (DataFusion 54.1,
//! `type_coercion/binary.rs`): it cuts small doubles, refuses large ones, and has no plan where they are keys. Here decimals beside
//! doubles become doubles. A number that stands in the text, as in `coalesce(price, 0.5)`, is as exact as it is written:
//! beside decimals it is one, of its own digits.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, JoinConstraint};
use datafusion::error::Result;
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::type_coercion::binary::type_union_resolution;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Union, Values, cast, lit};
use datafusion::scalar::ScalarValue;

use crate::set_types::is_of_sets;

/// Functions that give one of their arguments, or all as one.
const CHOOSING: [&str; 7] = ["coalesce", "greatest", "least", "nullif", "nvl", "ifnull", "make_array"];

/// Makes doubles of decimals where they are one value with doubles.
pub(crate) fn as_doubles(plan: LogicalPlan) -> Result<LogicalPlan> {
    // What is inserted has the types of its columns.
    let are_inserted = matches!(plan, LogicalPlan::Dml(_));
    in_doubles(plan, !are_inserted)
}

/// The same for parameters that have come to have values.
pub(crate) fn filled_as_doubles(plan: LogicalPlan) -> Result<LogicalPlan> {
    in_doubles(plan, false)
}

fn in_doubles(plan: LogicalPlan, reads_rows: bool) -> Result<LogicalPlan> {
    let mut has_changed = false;
    plan.transform_up_with_subqueries(|plan| {
        let changed = match plan {
            LogicalPlan::Union(union) if has_changed => united(Union::try_new_with_loose_types(union.inputs)?)?,
            LogicalPlan::Union(union) => united(union)?,
            LogicalPlan::Values(values) if reads_rows => written_rows(values)?,
            LogicalPlan::Join(join) if is_of_sets(&join) => intersected(join)?,
            LogicalPlan::Join(join) => joined(join),
            plan => Transformed::no(plan),
        };
        let changed = changed.transform_data(of_one_kind)?;
        has_changed |= changed.transformed;
        // What is above it has its columns.
        if has_changed { changed.map_data(LogicalPlan::recompute_schema) } else { Ok(changed) }
    })
    .data()
}

/// A plan whose expressions have values of one kind.
fn of_one_kind(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let made = expr.transform_up(|part| match part {
            Expr::InSubquery(list) => listed(list, &schema),
            part => chosen(part, &schema),
        })?;
        Ok(made.update_data(|expr| name.restore(expr)))
    })
}

/// A value that is compared with those of a query.
fn listed(mut list: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let value = Kind::of(&list.expr, schema);
    let doubles = double(&[value.clone(), Kind::at(&list.subquery.subquery, 0)]);
    let is_changed = doubles.is_some();
    if let Some(kind) = doubles {
        if value.is_exact() {
            *list.expr = cast(list.expr.as_ref().clone(), kind.clone());
        }
        list.subquery.subquery = with_doubles(&list.subquery.subquery, &[Some(kind)])?;
    }
    Ok(Transformed::new_transformed(Expr::InSubquery(list), is_changed))
}

/// What is one of several values, with all of them of one kind.
fn chosen(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let values: Vec<&mut Expr> = match &mut expr {
        Expr::Case(case) => {
            let results = case.when_then_expr.iter_mut().map(|(_, result)| result);
            results.chain(&mut case.else_expr).map(|result| &mut **result).collect()
        }
        Expr::ScalarFunction(call) if CHOOSING.contains(&call.func.name()) => call.args.iter_mut().collect(),
        _ => return Ok(Transformed::no(expr)),
    };
    let kinds: Vec<Kind> = values.iter().map(|value| Kind::of(value, schema)).collect();
    if !kinds.contains(&Kind::Decimal) {
        return Ok(Transformed::no(expr));
    }
    let doubles = double(&kinds);
    let mut is_changed = false;
    for (value, kind) in values.into_iter().zip(&kinds) {
        let made = match &doubles {
            Some(double) if kind.is_exact() => Some(cast(value.clone(), double.clone())),
            None if *kind == Kind::Written => as_written(value),
            _ => None,
        };
        if let Some(made) = made {
            *value = made;
            is_changed = true;
        }
    }
    Ok(Transformed::new_transformed(expr, is_changed))
}

/// A number of the text as a decimal of so many digits. None: it has too many.
fn as_written(value: &Expr) -> Option<Expr> {
    match value {
        Expr::Literal(ScalarValue::Float64(Some(number)), _) => decimal(*number).map(lit),
        Expr::Negative(value) => Some(Expr::Negative(Box::new(as_written(value)?))),
        _ => None,
    }
}

fn decimal(number: f64) -> Option<ScalarValue> {
    let text = number.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((text.as_str(), ""));
    let digits = format!("{whole}{fraction}").parse::<i128>().ok()?;
    let scale = u8::try_from(fraction.len()).ok()?;
    let precision = u8::try_from(digits.unsigned_abs().to_string().len()).ok()?.max(scale);
    let fits = precision <= DECIMAL128_MAX_PRECISION;
    fits.then(|| ScalarValue::Decimal128(Some(digits), precision, scale.cast_signed()))
}

/// A union whose columns are of one kind in all of its inputs.
fn united(union: Union) -> Result<Transformed<LogicalPlan>> {
    let kinds_at = |place| union.inputs.iter().map(|input| Kind::at(input, place)).collect::<Vec<_>>();
    let doubles: Vec<Option<DataType>> =
        (0..union.schema.fields().len()).map(|place| double(&kinds_at(place))).collect();
    if doubles.iter().all(Option::is_none) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let inputs = union.inputs.iter().map(|input| with_doubles(input, &doubles)).collect::<Result<Vec<_>>>()?;
    Union::try_new_with_loose_types(inputs).map(|union| Transformed::yes(LogicalPlan::Union(union)))
}

/// Rows of the text whose columns are of one kind. The engine has cast them to decimals.
fn written_rows(mut rows: Values) -> Result<Transformed<LogicalPlan>> {
    let mut is_changed = false;
    for (place, field) in rows.schema.fields().iter().enumerate().filter(|(_, field)| field.data_type().is_decimal()) {
        let asked = rows.values.iter().map(|row| before_cast(&row[place], field.data_type(), &rows.schema));
        let asked: Vec<&Expr> = asked.collect();
        let kinds: Vec<Kind> = asked.iter().map(|value| Kind::of(value, &rows.schema)).collect();
        let are_mixed = kinds.contains(&Kind::Decimal) && kinds.iter().any(Kind::is_floating);
        if !are_mixed || common_type(&asked, &rows.schema).as_ref() != Some(field.data_type()) {
            continue;
        }
        let doubles = double(&kinds);
        let of_one_kind = asked.into_iter().zip(&kinds).map(|(value, kind)| match &doubles {
            Some(double) => cast(value.clone(), double.clone()),
            None if *kind == Kind::Written => as_written(value).unwrap_or_else(|| value.clone()),
            None if is_null(value) => lit(ScalarValue::Null),
            None => value.clone(),
        });
        let of_one_kind: Vec<Expr> = of_one_kind.collect();
        for (row, value) in rows.values.iter_mut().zip(of_one_kind) {
            row[place] = value;
        }
        is_changed = true;
    }
    if is_changed {
        LogicalPlanBuilder::values(rows.values)?.build().map(Transformed::yes)
    } else {
        Ok(Transformed::no(LogicalPlan::Values(rows)))
    }
}

/// A number before it was cast to the type of its column.
fn before_cast<'a>(value: &'a Expr, kind: &DataType, schema: &DFSchema) -> &'a Expr {
    match value {
        Expr::Cast(cast)
            if cast.field.data_type() == kind && cast.expr.get_type(schema).is_ok_and(|kind| kind.is_numeric()) =>
        {
            &cast.expr
        }
        value => value,
    }
}

/// The type that the engine has such values in. Where it is not that of their column, a cast stood in the text.
fn common_type(values: &[&Expr], schema: &DFSchema) -> Option<DataType> {
    let kinds = values.iter().map(|value| value.get_type(schema).ok()).collect::<Option<Vec<_>>>()?;
    let kinds = kinds.into_iter().filter(|kind| *kind != DataType::Null).map(Some);
    kinds.reduce(|common, next| type_union_resolution(&[common?, next?])).flatten()
}

fn is_null(value: &Expr) -> bool {
    matches!(value, Expr::Literal(value, _) if value.is_null())
}

/// A join whose keys are of one kind on both sides.
fn joined(mut join: Join) -> Transformed<LogicalPlan> {
    let mut is_changed = false;
    for (left, right) in &mut join.on {
        let kinds = [Kind::of(left, join.left.schema()), Kind::of(right, join.right.schema())];
        let Some(kind) = double(&kinds) else { continue };
        is_changed = true;
        for (key, _) in [left, right].into_iter().zip(&kinds).filter(|(_, kind)| kind.is_exact()) {
            *key = cast(key.clone(), kind.clone());
        }
    }
    if is_changed {
        // Those of USING are columns.
        join.join_constraint = JoinConstraint::On;
    }
    Transformed::new_transformed(LogicalPlan::Join(join), is_changed)
}

/// An `INTERSECT` or `EXCEPT` whose columns are of one kind on both sides.
fn intersected(join: Join) -> Result<Transformed<LogicalPlan>> {
    let kinds_at = |place| [Kind::at(&join.left, place), Kind::at(&join.right, place)];
    let doubles: Vec<Option<DataType>> = (0..join.on.len()).map(|place| double(&kinds_at(place))).collect();
    if doubles.iter().all(Option::is_none) {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    // Decimals that are not the same may be one double.
    let left = LogicalPlanBuilder::from(Arc::unwrap_or_clone(with_doubles(&join.left, &doubles)?)).distinct()?;
    let join = Join::try_new(
        Arc::new(left.build()?),
        with_doubles(&join.right, &doubles)?,
        join.on,
        join.filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    Ok(Transformed::yes(LogicalPlan::Join(join)))
}

/// Rows with doubles in these places, where they have decimals.
fn with_doubles(rows: &Arc<LogicalPlan>, doubles: &[Option<DataType>]) -> Result<Arc<LogicalPlan>> {
    let columns = rows.schema().iter().zip(doubles).enumerate().map(|(place, ((table, field), double))| {
        let column = Expr::Column(Column::from((table, field)));
        match double {
            Some(kind) if Kind::at(rows, place).is_exact() => {
                cast(column, kind.clone()).alias_qualified(table.cloned(), field.name())
            }
            _ => column,
        }
    });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::from(rows.as_ref().clone()).project(columns)?.build().map(Arc::new)
}

/// What a value is, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Decimal,
    /// A number with a point that stands in the text.
    Written,
    Double(DataType),
    Other,
}

impl Kind {
    fn of(value: &Expr, schema: &DFSchema) -> Self {
        match value.get_type(schema) {
            Ok(kind) if kind.is_floating() => {
                if is_written(value) {
                    Self::Written
                } else {
                    Self::Double(kind)
                }
            }
            Ok(kind) if kind.is_decimal() => Self::Decimal,
            // What has no type is refused elsewhere.
            _ => Self::Other,
        }
    }

    /// That of a column of a plan.
    fn at(plan: &LogicalPlan, place: usize) -> Self {
        if let LogicalPlan::Projection(projection) = plan
            && let Some(value) = projection.expr.get(place)
        {
            return Self::of(value, projection.input.schema());
        }
        match plan.schema().fields().get(place).map(|field| field.data_type()) {
            Some(kind) if kind.is_floating() => Self::Double(kind.clone()),
            Some(kind) if kind.is_decimal() => Self::Decimal,
            _ => Self::Other,
        }
    }

    fn is_exact(&self) -> bool {
        matches!(self, Self::Decimal | Self::Written)
    }

    fn is_floating(&self) -> bool {
        matches!(self, Self::Double(_) | Self::Written)
    }
}

fn is_written(value: &Expr) -> bool {
    match value {
        Expr::Literal(..) => true,
        Expr::Negative(value) => is_written(value),
        Expr::Alias(alias) => is_written(&alias.expr),
        _ => false,
    }
}

/// The doubles that values are, if there are decimals beside doubles.
fn double(kinds: &[Kind]) -> Option<DataType> {
    let doubles = kinds.iter().filter_map(|kind| match kind {
        Kind::Double(double) => Some(double),
        _ => None,
    });
    let has_exact = kinds.contains(&Kind::Decimal);
    let wider = doubles.max_by_key(|double| **double == DataType::Float64)?;
    has_exact.then(|| wider.clone())
}
