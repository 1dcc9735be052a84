//! Casts from and to JSON.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, StringArray, StructArray, new_null_array,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::plan_err;
use datafusion::error::Result;

use super::{canonical, elements, object, quoted, scalar_text};
use crate::casts::{convert, text};
use crate::lists;
use crate::scalar::{bad, is_text};
use crate::types::{field_name, is_json};

/// JSON values as values of a type.
pub(crate) fn read(array: &ArrayRef, target: &Field) -> Result<ArrayRef> {
    let texts = cast(array, &DataType::Utf8)?;
    let values: Vec<Option<&str>> = texts.as_string::<i32>().iter().map(|text| text.map(str::trim)).collect();
    build(&values, target)
}

/// A column of the values; JSON's null is null.
fn build(values: &[Option<&str>], target: &Field) -> Result<ArrayRef> {
    if is_json(target) {
        let texts = values.iter().map(|value| value.map(canonical).transpose());
        return Ok(Arc::new(texts.collect::<Result<StringArray>>()?));
    }
    let values: Vec<Option<&str>> = values.iter().map(|value| value.filter(|raw| *raw != "null")).collect();
    match target.data_type() {
        DataType::List(element) => build_list(&values, target, element),
        DataType::Map(entries, _) => build_map(&values, target, entries),
        DataType::Struct(fields) => build_row(&values, target, fields),
        _ => build_simple(&values, target),
    }
}

fn mismatch(raw: &str, target: &Field) -> datafusion::error::DataFusionError {
    let raw: String = raw.chars().take(60).collect();
    bad(format!("cannot cast the JSON {raw} to {}", field_name(target)))
}

fn build_list(values: &[Option<&str>], target: &Field, element: &FieldRef) -> Result<ArrayRef> {
    let (mut flat, mut lengths) = (Vec::new(), Vec::new());
    for value in values {
        let Some(raw) = value else {
            lengths.push(None);
            continue;
        };
        let all = elements(raw).ok_or_else(|| mismatch(raw, target))?;
        lengths.push(Some(all.len()));
        flat.extend(all.iter().map(|raw| Some(raw.get())));
    }
    lists::lists_of(&build(&flat, element)?, &lengths, element)
}

fn build_map(values: &[Option<&str>], target: &Field, entries: &FieldRef) -> Result<ArrayRef> {
    let DataType::Struct(pair) = entries.data_type() else { return plan_err!("a map has entries") };
    let (mut keys, mut items, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    for value in values {
        let Some(raw) = value else {
            lengths.push(0);
            continue;
        };
        let members = object(raw).ok_or_else(|| mismatch(raw, target))?;
        lengths.push(members.len());
        for (name, raw) in members {
            keys.push(quoted(&name));
            items.push(Some(raw.get()));
        }
    }
    let keys: Vec<Option<&str>> = keys.iter().map(|key| Some(key.as_str())).collect();
    let columns = vec![build(&keys, &pair[0])?, build(&items, &pair[1])?];
    let rows = StructArray::try_new_with_length(pair.clone(), columns, None, keys.len())?;
    let nulls = NullBuffer::from_iter(values.iter().map(Option::is_some));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, rows, Some(nulls), false)?))
}

/// Objects by name, arrays by position.
fn build_row(values: &[Option<&str>], target: &Field, fields: &Fields) -> Result<ArrayRef> {
    let mut columns: Vec<Vec<Option<&str>>> = vec![Vec::with_capacity(values.len()); fields.len()];
    for value in values {
        let found: Vec<Option<&str>> = match value {
            None => vec![None; fields.len()],
            Some(raw) => match (object(raw), elements(raw)) {
                (Some(members), _) => fields
                    .iter()
                    .map(|field| {
                        let member = members.iter().find(|(name, _)| name.eq_ignore_ascii_case(field.name()));
                        member.map(|(_, raw)| raw.get())
                    })
                    .collect(),
                (_, Some(all)) if all.len() == fields.len() => all.iter().map(|raw| Some(raw.get())).collect(),
                _ => return Err(mismatch(raw, target)),
            },
        };
        columns.iter_mut().zip(found).for_each(|(column, value)| column.push(value));
    }
    let columns = columns.iter().zip(fields).map(|(values, field)| build(values, field)).collect::<Result<Vec<_>>>()?;
    let nulls = NullBuffer::from_iter(values.iter().map(Option::is_some));
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, Some(nulls), values.len())?))
}

fn build_simple(values: &[Option<&str>], target: &Field) -> Result<ArrayRef> {
    let kind = target.data_type();
    let mut texts = Vec::with_capacity(values.len());
    for value in values {
        let text = value.map(|raw| scalar_text(raw).ok_or_else(|| mismatch(raw, target))).transpose()?;
        texts.push(text.map(|text| match kind {
            _ if is_text(kind) => text,
            DataType::Boolean => text.parse::<f64>().map_or(text, |number| (number != 0.0).to_string()),
            _ if kind.is_numeric() && text == "true" => "1".to_owned(),
            _ if kind.is_numeric() && text == "false" => "0".to_owned(),
            _ => text,
        }));
    }
    let is_real = texts.iter().flatten().any(|text| text.contains(['.', 'e', 'E']));
    let array: ArrayRef = Arc::new(StringArray::from(texts));
    match kind {
        DataType::Boolean => convert(&array, &plain(DataType::Utf8), target),
        kind if is_text(kind) => convert(&array, &plain(DataType::Utf8), target),
        kind if kind.is_integer() && is_real => {
            let reals = convert(&array, &plain(DataType::Utf8), &plain(DataType::Float64))?;
            convert(&reals, &plain(DataType::Float64), target)
        }
        kind if kind.is_numeric() => convert(&array, &plain(DataType::Utf8), target),
        DataType::Null => Ok(new_null_array(kind, array.len())),
        _ => plan_err!("cannot cast json to {}: cast it to varchar first", field_name(target)),
    }
}

fn plain(kind: DataType) -> Field {
    Field::new("", kind, true)
}

/// Whether values of a field can be written as JSON.
pub(crate) fn check_writable(field: &Field) -> Result<()> {
    match field.data_type() {
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            check_writable(element)
        }
        DataType::Struct(fields) => fields.iter().try_for_each(|field| check_writable(field)),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair[0].data_type().is_nested() => {
                plan_err!("cannot cast {} to json", field_name(field))
            }
            DataType::Struct(pair) => check_writable(&pair[1]),
            _ => plan_err!("a map has entries"),
        },
        kind if kind.is_binary() || matches!(kind, DataType::Interval(_) | DataType::Duration(_)) => {
            plan_err!("cannot cast {} to json", field_name(field))
        }
        _ => Ok(()),
    }
}

/// Values as JSON.
pub(crate) fn write(array: &ArrayRef, source: &Field) -> Result<ArrayRef> {
    if array.data_type().is_null() {
        return Ok(new_null_array(&DataType::Utf8, array.len()));
    }
    let writer = Writer::of(array, source)?;
    let mut texts = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        texts.push(array.is_valid(row).then(|| {
            let mut out = String::new();
            writer.put(row, &mut out);
            out
        }));
    }
    Ok(Arc::new(StringArray::from(texts)))
}

/// A column made ready to be written.
enum Writer {
    /// Texts that stand as they are.
    Bare(StringArray),
    Quoted(StringArray),
    List(ListArray, Box<Writer>),
    /// The keys, and a writer for the values, both in the order of rows and keys.
    Map(MapArray, StringArray, Box<Writer>),
    Row(StructArray, Vec<(String, Writer)>),
}

impl Writer {
    fn of(array: &ArrayRef, field: &Field) -> Result<Self> {
        Ok(match array.data_type() {
            kind if lists::is_list(kind) => {
                let array = cast(array, &lists::plain(kind))?;
                let list = lists::list(&array)?.clone();
                let writer = Self::of(list.values(), &*lists::element(list.data_type())?)?;
                Self::List(list, Box::new(writer))
            }
            DataType::Map(..) => {
                let map = array.as_map().clone();
                let field = map.entries().fields()[1].clone();
                let (keys, writer) = (text(map.keys())?, Self::of(map.values(), &field)?);
                Self::Map(map, keys, Box::new(writer))
            }
            DataType::Struct(fields) => {
                let row = array.as_struct();
                let columns = row.columns().iter().zip(fields);
                let writers = columns.map(|(column, field)| Ok((field.name().clone(), Self::of(column, field)?)));
                Self::Row(row.clone(), writers.collect::<Result<_>>()?)
            }
            _ if is_json(field) => Self::Bare(text(array)?),
            DataType::Null => Self::Bare(StringArray::new_null(array.len())),
            DataType::Boolean => Self::Bare(text(array)?),
            kind if kind.is_floating() => {
                let texts = text(array)?;
                let texts = texts.iter().map(|text| {
                    text.map(|text| {
                        if text.ends_with(|letter: char| letter.is_ascii_digit()) {
                            text.to_owned()
                        } else {
                            quoted(text)
                        }
                    })
                });
                Self::Bare(texts.collect())
            }
            kind if kind.is_numeric() => Self::Bare(text(array)?),
            _ => Self::Quoted(text(array)?),
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bare(texts) | Self::Quoted(texts) => texts.is_null(row),
            Self::List(list, _) => list.is_null(row),
            Self::Map(map, ..) => map.is_null(row),
            Self::Row(array, _) => array.is_null(row),
        }
    }

    fn put(&self, row: usize, out: &mut String) {
        if self.is_null(row) {
            out.push_str("null");
            return;
        }
        match self {
            Self::Bare(texts) => out.push_str(texts.value(row)),
            Self::Quoted(texts) => out.push_str(&quoted(texts.value(row))),
            Self::List(list, writer) => {
                out.push('[');
                for (index, at) in lists::range(list, row).enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    writer.put(at, out);
                }
                out.push(']');
            }
            Self::Map(map, keys, writer) => {
                let offsets = map.value_offsets();
                let mut places: Vec<usize> = (offsets[row] as usize..offsets[row + 1] as usize).collect();
                places.sort_by_key(|at| keys.value(*at));
                let members = places.into_iter().map(|at| (keys.value(at), at));
                put_members(members, out, |at, out| writer.put(at, out));
            }
            Self::Row(_, writers) => {
                let members = writers.iter().map(|(name, writer)| (name.as_str(), writer));
                put_members(members, out, |writer, out| writer.put(row, out));
            }
        }
    }
}

fn put_members<'a, T>(members: impl Iterator<Item = (&'a str, T)>, out: &mut String, put: impl Fn(T, &mut String)) {
    out.push('{');
    for (index, (name, value)) in members.enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&quoted(name));
        out.push(':');
        put(value, out);
    }
    out.push('}');
}
