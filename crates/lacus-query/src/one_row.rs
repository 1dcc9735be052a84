//! Subqueries that are values and look at the row outside: `SELECT o.id, (SELECT c.name FROM cities c WHERE c.id = o.city)`.
//!
//! The engine joins what such a subquery has, and wants to be sure that it is one row at most. Where the text does not tell, the
//! rows are counted while the query runs: a second one is an error, as SQL has it. The first of several, `ORDER BY x LIMIT 1`, is
//! an aggregate, too: the engine has no plan for a limit there.

use std::mem::size_of_val;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, exec_err};
use datafusion::error::Result;
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, ExprFunctionExt, FetchType, LogicalPlan, LogicalPlanBuilder,
    Projection, Signature, SkipType, Subquery, Volatility,
};
use datafusion::scalar::ScalarValue;

/// What the value is called: a name that no column outside has.
const VALUE: &str = "value#";

/// Counts the rows of subqueries that are values, where nothing else says that there is one at most.
pub(crate) fn count_rows(plan: LogicalPlan) -> Result<LogicalPlan> {
    let counted = plan.transform_up_with_subqueries(|plan| {
        let with_counts = plan.map_expressions(|expr| expr.transform_up(counted))?;
        if !with_counts.transformed {
            return Ok(with_counts);
        }
        Ok(Transformed::yes(with_counts.data.recompute_schema()?))
    })?;
    Ok(counted.data)
}

fn counted(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::ScalarSubquery(subquery) = expr else { return Ok(Transformed::no(expr)) };
    let plan = subquery.subquery.as_ref();
    if subquery.outer_ref_columns.is_empty() || plan.schema().fields().len() != 1 {
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    }
    let column = Column::from(plan.schema().qualified_field(0));
    let (rows, value) = match first(plan)? {
        Some(first) => first,
        None if plan.max_rows().is_some_and(|rows| rows <= 1) || is_aggregate(plan) => {
            return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
        }
        None => {
            let the_value = AggregateUDF::new_from_impl(TheValue::default());
            (plan.clone(), the_value.call(vec![Expr::Column(column)]))
        }
    };
    let plan = LogicalPlanBuilder::from(rows).aggregate(Vec::<Expr>::new(), vec![value.alias(VALUE)])?.build()?;
    Ok(Transformed::yes(Expr::ScalarSubquery(Subquery { subquery: Arc::new(plan), ..subquery })))
}

/// The rows of a query that ends in `LIMIT 1`, and the aggregate that is its value.
fn first(plan: &LogicalPlan) -> Result<Option<(LogicalPlan, Expr)>> {
    let LogicalPlan::Limit(limit) = plan else { return Ok(None) };
    let is_first = matches!(limit.get_fetch_type()?, FetchType::Literal(Some(1)))
        && matches!(limit.get_skip_type()?, SkipType::Literal(0));
    if !is_first || is_aggregate(&limit.input) {
        return Ok(None);
    }
    let column = || Expr::Column(Column::from(plan.schema().qualified_field(0)));
    let (rows, value, sorts) = match limit.input.as_ref() {
        LogicalPlan::Sort(sort) => (sort.input.as_ref(), column(), sort.expr.clone()),
        // What it is sorted by is not among its columns.
        LogicalPlan::Projection(Projection { expr, input, .. }) => match (expr.as_slice(), input.as_ref()) {
            ([value], LogicalPlan::Sort(sort)) => (sort.input.as_ref(), value.clone().unalias(), sort.expr.clone()),
            _ => (limit.input.as_ref(), column(), Vec::new()),
        },
        rows => (rows, column(), Vec::new()),
    };
    let first = first_value_udaf().call(vec![value]);
    let first = if sorts.is_empty() { first } else { first.order_by(sorts).build()? };
    Ok(Some((rows.clone(), first)))
}

/// Whether rows are grouped already: the engine looks at those itself.
fn is_aggregate(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(_) => true,
        LogicalPlan::Projection(projection) => is_aggregate(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_aggregate(&alias.input),
        LogicalPlan::Filter(filter) => is_aggregate(&filter.input),
        LogicalPlan::Sort(sort) => is_aggregate(&sort.input),
        _ => false,
    }
}

/// The value of the only row, null if there is none.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TheValue {
    signature: Signature,
}

impl Default for TheValue {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for TheValue {
    fn name(&self) -> &'static str {
        "the_value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [kind] => Ok(kind.clone()),
            _ => exec_err!("a subquery that is a value has one column"),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let value = Field::new(format!("{}[value]", args.name), args.return_type().clone(), true);
        let rows = Field::new(format!("{}[rows]", args.name), DataType::Int64, false);
        Ok(vec![Arc::new(value), Arc::new(rows)])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(One { value: ScalarValue::try_from(args.return_field.data_type())?, rows: 0 }))
    }
}

#[derive(Debug)]
struct One {
    value: ScalarValue,
    rows: i64,
}

impl One {
    fn add(&mut self, rows: i64, values: &ArrayRef, row: usize) -> Result<()> {
        self.rows += rows;
        match self.rows {
            0 => Ok(()),
            1 if rows == 0 => Ok(()),
            1 => {
                self.value = ScalarValue::try_from_array(values, row)?;
                Ok(())
            }
            _ => exec_err!("more than one row returned by a subquery used as an expression"),
        }
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = i64::try_from(values[0].len()).unwrap_or(i64::MAX);
        self.add(rows, &values[0], 0)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let counts = states[1].as_primitive::<Int64Type>();
        (0..counts.len()).try_for_each(|row| self.add(counts.value(row), &states[0], row))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::Int64(Some(self.rows))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of_val(self) - size_of_val(&self.value) + self.value.size()
    }
}
