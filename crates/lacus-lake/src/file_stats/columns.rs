//! What is known of the columns of a file, in few bytes: it is in memory for every live file, and there may be a hundred
//! thousand.
//!
//! Columns follow each other: field id, length of what comes, nulls, lower end, upper end. Numbers of rows and lengths take
//! seven bits of a byte as often as they need, values of fixed size eight bytes. Nothing of this is ever on disk.

use std::borrow::Cow;

use iceberg::spec::PrimitiveLiteral;

/// What is known of one column of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnStats<'a> {
    /// Its field id.
    pub id: i32,
    /// Rows in which it is null. Exact.
    pub nulls: Option<u64>,
    /// No value is less. Not a value itself, where it is text.
    pub lower: Option<Bound<'a>>,
    /// No value is greater. Not a value itself, where it is text.
    pub upper: Option<Bound<'a>>,
}

/// An end of the values of a column, in the units of its type.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound<'a> {
    /// Of a boolean.
    Boolean(bool),
    /// Of whole numbers, dates and times.
    Long(i64),
    /// Of fractions. There are no values that are not numbers in the column.
    Double(f64),
    /// Of text; it may be cut.
    Text(Cow<'a, str>),
}

/// Columns of a file, each with another field id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Columns(Box<[u8]>);

/// What an end begins with.
mod kind {
    pub(super) const NONE: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const LONG: u8 = 3;
    pub(super) const DOUBLE: u8 = 4;
    pub(super) const TEXT: u8 = 5;
}

impl<'a> Bound<'a> {
    pub(super) fn of(literal: &'a PrimitiveLiteral) -> Option<Self> {
        match literal {
            PrimitiveLiteral::Boolean(value) => Some(Self::Boolean(*value)),
            PrimitiveLiteral::Int(value) => Some(Self::Long(i64::from(*value))),
            PrimitiveLiteral::Long(value) => Some(Self::Long(*value)),
            PrimitiveLiteral::Float(value) => Some(Self::Double(f64::from(value.0))),
            PrimitiveLiteral::Double(value) => Some(Self::Double(value.0)),
            PrimitiveLiteral::String(text) => Some(Self::Text(text.as_str().into())),
            _ => None,
        }
    }

    pub(super) fn into_owned(self) -> Bound<'static> {
        match self {
            Self::Boolean(value) => Bound::Boolean(value),
            Self::Long(value) => Bound::Long(value),
            Self::Double(value) => Bound::Double(value),
            Self::Text(text) => Bound::Text(Cow::Owned(text.into_owned())),
        }
    }
}

impl Columns {
    /// What is known of the column with this field id.
    pub(super) fn get(&self, id: i32) -> Option<ColumnStats<'_>> {
        let mut rest = &self.0[..];
        loop {
            let found = take_number(&mut rest)?;
            let length = usize::try_from(take_number(&mut rest)?).ok()?;
            let mut column = take(&mut rest, length)?;
            if found == u64::from(id.cast_unsigned()) {
                // Zero is for a number that is not known.
                let nulls = take_number(&mut column)?.checked_sub(1);
                let (lower, upper) = (take_end(&mut column)?, take_end(&mut column)?);
                return Some(ColumnStats { id, nulls, lower, upper });
            }
        }
    }
}

impl<'a> FromIterator<ColumnStats<'a>> for Columns {
    fn from_iter<I: IntoIterator<Item = ColumnStats<'a>>>(columns: I) -> Self {
        let (mut bytes, mut column) = (Vec::new(), Vec::new());
        for ColumnStats { id, nulls, lower, upper } in columns {
            column.clear();
            put_number(&mut column, nulls.and_then(|nulls| nulls.checked_add(1)).unwrap_or(0));
            put_end(&mut column, lower.as_ref());
            put_end(&mut column, upper.as_ref());
            put_number(&mut bytes, u64::from(id.cast_unsigned()));
            put_number(&mut bytes, column.len() as u64);
            bytes.extend_from_slice(&column);
        }
        Self(bytes.into())
    }
}

fn put_end(bytes: &mut Vec<u8>, end: Option<&Bound<'_>>) {
    match end {
        None => bytes.push(kind::NONE),
        Some(Bound::Boolean(value)) => bytes.push(if *value { kind::TRUE } else { kind::FALSE }),
        Some(Bound::Long(value)) => {
            bytes.push(kind::LONG);
            bytes.extend(value.to_le_bytes());
        }
        Some(Bound::Double(value)) => {
            bytes.push(kind::DOUBLE);
            bytes.extend(value.to_le_bytes());
        }
        Some(Bound::Text(text)) => {
            bytes.push(kind::TEXT);
            put_number(bytes, text.len() as u64);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
}

/// An end, or that there is none. Nothing at all if the bytes are not those of one.
fn take_end<'a>(rest: &mut &'a [u8]) -> Option<Option<Bound<'a>>> {
    let (&first, after) = rest.split_first()?;
    *rest = after;
    let bound = match first {
        kind::NONE => return Some(None),
        kind::FALSE | kind::TRUE => Bound::Boolean(first == kind::TRUE),
        kind::LONG => Bound::Long(i64::from_le_bytes(take_eight(rest)?)),
        kind::DOUBLE => Bound::Double(f64::from_le_bytes(take_eight(rest)?)),
        _ => {
            let length = usize::try_from(take_number(rest)?).ok()?;
            Bound::Text(str::from_utf8(take(rest, length)?).ok()?.into())
        }
    };
    Some(Some(bound))
}

fn take_eight(rest: &mut &[u8]) -> Option<[u8; 8]> {
    let (eight, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*eight)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0_u64, 0_u32);
    loop {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7F).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column<'a>(id: i32, nulls: Option<u64>, lower: Option<Bound<'a>>, upper: Option<Bound<'a>>) -> ColumnStats<'a> {
        ColumnStats { id, nulls, lower, upper }
    }

    #[test]
    fn columns_are_told_as_they_were() {
        let text = |text: &'static str| Some(Bound::Text(text.into()));
        let long = "ä".repeat(200);
        let columns = [
            column(1, Some(0), Some(Bound::Long(i64::MIN)), Some(Bound::Long(i64::MAX))),
            column(2, None, Some(Bound::Boolean(false)), Some(Bound::Boolean(true))),
            column(3, Some(127), Some(Bound::Double(-0.0)), Some(Bound::Double(f64::INFINITY))),
            column(127, Some(128), text(""), text("Ulm")),
            column(128, Some(1 << 40), None, text("z")),
            column(300, Some(u64::MAX - 1), Some(Bound::Text(long.as_str().into())), None),
            column(i32::MAX, None, None, None),
        ];
        let kept: Columns = columns.iter().cloned().collect();
        for column in &columns {
            assert_eq!(kept.get(column.id).as_ref(), Some(column));
        }
        for absent in [0, 4, 129, -1] {
            assert_eq!(kept.get(absent), None, "column {absent}");
        }
        assert_eq!(Columns::default().get(1), None);
        let unknown: Columns = [column(1, Some(u64::MAX), None, None)].into_iter().collect();
        assert_eq!(unknown.get(1), Some(column(1, None, None, None)), "more than can be kept is not known");
    }

    #[test]
    fn columns_take_little_memory() {
        let ends = |text: &'static str| Some(Bound::Text(text.into()));
        let texts: Columns =
            (0..32).map(|id| column(id, Some(5), ends("0123456789abcdef"), ends("fedcba9876543210"))).collect();
        assert_eq!(texts.0.len(), 32 * 39);
        let numbers: Columns =
            (0..32).map(|id| column(id, Some(5), Some(Bound::Long(-1)), Some(Bound::Long(1)))).collect();
        assert_eq!(numbers.0.len(), 32 * 21);
    }
}
