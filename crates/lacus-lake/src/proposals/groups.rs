//! Misfits of one column and one shape, and the column that would hold them.

use lacus_core::settings::Contract;
use lacus_core::{Offset, Partition, Position, Record, Result, Timestamp};

use super::{Proposal, add_example};
use crate::decode::decode_under;
use crate::refill::{Step, Way};
use crate::schema::{Column, ColumnType, SchemaChange, TableSchema};

/// Values that the type of a column is found by. Of more, those that are of another type stay misfits.
const SAMPLES_MAX: usize = 10_000;
/// The same in bytes.
const SAMPLES_BYTES_MAX: usize = 4 << 20;
/// Columns of one name with a number behind it.
const NUMBERED_MAX: usize = 100;

/// What a value is, roughly: one column may hold all values of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape {
    Number,
    /// Text and booleans.
    Other,
    Object,
    Array,
}

impl Shape {
    /// The shape of a JSON value.
    pub(super) fn of(value: &str) -> Self {
        match value.as_bytes().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b'-' | b'0'..=b'9') => Self::Number,
            _ => Self::Other,
        }
    }
}

/// Misfits of one column and one shape.
pub(super) struct Group {
    pub(super) values: u64,
    examples: Vec<String>,
    samples: Vec<String>,
    samples_bytes: usize,
    /// Whether they are elements of an array, which has no room beside them.
    are_elements: bool,
    /// The columns that senders feed by this name.
    called: Vec<Column>,
}

impl Group {
    /// No values yet, of those at the end of this way.
    pub(super) fn new(way: &Way<'_>) -> Self {
        let (name, are_elements) = match way.steps.last() {
            Some(Step::Field(name)) => (name.as_str(), false),
            _ => ("element", true),
        };
        let called = way.neighbours.iter().filter(|column| column.is_called(name)).map(|column| (*column).clone());
        let called = called.collect();
        Self { values: 0, examples: Vec::new(), samples: Vec::new(), samples_bytes: 0, are_elements, called }
    }

    pub(super) fn add(&mut self, value: &str) {
        self.values += 1;
        add_example(&mut self.examples, value);
        if self.samples.len() < SAMPLES_MAX && self.samples_bytes + value.len() <= SAMPLES_BYTES_MAX {
            self.samples_bytes += value.len();
            self.samples.push(value.to_owned());
        }
    }

    /// What would hold the values. `after` are the columns once all proposals so far are accepted.
    pub(super) fn propose(&self, path: &[String], shape: Shape, after: &mut TableSchema) -> Result<Option<Proposal>> {
        let is_scalar = matches!(shape, Shape::Number | Shape::Other);
        let wider = if is_scalar { self.wider()? } else { None };
        let change = match wider {
            Some((column, kind)) => {
                let path = with_last(path, &column);
                Some(SchemaChange::Widen { path, kind })
            }
            None if self.are_elements => None,
            None => self.column_beside(path, shape, after)?,
        };
        let Some(change) = change else { return Ok(None) };
        let (SchemaChange::Widen { path: new, kind }
        | SchemaChange::Add { path: new, kind }
        | SchemaChange::AddFor { path: new, kind, .. }) = &change
        else {
            return Ok(None);
        };
        Ok(Some(Proposal {
            column: path.join("."),
            values: self.values,
            becomes: new.join("."),
            kind: Some(kind.clone()),
            examples: self.examples.clone(),
            change: Some(change),
        }))
    }

    /// The column that could become wider, and its type then, if all values fit it.
    fn wider(&self) -> Result<Option<(String, ColumnType)>> {
        for column in &self.called {
            let wider = match &column.kind {
                ColumnType::Int => ColumnType::Long,
                ColumnType::Float => ColumnType::Double,
                ColumnType::Decimal { scale, .. } => ColumnType::Decimal { precision: 38, scale: *scale },
                _ => continue,
            };
            if wider != column.kind && self.decode(Some(wider.clone()))?.1 {
                return Ok(Some((column.name.clone(), wider)));
            }
        }
        Ok(None)
    }

    /// A new column, of a name that is free.
    fn column_beside(&self, path: &[String], shape: Shape, after: &mut TableSchema) -> Result<Option<SchemaChange>> {
        let Some(kind) = self.kind(shape)? else { return Ok(None) };
        let sent_as = path.last().cloned().unwrap_or_default();
        let suffix = match (shape, &kind) {
            (Shape::Object, _) => "object",
            (Shape::Array, _) => "list",
            (_, ColumnType::Boolean) => "boolean",
            (_, ColumnType::Long | ColumnType::Double) => "number",
            _ => "text",
        };
        let plain = SchemaChange::Add { path: path.to_vec(), kind: kind.clone() };
        let numbered = (1..NUMBERED_MAX).map(|number| match number {
            1 => format!("{sent_as}_{suffix}"),
            number => format!("{sent_as}_{suffix}_{number}"),
        });
        let beside = numbered.map(|name| SchemaChange::AddFor {
            path: with_last(path, &name),
            kind: kind.clone(),
            sent_as: sent_as.clone(),
        });
        for change in std::iter::once(plain).chain(beside) {
            if let Ok(changed) = after.changed(std::slice::from_ref(&change)) {
                *after = changed;
                return Ok(Some(change));
            }
        }
        Ok(None)
    }

    /// The type that holds the values.
    fn kind(&self, shape: Shape) -> Result<Option<ColumnType>> {
        if matches!(shape, Shape::Object | Shape::Array) {
            return Ok(self.decode(None)?.0);
        }
        // Text next to booleans.
        let is_text = |value: &String| value.starts_with('"');
        if self.samples.iter().any(is_text) != self.samples.iter().all(is_text) {
            return Ok(Some(ColumnType::Text));
        }
        match self.decode(None)? {
            (Some(kind), true) => Ok(Some(kind)),
            _ => Ok(Some(ColumnType::Text)),
        }
    }

    /// Decodes the values into one column: its type, and whether all of them fit.
    fn decode(&self, kind: Option<ColumnType>) -> Result<(Option<ColumnType>, bool)> {
        let record = |value: &String| Record {
            position: Position { partition: Partition(0), offset: Offset(0) },
            received_at: Timestamp::from_micros(0),
            key: None,
            id: None,
            value: format!("{{\"v\":{value}}}").into(),
        };
        let records: Vec<Record> = self.samples.iter().map(record).collect();
        let mut schema = TableSchema::empty();
        schema.columns.extend(kind.map(|kind| Column::new(schema.last_id + 1, "v", kind)));
        schema.last_id += 1;
        let decoded = decode_under(&records, &schema, Contract::Evolve)?;
        let fits = crate::refill::rescued_of(&decoded.rows).is_none();
        Ok((decoded.schema.columns.first().map(|column| column.kind.clone()), fits))
    }
}

/// The path of a neighbour.
fn with_last(path: &[String], name: &str) -> Vec<String> {
    let mut path = path.to_vec();
    if let Some(last) = path.last_mut() {
        name.clone_into(last);
    }
    path
}
