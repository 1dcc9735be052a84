//! `format(pattern, value, …)`: patterns as Java's `Formatter` has them, as far as SQL values need them.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::error::Result;

use crate::casts::text;
use crate::scalar::{Call, Given, TEXT, Text, Types, bad, each, is_text};

/// The widest field, in characters.
const WIDTH_MAX: usize = 10_000;

pub(super) fn types(given: &Given) -> Result<Types> {
    match given.types {
        [first, rest @ ..] if (is_text(first) || first.is_null()) && !rest.is_empty() => {
            Ok(Types::new([&[TEXT], rest].concat(), TEXT))
        }
        _ => given.refuse(),
    }
}

pub(super) fn format(call: &Call) -> Result<ArrayRef> {
    let patterns = call.args[0].as_string::<i32>();
    let values = call.args[1..].iter().map(Values::of).collect::<Result<Vec<_>>>()?;
    each::<Text>(call.rows, |row| {
        if patterns.is_null(row) {
            return Ok(None);
        }
        filled(patterns.value(row), &values, row).map(Some)
    })
}

/// The values of one argument, as text and, if they are numbers, as numbers.
struct Values {
    texts: StringArray,
    kind: DataType,
    whole: Option<ArrayRef>,
    real: Option<ArrayRef>,
}

impl Values {
    fn of(array: &ArrayRef) -> Result<Self> {
        let kind = array.data_type().clone();
        let whole = kind.is_integer().then(|| cast(array, &DataType::Int64)).transpose()?;
        let real = kind.is_numeric().then(|| cast(array, &DataType::Float64)).transpose()?;
        Ok(Self { texts: text(array)?, kind, whole, real })
    }
}

/// `%[n$][flags][width][.precision]conversion`
#[derive(Default)]
struct Field {
    argument: Option<usize>,
    flags: String,
    width: usize,
    precision: Option<usize>,
    conversion: char,
}

fn filled(pattern: &str, values: &[Values], row: usize) -> Result<String> {
    let (mut out, mut next) = (String::new(), 0);
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let (field, after) =
            field(&rest[at + 1..]).ok_or_else(|| bad(format!("format: \"{pattern}\" is no pattern")))?;
        rest = after;
        match field.conversion {
            '%' => out.push('%'),
            'n' => out.push('\n'),
            _ => {
                let index = field.argument.unwrap_or(next);
                next += usize::from(field.argument.is_none());
                let Some(value) = values.get(index) else {
                    return Err(bad("format: there are fewer values than fields"));
                };
                out.push_str(&aligned(&shown(&field, value, row)?, &field));
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn field(text: &str) -> Option<(Field, &str)> {
    let mut field = Field::default();
    let mut rest = text;
    let digits = |text: &str| text.len() - text.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    if let Some(after) = rest.get(digits(rest)..).and_then(|after| after.strip_prefix('$')) {
        field.argument = Some(rest[..digits(rest)].parse::<usize>().ok()?.checked_sub(1)?);
        rest = after;
    }
    let after = rest.trim_start_matches(['-', '#', '+', ' ', '0', ',', '(']);
    rest[..rest.len() - after.len()].clone_into(&mut field.flags);
    rest = after;
    if digits(rest) > 0 {
        field.width = rest[..digits(rest)].parse().ok().filter(|width| *width <= WIDTH_MAX)?;
        rest = &rest[digits(rest)..];
    }
    if let Some(after) = rest.strip_prefix('.') {
        field.precision = Some(after[..digits(after)].parse().ok().filter(|precision| *precision <= WIDTH_MAX)?);
        rest = &after[digits(after)..];
    }
    field.conversion = rest.chars().next()?;
    let after = &rest[field.conversion.len_utf8()..];
    Some((field, after))
}

fn shown(field: &Field, value: &Values, row: usize) -> Result<String> {
    let wrong = || bad(format!("format: %{} is not for {}", field.conversion, crate::types::name(&value.kind)));
    let is_null = value.texts.is_null(row);
    Ok(match field.conversion {
        's' | 'S' => {
            let text = if is_null { "null" } else { value.texts.value(row) };
            let text: String = text.chars().take(field.precision.unwrap_or(usize::MAX)).collect();
            if field.conversion == 'S' { text.to_uppercase() } else { text }
        }
        'b' => {
            if is_null {
                "false".to_owned()
            } else if value.kind == DataType::Boolean {
                value.texts.value(row).to_owned()
            } else {
                "true".to_owned()
            }
        }
        _ if is_null => "null".to_owned(),
        'd' | 'x' | 'X' | 'o' => {
            let whole = value.whole.as_ref().ok_or_else(wrong)?.as_primitive::<Int64Type>().value(row);
            match field.conversion {
                'd' => signed(whole < 0, &whole.unsigned_abs().to_string(), field),
                'x' => format!("{whole:x}"),
                'X' => format!("{whole:X}"),
                _ => format!("{whole:o}"),
            }
        }
        'f' | 'e' | 'E' => {
            let real = value
                .real
                .as_ref()
                .filter(|_| value.whole.is_none())
                .ok_or_else(wrong)?
                .as_primitive::<Float64Type>()
                .value(row);
            let precision = field.precision.unwrap_or(6);
            match field.conversion {
                _ if !real.is_finite() => value.texts.value(row).to_owned(),
                'f' => signed(real.is_sign_negative(), &fixed(value, row, real, precision), field),
                'e' => signed(real.is_sign_negative(), &scientific(real.abs(), precision), field),
                _ => signed(real.is_sign_negative(), &scientific(real.abs(), precision).to_uppercase(), field),
            }
        }
        'c' => value.texts.value(row).chars().next().map(String::from).unwrap_or_default(),
        other => {
            return Err(bad(format!("format: the conversion %{other} is not supported: use s, d, f, e, x, o, b or c")));
        }
    })
}

/// The absolute value with so many digits after the point, halves rounded up, as its shortest text has them.
fn fixed(value: &Values, row: usize, real: f64, precision: usize) -> String {
    let exact = match value.kind {
        DataType::Decimal128(..) => value.texts.value(row).trim_start_matches('-').to_owned(),
        _ => format!("{}", real.abs()),
    };
    let (whole, fraction) = exact.split_once('.').unwrap_or((&exact, ""));
    let kept: String = fraction.chars().chain(std::iter::repeat('0')).take(precision).collect();
    let is_up = fraction.as_bytes().get(precision).is_some_and(|digit| *digit >= b'5');
    let mut digits: Vec<u8> = whole.bytes().chain(kept.bytes()).collect();
    if is_up {
        match digits.iter().rposition(|digit| *digit != b'9') {
            Some(at) => {
                digits[at] += 1;
                digits[at + 1..].fill(b'0');
            }
            None => {
                digits.fill(b'0');
                digits.insert(0, b'1');
            }
        }
    }
    let digits = String::from_utf8_lossy(&digits).into_owned();
    let (whole, fraction) = digits.split_at(digits.len() - precision);
    if precision == 0 { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

/// `1.50e+02`
fn scientific(real: f64, precision: usize) -> String {
    let text = format!("{real:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn signed(is_negative: bool, digits: &str, field: &Field) -> String {
    let mut digits = digits.to_owned();
    if field.flags.contains(',') {
        let whole = digits.find('.').unwrap_or(digits.len());
        for at in (1..whole).rev().filter(|at| (whole - at).is_multiple_of(3)) {
            digits.insert(at, ',');
        }
    }
    let (before, after) = match is_negative {
        true if field.flags.contains('(') => ("(", ")"),
        true => ("-", ""),
        false if field.flags.contains('+') => ("+", ""),
        false if field.flags.contains(' ') => (" ", ""),
        false => ("", ""),
    };
    let room = field.width.saturating_sub(before.len() + after.len());
    if field.flags.contains('0') {
        digits = format!("{digits:0>room$}");
    }
    format!("{before}{digits}{after}")
}

fn aligned(text: &str, field: &Field) -> String {
    let width = field.width;
    if field.flags.contains('-') { format!("{text:<width$}") } else { format!("{text:>width$}") }
}
