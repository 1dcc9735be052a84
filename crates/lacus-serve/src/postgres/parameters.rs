//! Parameters of a statement, in text or binary, as values of the engine.
//!
//! Bytes come from the network: whatever they are, they become a value or an error.

use datafusion::arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Field, IntervalMonthDayNano, IntervalUnit, TimeUnit,
};
use datafusion::scalar::ScalarValue;
use lacus_query::{Declared, SqlError, moment_of_text};
use pgwire::api::Type;
use pgwire::api::portal::{Format, Portal};
use postgres_types::Kind;

use crate::postgres::moments::{DAYS_TO_2000, MICROS_OF_DAY, MICROS_TO_2000, Moment};
use crate::postgres::numeric;

/// The time zone of all values that have one.
const UTC: &str = "+00:00";

/// The types that a client declares.
pub(crate) fn declared(types: &[Option<Type>]) -> Declared {
    let kinds: Vec<Option<DataType>> = types.iter().map(|kind| kind.as_ref().map(arrow)).collect();
    Declared::by_message(&kinds)
}

/// The parameters of a portal, of the `types` that the client was told, in a session with this time zone.
pub(crate) fn values<S: Clone>(portal: &Portal<S>, types: &[Type], zone: &str) -> Result<Vec<ScalarValue>, SqlError> {
    let mut values = Vec::with_capacity(portal.parameters.len());
    for (index, bytes) in portal.parameters.iter().enumerate() {
        let declared = portal.statement.parameter_types.get(index).cloned().flatten();
        let declared = declared.filter(|kind| *kind != Type::UNKNOWN);
        let kind = declared.or_else(|| types.get(index).cloned()).unwrap_or(Type::TEXT);
        let value = match bytes {
            None => Some(ScalarValue::Null),
            Some(bytes) if is_binary(&portal.parameter_format, index) => binary(&kind, bytes),
            // The same text may be valid for another type.
            Some(bytes) => match text(&kind, bytes, zone) {
                None if text(&kind, bytes, "UTC").is_some() => return Err(no_zone(index, zone)),
                value => value,
            },
        };
        values
            .push(value.ok_or_else(|| {
                SqlError::invalid("22P02", format!("parameter ${} is no {}", index + 1, kind.name()))
            })?);
    }
    Ok(values)
}

fn no_zone(index: usize, zone: &str) -> SqlError {
    let message = format!("parameter ${} has no offset, and TimeZone \"{zone}\" is the name of no zone", index + 1);
    SqlError::invalid("22023", message)
        .with_hint("write the offset, as in 2026-11-22 10:00:00+01, or SET TimeZone to a name, as in 'Europe/Berlin'")
}

/// A request may name fewer formats than there are parameters.
fn is_binary(format: &Format, index: usize) -> bool {
    match format {
        Format::UnifiedText => false,
        Format::UnifiedBinary => true,
        Format::Individual(codes) => codes.get(index) == Some(&1),
    }
}

/// A value in the text format; none if it is invalid, or its time zone is unknown.
fn text(kind: &Type, bytes: &[u8], zone: &str) -> Option<ScalarValue> {
    let text = std::str::from_utf8(bytes).ok()?;
    if let Kind::Array(element) = kind.kind() {
        let items: Option<Vec<ScalarValue>> = array_items(text)?
            .into_iter()
            .map(|item| item.map_or(Some(ScalarValue::Null), |item| self::text(element, item.as_bytes(), zone)))
            .collect();
        return list(element, items?);
    }
    if *kind == Type::BYTEA {
        return Some(ScalarValue::Binary(Some(match text.strip_prefix("\\x") {
            Some(digits) => hexadecimal(digits)?,
            None => bytes.to_vec(),
        })));
    }
    if *kind == Type::NUMERIC {
        return decimal(text.trim());
    }
    let value = ScalarValue::Utf8(Some(if *kind == Type::INTERVAL { in_words(text)? } else { text.to_owned() }));
    match arrow(kind) {
        DataType::Utf8 => Some(value),
        DataType::Timestamp(_, Some(_)) => zoned(text, zone),
        kind @ (DataType::Date32 | DataType::Timestamp(..)) => moment_of_text(text, &kind),
        kind => value.cast_to(&kind).ok(),
    }
}

/// A timestamp with a time zone. Without an offset it is local time in `zone`.
fn zoned(text: &str, zone: &str) -> Option<ScalarValue> {
    let at = |zone: &str| match moment_of_text(text, &DataType::Timestamp(TimeUnit::Microsecond, Some(zone.into())))? {
        ScalarValue::TimestampMicrosecond(micros, _) => micros,
        _ => None,
    };
    let utc = at(UTC)?;
    // If the zone makes no difference, the text has its own.
    let micros = if at("+01:00") == Some(utc) { utc } else { at(named(zone)?)? };
    Some(ScalarValue::TimestampMicrosecond(Some(micros), Some(UTC.into())))
}

/// The zone, if it is a name: PostgreSQL counts the offset in `+02` in the opposite direction to ISO 8601.
fn named(zone: &str) -> Option<&str> {
    Some(zone).filter(|zone| zone.starts_with(|letter: char| letter.is_ascii_alphabetic()))
}

/// A value in the binary format; none if the bytes are invalid.
pub(crate) fn binary(kind: &Type, bytes: &[u8]) -> Option<ScalarValue> {
    if let Kind::Array(element) = kind.kind() {
        return binary_array(element, bytes);
    }
    Some(match *kind {
        Type::BOOL => ScalarValue::Boolean(Some(u8::from_be_bytes(bytes.try_into().ok()?) != 0)),
        Type::INT2 => ScalarValue::Int16(Some(i16::from_be_bytes(bytes.try_into().ok()?))),
        Type::INT4 => ScalarValue::Int32(Some(i32::from_be_bytes(bytes.try_into().ok()?))),
        Type::INT8 => ScalarValue::Int64(Some(i64::from_be_bytes(bytes.try_into().ok()?))),
        Type::OID => ScalarValue::Int64(Some(u32::from_be_bytes(bytes.try_into().ok()?).into())),
        Type::FLOAT4 => ScalarValue::Float32(Some(f32::from_be_bytes(bytes.try_into().ok()?))),
        Type::FLOAT8 => ScalarValue::Float64(Some(f64::from_be_bytes(bytes.try_into().ok()?))),
        Type::NUMERIC => decimal(&numeric::read(bytes)?)?,
        Type::BYTEA => ScalarValue::Binary(Some(bytes.to_vec())),
        Type::DATE => {
            let days = i32::from_be_bytes(bytes.try_into().ok()?).checked_add(DAYS_TO_2000)?;
            must_exist(Moment::Date(days))?;
            ScalarValue::Date32(Some(days))
        }
        Type::TIME => {
            let micros = i64::from_be_bytes(bytes.try_into().ok()?);
            must_exist(Moment::Time(micros)).filter(|()| micros < MICROS_OF_DAY)?;
            ScalarValue::Time64Microsecond(Some(micros))
        }
        Type::TIMESTAMP | Type::TIMESTAMPTZ => {
            let micros = i64::from_be_bytes(bytes.try_into().ok()?).checked_add(MICROS_TO_2000)?;
            must_exist(Moment::Timestamp(micros))?;
            ScalarValue::TimestampMicrosecond(Some(micros), (*kind == Type::TIMESTAMPTZ).then(|| UTC.into()))
        }
        Type::INTERVAL => ScalarValue::IntervalMonthDayNano(Some(interval(bytes)?)),
        Type::UUID => ScalarValue::Utf8(Some(uuid(bytes)?)),
        Type::JSONB => ScalarValue::Utf8(Some(std::str::from_utf8(bytes.strip_prefix(&[1])?).ok()?.to_owned())),
        _ => ScalarValue::Utf8(Some(std::str::from_utf8(bytes).ok()?.to_owned())),
    })
}

/// Refuses what is outside of PostgreSQL's range, infinity too: it could not be sent back.
fn must_exist(moment: Moment) -> Option<()> {
    // The caller reports what is wrong.
    moment.checked().ok().map(drop)
}

/// Microseconds, days and months.
fn interval(bytes: &[u8]) -> Option<IntervalMonthDayNano> {
    let (micros, rest) = bytes.split_first_chunk::<8>()?;
    let (days, months) = rest.split_first_chunk::<4>()?;
    let nanos = i64::from_be_bytes(*micros).checked_mul(1000)?;
    let months = i32::from_be_bytes(months.try_into().ok()?);
    Some(IntervalMonthDayNano::new(months, i32::from_be_bytes(*days), nanos))
}

/// An interval as PostgreSQL writes it, such as `3 days -04:05:06.5`, with a unit for each part, as the engine reads it.
fn in_words(text: &str) -> Option<String> {
    let words = text.split_whitespace().map(|word| {
        if !word.contains(':') {
            return Some(word.to_owned());
        }
        let (sign, clock) = match word.strip_prefix('-') {
            Some(clock) => ("-", clock),
            None => ("", word.strip_prefix('+').unwrap_or(word)),
        };
        let parts: Vec<&str> = clock.split(':').collect();
        match parts.as_slice() {
            [hours, minutes] => Some(format!("{sign}{hours} hours {sign}{minutes} minutes")),
            [hours, minutes, seconds] => {
                Some(format!("{sign}{hours} hours {sign}{minutes} minutes {sign}{seconds} seconds"))
            }
            _ => None,
        }
    });
    Some(words.collect::<Option<Vec<_>>>()?.join(" "))
}

fn binary_array(element: &Type, bytes: &[u8]) -> Option<ScalarValue> {
    let (_oid, items) = elements(bytes)?;
    let items = items.into_iter().map(|item| item.map_or(Some(ScalarValue::Null), |item| binary(element, item)));
    list(element, items.collect::<Option<Vec<_>>>()?)
}

/// The elements of a one-dimensional array, and the OID of its element type.
///
/// Dimensions, a flag, the element type; for each dimension its length and first index; then the elements.
pub(crate) fn elements(bytes: &[u8]) -> Option<(u32, Vec<Option<&[u8]>>)> {
    let mut rest = bytes;
    let mut number = || {
        let (number, after) = rest.split_at_checked(4)?;
        rest = after;
        Some(i32::from_be_bytes(number.try_into().ok()?))
    };
    let (dimensions, _flag, oid) = (number()?, number()?, number()?.cast_unsigned());
    let count = match dimensions {
        0 => 0,
        1 => {
            let (count, _first) = (usize::try_from(number()?).ok()?, number()?);
            count
        }
        _ => return None,
    };
    let mut items = Vec::with_capacity(count.min(bytes.len() / 4));
    for _ in 0..count {
        let (length, after) = rest.split_at_checked(4)?;
        rest = after;
        items.push(match usize::try_from(i32::from_be_bytes(length.try_into().ok()?)) {
            Err(_) => None,
            Ok(length) => {
                let (item, after) = rest.split_at_checked(length)?;
                rest = after;
                Some(item)
            }
        });
    }
    rest.is_empty().then_some((oid, items))
}

fn list(element: &Type, items: Vec<ScalarValue>) -> Option<ScalarValue> {
    // All elements get as many digits after the point as the one that has most.
    let kinds = items.iter().map(ScalarValue::data_type).filter(|kind| *kind != DataType::Null);
    let kind = kinds.reduce(|kind, other| match (kind, other) {
        (DataType::Decimal128(digits, scale), DataType::Decimal128(_, other)) => {
            DataType::Decimal128(digits, scale.max(other))
        }
        (kind, _) => kind,
    });
    let kind = kind.unwrap_or_else(|| arrow(element));
    let items: Option<Vec<ScalarValue>> = items.into_iter().map(|item| item.cast_to(&kind).ok()).collect();
    Some(ScalarValue::List(ScalarValue::new_list_nullable(&items?, &kind)))
}

/// The items of a one-dimensional array: `{a,"b c",NULL}`.
fn array_items(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    let mut letters = inner.chars().peekable();
    while letters.peek().is_some() {
        let mut item = String::new();
        let mut quoted = false;
        let mut is_text = false;
        loop {
            match letters.next() {
                Some('"') => (quoted, is_text) = (!quoted, true),
                Some('\\') => item.push(letters.next()?),
                Some('{') if !quoted => return None,
                Some(',') if !quoted => break,
                Some(letter) => item.push(letter),
                None if quoted => return None,
                None => break,
            }
        }
        let is_null = !is_text && item.eq_ignore_ascii_case("null");
        items.push((!is_null).then_some(item));
    }
    Some(items)
}

/// The engine's type for a Postgres type.
pub(crate) fn arrow(kind: &Type) -> DataType {
    if let Kind::Array(element) = kind.kind() {
        return DataType::List(std::sync::Arc::new(Field::new_list_field(arrow(element), true)));
    }
    match *kind {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 => DataType::Int32,
        Type::INT8 | Type::OID => DataType::Int64,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::DATE => DataType::Date32,
        Type::TIME => DataType::Time64(TimeUnit::Microsecond),
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        Type::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        Type::NUMERIC => DataType::Decimal128(38, 10),
        Type::BYTEA => DataType::Binary,
        _ => DataType::Utf8,
    }
}

/// A decimal with the scale it is written with: `12.50`, `1.5E-3`. Trailing digits without room are rounded away.
fn decimal(text: &str) -> Option<ScalarValue> {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (is_negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let most = usize::from(DECIMAL128_MAX_PRECISION);
    let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    let zeros = usize::try_from(scale.checked_neg()?).unwrap_or(0);
    if zeros > most {
        return None;
    }
    let digits = format!("{}{}", all.trim_start_matches('0'), "0".repeat(zeros));
    let scale = usize::try_from(scale).unwrap_or(0);
    let excess = digits.len().max(scale).saturating_sub(most);
    let scale = scale.checked_sub(excess)?;
    let (kept, cut) = digits.split_at(digits.len().saturating_sub(excess));
    // If there are fewer digits than have to be cut, the first one that is cut would be a zero.
    let rounds_up = cut.len() == excess && cut.starts_with(['5', '6', '7', '8', '9']);
    let value = if kept.is_empty() { 0 } else { kept.parse::<i128>().ok()? } + i128::from(rounds_up);
    let value = Some(if is_negative { -value } else { value });
    let exact = ScalarValue::Decimal128(value, DECIMAL128_MAX_PRECISION, i8::try_from(scale).ok()?);
    (value?.unsigned_abs() < 10_u128.pow(DECIMAL128_MAX_PRECISION.into())).then_some(exact)
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

fn uuid(bytes: &[u8]) -> Option<String> {
    let number = u128::from_be_bytes(bytes.try_into().ok()?);
    let digits = format!("{number:032x}");
    Some([&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: &Type, bytes: &[u8]) -> Option<ScalarValue> {
        super::text(kind, bytes, "UTC")
    }

    #[test]
    fn array_text_is_read_as_postgres_writes_it() {
        let items = |text| {
            array_items(text)
                .map(|items| items.into_iter().map(|item| item.unwrap_or("-".into())).collect::<Vec<_>>().join("|"))
        };
        assert_eq!(items("{}").as_deref(), Some(""));
        assert_eq!(items("{1,2}").as_deref(), Some("1|2"));
        assert_eq!(items(r#"{"a,b",NULL,"NULL","q\"x"}"#).as_deref(), Some(r#"a,b|-|NULL|q"x"#));
        assert_eq!(items("1,2"), None);
        assert_eq!(items("{{1},{2}}"), None);
        assert_eq!(items("{\"open}"), None);
    }

    #[test]
    fn a_decimal_has_the_digits_that_it_is_written_with() {
        let read = |written: &str| match text(&Type::NUMERIC, written.as_bytes()) {
            Some(ScalarValue::Decimal128(Some(value), _, scale)) => Some((value, scale)),
            _ => None,
        };
        assert_eq!(read("19.90"), Some((1990, 2)));
        assert_eq!(read("-3"), Some((-3, 0)));
        assert_eq!(read("0.1234567890123"), Some((1_234_567_890_123, 13)));
        assert_eq!(read("1.5E-3"), Some((15, 4)));
        assert_eq!(read("1E+3"), Some((1000, 0)));
        assert_eq!(read("0E+3"), Some((0, 0)));
        // Digits after the point that have no room are rounded away, digits before it are not.
        assert_eq!(read("7.0000000000000000000000000000000000000000006").map(|(_, scale)| scale), Some(37));
        assert_eq!(read("0.000000000000000000000000000000000000019"), Some((2, 38)));
        assert_eq!(read("1E-50"), Some((0, 38)));
        for broken in ["x", "", "NaN", "1.2.3", "1E", "1E99999999999", "123456789012345678901234567890123456789012"] {
            assert_eq!(read(broken), None, "{broken}");
        }
    }

    #[test]
    fn texts_of_times_are_read_as_in_statements() {
        let micros = |kind: &Type, written: &str| match text(kind, written.as_bytes()) {
            Some(ScalarValue::TimestampMicrosecond(micros, _)) => micros,
            _ => None,
        };
        assert_eq!(micros(&Type::TIMESTAMP, "2024-01-31 13:00"), Some(1_706_706_000_000_000));
        // Drivers send local time followed by its zone.
        assert_eq!(micros(&Type::TIMESTAMP, "2024-01-31 13:00:00+02"), Some(1_706_706_000_000_000));
        assert_eq!(micros(&Type::TIMESTAMPTZ, "2024-01-31T13:00:00.5+02:00"), Some(1_706_698_800_500_000));
        assert_eq!(text(&Type::DATE, b"2024-1-31"), Some(ScalarValue::Date32(Some(19_753))));
        assert_eq!(micros(&Type::TIMESTAMP, "soon"), None);
    }

    #[test]
    fn times_without_an_offset_are_those_of_the_session() {
        let micros = |written: &str, zone: &str| match super::text(&Type::TIMESTAMPTZ, written.as_bytes(), zone) {
            Some(ScalarValue::TimestampMicrosecond(micros, zone)) if zone.as_deref() == Some(UTC) => micros,
            _ => None,
        };
        let noon = Some(1_719_835_200_000_000);
        for (written, zone) in [
            ("2024-07-01 12:00", "UTC"),
            ("2024-07-01 14:00", "Europe/Berlin"),
            ("2024-07-01 14:00", "europe/berlin"),
            ("2024-07-01T08:00:00", "America/New_York"),
            ("2024-07-01 12:00Z", "Europe/Berlin"),
            ("2024-07-01 14:00:00+02", "Nowhere"),
            ("2024-07-01 12:00:00+00", "+02"),
        ] {
            assert_eq!(micros(written, zone), noon, "{written} {zone}");
        }
        for zone in ["Nowhere", "+02", "2", ""] {
            assert_eq!(micros("2024-07-01 14:00", zone), None, "{zone}");
        }
        let Some(ScalarValue::List(list)) =
            super::text(&Type::TIMESTAMPTZ_ARRAY, b"{2024-07-01 14:00,NULL}", "Europe/Berlin")
        else {
            panic!("it is an array")
        };
        let expected = ScalarValue::TimestampMicrosecond(noon, Some(UTC.into()));
        assert_eq!(ScalarValue::try_from_array(&list.value(0), 0).unwrap(), expected);
        // A type without time zone ignores it.
        let plain = super::text(&Type::TIMESTAMP, b"2024-07-01 12:00", "Europe/Berlin");
        assert_eq!(plain, Some(ScalarValue::TimestampMicrosecond(noon, None)));
    }

    #[test]
    fn numbers_of_an_array_keep_their_digits() {
        for written in ["{1.5,2.25,NULL}", "{2.25,1.5}", "{1,2.25}"] {
            let Some(ScalarValue::List(list)) = text(&Type::NUMERIC_ARRAY, written.as_bytes()) else {
                panic!("{written}")
            };
            assert_eq!(list.value_type(), DataType::Decimal128(38, 2), "{written}");
        }
        let large = format!("{{{},0.5}}", "9".repeat(38));
        assert_eq!(text(&Type::NUMERIC_ARRAY, large.as_bytes()), None);
    }

    #[test]
    fn intervals_are_read_as_postgres_writes_them() {
        let read = |written: &str| match text(&Type::INTERVAL, written.as_bytes()) {
            Some(ScalarValue::IntervalMonthDayNano(Some(value))) => {
                Some((value.months, value.days, value.nanoseconds / 1_000_000))
            }
            _ => None,
        };
        assert_eq!(read("3 days 04:05:06.5"), Some((0, 3, 14_706_500)));
        assert_eq!(read("-1 day 23:59:59"), Some((0, -1, 86_399_000)));
        assert_eq!(read("1 year 2 mons -3 days -00:00:01.25"), Some((14, -3, -1_250)));
        assert_eq!(read("0:00:00"), Some((0, 0, 0)));
        assert_eq!(read("36:30"), Some((0, 0, 131_400_000)));
        assert_eq!(read("1 years 2 mons 3 days 4 hours 5 mins 6.5 secs"), Some((14, 3, 14_706_500)));
        for broken in ["x", "1:2:3:4", "a:b", "1 parsec"] {
            assert_eq!(read(broken), None, "{broken}");
        }
        let bytes = [&14_706_500_000_i64.to_be_bytes()[..], &3_i32.to_be_bytes(), &(-14_i32).to_be_bytes()].concat();
        let expected = IntervalMonthDayNano::new(-14, 3, 14_706_500_000_000);
        assert_eq!(binary(&Type::INTERVAL, &bytes), Some(ScalarValue::IntervalMonthDayNano(Some(expected))));
        let endless = [&i64::MAX.to_be_bytes()[..], &[0; 8]].concat();
        assert_eq!(binary(&Type::INTERVAL, &endless), None);
        assert_eq!(binary(&Type::INTERVAL, &[&bytes[..], &[0]].concat()), None);
    }

    #[test]
    fn broken_bytes_are_no_value() {
        for kind in [
            Type::INTERVAL,
            Type::INT2,
            Type::INT8,
            Type::FLOAT8,
            Type::NUMERIC,
            Type::DATE,
            Type::TIMESTAMPTZ,
            Type::UUID,
            Type::JSONB,
            Type::INT4_ARRAY,
        ] {
            assert_eq!(binary(&kind, &[7]), None, "{kind}");
        }
        assert_eq!(
            binary(&Type::INT4_ARRAY, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 127, 255, 255, 255, 0, 0, 0, 1]),
            None
        );
        let wrong: [&[u8]; 2] = [&[], &[1, 0]];
        for wrong in wrong {
            assert_eq!(binary(&Type::BOOL, wrong), None, "{wrong:?}");
        }
        for infinite in [i64::MIN, i64::MAX] {
            assert_eq!(binary(&Type::TIMESTAMPTZ, &infinite.to_be_bytes()), None, "{infinite}");
        }
        for infinite in [i32::MIN, i32::MAX] {
            assert_eq!(binary(&Type::DATE, &infinite.to_be_bytes()), None, "{infinite}");
        }
        assert_eq!(text(&Type::INT4, b"x"), None);
        assert_eq!(text(&Type::TEXT, &[0xff]), None);
        assert_eq!(text(&Type::BYTEA, b"\\x0"), None);
    }
}
