//! Sliding window frames: `sum(v) OVER (ORDER BY ts RANGE BETWEEN …)` (DataFusion 54.1).
//!
//! An aggregate takes in the rows that enter the frame and retracts those that leave it. Some do not notice when no value is
//! left: `min` keeps the last one; those are restarted here. `max` is shown no nulls, which it takes for the largest values. Sums
//! of doubles keep the digits that adding loses, and count the values that are not finite, because those can't be subtracted.
//! Nothing is ever subtracted from `stddev` and its kin. Aggregates that can't retract are computed anew for each frame. Where a
//! frame may be empty in the middle of a partition, the rows after it are never taken in (`sliding_aggregate.rs`): such frames
//! are refused.
//!
//! A frame that only grows is reversed by the engine where rows are sorted the other way for another window, and slides then; values that
//! are put together come in the other order. Such frames are not reversed here, and rows are sorted again.

mod neighbours;
mod spreads;
mod sums;

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::{concat, filter, is_not_null};
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, internal_err, not_impl_err};
use datafusion::logical_expr::expr::{Cast, NullTreatment, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, LogicalPlan, ReversedUDAF, Signature, WindowFrame,
    WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, WindowUDF,
};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::scalar::ScalarValue;

use self::neighbours::Neighbour;
use self::spreads::{Measure, Spreads};
use self::sums::Doubles;

/// Replaces what the engine computes wrongly over windows: aggregates of sliding frames, and neighbours without nulls.
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
    if let Some(neighbour) = skipping(&window) {
        window.fun = WindowFunctionDefinition::WindowUDF(Arc::new(WindowUDF::new_from_impl(neighbour)));
        return Ok(Transformed::yes(Expr::WindowFunction(window)));
    }
    let WindowFunctionDefinition::AggregateUDF(function) = &window.fun else {
        return Ok(Transformed::no(Expr::WindowFunction(window)));
    };
    let frame = &window.params.window_frame;
    let is_in_order = ["array_agg", "string_agg"].contains(&function.name());
    let Some(way) = Way::of(function.name()).filter(|_| moves(frame) || grows(frame) || is_in_order) else {
        return Ok(Transformed::no(Expr::WindowFunction(window)));
    };
    let may_turn = moves(frame) && !is_in_order;
    let moving = AggregateUDF::from(Moving { function: Arc::clone(function), way, may_turn });
    window.fun = WindowFunctionDefinition::AggregateUDF(Arc::new(moving));
    Ok(Transformed::yes(Expr::WindowFunction(window)))
}

/// `lag` and `lead` as we count, if the call ignores nulls.
fn skipping(window: &WindowFunction) -> Option<Neighbour> {
    match &window.fun {
        WindowFunctionDefinition::WindowUDF(function)
            if window.params.null_treatment == Some(NullTreatment::IgnoreNulls) =>
        {
            Neighbour::of(function)
        }
        _ => None,
    }
}

/// How an aggregate of ours follows a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Way {
    /// It restarts when no row of the frame has a value any more.
    Anew,
    /// The same, and nulls are not shown to it.
    AnewWithoutNulls,
    /// A sum of doubles, kept here.
    Sum,
    /// The same, divided by the number of values.
    Average,
    /// How far its values are apart.
    Spread(Measure),
    /// It looks at all rows again.
    Again,
    /// As the engine's does, but in the order of the rows.
    InOrder,
}

impl Way {
    /// None if the engine's is right, or refuses.
    fn of(function: &str) -> Option<Self> {
        match function {
            "max" => Some(Self::AnewWithoutNulls),
            "min" | "bit_xor" => Some(Self::Anew),
            "sum" => Some(Self::Sum),
            "avg" => Some(Self::Average),
            "array_agg" => Some(Self::InOrder),
            "bool_and" | "bool_or" | "bit_and" | "bit_or" | "string_agg" | "corr" | "covar_pop" | "covar_samp" => {
                Some(Self::Again)
            }
            // Of numbers that are far apart, what is left after one is subtracted is its rounding.
            other if other.starts_with("regr_") && other != "regr_count" => Some(Self::Again),
            other => Measure::of(other).map(Self::Spread),
        }
    }
}

fn must_be_answered_right(window: &WindowFunction) -> Result<()> {
    let WindowFunctionParams { args, window_frame: frame, distinct, .. } = &window.params;
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
            if ["lag", "lead"].contains(&function.name()) && args.get(1).is_some_and(is_null) =>
        {
            not_impl_err!("{}(x, NULL), which is null of every row; write NULL instead", function.name())
        }
        _ => Ok(()),
    }
}

/// Whether it is `NULL`, perhaps of some type.
fn is_null(value: &Expr) -> bool {
    match value {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(Cast { expr, .. }) => is_null(expr),
        _ => false,
    }
}

/// Whether rows leave the frame, too.
fn moves(frame: &WindowFrame) -> bool {
    !frame.start_bound.is_unbounded()
}

/// Whether rows only come to the frame.
fn grows(frame: &WindowFrame) -> bool {
    frame.start_bound.is_unbounded() && !frame.end_bound.is_unbounded()
}

/// Whether it may become empty after it had a row.
fn may_be_empty(frame: &WindowFrame) -> bool {
    use WindowFrameBound::{Following, Preceding};
    let is_one_sided =
        matches!((&frame.start_bound, &frame.end_bound), (Preceding(_), Preceding(_)) | (Following(_), Following(_)));
    let is_open = frame.start_bound.is_unbounded() || frame.end_bound.is_unbounded();
    frame.units == WindowFrameUnits::Range && is_one_sided && !is_open
}

/// An aggregate over a sliding frame, computed our way.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Moving {
    function: Arc<AggregateUDF>,
    way: Way,
    /// Whether it may go along with the frame from the last row to the first.
    may_turn: bool,
}

impl AggregateUDFImpl for Moving {
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
            ReversedUDAF::Identical if self.may_turn => ReversedUDAF::Identical,
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
        let is_of_doubles = args.expr_fields.iter().all(|field| *field.data_type() == DataType::Float64)
            && *args.return_field.data_type() == DataType::Float64
            && !args.is_distinct;
        match self.way {
            Way::Sum | Way::Average if is_of_doubles => Ok(Box::new(Doubles::new(self.way == Way::Average))),
            Way::Sum | Way::Average | Way::InOrder => self.function.create_sliding_accumulator(args),
            Way::Spread(measure) if is_of_doubles => Ok(Box::new(Spreads::new(measure))),
            Way::Spread(_) | Way::Again => {
                let made = Made::from(args);
                Ok(Box::new(LooksAgain { function: Arc::clone(&self.function), made, rows: Vec::new() }))
            }
            Way::Anew | Way::AnewWithoutNulls => {
                let made = Made::from(args);
                let current = made.sliding(&self.function)?;
                let sees_nulls = self.way == Way::Anew;
                Ok(Box::new(BeginsAnew { function: Arc::clone(&self.function), made, current, values: 0, sees_nulls }))
            }
        }
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

impl From<AccumulatorArgs<'_>> for Made {
    fn from(args: AccumulatorArgs<'_>) -> Self {
        Self {
            return_field: args.return_field,
            schema: args.schema.clone(),
            ignore_nulls: args.ignore_nulls,
            is_reversed: args.is_reversed,
            name: args.name.to_owned(),
            is_distinct: args.is_distinct,
            exprs: args.exprs.to_vec(),
            expr_fields: args.expr_fields.to_vec(),
        }
    }
}

impl Made {
    fn sliding(&self, function: &AggregateUDF) -> Result<Box<dyn Accumulator>> {
        function.create_sliding_accumulator(self.args())
    }

    fn args(&self) -> AccumulatorArgs<'_> {
        AccumulatorArgs {
            return_field: Arc::clone(&self.return_field),
            schema: &self.schema,
            ignore_nulls: self.ignore_nulls,
            // A window's aggregates have no order of their own.
            order_bys: &[],
            is_reversed: self.is_reversed,
            name: &self.name,
            is_distinct: self.is_distinct,
            exprs: &self.exprs,
            expr_fields: &self.expr_fields,
        }
    }
}

#[derive(Debug)]
struct BeginsAnew {
    function: Arc<AggregateUDF>,
    made: Made,
    current: Box<dyn Accumulator>,
    /// The rows of the frame that have a value.
    values: usize,
    sees_nulls: bool,
}

impl BeginsAnew {
    /// The argument as the inner aggregate is to see it.
    fn shown(&self, values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        if self.sees_nulls {
            return Ok(values.to_vec());
        }
        values.iter().map(|values| Ok(filter(values, &is_not_null(values)?)?)).collect()
    }
}

fn with_values(values: &[ArrayRef]) -> usize {
    values.first().map_or(0, |values| values.len() - values.logical_null_count())
}

impl Accumulator for BeginsAnew {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values += with_values(values);
        let shown = self.shown(values)?;
        self.current.update_batch(&shown)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values -= with_values(values);
        if self.values > 0 {
            let shown = self.shown(values)?;
            return self.current.retract_batch(&shown);
        }
        self.current = self.made.sliding(&self.function)?;
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

/// An aggregate that is computed anew for each frame.
#[derive(Debug)]
struct LooksAgain {
    function: Arc<AggregateUDF>,
    made: Made,
    /// The arguments of the rows in the frame, in order: the first ones leave first.
    rows: Vec<ArrayRef>,
}

impl Accumulator for LooksAgain {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if self.rows.is_empty() {
            self.rows = values.to_vec();
            return Ok(());
        }
        for (rows, values) in self.rows.iter_mut().zip(values) {
            *rows = concat(&[rows.as_ref(), values.as_ref()])?;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let gone = values.first().map_or(0, |values| values.len());
        for rows in &mut self.rows {
            *rows = rows.slice(gone, rows.len() - gone);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut current = self.function.accumulator(self.made.args())?;
        if !self.rows.is_empty() {
            current.update_batch(&self.rows)?;
        }
        current.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.rows.iter().map(|rows| rows.get_array_memory_size()).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("windows are not counted in parts")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        internal_err!("windows are not counted in parts")
    }
}
