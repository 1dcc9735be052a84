//! The streams of a log: their names, ids and shards, in `streams.json`.
//!
//! The file is replaced whole and durably, before a stream is first used. An id is never used twice. A file that does
//! not match its checksum is not believed: frames are bound to streams by these ids alone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use lacus_core::{Context, Error, Kind, Partition, Result, StreamName, settings};
use serde::{Deserialize, Serialize};

use crate::{disk, partitioning};

/// The most streams of a log.
pub const STREAMS_MAX: usize = 10_000;

const FILE: &str = "streams.json";
const FORMAT: u32 = 1;

/// The number of a stream in frames and segment headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct StreamId(pub(crate) u32);

/// A shard of a stream: a partition that owns a range of hash keys while it is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Its number in the stream, which is the partition of its records. Never used twice.
    pub partition: Partition,
    /// The first hash key it owns.
    #[serde(with = "hash_key_text")]
    pub hash_start: u128,
    /// The last hash key it owns.
    #[serde(with = "hash_key_text")]
    pub hash_end: u128,
    /// The shards it was split or merged from: their records come before its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<Partition>,
    /// When it was closed by a reshard, µs since the epoch; an open one takes records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<i64>,
}

/// What a new stream should be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewStream {
    /// How many shards it begins with, each with an equal range of hash keys.
    pub shards: u32,
    /// What others want to remember about it. The log does not look inside.
    pub attributes: BTreeMap<String, String>,
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) name: StreamName,
    /// All shards it ever had, by number.
    pub(crate) shards: Vec<Shard>,
    /// Those that take records, in order of their ranges.
    pub(crate) open: Vec<Shard>,
    pub(crate) attributes: BTreeMap<String, String>,
    /// Counts the appends without a hash key.
    pub(crate) turn: AtomicU32,
}

/// All streams by name.
#[derive(Debug)]
pub(crate) struct Streams {
    path: PathBuf,
    by_name: BTreeMap<StreamName, Arc<Stream>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredStreams {
    format: u32,
    /// CRC-32 of `streams` as compact JSON.
    crc32: u32,
    streams: Vec<StoredStream>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredStream {
    id: StreamId,
    name: String,
    shards: Vec<Shard>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
}

impl Streams {
    /// Reads the streams of the log in `directory`; none if there is no file yet.
    pub(crate) fn load(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path, by_name: BTreeMap::new() });
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(damaged(&path, "it is no text")),
            Err(error) => return Err(error).context(format!("read {}", path.display())),
        };
        let stored: StoredStreams = serde_json::from_str(&text)
            .map_err(|error| damaged(&path, "it is no list of streams").with_source(error))?;
        if stored.format != FORMAT {
            let message = format!("{} has format {}, this lacus knows {FORMAT}", path.display(), stored.format);
            return Err(Error::invalid(message).with_hint("open it with the lacus that wrote it, or a newer one"));
        }
        if stored.crc32 != checksum(&stored.streams)? {
            return Err(damaged(&path, "its checksum does not match"));
        }
        let mut by_name = BTreeMap::new();
        for stream in stored.streams {
            let name = StreamName::new(&stream.name).map_err(|_| damaged(&path, "a stream's name can't be"))?;
            by_name.insert(name.clone(), Arc::new(Stream::new(stream.id, name, stream.shards, stream.attributes)));
        }
        Ok(Self { path, by_name })
    }

    /// The stream of this name.
    pub(crate) fn get(&self, name: &StreamName) -> Option<&Arc<Stream>> {
        self.by_name.get(name)
    }

    /// All streams, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Stream>> {
        self.by_name.values()
    }

    /// The file they are kept in.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// These streams and one more, not stored yet.
    pub(crate) fn with(&self, name: &StreamName, new: &NewStream) -> Result<(Self, Arc<Stream>)> {
        let partitions = new.shards;
        if !(1..=settings::PARTITIONS_MAX).contains(&partitions) {
            let most = settings::PARTITIONS_MAX;
            return Err(Error::invalid(format!(
                "stream \"{name}\" can't have {partitions} shards: 1 to {most} can be"
            )));
        }
        if self.by_name.len() >= STREAMS_MAX {
            return Err(Error::new(Kind::Limited, format!("there are {STREAMS_MAX} streams already")));
        }
        let id = StreamId(self.iter().map(|stream| stream.id.0 + 1).max().unwrap_or(0));
        let stream = Arc::new(Stream::new(id, name.clone(), Shard::even(partitions), new.attributes.clone()));
        let mut by_name = self.by_name.clone();
        by_name.insert(name.clone(), Arc::clone(&stream));
        Ok((Self { path: self.path.clone(), by_name }, stream))
    }

    /// Replaces the file, durably.
    pub(crate) fn store(&self) -> Result<()> {
        let mut streams: Vec<StoredStream> = self.iter().map(|stream| StoredStream::of(stream)).collect();
        streams.sort_by_key(|stream| stream.id);
        let stored = StoredStreams { format: FORMAT, crc32: checksum(&streams)?, streams };
        let text = serde_json::to_string_pretty(&stored).map_err(|error| Error::internal(error.to_string()))?;
        disk::replace(&self.path, text.as_bytes()).map(drop).context(format!("write {}", self.path.display()))
    }
}

impl StoredStream {
    fn of(stream: &Stream) -> Self {
        Self {
            id: stream.id,
            name: stream.name.as_str().to_owned(),
            shards: stream.shards.clone(),
            attributes: stream.attributes.clone(),
        }
    }
}

impl Stream {
    fn new(id: StreamId, name: StreamName, shards: Vec<Shard>, attributes: BTreeMap<String, String>) -> Self {
        let mut open: Vec<Shard> = shards.iter().filter(|shard| shard.is_open()).cloned().collect();
        open.sort_by_key(|shard| shard.hash_start);
        Self { id, name, shards, open, attributes, turn: AtomicU32::new(0) }
    }
}

impl Shard {
    /// An open shard that owns this range.
    pub(crate) fn new(partition: Partition, (hash_start, hash_end): (u128, u128)) -> Self {
        Self { partition, hash_start, hash_end, parents: Vec::new(), closed_at: None }
    }

    /// Whether it takes records.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }

    fn even(count: u32) -> Vec<Self> {
        (0..count).map(|index| Self::new(Partition(index), partitioning::even_range(index, count))).collect()
    }
}

impl NewStream {
    /// A stream of `shards` shards.
    #[must_use]
    pub fn of_shards(shards: u32) -> Self {
        Self { shards, attributes: BTreeMap::new() }
    }
}

/// Hash keys as decimal text: JSON readers lose digits of numbers of this size.
mod hash_key_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    pub(super) fn serialize<S: Serializer>(key: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(key)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<u128, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

fn checksum(streams: &[StoredStream]) -> Result<u32> {
    let text = serde_json::to_string(streams).map_err(|error| Error::internal(error.to_string()))?;
    Ok(crc32fast::hash(text.as_bytes()))
}

fn damaged(path: &Path, how: &str) -> Error {
    Error::corrupt(format!("{} is damaged: {how}", path.display()))
}
