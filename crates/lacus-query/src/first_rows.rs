//! A limit in `LATERAL`:
//! `FROM cities c, LATERAL (SELECT * FROM orders o WHERE o.city = c.id ORDER BY o.day DESC LIMIT 3)`.
//!
//! The engine has no plan for it (DataFusion 54.1, `decorrelate.rs`). So the rows are numbered within each value that is compared
//! with the outer row, and compared afterwards.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprFunctionExt, ExprSchemable, FetchType, Filter, Limit, LogicalPlan, LogicalPlanBuilder,
    Operator, Projection, SkipType, ident, lit,
};

use crate::totals::looks_outside;

/// Names of the added columns (keys are numbered): nobody else gives such names.
const KEY: &str = "compared#";
const PLACE: &str = "place#";

/// The rows of a `LATERAL` subquery that ends in a limit. None if it doesn't, or if rows are compared other than with `=`.
pub(crate) fn first_rows(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    match plan {
        // The columns have other names.
        LogicalPlan::Projection(projection) if !projection.expr.iter().any(Expr::contains_outer) => {
            let Some(rows) = first_rows(&projection.input)? else { return Ok(None) };
            let renamed = Projection::try_new(projection.expr.clone(), Arc::new(rows))?;
            Ok(Some(LogicalPlan::Projection(renamed)))
        }
        LogicalPlan::Limit(limit) => limited(limit),
        _ => Ok(None),
    }
}

fn limited(limit: &Limit) -> Result<Option<LogicalPlan>> {
    let (FetchType::Literal(fetch), SkipType::Literal(skip)) = (limit.get_fetch_type()?, limit.get_skip_type()?) else {
        return Ok(None);
    };
    let Some(mut compared) = Compared::of(&limit.input)? else { return Ok(None) };
    if !compared.is_numbered {
        compared.number(Vec::new())?;
    }
    let mut is_one = ident(PLACE).gt(lit(skip as u64));
    if let Some(fetch) = fetch {
        is_one = is_one.and(ident(PLACE).lt_eq(lit(skip.saturating_add(fetch) as u64)));
    }
    for (name, outside) in compared.keys {
        is_one = is_one.and(ident(name).eq(outside));
    }
    let columns: Vec<Expr> = limit.input.schema().iter().map(Expr::from).collect();
    LogicalPlanBuilder::from(compared.rows).filter(is_one)?.project(columns)?.build().map(Some)
}

/// The inner rows before they are compared with the outer row, with the values that are compared.
struct Compared {
    rows: LogicalPlan,
    /// The added key columns, and the outer values that they equal.
    keys: Vec<(String, Expr)>,
    /// Whether there is a column of row numbers, too.
    is_numbered: bool,
}

impl Compared {
    fn of(plan: &LogicalPlan) -> Result<Option<Self>> {
        match plan {
            LogicalPlan::Filter(filter) => Self::by(filter),
            LogicalPlan::Projection(projection) if !projection.expr.iter().any(Expr::contains_outer) => {
                let Some(mut below) = Self::of(&projection.input)? else { return Ok(None) };
                let columns = projection.expr.iter().cloned().chain(below.columns());
                below.rows = LogicalPlanBuilder::from(below.rows).project(columns.collect::<Vec<_>>())?.build()?;
                Ok(Some(below))
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                let Some(mut below) = Self::of(&sort.input)? else { return Ok(None) };
                if below.is_numbered {
                    return Ok(None);
                }
                below.number(sort.expr.clone())?;
                Ok(Some(below))
            }
            _ => Ok(None),
        }
    }

    /// The rows of a filter, without its conditions on the outer row.
    fn by(filter: &Filter) -> Result<Option<Self>> {
        if looks_outside(&filter.input) {
            return Ok(None);
        }
        let mut rows = LogicalPlanBuilder::from(filter.input.as_ref().clone());
        let (compared, others): (Vec<Expr>, Vec<Expr>) =
            split_conjunction_owned(filter.predicate.clone()).into_iter().partition(Expr::contains_outer);
        if let Some(others) = conjunction(others) {
            rows = rows.filter(others)?;
        }
        let mut columns: Vec<Expr> = filter.input.schema().iter().map(Expr::from).collect();
        let mut keys = Vec::with_capacity(compared.len());
        for condition in compared {
            let Some((inside, outside)) = key(condition, filter.input.schema()) else { return Ok(None) };
            let name = format!("{KEY}{}", keys.len());
            columns.push(inside.alias(name.clone()));
            keys.push((name, outside));
        }
        if keys.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self { rows: rows.project(columns)?.build()?, keys, is_numbered: false }))
    }

    /// The added columns.
    fn columns(&self) -> Vec<Expr> {
        let place = self.is_numbered.then(|| ident(PLACE));
        self.keys.iter().map(|(name, _)| ident(name.clone())).chain(place).collect()
    }

    /// Numbers the rows in this order, within each combination of keys.
    fn number(&mut self, order: Vec<Sort>) -> Result<()> {
        let place = row_number().partition_by(self.columns());
        let place = if order.is_empty() { place.build()? } else { place.order_by(order).build()? };
        let rows = LogicalPlanBuilder::from(self.rows.clone()).window(vec![place])?;
        let mut columns: Vec<Expr> = rows.schema().iter().map(Expr::from).collect();
        // What a window computes comes last.
        let place = columns.pop().map(|place| place.alias(PLACE));
        columns.extend(place);
        self.rows = rows.project(columns)?.build()?;
        self.is_numbered = true;
        Ok(())
    }
}

/// The two sides of an equality: an inner value and an outer one. Values that are cast for the comparison don't count:
/// several may equal one outer value.
fn key(condition: Expr, schema: &DFSchema) -> Option<(Expr, Expr)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return None };
    let (inside, outside) = if left.contains_outer() { (right, left) } else { (left, right) };
    let is_apart = !inside.contains_outer() && !inside.is_volatile() && !outside.any_column_refs();
    let (kind, other) = (inside.get_type(schema).ok()?, outside.get_type(schema).ok()?);
    // Texts of columns are views, and those of fields are not.
    let is_text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let is_same_kind =
        kind == other || (kind.is_integer() && other.is_integer()) || (is_text(&kind) && is_text(&other));
    (is_apart && is_same_kind && !kind.is_floating()).then_some((*inside, *outside))
}
