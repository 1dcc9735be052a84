//! The settings of one source of events.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Arrays, Nested, TablesOf};
use crate::error::{Error, Result};

/// One source of events.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Source {
    /// The field of an event whose value is its partition key: `user_id`, or a path such as `user.id`. Without it,
    /// events are spread over all partitions.
    pub partition_key: Option<String>,
    /// The field of an event whose value is its identity: of events with the same one, the first that came within a day is
    /// kept. A sender may then send again whenever it is not sure.
    pub id: Option<String>,
    /// Partitions, when the stream is created by its first event. Default: `stream.partitions`.
    pub partitions: Option<u32>,
    /// What happens to an event that is no JSON object, or against the schema.
    pub invalid: InvalidEvents,
    /// A file with the JSON Schema that events of this source keep to, from the folder of `lacus.toml`:
    /// `schemas/clicks.json`. It is read once, when lacus starts, and refers to no other file.
    pub schema: Option<String>,
    /// What becomes of objects inside of an event: `struct` (a column with fields) or `flatten` (`address_city`).
    pub nested: Nested,
    /// What becomes of arrays: `list` (a column of lists), `json` (a column of JSON text) or `explode` (a table of their
    /// elements, `clicks__items`).
    pub arrays: Arrays,
    /// Which tables there are: `one` for all events, or `by_event`: one for each event name, `clicks.signed_up`.
    pub tables: TablesOf,
    /// The field with the name of an event, or its path, for `by_event`: `event_name`.
    pub event: Option<String>,
    /// Events are posted to `/v1/webhooks/clicks` too, by a sender that signs them.
    pub webhook: Option<Webhook>,
}

/// What happens to an event that is no JSON object, or against the schema of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InvalidEvents {
    /// The sender is told, and nothing of the event is kept.
    #[default]
    Refuse,
    /// The event is acknowledged and goes, with the reason, to `<table>__quarantine`.
    Quarantine,
}

/// How a sender of webhooks signs what it sends: an HMAC with SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhook {
    /// The secret that the sender signs with. It need not be in the file: `LACUS__SOURCES__GITHUB__WEBHOOK__SECRET`.
    pub secret: Secret,
    /// The header with the signature: `x-hub-signature-256`.
    pub header: String,
    /// What the signature begins with: `sha256=`. Of several, separated by commas, each that begins so is tried.
    pub prefix: String,
    /// How the signature is written: `hex` or `base64`.
    pub encoding: SignatureEncoding,
    /// What is signed, if it is not the body alone: `{timestamp}.{body}`.
    pub signed: Option<String>,
    /// The header with the `{timestamp}`, in seconds. Without it, it stands beside the signature: `t=1700000000,v1=…`.
    /// Webhooks that are more than five minutes old are refused.
    pub timestamp_header: Option<String>,
    /// The header with the identity of a delivery: one that comes again is stored once.
    pub id_header: Option<String>,
}

/// How the bytes of a signature are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureEncoding {
    /// Two hexadecimal digits a byte.
    #[default]
    Hex,
    /// Base64 with the usual alphabet.
    Base64,
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Source {
    pub(super) fn check(&self, name: &str) -> Result<()> {
        self.check_shape(name)?;
        let Some(webhook) = &self.webhook else { return Ok(()) };
        let wrong = |what: &str| Error::invalid(format!("[sources.{name}] webhook {what}"));
        if webhook.header.is_empty() {
            return Err(wrong("does not say the header with the signature")
                .with_hint("the sender's manual names it: header = \"x-hub-signature-256\""));
        }
        match &webhook.signed {
            Some(signed) if !signed.contains("{body}") => {
                Err(wrong("signs no {body}").with_hint("signed = \"{timestamp}.{body}\""))
            }
            signed
                if webhook.timestamp_header.is_some() && signed.as_ref().is_none_or(|s| !s.contains("{timestamp}")) =>
            {
                Err(wrong("names a header with the timestamp, and does not say where it is signed")
                    .with_hint("signed = \"{timestamp}.{body}\""))
            }
            _ => Ok(()),
        }
    }
}

impl Webhook {
    pub(super) fn check_secret(&self, source: &str) -> Result<()> {
        if !self.secret.0.is_empty() {
            return Ok(());
        }
        let variable = format!("LACUS__SOURCES__{}__WEBHOOK__SECRET", source.to_uppercase());
        Err(Error::invalid(format!("[sources.{source}] webhook has no secret"))
            .with_hint(format!("set {variable} in the environment")))
    }
}

impl Secret {
    /// The text, for those who must know it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

/// Takes numbers too: a variable of digits is one.
struct SecretVisitor;

impl Visitor<'_> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret(text.to_owned()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Secret, E> {
        Ok(Secret(number.to_string()))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Secret, E> {
        Ok(Secret(value.to_string()))
    }
}
