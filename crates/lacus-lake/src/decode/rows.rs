//! Reads records into columns: which value goes where, by the type rules.
//!
//! The first value of a column decides its type; what does not fit is rescued. Ids are given in order of discovery.

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use jiter::{JiterError, JsonErrorType, Peek};
use lacus_core::{Error, Record, Result};

use super::columns::{Elements, Entries, Fields, Key, Node, Room, Values, store_boolean, store_number, store_text};
use super::cursor::Cursor;
use super::rescued::{Place, Rescued};
use super::{Decoded, Rejected, json, numbers};
use crate::schema::{TableSchema, UTC, is_taken_name};

/// How deep columns may be nested, including the table's own level. Objects and arrays further inside are rescued: readers of
/// Parquet, Arrow and Iceberg's JSON give up on deeper schemas, so one such event would spoil the table.
const LEVELS_MAX: usize = 32;
/// The most leaf columns of a table. Values of further ones are rescued.
const LEAVES_MAX: usize = 2_000;
/// The longest name of a column, in bytes. Values with longer names are rescued.
const NAME_BYTES_MAX: usize = 255;

/// When a record is checked for being one JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// Before any of it reaches a column: it is read twice, and a broken one leaves no trace.
    First,
    /// While it is read: a broken one leaves values behind.
    OnTheWay,
}

/// Decodes records. The returned ids are those of Long columns that met a fraction: the schema has them as Double, and the
/// rows must be decoded again. Unless the table `grows`, new fields are rescued.
pub(super) fn decode(records: &[Record], schema: &TableSchema, grows: bool) -> Result<(Decoded, Vec<i32>)> {
    // Almost all records are valid, and reading each once is a third faster. If one is not, this attempt is discarded.
    match decode_checking(records, schema, grows, Check::OnTheWay)? {
        Some(decoded) => Ok(decoded),
        None => decode_checking(records, schema, grows, Check::First)?
            .ok_or_else(|| Error::internal("records that were checked turned out broken")),
    }
}

/// The same in one pass; none if a record turned out to be broken after part of it was read.
fn decode_checking(
    records: &[Record],
    schema: &TableSchema,
    grows: bool,
    check: Check,
) -> Result<Option<(Decoded, Vec<i32>)>> {
    let mut table = Fields::new(&schema.columns, Room::of(records, &schema.columns));
    let (taken, leaves) = (schema.taken.clone(), table.leaves());
    let mut growth = Growth { last_id: schema.last_id, leaves, widened: Vec::new(), grows, taken };
    let mut rescued = Rescued::default();
    let mut positions = Positions::with_room(records.len());
    let mut rejected = Vec::new();
    let mut tape = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let text = match (check, std::str::from_utf8(&record.value)) {
            (Check::OnTheWay, Ok(text)) => text,
            (Check::OnTheWay, Err(_)) => return Ok(None),
            (Check::First, _) => match json::object_text(&record.value) {
                Ok(text) => text,
                Err(reason) => {
                    rejected.push(Rejected { index, reason });
                    continue;
                }
            },
        };
        let cursor = Cursor::new(text, mem::take(&mut tape));
        rescued.begin_row(text);
        let mut reader = Reader { cursor, levels: 1, rescued: &mut rescued, growth: &mut growth };
        match reader.record(&mut table, positions.rows()) {
            Ok(()) => {}
            Err(_) if check == Check::OnTheWay => return Ok(None),
            Err(error) => return Err(not_as_checked(record, error)),
        }
        tape = reader.cursor.into_tape();
        rescued.end_row(text);
        positions.push(record)?;
    }
    let Growth { last_id, widened, taken, .. } = growth;
    let schema = TableSchema { columns: table.columns(), last_id, system: schema.system, taken };
    let (rows, arrow) = (positions.rows(), schema.arrow());
    let columns = table.nodes.into_iter().zip(arrow.fields());
    let columns = columns
        .map(|(node, field)| node.finish(rows, field.data_type()))
        .chain([rescued.finish()])
        .chain(positions.finish())
        .collect();
    let rows = RecordBatch::try_new(arrow, columns)
        .map_err(|error| Error::internal("put decoded columns together").with_source(error))?;
    Ok(Some((Decoded { rows, schema, rejected, widened: false }, widened)))
}

fn not_as_checked(record: &Record, error: JiterError) -> Error {
    Error::internal(format!("record {} was checked and can't be read", record.position)).with_source(error)
}

/// How the schema grows.
struct Growth {
    last_id: i32,
    leaves: usize,
    widened: Vec<i32>,
    /// Whether new fields make columns.
    grows: bool,
    /// Paths of fields that make none.
    taken: Vec<String>,
}

/// Reads one record.
struct Reader<'json, 'batch> {
    cursor: Cursor<'json>,
    /// How many objects and arrays enclose the current position.
    levels: usize,
    rescued: &'batch mut Rescued,
    growth: &'batch mut Growth,
}

/// What the columns keep of a value, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kept {
    /// Nothing: another value of the same key may still come.
    Nothing,
    /// Its place: it is rescued, and so is another value of the same key. This is for integers that a Long holds and a Double
    /// doesn't: which value of a key counts must not depend on whether the column was widened before.
    Place,
    /// Something of it.
    Value,
}

/// Every method that reads a value returns what the columns keep of it.
impl<'json> Reader<'json, '_> {
    fn record(&mut self, table: &mut Fields, row: usize) -> Result<(), JiterError> {
        let first = self.cursor.peek()?;
        if first != Peek::Object {
            return Err(self.cursor.fault(JsonErrorType::ExpectedSomeValue));
        }
        self.object(table, row)?;
        self.cursor.parser().finish()
    }

    fn object(&mut self, fields: &mut Fields, row: usize) -> Result<Kept, JiterError> {
        let (mut kept, mut before) = (Kept::Nothing, b'{');
        fields.begin();
        loop {
            let of_this = if let Some(index) = self.expected(fields, before) {
                self.field(fields, index, row)?
            } else {
                let Some(name) = self.cursor.key(before)? else { return Ok(kept) };
                match fields.find(name) {
                    Key::Known(index) => match fields.others(name, index) {
                        others if others.is_empty() => self.field(fields, index, row)?,
                        others => self.one_of(fields, &[&[index], others.as_slice()].concat(), row)?,
                    },
                    Key::New(name) => self.new_field(fields, name, row)?,
                    Key::Variant(name) => self.misfit(Place::Field(&name))?,
                }
            };
            kept = kept.max(of_this);
            before = b',';
        }
    }

    /// The next field, if it is an expected one. To compare its key takes less time than to read it.
    fn expected(&mut self, fields: &mut Fields, before: u8) -> Option<usize> {
        let from_here = self.cursor.rest();
        let (_, rest) = from_here.split_first().filter(|(first, _)| **first == before)?;
        let (index, rest) = fields.expected(rest.strip_prefix(b" ").unwrap_or(rest))?;
        self.cursor.pass(from_here.len() - rest.len());
        Some(index)
    }

    fn field(&mut self, fields: &mut Fields, index: usize, row: usize) -> Result<Kept, JiterError> {
        let is_taken = fields.is_taken(index, row);
        let node = &mut fields.nodes[index];
        if is_taken {
            return self.misfit(Place::Field(&node.name));
        }
        let kept = self.value(node, row, None)?;
        if kept == Kept::Place {
            fields.take(index);
        }
        Ok(kept)
    }

    /// Reads a value for which there are several fields: the first one that can keep any of it gets it.
    fn one_of(&mut self, fields: &mut Fields, several: &[usize], row: usize) -> Result<Kept, JiterError> {
        let first = several[0];
        let name = fields.nodes[first].name.clone();
        if several.iter().any(|&index| fields.is_taken(index, row)) {
            return self.misfit(Place::Field(&name));
        }
        let Some(text) = self.skip_content()? else { return Ok(Kept::Nothing) };
        let mut most = Kept::Nothing;
        for &index in several {
            let outside = self.rescued.here();
            let (cursor, rescued, growth) = (Cursor::new(text, Vec::new()), &mut *self.rescued, &mut *self.growth);
            let mut reader = Reader { cursor, levels: self.levels, rescued, growth };
            let kept = reader.value(&mut fields.nodes[index], row, None)?;
            if kept == Kept::Value {
                return Ok(kept);
            }
            most = most.max(kept);
            self.rescued.drop_since(&outside);
        }
        self.rescued.add(Place::Field(&name), text);
        if most == Kept::Place {
            fields.take(first);
        }
        Ok(most)
    }

    fn new_field(&mut self, fields: &mut Fields, name: String, row: usize) -> Result<Kept, JiterError> {
        if !self.is_allowed(&name) {
            return self.misfit(Place::Field(&name));
        }
        let mut node = Node::undecided(self.growth.next_id(), name);
        let kept = self.value(&mut node, row, None)?;
        if matches!(node.values, Values::Unknown) {
            self.growth.take_back(node.id);
            return Ok(kept);
        }
        fields.add(node);
        if kept == Kept::Place {
            fields.take(fields.nodes.len() - 1);
        }
        Ok(kept)
    }

    fn is_allowed(&self, name: &str) -> bool {
        if !self.growth.grows {
            return false;
        }
        let is_taken = (self.rescued.is_at_top() && is_taken_name(name)) || self.is_taken(name);
        let is_printable = !name.is_empty() && !name.chars().any(char::is_control);
        is_printable && name.len() <= NAME_BYTES_MAX && !is_taken
    }

    /// Whether files have what is called so here by its name, or a partition field is called so.
    fn is_taken(&self, name: &str) -> bool {
        if self.growth.taken.is_empty() {
            return false;
        }
        let path = self.rescued.path_of(name);
        self.growth.taken.contains(&path)
    }

    /// Reads the next value into row `row` of `node`; for an element or entry, with its place in the array or map.
    fn value(&mut self, node: &mut Node, row: usize, at: Option<Place<'_>>) -> Result<Kept, JiterError> {
        match self.cursor.peek()? {
            Peek::Null => self.cursor.parser().known_null().map(|()| Kept::Nothing),
            Peek::String => self.string(node, row, at),
            Peek::Object => self.container(node, row, at, Self::object_value),
            Peek::Array => self.container(node, row, at, Self::array_value),
            peek @ (Peek::True | Peek::False) => self.boolean(node, row, at, peek),
            peek => self.number(node, row, at, peek),
        }
    }

    fn string(&mut self, node: &mut Node, row: usize, at: Option<Place<'_>>) -> Result<Kept, JiterError> {
        if matches!(node.values, Values::Unknown) && self.growth.add_leaf() {
            node.values = Values::Text(StringBuilder::with_capacity(row + 1, 0));
        }
        match &mut node.values {
            Values::Text(values) => store_text(values, row, self.cursor.known_text()?),
            Values::Typed(values) => {
                let start = self.cursor.here();
                if !values.store_text(row, self.cursor.known_text()?) {
                    let text = self.cursor.text_since(start);
                    self.rescued.add(place(node, at), text);
                    return Ok(Kept::Nothing);
                }
            }
            _ => return self.misfit(place(node, at)),
        }
        Ok(Kept::Value)
    }

    fn boolean(&mut self, node: &mut Node, row: usize, at: Option<Place<'_>>, peek: Peek) -> Result<Kept, JiterError> {
        if matches!(node.values, Values::Unknown) && self.growth.add_leaf() {
            node.values = Values::Boolean(BooleanBuilder::with_capacity(row + 1));
        }
        match &mut node.values {
            Values::Boolean(values) => store_boolean(values, row, self.cursor.parser().known_bool(peek)?),
            Values::Text(values) => {
                store_text(values, row, if self.cursor.parser().known_bool(peek)? { "true" } else { "false" });
            }
            _ => return self.misfit(place(node, at)),
        }
        Ok(Kept::Value)
    }

    fn number(&mut self, node: &mut Node, row: usize, at: Option<Place<'_>>, peek: Peek) -> Result<Kept, JiterError> {
        let literal = self.cursor.number(peek)?;
        if matches!(node.values, Values::Unknown) && self.growth.add_leaf() {
            node.values = number_values(literal, row + 1);
        }
        if matches!(node.values, Values::Long(_)) && !node.committed && !numbers::is_whole(literal) {
            self.growth.widen(node);
        }
        let kept = store_literal(&mut node.values, row, literal);
        if kept != Kept::Value {
            self.rescued.add(place(node, at), literal);
        }
        Ok(kept)
    }

    /// Reads an object or array. If nothing of it can be stored, it is rescued as a whole, not in parts: so it does not
    /// matter whether its column was known when it came.
    fn container(
        &mut self,
        node: &mut Node,
        row: usize,
        at: Option<Place<'_>>,
        read: impl FnOnce(&mut Self, &mut Node, usize) -> Result<Option<Kept>, JiterError>,
    ) -> Result<Kept, JiterError> {
        if self.levels == LEVELS_MAX {
            return self.misfit(place(node, at));
        }
        let start = self.cursor.here();
        let outside = self.rescued.enter(place(node, at));
        self.levels += 1;
        let kept = read(self, node, row)?;
        self.levels -= 1;
        let has_misfits = self.rescued.leave(&outside);
        let Some(kept) = kept else { return self.misfit(place(node, at)) };
        if has_misfits && kept != Kept::Value {
            let text = self.cursor.text_since(start);
            self.rescued.drop_since(&outside);
            self.rescued.add(place(node, at), text);
        }
        Ok(kept)
    }

    /// Reads an object; none if the column has another type.
    fn object_value(&mut self, node: &mut Node, row: usize) -> Result<Option<Kept>, JiterError> {
        let is_new = matches!(node.values, Values::Unknown);
        if is_new {
            node.values = Values::Struct(Fields::default());
        }
        let fields = match &mut node.values {
            Values::Struct(fields) => fields,
            Values::Map(entries) => return self.map(entries, row).map(Some),
            _ => return Ok(None),
        };
        let kept = self.object(fields, row)?;
        if kept == Kept::Value {
            fields.store(row);
        }
        if is_new && fields.nodes.is_empty() {
            node.values = Values::Unknown;
        }
        Ok(Some(kept))
    }

    /// Reads an object as a map. Of a repeated key the first counts, as everywhere.
    fn map(&mut self, entries: &mut Entries, row: usize) -> Result<Kept, JiterError> {
        let start = entries.values.end();
        let (mut keys, mut known, mut kept) = (Vec::new(), HashSet::new(), Kept::Nothing);
        let mut key = self.cursor.key(b'{')?;
        while let Some(name) = key {
            let name = name.to_owned();
            kept = kept.max(if known.insert(name.clone()) {
                let place = Some(Place::Field(&name));
                let kept = self.value(&mut entries.values.node, start + keys.len(), place)?;
                keys.push(name);
                kept
            } else {
                self.misfit(Place::Field(&name))?
            });
            key = self.cursor.key(b',')?;
        }
        if kept == Kept::Value {
            entries.store(row, &keys);
        }
        Ok(kept)
    }

    /// Reads an array; none if the column has another type.
    fn array_value(&mut self, node: &mut Node, row: usize) -> Result<Option<Kept>, JiterError> {
        let is_new = matches!(node.values, Values::Unknown);
        if is_new {
            let element = Node::undecided(self.growth.next_id(), "element".to_owned());
            node.values = Values::List(Box::new(Elements::new(element)));
        }
        let Values::List(elements) = &mut node.values else { return Ok(None) };
        let kept = self.array(elements, row)?;
        if is_new && matches!(elements.node.values, Values::Unknown) {
            self.growth.take_back(elements.node.id);
            node.values = Values::Unknown;
        }
        Ok(Some(kept))
    }

    fn array(&mut self, elements: &mut Elements, row: usize) -> Result<Kept, JiterError> {
        let start = elements.end();
        let (mut count, mut kept) = (0, Kept::Nothing);
        let mut has_next = self.cursor.parser().known_array()?.is_some();
        while has_next {
            kept = kept.max(self.value(&mut elements.node, start + count, Some(Place::Element(count)))?);
            count += 1;
            has_next = self.cursor.next_element()?;
        }
        if kept == Kept::Value {
            elements.store(row, count);
        }
        Ok(kept)
    }

    /// Rescues the next value, if it has content.
    fn misfit(&mut self, place: Place<'_>) -> Result<Kept, JiterError> {
        if let Some(text) = self.skip_content()? {
            self.rescued.add(place, text);
        }
        Ok(Kept::Nothing)
    }

    /// Skips the next value. Returns its text, if it has content.
    fn skip_content(&mut self) -> Result<Option<&'json str>, JiterError> {
        let peek = self.cursor.peek()?;
        let start = self.cursor.here();
        let has_content = match json::skip_inside(self.cursor.parser(), peek, self.levels) {
            Ok(has_content) => has_content,
            Err(json::Fault::Syntax(error)) => return Err(error),
            Err(json::Fault::TooDeep) => return Err(self.cursor.fault(JsonErrorType::RecursionLimitExceeded)),
        };
        Ok(has_content.then(|| self.cursor.text_since(start)))
    }
}

impl Growth {
    fn next_id(&mut self) -> i32 {
        self.last_id += 1;
        self.last_id
    }

    /// Takes back the last id: its column was not made.
    fn take_back(&mut self, id: i32) {
        assert_eq!(id, self.last_id, "what has no type has no columns inside");
        self.last_id -= 1;
    }

    /// Reserves one more leaf column, if there is room.
    fn add_leaf(&mut self) -> bool {
        let has_room = self.leaves < LEAVES_MAX;
        self.leaves += usize::from(has_room);
        has_room
    }

    /// Makes a Long column a Double. The values of this pass are discarded, so its contents don't matter.
    fn widen(&mut self, node: &mut Node) {
        self.widened.push(node.id);
        let mut values = Float64Builder::new();
        values.append_nulls(node.len());
        node.values = Values::Double(values);
    }
}

fn place<'a>(node: &'a Node, at: Option<Place<'a>>) -> Place<'a> {
    at.unwrap_or(Place::Field(&node.name))
}

/// The column that a number makes when it is the first value.
fn number_values(literal: &str, rows: usize) -> Values {
    if !numbers::is_whole(literal) {
        Values::Double(Float64Builder::with_capacity(rows))
    } else if literal.parse::<i64>().is_ok() {
        Values::Long(Int64Builder::with_capacity(rows))
    } else {
        Values::Text(StringBuilder::with_capacity(rows, 0))
    }
}

/// Stores a number if the column can hold it exactly.
fn store_literal(values: &mut Values, row: usize, literal: &str) -> Kept {
    match values {
        Values::Text(values) => store_text(values, row, literal),
        Values::Long(values) => {
            let Some(value) = numbers::as_long(literal) else { return Kept::Nothing };
            store_number(values, row, value);
        }
        Values::Double(values) => {
            let Some(value) = numbers::as_double(literal) else {
                return if numbers::as_long(literal).is_some() { Kept::Place } else { Kept::Nothing };
            };
            store_number(values, row, value);
        }
        Values::Typed(values) => {
            if !values.store_number(row, literal) {
                return Kept::Nothing;
            }
        }
        _ => return Kept::Nothing,
    }
    Kept::Value
}

/// The system columns that say where a row came from.
pub(super) struct Positions {
    received_at: TimestampMicrosecondBuilder,
    partition: Int32Builder,
    offset: Int64Builder,
}

impl Positions {
    /// None yet, with room for those of so many rows.
    pub(super) fn with_room(rows: usize) -> Self {
        Self {
            received_at: TimestampMicrosecondBuilder::with_capacity(rows),
            partition: Int32Builder::with_capacity(rows),
            offset: Int64Builder::with_capacity(rows),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.offset.len()
    }

    pub(super) fn push(&mut self, record: &Record) -> Result<()> {
        let too_big = |_| Error::internal(format!("position {} is too big for a table", record.position));
        self.received_at.append_value(record.received_at.as_micros());
        self.partition.append_value(i32::try_from(record.position.partition.0).map_err(too_big)?);
        self.offset.append_value(i64::try_from(record.position.offset.0).map_err(too_big)?);
        Ok(())
    }

    pub(super) fn finish(mut self) -> [ArrayRef; 3] {
        let received_at = self.received_at.finish().with_timezone(UTC);
        [Arc::new(received_at), Arc::new(self.partition.finish()), Arc::new(self.offset.finish())]
    }
}
