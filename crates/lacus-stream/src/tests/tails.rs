//! What a crash can leave at the end of the log is cut off; what was acknowledged before stays.

use std::fs::File;

use super::*;

/// A log whose last group has frames of three partitions, and where that group begins.
async fn log_with_last_group() -> (TempDir, u64) {
    let (directory, log) = new_log(3, 64 << 10);
    for number in 0..4 {
        log.append(&clicks(), keyed("kept", number)).await.unwrap();
    }
    let begins = fs::metadata(last_file(directory.path())).unwrap().len();
    log.append(&clicks(), keyed("torn", 0)).await.unwrap();
    let positions = log.stream(&clicks()).unwrap().end.iter().count();
    assert_eq!(positions, 3, "the keys should reach all partitions");
    (directory, begins)
}

fn keyed(what: &str, number: u32) -> Vec<NewRecord> {
    (0..8).map(|key| record(Some(&format!("k{key}")), format!("{what} {number}"))).collect()
}

/// Opens a copy that `tear` has torn, and goes on appending to it.
async fn check_kept(directory: &Path, tear: impl FnOnce(&Path)) {
    let torn = copy(directory);
    tear(&last_file(torn.path()));
    let log = open(torn.path());
    let found: Vec<String> = read_all(&log).iter().flat_map(|records| values(records)).collect();
    assert_eq!(found.iter().filter(|value| value.starts_with("kept")).count(), 32);
    log.append(&clicks(), keyed("after", 0)).await.unwrap();
    drop(log);
    let log = open(torn.path());
    let again: Vec<String> = read_all(&log).iter().flat_map(|records| values(records)).collect();
    assert_eq!(again.len(), found.len() + 8);
}

#[tokio::test]
async fn the_last_group_may_end_at_any_byte() {
    let (directory, begins) = log_with_last_group().await;
    let length = fs::metadata(last_file(directory.path())).unwrap().len();
    for cut in begins..=length {
        check_kept(directory.path(), |file| File::options().write(true).open(file).unwrap().set_len(cut).unwrap())
            .await;
    }
}

#[tokio::test]
async fn the_last_group_may_be_wrong_at_any_byte() {
    let (directory, begins) = log_with_last_group().await;
    let length = fs::metadata(last_file(directory.path())).unwrap().len();
    for at in begins..length {
        check_kept(directory.path(), |file| flip(file, at)).await;
    }
}

#[tokio::test]
async fn the_last_group_may_begin_with_zeroes() {
    let (directory, begins) = log_with_last_group().await;
    check_kept(directory.path(), |file| {
        let mut bytes = fs::read(file).unwrap();
        let begins = usize::try_from(begins).unwrap();
        bytes[begins..begins + 100].fill(0);
        fs::write(file, bytes).unwrap();
    })
    .await;
}

/// The bytes of an event are the sender's: they may look like frames, and must not pass for acknowledged ones.
#[tokio::test]
async fn a_torn_event_that_holds_a_copy_of_the_log_does_not_keep_it_closed() {
    let (directory, log) = new_log(1, 64 << 10);
    log.append(&clicks(), vec![record(None, "kept")]).await.unwrap();
    log.append(&clicks(), vec![record(None, "kept")]).await.unwrap();
    let file = last_file(directory.path());
    let copied = fs::read(&file).unwrap();
    log.append(&clicks(), vec![record(None, copied.repeat(20))]).await.unwrap();
    drop(log);
    let length = fs::metadata(&file).unwrap().len();
    File::options().write(true).open(&file).unwrap().set_len(length - 1).unwrap();
    assert_eq!(values(&read_all(&open(directory.path()))[0]), ["kept", "kept"]);
}

#[tokio::test]
async fn bytes_behind_the_valid_length_of_a_finished_file_count_for_nothing() {
    let (directory, log) = new_log(1, 100);
    log.append(&clicks(), vec![record(None, "first")]).await.unwrap();
    let file = last_file(directory.path());
    // A group that failed and could not be cut off: whole and valid, but the next file says where this one ends.
    let failed = copy(directory.path());
    {
        let log = try_open(failed.path(), 64 << 10).unwrap();
        log.append(&clicks(), vec![record(None, "failed")]).await.unwrap();
    }
    log.append(&clicks(), vec![record(None, "second")]).await.unwrap();
    drop(log);
    fs::copy(last_file(failed.path()), &file).unwrap();
    for index in files(directory.path(), "index") {
        fs::remove_file(index).unwrap();
    }
    assert_eq!(values(&read_all(&open(directory.path()))[0]), ["first", "second"]);
}

#[tokio::test]
async fn unfinished_files_mean_nothing() {
    let (directory, log) = new_log(1, 64 << 10);
    log.append(&clicks(), vec![record(None, "a")]).await.unwrap();
    drop(log);
    let unfinished =
        ["streams.json.tmp", "segments/00000000000000000002.log.tmp", "segments/00000000000000000009.index"];
    for path in unfinished {
        fs::write(directory.path().join(path), "half").unwrap();
    }
    assert_eq!(values(&read_all(&open(directory.path()))[0]), ["a"]);
    for path in unfinished {
        assert!(!directory.path().join(path).try_exists().unwrap(), "{path}");
    }
}

/// A log with two groups of one frame each; where the second begins.
async fn log_with_two_groups() -> (TempDir, PathBuf, u64) {
    let (directory, log) = new_log(1, 64 << 10);
    log.append(&clicks(), vec![record(None, "first")]).await.unwrap();
    let file = last_file(directory.path());
    let begins = fs::metadata(&file).unwrap().len();
    log.append(&clicks(), vec![record(None, "second")]).await.unwrap();
    (directory, file, begins)
}

/// Opens the log and gives the bytes it kept aside, by file.
fn open_and_find_kept(directory: &Path) -> Vec<Vec<u8>> {
    assert_eq!(values(&read_all(&open(directory))[0]), ["first"]);
    files(directory, "cut").iter().map(|kept| fs::read(kept).unwrap()).collect()
}

#[tokio::test]
async fn a_last_group_that_the_disk_garbled_is_kept_aside() {
    let (directory, file, begins) = log_with_two_groups().await;
    let whole = fs::read(&file).unwrap();
    let second = &whole[usize::try_from(begins).unwrap()..];
    for at in begins..whole.len() as u64 {
        let copied = copy(directory.path());
        flip(&last_file(copied.path()), at);
        let mut garbled = second.to_vec();
        garbled[usize::try_from(at - begins).unwrap()] ^= 0x40;
        assert_eq!(open_and_find_kept(copied.path()), [garbled], "byte {at}");
    }
}

#[tokio::test]
async fn each_cut_is_kept_under_a_name_of_its_own() {
    let (directory, file, _) = log_with_two_groups().await;
    let whole = fs::read(&file).unwrap();
    for count in 1..4 {
        fs::write(&file, &whole).unwrap();
        flip(&file, whole.len() as u64 - count);
        assert_eq!(open_and_find_kept(directory.path()).len() as u64, count);
    }
}

#[tokio::test]
async fn a_write_that_was_stopped_is_cut_off_without_a_copy() {
    let (directory, file, begins) = log_with_two_groups().await;
    let length = fs::metadata(&file).unwrap().len();
    for end in begins + 1..length {
        let copied = copy(directory.path());
        File::options().write(true).open(last_file(copied.path())).unwrap().set_len(end).unwrap();
        assert!(open_and_find_kept(copied.path()).is_empty(), "{end}");
    }
    let mut bytes = fs::read(&file).unwrap();
    bytes[usize::try_from(begins).unwrap()..].fill(0);
    fs::write(&file, bytes).unwrap();
    assert!(open_and_find_kept(directory.path()).is_empty(), "room that was never written");
}

/// Room that a file system gave and never filled, far longer than a group.
#[tokio::test]
async fn a_long_hole_behind_the_records_is_cut_off() {
    let (directory, file, begins) = log_with_two_groups().await;
    let long = File::options().write(true).open(&file).unwrap();
    long.set_len(begins).unwrap();
    long.set_len(32 << 20).unwrap();
    assert!(open_and_find_kept(directory.path()).is_empty());
    assert_eq!(fs::metadata(&file).unwrap().len(), begins);
}
