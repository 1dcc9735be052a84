//! Tags and rollback, and what expires meanwhile.

use lacus_core::Kind;

use super::*;
use crate::Lake;
use crate::expiry::SNAPSHOTS_MAX;
use crate::fixture::{Failure, Place, append, commit, numbers, rows_of, stream};

async fn table(lake: &Lake) -> Arc<Table> {
    lake.create_table(&stream().table(), numbers()).await.unwrap()
}

/// Commits the rows of these offsets.
async fn add(lake: &Lake, table: &Arc<Table>, offsets: std::ops::Range<u64>) {
    append(table, &numbers(), offsets.clone());
    commit(lake, &[(table, &numbers())], offsets.end).await.unwrap();
}

fn offsets_of(lake: &Lake, table: &Table) -> Vec<i64> {
    rows_of(lake, table).into_keys().map(|(_, offset)| offset).collect()
}

fn snapshot(table: &Table) -> i64 {
    table.state().snapshot_id.unwrap()
}

#[tokio::test]
async fn a_rollback_has_the_rows_of_a_snapshot_and_what_comes_after() {
    let place = Place::new();
    let lake = place.open().await;
    let table = table(&lake).await;
    add(&lake, &table, 0..3).await;
    let good = snapshot(&table);
    add(&lake, &table, 3..5).await;
    let bad = snapshot(&table);
    append(&table, &numbers(), 5..6);

    let report = lake.rollback(&table, Version::Snapshot(good)).await.unwrap();
    assert_eq!(report, RollbackReport { from: bad, to: good, rows_before: 5, rows_after: 3 });
    assert_eq!(offsets_of(&lake, &table), [0, 1, 2, 5]);
    commit(&lake, &[(&table, &numbers())], 6).await.unwrap();
    add(&lake, &table, 6..8).await;
    assert_eq!(offsets_of(&lake, &table), [0, 1, 2, 5, 6, 7]);
    assert_eq!(lake.check().await.unwrap(), []);
    drop((lake, table));

    let lake = place.open().await;
    let table = lake.table(&stream().table()).unwrap();
    assert_eq!(offsets_of(&lake, &table), [0, 1, 2, 5, 6, 7]);
    assert_eq!(table.state().delivered, crate::fixture::offsets(&[8]));
    lake.rollback(&table, Version::Snapshot(bad)).await.unwrap();
    assert_eq!(offsets_of(&lake, &table), [0, 1, 2, 3, 4]);
    assert_eq!(table.state().delivered, crate::fixture::offsets(&[8]));
}

#[tokio::test]
async fn tags_name_snapshots_until_they_are_taken_away() {
    let place = Place::new();
    let lake = place.open().await;
    let table = table(&lake).await;
    add(&lake, &table, 0..3).await;
    let first = snapshot(&table);
    assert_eq!(lake.tag(&table, "q3", Version::last()).await.unwrap(), first);
    assert_eq!(lake.tag(&table, "q3", Version::Snapshot(first)).await.unwrap(), first);
    add(&lake, &table, 3..5).await;
    let error = lake.tag(&table, "q3", Version::last()).await.unwrap_err();
    assert_eq!((error.kind(), error.hint()), (Kind::Exists, Some("take it away first: lacus table untag t q3")));
    for name in ["main", "5", "", "a b"] {
        assert_eq!(lake.tag(&table, name, Version::last()).await.unwrap_err().kind(), Kind::Invalid, "{name}");
    }
    drop((lake, table));

    let lake = place.open().await;
    let table = lake.table(&stream().table()).unwrap();
    let state = lake.table_at(&table, &Version::read("q3")).await.unwrap();
    assert_eq!(state.snapshot_id, Some(first));
    assert_eq!(lake.untag(&table, "q3").await.unwrap(), first);
    let error = lake.untag(&table, "q3").await.unwrap_err();
    assert_eq!((error.message(), error.hint()), ("untag table \"t\": there is no tag \"q3\"", Some("it has none")));
    assert_eq!(lake.check().await.unwrap(), []);
}

/// Files that neither a snapshot nor the record of leftovers knows would be a finding; so would one that is missing.
#[tokio::test]
async fn what_is_tagged_or_returned_to_stays_while_all_else_expires() {
    let place = Place::new();
    let lake = place.open().await;
    let table = table(&lake).await;
    add(&lake, &table, 0..1).await;
    lake.tag(&table, "first", Version::last()).await.unwrap();
    let first = snapshot(&table);
    let sizes = crate::FileSizes { target_bytes: 1 << 20, files_min: 8 };
    let mut next = 1;
    for round in 0..2 * SNAPSHOTS_MAX {
        add(&lake, &table, next..next + 1).await;
        next += 1;
        if round % 30 == 10 {
            lake.compact(&table, sizes, Arc::default()).await.unwrap();
        }
        if round == 50 || round == 140 {
            lake.rollback(&table, Version::read("first")).await.unwrap();
        }
    }
    let kept: Vec<i64> = table.snapshots().iter().map(|snapshot| snapshot.id).collect();
    assert_eq!((kept.len(), kept[0]), (SNAPSHOTS_MAX + 1, first));
    assert_eq!(lake.check().await.unwrap(), []);
    let state = lake.table_at(&table, &Version::read("first")).await.unwrap();
    assert_eq!(state.files.iter().map(|file| file.rows).sum::<u64>(), 1);
    let expected: Vec<i64> = [0].into_iter().chain(142..201).collect();
    assert_eq!(offsets_of(&lake, &table), expected);

    lake.untag(&table, "first").await.unwrap();
    add(&lake, &table, next..next + 1).await;
    assert_eq!(table.snapshots().len(), SNAPSHOTS_MAX);
    assert_eq!(lake.check().await.unwrap(), []);
    let expired = expire_all(lake.inner(), std::slice::from_ref(&table)).await.unwrap();
    assert_eq!(expired[table.name()], SNAPSHOTS_MAX - 1);
    assert_eq!(lake.check().await.unwrap(), []);
    assert_eq!(offsets_of(&lake, &table).len(), expected.len() + 1);
}

#[tokio::test]
async fn a_rollback_that_fails_at_any_write_changes_nothing_and_deletes_nothing() {
    for failure in [Failure::Refused, Failure::AnswerLost] {
        for write in 0..2 {
            let place = Place::new();
            let (lake, store) = place.open_fragile().await;
            let table = table(&lake).await;
            add(&lake, &table, 0..3).await;
            let good = snapshot(&table);
            add(&lake, &table, 3..5).await;
            store.fail(write, failure);
            lake.rollback(&table, Version::Snapshot(good)).await.unwrap_err();
            store.pass();
            assert_eq!(offsets_of(&lake, &table), [0, 1, 2, 3, 4]);
            assert_eq!(lake.check().await.unwrap(), []);
            lake.rollback(&table, Version::Snapshot(good)).await.unwrap();
            assert_eq!(offsets_of(&lake, &table), [0, 1, 2]);
            assert_eq!(lake.check().await.unwrap(), []);
        }
    }
}
