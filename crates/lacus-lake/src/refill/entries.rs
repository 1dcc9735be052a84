//! The entries of `_rescued`, parsed: each misfit with the column or field that its path names.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use jiter::{Jiter, JiterError, Peek};
use lacus_core::{Error, Result};

use crate::schema::{Column, ColumnType};

/// The highest place in an array that a misfit is put back to: a path that names a higher one is left alone.
const ELEMENTS_MAX: usize = 100_000;

/// One misfit of a row.
pub(crate) struct Entry<'a> {
    /// Key and value as they stand there: `"items[2].sku":"x"`.
    pub(crate) text: &'a str,
    /// Its path: `items[2].sku`.
    pub(crate) path: String,
    /// The JSON of its value.
    pub(crate) value: &'a str,
}

/// A way into an object or an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Field(String),
    Element(usize),
}

/// The misfits of a row, in order.
///
/// # Errors
/// `Corrupt` if the text is no JSON object: another engine wrote it.
pub(crate) fn entries(rescued: &str) -> Result<Vec<Entry<'_>>> {
    read_entries(rescued).map_err(|error| {
        Error::corrupt(format!("_rescued is no JSON object: {} at byte {}", error.error_type, error.index))
    })
}

fn read_entries(rescued: &str) -> Result<Vec<Entry<'_>>, JiterError> {
    let rescued = rescued.trim_start();
    let mut json = Jiter::new(rescued.as_bytes());
    let mut entries = Vec::new();
    let mut begin = 1;
    let mut key = json.next_object()?.map(str::to_owned);
    while let Some(path) = key {
        let value = next_text(&mut json, rescued)?;
        let end = json.current_index();
        let text = rescued[begin..end].trim_start_matches([',', ' ', '\n', '\t', '\r']);
        entries.push(Entry { text, path, value });
        begin = end;
        key = json.next_key()?.map(str::to_owned);
    }
    json.finish()?;
    Ok(entries)
}

/// The way to a misfit, through the columns of today.
#[derive(Debug, Clone)]
pub(crate) struct Way<'c> {
    pub(crate) steps: Vec<Step>,
    /// For each field that it goes through, which of the fields beside each other it is.
    containers: Vec<usize>,
    /// The columns that its last step is among.
    pub(crate) neighbours: Vec<&'c Column>,
}

/// The way to a misfit. None if a column on the way is not there, or is no object or array: values in maps have no way either.
pub(crate) fn way<'c>(path: &str, columns: &'c [Column]) -> Option<Way<'c>> {
    let mut way = Way { steps: Vec::new(), containers: Vec::new(), neighbours: columns.iter().collect() };
    let mut rest = path;
    loop {
        let (name, after) = name_in(rest, &way.neighbours);
        way.steps.push(Step::Field(name.to_owned()));
        let is_list = after.starts_with('[');
        if after.is_empty() {
            return Some(way);
        }
        let place = container(name, &way.neighbours, is_list)?;
        way.containers.push(place);
        let mut column = way.neighbours[place];
        rest = after;
        while let ColumnType::List(element) = &column.kind {
            let (index, after) = index_in(rest)?;
            way.steps.push(Step::Element(index));
            (column, rest) = (element, after);
            if !rest.starts_with('[') {
                break;
            }
        }
        if rest.is_empty() {
            way.neighbours = vec![column];
            return Some(way);
        }
        let (ColumnType::Struct(fields), Some(after)) = (&column.kind, rest.strip_prefix('.')) else { return None };
        (way.neighbours, rest) = (fields.iter().collect(), after);
    }
}

/// The column that pieces of a value are in: the one of that name, before others that senders call so.
fn container(name: &str, columns: &[&Column], is_list: bool) -> Option<usize> {
    let is_one = |column: &Column| match &column.kind {
        ColumnType::List(_) => is_list,
        ColumnType::Struct(_) => !is_list,
        _ => false,
    };
    let own = columns.iter().position(|column| column.name == name && is_one(column));
    own.or_else(|| columns.iter().position(|column| column.is_called(name) && is_one(column)))
}

/// The members of an object, or the elements of an array, each with its step as paths have it. None of what has no content.
pub(crate) fn pieces(value: &str) -> Option<Vec<(String, String)>> {
    let members = |value: &str| -> Result<Vec<(String, String)>, JiterError> {
        let mut json = Jiter::new(value.as_bytes());
        let mut pieces = Vec::new();
        if json.peek()? == Peek::Object {
            let mut key = json.known_object()?.map(|name| name.replace('.', "_"));
            while let Some(name) = key {
                pieces.push((format!(".{name}"), next_text(&mut json, value)?.to_owned()));
                key = json.next_key()?.map(|name| name.replace('.', "_"));
            }
        } else {
            let mut next = json.next_array()?;
            while next.is_some() {
                pieces.push((format!("[{}]", pieces.len()), next_text(&mut json, value)?.to_owned()));
                next = json.array_step()?;
            }
        }
        Ok(pieces)
    };
    let mut pieces = value.starts_with(['{', '[']).then(|| members(value).ok()).flatten()?;
    pieces.retain(|(_, value)| !["null", "{}", "[]"].contains(&value.as_str()));
    Some(pieces)
}

/// The text of the next value.
fn next_text<'t>(json: &mut Jiter<'_>, text: &'t str) -> Result<&'t str, JiterError> {
    let peek = json.peek()?;
    let start = json.current_index();
    json.known_skip(peek)?;
    Ok(&text[start..json.current_index()])
}

impl Way<'_> {
    /// Whether there is a column for objects, or for arrays, at its end.
    pub(crate) fn has_container(&self, is_list: bool) -> bool {
        match self.steps.last() {
            Some(Step::Field(name)) => container(name, &self.neighbours, is_list).is_some(),
            _ => container("element", &self.neighbours, is_list).is_some(),
        }
    }

    /// Whether a row of columns, which has nothing but a value at the end of this way, kept any of it there. A place in an
    /// array counts as the first one.
    pub(crate) fn is_kept_in(&self, columns: &[ArrayRef], row: usize) -> bool {
        is_beside(columns, row, &self.steps, &self.containers)
    }
}

/// Whether one of these columns, which are beside each other, has something at the end of the way.
fn is_beside(columns: &[ArrayRef], row: usize, steps: &[Step], containers: &[usize]) -> bool {
    match (steps, containers) {
        ([_, rest @ ..], [container, containers @ ..]) => is_inside(&columns[*container], row, rest, containers),
        // Any of them may have it.
        _ => columns.iter().any(|column| column.is_valid(row)),
    }
}

/// The same of what is inside of a column.
fn is_inside(column: &ArrayRef, row: usize, steps: &[Step], containers: &[usize]) -> bool {
    if column.is_null(row) {
        return false;
    }
    match (steps, column.data_type()) {
        ([Step::Element(_), rest @ ..], DataType::List(_)) => {
            let list = column.as_list::<i32>();
            let first = usize::try_from(list.value_offsets()[row]).unwrap_or_default();
            list.value_length(row) > 0 && is_inside(list.values(), first, rest, containers)
        }
        ([Step::Field(_), ..], DataType::Struct(_)) => is_beside(column.as_struct().columns(), row, steps, containers),
        (rest, _) => rest.is_empty(),
    }
}

/// The name that a path begins with, and the rest. A name has no dot in it, but may have brackets: then a column tells.
fn name_in<'p>(path: &'p str, columns: &[&Column]) -> (&'p str, &'p str) {
    let whole = path.find('.').unwrap_or(path.len());
    let brackets = path[..whole].char_indices().filter(|(_, letter)| *letter == '[').map(|(at, _)| at);
    let is_column = |end: &usize| columns.iter().any(|column| column.is_called(&path[..*end]));
    let end = std::iter::once(whole).chain(brackets).find(is_column).unwrap_or(whole);
    path.split_at(end)
}

/// `[2]` and what follows it.
fn index_in(path: &str) -> Option<(usize, &str)> {
    let (index, after) = path.strip_prefix('[')?.split_once(']')?;
    let index = index.parse().ok().filter(|index| *index < ELEMENTS_MAX)?;
    Some((index, after))
}

/// An event of misfits alone: objects and arrays around values that stand where their ways say.
#[derive(Default)]
pub(crate) struct Sketch<'a>(Node<'a>);

#[derive(Default)]
enum Node<'a> {
    #[default]
    Nothing,
    Value(&'a str),
    Object(Vec<(String, Node<'a>)>),
    Array(Vec<Node<'a>>),
}

impl<'a> Sketch<'a> {
    /// Puts a value to its place; says whether it was free.
    pub(crate) fn put(&mut self, way: &[Step], value: &'a str) -> bool {
        let mut node = &mut self.0;
        for step in way {
            if matches!(node, Node::Nothing) {
                *node = match step {
                    Step::Field(_) => Node::Object(Vec::new()),
                    Step::Element(_) => Node::Array(Vec::new()),
                };
            }
            node = match (node, step) {
                (Node::Object(members), Step::Field(name)) => {
                    let place = members.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                        members.push((name.clone(), Node::Nothing));
                        members.len() - 1
                    });
                    &mut members[place].1
                }
                (Node::Array(elements), Step::Element(index)) => {
                    if elements.len() <= *index {
                        elements.resize_with(index + 1, Node::default);
                    }
                    &mut elements[*index]
                }
                _ => return false,
            };
        }
        let is_free = matches!(node, Node::Nothing);
        if is_free {
            *node = Node::Value(value);
        }
        is_free
    }

    /// The event's JSON.
    pub(crate) fn json(&self) -> String {
        let mut json = String::new();
        match &self.0 {
            Node::Nothing => json.push_str("{}"),
            node => node.write(&mut json),
        }
        json
    }
}

impl Node<'_> {
    fn write(&self, json: &mut String) {
        match self {
            Self::Nothing => json.push_str("null"),
            Self::Value(value) => json.push_str(value),
            Self::Object(members) => {
                json.push('{');
                for (place, (name, member)) in members.iter().enumerate() {
                    json.push_str(if place > 0 { "," } else { "" });
                    json.push_str(&serde_json::Value::from(name.as_str()).to_string());
                    json.push(':');
                    member.write(json);
                }
                json.push('}');
            }
            Self::Array(elements) => {
                json.push('[');
                for (place, element) in elements.iter().enumerate() {
                    json.push_str(if place > 0 { "," } else { "" });
                    element.write(json);
                }
                json.push(']');
            }
        }
    }
}
