//! The `_rescued` column: what did not fit, as JSON text by path.
//!
//! `{"price":"n/a","items[2].sku":7}`: keys are paths of column names, values are the exact text that came. A path
//! comes twice if an object had the same key three times.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};

/// Collects misfits, row by row.
#[derive(Default)]
pub(super) struct Rescued {
    /// Where the reader is: the path of the object or array that it is in.
    path: String,
    /// The misfits of this row so far, without the closing brace.
    row: String,
    column: StringBuilder,
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

    /// Goes into the object or array at `place`. Returns what [`leave`](Self::leave) takes to come back.
    pub(super) fn enter(&mut self, place: Place<'_>) -> usize {
        let before = self.path.len();
        push_place(&mut self.path, place);
        before
    }

    /// Comes back.
    pub(super) fn leave(&mut self, before: usize) {
        self.path.truncate(before);
    }

    /// Keeps the text of a misfit.
    pub(super) fn add(&mut self, place: Place<'_>, json: &str) {
        let before = self.enter(place);
        self.row.push(if self.row.is_empty() { '{' } else { ',' });
        push_json_string(&mut self.row, &self.path);
        self.row.push(':');
        self.row.push_str(json);
        self.leave(before);
    }

    /// Ends the row.
    pub(super) fn end_row(&mut self) {
        if self.row.is_empty() {
            self.column.append_null();
        } else {
            self.row.push('}');
            self.column.append_value(&self.row);
            self.row.clear();
        }
    }

    /// The column.
    pub(super) fn finish(mut self) -> ArrayRef {
        Arc::new(self.column.finish())
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
