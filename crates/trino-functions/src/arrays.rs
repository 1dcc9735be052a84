//! Arrays. Places count from one.

mod sequence;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray};
use datafusion::arrow::compute::{concat, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result;

use crate::casts::text;
use crate::catalog::{
    Family::{Arrays, Inner},
    Function, built_in, refused, scalar,
};
use crate::lists;
use crate::scalar::{
    BOOL, Body, Bool, Call, Given, INT, Int, Kind, TEXT, Text, Types, array_of, bad, column, each, is_text,
};
use crate::types::map_of;

pub(crate) const FUNCTIONS: &[Function] = &[
    scalar(
        Arrays,
        &["cardinality"],
        "cardinality(array or map) → bigint",
        "How many elements it has",
        Body::new(cardinality_types, cardinality),
    )
    .in_trino(),
    scalar(
        Arrays,
        &["contains"],
        "contains(array, value) → boolean",
        "Whether it has a value; null if only a null could be it",
        Body::new(|g| value_types(g, BOOL), contains),
    )
    .in_trino(),
    scalar(
        Arrays,
        &["array_position"],
        "array_position(array, value) → bigint",
        "The first place of a value; 0 if it is not there",
        Body::new(|g| value_types(g, INT), position),
    )
    .in_trino(),
    scalar(
        Arrays,
        &["array_remove"],
        "array_remove(array, value) → array",
        "Without all that equal a value",
        Body::new(|g| value_types(g, DataType::Null), |call| remove(call, false)),
    )
    .in_trino(),
    scalar(
        Inner,
        &["array_without"],
        "array_without(array, value)",
        "`array_remove` as in PostgreSQL: null is a value as others are",
        Body::new(|g| value_types(g, DataType::Null), |call| remove(call, true)),
    ),
    scalar(
        Inner,
        &["array_mode"],
        "array_mode(array) → element",
        "The first of those that come most often, where the same stand beside each other: `mode() WITHIN GROUP (ORDER BY x)`",
        Body::new(|g| one_list(g, |element| element), mode),
    ),
    scalar(
        Arrays,
        &["array_distinct"],
        "array_distinct(array) → array",
        "Each value once, in the order they come",
        Body::new(same, |call| pick(call, distinct)),
    )
    .in_trino(),
    scalar(
        Arrays,
        &["array_sort"],
        "array_sort(array) → array",
        "In ascending order, nulls last; with a lambda in the order it says",
        Body::new(same, |call| pick(call, sorted)),
    )
    .in_trino(),
    scalar(
        Arrays,
        &["array_max"],
        "array_max(array) → element",
        "The largest; null if any is null",
        Body::new(|g| one_list(g, |element| element), |call| extreme(call, true)),
    )
    .in_trino(),
    scalar(
        Arrays,
        &["array_min"],
        "array_min(array) → element",
        "The smallest; null if any is null",
        Body::new(|g| one_list(g, |element| element), |call| extreme(call, false)),
    )
    .in_trino(),
    scalar(
        Arrays,
        &["array_join"],
        "array_join(array, separator[, for nulls]) → varchar",
        "The elements as one text",
        Body::new(join_types, join),
    )
    .in_trino(),
    scalar(
        Arrays,
        &["array_union"],
        "array_union(a, b) → array",
        "What is in either, each once",
        Body::new(two_lists, |call| sets(call, |seen, _, _| seen)),
    )
    .in_trino(),
    scalar(
        Arrays,
        &["array_intersect"],
        "array_intersect(a, b) → array",
        "What is in both, each once",
        Body::new(two_lists, |call| sets(call, |seen, is_left, in_right| seen && is_left && in_right)),
    )
    .in_trino(),
    scalar(
        Arrays,
        &["array_except"],
        "array_except(a, b) → array",
        "What is in `a` only, each once",
        Body::new(two_lists, |call| sets(call, |seen, is_left, in_right| seen && is_left && !in_right)),
    )
    .in_trino(),
    scalar(
        Arrays,
        &["arrays_overlap"],
        "arrays_overlap(a, b) → boolean",
        "Whether they have a value in common",
        Body::new(asked_of_two_lists, |call| overlap(call, true)),
    )
    .in_trino(),
    scalar(
        Inner,
        &["array_shares"],
        "array_shares(a, b)",
        "`a && b` as in PostgreSQL: no null is one of both",
        Body::new(asked_of_two_lists, |call| overlap(call, false)),
    ),
    scalar(
        Inner,
        &["array_holds"],
        "array_holds(a, b)",
        "`a @> b` as in PostgreSQL: no array holds a null",
        Body::new(asked_of_two_lists, holds),
    ),
    scalar(
        Arrays,
        &["slice"],
        "slice(array, start, length) → array",
        "Part of it; a negative start counts from the end",
        Body::new(slice_types, slice),
    ),
    scalar(
        Arrays,
        &["trim_array"],
        "trim_array(array, n) → array",
        "Without its last `n` elements",
        Body::new(trim_types, trim),
    ),
    scalar(
        Arrays,
        &["flatten"],
        "flatten(array(array)) → array",
        "The elements of all arrays",
        Body::new(flatten_types, flatten),
    )
    .in_trino(),
    scalar(Arrays, &["repeat"], "repeat(value, n) → array", "A value many times", Body::new(repeat_types, repeat))
        .in_trino(),
    scalar(
        Arrays,
        &["sequence"],
        "sequence(from, to[, step]) → array",
        "Numbers, dates or timestamps in steps",
        Body::new(sequence::types, sequence::sequence),
    ),
    scalar(
        Arrays,
        &["zip"],
        "zip(array, …) → array(row)",
        "Elements of the same place together; null where one is shorter",
        Body::new(zip_types, zip),
    ),
    scalar(
        Arrays,
        &["shuffle"],
        "shuffle(array) → array",
        "In random order",
        Body::volatile(same, |call| pick(call, shuffled)),
    ),
    scalar(
        Arrays,
        &["combinations"],
        "combinations(array, n) → array(array)",
        "All choices of `n` elements; `n` is 5 at most",
        Body::new(combinations_types, |call| nested(call, combinations)),
    ),
    scalar(
        Arrays,
        &["ngrams"],
        "ngrams(array, n) → array(array)",
        "All `n` neighbours",
        Body::new(combinations_types, |call| nested(call, ngrams)),
    ),
    scalar(
        Arrays,
        &["array_frequency"],
        "array_frequency(array) → map(element, bigint)",
        "How often each value comes",
        Body::new(frequency_types, frequency),
    ),
    built_in(Arrays, &["array_agg"], "array_agg(x) → array", "An aggregate: all values"),
    refused(Arrays, &["array_histogram"], "array_frequency(array)"),
];

fn one_list(given: &Given, returns: fn(DataType) -> DataType) -> Result<Types> {
    match given.types {
        [kind] if let Some(element) = lists::element_type(kind) => {
            Ok(Types::new(vec![lists::plain(kind)], returns(element)))
        }
        _ => given.refuse(),
    }
}

fn same(given: &Given) -> Result<Types> {
    one_list(given, array_of)
}

/// The types for an array and a value of its elements. Returns the array, if no type is given.
fn value_types(given: &Given, returns: DataType) -> Result<Types> {
    let [list, value] = given.types else { return given.refuse() };
    let Some(element) = lists::element_type(list) else { return given.refuse() };
    let element = lists::common(&element, value)?;
    let list = array_of(element.clone());
    let returns = if returns.is_null() { list.clone() } else { returns };
    Ok(Types::new(vec![list, element], returns))
}

fn cardinality_types(given: &Given) -> Result<Types> {
    match given.types {
        [map @ DataType::Map(..)] => Ok(Types::new(vec![map.clone()], INT)),
        _ => one_list(given, |_| INT),
    }
}

fn cardinality(call: &Call) -> Result<ArrayRef> {
    let array = &call.args[0];
    each::<Int>(call.rows, |row| {
        let length = match array.as_map_opt() {
            Some(map) => crate::maps::map_range(map, row).len(),
            None => lists::range(lists::list(array)?, row).len(),
        };
        Ok(array.is_valid(row).then_some(length as i64))
    })
}

/// For each row: the place of a value in its array, and whether the array has nulls.
fn search<K: Kind>(call: &Call, f: impl Fn(Option<usize>, bool) -> Option<K::Owned>) -> Result<ArrayRef> {
    let (list, value) = (lists::list(&call.args[0])?, &call.args[1]);
    let (elements, wanted) = lists::comparable_pair(list.values(), value)?;
    each::<K>(call.rows, |row| {
        if list.is_null(row) || value.is_null(row) {
            return Ok(None);
        }
        let found = lists::range(list, row).position(|at| elements.row(at) == wanted.row(row));
        Ok(f(found, lists::range(list, row).any(|at| list.values().is_null(at))))
    })
}

fn contains(call: &Call) -> Result<ArrayRef> {
    search::<Bool>(call, |found, has_null| match found {
        Some(_) => Some(true),
        None if has_null => None,
        None => Some(false),
    })
}

fn position(call: &Call) -> Result<ArrayRef> {
    search::<Int>(call, |found, _| Some(found.map_or(0, |at| at as i64 + 1)))
}

fn remove(call: &Call, takes_null: bool) -> Result<ArrayRef> {
    let (list, value) = (lists::list(&call.args[0])?, &call.args[1]);
    let (elements, wanted) = lists::comparable_pair(list.values(), value)?;
    lists::pick(list.values(), &lists::element(call.returns.data_type())?, call.rows, |row, picks| {
        picks.extend(lists::range(list, row).filter(|at| elements.row(*at) != wanted.row(row)).map(Some));
        Ok(list.is_valid(row) && (takes_null || value.is_valid(row)))
    })
}

/// Picks elements of the first argument: `f` maps all places to the picked ones.
fn pick(
    call: &Call,
    choose: fn(&ListArray, Vec<usize>, &datafusion::arrow::row::Rows) -> Vec<usize>,
) -> Result<ArrayRef> {
    let list = lists::list(&call.args[0])?;
    let order = lists::comparable(std::slice::from_ref(list.values()))?;
    lists::pick(list.values(), &lists::element(call.returns.data_type())?, call.rows, |row, picks| {
        picks.extend(choose(list, lists::range(list, row).collect(), &order).into_iter().map(Some));
        Ok(list.is_valid(row))
    })
}

fn distinct(_: &ListArray, mut places: Vec<usize>, order: &datafusion::arrow::row::Rows) -> Vec<usize> {
    let mut seen = HashSet::new();
    places.retain(|at| seen.insert(order.row(*at)));
    places
}

fn sorted(_: &ListArray, mut places: Vec<usize>, order: &datafusion::arrow::row::Rows) -> Vec<usize> {
    places.sort_by(|a, b| order.row(*a).cmp(&order.row(*b)));
    places
}

fn shuffled(_: &ListArray, mut places: Vec<usize>, _: &datafusion::arrow::row::Rows) -> Vec<usize> {
    use std::hash::{BuildHasher, RandomState};
    let state = RandomState::new();
    places.sort_by_cached_key(|at| state.hash_one(at));
    places
}

fn extreme(call: &Call, is_greatest: bool) -> Result<ArrayRef> {
    let list = lists::list(&call.args[0])?;
    let order = lists::comparable(std::slice::from_ref(list.values()))?;
    let best = (0..call.rows).map(|row| {
        let places = lists::range(list, row);
        if places.clone().any(|at| list.values().is_null(at)) {
            return None;
        }
        let by = |a: &usize, b: &usize| order.row(*a).cmp(&order.row(*b));
        let best = if is_greatest { places.max_by(by) } else { places.min_by(by) };
        best.map(|at| at as u64)
    });
    Ok(take(list.values(), &best.collect::<datafusion::arrow::array::UInt64Array>(), None)?)
}

fn mode(call: &Call) -> Result<ArrayRef> {
    let list = lists::list(&call.args[0])?;
    let values = lists::comparable(std::slice::from_ref(list.values()))?;
    let modes = (0..call.rows).map(|row| {
        let places = lists::range(list, row);
        let (mut first, mut mode, mut times) = (places.start, None, 0);
        for at in places {
            if values.row(at) != values.row(first) {
                first = at;
            }
            if at - first + 1 > times {
                (mode, times) = (Some(first as u64), at - first + 1);
            }
        }
        mode
    });
    Ok(take(list.values(), &modes.collect::<datafusion::arrow::array::UInt64Array>(), None)?)
}

fn join_types(given: &Given) -> Result<Types> {
    match given.types {
        [list, rest @ ..] if matches!(rest.len(), 1 | 2) && rest.iter().all(|kind| is_text(kind) || kind.is_null()) => {
            if !lists::is_list(list) {
                return given.refuse();
            }
            let mut arguments = vec![lists::plain(list)];
            arguments.extend(rest.iter().map(|_| TEXT));
            Ok(Types::new(arguments, TEXT))
        }
        _ => given.refuse(),
    }
}

fn join(call: &Call) -> Result<ArrayRef> {
    let (list, separators) = (lists::list(&call.args[0])?, column::<Text>(call, 1)?);
    let nulls = (call.args.len() == 3).then(|| column::<Text>(call, 2)).transpose()?;
    let texts = text(list.values())?;
    each::<Text>(call.rows, |row| {
        if call.args.iter().any(|arg| arg.is_null(row)) {
            return Ok(None);
        }
        let parts = lists::range(list, row).filter_map(|at| match (texts.is_valid(at), nulls) {
            (true, _) => Some(texts.value(at)),
            (false, Some(nulls)) => Some(nulls.value(row)),
            (false, None) => None,
        });
        Ok(Some(parts.collect::<Vec<_>>().join(separators.value(row))))
    })
}

fn two_lists(given: &Given) -> Result<Types> {
    if given.types.len() != 2 || !given.types.iter().all(|kind| lists::is_list(kind) || kind.is_null()) {
        return given.refuse();
    }
    let kind = lists::plain(&lists::common(&given.types[0], &given.types[1])?);
    Ok(Types::new(vec![kind.clone(), kind.clone()], kind))
}

fn asked_of_two_lists(given: &Given) -> Result<Types> {
    two_lists(given).map(|types| Types::new(types.arguments, BOOL))
}

/// A set of elements of both arrays: `keep(is new, is from the left, is also in the right)`.
fn sets(call: &Call, keep: fn(bool, bool, bool) -> bool) -> Result<ArrayRef> {
    let (left, right) = (lists::list(&call.args[0])?, lists::list(&call.args[1])?);
    let all = concat(&[left.values(), right.values()])?;
    let order = lists::comparable(std::slice::from_ref(&all))?;
    let start = left.values().len();
    lists::pick(&all, &lists::element(call.returns.data_type())?, call.rows, |row, picks| {
        let rights: HashSet<_> = lists::range(right, row).map(|at| order.row(start + at)).collect();
        let mut seen = HashSet::new();
        let lefts = lists::range(left, row).map(|at| (at, true));
        for (at, is_left) in lefts.chain(lists::range(right, row).map(|at| (start + at, false))) {
            let is_new = seen.insert(order.row(at));
            if keep(is_new, is_left, rights.contains(&order.row(at))) {
                picks.push(Some(at));
            }
        }
        Ok(left.is_valid(row) && right.is_valid(row))
    })
}

/// Whether two arrays have a common element. With nulls that may be unknown.
fn overlap(call: &Call, may_be_unknown: bool) -> Result<ArrayRef> {
    let (left, right) = (lists::list(&call.args[0])?, lists::list(&call.args[1])?);
    let (lefts, rights) = lists::comparable_pair(left.values(), right.values())?;
    each::<Bool>(call.rows, |row| {
        if left.is_null(row) || right.is_null(row) {
            return Ok(None);
        }
        let known: HashSet<_> =
            lists::range(right, row).filter(|at| right.values().is_valid(*at)).map(|at| rights.row(at)).collect();
        let is_common = |at: usize| left.values().is_valid(at) && known.contains(&lefts.row(at));
        if lists::range(left, row).any(is_common) {
            return Ok(Some(true));
        }
        let has_null = |list: &ListArray| lists::range(list, row).any(|at| list.values().is_null(at));
        let is_empty = lists::range(left, row).is_empty() || lists::range(right, row).is_empty();
        Ok(if may_be_unknown && !is_empty && (has_null(left) || has_null(right)) { None } else { Some(false) })
    })
}

fn holds(call: &Call) -> Result<ArrayRef> {
    let (left, right) = (lists::list(&call.args[0])?, lists::list(&call.args[1])?);
    let (lefts, rights) = lists::comparable_pair(left.values(), right.values())?;
    each::<Bool>(call.rows, |row| {
        if left.is_null(row) || right.is_null(row) {
            return Ok(None);
        }
        let known: HashSet<_> =
            lists::range(left, row).filter(|at| left.values().is_valid(*at)).map(|at| lefts.row(at)).collect();
        let is_held = |at: usize| right.values().is_valid(at) && known.contains(&rights.row(at));
        Ok(Some(lists::range(right, row).all(is_held)))
    })
}

fn slice_types(given: &Given) -> Result<Types> {
    match given.types {
        [list, start, length] if lists::is_list(list) && start.is_integer() && length.is_integer() => {
            let list = lists::plain(list);
            Ok(Types::new(vec![list.clone(), INT, INT], list))
        }
        _ => given.refuse(),
    }
}

fn slice(call: &Call) -> Result<ArrayRef> {
    let (starts, lengths) = (column::<Int>(call, 1)?, column::<Int>(call, 2)?);
    let list = lists::list(&call.args[0])?;
    lists::pick(list.values(), &lists::element(call.returns.data_type())?, call.rows, |row, picks| {
        if call.args.iter().any(|arg| arg.is_null(row)) {
            return Ok(false);
        }
        let (range, start, length) = (lists::range(list, row), starts.value(row), lengths.value(row));
        if start == 0 || length < 0 {
            return Err(bad("slice: the start must not be 0, the length not negative"));
        }
        let first = if start > 0 { start - 1 } else { range.len() as i64 + start };
        if let Ok(first) = usize::try_from(first) {
            picks.extend(range.skip(first).take(length as usize).map(Some));
        }
        Ok(true)
    })
}

fn trim_types(given: &Given) -> Result<Types> {
    match given.types {
        [list, count] if lists::is_list(list) && count.is_integer() => {
            Ok(Types::new(vec![lists::plain(list), INT], lists::plain(list)))
        }
        _ => given.refuse(),
    }
}

fn trim(call: &Call) -> Result<ArrayRef> {
    let (list, counts) = (lists::list(&call.args[0])?, column::<Int>(call, 1)?);
    lists::pick(list.values(), &lists::element(call.returns.data_type())?, call.rows, |row, picks| {
        if list.is_null(row) || counts.is_null(row) {
            return Ok(false);
        }
        let range = lists::range(list, row);
        let kept = usize::try_from(counts.value(row)).ok().and_then(|count| range.len().checked_sub(count));
        let Some(kept) = kept else { return Err(bad("trim_array: the number must be between 0 and the length")) };
        picks.extend(range.take(kept).map(Some));
        Ok(true)
    })
}

fn flatten_types(given: &Given) -> Result<Types> {
    match given.types {
        [list] => match lists::element_type(list).filter(lists::is_list) {
            Some(inner) => Ok(Types::new(vec![array_of(lists::plain(&inner))], lists::plain(&inner))),
            None => given.refuse(),
        },
        _ => given.refuse(),
    }
}

fn flatten(call: &Call) -> Result<ArrayRef> {
    let outer = lists::list(&call.args[0])?;
    let inner = lists::list(outer.values())?;
    lists::pick(inner.values(), &lists::element(call.returns.data_type())?, call.rows, |row, picks| {
        picks.extend(lists::range(outer, row).flat_map(|at| lists::range(inner, at)).map(Some));
        Ok(outer.is_valid(row))
    })
}

/// The most elements of one row that `repeat` and `sequence` make, as in Trino.
const ROW_ELEMENTS_MAX: i64 = 10_000;

fn repeat_types(given: &Given) -> Result<Types> {
    match given.types {
        [value, count] if count.is_integer() => Ok(Types::new(vec![value.clone(), INT], array_of(value.clone()))),
        _ => given.refuse(),
    }
}

fn repeat(call: &Call) -> Result<ArrayRef> {
    let counts = column::<Int>(call, 1)?;
    lists::pick(&call.args[0], &lists::element(call.returns.data_type())?, call.rows, |row, picks| {
        if counts.is_null(row) {
            return Ok(false);
        }
        if counts.value(row) > ROW_ELEMENTS_MAX {
            return Err(bad(format!("repeat: at most {ROW_ELEMENTS_MAX} elements")));
        }
        picks.extend((0..counts.value(row)).map(|_| Some(row)));
        Ok(true)
    })
}

fn zip_types(given: &Given) -> Result<Types> {
    let elements: Option<Vec<DataType>> = given.types.iter().map(lists::element_type).collect();
    match elements {
        Some(elements) if (1..=5).contains(&elements.len()) => {
            let fields =
                elements.into_iter().enumerate().map(|(index, kind)| Field::new(format!("field{index}"), kind, true));
            let row = DataType::Struct(fields.collect());
            Ok(Types::new(given.types.iter().map(lists::plain).collect(), array_of(row)))
        }
        _ => given.refuse(),
    }
}

fn zip(call: &Call) -> Result<ArrayRef> {
    let columns = call.args.iter().map(lists::list).collect::<Result<Vec<_>>>()?;
    let mut lengths = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let is_null = columns.iter().any(|list| list.is_null(row));
        let longest = columns.iter().map(|list| lists::range(list, row).len()).max().unwrap_or(0);
        lengths.push((!is_null).then_some(longest));
    }
    let element = lists::element(call.returns.data_type())?;
    let DataType::Struct(fields) = element.data_type() else { return Err(bad("zip: planned as rows")) };
    let values = columns.iter().map(|list| padded(list, &lengths)).collect::<Result<Vec<_>>>()?;
    let count = lengths.iter().flatten().sum();
    let rows = StructArray::try_new_with_length(fields.clone(), values, None, count)?;
    let rows: ArrayRef = Arc::new(rows);
    lists::lists_of(&rows, &lengths, &element)
}

/// The elements of all lists one after the other, each list padded with nulls to its length.
pub(crate) fn padded(list: &ListArray, lengths: &[Option<usize>]) -> Result<ArrayRef> {
    let mut picks = Vec::new();
    for (row, length) in lengths.iter().enumerate() {
        let range = lists::range(list, row);
        picks.extend((0..length.unwrap_or(0)).map(|at| (at < range.len()).then(|| (range.start + at) as u64)));
    }
    Ok(take(list.values(), &datafusion::arrow::array::UInt64Array::from(picks), None)?)
}

fn combinations_types(given: &Given) -> Result<Types> {
    match given.types {
        [list, count] if lists::is_list(list) && count.is_integer() => {
            let list = lists::plain(list);
            Ok(Types::new(vec![list.clone(), INT], array_of(list)))
        }
        _ => given.refuse(),
    }
}

/// Picked places of elements, array by array.
type Choices = Vec<Vec<usize>>;

/// An array of arrays of picked elements.
fn nested(call: &Call, choose: fn(Vec<usize>, usize) -> Result<Choices>) -> Result<ArrayRef> {
    let (list, counts) = (lists::list(&call.args[0])?, column::<Int>(call, 1)?);
    let (mut inner, mut outer) = (Vec::new(), Vec::with_capacity(call.rows));
    for row in 0..call.rows {
        if list.is_null(row) || counts.is_null(row) {
            outer.push(None);
            continue;
        }
        let count = usize::try_from(counts.value(row))
            .map_err(|_| bad(format!("{}: the size must not be negative", call.name)))?;
        let chosen = choose(lists::range(list, row).collect(), count)?;
        outer.push(Some(chosen.len()));
        inner.extend(chosen);
    }
    let element = lists::element(call.returns.data_type())?;
    let field: FieldRef = lists::element(element.data_type())?;
    let flat = lists::pick(list.values(), &field, inner.len(), |row, picks| {
        picks.extend(inner[row].iter().map(|at| Some(*at)));
        Ok(true)
    })?;
    lists::lists_of(&flat, &outer, &element)
}

/// The most combinations of one row, as in Trino.
const COMBINATIONS_MAX: usize = 100_000;

fn combinations(places: Vec<usize>, size: usize) -> Result<Choices> {
    if size > 5 {
        return Err(bad("combinations: the size must be 5 at most"));
    }
    let mut all: Vec<Vec<usize>> = vec![Vec::new()];
    for at in places {
        let longer: Vec<Vec<usize>> =
            all.iter().filter(|some| some.len() < size).map(|some| [some.as_slice(), &[at]].concat()).collect();
        all.extend(longer);
        if all.len() > COMBINATIONS_MAX {
            return Err(bad(format!("combinations: there are more than {COMBINATIONS_MAX}")));
        }
    }
    all.retain(|some| some.len() == size);
    all.sort();
    Ok(all)
}

fn ngrams(places: Vec<usize>, size: usize) -> Result<Choices> {
    if size == 0 {
        return Err(bad("ngrams: the size must be positive"));
    }
    if places.len() <= size {
        return Ok(vec![places]);
    }
    Ok(places.windows(size).map(<[usize]>::to_vec).collect())
}

fn frequency_types(given: &Given) -> Result<Types> {
    match given.types {
        [list] if let Some(element) = lists::element_type(list) => {
            let map = map_of(element, &Arc::new(Field::new("value", INT, true)));
            Ok(Types::new(vec![lists::plain(list)], map))
        }
        _ => given.refuse(),
    }
}

fn frequency(call: &Call) -> Result<ArrayRef> {
    let list = lists::list(&call.args[0])?;
    let order = lists::comparable(std::slice::from_ref(list.values()))?;
    let (mut keys, mut counts, mut lengths, mut valid) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in 0..call.rows {
        let start = keys.len();
        let mut seen = HashMap::new();
        for at in lists::range(list, row).filter(|at| list.values().is_valid(*at)) {
            let place = *seen.entry(order.row(at)).or_insert_with(|| {
                keys.push(at as u64);
                counts.push(Some(0));
                counts.len() - 1
            });
            counts[place] = counts[place].map(|count| count + 1);
        }
        lengths.push(keys.len() - start);
        valid.push(list.is_valid(row));
    }
    let keys = take(list.values(), &datafusion::arrow::array::UInt64Array::from(keys), None)?;
    crate::maps::map_array(call.returns.data_type(), &keys, &Int::collect(counts), lengths, valid)
}
