//! Totals of the rows that belong to the row outside, and the same in `LATERAL`:
//! `(SELECT max(price) FROM orders o WHERE o.city = c.id HAVING count(*) > 3)`.
//!
//! A total is one row, also of no rows. The engine groups it by what is compared with the row outside, and joins the groups; where
//! there is none, it finds in the plan what the columns are. Three things are wrong there (DataFusion 54.1, `decorrelate.rs`), and
//! mended here:
//!
//! - A condition on the total, `HAVING`, is forgotten where it is true of no rows, and in `LATERAL` its row stays as one of nulls.
//!   Here it becomes a column that says whether the row is there.
//! - A column that names no aggregate, or comes to name none, is null for no rows. Here it depends on how many there are.
//! - What is above the total is not asked what it makes of no rows, nor is the total itself where it stands in `FROM` under a name.
//!   Such names are taken off. Where more is above it than columns and conditions, it is refused.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, JoinType, TableReference, not_impl_err};
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, FetchType, Filter, Join, Limit, LogicalPlan, LogicalPlanBuilder, Operator,
    Projection, SkipType, Sort, Subquery, SubqueryAlias, ident, lit, when,
};

use crate::correlated::is_one_row;
use crate::elements::is_of_elements;
use crate::first_rows::first_rows;

/// What the columns are called, with their numbers: names that nobody gives.
const ROWS: &str = "rows#";
const IS_THERE: &str = "there#";

/// Makes totals that look at rows outside such that the engine answers them right.
///
/// # Errors
/// For those that it would answer wrong.
pub(crate) fn whole(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut columns = 0;
    plan.transform_up_with_subqueries(|plan| {
        let names = NamePreserver::new(&plan);
        let plan = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let made = expr.transform_up(|expr| as_value(expr, &mut columns))?;
            Ok(made.update_data(|expr| name.restore(expr)))
        })?;
        match plan.data {
            LogicalPlan::Join(join) => Ok(Transformed::yes(with_own_columns(join, &mut columns)?)),
            other => Ok(Transformed { data: other, ..plan }),
        }
    })
    .data()
}

fn as_value(expr: Expr, columns: &mut usize) -> Result<Transformed<Expr>> {
    let is_correlated = |subquery: &Subquery| !subquery.outer_ref_columns.is_empty();
    Ok(match expr {
        Expr::ScalarSubquery(subquery) if is_correlated(&subquery) => {
            Transformed::yes(Expr::ScalarSubquery(with_value(subquery, columns)?))
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated })
            if is_correlated(&subquery) && is_one_row(&subquery.subquery) =>
        {
            let subquery = with_value(subquery, columns)?;
            Transformed::yes(Expr::InSubquery(InSubquery { expr, subquery, negated }))
        }
        expr => Transformed::no(expr),
    })
}

/// A subquery that is a value: null where there is no row.
fn with_value(subquery: Subquery, columns: &mut usize) -> Result<Subquery> {
    let plan = subquery.subquery.as_ref();
    if is_of_elements(plan) {
        return Ok(subquery);
    }
    let unnamed = if is_in_from(plan) { unnamed(plan)? } else { None };
    let Some(total) = total(unnamed.as_ref().unwrap_or(plan), columns)? else {
        must_have_no_total(plan)?;
        return Ok(subquery);
    };
    if unnamed.is_none() && is_in_from(plan) {
        return not_impl_err!(
            "a subquery beside an aggregate without GROUP BY in FROM of a subquery that looks at the row outside; compute it in the subquery itself, or use LATERAL"
        );
    }
    if unnamed.is_none() && is_bare(plan) {
        return Ok(subquery);
    }
    let values = plan.schema().iter().map(|(table, field)| {
        let value = Expr::Column(Column::from((table, field)));
        Ok(when(total.is_there.clone(), value).end()?.alias_qualified(table.cloned(), field.name()))
    });
    let values = values.collect::<Result<Vec<_>>>()?;
    let plan = LogicalPlanBuilder::from(total.row).project(values)?.build()?;
    Ok(Subquery { subquery: Arc::new(plan), ..subquery })
}

/// To a `LEFT JOIN LATERAL` the engine adds what is compared with the row outside; a window above it does not expect more columns.
fn with_own_columns(join: Join, columns: &mut usize) -> Result<LogicalPlan> {
    let is_outer_lateral = join.join_type == JoinType::Left && right_of(&join).is_some();
    let own: Vec<Expr> = join.schema.iter().map(Expr::from).collect();
    let plan = lateral(join, columns)?;
    if is_outer_lateral { LogicalPlanBuilder::from(plan).project(own)?.build() } else { Ok(plan) }
}

/// A join with a total of the rows that belong to the row on its left: one of the rows that are there.
fn lateral(join: Join, columns: &mut usize) -> Result<LogicalPlan> {
    let Some((subquery, alias)) = right_of(&join) else { return Ok(LogicalPlan::Join(join)) };
    let plan = subquery.subquery.as_ref();
    must_compare_keys(plan, false)?;
    if !join.on.is_empty() {
        // It would be forgotten.
        return not_impl_err!("USING, or NATURAL JOIN, with LATERAL; write ON");
    }
    if is_of_elements(plan) {
        return Ok(LogicalPlan::Join(join));
    }
    let Some(total) = total(plan, columns)? else {
        must_have_no_later_total(plan, &mut false)?;
        let Some(rows) = first_rows(plan)? else {
            must_be_of_table(plan)?;
            return Ok(LogicalPlan::Join(join));
        };
        let rows = LogicalPlan::Subquery(Subquery { subquery: Arc::new(rows), ..subquery.clone() });
        let right = match alias {
            Some(alias) => named(rows, alias)?,
            None => rows,
        };
        return Ok(LogicalPlan::Join(Join { right: Arc::new(right), ..join }));
    };
    if is_bare(plan) {
        return Ok(LogicalPlan::Join(join));
    }
    let outside = join.schema.iter().map(Expr::from).collect::<Vec<_>>();
    let row = LogicalPlan::Subquery(Subquery { subquery: Arc::new(total.row), ..subquery.clone() });
    let (row, is_there) = match alias {
        Some(alias) => (named(row, alias)?, of_table(total.is_there, alias)?),
        None => (row, total.is_there),
    };
    let filter = match join.filter {
        Some(filter) => filter.and(is_there),
        None => is_there,
    };
    let with_total = Join::try_new(
        join.left,
        Arc::new(row),
        Vec::new(),
        Some(filter),
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    LogicalPlanBuilder::from(LogicalPlan::Join(with_total)).project(outside)?.build()
}

/// The subquery on the right of a join that looks at rows on the left, and what it is called.
pub(crate) fn right_of(join: &Join) -> Option<(&Subquery, Option<&TableReference>)> {
    match join.right.as_ref() {
        LogicalPlan::Subquery(subquery) => Some((subquery, None)),
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => match input.as_ref() {
            LogicalPlan::Subquery(subquery) => Some((subquery, Some(alias))),
            _ => None,
        },
        _ => None,
    }
}

/// The row of a total, and the condition that it is there.
struct Total {
    row: LogicalPlan,
    is_there: Expr,
}

/// The total that a plan is the row of, if it is one that looks at rows outside.
fn total(plan: &LogicalPlan, columns: &mut usize) -> Result<Option<Total>> {
    match plan {
        LogicalPlan::Aggregate(aggregate) if is_lifted(aggregate) => counted(aggregate, columns).map(Some),
        LogicalPlan::Projection(projection) => match total(&projection.input, columns)? {
            Some(total) => projected(projection, total, columns).map(Some),
            None => Ok(None),
        },
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => match total(input, columns)? {
            Some(Total { row, is_there }) => {
                Ok(Some(Total { row: named(row, alias)?, is_there: of_table(is_there, alias)? }))
            }
            None => Ok(None),
        },
        LogicalPlan::Filter(filter) => match total(&filter.input, columns)? {
            Some(_) if filter.predicate.contains_outer() => not_impl_err!(
                "HAVING without GROUP BY in a subquery that looks at the row outside; join its table instead"
            ),
            Some(Total { row, is_there }) => Ok(Some(Total { row, is_there: is_there.and(filter.predicate.clone()) })),
            None => Ok(None),
        },
        // One row is sorted, and no other is like it.
        LogicalPlan::Sort(sort) if sort.fetch != Some(0) => total(&sort.input, columns),
        LogicalPlan::Distinct(Distinct::All(input)) => total(input, columns),
        LogicalPlan::Limit(limit) if has_first(limit)? => total(&limit.input, columns),
        _ => Ok(None),
    }
}

/// Whether it leaves the first row.
pub(crate) fn has_first(limit: &Limit) -> Result<bool> {
    let has_rows = match limit.get_fetch_type()? {
        FetchType::Literal(rows) => rows != Some(0),
        FetchType::UnsupportedExpr => false,
    };
    Ok(has_rows && matches!(limit.get_skip_type()?, SkipType::Literal(0)))
}

/// The total with a count of its rows. It is there, and the engine does not know it.
fn counted(aggregate: &Aggregate, columns: &mut usize) -> Result<Total> {
    must_have_no_total(&aggregate.input)?;
    *columns += 1;
    let name = format!("{ROWS}{columns}");
    let mut values = aggregate.aggr_expr.clone();
    values.push(count(lit(1_i64)).alias(name.clone()));
    let row = LogicalPlan::Aggregate(Aggregate::try_new(Arc::clone(&aggregate.input), Vec::new(), values)?);
    Ok(Total { row, is_there: ident(name).gt_eq(lit(0_i64)) })
}

/// The columns of a total, each depending on its row.
fn projected(projection: &Projection, below: Total, columns: &mut usize) -> Result<Total> {
    *columns += 1;
    let name = format!("{IS_THERE}{columns}");
    let mut values = Vec::with_capacity(projection.expr.len() + 1);
    for (value, (table, field)) in projection.expr.iter().zip(projection.schema.iter()) {
        if value.contains_outer() {
            return not_impl_err!(
                "a column of the row outside beside an aggregate without GROUP BY in a subquery; compute with both outside of it"
            );
        }
        values.push(match value.clone().unalias() {
            Expr::Column(_) => value.clone(),
            computed => when(below.is_there.clone(), computed).end()?.alias_qualified(table.cloned(), field.name()),
        });
    }
    values.push(below.is_there.alias(name.clone()));
    let row = LogicalPlan::Projection(Projection::try_new(values, Arc::new(below.row))?);
    Ok(Total { row, is_there: ident(name) })
}

/// Rows as those of a table.
fn named(rows: LogicalPlan, table: &TableReference) -> Result<LogicalPlan> {
    LogicalPlanBuilder::from(rows).alias(table.clone())?.build()
}

/// A condition on columns as one on those of a table.
fn of_table(condition: Expr, table: &TableReference) -> Result<Expr> {
    let of_table = |part: Expr| match part {
        Expr::Column(column) => Ok(Transformed::yes(Expr::Column(Column::new(Some(table.clone()), column.name)))),
        part => Ok(Transformed::no(part)),
    };
    condition.transform(of_table).data()
}

/// Whether it is nothing but columns of a total: what the engine answers right.
fn is_bare(plan: &LogicalPlan) -> bool {
    let is_column = |value: &Expr| matches!(value.clone().unalias(), Expr::Column(_));
    match plan {
        LogicalPlan::Aggregate(_) => true,
        LogicalPlan::Projection(projection) => projection.expr.iter().all(is_column) && is_bare(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_bare(&alias.input),
        _ => false,
    }
}

/// The row of a total with the same columns, where no query around it has a name: `(SELECT t.m FROM (SELECT max(x) AS m …) AS t)`
/// is `(SELECT max(x) AS m …)`. None if it is no such row, or what is above it has subqueries.
fn unnamed(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let input = match plan {
        LogicalPlan::Aggregate(aggregate) if is_lifted(aggregate) => return Ok(Some(plan.clone())),
        LogicalPlan::SubqueryAlias(alias) => return unnamed(&alias.input),
        LogicalPlan::Projection(Projection { input, .. })
        | LogicalPlan::Filter(Filter { input, .. })
        | LogicalPlan::Sort(Sort { input, .. })
        | LogicalPlan::Distinct(Distinct::All(input))
        | LogicalPlan::Limit(Limit { input, .. }) => input,
        _ => return Ok(None),
    };
    let is_question = |part: &Expr| {
        matches!(part, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_))
    };
    for value in plan.expressions() {
        if value.exists(|part| Ok(is_question(part)))? {
            return Ok(None);
        }
    }
    let Some(row) = unnamed(input)? else { return Ok(None) };
    let of_row = |value: &Expr| {
        let moved = value.clone().transform(|part| match part {
            Expr::Column(column) => {
                let place = input.schema().index_of_column(&column)?;
                Ok(Transformed::yes(Expr::Column(Column::from(row.schema().qualified_field(place)))))
            }
            part => Ok(Transformed::no(part)),
        });
        moved.data()
    };
    Ok(Some(match plan {
        LogicalPlan::Projection(projection) => {
            let mut values = Vec::with_capacity(projection.expr.len());
            for (value, (table, field)) in projection.expr.iter().zip(projection.schema.iter()) {
                values.push(of_row(value)?.unalias().alias_qualified(table.cloned(), field.name()));
            }
            LogicalPlan::Projection(Projection::try_new(values, Arc::new(row))?)
        }
        LogicalPlan::Filter(filter) => {
            let predicate = of_row(&filter.predicate)?;
            LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(row))?)
        }
        LogicalPlan::Sort(sort) => {
            let mut sorts = Vec::with_capacity(sort.expr.len());
            for by in &sort.expr {
                sorts.push(by.with_expr(of_row(&by.expr)?));
            }
            LogicalPlan::Sort(Sort { expr: sorts, input: Arc::new(row), fetch: sort.fetch })
        }
        LogicalPlan::Limit(limit) => LogicalPlan::Limit(Limit { input: Arc::new(row), ..limit.clone() }),
        _ => LogicalPlan::Distinct(Distinct::All(Arc::new(row))),
    }))
}

/// Whether what a total is computed in has a name: the engine loses the condition that it is there (DataFusion 54.1).
fn is_in_from(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(_) => true,
        LogicalPlan::Aggregate(_) => false,
        plan => plan.inputs().into_iter().any(is_in_from),
    }
}

/// Whether it is a total that is grouped by what it is compared with.
fn is_lifted(aggregate: &Aggregate) -> bool {
    aggregate.group_expr.is_empty() && looks_outside(&aggregate.input)
}

/// Whether it looks at a row outside, but for what looks at the rows beside it.
pub(crate) fn looks_outside(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Subquery(_) => false,
        plan => plan.contains_outer_reference() || plan.inputs().into_iter().any(looks_outside),
    }
}

/// Refuses totals of which more is made than columns and conditions.
fn must_have_no_total(plan: &LogicalPlan) -> Result<()> {
    match plan {
        LogicalPlan::Subquery(_) => Ok(()),
        LogicalPlan::Aggregate(aggregate) if is_lifted(aggregate) => total_inside(),
        plan => plan.inputs().into_iter().try_for_each(must_have_no_total),
    }
}

/// The same in `LATERAL`: once the engine has lifted a condition, it takes each total that it finds for one that it has grouped.
fn must_have_no_later_total(plan: &LogicalPlan, is_conditioned: &mut bool) -> Result<()> {
    if matches!(plan, LogicalPlan::Subquery(_)) {
        return Ok(());
    }
    plan.inputs().into_iter().try_for_each(|input| must_have_no_later_total(input, is_conditioned))?;
    match plan {
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() && *is_conditioned => total_inside(),
        LogicalPlan::Filter(filter) => {
            *is_conditioned |= filter.predicate.contains_outer();
            Ok(())
        }
        _ => Ok(()),
    }
}

fn total_inside() -> Result<()> {
    not_impl_err!(
        "an aggregate without GROUP BY inside of a subquery of a subquery that looks at the row outside; join its table instead"
    )
}

/// Refuses rows that are not those of a table, and limits of rows that are not just selected by what they are compared with.
fn must_be_of_table(plan: &LogicalPlan) -> Result<()> {
    match plan {
        LogicalPlan::Limit(limit) if looks_outside(&limit.input) => not_impl_err!(
            "LIMIT in LATERAL, but at its end and of rows with the same value as the row outside; filter by row_number()"
        ),
        LogicalPlan::Values(_) if plan.contains_outer_reference() => {
            not_impl_err!(
                "VALUES of columns of the row outside; write a SELECT for each row, and UNION ALL between them"
            )
        }
        LogicalPlan::Subquery(_) => Ok(()),
        plan => plan.inputs().into_iter().try_for_each(must_be_of_table),
    }
}

/// Refuses what the engine cannot group by: rows that become fewer in `LATERAL`, and are compared otherwise than by `=`.
fn must_compare_keys(plan: &LogicalPlan, is_grouped: bool) -> Result<()> {
    match plan {
        LogicalPlan::Subquery(_) => return Ok(()),
        LogicalPlan::Filter(filter) if is_grouped => {
            let conditions = split_conjunction(&filter.predicate);
            if conditions.into_iter().any(|condition| condition.contains_outer() && !is_key(condition)) {
                return not_impl_err!(
                    "an aggregate or DISTINCT in LATERAL, of rows that are compared with the row outside otherwise than by =; join their table, and GROUP BY"
                );
            }
        }
        _ => {}
    }
    let is_grouped = is_grouped || matches!(plan, LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_));
    plan.inputs().into_iter().try_for_each(|input| must_compare_keys(input, is_grouped))
}

/// Whether a value of the rows inside is the same as one outside.
fn is_key(condition: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return false };
    let is_outside = |value: &Expr| value.contains_outer() && !value.any_column_refs();
    let is_inside = |value: &Expr| value.any_column_refs() && !value.contains_outer();
    (is_outside(left) && is_inside(right)) || (is_inside(left) && is_outside(right))
}
