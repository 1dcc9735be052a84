//! Where the frames of a log file are, by partition.
//!
//! Of the file being written to, the index is in memory. Of a finished file it is kept beside it in a `.index` file,
//! which is derived: missing, damaged or of another file, it is made again by a scan. Layout, little endian: `LACUSIDX`,
//! format (u32), salt (u32), number (u64) and valid length (u64) of the log file, number of partitions (u32); for each
//! partition stream id (u32), partition (u32), number of frames (u32), and for each frame first offset (u64), position
//! (u64), length (u32), number of records (u32); at the end a CRC-32 of all.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use bytes::{Buf, BufMut};
use lacus_core::{Offset, Partition};

use crate::disk;
use crate::frame::{HEADER_BYTES as FRAME_HEADER_BYTES, Header, PartitionId};
use crate::segment::Segment;
use crate::streams::StreamId;

const MAGIC: &[u8; 8] = b"LACUSIDX";
const FORMAT: u32 = 1;
const CRC_BYTES: usize = 4;
const HEADER_BYTES: usize = 36;
const PARTITION_BYTES: usize = 12;
const FRAME_BYTES: usize = 24;

/// The extension of an index file, in place of the log file's.
pub(crate) const EXTENSION: &str = "index";

/// The place of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameRef {
    pub(crate) base: Offset,
    pub(crate) position: u64,
    pub(crate) length: u32,
    pub(crate) records: u32,
}

/// The places of the frames of one log file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    frames: BTreeMap<PartitionId, Vec<FrameRef>>,
}

impl FrameRef {
    /// Of the frame with this header at `position`.
    pub(crate) fn new(header: &Header, position: u64) -> Self {
        let length = u32::try_from(header.frame_length()).expect("bodies have at most some megabytes");
        Self { base: header.base, position, length, records: header.records }
    }

    /// The offset after its last record.
    pub(crate) fn end(&self) -> Offset {
        self.base.plus(u64::from(self.records))
    }
}

impl Index {
    /// Adds the next frame of a partition.
    pub(crate) fn push(&mut self, id: PartitionId, frame: FrameRef) {
        self.frames.entry(id).or_default().push(frame);
    }

    /// Gives back the memory that was kept for more frames.
    pub(crate) fn shrink(&mut self) {
        self.frames.values_mut().for_each(Vec::shrink_to_fit);
    }

    /// The memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.frames.values().map(|frames| frames.capacity() * size_of::<FrameRef>()).sum()
    }

    /// The frames with a partition's records from `from` on, until they have `bytes_enough`.
    pub(crate) fn frames(&self, id: PartitionId, from: Offset, bytes_enough: usize) -> Vec<FrameRef> {
        let all = self.frames.get(&id).map_or(&[][..], Vec::as_slice);
        let first = all.partition_point(|frame| frame.end() <= from);
        let mut bytes = 0;
        let mut chosen = Vec::new();
        for frame in &all[first..] {
            chosen.push(*frame);
            bytes += frame.length as usize;
            if bytes >= bytes_enough {
                break;
            }
        }
        chosen
    }

    /// Writes the index file of `segment`, which is valid up to `length`. A failure is ignored: nothing depends on it.
    pub(crate) fn store(&self, segment: &Segment, length: u64) {
        if let Err(error) = disk::replace_derived(&path(segment), &self.encode(segment, length)) {
            tracing::debug!(segment = segment.number, error = %error, "could not keep the index of a log file");
        }
    }

    /// Reads the index file of `segment`, if there is a matching one.
    pub(crate) fn load(segment: &Segment, length: u64) -> Option<Self> {
        // After any error the log file is scanned instead.
        let bytes = fs::read(path(segment)).ok()?;
        Self::decode(&bytes, segment, length)
    }

    /// Removes the index file of `segment`.
    pub(crate) fn remove(segment: &Segment) {
        // One that is left behind is removed at the next open.
        fs::remove_file(path(segment)).ok();
    }

    fn encode(&self, segment: &Segment, length: u64) -> Vec<u8> {
        let count = |count: usize| u32::try_from(count).expect("frames of one file fit");
        let frames: usize = self.frames.values().map(Vec::len).sum();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + PARTITION_BYTES * self.frames.len() + FRAME_BYTES * frames);
        bytes.put_slice(MAGIC);
        bytes.put_u32_le(FORMAT);
        bytes.put_u32_le(segment.salt);
        bytes.put_u64_le(segment.number);
        bytes.put_u64_le(length);
        bytes.put_u32_le(count(self.frames.len()));
        for (id, frames) in &self.frames {
            bytes.put_u32_le(id.stream.0);
            bytes.put_u32_le(id.partition.0);
            bytes.put_u32_le(count(frames.len()));
            for frame in frames {
                bytes.put_u64_le(frame.base.0);
                bytes.put_u64_le(frame.position);
                bytes.put_u32_le(frame.length);
                bytes.put_u32_le(frame.records);
            }
        }
        bytes.put_u32_le(crc32fast::hash(&bytes));
        bytes
    }

    fn decode(bytes: &[u8], segment: &Segment, length: u64) -> Option<Self> {
        let (mut fields, mut crc) = bytes.split_at(bytes.len().checked_sub(CRC_BYTES)?);
        if crc.get_u32_le() != crc32fast::hash(fields) || fields.len() < HEADER_BYTES {
            return None;
        }
        let fits = fields.copy_to_bytes(MAGIC.len()) == MAGIC[..]
            && fields.get_u32_le() == FORMAT
            && fields.get_u32_le() == segment.salt
            && fields.get_u64_le() == segment.number
            && fields.get_u64_le() == length;
        if !fits {
            return None;
        }
        let mut index = Self::default();
        for _ in 0..fields.get_u32_le() {
            let id = PartitionId {
                stream: StreamId(fields.try_get_u32_le().ok()?),
                partition: Partition(fields.try_get_u32_le().ok()?),
            };
            let count = fields.try_get_u32_le().ok()? as usize;
            let (frames, rest) = fields.split_at_checked(count.checked_mul(FRAME_BYTES)?)?;
            index.frames.insert(id, frames.chunks_exact(FRAME_BYTES).map(decode_frame).collect());
            fields = rest;
        }
        (fields.is_empty() && index.can_be(segment, length)).then_some(index)
    }
}

impl Index {
    /// Whether a file of this length can have these frames: for each partition, records without gaps.
    fn can_be(&self, segment: &Segment, length: u64) -> bool {
        self.frames.iter().all(|(id, frames)| {
            let (mut next, mut position) = (segment.start(*id), segment.header_length());
            frames.iter().all(|frame| {
                let follows =
                    frame.base == next && frame.position >= position && frame.length as usize >= FRAME_HEADER_BYTES;
                let ends = frame.base.0.checked_add(u64::from(frame.records));
                let position_after = frame.position.checked_add(u64::from(frame.length));
                (next, position) = (Offset(ends.unwrap_or(0)), position_after.unwrap_or(u64::MAX));
                follows && frame.records > 0 && ends.is_some() && position <= length
            })
        })
    }
}

fn decode_frame(mut bytes: &[u8]) -> FrameRef {
    FrameRef {
        base: Offset(bytes.get_u64_le()),
        position: bytes.get_u64_le(),
        length: bytes.get_u32_le(),
        records: bytes.get_u32_le(),
    }
}

fn path(segment: &Segment) -> PathBuf {
    segment.path.with_extension(EXTENSION)
}
