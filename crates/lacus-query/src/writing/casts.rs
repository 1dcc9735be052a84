//! Values brought to the columns they are written to, and which may be.
//!
//! A number goes to any column of numbers, a time to any of times, anything to text. Text goes to a column of another type
//! only where it stands in the statement itself, as a literal or a parameter: a column of text is cast by whoever means it.
//! What does not fit when it comes is an error, never null.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::new_empty_array;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{ColumnarValue, SortExpr};
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ScalarUDF, Volatility, create_udf, lit,
};
use datafusion::scalar::ScalarValue;
use lacus_core::TableName;
use lacus_core::layout::{PartitionField, Transform};
use lacus_lake::{Column as TableColumn, partition_value};

use crate::error::{SqlError, external};

/// The plan with the columns from `first` on cast to those of a table, under their names.
///
/// # Errors
/// `42804` for a value that can't go to its column.
pub(super) fn cast_columns(
    plan: LogicalPlan,
    first: usize,
    table: &TableName,
    wanted: &SchemaRef,
) -> Result<std::result::Result<LogicalPlan, SqlError>> {
    let mut exprs = Vec::with_capacity(plan.schema().fields().len());
    for index in 0..plan.schema().fields().len() {
        let column = Expr::Column(Column::from(plan.schema().qualified_field(index)));
        let Some(target) = index.checked_sub(first).and_then(|index| wanted.fields().get(index)) else {
            exprs.push(column);
            continue;
        };
        if let Some(error) = misfit(&plan, index, table, target) {
            return Ok(Err(error));
        }
        let is_same = column.get_type(plan.schema())? == *target.data_type();
        let cast = if is_same { column } else { column.cast_to(&without_ids(target.data_type()), plan.schema())? };
        exprs.push(cast.alias(target.name()));
    }
    LogicalPlanBuilder::from(plan).project(exprs)?.build().map(Ok)
}

/// Rows with all columns of a table in order: the given ones at `places`, and null for the others.
pub(super) fn in_place(rows: LogicalPlan, places: &[usize], wanted: &SchemaRef) -> Result<LogicalPlan> {
    let mut exprs = Vec::with_capacity(wanted.fields().len());
    for (place, field) in wanted.fields().iter().enumerate() {
        let value = match places.iter().position(|one| *one == place) {
            Some(index) => Expr::Column(Column::from(rows.schema().qualified_field(index))),
            None => lit(ScalarValue::try_new_null(&without_ids(field.data_type()))?),
        };
        exprs.push(value.alias(field.name()));
    }
    LogicalPlanBuilder::from(rows).project(exprs)?.build()
}

/// The question of a `MERGE` with each value cast to the column it is set to: the common type of all clauses might not hold a
/// value that one of them keeps.
///
/// # Errors
/// `42804` for a value that can't go to its column, `0A000` for a condition that is not the same each time.
pub(super) fn cast_choices(
    plan: LogicalPlan,
    first: usize,
    table: &TableName,
    wanted: &SchemaRef,
) -> Result<std::result::Result<LogicalPlan, SqlError>> {
    let LogicalPlan::Projection(projection) = &plan else { return Ok(Ok(plan)) };
    let input = &projection.input;
    let mut exprs = Vec::with_capacity(projection.expr.len());
    for (index, expr) in projection.expr.iter().enumerate() {
        let Expr::Case(mut case) = expr.clone().unalias() else {
            exprs.push(expr.clone());
            continue;
        };
        if case.when_then_expr.iter().any(|(condition, _)| condition.is_volatile()) {
            return Ok(Err(SqlError::invalid("0A000", "a condition of MERGE calls a function that differs each time")
                .with_hint("call it in the source: USING (SELECT …, random() AS r FROM …) AS s")));
        }
        if let Some(target) = index.checked_sub(first).and_then(|index| wanted.fields().get(index)) {
            let values = case.when_then_expr.iter_mut().map(|(_, value)| value).chain(&mut case.else_expr);
            for value in values {
                let from = value.get_type(input.schema())?;
                if let Some(error) = misfit_of(&from, is_literal_of(value, input), table, target) {
                    return Ok(Err(error));
                }
                if from != *target.data_type() {
                    let plain = value.as_ref().clone();
                    **value = plain.cast_to(&without_ids(target.data_type()), input.schema())?;
                }
            }
        }
        exprs.push(Expr::Case(case).alias(projection.schema.field(index).name()));
    }
    LogicalPlanBuilder::from(input.as_ref().clone()).project(exprs)?.build().map(Ok)
}

/// The type without field ids inside: the engine's values have none, and the lake adds them.
pub(crate) fn without_ids(kind: &DataType) -> DataType {
    let plain = |field: &FieldRef| {
        let kind = without_ids(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(kind).with_metadata(HashMap::new()))
    };
    match kind {
        DataType::List(element) => DataType::List(plain(element)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain).collect()),
        DataType::Map(entries, is_sorted) => DataType::Map(plain(entries), *is_sorted),
        other => other.clone(),
    }
}

/// Why values of this column can't be written to that one.
pub(super) fn misfit(plan: &LogicalPlan, index: usize, table: &TableName, target: &Field) -> Option<SqlError> {
    misfit_of(plan.schema().field(index).data_type(), is_literal(plan, index), table, target)
}

fn misfit_of(from: &DataType, is_literal: bool, table: &TableName, target: &Field) -> Option<SqlError> {
    let to = target.data_type();
    // A text is not the bytes that Postgres would parse it to.
    if fits(from, to) || (from.is_string() && !is_bytes(to) && is_literal) {
        return None;
    }
    let (name, from, to) = (target.name(), sql_type(&Field::new("value", from.clone(), true)), sql_type(target));
    let message = format!("column \"{name}\" of table \"{table}\" is of type {to}, but the value is of type {from}");
    Some(SqlError::invalid("42804", message).with_hint(format!("cast it: CAST(… AS {to})")))
}

/// The type in words of SQL.
fn sql_type(field: &Field) -> String {
    TableColumn::of_arrow(field).map_or_else(|_| field.data_type().to_string(), |column| column.kind.sql())
}

pub(super) fn is_bytes(kind: &DataType) -> bool {
    matches!(kind, DataType::Binary | DataType::BinaryView | DataType::LargeBinary | DataType::FixedSizeBinary(_))
}

fn fits(from: &DataType, to: &DataType) -> bool {
    let is_time = |kind: &DataType| matches!(kind, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..));
    let is_clock = |kind: &DataType| matches!(kind, DataType::Time32(_) | DataType::Time64(_));
    let is_list =
        |kind: &DataType| matches!(kind, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..));
    let both = |is: &dyn Fn(&DataType) -> bool| is(from) && is(to);
    *from == DataType::Null
        || from == to
        || to.is_string() && !from.is_nested() && !is_bytes(from)
        || both(&DataType::is_numeric)
        || both(&is_bytes)
        || both(&is_time)
        || both(&is_clock)
        || both(&is_list) && !loses_fields(from, to)
        || both(&|kind| matches!(kind, DataType::Struct(_))) && !loses_fields(from, to)
        || both(&|kind| matches!(kind, DataType::Map(..))) && !loses_fields(from, to)
        || matches!(from, DataType::Dictionary(_, values) if fits(values, to))
}

/// Whether an object has more fields than the column, at any depth: a cast would drop them.
fn loses_fields(from: &DataType, to: &DataType) -> bool {
    use DataType::{FixedSizeList, LargeList, List, Map, Struct};
    match (from, to) {
        (Struct(from), Struct(to)) => {
            from.len() > to.len()
                || from.iter().zip(to).any(|(from, to)| loses_fields(from.data_type(), to.data_type()))
        }
        (List(from) | LargeList(from) | FixedSizeList(from, _), List(to) | LargeList(to) | FixedSizeList(to, _))
        | (Map(from, _), Map(to, _)) => loses_fields(from.data_type(), to.data_type()),
        _ => false,
    }
}

/// Whether a column is a literal or a parameter.
fn is_literal(plan: &LogicalPlan, index: usize) -> bool {
    match plan {
        LogicalPlan::Values(_) => true,
        LogicalPlan::Projection(projection) => is_literal_of(&projection.expr[index], &projection.input),
        LogicalPlan::Sort(sort) => is_literal(&sort.input, index),
        LogicalPlan::Limit(limit) => is_literal(&limit.input, index),
        LogicalPlan::Filter(filter) => is_literal(&filter.input, index),
        LogicalPlan::SubqueryAlias(alias) => is_literal(&alias.input, index),
        _ => false,
    }
}

fn is_literal_of(expr: &Expr, input: &LogicalPlan) -> bool {
    match expr {
        Expr::Literal(..) | Expr::Placeholder(_) => true,
        Expr::Alias(alias) => is_literal_of(&alias.expr, input),
        Expr::Column(column) => {
            input.schema().maybe_index_of_column(column).is_some_and(|index| is_literal(input, index))
        }
        // The value that a clause of `MERGE` sets: in the other cases a column keeps its value.
        Expr::Case(case) => {
            let values = case.when_then_expr.iter().map(|(_, value)| value).chain(&case.else_expr);
            let mut values = values.map(AsRef::as_ref);
            values.all(|value: &Expr| {
                is_literal_of(value, input) || value.get_type(input.schema()).is_ok_and(|kind| !kind.is_string())
            })
        }
        _ => false,
    }
}

/// The plan with the rows of each partition together, so that there are few files; the sort may spill.
pub(super) fn cluster(plan: LogicalPlan, partition: &[PartitionField]) -> Result<LogicalPlan> {
    let mut by: Vec<SortExpr> = Vec::new();
    for field in partition {
        let found = plan.schema().index_of_column_by_name(None, &field.column);
        // Rows are not sorted by fields inside of a column.
        let Some(index) = found else { return Ok(plan) };
        let column = Expr::Column(Column::from(plan.schema().qualified_field(index)));
        let kind = column.get_type(plan.schema())?;
        let value = match field.transform {
            Transform::Identity => column,
            transform => partition_function(&kind, transform)?.call(vec![column]),
        };
        by.push(value.sort(true, true));
    }
    if by.is_empty() { Ok(plan) } else { LogicalPlanBuilder::from(plan).sort(by)?.build() }
}

fn partition_function(kind: &DataType, transform: Transform) -> Result<ScalarUDF> {
    let value = move |array| partition_value(&array, transform).map_err(external);
    let result = value(new_empty_array(kind))?.data_type().clone();
    let body = move |arguments: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        Ok(ColumnarValue::Array(value(Arc::clone(&arrays[0]))?))
    };
    let name = format!("partition_{transform}");
    Ok(create_udf(&name, vec![kind.clone()], result, Volatility::Immutable, Arc::new(body)))
}
