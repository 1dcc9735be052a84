//! Columns whose values hardly ever come again: ids, times.
//!
//! A dictionary of such a column fills with values that come once, until it is too large and given up. That takes time for
//! nothing, and the file has a number for each of these values besides. Whether it is so is judged by some rows.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, ArrayAccessor, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use parquet::schema::types::ColumnPath;

use super::encoding::{Part, Source};
use crate::arrange::Place;

/// Rows in a row that are looked at: a value that comes again often does so soon.
const RUN_ROWS: usize = 8;
/// How many such runs, spread over the file.
const RUNS: usize = 64;
/// Of so many values, one at most may have come before. In 512 of a column with 16,000 values, which a dictionary has room for,
/// eight have.
const REPEATS_IN: usize = 100;

/// The columns of such values. Elements of lists and maps are not looked at.
pub(super) fn distinct_columns(rows: &Source<'_>) -> Vec<ColumnPath> {
    let places = some_places(rows);
    let distinct = rows.parts.iter().filter_map(|part| {
        let (path, values) = inside_of(part);
        is_distinct(&values, &places).then(|| ColumnPath::new(path))
    });
    distinct.collect()
}

/// Where some rows are.
fn some_places(rows: &Source<'_>) -> Vec<Place> {
    let some = some_rows(rows.count());
    if let Some(places) = rows.places {
        return some.map(|row| places[row]).collect();
    }
    let begins = rows.batches.iter().scan(0, |next, batch| {
        let begin = *next;
        *next += batch.num_rows();
        Some(begin)
    });
    let begins: Vec<usize> = begins.collect();
    let place = |row: usize| {
        let batch = begins.partition_point(|begin| *begin <= row) - 1;
        (batch, row - begins[batch])
    };
    some.map(place).collect()
}

/// Some of so many rows, in order. The steps from one run to the next differ: values may come again after the same number of
/// rows each.
fn some_rows(count: usize) -> impl Iterator<Item = usize> {
    let (runs, length) = if count <= RUNS * RUN_ROWS { (1, count) } else { (RUNS, RUN_ROWS) };
    let step = count / runs;
    (0..runs).flat_map(move |run| {
        let first = run * step + run * run * 7_919 % (step - length + 1);
        first..first + length
    })
}

/// The name and the values of what a part of a column has inside, which may be the column itself.
fn inside_of(part: &Part) -> (Vec<String>, Vec<ArrayRef>) {
    let mut inside: &Field = &part.field;
    let (mut path, mut values) = (vec![inside.name().clone()], part.values.clone());
    while let DataType::Struct(fields) = inside.data_type()
        && let Some(field) = fields.first()
    {
        path.push(field.name().clone());
        values = values.iter().map(|objects| Arc::clone(objects.as_struct().column(0))).collect();
        inside = field;
    }
    (path, values)
}

/// Whether the values at these places are. Numbers that are short, and what has no dictionary anyway, are not.
fn is_distinct(batches: &[ArrayRef], places: &[Place]) -> bool {
    let Some(first) = batches.first() else { return false };
    let each = batches.iter();
    match first.data_type() {
        DataType::Utf8 => {
            hardly_repeat(&each.map(|values| values.as_string::<i32>()).collect::<Vec<_>>(), places, |text| text)
        }
        DataType::Binary => {
            hardly_repeat(&each.map(|values| values.as_binary::<i32>()).collect::<Vec<_>>(), places, |bytes| bytes)
        }
        DataType::Int64 => {
            let values: Vec<_> = each.map(|values| values.as_primitive::<Int64Type>()).collect();
            hardly_repeat(&values, places, |number| number)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let values: Vec<_> = each.map(|values| values.as_primitive::<TimestampMicrosecondType>()).collect();
            hardly_repeat(&values, places, |micros| micros)
        }
        DataType::Float64 => {
            let values: Vec<_> = each.map(|values| values.as_primitive::<Float64Type>()).collect();
            hardly_repeat(&values, places, f64::to_bits)
        }
        _ => false,
    }
}

fn hardly_repeat<A: ArrayAccessor, K: Eq + Hash>(batches: &[A], places: &[Place], key: impl Fn(A::Item) -> K) -> bool {
    let (mut known, mut count, mut repeats) = (HashSet::with_capacity(places.len()), 0, 0);
    for &(batch, row) in places {
        let values = &batches[batch];
        if values.is_null(row) {
            continue;
        }
        count += 1;
        repeats += usize::from(!known.insert(key(values.value(row))));
        if repeats * REPEATS_IN > places.len() {
            return false;
        }
    }
    count > 0 && repeats * REPEATS_IN <= count
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};

    use super::*;
    use crate::fixture::{numbers, rows};

    #[test]
    fn some_rows_are_spread_over_all() {
        for count in [0, 1, 511, 512] {
            assert!(some_rows(count).eq(0..count), "all of {count}");
        }
        for count in [513, 1_000, 262_144] {
            let some: Vec<usize> = some_rows(count).collect();
            assert!(some.is_sorted_by(|one, next| one < next), "{count}");
            assert!((some.len(), some[0]) == (512, 0) && some[511] < count, "{count}");
        }
    }

    /// Whether column `n` of batches of so many rows is taken for one of distinct values.
    fn is_judged_distinct(batches: &[u64], value: impl Fn(u64) -> u64) -> bool {
        let (schema, mut next) = (numbers(), 0_u64);
        let batch = |count: &u64| {
            let offsets = next..next + *count;
            next = offsets.end;
            let batch = rows(&schema, 0, offsets.clone());
            let mut columns = batch.columns().to_vec();
            columns[0] = Arc::new(offsets.map(|row| value(row).cast_signed()).collect::<Int64Array>());
            RecordBatch::try_new(batch.schema(), columns).unwrap()
        };
        let batches: Vec<RecordBatch> = batches.iter().map(batch).collect();
        let found = distinct_columns(&Source::of(&batches, None, &schema.arrow()).unwrap());
        found.contains(&ColumnPath::from("n"))
    }

    #[test]
    fn values_that_come_again_soon_or_late_are_not_distinct() {
        assert!(is_judged_distinct(&[20_000], |row| row));
        assert!(is_judged_distinct(&[3], |row| row));
        assert!(is_judged_distinct(&[0, 5_000, 0, 0, 10_000, 1, 0], |row| row));
        assert!(!is_judged_distinct(&[20_000], |row| row / 2), "twice in a row");
        assert!(!is_judged_distinct(&[10_000, 10_000], |row| row % 2_000), "one after the other, again and again");
        assert!(!is_judged_distinct(&[20_000], |row| if row < 10_000 { row } else { 0 }), "in the second half");
        assert!(!is_judged_distinct(&[0], |row| row), "no values");
        // Two in a hundred; one in four hundred.
        assert!(!is_judged_distinct(&[400], |row| if row % 50 == 0 { 0 } else { row }));
        assert!(is_judged_distinct(&[400], |row| if row == 399 { 0 } else { row }));
    }
}
