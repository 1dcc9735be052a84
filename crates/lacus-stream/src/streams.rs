//! The streams of a log: their names, ids and shards, in `streams.json`.
//!
//! The file is replaced whole and durably, before a stream is first used and before a new shard takes a record. An id is
//! never used twice, nor is the number of a shard: a deleted stream stays in the list, all its shards closed, and one that is
//! made with its name again goes on numbering where it ended. So frames, cursors and tables that name a shard stay right. A
//! file that does not match its checksum is not believed: frames are bound to streams by these ids alone.
//!
//! A change is made in memory only after it is on disk. One that failed may be on disk all the same, and be found at the next
//! start: then the shards it closed have all records that came meanwhile, and the ones it opened have none.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use lacus_core::units::Millis;
use lacus_core::{Context, Error, Kind, Offsets, Partition, Result, StreamName, Timestamp, settings};
use serde::{Deserialize, Serialize};

use crate::frame::PartitionId;
use crate::shards::{self, Shard, add_even, number_of};
use crate::{disk, partitioning};

/// The attribute that says what the records of a stream are. It outlasts the stream's end, as they are still delivered.
pub const FORMAT_ATTRIBUTE: &str = "format";

/// The most streams of a log, those included that were deleted.
pub const STREAMS_MAX: usize = 10_000;

/// The most shards that a stream may have in its life, closed ones included.
pub const SHARDS_EVER_MAX: usize = 8_192;

/// The file with all streams, in the directory of the log.
pub(crate) const FILE: &str = "streams.json";
const FORMAT: u32 = 1;

/// The number of a stream in frames and segment headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct StreamId(pub(crate) u32);

/// What a new stream should be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewStream {
    /// How many shards it begins with, each with an equal range of hash keys.
    pub shards: u32,
    /// What others want to remember about it. The log does not look inside.
    pub attributes: BTreeMap<String, String>,
}

/// What records of shards hold that are from before a stream was made again with another format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlierFormat {
    /// Shards below this number, unless an earlier one of these is about them.
    pub before_shard: u32,
    /// The format attribute the stream had.
    pub format: Option<String>,
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
    /// Shards below this number are from before the stream was last deleted.
    pub(crate) first_shard: u32,
    pub(crate) created_at: Timestamp,
    pub(crate) retention: Option<Millis>,
    pub(crate) attributes: BTreeMap<String, String>,
    /// Oldest first.
    pub(crate) earlier_formats: Vec<EarlierFormat>,
    /// Nobody needs what is before these: the tables that had it are dropped.
    pub(crate) let_go: Offsets,
    /// Counts the appends without a hash key.
    pub(crate) turn: AtomicU32,
}

/// All streams by name.
#[derive(Debug)]
pub(crate) struct Streams {
    path: PathBuf,
    by_name: BTreeMap<StreamName, Arc<Stream>>,
    /// Counts the changes since the log was opened.
    generation: u64,
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
pub(crate) struct StoredStream {
    id: StreamId,
    name: String,
    shards: Vec<Shard>,
    #[serde(default)]
    first_shard: u32,
    /// µs since the epoch.
    created_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retention_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier_formats: Vec<EarlierFormat>,
    #[serde(default, skip_serializing_if = "is_nothing")]
    let_go: Offsets,
}

fn is_nothing(offsets: &Offsets) -> bool {
    offsets.total() == 0
}

impl Streams {
    /// Reads the streams of the log in `directory`; none if there is no file yet.
    pub(crate) fn load(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path, by_name: BTreeMap::new(), generation: 0 });
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
        let mut ids = HashSet::new();
        for stream in stored.streams {
            let name = StreamName::new(&stream.name).map_err(|_| damaged(&path, "a stream's name can't be"))?;
            let stream = Arc::new(Stream::new(name.clone(), stream));
            stream.check().map_err(|how| damaged(&path, how))?;
            if !ids.insert(stream.id) || by_name.insert(name, stream).is_some() {
                return Err(damaged(&path, "two streams have the same name or number"));
            }
        }
        Ok(Self { path, by_name, generation: 0 })
    }

    /// How many changes there were: shards that were chosen at another count may be closed.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The stream of this name.
    pub(crate) fn get(&self, name: &StreamName) -> Option<&Arc<Stream>> {
        self.by_name.get(name)
    }

    /// All streams, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Stream>> {
        self.by_name.values()
    }

    /// All shards that take no more records.
    pub(crate) fn closed(&self) -> HashSet<PartitionId> {
        let closed = |stream: &Arc<Stream>| {
            let id = stream.id;
            let closed = stream.shards.iter().filter(|shard| !shard.is_open());
            closed.map(move |shard| PartitionId { stream: id, partition: shard.partition }).collect::<Vec<_>>()
        };
        self.iter().flat_map(closed).collect()
    }

    /// The file they are kept in.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// These streams and one more, not stored yet. One that was deleted goes on with new shard numbers, so that what was
    /// said about its old ones stays true.
    pub(crate) fn with(&self, name: &StreamName, new: &NewStream, now: Timestamp) -> Result<Self> {
        check_count(name, new.shards)?;
        let before = self.by_name.get(name);
        if before.is_none() && self.by_name.len() >= STREAMS_MAX {
            return Err(Error::new(Kind::Limited, format!("there are {STREAMS_MAX} streams already")));
        }
        let next_id = || StreamId(self.iter().map(|stream| stream.id.0 + 1).max().unwrap_or(0));
        let mut shards = before.map(|stream| stream.shards.clone()).unwrap_or_default();
        let first_shard = number_of(shards.len());
        add_even(&mut shards, new.shards, &[]);
        let stored = StoredStream {
            id: before.map_or_else(next_id, |stream| stream.id),
            name: name.as_str().to_owned(),
            shards,
            first_shard,
            created_at: now.as_micros(),
            retention_ms: None,
            attributes: new.attributes.clone(),
            earlier_formats: earlier_formats(before, new, first_shard),
            let_go: before.map(|stream| stream.let_go.clone()).unwrap_or_default(),
        };
        self.replacing(name, stored)
    }

    /// These streams, and nothing is needed any more of one that was deleted when it had `shards` shards: all that it has is
    /// before `delivered`. Not stored yet.
    pub(crate) fn without(&self, name: &StreamName, shards: usize, delivered: &Offsets) -> Result<Self> {
        let stream =
            self.by_name.get(name).ok_or_else(|| Error::not_found(format!("there is no stream \"{name}\"")))?;
        if !stream.is_deleted() || stream.shards.len() != shards {
            return Err(Error::new(Kind::Conflict, format!("stream \"{name}\" was made again")));
        }
        let mut stored = StoredStream::of(stream);
        delivered.iter().for_each(|(shard, next)| stored.let_go.advance(shard, next));
        self.replacing(name, stored)
    }

    /// These streams with one of them changed, not stored yet.
    pub(crate) fn changed(
        &self,
        name: &StreamName,
        change: impl FnOnce(&mut StoredStream) -> Result<()>,
    ) -> Result<Self> {
        let stream = self.live(name)?;
        let mut stored = StoredStream::of(stream);
        change(&mut stored)?;
        self.replacing(name, stored)
    }

    fn replacing(&self, name: &StreamName, stored: StoredStream) -> Result<Self> {
        check_total(name, &stored.shards)?;
        let stream = Stream::new(name.clone(), stored);
        stream.check().map_err(|how| Error::internal(format!("stream \"{name}\" would be wrong: {how}")))?;
        let mut by_name = self.by_name.clone();
        by_name.insert(name.clone(), Arc::new(stream));
        Ok(Self { path: self.path.clone(), by_name, generation: self.generation + 1 })
    }

    /// The stream of this name, unless it was deleted.
    pub(crate) fn live(&self, name: &StreamName) -> Result<&Arc<Stream>> {
        let found = self.by_name.get(name).filter(|stream| !stream.is_deleted());
        found.ok_or_else(|| Error::not_found(format!("there is no stream \"{name}\"")))
    }

    /// Replaces the file, durably.
    pub(crate) fn store(&self) -> Result<()> {
        let mut streams: Vec<StoredStream> = self.iter().map(|stream| StoredStream::of(stream)).collect();
        streams.sort_by_key(|stream| stream.id);
        let stored = StoredStreams { format: FORMAT, crc32: checksum(&streams)?, streams };
        let text = serde_json::to_string_pretty(&stored).map_err(|error| Error::internal(error.to_string()))?;
        disk::replace(&self.path, text.as_bytes()).map(drop).map_err(|error| disk::refused(&self.path, error))
    }
}

impl StoredStream {
    fn of(stream: &Stream) -> Self {
        Self {
            id: stream.id,
            name: stream.name.as_str().to_owned(),
            shards: stream.shards.clone(),
            first_shard: stream.first_shard,
            created_at: stream.created_at.as_micros(),
            retention_ms: stream.retention.map(|retention| retention.0),
            attributes: stream.attributes.clone(),
            earlier_formats: stream.earlier_formats.clone(),
            let_go: stream.let_go.clone(),
        }
    }

    /// Keeps delivered records for this long; `None`: as the settings say.
    pub(crate) fn set_retention(&mut self, retention: Option<Millis>) {
        self.retention_ms = retention.map(|retention| retention.0);
    }

    /// What others remember about it.
    pub(crate) fn attributes(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.attributes
    }

    /// Closes all shards: nothing goes to them any more.
    pub(crate) fn delete(&mut self, now: Timestamp) {
        self.shards.iter_mut().filter(|shard| shard.is_open()).for_each(|shard| shard.close(now));
        self.attributes.retain(|name, _| name == FORMAT_ATTRIBUTE);
        self.retention_ms = None;
    }

    /// Divides a shard at `hash_key`, the first one of the second child.
    pub(crate) fn split(&mut self, shard: Partition, hash_key: u128, now: Timestamp) -> Result<()> {
        let parent = self.take_open(shard, now)?;
        if hash_key <= parent.hash_start || hash_key > parent.hash_end {
            return Err(Error::invalid(format!("hash key {hash_key} does not divide shard {}", shard.0))
                .with_hint(format!("give one above {} and up to {}", parent.hash_start, parent.hash_end)));
        }
        self.add((parent.hash_start, hash_key - 1), vec![shard]);
        self.add((hash_key, parent.hash_end), vec![shard]);
        Ok(())
    }

    /// Joins two shards.
    pub(crate) fn merge(&mut self, one: Partition, other: Partition, now: Timestamp) -> Result<()> {
        let (one, other) = (self.take_open(one, now)?, self.take_open(other, now)?);
        let (low, high) = if one.hash_start < other.hash_start { (one, other) } else { (other, one) };
        if low.hash_end.checked_add(1) != Some(high.hash_start) {
            return Err(Error::invalid(format!(
                "shards {} and {} are not adjacent",
                low.partition.0, high.partition.0
            ))
            .with_hint("merge two whose ranges of hash keys follow each other"));
        }
        self.add((low.hash_start, high.hash_end), vec![low.partition, high.partition]);
        Ok(())
    }

    /// Puts `count` shards with equal ranges in place of the open ones.
    pub(crate) fn spread(&mut self, count: u32, now: Timestamp) -> Result<()> {
        check_count(&self.name, count)?;
        let open: Vec<Shard> = self.shards.iter().filter(|shard| shard.is_open()).cloned().collect();
        let is_same = |index: u32| {
            let range = partitioning::even_range(index, count);
            open.iter().any(|shard| (shard.hash_start, shard.hash_end) == range)
        };
        if open.len() == count as usize && (0..count).all(is_same) {
            return Ok(());
        }
        self.shards.iter_mut().filter(|shard| shard.is_open()).for_each(|shard| shard.close(now));
        add_even(&mut self.shards, count, &open);
        Ok(())
    }

    /// Closes an open shard, and gives it as it was.
    fn take_open(&mut self, shard: Partition, now: Timestamp) -> Result<Shard> {
        let found = self.shards.iter_mut().find(|candidate| candidate.partition == shard);
        let Some(found) = found else {
            return Err(Error::not_found(format!("stream \"{}\" has no shard {}", self.name, shard.0)));
        };
        if !found.is_open() {
            return Err(Error::invalid(format!("shard {} of stream \"{}\" is closed", shard.0, self.name))
                .with_hint("only open shards can be split or merged"));
        }
        let before = found.clone();
        found.close(now);
        Ok(before)
    }

    fn add(&mut self, range: (u128, u128), parents: Vec<Partition>) {
        let partition = Partition(number_of(self.shards.len()));
        self.shards.push(Shard { parents, ..Shard::new(partition, range) });
    }
}

impl Stream {
    fn new(name: StreamName, stored: StoredStream) -> Self {
        let StoredStream { id, shards, first_shard, created_at, attributes, earlier_formats, let_go, .. } = stored;
        let mut open: Vec<Shard> = shards.iter().filter(|shard| shard.is_open()).cloned().collect();
        open.sort_by_key(|shard| shard.hash_start);
        Self {
            id,
            name,
            shards,
            open,
            first_shard,
            created_at: Timestamp::from_micros(created_at),
            retention: stored.retention_ms.map(Millis),
            attributes,
            earlier_formats,
            let_go,
            turn: AtomicU32::new(0),
        }
    }

    /// What is wrong with it, if anything: what places records relies on this.
    fn check(&self) -> Result<(), &'static str> {
        let is_numbered = self.shards.iter().zip(0..).all(|(shard, number)| shard.partition.0 == number);
        let is_young = |shard: &Shard| shard.parents.iter().any(|parent| *parent >= shard.partition);
        if !is_numbered || self.first_shard as usize > self.shards.len() || self.shards.iter().any(is_young) {
            return Err("the shards of a stream are not in order");
        }
        if self.let_go.iter().any(|(shard, _)| !self.has(shard)) {
            return Err("a stream let go of a shard that it never had");
        }
        let is_whole = self.is_deleted() || shards::own_all(&self.open);
        if is_whole { Ok(()) } else { Err("the open shards of a stream do not own every hash key once") }
    }

    /// Whether it has, or had, a shard of this number.
    pub(crate) fn has(&self, shard: Partition) -> bool {
        // They are numbered without gaps.
        (shard.0 as usize) < self.shards.len()
    }

    /// Whether it ended: a stream without an open shard.
    pub(crate) fn is_deleted(&self) -> bool {
        self.open.is_empty()
    }
}

/// What older shards of a stream hold, which is made again and may be something else now.
fn earlier_formats(before: Option<&Arc<Stream>>, new: &NewStream, first_shard: u32) -> Vec<EarlierFormat> {
    let Some(before) = before else { return Vec::new() };
    let mut earlier = before.earlier_formats.clone();
    let format = before.attributes.get(FORMAT_ATTRIBUTE);
    if format != new.attributes.get(FORMAT_ATTRIBUTE) {
        earlier.push(EarlierFormat { before_shard: first_shard, format: format.cloned() });
    }
    earlier
}

fn check_count(name: impl std::fmt::Display, shards: u32) -> Result<()> {
    if (1..=settings::PARTITIONS_MAX).contains(&shards) {
        return Ok(());
    }
    let most = settings::PARTITIONS_MAX;
    Err(Error::invalid(format!("stream \"{name}\" can't have {shards} shards: 1 to {most} can be open")))
}

fn check_total(name: &StreamName, shards: &[Shard]) -> Result<()> {
    let open = shards.iter().filter(|shard| shard.is_open()).count();
    if open > settings::PARTITIONS_MAX as usize || shards.len() > SHARDS_EVER_MAX {
        return Err(Error::new(
            Kind::Limited,
            format!(
                "stream \"{name}\" would have {open} open shards and {} in its life: {} and {SHARDS_EVER_MAX} are the most",
                shards.len(),
                settings::PARTITIONS_MAX
            ),
        ));
    }
    Ok(())
}

impl NewStream {
    /// A stream of `shards` shards.
    #[must_use]
    pub fn of_shards(shards: u32) -> Self {
        Self { shards, attributes: BTreeMap::new() }
    }
}

fn checksum(streams: &[StoredStream]) -> Result<u32> {
    let text = serde_json::to_string(streams).map_err(|error| Error::internal(error.to_string()))?;
    Ok(crc32fast::hash(text.as_bytes()))
}

fn damaged(path: &Path, how: &str) -> Error {
    Error::corrupt(format!("{} is damaged: {how}", path.display())).with_hint("restore it from a backup")
}
