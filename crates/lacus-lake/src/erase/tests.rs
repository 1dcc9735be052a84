//! Erasing from tables and the raw zone: what goes, what stays, and every write that can fail in between.

use std::collections::BTreeSet;

use lacus_core::{Offset, Partition, Position, Timestamp};

use super::*;
use crate::compact::FileSizes;
use crate::fixture::{Failure, Place, append, numbers, offsets, raw, rows_of, stream};
use crate::{Commit, TableAppend, Version};

/// Offsets of partition 0, whose events arrived when those of the fixture did.
fn places(offsets: &[u64]) -> Places {
    let mut places = Places::default();
    for offset in offsets {
        let position = Position { partition: Partition(0), offset: Offset(*offset) };
        places.add(position, Timestamp::from_micros(1_700_000_000_000_000)).unwrap();
    }
    places
}

/// Commits rows and the same raw events.
async fn add(lake: &Lake, tables: &[&Arc<Table>], range: std::ops::Range<u64>) {
    let append = |table: &&Arc<Table>| {
        append(table, &numbers(), range.clone());
        TableAppend { table: Arc::clone(table), schema: numbers(), batches: 1 }
    };
    let (tables, delivered) = (tables.iter().map(append).collect(), offsets(&[range.end]));
    lake.commit(Commit { stream: stream(), delivered, tables, raw: raw(0, range) }).await.unwrap();
}

/// Three commits of rows 0..4, 4..8, 8..12, the first one tagged.
async fn filled(lake: &Lake) -> Arc<Table> {
    let table = lake.create_table(&stream().table(), numbers()).await.unwrap();
    for first in [0, 4, 8] {
        add(lake, &[&table], first..first + 4).await;
    }
    lake.tag(&table, "first", Version::Snapshot(table.snapshots()[0].id)).await.unwrap();
    table
}

fn offsets_of(lake: &Lake, table: &Table) -> Vec<i64> {
    rows_of(lake, table).into_keys().map(|(_, offset)| offset).collect()
}

/// The offsets that the raw zone has, each once.
async fn raw_offsets(lake: &Lake) -> BTreeSet<u64> {
    let leftovers = lake.inner().catalog.leftovers().await.unwrap();
    let mut found = BTreeSet::new();
    let mut directories = vec![lake.inner().directory.join("raw")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&lake.inner().directory).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                directories.push(path);
            } else if !leftovers.contains(&name) {
                let text = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
                for line in text.split_inclusive(|byte| *byte == b'\n') {
                    assert!(found.insert(crate::raw::place_of(line).unwrap().1), "an event is there twice");
                }
            }
        }
    }
    found
}

#[tokio::test]
async fn what_is_erased_is_in_no_file_and_no_snapshot() {
    let place = Place::new();
    let lake = place.open().await;
    let table = filled(&lake).await;
    let untouched = table.state().files[1].path.clone();
    let gone = places(&[1, 8, 9, 10, 11, 99]);
    let erased = lake.erase(&stream(), gone.clone()).await.unwrap();
    assert_eq!((erased.raw.events, erased.raw.files), (5, 2));
    let rows = erased.tables[table.name()];
    assert_eq!((rows.rows, rows.files, rows.snapshots), (5, 2, 3));
    assert_eq!(raw_offsets(&lake).await, BTreeSet::from([0, 2, 3, 4, 5, 6, 7]));
    assert_eq!(offsets_of(&lake, &table), [0, 2, 3, 4, 5, 6, 7]);
    assert!(table.state().files.iter().any(|file| file.path == untouched));
    assert!(lake.table_at(&table, &Version::read("first")).await.is_err());
    assert_eq!(lake.every_row(&table).await.unwrap().files.len(), 2);
    assert_eq!(lake.check().await.unwrap(), []);
    assert_eq!(lake.erase(&stream(), gone).await.unwrap(), Erased::default());
    add(&lake, &[&table], 12..13).await;
    drop((lake, table));

    let lake = place.open().await;
    let table = lake.table(&stream().table()).unwrap();
    assert_eq!(offsets_of(&lake, &table), [0, 2, 3, 4, 5, 6, 7, 12]);
    assert_eq!(table.state().delivered, offsets(&[13]));
    assert_eq!(raw_offsets(&lake).await.len(), 8);
    assert_eq!(lake.check().await.unwrap(), []);
}

#[tokio::test]
async fn an_event_goes_from_every_table_of_its_stream() {
    let place = Place::new();
    let lake = place.open().await;
    let names = [stream().table(), stream().table().quarantine(), stream().table().elements("items").unwrap()];
    let mut tables = Vec::new();
    for name in &names {
        tables.push(lake.create_table(name, numbers()).await.unwrap());
    }
    let other = lake.create_table(&TableName::new("other").unwrap(), numbers()).await.unwrap();
    add(&lake, &tables.iter().collect::<Vec<_>>(), 0..4).await;
    add(&lake, &[&tables[0]], 4..8).await;
    append(&other, &numbers(), 0..4);
    let erased = lake.erase(&stream(), places(&[2, 5])).await.unwrap();
    let rows: Vec<u64> = names.iter().map(|name| erased.tables[name].rows).collect();
    assert_eq!((erased.tables.len(), rows), (3, vec![2, 1, 1]));
    assert_eq!(offsets_of(&lake, &tables[0]), [0, 1, 3, 4, 6, 7]);
    for table in &tables[1..] {
        assert_eq!((offsets_of(&lake, table), table.snapshots().len()), (vec![0, 1, 3], 1));
    }
    assert_eq!(offsets_of(&lake, &other).len(), 4);
    assert_eq!(lake.check().await.unwrap(), []);
}

#[tokio::test]
async fn history_stays_when_no_snapshot_has_them() {
    let place = Place::new();
    let lake = place.open().await;
    let table = filled(&lake).await;
    assert_eq!(lake.erase(&stream(), places(&[77])).await.unwrap(), Erased::default());
    assert_eq!(table.snapshots().len(), 3);
    // Rolled back rows are in older snapshots only.
    lake.rollback(&table, Version::read("first")).await.unwrap();
    let erased = lake.erase(&stream(), places(&[9])).await.unwrap();
    let rows = erased.tables[table.name()];
    assert_eq!((erased.raw.events, rows.rows, rows.snapshots), (1, 0, 3));
    assert_eq!(offsets_of(&lake, &table), [0, 1, 2, 3]);
    assert_eq!(lake.check().await.unwrap(), []);
}

/// A table that was looked through already would keep rows that come back to it.
#[tokio::test]
async fn nothing_brings_rows_back_while_events_are_erased() {
    let place = Place::new();
    let lake = place.open().await;
    let table = filled(&lake).await;
    let erasing = lake.inner().erasing.write().await;
    let mut rolling_back = Box::pin(lake.rollback(&table, Version::read("first")));
    assert!(futures::poll!(&mut rolling_back).is_pending());
    // This would come after the rollback, if that did not wait.
    lake.tag(&table, "last", Version::last()).await.unwrap();
    assert_eq!(offsets_of(&lake, &table), (0..12).collect::<Vec<i64>>());
    drop(erasing);
    rolling_back.await.unwrap();
    assert_eq!(offsets_of(&lake, &table), [0, 1, 2, 3]);

    let long_erasing = lake.inner().erasing.write().await;
    let refused = lake.rollback(&table, Version::read("last")).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable, "{refused}");
    assert!(refused.chain().contains(&format!("table \"{}\": events are being erased", table.name())), "{refused}");
    drop(long_erasing);

    let bringing_back = lake.inner().erasing.read().await;
    let stream = stream();
    let mut erase = Box::pin(lake.erase(&stream, places(&[1])));
    assert!(futures::poll!(&mut erase).is_pending());
    tokio::task::yield_now().await;
    assert!(lake.inner().erasing.try_read().is_err(), "it waits to be alone");
    drop(bringing_back);
    erase.await.unwrap();
    assert_eq!(offsets_of(&lake, &table), [0, 2, 3]);
}

#[tokio::test]
async fn a_write_that_fails_loses_nothing_and_the_next_run_finishes() {
    let gone = places(&[1, 5, 9]);
    let expected = [0, 2, 3, 4, 6, 7, 8, 10, 11];
    for failure in [Failure::Refused, Failure::AnswerLost] {
        for write in 0.. {
            let place = Place::new();
            let (lake, store) = place.open_fragile().await;
            let table = filled(&lake).await;
            store.fail(write, failure);
            let done = lake.erase(&stream(), gone.clone()).await.is_ok();
            let writes = store.writes();
            store.pass();
            // Who is found again is erased again: until all are gone everywhere, a snapshot has them.
            let every = lake.every_row(&table).await.unwrap();
            assert!(done || every.files.iter().map(|file| file.rows).sum::<u64>() >= 12, "write {write} hides rows");
            for offset in &expected {
                assert!(offsets_of(&lake, &table).contains(offset), "write {write} loses row {offset}");
                assert!(
                    raw_offsets(&lake).await.contains(&offset.cast_unsigned()),
                    "write {write} loses event {offset}"
                );
            }
            assert_eq!(lake.check().await.unwrap(), [], "after write {write}");
            lake.erase(&stream(), gone.clone()).await.unwrap();
            assert_eq!(offsets_of(&lake, &table), expected);
            assert_eq!(raw_offsets(&lake).await.len(), expected.len());
            assert_eq!(table.snapshots().len(), 1);
            assert_eq!(lake.check().await.unwrap(), [], "after write {write} and again");
            if done && writes <= write {
                break;
            }
        }
    }
}

#[tokio::test]
async fn merged_files_are_erased_from_too() {
    let place = Place::new();
    let lake = place.open().await;
    let table = filled(&lake).await;
    let sizes = FileSizes { target_bytes: 1 << 20, files_min: 2 };
    lake.compact(&table, sizes, Arc::default()).await.unwrap().unwrap();
    let erased = lake.erase(&stream(), places(&[0, 11])).await.unwrap();
    let rows = erased.tables[table.name()];
    assert_eq!((rows.rows, rows.files, rows.snapshots), (2, 1, 4));
    assert_eq!(offsets_of(&lake, &table), (1..11).collect::<Vec<i64>>());
    assert_eq!(lake.check().await.unwrap(), []);
}
