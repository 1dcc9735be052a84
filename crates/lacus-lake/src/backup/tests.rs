//! A copy that is taken at any instant of commits and merges is a whole lake: the one before, or the one after.

use std::fs;
use std::sync::Arc;

use lacus_core::SystemClock;
use lacus_testkit::Database;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use super::*;
use crate::fixture::{FragileStore, Place, append, numbers, offsets, open, raw, rows_of, stream};
use crate::leftovers::RETIRED_GRACE_MS;
use crate::{Commit, FileSizes, Lake, Table, TableAppend};

const ALL: FileSizes = FileSizes { target_bytes: 1 << 30, files_min: 2 };
const ROWS_OF_A_COMMIT: u64 = 3;

/// Links what a backup lists.
fn back_up(from: &Path, to: &Path) -> BackedUp {
    let backed_up = back_up_lake(from, &settings::Lake::default(), to).unwrap();
    link(from, &backed_up, to);
    backed_up
}

fn link(from: &Path, backed_up: &BackedUp, to: &Path) {
    for file in &backed_up.files {
        fs::create_dir_all(to.join(file).parent().unwrap()).unwrap();
        fs::hard_link(from.join(file), to.join(file)).unwrap();
    }
}

async fn commit(lake: &Lake, table: &Arc<Table>, number: u64) {
    let rows = ROWS_OF_A_COMMIT * number..ROWS_OF_A_COMMIT * (number + 1);
    append(table, &numbers(), rows.clone());
    let append = TableAppend { table: Arc::clone(table), schema: numbers(), batches: table.state().tail.len() };
    let delivered = offsets(&[rows.end]);
    lake.commit(Commit { stream: stream(), delivered, tables: vec![append], raw: raw(0, rows) }).await.unwrap();
}

/// The copy opens, has as many rows and raw events, and all its files belong to something.
async fn must_be_whole(copy: &Path, commits: u64) {
    fs::create_dir_all(copy.join("lake")).unwrap();
    let lake = open(copy).await;
    let rows = ROWS_OF_A_COMMIT * commits;
    let table = lake.table(&stream().table()).unwrap();
    let expected: Vec<(i32, i64)> = (0..rows.cast_signed()).map(|offset| (0, offset)).collect();
    assert_eq!(rows_of(&lake, &table).into_keys().collect::<Vec<_>>(), expected);
    assert_eq!(lake.stats().raw_records, rows);
    let found: Vec<String> = lake.check().await.unwrap().into_iter().map(|finding| finding.message).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("the lake was made at"), "{found:?}");
}

/// Takes a backup right before the `n`-th write from now on.
fn back_up_before(store: &FragileStore, n: usize, from: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let (from, to) = (from.to_owned(), copy.path().to_owned());
    store.before_write(n, move || drop(back_up(&from, &to)));
    copy
}

#[tokio::test]
async fn a_backup_in_the_middle_of_a_commit_or_a_merge_is_a_whole_lake() {
    let place = Place::new();
    let (lake, store) = place.open_fragile().await;
    let table = lake.create_table(&stream().table(), numbers()).await.unwrap();
    store.pass();
    commit(&lake, &table, 0).await;
    let writes = store.writes();
    assert!(writes >= 5, "raw events, rows, and three files of metadata");
    let mut commits = 1;
    for n in 0..writes {
        let copy = back_up_before(&store, n, place.directory.path());
        commit(&lake, &table, commits).await;
        must_be_whole(copy.path(), commits).await;
        commits += 1;
    }
    for n in 0..4 {
        // Files of alike size are merged: these two.
        for _ in 0..2 {
            commit(&lake, &table, commits).await;
            commits += 1;
        }
        let copy = back_up_before(&store, n, place.directory.path());
        assert!(lake.compact(&table, ALL, Arc::default()).await.unwrap().is_some());
        must_be_whole(copy.path(), commits).await;
    }
    let copy = tempfile::tempdir().unwrap();
    let backed_up = back_up(place.directory.path(), copy.path());
    assert_eq!(backed_up.tables, 1);
    must_be_whole(copy.path(), commits).await;
}

/// Time for links: what a commit replaces after the catalog was copied is there for an hour.
#[tokio::test]
async fn files_that_are_merged_after_the_copy_of_the_catalog_can_still_be_taken() {
    let (place, copy) = (Place::new(), tempfile::tempdir().unwrap());
    let lake = place.open().await;
    let table = lake.create_table(&stream().table(), numbers()).await.unwrap();
    for number in 0..4 {
        commit(&lake, &table, number).await;
    }
    let from = place.directory.path();
    let backed_up = back_up_lake(from, &settings::Lake::default(), copy.path()).unwrap();
    lake.compact(&table, ALL, Arc::default()).await.unwrap().unwrap();
    commit(&lake, &table, 4).await;
    const { assert!(RETIRED_GRACE_MS >= 60 * 60 * 1_000) };
    link(from, &backed_up, copy.path());
    must_be_whole(copy.path(), 4).await;
}

#[tokio::test]
async fn what_can_not_be_backed_up_is_refused() {
    let (place, copy) = (Place::new(), tempfile::tempdir().unwrap());
    let from = place.directory.path();
    let here = settings::Lake::default();
    assert_eq!(back_up_lake(from, &here, copy.path()).unwrap_err().kind(), Kind::NotFound);
    let bucket = settings::Lake { location: Some("s3://b/p".to_owned().try_into().unwrap()), ..here.clone() };
    assert_eq!(back_up_lake(from, &bucket, copy.path()).unwrap_err().kind(), Kind::Invalid);
    drop(place.open().await);
    back_up_lake(from, &here, copy.path()).unwrap();
    assert!(back_up_lake(from, &here, copy.path()).is_err(), "a copy is never overwritten");
}

#[tokio::test]
async fn a_catalog_in_postgresql_becomes_a_file_in_the_copy() {
    let (database, place, copy) = (Database::start(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = settings::Lake { catalog: database.url().into(), ..settings::Lake::default() };
    let back_up = |to: PathBuf| {
        let (from, settings) = (place.path().to_owned(), settings.clone());
        spawn_blocking(move || back_up_lake(&from, &settings, &to))
    };
    let refused = back_up(copy.path().to_owned()).await.unwrap().unwrap_err();
    assert_eq!(refused.kind(), Kind::NotFound, "{}", refused.chain());
    let lake = Lake::open_as(place.path(), &settings, Arc::new(SystemClock)).await.unwrap();
    let table = lake.create_table(&stream().table(), numbers()).await.unwrap();
    for number in 0..3 {
        commit(&lake, &table, number).await;
    }
    lake.compact(&table, ALL, Arc::default()).await.unwrap().unwrap();
    let backed_up = back_up(copy.path().to_owned()).await.unwrap().unwrap();
    assert_eq!(backed_up.tables, 1);
    link(place.path(), &backed_up, copy.path());
    // The one that is copied is still the writer, and so it is after the copy was opened.
    commit(&lake, &table, 3).await;
    must_be_whole(copy.path(), 3).await;
    let refused = Lake::open_as(copy.path(), &settings, Arc::new(SystemClock)).await.err().unwrap();
    assert!(refused.kind() == Kind::Invalid && refused.chain().contains("a catalog of its own"), "{}", refused.chain());
    commit(&lake, &table, 4).await;
    assert_eq!(lake.check().await.unwrap(), []);
    let again = back_up(copy.path().to_owned()).await.unwrap().unwrap_err();
    assert_eq!(again.kind(), Kind::Exists, "a copy is never overwritten");
}

#[test]
fn who_lists_files_tells_of_each() {
    let directory = tempfile::tempdir().unwrap();
    for file in ["lake/a/1", "lake/a/2", "lake/b/c/3"] {
        fs::create_dir_all(directory.path().join(file).parent().unwrap()).unwrap();
        fs::write(directory.path().join(file), "").unwrap();
    }
    let (mut files, mut told) = (Vec::new(), 0);
    let mut tell = || {
        told += 1;
        if told > 4 { Err(Error::unavailable("nobody is there")) } else { Ok(()) }
    };
    // Six: folders count, too.
    assert!(list(directory.path(), Path::new("lake"), &mut files, &mut tell).is_err());
    assert_eq!(told, 5);
    list(directory.path(), Path::new("lake"), &mut files, &mut || Ok(())).unwrap();
    assert!(files.len() > 3);
}
