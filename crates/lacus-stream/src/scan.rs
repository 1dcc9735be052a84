//! Reading a log file from front to end, every checksum checked.
//!
//! A scan stops at the first bytes that are no frame. Whether that is a torn tail or damage, only the caller can tell:
//! it knows whether the file is finished. What is wrong although its checksum is right (an offset that does not follow)
//! is damage wherever it is.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use lacus_core::{Context, Error, Offset, Result, Timestamp};

use crate::frame::{self, HEADER_BYTES, Header, PartitionId};
use crate::index::{FrameRef, Index};
use crate::segment::{Segment, damaged};

/// Bytes read at once. Longer frames are read whole.
const WINDOW_BYTES: usize = 1 << 20;

/// What is in a log file up to where its frames end.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) index: Index,
    /// The next offset of each partition that has records in this file or in those before.
    pub(crate) ends: HashMap<PartitionId, Offset>,
    /// Where the last frame ends.
    pub(crate) length: u64,
    /// Where the last group begins.
    pub(crate) last_group: u64,
    pub(crate) last_received_at: Timestamp,
    /// Why the bytes at `length` are no frame; none if the file ends there.
    pub(crate) problem: Option<Problem>,
}

/// Why bytes that should be a frame are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    ShortHeader,
    ShortBody,
    WrongHeader,
    WrongBody,
}

impl Problem {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ShortHeader => "the file ends in the middle of a frame's header",
            Self::ShortBody => "the file ends in the middle of a frame",
            Self::WrongHeader => "the header of a frame does not match its checksum",
            Self::WrongBody => "the body of a frame does not match its checksum",
        }
    }

    /// Whether the file ends too early. It does after every interrupted write, and never because the disk garbled one.
    pub(crate) fn is_short(self) -> bool {
        matches!(self, Self::ShortHeader | Self::ShortBody)
    }
}

/// Scans the first `file_length` bytes of `segment`.
pub(crate) fn scan(segment: &Segment, file: &File, file_length: u64) -> Result<Scan> {
    let mut scan = Scan {
        index: Index::default(),
        ends: segment.starts.iter().copied().collect(),
        length: segment.header_length(),
        last_group: segment.header_length(),
        last_received_at: segment.last_received_at,
        problem: None,
    };
    let mut window = Window { file, file_length, start: 0, bytes: Vec::new() };
    while scan.length < file_length {
        let next = next_frame(&mut window, segment.salt, scan.length)
            .map_err(Error::from)
            .context(format!("scan {}", segment.path.display()))?;
        match next {
            Ok(header) => scan.accept(segment, &header)?,
            Err(problem) => {
                scan.problem = Some(problem);
                break;
            }
        }
    }
    Ok(scan)
}

/// Scans a finished log file: whatever is wrong with it is damage.
pub(crate) fn scan_finished(segment: &Segment, file: &File, length: u64) -> Result<Scan> {
    let scan = scan(segment, file, length)?;
    match scan.problem {
        Some(problem) => Err(damaged(&segment.path, scan.length, problem.as_str())),
        None => Ok(scan),
    }
}

/// The position of the next frame after `position` that `wanted` accepts, whatever the bytes before it are.
pub(crate) fn find_frame(
    segment: &Segment,
    file: &File,
    position: u64,
    file_length: u64,
    wanted: impl Fn(&Header) -> bool,
) -> io::Result<Option<u64>> {
    let mut window = Window { file, file_length, start: 0, bytes: Vec::new() };
    let mut at = position + 1;
    while at + HEADER_BYTES as u64 <= file_length {
        let bytes = window.at_least(at, HEADER_BYTES)?;
        let Some(found) = frame::find_magic(bytes) else {
            // The last three bytes may begin one.
            at += bytes.len() as u64 - 3;
            continue;
        };
        at += found as u64;
        if at + HEADER_BYTES as u64 > file_length {
            break;
        }
        let bytes = window.at_least(at, HEADER_BYTES)?;
        if Header::decode(bytes, segment.salt, at).is_some_and(|header| wanted(&header)) {
            return Ok(Some(at));
        }
        at += 1;
    }
    Ok(None)
}

impl Scan {
    fn accept(&mut self, segment: &Segment, header: &Header) -> Result<()> {
        let end = self.ends.entry(header.id).or_default();
        if header.base != *end || header.records == 0 {
            return Err(damaged(&segment.path, self.length, "the offsets of a frame do not follow those before"));
        }
        if header.group_start < self.last_group || header.group_start > self.length {
            return Err(damaged(&segment.path, self.length, "a frame belongs to a group that can't be"));
        }
        let frame = FrameRef::new(header, self.length);
        *end = frame.end();
        self.index.push(header.id, frame);
        self.length += header.frame_length();
        self.last_group = header.group_start;
        self.last_received_at = self.last_received_at.max(header.received_at);
        Ok(())
    }
}

/// The header of the frame at `position`, after its body was checked, too; or why there is none.
fn next_frame(window: &mut Window<'_>, salt: u32, position: u64) -> io::Result<Result<Header, Problem>> {
    if position + HEADER_BYTES as u64 > window.file_length {
        return Ok(Err(Problem::ShortHeader));
    }
    let Some(header) = Header::decode(window.at_least(position, HEADER_BYTES)?, salt, position) else {
        return Ok(Err(Problem::WrongHeader));
    };
    if position + header.frame_length() > window.file_length {
        return Ok(Err(Problem::ShortBody));
    }
    let length = HEADER_BYTES + header.body_length as usize;
    let body = &window.at_least(position, length)?[HEADER_BYTES..length];
    if crc32fast::hash(body) != header.body_crc {
        return Ok(Err(Problem::WrongBody));
    }
    Ok(Ok(header))
}

/// The part of the file that is in memory.
struct Window<'a> {
    file: &'a File,
    file_length: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// The bytes from `position` on: `length` of them at least, which the file must have.
    fn at_least(&mut self, position: u64, length: usize) -> io::Result<&[u8]> {
        let end = position + length as u64;
        if position < self.start || end > self.start + self.bytes.len() as u64 {
            let left = usize::try_from(self.file_length - position).unwrap_or(usize::MAX);
            self.bytes.resize(length.max(WINDOW_BYTES).min(left), 0);
            self.start = position;
            self.file.read_exact_at(&mut self.bytes, position)?;
        }
        let from = usize::try_from(position - self.start).expect("a window is in memory");
        Ok(&self.bytes[from..])
    }
}
