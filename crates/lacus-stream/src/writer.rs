//! The one thread that writes: it takes what waits, writes it as one group, syncs once, and only then answers.
//!
//! A group that the disk refuses is refused as a whole, and its bytes are cut off. The file is never synced again and
//! believed: after a failed sync a kernel may have dropped the bytes and call them clean. Instead a new file is begun,
//! whose header says how far the one before is valid. Until that works, appends are refused, each trying it again.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lacus_core::{Clock, Error, Offset, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::append::{Refusal, Request};
use crate::frame::PartitionId;
use crate::index::{FrameRef, Index};
use crate::room::Room;
use crate::segment::Segment;
use crate::state::{Active, Finished, OpenSegment, Shared, lock};

/// The most appends that wait for the writer; further ones wait for a place.
pub(crate) const REQUESTS_WAITING_MAX: usize = 1024;

/// A group of this size takes no further append.
const GROUP_BYTES_ENOUGH: u64 = 4 << 20;
/// How often other threads may run so that more appends join a group.
const TURNS_MAX: usize = 8;
/// The disk's refusal is logged this often, and not for each group: senders retry again and again.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How far the clock may be set back before timestamps follow it.
const STEP_BACK_MAX_MICROS: i64 = 60_000_000;

/// Commands to the writer.
pub(crate) enum Command {
    Append(Request),
    /// Ends the writer when what waits is written; the sender is dropped then.
    Close(oneshot::Sender<()>),
}

/// The state of the writer.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) segment_bytes_max: u64,
    pub(crate) file: Arc<File>,
    pub(crate) segment: Arc<Segment>,
    /// Everything before is on disk.
    pub(crate) length: u64,
    /// The next offsets, including those of the group being written.
    pub(crate) ends: HashMap<PartitionId, Offset>,
    pub(crate) last_received_at: Timestamp,
    /// The file can't be written to any more: a new one must be begun.
    pub(crate) must_begin: bool,
    pub(crate) room: Room,
    pub(crate) trouble: Trouble,
}

/// Groups that the disk refused since it last took one.
#[derive(Default)]
pub(crate) struct Trouble {
    groups: u64,
    told_at: Option<Instant>,
}

/// A group of frames, encoded.
#[derive(Default)]
struct Group {
    bytes: Vec<u8>,
    frames: Vec<(PartitionId, FrameRef)>,
    records: u64,
}

/// Takes all appends that wait for the disk. Senders that were just answered come again in a moment: as long as yielding to
/// them brings more, one sync can serve them, too.
pub(crate) fn gather(
    first: Command,
    commands: &mut mpsc::Receiver<Command>,
    closing: &mut Vec<oneshot::Sender<()>>,
) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    for turn in 1.. {
        let before = requests.len();
        while let Some(command) = next {
            match command {
                Command::Append(request) => {
                    bytes += request.reserved.bytes;
                    requests.push(request);
                }
                Command::Close(closed) => {
                    commands.close();
                    closing.push(closed);
                }
            }
            next = if bytes < GROUP_BYTES_ENOUGH { commands.try_recv().ok() } else { None };
        }
        if requests.len() == before || bytes >= GROUP_BYTES_ENOUGH || turn == TURNS_MAX {
            break;
        }
        thread::yield_now();
        // What this takes is handled, too: another turn follows.
        next = commands.try_recv().ok();
    }
    requests
}

impl Writer {
    /// Writes until all senders are gone, or one says close.
    pub(crate) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut closing = Vec::new();
        let mut group = Group::default();
        while let Some(command) = commands.blocking_recv() {
            let requests = gather(command, &mut commands, &mut closing);
            if !requests.is_empty() {
                self.serve(requests, &mut group);
            }
        }
        if !closing.is_empty() {
            self.seal();
        }
    }

    /// Ends the file, so that the header of the next one confirms its length: wrong bytes in it are damage then, not a write
    /// that a crash interrupted.
    fn seal(&mut self) {
        if self.length == self.segment.header_length() {
            return;
        }
        if let Err(error) = self.begin_segment() {
            tracing::warn!(%error, "could not end the last log file; it is checked at next start");
        }
    }

    /// Sends back requests for shards that have been closed since.
    fn without_resharded(&self, requests: Vec<Request>) -> Vec<Request> {
        let closed = {
            let streams = self.shared.streams();
            if requests.iter().all(|request| request.generation == streams.generation()) {
                return requests;
            }
            streams.closed()
        };
        let is_open = |request: &Request| request.frames.iter().all(|frame| !closed.contains(&frame.id));
        let (open, resharded) = requests.into_iter().partition(is_open);
        let resharded: Vec<Request> = resharded;
        resharded.into_iter().for_each(|request| reply(request, Err(Refusal::Resharded)));
        open
    }

    fn serve(&mut self, requests: Vec<Request>, group: &mut Group) {
        let shared = Arc::clone(&self.shared);
        let _placing = shared.place();
        let requests = self.without_resharded(requests);
        if requests.is_empty() {
            return;
        }
        match self.write(&requests, group) {
            Ok(()) => {
                self.trouble.is_over();
                self.publish(group);
                answer(requests, group);
                self.shared.changed();
            }
            Err(error) => {
                self.trouble.tell(&error);
                self.ends = self.shared.state().ends.clone();
                lock(&self.shared.counters).refused_groups += 1;
                refuse(requests, &error);
            }
        }
    }

    fn write(&mut self, requests: &[Request], group: &mut Group) -> io::Result<()> {
        let bytes: usize = requests.iter().flat_map(|request| &request.frames).map(|frame| frame.frame_length()).sum();
        self.room.check(self.clock.now(), bytes as u64)?;
        let full = self.length > self.segment.header_length() && self.length + bytes as u64 > self.segment_bytes_max;
        if self.must_begin || full {
            self.must_begin = true;
            self.begin_segment()?;
        }
        self.last_received_at = received_at(self.last_received_at, self.clock.now());
        self.lay_out(requests, group);
        let written = self.file.write_all_at(&group.bytes, self.length).and_then(|()| self.sync());
        if written.is_err() {
            self.must_begin = true;
            self.cut_back();
        }
        written
    }

    /// Assigns a header and a place to every frame.
    fn lay_out(&mut self, requests: &[Request], group: &mut Group) {
        group.clear();
        for frame in requests.iter().flat_map(|request| &request.frames) {
            let position = self.length + group.bytes.len() as u64;
            let base = self.ends.entry(frame.id).or_default();
            let header = frame.header(*base, self.last_received_at, self.length);
            *base = base.plus(u64::from(frame.records));
            group.bytes.extend_from_slice(&header.encode(self.segment.salt, position));
            group.bytes.extend_from_slice(&frame.bytes);
            group.frames.push((frame.id, FrameRef::new(&header, position)));
            group.records += u64::from(frame.records);
        }
    }

    fn sync(&self) -> io::Result<()> {
        let begun = Instant::now();
        self.file.sync_data()?;
        lock(&self.shared.counters).synced(begun.elapsed());
        Ok(())
    }

    /// Cuts off the bytes of a failed group, to free their space. It does not matter if that fails: the header of the next
    /// file says how far this one is valid.
    fn cut_back(&self) {
        if let Err(error) = self.file.set_len(self.length).and_then(|()| self.file.sync_all()) {
            tracing::warn!(segment = self.segment.number, error = %error, "could not cut off a failed write");
        }
    }

    /// Begins the next file, or this one again if it has no frames.
    fn begin_segment(&mut self) -> io::Result<()> {
        let is_empty = self.length == self.segment.header_length();
        let (number, previous_length) = match is_empty {
            true => (self.segment.number, self.segment.previous_length),
            false => (self.segment.number + 1, self.length),
        };
        let starts = self.ends.iter().map(|(id, offset)| (*id, *offset)).collect();
        let segment = Segment::new(&self.shared.segments, number, previous_length, self.last_received_at, starts);
        let (segment, file) = (Arc::new(segment.clone()), Arc::new(segment.create()?));
        let length = segment.header_length();
        let active = Active { segment: Arc::clone(&segment), file: Arc::clone(&file), index: Index::default(), length };
        let before = self.exchange(active, is_empty);
        (self.segment, self.file, self.length, self.must_begin) = (segment, file, length, false);
        if !is_empty {
            self.finish(before, previous_length);
        }
        Ok(())
    }

    fn exchange(&self, active: Active, is_empty: bool) -> Active {
        let mut state = self.shared.state_mut();
        let before = mem::replace(&mut state.active, active);
        if !is_empty {
            let segment = Arc::clone(&before.segment);
            state.finished.push_back(Finished { segment, length: before.length });
        }
        before
    }

    /// Remembers a file that is no longer written to.
    fn finish(&self, before: Active, length: u64) {
        before.index.store(&before.segment, length);
        let Active { segment, file, mut index, .. } = before;
        index.shrink();
        self.shared.keep_open(Arc::new(OpenSegment { segment, file, index }));
    }

    /// Makes a group that is on disk visible to readers.
    fn publish(&mut self, group: &Group) {
        self.length += group.bytes.len() as u64;
        let mut state = self.shared.state_mut();
        for (id, frame) in &group.frames {
            state.active.index.push(*id, *frame);
            state.ends.insert(*id, frame.end());
        }
        state.active.length = self.length;
        drop(state);
        let mut counters = lock(&self.shared.counters);
        counters.groups += 1;
        counters.bytes += group.bytes.len() as u64;
        counters.records += group.records;
    }
}

impl Trouble {
    fn tell(&mut self, error: &io::Error) {
        self.groups += 1;
        if self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            self.told_at = Some(Instant::now());
            tracing::warn!(groups = self.groups, %error, "the disk refuses appends; senders are told to try again");
        }
    }

    fn is_over(&mut self) {
        if self.groups > 0 {
            tracing::info!(groups = self.groups, "the disk takes appends again");
            *self = Self::default();
        }
    }
}

impl Group {
    fn clear(&mut self) {
        self.bytes.clear();
        // The memory of one long append is not kept.
        self.bytes.shrink_to(2 * GROUP_BYTES_ENOUGH as usize);
        self.frames.clear();
        self.records = 0;
    }
}

fn answer(requests: Vec<Request>, group: &Group) {
    let mut frames = group.frames.iter();
    for request in requests {
        let bases = frames.by_ref().take(request.frames.len()).map(|(_, frame)| frame.base).collect();
        reply(request, Ok(bases));
    }
}

fn refuse(requests: Vec<Request>, error: &io::Error) {
    for request in requests {
        let refusal = Error::unavailable(format!("could not write to the log: {error}"))
            .with_hint("nothing was acknowledged: send it again");
        reply(request, Err(Refusal::Failed(refusal)));
    }
}

fn reply(request: Request, answer: Result<Vec<Offset>, Refusal>) {
    // Its bytes no longer wait: whoever is answered can send again.
    drop(request.reserved);
    // A sender that went away needs no answer.
    request.answer.send(answer).ok();
}

/// Timestamps don't go back when the clock is set back a little. If it is set back by much, it was wrong before, and new
/// records must not get those wrong times.
fn received_at(last: Timestamp, now: Timestamp) -> Timestamp {
    let ahead = last.as_micros().saturating_sub(now.as_micros());
    if ahead > STEP_BACK_MAX_MICROS { now } else { last.max(now) }
}
