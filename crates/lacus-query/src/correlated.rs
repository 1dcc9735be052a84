//! Correlated subqueries: `(SELECT max(o.day) FROM orders o WHERE lower(o.city) = c.city)`.
//!
//! The engine turns such a subquery into a join: conditions on the outer row are lifted out of it, and its aggregates are grouped
//! by what they compare. That goes wrong in four ways (DataFusion 54.1, `decorrelate.rs`), which are mended here:
//!
//! - Columns are lifted by name, so two of one name become one. Such columns get names of their own.
//! - Groups can only be columns. Any other comparison, of a field of an object or of a function, is refused; of a cast the column
//!   inside is taken, and an outer row comes several times. Here such a value becomes a column first.
//! - Conditions are lifted above operators that must not see the rows they remove: a window, an aggregate that only checks
//!   whether there are rows, several sets of groups, an offset, the optional side of an outer join. Those are refused.
//! - A null that has nothing to do with the outer row makes a `NOT IN` unknown. It becomes a `NOT EXISTS`.
//!
//! A scalar subquery without a row is null, so its column is made nullable here, and the columns of `IN` get names.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, ExprSchema, JoinType, not_impl_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, SkipType, Subquery, ident, lit,
    when,
};
use datafusion::scalar::ScalarValue;

use crate::elements::is_of_elements;
use crate::null_joins::with_columns;
use crate::rows;
use crate::same::same;

/// Names of the added columns, followed by numbers: nobody else gives such names.
const KEY: &str = "key#";

/// Rewrites correlated subqueries so that the engine answers them correctly.
///
/// # Errors
/// For subqueries whose answer would be wrong.
pub(crate) fn joinable(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut keys = 0;
    let plan = with_columns(rows::above_joins(plan)?)?;
    plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Subquery(subquery) if is_of_elements(&subquery.subquery) => {
            Ok(Transformed::no(LogicalPlan::Subquery(subquery)))
        }
        LogicalPlan::Subquery(subquery) => Ok(Transformed::yes(LogicalPlan::Subquery(Subquery {
            subquery: Arc::new(lifted(Arc::unwrap_or_clone(subquery.subquery), &Above::default(), &mut keys)?),
            ..subquery
        }))),
        plan => {
            let plan = with_unknowns(with_not_exists(rows::answered(plan)?)?)?;
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let made = expr.transform_up(|expr| within(expr, &mut keys))?;
                Ok(made.update_data(|expr| name.restore(expr)))
            })
        }
    })
    .data()
}

/// `x NOT IN (SELECT y …)` in a condition becomes `NOT EXISTS (… AND (x = y) IS NOT FALSE)`: the engine's null-aware join
/// looks at the nulls of all inner rows, not only of those that belong to the outer row. Where `x` is
/// the same for all rows, as in `11 NOT IN (SELECT y …)`, it takes a join that does not look at nulls at all.
fn with_not_exists(plan: LogicalPlan) -> Result<LogicalPlan> {
    let filter = match plan {
        LogicalPlan::Filter(filter) if split_conjunction(&filter.predicate).into_iter().any(is_not_in) => filter,
        plan => return Ok(plan),
    };
    let conditions = split_conjunction_owned(filter.predicate).into_iter().map(|condition| match condition {
        Expr::Not(list) if is_in(&list, false) => not_exists(*list, filter.input.schema()),
        list if is_in(&list, true) => not_exists(list, filter.input.schema()),
        condition => Ok(condition),
    });
    let predicate = conjunction(conditions.collect::<Result<Vec<_>>>()?).unwrap_or_else(|| lit(true));
    Filter::try_new(predicate, filter.input).map(LogicalPlan::Filter)
}

fn is_not_in(condition: &Expr) -> bool {
    match condition {
        Expr::Not(list) => is_in(list, false),
        list => is_in(list, true),
    }
}

/// Whether it is an `IN`, or a `NOT IN`, whose subquery depends on the outer row, or of a value that does not.
fn is_in(condition: &Expr, negated: bool) -> bool {
    let Expr::InSubquery(list) = condition else { return false };
    let is_correlated = !list.subquery.outer_ref_columns.is_empty();
    list.negated == negated
        && if is_correlated { !is_one_row(&list.subquery.subquery) } else { is_same_for_all(&list.expr) }
}

/// Whether a value is the same for all rows, as a parameter is.
fn is_same_for_all(value: &Expr) -> bool {
    !value.any_column_refs() && !value.contains_outer() && !value.is_volatile()
}

fn not_exists(list: Expr, outside: &DFSchema) -> Result<Expr> {
    let Expr::InSubquery(list) = list else { return Ok(list) };
    let subquery = rows_where(list, outside, Expr::is_not_false)?;
    Ok(Expr::Exists(Exists { subquery, negated: true }))
}

/// The rows of the subquery for which the comparison with the value `is_so`.
fn rows_where(list: InSubquery, outside: &DFSchema, is_so: impl FnOnce(Expr) -> Expr) -> Result<Subquery> {
    let InSubquery { expr, subquery: mut question, .. } = list;
    let value = expr.transform(|part| {
        let Expr::Column(column) = part else { return Ok(Transformed::no(part)) };
        let column = Expr::OuterReferenceColumn(Arc::clone(outside.field_from_column(&column)?), column);
        question.outer_ref_columns.push(column.clone());
        Ok(Transformed::yes(column))
    });
    let found = Expr::Column(Column::from(question.subquery.schema().qualified_field(0)));
    let rows = LogicalPlanBuilder::from(Arc::unwrap_or_clone(question.subquery));
    let plan = rows.filter(is_so(value.data()?.eq(found)))?.build()?;
    Ok(Subquery { subquery: Arc::new(plan), ..question })
}

/// `IN` inside of a condition where false and unknown differ. The engine's mark join only knows whether there is a matching
/// row (DataFusion 54.1, `mark_join`), so two questions are asked: for rows that match, and for rows that may.
fn with_unknowns(plan: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Filter(filter) = plan else { return Ok(plan) };
    let schema = Arc::clone(filter.input.schema());
    let predicate = in_condition(filter.predicate, true, &schema)?;
    Filter::try_new(predicate, filter.input).map(LogicalPlan::Filter)
}

/// A condition, or a part of one, for which false and unknown are the same. Operands of the topmost `AND` the engine answers
/// correctly, `NOT IN` too.
fn in_condition(condition: Expr, is_whole: bool, outside: &DFSchema) -> Result<Expr> {
    let is_in = |expr: &Expr| matches!(expr, Expr::InSubquery(list) if !list.negated);
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let is_whole = is_whole && op == Operator::And;
            let left = in_condition(*left, is_whole, outside)?;
            let right = in_condition(*right, is_whole, outside)?;
            Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
        }
        Expr::InSubquery(list) if is_whole || !list.negated => Ok(Expr::InSubquery(list)),
        Expr::Not(inner) if is_whole && is_in(&inner) => Ok(Expr::Not(inner)),
        other => other.transform_up(|expr| in_three_values(expr, outside)).data(),
    }
}

fn in_three_values(expr: Expr, outside: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::InSubquery(list) = expr else { return Ok(Transformed::no(expr)) };
    if is_one_row(&list.subquery.subquery) {
        let value = Expr::ScalarSubquery(list.subquery);
        return Ok(Transformed::yes(if list.negated { list.expr.not_eq(value) } else { (*list.expr).eq(value) }));
    }
    let is_there = |subquery: Subquery| Expr::Exists(Exists { subquery, negated: false });
    let same = is_there(rows_where(list.clone(), outside, |same| same)?);
    let unknown = is_there(rows_where(list.clone(), outside, Expr::is_null)?);
    let value =
        when(same, lit(!list.negated)).when(unknown, lit(ScalarValue::Boolean(None))).otherwise(lit(list.negated))?;
    Ok(Transformed::yes(value))
}

fn within(expr: Expr, keys: &mut usize) -> Result<Transformed<Expr>> {
    if rows::is_asked(&expr) {
        return not_impl_err!("(a, b) IN (SELECT …) in this place; move it to WHERE");
    }
    let expr = with_own_name(expr, keys)?;
    let mut joined = |subquery: Subquery, is_asked_whether: bool| -> Result<Subquery> {
        if is_of_elements(&subquery.subquery) {
            return Ok(subquery);
        }
        let above = Above { is_asked_whether, ..Above::default() };
        let plan = lifted(Arc::unwrap_or_clone(subquery.subquery), &above, keys)?;
        Ok(Subquery { subquery: Arc::new(plan), ..subquery })
    };
    Ok(match expr {
        Expr::ScalarSubquery(subquery) => {
            let is_joined = !subquery.outer_ref_columns.is_empty();
            let subquery = if is_joined { joined(subquery, false)? } else { subquery };
            Transformed::yes(or_null(subquery))
        }
        Expr::Exists(Exists { subquery, negated }) if !subquery.outer_ref_columns.is_empty() => {
            Transformed::yes(match is_one_row(&subquery.subquery) {
                true => lit(!negated),
                false => Expr::Exists(Exists { subquery: joined(subquery, true)?, negated }),
            })
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated }) if !subquery.outer_ref_columns.is_empty() => {
            Transformed::yes(if is_one_row(&subquery.subquery) {
                let value = Expr::ScalarSubquery(joined(subquery, false)?);
                if negated { expr.not_eq(value) } else { (*expr).eq(value) }
            } else {
                Expr::InSubquery(InSubquery { expr, subquery: joined(subquery, true)?, negated })
            })
        }
        expr => Transformed::no(expr),
    })
}

/// `x IN (SELECT count(*) …)` under `OR`: a column without a table is taken twice by the engine, as the subquery's and as
/// that of the joined rows (DataFusion 54.1, `decorrelate_predicate_subquery.rs`). Here it gets a name of its own.
fn with_own_name(expr: Expr, keys: &mut usize) -> Result<Expr> {
    let list = match expr {
        Expr::InSubquery(list) if is_of_no_table(&list.subquery) => list,
        expr => return Ok(expr),
    };
    *keys += 1;
    let plan = list.subquery.subquery.as_ref().clone();
    let value = Expr::Column(Column::from(plan.schema().qualified_field(0))).alias(format!("{KEY}{keys}"));
    let plan = LogicalPlanBuilder::from(plan).project([value])?.build()?;
    let subquery = Subquery { subquery: Arc::new(plan), ..list.subquery };
    Ok(Expr::InSubquery(InSubquery { subquery, ..list }))
}

/// Whether its one column has no table, and it is not a scalar subquery.
fn is_of_no_table(subquery: &Subquery) -> bool {
    let schema = subquery.subquery.schema();
    let is_value = !subquery.outer_ref_columns.is_empty() && is_one_row(&subquery.subquery);
    !is_value && schema.fields().len() == 1 && schema.qualified_field(0).0.is_none()
}

/// A scalar subquery, as a value that may be null.
fn or_null(subquery: Subquery) -> Expr {
    let may_be_null = |field: &FieldRef| field.is_nullable();
    let is_told = is_one_row(&subquery.subquery) || subquery.subquery.schema().fields().iter().all(may_be_null);
    let value = Expr::ScalarSubquery(subquery);
    if is_told { value } else { same(value) }
}

/// Whether it always has one row, whatever its input.
pub(crate) fn is_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Projection(projection) => is_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_one_row(&alias.input),
        LogicalPlan::Sort(sort) => sort.fetch.is_none() && is_one_row(&sort.input),
        _ => false,
    }
}

/// What is above a place in a subquery's plan.
#[derive(Debug, Clone, Default)]
struct Above {
    /// Names of columns from elsewhere, for which a lifted column could be mistaken.
    names: HashSet<String>,
    /// Whether only the existence of a row matters, or of one with a value.
    is_asked_whether: bool,
    has_window: bool,
    has_aggregate: bool,
    /// One that has a row for no rows.
    has_total: bool,
    has_grouping_sets: bool,
    has_offset: bool,
    has_alias: bool,
    may_be_missing: bool,
}

impl Above {
    /// What is above an input of a plan.
    fn input(&self, plan: &LogicalPlan, index: usize) -> Result<Self> {
        let mut above = self.clone();
        match plan {
            LogicalPlan::Projection(projection) => {
                let names = projection.schema.fields().iter().zip(&projection.expr);
                let computed = names.filter(|(_, expr)| !matches!(expr, Expr::Column(_)));
                above.names.extend(computed.map(|(field, _)| field.name().clone()));
            }
            LogicalPlan::Window(_) => above.has_window = true,
            LogicalPlan::Aggregate(Aggregate { group_expr, .. }) => {
                above.has_aggregate = true;
                above.has_total |= group_expr.is_empty();
                above.has_grouping_sets |= group_expr.iter().any(|group| matches!(group, Expr::GroupingSet(_)));
            }
            LogicalPlan::Limit(limit) => {
                above.has_offset |= !matches!(limit.get_skip_type()?, SkipType::Literal(0));
            }
            LogicalPlan::SubqueryAlias(_) => above.has_alias = true,
            LogicalPlan::Join(join) => {
                let may_be_missing = [JoinType::Right, JoinType::Left];
                let others = [&join.right, &join.left][index.min(1)];
                above.names.extend(others.schema().fields().iter().map(|field| field.name().clone()));
                above.may_be_missing |=
                    join.join_type == JoinType::Full || join.join_type == may_be_missing[index.min(1)];
            }
            _ => {}
        }
        Ok(above)
    }

    /// Refuses a condition that the engine would lift too far.
    fn must_be_transparent(&self, filter: &Filter) -> Result<()> {
        let what = match self {
            _ if is_of_total(&filter.input) => "HAVING without GROUP BY",
            Self { has_window: true, .. } => "a window function",
            Self { may_be_missing: true, .. } => "an outer join",
            Self { has_grouping_sets: true, .. } => "GROUPING SETS",
            Self { is_asked_whether: true, has_total: true, .. } => "an aggregate without GROUP BY, in EXISTS or IN,",
            Self { is_asked_whether: true, has_offset: true, .. } => "OFFSET, in EXISTS or IN,",
            _ => return Ok(()),
        };
        not_impl_err!("{what} in a subquery that looks at the row outside; join its table instead")
    }
}

/// Whether it is an aggregate without groups, or above one.
fn is_of_total(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Projection(projection) => is_of_total(&projection.input),
        LogicalPlan::Filter(filter) => is_of_total(&filter.input),
        _ => false,
    }
}

/// The plan, with conditions on the outer row that can be lifted out of it.
fn lifted(plan: LogicalPlan, above: &Above, keys: &mut usize) -> Result<LogicalPlan> {
    let plan = match plan {
        LogicalPlan::Filter(filter) if filter.predicate.contains_outer() => {
            above.must_be_transparent(&filter)?;
            with_keys(filter, above, keys)?
        }
        plan => plan,
    };
    let inputs: Vec<Above> = (0..plan.inputs().len()).map(|index| above.input(&plan, index)).collect::<Result<_>>()?;
    let mut inputs = inputs.into_iter();
    plan.map_children(|child| {
        let above = inputs.next().unwrap_or_default();
        lifted(child, &above, keys).map(Transformed::yes)
    })
    .data()
}

/// The filter, with added columns for expressions that would be lifted wrongly.
fn with_keys(filter: Filter, above: &Above, keys: &mut usize) -> Result<LogicalPlan> {
    let mut computed: Vec<(Expr, String)> = Vec::new();
    let mut as_column = |value: Expr| {
        let known = computed.iter().find(|(known, _)| *known == value).map(|(_, name)| name.clone());
        let name = known.unwrap_or_else(|| {
            *keys += 1;
            let name = format!("{KEY}{keys}");
            computed.push((value, name.clone()));
            name
        });
        ident(name)
    };
    let schema = Arc::clone(filter.input.schema());
    let is_one_of_several = |column: &Column| {
        above.names.contains(&column.name)
            || schema.fields().iter().filter(|field| *field.name() == column.name).count() > 1
    };
    let mut with_names = |condition: Expr| -> Result<Expr> {
        if !condition.contains_outer() {
            return Ok(condition);
        }
        let condition = match condition {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right })
                if above.has_aggregate && is_computed(&left) && is_outside(&right) =>
            {
                return Ok(as_column(*left).eq(*right));
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right })
                if above.has_aggregate && is_outside(&left) && is_computed(&right) =>
            {
                return Ok((*left).eq(as_column(*right)));
            }
            condition => condition,
        };
        let named = condition.transform(|part| match part {
            Expr::Column(column) if is_one_of_several(&column) => Ok(Transformed::yes(as_column(Expr::Column(column)))),
            part => Ok(Transformed::no(part)),
        });
        named.data()
    };
    let conditions = split_conjunction_owned(filter.predicate.clone()).into_iter().map(&mut with_names);
    let predicate = conjunction(conditions.collect::<Result<Vec<_>>>()?);
    let Some(predicate) = predicate.filter(|_| !computed.is_empty()) else {
        return Ok(LogicalPlan::Filter(filter));
    };
    // Above an alias, only the alias's own columns are visible.
    if above.has_alias {
        return not_impl_err!(
            "a computed value, or a column whose name others have, in a subquery of a subquery, compared with the row outside"
        );
    }
    let columns: Vec<Expr> = filter.input.schema().iter().map(Expr::from).collect();
    let computed = computed.into_iter().map(|(value, name)| value.alias(name));
    LogicalPlanBuilder::from(Arc::unwrap_or_clone(filter.input))
        .project(columns.iter().cloned().chain(computed))?
        .filter(predicate)?
        .project(columns)?
        .build()
}

/// Whether it is computed from inner rows, and not just one of their columns.
fn is_computed(value: &Expr) -> bool {
    !matches!(value, Expr::Column(_)) && value.any_column_refs() && !value.contains_outer() && !value.is_volatile()
}

/// Whether it depends on the outer row alone.
fn is_outside(value: &Expr) -> bool {
    value.contains_outer() && !value.any_column_refs()
}
