//! Maps, and `element_at`, which is for arrays too.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, MapArray, StructArray, UInt64Array, new_empty_array};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::{cast, concat, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result;

use crate::catalog::{
    Family::{Inner, Maps},
    Function, built_in, scalar,
};
use crate::lists;
use crate::scalar::{Body, Call, Given, INT, Int, Kind, TEXT, Text, Types, array_of, bad, column, exactly, is_text};
use crate::types::map_of;

pub(crate) const FUNCTIONS: &[Function] = &[
    built_in(Maps, &["map_keys"], "map_keys(map) → array", "Its keys"),
    built_in(Maps, &["map_values"], "map_values(map) → array", "Its values"),
    built_in(Maps, &["map_entries"], "map_entries(map) → array(row)", "Its keys and values"),
    scalar(Maps, &["map"], "map(keys, values) → map", "A map of two arrays", Body::new(of_arrays_types, of_arrays))
        .in_trino(),
    scalar(Inner, &["empty_map"], "map() → map", "An empty map", Body::new(of_arrays_types, of_arrays)),
    scalar(
        Maps,
        &["element_at"],
        "element_at(array or map, n or key) → element",
        "An element, from the end if `n` is negative; null if there is none",
        Body::new(at_types, |call| at(call, false)),
    ),
    scalar(
        Maps,
        &["map_from_entries"],
        "map_from_entries(array(row)) → map",
        "A map of pairs; a key twice is an error",
        Body::new(from_entries_types, |call| from_entries(call, Twice::Refused)),
    ),
    scalar(
        Inner,
        &["map_of_pairs"],
        "map_of_pairs(array(row)) → map",
        "A map of pairs, the first of each key: what map_agg gives",
        Body::new(from_entries_types, |call| from_entries(call, Twice::First)),
    ),
    scalar(
        Maps,
        &["multimap_from_entries"],
        "multimap_from_entries(array(row)) → map(key, array)",
        "All values of each key",
        Body::new(multimap_types, multimap),
    ),
    scalar(
        Maps,
        &["map_concat"],
        "map_concat(map, …) → map",
        "All maps as one; the last value of a key counts",
        Body::new(concat_types, map_concat),
    ),
    scalar(
        Inner,
        &["union_of_maps"],
        "union_of_maps(array(map)) → map",
        "All maps of an array as one: what map_union gives",
        Body::new(union_types, union),
    ),
    scalar(
        Maps,
        &["split_to_map"],
        "split_to_map(text, entry separator, key separator) → map(varchar, varchar)",
        "Reads `a=1;b=2`",
        Body::new(|g| exactly(g, &[TEXT, TEXT, TEXT], 3, text_map()), split_to_map),
    ),
    scalar(
        Maps,
        &["split_to_multimap"],
        "split_to_multimap(text, entry separator, key separator) → map(varchar, array(varchar))",
        "Reads `a=1;a=2`",
        Body::new(
            |g| exactly(g, &[TEXT, TEXT, TEXT], 3, map_of(TEXT, &Arc::new(Field::new("value", array_of(TEXT), true)))),
            split_to_multimap,
        ),
    ),
];

/// What to do with a repeated key.
#[derive(Clone, Copy, PartialEq)]
enum Twice {
    Refused,
    First,
    Last,
}

fn text_map() -> DataType {
    map_of(TEXT, &Arc::new(Field::new("value", TEXT, true)))
}

/// The fields of keys and values of a map type.
pub(crate) fn pair(kind: &DataType) -> Option<(FieldRef, FieldRef)> {
    match kind {
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => Some((Arc::clone(&pair[0]), Arc::clone(&pair[1]))),
            _ => None,
        },
        _ => None,
    }
}

fn of_arrays_types(given: &Given) -> Result<Types> {
    match given.types {
        [] => Ok(Types::new(vec![], map_of(DataType::Null, &Arc::new(Field::new("value", DataType::Null, true))))),
        [keys, values] => {
            let (Some(key), DataType::List(value)) = (lists::element_type(keys), lists::plain(values)) else {
                return given.refuse();
            };
            let returns = map_of(key, &value);
            Ok(Types::new(vec![lists::plain(keys), lists::plain(values)], returns))
        }
        _ => given.refuse(),
    }
}

fn of_arrays(call: &Call) -> Result<ArrayRef> {
    let Some((key, value)) = pair(call.returns.data_type()) else { return Err(bad("map: planned as a map")) };
    if call.args.is_empty() {
        let (keys, values) = (new_empty_array(key.data_type()), new_empty_array(value.data_type()));
        return Maker::new(call.rows, Twice::Refused).make(call, &keys, &values);
    }
    let (keys, values) = (lists::list(&call.args[0])?, lists::list(&call.args[1])?);
    let mut maker = Maker::new(call.rows, Twice::Refused);
    let order = lists::comparable(std::slice::from_ref(keys.values()))?;
    for row in 0..call.rows {
        let (from, to) = (lists::range(keys, row), lists::range(values, row));
        if keys.is_null(row) || values.is_null(row) {
            maker.null();
            continue;
        }
        if from.len() != to.len() {
            return Err(bad("map: keys and values must have the same length"));
        }
        let places = from.zip(to).map(|(key, value)| (order.row(key), key, value));
        maker.row(places, |key| keys.values().is_null(key))?;
    }
    maker.make(call, keys.values(), values.values())
}

/// Makes maps from places of keys and values.
struct Maker {
    twice: Twice,
    keys: Vec<u64>,
    values: Vec<u64>,
    lengths: Vec<usize>,
    valid: Vec<bool>,
}

impl Maker {
    fn new(rows: usize, twice: Twice) -> Self {
        let (lengths, valid) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        Self { twice, keys: Vec::new(), values: Vec::new(), lengths, valid }
    }

    fn null(&mut self) {
        self.lengths.push(0);
        self.valid.push(false);
    }

    fn row<T: std::hash::Hash + Eq>(
        &mut self,
        entries: impl Iterator<Item = (T, usize, usize)>,
        is_null_key: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let start = self.keys.len();
        let mut seen: HashMap<T, usize> = HashMap::new();
        for (identity, key, value) in entries {
            if is_null_key(key) {
                return Err(bad("a key of a map must not be null"));
            }
            match (seen.get(&identity), self.twice) {
                (Some(_), Twice::Refused) => return Err(bad("a key of a map must not come twice")),
                (Some(_), Twice::First) => {}
                (Some(place), Twice::Last) => self.values[*place] = value as u64,
                (None, _) => {
                    seen.insert(identity, self.keys.len());
                    self.keys.push(key as u64);
                    self.values.push(value as u64);
                }
            }
        }
        self.lengths.push(self.keys.len() - start);
        self.valid.push(true);
        Ok(())
    }

    fn make(mut self, call: &Call, keys: &ArrayRef, values: &ArrayRef) -> Result<ArrayRef> {
        if call.args.is_empty() {
            self.lengths = vec![0; call.rows];
            self.valid = vec![true; call.rows];
        }
        let keys = take(keys, &UInt64Array::from(self.keys), None)?;
        let values = take(values, &UInt64Array::from(self.values), None)?;
        map_array(call.returns.data_type(), &keys, &values, self.lengths, self.valid)
    }
}

/// A map column from its flat keys and values.
pub(crate) fn map_array(
    kind: &DataType,
    keys: &ArrayRef,
    values: &ArrayRef,
    lengths: Vec<usize>,
    valid: Vec<bool>,
) -> Result<ArrayRef> {
    let DataType::Map(entries, sorted) = kind else { return Err(bad("planned as a map")) };
    let Some((key, value)) = pair(kind) else { return Err(bad("a map has entries")) };
    let columns = vec![cast(keys, key.data_type())?, cast(values, value.data_type())?];
    let rows = StructArray::try_new_with_length(vec![key, value].into(), columns, None, keys.len())?;
    let nulls = NullBuffer::from(valid);
    let nulls = (nulls.null_count() > 0).then_some(nulls);
    Ok(Arc::new(MapArray::try_new(Arc::clone(entries), OffsetBuffer::from_lengths(lengths), rows, nulls, *sorted)?))
}

pub(crate) fn map_range(map: &MapArray, row: usize) -> std::ops::Range<usize> {
    if map.is_null(row) {
        return 0..0;
    }
    map.value_offsets()[row] as usize..map.value_offsets()[row + 1] as usize
}

pub(crate) fn at_types(given: &Given) -> Result<Types> {
    match given.types {
        [list, index] if lists::is_list(list) && (index.is_integer() || index.is_null()) => {
            let Some(element) = lists::element_type(list) else { return given.refuse() };
            Ok(Types::new(vec![lists::plain(list), INT], element))
        }
        [map, key] => {
            let Some((wanted, value)) = pair(map) else { return given.refuse() };
            lists::common(wanted.data_type(), key)?;
            Ok(Types::new(vec![map.clone(), wanted.data_type().clone()], value.data_type().clone()))
        }
        _ => given.refuse(),
    }
}

/// `element_at`; as a subscript if `is_strict`: a missing key is an error.
pub(crate) fn at(call: &Call, is_strict: bool) -> Result<ArrayRef> {
    let Some(map) = call.args[0].as_map_opt() else { return at_index(call, is_strict) };
    let (keys, wanted) = lists::comparable_pair(map.keys(), &call.args[1])?;
    let mut places = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let found = map_range(map, row).find(|at| keys.row(*at) == wanted.row(row));
        if is_strict && found.is_none() && map.is_valid(row) && call.args[1].is_valid(row) {
            return Err(bad("the key is not in the map: element_at gives null where it is not"));
        }
        places.push(found.filter(|_| call.args[1].is_valid(row)).map(|at| at as u64));
    }
    Ok(take(map.values(), &UInt64Array::from(places), None)?)
}

fn at_index(call: &Call, is_strict: bool) -> Result<ArrayRef> {
    let (list, indices) = (lists::list(&call.args[0])?, column::<Int>(call, 1)?);
    let mut places = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        if list.is_null(row) || indices.is_null(row) {
            places.push(None);
            continue;
        }
        let (range, index) = (lists::range(list, row), indices.value(row));
        let length = range.len() as i64;
        let place = match index {
            0 => return Err(bad("the index of an array begins at 1")),
            1.. => index - 1,
            _ if is_strict => return Err(bad("the index of an array must not be negative: use element_at")),
            _ => length + index,
        };
        let is_there = (0..length).contains(&place);
        if is_strict && !is_there {
            return Err(bad(format!("there is no element {index}: the array has {length}")));
        }
        places.push(is_there.then(|| (range.start as i64 + place) as u64));
    }
    Ok(take(list.values(), &UInt64Array::from(places), None)?)
}

/// The two fields of the rows of an array.
fn entry_fields(given: &Given) -> Option<(FieldRef, FieldRef)> {
    let [kind] = given.types else { return None };
    match lists::element_type(kind)? {
        DataType::Struct(fields) if fields.len() == 2 => Some((Arc::clone(&fields[0]), Arc::clone(&fields[1]))),
        _ => None,
    }
}

fn from_entries_types(given: &Given) -> Result<Types> {
    let Some((key, value)) = entry_fields(given) else { return given.refuse() };
    Ok(Types::new(vec![lists::plain(&given.types[0])], map_of(key.data_type().clone(), &value)))
}

fn from_entries(call: &Call, twice: Twice) -> Result<ArrayRef> {
    let list = lists::list(&call.args[0])?;
    let entries = list.values().as_struct();
    let order = lists::comparable(&entries.columns()[..1])?;
    let mut maker = Maker::new(call.rows, twice);
    for row in 0..call.rows {
        if list.is_null(row) {
            maker.null();
            continue;
        }
        let range = lists::range(list, row);
        if twice == Twice::Refused && range.clone().any(|at| entries.is_null(at)) {
            return Err(bad("map_from_entries: an entry must not be null"));
        }
        maker.row(range.map(|at| (order.row(at), at, at)), |at| entries.column(0).is_null(at))?;
    }
    maker.make(call, entries.column(0), entries.column(1))
}

fn multimap_types(given: &Given) -> Result<Types> {
    let Some((key, value)) = entry_fields(given) else { return given.refuse() };
    let lists_of_values = Arc::new(Field::new("value", array_of(value.data_type().clone()), true));
    Ok(Types::new(vec![lists::plain(&given.types[0])], map_of(key.data_type().clone(), &lists_of_values)))
}

fn multimap(call: &Call) -> Result<ArrayRef> {
    let list = lists::list(&call.args[0])?;
    let entries = list.values().as_struct();
    let order = lists::comparable(&entries.columns()[..1])?;
    let (mut keys, mut values, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    let (mut lengths, mut valid) = (Vec::new(), Vec::new());
    for row in 0..call.rows {
        let mut groups: Vec<(usize, Vec<u64>)> = Vec::new();
        let mut seen = HashMap::new();
        for at in lists::range(list, row) {
            let group = *seen.entry(order.row(at)).or_insert_with(|| {
                groups.push((at, Vec::new()));
                groups.len() - 1
            });
            groups[group].1.push(at as u64);
        }
        lengths.push(groups.len());
        valid.push(list.is_valid(row));
        for (key, group) in groups {
            keys.push(key as u64);
            counts.push(Some(group.len()));
            values.extend(group);
        }
    }
    let keys = take(entries.column(0), &UInt64Array::from(keys), None)?;
    let values = take(entries.column(1), &UInt64Array::from(values), None)?;
    let element = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let lists = lists::lists_of(&values, &counts, &element)?;
    map_array(call.returns.data_type(), &keys, &lists, lengths, valid)
}

fn concat_types(given: &Given) -> Result<Types> {
    let Some(first) = given.types.iter().find(|kind| pair(kind).is_some_and(|(key, _)| !key.data_type().is_null()))
    else {
        return given.refuse();
    };
    if given.types.iter().any(|kind| pair(kind).is_none() && !kind.is_null()) {
        return given.refuse();
    }
    let Some((key, value)) = pair(first) else { return given.refuse() };
    let kind = map_of(key.data_type().clone(), &value);
    Ok(Types::new(vec![kind.clone(); given.types.len()], kind))
}

fn map_concat(call: &Call) -> Result<ArrayRef> {
    let maps: Vec<&MapArray> = call.args.iter().map(|arg| arg.as_map()).collect();
    let keys: Vec<&dyn Array> = maps.iter().map(|map| map.keys() as &dyn Array).collect();
    let values: Vec<&dyn Array> = maps.iter().map(|map| map.values() as &dyn Array).collect();
    let (keys, values) = (concat(&keys)?, concat(&values)?);
    let starts: Vec<usize> =
        maps.iter().scan(0, |at, map| Some(std::mem::replace(at, *at + map.keys().len()))).collect();
    let order = lists::comparable(std::slice::from_ref(&keys))?;
    let mut maker = Maker::new(call.rows, Twice::Last);
    for row in 0..call.rows {
        if maps.iter().any(|map| map.is_null(row)) {
            maker.null();
            continue;
        }
        let places = maps.iter().zip(&starts).flat_map(|(map, start)| map_range(map, row).map(move |at| start + at));
        maker.row(places.map(|at| (order.row(at), at, at)), |_| false)?;
    }
    maker.make(call, &keys, &values)
}

fn union_types(given: &Given) -> Result<Types> {
    match given.types {
        [list] => match lists::element_type(list) {
            Some(map) if let Some((key, value)) = pair(&map) => {
                Ok(Types::new(vec![lists::plain(list)], map_of(key.data_type().clone(), &value)))
            }
            _ => given.refuse(),
        },
        _ => given.refuse(),
    }
}

fn union(call: &Call) -> Result<ArrayRef> {
    let list = lists::list(&call.args[0])?;
    let map = list.values().as_map();
    let order = lists::comparable(std::slice::from_ref(map.keys()))?;
    let mut maker = Maker::new(call.rows, Twice::First);
    for row in 0..call.rows {
        if list.is_null(row) {
            maker.null();
            continue;
        }
        let places = lists::range(list, row).flat_map(|at| map_range(map, at));
        maker.row(places.map(|at| (order.row(at), at, at)), |_| false)?;
    }
    maker.make(call, map.keys(), map.values())
}

/// The keys and values of `a=1;b=2`.
fn entries<'a>(text: &'a str, between: &'a str, within: &'a str) -> Result<Vec<(&'a str, &'a str)>> {
    if between.is_empty() || within.is_empty() || between == within {
        return Err(bad("split_to_map: the separators must be different and not empty"));
    }
    let mut found = Vec::new();
    for entry in text.split(between).filter(|entry| !entry.is_empty()) {
        let pair = entry.split_once(within).filter(|(_, value)| !value.contains(within));
        found.push(pair.ok_or_else(|| bad(format!("split_to_map: '{entry}' is no key and value")))?);
    }
    Ok(found)
}

fn split_to_map(call: &Call) -> Result<ArrayRef> {
    split_entries(call, |entries, keys: &mut Vec<String>, values: &mut Vec<Vec<String>>| {
        for (key, value) in entries {
            if keys.iter().any(|known| known == key) {
                return Err(bad(format!("split_to_map: the key '{key}' comes twice")));
            }
            keys.push(key.to_owned());
            values.push(vec![value.to_owned()]);
        }
        Ok(())
    })
}

fn split_to_multimap(call: &Call) -> Result<ArrayRef> {
    split_entries(call, |entries, keys, values| {
        for (key, value) in entries {
            match keys.iter().position(|known| known == key) {
                Some(at) => values[at].push(value.to_owned()),
                None => {
                    keys.push(key.to_owned());
                    values.push(vec![value.to_owned()]);
                }
            }
        }
        Ok(())
    })
}

/// Maps of texts. Each key has a list of texts; a simple map takes the first.
fn split_entries(
    call: &Call,
    add: impl Fn(Vec<(&str, &str)>, &mut Vec<String>, &mut Vec<Vec<String>>) -> Result<()>,
) -> Result<ArrayRef> {
    let texts = (column::<Text>(call, 0)?, column::<Text>(call, 1)?, column::<Text>(call, 2)?);
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    let (mut lengths, mut valid) = (Vec::new(), Vec::new());
    for row in 0..call.rows {
        let is_valid = call.args.iter().all(|arg| arg.is_valid(row));
        let (mut own_keys, mut own_values) = (Vec::new(), Vec::new());
        if is_valid {
            let found = entries(texts.0.value(row), texts.1.value(row), texts.2.value(row))?;
            add(found, &mut own_keys, &mut own_values)?;
        }
        valid.push(is_valid);
        lengths.push(own_keys.len());
        keys.extend(own_keys.into_iter().map(Some));
        values.extend(own_values);
    }
    let is_multi = pair(call.returns.data_type()).is_some_and(|(_, value)| !is_text(value.data_type()));
    let counts: Vec<Option<usize>> = values.iter().map(|all| Some(all.len())).collect();
    let flat = Text::collect(values.into_iter().flatten().map(Some).collect());
    let values =
        if is_multi { lists::lists_of(&flat, &counts, &Arc::new(Field::new_list_field(TEXT, true)))? } else { flat };
    map_array(call.returns.data_type(), &Text::collect(keys), &values, lengths, valid)
}
