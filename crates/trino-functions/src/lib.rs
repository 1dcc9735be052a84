//! The functions and semantics of Trino, as Amazon Athena's engine version 3 has them, for DataFusion.
//!
//! [`install`] gives a session's state the functions; [`syntax`] reads the SQL that goes with them (lambdas, types such
//! as `array(row(a bigint))`). What is here answers as Trino does, or says that it does not: never something else.
//! [`functions`] lists all of it.
//!
//! ```
//! # use datafusion::prelude::SessionContext;
//! use trino_functions::{Semantics, install};
//! # fn main() -> datafusion::error::Result<()> {
//! let state = install(SessionContext::new().state(), Semantics::Trino)?;
//! let context = SessionContext::new_with_state(state);
//! # let _ = context;
//! # Ok(())
//! # }
//! ```

mod aggregates;
mod arrays;
mod averages;
mod binary;
mod booleans;
mod casts;
mod catalog;
mod clocks;
mod comparisons;
mod conditional;
mod dates;
mod distinct;
mod extremes;
mod formats;
mod intervals;
mod json;
mod lambda;
mod lambdas;
mod lists;
mod maps;
mod math;
mod operators;
mod ordered;
mod overflow;
mod percentiles;
mod quantified;
mod regexps;
mod regressions;
mod scalar;
mod signs;
mod strings;
mod sums;
pub mod syntax;
mod timestamps;
mod types;
mod unnest;
mod urls;
mod zeros;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

pub use casts::arrays::elements_of_text;
pub use casts::postgres::{text_of_double, text_of_real};
pub use catalog::{Family, Function, functions};
pub use dates::written::moment_of_text;
pub use ordered::array_agg;
pub use quantified::{is_quantified, quantified};

/// Whose semantics apply where Trino and DataFusion disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Semantics {
    /// DataFusion's: its functions stay, and Trino's are added where it has none.
    DataFusion,
    /// Trino's: its functions replace those of the same name, and operators and casts follow it.
    Trino,
}

/// The state with the functions of Trino. With [`Semantics::Trino`], give it SQL that was parsed with [`syntax`].
///
/// # Errors
/// If the state refuses a function.
pub fn install(state: SessionState, semantics: Semantics) -> Result<SessionState> {
    let is_trino = semantics == Semantics::Trino;
    let mut planners = state.expr_planners().to_vec();
    planners.insert(0, Arc::new(aggregates::Composites));
    planners.insert(0, Arc::new(intervals::Extracts));
    planners.insert(0, Arc::new(clocks::Clocks));
    if is_trino {
        planners.insert(0, Arc::new(operators::Operators));
    }
    let mut rules = state.optimizer().rules.clone();
    rules.insert(0, Arc::new(zeros::ZerosOfKeys));
    rules.insert(0, Arc::new(overflow::CheckedOperators { spares_sums: true }));
    rules.push(Arc::new(overflow::CheckedOperators { spares_sums: false }));
    let mut analyzers = state.analyzer().rules.clone();
    analyzers.insert(0, Arc::new(timestamps::TypesOfValues));
    analyzers.insert(0, Arc::new(intervals::SortsByLength));
    analyzers.push(Arc::new(intervals::DaysOfDifferences));
    let builder =
        SessionStateBuilder::new_from_existing(state).with_expr_planners(planners).with_optimizer_rules(rules);
    let mut state = builder.with_type_planner(Arc::new(types::Types)).with_analyzer_rules(analyzers).build();
    signs::register(&mut state)?;
    catalog::register(&mut state, semantics)?;
    state.register_udf(Arc::new(ScalarUDF::new_from_impl(intervals::DatePart::default())))?;
    state.register_udf(Arc::new(ScalarUDF::new_from_impl(dates::far::DateBin::default())))?;
    state.register_udf(Arc::new(regexps::regexp_match()))?;
    if !is_trino {
        state.register_udf(Arc::new(ScalarUDF::new_from_impl(dates::far::DateTrunc::default())))?;
    }
    state.register_udaf(Arc::new(AggregateUDF::new_from_impl(sums::ExactSum::default())))?;
    state.register_udaf(array_agg())?;
    state.register_udaf(ordered::string_agg())?;
    state.register_udaf(percentiles::percentile_cont())?;
    for aggregate in regressions::of_lines() {
        state.register_udaf(aggregate)?;
    }
    if !is_trino {
        let average = averages::RoundedAverage::of_datafusion();
        state.register_udaf(Arc::new(AggregateUDF::new_from_impl(average)))?;
        state.register_udf(Arc::new(math::log()))?;
    }
    state.register_relation_planner(Arc::new(unnest::Unnests))?;
    casts::register(&mut state, is_trino)?;
    state.register_function_rewrite(Arc::new(comparisons::Comparisons { is_trino }))?;
    state.register_function_rewrite(Arc::new(zeros::Zeros))?;
    state.register_function_rewrite(Arc::new(timestamps::Timestamps { is_trino }))?;
    state.register_function_rewrite(Arc::new(intervals::Intervals { is_trino }))?;
    if !is_trino {
        quantified::register(&mut state)?;
        state.register_function_rewrite(Arc::new(booleans::Booleans))?;
    }
    Ok(state)
}
