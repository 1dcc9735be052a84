//! The list of all functions: what is registered, and what the reference page says.
//!
//! Each family has a table of its own; there is no other way into a session.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF};

use crate::lambda::{Lambda, LambdaFunction};
use crate::scalar::{Body, Scalar};
use crate::{
    Semantics, aggregates, arrays, binary, conditional, dates, json, lambdas, maps, math, regexps, strings, urls,
};

/// What a function is about: a chapter of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Family {
    Strings,
    RegularExpressions,
    DatesAndTimes,
    Json,
    Arrays,
    Maps,
    Lambdas,
    Aggregates,
    Urls,
    Binary,
    Math,
    Conditional,
    Inner,
}

impl Family {
    /// Its heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Strings => "Strings",
            Self::RegularExpressions => "Regular expressions",
            Self::DatesAndTimes => "Dates and times",
            Self::Json => "JSON",
            Self::Arrays => "Arrays",
            Self::Maps => "Maps",
            Self::Lambdas => "Functions that take lambdas",
            Self::Aggregates => "Aggregates",
            Self::Urls => "URLs",
            Self::Binary => "Binary data and hashes",
            Self::Math => "Numbers",
            Self::Conditional => "Conditions and types",
            Self::Inner => "Used by the others",
        }
    }
}

/// One function, as the reference shows it.
#[derive(Debug, Clone, Copy)]
pub struct Function {
    /// Its name and other names for it.
    pub names: &'static [&'static str],
    /// Its signature and its result.
    pub usage: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Its chapter.
    pub family: Family,
    /// Whether it exists only with [`Semantics::Trino`], because DataFusion has another function of this name.
    pub trino_only: bool,
    pub(crate) kind: Kind,
}

/// How a function is made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// DataFusion does as Trino does.
    BuiltIn,
    Scalar(Body),
    Lambda(LambdaFunction),
    /// Rewritten to other aggregates: see [`aggregates`].
    Composite,
    /// Not done; what to use.
    Refused(&'static str),
}

impl Function {
    /// What to use instead, if it is not supported.
    #[must_use]
    pub fn refused(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Refused(hint) => Some(hint),
            _ => None,
        }
    }

    /// The same, only with Trino's semantics.
    pub(crate) const fn in_trino(mut self) -> Self {
        self.trino_only = true;
        self
    }
}

/// All functions, chapter by chapter.
pub fn functions() -> impl Iterator<Item = &'static Function> {
    let families: [&'static [Function]; 13] = [
        strings::FUNCTIONS,
        regexps::FUNCTIONS,
        dates::FUNCTIONS,
        dates::OF_REDSHIFT,
        json::FUNCTIONS,
        arrays::FUNCTIONS,
        maps::FUNCTIONS,
        lambdas::FUNCTIONS,
        aggregates::FUNCTIONS,
        urls::FUNCTIONS,
        binary::FUNCTIONS,
        math::FUNCTIONS,
        conditional::FUNCTIONS,
    ];
    families.into_iter().flatten()
}

pub(crate) fn register(state: &mut SessionState, semantics: Semantics) -> Result<()> {
    for function in functions().filter(|function| semantics == Semantics::Trino || !function.trino_only) {
        match function.kind {
            Kind::BuiltIn => {}
            Kind::Scalar(body) => {
                state.register_udf(Arc::new(ScalarUDF::new_from_impl(Scalar::new(function, body))))?;
            }
            Kind::Lambda(body) => {
                let lambda = Lambda::new(function, body);
                state.register_higher_order_function(Arc::new(HigherOrderUDF::new_from_impl(lambda)))?;
            }
            Kind::Composite => {
                state.register_udaf(Arc::new(AggregateUDF::new_from_impl(aggregates::Placeholder::new(function))))?;
            }
            Kind::Refused(hint) => {
                if function.family == Family::Aggregates {
                    let refused = aggregates::Placeholder::new(function);
                    state.register_udaf(Arc::new(AggregateUDF::new_from_impl(refused)))?;
                } else {
                    let body = Body::refused(hint);
                    state.register_udf(Arc::new(ScalarUDF::new_from_impl(Scalar::new(function, body))))?;
                }
            }
        }
    }
    Ok(())
}

/// A scalar function for a table.
pub(crate) const fn scalar(
    family: Family,
    names: &'static [&'static str],
    usage: &'static str,
    summary: &'static str,
    body: Body,
) -> Function {
    Function { names, usage, summary, family, trino_only: false, kind: Kind::Scalar(body) }
}

/// One that DataFusion has.
pub(crate) const fn built_in(
    family: Family,
    names: &'static [&'static str],
    usage: &'static str,
    summary: &'static str,
) -> Function {
    Function { names, usage, summary, family, trino_only: false, kind: Kind::BuiltIn }
}

/// One that is not supported.
pub(crate) const fn refused(family: Family, names: &'static [&'static str], hint: &'static str) -> Function {
    Function { names, usage: "", summary: "Not supported", family, trino_only: false, kind: Kind::Refused(hint) }
}
