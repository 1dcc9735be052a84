//! What a raw file holds, line by line.

use std::io::Read;

use bytes::Bytes;
use lacus_core::{Offset, Partition, Position};
use proptest::prelude::*;

use super::*;

const NOON: i64 = 1_626_091_200_000_000;
const HOUR: i64 = 3_600_000_000;

fn record(value: &str, offset: u64, micros: i64) -> Record {
    Record {
        position: Position { partition: Partition(3), offset: Offset(offset) },
        received_at: Timestamp::from_micros(micros),
        key: None,
        id: None,
        value: Bytes::copy_from_slice(value.as_bytes()),
    }
}

fn text_of(file: &RawFile) -> String {
    String::from_utf8(zstd::decode_all(&Bytes::from(file.bytes.clone())[..]).unwrap()).unwrap()
}

#[track_caller]
fn check(value: &str, expected: &str) {
    let mut writer = RawWriter::default();
    writer.add(&record(value, 7, NOON)).unwrap();
    let files = writer.finish().unwrap();
    let system = r#""_received_at":"2021-07-12T12:00:00.000000Z","_partition":3,"_offset":7"#;
    assert_eq!(text_of(&files[0]), format!("{}\n", expected.replace('$', system)));
}

#[test]
fn system_values_are_spliced_into_the_object() {
    check(r#"{"a":1}"#, r#"{"a":1,$}"#);
    check(r#"{"a":{"b":[]}} "#, r#"{"a":{"b":[]},$}"#);
    check("{}", "{$}");
    check(" \n{ \t}\r\n", "{ \t$}");
    check("{\r\n\"a\": \"x\\ny\",\n\"b\": 2\n}\n", "{  \"a\": \"x\\ny\", \"b\": 2 ,$}");
}

#[test]
fn offsets_are_written_as_numbers_are() {
    for offset in [0, 7, 10, 99, 1_000_000, 18_446_744_073_709_551_615] {
        let mut lines = b"_offset: ".to_vec();
        write_number(offset, &mut lines);
        assert_eq!(String::from_utf8(lines).unwrap(), format!("_offset: {offset}"));
    }
}

#[test]
fn what_is_no_object_is_refused() {
    for value in ["", "[]", "1", "{", "}", "{\"a\":1"] {
        let error = RawWriter::default().add(&record(value, 0, NOON)).unwrap_err();
        assert_eq!(error.kind(), lacus_core::Kind::Internal, "{value}");
    }
}

#[test]
fn many_lines_are_there_once_in_order_and_with_their_own_places() {
    let mut writer = RawWriter::default();
    for number in 0..5_000_u32 {
        let mut record = record(r#"{"a":1}"#, number.into(), NOON + i64::from(number / 1_000));
        record.position.partition = Partition(number % 3);
        writer.add(&record).unwrap();
        assert!(writer.open[0].lines.len() < LINES_BYTES, "lines that wait are bounded");
    }
    let text = text_of(&writer.finish().unwrap()[0]);
    assert!(text.len() > 4 * LINES_BYTES, "they are compressed in several parts");
    for (number, line) in text.lines().enumerate() {
        let (time, partition) = (format!("2021-07-12T12:00:00.00000{}Z", number / 1_000), number % 3);
        let place = format!(r#""_received_at":"{time}","_partition":{partition},"_offset":{number}"#);
        assert_eq!(line, format!(r#"{{"a":1,{place}}}"#));
    }
    assert_eq!(text.lines().count(), 5_000);
}

#[test]
fn whoever_reads_a_file_needs_a_small_window() {
    let mut writer = RawWriter::default();
    for number in 0..20_000 {
        writer.add(&record(&format!(r#"{{"a":{}}}"#, number * 7_919), number, NOON)).unwrap();
    }
    let file = writer.finish().unwrap().remove(0);
    let bytes = Bytes::from(file.bytes.clone());
    let read = |window_log: u32| {
        let mut decoder = zstd::Decoder::new(&bytes[..]).unwrap();
        decoder.window_log_max(window_log).unwrap();
        let mut text = String::new();
        decoder.read_to_string(&mut text).map(|_| text)
    };
    let text = read(WINDOW_LOG).unwrap();
    assert_eq!(text, text_of(&file));
    assert!(text.len() > 4 << WINDOW_LOG && text.lines().count() == 20_000, "{} bytes", text.len());
    assert!(read(WINDOW_LOG - 1).is_err(), "the window is what we set");
}

#[test]
fn there_is_one_file_per_hour_and_never_more_than_four_open() {
    let mut writer = RawWriter::default();
    for hour in 0..10 {
        for _ in 0..3 {
            writer.add(&record("{}", 0, NOON + hour * HOUR)).unwrap();
        }
        assert!(writer.open.len() <= OPEN_HOURS_MAX);
    }
    writer.add(&record("{}", 0, NOON)).unwrap();
    let files = writer.finish().unwrap();
    assert_eq!(files.len(), 11);
    assert_eq!(files.iter().map(|file| file.records).sum::<u64>(), 31);
    assert_eq!(directory(&lacus_core::StreamName::new("clicks").unwrap(), files[1].hour), "raw/clicks/2021/07/12/13");
    assert!(writer.finish().unwrap().is_empty());
}

proptest! {
    #[test]
    fn every_line_is_the_event_and_where_it_was(values in prop::collection::vec(("[a-z]{0,4}", any::<i64>(), ".{0,12}"), 1..40)) {
        let mut writer = RawWriter::default();
        let events: Vec<_> = values
            .iter()
            .map(|(key, number, text)| serde_json::json!({ key.as_str(): number, "text": text }))
            .collect();
        for (offset, event) in events.iter().enumerate() {
            let value = serde_json::to_string_pretty(event).unwrap();
            writer.add(&record(&value, offset as u64, NOON)).unwrap();
        }
        let text = text_of(&writer.finish().unwrap()[0]);
        for (offset, (line, event)) in text.lines().zip(&events).enumerate() {
            let mut read: serde_json::Value = serde_json::from_str(line).unwrap();
            let fields = read.as_object_mut().unwrap();
            prop_assert_eq!(fields.remove("_offset"), Some(offset.into()));
            prop_assert_eq!(fields.remove("_partition"), Some(3.into()));
            prop_assert!(fields.remove("_received_at").is_some());
            prop_assert_eq!(&read, event);
        }
        prop_assert_eq!(text.lines().count(), events.len());
    }
}
