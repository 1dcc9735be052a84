//! Decimals and UUIDs in the protocol's text and binary forms, with all their digits.

use std::error::Error as StdError;

use bytes::{BufMut, BytesMut};
use pgwire::api::Type;
use pgwire::types::ToSqlText;
use pgwire::types::format::FormatOptions;
use postgres_types::{IsNull, ToSql, to_sql_checked};

/// The most digits before the point: no decimal has more.
const WHOLE_MAX: usize = 38;
/// The most digits after the point that are read: further ones don't change how a decimal is rounded.
const FRACTION_MAX: usize = 76;

/// A decimal as text: `-12.50`.
#[derive(Debug)]
pub(crate) struct Numeric(pub(crate) String);

impl ToSqlText for Numeric {
    fn to_sql_text(
        &self,
        _kind: &Type,
        out: &mut BytesMut,
        _options: &FormatOptions,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.put_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

impl ToSql for Numeric {
    /// Base-10000 digits, after the weight of the first, the sign, and the number of decimal digits after the point.
    fn to_sql(&self, _kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let (negative, digits) = match self.0.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, self.0.as_str()),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let mut padded = "0".repeat((4 - whole.len() % 4) % 4);
        padded.push_str(whole);
        let mut weight = i16::try_from(padded.len() / 4)? - 1;
        padded.push_str(fraction);
        padded.push_str(&"0".repeat((4 - fraction.len() % 4) % 4));
        let mut groups = Vec::with_capacity(padded.len() / 4);
        for group in padded.as_bytes().chunks(4) {
            groups.push(std::str::from_utf8(group)?.parse::<i16>()?);
        }
        let zeros = groups.iter().take_while(|group| **group == 0).count();
        groups.drain(..zeros);
        weight -= i16::try_from(zeros)?;
        while groups.last() == Some(&0) {
            groups.pop();
        }
        if groups.is_empty() {
            weight = 0;
        }
        out.put_i16(i16::try_from(groups.len())?);
        out.put_i16(weight);
        out.put_u16(if negative && !groups.is_empty() { 0x4000 } else { 0 });
        out.put_u16(u16::try_from(fraction.len())?);
        groups.iter().for_each(|group| out.put_i16(*group));
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::NUMERIC
    }

    to_sql_checked!();
}

/// A UUID as text: `0db3e2a8-9d1d-42b9-aa7b-74ebe558dceb`.
#[derive(Debug)]
pub(crate) struct Uuid(pub(crate) String);

impl ToSqlText for Uuid {
    fn to_sql_text(
        &self,
        _kind: &Type,
        out: &mut BytesMut,
        _options: &FormatOptions,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.put_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

impl ToSql for Uuid {
    /// Its sixteen bytes.
    fn to_sql(&self, _kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let digits: String = self.0.chars().filter(|letter| *letter != '-').collect();
        out.put_u128(u128::from_str_radix(&digits, 16)?);
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::UUID
    }

    to_sql_checked!();
}

/// Reads the binary form as text.
pub(crate) fn read(bytes: &[u8]) -> Option<String> {
    let number = |at: usize| Some(i16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let (count, weight, scale) = (usize::try_from(number(0)?).ok()?, number(2)?, usize::try_from(number(6)?).ok()?);
    let weight = if count == 0 { 0 } else { weight };
    let is_large = usize::try_from(weight).is_ok_and(|groups| groups * 4 >= WHOLE_MAX);
    if is_large || bytes.len() != 8 + count * 2 {
        return None;
    }
    let scale = scale.min(FRACTION_MAX);
    let negative = match u16::from_be_bytes(bytes.get(4..6)?.try_into().ok()?) {
        0 => false,
        0x4000 => true,
        _ => return None,
    };
    let mut groups = Vec::with_capacity(count.min(bytes.len() / 2));
    for index in 0..count {
        groups.push(number(8 + index * 2).filter(|group| (0..10_000).contains(group))?);
    }
    let digits_of = |place: i32| {
        let index = usize::try_from(i32::from(weight) - place).ok();
        index.and_then(|index| groups.get(index)).copied().unwrap_or(0)
    };
    let mut text = String::from(if negative { "-" } else { "" });
    let whole: String = (0..=i32::from(weight).max(0)).rev().map(|place| format!("{:04}", digits_of(place))).collect();
    let trimmed = whole.trim_start_matches('0');
    if trimmed.len() > WHOLE_MAX {
        return None;
    }
    text.push_str(if trimmed.is_empty() { "0" } else { trimmed });
    if scale > 0 {
        let places = i32::try_from(scale.div_ceil(4)).ok()?;
        let fraction: String = (1..=places).map(|place| format!("{:04}", digits_of(-place))).collect();
        text.push('.');
        text.push_str(&fraction[..scale]);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_keep_their_digits_there_and_back() {
        for text in [
            "0",
            "1",
            "-1",
            "10000",
            "12345678901234567890123456789012345678",
            "0.5",
            "-0.0001",
            "12.50",
            "100000000.00000001",
            "0.00",
        ] {
            let mut bytes = BytesMut::new();
            Numeric(text.to_owned()).to_sql(&Type::NUMERIC, &mut bytes).unwrap();
            assert_eq!(read(&bytes).as_deref(), Some(text));
        }
        assert_eq!(read(&[0, 1]), None);
        assert_eq!(read(&[0, 9, 0, 0, 0, 0, 0, 0]), None);
        // A base-10000 digit that is too large, a negative one, and a surplus byte pair.
        for broken in [[0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x10], [0, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff], [0; 10]] {
            assert_eq!(read(&broken), None, "{broken:?}");
        }
        let mut large = BytesMut::new();
        Numeric("1".repeat(39)).to_sql(&Type::NUMERIC, &mut large).unwrap();
        assert_eq!(read(&large), None, "39 digits");
    }

    #[test]
    fn a_few_bytes_are_no_long_text() {
        assert_eq!(read(&[0, 1, 0x7f, 0xff, 0, 0, 0, 0, 0, 1]), None);
        assert_eq!(read(&[0, 0, 0x7f, 0xff, 0, 0, 0, 0]).as_deref(), Some("0"));
        assert_eq!(read(&[0, 0, 0, 0, 0, 0, 0x7f, 0xff]).map(|text| text.len()), Some(2 + FRACTION_MAX));
    }
}
