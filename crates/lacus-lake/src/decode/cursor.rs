//! Reads the text of a record from left to right.
//!
//! Plain values, and what is between them, are passed without the parser. It is brought to where something else is written,
//! and decides what that means and whether it is JSON at all.

use std::mem;

use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, Peek};

use super::plain;

/// A place in the text of a record.
pub(super) struct Cursor<'json> {
    text: &'json str,
    /// Reads the text from `begin` on.
    parser: Jiter<'json>,
    begin: usize,
    /// Bytes that were passed after what the parser read.
    ahead: usize,
}

impl<'json> Cursor<'json> {
    /// At the beginning. The parser unescapes texts in the memory of `tape`.
    pub(super) fn new(text: &'json str, tape: Vec<u8>) -> Self {
        Self { text, parser: Jiter::with_tape(text.as_bytes(), tape), begin: 0, ahead: 0 }
    }

    /// The memory, to be used again.
    pub(super) fn into_tape(self) -> Vec<u8> {
        self.parser.into_tape()
    }

    /// Where in the text it is.
    pub(super) fn here(&self) -> usize {
        self.begin + self.parser.current_index() + self.ahead
    }

    /// What was read since it was at `start`.
    pub(super) fn text_since(&self, start: usize) -> &'json str {
        &self.text[start..self.here()]
    }

    /// What was not read.
    pub(super) fn rest(&self) -> &'json [u8] {
        let text: &'json [u8] = self.text.as_bytes();
        text.get(self.here()..).unwrap_or_default()
    }

    /// Passes so many bytes of the rest.
    pub(super) fn pass(&mut self, bytes: usize) {
        self.ahead += bytes;
    }

    /// The parser, brought to here.
    pub(super) fn parser(&mut self) -> &mut Jiter<'json> {
        if self.ahead > 0 {
            let read = mem::replace(&mut self.parser, Jiter::new(&[]));
            self.begin += read.current_index() + self.ahead;
            self.ahead = 0;
            self.parser = Jiter::with_tape(self.rest(), read.into_tape());
        }
        &mut self.parser
    }

    /// The error of what is wrong here.
    pub(super) fn fault(&self, kind: JsonErrorType) -> JiterError {
        JiterError { error_type: JiterErrorType::JsonError(kind), index: self.here() }
    }

    /// The first byte of the next value. Blanks before it are passed.
    pub(super) fn peek(&mut self) -> Result<Peek, JiterError> {
        let rest = self.rest();
        let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
        let first = rest.get(blanks).ok_or_else(|| self.fault(JsonErrorType::EofWhileParsingValue))?;
        self.pass(blanks);
        Ok(Peek::new(*first))
    }

    /// Reads a text, which is known to come next.
    pub(super) fn known_text(&mut self) -> Result<&str, JiterError> {
        let (text, start): (&'json str, _) = (self.text, self.here() + 1);
        match plain::text_length(&text.as_bytes()[start..]) {
            Some(length) => {
                self.pass(length + 2);
                Ok(&text[start..start + length])
            }
            None => self.parser().known_str(),
        }
    }

    /// Reads a number, if `peek` begins one: as it is written.
    pub(super) fn number(&mut self, peek: Peek) -> Result<&'json str, JiterError> {
        let start = self.here();
        match plain::number_length(self.rest()) {
            Some(length) => self.pass(length),
            None => {
                self.parser().known_number_bytes(peek)?;
            }
        }
        Ok(self.text_since(start))
    }

    /// Reads the next key of an object, which follows `{` or `,`; none at the end of the object.
    pub(super) fn key(&mut self, before: u8) -> Result<Option<&str>, JiterError> {
        if before == b'{' {
            return self.parser().known_object();
        }
        if self.rest().first() == Some(&b'}') {
            self.pass(1);
            return Ok(None);
        }
        self.parser().next_key()
    }

    /// Goes on to the next element of an array; whether there is one.
    pub(super) fn next_element(&mut self) -> Result<bool, JiterError> {
        let has_next = match self.rest().first() {
            Some(b',') => true,
            Some(b']') => false,
            _ => return Ok(self.parser().array_step()?.is_some()),
        };
        self.pass(1);
        Ok(has_next)
    }
}
