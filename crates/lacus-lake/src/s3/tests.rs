//! A lake in a bucket of a real S3 server: what it holds, what is refused, and what becomes of it while the server is away.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lacus_core::{Offset, Partition, Position, Record, StreamName, SystemClock};
use lacus_testkit::{Buckets, LossyProxy};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

use super::*;
use crate::fixture::{add_rows, append, numbers, offsets};
use crate::{Commit, FileSizes, Lake, RawWriter, Table, TableAppend};

fn settings(address: std::net::SocketAddr) -> settings::Lake {
    settings::Lake {
        location: Some(format!("s3://{}/lakes/one", Buckets::BUCKET).try_into().unwrap()),
        s3: settings::S3 {
            endpoint: Some(format!("http://{address}")),
            access_key_id: Some("tester".to_owned()),
            secret_access_key: "correct-horse".to_owned().into(),
            ..settings::S3::default()
        },
        ..settings::Lake::default()
    }
}

async fn open(directory: &TempDir, settings: &settings::Lake) -> Result<Lake> {
    Lake::open_as(directory.path(), settings, Arc::new(SystemClock)).await
}

async fn table_of(lake: &Lake) -> Arc<Table> {
    lake.create_table(&StreamName::new("t").unwrap().table(), numbers()).await.unwrap()
}

/// Commits the tail, and as many raw events.
async fn commit(lake: &Lake, table: &Arc<Table>, next: u64) -> Result<()> {
    let mut raw = RawWriter::default();
    for offset in table.state().delivered.next(Partition(0)).0..next {
        let position = Position { partition: Partition(0), offset: Offset(offset) };
        let record =
            Record { position, received_at: lacus_core::Timestamp(0), key: None, id: None, value: "{}".into() };
        raw.add(&record)?;
    }
    let append = TableAppend { table: Arc::clone(table), schema: numbers(), batches: table.state().tail.len() };
    let (stream, delivered) = (StreamName::new("t").unwrap(), offsets(&[next]));
    let commit = Commit { stream, delivered, tables: vec![append], raw: raw.finish()? };
    lake.commit(commit).await.map(drop)
}

/// The rows are `0..rows`, each once, and everything in the bucket is as it should be.
async fn must_have(lake: &Lake, table: &Arc<Table>, rows: u64) {
    let mut found = BTreeMap::new();
    for file in table.state().files.iter() {
        let bytes = lake.store().get(&Path::from(file.path.as_str())).await.unwrap().bytes().await.unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap() {
            add_rows(&batch.unwrap(), &mut found);
        }
    }
    let offsets: BTreeSet<i64> = found.into_keys().map(|(_, offset)| offset).collect();
    assert_eq!(offsets, (0..rows.cast_signed()).collect());
    assert_eq!(lake.check().await.unwrap(), []);
    assert_eq!(lake.stats().raw_records, rows);
}

#[tokio::test]
async fn a_lake_in_a_bucket_is_as_one_on_disk() {
    let (directory, buckets) = (tempfile::tempdir().unwrap(), Buckets::start());
    let settings = settings(buckets.address());
    let lake = open(&directory, &settings).await.unwrap();
    let table = table_of(&lake).await;
    for next in 1..=8 {
        append(&table, &numbers(), next - 1..next);
        commit(&lake, &table, next).await.unwrap();
    }
    let sizes = FileSizes { target_bytes: 1 << 20, files_min: 8 };
    let merged = lake.compact(&table, sizes, Arc::default()).await.unwrap().unwrap();
    assert_eq!((merged.files, table.state().files.len()), (8, 1));
    must_have(&lake, &table, 8).await;
    assert!(table.state().metadata_location.starts_with("s3://events/lakes/one/main/t/metadata/"));
    assert!(!directory.path().join("lake").try_exists().unwrap(), "nothing of it is on the disk");
    drop(lake);

    let mut elsewhere = settings.clone();
    elsewhere.location = Some("s3://events/lakes/two".to_owned().try_into().unwrap());
    let error = open(&directory, &elsewhere).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid, "{}", error.chain());
    let error = open(&directory, &settings::Lake::default()).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid, "{}", error.chain());

    let lake = open(&directory, &settings).await.unwrap();
    must_have(&lake, &table_of(&lake).await, 8).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_bucket_is_said_at_the_start() {
    let (directory, buckets, refusing) = (tempfile::tempdir().unwrap(), Buckets::start(), Buckets::start_refusing());
    let good = settings(buckets.address());
    let no_bucket = settings::Lake { location: Some("s3://nowhere".to_owned().try_into().unwrap()), ..good.clone() };
    let no_key = settings::Lake { s3: settings::S3 { access_key_id: None, ..good.s3.clone() }, ..good.clone() };
    let nobody = settings(LossyProxy::start(0, 1).address);
    let cases = [
        (no_bucket, Kind::NotFound),
        (no_key, Kind::Invalid),
        (nobody, Kind::Unavailable),
        (settings(refusing.address()), Kind::Denied),
    ];
    for (settings, kind) in cases {
        let error = open(&directory, &settings).await.err().unwrap();
        assert_eq!(error.kind(), kind, "{}", error.chain());
        assert!(error.hint().is_some());
        let told = format!("{} {error:?} {settings:?}", error.chain());
        assert!(!told.contains("horse"), "{told}");
    }
    open(&directory, &good).await.unwrap();
}

#[tokio::test]
async fn a_store_that_was_away_has_each_commit_once() {
    let (directory, buckets) = (tempfile::tempdir().unwrap(), Buckets::start());
    let proxy = LossyProxy::start(10, lacus_testkit::environment::seed());
    proxy.lead_to(Some(buckets.address()));
    let settings = settings(proxy.address);
    let lake = loop {
        // Opening is tried again, too: answers get lost.
        if let Ok(lake) = open(&directory, &settings).await {
            break lake;
        }
    };
    let table = table_of(&lake).await;
    for next in 1..=6 {
        append(&table, &numbers(), next - 1..next);
        if next == 3 {
            proxy.lead_to(None);
            let error = commit(&lake, &table, next).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Unavailable, "{}", error.chain());
            proxy.lead_to(Some(buckets.address()));
        }
        while let Err(error) = commit(&lake, &table, next).await {
            assert_eq!(error.kind(), Kind::Unavailable, "{}", error.chain());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(proxy.lost() > 0, "no answer was lost");
    drop(lake);
    let settings = self::settings(buckets.address());
    let lake = open(&directory, &settings).await.unwrap();
    must_have(&lake, &table_of(&lake).await, 6).await;
}

#[tokio::test]
async fn a_name_is_written_once_whatever_its_size() {
    let buckets = Buckets::start();
    let settings = settings(buckets.address());
    let bucket = Bucket::open(settings.location.as_ref().unwrap(), &settings.s3).await.unwrap();
    let path = Path::from("main/t/data/one");
    bucket.put(&path, "first".into()).await.unwrap();
    bucket.put(&path, "first".into()).await.expect("it may be our own, whose answer was lost");
    let error = bucket.put(&path, "other".into()).await.unwrap_err();
    assert!(matches!(error, object_store::Error::AlreadyExists { .. }), "{error}");
    assert_eq!(bucket.get(&path).await.unwrap().bytes().await.unwrap(), "first");

    let large = Bytes::from((0..3 * PART_BYTES + 17).map(|at| (at / 251 + at) as u8).collect::<Vec<_>>());
    let path = Path::from("main/t/data/large");
    bucket.put(&path, large.clone().into()).await.unwrap();
    assert!(bucket.get(&path).await.unwrap().bytes().await.unwrap() == large);
    bucket.delete(&path).await.unwrap();
    let left: Vec<_> = futures::TryStreamExt::try_collect::<Vec<_>>(bucket.list(None)).await.unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
}
