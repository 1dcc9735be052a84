//! Opening a log: what is there, how far it is valid, and what a crash left behind.
//!
//! A crash can leave the last group torn: any part of it may be missing or wrong, as it was never acknowledged. It is
//! cut off. Bytes before the last group were acknowledged: when they are wrong, that is damage, it is named, and the
//! log does not open. Every frame tells where its group begins, which is how the two are told apart. A last group that
//! is whole may be in the kernel's memory only; it is written and synced once more before anybody sees it.
//!
//! A disk that garbled the last group looks like a crash while it was written. So what is cut off is kept in a file beside,
//! unless it can only be of a write that was stopped; and a log that was closed has no last group to cut: see
//! `Writer::seal`.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lacus_core::{Clock, Context, Error, Offset, Result, Timestamp};

use crate::cursors::{self, Cursors};
use crate::disk;
use crate::frame::{Header, PartitionId};
use crate::index;
use crate::scan::{self, Problem, Scan};
use crate::segment::{self, Segment, damaged};
use crate::state::{Active, Finished, State};
use crate::streams::Streams;

/// The folder of the log files, in the directory of the log.
pub(crate) const SEGMENTS: &str = "segments";
/// The extension of a copy of bytes that were cut off.
const CUT: &str = "cut";
/// Bytes read at once.
const COPY_BYTES: usize = 64 << 10;

/// A log as it was found, repaired.
pub(crate) struct Recovered {
    pub(crate) segments: PathBuf,
    pub(crate) streams: Streams,
    pub(crate) cursors: Cursors,
    pub(crate) state: State,
    pub(crate) last_received_at: Timestamp,
    /// Locked against other processes until it is dropped.
    pub(crate) guard: File,
}

/// Opens or begins the log in `directory`.
pub(crate) fn recover(directory: &Path, clock: &dyn Clock) -> Result<Recovered> {
    let segments = directory.join(SEGMENTS);
    for made in [directory, &segments, &directory.join(cursors::FOLDER)] {
        disk::make_directory(made).context(format!("make the directory {}", made.display()))?;
    }
    let guard = take(directory)?;
    let streams = Streams::load(directory)?;
    let cursors = Cursors::load(directory)?;
    let mut numbers = segment::numbers(&segments).context(format!("list {}", segments.display()))?;
    tidy(directory, &segments, &numbers)?;
    if numbers.is_empty() {
        begin(&segments, &streams, clock.now())?;
        numbers.push(1);
    }
    let finished = open_finished(&segments, &numbers)?;
    let last = *numbers.last().expect("one was begun above");
    let (active, file) = Segment::open(&segments, last)?;
    let scan = repair(&active, &file)?;
    check_streams(&active, &streams, &scan.ends)?;
    let Scan { index, ends, length, last_received_at, .. } = scan;
    let active = Active { segment: Arc::new(active), file: Arc::new(file), index, length };
    let finished = finished_with_lengths(finished, &active.segment)?;
    Ok(Recovered { segments, streams, cursors, state: State { finished, active, ends }, last_received_at, guard })
}

/// Locks the log against other processes: two that write one journal would overwrite what the other has acknowledged. The
/// directory itself is locked: a lock file could be removed, made again and locked again.
fn take(directory: &Path) -> Result<File> {
    let doing = || format!("lock {}", directory.display());
    let file = File::open(directory).context(doing())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let message = format!("another process has the log in {} open", directory.display());
            Err(Error::unavailable(message).with_hint("stop it first: one log has one writer"))
        }
        Err(TryLockError::Error(error)) => Err(error).context(doing()),
    }
}

fn begin(segments: &Path, streams: &Streams, now: Timestamp) -> Result<()> {
    if streams.iter().next().is_some() {
        let message = format!("the log in {} has streams, but all its files are gone", segments.display());
        return Err(Error::corrupt(message).with_hint("restore them from a backup"));
    }
    // The time is a lower bound for later records: zero would do as well.
    let first = Segment::new(segments, 1, 0, now, Vec::new());
    first.create().map(drop).context(format!("begin the log file {}", first.path.display()))
}

/// Removes leftovers: unfinished files, and indexes of files that are gone.
fn tidy(directory: &Path, segments: &Path, numbers: &[u64]) -> Result<()> {
    for folder in [directory, segments, &directory.join(cursors::FOLDER)] {
        for entry in folder.read_dir().context(format!("list {}", folder.display()))? {
            let path = entry.context(format!("list {}", folder.display()))?.path();
            let is_useless = match path.extension().and_then(|extension| extension.to_str()) {
                Some(disk::UNFINISHED) => true,
                Some(index::EXTENSION) => {
                    segment::number(&path).is_none_or(|number| numbers.binary_search(&number).is_err())
                }
                _ => false,
            };
            if is_useless {
                fs::remove_file(&path).context(format!("remove {}", path.display()))?;
            }
        }
    }
    Ok(())
}

fn open_finished(segments: &Path, numbers: &[u64]) -> Result<Vec<Segment>> {
    let mut finished = Vec::new();
    for pair in numbers.windows(2) {
        if pair[1] != pair[0] + 1 {
            let missing = segment::path(segments, pair[0] + 1);
            return Err(Error::corrupt(format!("log file {} is missing", missing.display()))
                .with_hint("restore it from a backup"));
        }
        finished.push(Segment::open(segments, pair[0])?.0);
    }
    Ok(finished)
}

/// The valid length of each finished file is in the header of the next.
fn finished_with_lengths(segments: Vec<Segment>, active: &Arc<Segment>) -> Result<VecDeque<Finished>> {
    let mut finished = VecDeque::new();
    let mut next = Arc::clone(active);
    for segment in segments.into_iter().rev() {
        check_follows(&next, &segment)?;
        let segment = Arc::new(segment);
        finished.push_front(Finished { segment: Arc::clone(&segment), length: next.previous_length });
        next = segment;
    }
    Ok(finished)
}

fn check_follows(next: &Segment, segment: &Segment) -> Result<()> {
    let length = next.previous_length;
    let there = fs::metadata(&segment.path).context(format!("look at {}", segment.path.display()))?.len();
    if there < length || length < segment.header_length() {
        let how = format!("it has {there} bytes, but should have {length}, as the next file says");
        return Err(damaged(&segment.path, there, &how));
    }
    if segment.starts.iter().any(|(id, start)| next.start(*id) < *start) {
        return Err(damaged(&next.path, 0, "its records do not follow those of the file before"));
    }
    Ok(())
}

/// Scans the last file, cuts off a torn group, and makes sure that the rest is on disk.
fn repair(active: &Segment, file: &File) -> Result<Scan> {
    let doing = || format!("repair {}", active.path.display());
    let file_length = file.metadata().map_err(Error::from).context(doing())?.len();
    let scan = scan::scan(active, file, file_length)?;
    if let Some(problem) = scan.problem {
        let cut = Cut { active, file, position: scan.length, end: file_length, problem };
        let is_damage = cut.has_frame(|header| header.group_start > cut.position).context(doing())?;
        if is_damage {
            return Err(damaged(&active.path, cut.position, problem.as_str()));
        }
        cut.report().context(doing())?;
    }
    rewrite_last_group(file, &scan).map_err(Error::from).context(doing())?;
    Ok(scan)
}

/// The bytes of the last group that are no frames.
struct Cut<'a> {
    active: &'a Segment,
    file: &'a File,
    position: u64,
    end: u64,
    problem: Problem,
}

impl Cut<'_> {
    /// Whether a frame that `wanted` accepts follows the first wrong byte.
    fn has_frame(&self, wanted: impl Fn(&Header) -> bool) -> io::Result<bool> {
        Ok(scan::find_frame(self.active, self.file, self.position, self.end, wanted)?.is_some())
    }

    /// Reports what is cut off. What a crash does not explain is kept beside the file: if the disk garbled a group that was
    /// acknowledged, these bytes are all that is left of it.
    fn report(&self) -> io::Result<()> {
        let (file, position, bytes) = (self.active.path.display(), self.position, self.end - self.position);
        let problem = self.problem.as_str();
        if self.is_unfinished()? {
            tracing::info!(%file, position, bytes, problem, "cut off a write that was not finished");
            return Ok(());
        }
        let copy = self.keep()?;
        let copy = copy.display();
        tracing::warn!(
            %file, position, bytes, problem, %copy,
            "cut off the last group of writes, which may have been acknowledged, and kept a copy"
        );
        Ok(())
    }

    /// Whether it is what a crash leaves: a write that ends early with nothing whole after it, or space that was never
    /// written.
    fn is_unfinished(&self) -> io::Result<bool> {
        let ends_early = self.problem.is_short() && !self.has_frame(|_| true)?;
        Ok(ends_early || self.is_zero()?)
    }

    fn is_zero(&self) -> io::Result<bool> {
        let mut bytes = vec![0; COPY_BYTES];
        let mut at = self.position;
        while at < self.end {
            let left = usize::try_from(self.end - at).unwrap_or(usize::MAX);
            let piece = &mut bytes[..COPY_BYTES.min(left)];
            self.file.read_exact_at(piece, at)?;
            if piece.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += piece.len() as u64;
        }
        Ok(true)
    }

    /// Copies the bytes to a file whose name no earlier copy has.
    fn keep(&self) -> io::Result<PathBuf> {
        let name = |count: u32| self.active.path.with_extension(format!("{}-{count}.{CUT}", self.position));
        let mut count = 1;
        while name(count).try_exists()? {
            count += 1;
        }
        let mut from = self.file;
        from.seek(SeekFrom::Start(self.position))?;
        disk::replace_with(&name(count), |copy| io::copy(&mut from.take(self.end - self.position), copy).map(drop))?;
        Ok(name(count))
    }
}

/// Writes the same bytes again: a kernel that failed to write them may consider them clean, so a sync alone proves nothing.
fn rewrite_last_group(file: &File, scan: &Scan) -> io::Result<()> {
    let length = usize::try_from(scan.length - scan.last_group).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, scan.last_group)?;
    file.set_len(scan.length)?;
    file.write_all_at(&bytes, scan.last_group)?;
    file.sync_all()
}

/// Frames name streams by number: a number that `streams.json` does not know means lost data.
fn check_streams(active: &Segment, streams: &Streams, ends: &HashMap<PartitionId, Offset>) -> Result<()> {
    let by_id: HashMap<_, _> = streams.iter().map(|stream| (stream.id, stream)).collect();
    let is_known = |id: &PartitionId| by_id.get(&id.stream).is_some_and(|stream| stream.has(id.partition));
    match ends.keys().find(|id| !is_known(id)) {
        None => Ok(()),
        Some(id) => Err(Error::corrupt(format!(
            "log file {} has records of stream number {}, partition {}, which {} does not know",
            active.path.display(),
            id.stream.0,
            id.partition.0,
            streams.path().display(),
        ))
        .with_hint("restore that file from a backup")),
    }
}
