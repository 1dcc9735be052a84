//! Which records are wanted: those whose field has a value, or that contain a text.
//!
//! An event is looked through and never built: as a tree it takes many times its own length, which may be that of the longest
//! record.

use std::fmt;

use lacus_core::{Error, Result};
use serde::de::{DeserializeSeed, Deserializer, Error as ReadError, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// Which records are wanted.
pub(super) struct Filter {
    field: Option<(Vec<String>, String)>,
    contains: Option<Vec<u8>>,
}

impl Filter {
    /// `field` is `path=value`.
    ///
    /// # Errors
    /// `Invalid` for a field that is none.
    pub(super) fn new(field: Option<&str>, contains: Option<String>) -> Result<Self> {
        let field = field.map(|text| {
            let (path, value) = text.split_once('=').filter(|(path, _)| !path.is_empty()).ok_or_else(|| {
                Error::invalid(format!("\"{text}\" is no filter")).with_hint("write event_name=Purchase or user.id=7")
            })?;
            Ok::<_, Error>((path.split('.').map(str::to_owned).collect(), value.to_owned()))
        });
        Ok(Self { field: field.transpose()?, contains: contains.map(String::into_bytes) })
    }

    pub(super) fn wants(&self, value: &[u8]) -> bool {
        let contains = |text: &Vec<u8>| text.is_empty() || value.windows(text.len()).any(|window| window == &text[..]);
        self.contains.as_ref().is_none_or(contains) && self.field.as_ref().is_none_or(|field| has(value, field))
    }
}

fn has(event: &[u8], (path, wanted): &(Vec<String>, String)) -> bool {
    let Ok(event) = serde_json::from_slice::<&RawValue>(event) else { return false };
    path.iter().try_fold(event, |value, name| member(value, name)).is_some_and(|found| is(found, wanted))
}

fn is(found: &RawValue, wanted: &str) -> bool {
    if found.get().starts_with(['[', '{']) {
        return false;
    }
    match serde_json::from_str(found.get()) {
        Ok(Value::String(text)) => text == wanted,
        Ok(Value::Bool(true)) => wanted == "true",
        Ok(Value::Bool(false)) => wanted == "false",
        Ok(Value::Null) => wanted == "null",
        Ok(Value::Number(number)) => wanted.parse().is_ok_and(|wanted: serde_json::Number| wanted == number),
        Ok(Value::Array(_) | Value::Object(_)) | Err(_) => false,
    }
}

/// The member of an object that has this name; of several, the last.
fn member<'a>(value: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    let mut reader = serde_json::Deserializer::from_str(value.get());
    Member(name).deserialize(&mut reader).ok().flatten()
}

/// Finds the member of this name.
struct Member<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = members.next_key_seed(Named(self.0))? {
            if is_it {
                found = Some(members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Tells whether a name is this one.
struct Named<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Named<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Named<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: ReadError>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_and_compared_by_its_value() {
        let event =
            r#" {"user": {"id": 7, "na\u006de": "\u00fc", "tags": ["a"]}, "is": true, "none": null, "x": 1, "x": 2} "#;
        for (field, expected) in [
            ("user.id=7", true),
            ("user.id=07", false),
            ("user.id=8", false),
            ("user.name=ü", true),
            ("is=true", true),
            ("is=false", false),
            ("none=null", true),
            ("missing=null", false),
            // Of a name that comes twice the last counts.
            ("x=2", true),
            ("x=1", false),
            // What has members is no value.
            ("user={}", false),
            ("user.tags=a", false),
            ("user.tags.0=a", false),
            ("user.id.deeper=7", false),
        ] {
            assert_eq!(Filter::new(Some(field), None).unwrap().wants(event.as_bytes()), expected, "{field}");
        }
        for broken in ["", "nope", "[1]", "7", r#"{"x":2"#, r#"{"x":2} 7"#] {
            assert!(!Filter::new(Some("x=2"), None).unwrap().wants(broken.as_bytes()), "{broken}");
        }
        assert!(Filter::new(Some("=7"), None).is_err() && Filter::new(Some("x"), None).is_err());
    }
}
