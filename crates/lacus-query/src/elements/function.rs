//! The function that gives the elements of an array to an aggregate, those of each row by themselves.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt64Array, new_empty_array};
use datafusion::arrow::compute::{
    SortColumn, SortOptions, cast, concat, filter, lexsort_to_indices, take, take_arrays,
};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, UInt64Type};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, internal_err};
use datafusion::logical_expr::expr::{Cast, HigherOrderFunction, Lambda, LambdaVariable};
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, EmitTo, Expr, GroupsAccumulator, HigherOrderFunctionArgs, HigherOrderReturnFieldArgs,
    HigherOrderSignature, HigherOrderUDF, HigherOrderUDFImpl, LambdaArgument, LambdaParametersProgress, SortExpr,
    ValueOrLambda, Volatility,
};
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::{self, Literal};
use datafusion::physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr, PhysicalSortExpr};
use datafusion::scalar::ScalarValue;

/// What an element is called: a name that nobody gives.
const ELEMENT: &str = "element#";

/// So many elements are looked at together, or those of one row if it has more.
const ELEMENTS_A_TURN: usize = 64 << 10;

/// An element, where something is asked of it.
pub(super) fn element() -> Expr {
    Expr::Column(Column::new_unqualified(ELEMENT))
}

/// What is asked of elements.
pub(super) struct Asked {
    pub(super) function: Arc<AggregateUDF>,
    pub(super) arguments: Vec<Expr>,
    /// Which of them it is asked of: all, if there is none.
    pub(super) condition: Option<Expr>,
    pub(super) order: Vec<SortExpr>,
    pub(super) is_distinct: bool,
    pub(super) ignores_nulls: bool,
    /// What the aggregate gives.
    pub(super) returns: FieldRef,
}

/// An aggregate of the elements of an array. What is asked is of [`element`] and of the row that the array is of.
pub(super) fn of_elements(list: &Expr, kind: &FieldRef, asked: Asked) -> Result<Expr> {
    let mut bodies: Vec<Expr> = Vec::new();
    let mut place_of = |body: Expr| match bodies.iter().position(|other| *other == body) {
        Some(place) => place,
        None => {
            bodies.push(body);
            bodies.len() - 1
        }
    };
    let arguments = asked.arguments.into_iter().map(|argument| match constant(&argument) {
        Some(value) => Argument::Constant(value),
        None => Argument::Lambda(place_of(argument)),
    });
    let arguments = arguments.collect();
    let sorts = asked.order.into_iter().map(|sort| {
        let options = SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first };
        (place_of(sort.expr), options)
    });
    let sorts = sorts.collect();
    let has_condition = asked.condition.is_some();
    bodies.extend(asked.condition);
    let function = OfElements {
        name: format!("{}_of_elements", asked.function.name()),
        signature: HigherOrderSignature::variadic_any(Volatility::Immutable),
        function: asked.function,
        arguments,
        sorts,
        has_condition,
        is_distinct: asked.is_distinct,
        ignores_nulls: asked.ignores_nulls,
        returns: asked.returns,
    };
    let function = Arc::new(HigherOrderUDF::new_from_impl(function));
    Ok(Expr::HigherOrderFunction(HigherOrderFunction::new(function, with_lambdas(list, bodies, kind)?)))
}

/// The value of an argument that is one for all elements: some aggregates want to know it beforehand.
fn constant(argument: &Expr) -> Option<ScalarValue> {
    match argument {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Cast(Cast { expr, field }) => constant(expr)?.cast_to(field.data_type()).ok(),
        _ => None,
    }
}

/// The array, and lambdas of its elements.
fn with_lambdas(list: &Expr, bodies: Vec<Expr>, kind: &FieldRef) -> Result<Vec<Expr>> {
    // Of lambdas in lambdas, each has a name of its own.
    let mut inside = 0_usize;
    for body in &bodies {
        body.apply(|part| {
            inside += usize::from(matches!(part, Expr::Lambda(_)));
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    let name = format!("{ELEMENT}{inside}");
    let field = Arc::new(kind.as_ref().clone().with_name(&name).with_nullable(true));
    let variable = Expr::LambdaVariable(LambdaVariable::new(name.clone(), Some(field)));
    let element = element();
    let mut arguments = Vec::with_capacity(bodies.len() + 1);
    arguments.push(list.clone());
    for body in bodies {
        let body = body.transform(|part| {
            Ok(if part == element { Transformed::yes(variable.clone()) } else { Transformed::no(part) })
        });
        arguments.push(Expr::Lambda(Lambda::new(vec![name.clone()], body.data()?)));
    }
    Ok(arguments)
}

/// An aggregate of elements: a function of the array, and of a lambda for each value that it asks for.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OfElements {
    name: String,
    signature: HigherOrderSignature,
    function: Arc<AggregateUDF>,
    arguments: Vec<Argument>,
    /// The lambdas that elements are sorted by.
    sorts: Vec<(usize, SortOptions)>,
    /// Whether the last lambda is a condition.
    has_condition: bool,
    is_distinct: bool,
    ignores_nulls: bool,
    returns: FieldRef,
}

/// An argument of an aggregate.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Argument {
    /// What a lambda gives.
    Lambda(usize),
    Constant(ScalarValue),
}

impl HigherOrderUDFImpl for OfElements {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &HigherOrderSignature {
        &self.signature
    }

    fn lambda_parameters(
        &self,
        _: usize,
        given: &[ValueOrLambda<FieldRef, Option<FieldRef>>],
    ) -> Result<LambdaParametersProgress> {
        let [ValueOrLambda::Value(list), lambdas @ ..] = given else {
            return internal_err!("{} is of an array", self.name);
        };
        let DataType::List(kind) = list.data_type() else {
            return internal_err!("{} is of an array, and not of {}", self.name, list.data_type());
        };
        let element = Arc::new(kind.as_ref().clone().with_nullable(true));
        Ok(LambdaParametersProgress::Complete(vec![vec![element]; lambdas.len()]))
    }

    fn return_field_from_args(&self, _: HigherOrderReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::clone(&self.returns))
    }

    fn clear_null_values(&self) -> bool {
        false
    }

    fn invoke_with_args(&self, args: HigherOrderFunctionArgs) -> Result<ColumnarValue> {
        let kind = self.returns.data_type();
        if args.number_rows == 0 {
            return Ok(ColumnarValue::Array(new_empty_array(kind)));
        }
        let (mut lists, mut lambdas, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
        for (argument, field) in args.args.into_iter().zip(&args.arg_fields) {
            match (argument, field) {
                (ValueOrLambda::Value(value), _) => lists.push(value.into_array(args.number_rows)?),
                (ValueOrLambda::Lambda(lambda), ValueOrLambda::Lambda(field) | ValueOrLambda::Value(field)) => {
                    lambdas.push(lambda);
                    kinds.push(field.data_type().clone());
                }
            }
        }
        let [lists] = lists.as_slice() else { return internal_err!("{} is of an array", self.name) };
        let Some(lists) = lists.as_list_opt::<i32>() else {
            return internal_err!("{} is of an array, and not of {}", self.name, lists.data_type());
        };
        let condition = if self.has_condition { lambdas.pop() } else { None };
        let aggregate = Arc::new(self.aggregate(&kinds)?);
        let mut groups = Groups::new(&aggregate, args.number_rows)?;
        for rows in turns(lists) {
            let mut elements = Elements::of(lists, rows)?;
            if let Some(condition) = &condition {
                elements = elements.kept(condition)?;
            }
            let columns = lambdas.iter().map(|lambda| elements.values_of(lambda)).collect::<Result<Vec<_>>>()?;
            let (columns, owners) = self.sorted(columns, elements.owners)?;
            let values = self.values(&columns, owners.len(), aggregate.order_bys().len())?;
            groups.add(&values, &owners)?;
        }
        let of_none = aggregate.create_accumulator()?.evaluate()?.to_array()?;
        Ok(ColumnarValue::Array(groups.totals(&of_none, kind)?))
    }
}

impl OfElements {
    /// The aggregate of what the lambdas give.
    fn aggregate(&self, kinds: &[DataType]) -> Result<AggregateFunctionExpr> {
        let fields = kinds.iter().enumerate().map(|(place, kind)| Field::new(place.to_string(), kind.clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let column =
            |place: usize| -> Arc<dyn PhysicalExpr> { Arc::new(expressions::Column::new(&place.to_string(), place)) };
        let arguments = self.arguments.iter().map(|argument| -> Arc<dyn PhysicalExpr> {
            match argument {
                Argument::Lambda(place) => column(*place),
                Argument::Constant(value) => Arc::new(Literal::new(value.clone())),
            }
        });
        let sorts = self.sorts.iter().map(|(place, options)| PhysicalSortExpr::new(column(*place), *options));
        AggregateExprBuilder::new(Arc::clone(&self.function), arguments.collect())
            .schema(schema)
            .order_by(sorts.collect())
            .alias(self.name.as_str())
            .with_distinct(self.is_distinct)
            .with_ignore_nulls(self.ignores_nulls)
            .build()
    }

    /// The same in the order that is asked for.
    fn sorted(&self, columns: Vec<ArrayRef>, owners: UInt64Array) -> Result<(Vec<ArrayRef>, UInt64Array)> {
        if self.sorts.is_empty() || owners.is_empty() {
            return Ok((columns, owners));
        }
        let by = self
            .sorts
            .iter()
            .map(|(place, options)| SortColumn { values: Arc::clone(&columns[*place]), options: Some(*options) });
        let mut by: Vec<SortColumn> = by.collect();
        // Those that are the same stay in the order of the array.
        let places = UInt64Array::from_iter_values(0..owners.len() as u64);
        by.push(SortColumn { values: Arc::new(places), options: None });
        let order = lexsort_to_indices(&by, None)?;
        let owners = take(&owners, &order, None)?;
        Ok((take_arrays(&columns, &order, None)?, owners.as_primitive::<UInt64Type>().clone()))
    }

    /// What the aggregate takes: its arguments, and what it sorts by if it wants to know.
    fn values(&self, columns: &[ArrayRef], rows: usize, sorts: usize) -> Result<Vec<ArrayRef>> {
        let mut values = Vec::with_capacity(self.arguments.len() + sorts);
        for argument in &self.arguments {
            values.push(match argument {
                Argument::Lambda(place) => Arc::clone(&columns[*place]),
                Argument::Constant(value) => value.to_array_of_size(rows)?,
            });
        }
        values.extend(self.sorts.iter().take(sorts).map(|(place, _)| Arc::clone(&columns[*place])));
        Ok(values)
    }
}

/// The rows of a batch in turns of so many elements.
fn turns(lists: &ListArray) -> Vec<Range<usize>> {
    let offsets = lists.value_offsets();
    let (mut turns, mut start) = (Vec::new(), 0);
    for row in 0..lists.len() {
        if row > start && (offsets[row + 1] - offsets[start]) as usize > ELEMENTS_A_TURN {
            turns.push(start..row);
            start = row;
        }
    }
    turns.push(start..lists.len());
    turns
}

/// Elements, and the rows that they are of.
struct Elements {
    values: ArrayRef,
    owners: UInt64Array,
}

impl Elements {
    fn of(lists: &ListArray, rows: Range<usize>) -> Result<Self> {
        let offsets = lists.value_offsets();
        let (mut places, mut owners) = (Vec::new(), Vec::new());
        for row in rows.filter(|row| lists.is_valid(*row)) {
            let (start, end) = (offsets[row] as u64, offsets[row + 1] as u64);
            places.extend(start..end);
            owners.resize(places.len(), row as u64);
        }
        let values = take(lists.values(), &UInt64Array::from(places), None)?;
        Ok(Self { values, owners: UInt64Array::from(owners) })
    }

    /// What a lambda gives for each.
    fn values_of(&self, lambda: &LambdaArgument) -> Result<ArrayRef> {
        let element: &dyn Fn() -> Result<ArrayRef> = &|| Ok(Arc::clone(&self.values));
        let value = lambda.evaluate(&[element], |outside| Ok(take_arrays(outside, &self.owners, None)?))?;
        value.into_array(self.owners.len())
    }

    /// Those for which a condition is true.
    fn kept(&self, condition: &LambdaArgument) -> Result<Self> {
        let truths = cast(&self.values_of(condition)?, &DataType::Boolean)?;
        let truths = truths.as_boolean();
        let owners = filter(&self.owners, truths)?;
        Ok(Self { values: filter(&self.values, truths)?, owners: owners.as_primitive::<UInt64Type>().clone() })
    }
}

/// The rows with elements as groups: to the engine's aggregates, each group has one at least.
struct Groups {
    accumulator: Box<dyn GroupsAccumulator>,
    of_rows: Vec<Option<usize>>,
    count: usize,
}

impl Groups {
    fn new(aggregate: &Arc<AggregateFunctionExpr>, rows: usize) -> Result<Self> {
        let accumulator: Box<dyn GroupsAccumulator> = if aggregate.groups_accumulator_supported() {
            aggregate.create_groups_accumulator()?
        } else {
            let aggregate = Arc::clone(aggregate);
            Box::new(GroupsAccumulatorAdapter::new(move || aggregate.create_accumulator()))
        };
        Ok(Self { accumulator, of_rows: vec![None; rows], count: 0 })
    }

    fn add(&mut self, values: &[ArrayRef], owners: &UInt64Array) -> Result<()> {
        if owners.is_empty() {
            return Ok(());
        }
        let mut groups = Vec::with_capacity(owners.len());
        for row in owners.values() {
            let group = self.of_rows[*row as usize].unwrap_or(self.count);
            self.of_rows[*row as usize] = Some(group);
            self.count = self.count.max(group + 1);
            groups.push(group);
        }
        self.accumulator.update_batch(values, &groups, None, self.count)
    }

    /// The total of each row, where that of no elements is known.
    fn totals(mut self, of_none: &ArrayRef, kind: &DataType) -> Result<ArrayRef> {
        let of_none = cast(of_none, kind)?;
        let totals = if self.count == 0 {
            of_none
        } else {
            let totals = cast(&self.accumulator.evaluate(EmitTo::All)?, kind)?;
            concat(&[totals.as_ref(), of_none.as_ref()])?
        };
        let places = self.of_rows.iter().map(|group| group.unwrap_or(self.count) as u64);
        Ok(take(&totals, &UInt64Array::from_iter_values(places), None)?)
    }
}
