//! One message of the Tracking API, as it is stored: the members as they were sent, byte for byte, and those that the server
//! adds or sets.
//!
//! | member | |
//! |---|---|
//! | `type` | from the path, if the message does not say |
//! | `messageId` | made here, if the message has none |
//! | `originalTimestamp` | when the client says that it happened |
//! | `sentAt` | when the client says that it sent it |
//! | `receivedAt` | now |
//! | `timestamp` | when it happened by our clock: `receivedAt − (sentAt − originalTimestamp)` |
//! | `context.ip`, `context.userAgent` | of a browser, if the message has none |

use std::borrow::Cow;

use bytes::Bytes;
use chrono::NaiveDateTime;
use lacus_core::{NewRecord, Timestamp};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::json::KEY_BYTES_MAX;
use crate::message_id::message_id;

/// Members that are written by us, whatever was sent.
const OURS: [&str; 6] = ["type", "messageId", "originalTimestamp", "sentAt", "receivedAt", "timestamp"];
/// Members that are not stored: keys are no data.
const NEVER: [&str; 1] = ["writeKey"];

/// What a batch says for all of its messages.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shared<'a> {
    #[serde(borrow)]
    sent_at: Option<Cow<'a, str>>,
    #[serde(borrow)]
    context: Option<&'a RawValue>,
    #[serde(borrow)]
    integrations: Option<&'a RawValue>,
}

/// Who sent it, and when we got it.
pub(super) struct Sender {
    pub(super) received_at: Timestamp,
    pub(super) client: Option<Client>,
}

/// A browser.
pub(super) struct Client {
    pub(super) ip: Option<String>,
    pub(super) user_agent: Option<String>,
}

/// The members of an object, in order, each as it was sent.
#[derive(Default)]
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor).map(Self)
    }
}

struct MembersVisitor;

impl<'a> Visitor<'a> for MembersVisitor {
    type Value = Vec<(Cow<'a, str>, &'a RawValue)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            members.push((name, map.next_value()?));
        }
        Ok(members)
    }
}

/// A name that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        // As everywhere in JSON, the last of two with one name counts.
        self.0.iter().rev().find(|(found, _)| found == name).map(|(_, value)| *value)
    }

    fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// A text that is not empty, or a number: what may be an id.
    fn id(&self, name: &str) -> Option<String> {
        let raw = self.get(name)?.get();
        let number = || raw.starts_with(|first: char| first.is_ascii_digit() || first == '-').then(|| raw.to_owned());
        serde_json::from_str::<String>(raw).ok().or_else(number).filter(|id| !id.is_empty())
    }
}

/// The record of a message. What is no object is stored as it is.
pub(super) fn record(raw: &RawValue, kind: Option<&str>, shared: &Shared<'_>, sender: &Sender) -> NewRecord {
    let Ok(members) = serde_json::from_str::<Members<'_>>(raw.get()) else {
        return NewRecord::of(raw.get().as_bytes().to_vec());
    };
    let made_id = || format!("lacus-{}", uuid::Uuid::now_v7());
    let id = members.id("messageId").unwrap_or_else(made_id);
    let key = members.id("userId").or_else(|| members.id("anonymousId"));
    let key = key.map(|key| Bytes::copy_from_slice(&key.as_bytes()[..key.len().min(KEY_BYTES_MAX)]));
    let value = Bytes::from(canonical(&members, &id, kind, shared, sender));
    NewRecord { key, id: Some(message_id("segment", &[id.as_bytes()])), ..NewRecord::of(value) }
}

fn canonical(members: &Members<'_>, id: &str, kind: Option<&str>, shared: &Shared<'_>, sender: &Sender) -> Vec<u8> {
    let sent_at = members.text("sentAt").or_else(|| shared.sent_at.as_deref().map(str::to_owned));
    let original = members.text("originalTimestamp").or_else(|| members.text("timestamp"));
    let kind = members.text("type").or_else(|| kind.map(str::to_owned));
    let mut object = Writer::default();
    object.text("type", kind.as_deref());
    object.text("messageId", Some(id));
    object.text("originalTimestamp", original.as_deref());
    object.text("sentAt", sent_at.as_deref());
    object.text("receivedAt", Some(&sender.received_at.to_string()));
    object.text("timestamp", Some(&corrected(sent_at.as_deref(), original.as_deref(), sender.received_at).to_string()));
    for (name, value) in &members.0 {
        let is_ours = OURS.contains(&&**name) || NEVER.contains(&&**name) || *name == "context";
        if !is_ours {
            object.raw(name, value.get());
        }
    }
    let context = members.get("context").or(shared.context);
    if let Some(context) = with_client(context, sender.client.as_ref()) {
        object.raw("context", &context);
    }
    if let Some(integrations) = shared.integrations.filter(|_| members.get("integrations").is_none()) {
        object.raw("integrations", integrations.get());
    }
    object.end()
}

/// When it happened, by our clock: the client's may be wrong, but it was wrong by the same when the message was sent.
fn corrected(sent_at: Option<&str>, original: Option<&str>, received_at: Timestamp) -> Timestamp {
    let (Some(sent_at), Some(original)) = (sent_at.and_then(time), original.and_then(time)) else {
        return original.and_then(time).unwrap_or(received_at);
    };
    let age = sent_at.as_micros().saturating_sub(original.as_micros());
    Timestamp::from_micros(received_at.as_micros().saturating_sub(age))
}

/// ISO 8601 with an offset, or without one: then it is UTC.
fn time(text: &str) -> Option<Timestamp> {
    let naive = || NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok();
    text.parse().ok().or_else(|| Some(Timestamp::from_micros(naive()?.and_utc().timestamp_micros())))
}

/// The context, with where the client is if it does not say.
fn with_client<'a>(context: Option<&'a RawValue>, client: Option<&Client>) -> Option<Cow<'a, str>> {
    let Some(client) = client else { return context.map(|context| context.get().into()) };
    let members = match context.map(|context| serde_json::from_str::<Members<'_>>(context.get())) {
        None => Members::default(),
        Some(Ok(members)) => members,
        // It is no object: it stays what it is.
        Some(Err(_)) => return context.map(|context| context.get().into()),
    };
    let mut object = Writer::default();
    for (name, value) in &members.0 {
        object.raw(name, value.get());
    }
    for (name, value) in [("ip", &client.ip), ("userAgent", &client.user_agent)] {
        if members.get(name).is_none() {
            object.text(name, value.as_deref());
        }
    }
    String::from_utf8(object.end()).ok().map(Into::into)
}

/// An object that is being written.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.name(name);
            // Writing text to memory can't fail.
            serde_json::to_writer(&mut self.0, value).ok();
        }
    }

    fn raw(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.extend_from_slice(value.as_bytes());
    }

    fn name(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        serde_json::to_writer(&mut self.0, name).ok();
        self.0.push(b':');
    }

    fn end(mut self) -> Vec<u8> {
        if self.0.is_empty() {
            self.0.push(b'{');
        }
        self.0.push(b'}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(message: &str, kind: Option<&str>, batch: &str, client: Option<Client>) -> NewRecord {
        let raw: &RawValue = serde_json::from_str(message).unwrap();
        let shared: Shared<'_> = serde_json::from_str(batch).unwrap();
        let sender = Sender { received_at: "2026-11-20T12:00:10Z".parse().unwrap(), client };
        record(raw, kind, &shared, &sender)
    }

    fn text(record: &NewRecord) -> &str {
        std::str::from_utf8(&record.value).unwrap()
    }

    #[test]
    fn members_stay_as_they_were_sent_and_ours_are_added() {
        let message = r#"{ "messageId":"m-1","type":"track","event":"Caf\u00e9","userId":7,"properties":{"price":1.50, "a":[1]},"timestamp":"2026-11-20T11:00:00.000Z","writeKey":"wk_x"}"#;
        let record =
            stored(message, None, r#"{"sentAt":"2026-11-20T11:00:05Z","context":{"library":{"name":"py"}}}"#, None);
        insta::assert_snapshot!(text(&record), @r#"{"type":"track","messageId":"m-1","originalTimestamp":"2026-11-20T11:00:00.000Z","sentAt":"2026-11-20T11:00:05Z","receivedAt":"2026-11-20T12:00:10.000000Z","timestamp":"2026-11-20T12:00:05.000000Z","event":"Caf\u00e9","userId":7,"properties":{"price":1.50, "a":[1]},"context":{"library":{"name":"py"}}}"#);
        assert_eq!(record.key.as_deref(), Some(&b"7"[..]));
        assert_eq!(record.id, Some(message_id("segment", &[b"m-1"])));
    }

    #[test]
    fn a_browser_gets_its_address_and_a_message_its_id() {
        let client = Client { ip: Some("203.0.113.9".to_owned()), user_agent: Some("Mozilla".to_owned()) };
        let record = stored(r#"{"anonymousId":"a","context":{"ip":"1.2.3.4"}}"#, Some("page"), "{}", Some(client));
        assert!(text(&record).starts_with(r#"{"type":"page","messageId":"lacus-"#));
        assert!(text(&record).ends_with(r#""timestamp":"2026-11-20T12:00:10.000000Z","anonymousId":"a","context":{"ip":"1.2.3.4","userAgent":"Mozilla"}}"#));
        assert_eq!(record.key.as_deref(), Some(&b"a"[..]));
    }

    #[test]
    fn whatever_is_sent_is_stored() {
        assert_eq!(text(&stored("[1, 2]", None, "{}", None)), "[1, 2]");
        assert!(stored("[1]", None, "{}", None).id.is_none());
        for message in [
            "{}",
            r#"{"type":7,"timestamp":false,"context":"x","userId":null}"#,
            r#"{"timestamp":"soon","sentAt":"0"}"#,
        ] {
            let client = Client { ip: None, user_agent: None };
            let record = stored(message, None, "{}", Some(client));
            assert!(serde_json::from_slice::<serde_json::Value>(&record.value).unwrap().is_object(), "{message}");
            assert!(record.id.is_some());
        }
    }
}
