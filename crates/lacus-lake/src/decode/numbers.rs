//! What a number's text says, exactly. Nothing here rounds silently, except decimal fractions to the nearest double.

/// Whether a JSON number is written without fraction and exponent.
pub(super) fn is_whole(literal: &str) -> bool {
    !literal.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
}

/// Up to here every integer is exact in a double.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// An integer of so many digits is exact in a double.
const DIGITS_EXACT: usize = 15;

/// 1, 10, 100, and so on: all exact.
const POWERS_OF_TEN: [f64; DIGITS_EXACT] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];

/// The number as a double. An integer, also one like `9007199254740993.0`, counts only if a double holds it exactly; a
/// fraction becomes the nearest double, but never infinity, and zero only if it is zero.
pub(super) fn as_double(literal: &str) -> Option<f64> {
    if let Some(value) = of_few_digits(literal) {
        return Some(value);
    }
    let value: f64 = literal.parse().ok()?;
    if !is_whole(literal) {
        if value.abs() >= EXACT_MAX
            && as_integral(literal).is_some_and(|whole| format!("{value:.0}") != whole.to_string())
        {
            return None;
        }
        return (value.is_finite() && (value != 0.0 || is_zero(literal))).then_some(value);
    }
    // It has many digits: they are compared with the exact decimal text of the double.
    (format!("{value:.0}") == literal).then_some(value)
}

/// The same for few digits without an exponent, as most numbers are. The digits make one integer, and a division of one exact
/// double by another rounds once, to the nearest (Clinger, 1990).
fn of_few_digits(literal: &str) -> Option<f64> {
    let digits = literal.strip_prefix('-').unwrap_or(literal);
    if digits.len() > DIGITS_EXACT {
        return None;
    }
    let (mut whole, mut point) = (0_u64, None);
    for (index, byte) in digits.bytes().enumerate() {
        match byte {
            b'0'..=b'9' => whole = whole * 10 + u64::from(byte - b'0'),
            b'.' => point = Some(index),
            _ => return None,
        }
    }
    let places = point.map_or(0, |point| digits.len() - 1 - point);
    let value = whole as f64 / POWERS_OF_TEN[places];
    // As an integer, "-0" is zero: a column that was Long before must not differ.
    let is_negative = literal.len() > digits.len() && (whole != 0 || point.is_some());
    Some(if is_negative { -value } else { value })
}

fn is_zero(literal: &str) -> bool {
    let mantissa = literal.split(['e', 'E']).next().unwrap_or_default();
    mantissa.bytes().all(|digit| matches!(digit, b'-' | b'0' | b'.'))
}

/// The 64-bit integer that a literal stands for, in any notation.
pub(super) fn as_long(literal: &str) -> Option<i64> {
    literal.parse().ok().or_else(|| as_integral(literal))
}

/// The integer that a literal with a zero fraction or an exponent stands for: `5.0`, `12e2`, `1500e-2`.
pub(super) fn as_integral(literal: &str) -> Option<i64> {
    let (mantissa, exponent) = literal.split_once(['e', 'E']).unwrap_or((literal, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    if is_zero(&digits) {
        return Some(0);
    }
    let shift = exponent.parse::<i64>().ok()?.checked_sub_unsigned(fraction.len() as u64)?;
    let places = usize::try_from(shift.unsigned_abs()).ok()?;
    if shift < 0 {
        let kept = digits.len().checked_sub(places)?;
        let (kept, dropped) = digits.split_at(kept);
        return if dropped.bytes().all(|byte| byte == b'0') { kept.parse().ok() } else { None };
    }
    // An i64 has 19 digits at most.
    if places > 19 { None } else { format!("{digits}{}", "0".repeat(places)).parse().ok() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn decimals_are_rounded_as_the_standard_library_does(digits in 0..10_u64.pow(14), places in 1..15_usize) {
            let power = 10_u64.pow(places as u32);
            let literal = format!("-{}.{:0places$}", digits / power, digits % power);
            for literal in [literal.as_str(), &literal[1..]] {
                let expected: f64 = literal.parse().unwrap();
                prop_assert_eq!(as_double(literal).map(f64::to_bits), Some(expected.to_bits()));
            }
        }
    }

    #[test]
    fn whole_numbers_are_doubles_only_if_exact() {
        for (literal, expected) in [
            ("0", Some(0.0)),
            ("-17", Some(-17.0)),
            ("9007199254740992", Some(9_007_199_254_740_992.0)),
            ("9007199254740993", None),
            ("9223372036854775807", None),
            ("-9223372036854775808", Some(-9_223_372_036_854_775_808.0)),
            ("9223372036854775808", Some(9_223_372_036_854_775_808.0)),
            ("1e400", None),
            ("-1e400", None),
            ("1e308", Some(1e308)),
            ("1e-400", None),
            ("5e-324", Some(5e-324)),
            ("0.00e-400", Some(0.0)),
            ("0.1", Some(0.1)),
            ("-270.65", Some(-270.65)),
            ("0.00000000000001", Some(1e-14)),
            ("999999999999999", Some(999_999_999_999_999.0)),
            ("-1000000000000001", Some(-1_000_000_000_000_001.0)),
            ("9007199254740992.0", Some(9_007_199_254_740_992.0)),
            ("9007199254740993.0", None),
            ("9007199254740993e0", None),
            ("9007199254740994.00", Some(9_007_199_254_740_994.0)),
            ("9007199254740993.5", Some(9_007_199_254_740_994.0)),
            ("1e18", Some(1e18)),
            ("9223372036854775807.0", None),
        ] {
            assert_eq!(as_double(literal), expected, "{literal}");
        }
        assert!(as_double("-0").is_some_and(f64::is_sign_positive));
        assert!(as_double("-0.0").is_some_and(f64::is_sign_negative));
        assert_eq!(as_double(&"9".repeat(4_000)), None);
    }

    #[test]
    fn fractions_are_whole_only_if_exact() {
        for (literal, expected) in [
            ("5.0", Some(5)),
            ("-5.000", Some(-5)),
            ("12e2", Some(1_200)),
            ("1.25E2", Some(125)),
            ("1.25e1", None),
            ("1500e-2", Some(15)),
            ("1501e-2", None),
            ("9007199254740993.0", Some(9_007_199_254_740_993)),
            ("9223372036854775807.0", Some(i64::MAX)),
            ("9223372036854775808.0", None),
            ("-0.0", Some(0)),
            ("0e999999999999999999999", Some(0)),
            ("1e999999999999999999999", None),
            ("1e-999999999999999999999", None),
            ("1e19", None),
            ("1e18", Some(1_000_000_000_000_000_000)),
            ("0.5", None),
            ("5e-1", None),
            ("-5e-1", None),
            ("-50e-1", Some(-5)),
        ] {
            assert_eq!(as_integral(literal), expected, "{literal}");
        }
    }
}
