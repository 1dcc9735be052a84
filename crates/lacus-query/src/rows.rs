//! Row values in `IN` with a subquery: `WHERE (a, b) IN (SELECT x, y FROM t)`.
//!
//! [`crate::rewrite`] makes one value of each row. The engine would compare those, with nulls equal to each other. So the
//! condition becomes a join on the parts: is there a row whose values are equal? Where it matters whether the answer is false or
//! unknown, a second question asks whether a row may be equal. Comparing each row with each would never end: so only the inner
//! rows with a null are compared with all outer rows, and all inner rows only with the outer rows that have a null.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, ExprSchema, JoinType};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::utils::{conjunction, disjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, ident, lit, when,
};
use datafusion::scalar::ScalarValue;

use crate::correlated::is_one_row;

/// The alias of the query that a row is looked for in.
pub(crate) const ROWS: &str = "rows#";

/// A column that is 1 in each row: nobody else gives such a name.
const ONE: &str = "one#";

/// Moves such conditions of inner joins into a filter above the join.
pub(crate) fn above_joins(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Join(mut join) if join.join_type == JoinType::Inner && join.filter.as_ref().is_some_and(asks) => {
            let conditions = join.filter.take().map(split_conjunction_owned).unwrap_or_default();
            let (asking, others): (Vec<Expr>, Vec<Expr>) = conditions.into_iter().partition(asks);
            join.filter = conjunction(others);
            let asking = conjunction(asking).unwrap_or_else(|| lit(true));
            let asked = Filter::try_new(asking, Arc::new(LogicalPlan::Join(join)))?;
            Ok(Transformed::yes(LogicalPlan::Filter(asked)))
        }
        plan => Ok(Transformed::no(plan)),
    })
    .data()
}

/// Replaces such conditions by joins.
pub(crate) fn answered(plan: LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Filter(filter) if asks(&filter.predicate) => {
            let predicate = in_condition(filter.predicate, filter.input.schema())?;
            Filter::try_new(predicate, filter.input).map(LogicalPlan::Filter)
        }
        plan => Ok(plan),
    }
}

/// Whether it is an `IN` of a row and a query.
pub(crate) fn is_asked(expr: &Expr) -> bool {
    Asked::of(expr).is_some()
}

/// Whether a condition contains one.
fn asks(condition: &Expr) -> bool {
    // What is looked at never fails.
    condition.exists(|part| Ok(is_asked(part))).unwrap_or(false)
}

/// A condition, or a part of one, for which false and unknown are the same.
fn in_condition(condition: Expr, outside: &DFSchema) -> Result<Expr> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let left = in_condition(*left, outside)?;
            let right = in_condition(*right, outside)?;
            Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
        }
        Expr::Not(inner) => match Asked::of(&inner) {
            Some(asked) => Asked { negated: !asked.negated, ..asked }.is_true(outside),
            None => in_value(Expr::Not(inner), outside),
        },
        other => match Asked::of(&other) {
            Some(asked) => asked.is_true(outside),
            None => in_value(other, outside),
        },
    }
}

/// A value in which false and unknown differ.
fn in_value(value: Expr, outside: &DFSchema) -> Result<Expr> {
    let answered = value.transform_up(|part| match Asked::of(&part) {
        Some(asked) => asked.in_three_values(outside).map(Transformed::yes),
        None => Ok(Transformed::no(part)),
    });
    answered.data()
}

/// A row, and the query that it is looked for in.
struct Asked {
    row: Vec<Expr>,
    /// The columns of the query that are compared with it.
    columns: Vec<Expr>,
    rows: Arc<LogicalPlan>,
    subquery: Subquery,
    negated: bool,
}

impl Asked {
    fn of(expr: &Expr) -> Option<Self> {
        let Expr::InSubquery(InSubquery { expr, subquery, negated }) = expr else { return None };
        let LogicalPlan::Projection(projection) = subquery.subquery.as_ref() else { return None };
        let [selected] = projection.expr.as_slice() else { return None };
        let (row, columns) = (values(expr)?, values(selected)?);
        if row.len() != columns.len() {
            return None;
        }
        let (rows, columns) = match projection.input.as_ref() {
            // The engine can't refer to the outer row from within an aliased query.
            LogicalPlan::SubqueryAlias(named)
                if named.alias.table() == ROWS && !subquery.outer_ref_columns.is_empty() =>
            {
                (&named.input, named.input.schema().iter().map(Expr::from).collect())
            }
            _ => (&projection.input, columns.to_vec()),
        };
        let (rows, subquery) = (Arc::clone(rows), subquery.clone());
        Some(Self { row: row.to_vec(), columns, rows, subquery, negated: *negated })
    }

    /// The condition where false and unknown are the same.
    fn is_true(&self, outside: &DFSchema) -> Result<Expr> {
        if let Some(compared) = self.compared()? {
            return Ok(compared);
        }
        let [same, with_null, of_null] = self.questions(outside)?;
        let is_there = |subquery| Expr::Exists(Exists { subquery, negated: self.negated });
        Ok(match self.negated {
            true => is_there(same).and(is_there(with_null)).and(is_there(of_null)),
            false => is_there(same),
        })
    }

    fn in_three_values(&self, outside: &DFSchema) -> Result<Expr> {
        if let Some(compared) = self.compared()? {
            return Ok(compared);
        }
        let is_there = |subquery| Expr::Exists(Exists { subquery, negated: false });
        let [same, with_null, of_null] = self.questions(outside)?.map(is_there);
        let unknown = || lit(ScalarValue::Boolean(None));
        when(same, lit(!self.negated)).when(with_null, unknown()).when(of_null, unknown()).otherwise(lit(self.negated))
    }

    /// The comparison with the only row of a query that always has one.
    fn compared(&self) -> Result<Option<Expr>> {
        if !is_one_row(&self.rows) {
            return Ok(None);
        }
        let mut same = Vec::with_capacity(self.row.len());
        for (value, column) in self.row.iter().zip(&self.columns) {
            let plan = LogicalPlanBuilder::from(self.rows.as_ref().clone()).project([column.clone()])?.build()?;
            let subquery = Subquery { subquery: Arc::new(plan), ..self.subquery.clone() };
            same.push(value.clone().eq(Expr::ScalarSubquery(subquery)));
        }
        let same = conjunction(same).unwrap_or_else(|| lit(true));
        Ok(Some(if self.negated { Expr::Not(Box::new(same)) } else { same }))
    }

    /// Three subqueries: rows that are equal; rows with a null that may be equal; all rows that may be, for an outer row with
    /// a null.
    fn questions(&self, outside: &DFSchema) -> Result<[Subquery; 3]> {
        let mut outer_ref_columns = self.subquery.outer_ref_columns.clone();
        let mut row = Vec::with_capacity(self.row.len());
        for value in &self.row {
            let value = value.clone().transform(|part| {
                let Expr::Column(column) = part else { return Ok(Transformed::no(part)) };
                let column = Expr::OuterReferenceColumn(Arc::clone(outside.field_from_column(&column)?), column);
                outer_ref_columns.push(column.clone());
                Ok(Transformed::yes(column))
            });
            row.push(value.data()?);
        }
        let same = || {
            let pairs = row.iter().zip(&self.columns);
            conjunction(pairs.map(|(value, column)| value.clone().eq(column.clone()))).unwrap_or_else(|| lit(true))
        };
        let rows = || LogicalPlanBuilder::from(self.rows.as_ref().clone());
        // A join on this column excludes outer rows that have all their values.
        let columns = self.rows.schema().iter().map(Expr::from);
        let with_one = rows().project(columns.chain([lit(1_i64).alias(ONE)]))?;
        let of_null = ident(ONE).eq(when(has_null(&row), lit(1_i64)).end()?);
        let having = |rows: LogicalPlanBuilder, condition: Expr| -> Result<Subquery> {
            let subquery = Arc::new(rows.filter(condition)?.build()?);
            let outer_ref_columns = outer_ref_columns.clone();
            Ok(Subquery { subquery, outer_ref_columns, ..self.subquery.clone() })
        };
        Ok([
            having(rows(), same())?,
            having(rows(), has_null(&self.columns).and(same().is_null()))?,
            having(with_one, of_null.and(same().is_null()))?,
        ])
    }
}

/// The values that a row is made of.
fn values(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == "struct" && call.args.len() > 1 => Some(&call.args),
        Expr::Alias(alias) => values(&alias.expr),
        _ => None,
    }
}

fn has_null(values: &[Expr]) -> Expr {
    disjunction(values.iter().map(|value| value.clone().is_null())).unwrap_or_else(|| lit(false))
}
