//! `UNNEST` beside the table whose columns it reads, and `TABLESAMPLE`.
//!
//! `t CROSS JOIN UNNEST(t.a) AS u(x)` becomes one plan: the rows of `t` with the array as one more column, which is
//! then unnested. [`crate::syntax`] has put parentheses around the join, so that it arrives here as one.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, new_null_array};
use datafusion::arrow::compute::nullif;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, UnnestOptions, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ScalarUDF, lit};
use datafusion::sql::sqlparser::ast::{
    Expr as Ast, Ident, Join, JoinConstraint, JoinOperator, TableAlias, TableFactor, TableSampleKind, TableSampleUnit,
    TableWithJoins, Value,
};

use crate::lists;
use crate::operators::function;
use crate::scalar::{Body, Call, Given, INT, Int, Kind, Scalar, Types, array_of};

/// Plans relations for which the engine has no plan.
#[derive(Debug)]
pub(crate) struct Unnests;

/// `UNNEST(arrays) [WITH ORDINALITY] [AS alias(columns)]`
struct Unnest {
    arrays: Vec<Ast>,
    alias: Option<TableAlias>,
    has_ordinality: bool,
    /// Rows without elements stay.
    is_outer: bool,
}

impl RelationPlanner for Unnests {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let planned = match relation {
            TableFactor::UNNEST { alias, array_exprs, with_ordinality, with_offset: false, .. } => {
                let unnest = Unnest { arrays: array_exprs, alias, has_ordinality: with_ordinality, is_outer: false };
                plan(LogicalPlanBuilder::empty(true).build()?, unnest, context)?
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } if ends_in_unnest(&table_with_joins) => {
                let mut left = *table_with_joins;
                let Some(join) = left.joins.pop() else { return plan_err!("the join was seen above") };
                let unnest = joined(join)?;
                let left = if left.joins.is_empty() {
                    left.relation
                } else {
                    TableFactor::NestedJoin { table_with_joins: Box::new(left), alias: None }
                };
                plan(context.plan(left)?, unnest, context)?
            }
            TableFactor::Table { sample: Some(_), .. } => sampled(relation, context)?,
            other => return Ok(RelationPlanning::Original(Box::new(other))),
        };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(planned, None))))
    }
}

pub(crate) fn ends_in_unnest(join: &TableWithJoins) -> bool {
    join.joins.last().is_some_and(|join| matches!(join.relation, TableFactor::UNNEST { .. }))
}

fn joined(join: Join) -> Result<Unnest> {
    let TableFactor::UNNEST { alias, array_exprs, with_ordinality, .. } = join.relation else {
        return plan_err!("no UNNEST");
    };
    let is_true = |on: &Ast| matches!(on, Ast::Value(value) if value.value == Value::Boolean(true));
    let is_outer = match &join.join_operator {
        JoinOperator::CrossJoin(_) => false,
        JoinOperator::Join(JoinConstraint::On(on)) | JoinOperator::Inner(JoinConstraint::On(on)) if is_true(on) => {
            false
        }
        JoinOperator::Left(JoinConstraint::On(on)) | JoinOperator::LeftOuter(JoinConstraint::On(on)) if is_true(on) => {
            true
        }
        _ => return plan_err!("UNNEST is joined with CROSS JOIN, or with LEFT JOIN … ON TRUE"),
    };
    Ok(Unnest { arrays: array_exprs, alias, has_ordinality: with_ordinality, is_outer })
}

/// A list to unnest, and the columns that its elements become.
struct Source {
    list: Expr,
    /// The fields of a row; none for a simple element.
    fields: Option<Vec<String>>,
}

fn plan(left: LogicalPlan, unnest: Unnest, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let schema = Arc::clone(left.schema());
    let mut sources = Vec::new();
    for array in unnest.arrays {
        let expr = context.sql_to_expr(array, &schema)?;
        let kind = expr.get_type(schema.as_ref())?;
        sources.extend(lists_of(expr, &kind)?);
    }
    let mut lists: Vec<Expr> = sources.iter().map(|source| source.list.clone()).collect();
    if unnest.has_ordinality {
        let ordinals = Scalar::named(&["ordinals"], Body::new(ordinals_types, ordinals));
        lists.push(ScalarUDF::new_from_impl(ordinals).call(lists.clone()));
    }
    if unnest.is_outer {
        let or_null = || ScalarUDF::new_from_impl(Scalar::named(&["null_if_empty"], Body::new(same, null_if_empty)));
        lists = lists.into_iter().map(|list| or_null().call(vec![list])).collect();
    }
    let names: Vec<String> = (0..lists.len()).map(|index| format!("__unnest_{index}")).collect();
    let columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
    let with_lists = lists.into_iter().zip(&names).map(|(list, name)| list.alias(name));
    let options = UnnestOptions::new().with_preserve_nulls(unnest.is_outer);
    let unnested = LogicalPlanBuilder::from(left)
        .project(columns.iter().cloned().chain(with_lists).collect::<Vec<_>>())?
        .unnest_columns_with_options(names.iter().map(Column::new_unqualified).collect(), options)?;

    let mut values = Vec::new();
    for (source, name) in sources.iter().zip(&names) {
        let value = Expr::Column(Column::new_unqualified(name));
        match &source.fields {
            None => values.push((value, None)),
            Some(fields) => {
                values.extend(fields.iter().map(|field| (field_of(value.clone(), field), Some(field.clone()))));
            }
        }
    }
    if unnest.has_ordinality {
        let last = names.last().map(Column::new_unqualified).map(Expr::Column);
        values.extend(last.map(|ordinal| (ordinal, Some("ordinality".to_owned()))));
    }
    let named = aliased(values, unnest.alias, context)?;
    unnested.project(columns.into_iter().chain(named).collect::<Vec<_>>())?.build()
}

/// A field of an unnested row. The engine's own function would be pushed below the unnesting, where the row is still a list.
fn field_of(row: Expr, name: &str) -> Expr {
    let function = Scalar::named(&["row_field"], Body::new(field_types, field));
    ScalarUDF::new_from_impl(function).call(vec![row, lit(name)])
}

fn field_types(given: &Given) -> Result<Types> {
    let [row @ DataType::Struct(fields), _] = given.types else { return given.refuse() };
    let found = given.text(1).and_then(|name| fields.iter().find(|field| field.name() == name));
    let returns = found.map_or(DataType::Null, |field| field.data_type().clone());
    Ok(Types::new(vec![row.clone(), DataType::Utf8], returns))
}

fn field(call: &Call) -> Result<ArrayRef> {
    let (row, names) = (call.args[0].as_struct(), call.args[1].as_string::<i32>());
    let column = (call.rows > 0).then(|| row.column_by_name(names.value(0))).flatten();
    match column {
        // A field is null if its row is.
        Some(column) => Ok(nullif(column, &datafusion::arrow::compute::is_null(&call.args[0])?)?),
        None => Ok(new_null_array(call.returns.data_type(), call.rows)),
    }
}

/// The lists that an array or map is unnested from.
fn lists_of(expr: Expr, kind: &DataType) -> Result<Vec<Source>> {
    if let DataType::Map(..) = kind {
        let keys = datafusion::functions_nested::map_keys::map_keys(expr.clone());
        let values = datafusion::functions_nested::map_values::map_values(expr);
        return Ok(vec![Source { list: keys, fields: None }, Source { list: values, fields: None }]);
    }
    match lists::element_type(kind) {
        Some(DataType::Struct(fields)) => {
            let fields = fields.iter().map(|field| field.name().clone()).collect();
            Ok(vec![Source { list: expr, fields: Some(fields) }])
        }
        Some(_) => Ok(vec![Source { list: expr, fields: None }]),
        None => plan_err!("UNNEST is for arrays and maps, not {}", crate::types::name(kind)),
    }
}

/// The columns under the names of the alias: `u(x, y)`; a single column of `u` is named `u`.
fn aliased(
    values: Vec<(Expr, Option<String>)>,
    alias: Option<TableAlias>,
    context: &dyn RelationPlannerContext,
) -> Result<Vec<Expr>> {
    let Some(alias) = alias else {
        let name = |own: Option<String>, index: usize| {
            own.unwrap_or_else(|| if index == 0 { "unnest".to_owned() } else { format!("unnest_{index}") })
        };
        return Ok(values.into_iter().enumerate().map(|(index, (value, own))| value.alias(name(own, index))).collect());
    };
    let table = context.normalize_ident(alias.name.clone());
    let names: Vec<Ident> = alias.columns.into_iter().map(|column| column.name).collect();
    if !names.is_empty() && names.len() != values.len() {
        return plan_err!("UNNEST gives {} columns, and {table} names {}", values.len(), names.len());
    }
    let count = values.len();
    let named = values.into_iter().enumerate().map(|(index, (value, own))| {
        let name = match (names.get(index), own) {
            (Some(name), _) => context.normalize_ident(name.clone()),
            (None, Some(own)) => own,
            (None, None) if count == 1 => table.clone(),
            (None, None) => format!("column{}", index + 1),
        };
        value.alias_qualified(Some(table.as_str()), name)
    });
    Ok(named.collect())
}

fn same(given: &Given) -> Result<Types> {
    match given.types {
        [kind] => Ok(Types::new(vec![lists::plain(kind)], lists::plain(kind))),
        _ => given.refuse(),
    }
}

fn null_if_empty(call: &Call) -> Result<ArrayRef> {
    let list = lists::list(&call.args[0])?;
    lists::pick(list.values(), &lists::element(call.returns.data_type())?, call.rows, |row, picks| {
        picks.extend(lists::range(list, row).map(Some));
        Ok(!lists::range(list, row).is_empty())
    })
}

fn ordinals_types(given: &Given) -> Result<Types> {
    Ok(Types::new(given.types.iter().map(lists::plain).collect(), array_of(INT)))
}

/// 1, 2, … up to the length of the longest list of a row.
fn ordinals(call: &Call) -> Result<ArrayRef> {
    let columns = call.args.iter().map(lists::list).collect::<Result<Vec<_>>>()?;
    let lengths: Vec<usize> =
        (0..call.rows).map(|row| columns.iter().map(|list| lists::range(list, row).len()).max().unwrap_or(0)).collect();
    let numbers = lengths.iter().flat_map(|length| (1..=*length as i64).map(Some)).collect();
    let lengths: Vec<Option<usize>> = lengths.into_iter().map(Some).collect();
    lists::lists_of(&Int::collect(numbers), &lengths, &lists::element(call.returns.data_type())?)
}

/// Each row with the requested probability.
fn sampled(relation: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let mut relation = relation;
    let TableFactor::Table { sample, .. } = &mut relation else { return plan_err!("no table") };
    let (Some(TableSampleKind::BeforeTableAlias(sample)) | Some(TableSampleKind::AfterTableAlias(sample))) =
        sample.take()
    else {
        return plan_err!("no sample");
    };
    let share = sample.quantity.filter(|quantity| !matches!(quantity.unit, Some(TableSampleUnit::Rows)));
    let share = match share.map(|quantity| quantity.value) {
        Some(Ast::Value(value)) if sample.seed.is_none() && sample.bucket.is_none() && sample.offset.is_none() => {
            value.value.to_string().parse::<f64>().ok().filter(|share| (0.0..=100.0).contains(share))
        }
        _ => None,
    };
    let Some(share) = share else { return plan_err!("TABLESAMPLE is called as TABLESAMPLE BERNOULLI (percentage)") };
    let Some(random) = function("random") else { return plan_err!("there is no random") };
    let drawn = random.call(vec![]).lt(lit(share / 100.0));
    LogicalPlanBuilder::from(context.plan(relation)?).filter(drawn)?.build()
}
