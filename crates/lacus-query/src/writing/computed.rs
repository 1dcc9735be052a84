//! `RETURNING id, upper(name) AS shown`: what is computed of the rows that came, or that went.
//!
//! It is a question to these rows. It is planned with the statement, as one to their table, and asked of those that were kept,
//! before the commit: where it fails, nothing is written.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, SelectItem, SetExpr, Statement as Ast, Value, ValueWithSpan, visit_expressions,
};
use datafusion::sql::sqlparser::parser::Parser;
use lacus_core::{Kind, TableName};
use trino_functions::syntax::SqlDialect;

use crate::dialect::Dialect;
use crate::error::SqlError;
use crate::naming::ColumnNames;
use crate::session::{plan_parsed, with_types};

/// A question to rows.
#[derive(Debug, Clone)]
pub(super) struct Computed {
    /// As one to their table.
    plan: LogicalPlan,
    /// The columns of its answer.
    pub(super) schema: SchemaRef,
}

impl Computed {
    /// What stands behind `RETURNING`, of the rows of a table that is called so.
    ///
    /// # Errors
    /// `0A000` for what is no value of each row, and what the engine says.
    pub(super) async fn of(
        state: &SessionState,
        items: &[SelectItem],
        name: &TableName,
        called: &Ident,
        explained: impl Fn(DataFusionError) -> SqlError,
    ) -> Result<Self, SqlError> {
        must_be_of_rows(items)?;
        let question = question(items, name, called)?;
        let dialect = state.config().get_extension::<Dialect>().map_or_else(Dialect::default, |dialect| *dialect);
        let names = ColumnNames::of(&question, dialect);
        let plan = plan_parsed(state, question).await.and_then(|plan| with_types(state, plan)).map_err(&explained)?;
        if plan.exists(|plan| Ok(matches!(plan, LogicalPlan::Aggregate(_)))).map_err(&explained)? {
            return Err(SqlError::invalid("42803", "aggregate functions are not allowed in RETURNING"));
        }
        if !is_of_each_row(&plan) {
            return Err(refused("a window, or rows of its own,"));
        }
        let named = names.apply(plan.schema().inner());
        let fields = named.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        Ok(Self { plan, schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())) })
    }

    /// The places of the columns that it is computed from, and the columns as the engine has them: one at least, by which rows
    /// are counted.
    pub(super) fn columns(&self, columns: &Schema) -> Result<(Vec<usize>, SchemaRef), DataFusionError> {
        let (mut used, mut read) = (HashSet::new(), Arc::new(columns.clone()));
        self.plan.apply(|plan| {
            if let LogicalPlan::TableScan(scan) = plan {
                read = scan.source.schema();
            }
            plan.apply_expressions(|expr| {
                used.extend(expr.column_refs().into_iter().map(|column| column.name.clone()));
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        let is_used = |place: &usize| used.contains(columns.field(*place).name());
        let mut places: Vec<usize> = (0..columns.fields().len()).filter(is_used).collect();
        if places.is_empty() {
            places.push(0);
        }
        let mut fields = Vec::with_capacity(places.len());
        for place in &places {
            fields.push(read.field_with_name(columns.field(*place).name())?.clone().with_nullable(true));
        }
        Ok((places, Arc::new(Schema::new(fields))))
    }

    /// The question to these rows.
    pub(super) fn asked_of(&self, rows: Vec<RecordBatch>, schema: &SchemaRef) -> Result<LogicalPlan, DataFusionError> {
        let rows = provider_as_source(Arc::new(MemTable::try_new(Arc::clone(schema), vec![rows])?));
        let asked = self.plan.clone().transform_up(|plan| match plan {
            LogicalPlan::TableScan(scan) => {
                let scan = LogicalPlanBuilder::scan(scan.table_name, Arc::clone(&rows), None)?;
                Ok(Transformed::yes(scan.build()?))
            }
            plan => Ok(Transformed::yes(plan.recompute_schema()?)),
        });
        asked.data()
    }
}

/// The same as a question to the table.
fn question(items: &[SelectItem], name: &TableName, called: &Ident) -> Result<Parsed, SqlError> {
    let [database, table] = [name.database(), name.table()].map(|word| Ident::with_quote('"', word));
    let sql = format!("SELECT 1 FROM {database}.{table} AS {called}");
    let parsed = Parser::new(&SqlDialect).try_with_sql(&sql).and_then(|mut parser| parser.parse_query());
    let Ok(mut query) = parsed else {
        return Err(SqlError::new(Kind::Internal, "XX000", "what is returned is no question to the table"));
    };
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = items.to_vec();
    }
    Ok(Parsed::Statement(Box::new(Ast::Query(query))))
}

/// Refuses what only a question to other tables has, and what the statement would have to know of its parameters.
fn must_be_of_rows(items: &[SelectItem]) -> Result<(), SqlError> {
    for item in items {
        let found = visit_expressions(item, |expr| match expr {
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break("a subquery"),
            Expr::Value(ValueWithSpan { value: Value::Placeholder(_), .. }) => ControlFlow::Break("a parameter"),
            _ => ControlFlow::Continue(()),
        });
        if let ControlFlow::Break(what) = found {
            return Err(refused(what));
        }
    }
    Ok(())
}

fn refused(what: &str) -> SqlError {
    SqlError::invalid("0A000", format!("RETURNING with {what} is not supported: it returns values of each row"))
        .with_hint("RETURNING id, upper(name) AS called, or RETURNING *; ask for the rest of it by itself")
}

/// Whether it has a row for each of the table.
fn is_of_each_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Projection(projection) => is_of_each_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_of_each_row(&alias.input),
        _ => false,
    }
}
