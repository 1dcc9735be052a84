//! Segment's messages as rows of Segment's tables. Pure functions: JSON text in, JSON text out.
//!
//! Every table begins with the common columns `id`, `received_at`, `sent_at`, `original_timestamp`, `timestamp`,
//! `anonymous_id`, `user_id` and `context_…`. Then:
//!
//! | message | table | columns |
//! |---|---|---|
//! | `track` | `tracks` | `event` (the name of its table), `event_text` (as sent) |
//! | | one per event, `product_viewed` | the same, and each property |
//! | `identify` | `identifies` | each trait |
//! | `page`, `screen` | `pages`, `screens` | `name`, `category`, each property |
//! | `group` | `groups` | `group_id`, each trait |
//! | `alias` | `aliases` | `previous_id` |
//!
//! Names become snake_case as Segment makes them (see [`crate::names`]). Objects are flattened: `{"a":{"b":1}}` is column `a_b`.
//! Arrays stay JSON text, numbers keep their exact text, strings are never cut, and ids are text even if sent as
//! numbers. Where two keys make one column, the first one has it and the next ones have `…_2`, `…_3`, unless they say the
//! same; a property or trait never has a common column, whether or not the message says it.
//!
//! A message without type, of an unknown type, without any id of a user, or that lacks what its type is about has no rows.

use jiter::{Jiter, JiterError, Peek};
use lacus_core::names::NAME_BYTES_MAX;
use lacus_lake::decode::object_text;

use crate::names::{Naming, table_name};
use crate::routing::RowOf;
use crate::shape::flatten::{Row, Style};

/// The table that every stream of this format has.
pub(crate) const TRACKS: &str = "tracks";

/// Tables that no event can have.
pub(crate) const TABLES: [&str; 7] = [TRACKS, "aliases", "groups", "identifies", "pages", "screens", "users"];

/// The members of a message that become columns, each as its JSON text. Null members are absent.
#[derive(Default)]
struct Message<'json> {
    /// Its length.
    bytes: usize,
    kind: Option<&'json str>,
    /// In the order of [`COMMON`].
    common: [Option<&'json str>; COMMON.len()],
    context: Option<&'json str>,
    event: Option<&'json str>,
    name: Option<&'json str>,
    category: Option<&'json str>,
    group_id: Option<&'json str>,
    previous_id: Option<&'json str>,
    properties: Option<&'json str>,
    traits: Option<&'json str>,
}

/// Members that every table has as text columns.
const COMMON: [(&str, &str); 7] = [
    ("messageId", "id"),
    ("receivedAt", "received_at"),
    ("sentAt", "sent_at"),
    ("originalTimestamp", "original_timestamp"),
    ("timestamp", "timestamp"),
    ("anonymousId", "anonymous_id"),
    ("userId", "user_id"),
];

/// The rows of a message, or the reason why it has none.
pub(crate) fn rows(message: &[u8]) -> Result<Vec<RowOf>, String> {
    let message = Message::read(object_text(message)?)?;
    let kind = text_of(message.kind.ok_or("the message has no \"type\"")?)?;
    message.must_say_who()?;
    match kind.as_str() {
        "track" => message.tracks(),
        "identify" => message.row("identifies", &[], message.traits),
        "page" => message.row("pages", &[("name", message.name), ("category", message.category)], message.properties),
        "screen" => {
            message.row("screens", &[("name", message.name), ("category", message.category)], message.properties)
        }
        "group" => {
            let group = message.group_id.ok_or("the group message has no \"groupId\"")?;
            message.row("groups", &[("group_id", Some(group))], message.traits)
        }
        "alias" => {
            let previous = message.previous_id.ok_or("the alias message has no \"previousId\"")?;
            message.row("aliases", &[("previous_id", Some(previous))], None)
        }
        other => Err(format!("\"{}\" is no type of message", other.chars().take(60).collect::<String>())),
    }
}

impl<'json> Message<'json> {
    fn read(text: &'json str) -> Result<Self, String> {
        let mut message = Self { bytes: text.len(), ..Self::default() };
        let mut json = Jiter::new(text.as_bytes());
        message
            .read_members(&mut json, text)
            .map_err(|error| format!("{} at byte {}", error.error_type, error.index))?;
        Ok(message)
    }

    fn read_members(&mut self, json: &mut Jiter<'json>, text: &'json str) -> Result<(), JiterError> {
        let mut key = json.next_object()?;
        while let Some(name) = key {
            let mut nowhere = None;
            let member = self.member(name).unwrap_or(&mut nowhere);
            let peek = json.peek()?;
            let start = json.current_index();
            json.known_skip(peek)?;
            if peek != Peek::Null && member.is_none() {
                *member = Some(&text[start..json.current_index()]);
            }
            key = json.next_key()?;
        }
        Ok(())
    }

    fn member(&mut self, name: &str) -> Option<&mut Option<&'json str>> {
        Some(match name {
            "type" => &mut self.kind,
            "context" => &mut self.context,
            "event" => &mut self.event,
            "name" => &mut self.name,
            "category" => &mut self.category,
            "groupId" => &mut self.group_id,
            "previousId" => &mut self.previous_id,
            "properties" => &mut self.properties,
            "traits" => &mut self.traits,
            other => &mut self.common[COMMON.iter().position(|(member, _)| *member == other)?],
        })
    }

    fn must_say_who(&self) -> Result<(), String> {
        let ids = COMMON.iter().zip(self.common).filter(|((member, _), _)| ["anonymousId", "userId"].contains(member));
        let mut ids = ids.filter_map(|(_, id)| id);
        if ids.any(|id| id != "\"\"") {
            Ok(())
        } else {
            Err("the message has neither \"userId\" nor \"anonymousId\"".to_owned())
        }
    }

    fn tracks(&self) -> Result<Vec<RowOf>, String> {
        let has_name = |event: &&str| event.starts_with('"') && *event != "\"\"";
        let event = self.event.filter(has_name).ok_or("the track message has no \"event\"")?;
        let table = event_table(&text_of(event)?);
        let mut row = self.begin_row()?;
        row.add_text("event", &format!("\"{table}\""));
        row.add_text("event_text", event);
        let tracks = RowOf { table: TRACKS.to_owned(), json: row.json().into() };
        row.add_all("properties", self.properties)?;
        Ok(vec![tracks, RowOf { table, json: row.json().into() }])
    }

    fn row(
        &self,
        table: &str,
        own: &[(&'static str, Option<&str>)],
        rest: Option<&'json str>,
    ) -> Result<Vec<RowOf>, String> {
        let mut row = self.begin_row()?;
        for (column, value) in own {
            if let Some(value) = value {
                row.add_text(column, value);
            }
        }
        let rest_name = if self.traits.is_some() { "traits" } else { "properties" };
        row.add_all(rest_name, rest)?;
        Ok(vec![RowOf { table: table.to_owned(), json: row.json().into() }])
    }

    /// The common columns.
    fn begin_row(&self) -> Result<Row<'json>, String> {
        let mut row = Row::new(self.bytes, Style::Segment);
        for ((_, column), value) in COMMON.iter().zip(self.common) {
            if let Some(value) = value {
                row.add_text(column, value);
            }
        }
        row.add_context(self.context)?;
        Ok(row)
    }
}

/// The table of an event.
fn event_table(event: &str) -> String {
    table_name(event, &Naming { kind: "event", taken: &TABLES, bytes_max: NAME_BYTES_MAX })
}

/// Whether a column has a meaning of its own, so that no property can have it.
pub(crate) fn is_reserved(column: &str) -> bool {
    column.starts_with("context_") || COMMON.iter().any(|(_, common)| *common == column)
}

/// A JSON value as text: a string's own, any other's JSON.
fn text_of(json: &str) -> Result<String, String> {
    if !json.starts_with('"') {
        return Ok(json.to_owned());
    }
    let mut string = Jiter::new(json.as_bytes());
    string.next_str().map(str::to_owned).map_err(|error| error.error_type.to_string())
}

#[cfg(test)]
mod tests;
