//! Aggregates that Trino has and DataFusion lacks, as expressions over those it has.
//!
//! `max_by(x, y)` is the first `x` by descending `y`; `map_agg(k, v)` is a map of `array_agg(row(k, v))`. A name is
//! registered with a [`Placeholder`], so that it is known as an aggregate; [`Composites`] plans its calls.

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{internal_err, plan_err};
use datafusion::error::Result;
use datafusion::functions_aggregate as core;
use datafusion::logical_expr::expr::{AggregateFunction, Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawAggregateExpr, RawWindowExpr};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Case, Cast, Expr, Signature, Volatility, WindowFunctionDefinition, lit,
};
use datafusion::scalar::ScalarValue;

use crate::averages::RoundedAverage;
use crate::catalog::{Family::Aggregates, Function, Kind, built_in, refused};
use crate::operators::function;
use crate::{extremes, ordered, regressions, signs};

const fn composite(names: &'static [&'static str], usage: &'static str, summary: &'static str) -> Function {
    Function { names, usage, summary, family: Aggregates, trino_only: false, kind: Kind::Composite }
}

pub(crate) const FUNCTIONS: &[Function] = &[
    built_in(Aggregates, &["count", "sum"], "count(x), sum(x)", "How many, the sum"),
    composite(&["avg"], "avg(x) → double or decimal", "The average; of decimals with the digits they have").in_trino(),
    composite(&["count_if"], "count_if(condition) → bigint", "In how many rows it is true"),
    composite(&["arbitrary"], "arbitrary(x) → same", "Any value that is not null"),
    composite(&["any_value"], "any_value(x) → same", "Any value that is not null"),
    composite(&["max_by"], "max_by(x, y[, n]) → same or array", "`x` where `y` is greatest; the first `n`"),
    composite(&["min_by"], "min_by(x, y[, n]) → same or array", "`x` where `y` is smallest; the first `n`"),
    composite(&["max"], "max(x[, n]) → same or array", "The greatest; the `n` greatest"),
    composite(&["min"], "min(x[, n]) → same or array", "The smallest; the `n` smallest"),
    composite(&["every"], "every(condition) → boolean", "Whether it is true in all rows"),
    built_in(
        Aggregates,
        &["bool_and", "bool_or"],
        "bool_and(condition) → boolean",
        "Whether it is true in all rows, in any",
    ),
    composite(&["map_agg"], "map_agg(key, value) → map", "A map; of each key the first value"),
    composite(&["multimap_agg"], "multimap_agg(key, value) → map(key, array)", "A map with all values of each key"),
    composite(&["map_union"], "map_union(map) → map", "All maps as one; of each key the first value"),
    composite(&["histogram"], "histogram(x) → map(x, bigint)", "How often each value comes"),
    composite(&["set_agg"], "set_agg(x) → array", "Each value once"),
    composite(&["set_union"], "set_union(array) → array", "Each value of all arrays once"),
    composite(&["listagg"], "listagg(text, separator) WITHIN GROUP (ORDER BY …) → varchar", "All texts as one"),
    composite(
        &["approx_percentile"],
        "approx_percentile(x[, weight], percentage or array) → same",
        "About the value that so many are below",
    ),
    composite(
        &["approx_distinct"],
        "approx_distinct(x[, error]) → bigint",
        "About how many different values there are",
    ),
    composite(&["geometric_mean"], "geometric_mean(x) → double", "The n-th root of the product"),
    composite(&["variance"], "variance(x) → double", "Variance of a sample"),
    composite(&["skewness"], "skewness(x) → double", "How lopsided the values are"),
    composite(&["kurtosis"], "kurtosis(x) → double", "How heavy the tails are, above the normal"),
    composite(&["entropy"], "entropy(count) → double", "Of counts, in bits"),
    composite(&["bitwise_and_agg"], "bitwise_and_agg(x) → bigint", "Bits of all"),
    composite(&["bitwise_or_agg"], "bitwise_or_agg(x) → bigint", "Bits of any"),
    composite(&["bitwise_xor_agg"], "bitwise_xor_agg(x) → bigint", "Bits of an odd number"),
    built_in(
        Aggregates,
        &["stddev", "stddev_samp", "stddev_pop", "var_samp", "var_pop"],
        "stddev(x) → double",
        "Standard deviation and variance",
    ),
    built_in(
        Aggregates,
        &["corr", "covar_pop", "covar_samp", "regr_slope", "regr_intercept"],
        "corr(y, x) → double",
        "Correlation, covariance, linear regression",
    ),
    refused(Aggregates, &["checksum"], "count(*) and approx_distinct(x)"),
    refused(Aggregates, &["approx_most_frequent"], "histogram(x)"),
    refused(Aggregates, &["numeric_histogram"], "width_bucket(x, low, high, n) and GROUP BY"),
    refused(Aggregates, &["reduce_agg"], "reduce(array_agg(x), …)"),
    refused(Aggregates, &["approx_set", "merge"], "approx_distinct(x)"),
    refused(Aggregates, &["qdigest_agg", "tdigest_agg"], "approx_percentile(x, percentage)"),
];

/// The name of an aggregate whose calls are rewritten during planning.
#[derive(Debug)]
pub(crate) struct Placeholder {
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
}

impl Placeholder {
    pub(crate) fn new(function: &'static Function) -> Self {
        let aliases = function.names[1..].iter().map(|&name| name.to_owned()).collect();
        Self { name: function.names[0], aliases, signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl PartialEq for Placeholder {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Placeholder {}

impl Hash for Placeholder {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl AggregateUDFImpl for Placeholder {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        plan_err!("{} is for SQL only", self.name)
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        internal_err!("{} is planned away", self.name)
    }

    fn supports_within_group_clause(&self) -> bool {
        self.name == "listagg"
    }

    fn supports_null_handling_clause(&self) -> bool {
        false
    }
}

/// Rewrites calls of aggregates that are composed of others.
#[derive(Debug)]
pub(crate) struct Composites;

impl ExprPlanner for Composites {
    fn plan_aggregate(&self, mut raw: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        regressions::must_be_of_all(raw.func.name(), raw.distinct)?;
        if !raw.distinct && ["array_agg", "string_agg"].contains(&raw.func.name()) {
            raw.order_by = ordered::by_fields(raw.order_by);
        }
        let Some(name) = placeholder(&raw.func)? else { return Ok(PlannerResult::Original(raw)) };
        let (filter, distinct, order, mut args) = (raw.filter, raw.distinct, raw.order_by, raw.args);
        if name == "listagg" && !order.is_empty() {
            // The planner has put the key of `WITHIN GROUP` first.
            args.remove(0);
        }
        let make = |inner: Inner| {
            let filter = both(filter.clone().map(|filter| *filter), inner.condition);
            let order = if inner.order.is_empty() { order.clone() } else { inner.order };
            let distinct = distinct || inner.is_distinct;
            let call =
                AggregateFunction::new_udf(inner.function, inner.args, distinct, filter.map(Box::new), order, None);
            Ok(Expr::AggregateFunction(call))
        };
        plan(name, &args, &make).map(PlannerResult::Planned)
    }

    fn plan_window(&self, raw: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        let WindowFunctionDefinition::AggregateUDF(udaf) = &raw.func_def else {
            return Ok(PlannerResult::Original(raw));
        };
        regressions::must_be_of_all(udaf.name(), raw.distinct)?;
        let Some(name) = placeholder(udaf)? else { return Ok(PlannerResult::Original(raw)) };
        let make = |inner: Inner| {
            if !inner.order.is_empty() || inner.is_distinct {
                return plan_err!("{name} is not supported as a window function: use a subquery with GROUP BY");
            }
            let params = WindowFunctionParams {
                args: inner.args,
                partition_by: raw.partition_by.clone(),
                order_by: raw.order_by.clone(),
                window_frame: raw.window_frame.clone(),
                filter: both(raw.filter.clone().map(|filter| *filter), inner.condition).map(Box::new),
                null_treatment: raw.null_treatment,
                distinct: raw.distinct,
            };
            let fun = WindowFunctionDefinition::AggregateUDF(inner.function);
            Ok(Expr::WindowFunction(Box::new(WindowFunction { fun, params })))
        };
        plan(name, &raw.args, &make).map(PlannerResult::Planned)
    }
}

/// The name of a composed aggregate; an error for one that is not supported.
fn placeholder(udaf: &AggregateUDF) -> Result<Option<&'static str>> {
    let inner: &dyn Any = udaf.inner().as_ref();
    let Some(found) = inner.downcast_ref::<Placeholder>() else { return Ok(None) };
    let function = FUNCTIONS.iter().find(|function| function.names[0] == found.name);
    if let Some(hint) = function.and_then(Function::refused) {
        return plan_err!("function {} is not supported: use {hint}", found.name);
    }
    Ok(Some(found.name))
}

/// A call of one of DataFusion's aggregates.
struct Inner {
    function: Arc<AggregateUDF>,
    args: Vec<Expr>,
    condition: Option<Expr>,
    order: Vec<Sort>,
    is_distinct: bool,
}

impl Inner {
    fn new(function: Arc<AggregateUDF>, args: Vec<Expr>) -> Self {
        Self { function, args, condition: None, order: Vec::new(), is_distinct: false }
    }

    fn only(mut self, condition: Expr) -> Self {
        self.condition = Some(condition);
        self
    }

    fn by(mut self, key: Expr, ascending: bool) -> Self {
        self.order = vec![Sort::new(key, ascending, false)];
        self
    }
}

fn both(a: Option<Expr>, b: Option<Expr>) -> Option<Expr> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.and(b)),
        (a, b) => a.or(b),
    }
}

/// Turns an inner call into an aggregate or a window expression.
type Make<'a> = &'a dyn Fn(Inner) -> Result<Expr>;

fn plan(name: &'static str, args: &[Expr], make: Make) -> Result<Expr> {
    let usage = || {
        let usage = FUNCTIONS.iter().find(|function| function.names[0] == name).map_or("", |function| function.usage);
        plan_err!("{name} is called as {usage}")
    };
    match (name, args) {
        ("count_if", [x]) => make(Inner::new(core::count::count_udaf(), vec![lit(1_i64)]).only(x.clone())),
        ("arbitrary" | "any_value", [x]) => make(first(x).only(x.clone().is_not_null())),
        ("max_by" | "min_by", [x, y]) => make(first(x).by(y.clone(), name == "min_by").only(y.clone().is_not_null())),
        ("max_by" | "min_by", [x, y, n]) => {
            let all = Inner::new(ordered::array_agg(), vec![x.clone()]);
            slice(make(all.by(y.clone(), name == "min_by").only(y.clone().is_not_null()))?, n)
        }
        ("max", [x]) => make(Inner::new(extremes::max(), vec![x.clone()])),
        ("min", [x]) => make(Inner::new(extremes::min(), vec![x.clone()])),
        ("max" | "min", [x, n]) => {
            let all = Inner::new(ordered::array_agg(), vec![x.clone()]);
            slice(make(all.by(x.clone(), name == "min").only(x.clone().is_not_null()))?, n)
        }
        ("avg", [x]) => {
            let average = AggregateUDF::new_from_impl(RoundedAverage::of_trino());
            make(Inner::new(Arc::new(average), vec![x.clone()]))
        }
        ("every", [x]) => make(Inner::new(core::bool_and_or::bool_and_udaf(), vec![x.clone()])),
        ("variance", [x]) => make(Inner::new(core::variance::var_samp_udaf(), vec![x.clone()])),
        ("bitwise_and_agg", [x]) => make(Inner::new(core::bit_and_or_xor::bit_and_udaf(), vec![x.clone()])),
        ("bitwise_or_agg", [x]) => make(Inner::new(core::bit_and_or_xor::bit_or_udaf(), vec![x.clone()])),
        ("bitwise_xor_agg", [x]) => make(Inner::new(core::bit_and_or_xor::bit_xor_udaf(), vec![x.clone()])),
        // Of a subquery that finds no rows, DataFusion makes null: it knows of `count` only.
        ("approx_distinct", [x] | [x, _]) => {
            let count = make(Inner::new(signs::approx_distinct(), vec![x.clone()]))?;
            Ok(datafusion::functions::core::expr_fn::coalesce(vec![count, lit(0_i64)]))
        }
        ("listagg", [x, separator]) => make(Inner::new(ordered::string_agg(), vec![x.clone(), separator.clone()])),
        ("listagg", [x]) => make(Inner::new(ordered::string_agg(), vec![x.clone(), lit("")])),
        ("map_agg", [k, v]) => scalar("map_of_pairs", vec![entries(k, v, make)?]),
        ("multimap_agg", [k, v]) => scalar("multimap_from_entries", vec![entries(k, v, make)?]),
        ("map_union", [map]) => scalar("union_of_maps", vec![make(all(map).only(map.clone().is_not_null()))?]),
        ("histogram", [x]) => scalar("array_frequency", vec![make(all(x).only(x.clone().is_not_null()))?]),
        ("set_agg", [x]) => {
            let mut distinct = all(x);
            distinct.is_distinct = true;
            make(distinct)
        }
        ("set_union", [x]) => {
            let flat = scalar("flatten", vec![make(all(x).only(x.clone().is_not_null()))?])?;
            scalar("array_distinct", vec![flat])
        }
        ("geometric_mean", [x]) => {
            let mean = make(Inner::new(core::average::avg_udaf(), vec![scalar("ln", vec![x.clone()])?]))?;
            scalar("exp", vec![mean])
        }
        ("approx_percentile", _) => percentile(args, make).unwrap_or_else(usage),
        ("skewness" | "kurtosis", [x]) => moments(name, x, make),
        ("entropy", [x]) => entropy(x, make),
        _ => usage(),
    }
}

fn first(x: &Expr) -> Inner {
    Inner::new(core::first_last::first_value_udaf(), vec![x.clone()])
}

fn all(x: &Expr) -> Inner {
    Inner::new(ordered::array_agg(), vec![x.clone()])
}

fn scalar(name: &str, args: Vec<Expr>) -> Result<Expr> {
    match function(name) {
        Some(function) => Ok(function.call(args)),
        None => internal_err!("there is no function {name}"),
    }
}

fn slice(list: Expr, n: &Expr) -> Result<Expr> {
    scalar("slice", vec![list, lit(1_i64), n.clone()])
}

fn entries(k: &Expr, v: &Expr, make: Make) -> Result<Expr> {
    let pair = datafusion::functions::core::expr_fn::named_struct(vec![lit("key"), k.clone(), lit("value"), v.clone()]);
    make(all(&pair).only(k.clone().is_not_null()))
}

/// `approx_percentile(x[, weight], p)`; an array of percentages gives an array. None for other arguments.
fn percentile(args: &[Expr], make: Make) -> Option<Result<Expr>> {
    let (x, weight, p) = match args {
        [x, p] => (x, None, p),
        [x, weight, p] => (x, Some(weight), p),
        _ => return None,
    };
    let one = |p: &Expr| {
        let p = match p {
            // A literal with a decimal point may be a decimal.
            Expr::Literal(value, _) => lit(value.cast_to(&DataType::Float64)?),
            other => other.clone(),
        };
        let inner = match weight {
            None => Inner::new(core::approx_percentile_cont::approx_percentile_cont_udaf(), vec![x.clone(), p]),
            Some(weight) => Inner::new(
                core::approx_percentile_cont_with_weight::approx_percentile_cont_with_weight_udaf(),
                vec![x.clone(), weight.clone(), p],
            ),
        };
        scalar("as_type_of", vec![make(inner.by(x.clone(), true))?, make(first(x))?])
    };
    Some(match p {
        Expr::ScalarFunction(call) if call.name() == "make_array" => call
            .args
            .iter()
            .map(one)
            .collect::<Result<Vec<_>>>()
            .map(datafusion::functions_nested::make_array::make_array),
        Expr::Literal(ScalarValue::List(_), _) => return None,
        p => one(p),
    })
}

fn double(expr: Expr) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), DataType::Float64))
}

/// Sums of powers give the third and fourth moment.
fn moments(name: &str, x: &Expr, make: Make) -> Result<Expr> {
    let x = double(x.clone());
    let sum = |expr: Expr| make(Inner::new(core::sum::sum_udaf(), vec![expr]));
    let n = double(make(Inner::new(core::count::count_udaf(), vec![x.clone()]))?);
    let (s1, s2) = (sum(x.clone())?, sum(x.clone() * x.clone())?);
    let s3 = sum(x.clone() * x.clone() * x.clone())?;
    let mean = s1.clone() / n.clone();
    let m2 = s2.clone() - mean.clone() * s1.clone();
    let m3 = s3.clone() - lit(3.0) * mean.clone() * s2.clone() + lit(2.0) * mean.clone() * mean.clone() * s1.clone();
    if name == "skewness" {
        let value = scalar("sqrt", vec![n.clone()])? * m3 / scalar("power", vec![m2, lit(1.5)])?;
        return Ok(when(n.gt_eq(lit(3.0)), value));
    }
    let s4 = sum(x.clone() * x.clone() * x.clone() * x)?;
    let square = mean.clone() * mean.clone();
    let m4 = s4 - lit(4.0) * mean.clone() * s3 + lit(6.0) * square.clone() * s2 - lit(3.0) * square * mean * s1;
    let (a, b, c) = (n.clone() - lit(1.0), n.clone() - lit(2.0), n.clone() - lit(3.0));
    let value = a.clone() * n.clone() * (n.clone() + lit(1.0)) / (b.clone() * c.clone()) * m4 / (m2.clone() * m2)
        - lit(3.0) * a.clone() * a / (b * c);
    Ok(when(n.gt_eq(lit(4.0)), value))
}

fn entropy(x: &Expr, make: Make) -> Result<Expr> {
    let x = double(x.clone());
    let sum = make(Inner::new(core::sum::sum_udaf(), vec![x.clone()]))?;
    let log = when(x.clone().gt(lit(0.0)), x.clone() * scalar("log2", vec![x])?);
    let logs = make(Inner::new(core::sum::sum_udaf(), vec![log]))?;
    Ok(when(sum.clone().gt(lit(0.0)), scalar("log2", vec![sum.clone()])? - logs / sum))
}

fn when(condition: Expr, value: Expr) -> Expr {
    Expr::Case(Case { expr: None, when_then_expr: vec![(Box::new(condition), Box::new(value))], else_expr: None })
}
