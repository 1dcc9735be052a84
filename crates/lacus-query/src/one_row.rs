//! Correlated scalar subqueries: `SELECT o.id, (SELECT c.name FROM cities c WHERE c.id = o.city)`.
//!
//! The engine turns such a subquery into a join, and has to be sure that it gives at most one row. Where the text does not prove
//! it, rows are counted while the query runs, above the join, and a second row is an error, as SQL demands. `ORDER BY x LIMIT 1`
//! becomes an aggregate, because the engine has no plan for a limit there.

use std::mem::size_of_val;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, StructArray};
use datafusion::arrow::compute::{cast, is_null, nullif};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Int64Type};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, exec_err, internal_err};
use datafusion::error::Result;
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Expr, ExprFunctionExt, FetchType, LogicalPlan,
    LogicalPlanBuilder, Projection, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, SkipType, SortExpr,
    Subquery, Volatility,
};
use datafusion::scalar::ScalarValue;

/// The name of the value: no outer column has it.
const VALUE: &str = "value#";

/// Counts the rows of correlated scalar subqueries that may have more than one.
pub(crate) fn count_rows(plan: LogicalPlan) -> Result<LogicalPlan> {
    let counted = plan.transform_up_with_subqueries(|plan| {
        let names = NamePreserver::new(&plan);
        let with_counts = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(expr.transform_up(counted)?.update_data(|expr| name.restore(expr)))
        })?;
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
    if let Some((rows, value)) = first(plan)? {
        return Ok(Transformed::yes(valued(subquery, rows, value)?));
    }
    if plan.max_rows().is_some_and(|rows| rows <= 1) || is_aggregate(plan) {
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    }
    let column = Expr::Column(Column::from(plan.schema().qualified_field(0)));
    let with_count = AggregateUDF::new_from_impl(WithCount::default()).call(vec![column]);
    let rows = plan.clone();
    let counted = valued(subquery, rows, with_count)?;
    Ok(Transformed::yes(ScalarUDF::new_from_impl(TheOnly::default()).call(vec![counted])))
}

/// The scalar subquery of this aggregate over these rows.
fn valued(subquery: Subquery, rows: LogicalPlan, value: Expr) -> Result<Expr> {
    let plan = LogicalPlanBuilder::from(rows).aggregate(Vec::<Expr>::new(), vec![value.alias(VALUE)])?.build()?;
    Ok(Expr::ScalarSubquery(Subquery { subquery: Arc::new(plan), ..subquery }))
}

/// The rows of a query that ends in `LIMIT 1`, and the aggregate that gives its value.
fn first(plan: &LogicalPlan) -> Result<Option<(LogicalPlan, Expr)>> {
    let LogicalPlan::Limit(limit) = plan else { return Ok(None) };
    let is_first = matches!(limit.get_fetch_type()?, FetchType::Literal(Some(1)))
        && matches!(limit.get_skip_type()?, SkipType::Literal(0));
    if !is_first || is_aggregate(&limit.input) {
        return Ok(None);
    }
    let (rows, value, sorts) = ordered(&limit.input);
    let first = first_value_udaf().call(vec![value]);
    let first = if sorts.is_empty() { first } else { first.order_by(sorts).build()? };
    Ok(Some((rows.clone(), first)))
}

/// The rows of a query of one column before they are sorted, the value of each, and what they are sorted by.
pub(crate) fn ordered(plan: &LogicalPlan) -> (&LogicalPlan, Expr, Vec<SortExpr>) {
    let column = || Expr::Column(Column::from(plan.schema().qualified_field(0)));
    match plan {
        LogicalPlan::Sort(sort) => (sort.input.as_ref(), column(), sort.expr.clone()),
        // It is sorted by what is not among its columns.
        LogicalPlan::Projection(Projection { expr, input, .. }) => match (expr.as_slice(), input.as_ref()) {
            ([value], LogicalPlan::Sort(sort)) => (sort.input.as_ref(), value.clone().unalias(), sort.expr.clone()),
            _ => (plan, column(), Vec::new()),
        },
        rows => (rows, column(), Vec::new()),
    }
}

/// Whether rows are aggregated already: the engine handles those itself.
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

/// An aggregate: a value of some row, null if there is none, and the number of rows.
#[derive(Debug, PartialEq, Eq, Hash)]
struct WithCount {
    signature: Signature,
}

impl Default for WithCount {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for WithCount {
    fn name(&self) -> &'static str {
        "with_count"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let [kind] = arguments else { return exec_err!("a subquery that is a value has one column") };
        Ok(DataType::Struct(value_and_rows(kind)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let name = format!("{}[counted]", args.name);
        Ok(vec![Arc::new(Field::new(name, args.return_type().clone(), true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let DataType::Struct(fields) = args.return_field.data_type() else {
            return internal_err!("{} has the type {}", self.name(), args.return_field.data_type());
        };
        Ok(Box::new(Counted { value: ScalarValue::try_from(fields[0].data_type())?, rows: 0, fields: fields.clone() }))
    }
}

fn value_and_rows(kind: &DataType) -> Fields {
    Fields::from(vec![Field::new("value", kind.clone(), true), Field::new("rows", DataType::Int64, false)])
}

#[derive(Debug)]
struct Counted {
    value: ScalarValue,
    rows: i64,
    fields: Fields,
}

impl Counted {
    fn add(&mut self, rows: i64, values: &ArrayRef, row: usize) -> Result<()> {
        if self.rows == 0 && rows > 0 {
            self.value = ScalarValue::try_from_array(values, row)?;
        }
        self.rows = self.rows.saturating_add(rows);
        Ok(())
    }
}

impl Accumulator for Counted {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = i64::try_from(values[0].len()).unwrap_or(i64::MAX);
        self.add(rows, &values[0], 0)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let states = states[0].as_struct();
        let rows = states.column(1).as_primitive::<Int64Type>();
        (0..rows.len()).try_for_each(|row| self.add(rows.value(row), states.column(0), row))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        // For lists, the value's field may differ from the type's in its metadata.
        let value = cast(&self.value.to_array()?, self.fields[0].data_type())?;
        let columns = vec![value, Arc::new(Int64Array::from(vec![self.rows])) as _];
        Ok(ScalarValue::Struct(Arc::new(StructArray::try_new(self.fields.clone(), columns, None)?)))
    }

    fn size(&self) -> usize {
        size_of_val(self) - size_of_val(&self.value) + self.value.size()
    }
}

/// The value of [`WithCount`]; an error if there were several rows.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TheOnly {
    signature: Signature,
}

impl Default for TheOnly {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for TheOnly {
    fn name(&self) -> &'static str {
        "the_only"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let [DataType::Struct(fields)] = arguments else {
            return internal_err!("{} has a value and a count", self.name());
        };
        Ok(fields[0].data_type().clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let counted = args.args[0].to_array(args.number_rows)?;
        let counted = counted.as_struct();
        let rows = counted.column(1).as_primitive::<Int64Type>();
        if (0..counted.len()).any(|row| counted.is_valid(row) && rows.value(row) > 1) {
            return exec_err!("more than one row returned by a subquery used as an expression");
        }
        Ok(ColumnarValue::Array(nullif(counted.column(0), &is_null(counted)?)?))
    }
}
