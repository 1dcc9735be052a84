//! The check of one value: cases, and agreement with the decoder's parser on whatever bytes there are.

use jiter::JsonValue;
use proptest::prelude::*;

use super::*;

/// Checks `text` as one value, and says what is wrong and at which byte.
#[track_caller]
fn check_one(text: impl AsRef<[u8]>, expected: &str) {
    let text = text.as_ref();
    let found = match Values::new(text, 0).check(0) {
        Ok((_, None)) => "an event".to_owned(),
        Ok((_, Some(fault))) => format!("{}: {}", fault.at, fault.flaw),
        Err(fault) => format!("{}: {}!", fault.at, fault.flaw),
    };
    assert_eq!(found, expected, "{}", String::from_utf8_lossy(&text[..text.len().min(100)]));
}

#[test]
fn events_are_objects() {
    check_one("{}", "an event");
    check_one(r#"{"a":[1,-2.5e3,true,false,null,"é\n\u00e9\ud83d\ude00"]}"#, "an event");
    check_one("null", "0: an event is a JSON object, this is null");
    check_one("true", "0: an event is a JSON object, this is a boolean");
    check_one("-17", "0: an event is a JSON object, this is a number");
    check_one("12abc", "0: this is not JSON!");
    check_one("\"text\"", "0: an event is a JSON object, this is a string");
    check_one("[{}]", "0: an event is a JSON object, this is an array");
}

#[test]
fn one_event_and_nothing_else() {
    for (text, expected) in [
        ("{}", true),
        (" \t{\"a\":1}\r\n", true),
        ("", false),
        (" ", false),
        ("[{}]", false),
        ("{}{}", false),
        ("{} x", false),
        ("{\"a\":", false),
        // Space to some, not to JSON.
        ("\u{c}{}", false),
        ("{}\u{c}", false),
    ] {
        assert_eq!(is_event(text.as_bytes()), expected, "{text:?}");
    }
    assert!(!is_event(b"{\"a\":\"\xff\"}"));
}

#[test]
fn what_is_not_json_is_explained_where_it_is() {
    check_one(r#"{"a":1"#, "6: the object does not end!");
    check_one(r#"{"a":[1"#, "7: the array does not end!");
    check_one(r#"{"a":"b"#, "7: the string does not end!");
    check_one(r#"{"a":"#, "5: a value is missing at the end!");
    check_one(r#"{"a" 1}"#, "5: expected \":\" after the key!");
    check_one(r#"{"a":1 "b":2}"#, "7: expected \",\" or \"}\"!");
    check_one(r#"{"a":[1 2]}"#, "8: expected \",\" or \"]\"!");
    check_one(r#"{"a":1,}"#, "7: a comma, and nothing after it!");
    check_one(r#"{"a":[1,]}"#, "8: a comma, and nothing after it!");
    check_one("{a:1}", "1: a key is written in double quotes!");
    check_one("{'a':1}", "1: a key is written in double quotes!");
    check_one("{\"a\":'b'}", "5: a string is written in double quotes!");
    check_one(r#"{"a":nope}"#, "6: expected true, false or null!");
    check_one(r#"{"a":NaN}"#, "5: NaN and Infinity are not JSON!");
    check_one(r#"{"a":Infinity}"#, "5: NaN and Infinity are not JSON!");
    check_one(r#"{"a":-Infinity}"#, "6: NaN and Infinity are not JSON!");
    check_one(r#"{"a":undefined}"#, "5: expected a value!");
    check_one(r#"{"a":01}"#, "6: this is not a JSON number!");
    check_one(r#"{"a":1.}"#, "7: this is not a JSON number!");
    check_one(r#"{"a":"\x"}"#, "7: there is no such escape in a JSON string!");
    check_one("{\"a\":\"tab\there\"}", "9: a control character in a string must be escaped!");
}

#[test]
fn half_characters_are_refused_because_no_text_can_hold_them() {
    const HALF: &str = "\\u escapes one half of a character without the other";
    check_one(r#"{"a":"\ud800"}"#, &format!("12: {HALF}"));
    check_one(r#"{"a":"\udc00"}"#, &format!("11: {HALF}"));
    check_one(r#"{"a":"\ud800\ud800"}"#, &format!("17: {HALF}"));
    check_one(r#"{"\uDBFF":1}"#, &format!("8: {HALF}"));
    check_one(r#"{"a":"\\ud800"}"#, "an event");
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    check_one(b"{\"a\":\"\xff\"}", "6: the bytes are not UTF-8");
    check_one(b"{\"a\":\"\xe2\x82\"}", "6: the bytes are not UTF-8");
    check_one(b"{\"\xc0\xaf\":1}", "2: the bytes are not UTF-8");
    check_one(b"\xff", "0: expected a value!");
}

#[test]
fn nesting_ends_at_64_levels_and_brackets_in_text_do_not_count() {
    let nested = |levels: usize| format!("{}{}{}", r#"{"a":"#.repeat(levels - 1), "{}", "}".repeat(levels - 1));
    check_one(nested(64), "an event");
    check_one(nested(65), "0: objects and arrays are nested deeper than 64 levels");
    check_one(nested(100_000), "0: objects and arrays are nested deeper than 64 levels");
    check_one(format!(r#"{{"a":{}"#, "[".repeat(100_000)), "205: objects and arrays are nested deeper than 64 levels!");
    check_one(format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(90), "{".repeat(90)), "an event");
    check_one(format!(r#"{{"a":[{}[]]}}"#, "[],{},".repeat(90)), "an event");
}

#[test]
fn numbers_of_any_size_and_precision_are_events_up_to_4300_digits() {
    check_one(r#"{"a":1e400,"b":-0,"c":123456789012345678901234567890,"d":1E-999999}"#, "an event");
    check_one(format!(r#"{{"a":{}}}"#, "1".repeat(4300)), "an event");
    check_one(format!(r#"{{"a":{}}}"#, "1".repeat(4301)), "4306: a number has more than 4,300 digits");
    check_one(format!(r#"{{"a":"{}"}}"#, "1".repeat(9000)), "an event");
}

#[test]
fn an_event_may_be_as_long_as_a_record_of_the_log() {
    let long = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
    check_one(long(EVENT_BYTES_MAX), "an event");
    check_one(long(EVENT_BYTES_MAX + 1), "0: the event has more than 10,484,736 bytes");
}

#[track_caller]
fn check_key(event: &str, path: &str, expected: Option<&str>) {
    let found = key(event.as_bytes(), path);
    assert_eq!(found.as_deref().map(|key| std::str::from_utf8(key).unwrap()), expected, "{path} of {event}");
}

#[test]
fn a_key_is_the_text_of_one_field() {
    let event = r#"{"id":7,"user":{"name":"Zo\u00eb","tags":["a"],"age":2.50,"none":null},"ok":true,"id":8}"#;
    check_key(event, "id", Some("7"));
    check_key(event, "user.name", Some("Zoë"));
    check_key(event, "user.age", Some("2.50"));
    check_key(event, "ok", Some("true"));
    check_key(event, "user", None);
    check_key(event, "user.tags", None);
    check_key(event, "user.none", None);
    check_key(event, "user.name.first", None);
    check_key(event, "missing", None);
    check_key(event, "", None);
    check_key(r#"{"":"empty"}"#, "", Some("empty"));
    check_key(r#"{"\u0069d":"escaped"}"#, "id", Some("escaped"));
    check_key("{}", "id", None);
}

#[test]
fn a_long_key_counts_with_its_first_bytes() {
    let event = format!(r#"{{"id":"{}"}}"#, "k".repeat(5000));
    assert_eq!(key(event.as_bytes(), "id").unwrap().len(), KEY_BYTES_MAX);
}

/// Pieces of JSON, whole and broken, that make interesting text when put together.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: [&str; 34] = [
        "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"a\":", "{\"a\":", "\\", "\\u", "\\ud83d", "\\ude00", "\\uD8",
        "\\n", "null", "true", "nul", "1", "-", "0", ".5", "e9", "E+", "1e400", "NaN", " ", "\n", "é", "x", "{}", "[]",
        "\u{0}",
    ];
    let word = prop_oneof![
        12 => prop::sample::select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
        1 => (1..9000_usize).prop_map(|count| b"7".repeat(count)),
        1 => (1..150_usize).prop_map(|count| b"[".repeat(count)),
    ];
    prop::collection::vec(word, 0..24).prop_map(|words| words.concat())
}

/// Well-formed JSON.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(|value| format!("{value:e}")),
        any::<String>().prop_map(|value| serde_json::to_string(&value).unwrap()),
    ];
    leaf.prop_recursive(8, 64, 6, |inner| {
        let name = any::<String>().prop_map(|name| serde_json::to_string(&name).unwrap());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|values| format!("[{}]", values.join(" , "))),
            prop::collection::vec((name, inner), 0..6).prop_map(|fields| {
                let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                format!("{{{}}}", fields.join(",\n"))
            }),
        ]
    })
}

/// An accepted event is one that the decoder reads to its last byte.
fn accepted_means_decodable(text: &[u8]) -> Result<(), TestCaseError> {
    let mut parser = Jiter::new(text);
    match Values::new(text, 0).check(0) {
        Ok((end, None)) => {
            prop_assert!(parser.next_skip().is_ok());
            prop_assert_eq!(parser.current_index(), end);
            let strings_decode = JsonValue::parse(&text[..end], false);
            let is_out_of_range =
                matches!(&strings_decode, Err(error) if error.error_type == JsonErrorType::NumberOutOfRange);
            prop_assert!(strings_decode.is_ok() || is_out_of_range, "{:?}", strings_decode);
            prop_assert!(serde_json::from_slice::<IgnoredAny>(&text[..end]).is_ok());
        }
        Ok((_, Some(fault))) => prop_assert!(fault.at <= text.len()),
        Err(fault) => {
            prop_assert!(fault.at <= text.len());
            let is_object = text.trim_ascii_start().starts_with(b"{");
            prop_assert!(!is_object || parser.next_skip().is_err(), "only serde_json refuses it");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_accepted_decodes(text in soup()) {
        accepted_means_decodable(&text)?;
        accepted_means_decodable(&[b"{\"a\":", &*text, b"}"].concat())?;
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_well_formed_objects_are_accepted(value in json()) {
        let event = format!("{{\"a\":{value}}}");
        prop_assert_eq!(Values::new(event.as_bytes(), 0).check(0), Ok((event.len(), None)));
        accepted_means_decodable(event.as_bytes())?;
    }

    #[test]
    fn one_damaged_byte_is_noticed_or_decodes(value in json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut event = format!("{{\"a\":{value}}}").into_bytes();
        let at = at.index(event.len());
        event[at] = byte;
        accepted_means_decodable(&event)?;
    }

    #[test]
    fn a_key_is_what_a_tree_would_give(value in json()) {
        let event = format!("{{\"a\":{value}}}");
        let tree = JsonValue::parse(event.as_bytes(), false);
        let expected = match &tree {
            Ok(JsonValue::Object(fields)) => match &fields[0].1 {
                JsonValue::Str(text) => Some(text.to_string()),
                JsonValue::Int(_) | JsonValue::Float(_) | JsonValue::Bool(_) => Some(value),
                _ => None,
            },
            _ => return Ok(()),
        };
        let expected = expected.map(|text| text.as_bytes()[..text.len().min(KEY_BYTES_MAX)].to_vec());
        prop_assert_eq!(key(event.as_bytes(), "a").map(|key| key.to_vec()), expected);
    }
}
