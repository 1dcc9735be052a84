//! One row: columns with their values, as the text of a JSON object without anything nested.

use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;

use jiter::{Jiter, JiterError, Peek};

use super::COMMON;
use super::names::push_snake_case;

/// Room for this many columns is made at once.
const COLUMNS_USUAL: usize = 56;

/// A row that grows.
pub(super) struct Row {
    /// `{"a":1,"b":"x"`: the closing brace is missing.
    text: String,
    columns: HashMap<String, Column>,
    /// The name of the column that is being added.
    path: String,
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

impl Row {
    /// An empty row, with room for a message of this many bytes.
    pub(super) fn with_room(bytes: usize) -> Self {
        Self {
            text: String::with_capacity(bytes + 256),
            columns: HashMap::with_capacity(COLUMNS_USUAL),
            path: String::new(),
        }
    }

    /// The row so far as JSON.
    pub(super) fn json(&self) -> String {
        if self.text.is_empty() { "{}".to_owned() } else { format!("{}}}", self.text) }
    }

    /// Adds a column of text: any JSON value that is no string as its JSON.
    pub(super) fn add_text(&mut self, column: &str, value: &str) {
        self.path.push_str(column);
        if value.starts_with('"') {
            self.add(value, Source::Envelope);
        } else {
            self.add_as_text(value, Source::Envelope);
        }
        self.path.clear();
    }

    /// Adds the columns of a context.
    pub(super) fn add_context(&mut self, context: Option<&str>) -> Result<(), String> {
        let Some(context) = context else { return Ok(()) };
        self.path.push_str("context");
        let added = self.flatten(&mut Jiter::new(context.as_bytes()), context, Source::Envelope);
        self.path.clear();
        added.map_err(|error| error.error_type.to_string())
    }

    /// Adds a column for each property or trait; what is no object is a column `name`.
    pub(super) fn add_all(&mut self, name: &str, properties: Option<&str>) -> Result<(), String> {
        let Some(properties) = properties else { return Ok(()) };
        if !properties.starts_with('{') {
            self.path.push_str(name);
        }
        let added = self.flatten(&mut Jiter::new(properties.as_bytes()), properties, Source::Sender);
        self.path.clear();
        added.map_err(|error| error.error_type.to_string())
    }

    /// Adds a value under the path: an object's members one by one. It is nested as deep as a checked record can be.
    fn flatten(&mut self, json: &mut Jiter<'_>, text: &str, source: Source) -> Result<(), JiterError> {
        let peek = json.peek()?;
        let start = json.current_index();
        match peek {
            Peek::Null => json.known_null()?,
            Peek::Object => {
                let outside = self.path.len();
                let mut key = json.known_object()?;
                while let Some(name) = key {
                    self.push_name(name);
                    self.flatten(json, text, source)?;
                    self.path.truncate(outside);
                    key = json.next_key()?;
                }
            }
            Peek::Array => {
                json.known_skip(peek)?;
                self.add_as_text(&text[start..json.current_index()], source);
            }
            scalar => {
                json.known_skip(scalar)?;
                self.add(&text[start..json.current_index()], source);
            }
        }
        Ok(())
    }

    /// Makes the path longer by a key. Keys without an ASCII letter or digit stay as they are, in lowercase.
    fn push_name(&mut self, key: &str) {
        if !self.path.is_empty() {
            self.path.push('_');
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

/// Whether a column has a meaning of its own, which no property can have.
fn is_reserved(column: &str) -> bool {
    column.starts_with("context_") || COMMON.iter().any(|(_, common)| *common == column)
}

/// Appends text as a JSON string.
fn push_string(json: &mut String, text: &str) {
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
