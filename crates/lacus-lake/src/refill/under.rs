//! Columns laid under others: what the upper ones lack is taken from the lower ones.
//!
//! Objects are put together field by field, arrays element by element. Where both have a value there is a clash, and the row
//! is said to have one: whoever asked keeps it as it was.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, StructArray, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{is_not_null, nullif, take};
use arrow::error::ArrowError;
use lacus_core::{Error, Result};

use crate::schema::{Column, ColumnType};

/// Lays one column under another of the same type. The rows of `clashes` are those that had a clash; a value that comes to a
/// `fixed` column, by field id, is one too.
///
/// # Errors
/// Only for bugs.
pub(super) fn lay_under(
    upper: &ArrayRef,
    lower: &ArrayRef,
    column: &Column,
    fixed: &BTreeSet<i32>,
    clashes: &mut BTreeSet<usize>,
) -> Result<ArrayRef> {
    if lower.null_count() == lower.len() {
        return Ok(Arc::clone(upper));
    }
    if fixed.contains(&column.id) {
        clashes.extend(rows_with_value(lower));
        return Ok(Arc::clone(upper));
    }
    match &column.kind {
        ColumnType::Struct(fields) => {
            let mut columns = Vec::with_capacity(fields.len());
            for (place, field) in fields.iter().enumerate() {
                let [upper, lower] = [inside(upper, place)?, inside(lower, place)?];
                columns.push(lay_under(&upper, &lower, field, fixed, clashes)?);
            }
            let nulls = either(upper, lower);
            let kinds = upper.as_struct().fields().clone();
            let whole = StructArray::try_new_with_length(kinds, columns, nulls, upper.len()).map_err(broken)?;
            Ok(Arc::new(whole))
        }
        ColumnType::List(element) => lists(upper.as_list(), lower.as_list(), element, fixed, clashes),
        _ => {
            clashes.extend(rows_with_value(lower).filter(|row| upper.is_valid(*row)));
            let has_upper = is_not_null(upper).map_err(broken)?;
            zip(&has_upper, upper, lower).map_err(broken)
        }
    }
}

fn rows_with_value(column: &ArrayRef) -> impl Iterator<Item = usize> + '_ {
    (0..column.len()).filter(|row| column.is_valid(*row))
}

/// A field of a struct; null where the struct is.
fn inside(column: &ArrayRef, place: usize) -> Result<ArrayRef> {
    let column = column.as_struct();
    let field = column.column(place);
    let Some(nulls) = column.nulls() else { return Ok(Arc::clone(field)) };
    let is_null = BooleanArray::new(!nulls.inner(), None);
    if field.data_type().is_nested() {
        let places: UInt32Array = (0..).zip(is_null.values()).map(|(row, is_null)| (!is_null).then_some(row)).collect();
        return take(field, &places, None).map_err(broken);
    }
    nullif(field, &is_null).map_err(broken)
}

/// Valid where one of them is.
fn either(upper: &ArrayRef, lower: &ArrayRef) -> Option<NullBuffer> {
    let (upper, lower) = (upper.nulls()?, lower.nulls()?);
    Some(NullBuffer::new(upper.inner() | lower.inner()))
}

/// Element by element. An array that would become longer is another one.
fn lists(
    upper: &ListArray,
    lower: &ListArray,
    element: &Column,
    fixed: &BTreeSet<i32>,
    clashes: &mut BTreeSet<usize>,
) -> Result<ArrayRef> {
    let (mut lengths, mut rows) = (Vec::with_capacity(upper.len()), Vec::new());
    let (mut above, mut below) = (Vec::new(), Vec::new());
    for row in 0..upper.len() {
        let ours = if upper.is_valid(row) { elements_of(upper, row) } else { 0..0 };
        let mut theirs = if lower.is_valid(row) { elements_of(lower, row) } else { 0..0 };
        if upper.is_valid(row) && theirs.len() > ours.len() {
            clashes.insert(row);
            theirs = 0..0;
        }
        let length = ours.len().max(theirs.len());
        above.extend(padded(ours, length));
        below.extend(padded(theirs, length));
        rows.extend(std::iter::repeat_n(row, length));
        lengths.push(length);
    }
    if i32::try_from(rows.len()).is_err() {
        return Err(Error::invalid("the arrays of these rows have more than 2,147,483,647 elements together"));
    }
    let above = take(upper.values(), &UInt32Array::from(above), None).map_err(broken)?;
    let below = take(lower.values(), &UInt32Array::from(below), None).map_err(broken)?;
    let mut inner = BTreeSet::new();
    let elements = lay_under(&above, &below, element, fixed, &mut inner)?;
    clashes.extend(inner.into_iter().map(|place| rows[place]));
    let arrow::datatypes::DataType::List(field) = upper.data_type() else {
        return Err(Error::internal("a list has no element"));
    };
    let [above, below]: [ArrayRef; 2] = [Arc::new(upper.clone()), Arc::new(lower.clone())];
    let offsets = OffsetBuffer::from_lengths(lengths);
    let whole = ListArray::try_new(Arc::clone(field), offsets, elements, either(&above, &below)).map_err(broken)?;
    Ok(Arc::new(whole))
}

fn elements_of(list: &ListArray, row: usize) -> std::ops::Range<u32> {
    let end = |place: usize| list.value_offsets()[place].cast_unsigned();
    end(row)..end(row + 1)
}

/// These places, and nothing up to `length`.
fn padded(places: std::ops::Range<u32>, length: usize) -> impl Iterator<Item = Option<u32>> {
    let missing = length - places.len();
    places.map(Some).chain(std::iter::repeat_n(None, missing))
}

fn broken(error: ArrowError) -> Error {
    Error::internal("put columns together").with_source(error)
}
