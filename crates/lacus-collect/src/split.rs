//! A body's text as events: one object, an array of objects, or objects one after the other (NDJSON).
//!
//! The content decides which, see [`split`]. Every byte that is not white space or an array's punctuation belongs to
//! exactly one piece, in the order of the body: nothing a sender wrote is passed over in silence. Pieces are ranges of
//! the body; nothing is copied.

use std::ops::Range;

use crate::json::{Fault, Flaw, Values};

/// The most events of one body.
pub(crate) const EVENTS_MAX: usize = 100_000;

/// What is, or should be, one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Its bytes in the body.
    pub(crate) range: Range<usize>,
    /// Why it is no event.
    pub(crate) fault: Option<Fault>,
}

/// Why a body can't be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    /// From here on it is not known where events begin or end.
    Broken(Fault),
    /// It has more than [`EVENTS_MAX`].
    TooMany,
}

/// Takes a body apart. No pieces: it is empty.
///
/// A body that begins with `[` is an array, unless the sender `says_lines`. Anything else is a sequence of values, on one
/// line or on many. If a value is not JSON, the next one begins at the next line, provided that the body is written in
/// lines: the sender says so, or its first line is complete, or its second line begins an object too.
///
/// # Errors
/// If an array, or a value over several lines, is not JSON; or for too many events.
pub(crate) fn split(text: &[u8], says_lines: bool) -> Result<Vec<Piece>, Halt> {
    let mut pieces = Vec::new();
    if !says_lines && text.get(skip_space(text, 0)) == Some(&b'[') {
        array(text, &mut pieces)?;
        return Ok(pieces);
    }
    match sequence(text, 0, &mut pieces) {
        Ok(()) if says_lines && pieces.iter().any(|piece| text[piece.range.clone()].contains(&b'\n')) => {}
        Ok(()) => return Ok(pieces),
        Err(Halt::Broken(_)) if says_lines || is_in_lines(text) => {}
        Err(halt) => return Err(halt),
    }
    pieces.clear();
    lines(text, &mut pieces)?;
    Ok(pieces)
}

/// The elements of an array.
fn array(text: &[u8], pieces: &mut Vec<Piece>) -> Result<(), Halt> {
    let opening = skip_space(text, 0);
    let mut next = skip_space(text, opening + 1);
    while text.get(next) != Some(&b']') || !pieces.is_empty() {
        next = skip_space(text, take(&mut Values::new(text, next), next, 0, pieces)?);
        match text.get(next) {
            Some(b',') => next = skip_space(text, next + 1),
            Some(b']') => break,
            Some(_) => return Err(broken(next, "expected \",\" or \"]\"")),
            None => return Err(broken(next, "the array does not end")),
        }
    }
    match skip_space(text, next + 1) {
        end if end == text.len() => Ok(()),
        more => Err(broken(more, "something follows the end of the array")),
    }
}

/// Values one after the other, in text that begins at byte `offset` of the body.
fn sequence(text: &[u8], offset: usize, pieces: &mut Vec<Piece>) -> Result<(), Halt> {
    let mut next = skip_space(text, 0);
    let mut values = Values::new(text, next);
    while next < text.len() {
        next = skip_space(text, take(&mut values, next, offset, pieces)?);
    }
    Ok(())
}

/// Takes the next value, which begins at byte `start`, and says where it ends.
fn take(values: &mut Values<'_>, start: usize, offset: usize, pieces: &mut Vec<Piece>) -> Result<usize, Halt> {
    if pieces.len() >= EVENTS_MAX {
        return Err(Halt::TooMany);
    }
    let (end, fault) = values.check(start).map_err(|fault| Halt::Broken(fault.moved(offset)))?;
    pieces.push(Piece { range: offset + start..offset + end, fault: fault.map(|fault| fault.moved(offset)) });
    Ok(end)
}

/// Values line by line. A line that is not JSON is one piece, as a whole.
fn lines(text: &[u8], pieces: &mut Vec<Piece>) -> Result<(), Halt> {
    for range in lines_of(text) {
        let before = pieces.len();
        match sequence(&text[range.clone()], range.start, pieces) {
            Err(Halt::Broken(fault)) => {
                pieces.truncate(before);
                pieces.push(Piece { range, fault: Some(fault) });
            }
            done => done?,
        }
    }
    Ok(())
}

fn is_in_lines(text: &[u8]) -> bool {
    let mut lines = lines_of(text);
    let Some(first) = lines.next() else { return false };
    match lines.next() {
        None => true,
        Some(second) => text[second].starts_with(b"{") || sequence(&text[first], 0, &mut Vec::new()).is_ok(),
    }
}

/// The lines that are not blank, without the white space around them.
fn lines_of(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut next = 0;
    let lines = text.split(|byte| *byte == b'\n').map(move |line| {
        let start = next + (line.len() - line.trim_ascii_start().len());
        next += line.len() + 1;
        start..start + line.trim_ascii().len()
    });
    lines.filter(|line| !line.is_empty())
}

/// The first byte from `from` on that is not white space.
fn skip_space(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count()
}

fn broken(at: usize, what: &'static str) -> Halt {
    Halt::Broken(Fault { at, flaw: Flaw::Syntax(what) })
}

#[cfg(test)]
mod tests;
