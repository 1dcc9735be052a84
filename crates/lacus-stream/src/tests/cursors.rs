//! Cursors of named readers: durable, bounded, and gone with their stream.

use super::*;

fn at(offset: u64) -> Offsets {
    [(Partition(0), Offset(offset))].into_iter().collect()
}

fn file(directory: &TempDir) -> PathBuf {
    directory.path().join("cursors/0.json")
}

#[test]
fn what_cannot_be_a_cursor_is_refused() {
    let (_directory, log) = new_log(1, 64 << 10);
    let set = |reader: &str, offsets: Offsets| log.set_cursor(&clicks(), reader, Some(&offsets)).unwrap_err().kind();
    for reader in ["", "a\nb", &"x".repeat(READER_BYTES_MAX + 1)] {
        assert_eq!(set(reader, at(1)), Kind::Invalid);
        assert_eq!(log.cursor(&clicks(), reader).unwrap_err().kind(), Kind::Invalid);
    }
    assert_eq!(set("me", [(Partition(1), Offset(0))].into_iter().collect()), Kind::NotFound);
    let orders = StreamName::new("orders").unwrap();
    assert_eq!(log.set_cursor(&orders, "me", None).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(log.cursor(&orders, "me").unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_stream_has_so_many_readers() {
    let (directory, log) = new_log(1, 64 << 10);
    // One by one they would take a thousand syncs.
    let readers: BTreeMap<String, Offsets> = (0..READERS_MAX).map(|number| (format!("r{number}"), at(7))).collect();
    let crc32 = crc32fast::hash(&serde_json::to_vec(&(0, &readers)).unwrap());
    let text = serde_json::json!({ "format": 1, "crc32": crc32, "stream": 0, "readers": readers });
    drop(log);
    fs::write(file(&directory), text.to_string()).unwrap();
    let log = open(directory.path());
    assert_eq!(log.set_cursor(&clicks(), "one more", Some(&at(1))).unwrap_err().kind(), Kind::Limited);
    log.set_cursor(&clicks(), "r7", Some(&at(8))).unwrap();
    log.set_cursor(&clicks(), "r8", None).unwrap();
    log.set_cursor(&clicks(), "one more", Some(&at(9))).unwrap();
    assert_eq!((log.cursor(&clicks(), "r7").unwrap(), log.cursor(&clicks(), "one more").unwrap()), (at(8), at(9)));
}

#[test]
fn a_cursor_that_is_refused_stays_where_it_was() {
    let (directory, log) = new_log(1, 64 << 10);
    log.set_cursor(&clicks(), "me", Some(&at(1))).unwrap();
    let (folder, away) = (directory.path().join("cursors"), directory.path().join("away"));
    fs::rename(&folder, &away).unwrap();
    let error = log.set_cursor(&clicks(), "me", Some(&at(2))).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "not \"no such stream\": {error}");
    assert_eq!(log.cursor(&clicks(), "me").unwrap(), at(1));
    fs::rename(&away, &folder).unwrap();
    log.set_cursor(&clicks(), "me", Some(&at(3))).unwrap();
    drop(log);
    assert_eq!(open(directory.path()).cursor(&clicks(), "me").unwrap(), at(3));
}

#[test]
fn cursors_of_a_deleted_stream_are_gone_even_if_a_crash_kept_their_file() {
    let (directory, log) = new_log(1, 64 << 10);
    log.set_cursor(&clicks(), "me", Some(&at(1))).unwrap();
    let kept = fs::read(file(&directory)).unwrap();
    log.delete_stream(&clicks()).unwrap();
    drop(log);
    fs::write(file(&directory), kept).unwrap();
    let log = open(directory.path());
    assert_eq!(log.cursor(&clicks(), "me").unwrap_err().kind(), Kind::NotFound);
    log.create_stream(&clicks(), &NewStream::of_shards(1)).unwrap();
    assert_eq!(log.cursor(&clicks(), "me").unwrap(), Offsets::default());
}

#[test]
fn a_stream_that_could_not_be_deleted_keeps_its_cursors() {
    let (directory, log) = new_log(1, 64 << 10);
    log.set_cursor(&clicks(), "me", Some(&at(1))).unwrap();
    // No file can be renamed to where a directory is.
    let (streams, away) = (directory.path().join("streams.json"), directory.path().join("away"));
    fs::rename(&streams, &away).unwrap();
    fs::create_dir(&streams).unwrap();
    assert_eq!(log.delete_stream(&clicks()).unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(log.cursor(&clicks(), "me").unwrap(), at(1));
    fs::remove_dir(&streams).unwrap();
    fs::rename(&away, &streams).unwrap();
    log.delete_stream(&clicks()).unwrap();
}

#[test]
fn a_damaged_file_of_cursors_is_named() {
    let (directory, log) = new_log(1, 64 << 10);
    log.set_cursor(&clicks(), "me", Some(&at(1))).unwrap();
    drop(log);
    let text = fs::read_to_string(file(&directory)).unwrap();
    for (from, to, kind) in [
        ("\"me\"", "\"we\"", Kind::Corrupt),
        ("\"stream\":0", "\"stream\":1", Kind::Corrupt),
        ("{", "", Kind::Corrupt),
        ("\"format\":1", "\"format\":2", Kind::Invalid),
    ] {
        fs::write(file(&directory), text.replacen(from, to, 1)).unwrap();
        let Err(error) = try_open(directory.path(), 64 << 10) else { panic!("{to} went unnoticed") };
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains("cursors/0.json"), "{error}");
    }
}
