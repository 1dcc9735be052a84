//! Numbers. Whole numbers overflow with an error; decimals stay exact; all else is `double`.

mod exact;

pub(crate) use exact::{DIGITS_MAX, cut, decimal, fits_decimal, power};

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;

use crate::catalog::{Family::Math, Function, refused, scalar};
use crate::lists;
use crate::scalar::{
    BOOL, Body, Bool, Call, DOUBLE, Double, Given, INT, Int, Kind, Scalar, TEXT, Text, Types, array_of, bad, column,
    each, exactly, map1, map2, map4,
};

const fn real(
    names: &'static [&'static str],
    usage: &'static str,
    summary: &'static str,
    run: fn(&Call) -> Result<ArrayRef>,
) -> Function {
    scalar(Math, names, usage, summary, Body::new(|g| exactly(g, &[DOUBLE], 1, DOUBLE), run))
}

macro_rules! real {
    ($name:literal, $f:expr, $summary:literal) => {
        real(&[$name], concat!($name, "(x) → double"), $summary, |call| {
            map1::<Double, Double>(call, |x: f64| Ok(Some($f(x))))
        })
    };
}

const fn bits(
    name: &'static [&'static str],
    usage: &'static str,
    summary: &'static str,
    run: fn(&Call) -> Result<ArrayRef>,
) -> Function {
    scalar(Math, name, usage, summary, Body::new(|g| exactly(g, &[INT, INT], 2, INT), run))
}

pub(crate) const FUNCTIONS: &[Function] = &[
    scalar(Math, &["abs"], "abs(x) → same", "Without its sign", Body::new(exact::types1, exact::abs)),
    scalar(Math, &["sign"], "sign(x) → same", "-1, 0 or 1", Body::new(exact::types1, exact::sign)),
    scalar(Math, &["ceil", "ceiling"], "ceil(x) → same", "Rounded up", Body::new(exact::types_whole, exact::ceil)),
    scalar(Math, &["floor"], "floor(x) → same", "Rounded down", Body::new(exact::types_whole, exact::floor)),
    scalar(
        Math,
        &["round"],
        "round(x[, digits]) → same",
        "Rounded, halves away from zero",
        Body::new(exact::types_round, exact::round),
    ),
    scalar(
        Math,
        &["truncate"],
        "truncate(x[, digits]) → same",
        "Cut off towards zero",
        Body::new(exact::types_round, exact::truncate),
    ),
    scalar(
        Math,
        &["mod"],
        "mod(n, m) → same",
        "What remains of a division, with the sign of `n`",
        Body::new(exact::types_mod, exact::modulo),
    ),
    scalar(
        Math,
        &["div"],
        "div(n, m) → same",
        "The whole part of a quotient, of whole numbers and of decimals, as in PostgreSQL",
        Body::new(exact::types_div, exact::div),
    ),
    real!("sqrt", f64::sqrt, "Square root"),
    real!("cbrt", f64::cbrt, "Cube root"),
    real!("exp", f64::exp, "e to the power of x"),
    real!("ln", f64::ln, "Natural logarithm"),
    real!("log2", f64::log2, "Logarithm to base 2"),
    real!("log10", f64::log10, "Logarithm to base 10"),
    real!("sin", f64::sin, "Sine"),
    real!("cos", f64::cos, "Cosine"),
    real!("tan", f64::tan, "Tangent"),
    real!("asin", f64::asin, "Arc sine"),
    real!("acos", f64::acos, "Arc cosine"),
    real!("atan", f64::atan, "Arc tangent"),
    real!("sinh", f64::sinh, "Hyperbolic sine"),
    real!("cosh", f64::cosh, "Hyperbolic cosine"),
    real!("tanh", f64::tanh, "Hyperbolic tangent"),
    real!("degrees", f64::to_degrees, "Radians in degrees"),
    real!("radians", f64::to_radians, "Degrees in radians"),
    scalar(
        Math,
        &["atan2"],
        "atan2(y, x) → double",
        "Arc tangent of y/x",
        Body::new(
            |g| exactly(g, &[DOUBLE, DOUBLE], 2, DOUBLE),
            |call| map2::<Double, Double, Double>(call, |y, x| Ok(Some(y.atan2(x)))),
        ),
    ),
    scalar(
        Math,
        &["power", "pow"],
        "power(x, y) → double",
        "x to the power of y",
        Body::new(
            |g| exactly(g, &[DOUBLE, DOUBLE], 2, DOUBLE),
            |call| map2::<Double, Double, Double>(call, |x, y| Ok(Some(x.powf(y)))),
        ),
    ),
    scalar(
        Math,
        &["log"],
        "log(base, x) → double",
        "Logarithm to a base",
        Body::new(
            |g| exactly(g, &[DOUBLE, DOUBLE], 2, DOUBLE),
            |call| map2::<Double, Double, Double>(call, |base, x| Ok(Some(x.ln() / base.ln()))),
        ),
    ),
    scalar(
        Math,
        &["pi"],
        "pi() → double",
        "3.14…",
        Body::new(|g| exactly(g, &[], 0, DOUBLE), |call| constant(call, std::f64::consts::PI)),
    ),
    scalar(
        Math,
        &["e"],
        "e() → double",
        "2.71…",
        Body::new(|g| exactly(g, &[], 0, DOUBLE), |call| constant(call, std::f64::consts::E)),
    ),
    scalar(
        Math,
        &["infinity"],
        "infinity() → double",
        "The largest",
        Body::new(|g| exactly(g, &[], 0, DOUBLE), |call| constant(call, f64::INFINITY)),
    ),
    scalar(
        Math,
        &["nan"],
        "nan() → double",
        "What is no number",
        Body::new(|g| exactly(g, &[], 0, DOUBLE), |call| constant(call, f64::NAN)),
    ),
    scalar(
        Math,
        &["is_nan"],
        "is_nan(x) → boolean",
        "Whether it is no number",
        Body::new(|g| exactly(g, &[DOUBLE], 1, BOOL), |call| map1::<Double, Bool>(call, |x| Ok(Some(x.is_nan())))),
    ),
    scalar(
        Math,
        &["is_finite"],
        "is_finite(x) → boolean",
        "Whether it is a finite number",
        Body::new(|g| exactly(g, &[DOUBLE], 1, BOOL), |call| map1::<Double, Bool>(call, |x| Ok(Some(x.is_finite())))),
    ),
    scalar(
        Math,
        &["is_infinite"],
        "is_infinite(x) → boolean",
        "Whether it is infinite",
        Body::new(|g| exactly(g, &[DOUBLE], 1, BOOL), |call| map1::<Double, Bool>(call, |x| Ok(Some(x.is_infinite())))),
    ),
    scalar(
        Math,
        &["random", "rand"],
        "random([[from, ]to]) → double or bigint",
        "A number from 0 to 1, or a whole one below `to`",
        Body::volatile(random_types, random),
    ),
    scalar(
        Math,
        &["width_bucket"],
        "width_bucket(x, low, high, n) or (x, bins) → bigint",
        "In which bucket of a histogram x falls",
        Body::new(bucket_types, bucket),
    ),
    scalar(
        Math,
        &["from_base"],
        "from_base(text, radix) → bigint",
        "A number written to a base",
        Body::new(|g| exactly(g, &[TEXT, INT], 2, INT), from_base),
    ),
    scalar(
        Math,
        &["to_base"],
        "to_base(n, radix) → varchar",
        "Writes a number to a base",
        Body::new(|g| exactly(g, &[INT, INT], 2, TEXT), to_base),
    ),
    bits(&["bitwise_and"], "bitwise_and(a, b) → bigint", "Bits of both", |call| {
        map2::<Int, Int, Int>(call, |a, b| Ok(Some(a & b)))
    }),
    bits(&["bitwise_or"], "bitwise_or(a, b) → bigint", "Bits of either", |call| {
        map2::<Int, Int, Int>(call, |a, b| Ok(Some(a | b)))
    }),
    bits(&["bitwise_xor"], "bitwise_xor(a, b) → bigint", "Bits of one of them", |call| {
        map2::<Int, Int, Int>(call, |a, b| Ok(Some(a ^ b)))
    }),
    scalar(
        Math,
        &["bitwise_not"],
        "bitwise_not(a) → bigint",
        "All bits turned",
        Body::new(|g| exactly(g, &[INT], 1, INT), |call| map1::<Int, Int>(call, |a| Ok(Some(!a)))),
    ),
    bits(&["bitwise_left_shift"], "bitwise_left_shift(a, n) → bigint", "Bits moved up", |call| {
        map2::<Int, Int, Int>(call, |a, n| Ok(Some(shift(n).map_or(0, |n| a << n))))
    }),
    bits(&["bitwise_right_shift"], "bitwise_right_shift(a, n) → bigint", "Bits moved down, zeros moved in", |call| {
        map2::<Int, Int, Int>(call, |a, n| Ok(Some(shift(n).map_or(0, |n| ((a as u64) >> n) as i64))))
    }),
    bits(
        &["bitwise_right_shift_arithmetic"],
        "bitwise_right_shift_arithmetic(a, n) → bigint",
        "Bits moved down, the sign kept",
        |call| map2::<Int, Int, Int>(call, |a, n| Ok(Some(a >> shift(n).unwrap_or(63)))),
    ),
    bits(&["bit_count"], "bit_count(a, width) → bigint", "How many bits are set", |call| {
        map2::<Int, Int, Int>(call, bit_count)
    }),
    scalar(
        Math,
        &["cosine_similarity"],
        "cosine_similarity(a, b) → double",
        "Of two arrays of numbers",
        Body::new(exactly_arrays, cosine_similarity),
    ),
    refused(
        Math,
        &[
            "normal_cdf",
            "inverse_normal_cdf",
            "beta_cdf",
            "inverse_beta_cdf",
            "t_cdf",
            "t_pdf",
            "wilson_interval_lower",
            "wilson_interval_upper",
        ],
        "compute it after the query",
    ),
];

/// PostgreSQL's `log(base, x)`: a whole number of a power, as in `log(10, 1000)`. To Trino that is 2.9999999999999996.
pub(crate) fn log() -> ScalarUDF {
    let body = Body::new(
        |g| exactly(g, &[DOUBLE, DOUBLE], 2, DOUBLE),
        |call| map2::<Double, Double, Double>(call, |base, x| Ok(Some(logarithm(base, x)))),
    );
    ScalarUDF::new_from_impl(Scalar::named(&["log"], body))
}

fn logarithm(base: f64, x: f64) -> f64 {
    let logarithm = x.ln() / base.ln();
    let whole = logarithm.round();
    if base.powf(whole) == x { whole } else { logarithm }
}

fn constant(call: &Call, value: f64) -> Result<ArrayRef> {
    each::<Double>(call.rows, |_| Ok(Some(value)))
}

fn random_types(given: &Given) -> Result<Types> {
    match given.types.len() {
        0 => exactly(given, &[], 0, DOUBLE),
        _ => exactly(given, &[INT, INT], 1, INT),
    }
}

fn random(call: &Call) -> Result<ArrayRef> {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut state = RandomState::new().build_hasher().finish();
    // SplitMix64: good enough to draw samples, not to guard secrets.
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let mut between = |from: i64, to: i64| {
        if to <= from {
            return Err(bad("random: the bound must be greater than where it begins"));
        }
        let span = to.wrapping_sub(from) as u64;
        Ok(Some(from.wrapping_add(((u128::from(next()) * u128::from(span)) >> 64) as i64)))
    };
    match call.args.len() {
        0 => each::<Double>(call.rows, |_| Ok(Some((next() >> 11) as f64 / (1_u64 << 53) as f64))),
        1 => map1::<Int, Int>(call, |to| between(0, to)),
        _ => map2::<Int, Int, Int>(call, between),
    }
}

fn bucket_types(given: &Given) -> Result<Types> {
    match given.types {
        [_, bins] if lists::is_list(bins) => Ok(Types::new(vec![DOUBLE, array_of(DOUBLE)], INT)),
        _ => exactly(given, &[DOUBLE, DOUBLE, DOUBLE, INT], 4, INT),
    }
}

fn bucket(call: &Call) -> Result<ArrayRef> {
    if call.args.len() == 2 {
        let (xs, bins) = (column::<Double>(call, 0)?, lists::list(&call.args[1])?);
        let limits = bins.values().as_any().downcast_ref::<<Double as Kind>::Array>();
        let limits = limits.ok_or_else(|| bad("width_bucket: the bins must be numbers"))?;
        return each::<Int>(call.rows, |row| {
            if xs.is_null(row) || bins.is_null(row) {
                return Ok(None);
            }
            let limits: Vec<f64> = lists::range(bins, row).map(|index| limits.value(index)).collect();
            if limits.is_empty() || !limits.is_sorted() {
                return Err(bad("width_bucket: the bins must be in ascending order, at least one"));
            }
            Ok(Some(limits.partition_point(|limit| *limit <= xs.value(row)) as i64))
        });
    }
    map4::<Double, Double, Double, Int, Int>(call, |x, low, high, count| {
        if count <= 0 || !low.is_finite() || !high.is_finite() || low == high || x.is_nan() {
            return Err(bad("width_bucket: the count must be positive and the bounds finite and different"));
        }
        let place = if low < high { (x - low) / (high - low) } else { (low - x) / (low - high) };
        Ok(Some(match place {
            p if p < 0.0 => 0,
            p if p >= 1.0 => count + 1,
            p => (count as f64 * p) as i64 + 1,
        }))
    })
}

fn radix(radix: i64) -> Result<u32> {
    u32::try_from(radix)
        .ok()
        .filter(|radix| (2..=36).contains(radix))
        .ok_or_else(|| bad("the radix must be between 2 and 36"))
}

fn from_base(call: &Call) -> Result<ArrayRef> {
    map2::<Text, Int, Int>(call, |text, base| {
        let number = i64::from_str_radix(text, radix(base)?);
        number.map(Some).map_err(|_| bad(format!("from_base: \"{text}\" is no number to base {base}")))
    })
}

fn to_base(call: &Call) -> Result<ArrayRef> {
    map2::<Int, Int, Text>(call, |n, base| {
        let base = radix(base)?;
        let (mut rest, mut digits) = (n.unsigned_abs(), Vec::new());
        loop {
            digits.push(char::from_digit((rest % u64::from(base)) as u32, base).unwrap_or('0'));
            rest /= u64::from(base);
            if rest == 0 {
                break;
            }
        }
        digits.extend((n < 0).then_some('-'));
        Ok(Some(digits.into_iter().rev().collect()))
    })
}

fn shift(n: i64) -> Option<u32> {
    u32::try_from(n).ok().filter(|n| *n < 64)
}

fn bit_count(n: i64, width: i64) -> Result<Option<i64>> {
    if !(2..=64).contains(&width) {
        return Err(bad("bit_count: the width must be between 2 and 64"));
    }
    let unused = 64 - width as u32;
    if (n << unused) >> unused != n {
        return Err(bad(format!("bit_count: {n} does not fit {width} bits")));
    }
    Ok(Some(i64::from(((n as u64) << unused).count_ones())))
}

fn exactly_arrays(given: &Given) -> Result<Types> {
    if given.types.len() != 2 || !given.types.iter().all(lists::is_list) {
        return given.refuse();
    }
    Ok(Types::new(vec![array_of(DOUBLE), array_of(DOUBLE)], DOUBLE))
}

fn cosine_similarity(call: &Call) -> Result<ArrayRef> {
    let (left, right) = (lists::list(&call.args[0])?, lists::list(&call.args[1])?);
    let numbers = |array: &ArrayRef| array.as_any().downcast_ref::<<Double as Kind>::Array>().cloned();
    let (Some(a), Some(b)) = (numbers(left.values()), numbers(right.values())) else {
        return Err(bad("cosine_similarity: the arrays must have numbers"));
    };
    each::<Double>(call.rows, |row| {
        let (i, j) = (lists::range(left, row), lists::range(right, row));
        let has_null = i.clone().any(|at| a.is_null(at)) || j.clone().any(|at| b.is_null(at));
        if left.is_null(row) || right.is_null(row) || has_null {
            return Ok(None);
        }
        if i.len() != j.len() {
            return Err(bad("cosine_similarity: the arrays must have the same length"));
        }
        let (mut dot, mut x, mut y) = (0.0, 0.0, 0.0);
        for (at, other) in i.zip(j) {
            dot += a.value(at) * b.value(other);
            x += a.value(at) * a.value(at);
            y += b.value(other) * b.value(other);
        }
        Ok((x > 0.0 && y > 0.0).then(|| dot / (x.sqrt() * y.sqrt())))
    })
}

/// Whether a type is a decimal.
pub(crate) fn is_decimal(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Decimal128(..) | DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal256(..)
    )
}
