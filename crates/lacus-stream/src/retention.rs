//! Removing old log files, whole and oldest first: only files whose records were all delivered and are old enough.
//!
//! All streams share the files. A file goes when its records are older than the retention of each stream that has some in
//! it: a stream with a short retention beside one with a long one keeps its records for as long as the other. When there
//! are more bytes than are wanted, delivered files go however young. Undelivered records stay, whatever the limits.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::sync::Arc;

use lacus_core::units::{ByteSize, Millis};
use lacus_core::{Context, Error, Offsets, Result, StreamName, Timestamp};

use crate::disk;
use crate::index::Index;
use crate::segment::Segment;
use crate::state::{Finished, Shared, State, lock};
use crate::streams::{Stream, StreamId};

/// What says that a file may go.
pub(crate) struct Limits {
    pub(crate) now: Timestamp,
    /// For streams that don't say themselves.
    pub(crate) retention: Millis,
    /// Delivered files go, however young, while the log is larger. None and zero: never.
    pub(crate) bytes_max: Option<ByteSize>,
}

/// Removes delivered files that are old enough or too many. Gives the bytes freed.
pub(crate) fn retain(shared: &Shared, limits: &Limits, delivered: &dyn Fn(&StreamName) -> Offsets) -> Result<u64> {
    let _alone = lock(&shared.retaining);
    let mut freed = 0;
    while let Some(finished) = take_first(shared, limits, delivered) {
        let path = &finished.segment.path;
        let length = fs::metadata(path).map_or(finished.length, |metadata| metadata.len());
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let context = format!("remove {}", path.display());
                shared.state_mut().finished.push_front(finished);
                return Err(Error::from(error)).context(context);
            }
            _ => {}
        }
        Index::remove(&finished.segment);
        shared.forget_open(finished.segment.number);
        // Each removal is synced before the next: files must not be missing between others after a power cut.
        disk::sync_directory(&shared.segments).context("sync the directory of the log")?;
        freed += length;
    }
    Ok(freed)
}

fn take_first(shared: &Shared, limits: &Limits, delivered: &dyn Fn(&StreamName) -> Offsets) -> Option<Finished> {
    let next = second(&shared.state())?;
    // After the file: a stream that is made later than this has no record before it.
    let streams: Vec<_> = shared.streams().iter().cloned().collect();
    {
        let state = shared.state();
        if !is_too_large(&state, limits)
            && !is_older(&state, limits.now, limits.older_than(&streams, state.first(), &next))
        {
            return None;
        }
    }
    if !all_delivered(&streams, &next, delivered) {
        return None;
    }
    // Only the holder of `retaining` takes from the front, so the first is still the same.
    shared.state_mut().finished.pop_front()
}

impl Limits {
    /// The time before which all records of a file must have come: a file goes with the last stream that wants it.
    fn older_than(&self, streams: &[Arc<Stream>], segment: &Segment, next: &Segment) -> Timestamp {
        let in_it = next.starts.iter().filter(|(id, end)| segment.start(*id) < *end).map(|(id, _)| id.stream);
        let in_it: HashSet<StreamId> = in_it.collect();
        let retentions = streams.iter().filter(|stream| in_it.contains(&stream.id)).map(|stream| stream.retention);
        let longest = retentions.map(|own| own.unwrap_or(self.retention)).max().unwrap_or(self.retention);
        let longest = i64::try_from(longest.0).unwrap_or(i64::MAX).saturating_mul(1_000);
        Timestamp::from_micros(self.now.as_micros().saturating_sub(longest))
    }
}

fn is_too_large(state: &State, limits: &Limits) -> bool {
    let bytes: u64 = state.finished.iter().map(|finished| finished.length).sum::<u64>() + state.active.length;
    limits.bytes_max.is_some_and(|most| most.0 > 0 && bytes > most.0)
}

/// Whether the first file ended before `older_than`: so says the header of the next one. If that is of a time to come, the
/// clock was ahead, and a later one says when it ended at the latest: such files must not stay for ever. A header of long ago
/// may be of a clock that was behind for a moment, and says nothing of files before the one it tells of.
fn is_older(state: &State, now: Timestamp, older_than: Timestamp) -> bool {
    let mut behind = state.finished.iter().skip(1).map(|finished| &finished.segment).chain([&state.active.segment]);
    let ended = behind.find(|segment| segment.last_received_at <= now);
    ended.is_some_and(|segment| segment.last_received_at < older_than)
}

/// The file behind the first one: its header tells how far the first one goes.
fn second(state: &State) -> Option<Arc<Segment>> {
    state.finished.front()?;
    let second = state.finished.get(1).map_or(&state.active.segment, |finished| &finished.segment);
    Some(Arc::clone(second))
}

fn all_delivered(streams: &[Arc<Stream>], next: &Segment, delivered: &dyn Fn(&StreamName) -> Offsets) -> bool {
    streams.iter().all(|stream| {
        let delivered = delivered(&stream.name);
        let mut ends = next.starts.iter().filter(|(id, _)| id.stream == stream.id);
        ends.all(|(id, end)| *end <= delivered.next(id.partition).max(stream.let_go.next(id.partition)))
    })
}
