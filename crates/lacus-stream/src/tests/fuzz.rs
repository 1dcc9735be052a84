//! Whatever the bytes of a log's files are: no panic, no endless work, and never a record that was not written.
//!
//! `LACUS_SEED` repeats a run, `LACUS_PROVE=1` tries 20,000 cases each instead of 100.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lacus_core::MessageId;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseResult, TestRunner};

use super::*;
use crate::frame::{Body, Header};
use crate::index::{FrameRef, Index};
use crate::segment::Segment;
use crate::streams::StreamId;

/// How long one case may take on a busy machine.
const CASE_TIME_MAX: Duration = Duration::from_secs(20);
/// Small, so that there are several files.
const SEGMENT_BYTES_MAX: u64 = 1_500;

/// A log as it was written.
struct Original {
    /// Path below the log's directory, and bytes.
    files: Vec<(PathBuf, Vec<u8>)>,
    records: BTreeMap<(StreamName, Position), Record>,
}

/// What happens to one of the files. Places are parts (of 65,535) of its length.
#[derive(Debug, Clone)]
enum Garble {
    Flip {
        at: u16,
        bit: u8,
    },
    Fill {
        at: u16,
        length: u16,
        byte: u8,
    },
    Cut {
        at: u16,
    },
    Grow {
        bytes: Vec<u8>,
        times: u16,
    },
    Copy {
        from: u16,
        to: u16,
        length: u16,
    },
    Insert {
        at: u16,
        bytes: Vec<u8>,
    },
    Delete {
        at: u16,
        length: u16,
    },
    /// As another of the files is.
    Replace {
        by: usize,
    },
    Vanish,
}

fn garble() -> impl Strategy<Value = (usize, Garble)> {
    let bytes = || proptest::collection::vec(any::<u8>(), 1..80);
    let garble = prop_oneof![
        8 => (any::<u16>(), 0..8_u8).prop_map(|(at, bit)| Garble::Flip { at, bit }),
        3 => (any::<u16>(), 1..200_u16, any::<u8>()).prop_map(|(at, length, byte)| Garble::Fill { at, length, byte }),
        3 => any::<u16>().prop_map(|at| Garble::Cut { at }),
        2 => (bytes(), 1..200_u16).prop_map(|(bytes, times)| Garble::Grow { bytes, times }),
        3 => (any::<u16>(), any::<u16>(), 1..400_u16).prop_map(|(from, to, length)| Garble::Copy { from, to, length }),
        2 => (any::<u16>(), bytes()).prop_map(|(at, bytes)| Garble::Insert { at, bytes }),
        2 => (any::<u16>(), 1..200_u16).prop_map(|(at, length)| Garble::Delete { at, length }),
        2 => any::<usize>().prop_map(|by| Garble::Replace { by }),
        1 => Just(Garble::Vanish),
    ];
    (any::<usize>(), garble)
}

#[test]
fn garbled_files_give_what_was_written_or_say_that_they_are_damaged() {
    for is_closed in [false, true] {
        let original = write_original(is_closed);
        run(proptest::collection::vec(garble(), 1..4), |garbles| {
            let directory = TempDir::new().unwrap();
            write_garbled(&original, &garbles, directory.path());
            let begun = Instant::now();
            check_garbled(&original, directory.path())?;
            prop_assert!(begun.elapsed() < CASE_TIME_MAX, "it took {:?}", begun.elapsed());
            Ok(())
        });
    }
}

fn run<S: Strategy>(strategy: S, check: impl Fn(S::Value) -> TestCaseResult) {
    let seed = lacus_testkit::environment::seed();
    let cases = if lacus_testkit::environment::prove() { 20_000 } else { 100 };
    let config =
        ProptestConfig { cases, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Default::default() };
    if let Err(error) = TestRunner::new(config).run(&strategy, check) {
        panic!("LACUS_SEED={seed}: {error}");
    }
}

/// Keys, ids, empty and long records; shards that split and merge; two streams; files that were finished and one that was not.
fn write_original(is_closed: bool) -> Original {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let directory = TempDir::new().unwrap();
    let log = try_open(directory.path(), SEGMENT_BYTES_MAX).unwrap();
    let orders = StreamName::new("orders").unwrap();
    for name in [clicks(), orders.clone()] {
        log.create_stream(&name, &NewStream::of_shards(2)).unwrap();
    }
    for number in 0..40_u32 {
        let id = (number % 3 == 0).then_some(MessageId(u128::from(number) << 100));
        let key = (number % 2 == 0).then(|| Bytes::from(format!("k{}", number % 5)));
        let value = vec![u8::try_from(number).unwrap(); number as usize * 7 % 200];
        let record = NewRecord { key, id, ..NewRecord::of(value) };
        let stream = if number % 4 == 3 { &orders } else { &clicks() };
        runtime.block_on(log.append(stream, vec![record; 1 + number as usize % 3])).unwrap();
        if number % 10 == 9 {
            log.set_shard_count(&clicks(), 1 + number / 10).unwrap();
            log.set_cursor(&clicks(), "reader", Some(&log.stream(&clicks()).unwrap().end)).unwrap();
        }
    }
    if is_closed {
        runtime.block_on(log.close()).unwrap();
    }
    let mut records = BTreeMap::new();
    for stream in log.streams() {
        for shard in &stream.shards {
            let read = read_partition(&log, &stream, shard.partition);
            records.extend(read.into_iter().map(|record| ((stream.name.clone(), record.position), record)));
        }
    }
    assert!(log.stats().segments > 3);
    drop(log);
    Original { files: read_files(directory.path()), records }
}

fn read_files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for folder in ["", "segments", "cursors"] {
        for entry in directory.join(folder).read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                found.push((path.strip_prefix(directory).unwrap().to_owned(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn write_garbled(original: &Original, garbles: &[(usize, Garble)], directory: &Path) {
    let mut files: Vec<(PathBuf, Option<Vec<u8>>)> =
        original.files.iter().map(|(path, bytes)| (path.clone(), Some(bytes.clone()))).collect();
    for (file, garble) in garbles {
        let at = file % files.len();
        let Some(bytes) = files[at].1.take() else { continue };
        files[at].1 = garble.apply(bytes, original);
    }
    for folder in ["segments", "cursors"] {
        fs::create_dir(directory.join(folder)).unwrap();
    }
    for (path, bytes) in files {
        if let Some(bytes) = bytes {
            fs::write(directory.join(path), bytes).unwrap();
        }
    }
}

impl Garble {
    fn apply(&self, mut bytes: Vec<u8>, original: &Original) -> Option<Vec<u8>> {
        let end = bytes.len();
        let place = |part: u16| end * usize::from(part) / 65_536;
        let range = |at: u16, length: u16| place(at)..(place(at) + usize::from(length)).min(end);
        match self {
            Self::Flip { at, bit } => bytes.get_mut(place(*at)).into_iter().for_each(|byte| *byte ^= 1 << bit),
            Self::Fill { at, length, byte } => bytes[range(*at, *length)].fill(*byte),
            Self::Cut { at } => bytes.truncate(place(*at)),
            Self::Grow { bytes: more, times } => bytes.extend(more.repeat(usize::from(*times))),
            Self::Copy { from, to, length } => {
                let copied = bytes[range(*from, *length)].to_vec();
                let to = place(*to)..(place(*to) + copied.len()).min(end);
                let length = to.len();
                bytes[to].copy_from_slice(&copied[..length]);
            }
            Self::Insert { at, bytes: more } => drop(bytes.splice(place(*at)..place(*at), more.iter().copied())),
            Self::Delete { at, length } => drop(bytes.drain(range(*at, *length))),
            Self::Replace { by } => bytes.clone_from(&original.files[by % original.files.len()].1),
            Self::Vanish => return None,
        }
        Some(bytes)
    }
}

fn check_garbled(original: &Original, directory: &Path) -> TestCaseResult {
    let log = match try_open(directory, SEGMENT_BYTES_MAX) {
        Ok(log) => log,
        Err(error) => return check_named(&error),
    };
    for stream in log.streams() {
        for shard in &stream.shards {
            check_shard(original, &log, &stream, shard.partition)?;
        }
    }
    check_goes_on(&log)
}

/// Damage has a kind that is never retried, and says which file it is in.
fn check_named(error: &Error) -> TestCaseResult {
    prop_assert!([Kind::Corrupt, Kind::Invalid].contains(&error.kind()), "{error:?}");
    prop_assert!([".log", ".json", "the log in"].iter().any(|name| error.message().contains(name)), "{error:?}");
    Ok(())
}

fn check_shard(original: &Original, log: &Log, stream: &StreamInfo, partition: Partition) -> TestCaseResult {
    let mut next = stream.start.next(partition);
    while next < stream.end.next(partition) {
        match log.read(&stream.name, partition, next, 300) {
            Ok(records) => {
                prop_assert!(!records.is_empty(), "nothing at {}/{}", partition.0, next.0);
                for record in records {
                    prop_assert_eq!(record.position, Position { partition, offset: next });
                    let written = original.records.get(&(stream.name.clone(), record.position));
                    prop_assert_eq!(Some(&record), written);
                    next = next.plus(1);
                }
            }
            Err(error) => {
                check_named(&error)?;
                next = next.plus(1);
            }
        }
    }
    Ok(())
}

fn check_goes_on(log: &Log) -> TestCaseResult {
    if log.stream(&clicks()).is_none() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let Position { partition, offset } = runtime.block_on(log.append(&clicks(), vec![record(None, "new")])).unwrap()[0];
    prop_assert_eq!(values(&log.read(&clicks(), partition, offset, 1).unwrap()), ["new"]);
    Ok(())
}

/// A frame of which only the checksums need be right.
#[derive(Debug, Clone)]
struct Forged {
    stream: u32,
    partition: u32,
    records: u32,
    /// None: it follows.
    base: Option<u64>,
    received_at: i64,
    /// In a log file where its group begins, in an index where it lies itself. None: where the frame is.
    place: Option<u64>,
    body: Vec<u8>,
}

fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![0..5_u64, (0..5_u64).prop_map(|below| u64::MAX - below), 0..2_000_u64, any::<u64>()]
}

/// Frames whose numbers lie once in `honesty` times.
fn forged(honesty: u32) -> impl Strategy<Value = Vec<Forged>> {
    let lie = move || proptest::option::weighted(1.0 / f64::from(honesty), edge());
    let short =
        move |right: u32| lie().prop_map(move |lie| lie.map_or(right, |lie| u32::try_from(lie & 0xffff_ffff).unwrap()));
    let record = [[0xff; 4], [0; 4]].concat();
    let body = prop_oneof![8 => Just(record), 1 => proptest::collection::vec(any::<u8>(), 0..60)];
    let numbers = (short(0), short(0), short(1), lie(), lie(), lie(), body);
    let frame = numbers.prop_map(|(stream, partition, records, base, received_at, place, body)| {
        let received_at = received_at.unwrap_or(7).cast_signed();
        Forged { stream, partition, records, base, received_at, place, body }
    });
    proptest::collection::vec(frame, 1..6)
}

/// Right checksums are no reason to believe the rest: no panic, whatever stands there.
#[test]
fn frames_and_indexes_that_lie_break_nothing() {
    run((edge(), forged(20), forged(6)), |(start, frames, indexed)| {
        let (directory, log) = new_log(2, 64 << 10);
        drop(log);
        let segments = directory.path().join("segments");
        let id = PartitionId { stream: StreamId(0), partition: Partition(0) };
        let length = forge(&segments, 1, 0, vec![(id, Offset(start))], &frames);
        // Once as the file that is written to, once as one that is finished, with the index that a scan makes and another.
        read_forged(directory.path(), start);
        let end = frames.iter().fold(start, |end, frame| end.saturating_add(u64::from(frame.records)));
        forge(&segments, 2, length, vec![(id, Offset(end))], &[]);
        read_forged(directory.path(), start);
        forge_index(&segments, length, start, &indexed);
        read_forged(directory.path(), start);
        Ok(())
    });
}

fn read_forged(directory: &Path, start: u64) {
    let Ok(log) = try_open(directory, 64 << 10) else { return };
    for partition in [0, 1].map(Partition) {
        for offset in [0, start, start.saturating_add(1), start.saturating_add(2), u64::MAX - 1, u64::MAX] {
            log.read(&clicks(), partition, Offset(offset), 100).ok();
        }
        for time in [i64::MIN, 0, 7, 8, i64::MAX].map(Timestamp::from_micros) {
            log.find_time(&clicks(), partition, time).ok();
        }
    }
}

fn forge(
    segments: &Path,
    number: u64,
    previous_length: u64,
    starts: Vec<(PartitionId, Offset)>,
    frames: &[Forged],
) -> u64 {
    let segment = Segment::new(segments, number, previous_length, Timestamp::from_micros(0), starts);
    segment.create().unwrap();
    let mut bytes = fs::read(&segment.path).unwrap();
    let mut next = segment.starts.first().map_or(0, |(_, start)| start.0);
    for frame in frames {
        let position = bytes.len() as u64;
        let (header, body) = frame.lay_out(next, position);
        next = header.base.0.saturating_add(u64::from(header.records));
        bytes.extend(header.encode(segment.salt, position));
        bytes.extend(body);
    }
    fs::write(&segment.path, &bytes).unwrap();
    bytes.len() as u64
}

fn forge_index(segments: &Path, length: u64, start: u64, frames: &[Forged]) {
    let (segment, _) = Segment::open(segments, 1).unwrap();
    let mut index = Index::default();
    let (mut next, mut position) = (start, segment.header_length());
    for frame in frames {
        let header = frame.lay_out(next, position).0;
        next = header.base.0.saturating_add(u64::from(header.records));
        position += header.frame_length();
        index.push(header.id, FrameRef::new(&header, header.group_start));
    }
    index.store(&segment, length);
}

impl Forged {
    fn lay_out(&self, next: u64, position: u64) -> (Header, Vec<u8>) {
        let id = PartitionId { stream: StreamId(self.stream), partition: Partition(self.partition) };
        let mut body = Body::new(id, 0);
        body.bytes.clone_from(&self.body);
        body.records = self.records;
        body.seal();
        let base = Offset(self.base.unwrap_or(next));
        let header = body.header(base, Timestamp::from_micros(self.received_at), self.place.unwrap_or(position));
        (header, body.bytes)
    }
}
