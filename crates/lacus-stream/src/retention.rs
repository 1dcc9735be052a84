//! Removing old log files, whole and oldest first: only files whose records were all delivered and are old enough.

use std::fs;
use std::io;
use std::sync::Arc;

use lacus_core::{Context, Error, Offsets, Result, StreamName, Timestamp};

use crate::disk;
use crate::index::Index;
use crate::segment::Segment;
use crate::state::{Finished, Shared, State, lock};

/// Removes the files whose records were all received before `older_than` and lie before what was delivered. Gives the
/// bytes freed.
pub(crate) fn retain(
    shared: &Shared,
    older_than: Timestamp,
    delivered: &dyn Fn(&StreamName) -> Offsets,
) -> Result<u64> {
    let _alone = lock(&shared.retaining);
    let mut freed = 0;
    while let Some(finished) = take_first(shared, older_than, delivered) {
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
        // Each removal is synced before the next: files must not be missing between others after a power cut.
        disk::sync_directory(&shared.segments).context("sync the directory of the log")?;
        Index::remove(&finished.segment);
        shared.forget_open(finished.segment.number);
        freed += length;
    }
    Ok(freed)
}

fn take_first(shared: &Shared, older_than: Timestamp, delivered: &dyn Fn(&StreamName) -> Offsets) -> Option<Finished> {
    let next = {
        let state = shared.state();
        let next = second(&state)?;
        if !is_older(&state, older_than) {
            return None;
        }
        next
    };
    if !all_delivered(shared, &next, delivered) {
        return None;
    }
    // Only the holder of `retaining` takes from the front, so the first is still the same.
    shared.state_mut().finished.pop_front()
}

/// Whether the first file ended before `older_than`: so says the header of any file behind it. Looking at the next one
/// only would keep files forever that were written while the clock was ahead.
fn is_older(state: &State, older_than: Timestamp) -> bool {
    let behind = state.finished.iter().skip(1).map(|finished| &finished.segment).chain([&state.active.segment]);
    behind.into_iter().any(|segment| segment.last_received_at < older_than)
}

/// The file behind the first one: its header tells how far the first one goes.
fn second(state: &State) -> Option<Arc<Segment>> {
    state.finished.front()?;
    let second = state.finished.get(1).map_or(&state.active.segment, |finished| &finished.segment);
    Some(Arc::clone(second))
}

fn all_delivered(shared: &Shared, next: &Segment, delivered: &dyn Fn(&StreamName) -> Offsets) -> bool {
    let streams: Vec<_> = shared.streams().iter().cloned().collect();
    streams.iter().all(|stream| {
        let delivered = delivered(&stream.name);
        let mut ends = next.starts.iter().filter(|(id, _)| id.stream == stream.id);
        ends.all(|(id, end)| *end <= delivered.next(id.partition))
    })
}
