//! Merging files changes nothing but the files.

use std::slice;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;
use iceberg::spec::{NullOrder, SortDirection, SortField, SortOrder, Transform};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use super::sorted::Merging;
use super::*;
use crate::deletes::DeletedRows;
use crate::expiry::SNAPSHOTS_MAX;
use crate::file_stats::FileStats;
use crate::fixture::{
    Failure, Place, append, column, commit, copy_directory, nested, nested_more, numbers, open, plain, rows, rows_of,
    stream,
};
use crate::lake::Lake;
use crate::leftovers::RETIRED_GRACE_MS;
use crate::schema::{ColumnType, OFFSET, SchemaChange, TableSchema};

const ALL: FileSizes = FileSizes { target_bytes: 1 << 30, files_min: 2 };

fn files(sizes: &[u64]) -> Vec<LiveFile> {
    let file = |bytes: u64| LiveFile {
        path: bytes.to_string(),
        bytes,
        rows: 1,
        stats: Arc::default(),
        deleted: DeletedRows::default(),
    };
    sizes.iter().map(|&bytes| file(bytes)).collect()
}

fn picked(sizes: &[u64]) -> Option<Range<usize>> {
    let runs = small_files(&files(sizes), FileSizes { target_bytes: 100, files_min: 4 }, |_| true);
    let run = runs.first()?;
    Some(run[0]..run[run.len() - 1] + 1)
}

#[test]
fn neighbours_of_alike_size_are_merged() {
    assert_eq!(picked(&[]), None);
    assert_eq!(picked(&[1, 1, 1]), None);
    assert_eq!(picked(&[1, 1, 1, 1]), Some(0..4));
    assert_eq!(picked(&[100, 51, 1, 1, 1, 1, 1]), Some(2..7));
    // One that is large beside the others is not written again for their sake.
    assert_eq!(picked(&[40, 1, 1, 1, 1]), Some(1..5));
    assert_eq!(picked(&[40, 1, 1, 1]), None);
    assert_eq!(picked(&[20, 10, 10, 10]), Some(0..4));
    // No more than a target's worth.
    assert_eq!(picked(&[30, 30, 30, 30, 30]), None);
    assert_eq!(picked(&[20, 20, 20, 20, 20, 20]), Some(0..5));
}

/// Files of a byte in these partitions, in order: what tells them apart is the order that their rows have.
fn in_partitions(partitions: &[i32]) -> Vec<LiveFile> {
    let mut all = files(&vec![1; partitions.len()]);
    for (file, &partition) in all.iter_mut().zip(partitions) {
        let mut stats = FileStats::default();
        stats.placement.sort_order = partition;
        file.stats = Arc::new(stats);
    }
    all
}

#[test]
fn runs_of_several_partitions_are_merged_together() {
    let runs = |partitions: &[i32], target_bytes| {
        small_files(&in_partitions(partitions), FileSizes { target_bytes, files_min: 2 }, |_| true)
    };
    assert_eq!(runs(&[1, 2, 3, 1, 2], 100), [vec![0, 3], vec![1, 4]]);
    assert_eq!(runs(&[1, 2, 1, 2, 3, 3], 4), [vec![0, 2], vec![1, 3]], "no more than a file's worth");
    let many: Vec<i32> = (0..600).chain(0..600).collect();
    assert_eq!(runs(&many, 10_000).len(), RUNS_MAX);
    // The second partition has an older file, which is large, behind the place where all would come.
    let mut mixed = in_partitions(&[1, 2, 1, 2, 2]);
    mixed[1].bytes = 90;
    assert_eq!(small_files(&mixed, FileSizes { target_bytes: 100, files_min: 2 }, |_| true), [vec![0, 2]]);
    mixed.swap(0, 1);
    assert_eq!(small_files(&mixed, FileSizes { target_bytes: 100, files_min: 2 }, |_| true), [vec![1, 2], vec![3, 4]]);
}

proptest! {
    /// Whatever comes, files stay few, and a row is not written again often.
    #[test]
    fn files_stay_few_and_rows_are_rarely_rewritten(sizes in prop::collection::vec(1_u64..2_000, 1..2_000)) {
        let limits = FileSizes { target_bytes: 100_000, files_min: 8 };
        let (mut live, mut written) = (Vec::new(), 0);
        for size in &sizes {
            live.extend(files(&[*size]));
            while let Some(run) = small_files(&live, limits, |_| true).first() {
                let run = run[0]..run[run.len() - 1] + 1;
                let bytes = live[run.clone()].iter().map(|file| file.bytes).sum();
                written += bytes;
                live.splice(run, files(&[bytes]));
            }
        }
        let all: u64 = sizes.iter().sum();
        prop_assert_eq!(live.iter().map(|file| file.bytes).sum::<u64>(), all);
        let large = usize::try_from(2 * all / limits.target_bytes).unwrap();
        prop_assert!(live.len() <= 2 * large + 60, "{} files of {all} bytes", live.len());
        prop_assert!(written <= 8 * all, "{written} bytes written for {all}");
    }
}

async fn table(lake: &Lake, schema: &TableSchema) -> Arc<Table> {
    lake.create_table(&stream().table(), schema.clone()).await.unwrap()
}

/// Commits of five rows each, from this row on.
async fn fill(lake: &Lake, table: &Arc<Table>, schema: &TableSchema, commits: Range<u64>) {
    for number in commits {
        append(table, schema, 5 * number..5 * number + 5);
        commit(lake, &[(table, schema)], 5 * number + 5).await.unwrap();
    }
}

async fn compact_all(lake: &Lake, table: &Arc<Table>) -> Result<Option<CompactionReport>> {
    lake.compact(table, ALL, Arc::default()).await
}

#[tokio::test]
async fn rows_stay_and_files_become_one() {
    let place = Place::new();
    let lake = place.open().await;
    let main = table(&lake, &nested()).await;
    fill(&lake, &main, &nested(), 0..3).await;
    // Columns that came later are null in the rows before.
    fill(&lake, &main, &nested_more(), 3..5).await;
    append(&main, &nested_more(), 25..30);
    let before = (rows_of(&lake, &main), main.state());
    let report = compact_all(&lake, &main).await.unwrap().unwrap();
    assert_eq!((report.files, report.rows), (5, 25));
    let state = main.state();
    assert_eq!(rows_of(&lake, &main), before.0);
    assert_eq!((state.files.len(), state.files[0].bytes, state.files[0].rows), (1, report.bytes_after, 25));
    assert_eq!((&state.delivered, state.tail.len()), (&before.1.delivered, 1));
    assert_eq!(lake.check().await.unwrap(), []);
    assert_eq!(compact_all(&lake, &main).await.unwrap(), None, "one file can't become fewer");
    let summary = main.base().metadata.current_snapshot().unwrap().summary().clone();
    assert_eq!(summary.operation, Operation::Replace);
    let number = |name: &str| summary.additional_properties[name].clone();
    assert_eq!(["total-records", "deleted-records", "added-records"].map(number), ["25", "25", "25"]);
    assert_eq!(["total-data-files", "deleted-data-files"].map(number), ["1", "5"]);

    // Deliveries go on, and so it is after the next start.
    commit(&lake, &[(&main, &nested_more())], 30).await.unwrap();
    let after = (rows_of(&lake, &main), main.state());
    drop((lake, main));
    let lake = place.open().await;
    let main = lake.table(&stream().table()).unwrap();
    assert_eq!(rows_of(&lake, &main), after.0);
    assert_eq!(main.state().files, after.1.files, "files keep their order");
    assert_eq!(lake.check().await.unwrap(), []);
}

#[tokio::test]
async fn a_large_file_is_written_in_parts() {
    let place = Place::new();
    let (lake, schema) = (place.open().await, nested());
    let main = table(&lake, &schema).await;
    for next in [100_000, 200_000, 300_000] {
        append(&main, &schema, next - 100_000..next);
        commit(&lake, &[(&main, &schema)], next).await.unwrap();
    }
    let report = compact_all(&lake, &main).await.unwrap().unwrap();
    assert!(report.bytes_after > 1 << 20, "{} bytes are one part", report.bytes_after);
    let path = lake.inner().directory.join(&main.state().files[0].path);
    assert_eq!(path.metadata().unwrap().len(), report.bytes_after);
    let file = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
    let rows: usize = file.build().unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!((rows, report.rows), (300_000, 300_000));
}

/// How many rows each row group of a file has.
fn row_groups(lake: &Lake, file: &LiveFile) -> Vec<i64> {
    let path = lake.inner().directory.join(&file.path);
    let file = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
    file.metadata().row_groups().iter().map(|group| group.num_rows()).collect()
}

#[tokio::test]
async fn row_groups_are_joined_as_far_as_one_may_be_large() {
    let place = Place::new();
    let (lake, schema) = (place.open().await, numbers());
    let main = table(&lake, &schema).await;
    for next in [100_000, 200_000, 300_000] {
        append(&main, &schema, next - 100_000..next);
        commit(&lake, &[(&main, &schema)], next).await.unwrap();
    }
    compact_all(&lake, &main).await.unwrap().unwrap();
    let state = main.state();
    assert_eq!((state.files.len(), row_groups(&lake, &state.files[0])), (1, vec![200_000, 100_000]));
}

#[tokio::test]
async fn row_groups_that_are_larger_than_ours_are_cut() {
    let place = Place::new();
    let (lake, schema) = (place.open().await, numbers());
    fill(&lake, &table(&lake, &schema).await, &schema, 0..1).await;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema.arrow(), None).unwrap();
    writer.write(&rows(&schema, 0, 0..300_000)).unwrap();
    assert_eq!(writer.close().unwrap().num_row_groups(), 1);
    let at = |path: &str| lake.inner().directory.join(path);
    let (from, to) = ("main/t/data/theirs.parquet", "main/t/data/cut.parquet");
    std::fs::write(at(from), &bytes).unwrap();
    // At both ends of both pieces.
    let deleted = vec![0, 262_143, 262_144, 299_999];
    let mut file = files(&[bytes.len() as u64]).remove(0);
    (file.path, file.rows, file.deleted) = (from.to_owned(), 300_000, DeletedRows::of(deleted.clone()));
    let written = rewrite(lake.shared(), slice::from_ref(&file), plain(&schema), None, to, Arc::default());
    assert_eq!(written.await.unwrap().unwrap().0.rows(), 299_996);
    let merged = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(at(to)).unwrap()).unwrap();
    let row_groups: Vec<i64> = merged.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(row_groups, [262_142, 37_854]);
    let merged: Vec<RecordBatch> = merged.build().unwrap().map(|batch| batch.unwrap()).collect();
    let merged = concat_batches(&merged[0].schema(), &merged).unwrap();
    let offsets = merged.column_by_name(OFFSET).unwrap().as_primitive::<Int64Type>();
    let left = (0..300_000).filter(|offset| !deleted.contains(offset));
    assert!(offsets.values().iter().map(|offset| offset.cast_unsigned()).eq(left));
    file.rows -= 1;
    let refused = rewrite(lake.shared(), slice::from_ref(&file), plain(&schema), None, to, Arc::default()).await;
    assert_eq!(refused.err().map(|error| error.kind()), Some(lacus_core::Kind::Corrupt));
}

/// Deleted rows at both ends of row groups and in their midst, columns that a file lacks at any depth, and an empty end.
#[tokio::test]
async fn what_is_merged_by_columns_is_what_files_have_by_rows() {
    let place = Place::new();
    let (lake, older, newer) = (place.open().await, nested(), nested_more());
    let main = table(&lake, &older).await;
    fill(&lake, &main, &older, 0..4).await;
    fill(&lake, &main, &newer, 4..6).await;
    let store = Arc::clone(&lake.inner().files.store);
    let mut files = main.state().files.to_vec();
    files[0].deleted = DeletedRows::of(vec![0, 2, 4]);
    files[1].deleted = DeletedRows::of(vec![0, 1, 2, 3, 4]);
    files[4].deleted = DeletedRows::of(vec![3, 4]);
    let wanted = newer.arrow();
    let mut by_rows = Vec::new();
    for file in &files {
        let mut input = rewrite::Input::open(&store, file, &wanted).await.unwrap();
        while let Some(batch) = input.next().await.unwrap() {
            by_rows.push(batch);
        }
    }
    let (path, form) = ("main/t/data/by-columns.parquet", plain(&newer));
    let written = rewrite(lake.shared(), &files, form, None, path, Arc::default()).await.unwrap();
    assert_eq!(written.unwrap().0.rows(), 20);
    let merged = std::fs::File::open(lake.inner().directory.join(path)).unwrap();
    let merged = ParquetRecordBatchReaderBuilder::try_new(merged).unwrap().build().unwrap();
    let merged: Vec<RecordBatch> = merged.map(|batch| batch.unwrap()).collect();
    let (by_columns, by_rows) = (concat_batches(&merged[0].schema(), &merged), concat_batches(&wanted, &by_rows));
    assert_eq!(by_columns.unwrap().columns(), by_rows.unwrap().columns());
}

/// A number and a text.
fn texts() -> TableSchema {
    TableSchema::of_columns([column(0, "n", ColumnType::Long), column(0, "text", ColumnType::Text)])
}

/// A file of these numbers, each with its digits 50,000 times.
pub(super) fn large_rows(lake: &Lake, numbers: impl Iterator<Item = i64> + Clone) -> LiveFile {
    let digits = StringArray::from_iter_values(numbers.clone().map(|n| n.to_string().repeat(50_000)));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
    let batch = RecordBatch::try_new(texts().arrow(), vec![numbers, Arc::new(digits)]).unwrap();
    let mut bytes = Vec::new();
    // A page ends where it is large enough between two such batches.
    let properties = WriterProperties::builder().set_write_batch_size(8).build();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let mut file = files(&[bytes.len() as u64]).remove(0);
    (file.path, file.rows) = (format!("{}.parquet", bytes.len()), batch.num_rows() as u64);
    std::fs::write(lake.inner().directory.join(&file.path), &bytes).unwrap();
    file
}

/// A thousand rows at once, as of small rows, could be gigabytes.
#[tokio::test]
async fn large_rows_are_read_and_merged_few_at_a_time() {
    let place = Place::new();
    let lake = place.open().await;
    let store = Arc::clone(&lake.inner().files.store);
    let (schema, mut inputs) = (texts().arrow(), Vec::new());
    for file in [large_rows(&lake, (0..100).step_by(2)), large_rows(&lake, (1..99).step_by(2))] {
        let mut input = rewrite::Input::open(&store, &file, &schema).await.unwrap();
        let first = input.next().await.unwrap().unwrap();
        assert!(first.num_rows() < 30, "{} rows of 100 KB", first.num_rows());
        inputs.push(rewrite::Input::open(&store, &file, &schema).await.unwrap());
    }
    let (direction, null_order) = (SortDirection::Ascending, NullOrder::First);
    let by_number = SortField { source_id: 1, transform: Transform::Identity, direction, null_order };
    let order = SortOrder::builder().with_fields(vec![by_number]).build_unbound().unwrap();
    let mut merging = Merging::begin(inputs, Arc::new(order)).await.unwrap();
    let mut found: Vec<i64> = Vec::new();
    while let Some(batch) = merging.next(1_024, 1 << 20).await.unwrap() {
        assert!(batch.num_rows() < 30, "{} rows of 100 KB", batch.num_rows());
        found.extend(batch.column(0).as_primitive::<Int64Type>().values().iter());
    }
    assert!(found.into_iter().eq(0..99), "all of them, in order");
}

#[tokio::test]
async fn a_file_of_large_row_groups_comes_in_its_place() {
    let place = Place::new();
    let lake = place.open().await;
    let mut files = [large_rows(&lake, 0..10), large_rows(&lake, 10..260), large_rows(&lake, 260..270)];
    files[1].deleted = DeletedRows::of(vec![0, 249]);
    let store = Arc::clone(&lake.inner().files.store);
    let mut are_large = Vec::new();
    for file in &files {
        let units = units::units_of(&store, file, &texts().arrow()).await.unwrap();
        are_large.push(units.iter().any(units::Unit::is_large));
    }
    assert_eq!(are_large, [false, true, false]);
    let written = rewrite(lake.shared(), &files, plain(&texts()), None, "merged.parquet", Arc::default());
    assert_eq!(written.await.unwrap().unwrap().0.rows(), 268);
    let merged = std::fs::File::open(lake.inner().directory.join("merged.parquet")).unwrap();
    let mut found: Vec<i64> = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(merged).unwrap().build().unwrap() {
        found.extend(batch.unwrap().column(0).as_primitive::<Int64Type>().values().iter());
    }
    assert!(found.into_iter().eq((0..10).chain(11..259).chain(260..270)));
}

/// Of each file, whether the first column has bloom filters.
fn have_filters(lake: &Lake, table: &Table) -> Vec<bool> {
    let has_filters = |file: &LiveFile| {
        let opened = std::fs::File::open(lake.inner().directory.join(&file.path)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(opened).unwrap();
        reader.metadata().row_groups().iter().all(|group| group.column(0).bloom_filter_offset().is_some())
    };
    table.state().files.iter().map(has_filters).collect()
}

#[tokio::test]
async fn files_have_the_bloom_filters_that_properties_ask_for_from_then_on() {
    let place = Place::new();
    let lake = place.open().await;
    let main = table(&lake, &numbers()).await;
    fill(&lake, &main, &numbers(), 0..2).await;
    let enabled = ("write.parquet.bloom-filter-enabled.column.n".to_owned(), "true".to_owned());
    lake.set_properties(main.name(), HashMap::from([enabled])).await.unwrap();
    fill(&lake, &main, &numbers(), 2..3).await;
    assert_eq!(have_filters(&lake, &main), [false, false, true]);
    compact_all(&lake, &main).await.unwrap().unwrap();
    assert_eq!(have_filters(&lake, &main), [true]);
    // Under another name it has them, too.
    lake.alter(&main, vec![SchemaChange::Rename { path: vec!["n".to_owned()], to: "m".to_owned() }]).await.unwrap();
    let schema = TableSchema::clone(&main.state().schema);
    fill(&lake, &main, &schema, 3..6).await;
    assert_eq!(have_filters(&lake, &main), [true; 4]);
    compact_all(&lake, &main).await.unwrap().unwrap();
    assert_eq!(have_filters(&lake, &main), [true]);
    assert_eq!((main.state().files[0].rows, lake.check().await.unwrap()), (30, Vec::new()));
}

#[tokio::test]
async fn merged_files_have_the_place_of_those_they_are_made_of() {
    let place = Place::new();
    let lake = place.open().await;
    let schema = numbers();
    let main = table(&lake, &schema).await;
    // More than small manifests are kept for: the files are in several.
    fill(&lake, &main, &schema, 0..30).await;
    let before = main.state();
    let path = Names::after(main.name(), &before.metadata_location).data(0);
    let middle = |path| [Merge { files: before.files[5..25].to_vec(), path }];
    let inner = Arc::clone(lake.shared());
    assert!(merge(&inner, &main, &middle(path.clone()), Arc::default()).await.is_ok());
    let state = main.state();
    let paths: Vec<&str> = state.files.iter().map(|file| file.path.as_str()).collect();
    let expected: Vec<&str> =
        before.files[..5].iter().chain(&before.files[25..]).map(|file| file.path.as_str()).collect();
    assert_eq!([&paths[..5], &paths[6..]].concat(), expected);
    assert_eq!(paths[5], path);
    assert_eq!(rows_of(&lake, &main).len(), 150);
    assert_eq!(lake.check().await.unwrap(), []);
    // The same files again: they are gone.
    let path = Names::after(main.name(), &state.metadata_location).data(0);
    let Err(failed) = merge(&inner, &main, &middle(path), Arc::default()).await else { panic!("merged twice") };
    assert_eq!(failed.error.kind(), lacus_core::Kind::Conflict);
    drop((lake, main, inner));
    let lake = place.open().await;
    assert_eq!(lake.table(&stream().table()).unwrap().state().files, state.files);
    assert_eq!(lake.check().await.unwrap(), []);
}

#[tokio::test]
async fn a_write_that_fails_changes_nothing() {
    let schema = numbers();
    for failure in [Failure::Refused, Failure::AnswerLost] {
        for write in 0.. {
            let place = Place::new();
            let (lake, store) = place.open_fragile().await;
            let main = table(&lake, &schema).await;
            fill(&lake, &main, &schema, 0..3).await;
            let before = (rows_of(&lake, &main), main.state());
            store.fail(write, failure);
            let compacted = compact_all(&lake, &main).await;
            if compacted.is_ok() {
                assert!(write >= 4, "only {write} writes");
                break;
            }
            store.pass();
            assert_eq!(main.state().files, before.1.files);
            assert_eq!(lake.check().await.unwrap(), [], "after write {write}");
            assert_eq!(compact_all(&lake, &main).await.unwrap().unwrap().files, 3);
            assert_eq!(rows_of(&lake, &main), before.0);
        }
    }
}

/// What a process that dies at any write leaves behind is opened again.
#[tokio::test]
async fn a_process_may_die_before_any_write() {
    let (place, copies) = (Place::new(), tempfile::tempdir().unwrap());
    let schema = numbers();
    let (lake, store) = place.open_fragile().await;
    let main = table(&lake, &schema).await;
    fill(&lake, &main, &schema, 0..3).await;
    let before = rows_of(&lake, &main);
    store.copy_to(copies.path());
    compact_all(&lake, &main).await.unwrap().unwrap();
    let writes = store.writes();
    copy_directory(place.directory.path(), &copies.path().join(writes.to_string()));
    for write in 0..=writes {
        let lake = open(&copies.path().join(write.to_string())).await;
        let main = lake.table(&stream().table()).unwrap();
        assert_eq!(rows_of(&lake, &main), before, "before write {write}");
        let findings = lake.check().await.unwrap();
        assert!(findings.iter().all(|finding| !finding.is_damage), "before write {write}: {findings:?}");
    }
}

#[tokio::test]
async fn it_ends_when_it_is_to_stop() {
    let place = Place::new();
    let lake = place.open().await;
    let main = table(&lake, &numbers()).await;
    fill(&lake, &main, &numbers(), 0..3).await;
    assert_eq!(lake.compact(&main, ALL, Arc::new(AtomicBool::new(true))).await.unwrap(), None);
    assert_eq!(main.state().files.len(), 3);
    assert_eq!(lake.check().await.unwrap(), []);
    assert_eq!(lake.inner().catalog.leftovers().await.unwrap(), Vec::<String>::new());
}

/// Files that were merged stay as long as a snapshot has them, and no longer.
#[tokio::test]
async fn merged_files_go_with_the_last_snapshot_that_has_them() {
    let place = Place::new();
    let schema = numbers();
    let lake = place.open().await;
    let main = table(&lake, &schema).await;
    let files_min = FileSizes { files_min: 8, ..ALL };
    let commits = 3 * SNAPSHOTS_MAX as u64;
    for number in 0..commits {
        fill(&lake, &main, &schema, number..number + 1).await;
        while lake.compact(&main, files_min, Arc::default()).await.unwrap().is_some() {}
    }
    assert!(main.state().files.len() < 30, "{} files", main.state().files.len());
    assert_eq!(lake.check().await.unwrap(), []);
    let expected = rows_of(&lake, &main);
    assert_eq!(expected.len() as u64, 5 * commits);
    drop((lake, main));
    let lake = Lake::open(place.directory.path(), Arc::new(Later)).await.unwrap();
    let main = lake.table(&stream().table()).unwrap();
    assert_eq!(rows_of(&lake, &main), expected);
    assert_eq!(lake.check().await.unwrap(), []);
    let data = std::fs::read_dir(place.directory.path().join("lake/main/t/data")).unwrap().count();
    assert!(data < 2 * SNAPSHOTS_MAX, "{data} data files are left of {commits} and more");
}

/// Nothing is committed any more: what was replaced last goes all the same, when its time has come.
#[tokio::test]
async fn an_idle_lake_lets_go_of_what_nothing_references() {
    let (place, clock) = (Place::new(), Arc::new(Ahead::default()));
    let lake = Lake::open(place.directory.path(), Arc::<Ahead>::clone(&clock)).await.unwrap();
    let main = table(&lake, &numbers()).await;
    fill(&lake, &main, &numbers(), 0..4).await;
    compact_all(&lake, &main).await.unwrap().unwrap();
    lake.forget_history(&main).await.unwrap();
    let data = || std::fs::read_dir(place.directory.path().join("lake/main/t/data")).unwrap().count();
    assert_eq!((lake.sweep().await.unwrap(), data()), (0, 5), "readers may still hold what was merged");
    clock.0.store(RETIRED_GRACE_MS + 1, Ordering::Relaxed);
    assert!(lake.sweep().await.unwrap() >= 4);
    assert_eq!(data(), 1);
    assert_eq!(lake.inner().catalog.leftovers().await.unwrap(), Vec::<String>::new());
    assert_eq!(lake.check().await.unwrap(), []);
}

/// So many milliseconds ahead of the time.
#[derive(Default)]
struct Ahead(std::sync::atomic::AtomicU64);

impl lacus_core::Clock for Ahead {
    fn now(&self) -> lacus_core::Timestamp {
        lacus_core::SystemClock.now().plus_ms(self.0.load(Ordering::Relaxed))
    }
}

struct Later;

impl lacus_core::Clock for Later {
    fn now(&self) -> lacus_core::Timestamp {
        lacus_core::SystemClock.now().plus_ms(RETIRED_GRACE_MS + 60_000)
    }
}

#[tokio::test]
async fn files_are_merged_only_if_commits_still_have_room() {
    let place = Place::new();
    let lake = place.open().await;
    let table = lake.create_table(&stream().table(), numbers()).await.unwrap();
    for next in 1..=4 {
        append(&table, &numbers(), next - 1..next);
        commit(&lake, &[(&table, &numbers())], next).await.unwrap();
    }
    lake.keep_free(lacus_core::units::ByteSize(u64::MAX));
    let error = lake.compact(&table, ALL, Arc::default()).await.unwrap_err();
    assert!(error.kind() == lacus_core::Kind::Unavailable && error.chain().contains("free"), "{}", error.chain());
    assert_eq!(table.state().files.len(), 4);
    lake.keep_free(lacus_core::units::ByteSize(1));
    assert_eq!(lake.compact(&table, ALL, Arc::default()).await.unwrap().map(|report| report.files), Some(4));
}
