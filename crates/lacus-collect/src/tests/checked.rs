//! Sources that check more: schemas, and pieces that are too long to be kept.

use axum::http::StatusCode;

use super::Door;
use crate::Schemas;

const PATH: &str = "/v1/events?source=clicks";
const REFUSING: &str = "[sources.clicks]\nschema = \"clicks.json\"";
const KEEPING: &str = "[sources.clicks]\nschema = \"clicks.json\"\ninvalid = \"quarantine\"\npartition_key = \"user\"";

#[tokio::test]
async fn what_is_against_the_schema_is_refused_with_the_place_and_the_rule() {
    let door = Door::with_settings(REFUSING);
    let reply =
        door.post(PATH, "{\"name\":\"Search\",\"price\":1.5}\n{\"name\":\"Search\",\"price\":\"much\"}\n").await;
    assert_eq!(reply.status, StatusCode::MULTI_STATUS);
    insta::assert_snapshot!(reply.text, @r#"{"accepted":1,"refused":1,"errors":[{"index":1,"message":"line 2 column 1: \"/price\" is against the schema: this is not of type \"number\" (rule /properties/price/type)"}]}"#);
    let reply = door.post(PATH, "{\"price\":1}").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    insta::assert_snapshot!(reply.text, @r#"{"error":{"kind":"invalid","message":"the event was refused: line 1 column 1: the event is against the schema: \"name\" is a required property (rule /required)"},"accepted":0,"refused":1,"errors":[{"index":0,"message":"line 1 column 1: the event is against the schema: \"name\" is a required property (rule /required)"}]}"#);
    let reply = door.post(PATH, "{\"name\":\"a secret of the sender\"}").await;
    insta::assert_snapshot!(reply.text, @r#"{"error":{"kind":"invalid","message":"the event was refused: line 1 column 1: \"/name\" is against the schema: this is not one of \"Search\" or \"Purchase\" (rule /properties/name/enum)"},"accepted":0,"refused":1,"errors":[{"index":0,"message":"line 1 column 1: \"/name\" is against the schema: this is not one of \"Search\" or \"Purchase\" (rule /properties/name/enum)"}]}"#);
    assert_eq!(door.values("clicks"), ["{\"name\":\"Search\",\"price\":1.5}"]);
    assert_eq!(door.collect.stats().refused["schema"], 3);
    assert_eq!(door.post("/v1/events?source=others", "{\"price\":\"much\"}").await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_against_the_schema_is_kept_with_the_reason_in_front() {
    let door = Door::with_settings(KEEPING);
    let body = "{\"name\":\"Search\"}\n{\"user\":\"u\", \"name\":7}\nnope\n";
    assert_eq!(door.post(PATH, body).await.text, r#"{"accepted":3,"quarantined":2}"#);
    let records = door.records("clicks");
    assert_eq!((&*records[0].1, &*records[2].1), ("{\"name\":\"Search\"}", "nope"));
    assert_eq!(records[1].0.as_deref(), Some("u"));
    insta::assert_snapshot!(records[1].1.replace('\0', "NUL"), @r#"
    NULrejected "/name" is against the schema: this is not one of "Search" or "Purchase" (rule /properties/name/enum)
    {"user":"u", "name":7}
    "#);
}

#[tokio::test]
async fn a_sender_writes_no_reason() {
    let door = Door::with_settings(KEEPING);
    assert_eq!(door.post(PATH, "\0rejected by nobody\nnope").await.text, r#"{"accepted":1,"quarantined":1}"#);
    assert_eq!(door.values("clicks"), ["\0rejected \n\0rejected by nobody\nnope"]);
}

/// What goes to quarantine must not make a duplicate of the event that its sender mends and sends again.
#[tokio::test]
async fn an_event_in_quarantine_does_not_take_the_id_of_the_mended_one() {
    let door = Door::with_settings(&format!("{KEEPING}\nid = \"event_id\""));
    for event in [r#"{"name":7,"event_id":1}"#, r#"{"name":7,"event_id":1}"#, r#"{"name":"Search","event_id":1}"#] {
        assert_eq!(door.post(PATH, event).await.status, StatusCode::OK);
    }
    let records: Vec<_> = door.values("clicks").into_iter().zip(door.ids("clicks")).collect();
    let (good, rejected): (Vec<_>, Vec<_>) = records.into_iter().partition(|(value, _)| value.starts_with('{'));
    assert!(good[0].1.is_some() && rejected.iter().all(|(_, id)| id.is_some() && *id != good[0].1), "{rejected:?}");
    assert_eq!(rejected[0], rejected[1], "a retry is one all the same");
}

#[tokio::test]
async fn a_schema_is_looked_up_by_hostile_events_too() {
    let door = Door::with_settings(KEEPING);
    let long = format!("{{\"name\":\"Search\",\"x\":\"{}\"}}", "x".repeat(1 << 20));
    for event in [
        "{\"name\":\"Search\",\"price\":1e400}",
        "{\"name\":\"none\",\"name\":\"Search\"}",
        &format!("{{\"name\":\"{}\"}}", "\\u0000\\n".repeat(1_000)),
        &format!("{{\"{}\":1}}", "\\n".repeat(1_000)),
        &format!("{{\"name\":\"Search\",\"tags\":[{}1]}}", "[[1],[2]],".repeat(50_000)),
        &long,
    ] {
        let reply = door.post(PATH, event.to_owned()).await;
        assert_eq!(reply.text, r#"{"accepted":1,"quarantined":1}"#, "{}", &event[..40]);
    }
    for value in door.values("clicks") {
        let (reason, event) = value.strip_prefix("\0rejected ").unwrap().split_once('\n').unwrap();
        assert!(reason.len() <= 300 && !reason.contains(char::is_control), "{reason}");
        assert!(event.starts_with("{\""));
    }
}

#[test]
fn a_schema_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let check = |text: Option<&str>, expected: &str| {
        let file = folder.path().join("x.json");
        std::fs::remove_file(&file).ok();
        if let Some(text) = text {
            std::fs::write(file, text).unwrap();
        }
        let settings = lacus_core::Settings::load("[sources.clicks]\nschema = \"x.json\"", []).unwrap();
        let error = Schemas::load(&settings, folder.path()).err().unwrap();
        let named = "read the schema of source \"clicks\" from x.json: ";
        assert_eq!(error.message().strip_prefix(named).unwrap_or_default(), expected, "{error}");
    };
    check(None, "No such file or directory (os error 2)");
    check(Some("{"), "this is no JSON: EOF while parsing an object at line 1 column 1");
    check(Some("7"), r#"this is no JSON Schema: at "": 7 is not of types "boolean", "object""#);
    check(
        Some(r#"{"type":"numbr"}"#),
        r#"this is no JSON Schema: at "/type": "numbr" is not valid under any of the schemas listed in the 'anyOf' keyword"#,
    );
    check(Some(r#"{"pattern":"(?=x)"}"#), r#"this is no JSON Schema: at "/pattern": "(?=x)" is not a "regex""#);
    for elsewhere in ["http://127.0.0.1:1/other.json", "file:///etc/passwd"] {
        check(
            Some(&format!(r#"{{"$ref":"{elsewhere}"}}"#)),
            &format!(
                "this is no JSON Schema: at \"\": Resource '{elsewhere}' is not present in a registry and retrieving it failed: Retrieval is disabled, cannot fetch {elsewhere}"
            ),
        );
    }
    check(Some(&format!("{}{{}}", " ".repeat(1 << 20))), "the file has more than 1 MB");
}

#[tokio::test]
async fn a_piece_that_is_too_long_to_be_kept_is_refused_alone() {
    let door = Door::with_settings("[server]\nbody_bytes_max = \"20MB\"\n[sources.clicks]\ninvalid = \"quarantine\"");
    for long in [format!("nope {}", "x".repeat(11 << 20)), format!("\"{}\"", "x".repeat(11 << 20))] {
        let reply = door.post(PATH, format!("{{\"a\":1}}\n{long}\n{{\"b\":2}}\n")).await;
        assert_eq!(reply.status, StatusCode::MULTI_STATUS);
        assert_eq!(
            reply.text,
            r#"{"accepted":2,"refused":1,"errors":[{"index":1,"message":"line 2 column 1: the event has more than 10,484,736 bytes"}]}"#
        );
    }
    assert_eq!(door.values("clicks").len(), 4);
}

#[tokio::test]
async fn unique_items_of_a_long_array_are_found_in_time() {
    let door = Door::with_settings(REFUSING);
    let items: Vec<String> = (0..90_000).map(|number| format!("[{number}]")).collect();
    let began = std::time::Instant::now();
    let reply = door.post(PATH, format!("{{\"name\":\"Search\",\"tags\":[{}]}}", items.join(","))).await;
    assert_eq!(reply.text, r#"{"accepted":1}"#);
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
}
