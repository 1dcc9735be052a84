//! Arrays as Arrow lists: choosing elements by place, comparing them, putting them together again.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt64Array};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::{exec_err, internal_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::binary::comparison_coercion;

use crate::scalar::{Given, array_of, bad};

/// The most elements of all arrays that one call returns for one batch.
pub(crate) const ELEMENTS_MAX: usize = 50_000_000;

pub(crate) fn is_list(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
    )
}

/// The list type that the functions work on.
pub(crate) fn plain(kind: &DataType) -> DataType {
    match kind {
        DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::ListView(field)
        | DataType::LargeListView(field) => DataType::List(Arc::clone(field)),
        DataType::Null => array_of(DataType::Null),
        other => other.clone(),
    }
}

/// The field of the elements of a list type.
pub(crate) fn element(kind: &DataType) -> Result<FieldRef> {
    match kind {
        DataType::List(field) => Ok(Arc::clone(field)),
        other => internal_err!("{other} is no list"),
    }
}

/// The type of elements of a list type, in whatever layout.
pub(crate) fn element_type(kind: &DataType) -> Option<DataType> {
    match plain(kind) {
        DataType::List(field) => Some(field.data_type().clone()),
        _ => None,
    }
}

pub(crate) fn list(array: &ArrayRef) -> Result<&ListArray> {
    array.as_list_opt().map_or_else(|| internal_err!("{} is no list", array.data_type()), Ok)
}

/// The range of a row's elements among all values; empty for null.
pub(crate) fn range(list: &ListArray, row: usize) -> Range<usize> {
    if list.is_null(row) {
        return 0..0;
    }
    let offsets = list.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

/// The same lists, with no values but theirs: values of other rows, or behind a null, need not be of the type that theirs are cast to.
pub(crate) fn alone(list: &ListArray) -> Result<ListArray> {
    let lengths = (0..list.len()).map(|row| range(list, row).len());
    if lengths.clone().sum::<usize>() == list.values().len() {
        return Ok(list.clone());
    }
    let places = (0..list.len()).flat_map(|row| range(list, row)).map(|place| place as u64);
    let values = take(list.values(), &UInt64Array::from_iter_values(places), None)?;
    let (element, offsets) = (element(list.data_type())?, OffsetBuffer::from_lengths(lengths));
    Ok(ListArray::try_new(element, offsets, values, list.nulls().cloned())?)
}

/// The common type of two types.
pub(crate) fn common(a: &DataType, b: &DataType) -> Result<DataType> {
    if a == b || b.is_null() {
        return Ok(a.clone());
    }
    if a.is_null() {
        return Ok(b.clone());
    }
    if is_list(a) && is_list(b) {
        let (Some(left), Some(right)) = (element_type(a), element_type(b)) else { return plan_err!("no lists") };
        return Ok(array_of(common(&left, &right)?));
    }
    match comparison_coercion(a, b) {
        Some(kind) => Ok(kind),
        None => plan_err!("{} and {} have no type in common", crate::types::name(a), crate::types::name(b)),
    }
}

/// The common type of the elements of all lists and the values beside them.
pub(crate) fn common_element(given: &Given) -> Result<DataType> {
    let mut kind = DataType::Null;
    for given in given.types {
        kind = common(&kind, &element_type(given).filter(|_| is_list(given)).unwrap_or_else(|| given.clone()))?;
    }
    Ok(kind)
}

/// Lists of elements of `values`: `choose` adds the places of a row's elements, none for a null element, and returns whether
/// there is a list at all.
pub(crate) fn pick(
    values: &ArrayRef,
    element: &FieldRef,
    rows: usize,
    mut choose: impl FnMut(usize, &mut Vec<Option<usize>>) -> Result<bool>,
) -> Result<ArrayRef> {
    let (mut picks, mut ends, mut valid) = (Vec::new(), Vec::with_capacity(rows + 1), Vec::with_capacity(rows));
    ends.push(0);
    for row in 0..rows {
        let start = picks.len();
        let is_valid = choose(row, &mut picks)?;
        if !is_valid {
            picks.truncate(start);
        }
        ends.push(end(picks.len())?);
        valid.push(is_valid);
    }
    let picks: UInt64Array = picks.into_iter().map(|pick| pick.map(|at| at as u64)).collect();
    list_array(&take(values, &picks, None)?, element, ends, valid)
}

/// A list column of new values, given the lengths of rows; none for null.
pub(crate) fn lists_of(values: &ArrayRef, lengths: &[Option<usize>], element: &FieldRef) -> Result<ArrayRef> {
    let mut ends = Vec::with_capacity(lengths.len() + 1);
    let mut at = 0;
    ends.push(0);
    for length in lengths {
        at += length.unwrap_or(0);
        ends.push(end(at)?);
    }
    list_array(values, element, ends, lengths.iter().map(Option::is_some).collect())
}

/// A list column of these values, cast to the type of elements. Row `n` has those from `ends[n]` to `ends[n + 1]`.
fn list_array(values: &ArrayRef, element: &FieldRef, ends: Vec<i32>, valid: Vec<bool>) -> Result<ArrayRef> {
    let values = cast(values, element.data_type())?;
    Ok(Arc::new(ListArray::try_new(
        nullable(element),
        OffsetBuffer::new(ScalarBuffer::from(ends)),
        values,
        nulls(valid),
    )?))
}

fn nullable(element: &FieldRef) -> FieldRef {
    if element.is_nullable() { Arc::clone(element) } else { Arc::new(Field::clone(element).with_nullable(true)) }
}

fn nulls(valid: Vec<bool>) -> Option<NullBuffer> {
    let nulls = NullBuffer::from(valid);
    (nulls.null_count() > 0).then_some(nulls)
}

fn end(at: usize) -> Result<i32> {
    if at > ELEMENTS_MAX {
        return exec_err!("the arrays have more than {ELEMENTS_MAX} elements");
    }
    i32::try_from(at).map_err(|_| bad("the arrays have too many elements"))
}

/// Values encoded as bytes that compare as the values do, nulls last. Also for nested values.
pub(crate) fn comparable(arrays: &[ArrayRef]) -> Result<Rows> {
    let options = datafusion::arrow::compute::SortOptions { descending: false, nulls_first: false };
    let fields = arrays.iter().map(|array| SortField::new_with_options(array.data_type().clone(), options)).collect();
    Ok(RowConverter::new(fields)?.convert_columns(arrays)?)
}

/// Two columns of one type in one such encoding: equal values have equal bytes.
pub(crate) fn comparable_pair(a: &ArrayRef, b: &ArrayRef) -> Result<(Rows, Rows)> {
    let converter = RowConverter::new(vec![SortField::new(a.data_type().clone())])?;
    let left = converter.convert_columns(std::slice::from_ref(a))?;
    let right = converter.convert_columns(std::slice::from_ref(b))?;
    Ok((left, right))
}
