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
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use lacus_core::{NewRecord, Timestamp};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::json::KEY_BYTES_MAX;
use crate::message_id::message_id;

/// Members that are written by us, whatever was sent.
const OURS: [&str; 6] = ["type", "messageId", "originalTimestamp", "sentAt", "receivedAt", "timestamp"];
/// Members that a batch may say for all.
const SHARED: [&str; 2] = ["context", "integrations"];
/// Members that are not stored: keys are no data.
const NEVER: [&str; 1] = ["writeKey"];

/// The first instants of the years 1 and 10,000.
const YEAR_1_MICROS: i64 = -62_135_596_800_000_000;
const YEAR_10_000_MICROS: i64 = 253_402_300_800_000_000;

/// What a batch says for all of its messages.
#[derive(Default)]
pub(super) struct Shared<'a> {
    sent_at: Option<&'a RawValue>,
    context: Option<&'a RawValue>,
    integrations: Option<&'a RawValue>,
}

impl<'a> Shared<'a> {
    pub(super) fn of(
        sent_at: Option<&'a RawValue>,
        context: Option<&'a RawValue>,
        integrations: Option<&'a RawValue>,
    ) -> Self {
        Self { sent_at, context, integrations }
    }
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

/// A member of an object, as it was sent.
type Member<'a> = (Cow<'a, str>, &'a RawValue);

/// The members of an object, in order.
#[derive(Default)]
struct Members<'a>(Vec<Member<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor).map(Self)
    }
}

struct MembersVisitor;

impl<'a> Visitor<'a> for MembersVisitor {
    type Value = Vec<Member<'a>>;

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
    /// A member that is not null. Of two with one name the first counts, as it does in the table.
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        let mut values = self.0.iter().filter(|(found, _)| found == name).map(|(_, value)| *value);
        values.find(|value| value.get() != "null")
    }

    /// A text that is not empty, or a number: what may be an id.
    fn id(&self, name: &str) -> Option<String> {
        let raw = self.get(name)?.get();
        let number = || raw.starts_with(|first: char| first.is_ascii_digit() || first == '-').then(|| raw.to_owned());
        serde_json::from_str::<String>(raw).ok().or_else(number).filter(|id| !id.is_empty())
    }
}

/// The most memory that the members of an object of this length take while it is read. The shortest, `"":0,`, has five bytes, and
/// the list of them grows by doubling.
pub(super) fn members_bytes(length: usize) -> usize {
    2 * size_of::<Member<'_>>() * length.div_ceil(5)
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
    let sent_at = members.get("sentAt").or(shared.sent_at);
    let original = members.get("originalTimestamp").or_else(|| members.get("timestamp"));
    let timestamp = corrected(sent_at.and_then(time), original.and_then(time), sender.received_at);
    let mut object = Writer::default();
    match members.get("type") {
        Some(said) => object.raw("type", said.get()),
        None => object.text("type", kind),
    }
    object.text("messageId", Some(id));
    for (name, value) in [("originalTimestamp", original), ("sentAt", sent_at)] {
        if let Some(value) = value {
            object.raw(name, value.get());
        }
    }
    object.text("receivedAt", Some(&sender.received_at.to_string()));
    object.text("timestamp", Some(&timestamp.to_string()));
    for (name, value) in &members.0 {
        let is_ours = OURS.contains(&&**name) || NEVER.contains(&&**name) || SHARED.contains(&&**name);
        if !is_ours {
            object.raw(name, value.get());
        }
    }
    let context = members.get("context").or(shared.context);
    if let Some(context) = with_client(context, sender.client.as_ref()) {
        object.raw("context", &context);
    }
    if let Some(integrations) = members.get("integrations").or(shared.integrations) {
        object.raw("integrations", integrations.get());
    }
    object.end()
}

/// When it happened, by our clock: the client's may be wrong, but it was wrong by the same when the message was sent.
fn corrected(sent_at: Option<Timestamp>, original: Option<Timestamp>, received_at: Timestamp) -> Timestamp {
    let (Some(sent_at), Some(original)) = (sent_at, original) else { return original.unwrap_or(received_at) };
    let age = sent_at.as_micros().saturating_sub(original.as_micros());
    let corrected = Timestamp::from_micros(received_at.as_micros().saturating_sub(age));
    if is_possible(corrected) { corrected } else { received_at }
}

/// ISO 8601 with an offset, or without one: then it is UTC. The date alone is its first instant.
fn time(raw: &RawValue) -> Option<Timestamp> {
    let text: Cow<'_, str> = serde_json::from_str(raw.get()).ok()?;
    let short_offset = || DateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f%z").ok();
    let naive = || NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f").ok();
    let day = || NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    let micros = || {
        let utc = short_offset().map(|time| time.to_utc());
        Some(utc.or_else(|| Some(naive().or_else(day)?.and_utc()))?.timestamp_micros())
    };
    text.parse().ok().or_else(|| micros().map(Timestamp::from_micros)).filter(|time| is_possible(*time))
}

/// Whether the year has four digits, as in every format that such a time goes to.
fn is_possible(time: Timestamp) -> bool {
    (YEAR_1_MICROS..YEAR_10_000_MICROS).contains(&time.as_micros())
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
    let known = [("ip", client.ip.as_deref()), ("userAgent", client.user_agent.as_deref())];
    let missing = known.into_iter().filter(|(name, value)| value.is_some() && members.get(name).is_none());
    let missing: Vec<_> = missing.collect();
    let mut object = Writer::default();
    for (name, value) in &members.0 {
        if !missing.iter().any(|(missing, _)| name == missing) {
            object.raw(name, value.get());
        }
    }
    for (name, value) in missing {
        object.text(name, value);
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
        let batch: Members<'_> = serde_json::from_str(batch).unwrap();
        let shared = Shared::of(batch.get("sentAt"), batch.get("context"), batch.get("integrations"));
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
    fn what_is_null_is_not_said() {
        let client = Client { ip: Some("203.0.113.9".to_owned()), user_agent: None };
        let message = r#"{"messageId":"m","type":null,"userId":null,"anonymousId":"a","sentAt":null,"integrations":null,"context":{"ip":null,"x":null,"userAgent":null}}"#;
        let record = stored(message, Some("page"), r#"{"integrations":{"All":true}}"#, Some(client));
        insta::assert_snapshot!(text(&record), @r#"{"type":"page","messageId":"m","receivedAt":"2026-11-20T12:00:10.000000Z","timestamp":"2026-11-20T12:00:10.000000Z","userId":null,"anonymousId":"a","context":{"x":null,"userAgent":null,"ip":"203.0.113.9"},"integrations":{"All":true}}"#);
    }

    #[test]
    fn of_two_members_with_one_name_the_first_counts() {
        let message = r#"{"messageId":"a","messageId":"b","userId":null,"userId":"u1","userId":"u2","type":"page","type":"track"}"#;
        let record = stored(message, None, "{}", None);
        assert_eq!(record.id, Some(message_id("segment", &[b"a"])));
        assert_eq!(record.key.as_deref(), Some(&b"u1"[..]));
        assert!(text(&record).starts_with(r#"{"type":"page","messageId":"a","#), "{}", text(&record));
    }

    /// What becomes of a time that was sent at noon, ten seconds before it was received.
    #[track_caller]
    fn check_time(original: &str, timestamp: &str) {
        let message = format!(r#"{{"timestamp":{original},"sentAt":"2026-11-20T12:00:00Z"}}"#);
        let stored: serde_json::Value = serde_json::from_slice(&stored(&message, None, "{}", None).value).unwrap();
        assert_eq!(stored["timestamp"], timestamp, "{original}");
        assert_eq!(stored["originalTimestamp"], serde_json::from_str::<serde_json::Value>(original).unwrap());
    }

    #[test]
    fn times_are_read_in_many_forms_and_kept_as_they_were_sent() {
        let received = "2026-11-20T12:00:10.000000Z";
        check_time(r#""2026-11-20T11:59:00.000Z""#, "2026-11-20T11:59:10.000000Z");
        check_time(r#""2026-11-20T13:59:00.5+02:00""#, "2026-11-20T11:59:10.500000Z");
        check_time(r#""2026-11-20T13:59:00+0200""#, "2026-11-20T11:59:10.000000Z");
        check_time(r#""2026-11-20T11:59:00.123456789""#, "2026-11-20T11:59:10.123456Z");
        check_time(r#""2026-11-20 11:59:00Z""#, "2026-11-20T11:59:10.000000Z");
        check_time(r#""2026-11-20""#, "2026-11-20T00:00:10.000000Z");
        check_time(r#""20\u00326-11-20T12:00:00Z""#, received);
        for odd in [r#""soon""#, "1763640000000", "true", "{}", r#""""#, r#""+99999-01-01T00:00:00Z""#] {
            check_time(odd, received);
        }
        check_time(r#""0001-01-01T00:00:00Z""#, "0001-01-01T00:00:10.000000Z");
        check_time(r#""9999-12-31T23:59:59Z""#, received);
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
