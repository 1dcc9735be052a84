//! An event whose objects stay, and whose arrays don't.

use jiter::{Jiter, JiterError, Peek};
use lacus_core::settings::Arrays;

use super::flatten::push_string;
use super::{ELEMENTS_MAX, PATH_BYTES_MAX, Taken};

/// The text of an object with its arrays, also those in objects inside of it, as JSON text or taken out.
///
/// # Errors
/// None for text that was checked.
pub(super) fn copy_without_arrays(text: &str, arrays: Arrays) -> Result<(String, Vec<Taken<'_>>), JiterError> {
    let copied = String::with_capacity(text.len() + 64);
    let mut copy = Copy { text, arrays, copied, path: String::new(), taken: Vec::new() };
    let mut json = Jiter::new(text.as_bytes());
    json.peek()?;
    copy.object(&mut json)?;
    Ok((copy.copied, copy.taken))
}

struct Copy<'json> {
    text: &'json str,
    arrays: Arrays,
    copied: String,
    /// The names of the fields that the walk is in, joined by `_`.
    path: String,
    taken: Vec<Taken<'json>>,
}

impl<'json> Copy<'json> {
    /// It is nested as deep as a checked record can be.
    fn object(&mut self, json: &mut Jiter<'json>) -> Result<(), JiterError> {
        self.copied.push('{');
        let (outside, mut is_first) = (self.path.len(), true);
        let mut key = json.known_object()?;
        while let Some(name) = key {
            if outside > 0 {
                self.path.push('_');
            }
            self.path.push_str(name);
            let before = self.copied.len();
            self.copied.push_str(if is_first { "" } else { "," });
            push_string(&mut self.copied, name);
            self.copied.push(':');
            if self.value(json)? {
                is_first = false;
            } else {
                self.copied.truncate(before);
            }
            self.path.truncate(outside);
            key = json.next_key()?;
        }
        self.copied.push('}');
        Ok(())
    }

    /// Copies a value; false if it was taken out.
    fn value(&mut self, json: &mut Jiter<'json>) -> Result<bool, JiterError> {
        let peek = json.peek()?;
        if peek == Peek::Object {
            return self.object(json).map(|()| true);
        }
        let start = json.current_index();
        json.known_skip(peek)?;
        let value = &self.text[start..json.current_index()];
        if peek == Peek::Array && self.arrays == Arrays::Json {
            push_string(&mut self.copied, value);
        } else if peek == Peek::Array && self.path.len() <= PATH_BYTES_MAX && self.taken.len() <= ELEMENTS_MAX {
            self.taken.push(Taken { path: self.path.clone(), json: value });
            return Ok(false);
        } else {
            self.copied.push_str(value);
        }
        Ok(true)
    }
}
