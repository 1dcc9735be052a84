//! One JSON value: is it an event, and what is its partition key?
//!
//! What is accepted here must decode later. The decoder's parser is jiter; serde_json finds the end of a value in half
//! the time but takes a little more, so jiter has the last word wherever the two may differ, and explains every fault.
//! No tree is built and nothing is copied. Whatever the bytes are, the check ends and never panics.

use std::fmt;

use bytes::Bytes;
use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, Peek};
use lacus_core::units;
use lacus_stream::RECORD_BYTES_MAX;
use serde::de::IgnoredAny;
use serde_json::de::{Deserializer, SliceRead, StreamDeserializer};

/// Objects and arrays may be nested this deep; the event itself is the first level.
pub(crate) const DEPTH_MAX: usize = 64;
/// The longest partition key. Of a longer value the first bytes count: equal values still have equal keys.
pub(crate) const KEY_BYTES_MAX: usize = 1024;
/// The longest event: with its key it makes the longest record that the log takes.
pub(crate) const EVENT_BYTES_MAX: usize = RECORD_BYTES_MAX - KEY_BYTES_MAX;

/// A run of more digits than the decoder's parser accepts fills a whole block of this size, wherever it begins.
const DIGITS_BLOCK: usize = 2048;

/// An error in bytes that should be an event, and its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The byte of the body.
    pub(crate) at: usize,
    /// What is wrong.
    pub(crate) flaw: Flaw,
}

/// Errors in bytes that should be an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Not JSON; an explanation for people.
    Syntax(&'static str),
    /// Valid JSON, but this instead of an object.
    NotAnObject(&'static str),
    /// They are not text.
    NotUtf8,
    /// They are nested deeper than [`DEPTH_MAX`].
    TooDeep,
    /// They are more than [`EVENT_BYTES_MAX`].
    TooLong,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(what) => f.write_str(what),
            Self::NotAnObject(what) => write!(f, "an event is a JSON object, this is {what}"),
            Self::NotUtf8 => f.write_str("the bytes are not UTF-8"),
            Self::TooDeep => write!(f, "objects and arrays are nested deeper than {DEPTH_MAX} levels"),
            Self::TooLong => {
                write!(f, "the event has more than {} bytes", units::human_count(EVENT_BYTES_MAX as u64))
            }
        }
    }
}

impl Fault {
    /// The same error in text that begins `by` bytes earlier.
    pub(crate) fn moved(self, by: usize) -> Self {
        Self { at: self.at + by, ..self }
    }

    /// The error that stopped a parser of `text`.
    pub(crate) fn from_parser(error: &JiterError, text: &[u8]) -> Self {
        let flaw = match &error.error_type {
            JiterErrorType::JsonError(JsonErrorType::RecursionLimitExceeded) => Flaw::TooDeep,
            JiterErrorType::JsonError(JsonErrorType::InvalidUnicodeCodePoint) => Flaw::NotUtf8,
            JiterErrorType::JsonError(kind) => Flaw::Syntax(explain(kind, text.get(error.index).copied())),
            JiterErrorType::WrongType { .. } => Flaw::Syntax("this is not JSON"),
        };
        Self { at: error.index.min(text.len()), flaw }
    }
}

/// Says what the parser found, for a person. `byte` is where it stopped.
fn explain(kind: &JsonErrorType, byte: Option<u8>) -> &'static str {
    match kind {
        JsonErrorType::EofWhileParsingList => "the array does not end",
        JsonErrorType::EofWhileParsingObject => "the object does not end",
        JsonErrorType::EofWhileParsingString => "the string does not end",
        JsonErrorType::EofWhileParsingValue => "a value is missing at the end",
        JsonErrorType::ExpectedColon => "expected \":\" after the key",
        JsonErrorType::ExpectedListCommaOrEnd => "expected \",\" or \"]\"",
        JsonErrorType::ExpectedObjectCommaOrEnd => "expected \",\" or \"}\"",
        JsonErrorType::ExpectedSomeIdent => "expected true, false or null",
        JsonErrorType::ExpectedSomeValue | JsonErrorType::InvalidNumber if matches!(byte, Some(b'N' | b'I')) => {
            "NaN and Infinity are not JSON"
        }
        JsonErrorType::ExpectedSomeValue if byte == Some(b'\'') => "a string is written in double quotes",
        JsonErrorType::ExpectedSomeValue => "expected a value",
        JsonErrorType::InvalidEscape => "there is no such escape in a JSON string",
        JsonErrorType::InvalidNumber => "this is not a JSON number",
        JsonErrorType::NumberOutOfRange => "a number has more than 4,300 digits",
        JsonErrorType::ControlCharacterWhileParsingString => "a control character in a string must be escaped",
        JsonErrorType::KeyMustBeAString => "a key is written in double quotes",
        JsonErrorType::LoneLeadingSurrogateInHexEscape | JsonErrorType::UnexpectedEndOfHexEscape => {
            "\\u escapes one half of a character without the other"
        }
        JsonErrorType::TrailingComma => "a comma, and nothing after it",
        JsonErrorType::TrailingCharacters => "something follows the end of the array",
        _ => "this is not JSON",
    }
}

/// JSON values, one after the other. They share a parser: it allocates for the first that has an object in another one.
pub(crate) struct Values<'text> {
    text: &'text [u8],
    /// Where the first one begins.
    first: usize,
    parsed: StreamDeserializer<'text, SliceRead<'text>, IgnoredAny>,
}

impl<'text> Values<'text> {
    /// Those from byte `first` on.
    pub(crate) fn new(text: &'text [u8], first: usize) -> Self {
        Self { text, first, parsed: Deserializer::from_slice(&text[first..]).into_iter() }
    }

    /// The end of the next value, which begins at byte `start`, and why it is no event, if so.
    ///
    /// # Errors
    /// If it is not even JSON, so that nobody knows where it ends.
    pub(crate) fn check(&mut self, start: usize) -> Result<(usize, Option<Fault>), Fault> {
        let Some(Ok(_)) = self.parsed.next() else { return Err(syntax_fault(&self.text[start..]).moved(start)) };
        let end = self.first + self.parsed.byte_offset();
        Ok((end, fault_in(&self.text[start..end]).map(|fault| fault.moved(start))))
    }
}

/// Whether this is one event, and nothing else but space.
pub(crate) fn is_event(text: &[u8]) -> bool {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let Some(start) = text.iter().position(|byte| !is_space(byte)) else { return false };
    matches!(Values::new(text, start).check(start), Ok((end, None)) if text[end..].iter().all(is_space))
}

/// The error of text that does not begin with JSON.
fn syntax_fault(text: &[u8]) -> Fault {
    decode(text).err().unwrap_or(Fault { at: 0, flaw: Flaw::Syntax("this is not JSON") })
}

/// Runs the decoder's parser over one value.
fn decode(text: &[u8]) -> Result<(), Fault> {
    Jiter::new(text).next_skip().map_err(|error| Fault::from_parser(&error, text))
}

/// Why valid JSON is no event.
fn fault_in(value: &[u8]) -> Option<Fault> {
    if !value.starts_with(b"{") {
        return Some(Fault { at: 0, flaw: Flaw::NotAnObject(name_of(value)) });
    }
    if value.len() > EVENT_BYTES_MAX {
        return Some(Fault { at: 0, flaw: Flaw::TooLong });
    }
    if let Err(error) = std::str::from_utf8(value) {
        return Some(Fault { at: error.valid_up_to(), flaw: Flaw::NotUtf8 });
    }
    // Few brackets can't be deep, and counting them is many times faster than tracking them.
    let (brackets, has_escapes) = brackets_and_escapes(value);
    if brackets > DEPTH_MAX && depth(value) > DEPTH_MAX {
        return Some(Fault { at: 0, flaw: Flaw::TooDeep });
    }
    if is_doubtful(value, has_escapes) { decode(value).err() } else { None }
}

/// Whether serde_json may have accepted what the decoder's parser refuses: an unpaired surrogate, or a number of more than
/// 4,300 digits.
fn is_doubtful(value: &[u8], has_escapes: bool) -> bool {
    (has_escapes && has_surrogate(value))
        || value.chunks_exact(DIGITS_BLOCK).any(|block| block.iter().all(u8::is_ascii_digit))
}

/// Whether there is an escape like `\ud83d`.
fn has_surrogate(value: &[u8]) -> bool {
    let Some(last) = value.len().checked_sub(2) else { return false };
    let (first, second, third) = (&value[..last], &value[1..=last], &value[2..]);
    let mut found = 0;
    for index in 0..last {
        let is_escape = u8::from(first[index] == b'\\') & u8::from(second[index] == b'u');
        found |= is_escape & u8::from(third[index] | 0x20 == b'd');
    }
    found > 0
}

/// The number of opening brackets, and whether there is an escape. Counted in blocks whose sums fit a byte: then one instruction
/// handles many bytes.
fn brackets_and_escapes(value: &[u8]) -> (usize, bool) {
    let (mut brackets, mut escapes) = (0, 0);
    for block in value.chunks(255) {
        let mut opening = 0_u8;
        for byte in block {
            opening += u8::from(matches!(byte, b'{' | b'['));
            escapes |= u8::from(*byte == b'\\');
        }
        brackets += usize::from(opening);
    }
    (brackets, escapes > 0)
}

fn name_of(value: &[u8]) -> &'static str {
    match value.first() {
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        Some(b'"') => "a string",
        Some(b'[') => "an array",
        _ => "a number",
    }
}

/// The nesting depth of objects and arrays in valid JSON.
fn depth(value: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    deepest
}

fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

/// The partition key of an event: the value at `path`, `user_id` or `user.id`. A text gives its characters, numbers and
/// booleans their JSON. None if the field is missing, null, an object or an array. Of two fields with one name the first
/// counts, as it does in the table.
pub(crate) fn key(event: &[u8], path: &str) -> Option<Bytes> {
    let value = value(event, path)?;
    let length = value.len().min(KEY_BYTES_MAX);
    Some(value.slice(..length))
}

/// The value of a field, if it is text, a number or a boolean: the text itself, the digits as they were sent.
pub(crate) fn value(event: &[u8], path: &str) -> Option<Bytes> {
    let mut parser = Jiter::new(event);
    for name in path.split('.') {
        enter(&mut parser, name)?;
    }
    let bytes = match parser.peek().ok()? {
        Peek::String => parser.known_str().ok()?.as_bytes(),
        Peek::True => b"true",
        Peek::False => b"false",
        peek if peek.is_num() => parser.known_number_bytes(peek).ok()?,
        _ => return None,
    };
    Some(Bytes::copy_from_slice(bytes))
}

/// Moves the parser from before an object to the value of its field `name`.
fn enter(parser: &mut Jiter<'_>, name: &str) -> Option<()> {
    if parser.peek().ok()? != Peek::Object {
        return None;
    }
    let mut is_found = parser.known_object().ok()?? == name;
    while !is_found {
        parser.next_skip().ok()?;
        is_found = parser.next_key().ok()?? == name;
    }
    Some(())
}

#[cfg(test)]
mod tests;
