//! The log against a model: a list of records for each partition, whatever is appended and however it crashes.

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
    for step in steps {
        match step {
            Step::Append(records) => {
                for (position, record) in log.append(&clicks(), records.clone()).await.unwrap().into_iter().zip(records)
                {
                    let partition = &mut model[position.partition.0 as usize];
                    prop_assert_eq!(position.offset.0, partition.len() as u64);
                    partition.push(record);
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
                // What was being written may be there, in part.
                model = found;
            }
        }
        prop_assert_eq!(&contents(&log), &model);
    }
    Ok(())
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
