//! Functions that keep whole numbers whole and decimals exact.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use datafusion::arrow::datatypes::{DataType, Decimal128Type};
use datafusion::error::Result;

use super::is_decimal;
use crate::scalar::{Call, DOUBLE, Double, Given, INT, Int, Types, bad, column, map1, map2};

/// The most digits of a decimal.
pub(crate) const DIGITS_MAX: u8 = 38;
const TOO_LARGE: u128 = 10_u128.pow(DIGITS_MAX as u32);

/// Whether a decimal has no more digits than allowed: its 128 bits have room for more.
pub(crate) fn fits_decimal(value: i128) -> bool {
    value.unsigned_abs() < TOO_LARGE
}

/// The type that these functions compute in.
fn worked(kind: &DataType) -> Option<DataType> {
    match kind {
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => {
            Some(DataType::Decimal128(*p, *s))
        }
        kind if kind.is_integer() || kind.is_null() => Some(INT),
        kind if kind.is_floating() => Some(DOUBLE),
        _ => None,
    }
}

pub(super) fn types1(given: &Given) -> Result<Types> {
    match given.types {
        [kind] if let Some(kind) = worked(kind) => Ok(Types::new(vec![kind.clone()], kind)),
        _ => given.refuse(),
    }
}

/// `ceil` and `floor` of a decimal have no fractional digits.
pub(super) fn types_whole(given: &Given) -> Result<Types> {
    let mut types = types1(given)?;
    if let DataType::Decimal128(precision, scale) = types.arguments[0] {
        let digits = i16::from(precision) - i16::from(scale) + i16::from(scale > 0);
        let returns = DataType::Decimal128(digits.clamp(1, i16::from(DIGITS_MAX)) as u8, 0);
        types = Types::new(types.arguments, returns);
    }
    Ok(types)
}

pub(super) fn types_round(given: &Given) -> Result<Types> {
    let Some(kind) = given.types.first().and_then(worked) else { return given.refuse() };
    match given.types {
        [_] if is_decimal(&kind) => types_whole(given),
        [_] => types1(given),
        [_, digits] if digits.is_integer() || digits.is_null() => {
            let returns = match kind {
                DataType::Decimal128(precision, scale) => DataType::Decimal128((precision + 1).min(DIGITS_MAX), scale),
                ref other => other.clone(),
            };
            Ok(Types::new(vec![kind, INT], returns))
        }
        _ => given.refuse(),
    }
}

pub(super) fn types_mod(given: &Given) -> Result<Types> {
    let [a, b] = given.types else { return given.refuse() };
    let (Some(a), Some(b)) = (worked(a), worked(b)) else { return given.refuse() };
    let kind = match (&a, &b) {
        _ if a == b => a,
        (DataType::Float64, _) | (_, DataType::Float64) => DOUBLE,
        _ => {
            let ((p, s), (q, t)) = (decimal(&a), decimal(&b));
            let scale = s.max(t);
            let whole = (p as i8 - s).max(q as i8 - t);
            DataType::Decimal128((whole + scale).clamp(1, DIGITS_MAX as i8) as u8, scale)
        }
    };
    Ok(Types::new(vec![kind.clone(), kind.clone()], kind))
}

/// Of fractions there is none: 0.3 by 0.1 would be 2.
pub(super) fn types_div(given: &Given) -> Result<Types> {
    let types = types_mod(given)?;
    match types.arguments[0] {
        DataType::Decimal128(..) => Ok(Types::new(types.arguments, DataType::Decimal128(DIGITS_MAX, 0))),
        DataType::Float64 => given.refuse(),
        _ => Ok(types),
    }
}

/// The decimal that holds all values of a type.
pub(crate) fn decimal(kind: &DataType) -> (u8, i8) {
    match kind {
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => (*p, *s),
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        _ => (19, 0),
    }
}

/// Runs the variant for the type of the first argument.
fn by_type(
    call: &Call,
    whole: impl FnMut(i64) -> Result<Option<i64>>,
    real: impl Fn(f64) -> f64,
    exact: impl Fn(i128, i128) -> Result<i128>,
) -> Result<ArrayRef> {
    match call.args[0].data_type() {
        DataType::Int64 => map1::<Int, Int>(call, whole),
        DataType::Decimal128(_, scale) => {
            let unit = power(*scale)?;
            decimals(call, |value, _| exact(value, unit))
        }
        _ => map1::<Double, Double>(call, |x| Ok(Some(real(x)))),
    }
}

/// A decimal column of the type that the call returns.
fn decimals(call: &Call, f: impl Fn(i128, usize) -> Result<i128>) -> Result<ArrayRef> {
    let input = call.args[0].as_primitive::<Decimal128Type>();
    let mut values = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let is_null = call.args.iter().any(|arg| arg.is_null(row));
        values.push(if is_null { None } else { Some(f(input.value(row), row)?) });
    }
    Ok(Arc::new(Decimal128Array::from_iter(values).with_data_type(call.returns.data_type().clone())))
}

pub(crate) fn power(digits: i8) -> Result<i128> {
    10_i128.checked_pow(digits.unsigned_abs().into()).ok_or_else(|| bad("the decimal has too many digits"))
}

pub(super) fn abs(call: &Call) -> Result<ArrayRef> {
    by_type(
        call,
        |n| n.checked_abs().map(Some).ok_or_else(|| bad("bigint overflow")),
        f64::abs,
        |value, _| Ok(value.abs()),
    )
}

pub(super) fn sign(call: &Call) -> Result<ArrayRef> {
    let real = |x: f64| if x == 0.0 || x.is_nan() { x } else { x.signum() };
    by_type(call, |n| Ok(Some(n.signum())), real, |value, unit| Ok(value.signum() * unit))
}

pub(super) fn ceil(call: &Call) -> Result<ArrayRef> {
    let exact = |value: i128, unit| Ok(value.div_euclid(unit) + i128::from(value.rem_euclid(unit) != 0));
    by_type(call, |n| Ok(Some(n)), f64::ceil, exact)
}

pub(super) fn floor(call: &Call) -> Result<ArrayRef> {
    by_type(call, |n| Ok(Some(n)), f64::floor, |value: i128, unit| Ok(value.div_euclid(unit)))
}

pub(super) fn round(call: &Call) -> Result<ArrayRef> {
    to_digits(call, true)
}

pub(super) fn truncate(call: &Call) -> Result<ArrayRef> {
    to_digits(call, false)
}

fn to_digits(call: &Call, is_rounded: bool) -> Result<ArrayRef> {
    if call.args.len() == 1 {
        let real = |x: f64| if is_rounded { x.round() } else { x.trunc() };
        return by_type(call, |n| Ok(Some(n)), real, |value, unit| Ok(cut(value, unit, is_rounded)));
    }
    match call.args[0].data_type() {
        DataType::Int64 => map2::<Int, Int, Int>(call, |n, digits| {
            if digits >= 0 {
                return Ok(Some(n));
            }
            let Some(unit) = u32::try_from(-digits).ok().and_then(|digits| 10_i128.checked_pow(digits)) else {
                return Ok(Some(0));
            };
            let value = cut(n.into(), unit, is_rounded) * unit;
            i64::try_from(value).map(Some).map_err(|_| bad("bigint overflow"))
        }),
        DataType::Decimal128(_, scale) => {
            let digits = column::<Int>(call, 1)?;
            decimals(call, |value, row| {
                let places = i64::from(*scale).saturating_sub(digits.value(row));
                match u32::try_from(places).ok().filter(|places| *places > 0) {
                    None => Ok(value),
                    Some(places) => {
                        Ok(10_i128.checked_pow(places).map_or(0, |unit| cut(value, unit, is_rounded) * unit))
                    }
                }
            })
        }
        _ => map2::<Double, Int, Double>(call, |x, digits| Ok(Some(real_digits(x, digits, is_rounded)))),
    }
}

fn real_digits(x: f64, digits: i64, is_rounded: bool) -> f64 {
    let factor = 10_f64.powi(digits.clamp(-400, 400) as i32);
    let moved = x * factor;
    if !x.is_finite() || !moved.is_finite() {
        return x;
    }
    let result = (if is_rounded { moved.round() } else { moved.trunc() }) / factor;
    if result.is_finite() { result } else { 0.0 }
}

/// Divides, rounding half away from zero or truncating.
pub(crate) fn cut(value: i128, unit: i128, is_rounded: bool) -> i128 {
    let whole = value / unit;
    let rest = value - whole * unit;
    if is_rounded && rest.unsigned_abs() >= unit.unsigned_abs().div_ceil(2) && rest != 0 {
        let is_negative = (value < 0) != (unit < 0);
        return whole + if is_negative { -1 } else { 1 };
    }
    whole
}

/// Both have as many digits behind the point.
pub(super) fn div(call: &Call) -> Result<ArrayRef> {
    if let DataType::Decimal128(..) = call.args[0].data_type() {
        let divisors = call.args[1].as_primitive::<Decimal128Type>();
        return decimals(call, |value, row| match divisors.value(row) {
            0 => Err(bad("division by zero")),
            divisor => Ok(value / divisor),
        });
    }
    map2::<Int, Int, Int>(call, |n, m| match m {
        0 => Err(bad("division by zero")),
        m => n.checked_div(m).map(Some).ok_or_else(|| bad("bigint overflow")),
    })
}

pub(super) fn modulo(call: &Call) -> Result<ArrayRef> {
    match call.args[0].data_type() {
        DataType::Int64 => {
            map2::<Int, Int, Int>(
                call,
                |n, m| {
                    if m == 0 { Err(bad("division by zero")) } else { Ok(Some(n.wrapping_rem(m))) }
                },
            )
        }
        DataType::Decimal128(..) => {
            let divisors = call.args[1].as_primitive::<Decimal128Type>();
            decimals(call, |value, row| match divisors.value(row) {
                0 => Err(bad("division by zero")),
                divisor => Ok(value % divisor),
            })
        }
        _ => map2::<Double, Double, Double>(call, |n, m| Ok(Some(n % m))),
    }
}
