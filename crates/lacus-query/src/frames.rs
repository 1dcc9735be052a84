//! Frames that move along: `sum(v) OVER (ORDER BY ts RANGE BETWEEN …)`, whose rows come and go (DataFusion 54.1).
//!
//! An aggregate takes rows in and gives them back. Once none of them has a value, some do not know it: `min` keeps the last
//! one, `stddev` divides by nothing from then on. Those begin anew here. And where a frame may have no row in the middle of a
//! partition, the rows that come next are not taken in (`sliding_aggregate.rs`): those frames are refused.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, not_impl_err};
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, LogicalPlan, ReversedUDAF, Signature, WindowFrame,
    WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::scalar::ScalarValue;

/// Makes windows such that the engine answers them right.
///
/// # Errors
/// For those that it would answer wrong.
pub(crate) fn moving(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| {
        if !matches!(plan, LogicalPlan::Window(_)) {
            return Ok(Transformed::no(plan));
        }
        plan.map_expressions(|expr| expr.transform_up(mended))
    })
    .data()
}

fn mended(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::WindowFunction(mut window) = expr else { return Ok(Transformed::no(expr)) };
    must_be_answered_right(&window)?;
    let WindowFunctionDefinition::AggregateUDF(function) = &window.fun else {
        return Ok(Transformed::no(Expr::WindowFunction(window)));
    };
    let forgets = ["min", "max", "bit_xor"].contains(&function.name())
        || function.name().starts_with("var")
        || function.name().starts_with("stddev");
    if !forgets || !moves(&window.params.window_frame) {
        return Ok(Transformed::no(Expr::WindowFunction(window)));
    }
    let anew = AggregateUDF::from(Anew { function: Arc::clone(function) });
    window.fun = WindowFunctionDefinition::AggregateUDF(Arc::new(anew));
    Ok(Transformed::yes(Expr::WindowFunction(window)))
}

fn must_be_answered_right(window: &WindowFunction) -> Result<()> {
    let WindowFunctionParams { args, window_frame: frame, null_treatment, distinct, .. } = &window.params;
    match &window.fun {
        WindowFunctionDefinition::AggregateUDF(_) if may_be_empty(frame) => {
            not_impl_err!(
                "an aggregate over RANGE between two bounds on the same side of the current row; take CURRENT ROW for one, or ROWS"
            )
        }
        WindowFunctionDefinition::AggregateUDF(function) if *distinct && moves(frame) && function.name() == "sum" => {
            not_impl_err!("sum(DISTINCT) over a frame that moves")
        }
        WindowFunctionDefinition::WindowUDF(function)
            if function.name() == "lead"
                && *null_treatment == Some(NullTreatment::IgnoreNulls)
                && !is_one(args.get(1)) =>
        {
            not_impl_err!("lead(…) IGNORE NULLS over more than one row; take lag(…) in the other order")
        }
        _ => Ok(()),
    }
}

fn is_one(offset: Option<&Expr>) -> bool {
    match offset {
        None => true,
        Some(Expr::Literal(value, _)) => value.to_string() == "1",
        Some(_) => false,
    }
}

/// Whether rows leave the frame, too.
fn moves(frame: &WindowFrame) -> bool {
    !frame.start_bound.is_unbounded()
}

/// Whether it may have no row although it had one before.
fn may_be_empty(frame: &WindowFrame) -> bool {
    use WindowFrameBound::{Following, Preceding};
    let is_one_sided =
        matches!((&frame.start_bound, &frame.end_bound), (Preceding(_), Preceding(_)) | (Following(_), Following(_)));
    let is_open = frame.start_bound.is_unbounded() || frame.end_bound.is_unbounded();
    frame.units == WindowFrameUnits::Range && is_one_sided && !is_open
}

/// An aggregate that begins anew when none of its rows has a value any more.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Anew {
    function: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Anew {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        self.function.return_type(kinds)
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        self.function.return_field(fields)
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce_types(kinds)
    }

    fn is_nullable(&self) -> bool {
        self.function.is_nullable()
    }

    fn default_value(&self, kind: &DataType) -> Result<ScalarValue> {
        self.function.default_value(kind)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.function.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        match self.function.reverse_udf() {
            ReversedUDAF::Identical => ReversedUDAF::Identical,
            _ => ReversedUDAF::NotSupported,
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.function.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.function.accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let made = Made {
            return_field: args.return_field,
            schema: args.schema.clone(),
            ignore_nulls: args.ignore_nulls,
            is_reversed: args.is_reversed,
            name: args.name.to_owned(),
            is_distinct: args.is_distinct,
            exprs: args.exprs.to_vec(),
            expr_fields: args.expr_fields.to_vec(),
        };
        let current = made.by(&self.function)?;
        Ok(Box::new(BeginsAnew { function: Arc::clone(&self.function), made, current, values: 0 }))
    }
}

/// What an accumulator is made from.
#[derive(Debug)]
struct Made {
    return_field: FieldRef,
    schema: Schema,
    ignore_nulls: bool,
    is_reversed: bool,
    name: String,
    is_distinct: bool,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    expr_fields: Vec<FieldRef>,
}

impl Made {
    fn by(&self, function: &AggregateUDF) -> Result<Box<dyn Accumulator>> {
        function.create_sliding_accumulator(AccumulatorArgs {
            return_field: Arc::clone(&self.return_field),
            schema: &self.schema,
            ignore_nulls: self.ignore_nulls,
            // None of these functions looks at an order.
            order_bys: &[],
            is_reversed: self.is_reversed,
            name: &self.name,
            is_distinct: self.is_distinct,
            exprs: &self.exprs,
            expr_fields: &self.expr_fields,
        })
    }
}

#[derive(Debug)]
struct BeginsAnew {
    function: Arc<AggregateUDF>,
    made: Made,
    current: Box<dyn Accumulator>,
    /// The rows of the frame that have a value.
    values: usize,
}

fn with_values(values: &[ArrayRef]) -> usize {
    values.first().map_or(0, |values| values.len() - values.logical_null_count())
}

impl Accumulator for BeginsAnew {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values += with_values(values);
        self.current.update_batch(values)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values -= with_values(values);
        if self.values > 0 {
            return self.current.retract_batch(values);
        }
        self.current = self.made.by(&self.function)?;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        self.current.supports_retract_batch()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.current.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.current.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.current.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.current.merge_batch(states)
    }
}
