//! Conditions and types.
//!
//! `if` becomes `CASE`, `try` catches the errors of one row: [`crate::syntax`] and [`crate::lambdas`] see to these.

use datafusion::arrow::array::{Array, ArrayRef, UInt64Array};
use datafusion::arrow::compute::{cast, take};
use datafusion::error::Result;

use crate::catalog::{
    Family::{Conditional, Inner},
    Function, built_in, refused, scalar,
};
use crate::lists;
use crate::scalar::{Body, Call, DOUBLE, Double, Given, TEXT, Text, Types, bad, each, exactly, map1};

pub(crate) const FUNCTIONS: &[Function] = &[
    built_in(
        Conditional,
        &["if"],
        "if(condition, value[, otherwise]) → same",
        "One of two values; null where there is no other",
    ),
    built_in(Conditional, &["try_cast"], "try_cast(value AS type)", "Null where the cast fails"),
    built_in(Conditional, &["coalesce"], "coalesce(value, …) → same", "The first that is not null"),
    built_in(Conditional, &["nullif"], "nullif(a, b) → same", "Null if both are equal"),
    scalar(
        Conditional,
        &["greatest"],
        "greatest(value, …) → same",
        "The largest; null if any is null",
        Body::new(same_types, |call| extreme(call, true)),
    )
    .in_trino(),
    scalar(
        Conditional,
        &["least"],
        "least(value, …) → same",
        "The smallest; null if any is null",
        Body::new(same_types, |call| extreme(call, false)),
    )
    .in_trino(),
    scalar(
        Conditional,
        &["typeof"],
        "typeof(value) → varchar",
        "The name of its type",
        Body::new(|g| if g.types.len() == 1 { Ok(Types::new(g.types.to_vec(), TEXT)) } else { g.refuse() }, type_name),
    ),
    scalar(
        Inner,
        &["as_type_of"],
        "as_type_of(value, like) → type of `like`",
        "A number as the type of another",
        Body::new(like_types, like),
    ),
    scalar(
        Inner,
        &["fraction"],
        "fraction(x) → double",
        "Itself, if it is between 0 and 1: where `percentile_disc` looks for a value",
        Body::new(|g| exactly(g, &[DOUBLE], 1, DOUBLE), fraction),
    ),
    scalar(
        Inner,
        &["lambda_body"],
        "lambda_body(value, …) → same",
        "Its first argument: around bodies of lambdas, so that they use all parameters",
        Body::new(
            |g| match g.types {
                [first, ..] => Ok(Types::new(g.types.to_vec(), first.clone())),
                [] => g.refuse(),
            },
            |call| Ok(std::sync::Arc::clone(&call.args[0])),
        ),
    ),
    refused(Conditional, &["version"], "SHOW server_version").in_trino(),
];

fn fraction(call: &Call) -> Result<ArrayRef> {
    map1::<Double, Double>(call, |x| match x {
        0.0..=1.0 => Ok(Some(x)),
        _ => Err(bad(format!("percentile value {x} is not between 0 and 1"))),
    })
}

fn like_types(given: &Given) -> Result<Types> {
    match given.types {
        [value, like] => Ok(Types::new(vec![value.clone(), like.clone()], like.clone())),
        _ => given.refuse(),
    }
}

/// Rounded, if the other argument is an integer.
fn like(call: &Call) -> Result<ArrayRef> {
    crate::casts::convert(&call.args[0], &call.fields[0], &call.returns)
}

fn same_types(given: &Given) -> Result<Types> {
    let Some((first, rest)) = given.types.split_first() else { return given.refuse() };
    let mut kind = first.clone();
    for other in rest {
        kind = lists::common(&kind, other)?;
    }
    Ok(Types::new(vec![kind.clone(); given.types.len()], kind))
}

fn extreme(call: &Call, is_greatest: bool) -> Result<ArrayRef> {
    let arrays: Vec<&dyn Array> = call.args.iter().map(AsRef::as_ref).collect();
    let all = datafusion::arrow::compute::concat(&arrays)?;
    let order = lists::comparable(std::slice::from_ref(&all))?;
    let picks: UInt64Array = (0..call.rows)
        .map(|row| {
            if call.args.iter().any(|arg| arg.is_null(row)) {
                return None;
            }
            let places = (0..call.args.len()).map(|index| index * call.rows + row);
            let best = if is_greatest {
                places.max_by(|a, b| order.row(*a).cmp(&order.row(*b)))
            } else {
                places.min_by(|a, b| order.row(*a).cmp(&order.row(*b)))
            };
            best.map(|place| place as u64)
        })
        .collect();
    Ok(cast(&take(&all, &picks, None)?, call.returns.data_type())?)
}

fn type_name(call: &Call) -> Result<ArrayRef> {
    let name = crate::types::field_name(&call.fields[0]);
    each::<Text>(call.rows, |_| Ok(Some(name.clone())))
}
