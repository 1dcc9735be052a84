//! The `_rescued` column: what did not fit, as JSON text by path.
//!
//! `{"price":"n/a","items[2].sku":7}`: keys are paths of column names, values are the exact text that came. A path
//! comes twice if an object had the same key three times. When the paths would take many times the room of the
//! record, the whole record is there instead, under `$`: a record can't make itself bigger at will.

use std::fmt::Write as _;

use arrow::array::{ArrayRef, StringBuilder};

use super::columns::{finish_texts, store_text};

/// The most that the misfits of a row may take, as a multiple of the record's size.
const GROWTH_MAX: usize = 8;

/// Collects misfits, row by row.
#[derive(Default)]
pub(super) struct Rescued {
    /// The path of the object or array being read.
    path: String,
    /// The misfits of this row so far, without the closing brace.
    row: String,
    /// The longest that `row` may become. A longer row has at most one misfit too many.
    row_bytes_max: usize,
    /// How many rows there are.
    rows: usize,
    /// Up to the last row with misfits.
    column: StringBuilder,
}

/// The state before an object or array was entered.
pub(super) struct Outside {
    path_bytes: usize,
    row_bytes: usize,
}

/// A place in an object or array.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    Field(&'a str),
    Element(usize),
}

impl Rescued {
    /// Whether the reader is at the top of a record.
    pub(super) fn is_at_top(&self) -> bool {
        self.path.is_empty()
    }

    /// The path of a field of this name here, the same in all elements of an array: `visits[].page`.
    pub(super) fn path_of(&self, name: &str) -> String {
        let (mut path, mut rest) = (String::new(), self.path.as_str());
        while let Some((before, element)) = rest.split_once('[') {
            path.push_str(before);
            path.push_str("[]");
            rest = element.split_once(']').map_or("", |(_, rest)| rest);
        }
        path.push_str(rest);
        push_place(&mut path, Place::Field(name));
        path
    }

    /// Begins the row of a record.
    pub(super) fn begin_row(&mut self, record: &str) {
        self.row_bytes_max = GROWTH_MAX * record.len();
    }

    /// How things are.
    pub(super) fn here(&self) -> Outside {
        Outside { path_bytes: self.path.len(), row_bytes: self.row.len() }
    }

    /// Enters the object or array at `place`.
    pub(super) fn enter(&mut self, place: Place<'_>) -> Outside {
        let outside = self.here();
        push_place(&mut self.path, place);
        outside
    }

    /// Leaves it again. Whether there were misfits inside.
    pub(super) fn leave(&mut self, outside: &Outside) -> bool {
        self.path.truncate(outside.path_bytes);
        self.row.len() > outside.row_bytes
    }

    /// Drops the misfits that were found inside.
    pub(super) fn drop_since(&mut self, outside: &Outside) {
        self.row.truncate(outside.row_bytes);
    }

    /// Keeps the text of a misfit.
    pub(super) fn add(&mut self, place: Place<'_>, json: &str) {
        if self.row.len() > self.row_bytes_max {
            return;
        }
        let path_bytes = self.path.len();
        push_place(&mut self.path, place);
        self.row.push(if self.row.is_empty() { '{' } else { ',' });
        push_json_string(&mut self.row, &self.path);
        self.row.push(':');
        self.row.push_str(json);
        self.path.truncate(path_bytes);
    }

    /// Ends the row of a record.
    pub(super) fn end_row(&mut self, record: &str) {
        self.rows += 1;
        if self.row.is_empty() {
            return;
        }
        if self.row.len() > self.row_bytes_max {
            self.row.clear();
            self.row.push_str("{\"$\":");
            self.row.push_str(record.trim());
        }
        self.row.push('}');
        store_text(&mut self.column, self.rows - 1, &self.row);
        self.row.clear();
    }

    /// The column.
    pub(super) fn finish(self) -> ArrayRef {
        finish_texts(self.column, self.rows)
    }
}

fn push_place(path: &mut String, place: Place<'_>) {
    match place {
        Place::Field(name) => {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
        }
        Place::Element(index) => write!(path, "[{index}]").expect("writing to a string does not fail"),
    }
}

fn push_json_string(text: &mut String, value: &str) {
    text.push('"');
    for letter in value.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            control if control < ' ' => {
                write!(text, "\\u{:04x}", u32::from(control)).expect("writing to a string does not fail");
            }
            letter => text.push(letter),
        }
    }
    text.push('"');
}
