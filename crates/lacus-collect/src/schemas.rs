//! JSON Schemas: what the events of a source keep to, besides being JSON objects.
//!
//! A schema is read and compiled once, at the start, and nothing is fetched: what it refers to stands in the same file. Its
//! patterns are matched in linear time, whatever an event holds. One event at a time is a tree in memory, and only one of
//! [`CHECKED_BYTES_MAX`] at most.

mod tree;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use jsonschema::{PatternOptions, ValidationError, Validator};
use lacus_core::units::human_count;
use lacus_core::{Context, Error, Result, Settings, StreamName};
use serde_json::Value;

use self::tree::Tree;

/// The longest file with a schema.
const SCHEMA_BYTES_MAX: u64 = 1 << 20;
/// The longest event that is validated against a schema.
const CHECKED_BYTES_MAX: usize = 1 << 20;
/// The size of an event's tree in memory, as a multiple of its text, at worst: `[[],[]]`.
const TREE_BYTES_PER_BYTE: usize = 16;
/// The longest explanation.
pub(crate) const REASON_BYTES_MAX: usize = 300;

/// The schemas of all sources that have one.
#[derive(Default)]
pub struct Schemas(BTreeMap<StreamName, Arc<Schema>>);

/// The schema of a source's events.
pub(crate) struct Schema(Validator);

impl Schemas {
    /// Reads the schemas that `settings` name, from `folder`.
    ///
    /// # Errors
    /// If one can't be read, or is no JSON Schema; the error names its source and its file.
    pub fn load(settings: &Settings, folder: &Path) -> Result<Self> {
        let mut schemas = BTreeMap::new();
        for (name, source) in &settings.sources {
            let Some(file) = &source.schema else { continue };
            let schema = read(&folder.join(file)).and_then(|text| Schema::parse(&text));
            let schema = schema.context(format!("read the schema of source \"{name}\" from {file}"))?;
            schemas.insert(StreamName::new(name)?, Arc::new(schema));
        }
        Ok(Self(schemas))
    }

    pub(crate) fn of(&self, source: &StreamName) -> Option<Arc<Schema>> {
        self.0.get(source).cloned()
    }
}

fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    File::open(path)?.take(SCHEMA_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > SCHEMA_BYTES_MAX {
        return Err(Error::invalid("the file has more than 1 MB"));
    }
    Ok(text)
}

impl Schema {
    fn parse(text: &str) -> Result<Self> {
        let schema: Value =
            serde_json::from_str(text).map_err(|error| Error::invalid(format!("this is no JSON: {error}")))?;
        let options = jsonschema::options().offline().with_pattern_options(PatternOptions::regex());
        let validator = options.build(&schema).map_err(|error| {
            let error = in_one_line(&format!("at \"{}\": {error}", error.instance_path()));
            Error::invalid(format!("this is no JSON Schema: {error}"))
                .with_hint("it is one file, refers to no other, and its patterns have no look-around")
        })?;
        Ok(Self(validator))
    }

    /// How an event violates the schema, on one line of at most [`REASON_BYTES_MAX`] bytes; none if it does not.
    pub(crate) fn violation(&self, event: &[u8]) -> Option<String> {
        if event.len() > CHECKED_BYTES_MAX {
            let most = human_count(CHECKED_BYTES_MAX as u64);
            return Some(format!("an event has {most} bytes at most where there is a schema"));
        }
        match serde_json::from_slice(event) {
            Ok(Tree(event)) => self.0.validate(&event).err().map(|error| explain(&error)),
            Err(error) => Some(in_one_line(&format!("the event can't be compared with the schema: {error}"))),
        }
    }

    /// The memory that validating an event of this size takes.
    pub(crate) fn bytes_for(&self, event_bytes: usize) -> usize {
        TREE_BYTES_PER_BYTE * event_bytes.min(CHECKED_BYTES_MAX)
    }
}

/// Names the place and the rule, but no value: it may be long, or a secret.
fn explain(error: &ValidationError<'_>) -> String {
    let place = match error.instance_path().as_str() {
        "" => "the event".to_owned(),
        pointer => format!("\"{pointer}\""),
    };
    in_one_line(&format!("{place} is against the schema: {} (rule {})", error.masked_with("this"), error.schema_path()))
}

fn in_one_line(text: &str) -> String {
    let mut line = String::new();
    for letter in text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }) {
        if line.len() + letter.len_utf8() > REASON_BYTES_MAX {
            break;
        }
        line.push(letter);
    }
    line
}
