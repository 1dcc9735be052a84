//! A frame: the records that one append gave to one partition, and the unit of checksums.
//!
//! All numbers are little endian. The header is [`HEADER_BYTES`] long:
//!
//! | at | size | what |
//! |---:|---:|---|
//! | 0 | 4 | `LCF1` |
//! | 4 | 4 | length of the body |
//! | 8 | 4 | CRC-32 of the body |
//! | 12 | 4 | stream id |
//! | 16 | 4 | partition |
//! | 20 | 4 | number of records |
//! | 24 | 8 | offset of the first record; the others follow without gaps |
//! | 32 | 8 | `received_at`, µs since the epoch |
//! | 40 | 8 | where the group of this frame begins in the file: all bytes before it were on disk before this was written |
//! | 48 | 4 | CRC-32 of the above and of the frame's position in the file, started from the segment's salt |
//!
//! The salt and the position in the checksum keep bytes that only look like a frame (an event that holds a copy of one,
//! a block of a removed file) from being taken for one. The body is, for each record: length of the key (u32,
//! `0xffff_ffff` for no key), length of the value (u32, its highest bit set if the record has an id), key, id (u128),
//! value.
//!
//! Bytes that are no frame give `None` or an error, never a panic.

use bytes::{Buf, BufMut, Bytes};
use lacus_core::{MessageId, NewRecord, Offset, Partition, Timestamp};

use crate::streams::StreamId;

/// The length of a frame's header.
pub(crate) const HEADER_BYTES: usize = 52;

/// The longest key and value together.
pub const RECORD_BYTES_MAX: usize = 10 << 20;

/// A body of this size takes no further record, so that a reader need not read much more than it asked for.
pub(crate) const BODY_BYTES_ENOUGH: usize = 1 << 20;

/// The two lengths before each record.
const RECORD_HEADER_BYTES: usize = 8;

/// The longest body: one that is not yet full takes at most one more record.
pub(crate) const BODY_BYTES_MAX: usize = BODY_BYTES_ENOUGH + RECORD_BYTES_MAX + RECORD_HEADER_BYTES + ID_BYTES;

const MAGIC: &[u8; 4] = b"LCF1";
const NO_KEY: u32 = u32::MAX;
const HAS_ID: u32 = 1 << 31;
const ID_BYTES: usize = 16;

/// A partition of a stream, among all streams of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PartitionId {
    pub(crate) stream: StreamId,
    pub(crate) partition: Partition,
}

/// The fields of a frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) body_length: u32,
    pub(crate) body_crc: u32,
    pub(crate) id: PartitionId,
    pub(crate) records: u32,
    pub(crate) base: Offset,
    pub(crate) received_at: Timestamp,
    pub(crate) group_start: u64,
}

impl Header {
    /// Encodes the header, for a frame at `position` of a segment with `salt`.
    pub(crate) fn encode(&self, salt: u32, position: u64) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut out = &mut bytes[..];
        out.put_slice(MAGIC);
        out.put_u32_le(self.body_length);
        out.put_u32_le(self.body_crc);
        out.put_u32_le(self.id.stream.0);
        out.put_u32_le(self.id.partition.0);
        out.put_u32_le(self.records);
        out.put_u64_le(self.base.0);
        out.put_i64_le(self.received_at.as_micros());
        out.put_u64_le(self.group_start);
        let crc = checksum(&bytes[..HEADER_BYTES - 4], salt, position);
        bytes[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes the header in `bytes`, if it is one and belongs to this place.
    pub(crate) fn decode(bytes: &[u8], salt: u32, position: u64) -> Option<Self> {
        let (fields, crc) = bytes.get(..HEADER_BYTES)?.split_at(HEADER_BYTES - 4);
        if !fields.starts_with(MAGIC) || crc != checksum(fields, salt, position).to_le_bytes() {
            return None;
        }
        let header = Self {
            body_length: u32_at(fields, 4),
            body_crc: u32_at(fields, 8),
            id: PartitionId { stream: StreamId(u32_at(fields, 12)), partition: Partition(u32_at(fields, 16)) },
            records: u32_at(fields, 20),
            base: Offset(u64_at(fields, 24)),
            received_at: Timestamp::from_micros(u64_at(fields, 32).cast_signed()),
            group_start: u64_at(fields, 40),
        };
        let has_offsets = header.base.0.checked_add(u64::from(header.records)).is_some();
        (has_offsets && header.body_length as usize <= BODY_BYTES_MAX).then_some(header)
    }

    /// The length of header and body.
    pub(crate) fn frame_length(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.body_length)
    }
}

/// The first place in `bytes` where a header may begin, judged by its first four bytes, as far as `bytes` go.
pub(crate) fn find_magic(bytes: &[u8]) -> Option<usize> {
    bytes.windows(MAGIC.len()).position(|window| window == MAGIC)
}

fn checksum(fields: &[u8], salt: u32, position: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(fields);
    hasher.update(&position.to_le_bytes());
    hasher.finalize()
}

/// The body of a frame under construction.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) id: PartitionId,
    pub(crate) records: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) crc: u32,
}

impl Body {
    /// An empty body with room for `capacity` bytes.
    pub(crate) fn new(id: PartitionId, capacity: usize) -> Self {
        Self { id, records: 0, bytes: Vec::with_capacity(capacity), crc: 0 }
    }

    /// Adds a record, which has at most [`RECORD_BYTES_MAX`] bytes.
    pub(crate) fn push(&mut self, record: &NewRecord) {
        let key = record.key.as_deref();
        self.bytes.put_u32_le(key.map_or(NO_KEY, short_length));
        let has_id = if record.id.is_some() { HAS_ID } else { 0 };
        self.bytes.put_u32_le(short_length(&record.value) | has_id);
        self.bytes.put_slice(key.unwrap_or_default());
        if let Some(MessageId(id)) = record.id {
            self.bytes.put_u128_le(id);
        }
        self.bytes.put_slice(&record.value);
        self.records += 1;
    }

    /// Whether no further record should be added.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= BODY_BYTES_ENOUGH
    }

    /// Computes the checksum: the body is complete.
    pub(crate) fn seal(&mut self) {
        self.crc = crc32fast::hash(&self.bytes);
    }

    /// The length of the frame that this becomes.
    pub(crate) fn frame_length(&self) -> usize {
        HEADER_BYTES + self.bytes.len()
    }

    /// The header of the frame that this becomes.
    pub(crate) fn header(&self, base: Offset, received_at: Timestamp, group_start: u64) -> Header {
        Header {
            body_length: short_length(&self.bytes),
            body_crc: self.crc,
            id: self.id,
            records: self.records,
            base,
            received_at,
            group_start,
        }
    }
}

/// The bytes that `record` takes in a body.
pub(crate) fn encoded_length(record: &NewRecord) -> usize {
    RECORD_HEADER_BYTES + record.id.map_or(0, |_| ID_BYTES) + record_bytes(record)
}

/// The bytes of key and value.
pub(crate) fn record_bytes(record: &NewRecord) -> usize {
    record.key.as_ref().map_or(0, Bytes::len) + record.value.len()
}

/// A record decoded from a body, whose bytes it shares.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) key: Option<Bytes>,
    pub(crate) id: Option<MessageId>,
    pub(crate) value: Bytes,
}

/// Removes the next record from the front of a body.
pub(crate) fn take_record(body: &mut Bytes) -> Option<Taken> {
    let key_length = body.try_get_u32_le().ok()?;
    let length = body.try_get_u32_le().ok()?;
    let key = if key_length == NO_KEY { None } else { Some(take(body, key_length as usize)?) };
    let id = if length & HAS_ID == 0 { None } else { Some(MessageId(body.try_get_u128_le().ok()?)) };
    let value = take(body, (length & !HAS_ID) as usize)?;
    Some(Taken { key, id, value })
}

fn take(body: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= body.len()).then(|| body.split_to(length))
}

fn short_length(bytes: impl AsRef<[u8]>) -> u32 {
    u32::try_from(bytes.as_ref().len()).expect("append refuses records and bodies of more than some megabytes")
}

/// The number at `at`, which the caller has checked to be there.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("the range has four bytes"))
}

/// The number at `at`, which the caller has checked to be there.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the range has eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: PartitionId = PartitionId { stream: StreamId(7), partition: Partition(2) };

    fn records() -> Vec<NewRecord> {
        let record = |key: Option<&'static str>, id: Option<u128>, value: &'static str| NewRecord {
            key: key.map(|key| Bytes::from_static(key.as_bytes())),
            id: id.map(MessageId),
            ..NewRecord::of(value)
        };
        vec![
            record(None, None, "a"),
            record(Some(""), Some(7), ""),
            record(Some("k"), None, "value"),
            record(None, Some(u128::MAX), ""),
        ]
    }

    fn body() -> Body {
        let mut body = Body::new(ID, 0);
        records().iter().for_each(|record| body.push(record));
        body.seal();
        body
    }

    #[test]
    fn no_key_and_empty_key_stay_apart() {
        let mut bytes = Bytes::from(body().bytes);
        for record in records() {
            let NewRecord { key, id, value, .. } = record;
            assert_eq!(take_record(&mut bytes), Some(Taken { key, id, value }));
        }
        assert_eq!(take_record(&mut bytes), None);
    }

    #[test]
    fn a_cut_body_gives_fewer_records_and_no_panic() {
        let whole = Bytes::from(body().bytes);
        for length in 0..whole.len() {
            let mut bytes = whole.slice(..length);
            let count = std::iter::from_fn(|| take_record(&mut bytes)).count();
            assert!(count < 4, "{count} records in {length} bytes");
        }
    }

    #[test]
    fn a_header_is_accepted_unchanged_and_in_its_place_only() {
        let header = body().header(Offset(9), Timestamp::from_micros(-5), 100);
        let bytes = header.encode(42, 160);
        assert_eq!(Header::decode(&bytes, 42, 160), Some(header));
        assert_eq!(Header::decode(&bytes, 43, 160), None);
        assert_eq!(Header::decode(&bytes, 42, 161), None);
        assert_eq!(Header::decode(&bytes[..51], 42, 160), None);
        for at in 0..HEADER_BYTES {
            let mut flipped = bytes;
            flipped[at] ^= 0x10;
            assert_eq!(Header::decode(&flipped, 42, 160), None, "byte {at}");
        }
    }
}
