//! `INSERT OVERWRITE t [PARTITION (day = '2026-11-22')] SELECT …`: rows that come, in the stead of all rows of the table or of
//! one partition. In a plain `INSERT`, `PARTITION (day = …)` only says the value of a column.

use datafusion::common::{Column, internal_err};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr as Value, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, Expr, Insert, ObjectName, SelectItem, SetExpr, Statement as Ast, UnaryOperator,
};
use lacus_core::layout::{PartitionField, Transform};

use super::questions::{Columns, places_of_all, select};
use crate::error::SqlError;
use crate::session::plan_parsed;

/// A column with the same value in all new rows.
pub(super) struct Fixed {
    pub(super) place: usize,
    value: Expr,
}

/// Takes the fixed values out of `PARTITION (day = '2026-11-22', country)`.
///
/// # Errors
/// For what is no column, or no value.
pub(super) fn take_fixed(insert: &mut Insert, columns: &Columns<'_>) -> std::result::Result<Vec<Fixed>, SqlError> {
    let (mut fixed, mut named) = (Vec::new(), Vec::new());
    for field in insert.partitioned.take().into_iter().flatten() {
        match field {
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => fixed.push(one(&left, *right, columns)?),
            other => named.push(other),
        }
    }
    if insert.overwrite && !named.is_empty() {
        return Err(SqlError::invalid("0A000", "INSERT OVERWRITE with a PARTITION that has no value is not supported")
            .with_hint("PARTITION (day = '2026-11-22') replaces one; without PARTITION, all rows of the table go"));
    }
    insert.partitioned = Some(named).filter(|named| !named.is_empty());
    Ok(fixed)
}

fn one(name: &Expr, value: Expr, columns: &Columns<'_>) -> std::result::Result<Fixed, SqlError> {
    let Expr::Identifier(word) = name else {
        return Err(SqlError::invalid("42601", format!("\"{name}\" in PARTITION is no column")));
    };
    if !is_literal(&value) {
        return Err(SqlError::invalid("0A000", format!("PARTITION ({word} = {value}) is not supported"))
            .with_hint("write the value itself: PARTITION (day = '2026-11-22')"));
    }
    Ok(Fixed { place: columns.place(&ObjectName::from(vec![word.clone()]))?, value })
}

fn is_literal(value: &Expr) -> bool {
    match value {
        Expr::Value(value) => !matches!(value.value, ast::Value::Placeholder(_)),
        Expr::TypedString(_) => true,
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } | Expr::Cast { expr, .. } | Expr::Nested(expr) => {
            is_literal(expr)
        }
        _ => false,
    }
}

/// Adds the fixed values to each row of `VALUES`.
pub(super) fn add_to_values(insert: &mut Insert, fixed: &[Fixed]) {
    if let Some(SetExpr::Values(values)) = insert.source.as_mut().map(|source| source.body.as_mut()) {
        for row in &mut values.rows {
            row.content.extend(fixed.iter().map(|fixed| fixed.value.clone()));
        }
    }
}

/// Adds the fixed values to rows, after their columns.
pub(super) fn add_to_rows(rows: LogicalPlan, values: &[Value]) -> Result<LogicalPlan> {
    if values.is_empty() {
        return Ok(rows);
    }
    let columns: Vec<Value> = rows.schema().iter().map(Value::from).collect();
    LogicalPlanBuilder::from(rows).project(columns.into_iter().chain(values.iter().cloned()))?.build()
}

/// The values as the engine has them.
pub(super) async fn values_of(state: &SessionState, fixed: &[Fixed]) -> Result<Vec<Value>> {
    if fixed.is_empty() {
        return Ok(Vec::new());
    }
    let items = fixed.iter().map(|fixed| SelectItem::ExprWithAlias {
        expr: fixed.value.clone(),
        alias: ast::Ident::with_quote('"', format!("fixed#{}", fixed.place)),
    });
    let question = Ast::Query(Box::new(select(items.collect(), Vec::new(), None)));
    match plan_parsed(state, Parsed::Statement(Box::new(question))).await? {
        LogicalPlan::Projection(projection) => Ok(projection.expr),
        _ => internal_err!("values have another plan"),
    }
}

/// The places of the rows to replace: all of the table, or those of the partition with these values.
///
/// # Errors
/// `22023` if the table is not partitioned so.
pub(super) async fn replaced(
    state: &SessionState,
    columns: &Columns<'_>,
    partition: &[PartitionField],
    fixed: &[Fixed],
    values: &[Value],
) -> Result<std::result::Result<LogicalPlan, SqlError>> {
    for fixed in fixed {
        let name = columns.names[fixed.place];
        if !partition.iter().any(|field| field.transform == Transform::Identity && field.column == name) {
            let message = format!("table \"{}\" is not partitioned by \"{name}\"", columns.table);
            return Ok(Err(SqlError::invalid("22023", message)
                .with_hint("MERGE replaces other rows; without PARTITION, all rows of the table go")));
        }
    }
    let question = match places_of_all(columns) {
        Ok(question) => question,
        Err(error) => return Ok(Err(error)),
    };
    let LogicalPlan::Projection(places) = plan_parsed(state, Parsed::Statement(Box::new(question))).await? else {
        return internal_err!("places of rows have another plan");
    };
    let mut rows = LogicalPlanBuilder::from(places.input.as_ref().clone());
    for (fixed, value) in fixed.iter().zip(values) {
        let Some(index) = rows.schema().index_of_column_by_name(None, columns.names[fixed.place]) else {
            return internal_err!("a table with places lacks a column");
        };
        let column = Value::Column(Column::from(rows.schema().qualified_field(index)));
        let kind = column.get_type(rows.schema())?;
        let value = value.clone().unalias();
        let is_null = is_null(&value);
        let value = value.cast_to(&kind, rows.schema())?;
        rows = rows.filter(if is_null { column.is_null() } else { column.eq(value) })?;
    }
    rows.project(places.expr)?.build().map(Ok)
}

/// Whether it is null, of whatever type.
fn is_null(value: &Value) -> bool {
    match value {
        Value::Cast(cast) => is_null(&cast.expr),
        Value::Literal(value, _) => value.is_null(),
        _ => false,
    }
}
