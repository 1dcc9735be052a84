//! The log against a model: a list of records for each partition, and one for each key, whatever is appended, however
//! shards change and however it crashes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::*;
use crate::segment::Segment;

const PARTITIONS: u32 = 3;
/// Small, so that files roll after a few appends.
const SEGMENT_BYTES_MAX: u64 = 700;

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<NewRecord>),
    Reopen,
    /// One of the open shards, counted round, and where in its range (of 255).
    Split(usize, u8),
    /// One of the open shards and the next.
    Merge(usize),
    Spread(u32),
    DeleteAndMakeAgain(u32),
    /// The machine stops while these are written: of their bytes this part (of 255) reached the disk, and the byte at
    /// that other part of them may have come out wrong.
    Crash {
        records: Vec<NewRecord>,
        reached: u8,
        wrong: Option<u8>,
    },
}

fn records() -> impl Strategy<Value = Vec<NewRecord>> {
    let key = proptest::option::of("[a-f]{0,2}");
    let value = proptest::collection::vec(any::<u8>(), 0..120);
    let record = (key, value).prop_map(|(key, value)| record(key.as_deref(), value));
    proptest::collection::vec(record, 1..6)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => records().prop_map(Step::Append),
        1 => Just(Step::Reopen),
        1 => (any::<usize>(), any::<u8>()).prop_map(|(shard, at)| Step::Split(shard, at)),
        1 => any::<usize>().prop_map(Step::Merge),
        1 => (1..5_u32).prop_map(Step::Spread),
        1 => (1..3_u32).prop_map(Step::DeleteAndMakeAgain),
        2 => (records(), any::<u8>(), any::<Option<u8>>())
            .prop_map(|(records, reached, wrong)| Step::Crash { records, reached, wrong }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn acknowledged_records_are_there_in_order(steps in proptest::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(steps))?;
    }
}

async fn run(steps: Vec<Step>) -> TestCaseResult {
    let mut directory = TempDir::new().unwrap();
    let mut log = try_open(directory.path(), SEGMENT_BYTES_MAX).unwrap();
    log.create_stream(&clicks(), &NewStream::of_shards(PARTITIONS)).unwrap();
    let mut model = vec![Vec::new(); PARTITIONS as usize];
    let mut sent = ByKey::new();
    for step in steps {
        match step {
            Step::Append(records) => {
                for (position, record) in log.append(&clicks(), records.clone()).await.unwrap().into_iter().zip(records)
                {
                    let partition = &mut model[position.partition.0 as usize];
                    prop_assert_eq!(position.offset.0, partition.len() as u64);
                    partition.push(record.clone());
                    sent.entry(record.key.clone()).or_default().push(record);
                }
            }
            Step::Reopen => {
                drop(log);
                log = try_open(directory.path(), SEGMENT_BYTES_MAX).unwrap();
            }
            Step::Crash { records, reached, wrong } => {
                drop(log);
                directory = crash(directory.path(), records, reached, wrong).await;
                log = try_open(directory.path(), SEGMENT_BYTES_MAX).unwrap();
                let found = contents(&log);
                for (kept, found) in model.iter().zip(&found) {
                    prop_assert_eq!(found.get(..kept.len()), Some(&kept[..]));
                }
                let by_key = by_key(&found);
                for (key, sent) in sent.iter().filter(|(key, _)| key.is_some()) {
                    prop_assert_eq!(by_key.get(key).and_then(|found| found.get(..sent.len())), Some(&sent[..]));
                }
                // What was being written may be there, in part.
                (model, sent) = (found, by_key);
            }
            change => {
                reshard(&log, &change);
                // The ones before are closed: from here on the model would see them grow.
                model.resize(log.stream(&clicks()).unwrap().shards.len(), Vec::new());
            }
        }
        let found = contents(&log);
        prop_assert_eq!(&found, &model);
        let (mut by_key, mut sent) = (by_key(&found), sent.clone());
        // Records without a key go anywhere.
        prop_assert_eq!(by_key.remove(&None).map(|found| found.len()), sent.remove(&None).map(|sent| sent.len()));
        prop_assert_eq!(by_key, sent);
    }
    Ok(())
}

type ByKey = BTreeMap<Option<Bytes>, Vec<NewRecord>>;

/// The records of each key as a reader meets them who reads parents before their children.
fn by_key(partitions: &[Vec<NewRecord>]) -> ByKey {
    let mut by_key = ByKey::new();
    for record in partitions.iter().flatten() {
        by_key.entry(record.key.clone()).or_default().push(record.clone());
    }
    by_key
}

fn reshard(log: &Log, step: &Step) {
    let mut open: Vec<Shard> = log.stream(&clicks()).unwrap().shards;
    open.retain(Shard::is_open);
    open.sort_by_key(|shard| shard.hash_start);
    let chosen = |index: &usize| &open[index % open.len()];
    match step {
        Step::Split(index, at) => {
            let shard = chosen(index);
            let width = (shard.hash_end - shard.hash_start) / 256;
            // Divided often enough, a shard has one hash key only.
            if shard.hash_start == shard.hash_end {
                return;
            }
            let hash_key = shard.hash_start + 1 + width * u128::from(*at);
            log.split_shard(&clicks(), shard.partition, hash_key).unwrap();
        }
        Step::Merge(index) if open.len() > 1 => {
            let pair = &open[index % (open.len() - 1)..][..2];
            log.merge_shards(&clicks(), pair[0].partition, pair[1].partition).unwrap();
        }
        Step::Spread(count) => drop(log.set_shard_count(&clicks(), *count).unwrap()),
        Step::DeleteAndMakeAgain(count) => {
            log.delete_stream(&clicks()).unwrap();
            log.create_stream(&clicks(), &NewStream::of_shards(*count)).unwrap();
        }
        _ => {}
    }
}

fn contents(log: &Log) -> Vec<Vec<NewRecord>> {
    let new = |record: Record| NewRecord { key: record.key, ..NewRecord::of(record.value) };
    read_all(log).into_iter().map(|records| records.into_iter().map(new).collect()).collect()
}

/// A copy of the log as it would be found after a crash while `records` were written.
async fn crash(directory: &Path, records: Vec<NewRecord>, reached: u8, wrong: Option<u8>) -> TempDir {
    let copied = copy(directory);
    let before = last_file(copied.path());
    let length_before = fs::metadata(&before).unwrap().len();
    {
        let log = try_open(copied.path(), SEGMENT_BYTES_MAX).unwrap();
        log.append(&clicks(), records).await.unwrap();
    }
    let file = last_file(copied.path());
    let number = segment::number(&file).unwrap();
    let header_length = Segment::open(&copied.path().join("segments"), number).unwrap().0.header_length();
    let from = if file == before { length_before } else { header_length };
    let mut bytes = fs::read(&file).unwrap();
    let part = |of: u64, part: u8| usize::try_from(from + (of - from) * u64::from(part) / 255).unwrap();
    bytes.truncate(part(bytes.len() as u64, reached));
    let length = bytes.len() as u64;
    if let Some(byte) = wrong.and_then(|wrong| bytes.get_mut(part(length, wrong))) {
        *byte ^= 1;
    }
    fs::write(&file, bytes).unwrap();
    copied
}
