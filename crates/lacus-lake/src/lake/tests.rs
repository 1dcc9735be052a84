//! Commits against a model of what a lake should hold.

use lacus_core::{Kind, Offset, Partition, SystemClock};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::*;
use crate::catalog::catalog_file;
use crate::compact::FileSizes;
use crate::expiry::SNAPSHOTS_MAX;
use crate::fixture::{
    Failure, FragileStore, Place, add_rows, append, append_batch, commit, copy_directory, nested, nested_more, numbers,
    offsets, open, raw, rows, rows_of, stream,
};
use crate::kernel::METADATA_FILES_MAX;
use crate::kernel::entries::SMALL_MANIFESTS_MAX;
use crate::leftovers::RETIRED_GRACE_MS;
use crate::schema::{ColumnType, TableSchema};

async fn table(lake: &Lake, schema: &TableSchema) -> Arc<Table> {
    lake.create_table(&stream().table(), schema.clone()).await.unwrap()
}

#[track_caller]
fn check_sound(findings: &[Finding]) {
    assert_eq!(findings, []);
}

fn files_below(directory: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path.to_str().unwrap().to_owned());
        }
    }
    files
}

#[tokio::test]
async fn a_commit_is_there_after_the_next_start() {
    let place = Place::new();
    let schema = nested();
    let (before, report, seen) = {
        let lake = place.open().await;
        let table = table(&lake, &schema).await;
        append(&table, &schema, 0..10);
        append(&table, &schema, 10..15);
        let append = TableAppend { table: Arc::clone(&table), schema: schema.clone(), batches: 2 };
        let whole = Commit { stream: stream(), delivered: offsets(&[15]), tables: vec![append], raw: raw(0, 0..15) };
        let report = lake.commit(whole).await.unwrap();
        check_sound(&lake.check().await.unwrap());
        (table.state(), report, rows_of(&lake, &table))
    };
    assert_eq!(report.rows, 15);
    assert!(report.parquet_bytes > 0 && report.raw_bytes > 0);
    assert!(before.tail.is_empty());
    assert_eq!(before.files.iter().map(|file| file.rows).sum::<u64>(), 15);

    let lake = place.open().await;
    let after = lake.table(&stream().table()).unwrap();
    let state = after.state();
    assert_eq!(state.files, before.files);
    assert_eq!(state.delivered, offsets(&[15]));
    assert_eq!(state.snapshot_id, before.snapshot_id);
    assert_eq!(state.metadata_location, before.metadata_location);
    assert_eq!(state.schema, Arc::new(schema.clone()));
    let mut expected = BTreeMap::new();
    add_rows(&rows(&schema, 0, 0..15), &mut expected);
    assert_eq!(seen, expected);
    assert_eq!(rows_of(&lake, &after), expected);
    let stats = lake.stats();
    assert_eq!((stats.tables, stats.files, stats.rows, stats.raw_files, stats.raw_records), (1, 1, 15, 1, 15));
    assert_eq!((stats.bytes, stats.raw_bytes), (report.parquet_bytes, report.raw_bytes));
    check_sound(&lake.check().await.unwrap());
}

#[tokio::test]
async fn a_table_that_exists_is_returned_as_it_is() {
    let place = Place::new();
    let lake = place.open().await;
    let first = table(&lake, &numbers()).await;
    let second = table(&lake, &nested()).await;
    assert!(Arc::ptr_eq(&first, &second));
    let name = stream().table().quarantine();
    let (one, other) = tokio::join!(lake.create_table(&name, numbers()), lake.create_table(&name, numbers()));
    assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()));
    assert_eq!(lake.tables().len(), 2);
}

#[tokio::test]
async fn batches_that_come_during_a_commit_stay_in_the_tail() {
    let place = Place::new();
    let lake = place.open().await;
    let schema = numbers();
    let table = table(&lake, &schema).await;
    append(&table, &schema, 0..3);
    append(&table, &schema, 3..5);
    let first = TableAppend { table: Arc::clone(&table), schema: schema.clone(), batches: 1 };
    let part = Commit { stream: stream(), delivered: offsets(&[3]), tables: vec![first], raw: Vec::new() };
    lake.commit(part).await.unwrap();
    let state = table.state();
    assert_eq!(state.tail.len(), 1);
    assert_eq!(rows_of(&lake, &table).len(), 5);
    table.replace_end_of_tail(&schema, 1, vec![]);
    assert_eq!(rows_of(&lake, &table).len(), 3);
}

#[tokio::test]
async fn a_table_and_its_quarantine_move_together_or_not_at_all() {
    let place = Place::new();
    let (lake, store) = place.open_fragile().await;
    let schema = numbers();
    let main = table(&lake, &schema).await;
    let quarantine = lake.create_table(&stream().table().quarantine(), schema.clone()).await.unwrap();
    append(&main, &schema, 0..3);
    append(&quarantine, &schema, 3..4);
    let tables = [(&main, &schema), (&quarantine, &schema)];
    // Two data files, then two manifests, lists and metadata files.
    for write in 0..8 {
        store.fail(write, Failure::Refused);
        let error = commit(&lake, &tables, 4).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
        for table in [&main, &quarantine] {
            assert_eq!((table.state().files.len(), table.state().tail.len()), (0, 1));
            assert_eq!(table.state().delivered, Offsets::default());
        }
    }
    store.pass();
    commit(&lake, &tables, 4).await.unwrap();
    assert_eq!(store.writes(), 8);
    for table in [&main, &quarantine] {
        assert_eq!((table.state().files.len(), table.state().tail.len()), (1, 0));
    }
    check_sound(&lake.check().await.unwrap());
}

#[tokio::test]
async fn offsets_move_without_rows_and_a_quarantine_without_rows_stays() {
    let place = Place::new();
    let lake = place.open().await;
    let schema = numbers();
    let main = table(&lake, &schema).await;
    let quarantine = lake.create_table(&stream().table().quarantine(), schema.clone()).await.unwrap();
    let tables = [(&main, &schema), (&quarantine, &schema)];
    commit(&lake, &tables, 7).await.unwrap();
    assert_eq!(main.state().delivered, offsets(&[7]));
    assert_eq!(quarantine.state().snapshot_id, None);
    // The same again changes nothing.
    let location = main.state().metadata_location.clone();
    assert_eq!(commit(&lake, &tables, 7).await.unwrap(), CommitReport::default());
    assert_eq!(main.state().metadata_location, location);
    check_sound(&lake.check().await.unwrap());
    drop(lake);
    let lake = place.open().await;
    assert_eq!(lake.table(&stream().table()).unwrap().state().delivered, offsets(&[7]));
}

#[tokio::test]
async fn rows_outside_of_a_commit_and_offsets_that_go_back_are_refused() {
    let place = Place::new();
    let lake = place.open().await;
    let schema = numbers();
    let main = table(&lake, &schema).await;
    append(&main, &schema, 0..5);
    assert_eq!(commit(&lake, &[(&main, &schema)], 4).await.unwrap_err().kind(), Kind::Internal);
    commit(&lake, &[(&main, &schema)], 5).await.unwrap();
    append(&main, &schema, 4..6);
    assert_eq!(commit(&lake, &[(&main, &schema)], 6).await.unwrap_err().kind(), Kind::Internal);
    main.replace_end_of_tail(&schema, usize::MAX, Vec::new());
    assert_eq!(commit(&lake, &[(&main, &schema)], 4).await.unwrap_err().kind(), Kind::Internal);
    let twice = TableAppend { table: Arc::clone(&main), schema: schema.clone(), batches: 0 };
    let tables = vec![twice.clone(), twice];
    let twice = Commit { stream: stream(), delivered: offsets(&[9]), tables, raw: Vec::new() };
    assert_eq!(lake.commit(twice).await.unwrap_err().kind(), Kind::Internal);
    assert_eq!(main.state().delivered, offsets(&[5]));
    check_sound(&lake.check().await.unwrap());
}

#[tokio::test]
async fn columns_grow_at_every_depth_and_old_rows_stay() {
    let place = Place::new();
    let lake = place.open().await;
    let (old, new) = (nested(), nested_more());
    let main = table(&lake, &TableSchema::empty()).await;
    append(&main, &old, 0..8);
    commit(&lake, &[(&main, &old)], 8).await.unwrap();
    // A commit may hold batches of both schemas.
    append(&main, &old, 8..10);
    append(&main, &new, 10..20);
    commit(&lake, &[(&main, &new)], 20).await.unwrap();
    let mut expected = BTreeMap::new();
    add_rows(&rows(&old, 0, 0..10), &mut expected);
    add_rows(&rows(&new, 0, 10..20), &mut expected);
    assert_eq!(rows_of(&lake, &main), expected);
    check_sound(&lake.check().await.unwrap());
    drop((lake, main));

    let lake = place.open().await;
    let main = lake.table(&stream().table()).unwrap();
    assert_eq!(*main.state().schema, new);
    assert_eq!(rows_of(&lake, &main), expected);
    // A schema that lacks a committed column, or has it with another type, would hide values.
    append(&main, &old, 20..21);
    assert_eq!(commit(&lake, &[(&main, &old)], 21).await.unwrap_err().kind(), Kind::Conflict);
    let mut other = new.clone();
    other.columns[0].kind = ColumnType::Double;
    main.replace_end_of_tail(&other, usize::MAX, Vec::new());
    append(&main, &other, 20..21);
    assert_eq!(commit(&lake, &[(&main, &other)], 21).await.unwrap_err().kind(), Kind::Conflict);
}

#[tokio::test]
async fn whoever_opens_the_lake_takes_it_over() {
    let place = Place::new();
    let first = place.open().await;
    let schema = numbers();
    let main = table(&first, &schema).await;
    append(&main, &schema, 0..5);
    let second = place.open().await;
    let error = commit(&first, &[(&main, &schema)], 5).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{error:?}");
    let refused = first.create_table(&stream().table().quarantine(), schema.clone()).await;
    assert_eq!(refused.err().map(|error| error.kind()), Some(Kind::Conflict));
    let main = second.table(&stream().table()).unwrap();
    append(&main, &schema, 0..5);
    commit(&second, &[(&main, &schema)], 5).await.unwrap();
    check_sound(&second.check().await.unwrap());
}

#[tokio::test]
async fn a_crash_between_any_two_steps_leaves_the_state_before_and_no_files() {
    let place = Place::new();
    let (lake, store) = place.open_fragile().await;
    let schema = numbers();
    let main = table(&lake, &schema).await;
    append(&main, &schema, 0..5);
    commit(&lake, &[(&main, &schema)], 5).await.unwrap();
    append(&main, &schema, 5..9);
    let copies = tempfile::tempdir().unwrap();
    store.copy_to(copies.path());
    let append = TableAppend { table: Arc::clone(&main), schema: schema.clone(), batches: 1 };
    let whole = Commit { stream: stream(), delivered: offsets(&[9]), tables: vec![append], raw: raw(0, 5..9) };
    lake.commit(whole).await.unwrap();
    assert_eq!(store.writes(), 5);
    for write in 0..5 {
        // The catalog in the copy says where the original was: lacus reads it where it is.
        let copy = copies.path().join(write.to_string());
        let lake = open(&copy).await;
        let main = lake.table(&stream().table()).unwrap();
        assert_eq!(main.state().delivered, offsets(&[5]));
        assert_eq!(rows_of(&lake, &main).len(), 5);
        let findings: Vec<_> = lake.check().await.unwrap().into_iter().map(|finding| finding.message).collect();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].contains("the lake was made at"), "{findings:?}");
        assert_eq!(lake.inner().catalog.leftovers().await.unwrap(), Vec::<String>::new());
    }
    check_sound(&lake.check().await.unwrap());
}

#[tokio::test]
async fn a_dropped_commit_goes_on_to_its_end() {
    let place = Place::new();
    let lake = place.open().await;
    let schema = numbers();
    let main = table(&lake, &schema).await;
    append(&main, &schema, 0..5);
    let tables = [(&main, &schema)];
    let mut dropped = Box::pin(commit(&lake, &tables, 5));
    assert!(futures::poll!(&mut dropped).is_pending());
    drop(dropped);
    // The next commit of the table waits for it.
    append(&main, &schema, 5..6);
    let next = TableAppend { table: Arc::clone(&main), schema: schema.clone(), batches: 1 };
    let next = Commit { stream: stream(), delivered: offsets(&[6]), tables: vec![next], raw: Vec::new() };
    lake.commit(next).await.unwrap();
    assert_eq!(rows_of(&lake, &main).len(), 6);
    assert!(main.state().tail.is_empty());
}

#[tokio::test]
async fn metadata_stays_flat_over_many_commits() {
    const COMMITS: u64 = 150;
    let place = Place::new();
    let lake = place.open().await;
    let schema = numbers();
    let main = table(&lake, &schema).await;
    for number in 0..COMMITS {
        append(&main, &schema, number..number + 1);
        commit(&lake, &[(&main, &schema)], number + 1).await.unwrap();
        assert!(main.base().manifests.len() <= SMALL_MANIFESTS_MAX);
        assert!(main.base().metadata.snapshots().count() <= SNAPSHOTS_MAX);
    }
    check_sound(&lake.check().await.unwrap());
    let base = main.base();
    assert_eq!(base.metadata.metadata_log().len(), METADATA_FILES_MAX);
    assert_eq!(base.metadata.schemas_iter().len(), 1);
    let summary = &base.metadata.current_snapshot().unwrap().summary().additional_properties;
    assert_eq!(summary["total-records"], COMMITS.to_string());
    // Entries of merged manifests keep the snapshot and the sequence number they came with.
    let mut sequences = Vec::new();
    for manifest in &base.manifests {
        let entries = lake.inner().files.entries(manifest).await.unwrap();
        sequences.extend(entries.iter().map(|entry| entry.sequence_number().unwrap()));
    }
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=COMMITS.cast_signed()).collect::<Vec<_>>());
    let retired = lake.inner().catalog.leftovers().await.unwrap();
    drop((lake, main, base));

    // What was retired is deleted once its time has come.
    let later = Arc::new(Later);
    let lake = Lake::open(place.directory.path(), later).await.unwrap();
    let main = lake.table(&stream().table()).unwrap();
    assert_eq!(main.state().files.len() as u64, COMMITS);
    assert_eq!(rows_of(&lake, &main).len() as u64, COMMITS);
    check_sound(&lake.check().await.unwrap());
    assert_eq!(lake.inner().catalog.leftovers().await.unwrap(), Vec::<String>::new());
    assert!(retired.len() > 150, "{}", retired.len());
    let metadata = files_below(&place.directory.path().join("lake/main/t/metadata"));
    let most = SNAPSHOTS_MAX + METADATA_FILES_MAX + 1 + SNAPSHOTS_MAX + SMALL_MANIFESTS_MAX;
    assert!(metadata.len() <= most, "{}", metadata.len());
}

/// What is damaged about the past is no reason to take no more rows.
#[tokio::test]
async fn a_snapshot_that_can_not_be_read_expires_all_the_same() {
    let place = Place::new();
    let lake = place.open().await;
    let schema = numbers();
    let main = table(&lake, &schema).await;
    let commits = SNAPSHOTS_MAX as u64 + 5;
    for number in 0..commits {
        append(&main, &schema, number..number + 1);
        commit(&lake, &[(&main, &schema)], number + 1).await.unwrap();
        if number == 3 {
            for snapshot in main.base().metadata.snapshots() {
                let path = lake.inner().files.warehouse.path(snapshot.manifest_list()).unwrap();
                std::fs::remove_file(lake.inner().directory.join(path.to_string())).unwrap();
            }
        }
    }
    assert_eq!(main.base().metadata.snapshots().count(), SNAPSHOTS_MAX);
    assert_eq!(rows_of(&lake, &main).len() as u64, commits);
    drop((lake, main));
    let lake = place.open().await;
    let main = lake.table(&stream().table()).unwrap();
    assert_eq!(rows_of(&lake, &main).len() as u64, commits);
    assert!(lake.check().await.unwrap().iter().all(|finding| !finding.is_damage));
}

struct Later;

impl Clock for Later {
    fn now(&self) -> lacus_core::Timestamp {
        SystemClock.now().plus_ms(RETIRED_GRACE_MS + 60_000)
    }
}

#[tokio::test]
async fn a_moved_lake_opens_and_goes_on() {
    let place = Place::new();
    let schema = numbers();
    {
        let lake = place.open().await;
        let main = table(&lake, &schema).await;
        append(&main, &schema, 0..5);
        commit(&lake, &[(&main, &schema)], 5).await.unwrap();
    }
    let moved = tempfile::tempdir().unwrap();
    copy_directory(place.directory.path(), &moved.path().join("elsewhere"));
    drop(place);
    let lake = open(&moved.path().join("elsewhere")).await;
    let main = lake.table(&stream().table()).unwrap();
    append(&main, &schema, 5..6);
    commit(&lake, &[(&main, &schema)], 6).await.unwrap();
    assert_eq!(rows_of(&lake, &main).len(), 6);
    let findings = lake.check().await.unwrap();
    assert_eq!(findings.len(), 1);
    assert!(!findings[0].is_damage, "{findings:?}");
}

/// A commit whose last step got no answer, because another process locked the catalog; whether it happened shows later.
async fn run_undecided(happened: bool, other_stream_first: bool) {
    let place = Place::new();
    let (lake, store) = place.open_fragile().await;
    let schema = numbers();
    let main = table(&lake, &schema).await;
    let other_stream = StreamName::new("u").unwrap();
    let other = lake.create_table(&other_stream.table(), schema.clone()).await.unwrap();
    let other_commit = || {
        let tables = vec![TableAppend { table: Arc::clone(&other), schema: schema.clone(), batches: 0 }];
        lake.commit(Commit { stream: other_stream.clone(), delivered: offsets(&[9]), tables, raw: Vec::new() })
    };
    append(&main, &schema, 0..5);
    let root = place.directory.path().canonicalize().unwrap();
    let blocker = Arc::new(Mutex::new(rusqlite::Connection::open(catalog_file(&root)).unwrap()));
    let locking = Arc::clone(&blocker);
    store.before_write(3, move || locking.lock().unwrap().execute_batch("BEGIN EXCLUSIVE").unwrap());
    let error = commit(&lake, &[(&main, &schema)], 5).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
    assert_eq!(main.state().files.len(), 0);
    assert_eq!(files_below(&root.join("lake/main/t/data")).len(), 1, "the file may be needed");
    // Asked again, it still can't say, and nobody else may go on.
    assert_eq!(commit(&lake, &[(&main, &schema)], 5).await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(other_commit().await.unwrap_err().kind(), Kind::Unavailable);
    {
        let blocker = blocker.lock().unwrap();
        if happened {
            let metadata = files_below(&root.join("lake/main/t/metadata"));
            let newest = format!("file://{}", metadata.iter().find(|file| file.contains("/00001-")).unwrap());
            blocker.execute("UPDATE tables SET metadata_location = ?1 WHERE name = 't'", [newest]).unwrap();
            blocker.execute("DELETE FROM leftovers", []).unwrap();
        }
        blocker.execute_batch("COMMIT").unwrap();
    }
    if other_stream_first {
        other_commit().await.unwrap();
        assert_eq!(main.state().files.len(), usize::from(happened));
    }
    let report = commit_first(&lake, &main, &schema, 1, 5).await;
    assert_eq!(report.rows, 5);
    assert_eq!((main.state().files.len(), main.state().tail.len()), (1, 0));
    assert_eq!(main.state().delivered, offsets(&[5]));
    assert_eq!(rows_of(&lake, &main).len(), 5);
    check_sound(&lake.check().await.unwrap());
    append(&main, &schema, 5..6);
    commit(&lake, &[(&main, &schema)], 6).await.unwrap();
    check_sound(&lake.check().await.unwrap());
}

/// The retry of a commit: the same batches and offsets as before, whatever the tail is by now.
async fn commit_first(
    lake: &Lake,
    table: &Arc<Table>,
    schema: &TableSchema,
    batches: usize,
    next: u64,
) -> CommitReport {
    let tables = vec![TableAppend { table: Arc::clone(table), schema: schema.clone(), batches }];
    lake.commit(Commit { stream: stream(), delivered: offsets(&[next]), tables, raw: Vec::new() }).await.unwrap()
}

#[tokio::test]
async fn a_commit_that_turns_out_to_have_happened_is_shown_once() {
    run_undecided(true, false).await;
    run_undecided(true, true).await;
}

#[tokio::test]
async fn a_commit_that_turns_out_not_to_have_happened_is_done_again() {
    run_undecided(false, false).await;
    run_undecided(false, true).await;
}

#[tokio::test]
async fn damage_is_found_and_named() {
    let place = Place::new();
    let schema = numbers();
    let lake = place.open().await;
    let main = table(&lake, &schema).await;
    for number in 0..3 {
        append(&main, &schema, number..number + 1);
        commit(&lake, &[(&main, &schema)], number + 1).await.unwrap();
    }
    let root = place.directory.path().join("lake");
    let files = main.state().files.clone();
    std::fs::remove_file(root.join(&files[0].path)).unwrap();
    std::fs::write(root.join(&files[1].path), "short").unwrap();
    std::fs::write(root.join(&files[2].path), vec![0; usize::try_from(files[2].bytes).unwrap()]).unwrap();
    std::fs::write(root.join("main/t/data/stranger.parquet"), "").unwrap();
    std::fs::create_dir_all(root.join("raw/t")).unwrap();
    std::fs::write(root.join("raw/t/stranger"), "").unwrap();
    let findings: Vec<_> =
        lake.check().await.unwrap().into_iter().map(|finding| (finding.is_damage, finding.message)).collect();
    let has = |damage: bool, text: &str| findings.iter().any(|(is, message)| *is == damage && message.contains(text));
    assert_eq!(findings.len(), 5, "{findings:?}");
    assert!(has(true, &format!("{} is missing: 1 rows are lost", files[0].path)), "{findings:?}");
    assert!(has(true, "has 5 bytes instead of"), "{findings:?}");
    assert!(has(true, &format!("{} is no Parquet file", files[2].path)), "{findings:?}");
    assert!(has(false, "stranger.parquet (0 bytes) belongs to no table"), "{findings:?}");
    assert!(has(false, "the raw zone has 1 files"), "{findings:?}");
}

/// A table whose metadata can't be read keeps no other from being served, and is never made anew.
#[tokio::test]
async fn a_damaged_table_is_left_alone_and_the_others_are_served() {
    let place = Place::new();
    let (schema, other) = (numbers(), StreamName::new("other").unwrap());
    let (location, files) = {
        let lake = place.open().await;
        let main = table(&lake, &schema).await;
        lake.create_table(&other.table(), schema.clone()).await.unwrap();
        append(&main, &schema, 0..1);
        commit(&lake, &[(&main, &schema)], 1).await.unwrap();
        (main.state().metadata_location.clone(), files_below(place.directory.path()))
    };
    let file = location.strip_prefix("file://").unwrap();
    let good = std::fs::read(file).unwrap();
    for damage in [Some(&b""[..]), Some(b"{}"), Some(&good[..good.len() / 2]), None] {
        match damage {
            Some(bytes) => std::fs::write(file, bytes).unwrap(),
            None => std::fs::remove_file(file).unwrap(),
        }
        let lake = place.open().await;
        assert!(lake.table(&other.table()).is_some());
        assert!(lake.table(&stream().table()).is_none());
        let error = lake.damage_of(&stream().table()).unwrap();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.to_string().contains(location.rsplit('/').next().unwrap()), "{error}");
        let error = lake.create_table(&stream().table(), schema.clone()).await.err().unwrap();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        let findings = lake.check().await.unwrap();
        assert!(findings.len() == 1 && findings[0].is_damage, "{findings:?}");
    }
    // Restored, it goes on, even without a restart.
    let lake = place.open().await;
    std::fs::write(file, good).unwrap();
    let main = table(&lake, &schema).await;
    assert!(lake.damage_of(&stream().table()).is_none());
    assert_eq!(rows_of(&lake, &main).len(), 1);
    check_sound(&lake.check().await.unwrap());
    assert_eq!(files_below(place.directory.path()), files);
}

/// What a run of the model does.
#[derive(Debug, Clone)]
enum Step {
    /// Appends this many rows of a partition to the tail; with a wider schema from here on.
    Append { partition: u32, rows: u64, widen: bool },
    /// Commits the tail; the given write fails.
    Commit { fails: Option<(usize, bool)> },
    /// Merges all files, if there are two; the given write fails.
    Compact { fails: Option<(usize, bool)> },
    /// Starts again: the tail is lost and comes again.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2_u32, 0..20_u64, any::<bool>()).prop_map(|(partition, rows, widen)| Step::Append { partition, rows, widen }),
        4 => prop::option::of((0..5_usize, any::<bool>())).prop_map(|fails| Step::Commit { fails }),
        2 => prop::option::of((0..5_usize, any::<bool>())).prop_map(|fails| Step::Compact { fails }),
        1 => Just(Step::Restart),
    ]
}

fn fail(store: &FragileStore, fails: Option<(usize, bool)>) {
    store.pass();
    if let Some((write, lost)) = fails {
        store.fail(write, if lost { Failure::AnswerLost } else { Failure::Refused });
    }
}

/// Runs the steps and compares what the table has with a plain list of rows after each of them.
async fn run_model(steps: Vec<Step>) {
    let place = Place::new();
    let (mut lake, mut store) = place.open_fragile().await;
    let mut main = table(&lake, &TableSchema::empty()).await;
    let mut schema = nested();
    let (mut committed, mut tail) = (BTreeMap::new(), BTreeMap::new());
    let (mut seen, mut delivered) = (Offsets::default(), Offsets::default());
    for step in steps {
        match step {
            Step::Append { partition, rows: count, widen } => {
                if widen {
                    schema = nested_more();
                }
                let first = seen.next(Partition(partition));
                seen.advance(Partition(partition), first.plus(count));
                let batch = rows(&schema, partition, first.0..first.plus(count).0);
                add_rows(&batch, &mut tail);
                append_batch(&main, &schema, batch);
            }
            Step::Compact { fails } => {
                fail(&store, fails);
                let sizes = FileSizes { target_bytes: 1 << 30, files_min: 2 };
                let outcome = lake.compact(&main, sizes, Arc::default()).await;
                store.pass();
                if fails.is_none() {
                    outcome.unwrap();
                }
            }
            Step::Commit { fails } => {
                fail(&store, fails);
                let batches = main.state().tail.len();
                let append = TableAppend { table: Arc::clone(&main), schema: schema.clone(), batches };
                let raw = if seen == delivered { Vec::new() } else { raw(0, 0..tail.len() as u64) };
                let whole = Commit { stream: stream(), delivered: seen.clone(), tables: vec![append], raw };
                let outcome = lake.commit(whole).await;
                if fails.is_none() {
                    outcome.as_ref().unwrap();
                }
                if outcome.is_ok() {
                    committed.append(&mut tail);
                    delivered = seen.clone();
                }
            }
            Step::Restart => {
                drop((lake, main));
                (lake, store) = place.open_fragile().await;
                main = lake.table(&stream().table()).unwrap();
                tail.clear();
                seen = delivered.clone();
            }
        }
        let mut expected = committed.clone();
        expected.extend(tail.clone());
        assert_eq!(rows_of(&lake, &main), expected);
        assert_eq!(main.state().delivered, delivered);
        assert_eq!(lake.check().await.unwrap(), Vec::new());
        assert_eq!(delivered.next(Partition(7)), Offset(0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn tables_have_the_rows_of_the_model_whatever_fails(steps in prop::collection::vec(step(), 1..30)) {
        Runtime::new().unwrap().block_on(run_model(steps));
    }
}

#[tokio::test]
async fn a_database_has_a_directory_of_its_own() {
    let place = Place::new();
    let (web, schema) = (StreamName::new("web").unwrap(), nested());
    {
        let lake = place.open().await;
        let tracks = lake.create_table(&web.table_in("tracks").unwrap(), schema.clone()).await.unwrap();
        lake.create_table(&web.table(), schema.clone()).await.unwrap();
        append(&tracks, &schema, 0..3);
        let tables = vec![TableAppend { table: tracks, schema, batches: 1 }];
        lake.commit(Commit { stream: web.clone(), delivered: offsets(&[3]), tables, raw: Vec::new() }).await.unwrap();
        check_sound(&lake.check().await.unwrap());
    }
    let lake = place.open().await;
    let names: Vec<String> = lake.tables().iter().map(|table| table.name().to_string()).collect();
    assert_eq!(names, ["web", "web.tracks"]);
    let tracks = lake.table(&web.table_in("tracks").unwrap()).unwrap();
    assert_eq!((rows_of(&lake, &tracks).len(), &tracks.state().delivered), (3, &offsets(&[3])));
    assert!(tracks.state().metadata_location.contains("/lake/web/tracks/metadata/"));
    assert_eq!(files_below(&place.directory.path().join("lake/web/tracks/data")).len(), 1);
}
