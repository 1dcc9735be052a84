//! `array_agg` and `string_agg` that put their values into the order that is asked for, whatever order rows come in.
//!
//! Where rows come in the opposite order, of the table or for another aggregate beside it, DataFusion (54.1, `aggregates/mod.rs`,
//! `array_agg.rs`) collects values backwards, and does not turn them around if they are `DISTINCT` or put together from parts.
//! Here they are never collected backwards, and each group sorts its own. The engine still sorts rows for one of the orders, which
//! leaves little to do there.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::error::Result;
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::functions_aggregate::string_agg::string_agg_udaf;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, Expr, GroupsAccumulator, ReversedUDAF, Signature,
};

/// The aggregate `array_agg`, whose values are in the order that is asked for, whatever order rows come in.
#[must_use]
pub fn array_agg() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(Ordered { inner: array_agg_udaf() }))
}

/// The aggregate `string_agg`.
pub(crate) fn string_agg() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(Ordered { inner: string_agg_udaf() }))
}

/// The same order, with the fields of a row one by one. In a row, an accumulator takes a null for equal to all others.
pub(crate) fn by_fields(order: Vec<Sort>) -> Vec<Sort> {
    order.into_iter().flat_map(fields_of).collect()
}

fn fields_of(sort: Sort) -> Vec<Sort> {
    match sort.expr {
        // There, nulls are greater than all others, whatever is asked for.
        Expr::ScalarFunction(row) if row.name() == "struct" => {
            by_fields(row.args.into_iter().map(|field| Sort::new(field, sort.asc, !sort.asc)).collect())
        }
        expr => vec![Sort { expr, ..sort }],
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Ordered {
    inner: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Ordered {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        self.inner.return_type(kinds)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }

    /// Rows may come in any order.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::SoftRequirement
    }

    /// The engine says so of the opposite order, too.
    fn with_beneficial_ordering(self: Arc<Self>, _: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }

    /// Without one, the engine would not sort rows for it (DataFusion 54.1, `get_finer_aggregate_exprs_requirement`).
    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
