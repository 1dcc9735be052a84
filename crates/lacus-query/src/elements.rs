//! Subqueries over the elements of an array of the row outside: `(SELECT sum(e) FROM unnest(t.prices) AS e WHERE e > t.least)`,
//! `EXISTS (SELECT 1 FROM unnest(t.tags) AS tag WHERE tag LIKE 'a%')`.
//!
//! The engine joins what a subquery compares with the row outside, and has no plan where its rows come out of that row (DataFusion
//! 54.1). Here it becomes a function of the array: what is asked of an element are lambdas, and what they give goes to the aggregate,
//! for all rows of a batch at once. It has to come after types are settled, and before subqueries are joined.
//!
//! It knows one array, and columns, conditions, an order and `DISTINCT` above its elements. All else stays, and is refused.

mod function;

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, JoinType, Result};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, Exists, InSubquery, NullTreatment};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, merge_schema};
use datafusion::logical_expr::{
    Distinct, EmptyRelation, Expr, ExprSchemable, Join, LogicalPlan, Projection, SortExpr, Unnest, lit, when,
};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::scalar::ScalarValue;

use self::function::{Asked, element, of_elements};
use crate::totals::{has_first, right_of};

/// Aggregates to which the order of a query in `FROM` matters.
const IN_ORDER: [&str; 4] = ["array_agg", "string_agg", "first_value", "last_value"];

/// Answers such subqueries.
#[derive(Debug)]
pub(crate) struct SubqueriesOfElements;

impl OptimizerRule for SubqueriesOfElements {
    fn name(&self) -> &str {
        "subqueries_of_elements"
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        plan.transform_up_with_subqueries(answered)
    }
}

/// Whether the rows of a subquery are the elements of an array of the row outside: there is nothing to be joined.
pub(crate) fn is_of_elements(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Unnest(unnest) => list_of(unnest).is_some_and(Expr::contains_outer),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty() && is_of_elements(&aggregate.input),
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Distinct(Distinct::All(_))
        | LogicalPlan::Subquery(_)
        | LogicalPlan::SubqueryAlias(_) => plan.inputs().into_iter().all(is_of_elements),
        _ => false,
    }
}

/// The array whose elements are all rows, if there is but one.
fn list_of(unnest: &Unnest) -> Option<&Expr> {
    let LogicalPlan::Projection(lists) = unnest.input.as_ref() else { return None };
    let LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, .. }) = lists.input.as_ref() else {
        return None;
    };
    let ([list], [(_, unnested)]) = (lists.expr.as_slice(), unnest.list_type_columns.as_slice()) else { return None };
    let is_plain = unnested.depth == 1 && unnest.struct_type_columns.is_empty() && !unnest.options.preserve_nulls;
    is_plain.then_some(list)
}

fn answered(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if let LogicalPlan::Join(join) = &plan
        && let Some(row) = with_total(join)?
    {
        return Ok(Transformed::yes(row));
    }
    let outside = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    let answered = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let made = expr.transform_up(|expr| value(expr, &outside))?;
        Ok(made.update_data(|expr| name.restore(expr)))
    })?;
    if !answered.transformed {
        return Ok(answered);
    }
    Ok(Transformed::yes(answered.data.recompute_schema()?))
}

/// A join with a total of elements of the row on its left, in `LATERAL`: that row with more columns. None: it is another one.
fn with_total(join: &Join) -> Result<Option<LogicalPlan>> {
    let is_true = |on: &Expr| matches!(on, Expr::Literal(ScalarValue::Boolean(Some(true)), _));
    let has_all = matches!(join.join_type, JoinType::Inner | JoinType::Left) && join.on.is_empty();
    let (Some((subquery, _)), true) = (right_of(join), has_all && join.filter.as_ref().is_none_or(is_true)) else {
        return Ok(None);
    };
    if !is_of_elements(&subquery.subquery) {
        return Ok(None);
    }
    let Some(Total { columns, is_there: None }) = Total::of(&subquery.subquery, join.left.schema())? else {
        return Ok(None);
    };
    let mut row: Vec<Expr> = join.left.schema().iter().map(Expr::from).collect();
    for (column, (table, field)) in columns.into_iter().zip(join.right.schema().iter()) {
        row.push(column.alias_qualified(table.cloned(), field.name()));
    }
    Ok(Some(LogicalPlan::Projection(Projection::try_new(row, Arc::clone(&join.left))?)))
}

/// A subquery as a value of the row outside, if it is one of elements.
fn value(expr: Expr, outside: &DFSchema) -> Result<Transformed<Expr>> {
    let found = match &expr {
        Expr::ScalarSubquery(subquery) if is_of_elements(&subquery.subquery) => {
            match Total::of(&subquery.subquery, outside)? {
                Some(total) => total.value()?,
                None => None,
            }
        }
        Expr::Exists(Exists { subquery, negated }) if is_of_elements(unlimited(&subquery.subquery)?) => {
            match Elements::of(unlimited(&subquery.subquery)?, outside)? {
                Some(elements) => Some(elements.are_there(*negated)?),
                None => None,
            }
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated })
            if is_of_elements(&subquery.subquery) && can_be_asked(expr)? =>
        {
            match Elements::of(&subquery.subquery, outside)? {
                Some(elements) => elements.have(expr, *negated)?,
                None => None,
            }
        }
        _ => None,
    };
    Ok(match found {
        Some(value) => Transformed::yes(value),
        None => Transformed::no(expr),
    })
}

/// What a limit leaves the first row of: whether there is any is the same.
fn unlimited(plan: &LogicalPlan) -> Result<&LogicalPlan> {
    match plan {
        LogicalPlan::Limit(limit) if has_first(limit)? => Ok(&limit.input),
        plan => Ok(plan),
    }
}

/// The one row of an aggregate of elements.
struct Total {
    columns: Vec<Expr>,
    /// The condition that it is there.
    is_there: Option<Expr>,
}

impl Total {
    fn of(plan: &LogicalPlan, outside: &DFSchema) -> Result<Option<Self>> {
        match plan {
            LogicalPlan::Aggregate(aggregate) => {
                let Some(elements) = Elements::of(&aggregate.input, outside)? else { return Ok(None) };
                let places = Places { schema: aggregate.input.schema(), columns: &elements.columns, outside };
                let mut columns = Vec::with_capacity(aggregate.aggr_expr.len());
                for (expr, field) in aggregate.aggr_expr.iter().zip(aggregate.schema.fields()) {
                    let Some(total) = elements.total(expr, field, &places)? else { return Ok(None) };
                    columns.push(total);
                }
                Ok(Some(Self { columns, is_there: None }))
            }
            LogicalPlan::Projection(projection) => {
                let Some(below) = Self::of(&projection.input, outside)? else { return Ok(None) };
                let places = Places { schema: projection.input.schema(), columns: &below.columns, outside };
                let columns = places.all(&projection.expr)?;
                Ok(columns.map(|columns| Self { columns, is_there: below.is_there }))
            }
            LogicalPlan::Filter(filter) => {
                let Some(below) = Self::of(&filter.input, outside)? else { return Ok(None) };
                let places = Places { schema: filter.input.schema(), columns: &below.columns, outside };
                let Some(condition) = places.value(&filter.predicate)? else { return Ok(None) };
                let is_there = conjunction(below.is_there.into_iter().chain([condition]));
                Ok(Some(Self { columns: below.columns, is_there }))
            }
            LogicalPlan::SubqueryAlias(alias) => Self::of(&alias.input, outside),
            // One row is in order.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => Self::of(&sort.input, outside),
            _ => Ok(None),
        }
    }

    /// Its only column, null if it is not there.
    fn value(mut self) -> Result<Option<Expr>> {
        let (Some(value), true) = (self.columns.pop(), self.columns.is_empty()) else { return Ok(None) };
        match self.is_there {
            Some(is_there) => when(is_there, value).end().map(Some),
            None => Ok(Some(value)),
        }
    }
}

/// Rows that are the elements of an array of the row outside.
struct Elements {
    list: Expr,
    kind: FieldRef,
    /// What their columns are, of [`element`] and the row outside.
    columns: Vec<Expr>,
    conditions: Vec<Expr>,
    order: Vec<SortExpr>,
    is_distinct: bool,
}

impl Elements {
    /// The rows of a plan. None if they are others, or more is done with them than is known here.
    fn of(plan: &LogicalPlan, outside: &DFSchema) -> Result<Option<Self>> {
        let input = match plan {
            LogicalPlan::Unnest(unnest) => return Self::unnested(unnest, outside),
            LogicalPlan::SubqueryAlias(alias) => return Self::of(&alias.input, outside),
            // `FROM unnest(…)`, which looks at the row outside.
            LogicalPlan::Subquery(beside) => return Self::of(&beside.subquery, outside),
            LogicalPlan::Projection(projection) => &projection.input,
            LogicalPlan::Filter(filter) => &filter.input,
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => &sort.input,
            LogicalPlan::Distinct(Distinct::All(input)) => input,
            _ => return Ok(None),
        };
        let Some(mut rows) = Self::of(input, outside)? else { return Ok(None) };
        let columns = rows.columns.clone();
        let places = Places { schema: input.schema(), columns: &columns, outside };
        match plan {
            LogicalPlan::Projection(projection) => match places.all(&projection.expr)? {
                // What is made of distinct values may be the same.
                Some(made) if !rows.is_distinct || made == columns => rows.columns = made,
                _ => return Ok(None),
            },
            LogicalPlan::Filter(filter) => match places.value(&filter.predicate)? {
                Some(condition) => rows.conditions.push(condition),
                None => return Ok(None),
            },
            LogicalPlan::Sort(sort) => match places.order(&sort.expr)? {
                Some(order) => rows.order = order,
                None => return Ok(None),
            },
            _ if columns.len() == 1 => {
                rows.is_distinct = true;
                rows.order = Vec::new();
            }
            _ => return Ok(None),
        }
        Ok(Some(rows))
    }

    fn unnested(unnest: &Unnest, outside: &DFSchema) -> Result<Option<Self>> {
        let Some(list) = list_of(unnest) else { return Ok(None) };
        let places = Places { schema: &DFSchema::empty(), columns: &[], outside };
        let Some(list) = places.value(list)? else { return Ok(None) };
        let DataType::List(kind) = list.get_type(outside)? else { return Ok(None) };
        let columns = vec![element()];
        Ok(Some(Self { list, kind, columns, conditions: Vec::new(), order: Vec::new(), is_distinct: false }))
    }

    /// An aggregate of them.
    fn total(&self, expr: &Expr, returns: &FieldRef, places: &Places) -> Result<Option<Expr>> {
        let Expr::AggregateFunction(AggregateFunction { func, params }) = expr.clone().unalias_nested().data else {
            return Ok(None);
        };
        let filter: Vec<Expr> = params.filter.map(|filter| *filter).into_iter().collect();
        let (Some(arguments), Some(filter), Some(order)) =
            (places.all(&params.args)?, places.all(&filter)?, places.order(&params.order_by)?)
        else {
            return Ok(None);
        };
        let is_in_order = order.is_empty() && IN_ORDER.contains(&func.name());
        let order = if is_in_order { self.order.clone() } else { order };
        let is_of_column = |value: &Expr| self.columns.first() == Some(value);
        if self.is_distinct
            && !(arguments.first().is_some_and(is_of_column) && order.iter().all(|sort| is_of_column(&sort.expr)))
        {
            return Ok(None);
        }
        let asked = Asked {
            function: func,
            arguments,
            condition: conjunction(self.conditions.iter().cloned().chain(filter)),
            order,
            is_distinct: self.is_distinct || params.distinct,
            ignores_nulls: params.null_treatment == Some(NullTreatment::IgnoreNulls),
            returns: Arc::clone(returns),
        };
        of_elements(&self.list, &self.kind, asked).map(Some)
    }

    /// How many of them there are, of which a condition is true, too.
    fn count(&self, condition: Option<Expr>) -> Result<Expr> {
        let asked = Asked {
            function: count_udaf(),
            arguments: vec![lit(1_i64)],
            condition: conjunction(self.conditions.iter().cloned().chain(condition)),
            order: Vec::new(),
            is_distinct: false,
            ignores_nulls: false,
            returns: Arc::new(Field::new("count", DataType::Int64, false)),
        };
        of_elements(&self.list, &self.kind, asked)
    }

    /// Whether there is any.
    fn are_there(&self, negated: bool) -> Result<Expr> {
        let count = self.count(None)?;
        Ok(if negated { count.eq(lit(0_i64)) } else { count.gt(lit(0_i64)) })
    }

    /// Whether a value of the row outside is among them.
    fn have(&self, value: &Expr, negated: bool) -> Result<Option<Expr>> {
        let [column] = self.columns.as_slice() else { return Ok(None) };
        let same = value.clone().eq(column.clone());
        let is_there = self.count(Some(same.clone()))?.gt(lit(0_i64));
        let is_unknown = self.count(Some(same.is_null()))?.gt(lit(0_i64));
        let unknown = lit(ScalarValue::Boolean(None));
        when(is_there, lit(!negated)).when(is_unknown, unknown).otherwise(lit(negated)).map(Some)
    }
}

/// What the columns of a plan are.
struct Places<'a> {
    schema: &'a DFSchema,
    columns: &'a [Expr],
    outside: &'a DFSchema,
}

impl Places<'_> {
    /// A value of these columns and of the row outside as one of what they are. None if it is of more than that.
    fn value(&self, expr: &Expr) -> Result<Option<Expr>> {
        if !can_be_asked(expr)? {
            return Ok(None);
        }
        let mut is_known = true;
        let placed = expr.clone().unalias_nested().data.transform(|part| {
            let found = match &part {
                Expr::Column(column) => {
                    self.schema.maybe_index_of_column(column).and_then(|place| self.columns.get(place).cloned())
                }
                Expr::OuterReferenceColumn(_, column) => {
                    self.outside.has_column(column).then(|| Expr::Column(column.clone()))
                }
                _ => return Ok(Transformed::no(part)),
            };
            is_known &= found.is_some();
            Ok(match found {
                Some(found) => Transformed::yes(found),
                None => Transformed::no(part),
            })
        });
        let placed = placed.data()?;
        Ok(is_known.then_some(placed))
    }

    fn all(&self, exprs: &[Expr]) -> Result<Option<Vec<Expr>>> {
        exprs.iter().map(|expr| self.value(expr)).collect()
    }

    fn order(&self, sorts: &[SortExpr]) -> Result<Option<Vec<SortExpr>>> {
        let placed = |sort: &SortExpr| Ok(self.value(&sort.expr)?.map(|expr| sort.with_expr(expr)));
        sorts.iter().map(placed).collect()
    }
}

/// Whether a lambda can ask it: it has no subqueries, and may be computed more than once.
fn can_be_asked(expr: &Expr) -> Result<bool> {
    let is_question = |part: &Expr| {
        matches!(part, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_))
    };
    Ok(!expr.is_volatile() && !expr.exists(|part| Ok(is_question(part)))?)
}
