//! Events as rows of the tables that the settings of their source ask for. Pure functions: JSON text in, JSON text out.
//!
//! An event is one row of its table: with objects as they came or flattened to columns, with arrays as lists, as JSON text,
//! or taken out. Each element of an array that is taken out is a row of another table, `orders__items`, with its place in
//! `_index`; `_partition` and `_offset` say which event it is of. Arrays inside of elements stay lists.
//!
//! Nothing is lost: what can't be taken apart within the bounds below stays whole, or the event goes to quarantine beside
//! the row that it has.

pub(crate) mod flatten;
mod nested;

use bytes::Bytes;
use jiter::{Jiter, JiterError, Peek};
use lacus_core::names::NAME_BYTES_MAX;
use lacus_core::settings::{Arrays, Nested, Shape};
use lacus_lake::decode::object_text;

use crate::names::{Naming, table_name};
use crate::routing::{RowOf, Rows};
use crate::shape::flatten::{Row, Style};
use crate::shape::nested::copy_without_arrays;

/// For a source with a table for each event name: the table of events without a name of their own.
pub(crate) const OTHER_EVENTS: &str = "other_events";
/// The longest name of an event's table. The rest is for the arrays taken out of it.
const EVENT_TABLE_BYTES_MAX: usize = 80;
/// The longest name of a source whose arrays are taken out: the rest is for their names.
pub(crate) const PARENT_BYTES_MAX: usize = NAME_BYTES_MAX - 2 - ARRAY_TABLE_BYTES_MIN;
const ARRAY_TABLE_BYTES_MIN: usize = 24;
/// The most array elements of one event that become rows.
const ELEMENTS_MAX: usize = 10_000;
/// An array with a longer path stays where it is; so does an object that would be flattened.
const PATH_BYTES_MAX: usize = 255;

/// An array that was taken out of an event.
pub(crate) struct Taken<'json> {
    /// The names of the fields it lies in and its own, joined by `_`.
    path: String,
    json: &'json str,
}

/// The rows of an event, or the reason why it has none. `stream_bytes` is the length of the stream's name.
pub(crate) fn rows(event: &Bytes, shape: &Shape, stream_bytes: usize) -> Result<Rows, String> {
    let text = object_text(event)?;
    let table = shape.by_event.as_ref().map(|path| event_table(text, path)).unwrap_or_default();
    let (json, arrays) = shaped(text, shape)?;
    let json = json.map_or_else(|| event.clone(), Bytes::from);
    let name_bytes_max = NAME_BYTES_MAX - 2 - if table.is_empty() { stream_bytes } else { table.len() };
    let elements = element_rows(&table, name_bytes_max, &arrays, shape.nested)?;
    let mut rows = Rows { rows: vec![RowOf { table, json }], left_out: None };
    match elements {
        Some(elements) => rows.rows.extend(elements),
        None => rows.left_out = Some(format!("the event has more than {ELEMENTS_MAX} elements in its arrays")),
    }
    Ok(rows)
}

/// The event's own row, unless that is the event as it came, and the arrays taken out of it.
fn shaped<'json>(text: &'json str, shape: &Shape) -> Result<(Option<String>, Vec<Taken<'json>>), String> {
    match (shape.nested, shape.arrays) {
        (Nested::Struct, Arrays::List) => Ok((None, Vec::new())),
        (Nested::Struct, arrays) => {
            let (json, taken) = copy_without_arrays(text, arrays).map_err(|error| error.error_type.to_string())?;
            Ok((Some(json), taken))
        }
        (Nested::Flatten, arrays) => {
            let mut row = Row::new(text.len(), Style::AsSent(arrays));
            row.add_object(text)?;
            let (json, taken) = row.into_parts();
            Ok((Some(json), taken))
        }
    }
}

/// The table for an event name: a text, number or boolean.
fn event_table(text: &str, path: &str) -> String {
    const NAMING: Naming = Naming { kind: "event", taken: &[OTHER_EVENTS], bytes_max: EVENT_TABLE_BYTES_MAX };
    let found = path.split('.').try_fold(text, |object, name| member(object, name).ok().flatten());
    let name = found.filter(|found| !found.starts_with(['{', '[']) && !["null", "\"\""].contains(found));
    match name {
        Some(string) if string.starts_with('"') => match Jiter::new(string.as_bytes()).next_str() {
            Ok(name) => table_name(name, &NAMING),
            Err(_) => OTHER_EVENTS.to_owned(),
        },
        Some(name) => table_name(name, &NAMING),
        None => OTHER_EVENTS.to_owned(),
    }
}

/// The JSON text of a member; none if it is missing, or the value is no object.
fn member<'json>(text: &'json str, name: &str) -> Result<Option<&'json str>, JiterError> {
    let mut json = Jiter::new(text.as_bytes());
    if json.peek()? != Peek::Object {
        return Ok(None);
    }
    let mut key = json.known_object()?;
    while let Some(found) = key {
        let is_it = found == name;
        let peek = json.peek()?;
        let start = json.current_index();
        json.known_skip(peek)?;
        if is_it {
            return Ok(Some(&text[start..json.current_index()]));
        }
        key = json.next_key()?;
    }
    Ok(None)
}

/// A row for each element of the arrays; none if there are too many.
fn element_rows(
    parent: &str,
    name_bytes_max: usize,
    arrays: &[Taken<'_>],
    nested: Nested,
) -> Result<Option<Vec<RowOf>>, String> {
    let naming = Naming { kind: "array", taken: &["quarantine"], bytes_max: name_bytes_max };
    let mut rows = Vec::new();
    for Taken { path, json } in arrays {
        let table = format!("{parent}__{}", table_name(path, &naming));
        let mut elements = Jiter::new(json.as_bytes());
        let failed = |error: JiterError| error.error_type.to_string();
        let (mut next, mut index) = (elements.next_array().map_err(failed)?, 0);
        while let Some(peek) = next {
            if rows.len() == ELEMENTS_MAX {
                return Ok(None);
            }
            let start = elements.current_index();
            elements.known_skip(peek).map_err(failed)?;
            let element = element_row(&json[start..elements.current_index()], index, nested)?;
            rows.push(RowOf { table: table.clone(), json: element.into() });
            next = elements.array_step().map_err(failed)?;
            index += 1;
        }
    }
    Ok(Some(rows))
}

fn element_row(element: &str, index: usize, nested: Nested) -> Result<String, String> {
    if !element.starts_with('{') {
        return Ok(format!("{{\"_index\":{index},\"value\":{element}}}"));
    }
    if nested == Nested::Struct {
        let members = element[1..].trim_start();
        let comma = if members.starts_with('}') { "" } else { "," };
        return Ok(format!("{{\"_index\":{index}{comma}{members}"));
    }
    let mut row = Row::new(element.len(), Style::AsSent(Arrays::List));
    row.add_number("_index", index);
    row.add_object(element)?;
    Ok(row.into_parts().0)
}

#[cfg(test)]
mod tests;
