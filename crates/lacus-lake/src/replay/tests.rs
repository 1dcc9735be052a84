//! Rows that leave quarantine are in one table or the other, whatever fails.

use std::collections::BTreeSet;

use lacus_core::settings::Contract;
use lacus_core::{Record, Timestamp};

use super::*;
use crate::decode::quarantine_rows;
use crate::fixture::{Failure, Place, append_batch, copy_directory, offsets, open, raw, rows_of, stream};
use crate::lake::{Commit, Lake, TableAppend};
use crate::refill::tests::{events, take};

fn position(offset: u64) -> Position {
    Position { partition: Partition(0), offset: Offset(offset) }
}

/// A table with two rows, and a quarantine with rows 2 to 4 in one file and 5 in another.
async fn with_quarantine(lake: &Lake) -> (Arc<Table>, Arc<Table>) {
    let table = lake.create_table(&stream().table(), TableSchema::empty()).await.unwrap();
    let quarantine = lake.create_table(&stream().table().quarantine(), TableSchema::quarantine()).await.unwrap();
    take(lake, &table, &[r#"{"n":1}"#, r#"{"n":2}"#]).await;
    for refused in [2..5, 5..6] {
        let next = refused.end;
        let records: Vec<Record> = refused.map(record).collect();
        let rows = quarantine_rows(&records.iter().map(|record| (record, "broken")).collect::<Vec<_>>()).unwrap();
        append_batch(&quarantine, &TableSchema::quarantine(), rows);
        let schema = TableSchema::clone(&table.state().schema);
        let tables = [(&table, &schema, 0), (&quarantine, &TableSchema::quarantine(), 1)];
        let tables = tables.map(|(table, schema, batches)| TableAppend {
            table: Arc::clone(table),
            schema: schema.clone(),
            batches,
        });
        let delivered = offsets(&[next]);
        lake.commit(Commit { stream: stream(), delivered, tables: tables.to_vec(), raw: Vec::new() }).await.unwrap();
    }
    (table, quarantine)
}

fn record(offset: u64) -> Record {
    let received_at = Timestamp::from_micros(0);
    Record { position: position(offset), received_at, key: None, id: None, value: format!("{{n:{offset}").into() }
}

/// Rows 3 and 5 go, mended.
fn moves(table: &Arc<Table>, quarantine: &Arc<Table>) -> Replay {
    let schema = TableSchema::clone(&table.state().schema);
    let rows =
        [3, 5].map(|offset| events(&[format!("{{\"n\":{offset},\"new\":true}}")], offset, &schema, Contract::Evolve));
    let mut schema = rows[1].schema.clone();
    schema.pin();
    let rows =
        arrow::compute::concat_batches(&rows[0].rows.schema(), rows.iter().map(|decoded| &decoded.rows)).unwrap();
    Replay {
        stream: stream(),
        quarantine: Arc::clone(quarantine),
        positions: [position(3), position(5)].into(),
        tables: vec![ReplayedRows { table: Arc::clone(table), schema, rows }],
        raw: raw(0, 3..4),
    }
}

fn positions_in_both(lake: &Lake, table: &Table, quarantine: &Table) -> [Vec<i64>; 2] {
    [table, quarantine].map(|table| rows_of(lake, table).into_keys().map(|(_, offset)| offset).collect())
}

const BEFORE: [&[i64]; 2] = [&[0, 1], &[2, 3, 4, 5]];
const AFTER: [&[i64]; 2] = [&[0, 1, 3, 5], &[2, 4]];

#[tokio::test]
async fn rows_move_once() {
    let place = Place::new();
    let lake = place.open().await;
    let (table, quarantine) = with_quarantine(&lake).await;
    assert_eq!(positions_in_both(&lake, &table, &quarantine), BEFORE);
    let delivered = table.state().delivered.clone();
    lake.replay(moves(&table, &quarantine)).await.unwrap();
    assert_eq!(positions_in_both(&lake, &table, &quarantine), AFTER);
    assert_eq!(table.state().delivered, delivered, "it moves no offset");
    assert_eq!(table.state().schema.columns.len(), 2, "what rows bring is there");
    assert_eq!((quarantine.state().files.len(), lake.stats().raw_records), (1, 1));
    assert_eq!(quarantine.snapshots().last().unwrap().operation, "overwrite");
    let wanted: BTreeSet<Position> = (0..9).map(position).collect();
    let counts = lake.count_positions(&table, &wanted).await.unwrap();
    assert_eq!(counts, [0, 1, 3, 5].map(|offset| (position(offset), 1)).into());
    let again = lake.replay(moves(&table, &quarantine)).await.unwrap_err();
    assert_eq!(again.kind(), Kind::Conflict, "{again:?}");
    assert_eq!(lake.check().await.unwrap(), []);
    // Deliveries go on.
    take(&lake, &table, &[r#"{"n":6}"#]).await;
    drop((lake, table, quarantine));
    let lake = place.open().await;
    let [table, quarantine] = [stream().table(), stream().table().quarantine()].map(|name| lake.table(&name).unwrap());
    assert_eq!(positions_in_both(&lake, &table, &quarantine), [vec![0, 1, 3, 5, 6], vec![2, 4]]);
}

/// An erasure that has looked through one of the tables would not find what comes to it.
#[tokio::test]
async fn nothing_moves_while_events_are_erased() {
    let place = Place::new();
    let lake = place.open().await;
    let (table, quarantine) = with_quarantine(&lake).await;
    let erasing = lake.inner().erasing.write().await;
    let refused = lake.replay(moves(&table, &quarantine)).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable, "{refused:?}");
    assert_eq!(positions_in_both(&lake, &table, &quarantine), BEFORE);
    drop(erasing);
    lake.replay(moves(&table, &quarantine)).await.unwrap();
    assert_eq!(positions_in_both(&lake, &table, &quarantine), AFTER);
}

#[tokio::test]
async fn a_write_that_fails_moves_nothing() {
    for failure in [Failure::Refused, Failure::AnswerLost] {
        for write in 0.. {
            let place = Place::new();
            let (lake, store) = place.open_fragile().await;
            let (table, quarantine) = with_quarantine(&lake).await;
            store.fail(write, failure);
            let moved = lake.replay(moves(&table, &quarantine)).await;
            store.pass();
            if moved.is_ok() {
                assert!(write >= 8, "only {write} writes");
                break;
            }
            assert_eq!(positions_in_both(&lake, &table, &quarantine), BEFORE, "after write {write}");
            assert_eq!(lake.check().await.unwrap(), [], "after write {write}");
            lake.replay(moves(&table, &quarantine)).await.unwrap();
            assert_eq!(positions_in_both(&lake, &table, &quarantine), AFTER);
        }
    }
}

#[tokio::test]
async fn a_process_may_die_before_any_write() {
    let (place, copies) = (Place::new(), tempfile::tempdir().unwrap());
    let (lake, store) = place.open_fragile().await;
    let (table, quarantine) = with_quarantine(&lake).await;
    store.copy_to(copies.path());
    lake.replay(moves(&table, &quarantine)).await.unwrap();
    let writes = store.writes();
    copy_directory(place.directory.path(), &copies.path().join(writes.to_string()));
    for write in 0..=writes {
        let lake = open(&copies.path().join(write.to_string())).await;
        let [table, quarantine] =
            [stream().table(), stream().table().quarantine()].map(|name| lake.table(&name).unwrap());
        let expected = if write < writes { BEFORE } else { AFTER };
        assert_eq!(positions_in_both(&lake, &table, &quarantine), expected, "before write {write}");
        let findings = lake.check().await.unwrap();
        assert!(findings.iter().all(|finding| !finding.is_damage), "before write {write}: {findings:?}");
    }
}
