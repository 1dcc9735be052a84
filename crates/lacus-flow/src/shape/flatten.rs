//! One row: columns with their values, as the text of a JSON object without objects inside.

use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;

use jiter::{Jiter, JiterError, Peek};
use lacus_core::settings::Arrays;

use super::{ELEMENTS_MAX, PATH_BYTES_MAX, Taken};
use crate::names::push_snake_case;
use crate::segment::is_reserved;

/// Room for this many columns is made at once.
const COLUMNS_USUAL: usize = 56;
/// The most that the names of the columns of an object may come to, in bytes. An object for which they might be longer is
/// one column of JSON text.
const NAMES_BYTES_MAX: usize = 32 << 20;

/// How columns are named, and what becomes of arrays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Names as Segment has them, arrays as JSON text.
    Segment,
    /// Names as they were sent.
    AsSent(Arrays),
}

/// A row that grows.
pub(crate) struct Row<'json> {
    style: Style,
    /// `{"a":1,"b":"x"`: the closing brace is missing.
    text: String,
    columns: HashMap<String, Column>,
    /// The name of the column that is being added.
    path: String,
    /// Arrays that are not in the row.
    taken: Vec<Taken<'json>>,
}

struct Column {
    /// Where its value is in the text. Nowhere for a column that has a meaning of its own and was not said.
    value: Range<usize>,
    /// The number that the next key with this name gets.
    next: u32,
}

/// Whether a column may stand for what the sender calls so, or has a meaning of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Envelope,
    Sender,
}

impl<'json> Row<'json> {
    /// An empty row, with room for an event of this many bytes.
    pub(crate) fn new(bytes: usize, style: Style) -> Self {
        Self {
            style,
            text: String::with_capacity(bytes + 256),
            columns: HashMap::with_capacity(COLUMNS_USUAL),
            path: String::new(),
            taken: Vec::new(),
        }
    }

    /// The row as JSON, and the arrays that are not in it.
    pub(crate) fn into_parts(self) -> (String, Vec<Taken<'json>>) {
        (self.json(), self.taken)
    }

    /// Adds a column for each value in an object.
    pub(crate) fn add_object(&mut self, object: &'json str) -> Result<(), String> {
        let added = self.flatten(&mut Jiter::new(object.as_bytes()), object, Source::Envelope);
        added.map_err(|error| error.error_type.to_string())
    }

    /// Adds a column with a number.
    pub(crate) fn add_number(&mut self, column: &str, number: usize) {
        self.path.push_str(column);
        self.add(&number.to_string(), Source::Envelope);
        self.path.clear();
    }

    /// The row so far as JSON.
    pub(crate) fn json(&self) -> String {
        if self.text.is_empty() { "{}".to_owned() } else { format!("{}}}", self.text) }
    }

    /// Adds a column of text: any JSON value that is no string as its JSON.
    pub(crate) fn add_text(&mut self, column: &str, value: &str) {
        self.path.push_str(column);
        if value.starts_with('"') {
            self.add(value, Source::Envelope);
        } else {
            self.add_as_text(value, Source::Envelope);
        }
        self.path.clear();
    }

    /// Adds the columns of a context.
    pub(crate) fn add_context(&mut self, context: Option<&'json str>) -> Result<(), String> {
        let Some(context) = context else { return Ok(()) };
        self.path.push_str("context");
        let added = self.flatten(&mut Jiter::new(context.as_bytes()), context, Source::Envelope);
        self.path.clear();
        added.map_err(|error| error.error_type.to_string())
    }

    /// Adds a column for each property or trait; what is no object is a column `name`.
    pub(crate) fn add_all(&mut self, name: &str, properties: Option<&'json str>) -> Result<(), String> {
        let Some(properties) = properties else { return Ok(()) };
        if !properties.starts_with('{') {
            self.path.push_str(name);
        }
        let added = self.flatten(&mut Jiter::new(properties.as_bytes()), properties, Source::Sender);
        self.path.clear();
        added.map_err(|error| error.error_type.to_string())
    }

    /// Adds a value under the path: an object's members one by one. It is nested as deep as a checked record can be.
    fn flatten(&mut self, json: &mut Jiter<'json>, text: &'json str, source: Source) -> Result<(), JiterError> {
        let peek = json.peek()?;
        let start = json.current_index();
        match peek {
            Peek::Null => json.known_null()?,
            Peek::Object if !self.is_too_much(&text[start..])? => {
                let outside = self.path.len();
                let mut key = json.known_object()?;
                while let Some(name) = key {
                    self.push_name(name);
                    self.flatten(json, text, source)?;
                    self.path.truncate(outside);
                    key = json.next_key()?;
                }
            }
            Peek::Object => {
                json.known_skip(peek)?;
                self.add_as_text(&text[start..json.current_index()], source);
            }
            Peek::Array => {
                json.known_skip(peek)?;
                self.add_array(&text[start..json.current_index()], source);
            }
            scalar => {
                json.known_skip(scalar)?;
                self.add(&text[start..json.current_index()], source);
            }
        }
        Ok(())
    }

    /// Whether the object that `text` begins with would make the row many times as long as it is.
    fn is_too_much(&self, text: &str) -> Result<bool, JiterError> {
        if self.path.len() > PATH_BYTES_MAX {
            return Ok(true);
        }
        if self.path.len() * text.len() <= NAMES_BYTES_MAX {
            return Ok(false);
        }
        let mut object = Jiter::new(text.as_bytes());
        let peek = object.peek()?;
        object.known_skip(peek)?;
        Ok(self.path.len() * object.current_index() > NAMES_BYTES_MAX)
    }

    fn add_array(&mut self, array: &'json str, source: Source) {
        let can_be_taken = self.path.len() <= PATH_BYTES_MAX && self.taken.len() <= ELEMENTS_MAX;
        match self.style {
            Style::AsSent(Arrays::Explode) if can_be_taken => {
                self.taken.push(Taken { path: self.path.clone(), json: array });
            }
            Style::AsSent(Arrays::List | Arrays::Explode) => self.add(array, source),
            Style::Segment | Style::AsSent(Arrays::Json) => self.add_as_text(array, source),
        }
    }

    /// Makes the path longer by a key. Segment's without an ASCII letter or digit stay as they are, in lowercase.
    fn push_name(&mut self, key: &str) {
        if !self.path.is_empty() {
            self.path.push('_');
        }
        if self.style != Style::Segment {
            return self.path.push_str(key);
        }
        let begin = self.path.len();
        push_snake_case(key, &mut self.path);
        if self.path.len() == begin {
            self.path.extend(key.chars().flat_map(char::to_lowercase));
        }
        if self.path.starts_with(|first: char| first.is_ascii_digit()) {
            self.path.insert(0, '_');
        }
    }

    fn add_as_text(&mut self, json: &str, source: Source) {
        let mut text = String::with_capacity(json.len() + 16);
        push_string(&mut text, json);
        self.add(&text, source);
    }

    /// Adds the column of the path, or one with a number behind its name if it is taken by another value.
    fn add(&mut self, value: &str, source: Source) {
        let Some(taken) = self.columns.get(self.path.as_str()) else {
            if source == Source::Envelope || !is_reserved(&self.path) {
                return self.add_column(self.path.clone(), value);
            }
            self.columns.insert(self.path.clone(), Column { value: 0..0, next: 2 });
            return self.add(value, source);
        };
        if &self.text[taken.value.clone()] == value {
            return;
        }
        let mut next = taken.next;
        let mut name = format!("{}_{next}", self.path);
        while let Some(column) = self.columns.get(&name) {
            if &self.text[column.value.clone()] == value {
                return;
            }
            next += 1;
            name.truncate(self.path.len());
            write!(name, "_{next}").expect("writing to a string does not fail");
        }
        if let Some(taken) = self.columns.get_mut(self.path.as_str()) {
            taken.next = next + 1;
        }
        self.add_column(name, value);
    }

    fn add_column(&mut self, name: String, value: &str) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        push_string(&mut self.text, &name);
        self.text.push(':');
        let start = self.text.len();
        self.text.push_str(value);
        self.columns.insert(name, Column { value: start..self.text.len(), next: 2 });
    }
}

/// Appends text as a JSON string.
pub(super) fn push_string(json: &mut String, text: &str) {
    json.push('"');
    let mut plain = 0;
    for (index, byte) in text.bytes().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        json.push_str(&text[plain..index]);
        match byte {
            b'"' => json.push_str("\\\""),
            b'\\' => json.push_str("\\\\"),
            control => write!(json, "\\u{control:04x}").expect("writing to a string does not fail"),
        }
        plain = index + 1;
    }
    json.push_str(&text[plain..]);
    json.push('"');
}
