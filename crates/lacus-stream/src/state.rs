//! What everybody knows about the log: its streams, its files, and how far it is on disk.
//!
//! Only the writer moves the ends, and only after a sync. Readers and senders wait for look-ups in memory, never for the
//! disk: the locks that are held over a write (`placing`, `retaining`) are none of theirs.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use lacus_core::{Offset, Offsets};
use tokio::sync::watch;

use crate::StreamInfo;
use crate::cursors::Cursors;
use crate::frame::PartitionId;
use crate::index::Index;
use crate::segment::Segment;
use crate::stats::Counters;
use crate::streams::{Stream, Streams};

/// Finished files that are kept open, with their index in memory.
const FINISHED_OPEN_MAX: usize = 8;
/// The most bytes of those indexes, unless one alone has more: a file of events that came one by one has some 4 MB.
const INDEX_BYTES_MAX: usize = 8 << 20;

/// What handles of the log and its writer share.
pub(crate) struct Shared {
    /// The log's directory, locked as long as the log is open.
    pub(crate) _guard: File,
    /// Where the log files are.
    pub(crate) segments: PathBuf,
    /// Changed under `placing` only.
    pub(crate) streams: RwLock<Streams>,
    pub(crate) state: RwLock<State>,
    pub(crate) finished_open: Mutex<OpenSegments>,
    /// Bytes of appends that are not answered yet.
    pub(crate) in_flight_bytes: AtomicU64,
    pub(crate) counters: Mutex<Counters>,
    pub(crate) changes: watch::Sender<u64>,
    /// Held while a group is written, and while streams change: no record goes to a shard that was closed.
    pub(crate) placing: Mutex<()>,
    /// Held by the one who waits for `placing`: a busy writer must not take it again and again.
    pub(crate) turn: Mutex<()>,
    pub(crate) cursors: Cursors,
    /// Held while old files are removed.
    pub(crate) retaining: Mutex<()>,
}

/// The files of the log and how far they are valid.
pub(crate) struct State {
    /// The finished files, oldest first.
    pub(crate) finished: VecDeque<Finished>,
    pub(crate) active: Active,
    /// The next offset of each partition that ever had a record: everything before it is on disk.
    pub(crate) ends: HashMap<PartitionId, Offset>,
}

/// A file that is not written to any more.
#[derive(Clone)]
pub(crate) struct Finished {
    pub(crate) segment: Arc<Segment>,
    /// Bytes behind it are of a write that failed.
    pub(crate) length: u64,
}

/// The file that is written to.
pub(crate) struct Active {
    pub(crate) segment: Arc<Segment>,
    pub(crate) file: Arc<File>,
    pub(crate) index: Index,
    /// Everything before is on disk.
    pub(crate) length: u64,
}

/// A finished file that is open.
pub(crate) struct OpenSegment {
    pub(crate) segment: Arc<Segment>,
    pub(crate) file: Arc<File>,
    pub(crate) index: Index,
}

/// Finished files in use, the latest last.
#[derive(Default)]
pub(crate) struct OpenSegments(VecDeque<Arc<OpenSegment>>);

impl OpenSegments {
    fn find(&mut self, number: u64) -> Option<Arc<OpenSegment>> {
        let at = self.0.iter().position(|open| open.segment.number == number)?;
        let found = self.0.remove(at)?;
        self.0.push_back(Arc::clone(&found));
        Some(found)
    }

    fn keep(&mut self, segment: Arc<OpenSegment>) {
        self.forget(segment.segment.number);
        self.0.push_back(segment);
        while self.0.len() > FINISHED_OPEN_MAX || (self.0.len() > 1 && self.index_bytes() > INDEX_BYTES_MAX) {
            self.0.pop_front();
        }
    }

    fn forget(&mut self, number: u64) {
        self.0.retain(|open| open.segment.number != number);
    }

    fn index_bytes(&self) -> usize {
        self.0.iter().map(|open| open.index.bytes()).sum()
    }
}

impl Shared {
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn streams(&self) -> RwLockReadGuard<'_, Streams> {
        self.streams.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn streams_mut(&self) -> RwLockWriteGuard<'_, Streams> {
        self.streams.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn to write a group or to change streams.
    pub(crate) fn place(&self) -> MutexGuard<'_, ()> {
        let _turn = lock(&self.turn);
        lock(&self.placing)
    }

    /// Wakes those who wait for more records or streams.
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// The finished file with this number, if it is open.
    pub(crate) fn find_open(&self, number: u64) -> Option<Arc<OpenSegment>> {
        lock(&self.finished_open).find(number)
    }

    /// Keeps a finished file open, and lets go of those that were not used for longest.
    pub(crate) fn keep_open(&self, segment: Arc<OpenSegment>) {
        lock(&self.finished_open).keep(segment);
    }

    /// Lets go of a finished file.
    pub(crate) fn forget_open(&self, number: u64) {
        lock(&self.finished_open).forget(number);
    }
}

impl State {
    /// The oldest file.
    pub(crate) fn first(&self) -> &Segment {
        self.finished.front().map_or(&self.active.segment, |finished| &finished.segment)
    }

    /// The first record of a partition that is still there.
    pub(crate) fn start(&self, id: PartitionId) -> Offset {
        self.first().start(id)
    }

    /// The next record of a partition.
    pub(crate) fn end(&self, id: PartitionId) -> Offset {
        self.ends.get(&id).copied().unwrap_or_default()
    }

    /// A stream as it is now.
    pub(crate) fn describe(&self, stream: &Stream) -> StreamInfo {
        let offsets = |of: &dyn Fn(PartitionId) -> Offset| -> Offsets {
            let partitions = stream.shards.iter().map(|shard| shard.partition);
            partitions
                .map(|partition| (partition, of(PartitionId { stream: stream.id, partition })))
                .filter(|(_, offset)| *offset > Offset(0))
                .collect()
        };
        StreamInfo {
            name: stream.name.clone(),
            shards: stream.shards.clone(),
            attributes: stream.attributes.clone(),
            earlier_formats: stream.earlier_formats.clone(),
            let_go: stream.let_go.clone(),
            first_shard: stream.first_shard,
            retention: stream.retention,
            created_at: stream.created_at,
            is_deleted: stream.is_deleted(),
            start: offsets(&|id| self.start(id)),
            end: offsets(&|id| self.end(id)),
        }
    }
}

/// Locks a mutex whose content is whole between any two statements, so that a panic elsewhere does not matter.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lacus_core::{Partition, Timestamp};

    use super::*;
    use crate::index::FrameRef;
    use crate::streams::StreamId;

    /// A file with so many frames.
    fn segment(number: u64, frames: u64) -> Arc<OpenSegment> {
        let segment = Segment::new(Path::new("segments"), number, 0, Timestamp::from_micros(0), Vec::new());
        let mut index = Index::default();
        for frame in 0..frames {
            let id = PartitionId { stream: StreamId(0), partition: Partition(0) };
            index.push(id, FrameRef { base: Offset(frame), position: 100 * frame, length: 100, records: 1 });
        }
        index.shrink();
        Arc::new(OpenSegment { segment: Arc::new(segment), file: Arc::new(tempfile::tempfile().unwrap()), index })
    }

    fn numbers(open: &OpenSegments) -> Vec<u64> {
        open.0.iter().map(|open| open.segment.number).collect()
    }

    #[test]
    fn indexes_of_open_files_are_bounded_in_bytes() {
        let mut open = OpenSegments::default();
        // Files of batches have few frames, and only their number counts.
        (0..20).for_each(|number| open.keep(segment(number, 10)));
        assert_eq!(numbers(&open), (12..20).collect::<Vec<_>>());
        // Of 24 bytes each: 2.4 MB.
        (20..26).for_each(|number| open.keep(segment(number, 100_000)));
        assert_eq!(numbers(&open), [23, 24, 25]);
        assert!(open.index_bytes() <= INDEX_BYTES_MAX);
        assert_eq!(open.find(23).unwrap().segment.number, 23);
        open.keep(segment(26, 100_000));
        assert_eq!(numbers(&open), [25, 23, 26], "what was used last stays");
        open.keep(segment(27, 400_000));
        assert_eq!(numbers(&open), [27], "one alone may be larger");
    }
}
