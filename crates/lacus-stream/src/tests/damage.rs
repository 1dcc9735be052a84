//! Damage to what was acknowledged is named, file and byte, and never passed over.

use super::*;

/// Three groups of one frame each, and where each begins.
async fn log_with_three_groups(segment_bytes_max: u64) -> (TempDir, Vec<(PathBuf, u64)>) {
    let (directory, log) = new_log(1, segment_bytes_max);
    let mut begins = Vec::new();
    for number in 0..3 {
        log.append(&clicks(), vec![record(Some("key"), number.to_string())]).await.unwrap();
        let file = last_file(directory.path());
        let length = fs::metadata(&file).unwrap().len();
        begins.push((file, length - 52 - 8 - 4));
    }
    (directory, begins)
}

#[tokio::test]
async fn a_wrong_byte_before_the_last_group_keeps_the_log_closed() {
    let (directory, begins) = log_with_three_groups(64 << 10).await;
    let (file, first) = begins[0].clone();
    for at in first..begins[2].1 {
        let bytes = fs::read(&file).unwrap();
        flip(&file, at);
        let begins_at = if at < begins[1].1 { first } else { begins[1].1 };
        check_corrupt(try_open(directory.path(), 64 << 10), &file, begins_at);
        fs::write(&file, bytes).unwrap();
    }
    assert_eq!(values(&read_all(&open(directory.path()))[0]), ["0", "1", "2"]);
}

#[tokio::test]
async fn a_wrong_byte_in_a_header_keeps_the_log_closed() {
    let (directory, begins) = log_with_three_groups(100).await;
    for (file, header_length) in &begins {
        for at in 0..*header_length {
            let bytes = fs::read(file).unwrap();
            flip(file, at);
            let Err(error) = try_open(directory.path(), 100) else { panic!("byte {at} went unnoticed") };
            assert!([Kind::Corrupt, Kind::Invalid].contains(&error.kind()), "{error}");
            assert!(error.message().contains(file.to_str().unwrap()), "{error}");
            fs::write(file, bytes).unwrap();
        }
    }
}

#[tokio::test]
async fn a_wrong_byte_in_a_finished_file_is_named_when_it_is_read() {
    let (directory, begins) = log_with_three_groups(100).await;
    let (file, begins_at) = &begins[1];
    for at in *begins_at..fs::metadata(file).unwrap().len() {
        flip(file, at);
        for with_index in [true, false] {
            let log = open(directory.path());
            if !with_index {
                files(directory.path(), "index").iter().for_each(|index| fs::remove_file(index).unwrap());
            }
            assert_eq!(log.read(&clicks(), Partition(0), Offset(0), 1).unwrap()[0].value, "0");
            check_corrupt(log.read(&clicks(), Partition(0), Offset(1), 1), file, *begins_at);
            assert_eq!(log.read(&clicks(), Partition(0), Offset(2), 1).unwrap()[0].value, "2");
        }
        flip(file, at);
    }
    assert_eq!(values(&read_all(&open(directory.path()))[0]), ["0", "1", "2"]);
}

#[tokio::test]
async fn a_finished_file_that_lost_its_end_keeps_the_log_closed() {
    let (directory, begins) = log_with_three_groups(100).await;
    let (file, begins_at) = &begins[0];
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() - 1]).unwrap();
    check_corrupt(try_open(directory.path(), 100), file, begins_at + 63);
}

#[tokio::test]
async fn missing_files_keep_the_log_closed() {
    let (directory, begins) = log_with_three_groups(100).await;
    let streams = directory.path().join("streams.json");
    let all: Vec<&PathBuf> = begins.iter().map(|(file, _)| file).collect();
    for (missing, expected) in [
        (vec![all[1]], "00000000000000000002.log is missing"),
        (vec![&streams], "streams.json does not know"),
        (all, "its files are gone"),
    ] {
        let copied = copy(directory.path());
        for file in missing {
            fs::remove_file(copied.path().join(file.strip_prefix(directory.path()).unwrap())).unwrap();
        }
        let Err(error) = try_open(copied.path(), 100) else { panic!("went unnoticed: {expected}") };
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.message().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn streams_json_must_match_its_checksum() {
    let (directory, _) = log_with_three_groups(100).await;
    let file = directory.path().join("streams.json");
    let text = fs::read_to_string(&file).unwrap();
    for (from, to, kind) in [
        ("clicks", "clocks", Kind::Corrupt),
        ("\"partition\": 0", "\"partition\": 1", Kind::Corrupt),
        ("\"streams\"", "\"strea", Kind::Corrupt),
        ("\"format\": 1", "\"format\": 2", Kind::Invalid),
    ] {
        fs::write(&file, text.replace(from, to)).unwrap();
        let Err(error) = try_open(directory.path(), 100) else { panic!("{to} went unnoticed") };
        assert_eq!(error.kind(), kind, "{error}");
    }
}

/// A record whose hash key nobody owns, or two do, would have no place: such a file is not believed, checksum or not.
#[test]
fn shards_must_own_every_hash_key_once() {
    let (directory, log) = new_log(2, 64 << 10);
    drop(log);
    let file = directory.path().join("streams.json");
    let text = fs::read_to_string(&file).unwrap();
    for (from, to) in [
        ("\"hash_start\": \"0\"", "\"hash_start\": \"1\""),
        (&u128::MAX.to_string(), &(u128::MAX - 1).to_string()),
        (&(u128::MAX / 2).to_string(), &(u128::MAX / 2 - 1).to_string()),
        (&(u128::MAX / 2).to_string(), &(u128::MAX / 2 + 1).to_string()),
        ("\"first_shard\": 0", "\"first_shard\": 3"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        let mut stored: serde_json::Value = serde_json::from_str(&changed).unwrap();
        stored["crc32"] = crc32fast::hash(compact_streams(&changed).as_bytes()).into();
        fs::write(&file, stored.to_string()).unwrap();
        let Err(error) = try_open(directory.path(), 64 << 10) else { panic!("{to} went unnoticed") };
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        assert!(error.message().contains("shards of a stream"), "{error}");
    }
}

/// The list of streams without the spaces that make it readable, members in their order.
fn compact_streams(text: &str) -> String {
    let list = &text[text.find('[').unwrap()..=text.rfind(']').unwrap()];
    list.chars().filter(|character| !character.is_whitespace()).collect()
}

#[tokio::test]
async fn an_index_that_is_missing_or_wrong_is_made_again() {
    let (directory, log) = new_log(2, 1_000);
    for number in 0..40 {
        log.append(&clicks(), vec![record(Some(&number.to_string()), format!("value {number}"))]).await.unwrap();
    }
    let expected = read_all(&log);
    drop(log);
    let indexes = files(directory.path(), "index");
    assert!(indexes.len() > 2);
    let spoils: [&dyn Fn(&Path); 5] = [
        &|index| fs::remove_file(index).unwrap(),
        &|index| fs::write(index, "").unwrap(),
        &|index| flip(index, 60),
        &|index| fs::write(index, &fs::read(index).unwrap()[..80]).unwrap(),
        &|index| assert!(fs::copy(&indexes[0], index).unwrap() > 0),
    ];
    for spoil in spoils {
        let right = fs::read(&indexes[1]).unwrap();
        spoil(&indexes[1]);
        assert_eq!(read_all(&open(directory.path())), expected);
        assert_eq!(fs::read(&indexes[1]).unwrap(), right);
    }
}
