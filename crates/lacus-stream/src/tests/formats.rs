//! Logs that earlier versions wrote keep opening: `tests/formats/` has one of each format.
//!
//! A new format gets a directory of its own there, written by the release that brings it, and the old ones stay.

use super::*;

/// Twelve records of `clicks` and one of `orders`, in several files, retention having removed the first.
#[tokio::test]
async fn a_log_of_format_1_opens() {
    let stored = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/formats/stream-v1"));
    let directory = TempDir::new().unwrap();
    copy_into(stored, directory.path());
    let log = open(directory.path());
    let records = read_all(&log);
    assert_eq!(records.len(), 2);
    let shown: Vec<String> = records.concat().iter().map(show).collect();
    assert_eq!(shown, CLICKS_IN_FORMAT_1);
    let orders = log.read(&StreamName::new("orders").unwrap(), Partition(0), Offset(0), 1).unwrap();
    assert_eq!(show(&orders[0]), r#"0/0 2021-07-12T12:01:58.000000Z Some(b"o-1") b"{\"total\":12.50}""#);
    assert_eq!(log.append(&clicks(), vec![record(Some(""), "")]).await.unwrap()[0].to_string(), "1/4");
}

const CLICKS_IN_FORMAT_1: [&str; 12] = [
    r#"0/1 2021-07-12T12:02:08.000000Z Some(b"user-0") b"{\"n\":0}""#,
    r#"0/2 2021-07-12T12:02:08.000000Z Some(b"") b"""#,
    r#"0/3 2021-07-12T12:02:08.010000Z None b"\xff\x01""#,
    r#"0/4 2021-07-12T12:02:08.010000Z Some(b"") b"""#,
    r#"0/5 2021-07-12T12:02:08.020000Z Some(b"") b"""#,
    r#"0/6 2021-07-12T12:02:08.030000Z Some(b"user-3") b"{\"n\":3}""#,
    r#"0/7 2021-07-12T12:02:08.030000Z None b"\xff\x03""#,
    r#"0/8 2021-07-12T12:02:08.030000Z Some(b"") b"""#,
    r#"1/0 2021-07-12T12:02:08.000000Z None b"\xff\0""#,
    r#"1/1 2021-07-12T12:02:08.010000Z Some(b"user-1") b"{\"n\":1}""#,
    r#"1/2 2021-07-12T12:02:08.020000Z Some(b"user-2") b"{\"n\":2}""#,
    r#"1/3 2021-07-12T12:02:08.020000Z None b"\xff\x02""#,
];

fn show(record: &Record) -> String {
    format!("{} {} {:?} {:?}", record.position, record.received_at, record.key, record.value)
}
