//! Names and values, as forms and addresses have them, as one JSON object.

use bytes::Bytes;
use lacus_core::Error;
use lacus_core::units::human_count;
use serde_json::map::Entry;
use serde_json::{Map, Value};

use crate::refusal::Refusal;
use crate::stats::Reason;

/// The most fields of a form or an address.
const FIELDS_MAX: usize = 1_000;
/// A name such as `a.b.c` makes nested objects, at most this deep; the rest of the name stays as it is.
const LEVELS_MAX: usize = 8;

/// A body as JSON: what begins like JSON is, anything else is a form.
///
/// # Errors
/// For more than [`FIELDS_MAX`] fields.
pub(crate) fn as_json(body: Bytes) -> Result<Bytes, Refusal> {
    match body.trim_ascii_start().first() {
        None | Some(b'{' | b'[') => Ok(body),
        Some(_) => {
            let fields = form_urlencoded::parse(&body).map(|(name, value)| (name.into_owned(), value.into_owned()));
            Ok(Value::Object(object(fields)?).to_string().into())
        }
    }
}

/// The object of these fields: all values are text, several with one name are an array.
///
/// # Errors
/// For more than [`FIELDS_MAX`] fields.
pub(crate) fn object(fields: impl IntoIterator<Item = (String, String)>) -> Result<Map<String, Value>, Refusal> {
    let mut object = Map::new();
    for (count, (name, value)) in fields.into_iter().enumerate() {
        if count == FIELDS_MAX {
            let error = Error::invalid(format!("there are more than {} fields", human_count(FIELDS_MAX as u64)));
            return Err(Refusal::invalid(Reason::TooLarge, error));
        }
        add(&mut object, &name, value, LEVELS_MAX);
    }
    Ok(object)
}

fn add(object: &mut Map<String, Value>, name: &str, value: String, levels: usize) {
    let parts = name.split_once('.').filter(|(first, rest)| levels > 1 && !first.is_empty() && !rest.is_empty());
    if let Some((first, rest)) = parts {
        let inner = object.entry(first).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(inner) = inner {
            return add(inner, rest, value, levels - 1);
        }
    }
    match object.entry(name) {
        Entry::Vacant(place) => {
            place.insert(value.into());
        }
        Entry::Occupied(mut place) => match place.get_mut() {
            Value::Array(values) => values.push(value.into()),
            first => *first = vec![first.take(), value.into()].into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(form: &str, expected: &str) {
        let json = as_json(Bytes::copy_from_slice(form.as_bytes())).unwrap();
        assert_eq!(String::from_utf8_lossy(&json), expected);
    }

    #[test]
    fn a_form_is_an_object_and_json_stays_as_it_is() {
        check(" {\"a\": 1}", " {\"a\": 1}");
        check("[1]", "[1]");
        check("", "");
        check("text=94070&user=Steve+%C3%BC&empty=&bare", r#"{"bare":"","empty":"","text":"94070","user":"Steve ü"}"#);
        check("a=1&a=2&a=3", r#"{"a":["1","2","3"]}"#);
        check("a.b=1&a.c=2&a=3&.x=4&y.=5", r#"{".x":"4","a":[{"b":"1","c":"2"},"3"],"y.":"5"}"#);
        check("a=1&a.b=2", r#"{"a":"1","a.b":"2"}"#);
    }

    #[test]
    fn names_are_never_deep_and_fields_never_many() {
        check(&format!("{}z=1", "a.".repeat(9)), r#"{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a.a.z":"1"}}}}}}}}"#);
        assert!(as_json(Bytes::from("a&".repeat(1_001))).is_err());
    }
}
