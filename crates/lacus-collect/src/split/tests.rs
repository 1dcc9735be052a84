//! Taking bodies apart: cases, and that no byte is passed over.

use proptest::prelude::*;

use super::*;

/// Splits `body` and compares its pieces, joined by ` | `, each with its fault.
#[track_caller]
fn check_as(body: &str, says_lines: bool, expected: &str) {
    let shown = |piece: &Piece| {
        let text = &body[piece.range.clone()];
        piece.fault.map_or_else(|| text.to_owned(), |fault| format!("{text} ✗ {}: {}", fault.at, fault.flaw))
    };
    let found = match split(body.as_bytes(), says_lines) {
        Ok(pieces) => pieces.iter().map(shown).collect::<Vec<_>>().join(" | "),
        Err(Halt::Broken(fault)) => format!("✗✗ {}: {}", fault.at, fault.flaw),
        Err(Halt::TooMany) => "too many".to_owned(),
    };
    assert_eq!(found, expected, "{body}");
}

#[track_caller]
fn check_body(body: &str, expected: &str) {
    check_as(body, false, expected);
}

#[track_caller]
fn check_lines(body: &str, expected: &str) {
    check_as(body, true, expected);
}

#[test]
fn one_object_is_one_event_however_it_is_printed() {
    check_body(r#"{"a":1}"#, r#"{"a":1}"#);
    check_body(" \r\n\t{\"a\":1}\n", r#"{"a":1}"#);
    check_body("{\n  \"a\": {\n    \"b\": 1\n  }\n}\n", "{\n  \"a\": {\n    \"b\": 1\n  }\n}");
    check_body("", "");
    check_body(" \n\r\n\t ", "");
}

#[test]
fn an_array_has_an_event_for_each_element() {
    check_body(r#"[{"a":1},{"b":2}]"#, r#"{"a":1} | {"b":2}"#);
    check_body("[\n {\"a\":1} ,\n {\"b\":[1,2]}\n]\n", r#"{"a":1} | {"b":[1,2]}"#);
    check_body("[]", "");
    check_body(" [ ] ", "");
    check_body(r#"[{"a":1},2,{"b":2}]"#, r#"{"a":1} | 2 ✗ 9: an event is a JSON object, this is a number | {"b":2}"#);
    check_body(r#"[[{"a":1}]]"#, r#"[{"a":1}] ✗ 1: an event is a JSON object, this is an array"#);
}

#[test]
fn a_broken_array_is_broken_as_a_whole() {
    check_body(r#"[{"a":1},{"b":nope}]"#, "✗✗ 15: expected true, false or null");
    check_body(r#"[{"a":1},{"b":2}"#, "✗✗ 16: the array does not end");
    check_body(r#"[{"a":1},"#, "✗✗ 9: a value is missing at the end");
    check_body(r#"[{"a":1},]"#, "✗✗ 9: expected a value");
    check_body(r#"[,]"#, "✗✗ 1: expected a value");
    check_body(r#"[{"a":1} {"b":2}]"#, "✗✗ 9: expected \",\" or \"]\"");
    check_body(r#"[{"a":1}]]"#, "✗✗ 9: something follows the end of the array");
    check_body("[{\"a\":1}]\n[{\"b\":2}]", "✗✗ 10: something follows the end of the array");
    check_body("[", "✗✗ 1: a value is missing at the end");
}

#[test]
fn objects_may_follow_each_other_with_or_without_lines() {
    check_body("{\"a\":1}\n{\"b\":2}\n", r#"{"a":1} | {"b":2}"#);
    check_body("{\"a\":1}\r\n\r\n{\"b\":2}\r\n", r#"{"a":1} | {"b":2}"#);
    check_body(r#"{"a":1}{"b":2} {"c":3}"#, r#"{"a":1} | {"b":2} | {"c":3}"#);
    check_body("{\n\"a\":1\n}\n{\n\"b\":2\n}", "{\n\"a\":1\n} | {\n\"b\":2\n}");
    check_body("{\"a\":1}\n{\n\"b\":2\n}", "{\"a\":1} | {\n\"b\":2\n}");
    check_body("{\"a\":\n{\"b\":1}\n}", "{\"a\":\n{\"b\":1}\n}");
    check_body(
        r#" {"a":{"b":[{"c":{}}]}} {"d":[[{}],[]]}{"e":{"f":1}} 2 {"g":{}}"#,
        r#"{"a":{"b":[{"c":{}}]}} | {"d":[[{}],[]]} | {"e":{"f":1}} | 2 ✗ 53: an event is a JSON object, this is a number | {"g":{}}"#,
    );
}

#[test]
fn a_bad_line_is_one_bad_event_and_the_others_are_good() {
    check_body(
        "{\"a\":1}\n{\"b\":\n{\"c\":3}\n",
        "{\"a\":1} | {\"b\": ✗ 13: a value is missing at the end | {\"c\":3}",
    );
    check_body("{\"a\n{\"b\":2}\n", "{\"a ✗ 3: the string does not end | {\"b\":2}");
    check_body(
        "{\"a\":1}\ngarbage\nmore\n{\"b\":2}",
        "{\"a\":1} | garbage ✗ 8: expected a value | more ✗ 16: expected a value | {\"b\":2}",
    );
    check_body("nope", "nope ✗ 1: expected true, false or null");
    check_body("{\"a\":1}\n2\n", "{\"a\":1} | 2 ✗ 8: an event is a JSON object, this is a number");
}

#[test]
fn a_line_is_good_or_bad_as_a_whole() {
    check_body("{\"a\":1}}\n{\"b\":2}", "{\"a\":1}} ✗ 7: expected a value | {\"b\":2}");
    check_body("{\"a\":1} x", "{\"a\":1} x ✗ 8: expected a value");
}

#[test]
fn a_broken_object_over_several_lines_is_broken_as_a_whole() {
    check_body("{\n \"a\": nope,\n \"b\":\n {\"x\":1}\n}", "✗✗ 9: expected true, false or null");
    check_body("{\n \"batch\": [\n  {\"x\":1}\n ]\n oops\n}", "✗✗ 28: expected \",\" or \"}\"");
    check_body("garbage\nmore\n{\"b\":2}", "✗✗ 0: expected a value");
}

#[test]
fn a_sender_that_says_lines_is_believed() {
    check_lines("{\"a\":1}\n{\"b\":2}\n", r#"{"a":1} | {"b":2}"#);
    check_lines("garbage\nmore\n{\"b\":2}", "garbage ✗ 0: expected a value | more ✗ 8: expected a value | {\"b\":2}");
    check_lines(
        "{\"a\":\n{\"b\":1}\n}",
        "{\"a\": ✗ 5: a value is missing at the end | {\"b\":1} | } ✗ 14: expected a value",
    );
    check_lines("[{\"a\":1}]\n{\"b\":2}", "[{\"a\":1}] ✗ 0: an event is a JSON object, this is an array | {\"b\":2}");
}

#[test]
fn a_body_has_100000_events_at_most() {
    let body = |count: usize| "{}".repeat(count);
    assert_eq!(split(body(EVENTS_MAX).as_bytes(), false).unwrap().len(), EVENTS_MAX);
    check_body(&body(EVENTS_MAX + 1), "too many");
    check_body(&format!("[{}1]", "1,".repeat(EVENTS_MAX)), "too many");
    check_lines(&"x\n".repeat(EVENTS_MAX + 1), "too many");
}

#[test]
fn white_space_that_json_has_not_begins_no_array() {
    let body = b"\x0c[]]";
    let pieces = split(body, false).unwrap();
    assert!(pieces.iter().all(|piece| piece.fault.is_some()), "{pieces:?}");
    assert_eq!(pieces.iter().map(|piece| piece.range.len()).sum::<usize>(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_byte_is_passed_over(
        words in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", "\n", " ", "{\"a\":1}", "{\"a\":1}\n", "[{}", "1", "\"", "x", "{}", "\u{c}", "null", "\r\n",
        ]), 0..16),
        says_lines: bool,
    ) {
        let body = words.concat();
        let Ok(pieces) = split(body.as_bytes(), says_lines) else { return Ok(()) };
        let mut between = String::new();
        let mut at = 0;
        for piece in &pieces {
            prop_assert!(piece.range.start >= at && piece.range.end > piece.range.start);
            between.push_str(&body[at..piece.range.start]);
            at = piece.range.end;
        }
        between.push_str(&body[at..]);
        let is_array = !says_lines && body.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('[');
        let between: String = between.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
        let commas = ",".repeat(pieces.len().saturating_sub(1));
        prop_assert_eq!(between, if is_array { format!("[{commas}]") } else { String::new() });
    }
}
