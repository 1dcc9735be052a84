//! Messages as the SDKs send them, and the rows they become.

use insta::assert_snapshot;

use super::*;
use crate::names::push_snake_case;

/// The rows of a message, one column on each line.
fn shown(message: &str) -> String {
    let rows = match rows(message.as_bytes()) {
        Ok(rows) => rows,
        Err(reason) => return format!("refused: {reason}"),
    };
    let mut text = String::new();
    for RowOf { table, json } in rows {
        text.push_str(&table);
        text.push('\n');
        let json = object_text(&json).unwrap();
        for column in json.trim_matches(['{', '}']).split(",\"") {
            let column = column.trim_start_matches('"');
            text.push_str(&format!("  {}\n", column.replacen("\":", " = ", 1)));
        }
    }
    text
}

#[test]
fn a_track_is_a_row_of_tracks_and_one_of_its_event() {
    let message = r#"{"type":"track","messageId":"m1","anonymousId":"a1","userId":97,"event":"Product Viewed",
        "context":{"ip":"1.2.3.4","userAgent":"x","library":{"name":"analytics.js","version":"2.1"},"locale":null,"tags":["a",{"b":1}]},
        "properties":{"productId":"507f","priceUSD":18.990,"big":12345678901234567890,"isNew":true,"variant":{"color":"red","dim":{"w":1}},"images":["x","y"],"note":"say \"hi\"\u00e9"},
        "receivedAt":"2026-11-20T19:30:00.000Z","sentAt":"2026-11-20T19:29:59.000Z","originalTimestamp":"2026-11-20T19:29:58.000Z","timestamp":"2026-11-20T19:29:59.000Z","integrations":{"All":true}}"#;
    assert_snapshot!(shown(message), @r#"
    tracks
      id = "m1"
      received_at = "2026-11-20T19:30:00.000Z"
      sent_at = "2026-11-20T19:29:59.000Z"
      original_timestamp = "2026-11-20T19:29:58.000Z"
      timestamp = "2026-11-20T19:29:59.000Z"
      anonymous_id = "a1"
      user_id = "97"
      context_ip = "1.2.3.4"
      context_user_agent = "x"
      context_library_name = "analytics.js"
      context_library_version = "2.1"
      context_tags = "[\"a\",{\"b\":1}]"
      event = "product_viewed"
      event_text = "Product Viewed"
    product_viewed
      id = "m1"
      received_at = "2026-11-20T19:30:00.000Z"
      sent_at = "2026-11-20T19:29:59.000Z"
      original_timestamp = "2026-11-20T19:29:58.000Z"
      timestamp = "2026-11-20T19:29:59.000Z"
      anonymous_id = "a1"
      user_id = "97"
      context_ip = "1.2.3.4"
      context_user_agent = "x"
      context_library_name = "analytics.js"
      context_library_version = "2.1"
      context_tags = "[\"a\",{\"b\":1}]"
      event = "product_viewed"
      event_text = "Product Viewed"
      product_id = "507f"
      price_usd = 18.990
      big = 12345678901234567890
      is_new = true
      variant_color = "red"
      variant_dim_w = 1
      images = "[\"x\",\"y\"]"
      note = "say \"hi\"\u00e9"
    "#);
}

#[test]
fn other_messages_have_tables_of_their_own() {
    let identify = r#"{"type":"identify","messageId":"m2","userId":"u1","traits":{"email":"a@b.c","address":{"city":"Ulm"},"Plan Name":"pro"}}"#;
    assert_snapshot!(shown(identify), @r#"
    identifies
      id = "m2"
      user_id = "u1"
      email = "a@b.c"
      address_city = "Ulm"
      plan_name = "pro"
    "#);
    let page = r#"{"type":"page","messageId":"m3","anonymousId":"a","name":"Home","category":"Docs","properties":{"name":"Home","url":"https://a/","category":"Other"}}"#;
    assert_snapshot!(shown(page), @r#"
    pages
      id = "m3"
      anonymous_id = "a"
      name = "Home"
      category = "Docs"
      url = "https://a/"
      category_2 = "Other"
    "#);
    let screen = r#"{"type":"screen","messageId":"m4","anonymousId":"a","properties":{"name":"Home"}}"#;
    assert_snapshot!(shown(screen), @r#"
    screens
      id = "m4"
      anonymous_id = "a"
      name = "Home"
    "#);
    let group = r#"{"type":"group","messageId":"m5","anonymousId":"a","groupId":12,"traits":{"name":"Initech","employees":329}}"#;
    assert_snapshot!(shown(group), @r#"
    groups
      id = "m5"
      anonymous_id = "a"
      group_id = "12"
      name = "Initech"
      employees = 329
    "#);
    let alias = r#"{"type":"alias","messageId":"m6","previousId":"old","userId":"new"}"#;
    assert_snapshot!(shown(alias), @r#"
    aliases
      id = "m6"
      user_id = "new"
      previous_id = "old"
    "#);
}

#[test]
fn keys_that_make_one_column_are_all_kept() {
    let message = r#"{"type":"track","messageId":"m1","anonymousId":"a","event":"e","context":{"ip":"1"},"properties":
        {"id":"mine","user_id":5,"Price":1,"price":2,"PRICE":1,"price_2":3,"context":{"ip":"9","page":"p"},"a":{"b":1},"a_b":[2],"1st":1,"":0,"价格":7,"价 格":8,"_":9}}"#;
    assert_snapshot!(shown(message), @r#"
    tracks
      id = "m1"
      anonymous_id = "a"
      context_ip = "1"
      event = "e"
      event_text = "e"
    e
      id = "m1"
      anonymous_id = "a"
      context_ip = "1"
      event = "e"
      event_text = "e"
      id_2 = "mine"
      user_id_2 = 5
      price = 1
      price_2 = 2
      price_2_2 = 3
      context_ip_2 = "9"
      context_page_2 = "p"
      a_b = 1
      a_b_2 = "[2]"
      _1st = 1
      :0
      价格 = 7
      价 格 = 8
      _ = 9
    "#);
    let not_objects =
        r#"{"type":"identify","messageId":"m1","anonymousId":"a","context":"none","traits":[1, {"a":"b"}]}"#;
    assert_snapshot!(shown(not_objects), @r#"
    identifies
      id = "m1"
      anonymous_id = "a"
      context = "none"
      traits = "[1, {\"a\":\"b\"}]"
    "#);
}

#[test]
fn what_is_no_message_is_refused_with_the_reason() {
    for (message, reason) in [
        ("[]", "expected an object, found an array"),
        ("{\"type\":", "EOF while parsing a value at byte 8"),
        ("{}", "the message has no \"type\""),
        (r#"{"type":null}"#, "the message has no \"type\""),
        (r#"{"type":"track","userId":"","event":"a"}"#, "the message has neither \"userId\" nor \"anonymousId\""),
        (r#"{"type":"video","userId":"u"}"#, "\"video\" is no type of message"),
        (r#"{"type":"track","userId":"u","event":null}"#, "the track message has no \"event\""),
        (r#"{"type":"track","userId":"u","event":5}"#, "the track message has no \"event\""),
        (r#"{"type":"track","userId":"u","event":""}"#, "the track message has no \"event\""),
        (r#"{"type":"group","userId":"u"}"#, "the group message has no \"groupId\""),
        (r#"{"type":"alias","userId":"u"}"#, "the alias message has no \"previousId\""),
    ] {
        assert_eq!(rows(message.as_bytes()), Err(reason.to_owned()), "{message}");
    }
}

#[test]
fn names_are_those_of_segments_warehouses() {
    for (name, expected) in [
        ("Product Viewed", "product_viewed"),
        ("productViewed", "product_viewed"),
        ("product_viewed", "product_viewed"),
        ("HTTPRequest", "httprequest"),
        ("someURL2Go", "some_url2go"),
        ("a1B", "a1_b"),
        ("1A", "1a"),
        ("  --Odd__name!! ", "odd_name"),
        ("café au lait", "caf_au_lait"),
        ("购买", ""),
    ] {
        let mut snake = String::new();
        push_snake_case(name, &mut snake);
        assert_eq!(snake, expected, "{name}");
    }
}

#[test]
fn every_event_has_a_table() {
    for (event, expected) in [
        ("Signed Up", "signed_up"),
        ("Users", "users_event"),
        ("tracks", "tracks_event"),
        ("Event", "event"),
        ("2 Fast", "event_2_fast"),
        ("", "event_cbf29ce484222325"),
        ("购买", "event_b591923ee77a5329"),
    ] {
        assert_eq!(event_table(event), expected);
    }
    let (long, longer) = (event_table(&"x".repeat(121)), event_table(&"x".repeat(122)));
    assert_eq!((long.len(), longer.len()), (120, 120));
    assert_ne!(long, longer);
    let stream = lacus_core::StreamName::new("web").unwrap();
    for event in ["", "_", "购买", "9", "A_-_b", &"é".repeat(500), &"ab_".repeat(200), "tracks__quarantine"] {
        assert!(stream.table_in(&event_table(event)).is_ok(), "{event}");
    }
}
