//! A log file: a header, then frames. Files are numbered; the last one is written to, the others never change.
//!
//! The header, little endian, is written and synced, name and all, before the first frame:
//!
//! | at | size | what |
//! |---:|---:|---|
//! | 0 | 8 | `LACUSLOG` |
//! | 8 | 4 | format, 1 |
//! | 12 | 4 | salt of the frames' checksums |
//! | 16 | 8 | number of this file |
//! | 24 | 8 | valid length of the file before; later bytes there are of a write that failed, and count for nothing |
//! | 32 | 8 | `received_at` of the last record before this file |
//! | 40 | 4 | how many partitions have records in the files before |
//! | 44 | 16 each | stream id (u32), partition (u32), offset of its next record (u64); in order |
//! | … | 4 | CRC-32 of the above |
//!
//! So the next offsets are known even when retention removed all records of a partition, and a file tells which records
//! it holds without being scanned.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::BufMut;
use lacus_core::{Context, Error, Offset, Partition, Result, Timestamp};

use crate::disk;
use crate::frame::{PartitionId, u32_at, u64_at};
use crate::streams::StreamId;

const MAGIC: &[u8; 8] = b"LACUSLOG";
const FORMAT: u32 = 1;
const FIXED_BYTES: usize = 44;
const START_BYTES: usize = 16;
const CRC_BYTES: usize = 4;

/// Digits of a file's number, so that names sort as numbers do.
const NUMBER_DIGITS: usize = 20;
const EXTENSION: &str = "log";

/// One log file, as its header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) number: u64,
    pub(crate) salt: u32,
    /// The valid length of the file before.
    pub(crate) previous_length: u64,
    /// When the last record before this file was received.
    pub(crate) last_received_at: Timestamp,
    /// For each partition with records in the files before, its next offset; in order.
    pub(crate) starts: Vec<(PartitionId, Offset)>,
}

impl Segment {
    /// A file with these fields in its header, and an unpredictable salt.
    pub(crate) fn new(
        directory: &Path,
        number: u64,
        previous_length: u64,
        last_received_at: Timestamp,
        mut starts: Vec<(PartitionId, Offset)>,
    ) -> Self {
        starts.retain(|(_, offset)| *offset > Offset(0));
        starts.sort_unstable();
        let salt = u32::try_from(RandomState::new().hash_one(number) >> 32).expect("half of a u64");
        Self { path: path(directory, number), number, salt, previous_length, last_received_at, starts }
    }

    /// Writes the file durably, header and name, in place of one of the same number. Frames may follow.
    pub(crate) fn create(&self) -> io::Result<File> {
        disk::replace(&self.path, &self.encode())
    }

    /// Reads the header of the file with this number.
    pub(crate) fn open(directory: &Path, number: u64) -> Result<(Self, File)> {
        let path = path(directory, number);
        let doing = || format!("open {}", path.display());
        let file = File::options().read(true).write(true).open(&path).map_err(Error::from).context(doing())?;
        let length = file.metadata().map_err(Error::from).context(doing())?.len();
        let segment = Self::decode(&path, &file, length)?;
        if segment.number != number {
            return Err(damaged(&path, 16, "its header has another number than its name"));
        }
        Ok((segment, file))
    }

    /// The length of the header: where the first frame begins.
    pub(crate) fn header_length(&self) -> u64 {
        (FIXED_BYTES + START_BYTES * self.starts.len() + CRC_BYTES) as u64
    }

    /// The offset of the first record of this partition that may be in this file.
    pub(crate) fn start(&self, id: PartitionId) -> Offset {
        match self.starts.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => self.starts[at].1,
            Err(_) => Offset(0),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_slice(MAGIC);
        bytes.put_u32_le(FORMAT);
        bytes.put_u32_le(self.salt);
        bytes.put_u64_le(self.number);
        bytes.put_u64_le(self.previous_length);
        bytes.put_i64_le(self.last_received_at.as_micros());
        bytes.put_u32_le(u32::try_from(self.starts.len()).expect("streams and partitions are bounded"));
        for (id, offset) in &self.starts {
            bytes.put_u32_le(id.stream.0);
            bytes.put_u32_le(id.partition.0);
            bytes.put_u64_le(offset.0);
        }
        bytes.put_u32_le(crc32fast::hash(&bytes));
        bytes
    }

    fn decode(path: &Path, file: &File, length: u64) -> Result<Self> {
        let doing = || format!("read the header of {}", path.display());
        let wrong = |how| damaged(path, 0, how);
        let mut bytes = vec![0; FIXED_BYTES];
        if length < FIXED_BYTES as u64 {
            return Err(wrong("it is shorter than a header"));
        }
        file.read_exact_at(&mut bytes, 0).map_err(Error::from).context(doing())?;
        if !bytes.starts_with(MAGIC) {
            return Err(wrong("it does not begin as a log file"));
        }
        let format = u32_at(&bytes, 8);
        if format != FORMAT {
            let message = format!("{} has format {format}, this lacus knows {FORMAT}", path.display());
            return Err(Error::invalid(message).with_hint("open it with the lacus that wrote it, or a newer one"));
        }
        let rest = START_BYTES as u64 * u64::from(u32_at(&bytes, 40)) + CRC_BYTES as u64;
        if FIXED_BYTES as u64 + rest > length {
            return Err(wrong("its header does not match its checksum"));
        }
        let rest = usize::try_from(rest).map_err(|_| wrong("its header is too long"))?;
        bytes.resize(FIXED_BYTES + rest, 0);
        file.read_exact_at(&mut bytes[FIXED_BYTES..], FIXED_BYTES as u64).map_err(Error::from).context(doing())?;
        let (fields, crc) = bytes.split_at(bytes.len() - CRC_BYTES);
        if u32_at(crc, 0) != crc32fast::hash(fields) {
            return Err(wrong("its header does not match its checksum"));
        }
        Ok(Self {
            path: path.to_owned(),
            number: u64_at(fields, 16),
            salt: u32_at(fields, 12),
            previous_length: u64_at(fields, 24),
            last_received_at: Timestamp::from_micros(u64_at(fields, 32).cast_signed()),
            starts: fields[FIXED_BYTES..].chunks_exact(START_BYTES).map(decode_start).collect(),
        })
    }
}

fn decode_start(bytes: &[u8]) -> (PartitionId, Offset) {
    let id = PartitionId { stream: StreamId(u32_at(bytes, 0)), partition: Partition(u32_at(bytes, 4)) };
    (id, Offset(u64_at(bytes, 8)))
}

/// The error for bytes of a log file that are not what was written.
pub(crate) fn damaged(path: &Path, position: u64, how: &str) -> Error {
    Error::corrupt(format!("log file {} is damaged at byte {position}: {how}", path.display()))
        .with_hint("stop, keep a copy of the log's directory, and restore the file from a backup")
}

/// The numbers of the log files in `directory`, in order.
pub(crate) fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in directory.read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            numbers.extend(number(&path));
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The number in a file's name, whatever its extension.
pub(crate) fn number(path: &Path) -> Option<u64> {
    let digits = path.file_stem()?.to_str()?;
    let is_number = digits.len() == NUMBER_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}

/// The path of the log file with this number.
pub(crate) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:0NUMBER_DIGITS$}.{EXTENSION}"))
}
