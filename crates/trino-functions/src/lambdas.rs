//! Functions that take lambdas. A lambda sees all elements of a batch of rows at once.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, UInt64Array, new_null_array,
};
use datafusion::arrow::compute::{cast, concat, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{LambdaParametersProgress, ValueOrLambda};

use crate::arrays::padded;
use crate::catalog::{Family::Lambdas, Function, Kind};
use crate::lambda::{LambdaCall, LambdaFunction, Planned};
use crate::lists;
use crate::maps::{map_array, map_range, pair};
use crate::scalar::{Bool, INT, bad, each};
use crate::types::map_of;

/// The longest array that a lambda may sort: it may compare each pair.
const SORTED_MAX: usize = 1_000;

const fn lambda(
    names: &'static [&'static str],
    usage: &'static str,
    summary: &'static str,
    coerce: fn(&[DataType]) -> Option<Vec<DataType>>,
    parameters: fn(&[Planned]) -> Option<LambdaParametersProgress>,
    returns: fn(&[FieldRef]) -> Result<FieldRef>,
    run: fn(&LambdaCall) -> Result<ArrayRef>,
) -> Function {
    let kind = Kind::Lambda(LambdaFunction { coerce, parameters, returns, run });
    Function { names, usage, summary, family: Lambdas, trino_only: false, kind }
}

pub(crate) const FUNCTIONS: &[Function] = &[
    lambda(
        &["transform"],
        "transform(array, x -> …) → array",
        "What the lambda gives for each element",
        lists_only,
        |given| elements(given, 1, 1),
        |fields| Ok(list_field(fields[1].as_ref().clone())),
        transform,
    ),
    lambda(
        &["filter"],
        "filter(array, x -> boolean) → array",
        "The elements for which it is true",
        lists_only,
        |given| elements(given, 1, 1),
        |fields| Ok(Arc::clone(&fields[0])),
        filter,
    ),
    lambda(
        &["any_match"],
        "any_match(array, x -> boolean) → boolean",
        "Whether it is true for any",
        lists_only,
        |given| elements(given, 1, 1),
        boolean,
        |call| matches(call, true, false),
    ),
    lambda(
        &["all_match"],
        "all_match(array, x -> boolean) → boolean",
        "Whether it is true for all",
        lists_only,
        |given| elements(given, 1, 1),
        boolean,
        |call| matches(call, false, false),
    ),
    lambda(
        &["none_match"],
        "none_match(array, x -> boolean) → boolean",
        "Whether it is true for none",
        lists_only,
        |given| elements(given, 1, 1),
        boolean,
        |call| matches(call, true, true),
    ),
    lambda(
        &["reduce"],
        "reduce(array, start, (state, x) -> state, state -> result) → result",
        "The elements put together one by one",
        reduce_types,
        reduce_parameters,
        |fields| Ok(Arc::clone(&fields[3])),
        reduce,
    ),
    lambda(
        &["zip_with"],
        "zip_with(a, b, (x, y) -> …) → array",
        "What it gives for elements of the same place",
        lists_only,
        |given| elements(given, 2, 1),
        |fields| Ok(list_field(fields[2].as_ref().clone())),
        zip_with,
    ),
    lambda(
        &["array_sort_by"],
        "array_sort(array, (x, y) -> -1, 0 or 1) → array",
        "Sorted as the lambda compares",
        lists_only,
        sort_parameters,
        |fields| Ok(Arc::clone(&fields[0])),
        sort_by,
    ),
    lambda(
        &["map_filter"],
        "map_filter(map, (k, v) -> boolean) → map",
        "The entries for which it is true",
        maps_only,
        |given| entries(given, 1),
        |fields| Ok(Arc::clone(&fields[0])),
        map_filter,
    ),
    lambda(
        &["transform_values"],
        "transform_values(map, (k, v) -> …) → map",
        "With new values",
        maps_only,
        |given| entries(given, 1),
        |fields| map_field(key_of(&fields[0])?, &fields[1]),
        transform_values,
    ),
    lambda(
        &["transform_keys"],
        "transform_keys(map, (k, v) -> …) → map",
        "With new keys",
        maps_only,
        |given| entries(given, 1),
        |fields| map_field(fields[1].data_type().clone(), &value_of(&fields[0])?),
        transform_keys,
    ),
    lambda(
        &["map_zip_with"],
        "map_zip_with(a, b, (k, v, w) -> …) → map",
        "What it gives for the values of each key",
        maps_only,
        |given| entries(given, 2),
        |fields| map_field(key_of(&fields[0])?, &fields[2]),
        map_zip_with,
    ),
    lambda(
        &["try"],
        "try(expression) → same",
        "Null where the expression fails: division by zero, a bad cast, an overflow",
        |types| Some(types.to_vec()),
        elements_of_any,
        |fields| Ok(Arc::clone(&fields[1])),
        try_rows,
    ),
];

fn lists_only(types: &[DataType]) -> Option<Vec<DataType>> {
    types.iter().all(|kind| lists::is_list(kind) || kind.is_null()).then(|| types.iter().map(lists::plain).collect())
}

fn maps_only(types: &[DataType]) -> Option<Vec<DataType>> {
    types.iter().all(|kind| pair(kind).is_some()).then(|| types.to_vec())
}

fn value_field(given: &Planned) -> Option<&FieldRef> {
    match given {
        ValueOrLambda::Value(field) => Some(field),
        ValueOrLambda::Lambda(_) => None,
    }
}

fn element_field(given: &Planned) -> Option<FieldRef> {
    match lists::plain(value_field(given)?.data_type()) {
        DataType::List(element) => Some(nullable(&element)),
        _ => None,
    }
}

fn nullable(field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_nullable(true))
}

/// The parameters for this many arrays, and lambdas of their elements.
fn elements(given: &[Planned], arrays: usize, lambdas: usize) -> Option<LambdaParametersProgress> {
    let (values, rest) = given.split_at_checked(arrays)?;
    let parameters = values.iter().map(element_field).collect::<Option<Vec<_>>>()?;
    let is_right = rest.len() == lambdas && rest.iter().all(|given| matches!(given, ValueOrLambda::Lambda(_)));
    is_right.then(|| LambdaParametersProgress::Complete(vec![parameters; lambdas]))
}

fn elements_of_any(given: &[Planned]) -> Option<LambdaParametersProgress> {
    match given {
        [ValueOrLambda::Value(field), ValueOrLambda::Lambda(_)] => {
            Some(LambdaParametersProgress::Complete(vec![vec![Arc::clone(field)]]))
        }
        _ => None,
    }
}

fn sort_parameters(given: &[Planned]) -> Option<LambdaParametersProgress> {
    match given {
        [list, ValueOrLambda::Lambda(_)] => {
            Some(LambdaParametersProgress::Complete(vec![vec![element_field(list)?; 2]]))
        }
        _ => None,
    }
}

/// The parameters for this many maps with the same keys, and a lambda of key and values.
fn entries(given: &[Planned], maps: usize) -> Option<LambdaParametersProgress> {
    let (values, rest) = given.split_at_checked(maps)?;
    if !matches!(rest, [ValueOrLambda::Lambda(_)]) {
        return None;
    }
    let mut parameters = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let (key, value) = pair(value_field(value)?.data_type())?;
        if index == 0 {
            parameters.push(key);
        }
        parameters.push(nullable(&value));
    }
    Some(LambdaParametersProgress::Complete(vec![parameters]))
}

fn list_field(element: Field) -> FieldRef {
    Arc::new(Field::new("", DataType::List(Arc::new(element.with_name("item").with_nullable(true))), true))
}

fn boolean(_: &[FieldRef]) -> Result<FieldRef> {
    Ok(Arc::new(Field::new("", DataType::Boolean, true)))
}

fn key_of(map: &FieldRef) -> Result<DataType> {
    pair(map.data_type()).map_or_else(|| plan_err!("no map"), |(key, _)| Ok(key.data_type().clone()))
}

fn value_of(map: &FieldRef) -> Result<FieldRef> {
    pair(map.data_type()).map_or_else(|| plan_err!("no map"), |(_, value)| Ok(value))
}

fn map_field(key: DataType, value: &FieldRef) -> Result<FieldRef> {
    Ok(Arc::new(Field::new("", map_of(key, value), true)))
}

/// All elements of the lists, and the row of each.
fn flat(list: &ListArray) -> Result<(ArrayRef, Vec<u64>)> {
    let (mut places, mut rows) = (Vec::new(), Vec::new());
    for row in 0..list.len() {
        for at in lists::range(list, row) {
            places.push(at as u64);
            rows.push(row as u64);
        }
    }
    Ok((take(list.values(), &UInt64Array::from(places), None)?, rows))
}

fn lengths(list: &ListArray) -> Vec<Option<usize>> {
    (0..list.len()).map(|row| list.is_valid(row).then(|| lists::range(list, row).len())).collect()
}

fn transform(call: &LambdaCall) -> Result<ArrayRef> {
    let list = lists::list(&call.values[0])?;
    let (values, rows) = flat(list)?;
    let results = call.apply(0, &[values], &rows)?;
    lists::lists_of(&results, &lengths(list), &lists::element(call.returns.data_type())?)
}

fn truths(array: &ArrayRef) -> Result<BooleanArray> {
    match array.data_type() {
        DataType::Boolean => Ok(array.as_boolean().clone()),
        DataType::Null => Ok(BooleanArray::new_null(array.len())),
        other => Err(bad(format!("the lambda must give a boolean, not {}", crate::types::name(other)))),
    }
}

fn filter(call: &LambdaCall) -> Result<ArrayRef> {
    let list = lists::list(&call.values[0])?;
    let (values, rows) = flat(list)?;
    let kept = truths(&call.apply(0, &[Arc::clone(&values)], &rows)?)?;
    let mut next = 0;
    lists::pick(&values, &lists::element(call.returns.data_type())?, call.rows, |row, picks| {
        for _ in lists::range(list, row) {
            if kept.is_valid(next) && kept.value(next) {
                picks.push(Some(next));
            }
            next += 1;
        }
        Ok(list.is_valid(row))
    })
}

/// `any` looks for true, `all` for false; `none` is not `any`. Null if a null may hide what is looked for.
fn matches(call: &LambdaCall, wanted: bool, is_negated: bool) -> Result<ArrayRef> {
    let list = lists::list(&call.values[0])?;
    let (values, rows) = flat(list)?;
    let results = truths(&call.apply(0, &[values], &rows)?)?;
    let mut next = 0;
    each::<Bool>(call.rows, |row| {
        let places = next..next + lists::range(list, row).len();
        next = places.end;
        if list.is_null(row) {
            return Ok(None);
        }
        if places.clone().any(|at| results.is_valid(at) && results.value(at) == wanted) {
            return Ok(Some(wanted != is_negated));
        }
        let is_unknown = places.clone().any(|at| results.is_null(at));
        Ok((!is_unknown).then_some(wanted == is_negated))
    })
}

fn reduce_types(types: &[DataType]) -> Option<Vec<DataType>> {
    match types {
        [list, start] if lists::is_list(list) => Some(vec![lists::plain(list), start.clone()]),
        _ => None,
    }
}

/// The state has the type that the first lambda returns, once that is known.
fn reduce_parameters(given: &[Planned]) -> Option<LambdaParametersProgress> {
    let [list, start, ValueOrLambda::Lambda(merged), ValueOrLambda::Lambda(_)] = given else { return None };
    let element = element_field(list)?;
    Some(match merged {
        Some(state) => LambdaParametersProgress::Complete(vec![vec![widest(state), element], vec![widest(state)]]),
        None => LambdaParametersProgress::Partial(vec![Some(vec![widest(value_field(start)?), element]), None]),
    })
}

/// A decimal gets the most digits, since sums grow.
fn widest(field: &FieldRef) -> FieldRef {
    let kind = widest_type(field.data_type());
    Arc::new(field.as_ref().clone().with_data_type(kind).with_nullable(true))
}

fn widest_type(kind: &DataType) -> DataType {
    match kind {
        DataType::Decimal128(_, scale) => DataType::Decimal128(crate::math::DIGITS_MAX, *scale),
        other => other.clone(),
    }
}

fn reduce(call: &LambdaCall) -> Result<ArrayRef> {
    let list = lists::list(&call.values[0])?;
    let longest = (0..call.rows).map(|row| lists::range(list, row).len()).max().unwrap_or(0);
    let kind = widest_type(&call.results[0]);
    let mut state = cast(&call.values[1], &kind)?;
    for step in 0..longest {
        let active: Vec<usize> = (0..call.rows).filter(|row| lists::range(list, *row).len() > step).collect();
        let rows: Vec<u64> = active.iter().map(|row| *row as u64).collect();
        let places: UInt64Array = active.iter().map(|row| (lists::range(list, *row).start + step) as u64).collect();
        let columns = [take(&state, &UInt64Array::from(rows.clone()), None)?, take(list.values(), &places, None)?];
        let merged = cast(&call.apply(0, &columns, &rows)?, &kind)?;
        // Rows that had an element take their new state, the others keep theirs.
        let mut picks: Vec<u64> = (0..call.rows as u64).collect();
        for (index, row) in active.iter().enumerate() {
            picks[*row] = (call.rows + index) as u64;
        }
        state = take(&concat(&[&state, &merged])?, &UInt64Array::from(picks), None)?;
    }
    let rows: Vec<u64> = (0..call.rows as u64).collect();
    let results = call.apply(1, &[state], &rows)?;
    // A null array has a null result.
    let picks: UInt64Array = rows.iter().map(|row| list.is_valid(*row as usize).then_some(*row)).collect();
    Ok(cast(&take(&results, &picks, None)?, call.returns.data_type())?)
}

fn zip_with(call: &LambdaCall) -> Result<ArrayRef> {
    let (left, right) = (lists::list(&call.values[0])?, lists::list(&call.values[1])?);
    let mut counts = Vec::with_capacity(call.rows);
    let mut rows = Vec::new();
    for row in 0..call.rows {
        let is_valid = left.is_valid(row) && right.is_valid(row);
        let longest = lists::range(left, row).len().max(lists::range(right, row).len());
        counts.push(is_valid.then_some(longest));
        rows.extend((0..if is_valid { longest } else { 0 }).map(|_| row as u64));
    }
    let results = call.apply(0, &[padded(left, &counts)?, padded(right, &counts)?], &rows)?;
    lists::lists_of(&results, &counts, &lists::element(call.returns.data_type())?)
}

fn sort_by(call: &LambdaCall) -> Result<ArrayRef> {
    let list = lists::list(&call.values[0])?;
    lists::pick(list.values(), &lists::element(call.returns.data_type())?, call.rows, |row, picks| {
        let places: Vec<usize> = lists::range(list, row).collect();
        let count = places.len();
        if count > SORTED_MAX {
            return Err(bad(format!("array_sort: with a lambda at most {SORTED_MAX} elements")));
        }
        if count > 1 {
            let pairs: Vec<(usize, usize)> = (0..count).flat_map(|a| (0..count).map(move |b| (a, b))).collect();
            let column = |side: fn(&(usize, usize)) -> usize| {
                let picks: UInt64Array = pairs.iter().map(|pair| places[side(pair)] as u64).collect();
                take(list.values(), &picks, None)
            };
            let columns = [column(|pair| pair.0)?, column(|pair| pair.1)?];
            let order = cast(&call.apply(0, &columns, &vec![row as u64; pairs.len()])?, &INT)?;
            let order = order.as_primitive::<datafusion::arrow::datatypes::Int64Type>().clone();
            check_order(&order)?;
            let mut sorted: Vec<usize> = (0..count).collect();
            // Insertion sort: an inconsistent lambda gives some order, but no panic.
            for end in 1..count {
                let mut at = end;
                while at > 0 && order.value(sorted[at - 1] * count + sorted[at]) > 0 {
                    sorted.swap(at - 1, at);
                    at -= 1;
                }
            }
            picks.extend(sorted.into_iter().map(|at| Some(places[at])));
        } else {
            picks.extend(places.into_iter().map(Some));
        }
        Ok(list.is_valid(row))
    })
}

fn check_order(order: &Int64Array) -> Result<()> {
    if order.iter().all(|value| matches!(value, Some(-1..=1))) {
        return Ok(());
    }
    Err(bad("array_sort: the lambda must give -1, 0 or 1"))
}

/// All keys and values of a map column, and the row of each.
fn flat_map(array: &ArrayRef) -> Result<(ArrayRef, ArrayRef, Vec<u64>)> {
    let map = array.as_map();
    let (mut places, mut rows) = (Vec::new(), Vec::new());
    for row in 0..map.len() {
        for at in map_range(map, row) {
            places.push(at as u64);
            rows.push(row as u64);
        }
    }
    let places = UInt64Array::from(places);
    Ok((take(map.keys(), &places, None)?, take(map.values(), &places, None)?, rows))
}

fn map_lengths(array: &ArrayRef) -> (Vec<usize>, Vec<bool>) {
    let map = array.as_map();
    (0..map.len()).map(|row| (map_range(map, row).len(), map.is_valid(row))).unzip()
}

fn map_filter(call: &LambdaCall) -> Result<ArrayRef> {
    let (keys, values, rows) = flat_map(&call.values[0])?;
    let kept = truths(&call.apply(0, &[Arc::clone(&keys), Arc::clone(&values)], &rows)?)?;
    let (_, valid) = map_lengths(&call.values[0]);
    let mut lengths = vec![0; call.rows];
    let mut places = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        if kept.is_valid(at) && kept.value(at) {
            lengths[*row as usize] += 1;
            places.push(at as u64);
        }
    }
    let places = UInt64Array::from(places);
    let (keys, values) = (take(&keys, &places, None)?, take(&values, &places, None)?);
    map_array(call.returns.data_type(), &keys, &values, lengths, valid)
}

fn transform_values(call: &LambdaCall) -> Result<ArrayRef> {
    let (keys, values, rows) = flat_map(&call.values[0])?;
    let results = call.apply(0, &[Arc::clone(&keys), values], &rows)?;
    let (lengths, valid) = map_lengths(&call.values[0]);
    map_array(call.returns.data_type(), &keys, &results, lengths, valid)
}

fn transform_keys(call: &LambdaCall) -> Result<ArrayRef> {
    let (keys, values, rows) = flat_map(&call.values[0])?;
    let results = call.apply(0, &[keys, Arc::clone(&values)], &rows)?;
    if results.null_count() > 0 {
        return Err(bad("transform_keys: a key must not be null"));
    }
    let order = lists::comparable(std::slice::from_ref(&results))?;
    let mut seen = std::collections::HashSet::new();
    if (0..results.len()).any(|at| !seen.insert((rows[at], order.row(at)))) {
        return Err(bad("transform_keys: a key comes twice"));
    }
    let (lengths, valid) = map_lengths(&call.values[0]);
    map_array(call.returns.data_type(), &results, &values, lengths, valid)
}

fn map_zip_with(call: &LambdaCall) -> Result<ArrayRef> {
    let (left, right) = (call.values[0].as_map(), call.values[1].as_map());
    let right_keys = cast(right.keys(), left.keys().data_type())?;
    let (left_order, right_order) = lists::comparable_pair(left.keys(), &right_keys)?;
    let all_keys = concat(&[left.keys(), &right_keys])?;
    let (mut keys, mut lefts, mut rights, mut rows) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut lengths, mut valid) = (Vec::with_capacity(call.rows), Vec::with_capacity(call.rows));
    for row in 0..call.rows {
        let is_valid = left.is_valid(row) && right.is_valid(row);
        valid.push(is_valid);
        if !is_valid {
            lengths.push(0);
            continue;
        }
        let find = |at: usize| map_range(right, row).find(|other| right_order.row(*other) == left_order.row(at));
        let in_left = |at: usize| map_range(left, row).any(|other| left_order.row(other) == right_order.row(at));
        for at in map_range(left, row) {
            keys.push(at as u64);
            lefts.push(Some(at as u64));
            rights.push(find(at).map(|other| other as u64));
        }
        for at in map_range(right, row).filter(|at| !in_left(*at)) {
            keys.push((left.keys().len() + at) as u64);
            lefts.push(None);
            rights.push(Some(at as u64));
        }
        lengths.push(keys.len() - rows.len());
        rows.resize(keys.len(), row as u64);
    }
    let keys = take(&all_keys, &UInt64Array::from(keys), None)?;
    let lefts = take(left.values(), &UInt64Array::from(lefts), None)?;
    let rights = take(right.values(), &UInt64Array::from(rights), None)?;
    let results = call.apply(0, &[Arc::clone(&keys), lefts, rights], &rows)?;
    map_array(call.returns.data_type(), &keys, &results, lengths, valid)
}

/// Evaluates the expression for all rows at once; if that fails one by one, with null for each row that fails.
fn try_rows(call: &LambdaCall) -> Result<ArrayRef> {
    let rows: Vec<u64> = (0..call.rows as u64).collect();
    if let Ok(results) = call.apply(0, &call.values, &rows) {
        return Ok(results);
    }
    let null = new_null_array(call.returns.data_type(), 1);
    let results: Vec<ArrayRef> = rows
        .iter()
        .map(|row| {
            let value = call.values[0].slice(*row as usize, 1);
            call.apply(0, &[value], &[*row]).unwrap_or_else(|_| Arc::clone(&null))
        })
        .collect();
    if results.is_empty() {
        return Ok(new_null_array(call.returns.data_type(), 0));
    }
    let results: Vec<&dyn Array> = results.iter().map(AsRef::as_ref).collect();
    Ok(concat(&results)?)
}
