//! `count(DISTINCT x)` beside counts and averages: `SELECT region, count(*), avg(width), count(DISTINCT user_id) … GROUP BY region`.
//!
//! If all other aggregates are sums, minima or maxima, the engine groups by region and user first, and groups go to disk when
//! there are too many. Otherwise it keeps the set of users of each region in memory, which does not go to disk
//! (DataFusion 54.1, `single_distinct_to_groupby.rs`). So counts and averages are rewritten as sums.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, Result};
use datafusion::functions::expr_fn::coalesce;
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::expr::{AggregateFunction, Cast};
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast, lit, when};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use crate::same::same;

/// Turns counts and averages beside distinct values into sums. It has to come before the rule that groups by those.
#[derive(Debug)]
pub(crate) struct SumsBesideDistinct;

impl OptimizerRule for SumsBesideDistinct {
    fn name(&self) -> &str {
        "sums_beside_distinct"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else { return Ok(Transformed::no(plan)) };
        match sums(aggregate)? {
            Some(sums) => Ok(Transformed::yes(sums)),
            None => Ok(Transformed::no(plan)),
        }
    }
}

/// What an aggregate is computed from.
enum Part {
    /// One of the sums and the like.
    Whole(usize),
    /// A sum of ones.
    Count(usize),
    /// A sum, and a sum of ones.
    Average(usize, usize),
}

/// The same rows, computed from sums. None if that is no use, or impossible.
fn sums(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    if matches!(aggregate.group_expr.first(), Some(Expr::GroupingSet(_))) || !is_of_one_distinct(&aggregate.aggr_expr) {
        return Ok(None);
    }
    let mut needed: Vec<Expr> = Vec::new();
    let mut parts = Vec::with_capacity(aggregate.aggr_expr.len());
    for expr in &aggregate.aggr_expr {
        let Some(part) = part(expr, aggregate, &mut needed)? else { return Ok(None) };
        parts.push(part);
    }
    if parts.iter().all(|part| matches!(part, Part::Whole(_))) {
        return Ok(None);
    }
    let (groups, input) = (aggregate.group_expr.clone(), Arc::clone(&aggregate.input));
    let summed = LogicalPlan::Aggregate(Aggregate::try_new(input, groups, needed)?);
    let groups = aggregate.group_expr.len();
    let column = |place: usize| Expr::Column(Column::from(summed.schema().qualified_field(place)));
    let value = |part: &Part| -> Expr {
        match part {
            Part::Whole(place) => column(groups + place),
            Part::Count(place) => coalesce(vec![column(groups + place), lit(0_i64)]),
            // Of no values both are null.
            Part::Average(total, count) => column(groups + total) / cast(column(groups + count), DataType::Float64),
        }
    };
    let values = (0..groups).map(column).chain(parts.iter().map(value)).collect();
    named(summed, values, &aggregate.schema).map(Some)
}

/// Values of the rows of a plan, under the names that others had in their place.
pub(crate) fn named(plan: LogicalPlan, values: Vec<Expr>, names: &DFSchema) -> Result<LogicalPlan> {
    let named = values.into_iter().zip(names.iter()).map(|(value, (table, field))| {
        if matches!(&value, Expr::Column(column) if column.relation.as_ref() == table && column.name == *field.name()) {
            return value;
        }
        value.alias_qualified(table.cloned(), field.name())
    });
    let named: Vec<Expr> = named.collect();
    LogicalPlanBuilder::from(plan).project(named)?.build()
}

/// Whether all distinct aggregates are of one and the same value.
fn is_of_one_distinct(exprs: &[Expr]) -> bool {
    let mut distinct = exprs.iter().filter_map(|expr| match expr {
        Expr::AggregateFunction(call) if call.params.distinct => Some(call.params.args.as_slice()),
        _ => None,
    });
    let first = distinct.next();
    first.is_some_and(|args| args.len() == 1) && distinct.all(|args| Some(args) == first)
}

/// How an aggregate is computed. None if it can't be.
fn part(expr: &Expr, aggregate: &Aggregate, needed: &mut Vec<Expr>) -> Result<Option<Part>> {
    let Expr::AggregateFunction(call) = expr else { return Ok(None) };
    let AggregateFunction { func, params } = call;
    if params.filter.is_some() || !params.order_by.is_empty() {
        return Ok(None);
    }
    Ok(match (func.name(), params.args.as_slice()) {
        _ if params.distinct => place_of(expr.clone(), needed).map(Part::Whole),
        ("sum" | "min" | "max", _) => place_of(expr.clone(), needed).map(Part::Whole),
        ("count", [counted]) => place_of(ones(counted)?, needed).map(Part::Count),
        ("avg", [value]) => {
            let kind = value.get_type(aggregate.input.schema())?;
            if !kind.is_integer() && !kind.is_floating() {
                return Ok(None);
            }
            let total = place_of(sum(same(cast(value.clone(), DataType::Float64))), needed);
            // A cast to a fraction is null where its value is.
            let counted = match value {
                Expr::Cast(Cast { expr, field }) if field.data_type().is_floating() => expr,
                value => value,
            };
            let count = place_of(ones(counted)?, needed);
            total.zip(count).map(|(total, count)| Part::Average(total, count))
        }
        _ => None,
    })
}

/// The number of values that are not null, as a sum of ones with a name that no other sum has.
fn ones(counted: &Expr) -> Result<Expr> {
    let one = match counted {
        Expr::Literal(value, _) if !value.is_null() => lit(1_i64),
        counted => when(counted.clone().is_null(), lit(0_i64)).otherwise(lit(1_i64))?,
    };
    Ok(sum(same(one)))
}

/// Where it is among what is needed. None if something else there is called so: casts are not seen in names.
pub(crate) fn place_of(expr: Expr, needed: &mut Vec<Expr>) -> Option<usize> {
    let name = expr.schema_name().to_string();
    match needed.iter().position(|other| other.schema_name().to_string() == name) {
        Some(place) => (needed[place] == expr).then_some(place),
        None => {
            needed.push(expr);
            Some(needed.len() - 1)
        }
    }
}
