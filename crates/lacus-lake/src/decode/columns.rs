//! The columns of a batch while it is decoded: a tree that grows with the events.
//!
//! Nulls are written late: a column is as long as its last stored value and padded when the next one comes, so that
//! a missing value costs nothing and an event touches only what it has.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, ArrowPrimitiveType, BooleanBuilder, Float64Builder, Int64Builder, ListArray, MapArray,
    NullBufferBuilder, PrimitiveBuilder, StringBuilder, StructArray, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use lacus_core::Record;

use super::typed::Typed;
use crate::schema::{Column, ColumnType};

/// A column, a field or an element, with its values so far.
pub(super) struct Node {
    pub(super) id: i32,
    pub(super) name: String,
    /// Its name as a key in JSON, `"name":`. None if it has letters that can't stand there as they are.
    key: Option<Box<[u8]>>,
    pub(super) aliases: Vec<String>,
    pub(super) committed: bool,
    pub(super) values: Values,
}

/// Values of one type.
pub(super) enum Values {
    /// No value has told the type yet. Only new columns are in this state.
    Unknown,
    Boolean(BooleanBuilder),
    Long(Int64Builder),
    Double(Float64Builder),
    Text(StringBuilder),
    /// A type that only a person gives.
    Typed(Box<Typed>),
    /// Never has values: JSON has no bytes, and maps with keys that are no text. Such a column only exists because it was
    /// given, and stays null.
    Never(ColumnType),
    Struct(Fields),
    List(Box<Elements>),
    Map(Box<Entries>),
}

/// The fields of an object, or the columns of the table.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) nodes: Vec<Node>,
    /// Fields by lowercase name, as indexes into `nodes`. The first `indexed` ones are in it; the rest follows when needed.
    by_lowercase: HashMap<String, usize>,
    indexed: usize,
    /// The field expected next: events of one source mostly have the same keys in the same order.
    next: usize,
    /// For each `next`, the field that last came instead: where events leave fields out, they mostly leave out the same.
    instead: Vec<usize>,
    /// The fields for which senders have other names.
    aliased: Vec<usize>,
    /// The fields that stay null in the current object, whatever comes for them.
    taken: Vec<usize>,
    validity: Validity,
}

/// For how much columns have room before they must grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Room {
    /// Values.
    pub(super) rows: usize,
    /// Bytes of a column of texts.
    pub(super) text_bytes: usize,
}

/// The elements of all arrays of a column, one after the other.
pub(super) struct Elements {
    pub(super) node: Node,
    /// Where each array ends; the first entry is where the first one starts.
    ends: Vec<i32>,
    validity: Validity,
}

/// The entries of all maps of a column, one after the other.
pub(super) struct Entries {
    key: Column,
    keys: StringBuilder,
    pub(super) values: Elements,
}

/// Which rows of a struct or list are not null.
struct Validity(NullBufferBuilder);

/// What a key of an object means.
pub(super) enum Key {
    /// The field at this place.
    Known(usize),
    /// A field that is not there yet.
    New(String),
    /// A name that differs from a field's only by case.
    Variant(String),
}

impl Room {
    /// Room for these records in these columns: texts have an equal share each, and all together as many bytes as the records.
    pub(super) fn of(records: &[Record], columns: &[Column]) -> Self {
        let bytes: usize = records.iter().map(|record| record.value.len()).sum();
        Self { rows: records.len(), text_bytes: bytes / texts(columns).max(1) }
    }
}

/// How many of the columns, and of the fields in them, are texts.
fn texts(columns: &[Column]) -> usize {
    let texts = columns.iter().map(|column| match &column.kind {
        ColumnType::Text => 1,
        ColumnType::Struct(fields) => texts(fields),
        _ => 0,
    });
    texts.sum()
}

impl Node {
    /// The column, with this room.
    pub(super) fn new(column: &Column, room: Room) -> Self {
        let Room { rows, text_bytes } = room;
        let values = match &column.kind {
            ColumnType::Boolean => Values::Boolean(BooleanBuilder::with_capacity(rows)),
            ColumnType::Long => Values::Long(Int64Builder::with_capacity(rows)),
            ColumnType::Double => Values::Double(Float64Builder::with_capacity(rows)),
            ColumnType::Text => Values::Text(StringBuilder::with_capacity(rows, text_bytes)),
            ColumnType::Struct(fields) => Values::Struct(Fields::new(fields, room)),
            ColumnType::List(element) => Values::List(Box::new(Elements::new(Self::new(element, Room::default())))),
            ColumnType::Map(entry) if entry.0.kind == ColumnType::Text => {
                Values::Map(Box::new(Entries::new(entry.0.clone(), Self::new(&entry.1, Room::default()))))
            }
            other => match Typed::new(other) {
                Some(typed) => Values::Typed(Box::new(typed)),
                None => Values::Never(other.clone()),
            },
        };
        Self {
            id: column.id,
            name: column.name.clone(),
            key: key_of(&column.name),
            aliases: column.aliases.clone(),
            committed: column.committed,
            values,
        }
    }

    /// A column that is being discovered.
    pub(super) fn undecided(id: i32, name: String) -> Self {
        let key = key_of(&name);
        Self { id, name, key, aliases: Vec::new(), committed: false, values: Values::Unknown }
    }

    /// The column it has become.
    pub(super) fn column(&self) -> Column {
        let kind = match &self.values {
            Values::Unknown => unreachable!("a column is kept only once it has a type"),
            Values::Boolean(_) => ColumnType::Boolean,
            Values::Long(_) => ColumnType::Long,
            Values::Double(_) => ColumnType::Double,
            Values::Text(_) => ColumnType::Text,
            Values::Typed(values) => values.kind().clone(),
            Values::Never(kind) => kind.clone(),
            Values::Struct(fields) => ColumnType::Struct(fields.columns()),
            Values::List(elements) => ColumnType::List(Box::new(elements.node.column())),
            Values::Map(entries) => ColumnType::Map(Box::new((entries.key.clone(), entries.values.node.column()))),
        };
        Column {
            id: self.id,
            name: self.name.clone(),
            kind,
            committed: self.committed,
            required: false,
            aliases: self.aliases.clone(),
        }
    }

    /// Whether senders mean it by this name: its own, or an earlier one.
    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }

    /// How many leaf columns it has.
    pub(super) fn leaves(&self) -> usize {
        match &self.values {
            Values::Struct(fields) => fields.leaves(),
            Values::List(elements) => elements.node.leaves(),
            Values::Map(entries) => 1 + entries.values.node.leaves(),
            _ => 1,
        }
    }

    /// The number of rows up to the last stored value.
    pub(super) fn len(&self) -> usize {
        match &self.values {
            Values::Unknown | Values::Never(_) => 0,
            Values::Boolean(values) => values.len(),
            Values::Long(values) => values.len(),
            Values::Double(values) => values.len(),
            Values::Text(values) => texts_in(values),
            Values::Struct(fields) => fields.validity.0.len(),
            Values::Typed(values) => values.len(),
            Values::List(elements) => elements.validity.0.len(),
            Values::Map(entries) => entries.values.validity.0.len(),
        }
    }

    /// The values of `rows` rows, as an array of `kind`: the type of its [`column`](Self::column).
    pub(super) fn finish(self, rows: usize, kind: &DataType) -> ArrayRef {
        match self.values {
            Values::Boolean(mut values) => {
                pad_booleans(&mut values, rows);
                Arc::new(values.finish())
            }
            Values::Long(values) => finish_numbers(values, rows),
            Values::Double(values) => finish_numbers(values, rows),
            Values::Text(values) => finish_texts(values, rows),
            Values::Struct(fields) => fields.finish(rows, kind),
            Values::List(elements) => elements.finish(rows, kind),
            Values::Typed(values) => values.finish(rows, kind),
            Values::Map(entries) => entries.finish(rows, kind),
            Values::Unknown | Values::Never(_) => new_null_array(kind, rows),
        }
    }
}

impl Fields {
    /// These columns, with this room.
    pub(super) fn new(columns: &[Column], room: Room) -> Self {
        let nodes = columns.iter().map(|column| Node::new(column, room)).collect();
        let aliased = (0..columns.len()).filter(|&index| !columns[index].aliases.is_empty()).collect();
        Self { nodes, aliased, ..Self::default() }
    }

    /// Adds a field.
    pub(super) fn add(&mut self, node: Node) {
        self.nodes.push(node);
    }

    pub(super) fn columns(&self) -> Vec<Column> {
        self.nodes.iter().map(Node::column).collect()
    }

    pub(super) fn leaves(&self) -> usize {
        self.nodes.iter().map(Node::leaves).sum()
    }

    /// Begins the next object: its first key is expected to be the first field.
    pub(super) fn begin(&mut self) {
        self.next = 0;
        self.taken.clear();
    }

    /// Whether the field has a value in row `row` already: of a repeated key, the first counts.
    pub(super) fn is_taken(&self, index: usize, row: usize) -> bool {
        self.nodes[index].len() > row || self.taken.contains(&index)
    }

    /// Keeps the field null in the current object.
    pub(super) fn take(&mut self, index: usize) {
        self.taken.push(index);
    }

    /// The field with the key that comes next, if it is an expected one and written as keys mostly are; and what comes after the
    /// key. None if a key may mean several fields.
    pub(super) fn expected<'json>(&mut self, json: &'json [u8]) -> Option<(usize, &'json [u8])> {
        if !self.aliased.is_empty() {
            return None;
        }
        let after_key = |index: usize| json.strip_prefix(self.nodes.get(index)?.key.as_deref()?);
        let (index, rest) = match after_key(self.next) {
            Some(rest) => (self.next, rest),
            None => {
                let index = *self.instead.get(self.next)?;
                (index, after_key(index)?)
            }
        };
        self.next = index + 1;
        Some((index, rest))
    }

    /// Another field than the one expected next has come.
    fn came_instead(&mut self, index: usize) {
        if self.instead.len() <= self.next {
            // What is no field is not expected.
            self.instead.resize(self.next + 1, usize::MAX);
        }
        self.instead[self.next] = index;
        self.next = index + 1;
    }

    /// The field that `key` stands for.
    pub(super) fn find(&mut self, key: &str) -> Key {
        if self.nodes.get(self.next).is_some_and(|node| node.name == key) {
            self.next += 1;
            return Key::Known(self.next - 1);
        }
        // `.` separates names in paths and in SQL.
        let name = if key.contains('.') { Cow::Owned(key.replace('.', "_")) } else { Cow::Borrowed(key) };
        self.index();
        match self.by_lowercase.get(&*lowercase(&name)).copied() {
            None => Key::New(name.into_owned()),
            Some(index) if self.nodes[index].is_called(&name) => {
                self.came_instead(index);
                Key::Known(index)
            }
            Some(_) => match self.aliased.iter().find(|&&index| self.nodes[index].is_called(&name)) {
                Some(&index) => Key::Known(index),
                None => Key::Variant(name.into_owned()),
            },
        }
    }

    /// The fields that take what the field of `key` can't hold, in order.
    pub(super) fn others(&self, key: &str, index: usize) -> Vec<usize> {
        if self.aliased.is_empty() {
            return Vec::new();
        }
        let name = if key.contains('.') { Cow::Owned(key.replace('.', "_")) } else { Cow::Borrowed(key) };
        let others = self.aliased.iter().filter(|&&other| other != index && self.nodes[other].is_called(&name));
        others.copied().collect()
    }

    fn index(&mut self) {
        for (index, node) in self.nodes.iter().enumerate().skip(self.indexed) {
            self.by_lowercase.insert(lowercase(&node.name).into_owned(), index);
            for alias in &node.aliases {
                self.by_lowercase.entry(lowercase(alias).into_owned()).or_insert(index);
            }
        }
        self.indexed = self.nodes.len();
    }

    /// Marks row `row` as an object of which something was stored.
    pub(super) fn store(&mut self, row: usize) {
        self.validity.store(row);
    }

    fn finish(self, rows: usize, kind: &DataType) -> ArrayRef {
        let DataType::Struct(fields) = kind else { unreachable!("an object's column is a struct") };
        let arrays = self.nodes.into_iter().zip(fields).map(|(node, field)| node.finish(rows, field.data_type()));
        Arc::new(StructArray::new(fields.clone(), arrays.collect(), self.validity.finish(rows)))
    }
}

impl Elements {
    pub(super) fn new(node: Node) -> Self {
        Self { node, ends: vec![0], validity: Validity::default() }
    }

    /// Where the next array starts.
    pub(super) fn end(&self) -> usize {
        self.ends.last().map_or(0, |end| usize::try_from(*end).expect("ends are counted up from zero"))
    }

    /// Marks row `row` as an array of `count` elements.
    pub(super) fn store(&mut self, row: usize, count: usize) {
        let end = self.ends.last().copied().unwrap_or(0);
        self.ends.resize(row + 1, end);
        let count = i32::try_from(count).expect("a batch has fewer bytes, thus elements");
        self.ends.push(end + count);
        self.validity.store(row);
    }

    fn finish(mut self, rows: usize, kind: &DataType) -> ArrayRef {
        let DataType::List(field) = kind else { unreachable!("an array's column is a list") };
        let offsets = self.offsets(rows);
        let end = self.end();
        let elements = self.node.finish(end, field.data_type());
        Arc::new(ListArray::new(Arc::clone(field), offsets, elements, self.validity.finish(rows)))
    }

    fn offsets(&mut self, rows: usize) -> OffsetBuffer<i32> {
        self.ends.resize(rows + 1, self.ends.last().copied().unwrap_or(0));
        OffsetBuffer::new(ScalarBuffer::from(self.ends.clone()))
    }
}

impl Entries {
    fn new(key: Column, value: Node) -> Self {
        Self { key, keys: StringBuilder::new(), values: Elements::new(value) }
    }

    /// Marks row `row` as a map with these keys, whose values are stored.
    pub(super) fn store(&mut self, row: usize, keys: &[String]) {
        keys.iter().for_each(|key| self.keys.append_value(key));
        self.values.store(row, keys.len());
    }

    fn finish(mut self, rows: usize, kind: &DataType) -> ArrayRef {
        let DataType::Map(entries, _) = kind else { unreachable!("a map's column is a map") };
        let DataType::Struct(fields) = entries.data_type() else { unreachable!("a map's entries are a struct") };
        let offsets = self.values.offsets(rows);
        let values = self.values.node.finish(self.keys.len(), fields[1].data_type());
        let both = StructArray::new(fields.clone(), vec![Arc::new(self.keys.finish()), values], None);
        let nulls = self.values.validity.finish(rows);
        Arc::new(MapArray::new(Arc::clone(entries), offsets, both, nulls, false))
    }
}

impl Validity {
    fn store(&mut self, row: usize) {
        self.pad(row);
        self.0.append_non_null();
    }

    fn pad(&mut self, rows: usize) {
        if self.0.len() < rows {
            self.0.append_n_nulls(rows - self.0.len());
        }
    }

    fn finish(mut self, rows: usize) -> Option<NullBuffer> {
        self.pad(rows);
        self.0.finish()
    }
}

impl Default for Validity {
    fn default() -> Self {
        Self(NullBufferBuilder::new(0))
    }
}

/// Stores a number at `row`; earlier rows without one become null.
pub(super) fn store_number<T: ArrowPrimitiveType>(values: &mut PrimitiveBuilder<T>, row: usize, value: T::Native) {
    pad_numbers(values, row);
    values.append_value(value);
}

/// The same for a boolean.
pub(super) fn store_boolean(values: &mut BooleanBuilder, row: usize, value: bool) {
    pad_booleans(values, row);
    values.append_value(value);
}

/// The same for a text.
pub(super) fn store_text(values: &mut StringBuilder, row: usize, value: &str) {
    pad_texts(values, row);
    values.append_value(value);
}

/// The numbers of `rows` rows; those after the last number are null.
pub(super) fn finish_numbers<T: ArrowPrimitiveType>(mut values: PrimitiveBuilder<T>, rows: usize) -> ArrayRef {
    pad_numbers(&mut values, rows);
    Arc::new(values.finish())
}

/// Makes the rows after the last number null, up to `rows`. To append no null at all would give the column a bitmap, and whoever
/// reads it would look at each bit for nothing.
fn pad_numbers<T: ArrowPrimitiveType>(values: &mut PrimitiveBuilder<T>, rows: usize) {
    if values.len() < rows {
        values.append_nulls(rows - values.len());
    }
}

fn pad_booleans(values: &mut BooleanBuilder, rows: usize) {
    if values.len() < rows {
        values.append_nulls(rows - values.len());
    }
}

/// The texts of `rows` rows; those after the last text are null.
pub(super) fn finish_texts(mut values: StringBuilder, rows: usize) -> ArrayRef {
    pad_texts(&mut values, rows);
    Arc::new(values.finish())
}

fn pad_texts(values: &mut StringBuilder, rows: usize) {
    let texts = texts_in(values);
    if texts < rows {
        values.append_nulls(rows - texts);
    }
}

/// How many texts there are. The builder's own count is a call that is not inlined, for each value.
fn texts_in(values: &StringBuilder) -> usize {
    values.offsets_slice().len() - 1
}

fn key_of(name: &str) -> Option<Box<[u8]>> {
    let is_as_it_is = |letter: char| !letter.is_control() && !matches!(letter, '"' | '\\');
    name.chars().all(is_as_it_is).then(|| format!("\"{name}\":").into_bytes().into_boxed_slice())
}

fn lowercase(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(name.to_lowercase())
    }
}
