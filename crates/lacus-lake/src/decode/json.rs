//! What counts as a JSON object, and walking over values without keeping them.
//!
//! A record that is broken anywhere is none as a whole: no column has anything of it.

use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, Peek};

/// How deep objects and arrays may be nested, including the record itself.
const LEVELS_MAX: usize = 64;

/// Why a walk over JSON ended early.
pub(super) enum Fault {
    Syntax(JiterError),
    TooDeep,
}

impl From<JiterError> for Fault {
    fn from(error: JiterError) -> Self {
        Self::Syntax(error)
    }
}

/// The text of a record that is one JSON object.
///
/// # Errors
/// Why it is none, for a person.
pub fn object_text(bytes: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("invalid UTF-8 at byte {}", error.valid_up_to()))?;
    let mut json = Jiter::new(bytes);
    let Ok(first) = json.peek() else { return Err("the record is empty".to_owned()) };
    let checked = skip_inside(&mut json, first, 0).and_then(|_| Ok(json.finish()?));
    match checked {
        Ok(()) if first == Peek::Object => Ok(text),
        Ok(()) => Err(format!("expected an object, found {}", kind(first))),
        Err(Fault::TooDeep) => Err(format!("nested deeper than {LEVELS_MAX} levels")),
        Err(Fault::Syntax(error)) => Err(format!("{} at byte {}", found(&error), error.index)),
    }
}

/// What the parser found, in its words where they say something.
fn found(error: &JiterError) -> String {
    match &error.error_type {
        JiterErrorType::JsonError(JsonErrorType::ExpectedSomeIdent) => "expected true, false or null".to_owned(),
        what => what.to_string(),
    }
}

/// Skips the next value, which is nested this deep. Whether it has content: anything but `null`, and `{}` and `[]` inside of
/// each other.
pub(super) fn skip_inside(json: &mut Jiter<'_>, peek: Peek, levels: usize) -> Result<bool, Fault> {
    skip_within(json, peek, LEVELS_MAX.saturating_sub(levels))
}

fn skip_within(json: &mut Jiter<'_>, peek: Peek, levels: usize) -> Result<bool, Fault> {
    let mut has_content = false;
    match peek {
        Peek::Null => json.known_null()?,
        Peek::Object => {
            let levels = levels.checked_sub(1).ok_or(Fault::TooDeep)?;
            let mut key = json.next_object_bytes()?.is_some();
            while key {
                let peek = json.peek()?;
                has_content |= skip_within(json, peek, levels)?;
                key = json.next_key_bytes()?.is_some();
            }
        }
        Peek::Array => {
            let levels = levels.checked_sub(1).ok_or(Fault::TooDeep)?;
            let mut next = json.known_array()?;
            while let Some(peek) = next {
                has_content |= skip_within(json, peek, levels)?;
                next = json.array_step()?;
            }
        }
        scalar => {
            skip_scalar(json, scalar)?;
            has_content = true;
        }
    }
    Ok(has_content)
}

fn skip_scalar(json: &mut Jiter<'_>, peek: Peek) -> Result<(), JiterError> {
    match peek {
        Peek::String => json.known_bytes().map(drop),
        Peek::True | Peek::False => json.known_bool(peek).map(drop),
        _ => json.known_number_bytes(peek).map(drop),
    }
}

fn kind(first: Peek) -> &'static str {
    match first {
        Peek::Null => "null",
        Peek::True | Peek::False => "a boolean",
        Peek::String => "a string",
        Peek::Array => "an array",
        _ => "a number",
    }
}
