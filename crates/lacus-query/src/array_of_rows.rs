//! `ARRAY(SELECT x FROM t ORDER BY y)`: the rows of a query as an array, in their order.
//!
//! The statement has a function of a subquery in its place ([`ARRAY_OF_ROWS`]). Here the subquery becomes the aggregate of its rows:
//! it is a value then, and may look at the row outside like all others. Of no rows the array is empty. Of a subquery that looks
//! outside, a limit is cut off the array: the engine has no plan for it there (DataFusion 54.1).

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt64Array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{exec_err, internal_err, not_impl_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    ColumnarValue, Distinct, Expr, ExprFunctionExt, FetchType, Limit, LogicalPlan, LogicalPlanBuilder,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, SkipType, Sort, SortExpr, Subquery, Volatility,
};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use trino_functions::array_agg;

use crate::one_row::ordered;

/// The function that stands in the place of `ARRAY`.
pub(crate) const ARRAY_OF_ROWS: &str = "array_of_rows";
/// What the array is called: a name that no column outside has.
const ARRAY: &str = "array#";

pub(crate) fn register(context: &SessionContext) {
    context.register_udf(ScalarUDF::from(ArrayOfRows::default()));
}

/// Makes aggregates of such subqueries. It has to come before their rows are counted.
pub(crate) fn collected(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| {
        let names = NamePreserver::new(&plan);
        let made = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(expr.transform_up(array)?.update_data(|expr| name.restore(expr)))
        })?;
        if !made.transformed {
            return Ok(made);
        }
        Ok(Transformed::yes(made.data.recompute_schema()?))
    })
    .data()
}

fn array(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = &expr else { return Ok(Transformed::no(expr)) };
    let is_array = func.inner().downcast_ref::<ArrayOfRows>().is_some();
    match args.as_slice() {
        [Expr::ScalarSubquery(subquery)] if is_array => of_rows(subquery.clone()).map(Transformed::yes),
        _ => Ok(Transformed::no(expr)),
    }
}

fn of_rows(subquery: Subquery) -> Result<Expr> {
    let (rows, part) = match subquery.subquery.as_ref() {
        LogicalPlan::Limit(limit) => match part(limit, !subquery.outer_ref_columns.is_empty())? {
            Some(part) => (Rows::of(&limit.input)?, part),
            None => (Rows::of(&limit.input)?.limited(limit), Part::default()),
        },
        plan => (Rows::of(plan)?, Part::default()),
    };
    let values = array_agg().call(vec![rows.value]);
    let values = if rows.order.is_empty() { values } else { values.order_by(rows.order).build()? };
    let plan = LogicalPlanBuilder::from(rows.plan).aggregate(Vec::<Expr>::new(), vec![values.alias(ARRAY)])?.build()?;
    let array = Expr::ScalarSubquery(Subquery { subquery: Arc::new(plan), ..subquery });
    Ok(ScalarUDF::from(ArrayPart::new(part)).call(vec![array]))
}

/// Rows, what of each is collected, and in which order.
struct Rows {
    plan: LogicalPlan,
    value: Expr,
    order: Vec<SortExpr>,
}

impl Rows {
    fn of(plan: &LogicalPlan) -> Result<Self> {
        if matches!(plan, LogicalPlan::Distinct(Distinct::On(_))) {
            // It keeps what it is sorted by to itself.
            return not_impl_err!("DISTINCT ON in ARRAY(…); put it in FROM, and ORDER BY outside of it");
        }
        let (rows, value, order) = ordered(plan);
        Ok(Self { plan: rows.clone(), value, order })
    }

    /// No more of them than a limit leaves.
    fn limited(self, limit: &Limit) -> Self {
        let input = Arc::new(self.plan);
        let input = match self.order.is_empty() {
            true => input,
            false => Arc::new(LogicalPlan::Sort(Sort { expr: self.order.clone(), input, fetch: None })),
        };
        Self { plan: LogicalPlan::Limit(Limit { input, ..limit.clone() }), ..self }
    }
}

/// The part of an array that a limit leaves: where it begins, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Part {
    skip: usize,
    fetch: Option<usize>,
}

/// What a limit leaves of the rows of each row outside. None: it is the same for all, or known later.
fn part(limit: &Limit, looks_outside: bool) -> Result<Option<Part>> {
    Ok(match (limit.get_skip_type()?, limit.get_fetch_type()?) {
        (SkipType::Literal(skip), FetchType::Literal(fetch)) if looks_outside => Some(Part { skip, fetch }),
        _ => None,
    })
}

/// An array of the rows of a subquery, until that is an aggregate.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ArrayOfRows {
    signature: Signature,
}

impl Default for ArrayOfRows {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for ArrayOfRows {
    fn name(&self) -> &'static str {
        ARRAY_OF_ROWS
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        let [kind] = kinds else { return exec_err!("an array is of the rows of one column") };
        Ok(DataType::List(Arc::new(Field::new_list_field(kind.clone(), true))))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("{ARRAY_OF_ROWS} is for ARRAY(SELECT …)")
    }
}

/// A part of an array; an empty one for null.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ArrayPart {
    part: Part,
    signature: Signature,
}

impl ArrayPart {
    fn new(part: Part) -> Self {
        Self { part, signature: Signature::any(1, Volatility::Immutable) }
    }

    fn of(&self, lists: &ArrayRef) -> Result<ArrayRef> {
        let (DataType::List(kind), Some(all)) = (lists.data_type(), lists.as_list_opt::<i32>()) else {
            return internal_err!("rows are collected as an array, and not as {}", lists.data_type());
        };
        if all.null_count() == 0 && self.part == Part::default() {
            return Ok(Arc::clone(lists));
        }
        let offsets = all.value_offsets();
        let (mut places, mut lengths) = (Vec::new(), Vec::with_capacity(all.len()));
        for row in 0..all.len() {
            let before = places.len();
            if all.is_valid(row) {
                let elements = offsets[row] as u64..offsets[row + 1] as u64;
                places.extend(elements.skip(self.part.skip).take(self.part.fetch.unwrap_or(usize::MAX)));
            }
            lengths.push(places.len() - before);
        }
        let values = take(all.values(), &UInt64Array::from(places), None)?;
        let parts = ListArray::try_new(Arc::clone(kind), OffsetBuffer::from_lengths(lengths), values, None)?;
        Ok(Arc::new(parts))
    }
}

impl ScalarUDFImpl for ArrayPart {
    fn name(&self) -> &'static str {
        "array_part"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        match kinds {
            [kind] => Ok(kind.clone()),
            _ => internal_err!("{} is of one array", self.name()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(lists)] => Ok(ColumnarValue::Array(self.of(lists)?)),
            [ColumnarValue::Scalar(list)] => {
                let part = self.of(&list.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&part, 0)?))
            }
            _ => internal_err!("{} is of one array", self.name()),
        }
    }
}
