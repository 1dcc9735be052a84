//! Deliveries between a real log and a real lake, in a temporary directory.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use lacus_core::units::{ByteSize, Millis};
use lacus_core::{NewRecord, SystemClock};
use lacus_stream::NewStream;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

use super::*;

mod alone;
mod contracts;
mod duplicates;
mod engines;
mod messages;
mod panics;
mod replay;
mod shapes;
mod streams;
mod upkeep;

struct Project {
    directory: TempDir,
    settings: settings::Delivery,
    stream: settings::Stream,
    sources: BTreeMap<String, settings::Source>,
}

struct Running {
    log: Log,
    lake: Arc<Lake>,
    deliveries: Deliveries,
}

impl Project {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            settings: settings::Delivery::default(),
            stream: settings::Stream::default(),
            sources: BTreeMap::new(),
        }
    }

    async fn start(&self) -> Result<Running> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let log = Log::open(&self.directory.path().join("stream"), &self.stream, Arc::clone(&clock))?;
        let lake = Arc::new(Lake::open(self.directory.path(), Arc::clone(&clock)).await?);
        let ids = Arc::new(MessageIds::open(&self.directory.path().join("ids"))?);
        let (delivery, sources) = (self.settings.clone(), self.sources.clone());
        let settings = Settings { delivery, sources, ..Settings::default() };
        let deliveries = Deliveries::start(log.clone(), Arc::clone(&lake), ids, &settings, clock).await?;
        Ok(Running { log, lake, deliveries })
    }
}

impl Running {
    async fn send(&self, events: &[String]) {
        let clicks = StreamName::new("clicks").unwrap();
        self.log.create_stream(&clicks, &NewStream::of_shards(3)).unwrap();
        let records = events
            .iter()
            .enumerate()
            .map(|(index, event)| NewRecord::of(event.clone()).with_key(format!("{}", index % 7)));
        self.log.append(&clicks, records.collect()).await.unwrap();
    }

    async fn flush(&self) -> CommitReport {
        self.deliveries.flush(&TableName::new("clicks").unwrap()).await.unwrap()
    }

    fn table(&self, name: &str) -> Arc<lacus_lake::Table> {
        self.lake.table(&TableName::new(name).unwrap()).unwrap()
    }

    /// All rows of one state, files and tail: each batch in the state's schema.
    fn batches(&self, name: &str, project: &Project) -> Vec<RecordBatch> {
        let state = self.table(name).state();
        let mut batches = Vec::new();
        for file in state.files.iter() {
            batches.extend(read_parquet(&project.directory.path().join("lake").join(&file.path)));
        }
        batches.extend(state.tail.iter().map(|batch| batch.rows.clone()));
        batches.iter().map(|batch| lacus_lake::conform::conform(batch, &state.arrow_schema).unwrap()).collect()
    }

    /// Where all rows of a table came from; fails if any is there twice.
    fn positions(&self, name: &str, project: &Project) -> BTreeSet<(i32, i64)> {
        let mut positions = BTreeSet::new();
        for batch in self.batches(name, project) {
            let partition = batch.column_by_name("_partition").unwrap().as_primitive::<Int32Type>();
            let offset = batch.column_by_name("_offset").unwrap().as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let position = (partition.value(row), offset.value(row));
                assert!(positions.insert(position), "{position:?} is in {name} twice");
            }
        }
        positions
    }

    async fn stop(self) {
        self.deliveries.stop().await;
        self.log.close().await.unwrap();
    }
}

fn read_parquet(path: &Path) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
    reader.collect::<Result<_, _>>().unwrap()
}

/// How many events there are in the files under a directory of the raw zone.
fn raw_lines(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let lines = |path: &Path| {
        let text = zstd::decode_all(File::open(path).unwrap()).unwrap();
        text.iter().filter(|byte| **byte == b'\n').count()
    };
    entries.map(|path| if path.is_dir() { raw_lines(&path) } else { lines(&path) }).sum()
}

fn events(ids: std::ops::Range<u32>) -> Vec<String> {
    ids.map(|id| format!(r#"{{"id":{id},"additional_data":{{"price":{id}}}}}"#)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_a_row_once_before_and_after_commits_and_restarts() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.send(&events(0..100)).await;
    running.deliveries.caught_up().await.unwrap();
    assert_eq!(running.positions("clicks", &project).len(), 100);
    assert_eq!(running.flush().await.rows, 100);
    assert_eq!(running.flush().await, CommitReport::default(), "there was nothing left to commit");
    running.send(&events(100..150)).await;
    running.deliveries.caught_up().await.unwrap();
    assert_eq!(running.positions("clicks", &project).len(), 150);
    running.stop().await;

    let running = project.start().await.unwrap();
    running.deliveries.caught_up().await.unwrap();
    assert_eq!(running.positions("clicks", &project).len(), 150);
    let status = running.deliveries.status();
    assert_eq!((status[0].acknowledged, status[0].visible, status[0].committed), (150, 150, 100));
    assert_eq!(running.flush().await.rows, 50);
    assert!(running.table("clicks").state().tail.is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_flushed_is_one_file_though_it_takes_many_turns() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    let long = "x".repeat(100_000);
    for part in 0..2 {
        let events: Vec<_> =
            (0..30).map(|number| format!(r#"{{"id":{},"text":"{long}"}}"#, part * 30 + number)).collect();
        running.send(&events).await;
    }
    assert_eq!(running.flush().await.rows, 60);
    assert_eq!(running.table("clicks").state().files.len(), 1);
    assert_eq!(running.positions("clicks", &project).len(), 60);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_never_sees_a_row_twice_or_lose_one_while_commits_run() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    let mut sent = 0;
    for round in 0..12 {
        running.send(&events(sent..sent + 200)).await;
        sent += 200;
        running.deliveries.caught_up().await.unwrap();
        let committing = tokio::spawn({
            let deliveries = running.deliveries.clone();
            async move { deliveries.flush(&TableName::new("clicks").unwrap()).await.unwrap() }
        });
        while !committing.is_finished() {
            assert_eq!(running.positions("clicks", &project).len(), sent as usize, "round {round}");
            tokio::task::yield_now().await;
        }
        committing.await.unwrap();
        assert_eq!(running.positions("clicks", &project).len(), sent as usize);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_numbers_become_fractions_in_rows_that_were_visible_already() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.send(&events(1..4)).await;
    running.deliveries.caught_up().await.unwrap();
    running.send(&[r#"{"id":4,"additional_data":{"price":9.5}}"#.to_owned()]).await;
    running.deliveries.caught_up().await.unwrap();
    let sum: f64 = running
        .batches("clicks", &project)
        .iter()
        .flat_map(|batch| {
            let data = batch.column_by_name("additional_data").unwrap().as_struct();
            data.column_by_name("price").unwrap().as_primitive::<Float64Type>().values().to_vec()
        })
        .sum();
    assert!((sum - 15.5).abs() < f64::EPSILON, "{sum}");
    assert_eq!(running.positions("clicks", &project).len(), 4);
    assert_eq!(running.flush().await.rows, 4);

    running.send(&[r#"{"id":5.5}"#.to_owned()]).await;
    running.deliveries.caught_up().await.unwrap();
    let batches = running.batches("clicks", &project);
    let rescued = batches.last().unwrap().column_by_name("_rescued").unwrap().as_string::<i32>();
    assert_eq!(rescued.value(rescued.len() - 1), r#"{"id":5.5}"#);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_fails_changes_nothing() {
    let mut project = Project::new();
    project.stream.segment_bytes_max = ByteSize(100); // a file of the log for each append
    let running = project.start().await.unwrap();
    running.send(&[r#"{"id":9007199254740993}"#.to_owned()]).await;
    for id in 0..20 {
        running.send(&events(id..id + 1)).await;
    }
    running.deliveries.caught_up().await.unwrap();

    // To widen the column all events are decoded again, and the first file can't be read.
    let segments = project.directory.path().join("stream/segments");
    let names = std::fs::read_dir(&segments).unwrap().map(|entry| entry.unwrap().path());
    let first = names.filter(|path| path.extension().is_some_and(|extension| extension == "log")).min().unwrap();
    let away = project.directory.path().join("away");
    std::fs::rename(&first, &away).unwrap();
    running.send(&["no object".to_owned(), r#"{"id":1.5}"#.to_owned()]).await;
    wait_until(|| running.deliveries.status()[0].error.is_some()).await;
    assert_eq!(running.positions("clicks", &project).len(), 21);
    std::fs::rename(&away, &first).unwrap();

    wait_until(|| running.positions("clicks", &project).len() == 22).await;
    assert_eq!(running.positions("clicks__quarantine", &project).len(), 1);
    let rescued: Vec<String> = running
        .batches("clicks", &project)
        .iter()
        .flat_map(|batch| {
            let rescued = batch.column_by_name("_rescued").unwrap().as_string::<i32>();
            rescued.iter().flatten().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(rescued, [r#"{"id":9007199254740993}"#]);
    running.flush().await;
    assert_eq!(raw_lines(&project.directory.path().join("lake/raw")), 22, "each event is in the raw zone once");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_object_goes_to_quarantine_with_its_bytes() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.send(&[r#"{"id":1}"#.to_owned(), r#"{"id":"#.to_owned(), "not json".to_owned()]).await;
    running.deliveries.caught_up().await.unwrap();
    assert_eq!(running.positions("clicks", &project).len(), 1);
    assert_eq!(running.positions("clicks__quarantine", &project).len(), 2);
    assert_eq!(running.flush().await.rows, 3);
    running.stop().await;

    let running = project.start().await.unwrap();
    running.deliveries.caught_up().await.unwrap();
    assert_eq!(running.positions("clicks__quarantine", &project).len(), 2, "delivered again after a restart");
    let batches = running.batches("clicks__quarantine", &project);
    let bytes: BTreeSet<_> = batches
        .iter()
        .flat_map(|batch| {
            let bytes = batch.column_by_name("bytes").unwrap().as_binary::<i32>();
            bytes.iter().flatten().map(<[u8]>::to_vec).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(bytes, BTreeSet::from([b"{\"id\":".to_vec(), b"not json".to_vec()]));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_comes_by_itself_when_enough_bytes_wait() {
    let mut project = Project::new();
    project.settings.commit_bytes = ByteSize(1_000);
    let running = project.start().await.unwrap();
    running.send(&events(0..100)).await;
    let clicks = TableName::new("clicks").unwrap();
    wait_until(|| running.lake.table(&clicks).is_some_and(|table| table.state().files.len() == 1)).await;
    running.stop().await;

    project.settings.commit_bytes = ByteSize::mb(100);
    project.settings.commit_after = Millis(50);
    let running = project.start().await.unwrap();
    running.send(&events(100..101)).await;
    let committed = || running.table("clicks").state().files.iter().map(|file| file.rows).sum::<u64>();
    wait_until(|| committed() == 101).await;
    assert_eq!(running.positions("clicks", &project).len(), 101);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_lost_is_refused_at_start() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.send(&events(0..10)).await;
    running.flush().await;
    running.stop().await;

    let stream = project.directory.path().join("stream");
    std::fs::remove_dir_all(&stream).unwrap();
    let error = project.start().await.err().expect("a lost log is refused");
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    assert!(error.message().starts_with("table \"clicks\" holds records of partition"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tables_of_streams_can_be_flushed() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    let error = running.deliveries.flush(&TableName::new("nothing").unwrap()).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::NotFound, "no stream feeds a table \"nothing\""));
    running.stop().await;
}

async fn wait_until(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it did not happen within 20 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A bug that is there until a file is: `{"panic_until":"<path>"}`.
pub(crate) fn panic_if_asked_to(record: &lacus_core::Record) {
    assert!(!is_asked(record, "panic_until"), "asked to panic");
}

/// An error of the raw zone that is there until a file is: `{"fail_until":"<path>"}`.
pub(crate) fn fail_if_asked_to(record: &lacus_core::Record) -> Result<()> {
    if is_asked(record, "fail_until") { Err(Error::internal("asked to fail")) } else { Ok(()) }
}

fn is_asked(record: &lacus_core::Record, what: &str) -> bool {
    let text = String::from_utf8_lossy(&record.value);
    let begin = format!(r#"{{"{what}":""#);
    let path = text.strip_prefix(begin.as_str()).and_then(|rest| rest.strip_suffix("\"}"));
    path.is_some_and(|path| !Path::new(path).is_file())
}
