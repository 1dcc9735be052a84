//! Lower and upper bounds of columns, as Iceberg keeps them per data file, from Parquet's statistics per row group.
//!
//! A reader skips a file whose bounds exclude what it looks for, so a wrong bound loses rows. Where a row group has
//! values but no certain end, or a value that can't be compared, the column has no bound. Text is cut short: a lower
//! bound by cutting, an upper bound by cutting and stepping to the next text.

use std::cmp::Ordering;
use std::collections::HashMap;

use iceberg::spec::{Datum, PrimitiveType, Schema, Type};
use parquet::data_type::AsBytes;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;

use crate::schema::is_system_name;

/// Characters of text that a bound keeps, as Iceberg's own default.
const TEXT_CHARS_MAX: usize = 16;
/// The most leaves with bounds, in order of discovery: it keeps the manifests of very wide tables small.
const BOUNDED_LEAVES_MAX: usize = 200;
/// Bounds by field id.
pub(crate) type Bounds = HashMap<i32, Datum>;

/// The bounds of all leaves outside of lists.
pub(crate) fn bounds_of(metadata: &ParquetMetaData, schema: &Schema) -> (Bounds, Bounds) {
    let (mut lower, mut upper) = (Bounds::new(), Bounds::new());
    for (index, leaf) in metadata.file_metadata().schema_descr().columns().iter().enumerate() {
        let id = leaf.self_type().get_basic_info().id();
        let field = schema.field_by_id(id);
        let Some(Type::Primitive(kind)) = field.map(|field| field.field_type.as_ref()) else { continue };
        // System columns come last, and always have bounds.
        let is_system = leaf.path().parts().len() == 1 && is_system_name(leaf.name());
        if leaf.max_rep_level() > 0 || (index >= BOUNDED_LEAVES_MAX && !is_system) {
            continue;
        }
        let groups: Option<Vec<_>> = metadata
            .row_groups()
            .iter()
            .map(|group| group.column(index))
            .map(|chunk| chunk.statistics().map(|statistics| (statistics, chunk.num_values())))
            .collect();
        let Some(groups) = groups else { continue };
        let ends = ends_of(&with_values(groups), kind);
        lower.extend(ends.lower.map(|bound| (id, bound)));
        upper.extend(ends.upper.map(|bound| (id, bound)));
    }
    (lower, upper)
}

#[derive(Debug, PartialEq)]
struct Ends<T> {
    lower: Option<T>,
    upper: Option<T>,
}

/// Row groups that have only nulls don't count.
fn with_values(groups: Vec<(&Statistics, i64)>) -> Vec<&Statistics> {
    let is_all_null = |statistics: &Statistics, values: i64| {
        statistics.null_count_opt().and_then(|nulls| i64::try_from(nulls).ok()).is_some_and(|nulls| nulls == values)
    };
    groups.into_iter().filter(|(statistics, values)| !is_all_null(statistics, *values)).map(|group| group.0).collect()
}

fn ends_of(groups: &[&Statistics], kind: &PrimitiveType) -> Ends<Datum> {
    match kind {
        PrimitiveType::Boolean => exact(groups, |group| match group {
            Statistics::Boolean(ends) => exact_only(group, ends.min_opt(), ends.max_opt()),
            _ => (None, None),
        })
        .map(Datum::bool),
        PrimitiveType::Int => exact(groups, int32_ends).map(Datum::int),
        PrimitiveType::Date => exact(groups, int32_ends).map(Datum::date),
        PrimitiveType::Long => exact(groups, int64_ends).map(Datum::long),
        PrimitiveType::Timestamptz => exact(groups, int64_ends).map(Datum::timestamptz_micros),
        PrimitiveType::Timestamp => exact(groups, int64_ends).map(Datum::timestamp_micros),
        PrimitiveType::Time => exact(groups, int64_ends).and_then(|micros| Datum::time_micros(micros).ok()),
        PrimitiveType::Decimal { .. } => exact(groups, unscaled_ends).and_then(|unscaled| decimal(unscaled, kind)),
        PrimitiveType::Float => exact(groups, |group| match group {
            Statistics::Float(ends) => exact_only(group, ends.min_opt(), ends.max_opt()),
            _ => (None, None),
        })
        .map(Datum::float),
        PrimitiveType::Double => exact(groups, |group| match group {
            Statistics::Double(ends) => exact_only(group, ends.min_opt(), ends.max_opt()),
            _ => (None, None),
        })
        .map(Datum::double),
        PrimitiveType::String => {
            let Ends { lower, upper } = exact(groups, text_ends);
            let upper = upper.and_then(|text| cut_upper(&text));
            Ends { lower: lower.map(|text| Datum::string(cut_lower(&text))), upper: upper.map(Datum::string) }
        }
        _ => Ends { lower: None, upper: None },
    }
}

impl<T> Ends<T> {
    fn map<U>(self, convert: impl Fn(T) -> U) -> Ends<U> {
        Ends { lower: self.lower.map(&convert), upper: self.upper.map(&convert) }
    }

    fn and_then<U>(self, convert: impl Fn(T) -> Option<U>) -> Ends<U> {
        Ends { lower: self.lower.and_then(&convert), upper: self.upper.and_then(&convert) }
    }
}

fn int32_ends(group: &Statistics) -> (Option<i32>, Option<i32>) {
    match group {
        Statistics::Int32(ends) => exact_only(group, ends.min_opt(), ends.max_opt()),
        _ => (None, None),
    }
}

/// The bounds of decimals, which Parquet stores as 32-bit or 64-bit integers, or as bytes.
fn unscaled_ends(group: &Statistics) -> (Option<i128>, Option<i128>) {
    let both = |(min, max): (Option<i64>, Option<i64>)| (min.map(i128::from), max.map(i128::from));
    match group {
        Statistics::Int32(_) => {
            let (min, max) = int32_ends(group);
            both((min.map(i64::from), max.map(i64::from)))
        }
        Statistics::Int64(_) => both(int64_ends(group)),
        Statistics::FixedLenByteArray(ends) => (
            ends.min_opt().filter(|_| group.min_is_exact()).and_then(|min| unscaled(min.as_bytes())),
            ends.max_opt().filter(|_| group.max_is_exact()).and_then(|max| unscaled(max.as_bytes())),
        ),
        _ => (None, None),
    }
}

/// A big-endian number of up to 16 bytes, in two's complement.
fn unscaled(bytes: &[u8]) -> Option<i128> {
    let sign = if bytes.first()? & 0x80 == 0 { 0 } else { 0xFF };
    let mut all = [sign; 16];
    all[16_usize.checked_sub(bytes.len())?..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(all))
}

fn decimal(unscaled: i128, kind: &PrimitiveType) -> Option<Datum> {
    Datum::try_from_bytes(&unscaled.to_be_bytes(), kind.clone()).ok()
}

fn int64_ends(group: &Statistics) -> (Option<i64>, Option<i64>) {
    match group {
        Statistics::Int64(ends) => exact_only(group, ends.min_opt(), ends.max_opt()),
        _ => (None, None),
    }
}

fn exact_only<T: Copy>(group: &Statistics, min: Option<&T>, max: Option<&T>) -> (Option<T>, Option<T>) {
    (min.filter(|_| group.min_is_exact()).copied(), max.filter(|_| group.max_is_exact()).copied())
}

/// A text that Parquet shortened is still a bound: Parquet increments it if it is an upper one.
fn text_ends(group: &Statistics) -> (Option<String>, Option<String>) {
    let Statistics::ByteArray(group) = group else { return (None, None) };
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    (group.min_opt().and_then(|min| text(min.as_bytes())), group.max_opt().and_then(|max| text(max.as_bytes())))
}

/// The minimum and the maximum, if every row group has both and they can be compared.
fn exact<T: PartialOrd>(groups: &[&Statistics], ends: impl Fn(&Statistics) -> (Option<T>, Option<T>)) -> Ends<T> {
    let (lowers, uppers): (Vec<_>, Vec<_>) = groups.iter().map(|group| ends(group)).unzip();
    Ends { lower: outermost(lowers, Ordering::Less), upper: outermost(uppers, Ordering::Greater) }
}

fn outermost<T: PartialOrd>(ends: Vec<Option<T>>, wanted: Ordering) -> Option<T> {
    let mut found: Option<T> = None;
    for end in ends {
        let end = end?;
        // A value that does not equal itself (NaN) is no bound.
        end.partial_cmp(&end)?;
        match &found {
            Some(best) if end.partial_cmp(best)? != wanted => {}
            _ => found = Some(end),
        }
    }
    found
}

fn cut_lower(text: &str) -> &str {
    text.char_indices().nth(TEXT_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}

/// The shortest text of at most [`TEXT_CHARS_MAX`] characters that is not less than `text`.
fn cut_upper(text: &str) -> Option<String> {
    let cut = cut_lower(text);
    if cut.len() == text.len() {
        return Some(text.to_owned());
    }
    let mut chars: Vec<char> = cut.chars().collect();
    while let Some(last) = chars.pop() {
        if let Some(next) = next_char(last) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

fn next_char(letter: char) -> Option<char> {
    match letter {
        '\u{D7FF}' => Some('\u{E000}'),
        char::MAX => None,
        letter => char::from_u32(u32::from(letter) + 1),
    }
}

#[cfg(test)]
mod tests;
