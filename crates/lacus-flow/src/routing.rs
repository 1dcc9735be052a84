//! Which rows of which tables the records of a stream become.
//!
//! A plain stream has one table, and its records are its rows as they are, unless the settings of its source ask for
//! another shape. A stream of Segment's messages has a database of tables. Routing is a function of the records and the
//! format alone: it can be done again, and gives the same.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use lacus_core::attributes::SEGMENT_FORMAT;
use lacus_core::settings::{Arrays, Shape};
use lacus_core::{Error, Offsets, Partition, Record, Result, StreamName, TableName};
use lacus_stream::StreamInfo;

use crate::reading::TURN_BYTES_MAX;
use crate::segment::{self, TRACKS};
use crate::shape::{self, OTHER_EVENTS, PARENT_BYTES_MAX};

/// Bytes of records that a turn reads when array elements become rows: each byte of an event may become a row of dozens.
const EXPLODED_TURN_BYTES_MAX: usize = 512 << 10;

/// What the records of a stream are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Format {
    /// JSON objects: rows of one table.
    Plain,
    /// JSON objects whose rows the settings describe.
    Shaped(Arc<Shape>),
    /// Segment's messages: rows of the tables of a database.
    Segment,
}

/// One row, and the table it goes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RowOf {
    /// Its name in the stream's database. For a stream with one table, it is what follows the stream's name.
    pub(crate) table: String,
    pub(crate) json: Bytes,
}

/// The rows of one record.
pub(crate) struct Rows {
    pub(crate) rows: Vec<RowOf>,
    /// Why a part of the record has no row, if that is so.
    pub(crate) left_out: Option<String>,
}

/// The rows of some records.
#[derive(Default)]
pub(crate) struct Routed<'records> {
    /// By table; each row has the position of the record it came from.
    pub(crate) rows: Vec<(TableName, Cow<'records, [Record]>)>,
    /// What goes to quarantine.
    pub(crate) refused: Vec<Refused>,
}

/// A record that goes to quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Its place among the records.
    pub(crate) index: usize,
    /// Why, for a person.
    pub(crate) reason: String,
    /// Whether it has rows all the same.
    pub(crate) has_rows: bool,
}

impl Format {
    /// The format that the stream states for a shard; without one, plain JSON in the shape of the source's settings.
    ///
    /// # Errors
    /// `Invalid` for a format that this lacus does not know.
    pub(crate) fn of(stream: &StreamInfo, shard: Partition, shape: &Arc<Shape>) -> Result<Self> {
        match stream.format_of(shard) {
            None if shape.is_as_sent() => Ok(Self::Plain),
            None => Ok(Self::Shaped(Arc::clone(shape))),
            Some(SEGMENT_FORMAT) => Ok(Self::Segment),
            Some(other) => {
                Err(Error::invalid(format!("stream \"{}\" has the unknown format \"{other}\"", stream.name))
                    .with_hint("was it written by a newer lacus? upgrade this one"))
            }
        }
    }

    /// The format of the records to deliver next: that of the oldest shard with undelivered records.
    ///
    /// # Errors
    /// As for [`Format::of`].
    pub(crate) fn next(stream: &StreamInfo, seen: &Offsets, shape: &Arc<Shape>) -> Result<Self> {
        let has_news = |shard: &Partition| seen.next(*shard) < stream.end.next(*shard);
        let oldest = stream.shards.iter().map(|shard| shard.partition).find(has_news);
        Self::of(stream, oldest.unwrap_or(Partition(stream.first_shard)), shape)
    }

    /// The table that records the progress of a stream.
    ///
    /// # Errors
    /// `Invalid` for a stream that can't have a database, or whose name leaves no room for those of its tables.
    pub(crate) fn primary(&self, stream: &StreamName) -> Result<TableName> {
        match self {
            Self::Segment => stream.table_in(TRACKS),
            Self::Shaped(shape) if shape.by_event.is_some() => stream.table_in(OTHER_EVENTS),
            Self::Shaped(shape) if shape.arrays == Arrays::Explode && stream.as_str().len() > PARENT_BYTES_MAX => {
                Err(Error::invalid(format!("the name of stream \"{stream}\" is too long for tables of its arrays"))
                    .with_hint(format!("{PARENT_BYTES_MAX} bytes are the most with arrays = \"explode\"")))
            }
            Self::Shaped(_) | Self::Plain => Ok(stream.table()),
        }
    }

    /// Every table that may have recorded the progress of a stream.
    pub(crate) fn primaries(stream: &StreamName) -> impl Iterator<Item = TableName> {
        [Ok(stream.table()), stream.table_in(TRACKS), stream.table_in(OTHER_EVENTS)].into_iter().flatten()
    }

    /// Routes records to rows.
    ///
    /// # Errors
    /// `Invalid` for a stream that can't have a database.
    pub(crate) fn route<'records>(&self, stream: &StreamName, records: &'records [Record]) -> Result<Routed<'records>> {
        match self {
            Self::Plain => Ok(Routed { rows: vec![(stream.table(), Cow::Borrowed(records))], refused: Vec::new() }),
            Self::Segment => {
                let rows = |message: &Bytes| Ok(Rows { rows: segment::rows(message)?, left_out: None });
                route_rows(records, rows, |table| stream.table_in(table))
            }
            Self::Shaped(shape) => {
                let rows = |event: &Bytes| shape::rows(event, shape, stream.as_str().len());
                let has_database = shape.by_event.is_some();
                route_rows(records, rows, |table| match table.strip_prefix("__") {
                    _ if has_database => stream.table_in(table),
                    Some(array) => stream.table().elements(array),
                    None => Ok(stream.table()),
                })
            }
        }
    }

    /// Whether a table of the stream is made because of its events: the number of those is limited.
    pub(crate) fn is_made_by_events(&self, table: &TableName, primary: &TableName) -> bool {
        match self {
            Self::Plain => false,
            Self::Shaped(_) => !table.is_quarantine() && table != primary,
            Self::Segment => !table.is_quarantine() && !segment::TABLES.contains(&table.table()),
        }
    }

    /// Whether rows of a table for which there is no room go to the one of other events. All others go to quarantine.
    pub(crate) fn has_other_events(&self, table: &TableName) -> bool {
        matches!(self, Self::Shaped(shape) if shape.by_event.is_some()) && !table.is_of_elements()
    }

    /// Bytes of records that are routed and decoded at once.
    pub(crate) fn turn_bytes(&self) -> usize {
        match self {
            Self::Shaped(shape) if shape.arrays == Arrays::Explode => EXPLODED_TURN_BYTES_MAX,
            _ => TURN_BYTES_MAX,
        }
    }
}

fn route_rows<'records>(
    records: &[Record],
    rows_of: impl Fn(&Bytes) -> Result<Rows, String>,
    name: impl Fn(&str) -> Result<TableName>,
) -> Result<Routed<'records>> {
    let mut tables: Vec<(TableName, Vec<Record>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut refused = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let Rows { rows, left_out } = match rows_of(&record.value) {
            Ok(rows) => rows,
            Err(reason) => {
                refused.push(Refused { index, reason, has_rows: false });
                continue;
            }
        };
        refused.extend(left_out.map(|reason| Refused { index, reason, has_rows: true }));
        for row in rows {
            let place = match places.get(&row.table) {
                Some(place) => *place,
                None => {
                    tables.push((name(&row.table)?, Vec::new()));
                    places.insert(row.table, tables.len() - 1);
                    tables.len() - 1
                }
            };
            tables[place].1.push(Record { value: row.json, key: None, ..record.clone() });
        }
    }
    let rows = tables.into_iter().map(|(table, rows)| (table, Cow::Owned(rows))).collect();
    Ok(Routed { rows, refused })
}
