//! Reading records back: find their frames, read them in few large pieces, check every checksum.
//!
//! Any number of readers may be at it; none holds a lock while it waits for the disk, and none sees a record that is
//! not on disk.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use lacus_core::{Context, Error, Offset, Position, Record, Result, Timestamp};
use rustix::buffer::spare_capacity;
use rustix::io::{pread, retry_on_intr};

use crate::frame::{self, HEADER_BYTES, Header, PartitionId, Taken};
use crate::index::{FrameRef, Index};
use crate::scan;
use crate::segment::{Segment, damaged};
use crate::state::{Finished, OpenSegment, Shared};

/// Frames that are no further apart are read together, with what lies between them.
const GAP_BYTES_MAX: u64 = 32 << 10;

/// Frames are read together up to this many bytes; one that is longer is read alone.
const SPAN_BYTES_MAX: u64 = 4 << 20;

/// A batch that lacks this part of its bytes is not read on: for the few it lacks another frame would be read, and once more by
/// the next batch.
const REST_PART: usize = 16;

/// Records may keep this many times their own bytes in memory: as many as there are shards that records go to in turn, say.
const KEPT_TIMES_MAX: usize = 4;

/// A record counts as this many bytes at least: its place and time take memory, however short it is.
const RECORD_BYTES_LEAST: usize = 64;

/// Frames of one file that hold what a reader wants next.
struct Found {
    segment: Arc<Segment>,
    file: Arc<File>,
    frames: Vec<FrameRef>,
}

/// Reads records of one partition from `from` on: about `bytes_max` bytes, but one at least if there is one.
pub(crate) fn read(shared: &Shared, id: PartitionId, from: Offset, bytes_max: usize) -> Result<Vec<Record>> {
    let end = shared.state().end(id);
    let mut batch = Batch { next: from, bytes_left: bytes_max, records: Vec::new() };
    while batch.next < end && batch.lacks_more_than(bytes_max / REST_PART) {
        let found = find(shared, id, batch.next, batch.bytes_left.max(1))?;
        let before = batch.next;
        for span in spans(&found.frames) {
            read_span(&found, id, span, &mut batch)?;
        }
        if batch.next == before {
            let how = format!("the record at offset {} is not there", before.0);
            return Err(damaged(&found.segment.path, found.segment.header_length(), &how));
        }
    }
    Ok(batch.records)
}

/// The first record of a partition that was received at or after `time`, or the end.
pub(crate) fn find_time(shared: &Shared, id: PartitionId, time: Timestamp) -> Result<Offset> {
    let (next, end) = {
        let state = shared.state();
        let segments = state.finished.iter().map(|finished| &finished.segment).chain([&state.active.segment]);
        // All records before a file were received when its header says, or earlier.
        let before = segments.take_while(|segment| segment.last_received_at < time).last();
        (before.map_or(state.start(id), |segment| segment.start(id)).max(state.start(id)), state.end(id))
    };
    first_since(shared, id, next..end, time)
}

/// The same among the records between two offsets.
pub(crate) fn first_since(shared: &Shared, id: PartitionId, between: Range<Offset>, time: Timestamp) -> Result<Offset> {
    let Range { start: mut next, end } = between;
    while next < end {
        let records = read(shared, id, next, SPAN_BYTES_MAX as usize);
        let start = shared.state().start(id);
        if records.is_err() && next < start {
            // Retention was faster: what is left begins here.
            next = start;
            continue;
        }
        for record in records? {
            if record.received_at >= time {
                return Ok(record.position.offset);
            }
            next = record.position.offset.plus(1);
        }
    }
    Ok(end)
}

/// What was read so far.
struct Batch {
    next: Offset,
    bytes_left: usize,
    records: Vec<Record>,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.bytes_left == 0 && !self.records.is_empty()
    }

    fn lacks_more_than(&self, bytes: usize) -> bool {
        self.bytes_left > bytes || self.records.is_empty()
    }

    /// Makes room for more records: for so many, or as many as it still takes.
    fn make_room(&mut self, records: usize) {
        self.records.reserve(records.min(self.bytes_left / RECORD_BYTES_LEAST + 1));
    }

    fn push(&mut self, record: Record) {
        self.next = record.position.offset.plus(1);
        let length = record.key.as_ref().map_or(0, Bytes::len) + record.value.len();
        self.bytes_left = self.bytes_left.saturating_sub(length.max(RECORD_BYTES_LEAST));
        self.records.push(record);
    }
}

fn find(shared: &Shared, id: PartitionId, from: Offset, bytes_enough: usize) -> Result<Found> {
    let finished = {
        let state = shared.state();
        let start = state.start(id);
        if from < start {
            return Err(removed(from, start));
        }
        let active = &state.active;
        if active.segment.start(id) <= from {
            let frames = active.index.frames(id, from, bytes_enough);
            return Ok(Found { segment: Arc::clone(&active.segment), file: Arc::clone(&active.file), frames });
        }
        let after = state.finished.partition_point(|finished| finished.segment.start(id) <= from);
        state.finished[after - 1].clone()
    };
    let open = match open(shared, &finished) {
        Ok(open) => open,
        // Retention may have removed the file just now.
        Err(error) => {
            let start = shared.state().start(id);
            return Err(if from < start { removed(from, start) } else { error });
        }
    };
    let frames = open.index.frames(id, from, bytes_enough);
    Ok(Found { segment: Arc::clone(&open.segment), file: Arc::clone(&open.file), frames })
}

fn removed(from: Offset, start: Offset) -> Error {
    Error::not_found(format!("retention removed the record at offset {}", from.0))
        .with_hint(format!("the first one still there has offset {}", start.0))
}

/// Opens a finished file, with its index from beside it or from a scan.
fn open(shared: &Shared, finished: &Finished) -> Result<Arc<OpenSegment>> {
    let Finished { segment, length } = finished;
    if let Some(open) = shared.find_open(segment.number) {
        return Ok(open);
    }
    let file = File::open(&segment.path).context(format!("open {}", segment.path.display()))?;
    let index = match Index::load(segment, *length) {
        Some(index) => index,
        None => {
            let index = scan::scan_finished(segment, &file, *length)?.index;
            index.store(segment, *length);
            index
        }
    };
    let open = Arc::new(OpenSegment { segment: Arc::clone(segment), file: Arc::new(file), index });
    shared.keep_open(Arc::clone(&open));
    Ok(open)
}

/// Cuts frames into runs that are worth one read each.
fn spans(frames: &[FrameRef]) -> impl Iterator<Item = &[FrameRef]> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let follows = |pair: &[FrameRef]| {
            let (before, next) = (frame_end(&pair[0]), frame_end(&pair[1]));
            pair[1].position.saturating_sub(before) <= GAP_BYTES_MAX && next - first.position <= SPAN_BYTES_MAX
        };
        let count = 1 + rest.windows(2).take_while(|pair| follows(pair)).count();
        let (span, after) = rest.split_at(count);
        rest = after;
        Some(span)
    })
}

fn frame_end(frame: &FrameRef) -> u64 {
    frame.position + u64::from(frame.length)
}

fn read_span(found: &Found, id: PartitionId, span: &[FrameRef], batch: &mut Batch) -> Result<()> {
    let (Some(first), Some(last)) = (span.first(), span.last()) else { return Ok(()) };
    if batch.is_full() {
        return Ok(());
    }
    let path = &found.segment.path;
    let length = usize::try_from(frame_end(last) - first.position)
        .map_err(|_| damaged(path, first.position, "its index is wrong"))?;
    let bytes = match read_exactly(&found.file, first.position, length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(damaged(path, first.position, "the file ends before its records do"));
        }
        read => Bytes::from(read.context(format!("read {}", path.display()))?),
    };
    let wanted: usize = span.iter().map(|frame| frame.length as usize).sum();
    // Records keep all of the memory that they are in. Where that is far more than they are, they get their own.
    let is_one_record = span.len() == 1 && first.records == 1;
    let must_copy = !is_one_record && bytes.len() / KEPT_TIMES_MAX > wanted.min(batch.bytes_left);
    batch.make_room(span.iter().map(|frame| frame.records as usize).sum());
    for frame in span {
        let start = usize::try_from(frame.position - first.position).expect("within the span, which is in memory");
        let frame_bytes = bytes.slice(start..start + frame.length as usize);
        read_frame(found, id, frame, &frame_bytes, must_copy, batch)?;
    }
    Ok(())
}

/// Reads so many bytes from `position` on, into memory that was not filled with zeros before.
fn read_exactly(file: &File, position: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let next = position + bytes.len() as u64;
        if retry_on_intr(|| pread(file, spare_capacity(&mut bytes), next))? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    // There may be room for more than was asked for.
    bytes.truncate(length);
    Ok(bytes)
}

fn read_frame(
    found: &Found,
    id: PartitionId,
    frame: &FrameRef,
    bytes: &Bytes,
    must_copy: bool,
    batch: &mut Batch,
) -> Result<()> {
    let wrong = |how| damaged(&found.segment.path, frame.position, how);
    let header = Header::decode(bytes, found.segment.salt, frame.position)
        .ok_or_else(|| wrong("the header of a frame does not match its checksum"))?;
    if header.id != id || FrameRef::new(&header, frame.position) != *frame {
        return Err(wrong("a frame is not the one that its index says"));
    }
    let mut body = bytes.slice(HEADER_BYTES..);
    if crc32fast::hash(&body) != header.body_crc {
        return Err(wrong("the body of a frame does not match its checksum"));
    }
    let own = |bytes: Bytes| if must_copy { Bytes::copy_from_slice(&bytes) } else { bytes };
    for index in 0..header.records {
        let Taken { key, id: message, value } =
            frame::take_record(&mut body).ok_or_else(|| wrong("a frame has fewer records than it says"))?;
        let offset = header.base.plus(u64::from(index));
        if offset < batch.next {
            continue;
        }
        if batch.is_full() {
            break;
        }
        let position = Position { partition: id.partition, offset };
        let (key, value) = (key.map(own), own(value));
        batch.push(Record { position, received_at: header.received_at, key, id: message, value });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn room_is_made_for_no_more_records_than_a_batch_takes() {
        let room_for = |bytes_left: usize, records: usize| {
            let mut batch = Batch { next: Offset(0), bytes_left, records: Vec::new() };
            batch.make_room(records);
            batch.records.capacity()
        };
        assert!((500..1_000).contains(&room_for(1 << 20, 500)));
        assert!(room_for(640, usize::MAX) < 100 && room_for(0, usize::MAX) < 100);
    }

    #[test]
    fn a_part_of_a_file_is_read_or_nothing() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one, two, three").unwrap();
        assert_eq!(read_exactly(&file, 5, 3).unwrap(), b"two");
        assert_eq!(read_exactly(&file, 0, 15).unwrap(), b"one, two, three");
        assert_eq!(read_exactly(&file, 15, 0).unwrap(), b"");
        for (position, length) in [(0, 16), (14, 2), (15, 1), (100, 1)] {
            let error = read_exactly(&file, position, length).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length} bytes from {position} on");
        }
    }
}
