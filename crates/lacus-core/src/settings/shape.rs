//! How the events of a source become tables.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Source;
use crate::error::{Error, Result};

/// What becomes of objects inside of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nested {
    /// A column of structs: `address` with fields.
    #[default]
    Struct,
    /// A column for each value inside: `address_city`.
    Flatten,
}

/// What becomes of arrays of an event, also of those inside of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrays {
    /// A column of lists.
    #[default]
    List,
    /// A column of JSON text.
    Json,
    /// A table of their elements beside the event's, one row for each: `orders__items`.
    Explode,
}

/// Which tables a source has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TablesOf {
    /// One for all events: `clicks`.
    #[default]
    One,
    /// One for each event name: `clicks.signed_up`.
    ByEvent,
}

/// How the events of a source become tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shape {
    /// What becomes of objects inside of an event.
    pub nested: Nested,
    /// What becomes of arrays.
    pub arrays: Arrays,
    /// The path of the event's name, if each name has a table.
    pub by_event: Option<String>,
}

impl Shape {
    /// Whether events are rows as they came.
    #[must_use]
    pub fn is_as_sent(&self) -> bool {
        *self == Self::default()
    }
}

/// `nested=flatten,arrays=list,tables=one`: what a stream remembers of it.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nested = match self.nested {
            Nested::Struct => "struct",
            Nested::Flatten => "flatten",
        };
        let arrays = match self.arrays {
            Arrays::List => "list",
            Arrays::Json => "json",
            Arrays::Explode => "explode",
        };
        write!(f, "nested={nested},arrays={arrays}")?;
        match &self.by_event {
            None => f.write_str(",tables=one"),
            Some(event) => write!(f, ",tables=by_event,event={event}"),
        }
    }
}

impl Source {
    /// How its events become tables.
    #[must_use]
    pub fn shape(&self) -> Shape {
        let by_event = self.event.clone().filter(|_| self.tables == TablesOf::ByEvent);
        Shape { nested: self.nested, arrays: self.arrays, by_event }
    }

    pub(super) fn check_shape(&self, name: &str) -> Result<()> {
        let is_path = |event: &str| event.split('.').all(|part| !part.is_empty());
        match (&self.event, self.tables) {
            (None, TablesOf::One) => Ok(()),
            (Some(event), TablesOf::ByEvent) if is_path(event) => Ok(()),
            (Some(event), TablesOf::ByEvent) => {
                Err(Error::invalid(format!("[sources.{name}] event = \"{event}\" is no path of a field"))
                    .with_hint("a field such as event_name, or user.action for one inside of an object"))
            }
            (None, TablesOf::ByEvent) => {
                Err(Error::invalid(format!("[sources.{name}] does not say where the name of an event is"))
                    .with_hint("tables = \"by_event\" needs event = \"event_name\", or the path where it is"))
            }
            (Some(_), TablesOf::One) => {
                Err(Error::invalid(format!("[sources.{name}] has one table, and says where the name of an event is"))
                    .with_hint("add tables = \"by_event\", or take event away"))
            }
        }
    }
}
