//! Doubles and decimals that are one value: `CASE WHEN a THEN price ELSE weight END`, `coalesce(weight, price)`, a `UNION` of both.
//!
//! In SQL such a value is a double. The engine makes a decimal of 15 digits behind the point of it (DataFusion 54.1,
//! `type_coercion/binary.rs`): it cuts small doubles, and refuses large ones. Here decimals beside doubles become doubles. A number
//! that stands in the text, as in `coalesce(price, 0.5)`, is as exact as it is written: with decimals it stays a decimal.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Union, cast};

/// Functions that give one of their arguments.
const CHOOSING: [&str; 6] = ["coalesce", "greatest", "least", "nullif", "nvl", "ifnull"];

/// Makes doubles of decimals where they are one value with doubles.
pub(crate) fn as_doubles(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut has_changed = false;
    plan.transform_up_with_subqueries(|plan| {
        let changed = match plan {
            LogicalPlan::Union(union) => united(union)?,
            plan => {
                let schema = merge_schema(&plan.inputs());
                let names = NamePreserver::new(&plan);
                plan.map_expressions(|expr| {
                    let name = names.save(&expr);
                    Ok(expr.transform_up(|part| chosen(part, &schema))?.update_data(|expr| name.restore(expr)))
                })?
            }
        };
        has_changed |= changed.transformed;
        // What is above it has its columns.
        if has_changed { changed.map_data(LogicalPlan::recompute_schema) } else { Ok(changed) }
    })
    .data()
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
    let Some(kind) = double(&kinds) else { return Ok(Transformed::no(expr)) };
    for (value, _) in values.into_iter().zip(kinds).filter(|(_, kind)| kind.is_exact()) {
        *value = cast(value.clone(), kind.clone());
    }
    Ok(Transformed::yes(expr))
}

/// A union whose columns are of one kind in all of its inputs.
fn united(union: Union) -> Result<Transformed<LogicalPlan>> {
    let kinds_at = |place| union.inputs.iter().map(|input| Kind::at(input, place)).collect::<Vec<_>>();
    let doubles: Vec<Option<DataType>> =
        (0..union.schema.fields().len()).map(|place| double(&kinds_at(place))).collect();
    if doubles.iter().all(Option::is_none) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let mut inputs = Vec::with_capacity(union.inputs.len());
    for input in &union.inputs {
        let columns = input.schema().iter().zip(&doubles).enumerate().map(|(place, ((table, field), double))| {
            let column = Expr::Column(Column::from((table, field)));
            match double {
                Some(kind) if Kind::at(input, place).is_exact() => {
                    cast(column, kind.clone()).alias_qualified(table.cloned(), field.name())
                }
                _ => column,
            }
        });
        let columns: Vec<Expr> = columns.collect();
        inputs.push(Arc::new(LogicalPlanBuilder::from(input.as_ref().clone()).project(columns)?.build()?));
    }
    Union::try_new_with_loose_types(inputs).map(|union| Transformed::yes(LogicalPlan::Union(union)))
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
