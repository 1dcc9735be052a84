//! Which rows of which tables the records of a stream become.
//!
//! A plain stream has one table, and its records are its rows as they are. A stream of Segment's messages has a database
//! of tables. Routing is a function of the records alone: it can be done again, and gives the same.

use std::borrow::Cow;
use std::collections::HashMap;

use lacus_core::{Error, Record, Result, StreamName, TableName};
use lacus_stream::{FORMAT_ATTRIBUTE, StreamInfo};

use crate::segment::{self, TRACKS};

/// What the records of a stream are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// JSON objects: rows of one table.
    Plain,
    /// Segment's messages: rows of the tables of a database.
    Segment,
}

/// The rows of some records.
#[derive(Default)]
pub(crate) struct Routed<'records> {
    /// By table, each at the position of the record it came of; at most one of each record in each table.
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
    /// What the stream says of itself; plain JSON if it says nothing.
    ///
    /// # Errors
    /// `Invalid` for a format that this lacus does not know.
    pub(crate) fn of(stream: &StreamInfo) -> Result<Self> {
        match stream.attributes.get(FORMAT_ATTRIBUTE).map(String::as_str) {
            None => Ok(Self::Plain),
            Some("segment") => Ok(Self::Segment),
            Some(other) => {
                Err(Error::invalid(format!("stream \"{}\" has the unknown format \"{other}\"", stream.name))
                    .with_hint("was it written by a newer lacus? upgrade this one"))
            }
        }
    }

    /// The table that records the progress of a stream.
    ///
    /// # Errors
    /// `Invalid` for a stream that can't have a database.
    pub(crate) fn primary(self, stream: &StreamName) -> Result<TableName> {
        match self {
            Self::Plain => Ok(stream.table()),
            Self::Segment => stream.table_in(TRACKS),
        }
    }

    /// The rows of some records.
    ///
    /// # Errors
    /// `Invalid` for a stream that can't have a database.
    pub(crate) fn route<'records>(self, stream: &StreamName, records: &'records [Record]) -> Result<Routed<'records>> {
        match self {
            Self::Plain => Ok(Routed { rows: vec![(stream.table(), Cow::Borrowed(records))], refused: Vec::new() }),
            Self::Segment => route_messages(stream, records),
        }
    }

    /// Whether a table of the stream is there for one event only.
    pub(crate) fn is_event_table(self, table: &TableName) -> bool {
        self == Self::Segment && !table.is_quarantine() && !segment::TABLES.contains(&table.table())
    }
}

fn route_messages<'records>(stream: &StreamName, records: &[Record]) -> Result<Routed<'records>> {
    let mut tables: Vec<(String, Vec<Record>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut refused = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let rows = match segment::rows(&record.value) {
            Ok(rows) => rows,
            Err(reason) => {
                refused.push(Refused { index, reason, has_rows: false });
                continue;
            }
        };
        for row in rows {
            let place = match places.get(&row.table) {
                Some(place) => *place,
                None => {
                    tables.push((row.table.clone(), Vec::new()));
                    places.insert(row.table, tables.len() - 1);
                    tables.len() - 1
                }
            };
            tables[place].1.push(Record { value: row.json.into(), key: None, ..record.clone() });
        }
    }
    let rows = tables.into_iter().map(|(table, rows)| Ok((stream.table_in(&table)?, Cow::Owned(rows))));
    Ok(Routed { rows: rows.collect::<Result<_>>()?, refused })
}
