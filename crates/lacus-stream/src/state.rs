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

/// What handles of the log and its writer share.
pub(crate) struct Shared {
    /// The log's directory, locked as long as the log is open.
    pub(crate) _guard: File,
    /// Where the log files are.
    pub(crate) segments: PathBuf,
    /// Changed under `placing` only.
    pub(crate) streams: RwLock<Streams>,
    pub(crate) state: RwLock<State>,
    /// Finished files in use, the latest last.
    pub(crate) finished_open: Mutex<VecDeque<Arc<OpenSegment>>>,
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
        let mut open = lock(&self.finished_open);
        let at = open.iter().position(|open| open.segment.number == number)?;
        let found = open.remove(at)?;
        open.push_back(Arc::clone(&found));
        Some(found)
    }

    /// Keeps a finished file open, and lets go of the one that was not used for longest.
    pub(crate) fn keep_open(&self, segment: Arc<OpenSegment>) {
        let mut open = lock(&self.finished_open);
        open.retain(|other| other.segment.number != segment.segment.number);
        if open.len() == FINISHED_OPEN_MAX {
            open.pop_front();
        }
        open.push_back(segment);
    }

    /// Lets go of a finished file.
    pub(crate) fn forget_open(&self, number: u64) {
        lock(&self.finished_open).retain(|open| open.segment.number != number);
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
