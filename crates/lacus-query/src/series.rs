//! `generate_series` and `range`.
//!
//! In `FROM`, the engine's functions take moments of nanoseconds only, and give such: `generate_series(TIMESTAMP '…', TIMESTAMP '…',
//! INTERVAL '1 hour')`. Those of statements and tables have microseconds. Elsewhere, and of the columns of a row, they make arrays
//! of all values at once, which nothing bounds (DataFusion 54.1, `range.rs`).

mod bounded;

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Column, DataFusionError, Result, exec_datafusion_err};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, ScalarUDF, cast};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;

use self::bounded::Bounded;

/// Replaces the engine's functions by these.
pub(crate) fn register(context: &SessionContext) {
    for name in ["generate_series", "range"] {
        let inner = context.state().table_functions().get(name).map(|found| Arc::clone(found.function()));
        if let Some(inner) = inner {
            context.register_udtf(name, Arc::new(Series { inner }));
        }
        let inner = context.state().scalar_functions().get(name).cloned();
        if let Some(inner) = inner {
            context.register_udf(ScalarUDF::from(Bounded::new(inner)));
        }
    }
}

#[derive(Debug)]
struct Series {
    inner: Arc<dyn TableFunctionImpl>,
}

impl TableFunctionImpl for Series {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let Some(kind) = kind_of_moments(args.exprs()) else { return self.inner.call_with_args(args) };
        let interval = DataType::Interval(IntervalUnit::MonthDayNano);
        let mut exprs = Vec::with_capacity(args.exprs().len());
        for (place, expr) in args.exprs().iter().enumerate() {
            exprs.push(match expr {
                Expr::Literal(value, metadata) => {
                    let kind = if place < 2 { &kind } else { &interval };
                    let moment = value.cast_to(kind).map_err(|error| beyond_nanoseconds(value, error))?;
                    Expr::Literal(moment, metadata.clone())
                }
                other => other.clone(),
            });
        }
        let moments = self.inner.call_with_args(TableFunctionArgs::new(&exprs, args.session()))?;
        Ok(Arc::new(in_microseconds(moments)?))
    }
}

/// A moment that is none in nanoseconds, in words of SQL.
fn beyond_nanoseconds(moment: &ScalarValue, error: DataFusionError) -> DataFusionError {
    match moment.data_type() {
        DataType::Timestamp(..) | DataType::Date32 => {
            exec_datafusion_err!("timestamp out of range: a series of moments ends before the year 2262")
        }
        _ => error,
    }
}

/// The type that the engine takes for the first and the last one, if they are moments or days.
fn kind_of_moments(exprs: &[Expr]) -> Option<DataType> {
    let kinds = exprs.iter().take(2).filter_map(|expr| match expr {
        Expr::Literal(value, _) => Some(value.data_type()),
        _ => None,
    });
    let kinds: Vec<DataType> = kinds.collect();
    let moment = kinds.iter().find_map(|kind| match kind {
        DataType::Timestamp(_, zone) => Some(DataType::Timestamp(TimeUnit::Nanosecond, zone.clone())),
        _ => None,
    });
    moment.or_else(|| kinds.contains(&DataType::Date32).then_some(DataType::Date32))
}

fn in_microseconds(moments: Arc<dyn TableProvider>) -> Result<ViewTable> {
    const VALUE: &str = "value";
    let schema = moments.schema();
    let kind = match schema.field_with_name(VALUE)?.data_type() {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        other => other.clone(),
    };
    let value = cast(Expr::Column(Column::new_unqualified(VALUE)), kind).alias(VALUE);
    let plan = LogicalPlanBuilder::scan("series", provider_as_source(moments), None)?.project([value])?.build()?;
    Ok(ViewTable::new(plan, None))
}
