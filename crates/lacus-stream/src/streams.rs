//! The streams of a log: their names, ids and partitions, in `streams.json`.
//!
//! The file is replaced whole and durably, before a stream is first used. An id is never used twice. A file that does
//! not match its checksum is not believed: frames are bound to streams by these ids alone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use lacus_core::{Context, Error, Kind, Result, StreamName, settings};
use serde::{Deserialize, Serialize};

use crate::disk;

/// The most streams of a log.
pub const STREAMS_MAX: usize = 10_000;

const FILE: &str = "streams.json";
const FORMAT: u32 = 1;

/// The number of a stream in frames and segment headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct StreamId(pub(crate) u32);

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) name: StreamName,
    pub(crate) partitions: u32,
    /// Counts the appends without a key.
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
    partitions: u32,
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
            by_name.insert(name.clone(), Arc::new(Stream::new(stream.id, name, stream.partitions)));
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
    pub(crate) fn with(&self, name: &StreamName, partitions: u32) -> Result<(Self, Arc<Stream>)> {
        if !(1..=settings::PARTITIONS_MAX).contains(&partitions) {
            let most = settings::PARTITIONS_MAX;
            return Err(Error::invalid(format!(
                "stream \"{name}\" can't have {partitions} partitions: 1 to {most} can be"
            )));
        }
        if self.by_name.len() >= STREAMS_MAX {
            return Err(Error::new(Kind::Limited, format!("there are {STREAMS_MAX} streams already")));
        }
        let id = StreamId(self.iter().map(|stream| stream.id.0 + 1).max().unwrap_or(0));
        let stream = Arc::new(Stream::new(id, name.clone(), partitions));
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
        Self { id: stream.id, name: stream.name.as_str().to_owned(), partitions: stream.partitions }
    }
}

impl Stream {
    fn new(id: StreamId, name: StreamName, partitions: u32) -> Self {
        Self { id, name, partitions, turn: AtomicU32::new(0) }
    }
}

fn checksum(streams: &[StoredStream]) -> Result<u32> {
    let text = serde_json::to_string(streams).map_err(|error| Error::internal(error.to_string()))?;
    Ok(crc32fast::hash(text.as_bytes()))
}

fn damaged(path: &Path, how: &str) -> Error {
    Error::corrupt(format!("{} is damaged: {how}", path.display()))
}
