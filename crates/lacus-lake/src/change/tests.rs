//! Files come and go in one commit, and the snapshot says what happened.

use super::*;
use crate::data_file::encode;
use crate::file_stats::Placement;
use crate::fixture::{Place, append, commit, numbers, plain, rows, rows_of, stream};
use crate::lake::Lake;
use crate::schema::TableSchema;

/// Writes files of five rows each, of these first offsets, on record but not in the table.
async fn write(lake: &Lake, table: &Table, schema: &TableSchema, firsts: &[u64]) -> Vec<AddedFile> {
    let (inner, base) = (lake.inner(), table.base());
    let names = Names::after(table.name(), &base.location);
    let paths: Vec<String> = (0..firsts.len()).map(|number| names.data(number)).collect();
    inner.catalog.begin(Vec::new(), paths.clone(), inner.clock.now()).await.unwrap();
    let mut added = Vec::new();
    for (path, &first) in paths.into_iter().zip(firsts) {
        let encoded = encode(&[rows(schema, 0, first..first + 5)], None, &plain(schema)).unwrap();
        let url = inner.files.warehouse.url(&path);
        added.push(encoded.describe(url, base.metadata.current_schema(), Placement::default()).unwrap());
        crate::commit::put(inner, path, encoded.bytes.clone()).await.unwrap();
    }
    added
}

#[tokio::test]
async fn several_files_replace_several_in_one_commit() {
    let (place, schema) = (Place::new(), numbers());
    let lake = place.open().await;
    let table = lake.create_table(&stream().table(), schema.clone()).await.unwrap();
    for number in 0..4 {
        append(&table, &schema, 5 * number..5 * number + 5);
        commit(&lake, &[(&table, &schema)], 5 * number + 5).await.unwrap();
    }
    let before = table.state().files.to_vec();
    let paths: Vec<String> = before.iter().map(|file| file.path.clone()).collect();
    let added = write(&lake, &table, &schema, &[5, 100, 200]).await;
    let removed = before[1..3].to_vec();
    let change = FileChange { operation: Operation::Overwrite, removed: removed.clone(), added: added.clone() };
    assert!(change_files(lake.inner(), &table, change).await.is_ok());
    let found: Vec<i64> = rows_of(&lake, &table).into_keys().map(|(_, offset)| offset).collect();
    assert_eq!(found, (0..10).chain(15..20).chain(100..105).chain(200..205).collect::<Vec<_>>());
    let state = table.state();
    assert_eq!((&state.files[0].path, &state.files[4].path, state.files.len()), (&paths[0], &paths[3], 5));
    assert_eq!(table.snapshots().last().unwrap().operation, "overwrite");

    // Files that went can't go again, and what was written for it is deleted.
    let more = write(&lake, &table, &schema, &[300]).await;
    let change = FileChange { operation: Operation::Overwrite, removed, added: more };
    let Err(failed) = change_files(lake.inner(), &table, change).await else { panic!("removed twice") };
    assert_eq!(failed.error.kind(), Kind::Conflict);
    // A replacement with other rows is none.
    let more = write(&lake, &table, &schema, &[300]).await;
    let change = FileChange { operation: Operation::Replace, removed: Vec::new(), added: more };
    assert!(change_files(lake.inner(), &table, change).await.is_err());

    let change = FileChange { operation: Operation::Delete, removed: vec![before[0].clone()], added: Vec::new() };
    assert!(change_files(lake.inner(), &table, change).await.is_ok());
    assert_eq!(table.snapshots().last().unwrap().operation, "delete");
    assert_eq!(lake.check().await.unwrap(), []);
    let (rows, files) = (rows_of(&lake, &table), table.state().files.clone());
    drop((lake, table));
    let lake = place.open().await;
    let table = lake.table(&stream().table()).unwrap();
    assert_eq!((rows_of(&lake, &table), table.state().files.clone()), (rows, files));
    assert_eq!(lake.check().await.unwrap(), []);
}

/// The files of a plan that is not carried out, in order.
async fn files_of(lake: &Lake, planned: Planned) -> Vec<String> {
    for (path, bytes) in planned.files {
        crate::commit::put(lake.inner(), path, bytes).await.unwrap();
    }
    let found = lake.inner().files.files_of(&planned.base.manifests, &planned.base.metadata).await.unwrap();
    found.data.into_iter().map(|file| file.path).collect()
}

/// A change of these files, planned on manifests as if each had so many bytes.
async fn planned_on(lake: &Lake, table: &Table, bytes: i64, removed: &[LiveFile], added: Vec<AddedFile>) -> Planned {
    let (inner, mut base) = (lake.inner(), Base::clone(&table.base()));
    base.manifests.iter_mut().for_each(|manifest| manifest.manifest_length = bytes);
    let names = Names::after(table.name(), &base.location);
    let on_record = names.all_metadata(&base);
    let change = Change {
        names,
        schema: base.metadata.current_schema().as_ref().clone(),
        layout: Layout::current(&base.metadata),
        operation: if removed.is_empty() { Operation::Append } else { Operation::Overwrite },
        removed: removed.iter().map(|file| inner.files.warehouse.url(&file.path)).collect(),
        added,
        delivered: None,
        now: inner.clock.now(),
    };
    let planned = plan_with(&inner.files, &base, change, HashMap::new()).await.unwrap();
    assert!(planned.files.iter().all(|(path, _)| on_record.contains(path)), "{on_record:?}");
    planned
}

/// What is rewritten is not in memory at once.
#[tokio::test]
async fn large_manifests_are_rewritten_as_several_and_files_keep_their_order() {
    let (place, schema) = (Place::new(), numbers());
    let lake = place.open().await;
    let table = lake.create_table(&stream().table(), schema.clone()).await.unwrap();
    for first in [0, 100, 200, 300] {
        let added = write(&lake, &table, &schema, &[first, first + 10, first + 20]).await;
        let change = FileChange { operation: Operation::Append, removed: Vec::new(), added };
        assert!(change_files(lake.inner(), &table, change).await.is_ok());
    }
    let files = table.state().files.to_vec();
    let removed = [1, 6, 10].map(|index| files[index].clone());
    for (bytes, manifests) in [(1 << 20, 2), (3 << 20, 4)] {
        let added = write(&lake, &table, &schema, &[400]).await;
        let new = lake.inner().files.warehouse.path(added[0].file.file_path()).unwrap().to_string();
        let planned = planned_on(&lake, &table, bytes, &removed, added).await;
        assert_eq!(planned.base.manifests.len(), manifests, "manifests of {bytes} bytes");
        let found = files_of(&lake, planned).await;
        let path = |index: usize| files[index].path.clone();
        let rewritten = [path(0), new, path(2), path(7), path(8), path(9), path(11)];
        assert_eq!(found, [&rewritten[..], &[path(3), path(4), path(5)]].concat());
    }
}

#[tokio::test]
async fn small_manifests_become_several_if_they_are_large_together() {
    let (place, schema) = (Place::new(), numbers());
    let lake = place.open().await;
    let table = lake.create_table(&stream().table(), schema.clone()).await.unwrap();
    for number in 0..20 {
        append(&table, &schema, 5 * number..5 * number + 5);
        commit(&lake, &[(&table, &schema)], 5 * number + 5).await.unwrap();
    }
    let files = table.state().files.iter().map(|file| file.path.clone()).collect::<Vec<_>>();
    for (bytes, manifests) in [(1_000, 1), (3 << 19, 10), (2 << 20, 21)] {
        let added = write(&lake, &table, &schema, &[400]).await;
        let new = lake.inner().files.warehouse.path(added[0].file.file_path()).unwrap().to_string();
        let planned = planned_on(&lake, &table, bytes, &[], added).await;
        assert_eq!(planned.base.manifests.len(), manifests, "manifests of {bytes} bytes");
        assert_eq!(files_of(&lake, planned).await, [&files[..], &[new]].concat());
    }
}
